"""Prefix beam search for CTC, as a plain loop: the specification of :mod:`sewnp.decoding.beam`, which computes the same faster.

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

Graves (2012), "Supervised Sequence Labelling with Recurrent Neural Networks", section 7.5.3; Hannun, Maas, Jurafsky and Ng (2014),
"First-Pass Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs", https://arxiv.org/abs/1408.2873.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np

from sewnp.ctc.decoding import collapse, greedy_path
from sewnp.ctc.lattice import check_blank
from sewnp.errors import InputError, check_shape
from sewnp.types import Array

Prefix: TypeAlias = tuple[int, ...]


class ScoredText(NamedTuple):
    """A text that a search found."""

    tokens: Prefix
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
) -> list[ScoredText]:
    """The best texts that a beam finds, best first, at most ``beam_width``.  log_probs (T, V), computed in float64.

    A prefix's rank is its log-probability and its ``bonus``, a function of the prefix and of whether it is a whole text.  After each
    frame these are dropped: tokens below ``min_token_log_prob`` (before the step, and never the frame's likeliest), prefixes whose
    rank is more than ``beam_threshold`` below the best, prefixes behind the first ``beam_width``.  Of equal ranks that comes first
    which was in the beam before, in the beam's order, and then what a better prefix was extended to, lower tokens first.

    A narrow beam can lose the text of greedy decoding, and end with worse ones.  So that text takes part at the end, with the
    probability of the greedy path if the beam has not more for it, as the last of equals: the best text's score is never below that
    probability with the bonus of greedy's text.

    Raises InputError for what :func:`check_search` refuses.
    """
    log_probs = check_search(log_probs, blank, beam_width)
    beam: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}  # ends in a blank, ends in its last token
    for frame in log_probs:
        best = int(frame.argmax())
        kept = [c for c in range(len(frame)) if frame[c] >= min_token_log_prob or c == best]
        grown: dict[Prefix, tuple[float, float]] = {}
        for prefix, (in_blank, in_token) in beam.items():  # what stays as it is comes first
            stays = np.logaddexp(in_blank, in_token) + frame[blank] if blank in kept else -math.inf
            holds = in_token + frame[prefix[-1]] if prefix and prefix[-1] in kept else -math.inf
            grown[prefix] = (stays, holds)
        for prefix, (in_blank, in_token) in beam.items():
            for c in kept:
                if c == blank:
                    continue
                before = in_blank if prefix and c == prefix[-1] else np.logaddexp(in_blank, in_token)
                longer = (*prefix, c)
                ends_in_blank, ends_in_token = grown.get(longer, (-math.inf, -math.inf))
                grown[longer] = (ends_in_blank, np.logaddexp(ends_in_token, before + frame[c]))

        ranks = {prefix: np.logaddexp(*ends) + bonus(prefix, False) for prefix, ends in grown.items()}
        leading = max(ranks.values())
        ordered = sorted(ranks, key=ranks.__getitem__, reverse=True)  # stable, also in reverse
        near = [prefix for prefix in ordered if ranks[prefix] >= leading - beam_threshold and ranks[prefix] > -math.inf]
        beam = {prefix: grown[prefix] for prefix in near[:beam_width]}

    totals = {prefix: float(np.logaddexp(*ends)) for prefix, ends in beam.items()}
    greedy, path = greedy_text(log_probs, blank)
    totals[greedy] = max(totals.get(greedy, -math.inf), path)
    found = [ScoredText(prefix, float(total + bonus(prefix, True)), total) for prefix, total in totals.items()]
    return sorted(found, key=lambda text: text.score, reverse=True)[:beam_width]


def greedy_text(log_probs: Array, blank: int) -> tuple[Prefix, float]:
    """What greedy decoding reads, and its path's log-probability."""
    return tuple(collapse(greedy_path(log_probs), blank=blank)), float(log_probs.max(axis=1).sum())


def check_search(log_probs: Array, blank: int, beam_width: int) -> Array:
    """``log_probs`` (T, V) in float64.

    Raises InputError unless they are floating, of two dimensions, with a blank among the tokens and a finite maximum in every frame,
    and for a beam width below 1.
    """
    log_probs = np.asarray(log_probs)
    check_shape("log_probs", log_probs, (None, None))
    if not np.issubdtype(log_probs.dtype, np.floating):
        raise InputError(f"log_probs: expected a floating dtype, found {log_probs.dtype}")
    check_blank(blank, log_probs.shape[1])
    if not np.isfinite(log_probs.max(axis=1)).all():
        raise InputError("log_probs: expected a finite maximum in every frame, found NaN or infinity")
    if beam_width < 1:
        raise InputError(f"beam_width: expected at least 1, found {beam_width}")
    return log_probs.astype(np.float64)
