"""Word and character error rates, and how far to trust them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sewnp.errors import InputError
from sewnp.extras import need

RESAMPLES = 2000
SEED = 0
LEVEL = 0.95


class Counts(NamedTuple):
    """What turns a reference into a hypothesis with the fewest changes."""

    hits: int
    substitutions: int
    deletions: int
    """In the reference and not in the hypothesis."""
    insertions: int
    """In the hypothesis and not in the reference."""

    @property
    def errors(self) -> int:
        """The edit distance (Levenshtein 1966)."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def length(self) -> int:
        """Words or characters of the reference."""
        return self.hits + self.substitutions + self.deletions


class MatchMeasures(NamedTuple):
    """What else is said of a set's words: Morris, Maier and Green (2004), "From WER and RIL to MER and WIL", Interspeech.  Of 0 to 1 each."""

    mer: float
    """Match error rate: errors per hit or error."""
    wil: float
    """Word information lost: 1 - wip."""
    wip: float
    """Word information preserved: the share of hits in the references times that in the hypotheses."""


@dataclass(frozen=True)
class ErrorRate:
    """The error rate of a whole set: all errors over all words (or characters), not the mean of the utterances' rates."""

    rate: float
    """Errors per word of the references; above 1 where more is inserted than was said."""
    low: float
    """The interval of :func:`bootstrap_interval`."""
    high: float
    errors: int
    length: int
    """Words (or characters) in the references."""
    substitutions: int
    deletions: int
    insertions: int

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)


def count_words(reference: str, hypothesis: str) -> Counts:
    """Word errors of one utterance, by jiwer; words are what is between spaces.  Raises DependencyError without jiwer."""
    counted = need("jiwer", "evaluate").process_words(reference, hypothesis)
    return Counts(counted.hits, counted.substitutions, counted.deletions, counted.insertions)


def count_characters(reference: str, hypothesis: str) -> Counts:
    """Character errors of one utterance, by jiwer; the spaces between words count too.  Raises DependencyError without jiwer."""
    counted = need("jiwer", "evaluate").process_characters(reference, hypothesis)
    return Counts(counted.hits, counted.substitutions, counted.deletions, counted.insertions)


def match_measures(counts: Sequence[Counts]) -> MatchMeasures:
    """MER, WIL and WIP of a set from the counts of its utterances, summed as jiwer does.  Raises InputError where the references have no words.

    >>> match_measures([count_words("hello world", "hello duck"), count_words("i like monthy python", "i like python")])
    MatchMeasures(mer=0.3333333333333333, wil=0.4666666666666667, wip=0.5333333333333333)
    """
    hits, errors, said = (sum(getattr(c, name) for c in counts) for name in ("hits", "errors", "length"))
    heard = sum(c.hits + c.substitutions + c.insertions for c in counts)
    if not said:
        raise InputError("counts: expected references with at least one word, counted none")
    preserved = hits / said * (hits / heard) if heard else 0.0
    return MatchMeasures(errors / (hits + errors), 1 - preserved, preserved)


def word_differences(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """The words that differ, (said, heard), by jiwer's alignment; nothing was said of an insertion, and nothing heard of a deletion: "".

    >>> word_differences("one two three four", "one too four five")
    [('two', 'too'), ('three', ''), ('', 'five')]

    Raises DependencyError without jiwer.
    """
    counted = need("jiwer", "evaluate").process_words(reference, hypothesis)
    said, heard = counted.references[0], counted.hypotheses[0]
    pairs: list[tuple[str, str]] = []
    for chunk in counted.alignments[0]:
        if chunk.type != "equal":
            sides = said[chunk.ref_start_idx : chunk.ref_end_idx], heard[chunk.hyp_start_idx : chunk.hyp_end_idx]
            pairs += zip_longest(*sides, fillvalue="")
    return pairs


def error_rate(counts: Sequence[Counts]) -> ErrorRate:
    """The error rate of a set from the counts of its utterances.  Raises InputError where the references have no words at all."""
    errors, lengths = [c.errors for c in counts], [c.length for c in counts]
    low, high = bootstrap_interval(errors, lengths)
    total = sum(lengths)
    substitutions, deletions, insertions = (sum(c[i] for c in counts) for i in (1, 2, 3))
    return ErrorRate(sum(errors) / total, low, high, sum(errors), total, substitutions, deletions, insertions)


def bootstrap_interval(
    errors: npt.ArrayLike, lengths: npt.ArrayLike, *, resamples: int = RESAMPLES, seed: int = SEED, level: float = LEVEL
) -> tuple[float, float]:
    """A percentile bootstrap interval for ``sum(errors) / sum(lengths)``.  (n,), (n,) -> the two ends.

    Utterances are drawn with replacement, as many as there are, ``resamples`` times; the interval leaves out the same share of the
    resulting rates at both ends.  Whole utterances are drawn because errors in one depend on each other; errors of one *speaker* do
    too, so that the interval says nothing about other speakers.  No errors at all give the interval [0, 0], which is too sure.
    Draws that hold no words at all are left out.  Bisani and Ney (2004), "Bootstrap estimates for confidence intervals in ASR
    performance evaluation", ICASSP.

    Raises InputError unless both have the same length and some word is counted.
    """
    errors, lengths = np.asarray(errors, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    if errors.shape != lengths.shape or errors.ndim != 1:
        raise InputError(f"lengths: expected the shape of errors, {errors.shape}, counted {lengths.shape}")
    if not lengths.sum() > 0:
        raise InputError("lengths: expected references with at least one word, counted none")
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(resamples):
        drawn = rng.integers(len(errors), size=len(errors))
        total = lengths[drawn].sum()
        if total > 0:
            rates.append(errors[drawn].sum() / total)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
