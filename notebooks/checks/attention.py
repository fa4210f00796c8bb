"""Checks of the exercises in 06_attention_by_hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from checks import passed
from checks.mistakes import agree, call
from sewnp.layers import masked_softmax, softmax


def check_attention(attention: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]) -> None:
    """attention(q, k, v): the context that one head makes.  Three arrays (N, d) -> (N, d)"""
    rng = np.random.default_rng(6)
    q, k, v = (rng.normal(size=(7, 4)) * 1.5 for _ in range(3))
    on = "7 frames and 4 channels"
    scores = q @ k.T / 2.0
    mistakes: dict[str, Any] = {
        "the scores are not scaled: divide them by sqrt(d)": softmax(2.0 * scores) @ v,
        "the scores are divided by d; the scale is its square root": softmax(scores / 2.0) @ v,
        "the scores are divided by sqrt(N), the number of frames; d is the number of channels": softmax(2 * scores / np.sqrt(7))
        @ v,
        "the scores are multiplied by sqrt(d); divide by it": softmax(4 * scores) @ v,
        "the softmax runs over the queries: each row of probabilities, axis -1, should sum to 1": softmax(scores.T).T @ v,
        "queries and keys are swapped: row i of the scores is query i with every key": softmax(scores.T) @ v,
        "the softmax is missing: the scores themselves weigh the values": scores @ v,
        "this mixes the keys; the values are what is mixed": softmax(scores) @ k,
        "this mixes the queries; the values are what is mixed": softmax(scores) @ q,
        "these are the probabilities; multiply them with the values": softmax(scores),
        "these are the scores: softmax and values are still to come": scores,
        "the weights are not divided by their sum": np.exp(scores) @ v,
    }
    agree(call(attention, q, k, v, on=on), softmax(scores) @ v, mistakes, on=on)
    big = 400.0
    on = "scores near 1000"
    with np.errstate(over="ignore", invalid="ignore"):
        found = call(attention, q * big, k, v, on=on)
    assert np.isfinite(np.asarray(found)).all(), f"with {on} the exponential overflows: subtract the largest score of the row first"
    agree(found, softmax(big * scores) @ v, {}, on=on)
    passed("one head, from queries, keys and values to the context")


def check_masked_softmax(masked: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """masked(scores, mask): softmax over the keys whose mask is True.  (N, N), (N,) bool -> (N, N)"""
    scores = np.random.default_rng(7).normal(size=(5, 5))
    mask = np.array([True, True, True, False, False])
    on = "5 keys of which 3 may be looked at"
    cut = np.where(mask, softmax(scores), 0.0)
    mistakes: dict[str, Any] = {
        "the probabilities were set to zero after the softmax, so that the rows no longer sum to 1": cut,
        "the scores were set to 0 where the mask is False, and exp(0) is 1: these keys still get a share": softmax(
            np.where(mask, scores, 0.0)
        ),
        "the mask is read the wrong way round: True may be looked at": masked_softmax(scores, np.broadcast_to(~mask, scores.shape)),
        "the queries are masked instead of the keys: a column, not a row, is what nobody may look at": masked_softmax(
            scores, np.broadcast_to(mask[:, None], scores.shape)
        ),
        "the mask changes nothing": softmax(scores),
    }
    with np.errstate(all="ignore"):
        found = call(masked, scores, mask, on=on)
    agree(found, masked_softmax(scores, mask), mistakes, on=on)
    on = "no key that may be looked at"
    with np.errstate(all="ignore"):
        found = np.asarray(call(masked, scores, np.zeros(5, dtype=bool), on=on), dtype=float)
    assert not np.isnan(found).any(), f"{on}: the rows are NaN, 0 divided by 0 or inf minus inf; expected zeros"
    assert not np.allclose(found, 0.2), f"{on}: the rows are uniform, because a very negative number is not -inf; expected zeros"
    agree(found, np.zeros((5, 5)), {}, on=on)
    passed("hidden keys get exactly 0, the rest sums to 1, and a row without keys is zeros")


def check_split_heads(split: Callable[[np.ndarray, int], np.ndarray]) -> None:
    """split(x, heads): contiguous blocks of channels become heads.  (N, H) -> (heads, N, H / heads)"""
    x = np.random.default_rng(8).normal(size=(5, 12))
    on = "5 frames, 12 channels and 3 heads"
    right = x.reshape(5, 3, 4).swapaxes(0, 1)
    mistakes: dict[str, Any] = {
        "one reshape straight to (heads, N, d) mixes time and channels: reshape to (N, heads, d), then swap the axes": x.reshape(
            3, 5, 4
        ),
        "each head takes every so-many-th channel; its channels stand side by side": x.reshape(5, 4, 3).transpose(2, 0, 1),
        "heads and frames stand the wrong way round: expected (heads, N, d)": x.reshape(5, 3, 4),
        "the channels come before the frames: expected (heads, N, d)": right.swapaxes(1, 2),
        "the heads come in reverse order": right[::-1],
    }
    agree(call(split, x, 3, on=on), right, mistakes, on=on)
    passed("three heads of four channels each")
