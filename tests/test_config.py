"""Configurations: transformers' defaults, its files back and forth, and a message for everything that is wrong."""

import dataclasses
import json
import time

import pytest
import transformers

import sewnp
from originals import CONFIGS
from sewnp.config import SEWConfig, SEWDConfig, config_from_dict
from sewnp.errors import ConfigError, SewError
from sewnp.loading import EMBEDDED, embedded

OURS = {"sew": SEWConfig, "sew-d": SEWDConfig}
families = pytest.mark.parametrize("family", OURS)


def unread(values):
    """A dict as it comes back from a JSON file."""
    return json.loads(json.dumps(values))


@families
def test_defaults_are_those_of_transformers(family):
    ours, theirs = OURS[family](), CONFIGS[family]()
    for field in dataclasses.fields(ours):
        if field.name == "extra":
            continue
        mine = getattr(ours, field.name)
        other = getattr(theirs, field.name, "undeclared")
        if field.name == "max_relative_positions":  # read with getattr there
            assert other == "undeclared"
            assert mine == -1
            continue
        assert (list(mine) if isinstance(mine, tuple) else mine) == (list(other) if isinstance(other, tuple) else other), field.name


@families
def test_no_field_of_transformers_is_missing(family):
    generic = {field.name for field in dataclasses.fields(transformers.PreTrainedConfig)} - {
        "id2label",
        "pad_token_id",
        "bos_token_id",
    }
    theirs = {field.name for field in dataclasses.fields(CONFIGS[family])} - generic
    missing = theirs - {field.name for field in dataclasses.fields(OURS[family])}
    assert missing <= {"label2id", "num_labels", "num_feat_extract_layers", "eos_token_id"}, missing


@families
@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"num_labels": 5},
        {"id2label": {0: "yes", 1: "no", 2: "maybe"}, "label2id": {"yes": 0, "no": 1, "maybe": 2}},
        {"vocab_size": 40, "pad_token_id": 28, "ctc_loss_reduction": "sum", "ctc_zero_infinity": True},
        {"conv_dim": (3, 4), "conv_stride": (5, 2), "conv_kernel": (10, 3), "conv_bias": True, "feat_extract_norm": "layer"},
        {"layer_norm_eps": 1e-3, "use_weighted_layer_sum": True, "squeeze_factor": 3},
    ],
)
def test_config_json_of_transformers_round_trips(family, changed):
    theirs = CONFIGS[family](**changed)
    written = json.loads(theirs.to_json_string())
    ours = config_from_dict(written)
    assert unread(ours.to_dict()) == written
    assert type(ours).from_dict(unread(ours.to_dict())) == ours
    again = CONFIGS[family].from_dict(unread(ours.to_dict()))
    assert again.to_dict() == theirs.to_dict()


@pytest.mark.parametrize("name", EMBEDDED)
def test_config_json_of_the_embedded_models_round_trips(name):
    written = json.loads((embedded(name) / "config.json").read_text())
    assert unread(config_from_dict(written).to_dict()) == written


HUB = {
    "activation_dropout": 0.1,
    "apply_spec_augment": True,
    "architectures": ["SEWForCTC"],
    "attention_dropout": 0.0,
    "bos_token_id": 1,
    "classifier_proj_size": 256,
    "conv_bias": False,
    "conv_dim": [64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512],
    "conv_kernel": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
    "conv_stride": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    "ctc_loss_reduction": "mean",
    "ctc_zero_infinity": False,
    "eos_token_id": 2,
    "feat_extract_activation": "gelu",
    "feat_extract_norm": "group",
    "feat_proj_dropout": 0.0,
    "final_dropout": 0.0,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout": 0.0,
    "hidden_size": 512,
    "initializer_range": 0.02,
    "intermediate_size": 2048,
    "layer_norm_eps": 1e-05,
    "layerdrop": 0.1,
    "mask_feature_length": 64,
    "mask_feature_prob": 0.5,
    "mask_time_length": 10,
    "mask_time_prob": 0.65,
    "model_type": "sew",
    "num_attention_heads": 8,
    "num_conv_pos_embedding_groups": 16,
    "num_conv_pos_embeddings": 31,
    "num_feat_extract_layers": 13,
    "num_hidden_layers": 12,
    "pad_token_id": 0,
    "squeeze_factor": 2,
    "torch_dtype": "float32",
    "transformers_version": "4.12.0.dev0",
    "use_weighted_layer_sum": False,
    "vocab_size": 32,
}
"""A fine-tuned sew-tiny as it lies on the hub: written by a release that did not know mask_*_min_masks yet."""

HUB_D = HUB | {
    "architectures": ["SEWDForCTC"],
    "ctc_loss_reduction": "sum",
    "feature_extractor_type": None,
    "hidden_size": 384,
    "intermediate_size": 1536,
    "layerdrop": 0.05,  # no field of SEW-D
    "max_position_embeddings": 512,
    "model_type": "sew-d",
    "norm_rel_ebd": "layer_norm",
    "num_attention_heads": 6,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "position_buckets": 256,
    "relative_attention": True,
    "share_att_key": True,
}
"""A SEW-D of the same days: GELU by its other name, layer_norm_eps of SEW, and no feature_layer_norm_eps."""


@pytest.mark.parametrize("hub", [HUB, HUB_D], ids=["sew", "sew-d"])
def test_configurations_of_the_hub_load_and_lose_nothing(hub):
    config = config_from_dict(hub)
    written = unread(config.to_dict())
    assert {key: written[key] for key in hub} == hub
    assert (config.mask_time_min_masks, config.mask_feature_min_masks) == (2, 0)  # absent, hence the defaults
    assert config.hop == 320
    assert config.receptive_field == 400
    if hub is HUB_D:
        assert config.layer_norm_eps == 1e-5
        assert config.feature_layer_norm_eps == 1e-5
        assert config.extra["layerdrop"] == 0.05
    theirs = CONFIGS[hub["model_type"]].from_dict(written)
    assert theirs.hidden_size == hub["hidden_size"]


def test_lists_become_tuples_and_whole_numbers_floats():
    config = SEWConfig.from_dict(
        {"conv_dim": [3], "conv_stride": [5], "conv_kernel": [10], "layer_norm_eps": 1, "hidden_dropout": 0}
    )
    assert config.conv_dim == (3,)
    assert isinstance(config.layer_norm_eps, float)
    assert isinstance(config.hidden_dropout, float)


@families
def test_labels(family):
    cls = OURS[family]
    assert cls().num_labels == 2
    assert cls.from_dict({"num_labels": 4}).id2label == {i: f"LABEL_{i}" for i in range(4)}
    named = cls.from_dict({"id2label": {"1": "b", "0": "a"}})
    assert named.id2label == {0: "a", 1: "b"}
    assert unread(named.to_dict())["id2label"] == {"0": "a", "1": "b"}
    assert named.to_dict()["label2id"] == {"a": 0, "b": 1}


WRONG = [
    ({"vocab_size": 0}, "vocab_size: expected a number of 1 or more, found 0"),
    ({"vocab_size": None}, "vocab_size: expected .*, found None"),
    ({"vocab_size": True}, "vocab_size: expected .*, found True"),
    ({"hidden_size": "768"}, "hidden_size: expected .*, found '768'"),
    ({"hidden_size": 12.0}, r"hidden_size: expected .*, found 12\.0"),
    ({"hidden_size": -1}, "hidden_size: expected a number of 1 or more, found -1"),
    ({"num_hidden_layers": -1}, "num_hidden_layers: expected a number of 0 or more, found -1"),
    ({"num_attention_heads": 7}, "num_attention_heads: expected a divisor of hidden_size=768, found 7"),
    ({"num_attention_heads": 0}, "num_attention_heads: expected a number of 1 or more, found 0"),
    ({"intermediate_size": 0}, "intermediate_size: expected a number of 1 or more, found 0"),
    ({"squeeze_factor": 0}, "squeeze_factor: expected a number of 1 or more, found 0"),
    ({"classifier_proj_size": 0}, "classifier_proj_size: expected a number of 1 or more, found 0"),
    ({"num_conv_pos_embeddings": 0}, "num_conv_pos_embeddings: expected a number of 1 or more, found 0"),
    ({"num_conv_pos_embedding_groups": 5}, "num_conv_pos_embedding_groups: expected a divisor of hidden_size=768, found 5"),
    ({"hidden_dropout": 1.5}, r"hidden_dropout: expected a number from 0 to 1, found 1\.5"),
    ({"mask_time_prob": -0.1}, r"mask_time_prob: expected a number from 0 to 1, found -0\.1"),
    ({"mask_time_length": 2.5}, r"mask_time_length: expected .*, found 2\.5"),
    ({"layer_norm_eps": -1e-5}, "layer_norm_eps: expected a number of 0 or more, found -1e-05"),
    ({"layer_norm_eps": float("nan")}, "layer_norm_eps: expected .*, found nan"),
    ({"layer_norm_eps": "1e-5"}, "layer_norm_eps: expected .*, found '1e-5'"),
    ({"feat_extract_norm": "batch"}, "feat_extract_norm: expected 'group' or 'layer', found 'batch'"),
    ({"ctc_loss_reduction": "max"}, "ctc_loss_reduction: expected 'mean', 'sum' or 'none', found 'max'"),
    ({"ctc_zero_infinity": 1}, "ctc_zero_infinity: expected .*, found 1"),
    ({"conv_bias": "no"}, "conv_bias: expected .*, found 'no'"),
    ({"conv_dim": 5}, "conv_dim: expected a list, found 5"),
    ({"conv_dim": [64, "x"]}, r"conv_dim\[1\]: expected .*, found 'x'"),
    ({"conv_dim": [64]}, "conv_dim, conv_stride, conv_kernel: expected equal lengths of 1 or more, found .*'conv_dim': 1"),
    ({"conv_dim": [], "conv_stride": [], "conv_kernel": []}, "conv_dim, conv_stride, conv_kernel: expected equal lengths of 1"),
    ({"conv_dim": [4], "conv_stride": [0], "conv_kernel": [10]}, "conv_stride: expected numbers of 1 or more"),
    ({"conv_dim": [4], "conv_stride": [5], "conv_kernel": [-1]}, "conv_kernel: expected numbers of 1 or more"),
    ({"num_feat_extract_layers": 7}, "num_feat_extract_layers: expected 13, the length of conv_dim, found 7"),
    ({"pad_token_id": "0"}, "pad_token_id: expected .*, found '0'"),
    ({"num_labels": 0}, "num_labels: expected a whole number from 1 to 100000, found 0"),
    ({"num_labels": "3"}, "num_labels: expected a whole number from 1 to 100000, found '3'"),
    ({"num_labels": 10**9}, "num_labels: expected a whole number from 1 to 100000, found 1000000000"),
    ({"num_labels": True}, "num_labels: expected a whole number from 1 to 100000, found True"),
    ({"id2label": {}}, "id2label: expected a dict from 0, 1, ... to names"),
    ({"id2label": ["a"]}, "id2label: expected a dict from 0, 1, ... to names"),
    ({"id2label": {"a": "b"}}, "id2label: expected whole numbers as keys"),
    ({"id2label": {"0": "b", "2": "c"}}, r"id2label: expected the keys 0, 1, \.\.\. without gaps"),
    ({"id2label": {"0": 5}}, r"id2label\[0\]: expected a string, found 5"),
    ({"hidden_act": "prelu"}, "hidden_act: activation 'prelu' has learnable parameters"),
    ({"feat_extract_activation": "xielu"}, "feat_extract_activation: activation 'xielu' has learnable parameters"),
    ({"hidden_act": "nonsense"}, "hidden_act: unknown activation 'nonsense'; expected one of"),
    ({"hidden_act": None}, "hidden_act: expected .*, found None"),
    ({"add_adapter": True}, "add_adapter: expected false"),
    ({"model_type": "wav2vec2"}, "model_type: expected .*, found 'wav2vec2'"),
]
WRONG_SEW = [({"layerdrop": 2}, "layerdrop: expected a number from 0 to 1, found 2")]
WRONG_D = [
    ({"conv_kernel_size": 3}, "conv_kernel_size: expected 0: the convolution layer of DeBERTa is not built, found 3"),
    ({"attention_head_size": 32}, "attention_head_size: expected 64, hidden_size / num_attention_heads, found 32"),
    ({"pos_att_type": "p2c|c2p"}, "pos_att_type: expected a list, found 'p2c|c2p'"),
    ({"pos_att_type": None}, "pos_att_type: expected a list, found None"),
    ({"pos_att_type": ["p2c", 1]}, r"pos_att_type\[1\]: expected .*, found 1"),
    ({"share_att_key": "yes"}, "share_att_key: expected .*, found 'yes'"),
    ({"feature_layer_norm_eps": -1.0}, r"feature_layer_norm_eps: expected a number of 0 or more, found -1\.0"),
    ({"max_position_embeddings": 0}, "max_position_embeddings: expected a number of 1 or more, found 0"),
    ({"position_buckets": 1}, r"position_buckets: expected 0 or less, or from 2 to 2 \* \(512 - 2\), found 1"),
    ({"max_position_embeddings": 100}, r"position_buckets: expected 0 or less, or from 2 to 2 \* \(100 - 2\), found 256"),
    ({"norm_rel_ebd": None}, "norm_rel_ebd: expected .*, found None"),
]
CASES = [
    *[(family, *case) for family in OURS for case in WRONG],
    *[("sew", *case) for case in WRONG_SEW],
    *[("sew-d", *case) for case in WRONG_D],
]


@pytest.mark.parametrize(("family", "values", "message"), CASES, ids=[f"{case[0]}-{next(iter(case[1]))}" for case in CASES])
def test_wrong_fields_are_refused_by_name(family, values, message):
    start = time.perf_counter()
    with pytest.raises(ConfigError, match=message.replace("|", r"\|")) as caught:
        OURS[family].from_dict(values)
    assert isinstance(caught.value, SewError)
    assert isinstance(caught.value, ValueError)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("values", [{}, {"model_type": "wav2vec2"}, {"model_type": None}, {"model_type": ["sew"]}])
def test_other_families_are_refused(values):
    with pytest.raises(ConfigError, match="model_type: expected 'sew' or 'sew-d', found"):
        config_from_dict(values)


def test_bucket_limits_are_those_of_the_arithmetic():
    """The largest bucket count that is let through still computes; one more would divide by log(1) = 0."""
    from sewnp.layers import relative_positions

    config = SEWDConfig(max_position_embeddings=16, position_buckets=2 * (16 - 2))
    assert relative_positions(40, buckets=config.position_buckets, max_distance=16).shape == (40, 40)
    with pytest.raises(ConfigError, match="position_buckets"):
        SEWDConfig(max_position_embeddings=16, position_buckets=2 * (16 - 1))
    SEWDConfig(max_position_embeddings=16, position_buckets=256, relative_attention=False)  # nobody asks


def test_undeclared_extras_that_say_nothing_are_kept():
    for extras in ({"conv_kernel_size": 0}, {"attention_head_size": 64}, {"add_adapter": False}):
        assert SEWDConfig.from_dict(extras).to_dict().items() >= extras.items()
    assert SEWConfig.from_dict({"conv_kernel_size": 3}).extra == {"conv_kernel_size": 3}  # means nothing to SEW


def test_max_relative_positions_replaces_the_positions_where_it_is_given():
    assert SEWDConfig().max_distance == 512
    assert SEWDConfig(max_relative_positions=300).max_distance == 300
    assert SEWDConfig(position_buckets=-1, max_relative_positions=300).span == 300
    assert SEWDConfig(max_relative_positions=300).span == 256
    assert "max_relative_positions" not in SEWDConfig().to_dict()
    assert SEWDConfig(max_relative_positions=300).to_dict()["max_relative_positions"] == 300


def test_selu_is_accepted_where_transformers_only_documents_it():
    assert SEWConfig(hidden_act="selu", feat_extract_activation="selu").hidden_act == "selu"


def test_configurations_cannot_be_changed_and_are_keyword_only():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SEWConfig().hidden_size = 5
    with pytest.raises(TypeError):
        SEWConfig(32)
    with pytest.raises(TypeError):
        SEWConfig(hiden_size=5)


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 719, 720, 16000, 16079, 16080, 93680])
def test_frames_are_those_of_transformers(samples):
    theirs = max(0, (samples - 400) // 320 + 1)
    assert SEWConfig().frames(samples) == theirs
    model = transformers.SEWModel
    lengths = model._get_feat_extract_output_lengths(type("Fake", (), {"config": transformers.SEWConfig()})(), samples)
    assert int(lengths) == (samples - 400) // 320 + 1


def test_the_fewest_samples_for_frames_are_the_inverse_of_frames():
    config = SEWDConfig(conv_dim=(3, 4, 5), conv_kernel=(10, 3, 2), conv_stride=(5, 2, 3), squeeze_factor=3)
    for frames in range(1, 30):
        assert config.frames(config.samples_for(frames)) == frames
        assert config.frames(config.samples_for(frames) - 1) == frames - 1
    assert config.minimum_samples == config.samples_for(3)
    assert SEWConfig().minimum_samples == 720
    assert sewnp.preset("sew-tiny").hop == 320


def test_a_configuration_is_equal_to_itself_read_back_and_can_be_changed():
    for config in (SEWConfig(), SEWDConfig(position_buckets=32)):
        assert type(config).from_dict(config.to_dict()) == config
        changed = dataclasses.replace(
            type(config).from_dict(config.to_dict()), conv_dim=(8, 8), conv_kernel=(3, 3), conv_stride=(2, 2)
        )
        assert changed.to_dict()["num_feat_extract_layers"] == 2


def test_extra_keys_are_no_fields():
    with pytest.raises(ConfigError, match="extra: expected a dict of keys that are no fields"):
        SEWConfig(extra={"hidden_size": 5})


def test_only_a_dict_describes_a_configuration():
    with pytest.raises(ConfigError, match="expected a dict of fields, found list"):
        SEWConfig.from_dict([1])
