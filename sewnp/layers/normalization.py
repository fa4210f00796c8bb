"""Group norm over time and layer norm over channels."""

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.types import Array


def group_norm(x: Array, weight: Array, bias: Array, *, groups: int, eps: float = 1e-5) -> Array:
    """Normalise each group of channels over the whole clip.  (B, T, C) -> (B, T, C);  weight and bias (C,).

    The statistics run over time and the group's channels; with ``groups`` = C, as in SEW's first convolution, over time alone.  So the
    value of one frame depends on every other, padding included: a padded clip does not equal the clip alone.
    Mean and biased variance accumulate in float64 whatever the dtype: NumPy's float32 sum along a strided axis loses three digits on
    long clips.  Raises InputError when there is a single value to normalise.  Source: Wu & He 2018, arXiv 1803.08494.
    """
    batch, frames, channels = x.shape
    if channels % groups:
        raise InputError(f"group_norm: {channels} channels do not divide into {groups} groups")
    if batch * frames * channels // groups <= 1:
        # as torch: one value per channel has no spread to divide by
        raise InputError(f"group_norm: expected more than 1 value per group, found shape {x.shape} with {groups} groups")
    check_shape("group_norm weight", weight, (channels,))
    check_shape("group_norm bias", bias, (channels,))
    grouped = x.reshape(batch, frames, groups, channels // groups)
    mean = grouped.mean(axis=(1, 3), dtype=np.float64, keepdims=True)
    centred = grouped - mean.astype(x.dtype)
    rest = centred.mean(axis=(1, 3), dtype=np.float64, keepdims=True)  # of the mean, which was rounded to x.dtype
    variance = np.square(centred, dtype=np.float64).mean(axis=(1, 3), keepdims=True) - np.square(rest)
    normalised = centred * (1.0 / np.sqrt(variance + eps)).astype(x.dtype)
    return normalised.reshape(x.shape) * weight + bias


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Normalise each frame over its channels: (x - mean) / sqrt(biased variance + eps) * weight + bias.  (..., C) -> (..., C)

    Source: Ba et al. 2016, arXiv 1607.06450.
    """
    check_shape("layer_norm weight", weight, x.shape[-1:])
    check_shape("layer_norm bias", bias, x.shape[-1:])
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + eps) * weight + bias
