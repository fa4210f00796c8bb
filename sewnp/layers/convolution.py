"""Convolution over time, written as what it is: a sum of shifted matrix products."""

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.types import Array


def conv_length(length: int, *, kernel: int, stride: int) -> int:
    """Frames that a kernel finds in ``length`` samples: (length - kernel) // stride + 1.

    A true floor, so that a length shorter than the kernel gives 0 or less, as the recursion of the original does.
    """
    return (length - kernel) // stride + 1


def conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: int = 1) -> Array:
    """A sum of shifted matrix products.  (B, T, C_in) -> (B, T', C_out), T' = (T - K) // stride + 1;  weight (C_out, C_in, K) as stored.

    Raises InputError when x is shorter than the kernel.
    """
    check_shape("conv1d weight", weight, (None, x.shape[-1], None))
    kernel = weight.shape[2]
    frames = _frames("conv1d", x, kernel=kernel, stride=stride)
    y: Array = sum(x[:, k : k + stride * (frames - 1) + 1 : stride] @ weight[:, :, k].T for k in range(kernel))  # type: ignore[assignment]
    if bias is None:
        return y
    check_shape("conv1d bias", bias, weight.shape[:1])
    return y + bias


def grouped_conv1d(x: Array, weight: Array, bias: Array | None = None, *, groups: int, stride: int = 1, padding: int = 0) -> Array:
    """Convolution in which output group g sees only input group g.  (B, T, C_in) -> (B, T', C_out), T' = (T + 2 padding - K) // stride + 1.

    weight (C_out, C_in / groups, K) as stored; ``padding`` zeros stand on both sides.  Raises InputError when the channels do not divide
    into groups or the padded x is shorter than the kernel.
    """
    (batch, _, channels), (out, _, kernel) = x.shape, weight.shape
    if groups < 1 or padding < 0:
        raise InputError(f"grouped_conv1d: expected groups of 1 or more and padding of 0 or more, found {groups} and {padding}")
    if channels % groups or out % groups:
        raise InputError(f"grouped_conv1d: {channels} input and {out} output channels do not divide into {groups} groups")
    check_shape("grouped_conv1d weight", weight, (None, channels // groups, None))
    x = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    frames = _frames("grouped_conv1d", x, kernel=kernel, stride=stride)
    per_group = x.reshape(batch, -1, groups, channels // groups).swapaxes(1, 2)  # (B, G, T, C_in/G)
    taps = weight.reshape(groups, out // groups, channels // groups, kernel)
    y: Array = sum(  # (B, G, T', C_in/G) @ (G, C_in/G, C_out/G) -> (B, G, T', C_out/G), one product a tap
        per_group[:, :, k : k + stride * (frames - 1) + 1 : stride] @ taps[..., k].swapaxes(1, 2) for k in range(kernel)
    )  # type: ignore[assignment]
    y = y.swapaxes(1, 2).reshape(batch, frames, out)
    if bias is None:
        return y
    check_shape("grouped_conv1d bias", bias, (out,))
    return y + bias


def weight_norm(weight_g: Array, weight_v: Array) -> Array:
    """The kernel folded from its tap lengths g and directions v: g[k] v[:, :, k] / |v[:, :, k]|.  (1, 1, K), (C_out, C_in, K) -> (C_out, C_in, K)

    One norm per tap, over all channels (torch's ``weight_norm`` with ``dim=2``), and no epsilon: a tap of zeros gives NaN, as it does there.
    Source: Salimans & Kingma 2016, arXiv 1602.07868.
    """
    check_shape("weight_g", weight_g, (1, 1, weight_v.shape[-1]))
    # summed in float64, so that the order of summation does not show in float32
    norm = np.sqrt(np.sum(np.square(weight_v, dtype=np.float64), axis=(0, 1), keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):  # the NaN of a zero tap is the answer, not an accident
        scale = (weight_g / norm).astype(weight_v.dtype)
        return weight_v * scale


def _frames(name: str, x: Array, *, kernel: int, stride: int) -> int:
    if stride < 1:
        raise InputError(f"{name}: expected a stride of 1 or more, found {stride}")
    frames = conv_length(x.shape[1], kernel=kernel, stride=stride)
    if frames < 1:
        raise InputError(f"{name}: expected at least {kernel} frames (one kernel), found {x.shape[1]}")
    return frames
