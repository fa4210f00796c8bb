"""Beam search: the prefix search of :mod:`~sewnp.ctc.prefix_search` on arrays, with the language model of :mod:`~sewnp.decoding.fusion`.

The beam is a handful of arrays with an entry for each prefix; a frame makes W candidates of prefixes that stay and W times K of
prefixes that grow by one of the K tokens which the frame has kept.  Where a grown prefix is in the beam already the two are summed:
that is so for a prefix whose parent is in the beam too, if its last token is among the K.  Every sum is taken in the order of the
plain version, so that both agree to the last bit.
"""

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sewnp.ctc.alignment import forced_align
from sewnp.ctc.decoding import Run, greedy_path
from sewnp.ctc.prefix_search import ScoredText, check_search, greedy_text
from sewnp.decoding.fusion import EMPTY, Fusion, Spelling, check_spelling
from sewnp.decoding.language_model import LanguageModel
from sewnp.errors import InputError
from sewnp.types import Array

SPARE_NODES = 2**15
"""How many prefixes may pile up before those that lead nowhere are forgotten: some megabytes of them."""


@dataclass(frozen=True)
class Hypothesis:
    """A text that beam search proposes, and where in the clip its tokens are."""

    score: float
    """What hypotheses are ranked by, in nats: ``log_probability``, and with a language model what that adds."""
    log_probability: float
    """log of the summed probability of the text's paths that the search has followed."""
    spans: tuple[Run, ...]
    """Its tokens in order, each with its frames on the text's likeliest path, that of :func:`forced_align`."""
    probabilities: tuple[float, ...]
    """The largest probability that the network gave each token in its frames."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids of its tokens."""
        return tuple(span.token for span in self.spans)


@dataclass(frozen=True, eq=False)
class BeamSearch:
    """How to search.  The defaults are those of pyctcdecode (https://github.com/kensho-technologies/pyctcdecode)."""

    beam_width: int = 100
    """Prefixes that are kept after each frame."""
    min_token_log_prob: float = -5.0
    """Tokens below it are no choice in that frame, the likeliest excepted: log 0.0067.  -inf keeps all."""
    beam_threshold: float = 10.0
    """Prefixes whose score is by more than this below the best are dropped, in nats.  inf drops none."""
    language_model: LanguageModel | None = None
    alpha: float = 0.5
    """The weight of the language model's log-probabilities."""
    beta: float = 1.5
    """What each word adds, in nats, with a language model: its probabilities alone would favour few words."""
    unknown_offset: float = -10.0
    """What a word that the language model lacks costs on top of the model's ``<unk>``, log10."""

    def __post_init__(self) -> None:
        """Raises InputError for values that mean nothing."""
        if not isinstance(self.beam_width, int) or self.beam_width < 1:
            raise InputError(f"beam_width: expected an integer of at least 1, found {self.beam_width!r}")
        if not self.min_token_log_prob <= 0:
            raise InputError(f"min_token_log_prob: expected a log-probability of at most 0, found {self.min_token_log_prob}")
        if not self.beam_threshold >= 0:
            raise InputError(f"beam_threshold: expected at least 0, found {self.beam_threshold}")
        for name in ("alpha", "beta", "unknown_offset"):
            if not math.isfinite(getattr(self, name)):
                raise InputError(f"{name}: expected a finite number, found {getattr(self, name)}")
        if self.alpha < 0:
            raise InputError(f"alpha: expected at least 0, found {self.alpha}")

    def decode(self, log_probs: Array, *, blank: int, spelling: Spelling | None = None, n_best: int = 1) -> list[Hypothesis]:
        """The best texts, best first: ``n_best`` of them, or as many as there are in the beam.  log_probs (T, V), floating.

        ``log_probs`` come from :func:`sewnp.layers.log_softmax`; everything is computed in float64.  ``spelling`` says what the
        tokens spell, which only a language model needs to know.

        The first one's score is never below what greedy decoding would get: the log-probability of its path, and with a language
        model what that adds to its text.  Equal scores are ordered as :func:`prefix_search` orders them.

        Raises InputError for what :func:`check_search` refuses, ``n_best`` below 1, and a language model without a ``spelling`` of
        every token, or without a word delimiter in it; LanguageModelError where the vocabulary spells no word of the model's.
        """
        log_probs = check_search(log_probs, blank, self.beam_width)
        if n_best < 1:
            raise InputError(f"n_best: expected at least 1, found {n_best}")
        search = _Search(
            log_probs,
            blank,
            self.beam_width,
            self.min_token_log_prob,
            self.beam_threshold,
            None if self.language_model is None else self._fusion(self.language_model, spelling, log_probs.shape[1]),
        )
        return [_hypothesis(log_probs, text, search.begun(node), blank) for text, node in search.results()[:n_best]]

    def check_spelling(self, spelling: Spelling) -> None:
        """Raise as :meth:`decode` would for a vocabulary that the language model cannot be used with."""
        if self.language_model is not None:
            check_spelling(self.language_model, spelling)

    def _fusion(self, model: LanguageModel, spelling: Spelling | None, vocab_size: int) -> Fusion:
        if spelling is None or len(spelling.tokens) != vocab_size:
            found = "none" if spelling is None else f"{len(spelling.tokens)}"
            raise InputError(f"spelling: a language model needs the texts of all {vocab_size} tokens, found {found}")
        return Fusion(model, spelling, alpha=self.alpha, beta=self.beta, unknown_offset=self.unknown_offset)


def beam_search(
    log_probs: Array,
    *,
    blank: int,
    beam_width: int,
    min_token_log_prob: float = -math.inf,
    beam_threshold: float = math.inf,
    fusion: Fusion | None = None,
) -> list[ScoredText]:
    """:func:`prefix_search` with ``fusion.bonus``, on arrays: same arguments, same texts, same scores to the last bit."""
    log_probs = check_search(log_probs, blank, beam_width)
    search = _Search(log_probs, blank, beam_width, min_token_log_prob, beam_threshold, fusion)
    return [text for text, _ in search.results()]


class _Beam(NamedTuple):
    """The prefixes that are kept, best first: an entry for each in everything here."""

    node: list[int]
    """Its place in the tree."""
    last: Array
    """Its last token; -1 for the empty prefix."""
    in_blank: Array
    """Its paths that end in a blank, summed."""
    in_token: Array
    """Its paths that end in its last token."""
    bonus: Array
    """What fusion gives for its finished words."""
    context: Array
    """The number of the context after them."""
    word: Array
    """The state of the word that is being spelled."""


class _Search:
    """A beam, run through the frames of a clip, and the tree that its prefixes stand in, each a node; the empty one is node 0."""

    def __init__(
        self, log_probs: Array, blank: int, width: int, min_token_log_prob: float, threshold: float, fusion: Fusion | None
    ) -> None:
        self.log_probs, self.blank, self.width, self.threshold, self.fusion = log_probs, blank, width, threshold, fusion
        self.tree = {0: (-1, -1, -1)}
        """Of each node the prefix before it, the one token more, and the frame in which it came."""
        self.children: dict[tuple[int, int], int] = {}
        """The same the other way round: from prefix and token to node."""
        self.seen = {0: -1}
        """Of each node the last frame after which it was in the beam."""
        self.numbers, self.room = itertools.count(1), SPARE_NODES
        sure, never, first = np.zeros(1), np.full(1, -np.inf), np.zeros(1, dtype=np.int64)
        self.beam = _Beam([0], first - 1, sure, never, bonus=sure, context=first, word=first + EMPTY)
        kept = log_probs >= min_token_log_prob
        kept[np.arange(len(kept)), log_probs.argmax(axis=1)] = True
        pruned = np.where(kept, log_probs, -np.inf)
        kept[:, blank] = False
        for time, (frame, others) in enumerate(zip(pruned, kept, strict=True)):
            self._advance(time, frame, np.flatnonzero(others))
            self.seen |= dict.fromkeys(self.beam.node, time)
            if len(self.tree) > self.room:
                self._forget()

    def results(self) -> list[tuple[ScoredText, int | None]]:
        """The beam's texts as ended ones, best first, each with its node; none for greedy's text, where that is not by the beam."""
        beam = self.beam
        totals = scores = np.logaddexp(beam.in_blank, beam.in_token)
        if self.fusion is not None:
            ends = [self.fusion.finish(*pair) for pair in zip(beam.context.tolist(), beam.word.tolist(), strict=True)]
            word_gain, end_gain = np.array(ends).T
            scores = totals + (beam.bonus + word_gain + end_gain)
        found: dict[tuple[int, ...], tuple[ScoredText, int | None]] = {}
        for node, score, total in zip(beam.node, scores.tolist(), totals.tolist(), strict=True):
            tokens = tuple(self.tree[each][1] for each in self._chain(node)[1:])
            found[tokens] = (ScoredText(tokens, score, total), node)
        greedy, path = greedy_text(self.log_probs, self.blank)
        if greedy not in found or found[greedy][0].log_probability < path:
            bonus = 0.0 if self.fusion is None else self.fusion.bonus(greedy, True)
            found[greedy] = (ScoredText(greedy, path + bonus, path), None)
        return sorted(found.values(), key=lambda pair: pair[0].score, reverse=True)[: self.width]

    def begun(self, node: int | None) -> tuple[Array, Array]:
        """How many tokens of a text its paths have begun after each frame, at least and at most: (T,) each.  None: on greedy's path.

        A path has begun k tokens when it stands on the text's prefix of k tokens, and so not before that prefix came to the tree, and
        not after it, and all shorter ones, were last in the beam.
        """
        if node is None:
            path = greedy_path(self.log_probs)
            count = np.cumsum((path != self.blank) & (np.diff(path, prepend=self.blank) != 0))
            return count, count
        chain, frames = self._chain(node), np.arange(len(self.log_probs))
        came, seen = [self.tree[each][2] for each in chain], np.maximum.accumulate([self.seen[each] for each in chain])
        return np.searchsorted(seen, frames), np.searchsorted(came, frames, side="right") - 1

    def _chain(self, node: int) -> list[int]:
        """The nodes of a prefix, from the empty one to it."""
        chain = [node]
        while chain[-1]:
            chain.append(self.tree[chain[-1]][0])
        return chain[::-1]

    def _advance(self, time: int, frame: Array, tokens: Array) -> None:
        """One frame (V,), -inf where a token is pruned; ``tokens`` (K,) are the others, ascending and without the blank."""
        beam, width = self.beam, len(self.beam.node)
        total = np.logaddexp(beam.in_blank, beam.in_token)
        stay_blank = total + frame[self.blank]
        stay_token = beam.in_token + frame[beam.last]  # the empty prefix has no last token, and no path that ends in it
        again = beam.last[:, None] == tokens
        grown = np.where(again, beam.in_blank[:, None], total[:, None]) + frame[tokens]  # (W, K)
        self._merge(stay_token, grown, tokens)
        ranks = np.concatenate([np.logaddexp(stay_blank, stay_token), grown.ravel()])
        if self.fusion is not None:
            bonus, context, word = self._speak(self.fusion, tokens)
            pending = self.fusion.pending(np.concatenate([beam.word, word.ravel()]))
            ranks += np.concatenate([beam.bonus, bonus.ravel()]) + pending

        rows = self._choose(ranks)  # those below W stay where they are; behind them are those that grow, row by row
        grows = np.flatnonzero(rows >= width)
        places = np.divmod(rows[grows] - width, max(1, len(tokens)))
        rows[grows], columns = places
        last, in_blank, in_token = beam.last[rows], stay_blank[rows], stay_token[rows]
        last[grows], in_blank[grows], in_token[grows] = tokens[columns], -np.inf, grown[places]
        node = [beam.node[row] for row in rows.tolist()]
        for i, token in zip(grows.tolist(), tokens[columns].tolist(), strict=True):
            node[i] = self._child(node[i], token, time)
        self.beam = _Beam(node, last, in_blank, in_token, beam.bonus[rows], beam.context[rows], beam.word[rows])
        if self.fusion is not None:
            self.beam.bonus[grows], self.beam.context[grows], self.beam.word[grows] = bonus[places], context[places], word[places]

    def _merge(self, stay_token: Array, grown: Array, tokens: Array) -> None:
        """Give what grows into a prefix of the beam to that prefix, in place.  stay_token (W,), grown (W, K)."""
        row_of = {node: row for row, node in enumerate(self.beam.node)}
        column_of = {token: column for column, token in enumerate(tokens.tolist())}
        edges = [self.tree[node][:2] for node in self.beam.node]
        there = [(i, row_of[p], column_of[c]) for i, (p, c) in enumerate(edges) if p in row_of and c in column_of]
        if there:
            into, *place = map(list, zip(*there, strict=True))
            stay_token[into] = np.logaddexp(stay_token[into], grown[*place])
            grown[*place] = -np.inf

    def _speak(self, fusion: Fusion, tokens: Array) -> tuple[Array, Array, Array]:
        """Of each prefix that grows its bonus, context and word, (W, K) each."""
        beam = self.beam
        bonus, context = (np.repeat(values[:, None], len(tokens), axis=1) for values in (beam.bonus, beam.context))
        for column in np.flatnonzero(tokens == fusion.delimiter).tolist():
            ends = [fusion.close(*pair) for pair in zip(beam.context.tolist(), beam.word.tolist(), strict=True)]
            bonus[:, column] += [gain for gain, _ in ends]
            context[:, column] = [after for _, after in ends]
        return bonus, context, fusion.step(beam.word, tokens)

    def _choose(self, ranks: Array) -> Array:
        """The candidates that make the next beam, best first; of equals those that come first."""
        good = np.flatnonzero((ranks >= ranks.max() - self.threshold) & (ranks > -np.inf))
        if len(good) > self.width:
            least = np.partition(ranks[good], len(good) - self.width)[len(good) - self.width]
            above, level = good[ranks[good] > least], good[ranks[good] == least]
            good = np.concatenate([above, level[: self.width - len(above)]])
        return good[np.argsort(-ranks[good], kind="stable")]

    def _child(self, node: int, token: int, time: int) -> int:
        """The node of a prefix with one token more: a new one, or that which it had when it was in the beam before."""
        child = self.children.get((node, token))
        if child is None:
            child = self.children[node, token] = next(self.numbers)
            self.tree[child] = (node, token, time)
        return child

    def _forget(self) -> None:
        """Drop the nodes that nothing in the beam begins with.  Such a prefix may come again, but not while its old node matters."""
        kept = {0}
        for node in self.beam.node:
            while node not in kept:
                kept.add(node)
                node = self.tree[node][0]
        self.tree = {node: self.tree[node] for node in kept}
        self.seen = {node: self.seen[node] for node in kept}
        self.children = {self.tree[node][:2]: node for node in kept - {0}}
        self.room = 2 * len(kept) + SPARE_NODES


def _hypothesis(log_probs: Array, text: ScoredText, begun: tuple[Array, Array], blank: int) -> Hypothesis:
    """Find the frames of a text, each token's run on its likeliest path among those that the search has followed."""
    spans = forced_align(log_probs, np.array(text.tokens, dtype=np.int64), blank=blank, begun=begun).spans
    probabilities = [math.exp(min(0.0, float(log_probs[span.start : span.end, span.token].max()))) for span in spans]
    return Hypothesis(text.score, text.log_probability, spans, tuple(probabilities))
