"""The position convolution and the squeeze: what stands between the convolutions and the transformer."""

from dataclasses import dataclass

import numpy as np

from sewnp.config import Config
from sewnp.fast.elementwise import activate
from sewnp.fast.workspace import Workspace
from sewnp.layers.convolution import weight_norm
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class PositionConvolution:
    """The grouped convolution, its weight norm folded and its kernel turned for one product a group."""

    kernels: Array
    """(G, K H/G, H/G)"""
    bias: Array
    size: int
    factor: int
    activation: str

    @property
    def margin(self) -> int:
        """Frames of zeros that stand on each side of a clip."""
        return self.size // 2


def pack_positions(p: Weights, config: Config) -> PositionConvolution:
    """From ``encoder.pos_conv_embed``."""
    conv, groups = p["conv"], config.num_conv_pos_embedding_groups
    weight = weight_norm(conv["weight_g"], conv["weight_v"])  # (H, H/G, K)
    out, channels, size = weight.shape
    taps = weight.reshape(groups, out // groups, channels, size).transpose(0, 3, 2, 1)
    kernels = np.ascontiguousarray(taps.reshape(groups, size * channels, out // groups))
    return PositionConvolution(kernels, conv["bias"], size, config.squeeze_factor, config.feat_extract_activation)


def squeeze_with_positions(
    padded: Array, out: Array, conv: PositionConvolution, *, rows: slice, scratch: Workspace, rank: int
) -> None:
    """Mean of every ``factor`` frames plus their position, into ``out[rows]``.

    padded: (margin + frames + margin, H).  out: (N, H).
    """
    count, factor, size = rows.stop - rows.start, conv.factor, conv.size
    if count == 0:
        return
    groups, channels = len(conv.kernels), padded.shape[1] // len(conv.kernels)
    first = rows.start * factor  # of the frames, as of the padded ones that its kernel begins with
    y = scratch.take("positions", (count, padded.shape[1]), rank)
    span = (count - 1) * factor + size
    group = scratch.take("positions group", (span, channels), rank)
    windows = scratch.take("positions windows", (count, size * channels), rank)
    step = channels * group.itemsize
    overlapping = np.lib.stride_tricks.as_strided(group, windows.shape, (factor * step, group.itemsize))
    for g in range(groups):
        columns = slice(g * channels, (g + 1) * channels)
        np.copyto(group, padded[first : first + span, columns])
        np.copyto(windows, overlapping)
        np.matmul(windows, conv.kernels[g], out=y[:, columns])
    y += conv.bias
    activate(y, conv.activation, scratch, rank)
    start = first + conv.margin
    pool = padded[start : start + count * factor].reshape(count, factor, -1)
    hidden = out[rows]
    np.add.reduce(pool, axis=1, out=hidden)
    hidden *= np.float32(1 / factor)
    hidden += y
