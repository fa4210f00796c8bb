"""Shallow fusion: what is known of words beside the sound, added to the score of a text that is spelled token by token.

    score(text) = log p(path sums of the text) + alpha * log p(words of the text) + beta * number of words
                  - unknown_margin * number of words that are not in the list
                  + hotword_weight * number of hotwords

The first line is a language model's part, the second a list of words', the third that of hotwords; what is not there counts nothing.

The words are what stands between delimiters, or from a word piece that begins one to the next; they are looked up as the tokens
spell them, upper case as upper case.  Each is charged when its delimiter comes or the next word begins, the last one at the end
of the text, and then the end itself.  A word that the model lacks is charged ``unknown_offset`` (log10) on top of the model's own
``<unk>``.  What a word that is not known will cost, the offset and the margin, is charged already while it is being spelled, as
soon as no known word begins like it.  A margin of infinity allows no such word at all.  With a list, every word outside it is
charged the offset too, whatever the language model has.

Weights and offset mean what they mean in pyctcdecode (https://github.com/kensho-technologies/pyctcdecode), but for an unfinished word,
where pyctcdecode takes the offset for a natural logarithm, does not weigh it, and raises it with length.  The beginning of a hotword
has its part of the weight, by its length and the shortest hotword's that begins so, and is not charged for what the language model
lacks.

:meth:`Fusion.bonus` says it plainly, for a whole prefix.  The rest of the class says it step by step for all prefixes of a beam.
"""

import math
from collections.abc import Sequence
from heapq import merge

import numpy as np

from sewnp.ctc.prefix_search import Prefix, Spelling
from sewnp.decoding.language_model import Context, LanguageModel
from sewnp.decoding.lexicon import EMPTY, UNKNOWN, Beginnings, begin, has
from sewnp.errors import InputError, LanguageModelError, brief, printable
from sewnp.types import Array

LEAST_LOG10 = -1e9
"""The log-probability that an impossible word is taken for: a text with one comes behind all others, and a weight of 0 is still 0."""


class Fusion:
    """A language model, a list of words and hotwords, each where it is there, bound to a vocabulary with the weights of their scores.

    Made for one search, whose states it numbers.  words and hotwords: sorted, as the vocabulary spells them.

    Raises InputError for a vocabulary that parts no words, LanguageModelError where no word of the model's can be spelled.
    """

    def __init__(
        self,
        model: LanguageModel | None,
        spelling: Spelling,
        *,
        alpha: float = 0.0,
        beta: float = 0.0,
        unknown_offset: float = 0.0,
        words: Sequence[str] | None = None,
        unknown_margin: float = math.inf,
        hotwords: Sequence[str] = (),
        hotword_weight: float = 0.0,
    ) -> None:
        if model is not None:
            check_spelling(model, spelling)
        check_parts_words(spelling, "a list of words")
        self.model, self.spelling, self.beta, self.unknown_offset = model, spelling, beta, unknown_offset
        self.words, self.margin, self.hotwords, self.weight = words, unknown_margin, hotwords, hotword_weight
        self.scale = alpha * math.log(10)
        self.closes = np.zeros(len(spelling.tokens), dtype=bool)
        self.closes[[*spelling.begins] if spelling.delimiter is None else spelling.delimiter] = True
        self.closed = words is not None and unknown_margin == math.inf
        """Whether some words are not allowed, and so not every prefix is a text."""
        self.known: Sequence[str] = words if words is not None else () if model is None else model.spellings
        start: Context = () if model is None else model.start
        self.contexts = [start]
        self.numbers = {start: 0}
        self.ended: dict[tuple[int, int], tuple[float, int]] = {}
        scored = () if model is None or self.closed else model.spellings
        others = [words for words in (scored, hotwords) if words and words is not self.known]
        self.beginnings = Beginnings(list(merge(self.known, *others)) if others else self.known, spelling)
        self.charges, self.wholes = np.array([0.0, self._pending(None)]), np.array([True, not self.closed])  # of each state

    def bonus(self, prefix: Prefix, ended: bool) -> float:
        """What is added to a prefix, or to a text that has ended.  The plain version of everything below."""
        *finished, last = words = [self.spelling.text(piece) for piece in self.spelling.split(prefix)]
        total, context = 0.0, self.contexts[0]
        for word in filter(None, words if ended else finished):
            gain, context = self._gain(context, word)
            total += gain
        if ended:
            return total + self._end(context)
        return total + self._pending(last)

    def step(self, states: Array, tokens: Array) -> Array:
        """The words that are being spelled, by one token more.  States (W,), tokens (K,) -> states (W, K)."""
        after = self.beginnings.step(states, tokens)
        if new := self.beginnings.texts[len(self.charges) :]:
            self.charges = np.append(self.charges, [self._pending(text) for text in new])
            self.wholes = np.append(self.wholes, [not self.closed or has(self.known, text) for text in new])
        return after

    def closing(self, tokens: Array) -> Array:
        """Which tokens end a word that is being spelled.  (K,) -> bool (K,)"""
        return np.asarray(self.closes[tokens])

    def pending(self, states: Array) -> Array:
        """What words that are being spelled have coming, a charge or a hotword's bonus.  States of any shape -> the same."""
        return np.asarray(self.charges[states])

    def whole(self, states: Array) -> Array:
        """Whether a text may end here.  States of any shape -> bool, the same."""
        return np.asarray(self.wholes[states])

    def close(self, context: int, state: int) -> tuple[float, int]:
        """The gain of ending the word here, and the context after it; nothing for no word.  Contexts are numbers, 0 that of the start."""
        if state == EMPTY:
            return 0.0, context
        if (context, state) not in self.ended:
            gain, after = self._gain(self.contexts[context], None if state == UNKNOWN else self.beginnings.texts[state])
            number = self.numbers.setdefault(after, len(self.contexts))
            if number == len(self.contexts):
                self.contexts.append(after)
            self.ended[context, state] = (gain, number)
        return self.ended[context, state]

    def finish(self, context: int, state: int) -> tuple[float, float]:
        """The gains of ending the text here: its last word, and its end."""
        gain, after = self.close(context, state)
        return gain, self._end(self.contexts[after])

    def _gain(self, context: Context, word: str | None) -> tuple[float, Context]:
        """Of a word, None for one that is on no list: what it adds, and the context after it."""
        gain, outside = 0.0, self.words is not None and (word is None or not has(self.words, word))
        if self.model is not None:
            index = self.model.unknown if word is None else self.model.index(word)
            log10, context = self.model.score(context, index)
            offset = self.unknown_offset if outside or index == self.model.unknown else 0.0
            gain = self.scale * max(log10 + offset, LEAST_LOG10) + self.beta
        if outside:
            gain -= self.margin
        if word is not None and has(self.hotwords, word):
            gain += self.weight
        return gain, context

    def _end(self, context: Context) -> float:
        return 0.0 if self.model is None else self.scale * max(self.model.score(context, self.model.end)[0], LEAST_LOG10)

    def _pending(self, text: str | None) -> float:
        """What a word that has come so far has coming; None is what begins no word of any list."""
        if text == "":
            return 0.0
        hot = [] if text is None else [len(word) for word in self.hotwords if word.startswith(text)]
        pending = self.weight * len(text or "") / min(hot) if hot else 0.0
        if text is not None and begin(self.known, text):
            return pending
        if self.model is not None and not hot:
            pending += self.scale * self.unknown_offset
        return pending if self.words is None else pending - self.margin


def check_parts_words(spelling: Spelling, what: str) -> None:
    """Raise InputError, saying what needs it, for a vocabulary in which nothing tells where a word ends."""
    if not spelling.parts_words:
        raise InputError(f"vocabulary: {what} needs a word delimiter token, which this vocabulary does not have, or word pieces")


def check_spelling(model: LanguageModel, spelling: Spelling) -> None:
    """Raise unless a language model can be used with a vocabulary: InputError where that parts no words, LanguageModelError
    where its tokens spell no word of the model's, as where one is in upper and the other in lower case."""
    check_parts_words(spelling, "a language model of words")
    texts = [text for i, text in enumerate(spelling.tokens) if i != spelling.delimiter]
    letters = set("".join(texts))
    if not any(letters.issuperset(word) for word in model.spellings):
        found = brief(model.spellings[0]) if model.spellings else "no word at all"
        raise LanguageModelError(
            f"{printable(model.name)}: expected words spelled with the vocabulary's letters {brief(''.join(sorted(letters)))}, found {found}"
        )
