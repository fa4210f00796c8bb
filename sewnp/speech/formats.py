"""A transcript as a file's text, in the formats and with the conventions of whisper (https://github.com/openai/whisper).

txt is the text on one line, of long recordings a segment a line.  json is :meth:`Transcript.to_dict`.  srt and vtt are subtitles, tsv a
table of the same times in whole milliseconds.  Every format ends with a line feed, and an empty transcript is a valid, empty file of its format.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from sewnp.errors import InputError, brief
from sewnp.files import json_text
from sewnp.speech import cues
from sewnp.speech.cues import PLAIN, Layout
from sewnp.speech.transcript import Transcript
from sewnp.speech.words import Timed, Timestamps

LONG = 30.0
"""Seconds: of longer recordings a text is more than a line."""


@dataclass(frozen=True)
class Cue:
    """What is shown from ``start`` to ``end``, in milliseconds; ``start < end <= start`` of the next."""

    start: int
    end: int
    lines: tuple[str, ...]
    underlined: int | None = None
    """Which of its words, where words are highlighted."""


def subtitles(transcript: Transcript, timestamps: Timestamps = "segment", layout: Layout = PLAIN) -> list[Cue]:
    """The cues of a transcript: its segments, its words, or its characters one by one, in the order of time, none over another.

    A segment stays for 5/6 of a second at least where the next leaves it the time and the recording lasts so long.  Words and characters
    have their own times.  layout: how words become cues, as whisper's writers would cut them.  Text that would break the file is made
    harmless: line breaks become spaces, and ``-->`` becomes ``->``.
    Raises InputError for timestamps of another name.
    """
    kinds: dict[str, Sequence[Timed]] = {"segment": transcript.words, "word": transcript.words, "char": transcript.characters}
    if timestamps not in kinds:
        raise InputError(f"timestamps: expected one of {tuple(kinds)}, found {brief(timestamps)}")
    clean = _printable(kinds[timestamps])
    lined = cues.shown(clean, layout) if timestamps == "segment" else [[[unit]] for unit in clean]
    units = [[unit for line in lines for unit in line] for lines in lined]
    shortest = cues.SHORTEST if timestamps == "segment" else 0.0
    made: list[Cue] = []
    for lines, unit, following in zip_longest(lined, units, units[1:]):
        limit = transcript.duration if following is None else following[0].start
        until = max(unit[-1].end, min(unit[0].start + shortest, limit))
        start = max(_milliseconds(unit[0].start), made[-1].end if made else 0)
        # two words may begin within a millisecond, but no cue is shown for none
        end = max(_milliseconds(until if following is None else min(until, limit)), start + 1)
        made.append(Cue(start, end, tuple(" ".join(word.text for word in line) for line in lines)))
    if layout.highlight_words and timestamps == "segment":
        return [shown for cue, unit in zip(made, units, strict=True) for shown in _highlighted(cue, unit)]
    return made


def _highlighted(cue: Cue, words: Sequence[Timed]) -> Iterator[Cue]:
    """The parts of a cue: its text while nothing is said, and while a word is, that word underlined.  They fill the cue."""
    now, number = cue.start, 0
    for word in words:
        start = min(max(now, _milliseconds(word.start)), cue.end)
        end = min(max(start, _milliseconds(word.end)), cue.end)
        if start > now:
            yield replace(cue, start=now, end=start)
        if end > start:
            yield replace(cue, start=start, end=end, underlined=number)
        now, number = end, number + len(word.text.split(" "))
    if now < cue.end:
        yield replace(cue, start=now)


def to_txt(transcript: Transcript, timestamps: Timestamps = "segment") -> str:
    """The text on one line; of a recording of more than LONG seconds a segment a line.  (Where a tokenizer cleans texts up, one line too.)"""
    rows = [" ".join(word.text for word in segment) for segment in cues.cut(transcript.words)]
    if not rows or transcript.duration <= LONG or " ".join(rows) != transcript.text:
        rows = [transcript.text]
    return "".join(f"{one_line(row)}\n" for row in rows)


def to_json(
    transcript: Transcript, timestamps: Timestamps = "segment", *, audio: str | None = None, model: str | None = None
) -> str:
    """whisper's result on one line; with the characters, where these are asked for.  audio, model: what it is the transcript of, and by whom."""
    named = {} if audio is None else {"audio": audio}
    return json_text(named | transcript.to_dict(model=model, characters=timestamps == "char")) + "\n"


def to_srt(transcript: Transcript, timestamps: Timestamps = "segment", layout: Layout = PLAIN) -> str:
    """SubRip: numbered cues, hours always, a comma before the milliseconds."""
    return "".join(
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_text(cue)}\n\n"
        for number, cue in enumerate(subtitles(transcript, timestamps, layout), 1)
    )


def to_vtt(transcript: Transcript, timestamps: Timestamps = "segment", layout: Layout = PLAIN) -> str:
    """WebVTT (https://www.w3.org/TR/webvtt1/): a header, a dot before the milliseconds, hours where there are any.

    ``&``, ``<`` and ``>`` would begin or end markup, and the token ``<unk>`` would not be shown: they are escaped.
    """
    body = "".join(
        f"{_clock(cue.start, '.', hours=False)} --> {_clock(cue.end, '.', hours=False)}\n{_text(cue, _escaped)}\n\n"
        for cue in subtitles(transcript, timestamps, layout)
    )
    return f"WEBVTT\n\n{body}"


def to_tsv(transcript: Transcript, timestamps: Timestamps = "segment") -> str:
    """A table of start, end and text, times in whole milliseconds, the first line their names; a tab in a text becomes a space."""
    rows = (f"{cue.start}\t{cue.end}\t{' '.join(cue.lines)}\n" for cue in subtitles(transcript, timestamps))
    return "start\tend\ttext\n" + "".join(rows)


_SUBTITLES = {"srt": to_srt, "vtt": to_vtt}

FORMATS = ("txt", "json", "srt", "vtt", "tsv")
"""What the formats are called, and their files: ``clip.srt``."""


def format_transcript(
    transcript: Transcript,
    output_format: str,
    *,
    timestamps: Timestamps = "segment",
    audio: str | None = None,
    model: str | None = None,
    layout: Layout = PLAIN,
) -> str:
    """A transcript in one of FORMATS.  audio, model: what json names.  layout: of srt's and vtt's segments.

    Raises InputError for a format of another name.
    """
    if output_format == "json":
        return to_json(transcript, timestamps, audio=audio, model=model)
    if output_format not in FORMATS:
        raise InputError(f"output_format: expected one of {FORMATS}, found {brief(output_format)}")
    if output_format in _SUBTITLES:
        return _SUBTITLES[output_format](transcript, timestamps, layout)
    return (to_tsv if output_format == "tsv" else to_txt)(transcript, timestamps)


def one_line(text: str) -> str:
    """A text without line breaks, of whatever kind: each becomes a space.  So do tabs."""
    return " ".join(" ".join(text.splitlines()).split("\t"))


def _printable(units: Sequence[Timed]) -> list[Timed]:
    """Texts without line breaks and arrows; white space, which would show nothing, is left out."""
    clean = (replace(unit, text=re.sub("--+>", "->", " ".join(unit.text.split()))) for unit in units)
    return [unit for unit in clean if unit.text]


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


def _clock(milliseconds: int, point: str, *, hours: bool = True) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hour, minutes = divmod(minutes, 60)
    return f"{f'{hour:02d}:' if hours or hour else ''}{minutes:02d}:{seconds:02d}{point}{thousandths:03d}"


def _text(cue: Cue, escaped: Callable[[str], str] = str) -> str:
    words = [[escaped(word) for word in line.split(" ")] for line in cue.lines]
    places = [(i, j) for i, line in enumerate(words) for j in range(len(line))]
    if cue.underlined is not None:
        i, j = places[cue.underlined]
        words[i][j] = f"<u>{words[i][j]}</u>"
    return "\n".join(" ".join(line) for line in words)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
