"""Containers that say how many bytes of sound they hold: WAV (RIFF, RF64, Wave64), AIFF, 8SVX, CAF, AU and NIST SPHERE.

http://soundfile.sapp.org/doc/WaveFormat, EBU Tech 3306 (RF64), Sony's Wave64 paper, Apple's AIFF-C draft and Core Audio Format
specification.  A program that writes into a pipe cannot go back to fill in the size, and one that was killed did not: what the header says
is held against what is there.
"""

import re
from dataclasses import dataclass

from sewnp.speech.containers.source import BEGINNING, Piece, Source, short_of
from sewnp.speech.containers.tags import tag_size


@dataclass(frozen=True)
class _Kind:
    """How a container spells its chunks: an id, a size, the content."""

    first: int
    """Bytes before the first chunk."""
    order: str = "little"
    id_bytes: int = 4
    size_bytes: int = 4
    align: int = 2
    sound: bytes = b"data"
    """What the id of the chunk with the sound begins with."""
    counts_itself: bool = False
    """The size of a chunk is that of its id and size too."""

    @property
    def head_bytes(self) -> int:
        return self.id_bytes + self.size_bytes


def is_placeholder(size: int, more: int = 0, field_bytes: int = 4) -> bool:
    """Whether a header's size of the sound was written before anybody knew it: ffmpeg leaves 2**32 - 1, or 2**63 - 1, arecord about 2**31, SoX
    0x7F000000, others 0, which may be true, and two billions."""
    return size + more >= (0x7F000000 if field_bytes == 4 else 2**62) or size == 2_000_000_000


@dataclass(frozen=True)
class _Said:
    """What a header says of the sound: how many bytes, in which field of so many bytes."""

    size: int
    field: int
    field_bytes: int
    order: str
    more: int = 0
    """Bytes that the field counts beside them."""

    @property
    def is_unknown(self) -> bool:
        """It cannot be meant."""
        return is_placeholder(self.size, self.more, self.field_bytes)


_WAV, _CAF = _Kind(12), _Kind(8, "big", size_bytes=8, align=1)
_KINDS = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"RIFX": _Kind(12, "big"),
    b"riff": _Kind(40, id_bytes=16, size_bytes=8, align=8, counts_itself=True),
    b"FORM": _Kind(12, "big", sound=b"SSND"),
    b"caff": _CAF,
}
_SVX = _Kind(12, "big", sound=b"BODY")
_TEXT = re.compile(rb"[ -~]{4}")
# A file that was cut short in one of these has lost nothing of its sound
_BESIDE = (b"LIST", b"fact", b"bext", b"iXML", b"cue ", b"smpl", b"id3 ", b"ID3 ", b"PEAK", b"JUNK", b"info", b"ANNO", b"NAME")
_HEADER_BYTES = 64  # some writers count their own header among the data
_SLACK = 8  # bytes behind the sound that are neither a chunk nor sound


def chunk_piece(source: Source, start: int) -> tuple[Piece, int]:
    """The recording that begins there, and where it ends: where its header says, or with the file."""
    magic = source.at(start, 12)
    if magic[:4] in (b".snd", b"dns."):
        order = "big" if magic[:1] == b"." else "little"
        offset, size = source.integer(start + 4, 4, order), source.integer(start + 8, 4, order)
        return _sized(source, start, start + offset, _Said(size, start + 8, 4, order))
    if magic[:4] == b"NIST":
        return _nist(source, start)
    kind = _SVX if magic[8:] in (b"8SVX", b"16SV") else _KINDS[magic[:4]]
    place, large = start + kind.first, 0
    while place + kind.head_bytes <= source.size:
        name, size = _chunk(source, kind, place)
        content = place + kind.head_bytes
        if name == b"ds64":  # RF64 says here what does not fit into 32 bits: the sizes of the file and of the sound
            large = content + 8
        elif name.startswith(kind.sound):
            said = _Said(size, place + kind.id_bytes, kind.size_bytes, kind.order, kind.head_bytes if kind.counts_itself else 0)
            if large and size == 2**32 - 1:
                said = _Said(source.integer(large, 8, kind.order), large, 8, kind.order)
            return _sized(source, start, content, said, kind)
        place = max(_after(kind, start, content + size), content)
    return Piece((range(start, source.size),)), source.size  # no sound: libsndfile says what it misses


def _chunk(source: Source, kind: _Kind, place: int) -> tuple[bytes, int]:
    """The id of the chunk that begins there, and the bytes of its content."""
    size = source.integer(place + kind.id_bytes, kind.size_bytes, kind.order)
    return source.at(place, kind.id_bytes), size - (kind.head_bytes if kind.counts_itself else 0)


def _after(kind: _Kind, start: int, end: int) -> int:
    """Where the next chunk begins: chunks are padded."""
    return end + (start - end) % kind.align


def _nist(source: Source, start: int) -> tuple[Piece, int]:
    """NIST SPHERE, whose header of text counts the samples.  libsndfile reads to the end of the file, whatever it says."""
    header = source.at(start, 1024)
    fields = {name: int(value) for name, value in re.findall(rb"(?m)^(\w+) -i (\d{1,15})\s", header)}
    begins = re.match(rb"NIST_1A\n *(\d{1,9})\n", header)
    names = (b"sample_count", b"sample_n_bytes", b"channel_count")
    if begins is None or b"shorten" in header or not all(name in fields for name in names[:2]):
        return Piece((range(start, source.size),)), source.size
    size = fields[names[0]] * fields[names[1]] * fields.get(names[2], 1)
    return _sized(source, start, start + int(begins[1]), _Said(size, start, 0, "big"))


def _sized(source: Source, start: int, content: int, said: _Said, kind: _Kind | None = None) -> tuple[Piece, int]:
    """The recording whose sound begins at ``content``: all of it, be its header right or not, or as much as there is, with what is missing."""
    there = max(0, source.size - content)
    size, stop, flaw = said.size, source.size, ""
    talks = kind is _CAF  # of ALAC
    if said.size > there:
        size = there
        if not said.is_unknown and said.size > there + _HEADER_BYTES:
            flaw = short_of(said.size, there)
    elif ends := _ends(source, start, content + size, kind):
        stop = ends
    else:  # what follows is sound: the size in the header was never brought up to date
        size = there
    if size == said.size or not said.field_bytes:
        return Piece((range(start, stop),), flaw, talks=talks), stop
    number = min(size + said.more, 256**said.field_bytes - 1).to_bytes(said.field_bytes, "big" if said.order == "big" else "little")
    return Piece((range(start, said.field), number, range(said.field + len(number), stop)), flaw, talks=talks), stop


def _ends(source: Source, start: int, end: int, kind: _Kind | None) -> int:
    """Where the recording ends whose sound is said to end at ``end``: behind its chunks.  0 if something else follows."""
    if kind is None:
        return end if _is_outside(source, end) else 0
    for first in dict.fromkeys(
        (_after(kind, start, end), end, end + 1)
    ):  # some writers forget the padding, or add some that is not due
        place = first
        while not _is_outside(source, place):
            name, size = _chunk(source, kind, place)
            following = place + kind.head_bytes + size
            known = name.startswith(_BESIDE)
            if not _TEXT.match(name) or size < 0 or (following > source.size and not known):
                break
            place = _after(kind, start, following)
        else:
            return min(place, source.size)
        if place > first:
            return source.size  # what is no chunk behind one that is is no sound either
    return 0


def _is_outside(source: Source, place: int) -> bool:
    """Whether that is the end, or padding, a tag or another recording begins there."""
    if source.size - place < _SLACK:
        return True
    return bool(BEGINNING.match(source.at(place, 12)) or tag_size(source, place)) or source.is_empty(place, source.size)
