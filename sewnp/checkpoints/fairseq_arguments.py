"""What an original checkpoint of fairseq says of its model, as a configuration of transformers.

Arguments are in dicts, in argparse.Namespaces or in containers of omegaconf, by the age of the file; the latter two are placeholders
here, plain data under the names that they had.  Names and defaults are those of https://github.com/asappresearch/sew.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sewnp.checkpoints.unpickler import Placeholder, kind_of
from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.errors import CheckpointError, ConfigError, brief
from sewnp.files import path_name
from sewnp.parameters import Head

_ACTIVATIONS = {"gelu_fast": "gelu_accurate"}
"""fairseq's names that mean another formula in transformers: there, both are the tanh approximation with all digits."""

# the defaults of the original's dataclasses: hydra saves only what was set
_PRETRAINED_DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default", "encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12, "activation_fn": "gelu", "dropout": 0.1, "attention_dropout": 0.1, "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0, "dropout_input": 0.0, "layer_norm_first": False, "conv_bias": False,
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
    "mask_length": 10, "mask_prob": 0.65, "mask_channel_length": 10, "mask_channel_prob": 0.0, "conv_pos": 128, "conv_pos_groups": 16,
    "squeeze_factor": 2, "squeeze_method": "default", "norm_rel_ebd": "layer_norm", "max_position_embeddings": 512,
    "max_relative_positions": -1, "pos_att_type": "p2c|c2p", "position_buckets": 256, "relative_attention": True, "share_att_key": True,
}  # fmt: skip
_FINETUNED_DEFAULTS: dict[str, Any] = {
    "final_dropout": 0.0, "layerdrop": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0, "dropout_input": 0.0, "dropout": 0.0,
    "mask_length": 10, "mask_prob": 0.5, "mask_channel_length": 10, "mask_channel_prob": 0.0,
}  # fmt: skip

_MOST_LAYERS = 1000
_LONGEST_ARGUMENT = 10_000


def arguments_of(content: Mapping[Any, Any]) -> tuple[Any, Any]:
    """The model's arguments and the task's: two parts of ``cfg``, or, before hydra, all in the one ``args``."""
    cfg, args = content.get("cfg"), content.get("args")
    if cfg is not None:
        return _model(cfg), _get(cfg, "task")
    return args, args


def _model(cfg: Any) -> Any:
    """The model's arguments out of all: ``cfg.model`` where there is one, else the namespace itself."""
    model = _get(cfg, "model")
    return cfg if model is None else model


def _get(node: Any, name: str) -> Any:
    """One argument of a dict, an argparse.Namespace or an omegaconf.DictConfig; None where there is none.  Never walks further."""
    if isinstance(node, Placeholder):
        node = node.state
        if isinstance(node, dict) and "_content" in node:
            node = node["_content"]
    value = node.get(name) if isinstance(node, dict) else None
    if isinstance(value, Placeholder):
        if isinstance(value.state, dict) and "_val" in value.state:  # a leaf of omegaconf
            value = value.state["_val"]
        if isinstance(value, Placeholder) and value.state is None and len(value.arguments) == 1:  # a member of an enumeration
            value = value.arguments[0]
    return value


def scalar(path: Path, node: Any, name: str, default: Any) -> Any:
    """One argument, of the kind that its default has."""
    value = _get(node, name)
    if value is None:
        return default
    kinds: tuple[type, ...] = (int, float) if type(default) is float else (type(default),)
    if type(value) not in kinds or (isinstance(value, str) and len(value) > _LONGEST_ARGUMENT):
        found = brief(value) if isinstance(value, (str, int, float)) else kind_of(value)
        raise CheckpointError(f"{path_name(path)}: {name}: expected a value like {default!r}, found {found}")
    return value


def described_config(path: Path, arguments: Any, head: Head | None, *, deberta: bool) -> Config:
    """The configuration that the arguments describe, with deberta that of a SEW-D.  Raises CheckpointError and ConfigError."""
    encoder = _get(arguments, "w2v_args") if head else arguments
    if encoder is None:
        name = "w2v_args" if head else "cfg or args"
        raise CheckpointError(
            f"{path_name(path)}: {name}: missing, the arguments of the pre-trained model; give a config.json with --config"
        )
    encoder = _model(encoder)
    pretrained = {name: scalar(path, encoder, name, default) for name, default in _PRETRAINED_DEFAULTS.items()}
    training = pretrained | {"layerdrop": pretrained["encoder_layerdrop"], "final_dropout": 0.0}
    if head:
        training = {name: scalar(path, arguments, name, default) for name, default in _FINETUNED_DEFAULTS.items()}
    _check_built(path, pretrained, deberta=deberta)
    convolutions = conv_layers(path, pretrained["conv_feature_layers"])
    fields: dict[str, Any] = {
        "hidden_size": pretrained["encoder_embed_dim"],
        "num_hidden_layers": pretrained["encoder_layers"],
        "num_attention_heads": pretrained["encoder_attention_heads"],
        "intermediate_size": pretrained["encoder_ffn_embed_dim"],
        "squeeze_factor": pretrained["squeeze_factor"],
        "hidden_act": _ACTIVATIONS.get(pretrained["activation_fn"], pretrained["activation_fn"]),
        "feat_extract_norm": "layer" if pretrained["extractor_mode"] == "layer_norm" else "group",
        "conv_dim": [dim for dim, _, _ in convolutions],
        "conv_kernel": [kernel for _, kernel, _ in convolutions],
        "conv_stride": [stride for _, _, stride in convolutions],
        "conv_bias": pretrained["conv_bias"],
        "num_conv_pos_embeddings": pretrained["conv_pos"],
        "num_conv_pos_embedding_groups": pretrained["conv_pos_groups"],
        "hidden_dropout": training["dropout"],
        "activation_dropout": training["activation_dropout"],
        "attention_dropout": training["attention_dropout"],
        "feat_proj_dropout": training["dropout_input"],
        "final_dropout": training["final_dropout"],
        "apply_spec_augment": training["mask_prob"] > 0 or training["mask_channel_prob"] > 0,
        "mask_time_prob": training["mask_prob"],
        "mask_time_length": training["mask_length"],
        "mask_feature_prob": training["mask_channel_prob"],
        "mask_feature_length": training["mask_channel_length"],
    }
    try:
        if not deberta:
            return SEWConfig(**fields, layerdrop=training["layerdrop"])
        names = ("norm_rel_ebd", "max_position_embeddings", "max_relative_positions", "position_buckets", "relative_attention",
                 "share_att_key")  # fmt: skip
        # transformers' script left layer_norm_eps at 1e-5; the original's transformer has 1e-7, the class default
        return SEWDConfig(
            **fields, **{name: pretrained[name] for name in names}, pos_att_type=pretrained["pos_att_type"].split("|")
        )
    except ConfigError as error:
        raise ConfigError(f"{path_name(path)}: its arguments: {error}") from None


def _check_built(path: Path, pretrained: Mapping[str, Any], *, deberta: bool) -> None:
    """Refuse what the original has and transformers, and we, do not."""
    built: dict[str, tuple[Any, ...]] = {"extractor_mode": ("default", "layer_norm"), "squeeze_method": ("default",)}
    if not deberta:
        built["layer_norm_first"] = (False,)
    for name, allowed in built.items():
        if pretrained[name] not in allowed:
            expected = " or ".join(map(repr, allowed))
            raise CheckpointError(f"{path_name(path)}: {name}: expected {expected}, found {brief(pretrained[name])}: neither transformers"
                                  " nor sewnp builds it")  # fmt: skip


def conv_layers(path: Path, text: str) -> list[tuple[int, int, int]]:
    """``[(64, 10, 5)] + [(128, 3, 2), (128, 1, 1)] * 2`` as a list of (channels, kernel, stride).

    The original evaluates this as Python.  Here it is such a sum of lists, repeated or not, or it is refused.
    """
    layers: list[tuple[int, int, int]] = []
    for term in "".join(text.split()).split("+"):
        match = re.fullmatch(r"\[((?:\(\d{1,6},\d{1,6},\d{1,6}\),?)+)\](?:\*(\d{1,4}))?", term, re.ASCII)
        if match is None:
            raise CheckpointError(
                f"{path_name(path)}: conv_feature_layers: expected lists of (channels, kernel, stride), found {brief(text)}"
            )
        listed = [(int(a), int(b), int(c)) for a, b, c in re.findall(r"\((\d+),(\d+),(\d+)\)", match[1])]
        repeats = int(match[2] or 1)
        if len(layers) + len(listed) * repeats > _MOST_LAYERS:
            raise CheckpointError(
                f"{path_name(path)}: conv_feature_layers: expected at most {_MOST_LAYERS} layers, found {brief(text)}"
            )
        layers += listed * repeats
    return layers
