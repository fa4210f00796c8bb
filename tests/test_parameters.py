"""Which tensors a model has, how many numbers that is, and what fresh ones look like: against transformers' own models."""

import json
import math
import time

import numpy as np
import pytest
import torch

import sewnp
from originals import CLASSES, CONFIGS, TINY, TINY_D
from sewnp.config import SEWConfig, SEWDConfig, config_from_dict
from sewnp.errors import ConfigError
from sewnp.initialization import initial_weights
from sewnp.layers import weight_norm
from sewnp.parameters import HEADS, parameter_count, parameter_shapes
from sewnp.presets import PRESETS, preset

ALL_HEADS = [None, *HEADS]


def shapes_there(config, head):
    """Keys and shapes of transformers' model, built without memory.  A base model's keys get the prefix that a head would give them."""
    with torch.device("meta"):
        model = CLASSES[config.model_type, head](config)
    prefix = "" if head else f"{model.base_model_prefix}."
    return {prefix + key: tuple(x.shape) for key, x in model.state_dict().items()}


CHANGES = [
    {},
    {"num_hidden_layers": 0},
    {"num_hidden_layers": 3, "use_weighted_layer_sum": True, "num_labels": 5},
    {"conv_bias": True},
    {"feat_extract_norm": "layer"},
    {"feat_extract_norm": "layer", "conv_bias": True, "conv_dim": (4, 6, 16)},  # no projection
    {"mask_time_prob": 0.0},
    {"mask_time_prob": 0.0, "mask_feature_prob": 0.3},
    {"squeeze_factor": 4, "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 16},
    {"apply_spec_augment": False},
]
CHANGES_D = [
    {"share_att_key": False},
    {"share_att_key": False, "pos_att_type": ("c2p",)},
    {"share_att_key": False, "pos_att_type": ("p2c",)},
    {"share_att_key": False, "pos_att_type": ()},
    {"share_att_key": False, "relative_attention": False},
    {"relative_attention": False},
    {"norm_rel_ebd": "none"},
    {"position_buckets": -1},
    {"position_buckets": 0, "max_relative_positions": 9},
    {"num_hidden_layers": 0, "relative_attention": False, "norm_rel_ebd": "none"},
]
CASES = [("sew", change) for change in CHANGES] + [("sew-d", change) for change in CHANGES + CHANGES_D]


@pytest.mark.parametrize(("family", "change"), CASES, ids=str)
def test_shapes_are_those_of_transformers(family, change):
    theirs = CONFIGS[family](**((TINY if family == "sew" else TINY_D) | change))
    ours = config_from_dict(json.loads(theirs.to_json_string()))
    for head in ALL_HEADS:
        assert parameter_shapes(ours, head) == shapes_there(theirs, head)
        assert parameter_count(ours, head) == sum(map(math.prod, shapes_there(theirs, head).values()))


MILLIONS = {
    "sew-tiny": 40.709,
    "sew-small": 89.621,
    "sew-mid": 174.675,
    "sew-d-tiny": 24.115,
    "sew-d-small": 40.971,
    "sew-d-mid": 78.800,
    "sew-d-mid-k127": 80.373,
    "sew-d-base": 175.068,
    "sew-d-base-plus": 176.979,
}


@pytest.mark.parametrize("name", MILLIONS)
def test_published_sizes_have_their_published_counts(name):
    config = preset(name)
    assert round(parameter_count(config) / 1e6, 3) == MILLIONS[name]
    theirs = CONFIGS[config.model_type].from_dict(json.loads(json.dumps(config.to_dict())))
    for head in ALL_HEADS:
        assert parameter_count(config, head) == sum(map(math.prod, shapes_there(theirs, head).values()))
    assert parameter_count(config, "ctc") == parameter_count(config) + 32 * (config.hidden_size + 1)


def test_presets_are_the_published_ones_and_no_other():
    assert set(PRESETS) == set(MILLIONS)
    with pytest.raises(ConfigError, match=r"unknown preset 'sew-huge'; expected one of \['sew-d-base'"):
        preset("sew-huge")


@pytest.mark.parametrize(
    "config", [SEWConfig(), SEWDConfig(), SEWConfig(use_weighted_layer_sum=True), SEWDConfig(num_hidden_layers=0)]
)
def test_the_count_is_the_sum_of_the_shapes(config):
    for head in ALL_HEADS:
        assert parameter_count(config, head) == sum(map(math.prod, parameter_shapes(config, head).values()))


def test_default_models_have_the_counts_of_transformers():
    """Tensors and values, as transformers 5.23 builds them from its defaults."""
    counts = [(SEWConfig(), "ctc", 221, 93_221_024), (SEWDConfig(), "ctc", 222, 93_614_240)]
    counts += [(SEWConfig(), "classification", 223, 93_393_794), (SEWDConfig(), "classification", 224, 93_787_010)]
    for config, head, tensors, values in counts:
        assert len(parameter_shapes(config, head)) == tensors
        assert parameter_count(config, head) == values


def test_absurd_configurations_are_counted_in_no_time():
    start = time.perf_counter()
    for config in (SEWConfig(num_hidden_layers=10**9), SEWDConfig(hidden_size=10**9, num_attention_heads=10)):
        for head in ALL_HEADS:
            assert parameter_count(config, head) > 10**15
    with pytest.raises(ConfigError, match=r"the configuration describes [\d,]+ parameters, more than fit into \d+ GiB of memory"):
        sewnp.from_config(SEWConfig(num_hidden_layers=10**9))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("family", CONFIGS)
def test_fresh_weights_are_the_same_for_the_same_seed(family):
    config = config_from_dict(json.loads(CONFIGS[family](**(TINY if family == "sew" else TINY_D)).to_json_string()))
    for head in ALL_HEADS:
        first, again, other = (initial_weights(config, head, seed=seed) for seed in (1, 1, 2))
        assert {key: x.shape for key, x in first.items()} == parameter_shapes(config, head)
        assert list(first) == list(parameter_shapes(config, head))
        for key, x in first.items():
            assert x.dtype == np.float32
            np.testing.assert_array_equal(x, again[key])
        assert any((first[key] != other[key]).any() for key in first)
        wide = initial_weights(config, head, seed=1, dtype=np.float64)
        for key, x in wide.items():
            assert x.dtype == np.float64
            if not key.endswith("original0"):
                np.testing.assert_array_equal(x.astype(np.float32), first[key])


@pytest.mark.parametrize("family", CONFIGS)
def test_fresh_weights_are_distributed_as_those_of_transformers(family):
    """Means and deviations of every tensor with enough numbers to tell; constant tensors exactly."""
    theirs = CONFIGS[family](
        hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128, num_conv_pos_embeddings=31,
        conv_dim=(32, 48, 48), conv_kernel=(10, 3, 2), conv_stride=(5, 2, 1), initializer_range=0.05, use_weighted_layer_sum=True,
    )  # fmt: skip
    torch.manual_seed(0)
    for head in ("ctc", "classification"):
        there = {key: x.numpy() for key, x in CLASSES[family, head](theirs).state_dict().items()}
        here = initial_weights(config_from_dict(json.loads(theirs.to_json_string())), head, seed=0)
        for key, x in here.items():
            other = there[key]
            if other.std() < 1e-7:
                np.testing.assert_allclose(x, other, rtol=1e-6, err_msg=key)
                continue
            # five standard errors, of a deviation and of a mean; a normal distribution's are the widest here
            assert abs(x.std() / other.std() - 1) < 5 * math.sqrt(1 / x.size), key
            assert abs(x.mean() - other.mean()) < 5 * other.std() * math.sqrt(2 / x.size), key
            if x.size > 1000:  # uniform where theirs is uniform, normal where theirs is normal
                assert abs(np.abs(x).max() / x.std() - np.abs(other).max() / other.std()) < 1.2, key


def test_fresh_position_kernels_are_what_the_original_means_not_to_draw():
    """Uniform within 1 / sqrt(fan in), torch's default: the intended normal draw goes to a tensor that is thrown away."""
    config = SEWConfig(
        hidden_size=64, num_attention_heads=2, num_hidden_layers=0, conv_dim=(4,), conv_stride=(5,), conv_kernel=(10,)
    )
    v = initial_weights(config, None, seed=0)["sew.encoder.pos_conv_embed.conv.parametrizations.weight.original1"]
    bound = 1 / math.sqrt(64 // 16 * 128)
    assert 0.99 * bound < np.abs(v).max() <= bound
    assert v.std() == pytest.approx(bound / math.sqrt(3), rel=0.01)


def test_fresh_weight_norm_leaves_the_kernel_as_it_was_drawn():
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-15)):
        weights = sewnp.from_config(sewnp.load("digits").config, seed=3, dtype=dtype).weights
        conv = weights["sew"]["encoder"]["pos_conv_embed"]["conv"]
        np.testing.assert_allclose(weight_norm(conv["weight_g"], conv["weight_v"]), conv["weight_v"], rtol=tolerance)
