"""What was said when: words and their characters, with times in seconds from the start of the recording.

CTC spikes: a character holds the frame or two that decide it, not the time that it sounds, so words start and end a little inside their
sound.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


@dataclass(frozen=True)
class Character:
    """A character, a space among them, and when it was said."""

    text: str
    start: float
    """Seconds to the first frame that holds it."""
    end: float
    """Seconds to the end of the last such frame."""
    probability: float
    """In a transcript, the largest that the model gave it in its frames; in an alignment, how sure its place is."""
    score: float | None = None
    """In an alignment, the mean probability that the model gives it in its frames, as torchaudio's: whether it was said."""


@dataclass(frozen=True)
class Word:
    """A word, and when it was said: from the start of its first character to the end of its last."""

    text: str
    start: float
    end: float
    probability: float
    """In a transcript, the mean of its characters' (whisper's measure with characters for its tokens: cheap, fit for finding doubtful words,
    not calibrated; a language model has no part in it); in an alignment, how sure its place is."""
    characters: tuple[Character, ...] = ()
    score: float | None = None
    """In an alignment, the mean of its characters', weighted by their frames."""


Timed: TypeAlias = Word | Character

Timestamps: TypeAlias = Literal["segment", "word", "char"]
"""What subtitles and tables show at a time."""


def as_dict(key: str, timed: Timed) -> dict[str, Any]:
    """Ready for JSON, the text under ``key``."""
    told = {key: timed.text, "start": timed.start, "end": timed.end, "probability": timed.probability}
    return told if timed.score is None else told | {"score": timed.score}
