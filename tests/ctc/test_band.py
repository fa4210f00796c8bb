"""Long lattices: the best path and the sums in little memory, against the lattice that is filled as a whole."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import (
    band,
    ctc_alpha,
    ctc_beta,
    extended_targets,
    forced_align,
    log_likelihood,
    posteriors,
    probabilities_inside,
    span_probability,
)
from sewnp.errors import InputError
from sewnp.layers import log_softmax

few = settings(max_examples=60, deadline=None, derandomize=True)


def spoken(rng, frames, count, *, vocab_size=8, sure=3.0, repeats=True):
    """Log-probabilities in which some text is heard, more or less, and the text."""
    targets = rng.integers(1, vocab_size, count)
    if not repeats:
        targets = np.arange(count) % (vocab_size - 1) + 1
    path = np.zeros(frames, dtype=int)
    path[np.sort(rng.choice(frames // 2, count, replace=False)) * 2] = targets
    logits = rng.normal(size=(frames, vocab_size))
    logits[np.arange(frames), path] += sure
    return log_softmax(logits), targets


def whole_table(log_probs, targets):
    """Viterbi as every textbook has it: the whole table, and a loop over its cells."""
    extended = extended_targets(targets[None], blank=0)[0]
    frames, states = len(log_probs), len(extended)
    best, came = np.full((frames + 1, states), -np.inf), np.zeros((frames, states), dtype=int)
    best[0, 0] = 0
    for t in range(frames):
        for state in range(states):
            ways = [state, state - 1] + [state - 2] * int(state > 1 and extended[state] != extended[state - 2])
            came[t, state] = max((way for way in ways if way >= 0), key=lambda way: (best[t, way], way))
            best[t + 1, state] = best[t, came[t, state]] + log_probs[t, extended[state]]
    state = max((states - 1, states - 2)[:states], key=lambda state: (best[-1, state], state))
    path, total = [], best[-1, state]
    for t in reversed(range(frames)):
        path.append(state)
        state = came[t, state]
    return path[::-1], total


@few
@given(st.integers(0, 10**6), st.integers(1, 120), st.booleans())
def test_the_best_path_is_that_of_the_whole_table(seed, frames, ties):
    rng = np.random.default_rng(seed)
    log_probs, targets = spoken(rng, frames, int(rng.integers(0, max(1, frames // 2))), sure=float(rng.uniform(0, 5)))
    if ties:  # quarters, whose sums are exact
        log_probs = np.minimum(np.round(log_probs * 4), -1) / 4
        log_probs -= np.maximum(0.25 * np.ceil(4 * np.log(np.exp(log_probs).sum(axis=1, keepdims=True))), 0)
        log_probs[:, 7] = -np.inf
        targets = np.minimum(targets, 6)
    path, total = whole_table(log_probs, targets)
    if total == -np.inf:
        with pytest.raises(InputError):
            forced_align(log_probs, targets, blank=0)
        return
    found = forced_align(log_probs, targets, blank=0)
    assert found.states.tolist() == path
    assert found.log_probability == total


def occupancies(log_probs, targets):
    problem = log_probs[None], targets[None], [len(log_probs)], [len(targets)]
    alpha = ctc_alpha(*problem, blank=0)
    return posteriors(alpha, ctc_beta(*problem, blank=0))[0], float(log_likelihood(alpha, *problem[2:])[0])


def questions(rng, path, count):
    """Each frame's own token, some tokens around it, everything, and nothing."""
    tokens = np.clip((path.states - 1) // 2, 0, count - 1)
    low, high = np.maximum(tokens - rng.integers(0, 5), 0), np.minimum(tokens + rng.integers(1, 5), count)
    own, around = np.stack([2 * tokens + 1, 2 * tokens + 2], 1), np.stack([2 * low + 1, 2 * high], 1)
    return np.stack([own, around, np.full_like(own, (0, 2 * count + 1)), np.zeros_like(own)])


@few
@given(st.integers(0, 10**6), st.integers(2, 60))
def test_a_small_lattice_is_summed_whole(seed, frames):
    rng = np.random.default_rng(seed)
    log_probs, targets = spoken(rng, frames, int(rng.integers(1, frames // 2 + 1)), repeats=False)
    path = forced_align(log_probs, targets, blank=0)
    ranges = questions(rng, path, len(targets))
    occupancy, expected = occupancies(log_probs, targets)
    inside, found = probabilities_inside(log_probs, targets, path.states, ranges, blank=0)
    assert found == pytest.approx(expected, rel=1e-12)
    for row, bounds in zip(inside, ranges, strict=True):
        assert row == pytest.approx([occupancy[t, a:b].sum() for t, (a, b) in enumerate(bounds)], rel=1e-9, abs=1e-12)
    for k, span in enumerate(path.spans):  # what span_probability says, which is the definition
        mean = probabilities_inside(log_probs, targets, path.states, np.full((1, frames, 2), (2 * k + 1, 2 * k + 2)), blank=0)[0][
            0, span.start : span.end
        ].mean()
        assert mean == pytest.approx(span_probability(occupancy, (k, k + 1), (span.start, span.end)), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("sure", [0.0, 1.0, 3.0, 6.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_band_is_widened_until_its_sums_stand(monkeypatch, seed, sure):
    """The less is sure, the wider: from 2 states to each side."""
    rng = np.random.default_rng(seed)
    log_probs, targets = spoken(rng, 300, 60, sure=sure)
    path = forced_align(log_probs, targets, blank=0)
    ranges = questions(rng, path, len(targets))
    whole, log_whole = probabilities_inside(log_probs, targets, path.states, ranges, blank=0)
    widths, forwards = [], band._forwards

    def spied(lattice, starts, ends, *stride):
        widths.append(max(end - start for start, end in zip(starts, ends, strict=True)))
        return forwards(lattice, starts, ends, *stride)

    monkeypatch.setattr(band, "NARROWEST", 2)
    monkeypatch.setattr(band, "SMALL", 0)
    monkeypatch.setattr(band, "_forwards", spied)
    inside, log_inside = probabilities_inside(log_probs, targets, path.states, ranges, blank=0)
    assert widths[0] == 5
    assert widths[-1] <= (17 if sure == 6 else 121)
    # the last doubling added less than 1e-3, and halves of what is left are added by each of the next
    assert np.abs(inside - whole).max() < 2e-3
    assert -2e-3 < log_inside - log_whole < 1e-9
    assert np.abs(inside - whole).max() > 0 or widths[-1] == 121


def test_two_places_that_are_alike_share_the_probability(monkeypatch):
    """A text that is heard twice, twelve states apart: a band of 8 that has become one of 16 finds the other place."""
    word = np.arange(1, 7)
    path = np.concatenate([np.zeros(5, int), word, np.zeros(20, int), word, np.zeros(5, int)])
    log_probs = log_softmax(9.0 * np.eye(8)[path] + 6.0 * np.eye(8)[0])
    found = forced_align(log_probs, word, blank=0)
    monkeypatch.setattr(band, "NARROWEST", 8)
    monkeypatch.setattr(band, "SMALL", 0)
    ranges = np.stack([found.states, found.states + 1], 1)[None]
    inside, _ = probabilities_inside(log_probs, word, found.states, ranges, blank=0)
    starts = [span.start for span in found.spans]
    # the first k letters here and the others there, k from 0 to 6, are all as likely
    assert inside[0, starts] == pytest.approx(np.arange(1, 7) / 7, abs=5e-3)


def test_memory_does_not_grow_with_the_lattice():
    log_probs, targets = spoken(np.random.default_rng(0), 6000, 2000)
    tracemalloc.start()
    path = forced_align(log_probs, targets, blank=0)
    ranges = np.stack([path.states, path.states + 1], 1)[None]
    inside, _ = probabilities_inside(log_probs, targets, path.states, ranges, blank=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6  # a table of one float64 a cell would have 192e6 bytes
    assert inside[0].mean() > 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": [0, 1]}, r"states: expected shape \(3,\), found \(2,\)"),
        ({"ranges": np.zeros((3, 2), int)}, r"ranges: expected shape \(\*, 3, 2\), found \(3, 2\)"),
        ({"targets": [[1]]}, r"targets: expected shape \(\*,\)"),
        ({"blank": 4}, "blank: expected 0 <= blank < 4, found 4"),
        ({"targets": [1, 1, 1]}, "states: expected a path of the text"),
    ],
)
def test_errors_name_what_was_found(changes, message):
    good = {"targets": [1], "states": [0, 1, 2], "ranges": np.zeros((1, 3, 2), int), "blank": 0}
    with pytest.raises(InputError, match=message):
        probabilities_inside(np.log(np.full((3, 4), 0.25)), **good | changes)
