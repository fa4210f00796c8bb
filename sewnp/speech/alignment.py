"""From logits and a text to when each of its words and characters was said."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sewnp.ctc.alignment import TokenSpan, forced_align, frames_needed, merge_tokens, with_wildcard
from sewnp.ctc.band import probabilities_inside
from sewnp.errors import InputError, check_shape
from sewnp.layers.softmax import log_softmax
from sewnp.speech.spelling import Spelled, delimiter_id, spell
from sewnp.speech.textgrid import textgrid
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.speech.words import Character, Word, as_dict
from sewnp.types import Array


@dataclass(frozen=True)
class Alignment:
    """When a text was said."""

    text: str
    """As it was given, with single spaces between the words."""
    words: tuple[Word, ...]
    """Each with its characters, as the caller wrote them.  Their probability is how sure the place is, the text given:
    :func:`sewnp.ctc.span_probability` of their tokens in these frames."""
    log_likelihood: float
    """log p(text | audio), the natural logarithm, over *all* paths that spell the text, of a long clip those near the likeliest: at most 0,
    and comparable between texts for the same clip.  The places say where, this says whether.  Of a text with wildcards that of the likeliest
    path alone: a sum would count a path once for every way to say where they begin and end."""
    duration: float
    """Seconds of sound."""

    @property
    def characters(self) -> tuple[Character, ...]:
        """All words' characters, in order; delimiters between words are left out."""
        return tuple(character for word in self.words for character in word.characters)

    def to_dict(self, model: str | None = None) -> dict[str, Any]:
        """Ready for JSON: text, words (word, start, end, probability, score, chars), log_likelihood, model (where given), duration."""
        words = [as_dict("word", word) | {"chars": [as_dict("char", c) for c in word.characters]} for word in self.words]
        named = {} if model is None else {"model": model}
        return {"text": self.text, "words": words, "log_likelihood": self.log_likelihood, **named, "duration": self.duration}

    def to_textgrid(self) -> str:
        """A TextGrid as Praat writes it, with the tiers "words" and "characters": see :func:`sewnp.speech.textgrid.textgrid`."""
        return textgrid({"words": self.words, "characters": self.characters}, duration=self.duration)


def align_logits(
    logits: Array, text: str, tokenizer: CTCTokenizer, *, seconds_per_frame: float | Fraction, duration: float
) -> Alignment:
    """When each word and character of a text was said.  logits (T, V) -> :class:`Alignment`; ``duration`` in seconds.

    Places come from the likeliest path (:func:`sewnp.ctc.forced_align`), probabilities and the likelihood from all paths
    (:func:`sewnp.ctc.probabilities_inside`: of a long clip from those near it, to 1e-3), in float64.
    Times are frames times ``seconds_per_frame``, as in :func:`~sewnp.speech.transcript.transcript_from_logits`.

    A word ``*`` is a wildcard (:func:`sewnp.ctc.with_wildcard`): it stands for whatever is said there, and has its place among the words.
    (A vocabulary that can spell ``*`` has none.)

    Raises TokenizerError for a text that the vocabulary cannot spell, saying which characters and where; InputError for a text
    without words, one that does not fit into the frames, and logits that are not (T, V) or not finite.
    """
    check_shape("logits", logits, (None, None))
    if not np.isfinite(logits).all():
        raise InputError("logits: expected finite values, found NaN or infinity")
    vocab_size, blank = logits.shape[1], tokenizer.pad_token_id
    words = spell(text, tokenizer, vocab_size=vocab_size, wildcard=True)
    targets, firsts = _targets(words, delimiter_id(tokenizer, vocab_size=vocab_size))
    _check_fit(targets, len(logits), seconds_per_frame, duration)
    log_probs = log_softmax(logits.astype(np.float64))
    has_wildcards = vocab_size in targets
    path = forced_align(log_probs, targets, blank=blank, wildcard=has_wildcards)
    spans = merge_tokens(path.tokens, np.exp(path.scores), blank=blank)
    ranges = np.zeros((2, len(logits), 2), dtype=np.int64)  # the states of each frame's character, and of its word
    for tokens, first in zip(words, firsts, strict=True):
        end = first + len(tokens)
        for level, begin, stop in [*((0, i, i + 1) for i in range(first, end)), (1, first, end)]:
            ranges[level, spans[begin].start : spans[stop - 1].end] = 2 * begin + 1, 2 * stop
    emitted = with_wildcard(log_probs) if has_wildcards else log_probs
    inside, likelihood = probabilities_inside(emitted, targets, path.states, ranges, blank=blank)

    def placed(tokens: list[Spelled], first: int, inside: Array) -> Character:
        held = spans[first : first + len(tokens)]
        start, end = held[0].start, held[-1].end
        piece, sure = text[tokens[0].start : tokens[-1].end], float(inside[start:end].mean())
        return Character(piece, float(start * seconds_per_frame), float(end * seconds_per_frame), sure, _score(held))

    def word(tokens: list[Spelled], first: int) -> Word:
        characters = tuple(placed([token], first + i, inside[0]) for i, token in enumerate(tokens))
        return Word(**vars(placed(tokens, first, inside[1])), characters=characters)

    placed_words = tuple(word(tokens, first) for tokens, first in zip(words, firsts, strict=True))
    likelihood = path.log_probability if has_wildcards else likelihood
    return Alignment(" ".join(text.split()), placed_words, min(0.0, likelihood), duration)  # rounding may carry log 1 past 0


def _score(spans: list[TokenSpan]) -> float:
    """The mean over the frames that hold tokens."""
    return sum(span.score * len(span) for span in spans) / sum(map(len, spans))


def text_tokens(text: str, tokenizer: CTCTokenizer, *, vocab_size: int | None = None) -> list[int]:
    """The ids that spell a text, the delimiter between its words.  Arguments and errors as for :func:`~sewnp.speech.spell`."""
    return _targets(spell(text, tokenizer, vocab_size=vocab_size), delimiter_id(tokenizer, vocab_size=vocab_size))[0]


def _targets(words: list[list[Spelled]], delimiter: int | None) -> tuple[list[int], list[int]]:
    """The words' tokens with the delimiter between, and where in them each word begins."""
    targets: list[int] = []
    firsts = []
    for tokens in words:
        if targets and delimiter is not None:
            targets.append(delimiter)
        firsts.append(len(targets))
        targets += [spelled.token for spelled in tokens]
    return targets, firsts


def _check_fit(targets: list[int], frames: int, seconds_per_frame: float | Fraction, duration: float) -> None:
    needed = frames_needed(targets)
    if needed > frames:
        blanks = needed - len(targets)
        raise InputError(
            f"text: does not fit into the clip: {len(targets)} tokens, spaces too, and {blanks} blanks between equal neighbours need"
            f" {needed} frames, which is {float(needed * seconds_per_frame):.2f} s; found {frames} frames in {duration:.2f} s"
        )
