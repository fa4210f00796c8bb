"""Checks of the exercises in 14_watch_a_network_learn_to_hear."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from checks import array_of_shape, passed
from checks.mistakes import agree, call
from sewnp import ctc
from sewnp.layers import softmax
from sewnp.training import Moments, adamw, learning_rate
from sewnp.types import Array


def check_rate(rate: Callable[[int, float, int, int], Any]) -> None:
    """rate(step, peak, steps, warmup): straight up to the peak, then half a cosine down to 0 -> a number"""
    peak, steps, warmup = 0.2, 50, 10
    on = f"peak {peak}, {steps} steps and a warm-up of {warmup}, for steps 0 to {steps - 1}"
    n = np.arange(steps)
    done = (n - warmup) / (steps - warmup)
    rising = n < warmup

    def both(up: Any, down: Any) -> Array:
        return np.where(rising, up, down)

    cosine = peak * (1 + np.cos(np.pi * done)) / 2
    slips = {
        "there is no warm-up": peak * (1 + np.cos(np.pi * n / steps)) / 2,
        "the warm-up is right, and behind it the rate stays": both(peak * n / warmup, peak),
        "the cosine runs over all steps; it begins behind the warm-up": both(
            peak * n / warmup, peak * (1 + np.cos(np.pi * n / steps)) / 2
        ),
        "the cosine does not stop at the end: divide by the steps behind the warm-up, steps - warmup": both(
            peak * n / warmup, peak * (1 + np.cos(np.pi * (n - warmup) / steps)) / 2
        ),
        "the warm-up counts from 1; step 0 has a rate of 0": both(peak * (n + 1) / warmup, cosine),
        "the cosine goes from 1 to -1; a rate goes from 1 to 0, so add 1 and halve": both(
            peak * n / warmup, peak * np.cos(np.pi * done)
        ),
        "a quarter of a cosine; half of one, from its top to its bottom, is meant": both(
            peak * n / warmup, peak * np.cos(np.pi * done / 2)
        ),
        "down in a straight line; half a cosine is meant": both(peak * n / warmup, peak * (1 - done)),
        "peak is missing: this goes up to 1": both(n / warmup, cosine / peak),
    }
    found = [call(rate, step, peak, steps, warmup, on=f"step {step}, {on.split(', for')[0]}") for step in range(steps)]
    assert all(value is not None for value in found), "the result is None: is a return missing?"
    expected = np.array([learning_rate(step, peak=peak, steps=steps, warmup=warmup) for step in range(steps)])
    agree(found, expected, slips, on=on)
    passed("rate: up, and down along half a cosine")


def check_clipping(clipping: Callable[[list[Array], float], Any]) -> None:
    """clipping(slopes, most): a list of arrays -> the list, shortened together where it is longer than most"""
    rng = np.random.default_rng(18)
    slopes = [rng.normal(size=(3, 4)), 0.1 * rng.normal(size=5), 2 * rng.normal(size=2)]
    norm = math.sqrt(sum(np.square(slope).sum() for slope in slopes))
    for most in (1.5, 2 * norm):
        on = f"three arrays, of length {norm:.2f} together, and most = {most:.2f}"
        copies = [slope.copy() for slope in slopes]
        found = call(lambda most, copies=copies: clipping(copies, most), most, on=on)
        same = all(np.array_equal(copy, slope) for copy, slope in zip(copies, slopes, strict=True))
        assert same, f"with {on} it changes its argument: return new arrays instead"
        assert isinstance(found, list | tuple), f"with {on} expected a list of arrays, found {type(found).__name__}"
        assert len(found) == len(slopes), f"with {on} expected a list of {len(slopes)} arrays, found {len(found)}"
        each = [np.linalg.norm(slope) for slope in slopes]
        factor = most / norm
        ways = {
            "each array is shortened by itself; all together are one vector": [min(1, most / length) for length in each],
            "made longer where it was short: slopes shorter than most stay as they are": [factor] * 3,
            "divided by the length, and not multiplied with most": [1 / norm] * 3,
            "the length is not a root: the sum of the squares stands where its root should": [min(1, most / norm**2)] * 3,
            "the lengths of the arrays are added up; add their squares, and take the root": [min(1, most / sum(each))] * 3,
            "nothing is shortened": [1.0] * 3,
        }
        slips: dict[str, Any] = {
            message: np.concatenate([(factor * slope).ravel() for factor, slope in zip(factors, slopes, strict=True)])
            for message, factors in ways.items()
        }
        flat = np.concatenate([slope.ravel() for slope in slopes])
        slips["each number is cut off at most; then the vector points elsewhere"] = np.clip(flat, -most, most)
        shapes = zip(found, slopes, strict=True)
        joined = np.concatenate([array_of_shape(f, slope.shape, what="an array").ravel() for f, slope in shapes])
        agree(joined, min(1, factor) * flat, slips, on=on)
    passed("clipping: shorter, and in the same direction")


def check_adamw(step: Callable[..., Any]) -> None:
    """step(weight, slope, m, v, count, rate, betas, eps, decay): one step of AdamW -> weight, m, v"""
    rng = np.random.default_rng(19)
    rate, betas, eps, decay = 0.01, (0.8, 0.9), 0.05, 0.5  # large, so that everything shows
    weight, slopes = rng.normal(size=4), rng.normal(size=(3, 4))
    m = v = np.zeros(4)
    moments = Moments()
    for count, slope in enumerate(slopes, start=1):
        on = f"4 weights, slope number {count}"
        now, moments = adamw({"w": weight}, {"w": slope}, moments, rate=rate, betas=betas, eps=eps, decay=decay)
        found = call(step, weight, slope, m, v, count, rate, betas, eps, decay, on=on)
        three = isinstance(found, list | tuple) and len(found) == 3
        assert three, f"with {on} expected three arrays, weight, m and v, found {type(found).__name__}"
        agree(found[1], moments.first["w"], _mean_slips(m, slope, betas[0], betas[1], "the slopes"), on=f"{on}, m")
        agree(found[2], moments.second["w"], _mean_slips(v, slope**2, betas[1], betas[0], "their squares", slope), on=f"{on}, v")
        m, v = moments.first["w"], moments.second["w"]
        agree(found[0], now["w"], _step_slips(weight, slope, m, v, count, rate, betas, eps, decay), on=f"{on}, weight")
        weight = now["w"]
    passed("AdamW: a direction, a length near the rate, and a little decay")


def _mean_slips(before: Array, new: Array, beta: float, other: float, what: str, slope: Array | None = None) -> dict[str, Any]:
    slips: dict[str, Any] = {
        f"beta and 1 - beta have changed places: keep beta of the mean of {what}": (1 - beta) * before + beta * new,
        "the other beta: the first is for m, the second for v": other * before + (1 - other) * new,
        "the slope is added whole; of the new value take 1 - beta": beta * before + new,
        "the division by 1 - beta ** count belongs to the step; m and v are kept without it": (beta * before + (1 - beta) * new)
        / (1 - beta),
        "nothing of the mean so far is in it": (1 - beta) * new,
        "returned as it was": before,
    }
    if slope is not None:
        slips["this is the mean of the slopes; v is that of their squares"] = beta * before + (1 - beta) * slope
    return slips


def _step_slips(
    weight: Array, slope: Array, m: Array, v: Array, count: int, rate: float, betas: Sequence[float], eps: float, decay: float
) -> dict[str, Any]:
    mean, square = m / (1 - betas[0] ** count), v / (1 - betas[1] ** count)
    kept, move = weight * (1 - rate * decay), mean / (np.sqrt(square) + eps)
    return {
        "there is no decay": weight - rate * move,
        "the decay is not multiplied by the rate": weight * (1 - decay) - rate * move,
        "uphill: subtract": kept + rate * move,
        "the rate is missing": kept - move,
        "m and v are divided by nothing; both began at zero, so divide by 1 - beta ** count": kept - rate * m / (np.sqrt(v) + eps),
        "only v is divided by 1 - beta ** count; m is too": kept - rate * m / (np.sqrt(square) + eps),
        "only m is divided by 1 - beta ** count; v is too": kept - rate * mean / (np.sqrt(v) + eps),
        "eps stands under the root; add it to the root": kept - rate * mean / np.sqrt(square + eps),
        "eps is missing": kept - rate * mean / np.sqrt(square),
        "the root is missing: divide by the root of the mean square": kept - rate * mean / (square + eps),
        "the slope stands where its running mean should": kept - rate * slope / (np.sqrt(square) + eps),
        "returned as it was": weight,
    }


def check_deaf_loss(loss: Callable[[Array, list[int], int, int], Any]) -> None:
    """loss(row, target, frames, blank): of a network that says ``row`` in every frame -> minus log p(target)"""
    for row, target, frames, blank in (
        (np.array([0.5, 0.2, 0.3]), [1, 2], 6, 0),
        (np.array([0.25, 0.15, 0.6]), [1, 0, 1], 5, 2),
    ):
        on = f"row {row.tolist()}, target {target}, {frames} frames, blank {blank}"
        log_probs = np.repeat(np.log(row)[None, None], frames, axis=1)
        alpha = ctc.ctc_alpha(log_probs, [target], [frames], [len(target)], blank=blank)
        expected = -ctc.log_likelihood(alpha, [frames], [len(target)])[0]
        letters = -np.log(row[target]).sum()
        slips = {
            "the sign: minus the logarithm of the probability": -expected,
            "this is the probability; take minus its logarithm": np.exp(-expected),
            "divided by the length of the target; not here": expected / len(target),
            "only the last state: a path may also end on the last token, without a blank behind it": -alpha[0, -1, -1],
            "only the last token: a path may also end on the blank behind it": -alpha[0, -1, -2],
            "one path only, each token once and blank in all other frames; add up all paths": letters
            - (frames - len(target)) * np.log(row[blank]),
            "the tokens only: what the other frames say is not in it": letters,
        }
        agree(call(loss, row, target, frames, blank, on=on), expected, slips, on=on)
    passed("deaf: all the paths of a network that says the same always")


def check_contrastive(loss: Callable[[Array, Array, float], Any]) -> None:
    """loss(context, candidates, temperature): (C,), (K + 1, C), the first is right -> minus log of its share"""
    rng = np.random.default_rng(20)
    context, candidates, temperature = rng.normal(size=6), rng.normal(size=(5, 6)) * rng.uniform(0.5, 2, size=(5, 1)), 0.4
    on = f"an answer of 6 numbers, 5 candidates and temperature {temperature}"
    dots = candidates @ context
    lengths = np.linalg.norm(candidates, axis=1)
    cosines = dots / lengths / np.linalg.norm(context)

    def lost(scores: Array) -> Any:
        return -np.log(softmax(scores)[0])

    slips = {
        "products stand where cosines should: divide by both lengths": lost(dots / temperature),
        "divided by the length of the answer only": lost(dots / np.linalg.norm(context) / temperature),
        "divided by the lengths of the candidates only": lost(dots / lengths / temperature),
        "the temperature is missing": lost(cosines),
        "multiplied by the temperature; divide": lost(cosines * temperature),
        "the sign: minus the logarithm": -lost(cosines / temperature),
        "this is the share; take minus its logarithm": np.exp(-lost(cosines / temperature)),
        "the right one is missing below: the softmax runs over all candidates": np.log(np.exp(cosines[1:] / temperature).sum())
        - cosines[0] / temperature,
        "this is the last candidate's; the first is the right one": -np.log(softmax(cosines / temperature)[-1]),
        "minus the cosine alone; the others have to be in it": -cosines[0] / temperature,
    }
    agree(call(loss, context, candidates, temperature, on=on), lost(cosines / temperature), slips, on=on)
    passed("contrastive: the right one among wrong ones")
