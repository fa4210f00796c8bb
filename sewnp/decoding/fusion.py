"""Shallow fusion: what a language model of words adds to the score of a text that is spelled token by token.

    score(text) = log p(path sums of the text) + alpha * log p(words of the text) + beta * number of words

The words are what stands between delimiters; they are looked up as the tokens spell them, upper case as upper case.  Each is charged
when its delimiter comes, the last one at the end of the text, and then the end itself.  A word that the model lacks is charged
``unknown_offset`` (log10) on top of the model's own ``<unk>``, and that offset already while it is being spelled, as soon as no known
word begins like it.  Weights and offset mean what they mean in pyctcdecode (https://github.com/kensho-technologies/pyctcdecode),
but for an unfinished word, where pyctcdecode takes the offset for a natural logarithm, does not weigh it, and raises it with length.

:meth:`Fusion.bonus` says it plainly, for a whole prefix.  The rest of the class says it step by step for all prefixes of a beam.
"""

import math
from bisect import bisect_left

import numpy as np

from sewnp.ctc.prefix_search import Prefix, Spelling
from sewnp.decoding.language_model import Context, LanguageModel
from sewnp.errors import InputError, LanguageModelError, brief, printable
from sewnp.types import Array

EMPTY, UNKNOWN = 0, 1
"""States of the word that is being spelled: nothing yet; what no known word begins with."""


LEAST_LOG10 = -1e9
"""What the log-probability of an impossible word is taken for: a text with one comes behind all others, and a weight of 0 is still 0."""


class Fusion:
    """A language model bound to a vocabulary, with the weights of its scores; made for one search, whose states it numbers.

    Raises InputError for a vocabulary without a delimiter, LanguageModelError where no word can be spelled.
    """

    def __init__(self, model: LanguageModel, spelling: Spelling, *, alpha: float, beta: float, unknown_offset: float) -> None:
        check_spelling(model, spelling)
        assert spelling.delimiter is not None  # just checked
        self.model, self.spelling, self.tokens, self.delimiter = model, spelling, spelling.tokens, spelling.delimiter
        self.beta, self.unknown_offset = beta, unknown_offset
        self.scale = alpha * math.log(10)
        self.contexts: list[Context] = [model.start]
        self.numbers: dict[Context, int] = {model.start: 0}
        self.closed: dict[tuple[int, int], tuple[float, int]] = {}
        # known beginnings of words: state 2 and up
        self.beginnings = ["", ""]
        self.steps = np.full((64, len(self.tokens)), -1, dtype=np.int64)  # state and token -> state; a row is filled when asked for
        self.steps[UNKNOWN] = UNKNOWN
        self.steps[UNKNOWN, self.delimiter] = EMPTY

    def bonus(self, prefix: Prefix, ended: bool) -> float:
        """What the language model adds to a prefix, or to a text that has ended.  The plain version of everything below."""
        *finished, last = words = [self.spelling.text(piece) for piece in self.spelling.split(prefix)]
        total, context = 0.0, self.model.start
        for word in filter(None, words if ended else finished):
            gain, context = self._gain(context, self.model.index(word))
            total += gain
        if ended:
            return total + self._end(context)
        known = any(word.startswith(last) for word in self.model.spellings)
        return total + (0.0 if known or not last else self.scale * self.unknown_offset)

    def step(self, states: Array, tokens: Array) -> Array:
        """The words that are being spelled, by one token more.  States (W,), tokens (K,) -> states (W, K)."""
        for state in np.unique(states[self.steps[states, self.delimiter] < 0]).tolist():
            self._fill(state)
        return np.asarray(self.steps[states[:, None], tokens])

    def pending(self, states: Array) -> Array:
        """What is charged for words that cannot become known ones any more.  States of any shape -> the same."""
        return np.where(states == UNKNOWN, self.scale * self.unknown_offset, 0.0)

    def close(self, context: int, state: int) -> tuple[float, int]:
        """The gain of ending the word here, and the context after it; nothing for no word.  Contexts are numbers, 0 that of the start."""
        if state == EMPTY:
            return 0.0, context
        if (context, state) not in self.closed:
            word = self.model.unknown if state == UNKNOWN else self.model.index(self.beginnings[state])
            gain, after = self._gain(self.contexts[context], word)
            number = self.numbers.setdefault(after, len(self.contexts))
            if number == len(self.contexts):
                self.contexts.append(after)
            self.closed[context, state] = (gain, number)
        return self.closed[context, state]

    def finish(self, context: int, state: int) -> tuple[float, float]:
        """The gains of ending the text here: its last word, and its end."""
        gain, after = self.close(context, state)
        return gain, self._end(self.contexts[after])

    def _gain(self, context: Context, word: int) -> tuple[float, Context]:
        log10, after = self.model.score(context, word)
        offset = self.unknown_offset if word == self.model.unknown else 0.0
        return self.scale * max(log10 + offset, LEAST_LOG10) + self.beta, after

    def _end(self, context: Context) -> float:
        return self.scale * max(self.model.score(context, self.model.end)[0], LEAST_LOG10)

    def _fill(self, state: int) -> None:
        """The row of a state: which known words go on like this, token by token."""
        spellings = self.model.spellings
        row = np.full(len(self.tokens), UNKNOWN, dtype=np.int64)
        for token, text in enumerate(self.tokens):
            beginning = self.beginnings[state] + text
            place = bisect_left(spellings, beginning)
            if not text:
                row[token] = state
            elif place < len(spellings) and spellings[place].startswith(beginning):
                row[token] = len(self.beginnings)
                self.beginnings.append(beginning)
        row[self.delimiter] = EMPTY
        if len(self.beginnings) > len(self.steps):
            more = max(len(self.steps), len(self.beginnings) - len(self.steps))
            self.steps = np.concatenate([self.steps, np.full((more, len(self.tokens)), -1, dtype=np.int64)])
        self.steps[state] = row


def check_spelling(model: LanguageModel, spelling: Spelling) -> None:
    """Raise unless a language model can be used with a vocabulary: InputError where that has no word delimiter, LanguageModelError
    where its tokens spell no word of the model's, as where one is in upper and the other in lower case."""
    if spelling.delimiter is None:
        raise InputError("vocabulary: a language model of words needs a word delimiter token, which this vocabulary does not have")
    texts = [text for i, text in enumerate(spelling.tokens) if i != spelling.delimiter]
    letters = set("".join(texts))
    if not any(letters.issuperset(word) for word in model.spellings):
        found = brief(model.spellings[0]) if model.spellings else "no word at all"
        raise LanguageModelError(
            f"{printable(model.name)}: expected words spelled with the vocabulary's letters {brief(''.join(sorted(letters)))}, found {found}"
        )
