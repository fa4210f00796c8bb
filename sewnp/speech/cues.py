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


LONG_PAUSE = 3.0
"""Seconds from the beginning of one word to that of the next that end a cue of whisper's which is filled up to its limits."""


@dataclass(frozen=True)
class Layout:
    """What fits into a cue, by the options of whisper's command; with any limit, cues are cut as whisper's writers cut them."""

    max_line_width: int | None = None
    """Characters; a longer word has a line of its own."""
    max_line_count: int | None = None
    """Lines.  With a width too, cues are filled up to both, whatever segments their words are of."""
    max_words_per_line: int | None = None
    """Words that a cue has at most, as in whisper; without effect where cues are filled."""
    highlight_words: bool = False
    """Whether each word is underlined while it is said: a cue of subtitles then becomes several of one text."""

    def __post_init__(self) -> None:
        for each in fields(self)[:3]:
            if getattr(self, each.name) is not None:
                check_whole(each.name, getattr(self, each.name), 1)


PLAIN = Layout()

W = TypeVar("W", bound=Timed)


def cut(words: Sequence[W]) -> list[list[W]]:
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
        if not _fits(current):
            place = _best_break(current)
            cues.append(current[:place])
            current = current[place:]
    return [*cues, current] if current else cues


def lines(words: Sequence[W], width: int = LINE) -> list[list[W]]:
    """The words of each line of a cue, as many as fit."""
    filled: list[list[W]] = []
    for word in words:
        if filled and _has_room(filled[-1], word, width):
            filled[-1].append(word)
        else:
            filled.append([word])
    return filled


def shown(words: Sequence[W], layout: Layout = PLAIN) -> list[list[list[W]]]:
    """The words of each line of each cue of subtitles: the segments of :func:`cut`, or what whisper's writers make of these."""
    segments = cut(words)
    width, count, most = layout.max_line_width, layout.max_line_count, layout.max_words_per_line
    if (width, count, most) == (None, None, None):
        return [lines(segment) for segment in segments]
    fills = width is not None and count is not None
    cues: list[list[list[W]]] = []
    last: W | None = None
    for segment in segments:
        for i, word in enumerate(segment):
            long_pause = fills and last is not None and word.start - last.start > LONG_PAUSE
            begins = not fills and i % (most or len(segment)) == 0
            if last is None or begins:
                cues.append([[word]])
            elif not long_pause and (width is None or _has_room(cues[-1][-1], word, width)):
                cues[-1][-1].append(word)
            elif fills and (long_pause or len(cues[-1]) >= (count or 1)):
                cues.append([[word]])
            else:
                cues[-1].append([word])
            last = word
    return cues


def _has_room(line: Sequence[Timed], word: Timed, width: int) -> bool:
    return sum(len(each.text) + 1 for each in line) + len(word.text) <= width


def _fits(words: Sequence[Timed]) -> bool:
    return len(words) == 1 or (words[-1].end - words[0].start <= LONGEST and len(lines(words)) <= LINES)


def _best_break(words: Sequence[Timed]) -> int:
    """Which word to begin the next cue with: in the second half, the one after the longest gap whose cue fits; of equals the last."""
    places = (i for i in range(max(1, len(words) // 2), len(words)) if _fits(words[i:]))
    return max(places, key=lambda i: (words[i].start - words[i - 1].end, i))
