"""Beam search: the prefix search of :mod:`~sewnp.ctc.prefix_search` on arrays, with the language model of :mod:`~sewnp.decoding.fusion`.

A prefix is a node of a tree: the prefix before it, and one token more.  The beam is a handful of arrays with an entry for each
prefix; a frame makes W candidates of prefixes that stay and W times K of prefixes that grow by one of the K tokens which the frame
has kept.  Where a grown prefix is in the beam already the two are summed: that is so for a prefix whose parent is in the beam too,
if its last token is among the K.  Every sum is taken in the order of the plain version, so that both agree to the last bit.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sewnp.ctc.alignment import forced_align
from sewnp.ctc.decoding import Run, greedy_path
from sewnp.ctc.prefix_search import ScoredText, check_search, greedy_text
from sewnp.decoding.fusion import EMPTY, Fusion, Spelling, check_spelling
from sewnp.decoding.language_model import Context, LanguageModel
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


class _Language(NamedTuple):
    """What fusion knows of each prefix in the beam."""

    bonus: Array
    """(W,) for its finished words."""
    context: Array
    """(W,) numbers of contexts."""
    word: Array
    """(W,) states of the word that is being spelled."""


class _Search:
    """A beam, and the tree that its prefixes stand in, run through the frames of a clip."""

    def __init__(
        self, log_probs: Array, blank: int, width: int, min_token_log_prob: float, threshold: float, fusion: Fusion | None
    ) -> None:
        self.log_probs, self.blank, self.width, self.threshold, self.fusion = log_probs, blank, width, threshold, fusion
        frames, vocab_size = log_probs.shape
        # the tree: of each node its parent, its token and the frame in which it came, and the other way round
        self.parents, self.tokens, self.came = [-1], [-1], [-1]
        self.children: dict[tuple[int, int], int] = {}
        self.room = SPARE_NODES
        # of each node the last frame that it was in the beam, and where in the beam it is; of each token where among the kept ones:
        # -1 if nowhere, as for the last token of the empty prefix
        self.seen, self.row_of, self.column_of = np.full(1024, -1), np.full(1024, -1), np.full(vocab_size + 1, -1)
        # the beam, (W,) each; the empty prefix is node 0 and has neither parent nor last token, -1
        self.node, self.parent, self.last = np.array([0]), np.array([-1]), np.array([-1])
        self.in_blank, self.in_token = np.array([0.0]), np.array([-np.inf])
        self.language = None
        if fusion is not None:
            self.contexts: list[Context] = [fusion.model.start]
            self.context_numbers = {fusion.model.start: 0}
            self.closed: dict[tuple[int, int], tuple[float, int]] = {}
            self.language = _Language(np.array([0.0]), np.array([0]), np.array([EMPTY]))

        kept = log_probs >= min_token_log_prob
        kept[np.arange(frames), log_probs.argmax(axis=1)] = True
        pruned = np.where(kept, log_probs, -np.inf)
        kept[:, blank] = False
        for t in range(frames):
            self.time = t
            self.advance(pruned[t], np.flatnonzero(kept[t]))
            self.seen[self.node] = t
            if len(self.parents) > self.room:
                self._forget()

    def advance(self, frame: Array, tokens: Array) -> None:
        """One frame (V,), -inf where a token is pruned; ``tokens`` (K,) are the others, ascending and without the blank."""
        total = np.logaddexp(self.in_blank, self.in_token)
        stay_blank = total + frame[self.blank]
        stay_token = self.in_token + frame[self.last]  # the empty prefix has no last token, and no path that ends in it
        repeats = self.last[:, None] == tokens
        grown = np.where(repeats, self.in_blank[:, None], total[:, None]) + frame[tokens]  # (W, K)
        self._merge(stay_token, grown, tokens)
        ranks = np.concatenate([np.logaddexp(stay_blank, stay_token), grown.ravel()])
        language = None
        if self.language is not None:
            language, pending = self._speak(self.language, tokens)
            ranks += language.bonus + pending
        chosen = self._choose(ranks)
        self._take(chosen, tokens, stay_blank, stay_token, grown, language)

    def results(self) -> list[tuple[ScoredText, int | None]]:
        """The beam's texts as ended ones, best first, each with its node; none for greedy's text, where that is not by the beam."""
        totals = np.logaddexp(self.in_blank, self.in_token)
        scores = totals
        if self.language is not None and self.fusion is not None:
            ends = [
                self.fusion.finish(self.contexts[context], word)
                for context, word in zip(self.language.context.tolist(), self.language.word.tolist(), strict=True)
            ]
            word_gain, end_gain = np.array(ends).T
            scores = totals + (self.language.bonus + word_gain + end_gain)
        texts = [tuple(self.tokens[node] for node in self._chain(end)[1:]) for end in self.node.tolist()]
        found: list[tuple[ScoredText, int | None]] = [
            (ScoredText(*text), node)
            for *text, node in zip(texts, scores.tolist(), totals.tolist(), self.node.tolist(), strict=True)
        ]
        greedy, path = greedy_text(self.log_probs, self.blank)
        place = texts.index(greedy) if greedy in texts else len(texts)
        if place == len(texts) or found[place][0].log_probability < path:
            bonus = 0.0 if self.fusion is None else self.fusion.bonus(greedy, True)
            found[place : place + 1] = [(ScoredText(greedy, path + bonus, path), None)]
        return sorted(found, key=lambda pair: pair[0].score, reverse=True)[: self.width]

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
        came, seen = np.array([self.came[i] for i in chain]), np.maximum.accumulate(self.seen[chain])
        return np.searchsorted(seen, frames), np.searchsorted(came, frames, side="right") - 1

    def _chain(self, node: int) -> list[int]:
        """The nodes of a prefix, from the empty one to it."""
        chain = [node]
        while chain[-1]:
            chain.append(self.parents[chain[-1]])
        return chain[::-1]

    def _merge(self, stay_token: Array, grown: Array, tokens: Array) -> None:
        """Give what grows into a prefix of the beam to that prefix, in place.  stay_token (W,), grown (W, K)."""
        width, count = grown.shape
        self.row_of[self.node], self.column_of[tokens] = np.arange(width), np.arange(count)
        rows, columns = self.row_of[self.parent], self.column_of[self.last]
        there = np.flatnonzero((rows >= 0) & (columns >= 0))
        self.row_of[self.node], self.column_of[tokens] = -1, -1
        rows, columns = rows[there], columns[there]
        stay_token[there] = np.logaddexp(stay_token[there], grown[rows, columns])
        grown[rows, columns] = -np.inf

    def _speak(self, beam: _Language, tokens: Array) -> tuple[_Language, Array]:
        """What fusion knows of each candidate, and what it charges for its unfinished word: W that stay, then W * K that grow."""
        assert self.fusion is not None
        shape = (len(beam.word), len(tokens))
        words = self.fusion.step(beam.word, tokens)
        bonus = np.broadcast_to(beam.bonus[:, None], shape)
        context = np.broadcast_to(beam.context[:, None], shape)
        column = int(np.searchsorted(tokens, self.fusion.delimiter))
        if column < len(tokens) and tokens[column] == self.fusion.delimiter:
            ends = [self._close(*pair) for pair in zip(beam.context.tolist(), beam.word.tolist(), strict=True)]
            bonus, context = bonus.copy(), context.copy()
            bonus[:, column] += [gain for gain, _ in ends]
            context[:, column] = [after for _, after in ends]
        grown = _Language(bonus.ravel(), context.ravel(), words.ravel())
        language = _Language(*(np.concatenate(pair) for pair in zip(beam, grown, strict=True)))
        return language, self.fusion.pending(language.word)

    def _close(self, context: int, word: int) -> tuple[float, int]:
        """:meth:`Fusion.close` with numbers for contexts."""
        assert self.fusion is not None
        if (context, word) not in self.closed:
            gain, after = self.fusion.close(self.contexts[context], word)
            number = self.context_numbers.setdefault(after, len(self.contexts))
            if number == len(self.contexts):
                self.contexts.append(after)
            self.closed[context, word] = (gain, number)
        return self.closed[context, word]

    def _choose(self, ranks: Array) -> Array:
        """The candidates that make the next beam, best first; of equals those that come first."""
        good = np.flatnonzero((ranks >= ranks.max() - self.threshold) & (ranks > -np.inf))
        if len(good) > self.width:
            least = np.partition(ranks[good], len(good) - self.width)[len(good) - self.width]
            above, level = good[ranks[good] > least], good[ranks[good] == least]
            good = np.concatenate([above, level[: self.width - len(above)]])
        return good[np.argsort(-ranks[good], kind="stable")]

    def _take(
        self, chosen: Array, tokens: Array, stay_blank: Array, stay_token: Array, grown: Array, language: _Language | None
    ) -> None:
        """Make the chosen candidates the beam."""
        width = len(self.node)
        grows = chosen >= width
        rows, columns = np.divmod(chosen[grows] - width, max(1, len(tokens)))
        in_blank, in_token = np.full((2, len(chosen)), -np.inf)
        node, parent, last = np.empty((3, len(chosen)), dtype=np.int64)
        stays = chosen[~grows]
        node[~grows], parent[~grows], last[~grows] = self.node[stays], self.parent[stays], self.last[stays]
        in_blank[~grows], in_token[~grows] = stay_blank[stays], stay_token[stays]
        in_token[grows] = grown[rows, columns]
        parent[grows], last[grows] = self.node[rows], tokens[columns]
        node[grows] = [self._child(*edge) for edge in zip(parent[grows].tolist(), last[grows].tolist(), strict=True)]
        self.node, self.parent, self.last, self.in_blank, self.in_token = node, parent, last, in_blank, in_token
        self.language = None if language is None else _Language(*(values[chosen] for values in language))

    def _child(self, parent: int, token: int) -> int:
        """The node of a prefix: a new one, or that which it had when it was in the beam before."""
        child = self.children.setdefault((parent, token), len(self.parents))
        if child == len(self.parents):
            self.parents.append(parent)
            self.tokens.append(token)
            self.came.append(self.time)
            if child == len(self.row_of):
                self.row_of = np.full(2 * child, -1)
                self.seen = np.concatenate([self.seen, np.full(child, -1)])
        return child

    def _forget(self) -> None:
        """Drop the nodes that nothing in the beam begins with.  Such a prefix may come again, but not while its old node matters."""
        kept = {0}
        for end in self.node.tolist():
            node = end
            while node not in kept:
                kept.add(node)
                node = self.parents[node]
        old = sorted(kept)
        number = {node: i for i, node in enumerate(old)}  # parents before their children, as they were
        self.children = {(number[self.parents[node]], self.tokens[node]): number[node] for node in old[1:]}
        self.parents = [-1, *(number[self.parents[node]] for node in old[1:])]
        self.tokens, self.came = [self.tokens[node] for node in old], [self.came[node] for node in old]
        self.seen[: len(old)] = self.seen[old]
        self.seen[len(old) :] = -1
        self.node = np.array([number[node] for node in self.node.tolist()])
        self.parent = np.array([self.parents[node] for node in self.node.tolist()])
        self.room = 2 * len(old) + SPARE_NODES


def _hypothesis(log_probs: Array, text: ScoredText, begun: tuple[Array, Array], blank: int) -> Hypothesis:
    """Find the frames of a text, each token's run on its likeliest path among those that the search has followed."""
    spans = forced_align(log_probs, np.array(text.tokens, dtype=np.int64), blank=blank, begun=begun).spans
    probabilities = [math.exp(min(0.0, float(log_probs[span.start : span.end, span.token].max()))) for span in spans]
    return Hypothesis(text.score, text.log_probability, spans, tuple(probabilities))
