"""The lattice against the enumeration of every path, and against what alpha and beta owe each other.

A path decides on which state it stands: the text it has spelled so far has k tokens, and it stands on the k-th token's state or, when
its last frame was blank, on the blank behind.  So each entry of alpha and beta is a sum over beginnings or ends of paths, which a few
lines of Python enumerate without knowing any recursion.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import (
    ctc_alpha,
    ctc_beta,
    ctc_loss,
    ctc_loss_vjp,
    extended_targets,
    forced_align,
    log_likelihood,
    posteriors,
    prefix_search,
)
from sewnp.decoding import BeamSearch
from sewnp.errors import InputError
from sewnp.layers import log_softmax, softmax

few = settings(max_examples=80, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def spells(path, blank):
    return [token for token, _ in itertools.groupby(path) if token != blank]


def log(p):
    return math.log(p) if p else -math.inf


def enumerated(probs, target, blank):
    """alpha, beta (T, 2S + 1), and the occupancy of the states, of one sample, by enumeration.  probs (T, V)"""
    frames, vocab_size = probs.shape
    states = 2 * len(target) + 1
    extended = [blank if s % 2 == 0 else target[s // 2] for s in range(states)]
    alpha, beta, through = (np.zeros((frames, states)) for _ in range(3))

    def weight(path, first):
        return math.prod(probs[first + i, token] for i, token in enumerate(path))

    def state(path):
        text = spells(path, blank)
        return 2 * len(text) - (path[-1] != blank) if text == target[: len(text)] else None

    for t in range(frames):
        for start in itertools.product(range(vocab_size), repeat=t + 1):
            if (s := state(start)) is not None:
                alpha[t, s] += weight(start, 0)
        for end in itertools.product(range(vocab_size), repeat=frames - t - 1):
            for s in range(states):
                here = [] if s % 2 == 0 else [extended[s]]  # what the state itself adds to the text
                if spells([extended[s], *end], blank) == here + target[(s + 1) // 2 :]:
                    beta[t, s] += weight(end, t + 1)
    for path in itertools.product(range(vocab_size), repeat=frames):
        if spells(path, blank) == target:
            for t in range(frames):
                through[t, state(path[: t + 1])] += weight(path, 0)
    return alpha, beta, through


def problem(seed, batch, frames, vocab_size, longest, impossible=0.0):
    """Random log-probs, ragged targets with many repeats, and lengths.  The padding holds what must not be read."""
    rng = np.random.default_rng(seed)
    blank = int(rng.integers(vocab_size))
    scores = rng.normal(scale=2, size=(batch, frames, vocab_size))
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True) * (rng.random(scores.shape) >= impossible)
    input_lengths = rng.integers(0, frames + 1, batch)
    target_lengths = rng.integers(0, longest + 1, batch)
    targets = rng.choice([token for token in range(vocab_size) if token != blank], (batch, longest))
    with np.errstate(divide="ignore"):  # log 0 of an impossible token
        log_probs = np.log(probs)
    for b in range(batch):
        targets[b, target_lengths[b] :] = -999
        log_probs[b, input_lengths[b] :] = [np.nan, np.inf, -np.inf][b % 3]
    return log_probs, targets, input_lengths, target_lengths, blank


@few
@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(2, 3), st.integers(0, 3), st.sampled_from([0.0, 0.3]))
def test_alpha_beta_and_posteriors_equal_the_enumeration_of_all_paths(seed, batch, frames, vocab_size, longest, impossible):
    *arguments, blank = problem(seed, batch, frames, vocab_size, longest, impossible)
    log_probs, targets, input_lengths, target_lengths = arguments
    alpha, beta = ctc_alpha(*arguments, blank=blank), ctc_beta(*arguments, blank=blank)
    occupancy = posteriors(alpha, beta)
    likelihood = log_likelihood(alpha, input_lengths, target_lengths)
    assert alpha.shape == beta.shape == occupancy.shape == (batch, frames, 2 * longest + 1)
    for b in range(batch):
        n, s = int(input_lengths[b]), 2 * int(target_lengths[b]) + 1
        target = targets[b, : target_lengths[b]].tolist()
        all_alpha, all_beta, all_through = enumerated(np.exp(log_probs[b, :n]), target, blank)
        total = all_through[0].sum() if n else float(not target)
        with np.errstate(divide="ignore"):  # log 0 where no path is
            # 1e-12: sums of at most 3^5 products of five factors, in float64
            np.testing.assert_allclose(alpha[b, :n, :s], np.log(all_alpha), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(beta[b, :n, :s], np.log(all_beta), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(likelihood[b], log(total), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(occupancy[b, :n, :s], all_through / total if total else all_through, rtol=1e-12, atol=1e-15)
        for lattice, outside in [(alpha, -np.inf), (beta, -np.inf), (occupancy, 0)]:
            assert (lattice[b, n:] == outside).all()
            assert (lattice[b, :, s:] == outside).all()


@few
@given(seeds, st.integers(1, 4), st.integers(1, 60), st.integers(2, 6), st.integers(0, 20))
def test_alpha_and_beta_make_the_same_likelihood_at_every_frame(seed, batch, frames, vocab_size, longest):
    *arguments, blank = problem(seed, batch, frames, vocab_size, longest)
    _, _, input_lengths, target_lengths = arguments
    alpha, beta = ctc_alpha(*arguments, blank=blank), ctc_beta(*arguments, blank=blank)
    likelihood = log_likelihood(alpha, input_lengths, target_lengths)
    at_each_frame = np.logaddexp.reduce(alpha + beta, axis=-1)
    occupancy = posteriors(alpha, beta)
    for b, n in enumerate(input_lengths):
        # 1e-12: sixty frames, each rounding log-probabilities of some tens at 2e-16
        np.testing.assert_allclose(at_each_frame[b, :n], likelihood[b], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(occupancy[b, :n].sum(-1), float(likelihood[b] > -np.inf), rtol=1e-14)


def test_posteriors_sum_to_one_in_float32_however_small_the_likelihood():
    """log p is about -2300 here, where float32 resolves 2.4e-4: dividing by p itself would miss 1 by that much."""
    rng = np.random.default_rng(0)
    log_probs = np.log(rng.dirichlet(np.ones(32), (2, 700))).astype(np.float32)
    arguments = log_probs, rng.integers(1, 32, (2, 90)), [700, 650], [90, 60]
    alpha, beta = ctc_alpha(*arguments, blank=0), ctc_beta(*arguments, blank=0)
    assert (log_likelihood(alpha, *arguments[2:]) < -1000).all()
    np.testing.assert_allclose(posteriors(alpha, beta)[0].sum(-1), 1, atol=1e-6)  # a sum of 181 float32 numbers


def test_the_lattice_of_the_docstring():
    """see = _s_e_e_ over three sure frames s, e, e: the two e's merge, so that the second e's state is never reached."""
    s, e, blank = 0, 1, 2
    assert extended_targets([[s, e, e]], blank=blank).tolist() == [[2, 0, 2, 1, 2, 1, 2]]
    sure = np.full((1, 3, 3), -np.inf)
    sure[0, [0, 1, 2], [s, e, e]] = 0
    alpha = ctc_alpha(sure, [[s, e, e]], [3], [3], blank=blank)
    assert np.argwhere(alpha[0] == 0).tolist() == [[0, 1], [1, 3], [2, 3]]
    assert (np.sort(alpha[0], axis=-1)[:, :-1] == -np.inf).all()
    assert log_likelihood(alpha, [3], [3]).tolist() == [-np.inf]
    assert log_likelihood(ctc_alpha(sure, [[s, e]], [3], [2], blank=blank), [3], [2]).tolist() == [0]


def test_nan_stays_in_its_own_sample():
    rng = np.random.default_rng(3)
    log_probs = np.log(rng.dirichlet(np.ones(4), (3, 6)))
    arguments = rng.integers(1, 4, (3, 2)), [6, 6, 6], [2, 2, 2]
    clean = [f(log_probs, *arguments, blank=0) for f in (ctc_alpha, ctc_beta)]
    log_probs[1, 2] = np.nan
    alpha, beta = (f(log_probs, *arguments, blank=0) for f in (ctc_alpha, ctc_beta))
    for ours, before in zip((alpha, beta), clean, strict=True):
        np.testing.assert_array_equal(ours[[0, 2]], before[[0, 2]])
    assert np.isnan(log_likelihood(alpha, *arguments[1:])).tolist() == [False, True, False]
    assert np.isnan(posteriors(alpha, beta)).any(axis=(1, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtype_is_kept_and_inputs_are_not_changed(dtype):
    log_probs, targets, input_lengths, target_lengths, blank = problem(5, 3, 6, 4, 3)
    arguments = [log_probs.astype(dtype), targets, input_lengths, target_lengths]
    before = [argument.copy() for argument in arguments]
    for argument in arguments:
        argument.flags.writeable = False
    alpha, beta = ctc_alpha(*arguments, blank=blank), ctc_beta(*arguments, blank=blank)
    likelihood = log_likelihood(alpha, *arguments[2:])
    occupancy = posteriors(alpha, beta)
    assert {x.dtype for x in (alpha, beta, likelihood, occupancy)} == {np.dtype(dtype)}
    for argument, copy in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(argument, copy)
    assert extended_targets(np.zeros((2, 3), np.int8), blank=1).dtype == np.int8


@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int32, np.uint64, np.int64])
def test_any_integer_dtype_will_do(integer):
    log_probs, *integers, blank = problem(7, 3, 6, 4, 3)
    integers[0] = np.where(integers[0] < 0, 0, integers[0])
    expected = ctc_alpha(log_probs, *integers, blank=blank)
    np.testing.assert_array_equal(ctc_alpha(log_probs, *(x.astype(integer) for x in integers), blank=blank), expected)


@pytest.mark.parametrize("frames", [0, 2])
def test_no_samples_no_frames_and_no_tokens_are_legal_sizes(frames):
    for batch in (0, 2):
        sure = np.broadcast_to([-np.inf, -np.inf, 0.0], (batch, frames, 3))
        arguments = sure, np.zeros((batch, 0), int), np.full(batch, frames), np.zeros(batch, int)
        alpha, beta = ctc_alpha(*arguments, blank=2), ctc_beta(*arguments, blank=2)
        assert alpha.shape == beta.shape == posteriors(alpha, beta).shape == (batch, frames, 1)
        assert log_likelihood(alpha, *arguments[2:]).tolist() == [0] * batch


GOOD = {
    "log_probs": np.log(np.full((2, 4, 3), 1 / 3)),
    "targets": [[1, 2], [1, 1]],
    "input_lengths": [4, 3],
    "target_lengths": [2, 1],
    "blank": 0,
}


@pytest.mark.parametrize("function", [ctc_alpha, ctc_beta])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"log_probs": np.zeros((4, 3))}, r"log_probs: expected shape \(\*, \*, \*\), found \(4, 3\)"),
        ({"log_probs": np.zeros((2, 4, 3), int)}, "log_probs: expected a floating dtype, found int64"),
        (
            {"log_probs": np.pad([[[np.inf]]], ((0, 1), (0, 3), (1, 1)))},
            r"log_probs\[0, 0, 1\]: expected .* below \+inf, found inf",
        ),
        ({"targets": [[1, 2]]}, r"targets: expected shape \(2, \*\), found \(1, 2\)"),
        ({"targets": [1, 2]}, r"targets: expected shape \(2, \*\), found \(2,\)"),
        ({"targets": [[1.0, 2.0], [1.0, 1.0]]}, "targets: expected an integer dtype, found float64"),
        ({"targets": [[1, 3], [1, 1]]}, r"targets\[0, 1\]: expected 0 <= token < 3 other than the blank 0, found 3"),
        ({"targets": [[1, 2], [-1, 1]]}, r"targets\[1, 0\]: expected .*, found -1"),
        ({"targets": [[0, 2], [1, 1]]}, r"targets\[0, 0\]: expected .* other than the blank 0, found 0"),
        ({"input_lengths": [4]}, r"input_lengths: expected shape \(2,\), found \(1,\)"),
        ({"input_lengths": [4.0, 3.0]}, "input_lengths: expected an integer dtype, found float64"),
        ({"input_lengths": [4, 5]}, r"input_lengths\[1\]: expected 0 <= length <= 4, found 5"),
        ({"input_lengths": [-1, 3]}, r"input_lengths\[0\]: expected 0 <= length <= 4, found -1"),
        ({"target_lengths": [3, 1]}, r"target_lengths\[0\]: expected 0 <= length <= 2, found 3"),
        ({"target_lengths": [2, -1]}, r"target_lengths\[1\]: expected 0 <= length <= 2, found -1"),
        ({"blank": 3}, "blank: expected 0 <= blank < 3, found 3"),
        ({"blank": -1}, "blank: expected 0 <= blank < 3, found -1"),
    ],
)
def test_what_does_not_fit_is_refused(function, bad, message):
    function(**GOOD)
    with pytest.raises(InputError, match=message):
        function(**(GOOD | bad))


def test_likelihood_and_posteriors_refuse_what_does_not_fit():
    alpha = ctc_alpha(**GOOD)
    with pytest.raises(InputError, match=r"input_lengths\[1\]: expected 0 <= length <= 4, found 5"):
        log_likelihood(alpha, [4, 5], [2, 1])
    with pytest.raises(InputError, match=r"target_lengths\[0\]: expected 0 <= length <= 2, found 3"):
        log_likelihood(alpha, [4, 3], [3, 1])
    with pytest.raises(InputError, match=r"alpha: expected shape \(\*, \*, \*\), found \(4, 5\)"):
        log_likelihood(alpha[0], [4], [2])
    with pytest.raises(InputError, match=r"beta: expected shape \(2, 4, 5\), found \(2, 3, 5\)"):
        posteriors(alpha, alpha[:, 1:])
    with pytest.raises(InputError, match=r"targets: expected shape \(\*, \*\), found \(2,\)"):
        extended_targets([1, 2], blank=0)


# --- what are no log-probabilities --------------------------------------------------------------------------------------------------

LOGITS = np.random.default_rng(5).normal(scale=4, size=(9, 6))
TAKERS = {
    "forced_align": lambda x: forced_align(x, [1, 2], blank=0),
    "ctc_loss": lambda x: ctc_loss(x[None], [[1, 2]], [len(x)], [2], blank=0),
    "ctc_loss_vjp": lambda x: ctc_loss_vjp(x[None], [[1, 2]], [len(x)], [2], blank=0),
    "prefix_search": lambda x: prefix_search(x, blank=0, beam_width=3),
    "BeamSearch.decode": lambda x: BeamSearch().decode(x, blank=0),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_are_no_log_probabilities(taker, dtype):
    for none, looks in (
        (LOGITS, "raw logits: take their log_softmax"),
        (LOGITS - 30, "raw logits"),
        (100 * LOGITS, "raw logits"),
        (softmax(LOGITS), "probabilities: take their logarithm"),
        (np.eye(6)[[0, 1, 2]], "probabilities"),
        (-log_softmax(LOGITS), "raw logits"),
    ):
        with pytest.raises(InputError, match=rf"log_probs\[.*\]: expected log-probabilities.*these look like {looks}"):
            TAKERS[taker](none.astype(dtype))


@pytest.mark.parametrize("taker", TAKERS)
def test_log_probabilities_that_are_rounded_or_forbid_tokens(taker):
    take, good = TAKERS[taker], log_softmax(LOGITS)
    forbidden = good.copy()
    forbidden[:, 5] = -np.inf
    damped = good.copy()
    damped[4] -= 3  # one frame
    bfloat16 = (log_softmax(np.random.default_rng(1).normal(size=(9, 100_000))).astype(np.float32).view(np.int32) & -65536).view(
        np.float32
    )
    for fine in (good, good.astype(np.float16), good.astype(np.float32), forbidden, damped, bfloat16):
        take(fine)


def test_only_frames_that_count_are_looked_at():
    padded = np.concatenate([log_softmax(LOGITS), np.full((3, 6), 7.0)])[None]
    assert ctc_loss(padded, [[1, 2]], [9], [2], blank=0) == ctc_loss(padded[:, :9], [[1, 2]], [9], [2], blank=0)
