"""Convolution over time, written as what it is: a sum of shifted matrix products."""

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import summed
from sewnp.types import Array, Pullback, Weights


def conv_length(length: int, *, kernel: int, stride: int) -> int:
    """Frames that a kernel finds in ``length`` samples: (length - kernel) // stride + 1.

    A true floor, so that a length shorter than the kernel gives 0 or less, as the recursion of the original does.

    >>> conv_length(16000, kernel=10, stride=5)
    3199
    """
    return (length - kernel) // stride + 1


def conv1d(x: Array, weight: Array, bias: Array | None = None, *, stride: int = 1) -> Array:
    """A sum of shifted matrix products.  (B, T, C_in) -> (B, T', C_out), T' = (T - K) // stride + 1;  weight (C_out, C_in, K) as stored.

    >>> conv1d(np.array([[[1.0], [2.0], [4.0], [8.0]]]), weight=np.array([[[1.0, -1.0]]]), stride=2)
    array([[[-1.],
            [-4.]]])

    Raises InputError when x is shorter than the kernel.
    """
    check_shape("conv1d weight", weight, (None, x.shape[-1], None))
    kernel = weight.shape[2]
    frames = _frames("conv1d", x, kernel=kernel, stride=stride)
    y: Array = sum(x[:, _tap(k, frames, stride)] @ weight[:, :, k].T for k in range(kernel))  # type: ignore[assignment]
    if bias is None:
        return y
    check_shape("conv1d bias", bias, weight.shape[:1])
    return y + bias


def conv1d_vjp(x: Array, weight: Array, bias: Array | None = None, *, stride: int = 1) -> tuple[Array, Pullback]:
    """:func:`conv1d`, and dy -> dx, {"weight", "bias"}.  Each tap gives back to the samples that it was multiplied with.

    >>> y, pullback = conv1d_vjp(np.array([[[1.0], [2.0], [4.0], [8.0]]]), weight=np.array([[[1.0, -1.0]]]), stride=2)
    >>> dx, grads = pullback(np.ones((1, 2, 1)))
    >>> dx.ravel(), grads["weight"].ravel()
    (array([ 1., -1.,  1., -1.]), array([ 5., 10.]))
    """

    def pullback(dy: Array) -> tuple[Array, Weights]:
        frames, rows = dy.shape[1], dy.reshape(-1, dy.shape[2])
        dx, dweight = np.zeros_like(x), np.empty_like(weight)
        for k in range(weight.shape[2]):
            tap = _tap(k, frames, stride)
            dx[:, tap] += dy @ weight[:, :, k]
            dweight[:, :, k] = rows.T @ x[:, tap].reshape(-1, x.shape[2])
        grads = {"weight": dweight}
        return dx, grads if bias is None else grads | {"bias": summed(dy)}

    return conv1d(x, weight, bias, stride=stride), pullback


def grouped_conv1d(x: Array, weight: Array, bias: Array | None = None, *, groups: int, stride: int = 1, padding: int = 0) -> Array:
    """Convolution in which output group g sees only input group g.  (B, T, C_in) -> (B, T', C_out), T' = (T + 2 padding - K) // stride + 1.

    weight (C_out, C_in / groups, K) as stored; ``padding`` zeros stand on both sides.

    >>> grouped_conv1d(np.array([[[1.0, 5.0], [2.0, 6.0]]]), weight=np.array([[[1.0, 1.0]], [[1.0, 0.0]]]), groups=2)
    array([[[3., 5.]]])

    Raises InputError when the channels do not divide into groups or the padded x is shorter than the kernel.
    """
    channels, (out, _, kernel) = x.shape[2], weight.shape
    if groups < 1 or padding < 0:
        raise InputError(f"grouped_conv1d: expected groups of 1 or more and padding of 0 or more, found {groups} and {padding}")
    if channels % groups or out % groups:
        raise InputError(f"grouped_conv1d: {channels} input and {out} output channels do not divide into {groups} groups")
    check_shape("grouped_conv1d weight", weight, (None, channels // groups, None))
    x = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
    frames = _frames("grouped_conv1d", x, kernel=kernel, stride=stride)
    per_group = split_heads(x, groups)  # (B, G, T, C_in/G): groups are to channels what heads are
    taps = weight.reshape(groups, out // groups, channels // groups, kernel)
    y: Array = sum(  # (B, G, T', C_in/G) @ (G, C_in/G, C_out/G) -> (B, G, T', C_out/G), one product a tap
        per_group[:, :, _tap(k, frames, stride)] @ taps[..., k].swapaxes(1, 2) for k in range(kernel)
    )  # type: ignore[assignment]
    y = merge_heads(y)
    if bias is None:
        return y
    check_shape("grouped_conv1d bias", bias, (out,))
    return y + bias


def grouped_conv1d_vjp(
    x: Array, weight: Array, bias: Array | None = None, *, groups: int, stride: int = 1, padding: int = 0
) -> tuple[Array, Pullback]:
    """:func:`grouped_conv1d`, and dy -> dx, {"weight", "bias"}: as :func:`conv1d_vjp`, group by group; what the padding receives is lost.

    >>> x, weight = np.array([[[1.0, 5.0], [2.0, 6.0]]]), np.array([[[1.0, 1.0]], [[1.0, 0.0]]])
    >>> y, pullback = grouped_conv1d_vjp(x, weight, groups=2)
    >>> pullback(np.ones((1, 1, 2)))[0]
    array([[[1., 1.],
            [1., 0.]]])
    """

    def pullback(dy: Array) -> tuple[Array, Weights]:
        frames, (out, width, kernel) = dy.shape[1], weight.shape
        padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
        per_group, dper_group = split_heads(padded, groups), np.zeros_like(split_heads(padded, groups))  # (B, G, T, C_in/G)
        dy_group = split_heads(dy, groups)  # (B, G, T', C_out/G)
        taps = weight.reshape(groups, out // groups, width, kernel)
        dtaps = np.empty_like(taps)
        for k in range(kernel):
            tap = _tap(k, frames, stride)
            dper_group[:, :, tap] += dy_group @ taps[..., k]
            dtaps[..., k] = (dy_group.swapaxes(2, 3) @ per_group[:, :, tap]).sum(axis=0)  # over the batch
        dx = merge_heads(dper_group)[:, padding : padding + x.shape[1]]
        grads = {"weight": dtaps.reshape(weight.shape)}
        return dx, grads if bias is None else grads | {"bias": summed(dy)}

    return grouped_conv1d(x, weight, bias, groups=groups, stride=stride, padding=padding), pullback


def weight_norm(weight_g: Array, weight_v: Array) -> Array:
    """The kernel folded from its tap lengths g and directions v: g[k] v[:, :, k] / |v[:, :, k]|.  (1, 1, K), (C_out, C_in, K) -> (C_out, C_in, K)

    One norm per tap, over all channels (torch's ``weight_norm`` with ``dim=2``), and no epsilon: a tap of zeros gives NaN, as it does there.
    Source: Salimans & Kingma 2016, arXiv 1602.07868.

    >>> weight_norm(np.array([[[10.0]]]), np.array([[[3.0]], [[4.0]]])).ravel()
    array([6., 8.])
    """
    check_shape("weight_g", weight_g, (1, 1, weight_v.shape[-1]))
    with np.errstate(invalid="ignore", divide="ignore"):  # the NaN of a zero tap is the answer, not an accident
        scale = (weight_g / _tap_norms(weight_v)).astype(weight_v.dtype)
        return weight_v * scale


def weight_norm_vjp(weight_g: Array, weight_v: Array) -> tuple[Array, Pullback]:
    """:func:`weight_norm`, and dw -> dg, dv.  The length receives what lies along the direction, the direction what stands across it.

    >>> w, pullback = weight_norm_vjp(np.array([[[10.0]]]), np.array([[[3.0]], [[4.0]]]))
    >>> dg, dv = pullback(np.array([[[3.0]], [[4.0]]]))  # along the direction
    >>> dg.ravel(), dv.ravel()
    (array([5.]), array([0., 0.]))
    """

    def pullback(dw: Array) -> tuple[Array, Array]:
        norm = _tap_norms(weight_v)
        with np.errstate(invalid="ignore", divide="ignore"):
            along = np.sum(np.multiply(dw, weight_v, dtype=np.float64), axis=(0, 1), keepdims=True) / norm
            dv = weight_g / norm * (dw - weight_v * (along / norm))
        return along.astype(weight_g.dtype), dv.astype(weight_v.dtype)

    return weight_norm(weight_g, weight_v), pullback


def _tap_norms(weight_v: Array) -> Array:
    """The length of each tap over all channels.  (C_out, C_in, K) -> (1, 1, K), summed in float64, so that the order does not show in float32."""
    return np.asarray(np.sqrt(np.sum(np.square(weight_v, dtype=np.float64), axis=(0, 1), keepdims=True)))


def _tap(k: int, frames: int, stride: int) -> slice:
    """The samples that tap k is multiplied with: one for each of so many frames."""
    return slice(k, k + stride * (frames - 1) + 1, stride)


def _frames(name: str, x: Array, *, kernel: int, stride: int) -> int:
    if stride < 1:
        raise InputError(f"{name}: expected a stride of 1 or more, found {stride}")
    frames = conv_length(x.shape[1], kernel=kernel, stride=stride)
    if frames < 1:
        raise InputError(f"{name}: expected at least {kernel} frames (one kernel), found {x.shape[1]}")
    return frames
