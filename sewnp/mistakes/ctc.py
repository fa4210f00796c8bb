"""Known mistakes in the CTC loss: other lengths, another blank, another lattice, another reduction."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from sewnp.ctc.lattice import ctc_alpha, extended_targets, log_likelihood
from sewnp.ctc.loss import IGNORED, clean_labels, ctc_loss
from sewnp.mistakes.stage_run import Mistakes
from sewnp.types import Array, See


@dataclass(frozen=True, eq=False)
class CTCProblem:
    """What a CTC loss is computed from."""

    log_probs: Array
    labels: npt.ArrayLike
    frames: Array
    """Of each clip (B,)."""
    blank: int
    reduction: str
    zero_infinity: bool

    @cached_property
    def cleaned(self) -> tuple[Array, Array]:
        """Targets and their lengths."""
        return clean_labels(self.labels, blank=self.blank, vocab_size=self.log_probs.shape[2])

    @property
    def all_frames(self) -> Array:
        """As many frames for each clip as there are, padding included."""
        return np.full(len(self.log_probs), self.log_probs.shape[1])

    @cached_property
    def other_blanks(self) -> list[int]:
        """The first and the last token, unless they are the blank or stand in a target."""
        targets, lengths = self.cleaned
        spelled = {int(token) for row, n in zip(targets, lengths, strict=True) for token in row[:n]}
        spelled |= {self.blank} if (lengths < targets.shape[1]).any() else set()
        return sorted({0, self.log_probs.shape[2] - 1} - spelled - {self.blank})

    @cached_property
    def other_lattices(self) -> list[tuple[str, Array, Array]]:
        """Lattices with other rules: what is done wrongly, alpha, and the lengths of the targets."""
        targets, lengths = self.cleaned
        found = []
        if (targets[:, 1:] == targets[:, :-1])[np.arange(1, targets.shape[1]) < lengths[:, None]].any():
            found.append(("leap between equal tokens allowed", self._alpha(targets, lengths, equal=True), lengths))
        found.append(("no leap over the blank between unequal tokens", self._alpha(targets, lengths, leap=False), lengths))
        rows = np.atleast_2d(np.asarray(self.labels))
        if (rows == self.blank).any():
            kept = rows != IGNORED
            longer = kept.sum(axis=1)
            blanks = np.full((len(rows), longer.max(initial=0)), self.blank, dtype=np.int64)
            blanks[np.arange(blanks.shape[1]) < longer[:, None]] = rows[kept]
            found += [("blanks in the labels kept", self._alpha(blanks, longer, onto_blank=onto), longer) for onto in (False, True)]
        return found

    def _alpha(self, targets: Array, lengths: Array, *, equal: bool = False, leap: bool = True, onto_blank: bool = False) -> Array:
        """The lattice by the book, with leaps between equal tokens, without any, or onto a blank that is a token of the target."""
        extended = extended_targets(targets, blank=self.blank)
        inside = np.arange(extended.shape[1]) <= 2 * lengths[:, None]
        emissions = np.take_along_axis(self.log_probs, np.repeat(extended[:, None], self.log_probs.shape[1], axis=1), axis=2)
        emissions = np.where(inside[:, None], emissions, -np.inf)
        odd = np.arange(extended.shape[1]) % 2 == 1
        may = odd & (onto_blank | (extended != self.blank))
        may[:, 2:] &= equal | (extended[:, 2:] != extended[:, :-2])
        row = np.where(np.arange(extended.shape[1]) == 0, 0.0, np.full(extended.shape, -np.inf))  # before the first frame
        alpha = np.empty_like(emissions)
        for t in range(emissions.shape[1]):
            step = np.pad(row, ((0, 0), (2, 0)), constant_values=-np.inf)
            ways = [row, step[:, 1:-1], np.where(may & leap, step[:, :-2], -np.inf)]
            row = np.where(t < self.frames[:, None], emissions[:, t] + np.logaddexp.reduce(ways, axis=0), -np.inf)
            alpha[:, t] = row
        return alpha


def lattices(p: CTCProblem, right: Array) -> Mistakes:
    """Seen in the lattice."""
    targets, lengths = p.cleaned
    yield "frames of padding counted", ctc_alpha(p.log_probs, targets, p.all_frames, lengths, blank=p.blank)
    yield "probabilities instead of their logarithms", np.exp(right)
    for other in p.other_blanks:
        yield f"blank is token {other} instead of {p.blank}", ctc_alpha(p.log_probs, targets, p.frames, lengths, blank=other)
    yield from ((said, alpha) for said, alpha, _ in p.other_lattices)


def losses(p: CTCProblem, right: Array) -> Mistakes:
    """The losses of the clips."""
    targets, lengths = p.cleaned

    def loss(frames: Array, *, blank: int = p.blank, zero_infinity: bool = p.zero_infinity) -> Array:
        see: See = lambda _, x: x  # noqa: E731 (somebody looks: a port's log_probs may be anything)
        return ctc_loss(p.log_probs, targets, frames, lengths, blank=blank, reduction="none", zero_infinity=zero_infinity, see=see)

    yield (
        "zero_infinity ignored" if p.zero_infinity else "infinite losses set to zero",
        loss(p.frames, zero_infinity=not p.zero_infinity),
    )
    yield "frames of padding counted", loss(p.all_frames)
    yield "sign missing: log-likelihoods", -right
    yield "divided by the lengths of the targets already", right / np.maximum(lengths, 1)
    yield "divided by the numbers of frames", right / np.maximum(p.frames, 1)
    yield "in bits instead of nats", right / math.log(2)
    for other in p.other_blanks:
        yield f"blank is token {other} instead of {p.blank}", loss(p.frames, blank=other)
    for said, alpha, counts in p.other_lattices:
        each = -log_likelihood(alpha, p.frames, counts)
        yield said, np.where(np.isinf(each) & p.zero_infinity, 0.0, each)


def reductions(p: CTCProblem, right: Array, each: Array) -> Mistakes:
    """One loss of many, in another way.  each: the losses of the clips."""
    yield "in bits instead of nats", right / math.log(2)
    yield "sign missing", -right
    lengths = np.maximum(p.cleaned[1], 1)
    ways = {
        "sum": np.asarray(each.sum()),
        "none": each,
        "mean not divided by the target lengths": np.asarray(each.mean()),
        "mean": np.asarray((each / lengths).mean()),
        "sum divided by all target lengths together": np.asarray(each.sum() / lengths.sum()),
    }
    for way, value in ways.items():
        if way != p.reduction:
            yield f"reduction {way!r} instead of {p.reduction!r}" if way in ("sum", "none", "mean") else way, value
