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
from sewnp.ctc.greedy import Run, greedy_path, runs
from sewnp.ctc.lattice import log_add
from sewnp.ctc.prefix_search import Prefix, ScoredText, Spelling, check_search, ended, greedy_text, nothing_left
from sewnp.decoding.fusion import Fusion
from sewnp.decoding.lexicon import EMPTY
from sewnp.types import Array

SPARE_NODES = 2**15
"""How many prefixes may pile up before those that lead nowhere are forgotten: some megabytes of them."""


@dataclass(frozen=True)
class Hypothesis:
    """A text that beam search proposes, and where in the clip its tokens are: with a spelling, its words with one delimiter between two."""

    score: float
    """What hypotheses are ranked by, in nats: ``log_probability``, and with a language model what that adds."""
    log_probability: float
    """log of the summed probability of the text's paths that the search has followed."""
    spans: tuple[Run, ...]
    """Its tokens in order, each with its frames on the text's likeliest path, that of :func:`forced_align`.  A delimiter has all frames
    from the first to the last that it holds between its words; around them it has none."""
    probabilities: tuple[float, ...]
    """The largest probability that the network gave each token in its frames."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """The ids of its tokens."""
        return tuple(span.token for span in self.spans)


def beam_search(
    log_probs: Array,
    *,
    blank: int,
    beam_width: int,
    min_token_log_prob: float = -math.inf,
    beam_threshold: float = math.inf,
    fusion: Fusion | None = None,
    spelling: Spelling | None = None,
) -> list[ScoredText]:
    """:func:`prefix_search` with ``fusion.bonus``, on arrays: same arguments, same texts, same scores to the last bit."""
    log_probs = check_search(log_probs, blank, beam_width, spelling)
    search = Search(log_probs, blank, beam_width, min_token_log_prob, beam_threshold, spelling, fusion)
    return [found.text for found in search.results()]


class _Beam(NamedTuple):
    """The prefixes that are kept, best first: an entry for each in everything here."""

    node: Array
    """Its place in the tree."""
    parent: Array
    """That of the prefix before its last token; -1 for the empty prefix."""
    last: Array
    """Its last token.  The empty prefix has the delimiter's, as if a word had just ended, or without a delimiter -1."""
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


class Found(NamedTuple):
    """A text at the end of a search."""

    text: ScoredText
    nodes: list[int]
    """Those in the beam that spell it; none where its probability is that of greedy's path."""


class Search:
    """A beam, run through the frames of a clip, and the tree that its prefixes stand in, each a node; the empty one is node 0."""

    def __init__(
        self,
        log_probs: Array,
        blank: int,
        width: int,
        min_token_log_prob: float,
        threshold: float,
        spelling: Spelling | None,
        fusion: Fusion | None,
    ) -> None:
        self.log_probs, self.blank, self.width, self.threshold, self.fusion = log_probs, blank, width, threshold, fusion
        self.spelling = spelling
        self.delimiter = None if spelling is None else spelling.delimiter
        self.size = log_probs.shape[1]
        self.children: dict[int, int] = {}
        """Of an edge of the tree, that is prefix times V plus the token more, the longer prefix."""
        self.tree = {0: (-1, -1)}
        """Of each node the edge to it, and the frame in which it came."""
        self.seen = {0: -1}
        """Of each node the last frame after which it was in the beam."""
        self.numbers, self.room = itertools.count(1), SPARE_NODES
        self.column_of = np.full(self.size + 1, -1)
        """Of each token, and of none, where it is among those that a frame has kept; -1 for nowhere."""
        sure, never, first = np.zeros(1), np.full(1, -np.inf), np.zeros(1, dtype=np.int64)
        last = first - 1 if self.delimiter is None else first + self.delimiter
        self.beam = _Beam(first, first - 1, last, sure, never, bonus=sure, context=first, word=first + EMPTY)
        kept = log_probs >= min_token_log_prob
        kept[np.arange(len(kept)), log_probs.argmax(axis=1)] = True
        pruned = np.where(kept, log_probs, -np.inf)
        kept[:, blank] = False
        for time, (frame, others) in enumerate(zip(pruned, kept, strict=True)):
            self._advance(time, frame, np.flatnonzero(others))
            self.seen |= dict.fromkeys(self.beam.node.tolist(), time)
            if len(self.tree) > self.room:
                self._forget()

    def results(self) -> list[Found]:
        """The beam's texts as ended ones, best first, and that of greedy decoding."""
        beam = self.beam
        bonuses = np.zeros(len(beam.node))
        if self.fusion is not None:
            ends = [self.fusion.finish(*pair) for pair in zip(beam.context.tolist(), beam.word.tolist(), strict=True)]
            word_gain, end_gain = np.array(ends).T
            bonuses = beam.bonus + word_gain + end_gain
        found: dict[tuple[object, ...], tuple[Prefix, float, float, list[int]]] = {}
        totals = log_add(beam.in_blank, beam.in_token)
        for node, total, bonus in zip(beam.node.tolist(), totals.tolist(), bonuses.tolist(), strict=True):
            text, tokens = ended(self._prefix(node), self.spelling)
            tokens, before, bonus, nodes = found.get(text, (tokens, -math.inf, bonus, []))
            found[text] = (tokens, float(log_add(before, total)), bonus, [*nodes, node])
        greedy, path = greedy_text(self.log_probs, self.blank)
        text, tokens = ended(greedy, self.spelling)
        if text not in found or found[text][1] < path:
            found[text] = (tokens, path, 0.0 if self.fusion is None else self.fusion.bonus(tokens, True), [])
        scored = [Found(ScoredText(tokens, total + bonus, total), nodes) for tokens, total, bonus, nodes in found.values()]
        texts = [found for found in scored if found.text.score > -math.inf]
        if not texts:
            raise nothing_left()
        return sorted(texts, key=lambda found: found.text.score, reverse=True)[: self.width]

    def hypothesis(self, found: Found) -> Hypothesis:
        """With the frames of its tokens, each token's run on the likeliest path among those that the search has followed."""
        ways: dict[Prefix, int | None] = {}
        for node in sorted(found.nodes, key=lambda node: len(self._chain(node))):  # of two that differ in a last delimiter the
            ways[ended(self._prefix(node), self.spelling)[1]] = node  # longer has the bounds of both
        aligned = [
            forced_align(
                self.log_probs, np.array(tokens, int), blank=self.blank, begun=self.begun(node, tokens), delimiter=self.delimiter
            )
            for tokens, node in (ways or {found.text.tokens: None}).items()
        ]
        spans = max(aligned, key=lambda path: path.log_probability).spans
        highest = [float(self.log_probs[span.start : span.end, span.token].max()) for span in spans]
        return Hypothesis(*found.text[1:], spans, tuple(math.exp(min(0.0, each)) for each in highest))

    def begun(self, node: int | None, tokens: Prefix) -> tuple[Array, Array]:
        """How many tokens of a text its paths have begun after each frame, at least and at most: (T,) each.  None: on greedy's path.

        A path has begun k tokens when it stands on the text's prefix of k tokens, and so not before that prefix came to the tree, and
        not after it, and all shorter ones, were last in the beam.  One delimiter more at the end begins nothing.
        """
        frames = np.arange(len(self.log_probs))
        if node is None:
            heard, count, counts = runs(greedy_path(self.log_probs)), 0, np.zeros(len(frames), dtype=np.int64)
            for token, start, _ in heard:
                if count < len(tokens) and token == tokens[count]:
                    count += 1
                    counts[start:] = count
            return counts, counts
        chain = self._chain(node)
        came, seen = [self.tree[each][1] for each in chain], np.maximum.accumulate([self.seen[each] for each in chain])
        fewest, most = np.searchsorted(seen, frames), np.searchsorted(came, frames, side="right") - 1
        return np.minimum(fewest, len(tokens)), np.minimum(most, len(tokens))

    def _prefix(self, node: int) -> Prefix:
        return tuple(self.tree[each][0] % self.size for each in self._chain(node)[1:])

    def _chain(self, node: int) -> list[int]:
        """The nodes of a prefix, from the empty one to it."""
        chain = [node]
        while node:
            node = self.tree[node][0] // self.size
            chain.append(node)
        return chain[::-1]

    def _advance(self, time: int, frame: Array, tokens: Array) -> None:
        """One frame (V,), -inf where a token is pruned; ``tokens`` (K,) are the others, ascending and without the blank."""
        beam, width = self.beam, len(self.beam.node)
        total = log_add(beam.in_blank, beam.in_token)
        before, again = beam.in_token, beam.in_blank  # of the last token once more: without a blank between, and with one
        if self.delimiter is not None:
            between = beam.last == self.delimiter  # two words, where all delimiters are one
            before, again = np.where(between, total, before), np.where(between, -np.inf, again)
        stay_blank = total + frame[self.blank]
        stay_token = before + frame[beam.last]  # without a delimiter no path of the empty prefix ends in a token
        grown = np.where(beam.last[:, None] == tokens, again[:, None], total[:, None]) + frame[tokens]  # (W, K)
        self._merge(stay_token, grown, tokens)
        ranks = np.concatenate([log_add(stay_blank, stay_token), grown.ravel()])
        if self.fusion is not None:
            bonus, context, word = self._speak(self.fusion, tokens)
            words = np.concatenate([beam.word, word.ravel()])
            ranks += np.concatenate([beam.bonus, bonus.ravel()]) + self.fusion.pending(words)

        rows = self._choose(ranks)
        if self.fusion is not None and self.fusion.closed:
            rows = self._with_a_text(rows, ranks, self.fusion.whole(words))
        if not len(rows):
            raise nothing_left()
        # those below W stay where they are; behind them are those that grow, row by row
        grows = np.flatnonzero(rows >= width)
        places = np.divmod(rows[grows] - width, max(1, len(tokens)))
        rows[grows], columns = places
        last, in_blank, in_token = beam.last[rows], stay_blank[rows], stay_token[rows]
        last[grows], in_blank[grows], in_token[grows] = tokens[columns], -np.inf, grown[places]
        node, parent = beam.node[rows], beam.parent[rows]
        parent[grows] = node[grows]
        node[grows] = self._grow(node[grows] * self.size + tokens[columns], time)
        self.beam = _Beam(node, parent, last, in_blank, in_token, beam.bonus[rows], beam.context[rows], beam.word[rows])
        if self.fusion is not None:
            self.beam.bonus[grows], self.beam.context[grows], self.beam.word[grows] = bonus[places], context[places], word[places]

    def _merge(self, stay_token: Array, grown: Array, tokens: Array) -> None:
        """Give what grows into a prefix of the beam to that prefix, in place.  stay_token (W,), grown (W, K)."""
        beam = self.beam
        row_of = dict(zip(beam.node.tolist(), itertools.count(), strict=False))
        rows = np.array([row_of.get(parent, -1) for parent in beam.parent.tolist()])
        self.column_of[tokens] = np.arange(len(tokens))
        columns = self.column_of[beam.last]
        self.column_of[tokens] = -1
        there = np.flatnonzero((rows >= 0) & (columns >= 0))
        place = rows[there], columns[there]
        stay_token[there] = log_add(stay_token[there], grown[place])
        grown[place] = -np.inf

    def _speak(self, fusion: Fusion, tokens: Array) -> tuple[Array, Array, Array]:
        """Of each prefix that grows its bonus, context and word, (W, K) each."""
        beam = self.beam
        bonus, context = (np.repeat(values[:, None], len(tokens), axis=1) for values in (beam.bonus, beam.context))
        columns = np.flatnonzero(fusion.closing(tokens))
        if len(columns):
            ends = [fusion.close(*pair) for pair in zip(beam.context.tolist(), beam.word.tolist(), strict=True)]
            bonus[:, columns] += np.array([[gain] for gain, _ in ends])
            context[:, columns] = [[after] for _, after in ends]
        return bonus, context, fusion.step(beam.word, tokens)

    def _choose(self, ranks: Array) -> Array:
        """The candidates that make the next beam, best first; of equals those that come first."""
        good = np.flatnonzero((ranks >= ranks.max() - self.threshold) & (ranks > -np.inf))
        if len(good) > self.width:
            least = np.partition(ranks[good], len(good) - self.width)[len(good) - self.width]
            above, level = good[ranks[good] > least], good[ranks[good] == least]
            good = np.concatenate([above, level[: self.width - len(above)]])
        return good[np.argsort(-ranks[good], kind="stable")]

    def _with_a_text(self, rows: Array, ranks: Array, whole: Array) -> Array:
        """What was chosen, and where none of it is a text as it stands the best candidate that is."""
        texts = np.flatnonzero(whole & (ranks > -np.inf))
        if whole[rows].any() or not len(texts):
            return rows
        return np.append(rows, texts[ranks[texts].argmax()])

    def _grow(self, edges: Array, time: int) -> list[int]:
        """The nodes at the ends of edges: new ones, or those that were there when they were in the beam before."""
        keys = edges.tolist()
        new = [edge for edge in keys if edge not in self.children]
        born = list(itertools.islice(self.numbers, len(new)))
        self.children.update(zip(new, born, strict=True))
        self.tree.update(zip(born, zip(new, itertools.repeat(time)), strict=False))
        return [self.children[edge] for edge in keys]

    def _forget(self) -> None:
        """Drop the nodes that nothing in the beam begins with.  Such a prefix may come again, but not while its old node matters."""
        kept = {0}
        for node in self.beam.node.tolist():
            while node not in kept:
                kept.add(node)
                node = self.tree[node][0] // self.size
        self.tree = {node: self.tree[node] for node in kept}
        self.seen = {node: self.seen[node] for node in kept}
        self.children = {self.tree[node][0]: node for node in kept - {0}}
        self.room = 2 * len(kept) + SPARE_NODES
