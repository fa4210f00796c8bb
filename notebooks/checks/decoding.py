"""Checks of the exercises in 12_decoding_and_alignment."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from checks import passed
from checks.mistakes import call
from sewnp import ctc

Beam = dict[tuple[int, ...], tuple[float, float]]


def check_grow(grow: Callable[..., Any]) -> None:
    """grow(beam, frame, blank): one frame of prefix search, in probabilities.  beam {prefix: (ends in a blank, ends in its last token)}."""
    for beam, frame, blank in (
        ({(): (1.0, 0.0)}, [0.6, 0.3, 0.1], 0),
        ({(): (0.5, 0.0), (1,): (0.2, 0.3)}, [0.5, 0.3, 0.2], 0),
        ({(2,): (0.1, 0.2), (2, 2): (0.05, 0.15), (): (0.3, 0.0)}, [0.2, 0.1, 0.7], 1),
    ):
        on = f"beam {beam}, frame {frame} and blank {blank}"
        found = call(grow, dict(beam), np.array(frame), blank, on=on)
        assert found is not None, f"with {on} the result is None: is a return missing?"
        assert isinstance(found, dict), f"with {on} expected a dict of prefixes, found {type(found).__name__}"
        expected = _grow(beam, frame, blank)
        if _same_beam(found, expected):
            continue
        slips: dict[str, dict[str, Any]] = {
            "the last token again lets the prefix grow only from the paths that end in a blank; yours grows from all": {"again": "all"},
            "the last token again does not let the prefix grow: after a blank it does": {"again": "never"},
            "the last token again, without a blank between, leaves the prefix as it is: that way is missing": {"holds": False},
            "a blank leaves a prefix as it is whatever its paths end in; yours only counts those that end in a blank": {"stays": "blank"},
            "two ways lead to the same prefix, and the later one overwrites the first: add them": {"adds": False},
            "the two numbers are swapped: first the paths that end in a blank, then those that end in the last token": {"swaps": True},
        }  # fmt: skip
        for message, flags in slips.items():
            assert not _same_beam(found, _grow(beam, frame, blank, **flags)), f"with {on}: {message}"
        missing = [prefix for prefix in expected if prefix not in found and sum(expected[prefix]) > 0]
        assert not missing, f"with {on} the prefix {missing[0]} is missing"
        extra = [prefix for prefix in found if prefix not in expected]
        assert not extra, f"with {on} there is a prefix {extra[0]}, which no path spells"
        wrong = next(prefix for prefix in expected if not np.allclose(found.get(prefix, (0, 0)), expected[prefix]))
        shown = tuple(float(f"{value:.4g}") for value in expected[wrong])
        ways = "; ".join(_ways(beam, frame, blank, wrong))
        raise AssertionError(f"with {on} the prefix {wrong} has {found.get(wrong)}, expected {shown}: {ways}")
    passed("every way of every prefix is counted once")


def check_best_path(best_path: Callable[..., Any]) -> None:
    """best_path(log_probs, target, blank): the token of each frame on the likeliest path that spells the target.  (T, V), S ids -> T ids"""
    rng = np.random.default_rng(5)
    for target, frames, blank in (([1, 2], 5, 0), ([1, 1, 2], 7, 0), ([0, 1], 6, 2), ([2], 3, 0), ([1, 2, 1, 2], 5, 0), ([], 3, 0)):
        log_probs = np.log(rng.dirichlet(np.ones(3), size=frames))
        on = f"target {target}, {frames} frames and blank {blank}"
        found = call(best_path, log_probs, list(target), blank, on=on)
        assert found is not None, f"with {on} the result is None: is a return missing?"
        path = [int(token) for token in np.asarray(found).ravel()]
        assert len(path) == frames, f"with {on} the path has {len(path)} tokens, expected one for each frame"
        spelled = ctc.collapse(path, blank=blank)
        greedy = log_probs.argmax(axis=1).tolist()
        assert spelled == target or path != greedy, (
            f"with {on} that is the greedy path, which spells {spelled}: only paths that spell the target count"
        )
        equal = any(a == b for a, b in pairwise(target))
        hint = ": two equal tokens need a blank between them" if equal and len(spelled) < len(target) else ""
        assert spelled == target, f"with {on} your path {path} spells {spelled}{hint}"
        best = ctc.forced_align(log_probs, np.array(target, dtype=np.int64), blank=blank)
        score = float(log_probs[np.arange(frames), path].sum())
        if np.isclose(score, best.log_probability):
            continue
        lingering = _without_leaps(log_probs, target, blank)
        hint = ": it stands on the blank between any two tokens, and only equal ones need that" if path == lingering else ""
        raise AssertionError(
            f"with {on} your path has a log-probability of {score:.4f}, and there is one of {best.log_probability:.4f}{hint}"
        )
    passed("of all paths that spell the text, the likeliest")


def check_srt_time(srt_time: Callable[[float], Any]) -> None:
    """srt_time(seconds): hours, minutes, seconds and milliseconds as SubRip writes them, 00:00:01,193."""
    for seconds in (0.36, 1.1933333, 75.5, 3661.002, 59.9996, 3599.9999, 36_000.0):
        on = f"{seconds} seconds"
        found = call(srt_time, seconds, on=on)
        assert found is not None, f"with {on} the result is None: is a return missing?"
        assert isinstance(found, str), f"with {on} expected a string, found {type(found).__name__}"
        expected = _srt_time(round(1000 * seconds))
        if found == expected:
            continue
        whole = int(seconds)
        unsplit = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{round(1000 * (seconds - whole)):03d}"
        slips = {
            "SubRip has a comma before the milliseconds; the dot is WebVTT's": expected.replace(",", "."),
            "the milliseconds are cut off: round them": _srt_time(int(1000 * seconds)),
            "the milliseconds became 1000: round first, then split into hours, minutes and seconds": unsplit,
            "the seconds became 60: round first, then split into hours, minutes and seconds": _carried(seconds),
            "the hours are missing: SubRip always has them": expected.partition(":")[2],
            "the minutes are not counted from the full hour": f"{whole // 3600:02d}:{whole // 60:02d}:{expected.split(':')[2]}",
            "every part has a fixed width: two digits, and three for the milliseconds": _unpadded(round(1000 * seconds)),
        }
        named = [message for message, slip in slips.items() if slip == found]
        raise AssertionError(f"with {on} expected {expected}, found {found}" + "".join(f": {each}" for each in named[:1]))
    passed("a time that every player can read")


def _grow(
    beam: Beam, frame: Any, blank: int, *, again: str = "blank", holds: bool = True, stays: str = "all", adds: bool = True,
    swaps: bool = False,
) -> Beam:  # fmt: skip
    """One frame of prefix search, which can be broken in the ways in which it is broken."""
    grown: Beam = {}

    def put(prefix: tuple[int, ...], in_blank: float, in_token: float) -> None:
        before = grown.get(prefix, (0.0, 0.0)) if adds else (0.0, 0.0)
        grown[prefix] = (before[0] + in_blank, before[1] + in_token)

    for prefix, (in_blank, in_token) in beam.items():
        for token, probability in enumerate(frame):
            if token == blank:
                put(prefix, (in_blank + in_token if stays == "all" else in_blank) * probability, 0.0)
            elif prefix and token == prefix[-1]:
                if holds:
                    put(prefix, 0.0, in_token * probability)
                if again != "never":
                    put((*prefix, token), 0.0, (in_blank if again == "blank" else in_blank + in_token) * probability)
            else:
                put((*prefix, token), 0.0, (in_blank + in_token) * probability)
    return {prefix: ends[::-1] for prefix, ends in grown.items()} if swaps else grown


def _ways(beam: Beam, frame: Any, blank: int, prefix: tuple[int, ...]) -> list[str]:
    """All that leads to a prefix in one frame, with the products."""
    ways = []
    if prefix in beam:
        in_blank, in_token = beam[prefix]
        ways.append(f"a blank leaves it as it is, and its paths end in a blank: ({in_blank:g} + {in_token:g}) × {frame[blank]:g}")
        if prefix:
            ways.append(f"its last token again leaves it as it is: {in_token:g} × {frame[prefix[-1]]:g}")
    if prefix and prefix[:-1] in beam:
        in_blank, in_token = beam[prefix[:-1]]
        if prefix[:-1] and prefix[-2] == prefix[-1]:
            ways.append(f"{prefix[:-1]} grows by the token it ends in only behind a blank: {in_blank:g} × {frame[prefix[-1]]:g}")
        else:
            ways.append(f"{prefix[:-1]} grows by a token: ({in_blank:g} + {in_token:g}) × {frame[prefix[-1]]:g}")
    return ways


def _same_beam(found: Any, expected: Beam) -> bool:
    """Equal, where a prefix of probability 0 may as well be missing."""
    try:
        return all(np.allclose(found.get(prefix, (0, 0)), expected.get(prefix, (0, 0))) for prefix in {*found, *expected})
    except (TypeError, ValueError):
        return False


def _without_leaps(log_probs: np.ndarray, target: list[int], blank: int) -> list[int]:
    """The best path that stands on every blank."""
    states = [blank]
    for token in target:
        states += [token, blank]
    frames = len(log_probs)
    best = {0: (float(log_probs[0, blank]), [blank])}
    if target:
        best[1] = (float(log_probs[0, target[0]]), [target[0]])
    for t in range(1, frames):
        ways = {s: [best[b] for b in (s, s - 1) if b in best] for s in range(len(states))}
        best = {
            s: max((score + float(log_probs[t, states[s]]), [*path, states[s]]) for score, path in some)
            for s, some in ways.items()
            if some
        }
    ends = [best[s] for s in (len(states) - 1, len(states) - 2) if s in best]
    return max(ends)[1] if ends else []


def _srt_time(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{thousandths:03d}"


def _carried(seconds: float) -> str:
    """Minutes split off before the rounding."""
    rest = f"{seconds % 60:06.3f}".replace(".", ",")
    return f"{int(seconds) // 3600:02d}:{int(seconds) // 60 % 60:02d}:{rest}"


def _unpadded(milliseconds: int) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    return f"{seconds // 3600}:{seconds // 60 % 60}:{seconds % 60},{thousandths}"
