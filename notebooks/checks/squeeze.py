"""Checks of the exercises in 04_the_squeeze."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import sewnp
from checks import passed
from checks.mistakes import agree, call
from sewnp.costs import stages


def check_squeeze(squeeze: Callable[[np.ndarray, int], np.ndarray]) -> None:
    """squeeze(x, factor): the mean of every ``factor`` frames.  (B, T, C) -> (B, T // factor, C)"""
    for frames, factor in ((6, 2), (7, 2), (8, 3)):
        x = np.random.default_rng(frames).normal(size=(2, frames, 3))
        on = f"{frames} frames and factor {factor}"
        whole = frames // factor * factor
        kept, groups = x[:, :whole], frames // factor
        grouped = kept.reshape(2, groups, factor, 3)
        rest = x[:, whole:]
        mistakes: dict[str, Any] = {
            "nothing was squeezed: as many frames come out as went in": x,
            "it keeps the first frame of each group and throws the others away; the mean of the group was asked for": grouped[
                :, :, 0
            ],
            "it keeps the last frame of each group and throws the others away; the mean of the group was asked for": grouped[
                :, :, -1
            ],
            "these are sums: divide by the factor": grouped.sum(axis=2),
            "it takes the largest value of each group, not the mean": grouped.max(axis=2),
            "each group holds frames that stand far apart: in the reshape, factor and the number of groups are swapped": kept.reshape(
                2, factor, groups, 3
            ).mean(axis=1),
            "it averages over the channels; the time axis is axis 1": grouped.mean(axis=3),
        }
        if frames % factor:
            late = x[:, frames - whole :].reshape(2, groups, factor, 3).mean(axis=2)
            mistakes |= {
                "right, except that the tail became a frame of its own: drop the frames that fill no group": np.concatenate(
                    [grouped.mean(axis=2), rest.mean(axis=1, keepdims=True)], axis=1
                ),
                "right, except that the tail was filled up with zeros and averaged: drop the frames that fill no group": np.concatenate(
                    [grouped.mean(axis=2), rest.sum(axis=1, keepdims=True) / factor], axis=1
                ),
                "it drops the first frames; the tail stands at the end": late,
            }
        agree(call(squeeze, x, factor, on=on), grouped.mean(axis=2), mistakes, on=on)
    passed("every group has its mean, and the tail is dropped")


def check_unfold(unfold: Callable[[np.ndarray, int, int], np.ndarray]) -> None:
    """unfold(y, factor, frames): blocks of channels become frames, zeros fill up the tail.  (B, N, factor H) -> (B, frames, H)"""
    for frames, factor in ((8, 2), (9, 2), (11, 3)):
        groups, width = frames // factor, 4
        y = np.random.default_rng(frames).normal(size=(2, groups, factor * width))
        on = f"{groups} squeezed frames, factor {factor} and {frames} frames"
        blocks = y.reshape(2, groups, factor, width)
        right = blocks.reshape(2, groups * factor, width)
        zeros = np.zeros((2, frames - groups * factor, width))

        def padded(x: np.ndarray, zeros: np.ndarray = zeros) -> np.ndarray:
            return np.concatenate([x, zeros], axis=1)

        mistakes: dict[str, Any] = {
            "all frames of a group are its block 0: each block is a frame of its own": padded(
                np.repeat(blocks[:, :, 0], factor, 1)
            ),
            "all frames of a group are the mean of its blocks: each block is a frame of its own": padded(
                np.repeat(blocks.mean(axis=2), factor, axis=1)
            ),
            "each frame takes every so-many-th channel; block 0 is the first H channels side by side, block 1 the next H": padded(
                y.reshape(2, groups, width, factor).swapaxes(2, 3).reshape(2, groups * factor, width)
            ),
            "time runs twice: all the blocks 0 come first, then all the blocks 1; a group's frames are neighbours": padded(
                blocks.swapaxes(1, 2).reshape(2, groups * factor, width)
            ),
            "the frames of a group come in the wrong order: block 0 is the earlier frame": padded(
                blocks[:, :, ::-1].reshape(2, groups * factor, width)
            ),
        }
        if frames % factor:
            mistakes |= {
                f"the tail is missing: {groups * factor} frames came out": right,
                "the tail repeats the last frame; zeros were asked for": np.concatenate([right, right[:, -1:]], axis=1),
                "the zeros stand at the beginning; the tail is the end": np.concatenate([zeros, right], axis=1),
            }
        agree(call(unfold, y, factor, frames, on=on), padded(right), mistakes, on=on)
    passed("the blocks are frames again, in their order, and the tail is zeros")


def check_layer_cost(layer_cost: Callable[[int, int, int], int]) -> None:
    """layer_cost(frames, hidden, intermediate): the multiply-adds of one transformer layer, as sewnp.costs counts them."""
    for frames, hidden, intermediate in ((74, 160, 640), (500, 512, 2048), (1, 64, 100)):
        config = sewnp.SEWConfig(hidden_size=hidden, intermediate_size=intermediate, num_attention_heads=1, num_hidden_layers=1)
        one = next(stage for stage in _at(config, frames) if stage.name.startswith("transformer"))
        n, h, i = frames, hidden, intermediate
        on = f"{n} frames, {h} channels and {i} channels inside"
        mistakes = {
            "the frame against frame part is counted once: there are two such products, queries with keys and probabilities with values": n
            * (4 * h * h + n * h + 2 * h * i),
            "one projection is missing: queries, keys, values and the output make four": n * (3 * h * h + 2 * n * h + 2 * h * i),
            "three projections are missing: queries, keys, values and the output make four": n * (h * h + 2 * n * h + 2 * h * i),
            "the feed-forward part has two maps, out to I channels and back": n * (4 * h * h + 2 * n * h + h * i),
            "the part in which every frame meets every frame is missing": n * (4 * h * h + 2 * h * i),
            "this is the cost of one frame: there are N": 4 * h * h + 2 * n * h + 2 * h * i,
            "exactly twice too much: a multiplication with its addition counts as one": 2 * n * (4 * h * h + 2 * n * h + 2 * h * i),
            "the feed-forward part is missing": n * (4 * h * h + 2 * n * h),
        }
        found = call(layer_cost, n, h, i, on=on)
        # all of these are exact integers, so the smallest slip shows
        named = [message for message, wrong in mistakes.items() if found == wrong and wrong != one.multiply_adds]
        assert not named, f"with {on}: {named[0]}"
        agree(found, np.asarray(one.multiply_adds), {}, on=on)
    passed("the same count as the library's, to the last multiplication")


def _at(config: sewnp.SEWConfig, frames: int) -> list[Any]:
    """The stages of a clip that has so many squeezed frames."""
    factored = replace(config, squeeze_factor=1)
    return stages(factored, factored.samples_for(frames))
