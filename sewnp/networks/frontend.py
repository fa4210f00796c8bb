"""What SEW and SEW-D share before their transformers: convolutions, projection, position, squeeze."""

from collections.abc import Callable
from functools import partial

import numpy as np

from sewnp.config import Config
from sewnp.layers.activations import activation, activation_vjp
from sewnp.layers.convolution import conv1d, conv1d_vjp
from sewnp.layers.linear import linear, linear_vjp
from sewnp.layers.normalization import group_norm, group_norm_vjp, layer_norm, layer_norm_vjp
from sewnp.layers.observe import within
from sewnp.layers.positions import convolutional_position_embedding, convolutional_position_embedding_vjp
from sewnp.layers.spec_augment import mask_frames, mask_frames_vjp
from sewnp.layers.squeeze import squeeze, squeeze_vjp, upsample, upsample_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights

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


def conv_layer_vjp(
    x: Array, p: Weights, *, stride: int, norm: str, activation: Callable[[Array], Array], see: SeeVjp
) -> tuple[Array, Pullback]:
    """:func:`conv_layer`, and dy -> dx, gradients nested as p."""
    y, back = conv1d_vjp(x, **p["conv"], stride=stride)
    y, seen_back = see("conv", y)
    steps = [("conv", back, seen_back)]
    if "layer_norm" in p:
        if norm == "group":
            y, back = group_norm_vjp(y, **p["layer_norm"], groups=y.shape[2], eps=CONV_NORM_EPS)
        else:
            y, back = layer_norm_vjp(y, **p["layer_norm"], eps=CONV_NORM_EPS)
        y, seen_back = see("layer_norm", y)
        steps.append(("layer_norm", back, seen_back))
    y, activation_back = activation_vjp(y, activation)
    y, activated_back = see("activation", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        return _back_through(steps, activation_back(activated_back(dy)))

    return y, pullback


def feature_extractor(waveform: Array, p: Weights, config: Config, *, see: See) -> Array:
    """The strided convolution stack.  (B, n) -> (B, T, C).  With "group", only the first convolution is normalised."""
    x = waveform[:, :, None]
    act = activation(config.feat_extract_activation)
    for i, (layer, stride) in enumerate(zip(p["conv_layers"], config.conv_stride, strict=True)):
        x = conv_layer(x, layer, stride=stride, norm=config.feat_extract_norm, activation=act, see=within(see, f"conv_layers.{i}"))
    return x


def feature_extractor_vjp(waveform: Array, p: Weights, config: Config, *, see: SeeVjp) -> tuple[Array, Pullback]:
    """:func:`feature_extractor`, and dy -> dwaveform (B, n), gradients nested as p."""
    x, backs = waveform[:, :, None], []
    act = activation(config.feat_extract_activation)
    for i, (layer, stride) in enumerate(zip(p["conv_layers"], config.conv_stride, strict=True)):
        inside = within(see, f"conv_layers.{i}")
        x, back = conv_layer_vjp(x, layer, stride=stride, norm=config.feat_extract_norm, activation=act, see=inside)
        backs.append(back)

    def pullback(dx: Array) -> tuple[Array, Weights]:
        layers = []
        for back in reversed(backs):
            dx, grads = back(dx)
            layers.append(grads)
        return dx[:, :, 0], {"conv_layers": layers[::-1]}

    return x, pullback


def frames(waveform: Array, p: Weights, config: Config, *, time_mask: Array | None = None, see: See) -> Array:
    """From samples to what the encoder is given.  (B, n) -> (B, T, H);  time_mask: see :func:`projected`."""
    x = feature_extractor(waveform, p["feature_extractor"], config, see=within(see, "feature_extractor"))
    return projected(x, p, config, time_mask=time_mask, see=see)


def projected(x: Array, p: Weights, config: Config, *, time_mask: Array | None = None, see: See) -> Array:
    """The features normalised and brought to the hidden size, some frames hidden.  (B, T, C) -> (B, T, H)

    The projection exists only where the last convolution's channels are not H.  ``time_mask`` (B, T) hides frames, in inference too; it is
    ignored where the configuration says ``apply_spec_augment = false``.
    """
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.frames_eps))
    if "feature_projection" in p:
        x = see("feature_projection", linear(x, **p["feature_projection"]))
    if time_mask is not None and config.apply_spec_augment:
        x = see("masked_spec_embed", mask_frames(x, time_mask, p["masked_spec_embed"]))
    return x


def projected_vjp(x: Array, p: Weights, config: Config, *, time_mask: Array | None = None, see: SeeVjp) -> tuple[Array, Pullback]:
    """:func:`projected`, and dy -> dx, gradients under the names that p has."""
    x, back = layer_norm_vjp(x, **p["layer_norm"], eps=config.frames_eps)
    x, seen_back = see("layer_norm", x)
    steps = [("layer_norm", back, seen_back)]
    if "feature_projection" in p:
        x, back = linear_vjp(x, **p["feature_projection"])
        x, seen_back = see("feature_projection", x)
        steps.append(("feature_projection", back, seen_back))
    if time_mask is not None and config.apply_spec_augment:
        x, back = mask_frames_vjp(x, time_mask, p["masked_spec_embed"])
        x, seen_back = see("masked_spec_embed", x)
        steps.append(("masked_spec_embed", back, seen_back))
    return x, partial(_back_through, steps)


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


def squeezed_vjp(x: Array, p: Weights, config: Config, *, mask: Array | None = None, see: SeeVjp) -> tuple[Array, Pullback]:
    """:func:`squeezed`, and dy -> dx, {"pos_conv_embed": gradients}.  Padding was set to zero, and receives nothing."""
    masked_back = None
    if mask is not None:
        x, masked_back = see("masked_frames", np.where(mask[:, :, None], x, x.dtype.type(0)))
    position, position_back = convolutional_position_embedding_vjp(
        x,
        p["pos_conv_embed"],
        groups=config.num_conv_pos_embedding_groups,
        stride=config.squeeze_factor,
        activation=activation(config.feat_extract_activation),
        see=within(see, "pos_conv_embed"),
    )
    pool, squeeze_back = squeeze_vjp(x, config.squeeze_factor)
    pool, pooled_back = see("pool", pool)
    spare = position.shape[1] - pool.shape[1]
    y, seen_back = see("squeezed", pool + position[:, : pool.shape[1]])

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dy = seen_back(dy)
        dx, grads = position_back(np.pad(dy, ((0, 0), (0, spare), (0, 0))))
        dx = dx + squeeze_back(pooled_back(dy))
        if mask is not None and masked_back is not None:
            dx = np.where(mask[:, :, None], masked_back(dx), dx.dtype.type(0))
        return dx, {"pos_conv_embed": grads}

    return y, pullback


def unsqueezed(x: Array, p: Weights, config: Config, *, frames: int, see: See) -> Array:
    """Restore the frame rate.  (B, N, H) -> (B, frames, H).  Scope: ``encoder``."""
    act = activation(config.feat_extract_activation)
    y = upsample(x, p["upsample"], factor=config.squeeze_factor, frames=frames, activation=act, see=within(see, "upsample"))
    return see("last_hidden_state", y)


def unsqueezed_vjp(x: Array, p: Weights, config: Config, *, frames: int, see: SeeVjp) -> tuple[Array, Pullback]:
    """:func:`unsqueezed`, and dy -> dx, {"upsample": gradients}."""
    act = activation(config.feat_extract_activation)
    y, upsample_back = upsample_vjp(
        x, p["upsample"], factor=config.squeeze_factor, frames=frames, activation=act, see=within(see, "upsample")
    )
    y, seen_back = see("last_hidden_state", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dx, grads = upsample_back(seen_back(dy))
        return dx, {"upsample": grads}

    return y, pullback


def _back_through(steps: list[tuple[str, Pullback, Callable[[Array], Array]]], dy: Array) -> tuple[Array, Weights]:
    """Back through steps with weights, the last first.  -> the gradient by what went into the first, gradients under the steps' names."""
    grads: Weights = {}
    for name, back, seen_back in reversed(steps):
        dy, grads[name] = back(seen_back(dy))
    return dy, grads
