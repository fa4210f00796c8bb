"""The checks of notebook 14: solutions pass, typical mistakes are named."""

import math

import numpy as np
import pytest
from checks.training import check_adamw, check_clipping, check_contrastive, check_deaf_loss, check_rate

from sewnp import ctc
from sewnp.training import Moments, adamw, clip_by_norm, learning_rate


def rate(step, peak, steps, warmup):
    return learning_rate(step, peak=peak, steps=steps, warmup=warmup)


def clipping(slopes, most):
    return list(clip_by_norm({str(i): slope for i, slope in enumerate(slopes)}, most)[0].values())


def step(weight, slope, m, v, count, rate, betas, eps, decay):
    moments = Moments({"w": m}, {"w": v}, {"w": count - 1})
    weights, moments = adamw({"w": weight}, {"w": slope}, moments, rate=rate, betas=betas, eps=eps, decay=decay)
    return weights["w"], moments.first["w"], moments.second["w"]


def deaf_loss(row, target, frames, blank):
    log_probs = np.log(row)[None, None].repeat(frames, axis=1)
    return ctc.ctc_loss(log_probs, [target], [frames], [len(target)], blank=blank, reduction="none")[0]


def contrastive(context, candidates, temperature, *, power=1):
    scores = [c @ context / math.sqrt((c @ c) * (context @ context)) / temperature**power for c in candidates]
    return math.log(sum(map(math.exp, scores))) - scores[0]


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_rate, rate),
        (check_clipping, clipping),
        (check_adamw, step),
        (check_deaf_loss, deaf_loss),
        (check_contrastive, contrastive),
    ],
)
def test_the_solution_passes(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out.startswith("✓ ")


def half_cosine(done):
    return (1 + math.cos(math.pi * done)) / 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda n, peak, steps, warmup: peak * half_cosine(n / steps), "there is no warm-up"),
        (lambda n, peak, steps, warmup: peak * min(1, n / warmup), "behind it the rate stays"),
        (lambda n, peak, steps, warmup: peak * min(n / warmup, 1 if n < warmup else half_cosine(n / steps)), "runs over all steps"),
        (lambda n, peak, steps, warmup: rate(n, peak, steps, warmup) if n < warmup else peak * half_cosine((n - warmup) / steps),
         "does not stop at the end"),
        (lambda n, peak, steps, warmup: peak * (n + 1) / warmup if n < warmup else rate(n, peak, steps, warmup), "counts from 1"),
        (lambda n, peak, steps, warmup: rate(n, 1, steps, warmup), "peak is missing"),
        (lambda n, peak, steps, warmup: learning_rate(n, peak=peak, steps=steps, warmup=warmup, schedule="linear"), "straight line"),
        (lambda n, peak, steps, warmup: None, "is a return missing"),
    ],
)  # fmt: skip
def test_wrong_rates_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_rate(wrong)


def length(slopes):
    return math.sqrt(sum(np.square(slope).sum() for slope in slopes))


def in_place(slopes, most):
    for slope in slopes:
        slope *= most / length(slopes)
    return slopes


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda slopes, most: [slope * min(1, most / np.linalg.norm(slope)) for slope in slopes], "shortened by itself"),
        (lambda slopes, most: [slope * most / length(slopes) for slope in slopes], "made longer"),
        (lambda slopes, most: [slope / length(slopes) for slope in slopes], "not multiplied with most"),
        (lambda slopes, most: [slope * min(1, most / length(slopes) ** 2) for slope in slopes], "not a root"),
        (lambda slopes, most: [slope * min(1, most / sum(map(np.linalg.norm, slopes))) for slope in slopes], "are added up"),
        (lambda slopes, most: [np.clip(slope, -most, most) for slope in slopes], "cut off at most"),
        (lambda slopes, most: slopes, "nothing is shortened"),
        (lambda slopes, most: slopes[:2], "expected a list of 3 arrays, found 2"),
        (in_place, "changes its argument"),
        (lambda slopes, most: None, "expected a list of arrays"),
    ],
)
def test_wrong_clippings_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_clipping(wrong)


def broken(
    *, betas=lambda pair: pair, squares=2, mean_count=1, square_count=1, inside=False, root=True, decayed=1, sign=1, own=False
):
    """A step that can be broken in the ways in which it is broken."""

    def wrong(weight, slope, m, v, count, rate, given, eps, decay):
        first, second = betas(given)
        m, v = first * m + (1 - first) * slope, second * v + (1 - second) * slope**squares
        mean = slope if own else m / (1 - first ** (count if mean_count else np.inf))
        square = v / (1 - second ** (count if square_count else np.inf))
        square = np.abs(square)
        below = np.sqrt(square + eps) if inside else (np.sqrt(square) if root else square) + eps
        return weight * (1 - rate * decay * decayed) - sign * rate * mean / below, m, v

    return wrong


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (broken(betas=lambda pair: pair[::-1]), "the other beta"),
        (broken(betas=lambda pair: [1 - beta for beta in pair]), "have changed places"),
        (broken(squares=1), "this is the mean of the slopes"),
        (broken(mean_count=0, square_count=0), "divided by nothing"),
        (broken(mean_count=0), "only v is divided"),
        (broken(square_count=0), "only m is divided"),
        (broken(inside=True), "under the root"),
        (broken(root=False), "the root is missing"),
        (broken(decayed=0), "there is no decay"),
        (broken(sign=-1), "uphill"),
        (broken(own=True), "slope number 2, weight: the slope stands where"),
        (lambda *arguments: step(*arguments)[0], "expected three arrays"),
    ],
)
def test_wrong_steps_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_adamw(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *given: -deaf_loss(*given), "the sign"),
        (lambda *given: math.exp(-deaf_loss(*given)), "this is the probability"),
        (lambda row, target, *given: deaf_loss(row, target, *given) / len(target), "divided by the length"),
        (lambda row, target, frames, blank: -np.log(row[target]).sum(), "the tokens only"),
        (
            lambda row, target, frames, blank: -np.log(row[target]).sum() - (frames - len(target)) * math.log(row[blank]),
            "one path only",
        ),
        (lambda *given: 2 * deaf_loss(*given), "expected"),
    ],
)
def test_wrong_losses_of_the_deaf_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_deaf_loss(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda context, candidates, temperature: contrastive(context, candidates, 1.0), "temperature is missing"),
        (lambda *given: contrastive(*given, power=-1), "multiplied by the temperature"),
        (lambda *given: -contrastive(*given), "the sign"),
        (lambda *given: math.exp(-contrastive(*given)), "this is the share"),
        (lambda context, candidates, temperature: contrastive(context, candidates[::-1], temperature), "the last candidate"),
        (lambda *given: None, "is a return missing"),
    ],
)
def test_wrong_contrastive_losses_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_contrastive(wrong)
