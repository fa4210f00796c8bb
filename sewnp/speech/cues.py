"""Words cut into cues: the pieces that a subtitle shows at a time, and the segments of whisper's results.

Two lines of 42 characters, at most 7 seconds and at least 5/6 of one are the Netflix Timed Text Style Guide's (General Requirements 1 and
5, English 4), which many follow.  That a pause of half a second ends a cue is our choice: CTC's words end before their sound does, so that
gaps between words of one breath reach 0.3 s, and 0.5 s are a pause that one hears.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

from sewnp.errors import check_whole
from sewnp.speech.words import Timed

LINE = 42
"""Characters."""
LINES = 2
LONGEST = 7.0
"""Seconds."""
SHORTEST = 5 / 6
"""Seconds that a subtitle stays where nothing follows at once: shorter ones cannot be read."""
PAUSE = 0.5
"""Seconds without a word that end a cue."""


@dataclass(frozen=True)
class Layout:
    """What fits into a cue.  The names are those of whisper's command."""

    max_line_width: int = LINE
    """Characters; a longer word has a line of its own."""
    max_line_count: int = LINES
    max_words_per_line: int | None = None
    """As in whisper, words that a cue has at most."""
    highlight_words: bool = False
    """Whether each word is underlined while it is said: a cue of subtitles then becomes several of one text."""

    def __post_init__(self) -> None:
        for each in fields(self)[:3]:
            if getattr(self, each.name) is not None:
                check_whole(each.name, getattr(self, each.name), 1)


PLAIN = Layout()

W = TypeVar("W", bound=Timed)


def cut(words: Sequence[W], layout: Layout = PLAIN) -> list[list[W]]:
    """Words in the order of time -> cues, each of at least one word; none is lost and none moved.

    A cue ends at a pause of PAUSE seconds.  One that would be too long, in characters or in seconds, ends at the longest gap of its
    second half.  A word is never cut: one that is longer than a line, or than LONGEST, is a cue beyond these limits.
    """
    cues: list[list[W]] = []
    current: list[W] = []
    for word in words:
        if current and round(word.start - current[-1].end, 6) >= PAUSE:  # 1.10 - 0.60 is a little less than 0.5
            cues.append(current)
            current = []
        current.append(word)
        if not _fits(current, layout):
            place = _best_break(current, layout)
            cues.append(current[:place])
            current = current[place:]
    return [*cues, current] if current else cues


def lines(words: Sequence[Timed], layout: Layout = PLAIN) -> list[str]:
    """The lines that show a cue, each as full as the layout allows."""
    filled: list[str] = []
    for word in words:
        if filled and len(filled[-1]) + 1 + len(word.text) <= layout.max_line_width:
            filled[-1] += f" {word.text}"
        else:
            filled.append(word.text)
    return filled


def _fits(words: Sequence[Timed], layout: Layout) -> bool:
    if len(words) == 1:
        return True
    few = layout.max_words_per_line is None or len(words) <= layout.max_words_per_line
    return few and words[-1].end - words[0].start <= LONGEST and len(lines(words, layout)) <= layout.max_line_count


def _best_break(words: Sequence[Timed], layout: Layout) -> int:
    """Which word to begin the next cue with: in the second half, the one after the longest gap whose cue fits; of equals the last."""
    if layout.max_words_per_line is not None and len(words) > layout.max_words_per_line:
        return len(words) - 1  # as many words as were asked for
    places = (i for i in range(max(1, len(words) // 2), len(words)) if _fits(words[i:], layout))
    return max(places, key=lambda i: (words[i].start - words[i - 1].end, i))
