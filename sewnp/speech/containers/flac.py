"""FLAC: its header may say how many samples follow, and every frame says which of them it begins with.

https://www.rfc-editor.org/rfc/rfc9639.  Programs that write into a pipe leave 0 in the header; the last frame knows better.
"""

import re
from dataclasses import dataclass

from sewnp.speech.containers.source import BEGINNING, Piece, Source, short_of
from sewnp.speech.containers.tags import before_tags

_MARKER = re.compile(rb"fLaC[\0\x80]\0\0\x22")
_STREAM_INFO = 8  # bytes before its content, which counts the samples in the last 36 of the eight bytes from the tenth on
_COUNT = 2**36 - 1
_LARGEST_FRAME = 2**20  # bytes, where the header does not say
_MOST_TRIES = 32  # headers among the last bytes: most are no headers but bytes that look like one
_SYNC = re.compile(rb"\xff[\xf8\xf9][\x10-\xff]")


@dataclass(frozen=True)
class _Frame:
    """A frame begins at ``place``, which has ``before`` samples before it and so many of its own."""

    place: int
    before: int
    samples: int


def flac_piece(source: Source, start: int) -> tuple[Piece, int]:
    """The recording that begins there, and where the next one does, or the file ends."""
    begin, info = _frames_begin(source, start), start + _STREAM_INFO
    blocks, largest = source.integer(info + 2, 2), source.integer(info + 7, 3) or _LARGEST_FRAME
    count = source.integer(info + 10, 8)
    promised = count & _COUNT
    first = _frame(source.at(begin, 32), begin, blocks)
    for other in (_MARKER, BEGINNING):  # by chance, long recordings hold one of the second: asked only where no frame ends
        stop = next(source.matches(other, begin, source.size), source.size)
        end = before_tags(source, begin, stop)
        last, is_whole = _last(source, begin, end, blocks, largest)
        if is_whole:
            break
    if first is None or last is None:
        return Piece((range(start, end),)), stop  # no frames: libFLAC says so
    found, flaw = last.before - first.before + last.samples, ""
    if not is_whole and found != promised:  # else torn, or something stands behind it: libFLAC will see
        found, end = found - last.samples, last.place
        flaw = short_of(promised, found, "samples") if promised else "cut short: its last frame is incomplete"
    elif found < promised:
        flaw = short_of(promised, found, "samples")
    if found == promised:
        return Piece((range(start, end),), flaw), stop
    told = (count & ~_COUNT | found & _COUNT).to_bytes(8, "big")
    return Piece((range(start, info + 10), told, range(info + 18, end)), flaw), stop


def _frames_begin(source: Source, start: int) -> int:
    """Where the frames begin, behind all metadata."""
    place = start + 4
    while place + 4 <= source.size:
        kind, size = source.at(place, 1)[0], source.integer(place + 1, 3)
        place += 4 + size
        if kind & 128:
            break
    return min(place, source.size)


def _last(source: Source, start: int, end: int, blocks: int, largest: int) -> tuple[_Frame | None, bool]:
    """The last frame, and whether it is whole."""
    begin = max(start, end - largest - 32)
    data = source.at(begin, end - begin)
    places = [match.start() for match in _SYNC.finditer(data)]
    frames = [frame for place in places[::-1] if (frame := _frame(data[place : place + 32], begin + place, blocks))]
    for frame in frames[:_MOST_TRIES]:
        if _rest(data[frame.place - begin :], _CRC16, 16) == 0:
            return frame, True
    return (frames[0] if frames else None), False


def _frame(head: bytes, place: int, blocks: int) -> _Frame | None:
    """The frame that begins with these bytes; None if none does.

    blocks: samples in a frame, from the header: where all have as many, frames are counted and not samples.
    """
    if len(head) < 6 or not _SYNC.match(head):
        return None
    ones = next((i for i in range(8) if not head[4] << i & 128), 8)  # as UTF-8 does: so many bytes, six bits in each that follows
    if ones in (1, 8):
        return None
    size = max(ones, 1)
    number = head[4] & (127 >> ones)
    for byte in head[5 : 4 + size]:
        number = number << 6 | byte & 63
    end, code, rate = 4 + size, head[2] >> 4, head[2] & 15
    if code in (6, 7):
        samples = int.from_bytes(head[end : end + code - 5], "big") + 1
        end += code - 5
    else:
        samples = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    end += 1 if rate == 12 else 2 if rate in (13, 14) else 0
    if rate == 15 or end >= len(head) or _rest(head[: end + 1], _CRC8, 8):
        return None
    return _Frame(place, number if head[1] & 1 else number * blocks, samples)


def _table(polynomial: int, bits: int) -> list[int]:
    """The remainders of every byte."""
    table = []
    for byte in range(256):
        rest = byte << bits - 8
        for _ in range(8):
            rest = rest << 1 ^ (polynomial if rest >> bits - 1 else 0)
            rest &= (1 << bits) - 1
        table.append(rest)
    return table


_CRC8, _CRC16 = _table(0x07, 8), _table(0x8005, 16)


def _rest(data: bytes, table: list[int], bits: int) -> int:
    """The remainder of the data and its checksum behind it: 0 if nothing is damaged."""
    rest, mask = 0, (1 << bits) - 1
    for byte in data:
        rest = (rest << 8 & mask) ^ table[rest >> bits - 8 ^ byte]
    return rest
