"""From logits to words with times, in the shape that whisper made common (https://github.com/openai/whisper)."""

from bisect import bisect_left
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from sewnp.ctc.decoding import greedy_path
from sewnp.errors import InputError, check_shape
from sewnp.layers.softmax import softmax
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.types import Array


@dataclass(frozen=True)
class Word:
    """A word, and when it was heard.

    CTC spikes: a character holds the frame or two that decide it, not the time that it sounds, so words start and end
    a little inside their sound.
    """

    text: str
    start: float
    """Seconds from the start of the recording to the first frame of the first character."""
    end: float
    """Seconds to the end of the last frame of the last character."""
    probability: float
    """The mean, over the word's characters, of the largest probability that the model gave each in the frames where it was the
    likeliest token.  whisper's measure with characters for its tokens: cheap, fit for finding doubtful words, not calibrated."""


@dataclass(frozen=True)
class Transcript:
    """What was said."""

    text: str
    words: tuple[Word, ...]
    duration: float
    """Seconds of sound."""

    def to_dict(self, model: str | None = None) -> dict[str, Any]:
        """whisper's result, ready for JSON: text, segments, and ours: model (where given), duration.

        One segment spans the words; a recording without text has none.  Other than whisper's, the words come without a leading
        space and the times are not rounded.
        """
        words = [{"word": word.text, "start": word.start, "end": word.end, "probability": word.probability} for word in self.words]
        start, end = (self.words[0].start, self.words[-1].end) if self.words else (0.0, self.duration)
        segments = [{"id": 0, "start": start, "end": end, "text": self.text, "words": words}] if self.text else []
        named = {} if model is None else {"model": model}
        return {"text": self.text, "segments": segments, **named, "duration": self.duration}


def transcript_from_logits(
    logits: Array, tokenizer: CTCTokenizer, *, seconds_per_frame: float | Fraction, duration: float
) -> Transcript:
    """Greedy decoding with times.  logits (T, V) -> :class:`Transcript`; ``duration`` in seconds.

    The text is what ``tokenizer.decode`` makes of the likeliest token at each frame, as in the speech recognition pipeline of
    transformers 5.23, and so are the times: offset in frames times ``seconds_per_frame``, the network's hop divided by its sampling
    rate.  ``Fraction(hop, rate)`` rounds once, as the pipeline does; a float twice.  Words have the text's case (the pipeline keeps
    the vocabulary's).  Raises InputError unless the logits have two dimensions and a finite maximum in every frame.
    """
    check_shape("logits", logits, (None, None))
    if logits.shape[1] == 0 or not np.isfinite(logits.max(axis=1)).all():
        raise InputError("logits: expected a finite maximum in every frame, found NaN, infinity, or no tokens at all")
    text, characters, words = tokenizer.offsets(greedy_path(logits))
    best = softmax(logits).max(axis=1)  # (T,), the probability of each frame's likeliest token
    starts = [character.start for character in characters]

    def timed(spelled: str, start: int, end: int) -> Word:
        inside = characters[bisect_left(starts, start) : bisect_left(starts, end)]
        probability = sum(float(best[character.start : character.end].max()) for character in inside) / len(inside)
        shown = spelled.lower() if tokenizer.do_lower_case else spelled
        return Word(shown, float(start * seconds_per_frame), float(end * seconds_per_frame), probability)

    return Transcript(text, tuple(timed(*word) for word in words) if text else (), duration)
