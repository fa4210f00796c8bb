"""The lattice of a long recording: the best path through all of it, and the sum over the paths near that one.

An hour has 180,000 frames and its text 100,000 states: a number a cell would fill 150 GB.  Neither question needs them at once.

The best path is exact.  Forwards, the row of best sums is kept every so often, and nothing else.  Backwards, the stretch between two
kept rows is run again, with notes of where each state was come to from, and only below the state on which the path leaves it: a path
falls by at most two states a frame, so that the notes are a triangle.

The sum over all paths takes logarithms, and ten times as long.  Paths that matter keep near the best one: the sum is taken over those
that stay in a band around it, and the band is doubled until that adds less than TOLERANCE to the text's probability.  As much, and no
more, can any probability of a place change by what was added.  (A place that no doubling comes near is not seen: a text that is heard
again minutes later.)  A lattice that is small enough is summed whole.

Hirschberg (1975), "A linear space algorithm for computing maximal common subsequences", Communications of the ACM 18; Tarnas and Hughey
(1998), "Reduced space hidden Markov model training", Bioinformatics 14.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sewnp.ctc.lattice import check_blank, extended_targets, log_add
from sewnp.errors import InputError, check_shape
from sewnp.types import Array

TOLERANCE = 1e-3
"""The share of a text's probability that doubling a band may add, and so what its places are uncertain by."""

NARROWEST = 256
"""States to each side of the path: 128 tokens, ten seconds of fast speech."""

SMALL = 2**22
"""Frames times states to one side of the path that are always summed: a second's work.  Clips of a minute are summed whole."""


class TextLattice(NamedTuple):
    """What the paths of one text are made of."""

    log_probs: Array
    """(T, V) float64."""
    emitted: Array
    """(N,) what each state emits, a column of ``log_probs``."""
    leaps: Array
    """(N,) whether a path may leap over the state before."""

    @property
    def shape(self) -> tuple[int, int]:
        """Frames and states."""
        return len(self.log_probs), len(self.emitted)

    @classmethod
    def of(cls, log_probs: Array, targets: Array, *, blank: int) -> "TextLattice":
        """log_probs (T, V), targets (S,) -> N = 2S + 1 states."""
        extended = extended_targets(targets[None].astype(np.int64), blank=blank)[0]
        leaps = np.zeros(len(extended), dtype=bool)
        leaps[2:] = extended[2:] != extended[:-2]  # never true of a blank: two states before it is another
        return cls(log_probs.astype(np.float64), extended, leaps)


class Row(NamedTuple):
    """A value of each state from ``first`` on at one frame; of all others it is -inf."""

    values: Array
    first: int

    def between(self, start: int, end: int) -> Array:
        """Those of the states ``start`` to ``end`` - 1."""
        cut = np.full(max(0, end - start), -np.inf)
        low, high = max(start, self.first), min(end, self.first + len(self.values))
        if low < high:
            cut[low - start : high - start] = self.values[low - self.first : high - self.first]
        return cut


def best_path(lattice: TextLattice, lowest: Array, highest: Array) -> tuple[Array, float]:
    """The states of the best path, (T,), and its log-probability, -inf where there is none.

    At frame t it stands on one of the states ``lowest[t]`` to ``highest[t]``.  Of equals it is the one on the higher state at the last
    frame where they differ.  Time grows with the states between the bounds, memory with its cube root squared.
    """
    frames, states = lattice.shape
    time = np.arange(frames)
    starts: list[int] = np.maximum(lowest, states - 2 * (frames - time)).tolist()  # from lower states the end is too far
    ends: list[int] = (np.minimum(highest, 2 * time + 1) + 1).tolist()
    walls = np.where(lattice.leaps, 0.0, -np.inf)
    stride = 1 + round((frames * states) ** (1 / 3))
    row, kept = Row(np.zeros(1), 0), []  # before the first frame every path stands on the first blank
    for t, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if t % stride == 0:
            kept.append(row)
        behind = row.between(start - 2, end)
        best = np.maximum(behind[2:], behind[1:-1])
        np.maximum(best, behind[:-2] + walls[start:end], out=best)
        best += lattice.log_probs[t].take(lattice.emitted[start:end])
        row = Row(best, start)

    finals = [(row.between(state, state + 1).item(), state) for state in (states - 2, states - 1) if state >= 0]
    log_probability, state = max(finals)  # of equals the higher state
    path = np.empty(frames, dtype=np.int64)
    if log_probability > -np.inf:
        for k in reversed(range(len(kept))):
            begin, stop = k * stride, min(frames, (k + 1) * stride)
            state = _retrace(lattice, kept[k], path, state, starts, ends, begin, stop)
    return path, log_probability


def _retrace(
    lattice: TextLattice, row: Row, path: Array, state: int, starts: list[int], ends: list[int], begin: int, stop: int
) -> int:
    """Fill in the path from frame ``begin`` to ``stop`` - 1, where it stands on ``state``.  -> where it stands before ``begin``

    row: that of the frame before ``begin``.
    """
    notes, last = [], state  # of each state at each frame, how many states below it the step began
    for t in range(begin, stop):
        start, end = max(starts[t], last - 2 * (stop - 1 - t)), min(ends[t], last + 1)
        behind = row.between(start - 2, end)
        choices = np.stack([behind[2:], behind[1:-1], np.where(lattice.leaps[start:end], behind[:-2], -np.inf)])
        notes.append((choices.argmax(axis=0).astype(np.int8), start))  # of equals the first, which comes from the highest state
        row = Row(choices.max(axis=0) + lattice.log_probs[t].take(lattice.emitted[start:end]), start)
    for t in reversed(range(begin, stop)):
        path[t] = state
        note, start = notes[t - begin]
        state -= int(note[state - start])
    return state


def probabilities_inside(
    log_probs: Array, targets: npt.ArrayLike, states: npt.ArrayLike, ranges: npt.ArrayLike, *, blank: int
) -> tuple[Array, float]:
    """How probable it is, frame by frame, that a path of the text is inside some states; and log p(text).  -> (R, T), float

    log_probs (T, V) and targets (S,) as for :func:`forced_align`, and ``states`` (T,) the path that it finds.  ``ranges`` (R, T, 2) are
    R questions: the states from the first to the second, which is not included, at each frame.  The means over the frames of a span are
    what :func:`span_probability` says.  For all but small lattices both are sums over a band of paths (see this module), and log p(text)
    is low by about 1e-3 at most; computed in float64.

    Raises InputError for shapes that do not fit together.
    """
    log_probs, targets, states, ranges = map(np.asarray, (log_probs, targets, states, ranges))
    for name, x, shape in (
        ("log_probs", log_probs, (None, None)),
        ("targets", targets, (None,)),
        ("states", states, (len(log_probs),)),
        ("ranges", ranges, (None, len(log_probs), 2)),
    ):
        check_shape(name, x, shape)
    check_blank(blank, log_probs.shape[1])
    lattice = TextLattice.of(log_probs, targets, blank=blank)
    frames, count = lattice.shape
    width = max(NARROWEST, SMALL // max(1, frames))
    starts, ends, total = states * 0, states * 0 + count, -math.inf
    while width < count:
        before = total
        starts, ends = np.maximum(states - width, 0), np.minimum(states + width + 1, count)
        total = _forwards(lattice, starts.tolist(), ends.tolist())[1]
        if total - before <= -math.log1p(-TOLERANCE):
            break
        width *= 2
    else:
        starts, ends = states * 0, states * 0 + count
    return _inside(lattice, ranges, starts.tolist(), ends.tolist())


def _inside(lattice: TextLattice, ranges: Array, starts: list[int], ends: list[int]) -> tuple[Array, float]:
    """Forwards and backwards through a band, with the forward rows of one stretch at a time."""
    frames, count = lattice.shape
    stride = 1 + math.isqrt(frames)
    kept, total = _forwards(lattice, starts, ends, stride)
    if total == -math.inf:
        raise InputError("states: expected a path of the text; every path near it crosses a log-probability of -inf")
    walls = np.where(np.append(lattice.leaps, [False, False]), 0.0, -np.inf)
    inside = np.empty(ranges.shape[:2])
    onward = Row(np.zeros(1), count - 1)  # after the last frame every path stands on the last blank
    for k in reversed(range(len(kept))):
        begin, stop = k * stride, min(frames, (k + 1) * stride)
        alphas = [kept[k]]
        for t in range(begin, stop):
            alphas.append(_forward(lattice, alphas[-1], t, starts[t], ends[t]))
        for t in reversed(range(begin, stop)):
            start, end = starts[t], ends[t]
            ahead = onward.between(start, end + 2)
            beta = log_add(log_add(ahead[:-2], ahead[1:-1]), ahead[2:] + walls[start + 2 : end + 2])
            occupancy = alphas[t - begin + 1].values + beta
            with np.errstate(under="ignore"):
                occupancy = np.exp(occupancy - occupancy.max())
            sums = [occupancy[max(0, low - start) : max(0, high - start)].sum() for low, high in ranges[:, t].tolist()]
            inside[:, t] = np.array(sums) / occupancy.sum()
            onward = Row(beta + lattice.log_probs[t].take(lattice.emitted[start:end]), start)
    return np.minimum(inside, 1.0), total


def _forwards(lattice: TextLattice, starts: list[int], ends: list[int], stride: int | None = None) -> tuple[list[Row], float]:
    """The rows before every ``stride`` frames, and log of the summed probability of all paths within the bounds."""
    row, kept = Row(np.zeros(1), 0), []
    for t, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if stride is not None and t % stride == 0:
            kept.append(row)
        row = _forward(lattice, row, t, start, end)
    count = lattice.shape[1]
    return kept, float(log_add(*row.between(count - 2, count))) if count > 1 else float(row.between(0, 1)[0])


def _forward(lattice: TextLattice, row: Row, t: int, start: int, end: int) -> Row:
    """A frame of the forward sweep: ``ctc_alpha``'s, between two states."""
    behind = row.between(start - 2, end)
    leapt = np.where(lattice.leaps[start:end], behind[:-2], -np.inf)
    values = log_add(log_add(behind[2:], behind[1:-1]), leapt)
    return Row(values + lattice.log_probs[t].take(lattice.emitted[start:end]), start)
