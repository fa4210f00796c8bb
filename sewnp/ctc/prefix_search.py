"""Prefix beam search for CTC, as a plain loop: the specification of :mod:`sewnp.decoding.search`, which computes the same faster.

Greedy decoding reads the likeliest *path*.  Many paths spell the same text, and a text that no single path makes likely may be the
likeliest of all when its paths are summed.  There are too many texts to sum for each; prefix search goes through the frames and
keeps, after each, the best few *prefixes* of texts.  A prefix needs two numbers, the summed probability of its paths that end in a
blank, and of those that end in its last token, because the next frame's token means different things to them:

=================  ==========================  ============================
next token         paths that end in a blank   paths that end in the token
=================  ==========================  ============================
blank              the same prefix             the same prefix
the last token     the prefix with it again    the same prefix
another token      the prefix with that token  the prefix with that token
=================  ==========================  ============================

Where a *word delimiter* is known, a text is its words.  Delimiters in front of the first word, behind the last, and again between two
say nothing, and paths that differ in them are summed: a delimiter where no word has begun leaves the prefix as it is, whatever the
path ends in, and the empty prefix counts as one that a delimiter has just ended.

Graves (2012), "Supervised Sequence Labelling with Recurrent Neural Networks", section 7.5.3; Hannun, Maas, Jurafsky and Ng (2014),
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", https://arxiv.org/abs/1408.2873.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from sewnp.ctc.greedy import collapse, greedy_path
from sewnp.ctc.lattice import check_blank, check_log_probs, log_add
from sewnp.errors import InputError, brief, check_shape, check_whole
from sewnp.types import Array

Prefix: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Spelling:
    """What a vocabulary's tokens spell."""

    tokens: tuple[str, ...]
    """The text of each id."""
    delimiter: int | None
    """The id of the token between words; None where there is no such token."""
    begins: frozenset[int] = frozenset()
    """In a vocabulary of word pieces, which has no delimiter, the tokens that begin a word."""

    def __post_init__(self) -> None:
        """Raises InputError for tokens that are no texts, and for both a delimiter and tokens that begin words."""
        if not isinstance(self.tokens, tuple | list) or not all(isinstance(token, str) for token in self.tokens):
            raise InputError(f"spelling.tokens: expected the text of each token, found {brief(self.tokens)}")
        if self.begins and self.delimiter is not None:
            raise InputError(
                f"spelling.begins: expected none beside the delimiter {self.delimiter}, found {brief(sorted(self.begins))}"
            )

    @property
    def parts_words(self) -> bool:
        """Whether it can be told where a word ends."""
        return self.delimiter is not None or bool(self.begins)

    def split(self, prefix: Prefix) -> list[Prefix]:
        """The tokens between the delimiters: none where one leads, trails, or meets another.  Of word pieces, those of each word, behind
        the tokens, perhaps none, before the first that begins one."""
        pieces, start = [], 0
        if self.begins:
            starts = [0, *(i for i, token in enumerate(prefix) if token in self.begins), len(prefix)]
            return [prefix[i:j] for i, j in pairwise(starts)]
        for _ in range(prefix.count(self.delimiter)):
            end = prefix.index(self.delimiter, start)
            pieces.append(prefix[start:end])
            start = end + 1
        return [*pieces, prefix[start:]]

    def text(self, tokens: Prefix) -> str:
        """What tokens other than the delimiter spell."""
        return "".join(map(self.tokens.__getitem__, tokens))

    def words(self, prefix: Prefix) -> tuple[str, ...]:
        """The words of a text, which are what it is."""
        return tuple(filter(None, map(self.text, self.split(prefix))))

    def tidied(self, prefix: Prefix) -> Prefix:
        """With one delimiter between two words and none around them."""
        pieces = [piece for piece in self.split(prefix) if piece]
        between: Prefix = () if self.delimiter is None else (self.delimiter,)
        return tuple(chain.from_iterable(between + piece for piece in pieces))[len(between) :]


class ScoredText(NamedTuple):
    """A text that a search found."""

    tokens: Prefix
    """With a spelling: tidied; of tokens that spell the same words those of the best prefix."""
    score: float
    """What texts are ranked by: ``log_probability`` and the bonus."""
    log_probability: float
    """Of the text's paths that the search has followed, summed: never more than the text's log-likelihood."""


def no_bonus(prefix: Prefix, ended: bool) -> float:
    """The bonus of a search without a language model."""
    return 0.0


def prefix_search(
    log_probs: Array,
    *,
    blank: int,
    beam_width: int,
    min_token_log_prob: float = -math.inf,
    beam_threshold: float = math.inf,
    bonus: Callable[[Prefix, bool], float] = no_bonus,
    spelling: Spelling | None = None,
) -> list[ScoredText]:
    """The best texts that a beam finds, best first, at most ``beam_width``.  log_probs (T, V), computed in float64.

    With a ``spelling`` a text is the words that its tokens spell, and all prefixes in the beam that spell them are summed at the end.
    Without one it is the tokens.

    A prefix's rank is its log-probability and its ``bonus``, a function of the prefix and of whether it is a whole text.  After each
    frame these are dropped: tokens below ``min_token_log_prob`` (before the step, and never the frame's likeliest), prefixes whose
    rank is more than ``beam_threshold`` below the best, prefixes behind the first ``beam_width``.  Of equal ranks that comes first
    which was in the beam before, in the beam's order, and then what a better prefix was extended to, lower tokens first.

    A bonus of -inf is that of a prefix that no text begins with, or of a prefix that is no text as it stands.  Where all that is kept
    would be of the second kind, the best of the first that is dropped stays too, whatever the width and the threshold, so that the
    search ends with a text.

    A narrow beam can lose the text of greedy decoding, and end with worse ones.  So that text takes part at the end, with the
    probability of the greedy path if the beam has not more for it, as the last of equals: the best text's score is never below that
    probability with the bonus of greedy's text.

    Raises InputError for what :func:`check_search` refuses, and where every path has a token that is impossible in its frame or spells
    what the bonus forbids.
    """
    log_probs = check_search(log_probs, blank, beam_width, spelling)
    delimiter = None if spelling is None else spelling.delimiter
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}  # ends in a blank, ends in its last token
    for frame in log_probs:
        best = int(frame.argmax())
        kept = [c for c in range(len(frame)) if frame[c] >= min_token_log_prob or c == best]
        grown: dict[Prefix, tuple[float, float]] = {}
        for prefix, (in_blank, in_token) in beam.items():  # what stays as it is comes first
            last, total = prefix[-1] if prefix else delimiter, _sum(in_blank, in_token)
            stays = total + frame[blank] if blank in kept else -math.inf
            holds = (total if last == delimiter else in_token) + frame[last] if last in kept else -math.inf
            grown[prefix] = (stays, holds)
        for prefix, (in_blank, in_token) in beam.items():
            last = prefix[-1] if prefix else delimiter
            for c in kept:
                if c == blank or c == last == delimiter:
                    continue
                before = in_blank if c == last else _sum(in_blank, in_token)
                longer = (*prefix, c)
                ends_in_blank, ends_in_token = grown.get(longer, (-math.inf, -math.inf))
                grown[longer] = (ends_in_blank, _sum(ends_in_token, before + frame[c]))

        ranks = {prefix: _sum(*ends) + bonus(prefix, False) for prefix, ends in grown.items()}
        leading = max(ranks.values())
        ordered = sorted(ranks, key=ranks.__getitem__, reverse=True)  # stable, also in reverse
        near = [prefix for prefix in ordered if ranks[prefix] >= leading - beam_threshold and ranks[prefix] > -math.inf]
        near = near[:beam_width]
        if not any(bonus(prefix, True) > -math.inf for prefix in near):
            near += [prefix for prefix in ordered if ranks[prefix] > -math.inf and bonus(prefix, True) > -math.inf][:1]
        if not near:
            raise nothing_left()
        beam = {prefix: grown[prefix] for prefix in near}

    found: dict[tuple[object, ...], tuple[Prefix, float]] = {}
    for prefix, ends in beam.items():
        text, tokens = ended(prefix, spelling)
        tokens, total = found.get(text, (tokens, -math.inf))
        found[text] = (tokens, _sum(total, _sum(*ends)))
    greedy, path = greedy_text(log_probs, blank)
    text, tokens = ended(greedy, spelling)
    if text not in found or found[text][1] < path:
        found[text] = (tokens, path)
    scored = [ScoredText(tokens, float(total + bonus(tokens, True)), total) for tokens, total in found.values()]
    texts = [text for text in scored if text.score > -math.inf]
    if not texts:
        raise nothing_left()
    return sorted(texts, key=lambda text: text.score, reverse=True)[:beam_width]


def nothing_left() -> InputError:
    """What a search ends with where no text is possible."""
    return InputError("log_probs: expected a possible text of the words that are allowed, found none")


def _sum(a: float, b: float) -> float:
    return float(log_add(a, b))


def ended(prefix: Prefix, spelling: Spelling | None) -> tuple[tuple[object, ...], Prefix]:
    """A prefix as a whole text: what tells it from other texts, and its tokens."""
    return (prefix, prefix) if spelling is None else (spelling.words(prefix), spelling.tidied(prefix))


def greedy_text(log_probs: Array, blank: int) -> tuple[Prefix, float]:
    """What greedy decoding reads, and its path's log-probability."""
    return tuple(collapse(greedy_path(log_probs), blank=blank)), float(log_probs.max(axis=1).sum())


def check_search(log_probs: Array, blank: int, beam_width: int, spelling: Spelling | None) -> Array:
    """``log_probs`` (T, V) in float64.

    Raises InputError unless they are floating, of two dimensions, with a blank among the tokens and a finite maximum in every frame;
    for a beam width below 1; for a spelling of other than V tokens, and one whose delimiter is none of them, or is the blank.
    """
    log_probs = np.asarray(log_probs)
    check_shape("log_probs", log_probs, (None, None))
    if not np.issubdtype(log_probs.dtype, np.floating):
        raise InputError(f"log_probs: expected a floating dtype, found {log_probs.dtype}")
    vocab_size = log_probs.shape[1]
    check_blank(blank, vocab_size)
    check_whole("beam_width", beam_width, 1)
    if not np.isfinite(log_probs.max(axis=1)).all():
        raise InputError("log_probs: expected a finite maximum in every frame, found NaN or infinity")
    check_log_probs(log_probs)
    if spelling is not None:
        check_vocabulary(spelling, vocab_size, blank)
    return log_probs.astype(np.float64)


def check_vocabulary(spelling: Spelling, vocab_size: int, blank: int) -> None:
    """Raise InputError for a spelling of other than V tokens, and one whose delimiter, or what begins words, is none of them, or is the blank."""
    if not isinstance(spelling, Spelling):
        raise InputError(f"spelling: expected a Spelling, found {brief(spelling)}")
    if len(spelling.tokens) != vocab_size:
        raise InputError(f"spelling: expected the texts of all {vocab_size} tokens, found {len(spelling.tokens)}")
    if not all(isinstance(token, int | np.integer) and 0 <= token < vocab_size and token != blank for token in spelling.begins):
        raise InputError(
            f"spelling.begins: expected tokens from 0 to {vocab_size - 1} other than the blank {blank}, found {brief(sorted(spelling.begins))}"
        )
    if spelling.delimiter is not None and check_whole("spelling.delimiter", spelling.delimiter, 0, vocab_size - 1) == blank:
        raise InputError(f"spelling.delimiter: expected a token other than the blank {blank}, which spells nothing")
