"""Recordings of any length, read block by block: what is held in memory does not grow with them.

Files are read in :mod:`~sewnp.speech.soundfiles`; what is no file on disk is copied into one first.
"""

import io
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np

from sewnp.errors import AudioError, InputError, SewError
from sewnp.files import naming
from sewnp.speech.audio import Audio, AudioFile, RawAudio, as_waveform, audio_name, check_rate
from sewnp.speech.given import check_one, samples, unwrapped
from sewnp.speech.raw import RawFile
from sewnp.speech.resampling import resample, too_long
from sewnp.speech.soundfiles import SoundFile, reading
from sewnp.types import Array

_IN_MEMORY = 2**24
"""Bytes of a pipe that are kept in memory; a longer one goes to a temporary file."""
_BLOCK = 2**18  # bytes of it that are read at once
_NOBODY_KNOWS = 2**40
"""Samples, or more, that a header speaks of that was written before it could be known."""


@dataclass(frozen=True)
class Recording:
    """A recording that can be read block by block, as often as needed, but by one reader at a time."""

    name: str
    """What to call it in messages."""
    blocks: Callable[[], Iterator[Array]]
    """Start from the beginning: (n,) float32 arrays, mono, at the rate that was asked for, of about a second.  Raises AudioError, some
    of it only at the end, for what is damaged, cut short, without samples, NaN or infinite."""

    def read(self) -> Array:
        """All of it.  -> (n,) float32"""
        return np.concatenate(list(self.blocks()))

    def beginning(self, most: int) -> Array:
        """The first ``most`` samples, or all where there are fewer; what only the end can tell is not checked.  -> (n,) float32"""
        held, count = [], 0
        for block in self.blocks():
            held.append(block[: most - count])
            count += len(held[-1])
            if count >= most:
                break
        return np.concatenate(held)


@contextmanager
def open_recording(
    audio: Audio, *, target: int = 16000, sampling_rate: int | None = None, allow_truncated: bool = False
) -> Iterator[Recording]:
    """Sound from wherever it is, at ``target`` Hz, for the time of a ``with``.

    audio: a path, a file object open for reading bytes, ``"-"`` for standard input, one of these in a :class:`RawAudio`, the bytes of a file,
    samples (n,), or a dict of such samples, ``"array"`` or ``"raw"``, and their ``"sampling_rate"``.  sampling_rate: of samples, in Hz, by
    default ``target``, with an AudioWarning where they are integers.  Files are read where they are; what is not a file on disk is first
    copied, in memory where it is short and else into a temporary file, which is gone after the ``with``.  Channels are averaged, any rate
    is resampled, and recordings that were joined in one file are read one after the other.

    allow_truncated: use what there is of a file that was cut short or is damaged, with an AudioWarning that says what is missing.

    Raises AudioError, which names the source and the cause, for whatever cannot be opened or is empty, and for samples that are none;
    InputError for a sampling_rate that is none or belongs to a file.
    """
    target, name = check_rate("sampling_rate", target), audio_name(audio)
    check_one(audio)
    audio, sampling_rate = unwrapped(audio, sampling_rate)
    if isinstance(audio, RawAudio):
        if sampling_rate is not None:
            raise InputError("sampling_rate: expected none beside the one of a RawAudio")
        rate = check_rate("sampling_rate", audio.sampling_rate)
        if problem := too_long(rate, target):
            raise AudioError(f"{name}: {problem}")
        with _opened(name, audio.audio) as file:
            yield Recording(name, RawFile(name, file, rate, target, allow_truncated=allow_truncated).blocks)
    elif isinstance(audio, str | os.PathLike) or hasattr(audio, "read"):
        if sampling_rate is not None:
            raise InputError("sampling_rate: expected only with samples; a file says its own rate")
        with _opened(name, cast(AudioFile, audio)) as file:
            yield Recording(name, SoundFile(name, file, target, allow_truncated=allow_truncated).blocks)
    else:
        original = target if sampling_rate is None else check_rate("sampling_rate", sampling_rate)
        x = resample(as_waveform(samples(audio, sampling_rate, target)), original, target)
        yield Recording("audio", lambda: (x[i : i + target] for i in range(0, len(x), target)))


def read_audio(audio: AudioFile, *, sampling_rate: int = 16000, allow_truncated: bool = False) -> Array:
    """Read a recording as the model wants it, whole.  -> (n,) float32, mono, ``sampling_rate`` samples a second.

    ``audio`` is a path, a file object open for reading bytes, or ``"-"`` for standard input.  Channels are averaged, any rate is
    resampled.  What was written into a pipe, so that its header does not know its length, is read to its end, and so are recordings that
    were joined in one file.  allow_truncated: use what there is of a file that was cut short or is damaged, with an AudioWarning.

    Raises AudioError, which names the file and the cause, for whatever cannot be read or holds no usable sound: missing, a folder,
    empty, not audio, cut short, no samples, NaN.  Raises InputError for an ``audio`` or ``sampling_rate`` that is none.
    """
    if not isinstance(audio, str | os.PathLike) and not hasattr(audio, "read"):
        raise InputError(f"audio: expected a path, a file object or '-' for standard input, found {type(audio).__name__}")
    try:
        with open_recording(audio, target=sampling_rate, allow_truncated=allow_truncated) as recording:
            return recording.read()
    except MemoryError as error:
        raise AudioError(f"{audio_name(audio)}: too large for the memory of this machine ({error})") from error


def audio_seconds(path: str | os.PathLike[str]) -> float:
    """How long a recording says that it is: by its header alone, where libsndfile can read that.  Raises AudioError, which names the file,
    where it is no audio."""
    import soundfile  # a tenth of a second to import

    with suppress(soundfile.LibsndfileError), _opened(audio_name(path), path) as file:
        found = soundfile.info(file)
        if found.frames < _NOBODY_KNOWS:
            return float(found.frames / found.samplerate)
    rate = 16000
    return len(read_audio(path, sampling_rate=rate)) / rate


@contextmanager
def _opened(name: str, audio: AudioFile) -> Iterator[IO[bytes]]:
    """Audio as a file that can be read from its beginning again and again."""
    if audio == "-":
        if sys.stdin is None:
            raise AudioError(f"{name}: closed")
        with _copied(name, sys.stdin.buffer) as copy:
            yield copy
    elif isinstance(audio, str | os.PathLike):
        with reading(name):
            file = open(audio, "rb")  # noqa: SIM115 (what fails later is told by others)
        with file:
            kind = os.fstat(file.fileno()).st_mode
            if stat.S_ISCHR(kind):
                raise AudioError(f"{name}: expected a file or a pipe, found a device")  # some of which never end
            if stat.S_ISREG(kind):
                yield file
            else:
                with _copied(name, file) as copy:
                    yield copy
    else:
        with _copied(name, audio) as copy:
            yield copy


@contextmanager
def _copied(name: str, source: Any) -> Iterator[IO[bytes]]:
    """All that there is still to read, in memory or in a temporary file."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
        while data := _read(name, source):
            with naming(name, AudioError, "cannot be copied to a temporary file"):
                copy.write(data)
        yield cast(IO[bytes], copy)


def _read(name: str, source: Any) -> bytes:
    """Some bytes more, none at the end."""
    data: Any = ""
    if not isinstance(source, io.TextIOBase):
        try:
            data = source.read(_BLOCK)
        except (MemoryError, SewError):
            raise
        except (
            Exception
        ) as error:  # code of others: gzip, lzma, sockets and HTTP have errors of their own, which need not even be OSError
            with reading(name):
                raise OSError(getattr(error, "strerror", None) or str(error) or type(error).__name__) from error
    if not isinstance(data, bytes | bytearray | memoryview):
        found = "one that reads text" if isinstance(data, str) else f"{type(data).__name__} in place of bytes"
        raise AudioError(f"{name}: expected a file opened for reading bytes (mode 'rb'), found {found}")
    return bytes(data)
