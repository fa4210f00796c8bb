"""A word n-gram language model: how likely a word is after the few words before it.

The model knows some sequences of words, the n-grams, with their probabilities.  For any other sequence it *backs off*: it forgets the
first word, and charges a weight that belongs to the words it came from (Katz 1987)::

    p(w | a b) = p(a b w)                     if the model has the n-gram
               = backoff(a b) * p(w | b)      otherwise; backoff is 1 of what it does not have

Everything is in log10, as in the files, and as kenlm answers.  Where the file names no ``<unk>``, any unknown word has log10
probability -100, as in kenlm.

Katz (1987), "Estimation of probabilities from sparse data for the language model component of a speech recognizer", IEEE
Transactions on Acoustics, Speech, and Signal Processing 35; Heafield (2011), "KenLM: Faster and Smaller Language Model Queries".
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from sewnp.decoding.arpa import UNKNOWN, NGrams, read_arpa
from sewnp.errors import LanguageModelError, brief
from sewnp.files import path_name
from sewnp.types import Array

BEGIN, END = "<s>", "</s>"
UNKNOWN_LOG10 = -100.0
"""kenlm's log10 probability of an unknown word where the file has none."""

Context: TypeAlias = tuple[int, ...]
"""Indices of the last words that matter: at most order - 1, and no more than the model has an n-gram of."""


@dataclass(frozen=True)
class Order:
    """The n-grams of one length as a sorted table: ``keys`` (count,) is the context's place in the order below, times the number of
    words, plus the last word."""

    keys: Array
    log10: Array
    backoff: Array


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """Made by :meth:`read`."""

    name: str
    """What it was read from."""
    words: dict[str, int]
    """Word to index."""
    orders: tuple[Order, ...]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> "LanguageModel":
        """From an ARPA file: text, gzip, bzip2 or xz.

        Raises LanguageModelError for what :func:`read_arpa` refuses, for a file without ``<s>`` or ``</s>``, and for an n-gram whose first
        words are not among the shorter ones, naming file and line.
        """
        words, sections = read_arpa(path)
        index = {word: i for i, word in enumerate(words)}
        for marker in (BEGIN, END):
            if marker not in index:
                raise LanguageModelError(f"{path_name(path)}: the 1-grams lack {marker}")
        index.setdefault(UNKNOWN, len(index))
        log10, backoff = np.full(len(index), UNKNOWN_LOG10), np.zeros(len(index))
        of_row = sections[0].words[:, 0]
        last_unknown = np.flatnonzero(of_row == index[UNKNOWN])[-1:]
        rows = np.append(np.arange(len(of_row))[::-1], last_unknown)  # the first of each word is written last
        log10[of_row[rows]], backoff[of_row[rows]] = sections[0].log10[rows], sections[0].backoff[rows]
        orders = [Order(np.arange(len(index)), log10, backoff)]
        for section in sections[1:]:
            orders.append(_table(section, orders, words, path_name(path)))
        return cls(str(path), index, tuple(orders))

    @property
    def order(self) -> int:
        """The longest n-gram's length."""
        return len(self.orders)

    @property
    def start(self) -> Context:
        """The context of a text's first word."""
        return (self.words[BEGIN],)[: self.order - 1]

    @property
    def unknown(self) -> int:
        """The index of the unknown word."""
        return self.words[UNKNOWN]

    @property
    def end(self) -> int:
        """The index of the end of a text, which is scored like a word."""
        return self.words[END]

    @cached_property
    def spellings(self) -> list[str]:
        """The words that can be spoken, sorted: all but the markers ``<s>``, ``</s>`` and ``<unk>``."""
        return sorted(self.words.keys() - {BEGIN, END, UNKNOWN})

    def index(self, word: str) -> int:
        """A word's index, that of the unknown word for one that the model lacks, or that spells a marker."""
        return self.unknown if word in (BEGIN, END) else self.words.get(word, self.unknown)

    def score(self, context: Context, word: int) -> tuple[float, Context]:
        """log10 of a word's probability in a context, and the context after it."""
        charged = 0.0
        for first in range(len(context) + 1):
            history = context[first:]
            place = self._place((*history, word))
            if place is not None:
                known = (*history, word)
                return charged + float(self.orders[len(history)].log10[place]), known[max(0, len(known) - self.order + 1) :]
            above = self._place(history)
            charged += 0.0 if above is None else float(self.orders[len(history) - 1].backoff[above])
        raise AssertionError("every word is a 1-gram")

    def score_text(self, words: Sequence[str]) -> float:
        """log10 of the probability of a text, from ``<s>`` to ``</s>``, as kenlm's ``Model.score`` gives it."""
        total, context = 0.0, self.start
        for word in [*map(self.index, words), self.end]:
            log10, context = self.score(context, word)
            total += log10
        return total

    def _place(self, ngram: Context) -> int | None:
        """Where the table of its order has an n-gram, None if it does not."""
        if not ngram:
            return None
        place = ngram[0]
        for order, word in zip(self.orders[1:], ngram[1:], strict=False):
            key = place * len(self.words) + word
            place = int(order.keys.searchsorted(key))
            if place == len(order.keys) or order.keys[place] != key:
                return None
        return place


def _table(section: NGrams, below: list[Order], words: list[str], name: str) -> Order:
    """A section as a sorted table."""
    ngrams = section.words
    size = len(below[0].keys)
    place = ngrams[:, 0]
    found = np.ones(len(ngrams), dtype=bool)
    for order, word in zip(below[1:], ngrams.T[1:], strict=False):
        if not len(order.keys):
            found[:] = False
            break
        key = place * size + word
        place = np.minimum(order.keys.searchsorted(key), len(order.keys) - 1)
        found &= order.keys[place] == key
    if not found.all():
        row = int(found.argmin())
        ngram = brief(" ".join(words[i] for i in ngrams[row]))
        raise LanguageModelError(
            f"{name}: line {section.lines[row]}: {ngram}: expected its first words among the {len(below)}-grams"
        )
    keys = place * size + ngrams[:, -1]
    keys, firsts = np.unique(keys, return_index=True)
    return Order(keys, section.log10[firsts], section.backoff[firsts])
