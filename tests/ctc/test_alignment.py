"""The likeliest path against the enumeration of every path, and against torch's loss at zero temperature."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import (
    TokenSpan,
    collapse,
    ctc_alpha,
    ctc_beta,
    forced_align,
    frames_needed,
    greedy_path,
    log_likelihood,
    merge_tokens,
    posteriors,
    span_probability,
    with_wildcard,
)
from sewnp.errors import InputError
from sewnp.layers import log_softmax

few = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 10**6)


def states_of(path, blank):
    """Where a path stands at each frame: on its k-th token's state 2k - 1, or the blank behind it, 2k."""
    states, last = [], blank
    count = 0
    for token in path:
        count += token not in (blank, last)
        states.append(2 * count - (token != blank))
        last = token
    return states


def spelling_paths(frames, vocab_size, target, blank):
    """Every path that collapses to the target."""
    for path in itertools.product(range(vocab_size), repeat=frames):
        if [token for token, _ in itertools.groupby(path) if token != blank] == target:
            yield path


def random_target(rng, vocab_size, longest, blank):
    tokens = [token for token in range(vocab_size) if token != blank]
    return rng.choice(tokens, int(rng.integers(longest + 1))).tolist()


@pytest.mark.parametrize("seed", range(80))
def test_equals_the_best_of_all_paths_and_settles_ties_as_it_says(seed):
    """Quarters add up exactly, so that equal sums are equal, and many paths tie."""
    rng = np.random.default_rng(seed)
    frames, vocab_size, longest, impossible = int(rng.integers(1, 7)), int(rng.integers(2, 4)), seed % 4, 0.2 * (seed % 3 == 0)
    blank = int(rng.integers(vocab_size))
    log_probs = -rng.integers(5, 8, (frames, vocab_size + 1)) / 4
    log_probs[rng.random(log_probs.shape) < impossible] = -np.inf
    log_probs[:, vocab_size] = -np.inf  # a forbidden token, which may have had what is missing to 1
    target = random_target(rng, vocab_size, longest, blank)
    scored = {
        path: sum(log_probs[t, token] for t, token in enumerate(path)) for path in spelling_paths(frames, vocab_size, target, blank)
    }
    if max(scored.values(), default=-math.inf) == -math.inf:
        with pytest.raises(InputError, match="need" if not scored else "-inf"):
            forced_align(log_probs, target, blank=blank)
        return
    # the rule of the docstring: read backwards, the higher state wins
    best = max(scored, key=lambda path: (scored[path], states_of(path, blank)[::-1]))
    found = forced_align(log_probs, target, blank=blank)
    assert found.tokens.tolist() == list(best)
    assert found.states.tolist() == states_of(best, blank)
    assert found.log_probability == scored[best]
    assert [span.token for span in found.spans] == target
    for k, span in enumerate(found.spans):
        assert [t for t, state in enumerate(states_of(best, blank)) if state == 2 * k + 1] == list(range(span.start, span.end))


@few
@given(seeds, st.integers(1, 40), st.integers(2, 6), st.integers(0, 12))
def test_equals_torchs_loss_at_zero_temperature(seed, frames, vocab_size, longest):
    """torch 2.13 has no alignment of its own, but the log of a sum of k-th powers is k times the largest log as k grows.

    Its loss of k * log_probs, divided by -k, is the best path's sum and at most log(paths) / k more; its gradient, exp(log_probs)
    minus the occupancies, marks that path.
    """
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    blank = int(rng.integers(vocab_size))
    target = random_target(rng, vocab_size, longest, blank)
    needed = len(target) + sum(a == b for a, b in itertools.pairwise(target))
    frames = max(frames, needed)
    log_probs = np.log(rng.dirichlet(np.ones(vocab_size), frames))
    found = forced_align(log_probs, target, blank=blank)
    k = 1e9
    cold = torch.tensor(k * log_probs, requires_grad=True)
    lengths = torch.tensor([frames]), torch.tensor([len(target)])
    targets = torch.tensor([target or [int(blank == 0)]])
    loss = torch.nn.functional.ctc_loss(cold[:, None], targets, *lengths, blank=blank, reduction="sum")
    loss.backward()
    # 3 choices a frame at most, and sums of some hundred at 1e-16 each
    assert -loss.item() / k == pytest.approx(found.log_probability, rel=1e-12, abs=frames * math.log(3) / k)
    assert cold.grad.argmin(dim=1).tolist() == found.tokens.tolist()


@few
@given(seeds, st.integers(1, 30), st.integers(2, 5))
def test_the_greedy_path_is_the_best_path_of_its_own_text(seed, frames, vocab_size):
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(vocab_size), frames))
    path = greedy_path(log_probs[None])[0]
    found = forced_align(log_probs, collapse(path, blank=0), blank=0)
    assert found.tokens.tolist() == path.tolist()
    assert found.log_probability <= log_likelihood_of(log_probs, collapse(path, blank=0)) + 1e-9


def log_likelihood_of(log_probs, target):
    problem = log_probs[None], np.array([target], dtype=int).reshape(1, -1), [len(log_probs)], [len(target)]
    return float(log_likelihood(ctc_alpha(*problem, blank=0), *problem[2:])[0])


@few
@given(seeds, st.integers(1, 5), st.integers(1, 3))
def test_span_probability_equals_the_enumeration_of_all_paths(seed, frames, longest):
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.ones(3), frames)
    target = rng.integers(1, 3, int(rng.integers(1, longest + 1))).tolist()
    weights = {path: math.prod(probs[t, token] for t, token in enumerate(path)) for path in spelling_paths(frames, 3, target, 0)}
    if not weights:
        return
    problem = np.log(probs)[None], [target], [frames], [len(target)]
    occupancy = posteriors(ctc_alpha(*problem, blank=0), ctc_beta(*problem, blank=0))[0]
    total = sum(weights.values())
    for first, last in itertools.combinations(range(len(target) + 1), 2):
        for start, end in itertools.combinations(range(frames + 1), 2):
            # inside tokens first..last-1: at or behind the first's state, not behind the last's
            shares = {
                path: sum(2 * first + 1 <= state <= 2 * last - 1 for state in states_of(path, 0)[start:end]) / (end - start)
                for path in weights
            }
            expected = sum(weights[path] * shares[path] for path in weights) / total
            # 1e-12: sums of at most 3^5 products, in float64
            assert span_probability(occupancy, (first, last), (start, end)) == pytest.approx(expected, rel=1e-12, abs=1e-14)


def test_float32_comes_in_and_stays_as_it_was():
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(4), 12)).astype(np.float32)
    before = log_probs.tobytes()
    found, exact = forced_align(log_probs, [1, 1, 2], blank=0), forced_align(log_probs.astype(np.float64), [1, 1, 2], blank=0)
    assert found.log_probability == exact.log_probability
    assert found.spans == exact.spans
    assert log_probs.tobytes() == before


def test_nothing_to_say_and_nothing_to_hear():
    silent = forced_align(np.log([[0.5, 0.5]] * 3), [], blank=1)
    assert (silent.tokens.tolist(), silent.states.tolist(), silent.spans) == ([1, 1, 1], [0, 0, 0], ())
    assert silent.log_probability == pytest.approx(3 * math.log(0.5))
    assert forced_align(np.zeros((0, 2)), [], blank=1).log_probability == 0


def test_frames_needed_counts_blanks_between_equal_neighbours():
    assert [frames_needed(target) for target in ([], [4], [4, 5], [4, 4], [4, 4, 4, 5, 5])] == [0, 1, 2, 3, 8]
    log_probs = np.log(np.full((8, 6), 1 / 6))
    assert forced_align(log_probs, [4, 4, 4, 5, 5], blank=0).tokens.tolist() == [4, 0, 4, 0, 4, 5, 0, 5]


UNIFORM = np.log(np.full((3, 4), 0.25))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: forced_align(UNIFORM, [1, 1, 2], blank=0), "targets: 3 tokens need 4 frames, with one between equal .* found 3"),
        (
            lambda: forced_align(UNIFORM, [1, 0], blank=0),
            r"targets\[0, 1\]: expected 0 <= token < 4 other than the blank 0, found 0",
        ),
        (lambda: forced_align(UNIFORM, [7], blank=0), r"targets\[0, 0\]: expected 0 <= token < 4"),
        (lambda: forced_align(UNIFORM, [1], blank=4), "blank: expected 0 <= blank < 4, found 4"),
        (lambda: forced_align(UNIFORM[None], [1], blank=0), r"log_probs: expected shape \(\*, \*\), found \(1, 3, 4\)"),
        (lambda: forced_align(UNIFORM, [[1]], blank=0), r"targets: expected shape \(\*,\), found \(1, 1\)"),
        (lambda: forced_align(UNIFORM * np.nan, [1], blank=0), "log_probs: expected log-probabilities, found NaN"),
        (lambda: forced_align(-UNIFORM * np.inf, [1], blank=0), "a log-probability below"),
        (lambda: forced_align(UNIFORM - np.inf, [1], blank=0), "log_probs: every path .* crosses a log-probability of -inf"),
        (lambda: forced_align(UNIFORM, [1], blank=0, delimiter=4), "delimiter: expected a whole number from 0 to 3, found 4"),
        (lambda: forced_align(UNIFORM, [1], blank=0, delimiter=0), "delimiter: expected a token other than the blank 0"),
        (lambda: frames_needed([[1]]), r"targets: expected shape \(\*,\)"),
        (lambda: span_probability(np.zeros((3, 5)), (1, 1), (0, 1)), r"tokens: expected 0 <= start < end <= 2, found \(1, 1\)"),
        (lambda: span_probability(np.zeros((3, 5)), (0, 3), (0, 1)), r"tokens: expected 0 <= start < end <= 2, found \(0, 3\)"),
        (lambda: span_probability(np.zeros((3, 5)), (0, 1), (2, 4)), r"frames: expected 0 <= start < end <= 3, found \(2, 4\)"),
        (lambda: span_probability(np.zeros(5), (0, 1), (0, 1)), "occupancy: expected shape"),
    ],
)
def test_errors_name_what_was_found(call, message):
    with pytest.raises(InputError, match=message):
        call()


@few
@given(seed=seeds, frames=st.integers(1, 6))
def test_alignment_within_bounds_is_the_best_path_within_them(seed, frames):
    rng = np.random.default_rng(seed)
    log_probs = log_softmax(rng.normal(size=(frames, 3)) * 2)
    text = collapse(rng.integers(0, 3, frames), blank=0)
    fewest, most = np.sort(rng.integers(0, len(text) + 1, (2, frames)), axis=0)
    paths = {}
    for path in spelling_paths(frames, 3, text, 0):
        begun = (np.array(states_of(path, 0)) + 1) // 2
        if (fewest <= begun).all() and (begun <= most).all():
            paths[path] = float(log_probs[np.arange(frames), path].sum())
    if paths:
        found = forced_align(log_probs, text, blank=0, begun=(fewest, most))
        best = max(paths, key=paths.__getitem__)
        assert tuple(found.tokens) == best
        assert found.log_probability == pytest.approx(paths[best], rel=1e-12)
    else:
        with pytest.raises(InputError, match="every path that spells the targets crosses a log-probability of -inf"):
            forced_align(log_probs, text, blank=0, begun=(fewest, most))


def test_bounds_that_the_text_does_not_have():
    for bad in (([0, 0], [2, 1]), ([0], [1]), ([-1, 0], [1, 1])):
        with pytest.raises(InputError, match=r"begun\[[01]\]"):
            forced_align(np.log(np.full((2, 4), 0.25)), [2], blank=0, begun=tuple(map(np.array, bad)))


# --- wildcards, and tokens with their scores --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_a_wildcard_is_a_token_that_costs_nothing(seed):
    """Against all paths of an alphabet that has it as a letter."""
    rng = np.random.default_rng(seed)
    frames, blank = int(rng.integers(3, 6)), int(rng.integers(3))
    log_probs = np.log(rng.dirichlet(np.ones(3), frames))
    others = [token for token in range(3) if token != blank]
    target = [others[0], 3, others[1]][seed % 3 :] + [3] * (seed % 2)
    emitted = with_wildcard(log_probs)
    assert emitted.shape == (frames, 4)
    assert emitted[:, :3].tobytes() == log_probs.tobytes()
    assert emitted[:, 3].tolist() == [0.0] * frames
    scored = {path: math.fsum(emitted[range(frames), path]) for path in spelling_paths(frames, 4, target, blank)}
    if not scored:
        with pytest.raises(InputError, match="tokens need"):
            forced_align(log_probs, target, blank=blank, wildcard=True)
        return
    found = forced_align(log_probs, target, blank=blank, wildcard=True)
    best = max(scored.values())
    assert scored[tuple(found.tokens.tolist())] == pytest.approx(best, abs=1e-12)
    assert found.log_probability == pytest.approx(best, abs=1e-12)
    assert found.scores.tolist() == emitted[range(frames), found.tokens].tolist()
    assert [span.token for span in found.spans] == target


def test_a_wildcard_is_said_to_be_one():
    log_probs = np.log(np.full((4, 3), 1 / 3))
    with pytest.raises(InputError, match="targets"):
        forced_align(log_probs, [1, 3], blank=0)
    with pytest.raises(InputError, match="targets"):
        forced_align(log_probs, [1, 4], blank=0, wildcard=True)


@few
@given(seeds, st.integers(1, 30), st.integers(2, 5))
def test_merged_tokens_are_the_spans_with_their_means(seed, frames, vocab_size):
    log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(vocab_size), frames))
    found = forced_align(log_probs, collapse(greedy_path(log_probs[None])[0], blank=0), blank=0)
    merged = merge_tokens(found.tokens, np.exp(found.scores), blank=0)
    assert [(span.token, span.start, span.end) for span in merged] == list(found.spans)
    for span in merged:
        assert len(span) == span.end - span.start > 0
        assert span.score == pytest.approx(np.exp(log_probs[span.start : span.end, span.token]).mean(), rel=1e-12)


def test_tokens_merge_as_in_torchaudios_tutorial():
    """The frames that it prints for "I HAD" (CTC forced alignment API tutorial): their tokens and scores, and what they are merged to."""
    tokens, scores = np.zeros(42, int), np.ones(42)
    printed = {
        32: (5, 0.9994410872459412), 35: (18, 0.9980823993682861), 36: (18, 0.9295750260353088),
        37: (4, 0.9997448325157166), 41: (16, 0.9991760849952698),
    }  # fmt: skip
    for frame, (token, score) in printed.items():
        tokens[frame], scores[frame] = token, score
    assert merge_tokens(tokens, scores, blank=0) == [
        TokenSpan(5, 32, 33, 0.9994410872459412),
        TokenSpan(18, 35, 37, pytest.approx((0.9980823993682861 + 0.9295750260353088) / 2)),
        TokenSpan(4, 37, 38, 0.9997448325157166),
        TokenSpan(16, 41, 42, 0.9991760849952698),
    ]
    # its rules: equal neighbours are one token, a blank parts them, and blanks go
    assert merge_tokens([1, 1, 0, 1], [0.5, 1.0, 0.25, 0.125], blank=0) == [TokenSpan(1, 0, 2, 0.75), TokenSpan(1, 3, 4, 0.125)]
    assert merge_tokens([], [], blank=0) == merge_tokens([0, 0], [1.0, 1.0], blank=0) == []
    for tokens, scores in (([1, 1], [1.0]), ([[1]], [[1.0]]), ([], [1.0])):
        with pytest.raises(InputError):
            merge_tokens(tokens, scores, blank=0)
