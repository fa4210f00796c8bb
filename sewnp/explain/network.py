"""The panels of the network: convolutions, squeeze, attention.  Stages by name -> plain objects of JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sewnp.config import Config, SEWDConfig
from sewnp.explain.arrays import Packed, pack, pool_columns, pool_square
from sewnp.networks import FAMILIES
from sewnp.types import Array, Weights

CELLS = 2**17
"""So many values an image of the page has at most."""
COLUMNS = 1200
"""And so many columns."""
FRAMES = 250
"""So many squeezed frames attention is shown at; a longer clip's is pooled."""
SHARES = 2**23
"""Of more values of attention than that, only three layers are shown too: some megabytes."""
FILTERS = 2**16
"""Filters of more weights are left out."""
RESPONSE = 128
"""The frequencies between 0 and half the sampling rate at which a filter's response is told."""


def conv_stages(config: Config) -> list[str]:
    """The stages that :func:`funnel` shows."""
    last = "feature_extractor.conv_layers.{i}.activation"
    norm = ["feature_extractor.conv_layers.0.conv", "feature_extractor.conv_layers.0.layer_norm"]
    return norm + [last.format(i=i) for i in range(len(config.conv_dim))]


def funnel(values: Mapping[str, Array], config: Config, p: Weights) -> dict[str, Any]:
    """From samples to frames: an image of every convolution, its filters, and the first one before and after its norm.  p: the base model's."""
    layers = p["feature_extractor"]["conv_layers"]
    convolutions = []
    hop = field = 1
    for i, (kernel, stride) in enumerate(zip(config.conv_kernel, config.conv_stride, strict=True)):
        field, hop = field + (kernel - 1) * hop, hop * stride
        stage = f"feature_extractor.conv_layers.{i}.activation"
        weight = np.asarray(layers[i]["conv"]["weight"], dtype=np.float64)  # (C_out, C_in, K)
        convolutions.append(
            {
                "kernel": kernel,
                "stride": stride,
                "hop": hop,
                "field": field,
                "image": image(stage, values[stage]),
                "filters": pack(weight, "int8") if weight.size <= FILTERS else None,
            }
        )
    before, after = (f"feature_extractor.conv_layers.0.{name}" for name in ("conv", "layer_norm"))
    return {
        "convolutions": convolutions,
        "before_norm": image(before, values[before]),
        "after_norm": image(after, values[after]) if after in values else None,
        "response": pack(_response(np.asarray(layers[0]["conv"]["weight"][:, 0], dtype=np.float64)), "uint8"),
    }


def _response(kernels: Array) -> Array:
    """How strongly each kernel lets frequencies pass, in dB of its own strongest, none below -40.  (C, K) -> (C, RESPONSE + 1)"""
    gain = np.abs(np.fft.rfft(kernels, 2 * RESPONSE, axis=1))
    return 20 * np.log10(np.maximum(gain / np.maximum(gain.max(axis=1, keepdims=True), 1e-12), 1e-2))


def image(stage: str, x: Array) -> dict[str, Any]:
    """A stage as a picture, a row a channel.  (T, C) -> an object with its values (C, columns)."""
    columns, step = pool_columns(x.T, max(1, min(COLUMNS, CELLS // x.shape[1])))
    return {
        "stage": stage,
        "frames": len(x),
        "step": step,
        "shown": float(np.quantile(np.abs(columns), 0.99)),  # a few channels are far larger than all others
        "values": pack(columns, "int8"),
    }


def squeeze_stages(config: Config, p: Weights) -> list[str]:
    """The stages that :func:`squeeze` shows, in their order."""
    frames = "feature_projection" if "feature_projection" in p else "layer_norm"
    return [frames, "encoder.pool", "encoder.pos_conv_embed.activation", "encoder.squeezed", "encoder.last_hidden_state"]


def squeeze(values: Mapping[str, Array], config: Config, p: Weights) -> dict[str, Any]:
    """Which frames merge, and what comes back."""
    names = squeeze_stages(config, p)
    squeezed = len(values["encoder.pool"])
    # an even position kernel makes a frame more than there are pooled ones
    cut = {name: values[name][:squeezed] if "pos_conv" in name else values[name] for name in names}
    images = dict(zip(("frames", "pool", "position", "squeezed", "restored"), (image(n, x) for n, x in cut.items()), strict=True))
    return {"factor": config.squeeze_factor, "frames": len(values[names[0]]), "squeezed": squeezed, "images": images}


def chosen_layers(config: Config, squeezed: int) -> list[int]:
    """The layers whose attention is shown unless the caller says otherwise: all of a short clip's, else the first, a middle one and the last."""
    depth = config.num_hidden_layers
    kinds = len(attention_stages(config, [0])[0]) if depth else 0
    if squeezed > FRAMES or kinds * depth * config.num_attention_heads * squeezed**2 > SHARES:
        return sorted({0, depth // 2, depth - 1} if depth else set())
    return list(range(depth))


def attention_stages(config: Config, layers: Sequence[int]) -> list[list[str]]:
    """For each layer the stages that :func:`attention` shows: the probabilities first, then the terms of the scores that SEW-D has apart."""
    stages = FAMILIES[config.model_type].attentions(config)
    terms = ("content", *config.position_terms) if FAMILIES[config.model_type].disentangled else ()
    scopes = [stages[layer].rpartition(".")[0] for layer in layers]
    return [[f"{scope}.{name}" for name in ("probabilities", *terms)] for scope in scopes]


def attention(values: Mapping[str, Array], config: Config, layers: Sequence[int]) -> dict[str, Any]:
    """Who looks where, in some layers."""
    stages = attention_stages(config, layers)
    squeezed = values[stages[0][0]].shape[-1] if stages else 0
    shown = []
    step = 1
    for layer, (probabilities, *terms) in zip(layers, stages, strict=True):
        shares, step = pool_square(values[probabilities].astype(np.float64), FRAMES, keys="sum")
        shown.append(
            {
                "layer": layer,
                "stage": probabilities,
                "probabilities": pack(shares, "uint8", power=2),  # (h, M, M)
                "terms": {name.rpartition(".")[2]: _term(values[name]) for name in terms if name in values},
            }
        )
    return {
        "layers": shown,
        "heads": config.num_attention_heads,
        "depth": config.num_hidden_layers,
        "step": step,
        "squeezed": squeezed,
        "buckets": _buckets(values.get("encoder.encoder.relative_positions")),
        "span": config.span if isinstance(config, SEWDConfig) else None,
    }


def _term(scores: Array) -> Packed:
    return pack(pool_square(scores.astype(np.float64), FRAMES, keys="mean")[0], "int8")


def _buckets(relative: Array | None) -> Packed | None:
    """The bucket of every distance, query minus key, from -(N - 1) to N - 1.  (N, N) -> (2N - 1,)"""
    if relative is None:
        return None
    return pack(np.concatenate([relative[0, :0:-1], relative[:, 0]]), "int16")
