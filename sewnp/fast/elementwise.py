"""What happens between the products, in place and in blocks.

A block is long enough that a call takes some ten microseconds (see ``crew``) and short enough that it stays in the core's own cache.
"""

import numpy as np

from sewnp.fast.workspace import Workspace
from sewnp.layers.activations import ACTIVATIONS
from sewnp.types import Array

BLOCK = 131072
"""Elements of a block."""

# GELU(x) = x (1 + erf(x / sqrt 2)) / 2, and erf(x / sqrt 2) = tanh(x f(x x)) for a function f that is nearly straight: fitted as
# a straight line plus a quotient of a straight line and a square, by least squares, reweighted until all peaks of the error were equal, and
# written as a continued fraction, _A + SQUARES_LEFT z + _F / (z + _S + _K / (z + _T)), which takes the fewest passes over memory.  Phi(x) max(|x|, 1)
# is off by 1.3e-7 at most, for every x; a polynomial as good has degree 6.  That the error shrinks with x matters: a fit for GELU's absolute
# error was as good on paper, and cost twenty times torch's error behind thirteen convolutions with small activations.  For large x the
# straight line makes tanh saturate, and nothing has to be clipped.
_A, SQUARES_LEFT, _F = (np.float32(c) for c in (1.2295892748613177, 0.017455279365673388, -4.09072097309767))
_S, _K, _T = (np.float32(c) for c in (-10.112583508091767, 655.0666371988768, 33.441636540772166))
_HALF, _ONE = np.float32(0.5), np.float32(1)


def gelu(x: Array, scratch: Workspace, rank: int) -> None:
    """GELU in place.  x: contiguous, any shape."""
    flat = x.reshape(-1)
    squares, bent = scratch.take("gelu squares", (BLOCK,), rank), scratch.take("gelu bent", (BLOCK,), rank)
    for start in range(0, flat.size, BLOCK):
        v = flat[start : start + BLOCK]
        t = bent[: v.size]
        twice_phi(v, squares[: v.size], t)
        np.multiply(v, _HALF, out=v)
        np.multiply(v, t, out=v)


def twice_phi(v: Array, squares: Array, out: Array) -> None:
    """2 Phi(v), Phi being the normal distribution's.  One block: v, what is left of its squares (times :data:`SQUARES_LEFT`) and the result."""
    np.multiply(v, v, out=squares)
    np.add(squares, _T, out=out)
    np.divide(_K, out, out=out)
    np.add(out, squares, out=out)
    np.add(out, _S, out=out)
    np.divide(_F, out, out=out)
    np.multiply(squares, SQUARES_LEFT, out=squares)
    np.add(out, squares, out=out)
    np.add(out, _A, out=out)
    np.multiply(out, v, out=out)
    np.tanh(out, out=out)
    np.add(out, _ONE, out=out)


def activate(x: Array, name: str, scratch: Workspace, rank: int) -> None:
    """The activation of that name, in place.  All but the exact GELU are the textbook's own, block by block."""
    if name in ("gelu", "gelu_python"):
        gelu(x, scratch, rank)
        return
    flat = x.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        block[:] = ACTIVATIONS[name](block)


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> None:
    """Layer norm over the last of two axes, in place."""
    channels = x.shape[1]
    x -= (x @ np.full(channels, 1 / channels, np.float32))[:, None]
    scale = np.einsum("tc,tc->t", x, x)
    scale *= np.float32(1 / channels)
    scale += np.float32(eps)
    np.sqrt(scale, out=scale)
    np.divide(_ONE, scale, out=scale)
    x *= scale[:, None]
    x *= weight
    x += bias


def exponentials(scores: Array, allowed: Array | None) -> Array:
    """Softmax in place without its division: exp(score - row's peak), 0 where not allowed.  (..., N) -> the sums (..., 1) to divide by.

    The division can wait until after the product with the values, which is narrower.
    """
    if allowed is not None:
        np.copyto(scores, np.float32(-np.inf), where=~allowed)
    peak = scores.max(axis=-1, keepdims=True)
    if allowed is not None:
        peak[peak == -np.inf] = 0  # a row that may look nowhere: zeros
    scores -= peak
    np.exp(scores, out=scores)
    total = np.add.reduce(scores, axis=-1, keepdims=True)
    if allowed is not None:
        total[total == 0] = 1
    return total
