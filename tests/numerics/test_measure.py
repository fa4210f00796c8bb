"""How far two arrays are apart, and whether one is the other turned round."""

import math

import numpy as np
import pytest

from sewnp.numerics import measure
from sewnp.numerics.measure import BLOCK, largest_error, transposition


def test_a_known_difference() -> None:
    truth = np.array([[1.0, -4.0], [2.0, 0.0]])
    found = truth + np.array([[0.0, 0.5], [-1.0, 0.0]])
    m = measure(truth, found, budget=0.2)
    assert (m.max_error, m.mean_error, m.share, m.worst) == (0.25, 0.09375, 0.25, (1, 0))
    assert m.cosine == pytest.approx(float((truth * found).sum() / np.linalg.norm(truth) / np.linalg.norm(found)))
    assert largest_error(truth, found) == 0.25


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64, np.bool_])
def test_equal_arrays_do_not_differ(dtype: type) -> None:
    x = np.arange(12).reshape(3, 4).astype(dtype)
    m = measure(x, x)
    assert (m.max_error, m.mean_error, m.share) == (0, 0, 0)
    assert m.cosine == pytest.approx(1)
    assert largest_error(x, x) == 0


def test_scalars_and_nothing() -> None:
    assert measure(np.array(2.0), np.array(3.0)).max_error == 0.5
    assert measure(np.array(2.0), np.array(3.0)).worst == ()
    empty = np.zeros((0, 3))
    assert measure(empty, empty).max_error == largest_error(empty, empty) == 0


def test_booleans_and_integers_count_as_numbers() -> None:
    yes = np.array([True, False])
    assert measure(yes, np.array([1.0, 0.0])).max_error == 0
    assert measure(yes, ~yes).max_error == 1
    assert measure(np.array([4, 2]), np.array([4, 3])).max_error == 0.25


def test_a_truth_of_zeros_allows_nothing() -> None:
    zeros = np.zeros(3)
    assert measure(zeros, zeros).cosine == 1
    assert measure(zeros, zeros).max_error == largest_error(zeros, zeros) == 0
    m = measure(zeros, np.array([0.0, 1e-30, 0.0]))
    assert (m.max_error, m.worst, m.cosine) == (math.inf, (1,), 0)
    assert largest_error(zeros, np.array([0.0, 1e-30, 0.0])) == math.inf


@pytest.mark.parametrize(
    ("truth", "found", "error"),
    [
        ([1.0, -np.inf], [1.0, -np.inf], 0.0),
        ([2.0, -np.inf], [1.0, -np.inf], 0.5),
        ([1.0, -np.inf], [1.0, np.inf], np.inf),
        ([1.0, -np.inf], [1.0, 0.0], np.inf),
        ([1.0, 1.0], [1.0, np.inf], np.inf),
        ([1.0, 1.0], [1.0, np.nan], np.inf),
        ([1.0, np.nan], [1.0, 1.0], np.inf),
        ([1.0, np.nan], [1.0, np.nan], np.inf),
        ([-np.inf, -np.inf], [-np.inf, -np.inf], 0.0),
    ],
)
def test_what_is_not_finite(truth: list[float], found: list[float], error: float) -> None:
    a, b = np.array(truth), np.array(found)
    m = measure(a, b)
    assert m.max_error == largest_error(a, b) == error
    assert m.share == (error > 0) / 2
    if error:
        assert m.worst == ((0,) if truth[0] == 2 else (1,))


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 5])
@pytest.mark.parametrize("value", [3.0, np.nan, np.inf])
def test_blocks_miss_nothing(place: int, value: float) -> None:
    x = np.random.default_rng(0).normal(size=2 * BLOCK + 10).astype(np.float32)
    y = x.astype(np.float64)
    y[place] += value
    assert largest_error(x, y) == measure(x, y).max_error > 0
    assert measure(x, y).worst == (place,)


def test_measuring_changes_nothing() -> None:
    x, y = np.array([1.0, np.inf, 2.0]), np.array([1.0, np.inf, 3.0])
    before = x.copy(), y.copy()
    measure(x, y)
    largest_error(x, y)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


def test_a_transposition_is_recognised() -> None:
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 5))
    for axes in [(0, 2, 1, 3), (3, 0, 1, 2), (1, 0, 3, 2)]:
        found = x.transpose(axes)
        back = transposition(x, found, budget=1e-6)
        assert back is not None
        np.testing.assert_array_equal(found.transpose(back), x)


def test_what_is_no_transposition() -> None:
    x = np.random.default_rng(0).normal(size=(3, 3))
    assert transposition(x, x, budget=1e-6) is None  # as it is, it is not turned
    assert transposition(x, x.T + 1e-3, budget=1e-6) is None
    assert transposition(x, x[:2], budget=1e-6) is None
    assert transposition(x, x.ravel(), budget=1e-6) is None
