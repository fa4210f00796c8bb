"""The convolution stack of one clip, there and back to its weights.

Windows are made anew on the way back: copying them costs a tenth of the product that they are for, and keeping them half as much memory
again.  What goes back to the samples of a window needs none: the kernel falls into blocks of ``stride`` taps, and each block gives to so
many neighbouring samples at once, a product whose rows lie end to end.

The first convolution is not walked for its group norm, here as in ``convolutions``.  With the mean m and the covariance C of its windows, all
that comes back through the norm follows from the sums over time of what came back (C_out) and of that times the windows (K, C_out).
"""

from collections.abc import Callable

import numpy as np

from sewnp.fast.backward.elementwise import activate_with_slope, layer_norm_vjp, summed
from sewnp.fast.backward.one_pass import Pass
from sewnp.fast.convolutions import ConvLayer, convolve, first_moments, pack_convolution, windows_of
from sewnp.fast.workspace import Workspace
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.networks.moments import fold_norm
from sewnp.types import Array, Weights

LayerBack = Callable[[Array, Array | None], Weights]
"""dy, which is written over, and where dx goes, if it is wanted -> the layer's gradients."""


def convolutions_vjp(
    samples: Array, layers: list[ConvLayer], first: Weights, run: Pass
) -> tuple[Array, Callable[[Array], list[Weights]]]:
    """samples (n,) -> features (T, C), on the shelf; and dy (T, C), which is written over, -> each layer's gradients.

    first: the first layer's weights as stored, for the group norm that may stand behind it.
    """
    config, scratch = run.config, run.scratch
    x, inputs, backs = samples[:, None], [], []
    for i, layer in enumerate(layers):
        inputs.append(x)
        if i == 0 and config.feat_extract_norm == "group":
            x, back = _normed_layer_vjp(x, first, layer.stride, run)
        else:
            x, back = _layer_vjp(x, layer, run)
        backs.append(back)

    def pullback(dy: Array) -> list[Weights]:
        grads = []
        for i in reversed(range(len(backs))):
            dx = scratch.take(f"conv back {i % 2}", inputs[i].shape) if i else None
            grads.append(backs[i](dy, dx))
            if dx is not None:
                dy = dx
        return grads[::-1]

    return x, pullback


def _layer_vjp(x: Array, layer: ConvLayer, run: Pass) -> tuple[Array, LayerBack]:
    """Convolve, normalise if there is a norm, activate.  (T, C_in) -> (T', C_out)"""
    shelf, scratch = run.shelf, run.scratch
    frames, channels = (len(x) - layer.size) // layer.stride + 1, layer.channels
    y, norm_back = shelf.take(frames, channels), None
    convolve(x, layer, y, scratch)
    if layer.norm is not None:
        norm_back = layer_norm_vjp(y, *layer.norm, eps=CONV_NORM_EPS, normalised=shelf.take(frames, channels), out=y)
    slope = shelf.take(frames, channels)
    activate_with_slope(y, slope, run.config.feat_extract_activation, scratch)

    def pullback(dy: Array, dx: Array | None) -> Weights:
        grads: Weights = {}
        dy *= slope
        if norm_back is not None:
            dy, dweight, dbias = norm_back(dy)
            grads["layer_norm"] = {"weight": dweight, "bias": dbias}
        dkernel = windows_of(x, layer, frames, scratch).T @ dy
        grads["conv"] = {"weight": _as_stored(dkernel, layer.size)}
        if layer.bias is not None:
            grads["conv"]["bias"] = summed(dy)
        if dx is not None:
            _give_back(dy, layer, dx, scratch)
        return grads

    return y, pullback


def _normed_layer_vjp(x: Array, p: Weights, stride: int, run: Pass) -> tuple[Array, LayerBack]:
    """The first convolution with its group norm folded in.  (n, 1) -> (T, C)"""
    weight: Array = p["conv"]["weight"][:, 0].astype(np.float64)  # (C, K)
    windows, moments = first_moments(x[:, 0], p, stride)
    y, folded_back = _layer_vjp(x, pack_convolution(fold_norm(p, moments), stride), run)

    def pullback(dy: Array, dx: Array | None) -> Weights:
        folded = folded_back(dy, dx)["conv"]
        sums = folded["bias"].astype(np.float64)  # of dy
        centred = folded["weight"][:, 0] - sums[:, None] * windows.mean  # (C, K): dy times the windows less their mean
        scale = 1 / np.sqrt(moments[1] + CONV_NORM_EPS)
        dgain = scale * np.einsum("ck,ck->c", centred, weight)
        gain = p["layer_norm"]["weight"] * scale
        dweight = gain[:, None] * (centred - (dgain * scale)[:, None] * (weight @ windows.covariance))
        grads = {"weight": dweight[:, None].astype(np.float32)}
        if "bias" in p["conv"]:
            grads["bias"] = np.zeros_like(p["conv"]["bias"])  # the norm takes away whatever is added to every frame
        return {"conv": grads, "layer_norm": {"weight": dgain.astype(np.float32), "bias": folded["bias"]}}

    return y, pullback


def _give_back(dy: Array, layer: ConvLayer, dx: Array, scratch: Workspace) -> None:
    """What the samples of the windows receive.  dy (T', C_out) -> dx (T, C_in)"""
    frames, channels, size, stride = len(dy), dx.shape[1], layer.size, layer.stride
    row, item = dx.strides
    dx[frames * stride if size >= stride else 0 :] = 0  # what no window covers
    for tap in range(0, size, stride):
        width = min(stride, size - tap) * channels
        kernel = layer.kernel[tap * channels : tap * channels + width]
        receivers = np.lib.stride_tricks.as_strided(dx[tap:], (frames, width), (stride * row, item))
        if tap == 0:
            np.matmul(dy, kernel.T, out=receivers)
        else:
            receivers += np.matmul(dy, kernel.T, out=scratch.take("conv given", (frames, width)))


def _as_stored(dkernel: Array, size: int) -> Array:
    """(K C_in, C_out) -> (C_out, C_in, K)"""
    return np.ascontiguousarray(dkernel.reshape(size, -1, dkernel.shape[1]).transpose(2, 1, 0))
