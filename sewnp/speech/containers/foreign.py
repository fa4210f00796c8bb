"""Formats that ffmpeg reads and libsndfile does not: known by how they begin, and their sizes held against what is there.

Those of which ffmpeg may leave out the end and say nothing, Flash video for one, are not among them.

MP4: ISO/IEC 14496-12, 4.2.  Windows Media (ASF): its specification of 2012, 3.2.  AAC (ADTS): ISO/IEC 13818-7, 6.2.
"""

import re
from collections.abc import Callable

from sewnp.speech.containers.source import Piece, Source, short_of

_BEGINNINGS = {
    "mov": rb".{4}(?:ftyp|moov|mdat|wide)",
    "matroska": rb"\x1aE\xdf\xa3",
    "asf": rb"0&\xb2u\x8ef\xcf\x11\xa6\xd9\0\xaa\0b\xcel",
    "amr": rb"#!AMR(?:-WB)?\n",
    "avi": rb"RIFF.{4}AVI ",
    "mpegts": rb"G.{187}G.{187}G",
    "mpeg": rb"\0\0\x01\xba",
    "ogg": rb"OggS\0.{21}\x01.Speex   ",
    "wv": rb"wvpk",
}
_FOREIGN = re.compile(b"|".join(b"(?P<%s>%s)" % (name.encode(), begin) for name, begin in _BEGINNINGS.items()), re.DOTALL)
_LONGEST_BEGINNING = 400

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # an object of ASF
_ASF_HEADER = 2**16  # bytes in which it is looked for
_BROADCAST = 1  # of its flags: sizes are not known


def foreign_piece(source: Source, place: int) -> Piece | None:
    """The recording of a file that begins there as one of these formats; None for other files."""
    match = _FOREIGN.match(source.at(place, _LONGEST_BEGINNING))
    demuxer = (match and match.lastgroup) or ("aac" if _is_adts(source, place) else "")
    if not demuxer:
        return None
    look = _FLAWS.get(demuxer)
    return Piece((range(source.size),), flaw=look(source, place) if look else "", demuxer=demuxer)


def _is_adts(source: Source, place: int) -> bool:
    """Whether a frame of AAC stands there and behind it another, or nothing.  MPEG audio differs in its layer, which is never 0."""
    head = source.at(place, 7)
    if len(head) < 7 or not _is_sync(head) or head[2] >> 2 & 15 > 12:
        return False
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return length >= 7 and (place + length >= source.size or _is_sync(source.at(place + length, 2)))


def _is_sync(head: bytes) -> bool:
    return len(head) >= 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def _mov_flaw(source: Source, place: int) -> str:
    """Boxes lie one behind the other to the end.  A second ``moov`` is that of a second recording, which ffmpeg passes over."""
    indexes = 0
    while place + 8 <= source.size:
        size, kind = source.integer(place, 4), source.at(place + 4, 4)
        if size == 1:
            size = source.integer(place + 8, 8)
        if size < 8 or not kind.isalnum():  # to the end; or a tag, or damage, which ffmpeg will tell
            break
        if place + size > source.size:
            return short_of(size, source.size - place, f"bytes in its box {kind.decode('ascii', 'replace')}")
        indexes += kind == b"moov"
        place += size
    return "several recordings in one file, of which ffmpeg would read the first" if indexes > 1 else ""


def _asf_flaw(source: Source, place: int) -> str:
    start = source.at(place, _ASF_HEADER).find(_FILE_PROPERTIES)
    if start < 0 or source.integer(place + start + 88, 4, "little") & _BROADCAST:
        return ""
    promised, found = source.integer(place + start + 40, 8, "little"), source.size - place
    if found < promised:
        return short_of(promised, found, "bytes")
    another = source.at(place + promised, 16) == source.at(place, 16)
    return "several recordings in one file, of which ffmpeg would read the first" if another else ""


def _avi_flaw(source: Source, place: int) -> str:
    promised, found = source.integer(place + 4, 4, "little") + 8, source.size - place
    return short_of(promised, found, "bytes") if found < promised < 2**32 else ""


_FLAWS: dict[str, Callable[[Source, int], str]] = {"mov": _mov_flaw, "asf": _asf_flaw, "avi": _avi_flaw}
