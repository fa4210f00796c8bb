"""What SEW and SEW-D share before their transformers: convolutions, projection, position, squeeze."""

from collections.abc import Callable

import numpy as np

from sewnp.config import Config
from sewnp.layers.activations import activation
from sewnp.layers.convolution import conv1d
from sewnp.layers.linear import linear
from sewnp.layers.normalization import group_norm, layer_norm
from sewnp.layers.observe import within
from sewnp.layers.positions import convolutional_position_embedding
from sewnp.layers.spec_augment import mask_frames
from sewnp.layers.squeeze import squeeze, upsample
from sewnp.types import Array, See, Weights

CONV_NORM_EPS = 1e-5
"""Epsilon of the norms inside the convolution stack: fixed, whatever ``layer_norm_eps`` says."""


def conv_layer(x: Array, p: Weights, *, stride: int, norm: str, activation: Callable[[Array], Array], see: See) -> Array:
    """Convolve, normalise, activate.  (B, T, C_in) -> (B, T', C_out).  Scope: ``feature_extractor.conv_layers.{i}``.

    norm: over time ("group", one group a channel) or over channels ("layer"), where the layer has the weights of one.
    """
    y = see("conv", conv1d(x, **p["conv"], stride=stride))
    if "layer_norm" in p and norm == "group":
        y = see("layer_norm", group_norm(y, **p["layer_norm"], groups=y.shape[2], eps=CONV_NORM_EPS))
    elif "layer_norm" in p:
        y = see("layer_norm", layer_norm(y, **p["layer_norm"], eps=CONV_NORM_EPS))
    return see("activation", activation(y))


def feature_extractor(waveform: Array, p: Weights, config: Config, *, see: See) -> Array:
    """The strided convolution stack.  (B, n) -> (B, T, C).  With "group", only the first convolution is normalised."""
    x = waveform[:, :, None]
    act = activation(config.feat_extract_activation)
    for i, (layer, stride) in enumerate(zip(p["conv_layers"], config.conv_stride, strict=True)):
        x = conv_layer(x, layer, stride=stride, norm=config.feat_extract_norm, activation=act, see=within(see, f"conv_layers.{i}"))
    return x


def frames(waveform: Array, p: Weights, config: Config, *, time_mask: Array | None = None, see: See) -> Array:
    """From samples to what the encoder is given.  (B, n) -> (B, T, H)

    The projection exists only where the last convolution's channels are not H.  ``time_mask`` hides frames, in inference too; it is
    ignored where the configuration says ``apply_spec_augment = false``.
    """
    x = feature_extractor(waveform, p["feature_extractor"], config, see=within(see, "feature_extractor"))
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.frames_eps))
    if "feature_projection" in p:
        x = see("feature_projection", linear(x, **p["feature_projection"]))
    if time_mask is not None and config.apply_spec_augment:
        x = see("masked_spec_embed", mask_frames(x, time_mask, p["masked_spec_embed"]))
    return x


def squeezed(x: Array, p: Weights, config: Config, *, mask: Array | None = None, see: See) -> Array:
    """Lower the frame rate and add position.  (B, T, H) -> (B, N, H).  Scope: ``encoder``.

    mask: (B, T) bool; padded frames count as zeros in the mean.
    """
    if mask is not None:
        x = see("masked_frames", np.where(mask[:, :, None], x, x.dtype.type(0)))
    position = convolutional_position_embedding(
        x,
        p["pos_conv_embed"],
        groups=config.num_conv_pos_embedding_groups,
        stride=config.squeeze_factor,
        activation=activation(config.feat_extract_activation),
        see=within(see, "pos_conv_embed"),
    )
    pool = see("pool", squeeze(x, config.squeeze_factor))
    # an odd kernel leaves one position more than pooled frames when T is no multiple of the factor
    return see("squeezed", pool + position[:, : pool.shape[1]])


def unsqueezed(x: Array, p: Weights, config: Config, *, frames: int, see: See) -> Array:
    """Restore the frame rate.  (B, N, H) -> (B, frames, H).  Scope: ``encoder``."""
    act = activation(config.feat_extract_activation)
    y = upsample(x, p["upsample"], factor=config.squeeze_factor, frames=frames, activation=act, see=within(see, "upsample"))
    return see("last_hidden_state", y)
