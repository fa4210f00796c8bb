"""Checks for the exercises of 08_ctc."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from checks import array_of_shape, passed
from sewnp import ctc
from sewnp.types import Array


def check_collapse(collapse: Callable[..., Any]) -> None:
    """collapse(path, blank): a list of token ids -> the list that the path spells."""
    for path, blank in (
        ([0, 1, 1, 0, 2, 2, 2, 0], 0),
        ([1, 2, 1], 0),
        ([1, 2, 0, 2], 0),
        ([0, 0, 0], 0),
        ([], 0),
        ([3, 3, 0, 3, 1, 1], 3),
    ):
        found = _list(collapse(list(path), blank), f"collapse({path}, blank={blank})")
        expected = ctc.collapse(path, blank=blank)
        assert found == expected, (
            f"collapse({path}, blank={blank}) is {found}, expected {expected}{_collapse_mistake(path, blank, found)}"
        )
    passed("collapse: merge first, then drop the blanks")


def check_alpha(alpha: Callable[..., Any]) -> None:
    """alpha(log_probs, target, blank): (T, V), a list of S tokens -> (T, 2 S + 1) in the log domain."""
    rng = np.random.default_rng(3)
    for target, frames, blank in (([1, 2, 2], 6, 0), ([1], 4, 0), ([0, 1], 5, 2), ([], 3, 0)):
        probabilities = rng.dirichlet(np.ones(3), size=frames)
        log_probs = np.log(probabilities)
        targets = np.array([target], dtype=np.int64)
        expected = ctc.ctc_alpha(log_probs[None], targets, [frames], [len(target)], blank=blank)[0]
        with np.errstate(all="ignore"):  # logarithms of zero are part of the matter
            found = array_of_shape(alpha(log_probs.copy(), list(target), blank), expected.shape, what="alpha")
        if not _same(found, expected):
            raise AssertionError(f"target {target}, blank {blank}: {_alpha_mistake(found, log_probs, target, blank, expected)}")
    passed("alpha: every beginning of every path, counted once")


def check_timestamps(timestamps: Callable[..., Any]) -> None:
    """timestamps(path, blank, seconds_per_frame): token ids -> [(token, start, end), ...] in seconds, without blanks."""
    step = 0.02
    for path in ([0, 0, 1, 1, 1, 0, 2, 0], [1, 2, 0, 2, 2], [0, 0], [3]):
        found = _list(timestamps(list(path), 0, step), f"timestamps({path})")
        assert all(isinstance(item, tuple | list) and len(item) == 3 for item in found), (
            f"timestamps({path}) should hold (token, start, end), found {found}"
        )
        expected = [(run.token, run.start * step, run.end * step) for run in ctc.runs(path) if run.token != 0]
        if not _same_times(found, expected):
            raise AssertionError(
                f"timestamps({path}) is {_shown(found)}, expected {_shown(expected)}{_time_mistake(path, step, found)}"
            )
    passed("timestamps: from the first frame of a run to the end of its last")


def _collapse_mistake(path: list[int], blank: int, found: list[Any]) -> str:
    merged = [token for token, _ in itertools.groupby(path)]
    kept = [token for token in path if token != blank]
    if found == [token for token, _ in itertools.groupby(kept)]:
        return ": it looks as if you drop the blanks first; then what a blank kept apart is merged. Merge first"
    if found == kept:
        return ": repeats are not merged; a token held for several frames is one token"
    if found == merged:
        return ": the blanks are still there"
    if found == list(dict.fromkeys(kept)) or found == sorted(set(kept)):
        return ": each token appears only once; only *neighbours* that are equal are merged"
    if blank != 0 and found == [token for token in merged if token != 0]:
        return ": you drop the zeros, but here the blank has another id"
    return ""


def _alpha_mistake(found: Array, log_probs: Array, target: list[int], blank: int, expected: Array) -> str:
    if _same(found, np.exp(expected)):
        return "right, but as probabilities; the logarithm of it is wanted (-inf where no path can be)"
    wrong = {
        "the leap over a blank is allowed between two equal tokens too; these would merge into one": {"leaps": "all tokens"},
        "blanks are leapt to as well: from one blank to the next without the token between them": {"leaps": "everywhere"},
        "nothing ever leaps: from a token to the next one, if they differ, no blank is needed": {"leaps": "nowhere"},
        "a path may also start on the first token, state 1, without a blank before it": {"starts": 1},
        "every state has a beginning at frame 0; a path starts on state 0 or 1": {"starts": len(expected[0])},
        "you take the best way into a state (max); alpha is the *sum* over all ways (logaddexp)": {"total": np.maximum},
        "the emission is missing: what the token of the state itself costs at each frame": {"emissions": "none"},
        "frame 0 counts no emission: alpha there is the log-probability of the first blank and of the first token": {
            "emissions": "not at frame 0"
        },
        "the states before are added up in the log domain without exponentials; log(a + b) is np.logaddexp(log a, log b)": {
            "total": np.add
        },
    }
    for message, flags in wrong.items():
        if _same(found, _alpha(log_probs, target, blank, **flags)):
            return message
    t, s = np.argwhere(~(np.isclose(found, expected) | (found == expected)))[0].tolist()
    return f"alpha[{t}, {s}] is {found[t, s]:.4g}, expected {expected[t, s]:.4g}; all frames before {t} are right"


def _alpha(
    log_probs: Array,
    target: list[int],
    blank: int,
    *,
    leaps: str = "right",
    starts: int = 2,
    total: Callable[..., Any] = np.logaddexp,
    emissions: str = "all",
) -> Array:
    """A sweep that can be broken in the ways in which sweeps are broken."""
    states = [blank, *itertools.chain.from_iterable((token, blank) for token in target)]
    rows = np.full((len(log_probs), len(states)), -np.inf)
    spoken = log_probs[:, states] * (emissions != "none")
    rows[0, :starts] = spoken[0, :starts] * (emissions != "not at frame 0")
    for t in range(1, len(log_probs)):
        for s, token in enumerate(states):
            ways = [rows[t - 1, s]]
            if s >= 1:
                ways.append(rows[t - 1, s - 1])
            differs = s >= 2 and token not in (blank, states[s - 2])
            if s >= 2 and {"right": differs, "all tokens": token != blank, "everywhere": True, "nowhere": False}[leaps]:
                ways.append(rows[t - 1, s - 2])
            if total is np.add:
                ways = [way for way in ways if way > -np.inf] or [-np.inf]
            rows[t, s] = total.reduce(ways) + spoken[t, s]
    return rows


def _time_mistake(path: list[int], step: float, found: list[Any]) -> str:
    held = ctc.runs(path)
    spoken = [run for run in held if run.token != 0]
    if _same_times(found, [(run.token, run.start * step, run.end * step) for run in held]):
        return ": the blanks are in it"
    if _same_times(found, [(run.token, run.start * step, (run.end - 1) * step) for run in spoken]):
        return ": the last frame is missing; a frame lasts, so a run ends where the frame behind it begins"
    if _same_times(found, spoken):
        return ": these are frames; multiply by seconds_per_frame"
    singles = [(token, t * step, (t + 1) * step) for t, token in enumerate(path) if token != 0]
    if _same_times(found, singles):
        return ": one entry a frame; the frames of a run belong together"
    kept = [(t, token) for t, token in enumerate(path) if token != 0]
    groups = [list(group) for _, group in itertools.groupby(kept, key=lambda item: item[1])]
    if _same_times(found, [(group[0][1], group[0][0] * step, (group[-1][0] + 1) * step) for group in groups]):
        return ": two runs of one token with a blank between them are two letters"
    return ""


def _same(found: Array, expected: Array) -> bool:
    return bool(np.all(np.isclose(found, expected, atol=1e-8) | (found == expected)))


def _same_times(found: Any, expected: Any) -> bool:
    return len(found) == len(expected) and all(np.allclose(a, b) for a, b in zip(found, expected, strict=True))


def _shown(times: Any) -> str:
    return "[" + ", ".join(f"({token}, {start:.4g}, {end:.4g})" for token, start, end in times) + "]"


def _list(found: Any, call: str) -> list[Any]:
    assert found is not None, f"{call} is None: is a return missing?"
    assert not isinstance(found, str), f"{call} should be a list, found a string"
    return [item.item() if isinstance(item, np.generic) else item for item in found]
