"""What SEW and SEW-D share before their transformers: convolutions, projection, position, squeeze."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from sewnp.config import Config, SEWConfig
from sewnp.layers.activations import activation
from sewnp.layers.convolution import conv1d
from sewnp.layers.linear import linear
from sewnp.layers.masking import Masking, squeeze_mask
from sewnp.layers.normalization import group_norm, layer_norm
from sewnp.layers.observe import within
from sewnp.layers.positions import convolutional_position_embedding
from sewnp.layers.spec_augment import mask_frames
from sewnp.layers.squeeze import squeeze, upsample
from sewnp.types import Array, See, Weights

CONV_NORM_EPS = 1e-5
"""Epsilon of the norms inside the convolution stack: fixed, whatever ``layer_norm_eps`` says."""


Moments: TypeAlias = tuple[Array, Array]
"""Mean and variance over time of each channel of the first convolution, (C,) and (C,), of a clip longer than what is convolved at once."""


def conv_layer(
    x: Array,
    p: Weights,
    *,
    stride: int,
    norm: str | None,
    activation: Callable[[Array], Array],
    moments: Moments | None = None,
    see: See,
) -> Array:
    """Convolve, normalise over time ("group"), over channels ("layer") or not at all, bend.  Scope: ``feature_extractor.conv_layers.{i}``."""
    y = see("conv", conv1d(x, **p["conv"], stride=stride))
    if norm == "group" and moments is not None:
        y = see("layer_norm", normalised(y, *moments, **p["layer_norm"]))
    elif norm == "group":
        y = see("layer_norm", group_norm(y, **p["layer_norm"], groups=y.shape[2], eps=CONV_NORM_EPS))
    if norm == "layer":
        y = see("layer_norm", layer_norm(y, **p["layer_norm"], eps=CONV_NORM_EPS))
    return see("activation", activation(y))


def normalised(x: Array, mean: Array, variance: Array, weight: Array, bias: Array) -> Array:
    """Group norm, one group a channel, with statistics that are given.  (B, T, C), all others (C,) -> (B, T, C)"""
    scale = (1.0 / np.sqrt(variance + CONV_NORM_EPS)).astype(x.dtype)
    return (x - mean.astype(x.dtype)) * scale * weight + bias


def feature_extractor(waveform: Array, p: Weights, config: Config, *, moments: Moments | None = None, see: See) -> Array:
    """The strided convolution stack.  (B, n) -> (B, T, C).  With "group", only the first convolution is normalised."""
    x = waveform[:, :, None]
    bend = activation(config.feat_extract_activation)
    for i, (layer, stride) in enumerate(zip(p["conv_layers"], config.conv_stride, strict=True)):
        norm = config.feat_extract_norm if config.feat_extract_norm == "layer" or i == 0 else None
        x = conv_layer(x, layer, stride=stride, norm=norm, activation=bend, moments=moments, see=within(see, f"conv_layers.{i}"))
    return x


def frame_norm_eps(config: Config) -> float:
    """Epsilon of the norm behind the convolutions, which SEW-D sets apart from its transformer's."""
    return config.layer_norm_eps if isinstance(config, SEWConfig) else config.feature_layer_norm_eps


def frames(
    waveform: Array,
    p: Weights,
    config: Config,
    *,
    eps: float,
    time_mask: Array | None = None,
    moments: Moments | None = None,
    see: See,
) -> Array:
    """From samples to what the encoder is given.  (B, n) -> (B, T, H)

    The projection exists only where the last convolution's channels are not H.  ``time_mask`` hides frames, in inference too; it is
    ignored where the configuration says ``apply_spec_augment = false``.  ``moments``: those of a whole clip of which this is a part.
    """
    x = feature_extractor(waveform, p["feature_extractor"], config, moments=moments, see=within(see, "feature_extractor"))
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=eps))
    if "feature_projection" in p:
        x = see("feature_projection", linear(x, **p["feature_projection"]))
    if time_mask is not None and config.apply_spec_augment:
        x = see("masked_spec_embed", mask_frames(x, time_mask, p["masked_spec_embed"]))
    return x


def squeezed(
    x: Array,
    p: Weights,
    config: Config,
    *,
    frame_mask: Array | None = None,
    masking: Masking,
    before: int = 0,
    after: int = 0,
    see: See,
) -> tuple[Array, Array | None]:
    """Halve the frame rate and add position.  (B, T, H), (B, T) -> (B, N, H), (B, N);  padded frames count as zeros in the mean.

    The first ``before`` frames, a multiple of the squeeze factor, and the last ``after`` only tell the others their position.
    """
    mask = None
    if frame_mask is not None:
        x = see("masked_frames", np.where(frame_mask[:, :, None], x, x.dtype.type(0)))
        mask = see("squeezed_mask", squeeze_mask(frame_mask, config.squeeze_factor, masking=masking))
    position = convolutional_position_embedding(
        x,
        p["pos_conv_embed"],
        groups=config.num_conv_pos_embedding_groups,
        stride=config.squeeze_factor,
        activation=activation(config.feat_extract_activation),
        see=within(see, "pos_conv_embed"),
    )
    pool = see("pool", squeeze(x[:, before : x.shape[1] - after], config.squeeze_factor))
    first = before // config.squeeze_factor
    # an odd kernel leaves one position more than pooled frames when T is no multiple of the factor
    return see("squeezed", pool + position[:, first : first + pool.shape[1]]), mask


def unsqueezed(x: Array, p: Weights, config: Config, *, frames: int, see: See) -> Array:
    """Restore the frame rate.  (B, N, H) -> (B, frames, H)"""
    bend = activation(config.feat_extract_activation)
    y = upsample(x, p["upsample"], factor=config.squeeze_factor, frames=frames, activation=bend, see=within(see, "upsample"))
    return see("last_hidden_state", y)
