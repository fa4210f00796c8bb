"""Writes docs/config.md: the keys of config.json, epsilons, activations and tensors, from the code:  python docs/site/config_page.py

What is said here in words (an effect, when a tensor is there) is held against the network by tests/test_docs_config.py.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.networks import STAGES
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.networks.stages import weight_of
from sewnp.parameters import parameter_shapes
from sewnp.speech.features import VARIANCE_EPS
from sewnp.suite.cases import DATA

PAGE = Path(__file__).parents[1] / "config.md"
TEMPLATE = Path(__file__).with_name("config_page.md")


class Key(NamedTuple):
    """A key of config.json and what it does."""

    name: str
    effect: str
    stages: tuple[str, ...] = ()
    """Where another value shows first: one stage for both families, or SEW's and SEW-D's; nowhere in inference without any."""
    otherwise: str = "training alone"
    """What is said without any."""


_CONV, _D = "feature_extractor.conv_layers.0", "encoder.encoder.layer.0.attention.self"
_SEW_FF, _D_FF = "encoder.layers.0.feed_forward", "encoder.encoder.layer.0"

KEYS: dict[str, tuple[Key, ...]] = {
    "Convolutions": (
        Key("conv_dim", "channels out of each convolution; as many convolutions as numbers", (f"{_CONV}.conv",)),
        Key("conv_kernel", "taps of each; no padding anywhere, so that `(n - kernel) // stride + 1` frames leave it", (f"{_CONV}.conv",)),
        Key("conv_stride", "step of each; their product, 320, is the samples from one frame to the next", (f"{_CONV}.conv",)),
        Key("conv_bias", "whether they have a bias", (f"{_CONV}.conv",)),
        Key(
            "feat_extract_norm",
            '`"group"`: behind the first convolution alone, each channel over all its frames, padding included. `"layer"`: behind every one,'
            " each frame over its channels",
            (f"{_CONV}.layer_norm",),
        ),
        Key(
            "feat_extract_activation",
            "activation behind every convolution, behind the position convolution, and behind the upsampling",
            (f"{_CONV}.activation",),
        ),
    ),
    "The squeeze, and position": (
        Key("squeeze_factor", "s: frames that become one, by a mean; also the stride of the position convolution", ("encoder.pos_conv_embed.conv",)),
        Key(
            "num_conv_pos_embeddings",
            "K: taps of the position convolution, padded by `K // 2` on both sides; of an even K the last frame is dropped",
            ("encoder.pos_conv_embed.conv.weight",),
        ),
        Key("num_conv_pos_embedding_groups", "G: its groups, blocks of H / G channels", ("encoder.pos_conv_embed.conv.weight",)),
        Key(
            "hidden_size",
            "H: width of the transformer. Where the last of `conv_dim` is as wide there is no `feature_projection`",
            ("feature_projection",),
        ),
    ),
    "The transformer": (
        Key("num_hidden_layers", "layers; 0 is allowed", ("encoder.layers.1.attention.q", "encoder.encoder.layer.1.attention.self.q")),
        Key("num_attention_heads", "h: heads, blocks of d = H / h channels", ("encoder.layers.0.attention.q", f"{_D}.q")),
        Key("intermediate_size", "I: width within the feed-forward", (f"{_SEW_FF}.intermediate_dense", f"{_D_FF}.intermediate.dense")),
        Key("hidden_act", "activation within the feed-forward", (f"{_SEW_FF}.activation", f"{_D_FF}.intermediate.activation")),
        Key("layer_norm_eps", "epsilon, [see below](#epsilons)", ("layer_norm", "encoder.encoder.LayerNorm")),
        Key("feature_layer_norm_eps", "epsilon, [see below](#epsilons)", ("", "layer_norm")),
    ),
    "Positions of SEW-D": (
        Key(
            "relative_attention",
            "whether attention knows positions. Without, there is no table, and the scale of the scores still counts the terms of `pos_att_type`",
            ("", "encoder.encoder.rel_embeddings"),
        ),
        Key(
            "pos_att_type",
            'which terms are added to the scores, of `"c2p"` and `"p2c"`; other words are ignored.'
            " All scores are divided by sqrt(d (1 + terms)), rounded to float32",
            ("", f"{_D}.content"),
        ),
        Key(
            "share_att_key",
            "whether the table goes through the projections of keys and queries, or through `pos_key_proj` and `pos_query_proj`",
            ("", f"{_D}.pos_k"),
        ),
        Key(
            "norm_rel_ebd",
            'words with `|` between, in any case; where `layer_norm` is one of them, the table is normalised, once. `"none"`, or anything else: not',
            ("", "encoder.encoder.LayerNorm"),
        ),
        Key(
            "position_buckets",
            "buckets in each direction; 0 or less: distances as they are. The table has twice as many rows as buckets, or as `max_distance`",
            ("", "encoder.encoder.rel_embeddings"),
        ),
        Key("max_position_embeddings", "`max_distance`, unless the next key says it", ("", "encoder.encoder.relative_positions")),
        Key("max_relative_positions", "`max_distance` where it is 1 or more", ("", "encoder.encoder.relative_positions")),
    ),
    "Heads and losses": (
        Key("vocab_size", "V: tokens of the CTC head", ("logits",)),
        Key("pad_token_id", "the blank; labels that equal it vanish, as -100 does", ("ctc.alpha",)),
        Key(
            "ctc_loss_reduction",
            '`"mean"`: each loss by its number of labels, at least 1, then the mean over clips; `"sum"`; `"none"`: one a clip',
            ("loss",),
        ),
        Key("ctc_zero_infinity", "whether an infinite loss, of a text that no path spells, counts as 0", ("ctc.losses",)),
        Key(
            "use_weighted_layer_sum",
            "whether the classification head mixes all hidden states, the first included, by softmaxed `layer_weights`; its mean then counts a"
            " clip's full-rate frames, as far as there are squeezed ones",
            ("weighted_layers",),
        ),
        Key("classifier_proj_size", "P: width of the classification head's projection", ("projector",)),
        Key(
            "id2label",
            "labels by number; how many there are is the width of the classifier. `num_labels` in a file is read where this is not there",
            ("logits",),
        ),
    ),
    "Training, and what no number depends on": (
        Key("apply_spec_augment", "whether `mask_time_indices` are honoured, in inference too, and masks drawn in training", ("masked_spec_embed",)),
        Key("mask_time_prob", "share of frames that training hides; where this and `mask_feature_prob` are 0, the model has no `masked_spec_embed`"),
        Key("mask_time_length", "frames in a row that are hidden"),
        Key("mask_time_min_masks", "at least so many spans a clip"),
        Key("mask_feature_prob", "share of channels that training sets to zero"),
        Key("mask_feature_length", "channels in a row"),
        Key("mask_feature_min_masks", "at least so many spans a clip"),
        Key("hidden_dropout", ""),
        Key("activation_dropout", ""),
        Key("attention_dropout", ""),
        Key("feat_proj_dropout", ""),
        Key("final_dropout", ""),
        Key("layerdrop", "share of layers that training leaves out"),
        Key("initializer_range", "standard deviation of fresh weights", otherwise="fresh weights"),
        Key("bos_token_id", "kept; nothing reads it", otherwise="nowhere"),
        Key("eos_token_id", "kept; nothing reads it", otherwise="nowhere"),
    ),
}  # fmt: skip
"""Every field of both configurations, once."""

SIZES: dict[str, Any] = {
    "hidden_size": 840,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 1009,
    "conv_dim": (17, 23),
    "conv_kernel": (11, 7),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 13,
    "num_conv_pos_embedding_groups": 8,
    "vocab_size": 31,
    "classifier_proj_size": 37,
    "id2label": {i: f"LABEL_{i}" for i in range(41)},
    "conv_bias": True,
    "use_weighted_layer_sum": True,
}
"""All sizes different, so that a shape tells what it is made of."""

LETTERS = {
    840: "H", 1680: "s H", 105: "H / G", 1009: "I", 17: "C", 23: "C", 11: "k", 7: "k", 13: "K", 31: "V", 37: "P", 41: "L", 86: "R", 1: "1",
    2: "layers + 1",
}  # fmt: skip

ABSENT = "–"

WHEN: dict[str, str] = {
    "masked_spec_embed": "unless `mask_time_prob` and `mask_feature_prob` are both 0; a checkpoint may lack it",
    "feature_extractor.conv_layers.{i}.conv.bias": "`conv_bias`",
    "feature_extractor.conv_layers.{i}.layer_norm": 'of the first; of all with `feat_extract_norm = "layer"`',
    "feature_projection": "unless the last of `conv_dim` is H",
    "encoder.encoder.rel_embeddings.weight": "`relative_attention`",
    "encoder.encoder.LayerNorm": "`norm_rel_ebd` says `layer_norm`, with or without `relative_attention`",
    "encoder.encoder.layer.{i}.attention.self.pos_key_proj": "`share_att_key` is false and there is c2p",
    "encoder.encoder.layer.{i}.attention.self.pos_query_proj": "`share_att_key` is false and there is p2c",
    "lm_head": "CTC head",
    "layer_weights": "classification head, `use_weighted_layer_sum`",
    "projector": "classification head",
    "classifier": "classification head",
}
"""Tensors that are not always there, by their key or module."""


def config_page() -> str:
    """The whole page in Markdown: the template, its marks replaced by tables."""
    marks = {
        "keys": "\n".join(f"### {title}\n\n{_keys(keys)}\n" for title, keys in KEYS.items()).strip(),
        "epsilons": _epsilons(),
        "activations": _activations(),
        "tensors of both": _tensors("both"),
        "tensors of SEW": _tensors("sew"),
        "tensors of SEW-D": _tensors("sew-d"),
        "tensors of heads": _tensors("heads"),
    }
    return re.sub(r"<!-- table: ([\w -]+) -->", lambda found: marks.pop(found[1]), TEMPLATE.read_text(encoding="utf-8"))


def default_of(config: type[SEWConfig] | type[SEWDConfig], name: str) -> str:
    """The default of a field as JSON; a dash where the family does not have it."""
    found = next((field for field in dataclasses.fields(config) if field.name == name), None)
    if found is None:
        return ABSENT
    value = found.default if found.default is not dataclasses.MISSING else found.default_factory()  # type: ignore[misc]
    return f"`{json.dumps(value)}`"


def dropped(name: str) -> tuple[str, ...]:
    """The stages that training drops at the rate of this key."""
    return tuple(stage.name for stage in STAGES if stage.dropout == name)


def _keys(keys: tuple[Key, ...]) -> str:
    return "\n".join(["| key | default | what it does | shows first at |", "|---|---|---|---|", *map(_key, keys)])


def _key(key: Key) -> str:
    sew, sew_d = default_of(SEWConfig, key.name), default_of(SEWDConfig, key.name)
    own = [sew] if sew == sew_d else [f"{family}{value}" for family, value in (("", sew), ("SEW-D: ", sew_d)) if value != ABSENT]
    default = ("SEW: " if sew_d == ABSENT else "") + ", ".join(own)
    effect, stages = key.effect, [f"`{stage}`" for stage in dict.fromkeys(key.stages) if stage]
    if not effect:
        effect = "rate at which training drops values of " + ", ".join(f"`{stage}`" for stage in dropped(key.name))
    return f"| `{key.name}` | {default} | {effect} | {', '.join(stages) or key.otherwise} |"


def _epsilons() -> str:
    sew, sew_d = SEWConfig(), SEWDConfig()
    rows = [
        ("the feature extractor's normalisation, under the root", "constant", VARIANCE_EPS, VARIANCE_EPS),
        ("`feature_extractor.conv_layers.{i}.layer_norm`, group norm or layer norm", "constant", CONV_NORM_EPS, CONV_NORM_EPS),
        (
            "`layer_norm`, behind the convolutions",
            "SEW: `layer_norm_eps`; SEW-D: `feature_layer_norm_eps`",
            sew.frames_eps,
            sew_d.frames_eps,
        ),
        ("weight norm of the position convolution", "none: a tap of zeros is NaN", None, None),
        ("`encoder.layer_norm`, behind the squeeze", "`layer_norm_eps`", sew.layer_norm_eps, None),
        ("`encoder.encoder.LayerNorm`, of the position table", "`layer_norm_eps`", None, sew_d.layer_norm_eps),
        ("both norms of each layer", "`layer_norm_eps`", sew.layer_norm_eps, sew_d.layer_norm_eps),
    ]
    lines = [f"| {where} | {key} | {_number(a)} | {_number(b)} |" for where, key, a, b in rows]
    return "\n".join(["| norm | set by | SEW | SEW-D |", "|---|---|---|---|", *lines])


def _number(value: float | None) -> str:
    return ABSENT if value is None else f"{value:g}"


def _activations() -> str:
    return re.search(r"^\| name in the configuration.*?(?=\n\n)", (DATA / "README.md").read_text(encoding="utf-8"), re.M | re.S)[0]  # type: ignore[index]


def largest(family: type[SEWConfig] | type[SEWDConfig]) -> Config:
    """A configuration of the family with every tensor that it can have."""
    return (
        SEWConfig(**SIZES)
        if family is SEWConfig
        else SEWDConfig(**SIZES, position_buckets=43, max_position_embeddings=64, share_att_key=False)
    )


def _tensors(group: str) -> str:
    base = {family: shapes_of(family, None) for family in (SEWConfig, SEWDConfig)}
    shared = base[SEWConfig].keys() & base[SEWDConfig].keys()
    heads = {
        key: x for head in ("ctc", "classification") for key, x in shapes_of(SEWConfig, head).items() if key not in base[SEWConfig]
    }
    found = {
        "both": {key: x for key, x in base[SEWConfig].items() if key in shared},
        "sew": {key: x for key, x in base[SEWConfig].items() if key not in shared},
        "sew-d": {key: x for key, x in base[SEWDConfig].items() if key not in shared},
        "heads": heads,
    }[group]
    rows: dict[str, list[str]] = {}
    for key, shape in found.items():
        general = weight_of(key)
        letters = "(" + ", ".join(LETTERS[size] for size in shape) + ")"
        rows.setdefault(general, [])
        if letters not in rows[general]:
            rows[general].append(letters)
    lines = []
    for key, shapes in rows.items():
        module, _, leaf = key.rpartition(".")
        weight, bias = f"{module}.weight", f"{module}.bias"
        paired = leaf in ("weight", "bias") and {weight, bias} <= rows.keys() and when(weight) == when(bias)
        shown = " then ".join(shapes)
        if not paired:
            lines.append(f"| `{key}` | {shown} | {when(key)} |")
        elif key == weight:
            lines.append(f"| `{module}` | {shown}; {rows[bias][0]} | {when(key)} |")
    return "\n".join(["| tensor | shape | there |", "|---|---|---|", *lines])


def shapes_of(family: type[SEWConfig] | type[SEWDConfig], head: Any) -> dict[str, tuple[int, ...]]:
    """Key, without the family's prefix, and shape of every tensor that a model of the family can have."""
    return {re.sub(r"^sew(_d)?\.", "", key): shape for key, shape in parameter_shapes(largest(family), head).items()}


def when(key: str) -> str:
    """When a tensor is there, in words."""
    return WHEN.get(key) or WHEN.get(key.rpartition(".")[0], "always")


if __name__ == "__main__":
    PAGE.write_text(config_page(), encoding="utf-8")
