"""Tags, which stand before, between and behind recordings and are no sound: ID3, APE, Lyrics3.

ID3v2: https://id3.org/id3v2.4.0-structure.  ID3v1: https://id3.org/ID3v1.  APE: https://wiki.hydrogenaud.io/index.php?title=APEv2_specification.
Lyrics3: https://id3.org/Lyrics3v2.
"""

from sewnp.speech.containers.source import Source

_ID3V1 = 128
_ID3V1_MORE = 227  # "TAG+", before it
_APE_HEADER = 1 << 29  # in the flags: this is the header
_APE_HAS_HEADER = 1 << 31
_LONGEST_LYRICS = 5100  # of version 1


def tag_size(source: Source, start: int) -> int:
    """Bytes of the tag that stands there; 0 if none does."""
    head = source.at(start, 32)
    if head[:3] == b"ID3" and len(head) >= 10 and max(head[6:10]) < 128:
        # the size has 7 bits a byte
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        return 10 + size + (10 if head[5] & 0x10 else 0)
    if head[:8] == b"APETAGEX" and len(head) == 32:
        is_header = int.from_bytes(head[20:24], "little") & _APE_HEADER
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    if head[:4] == b"TAG+":
        return _ID3V1_MORE
    if head[:3] == b"TAG":
        return _ID3V1
    if head[:11] == b"LYRICSBEGIN":
        text = source.at(start, 2**20)
        ends = [text.find(mark) + len(mark) for mark in (b"LYRICS200", b"LYRICSEND") if mark in text]
        return min(ends, default=0)
    return 0


def after_tags(source: Source, start: int) -> int:
    """The place behind all tags that stand there, and the zeros that pad them."""
    place = start
    while size := tag_size(source, place):
        place += size
        if place < source.size and source.at(place, 1) == b"\0":
            padding = next((i for i, byte in enumerate(source.at(place, 2**16)) if byte), None)
            place += padding or 0
    return min(place, source.size)


def before_tags(source: Source, start: int, end: int) -> int:
    """The place before all tags in which the file ends."""
    while True:
        size = _last_tag(source, end)
        if not size or end - size < start:
            return end
        end -= size


def _last_tag(source: Source, end: int) -> int:
    """Bytes of the tag that ends there."""
    if end >= _ID3V1 and source.at(end - _ID3V1, 3) == b"TAG":
        more = end >= _ID3V1 + _ID3V1_MORE and source.at(end - _ID3V1 - _ID3V1_MORE, 4) == b"TAG+"
        return _ID3V1 + (_ID3V1_MORE if more else 0)
    last = source.at(max(0, end - 32), min(32, end))
    if last[:8] == b"APETAGEX" and len(last) == 32:
        flags = int.from_bytes(last[20:24], "little")
        return int.from_bytes(last[12:16], "little") + (32 if flags & _APE_HAS_HEADER else 0)
    if last[-10:-7] == b"3DI":
        size = sum(byte << shift for byte, shift in zip(last[-4:], (21, 14, 7, 0), strict=True))
        return size + 20
    if last[-9:] == b"LYRICS200" and last[-15:-9].isdigit():
        return int(last[-15:-9]) + 15
    if last[-9:] == b"LYRICSEND":
        first = max(0, end - _LONGEST_LYRICS - 20)
        begin = source.at(first, end - first).rfind(b"LYRICSBEGIN")
        return end - first - begin if begin >= 0 else 0
    return 0
