"""How far two values of one stage are apart, as a fraction of the stage's own scale."""

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from sewnp.types import Array


@dataclass(frozen=True)
class Measure:
    """The difference between a true and a found array of the same shape."""

    max_error: float
    """The largest difference over the largest finite true value.  inf where NaN or an infinity stands in one and not in the other."""
    mean_error: float
    """The mean difference over the same."""
    cosine: float
    """1 for the same direction, whatever the length."""
    share: float
    """The share of elements that differ by more than the budget."""
    worst: tuple[int, ...]
    """Where the largest difference is."""


def measure(truth: Array, found: Array, *, budget: float = 0.0) -> Measure:
    """Compare two arrays of one shape.  budget: a fraction of the scale, for ``share``; booleans and integers count as 0, 1, 2 ...

    NaN in either is a difference without bound.  Infinities agree with infinities of the same sign only.
    """
    a, b = truth.astype(np.float64).ravel(), found.astype(np.float64).ravel()
    if a.size == 0:
        return Measure(0.0, 0.0, 1.0, 0.0, ())
    finite = np.isfinite(a) & np.isfinite(b)
    difference = np.where(finite, 0.0, np.inf)
    difference[~finite & (a == b)] = 0.0
    a, b = np.where(finite, a, 0.0), np.where(finite, b, 0.0)
    difference += np.abs(a - b)
    scale = float(np.abs(a).max())
    error = difference / scale if scale > 0 else np.where(difference > 0, np.inf, 0.0)
    worst = np.unravel_index(int(error.argmax()), truth.shape)
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths > 0 else float(not a.any() and not b.any())
    return Measure(float(error.max()), float(error.mean()), cosine, float((error > budget).mean()), tuple(map(int, worst)))


def transposition(truth: Array, found: Array, *, budget: float) -> tuple[int, ...] | None:
    """The order of axes, other than the one at hand, in which ``found`` becomes ``truth`` to within the budget; None where there is none."""
    if truth.ndim != found.ndim or truth.ndim > 4 or sorted(truth.shape) != sorted(found.shape):
        return None
    for axes in permutations(range(truth.ndim)):
        turned = found.transpose(axes)
        if axes != tuple(range(truth.ndim)) and turned.shape == truth.shape and measure(truth, turned).max_error <= budget:
            return axes
    return None
