"""Softmax over the last axis: plain, in the log domain, and over the part of a row that a mask allows.

Each subtracts the row's largest entry first.  That changes nothing on paper, and keeps ``exp`` within (0, 1] for scores of any
size.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from sewnp.errors import InputError
from sewnp.types import Array


def softmax(x: Array) -> Array:
    """Scores to probabilities, ``exp(x) / sum(exp(x))``.  (..., N) -> (..., N), floating, dtype kept.

    A score of -inf has probability 0.  A row that holds NaN or +inf, or nothing but -inf, has no softmax: it becomes NaN.

    >>> softmax(np.log([1.0, 3.0]))
    array([0.25, 0.75])
    """
    with _underflow():
        weights: Array = np.exp(_below_peak(x))
        total: Array = weights.sum(axis=-1, keepdims=True)
        return weights / total


def softmax_vjp(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """:func:`softmax`, and dy -> dx = y (dy - sum(y dy)): who gains takes it from all others of the row.

    >>> y, pullback = softmax_vjp(np.log([1.0, 3.0]))
    >>> pullback(np.array([1.0, 0.0]))
    array([ 0.1875, -0.1875])
    """
    y = softmax(x)
    return y, partial(_share_out, y)


def log_softmax(x: Array) -> Array:
    """Scores to log-probabilities, ``x - log(sum(exp(x)))``.  (..., N) -> (..., N), floating, dtype kept.

    Not ``log(softmax(x))``, which is -inf wherever a probability is too small for its dtype.  NaN and inf as in :func:`softmax`.

    >>> log_softmax(np.array([0.0, 0.0]))
    array([-0.69314718, -0.69314718])
    """
    below = _below_peak(x)
    with _underflow():
        log_total: Array = np.log(np.exp(below).sum(axis=-1, keepdims=True))
    return below - log_total


def log_softmax_vjp(x: Array) -> tuple[Array, Callable[[Array], Array]]:
    """:func:`log_softmax`, and dy -> dx = dy - exp(y) sum(dy).

    >>> y, pullback = log_softmax_vjp(np.log([1.0, 3.0]))
    >>> pullback(np.array([1.0, 0.0]))
    array([ 0.75, -0.75])
    """
    y = log_softmax(x)

    def pullback(dy: Array) -> Array:
        with _underflow():
            return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)

    return y, pullback


def masked_softmax(scores: Array, mask: Array | None) -> Array:
    """Softmax over the entries that may be attended; the others get probability exactly 0.  (..., N) -> (..., N), dtype kept.

    ``mask`` is boolean and broadcasts to ``scores``; True means "may be attended", None that everything may be.  What the scores
    hold where the mask is False does not matter.  A row with nothing to attend to (a clip that is all padding) is all zeros, so
    that its context is zero: that is what torch's scaled dot product attention does for SEW in transformers 5, and SEW-D's own
    masked softmax.  A score of -inf counts as masked.

    >>> masked_softmax(np.array([[1.0, 1.0, 9.0], [1.0, 1.0, 9.0]]), np.array([[True, True, False], [False, False, False]]))
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]])

    Raises InputError for a mask that is not boolean (an additive mask would mean its opposite) or that does not broadcast to the scores.
    """
    allowed = scores if mask is None else np.where(_check_mask(mask, scores), scores, -np.inf)
    peak = allowed.max(axis=-1, keepdims=True)
    with _underflow(), np.errstate(invalid="ignore"):  # inf - inf, in a row that holds +inf: NaN is the answer
        weights: Array = np.exp(allowed - np.where(peak == -np.inf, 0, peak))  # an empty row: -inf - 0 instead of -inf - -inf
        total = weights.sum(axis=-1, keepdims=True)
        return weights / np.where(total == 0, 1, total)


def masked_softmax_vjp(scores: Array, mask: Array | None) -> tuple[Array, Callable[[Array], Array]]:
    """:func:`masked_softmax`, and dy -> dscores, as for :func:`softmax_vjp`: what may not be attended receives 0, and so does a row of zeros.

    >>> y, pullback = masked_softmax_vjp(np.array([1.0, 1.0, 9.0]), np.array([True, True, False]))
    >>> pullback(np.array([1.0, 0.0, 5.0]))
    array([ 0.25, -0.25,  0.  ])
    """
    y = masked_softmax(scores, mask)
    return y, partial(_share_out, y)


def _share_out(y: Array, dy: Array) -> Array:
    """The pullback of every softmax, of which y came out."""
    with _underflow():
        return y * (dy - (y * dy).sum(axis=-1, keepdims=True))


def _underflow() -> np.errstate:
    """What is too small for its dtype is 0 here, also for a caller who has asked NumPy to raise."""
    return np.errstate(under="ignore")


def _below_peak(x: Array) -> Array:
    """Each row minus its largest entry."""
    with np.errstate(invalid="ignore"):  # inf - inf, in a row that holds +inf or only -inf: NaN is the answer
        below: Array = x - x.max(axis=-1, keepdims=True)
    return below


def _check_mask(mask: Array, scores: Array) -> Array:
    if mask.dtype != np.bool_:
        raise InputError(f"mask: expected a boolean array (True may be attended), found dtype {mask.dtype}")
    try:
        return np.broadcast_to(mask, scores.shape)
    except ValueError:
        raise InputError(
            f"mask: expected a shape that broadcasts to that of the scores, {scores.shape}, found {mask.shape}"
        ) from None
