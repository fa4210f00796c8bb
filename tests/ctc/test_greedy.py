"""Greedy decoding against a collapse by regular expression."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import Run, collapse, greedy_decode, greedy_path, runs
from sewnp.errors import InputError

few = settings(max_examples=60, deadline=None, derandomize=True)
paths = st.lists(st.integers(0, 3), max_size=14)


def matches(path):
    """The runs of a path, as (token, start, end), by a regular expression over its digits."""
    return [(int(m[1]), *m.span()) for m in re.finditer(r"(\d)\1*", "".join(map(str, path)))]


@few
@given(paths, st.integers(0, 3))
def test_runs_and_collapse_equal_a_regular_expression(path, blank):
    assert runs(path) == matches(path)
    assert runs(np.array(path, dtype=np.int32)) == matches(path)
    assert collapse(path, blank=blank) == [token for token, _, _ in matches(path) if token != blank]


@few
@given(paths)
def test_runs_cover_the_path_end_to_start(path):
    assert [run.token for run in runs(path) for _ in range(run.start, run.end)] == path
    assert all(run.start < run.end for run in runs(path))
    assert all(a.end == b.start and a.token != b.token for a, b in zip(runs(path), runs(path)[1:], strict=False))


@few
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9), st.integers(2, 4))
def test_greedy_decode_equals_argmax_frame_by_frame(seed, batch, frames, vocab_size):
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 3, (batch, frames, vocab_size)).astype(np.float32)  # few levels, so that there are ties
    blank = int(rng.integers(vocab_size))
    lengths = rng.integers(0, frames + 1, batch)
    expected = [[max(range(vocab_size), key=frame.__getitem__) for frame in clip] for clip in logits.tolist()]  # the first maximum
    assert greedy_path(logits).tolist() == expected
    for given_lengths, read in [(lengths, lengths), (lengths.tolist(), lengths), (None, [frames] * batch)]:
        decoded = greedy_decode(logits, given_lengths, blank=blank)
        assert decoded == [[m for m in matches(path[:n]) if m[0] != blank] for path, n in zip(expected, read, strict=True)]


def test_a_blank_keeps_two_equal_letters_apart():
    assert collapse([1, 1, 0, 1, 2], blank=0) == [1, 1, 2]
    assert collapse([1, 1, 0, 1, 2], blank=2) == [1, 0, 1]
    assert collapse([0, 0], blank=0) == collapse([], blank=0) == []
    logits = np.eye(3)[[0, 1, 1, 0, 1, 2, 2]][None]
    assert greedy_decode(logits, blank=0) == [[Run(1, 1, 3), Run(1, 4, 5), Run(2, 5, 7)]]


def test_ids_are_python_numbers_and_may_be_anything():
    (run,) = runs(np.array([-100, -100], dtype=np.int16))
    assert run == Run(token=-100, start=0, end=2)
    assert {type(part) for part in run} == {int}


def test_nan_counts_as_the_largest_as_it_does_in_torch():
    logits = np.array([[[0.0, np.nan, 3.0], [np.inf, 1.0, np.inf], [-np.inf, -np.inf, -np.inf]]])
    assert greedy_path(logits).tolist() == [[1, 0, 0]]


def test_nothing_decodes_to_nothing():
    assert greedy_decode(np.zeros((2, 0, 3)), blank=0) == [[], []]
    assert greedy_decode(np.zeros((0, 4, 3)), blank=0) == []


def test_inputs_are_not_changed():
    logits = np.random.default_rng(0).normal(size=(2, 5, 3))
    before = logits.copy()
    logits.flags.writeable = False
    greedy_decode(logits, np.array([5, 3]), blank=1)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: runs([[1, 2]]), r"ids: expected shape \(\*,\), found \(1, 2\)"),
        (lambda: collapse(3, blank=0), r"ids: expected shape \(\*,\), found \(\)"),
        (lambda: greedy_decode(np.zeros((4, 3)), blank=0), r"logits: expected shape \(\*, \*, \*\), found \(4, 3\)"),
        (lambda: greedy_decode(np.zeros((1, 4, 3)), blank=3), "blank: expected 0 <= blank < 3, found 3"),
        (lambda: greedy_decode(np.zeros((1, 4, 3)), [5], blank=0), r"lengths\[0\]: expected 0 <= length <= 4, found 5"),
        (lambda: greedy_decode(np.zeros((1, 4, 3)), [-1], blank=0), r"lengths\[0\]: expected 0 <= length <= 4, found -1"),
        (lambda: greedy_decode(np.zeros((1, 4, 3)), [4, 4], blank=0), r"lengths: expected shape \(1,\), found \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
