"""Samples in a file without a header, which only the caller knows: 16-bit integers, signed, little-endian, of one channel."""

import os
import re
import warnings
from collections.abc import Iterator
from typing import IO

import numpy as np

from sewnp.errors import AudioError, AudioWarning
from sewnp.speech.audio import as_waveform
from sewnp.speech.containers.source import BEGINNING
from sewnp.speech.resampling import resampled
from sewnp.speech.soundfiles import reading
from sewnp.types import Array

_BYTES = 2  # of a sample
_HEADER = re.compile(BEGINNING.pattern + rb"|....ftyp|\x1aE\xdf\xa3|ID3", re.DOTALL)  # what is meant for another reader


HEAD = 32
"""Bytes by which other files are known."""


def check_headless(name: str, head: bytes) -> None:
    """Raise AudioError for the beginning of a file that has a header."""
    if _HEADER.match(head):
        raise AudioError(f"{name}: expected samples without a header, found a file that says what it is ({head[:4]!r})")


class RawFile:
    """Such a file, open for reading and seeking, that can be read as often as needed."""

    def __init__(self, name: str, file: IO[bytes], rate: int, target: int, *, allow_truncated: bool = False) -> None:
        self.name, self._file, self._rate, self._target, self._allows = name, file, rate, target, allow_truncated
        self._has_warned = False

    def blocks(self) -> Iterator[Array]:
        """The sound from its beginning: blocks (n,), float32, at the target rate, of about a second."""
        with reading(self.name):
            size = self._file.seek(0, os.SEEK_END)
            self._file.seek(0)
            head = self._file.read(HEAD)
        if not size:
            raise AudioError(f"{self.name}: the file is empty (0 bytes)")
        check_headless(self.name, head)
        if size % _BYTES:
            flaw = f"cut short: expected samples of {_BYTES} bytes, found {size} bytes"
            if not self._allows or size < _BYTES:
                raise AudioError(f"{self.name}: {flaw}")
            if not self._has_warned:
                self._has_warned = True
                warnings.warn(f"{self.name}: {flaw}; the whole samples were read", AudioWarning, stacklevel=2)
        yield from resampled(self._samples(size // _BYTES), self._rate, self._target)

    def _samples(self, left: int) -> Iterator[Array]:
        place = 0
        while left:
            with reading(self.name):
                self._file.seek(place)  # two passes may take turns
                data = self._file.read(_BYTES * min(left, self._rate))
            if len(data) < _BYTES:
                raise AudioError(f"{self.name}: cut short while it was read")
            x = np.frombuffer(data[: len(data) // _BYTES * _BYTES], "<i2")
            place, left = place + _BYTES * len(x), left - len(x)
            yield as_waveform(x.astype(np.int16), name=self.name)
