"""Position convolution, squeeze and upsampling: what stands around the transformer, there and back."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sewnp.config import Config
from sewnp.fast.backward.elementwise import activate_with_slope, summed
from sewnp.fast.positions import PositionConvolution, pack_positions
from sewnp.fast.workspace import Shelf, Workspace
from sewnp.layers.convolution import weight_norm_vjp
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class PositionsThereAndBack:
    """The position convolution for both ways."""

    there: PositionConvolution
    back: Array
    """(G, J H/G, s H/G): the kernel of the way back, which is a convolution too.  A squeezed frame gives to K frames; s neighbouring frames are
    given to by J = ceil(K / s) squeezed ones, the last of which gives its first taps."""
    norm_back: Callable[[Array], tuple[Array, Array]]

    @classmethod
    def from_weights(cls, p: Weights, config: Config) -> "PositionsThereAndBack":
        """From ``encoder.pos_conv_embed``."""
        conv, groups, factor = p["conv"], config.num_conv_pos_embedding_groups, config.squeeze_factor
        weight, norm_back = weight_norm_vjp(conv["weight_g"], conv["weight_v"])  # (H, H/G, K)
        blocks = -(-weight.shape[2] // factor)
        taps = np.pad(weight, ((0, 0), (0, 0), (0, blocks * factor - weight.shape[2])))
        taps = taps.reshape(groups, -1, weight.shape[1], blocks, factor)[:, :, :, ::-1]  # (G, H/G out, H/G in, J, s)
        back = taps.transpose(0, 3, 1, 4, 2).reshape(groups, blocks * weight.shape[1], factor * weight.shape[1])
        return cls(pack_positions(p, config), np.ascontiguousarray(back), norm_back)


def squeeze_with_positions_vjp(
    x: Array, conv: PositionsThereAndBack, *, shelf: Shelf, scratch: Workspace
) -> tuple[Array, Callable[[Array], tuple[Array, Weights]]]:
    """Mean of every s frames plus their position.  x (T, H) -> (N, H); and dy -> dx, gradients nested as ``pos_conv_embed``."""
    there, (frames, width) = conv.there, x.shape
    groups, channels, factor, size = len(there.kernels), width // len(there.kernels), there.factor, there.size
    count = frames // factor
    grouped = shelf.take(groups, there.margin + frames + there.margin, channels)
    grouped[:, : there.margin] = 0
    grouped[:, there.margin + frames :] = 0
    grouped[:, there.margin : there.margin + frames] = x.reshape(frames, groups, channels).swapaxes(0, 1)

    y, slope = shelf.take(count, width), shelf.take(count, width)
    windows = _windows(grouped, count, size, factor, scratch)
    np.matmul(windows, there.kernels, out=y.reshape(count, groups, channels).swapaxes(0, 1))
    y += there.bias
    activate_with_slope(y, slope, there.activation, scratch)
    y += np.add.reduce(x[: count * factor].reshape(count, factor, width), axis=1) * np.float32(1 / factor)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        given = dy * slope
        blocks = conv.back.shape[1] // channels
        spread = np.zeros((groups, count + 2 * (blocks - 1), channels), np.float32)  # as the frames were: zeros on both sides
        inner = spread[:, blocks - 1 : blocks - 1 + count]
        inner[:] = given.reshape(count, groups, channels).swapaxes(0, 1)
        dkernels = _windows(grouped, count, size, factor, scratch).swapaxes(1, 2) @ inner  # (G, K H/G, H/G)
        dweight = dkernels.reshape(groups, size, channels, channels).transpose(0, 3, 2, 1).reshape(width, channels, size)
        dlength, ddirection = conv.norm_back(dweight)
        back = _windows(spread, count + blocks - 1, blocks, 1, scratch) @ conv.back  # (G, N + J - 1, s H/G)
        received = back.reshape(groups, -1, channels)[:, there.margin : there.margin + frames]
        dx = np.zeros((frames, width), np.float32)
        dx[: count * factor].reshape(count, factor, width)[:] = (dy * np.float32(1 / factor))[:, None]
        dx[: received.shape[1]].reshape(-1, groups, channels)[:] += received.swapaxes(0, 1)
        return dx, {"conv": {"weight_g": dlength, "weight_v": ddirection, "bias": summed(given)}}

    return y, pullback


def upsample_vjp(
    x: Array, projection: Weights, out: Array, *, factor: int, activation: str, shelf: Shelf, scratch: Workspace
) -> Callable[[Array], tuple[Array, Weights]]:
    """Each squeezed frame as s frames.  x (N, H) -> out (T, H), zeros where the squeeze dropped a tail; and dy -> dx, gradients of the projection."""
    count, width = x.shape
    wide, slope = out[: count * factor].reshape(count, factor * width), shelf.take(count, factor * width)
    out[count * factor :] = 0
    np.matmul(x, projection["weight"].T, out=wide)
    wide += projection["bias"]
    activate_with_slope(wide, slope, activation, scratch)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dwide = dy[: count * factor].reshape(slope.shape) * slope
        return dwide @ projection["weight"], {"weight": dwide.T @ x, "bias": summed(dwide)}

    return pullback


def _windows(x: Array, count: int, size: int, stride: int, scratch: Workspace) -> Array:
    """Windows of so many rows, of every group.  (G, T, C) -> (G, count, size C), a copy."""
    groups, _, channels = x.shape
    windows = scratch.take("positions windows", (groups, count, size * channels))
    group, row, item = x.strides
    np.copyto(windows, np.lib.stride_tricks.as_strided(x, windows.shape, (group, stride * row, item)))
    return windows
