"""Checks for the exercises of 03_group_norm_and_gelu."""

from collections.abc import Callable

import numpy as np
from scipy.special import erfc

from checks import array_of_shape, close, passed


def _normalised(x: np.ndarray, axis: int | tuple[int, ...], weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    mean, variance = x.mean(axis=axis, keepdims=True), x.var(axis=axis, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def _problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 7, 3)) * [1.0, 5.0, 0.2] + [0.0, -3.0, 1.0] + np.array([0.0, 2.0])[:, None, None]
    return x, np.array([1.5, 0.5, -2.0]), np.array([0.1, -0.2, 0.3])


def check_normalise_over_time(normalise_over_time: Callable) -> None:
    """Group norm with one group a channel."""
    x, weight, bias = _problem()
    eps = 0.3  # large, so that its place shows
    before = x.copy()
    found = array_of_shape(normalise_over_time(x, weight, bias, eps), x.shape)
    assert np.array_equal(x, before), "your function changed the x that it was given: make a new array instead"
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    plain = (x - mean) / np.sqrt(variance + eps)
    slips = {
        "that is layer norm: your statistics run over the channels of each frame; they should run over time": _normalised(
            x, 2, weight, bias, eps
        ),
        "your statistics run over time and channels together; each channel should be normalised for itself": _normalised(
            x, (1, 2), weight, bias, eps
        ),
        "your statistics run over all clips; each clip should be normalised for itself": _normalised(x, (0, 1), weight, bias, eps),
        "eps is missing: it belongs under the root, beside the variance": (x - mean) / np.sqrt(variance) * weight + bias,
        "eps stands beside the root; it belongs under it, beside the variance": (x - mean) / (np.sqrt(variance) + eps) * weight
        + bias,
        "you divide by the variance; take the root of it": (x - mean) / (variance + eps) * weight + bias,
        "you divide by n - 1 (ddof=1); the variance meant here divides by n": (x - mean)
        / np.sqrt(x.var(axis=1, keepdims=True, ddof=1) + eps)
        * weight
        + bias,
        "weight and bias are missing": plain,
        "the bias is missing": plain * weight,
        "the weight is missing": plain + bias,
        "the bias is added before the multiplication; multiply by the weight first": (plain + bias) * weight,
        "the mean is not subtracted": x / np.sqrt(variance + eps) * weight + bias,
    }
    for message, slip in slips.items():
        assert not close(found, slip, tolerance=1e-9), message
    expected = plain * weight + bias
    assert close(found, expected, tolerance=1e-9), (
        f"the largest difference is {np.abs(found - expected).max():.2g}; is it (x - mean) / sqrt(variance + eps) * weight + bias?"
    )
    passed("every channel for itself, over time")


def check_normalise_real_frames(normalise_real_frames: Callable) -> None:
    """Group norm with the statistics of the real frames."""
    x, weight, bias = _problem()
    x[1, 5:] = 0.0  # padding
    lengths, eps = np.array([7, 5]), 0.3
    before = x.copy()
    found = array_of_shape(normalise_real_frames(x, lengths, weight, bias, eps), x.shape)
    assert np.array_equal(x, before), "your function changed the x that it was given: make a new array instead"
    whole = _normalised(x, 1, weight, bias, eps)
    alone = _normalised(x[1:, :5], 1, weight, bias, eps)[0]
    mean = x[1, :5].mean(axis=0)
    with_padding = ((x[1] - mean) ** 2).mean(axis=0)
    over_all = (x[1, :5] - mean) / np.sqrt(with_padding + eps) * weight + bias
    share = x[1].sum(axis=0) / 7
    too_small = (x[1, :5] - share) / np.sqrt(((x[1, :5] - share) ** 2).sum(axis=0) / 7 + eps) * weight + bias
    same_count = (x[1, :5] - mean) / np.sqrt(((x[1, :5] - mean) ** 2).sum(axis=0) / 7 + eps) * weight + bias
    assert close(found[0], whole[0], tolerance=1e-9), "the clip whose frames are all real is not as group norm would have it"
    assert not close(found[1], whole[1], tolerance=1e-9), (
        "the padding still leaks: the statistics of the padded clip count all 7 frames, not the 5 real ones"
    )
    assert not close(found[1, :5], over_all, tolerance=1e-9), "the mean is right, but the variance still counts the padded frames"
    assert not close(found[1, :5], too_small, tolerance=1e-9), (
        "the sums are right, but you divide by all 7 frames; divide by the 5 real ones"
    )
    assert not close(found[1, :5], same_count, tolerance=1e-9), "the variance is divided by all 7 frames; divide by the 5 real ones"
    assert close(found[1, :5], alone, tolerance=1e-9), (
        f"the real frames of a padded clip differ by {np.abs(found[1, :5] - alone).max():.2g} from those of the clip alone"
    )
    behind = (x[1, 5:] - mean) / np.sqrt(x[1, :5].var(axis=0) + eps) * weight + bias
    assert not close(found[1, 5:], np.zeros_like(behind)) or close(behind, np.zeros_like(behind)), (
        "the real frames are right, and the frames behind them have become zero; they are normalised as the real ones are"
    )
    assert close(found[1, 5:], behind, tolerance=1e-9), (
        "the real frames are right; the frames behind them are to be normalised with the same mean and variance"
    )
    x[1, 5:] = 1e6  # other padding
    again = array_of_shape(normalise_real_frames(x, lengths, weight, bias, eps), x.shape)
    assert close(again[1, :5], alone, tolerance=1e-9), "right for padding with zeros, but with other padding the real frames change"
    passed("what stands behind the real frames does not matter")


def check_accurate_gelu(accurate_gelu: Callable) -> None:
    """GELU in float32 with a small relative error on the left."""
    x = np.linspace(-6, 6, 2401).astype(np.float32)
    exact = 0.5 * x.astype(np.float64) * erfc(-x.astype(np.float64) / np.sqrt(2))
    result = accurate_gelu(x)
    found = array_of_shape(result, x.shape)
    assert np.asarray(result).dtype == np.float32, (
        f"float32 went in and {np.asarray(result).dtype} came out: a NumPy float64 somewhere, such as np.sqrt(2), makes it so"
    )
    assert not close(found, 0.5 * x * erfc(x / np.sqrt(2)), tolerance=1e-4), "a sign is wrong: 1 + erf(z) is 1 - erf(-z)"
    assert not close(found, x * erfc(-x / np.sqrt(2)), tolerance=1e-4), "twice too large: erfc runs from 0 to 2"
    assert not close(found, 0.5 * x * erfc(-x), tolerance=1e-4), "the argument is to be divided by the square root of 2"
    assert close(found, exact, tolerance=1e-3), "that is not GELU: it should be x times the normal distribution's Phi(x)"
    tanh = 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    approximate = close(found, tanh, tolerance=1e-6) or not close(found, exact, tolerance=1e-6)
    assert not approximate, (
        f"off by up to {np.abs(found - exact).max():.1g}: that is an approximation of GELU, such as the one with tanh"
    )
    nonzero = exact != 0
    relative = np.abs(found - exact)[nonzero] / np.abs(exact[nonzero])
    worst = x[nonzero][relative.argmax()]
    assert relative.max() < 1e-5, (
        f"the absolute error is fine, but at x = {worst:.2f} the relative one is {relative.max():.1g}: 1 + erf(...) cancels there;"
        " write it with erfc"
    )
    assert not np.array_equal(found, exact.astype(np.float32)), (
        "right, and more exact than float32 arithmetic is: somewhere a NumPy float64, such as np.sqrt(2), has promoted the array, and the result"
        " was rounded at the end; write np.float32(np.sqrt(2)) or math.sqrt(2)"
    )
    passed("the relative error is below 1e-5 down to x = -6")
