"""From logits to words with times, in the shape that whisper made common (https://github.com/openai/whisper)."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sewnp.ctc.greedy import greedy_path
from sewnp.decoding import BeamSearch
from sewnp.errors import InputError, brief, check_shape
from sewnp.files import AnyPath, write_text
from sewnp.layers.softmax import log_softmax, softmax
from sewnp.speech import cues
from sewnp.speech.spelling import vocabulary_spelling
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.speech.words import Character, Timestamps, Word, as_dict
from sewnp.types import Array


@dataclass(frozen=True)
class Transcript:
    """What was said."""

    text: str
    words: tuple[Word, ...]
    duration: float
    """Seconds of sound."""
    characters: tuple[Character, ...] = ()
    """The characters of the words and the spaces that were heard between and around them."""
    decoder: str | None = field(default=None, compare=False)
    """What made it, in words: "greedy", "beam search: ..."; None where that is not known.  The same text and times are the same transcript."""
    confidence: float | None = field(default=None, compare=False)
    """The mean probability of the characters that greedy decoding hears in words, whatever decoder made the text: how well the model knows
    what is said, not how well it fits a list of words.  None where it hears none.  Not calibrated, fit for finding what a model does not know."""
    confidence_count: int = field(default=0, compare=False)
    """How many characters that is the mean of."""

    def __str__(self) -> str:
        return self.text

    @property
    def start(self) -> float:
        """When its first word begins; where it has none, 0."""
        return self.words[0].start if self.words else 0.0

    @property
    def end(self) -> float:
        """When its last word ends; where it has none, with the sound."""
        return self.words[-1].end if self.words else self.duration

    def to_srt(self, timestamps: Timestamps = "segment") -> str:
        """SubRip subtitles.  timestamps: what is shown at a time, "segment", "word" or "char"; also in the other formats."""
        return self._as("srt", timestamps)

    def to_vtt(self, timestamps: Timestamps = "segment") -> str:
        """WebVTT subtitles."""
        return self._as("vtt", timestamps)

    def to_tsv(self, timestamps: Timestamps = "segment") -> str:
        """A table of start, end and text, in whole milliseconds."""
        return self._as("tsv", timestamps)

    def save(self, path: AnyPath, timestamps: Timestamps = "segment") -> None:
        """Write a file whose name says the format: .txt, .json, .srt, .vtt or .tsv.

        Raises InputError for other names, and for what cannot be written.
        """
        write_text(Path(path), self._as(Path(path).suffix.removeprefix(".").lower(), timestamps))

    def _as(self, output_format: str, timestamps: Timestamps) -> str:
        from sewnp.speech.formats import format_transcript  # which knows what a transcript is

        return format_transcript(self, output_format, timestamps=timestamps)

    def to_dict(self, model: str | None = None, *, characters: bool = False) -> dict[str, Any]:
        """whisper's result, ready for JSON: text, segments, and ours: model and decoder (where known), duration.

        A segment is a cue (:mod:`sewnp.speech.cues`): it ends at a pause, or where it would be too long to be a subtitle.  A recording
        without text has none.  As in whisper's, words begin with a space, "word": " ONE", so that they can be joined, and segments have an
        avg_logprob, here that of their characters.  Other than whisper's, texts do not begin with one, and times are not rounded.
        characters: whether each segment lists its characters too, as ``chars``, in the shape that WhisperX gave them.
        """
        segments = [self._segment(i, words, characters) for i, words in enumerate(cues.cut(self.words))]
        if (
            len(segments) <= 1 and self.text
        ):  # the whole text: where it was cleaned up, it is not just the words with spaces between
            segments = [(segments or [self._segment(0, [], characters)])[0] | {"text": self.text}]
        named = {name: value for name, value in (("model", model), ("decoder", self.decoder)) if value is not None}
        return {"text": self.text, "segments": segments, **named, "duration": self.duration}

    def _segment(self, number: int, words: Sequence[Word], characters: bool) -> dict[str, Any]:
        """One of whisper's segments.  Without words it spans the recording."""
        start, end = (words[0].start, words[-1].end) if words else (0.0, self.duration)
        segment = {
            "id": number,
            "start": start,
            "end": end,
            "text": " ".join(word.text for word in words),
            **_mean_log([character.probability for word in words for character in word.characters]),
            "words": [as_dict("word", word) | {"word": f" {word.text}"} for word in words],
        }
        if characters:
            begin, until = (bisect_left(self.characters, time, key=attrgetter("start")) for time in (start, end))
            inside = self.characters[begin:until]
            segment["chars"] = [{"char": character.text, "start": character.start, "end": character.end} for character in inside]
        return segment


def _mean_log(probabilities: Sequence[float]) -> dict[str, float]:
    """whisper's avg_logprob, where there is anything that it can be the mean of."""
    least = 1e-38  # a float32 holds no less, and JSON no infinity
    return {"avg_logprob": sum(math.log(max(p, least)) for p in probabilities) / len(probabilities)} if probabilities else {}


def transcript_from_logits(
    logits: Array,
    tokenizer: CTCTokenizer,
    *,
    seconds_per_frame: float | Fraction,
    duration: float,
    decoder: BeamSearch | Literal["greedy"] | None = None,
    first_frame: int = 0,
) -> Transcript:
    """Decoding with times.  logits (T, V) -> :class:`Transcript`; ``duration`` in seconds.  first_frame: the number of the first, in the sound
    that times are told of.

    The text is what ``tokenizer.decode`` makes of the likeliest token at each frame, as in the speech recognition pipeline of
    transformers 5.23, and so are the times: offset in frames times ``seconds_per_frame``, the network's hop divided by its sampling
    rate.  ``Fraction(hop, rate)`` rounds once, as the pipeline does; a float twice.  Words have the text's case (the pipeline keeps
    the vocabulary's).

    With a ``decoder`` the text is its best hypothesis, and the frames are those of that text's likeliest path: where it finds what
    greedy decoding finds, everything is the same.  "greedy" is the same as None.

    Raises InputError unless the logits have two dimensions and a finite maximum in every frame, and what ``decoder.decode`` raises.
    """
    check_shape("logits", logits, (None, None))
    if logits.shape[1] == 0 or not np.isfinite(logits.max(axis=1)).all():
        raise InputError("logits: expected a finite maximum in every frame, found NaN, infinity, or no tokens at all")
    check_decoder(decoder)
    search = decoder if isinstance(decoder, BeamSearch) else None
    path, probabilities = greedy_path(logits), softmax(logits)
    best = probabilities[np.arange(len(path)), path]  # (T,), the probability of each frame's token
    text, characters, words = tokenizer.offsets(path)
    sure = [float(best[c.start : c.end].max()) for c in characters if c.text != tokenizer.space]
    confidence, made_by = sum(sure) / len(sure) if sure else None, "greedy"
    if search is not None:
        path, made_by = _best_path(logits, tokenizer, search), str(search)
        best = probabilities[np.arange(len(path)), path]
        text, characters, words = tokenizer.offsets(path)
    made = partial(Transcript, duration=duration, decoder=made_by, confidence=confidence, confidence_count=len(sure))
    if not text:
        return made("", ())

    def times(start: int, end: int) -> tuple[float, float]:
        return float((first_frame + start) * seconds_per_frame), float((first_frame + end) * seconds_per_frame)

    def cased(spelled: str) -> str:
        return spelled.lower() if tokenizer.do_lower_case else spelled

    heard = [Character(cased(c.text), *times(c.start, c.end), float(best[c.start : c.end].max())) for c in characters]
    starts = [character.start for character in characters]

    def word(spelled: str, start: int, end: int) -> Word:
        inside = heard[bisect_left(starts, start) : bisect_left(starts, end)]
        probability = sum(character.probability for character in inside) / len(inside)
        return Word(cased(spelled), *times(start, end), probability, tuple(inside))

    return made(text, tuple(word(*span) for span in words), characters=tuple(heard))


def check_decoder(decoder: object) -> None:
    """Raise InputError for anything but a BeamSearch, "greedy" and None."""
    if decoder is not None and not isinstance(decoder, BeamSearch) and not (isinstance(decoder, str) and decoder == "greedy"):
        raise InputError(f"decoder: expected a BeamSearch, 'greedy' or None, found {brief(decoder)}")


def _best_path(logits: Array, tokenizer: CTCTokenizer, decoder: BeamSearch) -> Array:
    """The token at each frame, (T,), on the likeliest path of the decoder's best text."""
    blank, spelling = tokenizer.pad_token_id, vocabulary_spelling(tokenizer, logits.shape[1])
    best = decoder.decode(log_softmax(logits.astype(np.float64)), blank=blank, spelling=spelling)[0]
    path = np.full(len(logits), blank)
    for token, start, end in best.spans:
        path[start:end] = token
    return path
