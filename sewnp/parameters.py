"""Which tensors a model has: the one source for load checks, initialisation and parameter counts.

Keys are those that transformers 5 writes: the family's prefix for the base model, none for a head, and ``parametrizations.weight.original0``
and ``original1`` for the position convolution's weight norm pair.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from sewnp.config import Config, SEWConfig, SEWDConfig

Head: TypeAlias = Literal["ctc", "classification"]
"""The name of a head; None stands for the base model."""

HEADS: tuple[Head, ...] = ("ctc", "classification")

Shapes: TypeAlias = dict[str, tuple[int, ...]]


def parameter_shapes(config: Config, head: Head | None = None) -> Shapes:
    """Key and shape of every tensor of the model, in the order of computation."""
    base = _frontend(config) | _ENCODERS[config.model_type](config) | _upsample(config)
    return {f"{config.prefix}.{key}": shape for key, shape in base.items()} | head_shapes(config, head)


def is_optional(key: str) -> bool:
    """Whether a checkpoint may lack a tensor that its configuration speaks of: only who hides frames needs the vector for that."""
    return key.endswith(".masked_spec_embed")


def head_shapes(config: Config, head: Head | None) -> Shapes:
    """Key and shape of the head's own tensors."""
    if head == "ctc":
        return _linear("lm_head", config.hidden_size, config.vocab_size)
    if head == "classification":
        weighted: Shapes = {"layer_weights": (config.num_hidden_layers + 1,)} if config.use_weighted_layer_sum else {}
        projector = _linear("projector", config.hidden_size, config.classifier_proj_size)
        return weighted | projector | _linear("classifier", config.classifier_proj_size, config.num_labels)
    return {}


def parameter_count(config: Config, head: Head | None = None) -> int:
    """How many numbers the model learns.  Takes no memory however absurd the configuration: one layer is counted and multiplied."""
    weighted = config.use_weighted_layer_sum and head == "classification"
    none, one = (
        sum(map(math.prod, parameter_shapes(replace(config, num_hidden_layers=layers), head).values())) - weighted * (layers + 1)
        for layers in (0, 1)
    )
    return none + (one - none) * config.num_hidden_layers + weighted * (config.num_hidden_layers + 1)


def _frontend(config: Config) -> Shapes:
    shapes: Shapes = {}
    if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
        shapes["masked_spec_embed"] = (config.hidden_size,)
    channels = 1
    for i, (dim, kernel) in enumerate(zip(config.conv_dim, config.conv_kernel, strict=True)):
        scope = f"feature_extractor.conv_layers.{i}"
        shapes[f"{scope}.conv.weight"] = (dim, channels, kernel)
        if config.conv_bias:
            shapes[f"{scope}.conv.bias"] = (dim,)
        if config.feat_extract_norm == "layer" or i == 0:
            shapes |= _norm(f"{scope}.layer_norm", dim)
        channels = dim
    shapes |= _norm("layer_norm", channels)
    if channels != config.hidden_size:
        shapes |= _linear("feature_projection", channels, config.hidden_size)
    hidden, kernel = config.hidden_size, config.num_conv_pos_embeddings
    conv = "encoder.pos_conv_embed.conv"
    shapes[f"{conv}.bias"] = (hidden,)
    shapes[f"{conv}.parametrizations.weight.original0"] = (1, 1, kernel)
    shapes[f"{conv}.parametrizations.weight.original1"] = (hidden, hidden // config.num_conv_pos_embedding_groups, kernel)
    return shapes


def _sew_encoder(config: SEWConfig) -> Shapes:
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes = _norm("encoder.layer_norm", hidden)
    for i in range(config.num_hidden_layers):
        scope = f"encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{scope}.attention.{name}", hidden, hidden)
        shapes |= _norm(f"{scope}.layer_norm", hidden)
        shapes |= _linear(f"{scope}.feed_forward.intermediate_dense", hidden, wide)
        shapes |= _linear(f"{scope}.feed_forward.output_dense", wide, hidden)
        shapes |= _norm(f"{scope}.final_layer_norm", hidden)
    return shapes


def _sew_d_encoder(config: SEWDConfig) -> Shapes:
    hidden, wide = config.hidden_size, config.intermediate_size
    shapes: Shapes = {}
    if config.relative_attention:
        shapes["encoder.encoder.rel_embeddings.weight"] = (2 * config.span, hidden)
    if config.normalizes_positions:
        shapes |= _norm("encoder.encoder.LayerNorm", hidden)
    projections = ["query_proj", "key_proj", "value_proj"]
    if not config.share_att_key:
        projections += [{"c2p": "pos_key_proj", "p2c": "pos_query_proj"}[term] for term in config.position_terms]
    for i in range(config.num_hidden_layers):
        scope = f"encoder.encoder.layer.{i}"
        for name in projections:
            shapes |= _linear(f"{scope}.attention.self.{name}", hidden, hidden)
        shapes |= _linear(f"{scope}.attention.output.dense", hidden, hidden) | _norm(f"{scope}.attention.output.LayerNorm", hidden)
        shapes |= _linear(f"{scope}.intermediate.dense", hidden, wide)
        shapes |= _linear(f"{scope}.output.dense", wide, hidden) | _norm(f"{scope}.output.LayerNorm", hidden)
    return shapes


_ENCODERS: dict[str, Callable[[Any], Shapes]] = {"sew": _sew_encoder, "sew-d": _sew_d_encoder}


def _upsample(config: Config) -> Shapes:
    return _linear("encoder.upsample.projection", config.hidden_size, config.squeeze_factor * config.hidden_size)


def _linear(scope: str, inputs: int, outputs: int) -> Shapes:
    return {f"{scope}.weight": (outputs, inputs), f"{scope}.bias": (outputs,)}


def _norm(scope: str, channels: int) -> Shapes:
    return {f"{scope}.weight": (channels,), f"{scope}.bias": (channels,)}
