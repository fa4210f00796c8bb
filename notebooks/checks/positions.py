"""Checks of the exercises in 05_position_by_convolution."""

from collections.abc import Callable
from typing import Any

import numpy as np

from checks import close, passed
from checks.mistakes import agree, call
from sewnp.layers import conv1d, grouped_conv1d, weight_norm


def check_weight_norm(fold: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """fold(weight_g, weight_v): the kernel whose taps have the lengths g and the directions of v.  (1, 1, K), (O, C, K) -> (O, C, K)"""
    rng = np.random.default_rng(5)
    g, v = rng.uniform(0.5, 2.0, size=(1, 1, 7)), rng.normal(size=(6, 3, 7))
    on = "a kernel of 6 output channels, 3 input channels and 7 taps"
    square = np.square(v)
    per_tap = square.sum(axis=(0, 1), keepdims=True)
    mistakes: dict[str, Any] = {
        "g is missing: the directions have length 1": v / np.sqrt(per_tap),
        "v is not brought to length 1 first: divide by its length": g * v,
        "the root is missing: the length is the square root of the sum of squares": g * v / per_tap,
        "there is one length for the whole kernel; each tap has its own": g * v / np.sqrt(square.sum()),
        "there is one length for each output channel (torch's default); here each tap has its own, over all channels": g
        * v
        / np.sqrt(square.sum(axis=(1, 2), keepdims=True)),
        "the length is taken along the taps; it goes over the channels, axes 0 and 1": g
        * v
        / np.sqrt(square.sum(axis=2, keepdims=True)),
        "the length goes over the output channels alone; it goes over axes 0 and 1": g
        * v
        / np.sqrt(square.sum(axis=0, keepdims=True)),
        "the length goes over the input channels alone; it goes over axes 0 and 1": g
        * v
        / np.sqrt(square.sum(axis=1, keepdims=True)),
        "it multiplies by the length instead of dividing": g * v * np.sqrt(per_tap),
        "it divides by the mean square's root; the length is the root of the sum": g
        * v
        / np.sqrt(square.mean((0, 1), keepdims=True)),
    }
    agree(call(fold, g, v, on=on), weight_norm(g, v), mistakes, on=on)
    short = 1e-9 * v  # as short as that, any epsilon shows
    found = np.asarray(call(fold, g, short, on=f"{on}, whose v is very short"))
    assert close(found, weight_norm(g, short)), (
        "right for a v of usual length, but with a very short one the taps do not have the length g: is there an epsilon? There is none here"
    )
    passed("every tap has its length and its direction")


def check_dense_kernel(dense_kernel: Callable[[np.ndarray, int], np.ndarray]) -> None:
    """dense_kernel(weight, groups): a kernel without groups that does the same.  (O, C / groups, K) -> (O, C, K)"""
    for groups, size, out in ((3, 2, 2), (2, 3, 1), (1, 4, 4)):
        weight = np.random.default_rng(groups).normal(size=(groups * out, size, 5))
        channels = groups * size
        on = f"{channels} input channels, {groups * out} output channels and {groups} group{'s' * (groups > 1)}"
        dense = np.zeros((groups * out, channels, 5))
        strided, first, reverse = dense.copy(), dense.copy(), dense.copy()
        for o in range(groups * out):
            group = o // out
            dense[o, group * size : (group + 1) * size] = weight[o]
            strided[o, group::groups] = weight[o]
            first[o, :size] = weight[o]
            back = groups - 1 - group
            reverse[o, back * size : (back + 1) * size] = weight[o]
        mistakes: dict[str, Any] = {}
        if groups > 1:
            mistakes = {
                "every group reads the first channels; group g reads channels g C / G to (g + 1) C / G": first,
                "every group reads every so-many-th channel; a group's channels stand side by side": strided,
                "the groups stand in reverse order": reverse,
                "the weights are repeated for every group; outside its own group a channel's weight is zero": np.tile(
                    weight, (1, groups, 1)
                ),
                "this is the grouped kernel as it was; expected one that reads all channels": weight,
                "input and output channels are swapped": dense.swapaxes(0, 1),
            }

        def reason(o: int, c: int, k: int, size: int = size, out: int = out) -> str:
            start = o // out * size
            own = f"output channel {o} is in group {o // out}, which reads input channels {start} to {start + size - 1}"
            inside = (
                f"so this is weight[{o}, {c - start}, {k}]"
                if 0 <= c - start < size
                else f"and {c} is none of them, so this is zero"
            )
            return f"; {own}, {inside}"

        found = call(dense_kernel, weight, groups, on=on)
        agree(found, dense, mistakes, on=on, reason=reason)
        x = np.random.default_rng(1).normal(size=(1, 9, channels))
        assert np.allclose(conv1d(x, np.asarray(found)), grouped_conv1d(x, weight, groups=groups)), f"with {on} the sums differ"
    passed("conv1d with your kernel equals grouped_conv1d with the small one")


def check_position_frames(position_frames: Callable[[int, int, int], tuple[int, int]]) -> None:
    """position_frames(frames, kernel, stride): frames of the convolution padded by kernel // 2, and how many are kept."""
    for frames, kernel, stride in ((148, 31, 2), (171, 31, 2), (148, 128, 2), (171, 128, 2), (9, 4, 3), (7, 1, 1)):
        on = f"T = {frames}, K = {kernel}, stride {stride}"
        made = (frames + 2 * (kernel // 2) - kernel) // stride + 1
        kept = min(made - (kernel % 2 == 0), frames // stride)
        found = call(position_frames, frames, kernel, stride, on=on)
        two = isinstance(found, tuple) and len(found) == 2
        assert two, f"with {on} expected two numbers, (made, kept), found {found!r}"
        if found[0] != made:
            slips = {
                "the padding stands on both sides, so it counts twice": (frames + kernel // 2 - kernel) // stride + 1,
                "the padding of kernel // 2 zeros on either side is missing": (frames - kernel) // stride + 1,
                "a kernel that fits n times beside itself has n + 1 places": (frames + 2 * (kernel // 2) - kernel) // stride,
                "the stride is missing": frames + 2 * (kernel // 2) - kernel + 1,
            }
            named = [message for message, wrong in slips.items() if wrong == found[0]]
            raise AssertionError(
                f"with {on} the convolution makes {made} frames, found {found[0]}" + "".join(f": {n}" for n in named[:1])
            )
        if found[1] != kept:
            because = "an even kernel makes one frame too many, which is dropped" if kernel % 2 == 0 else (
                f"only {frames // stride} squeezed frames are there to be added to"
            )  # fmt: skip
            raise AssertionError(f"with {on} {kept} frames are kept, found {found[1]}: {because}")
    passed("as many positions as squeezed frames, whatever the kernel")
