"""MPEG audio (MP3), which has no header that tells its length: frames follow each other, and whoever wants to know how many walks through them.

ISO 11172-3 and 13818-3; http://www.mp3-tech.org/programmer/frame_header.html.  A frame tells its own size.  The first may be empty and hold a
count of those behind it ("Xing" or "Info", https://www.codeproject.com/Articles/8295/MPEG-Audio-Frame-Header, or "VBRI").
"""

import re
from dataclasses import dataclass, field
from functools import cache

from sewnp.speech.containers.source import BEGINNING, MOST_PIECES, Broken, Piece, Source, patched, short_of
from sewnp.speech.containers.tags import after_tags, tag_size

_KBPS = {
    ("1", 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    ("1", 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    ("1", 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    ("2", 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    ("2", 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ("2", 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by the version's two bits: 1, 2, 2.5

_TELLS = 0xFFFFFEC0  # the bits of a header that say anything about the frame's size and kind
_COUNTS = (b"Xing", b"Info")
_SYNC = re.compile(rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff]")
_CHAIN = 3  # frames in a row that nobody takes for anything else
_LEADING = 4096  # bytes before the first frame: it may be torn there
_MOST_TRIES = 100_000  # places that look like a frame and are none
_EXACT = (b"LAME", b"Lavf", b"Lavc")  # encoders that do not count the frame that holds the count; of others nobody knows


@dataclass(frozen=True)
class _Frame:
    """What the four bytes tell that a frame begins with."""

    size: int
    samples: int
    kind: tuple[int, ...]
    """What a decoder cannot change on the way: version, layer, rate, one channel or two."""
    counts_at: tuple[int, int]
    """Where a count of all frames may stand, without and with a checksum before it: behind the side information, which is empty then."""


@cache
def _frame(header: int) -> _Frame | None:
    """The frame that begins with these 32 bits, if one does.  Those that do not tell their size ("free format") are none."""
    version, layer, bits, rate = header >> 19 & 3, 4 - (header >> 17 & 3), header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    is_first, is_mono = version == 3, header >> 6 & 3 == 3
    samples = 384 if layer == 1 else 576 if layer == 3 and not is_first else 1152
    kbps, slot = _KBPS["1" if is_first else "2", layer][bits - 1], 4 if layer == 1 else 1
    size = (samples // 8 // slot * kbps * 1000 // _RATES[version][rate] + (header >> 9 & 1)) * slot
    side = (17 if is_mono else 32) if is_first else (9 if is_mono else 17)
    return _Frame(size, samples, (version, layer, rate, is_mono), (4 + side, 6 + side))


def _frame_at(source: Source, place: int) -> _Frame | None:
    """The frame that stands there whole, if one does."""
    frame = _frame(source.integer(place, 4) & _TELLS)
    return frame if frame and place + frame.size <= source.size else None


def _is_end(source: Source, place: int) -> bool:
    """Whether the recordings end there, so that nothing is missing."""
    return place >= source.size or source.is_empty(place, source.size) or bool(BEGINNING.match(source.at(place, 12)))


def _is_chain(source: Source, place: int) -> bool:
    """Whether frames of one kind follow each other there: three, or two up to the end or a tag."""
    kind = None
    for done in range(_CHAIN):
        if done > 1 and (tag_size(source, place) or _is_end(source, place)):
            return True
        frame = _frame_at(source, place)
        if frame is None or kind not in (None, frame.kind):
            return False
        kind, place = frame.kind, place + frame.size
    return True


@dataclass
class _Run:
    """Frames of one kind, which one decoder can decode one after the other."""

    frame: _Frame
    """One of them."""
    promised: int | None = None
    """The frames that the first one tells of."""
    counter: bytes = b""
    """That one, if the decoder knows its kind of count."""
    unsure: int = 1
    """Frames that the count may be too high."""
    frames: int = 0
    ranges: list[range] = field(default_factory=list)
    flaw: str = ""

    def add(self, start: int, size: int) -> None:
        """A frame more."""
        if self.ranges and self.ranges[-1].stop == start:
            self.ranges[-1] = range(self.ranges[-1].start, start + size)
        else:
            self.ranges.append(range(start, start + size))
        self.frames += 1

    def drop(self, frame: range) -> None:
        """The last frame was none."""
        if self.ranges and self.ranges[-1].stop == frame.stop:
            self.ranges[-1] = range(self.ranges[-1].start, frame.start)
            self.frames -= 1

    @property
    def is_short(self) -> bool:
        """Whether frames are missing, as far as anybody knows."""
        return self.promised is None or self.frames + self.unsure < self.promised

    def piece(self) -> Piece:
        """With the frame that counts the others where it is right: it also says how many samples the encoder has added."""
        count, flaw = self.frames * self.frame.samples, self.flaw
        if self.promised is not None and self.is_short:
            flaw = short_of(self.promised * self.frame.samples, count, "samples")
        if self.counter and self.promised is not None and not self.is_short and self.frames <= self.promised:
            return Piece((self._resized(), *self.ranges), flaw, talks=True)
        return Piece(tuple(self.ranges), flaw, count, talks=True, endless=True)

    def _resized(self) -> bytes:
        """The frame that counts, with the right number of bytes: mpg123 complains of another."""
        at = next(at for at in self.frame.counts_at if self.counter[at : at + 4] in _COUNTS)
        if not self.counter[at + 7] & 2:
            return self.counter
        return patched(self.counter, at + 12, (len(self.counter) + sum(map(len, self.ranges))).to_bytes(4, "big"))


def _run(source: Source, place: int, frame: _Frame, flaw: str) -> _Run:
    """A run that begins with the frame that stands there, which is sound or counts those behind it.  flaw: of what stands before it"""
    data = source.at(place, frame.size)
    for at in frame.counts_at:
        if data[at : at + 4] in _COUNTS and data[at + 7] & 1:
            unsure = 0 if any(name in data for name in _EXACT) else 1
            return _Run(frame, int.from_bytes(data[at + 8 : at + 12], "big"), data, unsure, flaw=flaw)
    return _Run(frame, int.from_bytes(data[50:54], "big") if data[36:40] == b"VBRI" else None, flaw=flaw)


def _begins_frame(source: Source, place: int, like: _Frame) -> bool:
    """Whether a frame of that kind begins there, be it whole or not."""
    frame = _frame(source.integer(place, 4) & _TELLS)
    return frame is not None and frame.kind == like.kind


def _counts(source: Source, place: int, frame: _Frame) -> bool:
    """Whether it holds no sound, but tells of the others."""
    return source.at(place + 36, 4) == b"VBRI" or any(source.at(place + at, 4) in _COUNTS for at in frame.counts_at)


@dataclass
class _Search:
    """For the next frames, in whatever stands before them.  One that fails too often gives up: its work would grow without bound."""

    source: Source
    tries: int = 0

    def next(self, start: int, end: int) -> int | None:
        """Where the next chain of frames begins."""
        for place in self.source.matches(_SYNC, start, end):
            self.tries += 1
            if self.tries > _MOST_TRIES:
                raise Broken(f"damaged: {_MOST_TRIES:,} places in it look like MPEG audio and are none")
            if _is_chain(self.source, place):
                return place
        return None


def mpeg_pieces(source: Source, start: int) -> tuple[list[Piece], int]:
    """The recordings that begin there, and where they end: joined ones, and parts with another rate or number of channels.

    Raises Broken where no frames are, as in samples without a header, which libsndfile would take for some, and where too much looks like one.
    """
    search, runs, place, last, is_trusted, flaw = _Search(source), list[_Run](), start, range(0), False, ""
    while not (runs and _is_end(source, place)):
        frame = _frame_at(source, place)
        counts = frame is not None and _counts(source, place, frame)
        is_new = not runs or counts or (frame is not None and frame.kind != runs[-1].frame.kind)
        if frame and ((is_trusted and not is_new) or _is_chain(source, place)):
            if is_new:
                runs.append(_run(source, place, frame, flaw))
            if not counts:
                runs[-1].add(place, frame.size)
            last, is_trusted, flaw = range(place, place + frame.size), True, ""
            place = last.stop
        elif runs and tag_size(source, place):
            place = after_tags(source, place)
        else:
            # the last frame may be torn, and the next one begin inside it
            begin = search.next(last.start + 1, source.size) if runs else search.next(place, min(place + _LEADING, source.size))
            flaw = f"damaged: {(begin or source.size) - place:,} bytes from byte {place} on are no MPEG audio"
            if runs:
                is_torn = begin is None and _begins_frame(source, place, runs[-1].frame) and runs[-1].frames != runs[-1].promised
                if is_torn:
                    flaw = "cut short: its last frame is incomplete"
                if begin is not None and begin < last.stop:
                    runs[-1].drop(last)
                    flaw = f"damaged: the frame at byte {last.start} is incomplete"
                if begin is not None or is_torn or runs[-1].is_short:
                    runs[-1].flaw = runs[-1].flaw or flaw
                flaw = ""
            elif begin is None:
                raise Broken("not audio that can be decoded: it begins like MPEG audio, but no frames follow")
            place, is_trusted = source.size if begin is None else begin, False
        if len(runs) > MOST_PIECES:
            raise Broken(f"damaged: more than {MOST_PIECES:,} recordings in one file")
    return [run.piece() for run in runs], place
