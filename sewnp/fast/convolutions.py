"""The convolution stack in tiles that stay in cache, its first GroupNorm folded into the first kernel.

The fold.  The first convolution is linear: channel c at frame t is w_c . x[window t].  Over a clip its mean is therefore w_c . m, with m
the mean of the windows, and its variance w_c . C w_c, with C their covariance: ten numbers and a 10 x 10 matrix tell all that GroupNorm
wants to know of 64 channels and 32,000 frames.  What it then does to each channel, a scale and an offset, is done to the kernel instead, and
the largest activation of the model is never walked for its statistics.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.fast.elementwise import activate, layer_norm
from sewnp.fast.products import Layout, Matrix, lay_out
from sewnp.fast.workspace import Workspace
from sewnp.layers.convolution import conv_length
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.networks.moments import Moments, WindowMoments, convolution_moments
from sewnp.types import Array, Weights

_TILE = 524288
"""Elements of the largest activation of a tile: 2 MB, of the size of a core's cache."""


@dataclass(frozen=True)
class ConvLayer:
    """A convolution ready for one product: windows (T', K C_in) times kernel (K C_in, C_out)."""

    matrix: Matrix
    """The kernel as (C_out, K C_in)."""
    bias: Array | None
    norm: tuple[Array, Array] | None
    """Weight and bias of the norm behind it."""
    size: int
    stride: int
    channels: int
    """C_out"""

    @property
    def kernel(self) -> Array:
        """(K C_in, C_out)"""
        return self.matrix.weight().T


def pack_convolution(p: Weights, stride: int, layout: Layout = "plain") -> ConvLayer:
    """A layer of ``feature_extractor.conv_layers``, its kernel transposed."""
    weight: Array = p["conv"]["weight"]  # (C_out, C_in, K)
    norm = (p["layer_norm"]["weight"], p["layer_norm"]["bias"]) if "layer_norm" in p else None
    kernel = np.ascontiguousarray(weight.transpose(2, 1, 0).reshape(-1, weight.shape[0]))
    return ConvLayer(lay_out(kernel.T, layout), p["conv"].get("bias"), norm, weight.shape[2], stride, len(weight))


def check_group_norm(config: Config, waveform: Array) -> None:
    """As the textbook's group_norm, which wants more than one value to normalise.  waveform (B, n)"""
    frames, channels = (
        conv_length(waveform.shape[1], kernel=config.conv_kernel[0], stride=config.conv_stride[0]),
        config.conv_dim[0],
    )
    if config.feat_extract_norm == "group" and len(waveform) * frames <= 1:
        shape = (len(waveform), frames, channels)
        raise InputError(f"group_norm: expected more than 1 value per group, found shape {shape} with {channels} groups")


def first_moments(samples: Array, p: Weights, stride: int) -> tuple[WindowMoments, Moments]:
    """What the first convolution's group norm measures.  samples (n,); p: ``conv_layers.0`` -> the windows' moments, the channels'."""
    windows = WindowMoments(p["conv"]["weight"].shape[2], stride)
    windows.add(samples)
    return windows, convolution_moments(windows.mean, windows.covariance, **p["conv"])


def tiles(frames: int, layers: list[ConvLayer], crew: int) -> list[tuple[int, int]]:
    """Frames first to last of each tile, as many for each thread, small enough for the cache."""
    step = int(np.prod([layer.stride for layer in layers[1:]]))
    widest = max(1, _TILE // (layers[0].channels * step))
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
            out = scratch.take(f"conv {i % 2}", (end - start, layer.channels), rank)
            convolve(x, layer, out, scratch, rank)
            x = out
            if layer.norm is not None:
                layer_norm(x, *layer.norm, eps=CONV_NORM_EPS)
            activate(x, activation, scratch, rank)
        done(x, first, last)


def convolve(x: Array, layer: ConvLayer, out: Array, scratch: Workspace, rank: int = 0) -> None:
    """The convolution alone.  x (T, C_in) -> out (T', C_out)"""
    layer.matrix.multiply(windows_of(x, layer, len(out), scratch, rank), out, scratch, rank)
    if layer.bias is not None:
        out += layer.bias


def windows_of(x: Array, layer: ConvLayer, frames: int, scratch: Workspace, rank: int = 0) -> Array:
    """What each of so many frames is computed from.  (T, C_in) -> (frames, K C_in), a copy unless the windows meet end to start."""
    channels, size, stride = x.shape[1], layer.size, layer.stride
    if size == stride:
        return x[: frames * size].reshape(frames, size * channels)
    windows = scratch.take("conv windows", (frames, size * channels), rank)
    step = x.strides[0]
    np.copyto(windows, np.lib.stride_tricks.as_strided(x, windows.shape, (stride * step, x.strides[1] if channels > 1 else step)))
    return windows
