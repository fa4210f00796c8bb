"""Sound from a pipe that may never end, as it arrives: WAV whose header was written before anybody knew how long it would be.

ffmpeg, SoX and arecord write such headers into pipes; what follows is sound for as long as the pipe is open.  All other sound has an end
that somebody has promised, or a format that cannot be decoded before it (:mod:`~sewnp.speech.stream`).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sewnp.errors import AudioError
from sewnp.speech.audio import HIGHEST_RATE, mono
from sewnp.speech.containers.chunks import is_placeholder
from sewnp.speech.soundfiles import reading
from sewnp.types import Array

_FURTHEST = 2**16
"""Bytes in which a header ends, or it is none of a pipe."""
_MOST = 2**16  # bytes that are taken at once
_KINDS = {(1, 8): "u1", (1, 16): "<i2", (1, 24): "<i3", (1, 32): "<i4", (3, 32): "<f4", (3, 64): "<f8"}
"""How samples of a format tag and so many bits are stored; NumPy has no <i3."""
_EXTENSIBLE = 0xFFFE  # the format tag that says: see the first two bytes of the subformat


class Pipe:
    """Bytes that arrive, whose beginning can be looked at before it is read.  source: a buffered reader, such as ``sys.stdin.buffer``."""

    def __init__(self, name: str, source: Any) -> None:
        self.name, self._source, self._ahead = name, source, b""

    def ahead(self, start: int, size: int) -> bytes:
        """So many bytes from there on, which stay; fewer where the pipe ends."""
        while len(self._ahead) < start + size and (data := self._arrived(start + size - len(self._ahead))):
            self._ahead += data
        return self._ahead[start : start + size]

    def read(self, size: int = _MOST) -> bytes:
        """What has arrived, at most so many bytes; none when the pipe has ended.  Waits for the first."""
        if self._ahead:
            data, self._ahead = self._ahead[:size], self._ahead[size:]
            return data
        return self._arrived(size)

    def _arrived(self, size: int) -> bytes:
        with reading(self.name):
            return bytes(self._source.read1(size))


@dataclass(frozen=True)
class Arriving:
    """Sound that arrives."""

    sampling_rate: int
    """Hz."""
    blocks: Iterator[Array]
    """(n,) float32, mono, as they come.  Raises AudioError where there are none at all."""


def arriving(pipe: Pipe) -> Arriving | None:
    """The sound of a pipe whose header does not know its length; None, with nothing read, for whatever else it holds."""
    if pipe.ahead(0, 4) != b"RIFF" or pipe.ahead(8, 4) != b"WAVE":
        return None
    place, found = 12, b""
    while place < _FURTHEST and len(head := pipe.ahead(place, 8)) == 8:
        name, size = head[:4], int.from_bytes(head[4:], "little")
        place += 8
        if name == b"data":
            return _sound(pipe, found, place) if is_placeholder(size) else None
        if name == b"fmt ":
            found = pipe.ahead(place, min(size, 40))
        place += size + size % 2
    return None


def pcm(pipe: Pipe, kind: str = "<i2", channels: int = 1, *, allow_truncated: bool = True) -> Iterator[Array]:
    """Samples without a header.  -> blocks (n,) float32, channels averaged.  kind: NumPy's name of their dtype; "<i3" is 24 bits.

    allow_truncated: of a sample that the end has cut say nothing; else it is an AudioError.  So are no samples at all.
    """
    width, count, held = int(kind[-1]) * channels, 0, b""
    while data := pipe.read():
        held += data
        whole = len(held) // width * width
        if whole:
            count += whole
            yield mono(_unpacked(held[:whole], kind).reshape(-1, channels))
            held = held[whole:]
    if not count:
        raise AudioError(f"{pipe.name}: no samples")
    if held and not allow_truncated:
        raise AudioError(f"{pipe.name}: cut short: expected samples of {width} bytes, found {count + len(held)} bytes")


def _sound(pipe: Pipe, found: bytes, start: int) -> Arriving | None:
    """What begins at ``start``, by the chunk that says its format; None where it says one that is not read here."""
    if len(found) < 16:
        return None
    tag, channels, rate, _, width, bits = struct.unpack("<HHIIHH", found[:16])
    if tag == _EXTENSIBLE:
        tag = int.from_bytes(found[24:26], "little")
    kind = _KINDS.get((tag, bits))
    if kind is None or not channels or width != channels * bits // 8 or not 1 <= rate <= HIGHEST_RATE:
        return None
    while start:  # the header has been looked at
        start -= len(pipe.read(start))
    return Arriving(rate, pcm(pipe, kind, channels))


def _unpacked(data: bytes, kind: str) -> Array:
    if kind != "<i3":
        return np.frombuffer(data, kind)
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]
