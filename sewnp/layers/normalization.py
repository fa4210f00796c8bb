"""Group norm over time and layer norm over channels."""

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.layers.linear import summed
from sewnp.types import Array, Pullback, Weights


def group_norm(x: Array, weight: Array, bias: Array, *, groups: int, eps: float = 1e-5) -> Array:
    """Normalise each group of channels over the whole clip.  (B, T, C) -> (B, T, C);  weight and bias (C,).

    The statistics run over time and the group's channels; with ``groups`` = C, as in SEW's first convolution, over time alone.  So the
    value of one frame depends on every other, padding included: a padded clip does not equal the clip alone.
    Mean and biased variance accumulate in float64 whatever the dtype: NumPy's float32 sum along a strided axis loses three digits on
    long clips.

    >>> group_norm(np.array([[[1.0], [3.0]]]), weight=np.ones(1), bias=np.zeros(1), groups=1, eps=0.0).ravel()
    array([-1.,  1.])

    Raises InputError when there is a single value to normalise.  Source: Wu & He 2018, arXiv 1803.08494.
    """
    batch, frames, channels = x.shape
    if channels % groups:
        raise InputError(f"group_norm: {channels} channels do not divide into {groups} groups")
    if batch * frames * channels // groups <= 1:
        # as torch: one value per channel has no spread to divide by
        raise InputError(f"group_norm: expected more than 1 value per group, found shape {x.shape} with {groups} groups")
    check_shape("group_norm weight", weight, (channels,))
    check_shape("group_norm bias", bias, (channels,))
    return _over_time(x, groups, eps)[0].reshape(x.shape) * weight + bias


def group_norm_vjp(x: Array, weight: Array, bias: Array, *, groups: int, eps: float = 1e-5) -> tuple[Array, Pullback]:
    """:func:`group_norm`, and dy -> dx, {"weight", "bias"}.

    The mean and the spread depend on every value of the group, so each value gives back three things: what it received, the mean of what
    all received, and its own size times the mean of what all received for theirs.

    >>> y, pullback = group_norm_vjp(np.array([[[1.0], [2.0], [6.0]]]), np.ones(1), np.zeros(1), groups=1)
    >>> dx, grads = pullback(np.ones((1, 3, 1)))  # the same for all: the mean takes it away again
    >>> bool(abs(dx).max() < 1e-15), grads["bias"]
    (True, array([3.]))
    """
    y = group_norm(x, weight, bias, groups=groups, eps=eps)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        normalised, scale = _over_time(x, groups, eps)
        grads = {"weight": summed(dy * normalised.reshape(x.shape)), "bias": summed(dy)}
        given = (dy * weight).reshape(normalised.shape)
        mean = given.mean(axis=(1, 3), dtype=np.float64, keepdims=True)
        along = np.multiply(given, normalised, dtype=np.float64).mean(axis=(1, 3), keepdims=True)
        dx = scale * (given - mean.astype(x.dtype) - normalised * along.astype(x.dtype))
        return dx.reshape(x.shape), grads

    return y, pullback


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Normalise each frame over its channels: (x - mean) / sqrt(biased variance + eps) * weight + bias.  (..., C) -> (..., C)

    >>> layer_norm(np.array([1.0, 3.0]), weight=np.array([1.0, 2.0]), bias=np.zeros(2), eps=0.0)
    array([-1.,  2.])

    Source: Ba et al. 2016, arXiv 1607.06450.
    """
    check_shape("layer_norm weight", weight, x.shape[-1:])
    check_shape("layer_norm bias", bias, x.shape[-1:])
    return _over_channels(x, eps)[0] * weight + bias


def layer_norm_vjp(x: Array, weight: Array, bias: Array, *, eps: float) -> tuple[Array, Pullback]:
    """:func:`layer_norm`, and dy -> dx, {"weight", "bias"}; three things come back, as in :func:`group_norm_vjp`.

    >>> y, pullback = layer_norm_vjp(np.array([[1.0, 3.0]]), np.ones(2), np.zeros(2), eps=0.0)
    >>> pullback(np.array([[1.0, -1.0]]))[0]  # of two channels nothing is left: they are always -1 and 1
    array([[0., 0.]])
    """
    y = layer_norm(x, weight, bias, eps=eps)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        normalised, deviation = _over_channels(x, eps)
        grads = {"weight": summed(dy * normalised), "bias": summed(dy)}
        given = dy * weight
        mean = given.mean(axis=-1, keepdims=True)
        along = (given * normalised).mean(axis=-1, keepdims=True)
        return (given - mean - normalised * along) / deviation, grads

    return y, pullback


def _over_time(x: Array, groups: int, eps: float) -> tuple[Array, Array]:
    """Each group normalised over time and its channels.  (B, T, C) -> (B, T, G, C / G), and what it was multiplied by (B, 1, G, 1)."""
    batch, frames, channels = x.shape
    grouped = x.reshape(batch, frames, groups, channels // groups)
    mean = grouped.mean(axis=(1, 3), dtype=np.float64, keepdims=True)
    centred = grouped - mean.astype(x.dtype)
    rest = centred.mean(axis=(1, 3), dtype=np.float64, keepdims=True)  # of the mean, which was rounded to x.dtype
    variance = np.square(centred, dtype=np.float64).mean(axis=(1, 3), keepdims=True) - np.square(rest)
    scale = (1.0 / np.sqrt(variance + eps)).astype(x.dtype)
    return centred * scale, scale


def _over_channels(x: Array, eps: float) -> tuple[Array, Array]:
    """Each frame normalised over its channels.  (..., C) -> (..., C), and what it was divided by (..., 1)."""
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation: Array = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + eps)
    return centred / deviation, deviation
