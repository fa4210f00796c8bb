"""Forced alignment: the one likeliest path that spells a text, and so the frames in which each of its tokens was heard.

The loss sums over all paths through the lattice; alignment asks for the best of them.  Viterbi's algorithm is the forward sweep
with the sum replaced by a maximum, and with a note at every state of where its best beginning came from.  Followed back from the
end, the notes are the path.  (How that is done for an hour at once: :mod:`~sewnp.ctc.band`.)

A text may be shorter than what is said: a *wildcard* among its tokens stands for anything at all, for as long as it likes
(:func:`with_wildcard`).

How sure a place is follows from the lattice's posteriors, which count *all* paths: see :func:`span_probability`.

Viterbi (1967), "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm", IEEE Transactions on
Information Theory 13; the lattice is that of :mod:`~sewnp.ctc.lattice`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sewnp.ctc.band import TextLattice, best_path
from sewnp.ctc.greedy import Run, runs
from sewnp.ctc.lattice import check_lengths, check_log_probs, check_problem
from sewnp.errors import InputError, check_shape, check_whole
from sewnp.types import Array


@dataclass(frozen=True, eq=False)
class ForcedAlignment:
    """The likeliest path of a text through T frames."""

    states: Array
    """(T,) int64: where the path stands in the extended target.  Token k is state 2k + 1, the blank before it state 2k."""
    tokens: Array
    """(T,) int64: what the path emits at each frame.  It collapses to the target."""
    scores: Array
    """(T,) float64: the log-probability of what the path emits at each frame."""
    spans: tuple[Run, ...]
    """Each token of the target, in order, with the frames that hold it: at least one, the end not included."""
    log_probability: float
    """The path's own: the sum of its log-probabilities over the frames, never more than the text's :func:`log_likelihood`."""


@dataclass(frozen=True)
class TokenSpan:
    """A token with the frames that hold it, and its score.  The fields are those of torchaudio's class of that name."""

    token: int
    start: int
    end: int
    """Not included."""
    score: float
    """The mean of its frames' scores."""

    def __len__(self) -> int:
        return self.end - self.start


def merge_tokens(tokens: npt.ArrayLike, scores: npt.ArrayLike, *, blank: int) -> list[TokenSpan]:
    """A path's tokens, repeats merged and blanks dropped, with their scores.  tokens, scores: (T,) each

    As torchaudio's function of that name, which is given ``forced_align``'s scores, log-probabilities, or better their ``exp``: then a
    span's score is the mean probability that the model gives its token in its frames.  Raises InputError for other shapes.
    """
    found, scores = runs(tokens), np.asarray(scores)
    check_shape("scores", scores, (found[-1].end if found else 0,))
    return [TokenSpan(*run, float(scores[run.start : run.end].mean())) for run in found if run.token != blank]


def with_wildcard(log_probs: Array) -> Array:
    """A token more, V, that is whatever is said.  (T, V) -> (T, V + 1)

    Its log-probability is 0 in every frame, as that of torchaudio's star is: a frame holds one token or another with probability 1.  So
    what a wildcard covers costs nothing, whatever it is, and the rest of a text goes where it fits best.
    """
    log_probs = np.asarray(log_probs)
    check_shape("log_probs", log_probs, (None, None))
    return np.concatenate([log_probs, np.zeros_like(log_probs[:, :1])], axis=1)


def frames_needed(targets: npt.ArrayLike) -> int:
    """The fewest frames that a text fits into.  (S,) -> one a token, and one more for the blank between two equal neighbours."""
    ids = np.asarray(targets)
    check_shape("targets", ids, (None,))
    return len(ids) + int(np.count_nonzero(ids[1:] == ids[:-1]))


def forced_align(
    log_probs: Array,
    targets: npt.ArrayLike,
    *,
    blank: int,
    begun: tuple[Array, Array] | None = None,
    delimiter: int | None = None,
    wildcard: bool = False,
) -> ForcedAlignment:
    """The likeliest of all paths that spell a text.  log_probs (T, V), targets (S,) -> ForcedAlignment; computed in float64.

    Of equally likely paths it is the one that stands on the higher state at the last frame where they differ: it moves on as early
    as it can.  (The path's sum is rounded once a frame, so this settles exact ties only.)

    ``begun``, (T,) integers each, says of each frame how many tokens the path has begun when it ends, at least and at most.  What is
    outside takes no time, which otherwise grows with T times S: who has searched a long clip knows it well.

    ``delimiter`` is a token that says nothing in front of the first token, behind the last, and again where it stands: paths that have
    it there spell the text too.  On the blanks there such a path may emit either, and a delimiter's span goes from its first to its last.

    ``wildcard``: whether the targets may hold V, the token of :func:`with_wildcard`, which holds a frame at least.

    Raises InputError for what :func:`ctc_loss` refuses and for NaN, for a text that does not fit into the frames, which says how
    many it needs, and for one that is impossible because every path to it crosses a log-probability of -inf.
    """
    log_probs, targets = np.asarray(log_probs), np.asarray(targets)
    check_shape("log_probs", log_probs, (None, None))
    check_shape("targets", targets, (None,))
    frames, count = len(log_probs), len(targets)
    emitted = with_wildcard(log_probs) if wildcard else log_probs
    check_problem(emitted[None], targets[None], [frames], [count], blank)
    check_log_probs(log_probs)
    if np.isnan(log_probs).any():
        raise InputError("log_probs: expected log-probabilities, found NaN")
    if delimiter is not None and check_whole("delimiter", delimiter, 0, log_probs.shape[1] - 1) == blank:
        raise InputError(f"delimiter: expected a token other than the blank {blank}")
    needed = frames_needed(targets)
    if needed > frames:
        raise InputError(f"targets: {count} tokens need {needed} frames, with one between equal neighbours; found {frames}")
    lattice = TextLattice.of(emitted, targets, blank=blank)
    log_probs, extended, leaps = lattice
    fewest, most = (np.zeros(frames, int), np.full(frames, count)) if begun is None else map(np.asarray, begun)
    for name, bound in (("begun[0]", fewest), ("begun[1]", most)):
        check_lengths(name, bound, frames, count)
    if delimiter is not None:
        gaps = np.zeros(len(extended), dtype=bool)
        gaps[0::2] = np.append(delimiter, extended[1::2]) == delimiter
        gaps[-1] = True
        either = np.maximum(log_probs[:, blank], log_probs[:, delimiter])
        lattice = TextLattice(np.column_stack([log_probs, either]), np.where(gaps, log_probs.shape[1], extended), leaps)
    states, log_probability = best_path(lattice, np.maximum(2 * fewest - 1, 0), 2 * most)
    if log_probability == -np.inf:
        raise InputError("log_probs: every path that spells the targets crosses a log-probability of -inf")
    tokens, held = extended[states], states  # held: the state of the token that a frame holds, a blank's where it holds none
    if delimiter is not None:
        again = gaps[states] & (log_probs[:, delimiter] > log_probs[:, blank])
        tokens = np.where(again, delimiter, tokens)
        held = states - (again & (states > 0) & (extended[states - 1] == delimiter))
    where = np.flatnonzero(held % 2)
    own = 2 * np.arange(count) + 1
    firsts, lasts = (np.searchsorted(held[where], own, side=side) for side in ("left", "right"))  # states only ever rise
    bounds = zip(targets.tolist(), where[firsts].tolist(), where[lasts - 1].tolist(), strict=True)
    spans = tuple(Run(token, first, last + 1) for token, first, last in bounds)
    return ForcedAlignment(states, tokens, log_probs[np.arange(frames), tokens], spans, log_probability)


def span_probability(occupancy: Array, tokens: tuple[int, int], frames: tuple[int, int]) -> float:
    """How surely some tokens hold some frames, given that the text is what was said.  occupancy (T, N), ranges -> 0 to 1.

    ``occupancy`` is one sample's :func:`posteriors`: how probable it is that a path of the text stands on each state at each frame.
    ``tokens`` and ``frames`` are ranges, their ends not included.  The states of tokens i to j - 1 are theirs and those of the
    blanks *between* them; summed at one frame, that is the probability that the path is inside those tokens then.  The answer is
    its mean over the frames: the share of the span that these tokens hold on average over all paths of the text, each weighted by
    its probability.  1 says that every path with any probability has them there.

    It says *where*, and takes the text for granted: a wrong text can have sure places.  Whether it is the right text is for its
    log-likelihood to say.  Raises InputError for ranges that are empty or outside the lattice.
    """
    check_shape("occupancy", occupancy, (None, None))
    length, states = occupancy.shape
    for name, (start, end), limit in (("tokens", tokens, states // 2), ("frames", frames, length)):
        if not 0 <= start < end <= limit:
            raise InputError(f"{name}: expected 0 <= start < end <= {limit}, found {(start, end)}")
    inside = occupancy[frames[0] : frames[1], 2 * tokens[0] + 1 : 2 * tokens[1]]
    return min(1.0, float(inside.sum(axis=1, dtype=np.float64).mean()))  # rounding may carry a sum of posteriors past 1
