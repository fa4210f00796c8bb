"""The checks of notebook 12: solutions pass, typical mistakes are named."""

import numpy as np
import pytest
from checks.decoding import _carried, _grow, _unpadded, _without_leaps, check_best_path, check_grow, check_srt_time

from sewnp import ctc


def grow(beam, frame, blank):
    """By the logarithms of the package."""
    frame = np.log(np.asarray(frame))
    grown = {}
    for prefix, (in_blank, in_token) in beam.items():
        for token, log_prob in enumerate(frame):
            if token == blank:
                longer, ends = prefix, (np.exp(log_prob) * (in_blank + in_token), 0.0)
            elif prefix and prefix[-1] == token:
                old = grown.get(prefix, (0.0, 0.0))
                grown[prefix] = (old[0], old[1] + np.exp(log_prob) * in_token)
                longer, ends = (*prefix, token), (0.0, np.exp(log_prob) * in_blank)
            else:
                longer, ends = (*prefix, token), (0.0, np.exp(log_prob) * (in_blank + in_token))
            old = grown.get(longer, (0.0, 0.0))
            grown[longer] = (old[0] + ends[0], old[1] + ends[1])
    return grown


def best_path(log_probs, target, blank):
    return ctc.forced_align(log_probs, np.array(target, dtype=int), blank=blank).tokens


def srt_time(seconds):
    rest = round(1000 * seconds)
    parts = []
    for size in (3_600_000, 60_000, 1000):
        parts.append(f"{rest // size:02d}")
        rest %= size
    return f"{':'.join(parts)},{rest:03d}"


@pytest.mark.parametrize(
    ("check", "solution"),
    [(check_grow, grow), (check_grow, _grow), (check_best_path, best_path), (check_srt_time, srt_time)],
    ids=["grow", "grow by flags", "best_path", "srt_time"],
)
def test_the_solution_passes(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out.startswith("✓")


def test_the_growing_is_that_of_the_package():
    """Three frames of it are an unpruned prefix search."""
    frames = np.random.default_rng(0).dirichlet(np.ones(3), size=3)
    beam = {(): (1.0, 0.0)}
    for frame in frames:
        beam = grow(beam, frame, 0)
    for text in ctc.prefix_search(np.log(frames), blank=0, beam_width=1000):
        assert np.isclose(np.log(sum(beam[text.tokens])), text.log_probability)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: None, "is a return missing"),
        (lambda *a: [1], "expected a dict"),
        (lambda *a: _grow(*a, again="all"), "yours grows from all"),
        (lambda *a: _grow(*a, again="never"), "after a blank it does"),
        (lambda *a: _grow(*a, holds=False), "that way is missing"),
        (lambda *a: _grow(*a, stays="blank"), "whatever its paths end in"),
        (lambda *a: _grow(*a, adds=False), "overwrites"),
        (lambda *a: _grow(*a, swaps=True), "swapped"),
        (lambda beam, frame, blank: {p: e for p, e in grow(beam, frame, blank).items() if p}, r"prefix \(\) is missing"),
        (lambda beam, frame, blank: grow(beam, frame, blank) | {(9,): (0.1, 0.1)}, "which no path spells"),
        (lambda beam, frame, blank: grow(beam, 2 * frame, blank), r"has .* expected .*: a blank leaves it as it is"),
    ],
)
def test_wrong_growing_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_grow(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda *a: None, "is a return missing"),
        (lambda *a: best_path(*a)[:-1], "one for each frame"),
        (lambda log_probs, target, blank: log_probs.argmax(axis=1), "the greedy path"),
        (lambda log_probs, target, blank: [blank] * len(log_probs), "spells"),
        (_without_leaps, "only equal ones need that"),
        (lambda log_probs, target, blank: (list(target) + [blank] * 9)[: len(log_probs)], "there is one of"),
    ],
)
def test_wrong_paths_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_best_path(wrong)


def test_equal_neighbours_get_a_hint():
    def squeezed(log_probs, target, blank):
        single = [token for i, token in enumerate(target) if i == 0 or token != target[i - 1]]
        return best_path(log_probs, single if single != list(target) else target, blank)

    with pytest.raises(AssertionError, match="two equal tokens need a blank"):
        check_best_path(squeezed)


def split_late(seconds):
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{round(1000 * (seconds - whole)):03d}"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda seconds: None, "is a return missing"),
        (lambda seconds: seconds, "expected a string"),
        (lambda seconds: srt_time(seconds).replace(",", "."), "WebVTT"),
        (lambda seconds: srt_time(int(1000 * seconds) / 1000), "cut off"),
        (split_late, "became 1000"),
        (_carried, "became 60"),
        (lambda seconds: srt_time(seconds)[3:], "hours are missing"),
        (lambda seconds: f"{srt_time(seconds)[:3]}{int(seconds) // 60:02d}{srt_time(seconds)[5:]}", "from the full hour"),
        (lambda seconds: _unpadded(round(1000 * seconds)), "fixed width"),
        (lambda seconds: "now", "expected 00"),
    ],
)
def test_wrong_times_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_srt_time(wrong)
