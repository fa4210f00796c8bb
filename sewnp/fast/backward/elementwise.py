"""What happens between the products of a pass that can go back, in as few walks over memory as it takes.

An activation leaves its slope behind instead of its input: the way back is then one multiplication.  Norms and softmax leave what came out.
"""

import math
from collections.abc import Callable

import numpy as np

from sewnp.fast.elementwise import BLOCK, SQUARES_LEFT, twice_phi
from sewnp.fast.workspace import Workspace
from sewnp.layers.activations import ACTIVATIONS, DERIVATIVES
from sewnp.types import Array

NormBack = Callable[[Array], tuple[Array, Array, Array]]
"""dy (N, C) -> dx, a fresh array, and the gradients of weight and bias."""

_HALF, _ONE = np.float32(0.5), np.float32(1)
_TO_EXPONENT = np.float32(-0.5 / float(SQUARES_LEFT))
_DENSITY = np.float32(1 / math.sqrt(2 * math.pi))


def activate_with_slope(x: Array, slope: Array, name: str, scratch: Workspace) -> None:
    """The activation of that name, in place, and its derivative into ``slope``.  Both contiguous, any shape."""
    flat, slopes = x.reshape(-1), slope.reshape(-1)
    of_block = _gelu_with_slope if name in ("gelu", "gelu_python") else _plainly(name)
    for start in range(0, flat.size, BLOCK):
        v = flat[start : start + BLOCK]
        of_block(v, slopes[start : start + BLOCK], scratch.take("gelu bent", (v.size,)))


def _gelu_with_slope(v: Array, slope: Array, t: Array) -> None:
    """v Phi(v), and Phi(v) + v phi(v): the squares serve both, one as the bend of the tanh, the other as an exponent."""
    twice_phi(v, slope, t)
    np.multiply(t, _HALF, out=t)
    np.multiply(slope, _TO_EXPONENT, out=slope)
    np.exp(slope, out=slope)
    np.multiply(slope, v, out=slope)
    np.multiply(slope, _DENSITY, out=slope)
    np.add(slope, t, out=slope)
    np.multiply(v, t, out=v)


def _plainly(name: str) -> Callable[[Array, Array, Array], None]:
    activation = ACTIVATIONS[name]
    derivative = DERIVATIVES[activation]

    def of_block(v: Array, slope: Array, _: Array) -> None:
        slope[:] = derivative(v)
        v[:] = activation(v)

    return of_block


def layer_norm_vjp(x: Array, weight: Array, bias: Array, *, eps: float, normalised: Array, out: Array) -> NormBack:
    """Layer norm over the last of two axes, (N, C), into ``out``; ``normalised`` is kept for the way back.  x may be either."""
    share = np.full(x.shape[1], 1 / x.shape[1], np.float32)
    np.subtract(x, (x @ share)[:, None], out=normalised)
    scale = np.einsum("tc,tc->t", normalised, normalised)
    scale *= share[0]
    scale += np.float32(eps)
    np.sqrt(scale, out=scale)
    np.divide(_ONE, scale, out=scale)
    normalised *= scale[:, None]
    np.multiply(normalised, weight, out=out)
    out += bias

    def pullback(dy: Array) -> tuple[Array, Array, Array]:
        along = dy * normalised
        dweight, dbias = summed(along), summed(dy)
        weight_share = weight * share
        along_mean, mean = along @ weight_share, dy @ weight_share
        dx = np.multiply(dy, weight, out=along)
        dx -= mean[:, None]
        dx -= normalised * along_mean[:, None]
        dx *= scale[:, None]
        return dx, dweight, dbias

    return pullback


def summed(dy: Array) -> Array:
    """The sum over frames, in two steps where there are many, so that no sum in float32 is long.  (N, C) -> (C,)"""
    whole = len(dy) // 64 * 64
    if whole < 256:
        return np.add.reduce(dy, axis=0)
    parts = np.add.reduce(dy[:whole].reshape(-1, 64, dy.shape[1]), axis=1)
    return np.add.reduce(parts, axis=0) + np.add.reduce(dy[whole:], axis=0)
