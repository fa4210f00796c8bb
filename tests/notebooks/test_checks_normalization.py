"""The checks of notebook 03 accept what is right and name what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from checks.normalization import check_accurate_gelu, check_normalise_over_time, check_normalise_real_frames
from scipy.special import erf, erfc


def over(axis: Any, ddof: int = 0) -> Callable:
    def normalise(x: Any, weight: Any, bias: Any, eps: float) -> Any:
        variance = x.var(axis=axis, keepdims=True, ddof=ddof)
        return (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(variance + eps) * weight + bias

    return normalise


def plain(x: Any, eps: float) -> Any:
    return over(1)(x, 1, 0, eps)


def real_frames(x: Any, lengths: Any, weight: Any, bias: Any, eps: float) -> Any:
    y = np.empty_like(x)
    for b, n in enumerate(lengths):
        mean, variance = x[b, :n].mean(axis=0), x[b, :n].var(axis=0)
        y[b] = (x[b] - mean) / np.sqrt(variance + eps) * weight + bias
    return y


def accurate_gelu(x: Any) -> Any:
    return np.float32(0.5) * x * erfc(-x * np.float32(np.sqrt(0.5)))


@pytest.mark.parametrize(
    ("check", "solution"),
    [(check_normalise_over_time, over(1)), (check_normalise_real_frames, real_frames), (check_accurate_gelu, accurate_gelu)],
)
def test_solutions_pass(check: Callable, solution: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    check(solution)
    assert capsys.readouterr().out.startswith("✓ ")


def in_place(x: Any, weight: Any, bias: Any, eps: float) -> Any:
    x -= x.mean(axis=1, keepdims=True)
    return x


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (over(2), "that is layer norm"),
        (over((1, 2)), "time and channels together"),
        (over((0, 1)), "over all clips"),
        (over(1, ddof=1), "ddof=1"),
        (in_place, "changed the x"),
        (lambda x, w, b, e: plain(x, 0) * w + b, "eps is missing"),
        (lambda x, w, b, e: (x - x.mean(1, keepdims=True)) / (x.std(1, keepdims=True) + e) * w + b, "beside the root"),
        (lambda x, w, b, e: (x - x.mean(1, keepdims=True)) / (x.var(1, keepdims=True) + e) * w + b, "take the root"),
        (lambda x, w, b, e: plain(x, e), "weight and bias are missing"),
        (lambda x, w, b, e: plain(x, e) * w, "the bias is missing"),
        (lambda x, w, b, e: (plain(x, e) + b) * w, "multiply by the weight first"),
        (lambda x, w, b, e: x / np.sqrt(x.var(1, keepdims=True) + e) * w + b, "the mean is not subtracted"),
        (lambda x, w, b, e: 2 * over(1)(x, w, b, e), "the largest difference is"),
    ],
)
def test_wrong_norms_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_normalise_over_time(wrong)


def padded_variance(x: Any, lengths: Any, weight: Any, bias: Any, eps: float) -> Any:
    real = (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    mean = np.where(real, x, 0).sum(1, keepdims=True) / real.sum(1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + eps) * weight + bias


def wrong_count(x: Any, lengths: Any, weight: Any, bias: Any, eps: float) -> Any:
    real = (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    mean = np.where(real, x, 0).mean(1, keepdims=True)
    return (x - mean) / np.sqrt(np.where(real, (x - mean) ** 2, 0).mean(1, keepdims=True) + eps) * weight + bias


def wrong_count_of_squares(x: Any, lengths: Any, weight: Any, bias: Any, eps: float) -> Any:
    real = (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    mean = np.where(real, x, 0).sum(1, keepdims=True) / real.sum(1, keepdims=True)
    return (x - mean) / np.sqrt(np.where(real, (x - mean) ** 2, 0).mean(1, keepdims=True) + eps) * weight + bias


def only_zeros(x: Any, lengths: Any, weight: Any, bias: Any, eps: float) -> Any:
    """Takes what is zero for padding."""
    return real_frames(x, [np.count_nonzero(clip[:, 0]) for clip in x], weight, bias, eps)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, n, w, b, e: over(1)(x, w, b, e), "the padding still leaks"),
        (padded_variance, "the variance still counts the padded frames"),
        (wrong_count, "you divide by all 7 frames"),
        (wrong_count_of_squares, "the variance is divided by all 7"),
        (lambda x, n, *rest: real_frames(x, n, *rest) * (np.arange(7) < n[:, None])[:, :, None], "have become zero"),
        (lambda x, n, *rest: real_frames(x, n, *rest) + (np.arange(7) >= n[:, None])[:, :, None], "the same mean and variance"),
        (only_zeros, "with other padding the real frames change"),
        (lambda x, n, w, b, e: over(2)(x, w, b, e), "whose frames are all real"),
    ],
)
def test_leaks_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_normalise_real_frames(wrong)


HALF = np.float32(0.5)
ROOT = np.float32(np.sqrt(0.5))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: HALF * x * (1 + erf(x * ROOT)), r"1 \+ erf\(...\) cancels there"),
        (lambda x: 0.5 * x * erfc(-x / np.sqrt(np.array([2.0]))), "float64 came out"),
        (lambda x: HALF * x * erfc(x * ROOT), "a sign is wrong"),
        (lambda x: x * erfc(-x * ROOT), "twice too large"),
        (lambda x: HALF * x * erfc(-x), "divided by the square root of 2"),
        (lambda x: np.maximum(x, 0), "that is not GELU"),
        (
            lambda x: HALF * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x * x * x))),
            "an approximation of GELU",
        ),
    ],
)
def test_wrong_gelus_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_accurate_gelu(wrong)
