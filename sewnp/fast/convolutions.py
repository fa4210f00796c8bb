"""The convolution stack in tiles that stay in cache, its first GroupNorm folded into the first kernel.

The fold.  The first convolution is linear: channel c at frame t is w_c . x[window t].  Over a clip its mean is therefore w_c . m, with m
the mean of the windows, and its variance w_c . C w_c, with C their covariance: ten numbers and a 10 x 10 matrix tell all that GroupNorm
wants to know of 64 channels and 32,000 frames.  What it then does to each channel, a scale and an offset, is done to the kernel instead, and
the largest activation of the model is never walked for its statistics.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sewnp.fast.elementwise import activate, layer_norm
from sewnp.fast.workspace import Workspace
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.types import Array, Weights

_TILE = 524288
"""Elements of the largest activation of a tile: 2 MB, of the size of a core's cache."""


@dataclass(frozen=True)
class ConvLayer:
    """A convolution ready for one product: windows (T', K C_in) times kernel (K C_in, C_out)."""

    kernel: Array
    bias: Array | None
    norm: tuple[Array, Array] | None
    """Weight and bias of the norm behind it."""
    size: int
    stride: int


def pack_convolution(p: Weights, stride: int) -> ConvLayer:
    """A layer of ``feature_extractor.conv_layers``, its kernel transposed."""
    weight: Array = p["conv"]["weight"]  # (C_out, C_in, K)
    norm = (p["layer_norm"]["weight"], p["layer_norm"]["bias"]) if "layer_norm" in p else None
    kernel = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
    return ConvLayer(kernel, p["conv"].get("bias"), norm, weight.shape[2], stride)


def tiles(frames: int, layers: list[ConvLayer], crew: int) -> list[tuple[int, int]]:
    """Frames first to last of each tile, as many for each thread, small enough for the cache."""
    step = int(np.prod([layer.stride for layer in layers[1:]]))
    widest = max(1, _TILE // (layers[0].kernel.shape[1] * step))
    count = max(1, crew * -(-frames // (widest * crew)))
    count = min(count, frames)
    return [(frames * i // count, frames * (i + 1) // count) for i in range(count)]


def run_tiles(
    samples: Array, layers: list[ConvLayer], activation: str, todo: Iterator[tuple[int, int]], done: Callable[[Array, int, int], None],
    scratch: Workspace, rank: int,
) -> None:  # fmt: skip
    """Work off tiles until there are none left.  samples (n,); ``done`` is given each tile's features (frames, C), first and last frame."""
    for first, last in todo:
        bounds = [(first, last)]
        for layer in reversed(layers):
            start, end = bounds[-1]
            bounds.append((start * layer.stride, (end - 1) * layer.stride + layer.size))
        start, end = bounds.pop()
        x = samples[start:end, None]
        for i, layer in enumerate(layers):
            start, end = bounds.pop()
            x = _convolve(
                x, layer, end - start, scratch.take(f"conv {i % 2}", (end - start, layer.kernel.shape[1]), rank), scratch, rank
            )
            if layer.norm is not None:
                layer_norm(x, *layer.norm, eps=CONV_NORM_EPS)
            activate(x, activation, scratch, rank)
        done(x, first, last)


def _convolve(x: Array, layer: ConvLayer, frames: int, out: Array, scratch: Workspace, rank: int) -> Array:
    channels, size, stride = x.shape[1], layer.size, layer.stride
    if size == stride:  # windows that meet end to start: the input itself, reshaped
        windows = x[: frames * size].reshape(frames, size * channels)
    else:
        windows = scratch.take("conv windows", (frames, size * channels), rank)
        step = x.strides[0]
        np.copyto(
            windows, np.lib.stride_tricks.as_strided(x, windows.shape, (stride * step, x.strides[1] if channels > 1 else step))
        )
    np.matmul(windows, layer.kernel, out=out)
    if layer.bias is not None:
        out += layer.bias
    return out
