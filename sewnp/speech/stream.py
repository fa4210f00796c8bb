"""Recordings of any length, read block by block: what is held in memory does not grow with them.

Files are decoded by libsndfile (http://libsndfile.github.io/libsndfile/), which reads WAV, FLAC, OGG, MP3, AIFF, CAF and more.
It is lenient: a file cut short in the middle is often read up to the cut as if nothing had happened.  A :class:`Recording` is not,
since a transcript of half a recording looks exactly like a transcript.
"""

import io
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, cast

import numpy as np

from sewnp.errors import AudioError, InputError
from sewnp.files import naming
from sewnp.speech.audio import HIGHEST_RATE, Audio, AudioFile, as_waveform, audio_name, check_rate, finite, mono, resample
from sewnp.types import Array

# A file may unfold to so many bytes of samples, however small it is, and beyond that to so many times its own size.  FLAC packs digital
# silence by the thousand, and a damaged header may say 1 Hz.  Speech in Opus at 6 kbit/s, the most that is honest, unfolds to 256 times.
_SMALL = 2**28  # bytes
_LARGEST_EXPANSION = 256

# Chunk sizes as libsndfile's log of the header gives them for WAV ("data"), AIFF ("SSND") and AU ("Data Size").
_CUT_CHUNK = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
# RF64, Wave64 and VOC say it in words of their own
_TRUNCATED = re.compile(
    r"Calculated frame count \d+ does not match value from 'ds64' chunk|^riff +: \d+ \(should be \d+\)|Seems to be a truncated file",
    re.MULTILINE,
)
_TORN_PAGE = re.compile(r"^Ogg ?: Junk after the last page", re.MULTILINE)
# Programs that write WAV into a pipe cannot go back to fill in the size; they leave 0xFFFFFFFF (ffmpeg) or about 2**31 (sox).
_SIZE_UNKNOWN = 0x7FFF0000
_HEADER_BYTES = 64  # some writers count their own header among the data
_MP3_FRAME = 1152  # samples

_IN_MEMORY = 2**24
"""Bytes of a pipe that are kept in memory; a longer one goes to a temporary file."""
_BLOCK = 2**18
"""Values, samples times channels, that are decoded at once."""


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


@contextmanager
def open_recording(audio: Audio, *, target: int = 16000, sampling_rate: int | None = None) -> Iterator[Recording]:
    """Sound from wherever it is, at ``target`` Hz, for the time of a ``with``.

    audio: a path, a file object open for reading bytes, ``"-"`` for standard input, or samples (n,).  sampling_rate: of samples, in Hz,
    by default ``target``.  Files are read where they are; what is not a file on disk is first copied, in memory where it is short and
    else into a temporary file, which is gone after the ``with``.  Channels are averaged, any rate is resampled.

    Raises AudioError, which names the source and the cause, for whatever cannot be opened or is empty, and for samples that are none;
    InputError for a sampling_rate that is none or belongs to a file.
    """
    target = check_rate("sampling_rate", target)
    if isinstance(audio, str | os.PathLike) or hasattr(audio, "read"):
        if sampling_rate is not None:
            raise InputError("sampling_rate: expected only with samples; a file says its own rate")
        name = audio_name(audio)
        with _opened(name, cast(AudioFile, audio)) as file:
            yield Recording(name, partial(_blocks, name, file, target))
    else:
        original = target if sampling_rate is None else check_rate("sampling_rate", sampling_rate)
        x = resample(as_waveform(audio), original, target)
        yield Recording("audio", lambda: (x[i : i + target] for i in range(0, len(x), target)))


def read_audio(audio: AudioFile, *, sampling_rate: int = 16000) -> Array:
    """Read a recording as the model wants it, whole.  -> (n,) float32, mono, ``sampling_rate`` samples a second.

    ``audio`` is a path, a file object open for reading bytes, or ``"-"`` for standard input.  Channels are averaged, any rate is
    resampled.  WAV written into a pipe, whose header does not know its length, is read to its end, and so is MP3 without a frame count.

    Raises AudioError, which names the file and the cause, for whatever cannot be read or holds no usable sound: missing, a folder,
    empty, not audio, cut short, no samples, NaN.  Raises InputError for an ``audio`` or ``sampling_rate`` that is none.
    """
    if not isinstance(audio, str | os.PathLike) and not hasattr(audio, "read"):
        raise InputError(f"audio: expected a path, a file object or '-' for standard input, found {type(audio).__name__}")
    try:
        with open_recording(audio, target=sampling_rate) as recording:
            return recording.read()
    except MemoryError as error:
        raise AudioError(f"{audio_name(audio)}: too large for the memory of this machine ({error})") from error


def resampled(blocks: Iterable[Array], original: int, target: int) -> Iterator[Array]:
    """``resample`` for a stream: the blocks of a waveform, (n,) each, at ``target`` instead of ``original`` Hz.

    Joined, what comes out is what ``resample`` makes of the joined input, bit for bit, however it is cut.  A block comes out when enough
    has gone in: one sample depends on ten of the lower rate's to each side.
    """
    if original == target:
        yield from blocks
        return
    from scipy.signal import firwin  # half a second to import, and 16 kHz recordings need none of it

    divisor = math.gcd(original, target)
    up, down = target // divisor, original // divisor
    reach = 10 * max(up, down)  # in steps of a grid on which inputs stand every ``up`` and outputs every ``down``
    taps = firwin(2 * reach + 1, 1 / max(up, down), window=("kaiser", 5.0))  # what resample_poly designs itself, at every call
    waiting, start, done = np.zeros(0, np.float32), 0, 0  # inputs from number ``start`` on; outputs so far
    for block in blocks:
        waiting = np.concatenate([waiting.astype(block.dtype, copy=False), block])
        ready = ((start + len(waiting)) * up - reach - 1) // down + 1  # outputs that need no later input
        if ready > done:
            # a cut at a multiple of ``down`` is one at an output: all that follows falls on the same taps
            offset = start // down * up
            yield _filtered(waiting, up, down, taps)[done - offset : ready - offset]
            done = ready
            first = max(0, (done * down - reach) // up) // down * down
            waiting, start = waiting[first - start :], first
    if len(waiting):
        yield _filtered(waiting, up, down, taps)[done - start // down * up :]


def _filtered(x: Array, up: int, down: int, taps: Array) -> Array:
    from scipy.signal import resample_poly

    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported with its place
        return np.asarray(resample_poly(x, up, down, window=taps.astype(x.dtype))).astype(x.dtype, copy=False)


@contextmanager
def _opened(name: str, audio: AudioFile) -> Iterator[IO[bytes]]:
    """Audio as a file that can be read from its beginning again and again."""
    if audio == "-":
        if sys.stdin is None:
            raise AudioError(f"{name}: closed")
        with _copied(name, sys.stdin.buffer) as copy:
            yield copy
    elif isinstance(audio, str | os.PathLike):
        with _reading(name):
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
        while True:
            with _reading(name):
                data = b"" if isinstance(source, io.TextIOBase) else source.read(_BLOCK)
            if isinstance(source, io.TextIOBase) or not isinstance(data, bytes):
                raise AudioError(f"{name}: expected a file opened for reading bytes (mode 'rb'), found one that reads text")
            if not data:
                break
            with naming(name, AudioError, "cannot be copied to a temporary file"):
                copy.write(data)
        yield cast(IO[bytes], copy)


def _reading(name: str) -> AbstractContextManager[None]:
    """Say what is wrong with audio that cannot be read.  ValueError: a closed file, a null character in a path"""
    return naming(name, AudioError, problems=(OSError, ValueError))


class _Steady:
    """A file that neither raises nor moves when a damaged header asks for a place before its beginning, or the disk fails.

    soundfile calls this from C, where an exception could only be printed.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell
        self.error: Exception | None = None

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._file.read(size)
        except (OSError, ValueError) as error:
            self.error = error
            return b""

    def check(self, name: str) -> None:
        if self.error is not None:
            with _reading(name):
                raise self.error


def _blocks(name: str, file: IO[bytes], target: int) -> Iterator[Array]:
    """The sound of a file.  Blocks (n,), float32, mono, finite, at ``target`` Hz; what only the end can tell is checked there."""
    import soundfile  # a tenth of a second to import, and arrays need none of it

    size = file.seek(0, os.SEEK_END)
    if not size:
        raise AudioError(f"{name}: the file is empty (0 bytes)")
    counted = _counts_frames(file)
    file.seek(0)
    steady = _Steady(file)
    with _decoding(name):
        sound = soundfile.SoundFile(steady)
    with sound:
        steady.check(name)
        rate, promised = sound.samplerate, sound.frames
        if _unfolds(promised * sound.channels, size):
            promise = f"{promised:,} samples in {sound.channels} channels, out of {size:,} bytes"
            raise AudioError(f"{name}: too large to decode in memory, or its header is damaged: {promise}")
        if rate > HIGHEST_RATE:
            raise AudioError(f"{name}: expected a sampling rate up to {HIGHEST_RATE} Hz, found {rate} in the header")
        if counted or sound.format != "MP3":
            _check_unfolding(name, promised, rate, target, size)
        found = 0

        def heard() -> Iterator[Array]:
            nonlocal found
            for block in finite(name, _decoded(name, sound, steady)):
                found += len(block)
                _check_unfolding(name, found, rate, target, size)
                yield block
            missing = _missing(sound.format, sound.extra_info, promised, found, counted)
            if missing:
                raise AudioError(f"{name}: cut short: {missing}")

        yield from finite(name, resampled(heard(), rate, target))


def _decoded(name: str, sound: Any, steady: _Steady) -> Iterator[Array]:
    """What libsndfile reads, channels averaged.  Blocks (n,), float32"""
    # soundfile seeks after each partial read of what it believes seekable, and MP3 frames decode differently after a seek
    sound.seekable = lambda: False
    size = max(1, min(max(sound.samplerate, 1024), _BLOCK // sound.channels))
    left = sound.frames
    while left > 0:
        with _decoding(name):
            channels = sound.read(min(size, left), dtype="float32", always_2d=True)
        steady.check(name)
        if not len(channels):
            break
        left -= len(channels)
        yield mono(channels)


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Say what libsndfile found wrong."""
    import soundfile

    try:
        yield
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: not audio that can be decoded, or damaged (libsndfile: {error.error_string})") from error


def _unfolds(sample_count: int, size: int) -> bool:
    """Whether so many float32 samples are more than a file of ``size`` bytes may honestly hold."""
    return 4 * sample_count > max(_SMALL, _LARGEST_EXPANSION * size)


def _check_unfolding(name: str, sample_count: int, rate: int, target: int, size: int) -> None:
    out = -(-sample_count * target // rate)
    if _unfolds(out, size):
        raise AudioError(f"{name}: {sample_count:,} samples at {rate} Hz, as the header says, would be {out:,} at {target} Hz")


def _missing(kind: str, log: str, promised: int, found: int, counted: bool) -> str:
    """What a file that was cut short lacks; nothing if it is whole, or cannot know its own length."""
    cut = _CUT_CHUNK.search(log)
    if cut and int(cut[2]) + _HEADER_BYTES < int(cut[1]) < _SIZE_UNKNOWN:
        return f"the header promises {cut[1]} bytes of sound, found {cut[2]}"
    if _TORN_PAGE.search(log):
        return "its last page is incomplete"
    if _TRUNCATED.search(log):
        return "its header promises more sound than there is"
    tolerance = 2 * _MP3_FRAME if kind == "MP3" else 0  # encoder delay and the last frame's bit reservoir
    if (counted or kind != "MP3") and found + tolerance < promised:
        return f"the header promises {promised} samples, found {found}"
    return ""


def _counts_frames(file: IO[bytes]) -> bool:
    """Whether an MP3 says how many frames it has, in an Info or Xing header; without one libsndfile guesses from the size, and badly."""
    file.seek(0)
    tag = file.read(10)
    # the sound begins behind tags (https://id3.org/id3v2.4.0-structure), whose size has 7 bits a byte
    start = 10 + sum(byte << shift for byte, shift in zip(tag[6:10], (21, 14, 7, 0), strict=False)) if tag[:3] == b"ID3" else 0
    file.seek(start)
    return re.search(rb"Xing|Info", file.read(4096)) is not None
