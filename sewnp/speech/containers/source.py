"""A file to look into, and parts of it given on as a file of their own: what the readers of containers share."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import IO, Any, TypeAlias

Parts: TypeAlias = Sequence[bytes | range]
"""What a file is made of: bytes of ours, and ranges of another file's."""

MOST_PIECES = 10_000
"""Recordings joined in one file: each costs its decoder a start, however small it is."""

BEGINNING = re.compile(
    rb"RIFF....WAVE|RIFX....WAVE|RF64....WAVE|riff\x2e\x91\xcf\x11|FORM....(?:AIF[FC]|8SVX|16SV)|caff\x00\x01|\.snd\0\0|dns\.|NIST_1A\n"
    rb"|fLaC[\0\x80]\0\0\x22|OggS\0",
    re.DOTALL,
)
"""What recordings begin with that are looked into."""

_BLOCK = 2**16  # bytes read at once
_LONGEST_PATTERN = 64
_ENDLESS = 2**40
_TAG = 128  # bytes, of the tag that an MP3 may end in


class Broken(Exception):
    """What keeps a file from being read.  Whoever knows its name tells it."""


@dataclass(frozen=True)
class Piece:
    """One recording of those that a file holds, to be decoded by itself."""

    parts: Parts
    """All that the decoder shall see."""
    flaw: str = ""
    """What is missing of it or damaged, in words; nothing if it is whole."""
    samples: int | None = None
    """How many there are in a channel; None: as many as the decoder says beforehand."""
    talks: bool = False
    """Its decoder writes remarks to standard output or standard error."""
    endless: bool = False
    """The decoder would take a length for the end that it has guessed from the size: it is told of none."""
    demuxer: str = ""
    """Of a format that libsndfile does not know: what ffmpeg calls it."""


def short_of(promised: int, found: int, unit: str = "bytes of sound") -> str:
    """The flaw of a recording that holds less than its header says."""
    return f"cut short: the header promises {promised} {unit}, found {found}"


class Source:
    """A file to look into.  Raises OSError or ValueError where it cannot be read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._start, self._block = 0, b""

    def at(self, start: int, size: int) -> bytes:
        """So many bytes from there on, fewer at the end of the file."""
        if not self._start <= start <= start + size <= self._start + len(self._block):
            self._file.seek(start)
            self._start, self._block = start, self._file.read(max(size, _BLOCK))
        return self._block[start - self._start : start - self._start + size]

    def integer(self, start: int, size: int, order: str = "big") -> int:
        """The unsigned number that stands there; 0 behind the end of the file.  order: "big" or "little" """
        return int.from_bytes(self.at(start, size), "big" if order == "big" else "little")

    def matches(self, pattern: re.Pattern[bytes], start: int, end: int) -> Iterator[int]:
        """Where a pattern of at most 64 bytes begins, again and again."""
        block = 16 * _BLOCK
        for first in range(start, end, block):
            data = self.at(first, min(block + _LONGEST_PATTERN, end - first))
            for match in pattern.finditer(data):
                if match.start() < block:
                    yield first + match.start()

    def is_empty(self, start: int, end: int) -> bool:
        """Whether nothing but zeros stands there: files are padded with them."""
        return not any(self.at(i, min(_BLOCK, end - i)).strip(b"\0") for i in range(start, end, _BLOCK))


class View:
    """Parts of a file as a file for libsndfile, which neither raises nor moves when a damaged header asks for a place before its beginning.

    soundfile calls this from C, where an exception could only be printed; what the disk raised is kept in ``error``.

    ``endless``: mpg123 looks for a tag at the end and, where it finds the end, computes the length from the size and the first frame, and stops
    there.  It is told of an end far away, in which no tag is.
    """

    def __init__(self, file: IO[bytes], parts: Parts, *, endless: bool = False) -> None:
        self._file, self._parts = file, parts
        self._starts = list(accumulate(map(len, parts), initial=0))
        self._end = self._starts[-1] + (_ENDLESS if endless else 0)
        self._at, self._first, self._block = 0, 0, b""
        self.error: Exception | None = None

    def tell(self) -> int:
        """The place in the view."""
        return self._at

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As files do; a place before the beginning changes nothing."""
        place = (0, self._at, self._end)[whence] + offset
        if place < 0:
            return -1
        self._at = place
        return place

    def readinto(self, buffer: Any, /) -> int:
        """As files do; 0 bytes where the disk fails."""
        wanted, done = len(buffer), 0
        while done < wanted:
            inside = self._at - self._first
            if not 0 <= inside < len(self._block):
                self._block, inside = self._load(wanted - done), 0
                self._first = self._at
                if not self._block:
                    break
            data = self._block[inside : inside + wanted - done]
            buffer[done : done + len(data)] = data
            done += len(data)
            self._at += len(data)
        return done

    def _load(self, wanted: int) -> bytes:
        """What stands at the place, or some of it."""
        if self._at >= self._starts[-1]:
            return bytes(min(wanted, _TAG)) if self._end - _TAG <= self._at < self._end and self._end > self._starts[-1] else b""
        index = bisect_right(self._starts, self._at) - 1
        part, inside = self._parts[index], self._at - self._starts[index]
        if isinstance(part, bytes):
            return part[inside:]
        try:
            self._file.seek(part.start + inside)
            return self._file.read(min(max(wanted, _BLOCK), len(part) - inside))
        except (OSError, ValueError) as error:
            self.error = error
            return b""


def patched(content: bytes, place: int, field: bytes) -> bytes:
    """A copy with some bytes replaced."""
    return content[:place] + field + content[place + len(field) :]
