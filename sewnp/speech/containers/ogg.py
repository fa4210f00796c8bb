"""Ogg: pages that are numbered, checked and marked where a recording begins and ends.  https://www.rfc-editor.org/rfc/rfc3533"""

import re
import zlib

from sewnp.speech.containers.source import BEGINNING, Piece, Source
from sewnp.speech.containers.tags import tag_size

_HEAD = 27  # bytes
_FIRST, _LAST = 2, 4  # flags
_CAPTURE = re.compile(rb"OggS\0")
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def ogg_piece(source: Source, start: int) -> tuple[Piece, int]:
    """The recording that begins there, and where it ends: with the file, a tag, or the first page of another one."""
    place, flaw, begun = start, "", False
    following: dict[int, int] = {}  # of every stream, the number of its next page
    open_streams: set[int] = set()
    while place < source.size:
        head = source.at(place, _HEAD)
        if head[:4] != b"OggS":
            if BEGINNING.match(source.at(place, 12)) or tag_size(source, place) or source.is_empty(place, source.size):
                break
            following_page = next(source.matches(_CAPTURE, place, source.size), source.size)
            flaw = flaw or f"damaged: {following_page - place:,} bytes from byte {place} on are no page of it"
            place = following_page
            continue
        size = _HEAD + head[-1] + sum(source.at(place + _HEAD, head[-1])) if len(head) == _HEAD else _HEAD
        if place + size > source.size:
            return Piece((range(start, place),), flaw or "cut short: its last page is incomplete"), source.size
        flags, serial, number = head[5], int.from_bytes(head[14:18], "little"), int.from_bytes(head[18:22], "little")
        if flags & _FIRST:
            if begun:
                break  # another recording
            open_streams.add(serial)
        else:
            begun = True
        if not flaw and _checksum(source.at(place, size)) != int.from_bytes(head[22:26], "little"):
            flaw = f"damaged: the page at byte {place} has another checksum than it says"
        if not flaw and number != following.get(serial, number):
            flaw = f"damaged: before byte {place} pages are missing"
        following[serial] = number + 1
        if flags & _LAST:
            open_streams.discard(serial)
        place += size
    if not flaw and open_streams:
        flaw = "cut short: no page is marked as its last"
    return Piece((range(start, place),), flaw), place


def _checksum(page: bytes) -> int:
    """Of a page, whose own field counts as 0: zlib's polynomial, from the highest bit to the lowest, without its inversions."""
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
    rest = zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{rest:032b}"[::-1], 2)
