"""Sound in, a waveform out: one channel of float32 samples in [-1, 1) at the rate that the model hears.

Files are decoded by libsndfile (http://libsndfile.github.io/libsndfile/), which reads WAV, FLAC, OGG, MP3, AIFF, CAF and more.
It is lenient: a file cut short in the middle is often read up to the cut as if nothing had happened.  :func:`read_audio` is not,
since a transcript of half a recording looks exactly like a transcript.
"""

import io
import os
import re
import stat
import sys
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from sewnp.errors import AudioError, InputError, check_shape
from sewnp.types import Array

Source: TypeAlias = str | os.PathLike[str] | BinaryIO

HIGHEST_RATE = 1_000_000
"""Hz.  Resampling between rates without common divisor takes a filter of 20 taps per Hz: no damaged header may ask for 2**31."""

# A file may unfold in memory to so many bytes, however small it is, and beyond that to so many times its own size.  FLAC packs digital
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


def read_audio(source: Source, *, sampling_rate: int = 16000) -> Array:
    """Read a recording as the model wants it.  -> (n,) float32, mono, ``sampling_rate`` samples a second.

    ``source`` is a path, a file object open for reading bytes, or ``"-"`` for standard input; it is read whole before it is
    decoded, so pipes work.  Channels are averaged, any rate is resampled.  WAV written into a pipe, whose header does not know its
    length, is read to its end, and so is MP3 without a frame count.

    Raises AudioError, which names the file and the cause, for whatever cannot be read or holds no usable sound: missing, a folder,
    empty, not audio, cut short, no samples, NaN.  Raises InputError for a ``source`` or ``sampling_rate`` that is none.
    """
    target = check_rate("sampling_rate", sampling_rate)
    name, data = _read_bytes(source)
    if not data:
        raise AudioError(f"{name}: the file is empty (0 bytes)")
    try:
        waveform, rate = _decode(name, data)
        size = -(-len(waveform) * target // rate)
        if _unfolds(size, data):
            raise AudioError(
                f"{name}: {len(waveform):,} samples at {rate} Hz, as the header says, would be {size:,} at {target} Hz"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            return _finite(name, resample(waveform, rate, target))
    except MemoryError as error:
        raise AudioError(f"{name}: too large for the memory of this machine ({error})") from error


def as_waveform(audio: npt.ArrayLike, *, name: str = "audio") -> Array:
    """Check samples that the caller made.  (n,) floats or integers -> (n,) float32, finite, n >= 1; never changed in place.

    Floats are taken as they are.  int8, int16 and int32 are divided by their full scale (2**7, 2**15, 2**31) and uint8 is centred
    on 128, as libsndfile does when it reads such a file as floats: the samples of a file give the same waveform as the file.

    Raises AudioError naming ``name`` for any other dtype, more or fewer dimensions than one, no samples, NaN and infinities.
    """
    try:
        x = np.asarray(audio)
    except (ValueError, TypeError, RuntimeError) as error:  # lists of unequal lengths, tensors that want their gradient
        raise AudioError(f"{name}: expected an array of samples, found {type(audio).__name__} ({error})") from error
    x = _as_float32(name, x)
    if x.ndim == 2:
        axis = int(x.shape[0] > x.shape[1])
        raise AudioError(
            f"{name}: expected one channel (samples,), found shape {x.shape}; average the channels first, for instance with"
            f" audio.mean(axis={axis}), or pass several clips as a list of one-dimensional arrays"
        )
    if x.ndim != 1:
        raise AudioError(f"{name}: expected one channel (samples,), found shape {x.shape}")
    return _finite(name, x)


def mono(x: Array) -> Array:
    """Average the channels.  (n,) or (n, channels) -> (n,) float32, integers scaled as in :func:`as_waveform`.

    Raises AudioError for zero channels and for dtypes that are not sound, InputError for more than two dimensions.
    """
    if x.ndim == 1:
        return _as_float32("audio", x)
    check_shape("audio", x, (None, None))
    if x.shape[1] == 0:
        raise AudioError("audio: no channels")
    with np.errstate(over="ignore", invalid="ignore"):  # what is NaN or infinite is for the caller to report
        return np.asarray(_as_float32("audio", x).mean(axis=1))


def resample(x: Array, original: int, target: int) -> Array:
    """Change the sampling rate from ``original`` to ``target`` Hz.  (n,) -> (ceil(n * target / original),), floating, dtype kept.

    Polyphase filtering: with up / down = target / original in lowest terms, insert up - 1 zeros after each sample, low-pass at the
    lower of the two half-rates, keep every down-th.  The filter is the default of ``scipy.signal.resample_poly``, a sinc under a
    Kaiser window (beta 5) reaching ten zero crossings to each side.  Equal rates return ``x`` itself.
    Raises InputError for rates that are not whole numbers from 1 to :data:`HIGHEST_RATE`.
    """
    check_shape("audio", x, (None,))
    original, target = check_rate("original", original), check_rate("target", target)
    if original == target:
        return x
    from scipy.signal import resample_poly  # half a second to import, and 16 kHz recordings need none of it

    return np.asarray(resample_poly(x, target, original)).astype(x.dtype, copy=False)


def check_rate(name: str, rate: Any) -> int:
    """A sampling rate in Hz as an int.  Raises InputError, which names it, unless it is a whole number from 1 to HIGHEST_RATE."""
    is_number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not is_number or not 1 <= rate <= HIGHEST_RATE or rate != int(rate):
        raise InputError(f"{name}: expected a whole number of Hz from 1 to {HIGHEST_RATE}, found {rate!r}")
    return int(rate)


def _as_float32(name: str, x: Array) -> Array:
    """Samples of any dtype that has a known full scale, as float32."""
    bits = 8 * x.dtype.itemsize
    if x.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what overflows becomes infinite, and that is reported with its place
            return np.asarray(x.astype(np.float32, copy=False))
    if x.dtype == np.uint8:
        return np.asarray((x.astype(np.float32) - 128) / 128)
    if x.dtype.kind == "i" and bits <= 32:
        return np.asarray(x.astype(np.float32) / 2.0 ** (bits - 1))
    raise AudioError(
        f"{name}: expected floats in [-1, 1) or int8, int16, int32 or uint8, found {x.dtype}, which has no known full scale"
    )


def _finite(name: str, x: Array) -> Array:
    """``x`` itself, if there is any and all of it is finite."""
    if len(x) == 0:
        raise AudioError(f"{name}: no samples")
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise AudioError(f"{name}: {len(bad)} of {len(x)} samples are NaN or infinite in float32, the first at sample {bad[0]}")
    return x


def source_name(source: object) -> str:
    """What to call a source of audio in messages: a path, an open file, or samples."""
    if isinstance(source, str | os.PathLike):
        return "standard input" if source == "-" else os.fsdecode(source)
    if not hasattr(source, "read"):
        return "audio"
    given = getattr(source, "name", None)
    return given if isinstance(given, str) else "audio file object"


def _read_bytes(source: Source) -> tuple[str, bytes]:
    """What to call the source in messages, and all of its bytes."""
    if not isinstance(source, str | os.PathLike) and not hasattr(source, "read"):
        raise InputError(f"source: expected a path, a file object or '-' for standard input, found {type(source).__name__}")
    name = source_name(source)
    try:
        if source == "-":
            if sys.stdin is None:
                raise AudioError(f"{name}: closed")
            return name, sys.stdin.buffer.read()
        if isinstance(source, str | os.PathLike):
            with open(source, "rb") as file:
                if stat.S_ISCHR(os.fstat(file.fileno()).st_mode):
                    raise AudioError(f"{name}: expected a file or a pipe, found a device")  # some of which never end
                return name, file.read()
        data = b"" if isinstance(source, io.TextIOBase) else source.read()
    except FileNotFoundError as error:
        raise AudioError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise AudioError(f"{name}: expected an audio file, found a folder") from error
    except (OSError, ValueError) as error:  # ValueError: a closed file, a zero byte in a path
        raise AudioError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if isinstance(source, io.TextIOBase) or not isinstance(data, bytes):
        raise AudioError(f"{name}: expected a file opened for reading bytes (mode 'rb'), found one that reads text")
    return name, data


def _unfolds(samples: int, data: bytes) -> bool:
    """Whether so many float32 samples are more than such a file may honestly hold."""
    return 4 * samples > max(_SMALL, _LARGEST_EXPANSION * len(data))


class _Bytes(io.BytesIO):
    """Bytes that stay where they are when a damaged header asks for a place before their beginning.

    soundfile calls this from C, where an exception could only be printed.
    """

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return -1


def _decode(name: str, data: bytes) -> tuple[Array, int]:
    """The whole sound of a file's bytes.  -> (n,) float32, mono; its sampling rate.

    In one piece: soundfile seeks after each partial read, and MP3 frames decode differently after a seek.
    """
    import soundfile  # a tenth of a second to import, and arrays need none of it

    try:
        with soundfile.SoundFile(_Bytes(data)) as file:
            promised, rate, kind, log = file.frames, file.samplerate, file.format, file.extra_info
            if _unfolds(promised * file.channels, data):
                held = f"{promised:,} samples in {file.channels} channels, out of {len(data):,} bytes"
                raise AudioError(f"{name}: too large to decode in memory, or its header is damaged: {held}")
            # some codecs (GSM 6.10, G.721) cannot seek, and soundfile wants to be told how many frames they have
            channels = file.read(-1 if file.seekable() else promised, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{name}: not audio that can be decoded, or damaged (libsndfile: {error.error_string})") from error
    except (MemoryError, ValueError) as error:  # ValueError: NumPy is asked for more than it can count
        raise AudioError(f"{name}: too large to decode in memory, or its header is damaged ({error})") from error
    if rate > HIGHEST_RATE:
        raise AudioError(f"{name}: expected a sampling rate up to {HIGHEST_RATE} Hz, found {rate} in the header")
    waveform = _finite(name, mono(channels))
    missing = _missing(data, kind, log, promised, len(waveform))
    if missing:
        raise AudioError(f"{name}: cut short: {missing}")
    return waveform, rate


def _missing(data: bytes, kind: str, log: str, promised: int, found: int) -> str:
    """What a file that was cut short lacks; nothing if it is whole, or cannot know its own length."""
    cut = _CUT_CHUNK.search(log)
    if cut and int(cut[2]) + _HEADER_BYTES < int(cut[1]) < _SIZE_UNKNOWN:
        return f"the header promises {cut[1]} bytes of sound, found {cut[2]}"
    if _TORN_PAGE.search(log):
        return "its last page is incomplete"
    if _TRUNCATED.search(log):
        return "its header promises more sound than there is"
    # MP3 counts its frames in an Info or Xing header or not at all; without one libsndfile guesses from the size, and badly.
    start = _after_id3(data)
    counted = kind != "MP3" or re.search(rb"Xing|Info", data[start : start + 4096]) is not None
    tolerance = 2 * _MP3_FRAME if kind == "MP3" else 0  # encoder delay and the last frame's bit reservoir
    if counted and found + tolerance < promised:
        return f"the header promises {promised} samples, found {found}"
    return ""


def _after_id3(data: bytes) -> int:
    """Where the sound of an MP3 begins: behind its tags (https://id3.org/id3v2.4.0-structure), whose size has 7 bits a byte."""
    if not data.startswith(b"ID3"):
        return 0
    return 10 + sum(byte << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))
