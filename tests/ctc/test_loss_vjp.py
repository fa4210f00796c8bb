"""The gradient of the CTC loss: at the log-probabilities against autograd over all paths and central differences, at the logits against torch.

torch's own ctc_loss hands back at its log_probs what belongs to the logits, so that stage is judged without it.
"""

import itertools

import numpy as np
import pytest
import torch
from ctc.test_loss import batch_of, normalised, seeds
from hypothesis import given, settings
from hypothesis import strategies as st

from judging import EPS32, assert_gradients_close, cast, few, gradient_errors, recorder
from sewnp.ctc import ctc_loss, ctc_loss_vjp
from sewnp.layers import log_softmax, log_softmax_vjp

reductions = st.sampled_from(["mean", "sum", "none"])
LARGE = (seeds, st.integers(1, 5), st.integers(1, 50), st.integers(2, 8), st.integers(0, 25))


def gradient_of(dy, log_probs, *arguments, blank, **options):
    """Ours, at the log-probabilities."""
    return ctc_loss_vjp(log_probs, *arguments, blank=blank, **options)[1](dy)


def at_logits(dy, logits, *arguments, **options):
    log_probs, softmax_back = log_softmax_vjp(logits)
    return softmax_back(gradient_of(dy, log_probs, *arguments, **options))


def torch_at_logits(dy, logits, targets, input_lengths, target_lengths, *, blank, **options):
    x = torch.tensor(logits, requires_grad=True)
    log_probs = torch.log_softmax(x, -1).transpose(0, 1)
    lengths = torch.tensor(input_lengths), torch.tensor(target_lengths)
    torch.nn.functional.ctc_loss(log_probs, torch.tensor(targets), *lengths, blank=blank, **options).backward(torch.tensor(dy))
    return x.grad.numpy()


def dy_for(reduction, batch, seed):
    return np.asarray(np.random.default_rng(seed).normal(size=batch if reduction == "none" else ()))


def spelling(target, frames, vocab_size, blank):
    """All paths that spell the target."""
    return [
        path
        for path in itertools.product(range(vocab_size), repeat=int(frames))
        if [token for token, _ in itertools.groupby(path) if token != blank] == list(target)
    ]


@settings(few, max_examples=80)
@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(2, 3), st.integers(0, 4), reductions, st.booleans())
def test_equals_autograd_over_the_enumeration_of_all_paths(seed, batch, frames, vocab_size, longest, reduction, zero_infinity):
    """At the log-probabilities; a sample that no path spells has NaN within its length, or zeros."""
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(seed, batch, frames, vocab_size, longest)
    x = torch.tensor(log_probs, requires_grad=True)
    dy = dy_for(reduction, batch, seed)
    total, expected = torch.zeros((), dtype=torch.float64), np.zeros_like(log_probs)
    for b in range(batch):
        paths = spelling(targets[b, : target_lengths[b]], input_lengths[b], vocab_size, blank)
        share = dy[b] if reduction == "none" else dy / (batch * max(target_lengths[b], 1)) if reduction == "mean" else dy
        if paths and input_lengths[b]:
            places = torch.arange(int(input_lengths[b])).expand(len(paths), -1)
            total = total - float(share) * torch.logsumexp(x[b][places, torch.tensor(paths)].sum(1), 0)
        elif not zero_infinity:
            expected[b, : input_lengths[b]] = np.nan if not paths else 0
    if total.requires_grad:
        expected += torch.autograd.grad(total, x)[0].numpy()
    options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
    ours = gradient_of(dy, log_probs, targets, input_lengths, target_lengths, **options)
    assert_gradients_close({"log_probs": ours}, {"log_probs": expected})


@settings(few, max_examples=120)
@given(*LARGE, reductions, st.booleans())
def test_equals_torch_in_float64_at_the_logits(seed, batch, frames, vocab_size, longest, reduction, zero_infinity):
    """NaN and all: infeasible samples within their lengths, and no other."""
    logits, *arguments, blank = batch_of(seed, batch, frames, vocab_size, longest)
    options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
    dy = dy_for(reduction, batch, seed)
    ours, theirs = (function(dy, logits, *arguments, **options) for function in (at_logits, torch_at_logits))
    assert_gradients_close({"logits": ours}, {"logits": theirs})


@settings(few, max_examples=40)
@given(*LARGE, reductions)
def test_equals_central_differences(seed, batch, frames, vocab_size, longest, reduction):
    """Of fourth order, along random directions, in log-probabilities that add up to 1 only nearly; infeasible samples are left out."""
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(seed, batch, frames, vocab_size, longest)
    options = {"blank": blank, "reduction": reduction, "zero_infinity": True}
    dy, rng = dy_for(reduction, batch, seed), np.random.default_rng(seed)
    log_probs = log_probs + 0.02 * rng.uniform(-1, 1, size=log_probs.shape)
    gradient = gradient_of(dy, log_probs, targets, input_lengths, target_lengths, **options)
    for _ in range(2):
        direction = rng.normal(size=log_probs.shape)

        def loss(step, direction=direction):
            moved = log_probs + step * direction
            return (dy * ctc_loss(moved, targets, input_lengths, target_lengths, **options)).sum()

        near, far = (loss(h) - loss(-h) for h in (1e-3, 2e-3))
        # the step's fourth power, and 1e-16 of a loss of some hundreds over the step
        scale = max(np.abs(gradient * direction).sum(), 1e-2 * np.abs(dy).sum())
        assert abs((8 * near - far) / 12e-3 - (gradient * direction).sum()) <= 1e-7 * scale


@pytest.mark.parametrize(("frames", "vocab_size", "longest"), [(20, 5, 4), (200, 32, 40), (800, 32, 150)])
def test_float32_is_as_good_as_float32_can_be(frames, vocab_size, longest):
    rng = np.random.default_rng(frames)
    logits = rng.normal(scale=3, size=(6, frames, vocab_size)).astype(np.float32)
    arguments = rng.integers(1, vocab_size, (6, longest)), rng.integers(2 * longest, frames + 1, 6), rng.integers(0, longest + 1, 6)
    for reduction in ("none", "sum", "mean"):
        dy = np.ones(6 if reduction == "none" else (), np.float32)
        truth = torch_at_logits(dy.astype(np.float64), logits.astype(np.float64), *arguments, blank=0, reduction=reduction)
        found = [function(dy, logits, *arguments, blank=0, reduction=reduction) for function in (at_logits, torch_at_logits)]
        assert [x.dtype for x in found] == [np.float32, np.float32]
        ours_off, theirs_off = (gradient_errors({"": x}, {"": truth})[""] for x in found)
        assert ours_off <= 4 * max(theirs_off, 4 * EPS32)


def test_at_the_logits_it_is_what_was_said_minus_what_was_possible():
    """Two frames of a fair coin spell "a" on 3 paths of 4, and "a" stands on 2 of the 3 at either frame: 1/2 - 2/3."""
    dlogits = at_logits(np.ones(()), np.zeros((1, 2, 2)), [[1]], [2], [1], blank=0)
    np.testing.assert_allclose(dlogits, np.broadcast_to([1 / 6, -1 / 6], (1, 2, 2)), rtol=1e-14)


def test_the_gradient_of_a_feasible_sample_sums_to_minus_one_at_each_of_its_frames():
    *arguments, blank = batch_of(4, 5, 9, 6, 8)
    gradient = gradient_of(np.ones(()), *arguments, blank=blank, reduction="sum", zero_infinity=True)
    feasible = np.isfinite(ctc_loss(*arguments, blank=blank, reduction="none"))
    in_clip = (np.arange(9) < arguments[2][:, None]) & feasible[:, None]
    assert 0 < feasible.sum() < 5
    np.testing.assert_allclose(gradient.sum(axis=2), -1.0 * in_clip, atol=1e-12)


def test_behind_its_lengths_a_sample_is_never_read_and_receives_nothing():
    log_probs, targets, input_lengths, target_lengths, blank = batch_of(11, 5, 9, 4, 4)
    options = {"blank": blank, "reduction": "none", "zero_infinity": True}
    expected = gradient_of(np.ones(5), log_probs, targets, input_lengths, target_lengths, **options)
    for b, junk in enumerate([np.nan, np.inf, -np.inf, 1e300, 0]):
        log_probs[b, input_lengths[b] :] = junk
        targets[b, target_lengths[b] :] = [-100, 4, blank, -1, 10**9][b]
        assert not expected[b, input_lengths[b] :].any()
    np.testing.assert_array_equal(gradient_of(np.ones(5), log_probs, targets, input_lengths, target_lengths, **options), expected)


@pytest.mark.parametrize("zero_infinity", [False, True])
def test_nan_stays_in_its_own_sample(zero_infinity):
    logits = np.random.default_rng(1).normal(size=(4, 5, 4))
    logits[0, 3, 3] = np.nan  # a token that the target does not have
    logits[1, 4] = np.nan  # behind the clip's length
    arguments = np.array([[1, 2], [1, 2], [1, 1], [1, 2]]), np.array([5, 4, 2, 0]), np.array([2, 2, 2, 2])
    options = {"blank": 0, "reduction": "sum", "zero_infinity": zero_infinity}
    ours, theirs = (function(np.ones(()), logits, *arguments, **options) for function in (at_logits, torch_at_logits))
    assert_gradients_close({"logits": ours}, {"logits": theirs})
    # behind its length a frame of NaN has no softmax to go back through
    in_clip = np.arange(5) < arguments[1][:, None]
    assert (np.isnan(ours).any(axis=2) & in_clip).any(axis=1).tolist() == [True, False, not zero_infinity, False]


def test_an_impossible_token_receives_nothing():
    """Where torch answers NaN for its whole frame: the derivative exists, and is that of a token that is all but impossible."""
    logits = np.random.default_rng(2).normal(size=(1, 5, 4))
    arguments = np.array([[1, 2]]), np.array([5]), np.array([2])
    logits[0, 1, 1] = -1000
    expected = at_logits(np.ones(()), logits, *arguments, blank=0)
    assert_gradients_close({"": expected}, {"": torch_at_logits(np.ones(()), logits, *arguments, blank=0)})
    logits[0, 1, 1] = -np.inf
    np.testing.assert_array_equal(at_logits(np.ones(()), logits, *arguments, blank=0), expected)
    assert np.isnan(torch_at_logits(np.ones(()), logits, *arguments, blank=0)[0, 1]).all()


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_manners(reduction, zero_infinity, dtype):
    """The forward's own bits and stages; nothing is changed; the dtype is kept; ``alpha`` has no gradient, ``losses`` have theirs."""
    *arguments, blank = batch_of(2, 4, 6, 4, 3)
    options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
    given, dy = cast(arguments, dtype), dy_for(reduction, 4, 0).astype(dtype)
    for x in (*given, dy):
        x.flags.writeable = False
    trace, see = recorder()
    expected = ctc_loss(*given, **options, see=see)
    received = {}

    def record(name, x):
        np.testing.assert_array_equal(x, trace[name])
        assert name not in received
        received[name] = None
        return x, lambda dx: received.update({name: dx}) or dx

    loss, pullback = ctc_loss_vjp(*given, **options, see=record)
    once, twice = pullback(dy), pullback(dy)
    for mine, other in [(loss, expected), (ctc_loss_vjp(*given, **options)[0], expected), (twice, once)]:
        assert mine.dtype == other.dtype == dtype
        np.testing.assert_array_equal(mine, other)
    assert list(received) == list(trace) == ["alpha", "losses"]
    assert received["alpha"] is None
    divisor = 4 * np.maximum(given[3], 1) if reduction == "mean" else np.ones(4)
    np.testing.assert_allclose(received["losses"], dy / divisor, rtol=4 * np.finfo(dtype).eps)
    assert received["losses"].dtype == dtype
    for x, before in zip(given, cast(arguments, dtype), strict=True):
        np.testing.assert_array_equal(x, before)


def test_what_an_observer_does_to_the_losses_counts_on_the_way_back():
    *arguments, blank = batch_of(4, 3, 8, 4, 2)
    options = {"blank": blank, "reduction": "mean", "zero_infinity": True}
    factors = np.array([0.0, 2.0, 3.0])
    plain = gradient_of(np.ones(()), *arguments, **options)
    multiplied = ctc_loss_vjp(
        *arguments, **options, see=lambda name, x: (x * factors, lambda dx: dx * factors) if name == "losses" else (x, None)
    )[1](np.ones(()))
    np.testing.assert_allclose(multiplied, plain * factors[:, None, None], rtol=1e-14)


@pytest.mark.parametrize("shape", [(0, 4, 3), (2, 0, 3)])
def test_no_samples_and_no_frames(shape):
    batch = shape[0]
    loss, pullback = ctc_loss_vjp(
        np.zeros(shape), np.zeros((batch, 2), int) + 1, [0] * batch, [1] * batch, blank=0, reduction="sum"
    )
    assert pullback(np.ones(())).shape == shape
    assert loss == (np.inf if batch else 0)


def test_the_stage_at_which_torch_answers_for_the_logits():
    """What torch's ctc_loss hands back at its log_probs is no derivative by them: it is softmax minus posteriors."""
    log_probs = normalised(np.random.default_rng(3).normal(size=(1, 6, 4)))
    arguments = np.array([[1, 2]]), np.array([6]), np.array([2])
    x = torch.tensor(log_probs, requires_grad=True)
    torch.nn.functional.ctc_loss(x.transpose(0, 1), *map(torch.tensor, arguments), blank=0).backward()
    ours = gradient_of(np.ones(()), log_probs, *arguments, blank=0)
    assert_gradients_close({"": ours + np.exp(log_softmax(log_probs)) / 2}, {"": x.grad.numpy()})
