"""The checks of notebook 08: solutions pass, typical mistakes are named."""

import itertools

import numpy as np
import pytest
from checks.ctc import _alpha, check_alpha, check_collapse, check_timestamps

from sewnp import ctc


def alpha(log_probs, target, blank):
    targets = np.array([target], dtype=int)
    return ctc.ctc_alpha(log_probs[None], targets, [len(log_probs)], [len(target)], blank=blank)[0]


def collapse(path, blank):
    return [token for token, _ in itertools.groupby(path) if token != blank]


def timestamps(path, blank, step):
    return [(run.token, run.start * step, run.end * step) for run in ctc.runs(path) if run.token != blank]


@pytest.mark.parametrize(
    ("check", "solution"),
    [(check_alpha, alpha), (check_alpha, _alpha), (check_collapse, collapse), (check_timestamps, timestamps)],
    ids=["alpha", "alpha by loops", "collapse", "timestamps"],
)
def test_the_solution_passes(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out.startswith("✓")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda path, blank: [token for token, _ in itertools.groupby(t for t in path if t != blank)], "drop the blanks first"),
        (lambda path, blank: [token for token in path if token != blank], "repeats are not merged"),
        (lambda path, blank: [token for token, _ in itertools.groupby(path)], "blanks are still there"),
        (lambda path, blank: list(dict.fromkeys(t for t in path if t != blank)), "only once"),
        (lambda path, blank: collapse(path, 0), "another id"),
        (lambda path, blank: None, "is a return missing"),
        (lambda path, blank: "12", "found a string"),
    ],
)
def test_wrong_collapses_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_collapse(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: np.exp(alpha(*a)), "as probabilities"),
        (lambda *a: _alpha(*a, leaps="all tokens"), "two equal tokens"),
        (lambda *a: _alpha(*a, leaps="everywhere"), "from one blank to the next"),
        (lambda *a: _alpha(*a, leaps="nowhere"), "nothing ever leaps"),
        (lambda *a: _alpha(*a, starts=1), "without a blank before it"),
        (lambda *a: _alpha(*a, starts=99), "starts on state 0 or 1"),
        (lambda *a: _alpha(*a, total=np.maximum), "sum"),
        (lambda *a: _alpha(*a, total=np.add), "logaddexp"),
        (lambda *a: _alpha(*a, emissions="none"), "emission is missing"),
        (lambda *a: _alpha(*a, emissions="not at frame 0"), "frame 0 counts no emission"),
        (lambda *a: alpha(*a) + 1, r"alpha\[0, 0\] is"),
        (lambda *a: alpha(*a).T, "shape"),
    ],
)
def test_wrong_alphas_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_alpha(wrong)


def by_token(path, blank, step):
    """Runs of one token with blanks between them joined."""
    spoken = [(t, token) for t, token in enumerate(path) if token != blank]
    groups = [list(group) for _, group in itertools.groupby(spoken, key=lambda item: item[1])]
    return [(group[0][1], group[0][0] * step, (group[-1][0] + 1) * step) for group in groups]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda path, blank, step: timestamps(path, -1, step), "the blanks are in it"),
        (lambda path, blank, step: [(k, a, b - step) for k, a, b in timestamps(path, blank, step)], "last frame is missing"),
        (lambda path, blank, step: timestamps(path, blank, 1), "multiply by seconds_per_frame"),
        (lambda path, blank, step: [(k, t * step, (t + 1) * step) for t, k in enumerate(path) if k != blank], "one entry a frame"),
        (by_token, "two letters"),
        (lambda path, blank, step: [k for k in path if k != blank], "should hold"),
    ],
)
def test_wrong_timestamps_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_timestamps(wrong)
