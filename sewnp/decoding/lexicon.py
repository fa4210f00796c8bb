"""Lists of words: the only ones that a text may have, or that are dearer than others, as a trie that prefixes of texts walk through.

A *lexicon* takes part in a search while a word is being spelled: a prefix whose last letters begin no word of the list cannot become a
text of the list's words, and is dropped, or charged what an unknown word costs.  *Hotwords* are the opposite: each gives the text that
has it a bonus, and its letters a part of that in advance, or else it would be lost before it is whole.  Both mean what they mean in
flashlight-text (https://github.com/flashlight/text) and pyctcdecode (https://github.com/kensho-technologies/pyctcdecode).
"""

import os
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sewnp.ctc.prefix_search import Spelling
from sewnp.errors import InputError, brief
from sewnp.files import path_name, read_lines
from sewnp.types import Array

EMPTY, UNKNOWN = 0, 1
"""States of the word that is being spelled: nothing yet; what no known word begins with."""

_SHOWN = 5


def read_words(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The words of a UTF-8 text with one a line; blank lines say nothing.

    Raises InputError for a file that cannot be read, a line of several words, naming it, and a file without words.
    """
    words = []
    for place, line in read_lines(path):
        found = line.split()
        if len(found) > 1:
            raise InputError(f"{place}: expected one word a line, found {brief(line)}")
        words += found
    if not words:
        raise InputError(f"{path_name(path)}: expected words, one a line, found none")
    return tuple(words)


def check_words(name: str, words: Any, *, phrases: bool = False) -> tuple[str, ...]:
    """A list of words, sorted, each once; phrases: where an entry may be several, they are its words.

    Raises InputError for anything but a list of str, and for one that is no word, naming the argument.
    """
    if isinstance(words, str | bytes) or not isinstance(words, Sequence | set | frozenset):
        raise InputError(f"{name}: expected a list of words, found {brief(words)}")
    for word in words:
        if not isinstance(word, str) or not (word.split() if phrases else word.split() == [word]):
            raise InputError(f"{name}: expected {'words or phrases' if phrases else 'words without spaces'}, found {brief(word)}")
    return tuple(sorted({part for word in words for part in word.split()}))


@lru_cache(maxsize=8)
def spelled(name: str, words: tuple[str, ...], spelling: Spelling, *, strict: bool = True) -> tuple[str, ...]:
    """The words as the vocabulary spells them, sorted: one that it can spell only in its other case is taken in that.

    Raises InputError for words that its tokens do not spell in any case, naming the first ones; where that is not ``strict`` they are
    left out: no text has them.
    """
    texts = {i: text for i, text in enumerate(spelling.tokens) if i != spelling.delimiter}
    inside = frozenset(text for i, text in texts.items() if text and i not in spelling.begins)
    first = frozenset(texts[i] for i in spelling.begins) if spelling.begins else inside
    forms, missing = set(), []
    for word in words:
        form = next((form for form in (word, word.upper(), word.lower()) if _can_spell(form, first, inside)), None)
        if form is None:
            missing.append(word)
        else:
            forms.add(form)
    if missing and strict:
        shown = ", ".join(map(brief, missing[:_SHOWN])) + (f", and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
        raise InputError(f"{name}: the vocabulary cannot spell {shown}")
    return tuple(sorted(forms))


def _can_spell(word: str, first: frozenset[str], inside: frozenset[str]) -> bool:
    """Whether a word is one of the first texts, and then some of those inside, one after the other."""
    if word[0] in first and inside.issuperset(word[1:]):
        return True
    longest = max(map(len, inside), default=0)
    ends = {len(text) for text in first if word.startswith(text)}
    for end in range(1, len(word) + 1):
        if any(start in ends and word[start:end] in inside for start in range(max(0, end - longest), end)):
            ends.add(end)
    return len(word) in ends


class Beginnings:
    """The trie over a sorted list of words, whose nodes are numbered as a search comes to them: the states of the word being spelled.

    From any state a token leads to one other; what begins no word is all one state, UNKNOWN, which only a delimiter leads out of, or a
    token that begins a word.
    """

    def __init__(self, words: Sequence[str], spelling: Spelling) -> None:
        self.words, self.tokens, self.delimiter, self.begins = words, spelling.tokens, spelling.delimiter, sorted(spelling.begins)
        self.texts = ["", ""]
        """What each state has spelled; of UNKNOWN nobody knows."""
        self.steps = np.full((64, len(self.tokens)), -1, dtype=np.int64)
        """State and token -> state; a row is filled when asked for."""
        self._fill(EMPTY)
        self.steps[UNKNOWN] = UNKNOWN
        self.steps[UNKNOWN, self.begins] = self.steps[EMPTY, self.begins]
        if self.delimiter is not None:
            self.steps[UNKNOWN, self.delimiter] = EMPTY

    def step(self, states: Array, tokens: Array) -> Array:
        """One token more.  States (W,), tokens (K,) -> states (W, K)."""
        for state in np.unique(states[self.steps[states, 0] < 0]).tolist():
            self._fill(state)
        return np.asarray(self.steps[states[:, None], tokens])

    def _fill(self, state: int) -> None:
        """The row of a state: which words go on like this, token by token."""
        row = np.full(len(self.tokens), UNKNOWN, dtype=np.int64)
        again = set(self.begins) if state != EMPTY else set()
        for token, text in enumerate(self.tokens):
            beginning = self.texts[state] + text
            if token in again:
                row[token] = self.steps[EMPTY, token]
            elif not text:
                row[token] = state
            elif begin(self.words, beginning):
                row[token] = len(self.texts)
                self.texts.append(beginning)
        if self.delimiter is not None:
            row[self.delimiter] = EMPTY
        if len(self.texts) > len(self.steps):
            more = max(len(self.steps), len(self.texts) - len(self.steps))
            self.steps = np.concatenate([self.steps, np.full((more, len(self.tokens)), -1, dtype=np.int64)])
        self.steps[state] = row


def begin(words: Sequence[str], beginning: str) -> bool:
    """Whether any of the sorted words begins so."""
    place = bisect_left(words, beginning)
    return place < len(words) and words[place].startswith(beginning)


def has(words: Sequence[str], word: str) -> bool:
    """Whether a word is among the sorted ones."""
    place = bisect_left(words, word)
    return place < len(words) and words[place] == word
