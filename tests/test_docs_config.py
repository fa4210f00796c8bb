"""docs/config.md is generated, and what it says in words is what the network does: every key is changed, and shows first where the page says."""

import dataclasses
import math
import re
import runpy
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sewnp.checkpoints import nest
from sewnp.config import SEWConfig, SEWDConfig, config_from_dict
from sewnp.errors import ConfigError
from sewnp.layers.disentangled import log_buckets
from sewnp.model import Model
from sewnp.numerics import trace
from sewnp.parameters import Head, parameter_shapes
from sewnp.suite.networks import TINY, TINY_D
from sewnp.types import Array

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "config.md").read_text(encoding="utf-8")
GENERATOR = runpy.run_path(str(DOCS / "site" / "config_page.py"))
KEYS = {key.name: key for keys in GENERATOR["KEYS"].values() for key in keys}
FAMILIES: dict[str, Any] = {"sew": SEWConfig, "sew-d": SEWDConfig}


def test_the_page_is_what_the_code_says() -> None:
    assert GENERATOR["config_page"]() == PAGE, "docs/config.md is not what the code says: python docs/site/config_page.py"


def test_every_key_stands_on_the_page_once() -> None:
    fields = {field.name for family in FAMILIES.values() for field in dataclasses.fields(family)} - {"extra"}
    named = [key.name for keys in GENERATOR["KEYS"].values() for key in keys]
    assert sorted(named) == sorted(fields)


OTHER: dict[str, Any] = {
    "conv_dim": (4, 8),
    "conv_kernel": (8, 3),
    "conv_stride": (4, 2),
    "conv_bias": True,
    "feat_extract_norm": "layer",
    "feat_extract_activation": "relu",
    "squeeze_factor": 3,
    "num_conv_pos_embeddings": 7,
    "num_conv_pos_embedding_groups": 2,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 20,
    "hidden_act": "relu",
    "layer_norm_eps": 0.1,
    "feature_layer_norm_eps": 0.1,
    "relative_attention": False,
    "pos_att_type": ("c2p",),
    "share_att_key": False,
    "norm_rel_ebd": "none",
    "position_buckets": 6,
    "max_position_embeddings": 12,
    "max_relative_positions": 12,
    "vocab_size": 12,
    "pad_token_id": 1,
    "ctc_loss_reduction": "sum",
    "ctc_zero_infinity": True,
    "use_weighted_layer_sum": True,
    "classifier_proj_size": 7,
    "id2label": {i: str(i) for i in range(4)},
    "apply_spec_augment": False,
    "mask_time_length": 5,
    "mask_time_min_masks": 1,
    "mask_feature_length": 5,
    "mask_feature_min_masks": 1,
    "bos_token_id": 5,
    "eos_token_id": 6,
}
"""Another value of each key; 0.3 for the rates of training."""


def run(family: str, key: str, changed: dict[str, Any]) -> dict[str, Array]:
    """All stages of a small model.  A weight depends on its key and shape alone, so that what a change does not reach stays what it is."""
    config = config_from_dict({"model_type": family, **(TINY if family == "sew" else TINY_D), **changed})
    head: Head = "classification" if key in ("use_weighted_layer_sum", "classifier_proj_size", "id2label") else "ctc"
    weights = {
        name: 0.5 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
        for name, shape in parameter_shapes(config, head).items()
    }
    x = np.random.default_rng(0).standard_normal((2, 230))
    hidden = np.zeros((2, config.frames(230)), dtype=bool)
    hidden[:, 3:5] = True
    length = 99 if key == "ctc_zero_infinity" else 2  # longer than the clip: no path spells it
    labels = np.full((2, length), 3) if head == "ctc" else np.array([1, 0])
    return dict(trace(Model(config, nest(weights), head), input_values=x, labels=labels, mask_time_indices=hidden))


def first_difference(one: dict[str, Array], other: dict[str, Array]) -> str:
    for name, found in zip(one, other, strict=False):
        if name != found:
            return found if found not in one else name
        if not np.array_equal(one[name], other[name]):
            return name
    return ""


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (family, name)
        for family, cls in FAMILIES.items()
        for name in KEYS
        if name in {field.name for field in dataclasses.fields(cls)}
    ],
)
def test_a_key_shows_first_where_the_page_says(family: str, name: str) -> None:
    stages = KEYS[name].stages
    expected = "" if not stages else stages[0] if len(stages) == 1 else stages[family == "sew-d"]
    changed = first_difference(run(family, name, {}), run(family, name, {name: OTHER.get(name, 0.3)}))
    assert changed == expected


LEAST: dict[str, Any] = {
    "mask_time_prob": 0.0,
    "conv_dim": (8, 16),
    "relative_attention": False,
    "norm_rel_ebd": "none",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_are_there_when_the_page_says(family: str) -> None:
    """The smallest model has those that are there always, and of the norms of convolutions the first."""
    fields = {field.name for field in dataclasses.fields(FAMILIES[family])}
    config = config_from_dict({"model_type": family, **TINY, **{name: value for name, value in LEAST.items() if name in fields}})
    least = {key.removeprefix(f"{config.prefix}.") for key in parameter_shapes(config)}
    general = {re.sub(r"\.\d+\.", ".{i}.", key) for key in least}
    own = {re.sub(r"\.\d+\.", ".{i}.", key) for key in GENERATOR["shapes_of"](FAMILIES[family], None)}
    always = {key for key in own if GENERATOR["when"](key) == "always"}
    norms = {f"feature_extractor.conv_layers.{{i}}.layer_norm.{leaf}" for leaf in ("weight", "bias")}
    assert general == always | norms
    for key in always | norms:
        assert f"`{key}`" in PAGE or f"`{key.rpartition('.')[0]}`" in PAGE


def test_the_formula_of_the_buckets() -> None:
    """As it stands on the page, in float32."""
    (formula,) = re.findall(r"^sign\(r\) .*\)(?= +beyond)", PAGE, re.M)
    log = lambda x: np.float32(np.log(np.float64(np.float32(x))))  # noqa: E731
    for buckets, m in ((8, 20), (32, 129), (50, 37), (18, 65), (256, 512), (5, 16)):
        a = buckets // 2
        known = {"log": log, "ceil": lambda x: math.ceil(np.float32(x)), "sign": lambda x: 1 if x > 0 else -1, "a": a, "m": m}
        for r in range(-m - 5, m + 6):
            found = eval(formula.replace("|r|", "abs(r)"), known, {"r": r}) if abs(r) > a else r
            assert found == log_buckets(np.array(r), buckets=buckets, max_distance=m), (buckets, m, r)


@pytest.mark.parametrize(
    "values",
    [
        {"hidden_act": "prelu"},
        {"hidden_act": "xielu"},
        {"eos_token_id": [1, 2]},
        {"position_buckets": 1},
        {"position_buckets": 2 * (512 - 1)},
        {"add_adapter": True},
        {"conv_kernel_size": 3},
        {"attention_head_size": 3},
    ],
)
def test_what_the_page_says_is_refused_is_refused(values: dict[str, Any]) -> None:
    (name,) = values
    assert f"`{values[name] if name == 'hidden_act' else name}`" in PAGE.partition("## What transformers documents")[2]
    with pytest.raises(ConfigError, match=name):
        config_from_dict({"model_type": "sew-d", **values})
    config_from_dict({"model_type": "sew-d", "position_buckets": 2 * (512 - 1) - 1, "diversity_loss_weight": 0.1})
