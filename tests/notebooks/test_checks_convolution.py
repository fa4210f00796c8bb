"""The checks of notebook 02 accept what is right and name what is wrong."""

from collections.abc import Callable
from math import ceil, prod
from typing import Any

import numpy as np
import pytest
from checks.convolution import check_convolve, check_frames, check_receptive_field


def frames(samples: int, kernels: list[int], strides: list[int]) -> int:
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return max(0, samples)


def receptive_field(kernels: list[int], strides: list[int]) -> int:
    heard = 1
    for kernel, stride in zip(kernels[::-1], strides[::-1], strict=True):
        heard = (heard - 1) * stride + kernel
    return heard


def convolve(x: Any, weight: Any, stride: int) -> Any:
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2], axis=0)[::stride]
    return np.einsum("tck,ock->to", windows, weight)


@pytest.mark.parametrize(
    ("check", "solution"), [(check_frames, frames), (check_receptive_field, receptive_field), (check_convolve, convolve)]
)
def test_solutions_pass(check: Callable, solution: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    check(solution)
    assert capsys.readouterr().out.startswith("✓ ")


def without_one(n: int, kernels: list[int], strides: list[int]) -> int:
    for k, s in zip(kernels, strides, strict=True):
        n = (n - k) // s
    return n


def rounded_up(n: int, kernels: list[int], strides: list[int]) -> int:
    for k, s in zip(kernels, strides, strict=True):
        n = ceil((n - k) / s) + 1
    return n


def fractional(n: float, kernels: list[int], strides: list[int]) -> float:
    for k, s in zip(kernels, strides, strict=True):
        n = (n - k) / s + 1
    return n


def unclipped(n: int, kernels: list[int], strides: list[int]) -> int:
    for k, s in zip(kernels, strides, strict=True):
        n = (n - k) // s + 1
    return n


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n, k, s: None, "is a return missing"),
        (without_one, r"\+ 1 is missing"),
        (rounded_up, "you rounded up"),
        (lambda n, k, s: frames(n, k[::-1], s[::-1]), "from the last layer to the first"),
        (lambda n, k, s: n // prod(s), "divided by the hop"),
        (lambda n, k, s: (n - k[0]) // s[0] + 1, "right for the first layer"),
        (fractional, "frames come whole; round down"),
        (lambda n, k, s: 7, "1000 samples, one layer, kernel 4, stride 3: found 7, expected 333"),
        (unclipped, "too few for a frame: expected 0, found"),
    ],
)
def test_wrong_frame_counts_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_frames(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda k, s: receptive_field(k[::-1], s[::-1]), "start behind the last one"),
        (lambda k, s: prod(s), "that is the hop"),
        (lambda k, s: sum(k) - len(k) + 1, "you forgot the strides"),
        (lambda k, s: sum(k), "the sum of the kernels"),
        (lambda k, s: prod(k), "product of the kernels"),
        (lambda k, s: 1 + sum((a - 1) * int(b) for a, b in zip(k, np.cumprod(s), strict=True)), "its own stride in it too"),
        (lambda k, s: receptive_field(k, s) + 1, "one too many"),
    ],
)
def test_wrong_receptive_fields_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_receptive_field(wrong)


def last_frame_wrong(x: Any, weight: Any, stride: int) -> Any:
    y = convolve(x, weight, stride)
    y[-1] = 0
    return y


def overlapping(x: Any, weight: Any, stride: int) -> Any:
    return convolve(x, weight, 1)[: len(convolve(x, weight, stride))]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x, w, s: convolve(x, w, 1), "used stride 1"),
        (overlapping, "your frames overlap too much"),
        (lambda x, w, s: convolve(x, w, s)[:-1], "the last frame is missing"),
        (lambda x, w, s: convolve(x, w, s).T, "transpose the result"),
        (lambda x, w, s: convolve(x, w[:, :, ::-1], s), "turned round"),
        (lambda x, w, s: convolve(x[:, :1], w[:, :1], s), "only the first channel"),
        (last_frame_wrong, "right but for frame 4"),
        (lambda x, w, s: convolve(np.pad(x, ((0, w.shape[2] - 1), (0, 0))), w, s), "hang over the end|used stride 1"),
        (lambda x, w, s: 2 * convolve(x, w, s), "the numbers are not"),
        (lambda x, w, s: convolve(x, w, s)[None], r"has shape \(1, 5, 6\), expected \(5, 6\)"),
    ],
)
def test_wrong_convolutions_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_convolve(wrong)
