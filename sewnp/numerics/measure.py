"""How far two values of one stage are apart, as a fraction of the stage's own scale."""

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from sewnp.types import Array


@dataclass(frozen=True)
class Measure:
    """The difference between a true and a found array of the same shape."""

    max_error: float
    """The largest difference over the scale: the largest finite true value.  inf where NaN or an infinity stands in one and not in the other."""
    mean_error: float
    """The mean difference over the same."""
    cosine: float
    """1 for the same direction, whatever the length."""
    share: float
    """The share of elements that differ by more than the budget."""
    worst: tuple[int, ...]
    """Where the largest difference is."""


def measure(truth: Array, found: Array, *, budget: float = 0.0, least: float = 0.0) -> Measure:
    """Compare two arrays of one shape.  budget: a fraction of the scale, for ``share``; booleans and integers count as 0, 1, 2 ...

    least: the scale is no smaller, for what is zero on paper (see ``zero_scales``).

    NaN in either is a difference without bound.  Infinities agree with infinities of the same sign only.
    """
    if truth.size == 0:
        return Measure(0.0, 0.0, 1.0, 0.0, ())
    a, b, error = _errors(truth, found, least)
    worst = np.unravel_index(int(error.argmax()), truth.shape)
    lengths = math.sqrt(a @ a) * math.sqrt(b @ b)
    cosine = float(a @ b) / lengths if lengths > 0 else float(not a.any() and not b.any())
    share = float(np.count_nonzero(error > budget)) / error.size
    return Measure(float(error.max()), float(error.mean()), cosine, share, tuple(map(int, worst)))


def largest_error(truth: Array, found: Array, *, least: float = 0.0) -> float:
    """``measure(truth, found).max_error``, for the price of a third: block by block, and nothing else."""
    a, b = truth.ravel(), found.ravel()
    scale, difference = least, 0.0
    for start in range(0, a.size, BLOCK):
        x, y = (flat[start : start + BLOCK].astype(np.float64, copy=False) for flat in (a, b))
        with np.errstate(invalid="ignore"):  # inf - inf
            here = float(np.abs(x - y).max())
        if not math.isfinite(here):
            return float(_errors(truth, found, least)[2].max())  # what is not finite takes a closer look
        difference, scale = max(difference, here), max(scale, float(x.max()), -float(x.min()))
    return difference / scale if scale > 0 else math.inf if difference > 0 else 0.0


BLOCK = 2**15
"""Numbers at a time, so that they stay in the processor's cache."""


def _errors(truth: Array, found: Array, least: float) -> tuple[Array, Array, Array]:
    """Both as flat float64 with 0 where one of them is not finite, and their difference over the scale, unbounded there unless they agree."""
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (truth, found))
    with np.errstate(invalid="ignore"):  # inf - inf, looked at below
        difference = np.subtract(a, b)
    np.abs(difference, out=difference)
    if not math.isfinite(difference.max()):
        finite = np.isfinite(a) & np.isfinite(b)
        difference = np.where(finite, difference, np.where(a == b, 0.0, np.inf))
        a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    scale = max(float(a.max()), -float(a.min()), least)
    if scale > 0:
        difference /= scale
    else:
        difference[difference > 0] = np.inf
    return a, b, difference


def transposition(truth: Array, found: Array, *, budget: float, least: float = 0.0) -> tuple[int, ...] | None:
    """The order of axes, other than the one at hand, in which ``found`` becomes ``truth`` to within the budget; None where there is none."""
    if truth.ndim != found.ndim or truth.ndim > 4 or sorted(truth.shape) != sorted(found.shape):
        return None
    for axes in permutations(range(truth.ndim)):
        turned = found.transpose(axes)
        if axes != tuple(range(truth.ndim)) and turned.shape == truth.shape and largest_error(truth, turned, least=least) <= budget:
            return axes
    return None
