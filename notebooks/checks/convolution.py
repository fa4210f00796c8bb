"""Checks for the exercises of 02_strided_convolutions."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from checks import array_of_shape, close, passed

# kernels, strides: SEW's own, one layer, and three small ones that tell typical slips apart
STACKS = {
    "one layer, kernel 4, stride 3": ([4], [3]),
    "kernels 3, 5, strides 2, 1": ([3, 5], [2, 1]),
    "kernels 10, 3, 1, 4, strides 5, 2, 1, 3": ([10, 3, 1, 4], [5, 2, 1, 3]),
    "SEW's thirteen layers": ([10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1], [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1]),
}


def _frames(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def _field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    heard = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        heard = (heard - 1) * stride + kernel
    return heard


def _explain(found: dict[str, object], expected: dict[str, object], slips: dict[str, dict[str, object]]) -> None:
    """Nothing where all is right; otherwise the slip that explains every answer, or the first answer that is wrong."""
    assert None not in found.values(), "the result is None: is a return missing?"
    wrong = [case for case in expected if found[case] != expected[case]]
    if not wrong:
        return
    asked = f"{wrong[0]}: found {found[wrong[0]]}, expected {expected[wrong[0]]}"
    for message, answers in slips.items():
        assert found != answers, f"{asked}: {message}"
    raise AssertionError(asked)


def check_frames(frames: Callable) -> None:
    """Frames behind a stack, layer by layer, rounded down, never negative."""
    cases = {f"{n} samples, {name}": (n, *stack) for name, stack in STACKS.items() for n in (1000, 999, 1234)}

    def without_one(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = (samples - kernel) // stride
        return samples

    def rounded_up(samples: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = -(-(samples - kernel) // stride) + 1
        return samples

    def fractional(samples: float, kernels: Sequence[int], strides: Sequence[int]) -> float:
        for kernel, stride in zip(kernels, strides, strict=True):
            samples = (samples - kernel) / stride + 1
        return samples

    slips = {
        "+ 1 is missing; a signal as long as the kernel has room for one frame": without_one,
        "it looks as if you rounded up; a kernel that does not fit gives no frame": rounded_up,
        "frames come whole; round down with // in each layer": fractional,
        "it looks as if you went from the last layer to the first": lambda n, k, s: _frames(n, k[::-1], s[::-1]),
        "that is the samples divided by the hop, which forgets that kernels need room": lambda n, k, s: n // int(np.prod(s)),
        "right for the first layer; apply the others too": lambda n, k, s: (n - k[0]) // s[0] + 1,
    }
    answers = {case: frames(n, list(k), list(s)) for case, (n, k, s) in cases.items()}
    told = {message: {case: slip(*given) for case, given in cases.items()} for message, slip in slips.items()}
    _explain(answers, {case: _frames(*given) for case, given in cases.items()}, told)

    kernels, strides = STACKS["SEW's thirteen layers"]
    for samples in (0, 9, 399):
        found = frames(samples, list(kernels), list(strides))
        assert found == 0, f"{samples} samples are too few for a frame: expected 0, found {found}"
    assert frames(400, list(kernels), list(strides)) == 1, "400 samples are just enough for one frame of SEW"
    passed("as many frames as fit")


def check_receptive_field(receptive_field: Callable) -> None:
    """Samples that one frame hears."""

    def own_stride_too(kernels: Sequence[int], strides: Sequence[int]) -> int:
        return 1 + sum((kernel - 1) * int(step) for kernel, step in zip(kernels, np.cumprod(strides), strict=True))

    slips = {
        "it looks as if you went from the first layer to the last; start behind the last one, with one frame":
            lambda k, s: _field(k[::-1], s[::-1]),
        "that is the hop, the distance of two frames; kernels reach further than their stride": lambda k, s: int(np.prod(s)),
        "you forgot the strides; a later kernel's taps are several samples apart": lambda k, s: sum(k) - len(k) + 1,
        "that is the sum of the kernels, but they overlap, and later ones count in frames, not in samples": lambda k, s: sum(k),
        "that is the product of the kernels, as if nothing overlapped": lambda k, s: int(np.prod(k)),
        "a kernel's taps are apart by the strides of the layers before; you have its own stride in it too": own_stride_too,
        "one too many; n frames have n - 1 steps between them": lambda k, s: _field(k, s) + 1,
        "one too few; n frames have n - 1 steps between them": lambda k, s: _field(k, s) - 1,
    }  # fmt: skip
    answers = {name: receptive_field(list(k), list(s)) for name, (k, s) in STACKS.items()}
    told = {message: {name: slip(*stack) for name, stack in STACKS.items()} for message, slip in slips.items()}
    _explain(answers, {name: _field(*stack) for name, stack in STACKS.items()}, told)
    passed("one frame hears 400 samples of SEW's waveform")


def check_convolve(convolve: Callable) -> None:
    """A strided convolution of one clip."""
    rng = np.random.default_rng(1)
    for length, channels, out, taps, stride in ((12, 4, 6, 3, 2), (17, 1, 5, 10, 5), (9, 3, 2, 1, 1), (11, 2, 3, 4, 3)):
        x, weight = rng.standard_normal((length, channels)), rng.standard_normal((out, channels, taps))
        before = x.copy(), weight.copy()

        def right(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
            count = (len(x) - weight.shape[2]) // stride + 1
            return sum(x[tap : tap + stride * (count - 1) + 1 : stride] @ weight[:, :, tap].T for tap in range(weight.shape[2]))

        expected = right(x, weight, stride)
        case = f"{length} frames of {channels} channels, {out} kernels of {taps} taps, stride {stride}"
        found = convolve(x, weight, stride)
        assert np.array_equal(x, before[0]) and np.array_equal(weight, before[1]), "your function changed what it was given"  # noqa: PT018
        shape = np.shape(found)
        if shape != expected.shape and found is not None and len(shape) == 2:
            dense = right(x, weight, 1)
            assert shape != expected.shape[::-1], f"{case}: shape {shape}; time comes first, channels second: transpose the result"
            assert shape != dense.shape, f"{case}: shape {shape}, expected {expected.shape}: it looks as if you used stride 1"
            assert shape != (len(expected) - 1, out), (
                f"{case}: shape {shape}, expected {expected.shape}: the last frame is missing; it begins at"
                f" {stride * (len(expected) - 1)} and just fits"
            )
            assert shape != (-(-length // stride), out), (
                f"{case}: shape {shape}, expected {expected.shape}: some of your kernels hang over the end"
            )
        found = array_of_shape(found, expected.shape, what=f"{case}: the result")
        if close(found, expected):
            continue
        assert not close(found, right(x, weight[:, :, ::-1], stride)), (
            f"{case}: your kernels are turned round: tap 0 meets the earliest sample"
        )
        assert not close(found, right(x, weight[:, ::-1], stride)), f"{case}: your channels are in reverse order"
        assert not close(found, right(x, weight, 1)[: len(expected)]), (
            f"{case}: your frames overlap too much: it looks as if you used stride 1 and stopped early"
        )
        assert not close(found, right(x[:, :1], weight[:, :1], stride)), (
            f"{case}: only the first channel is read: sum over all of them"
        )
        wrong = [t for t in range(len(expected)) if not close(found[t], expected[t])]
        runs = sum(b != a + 1 for a, b in pairwise(wrong)) + 1
        where = f"frame {wrong[0]}" if len(wrong) == 1 else f"{len(wrong)} of {len(expected)} frames"
        assert len(wrong) == len(expected) or runs > 1, f"{case}: right but for {where}: look at where it begins and ends"
        raise AssertionError(
            f"{case}: the shape is right, the numbers are not; frame 0 is the sum over taps of x[tap] @ weight[:, :, tap].T"
        )
    passed("a convolution, in channels, taps and strides")
