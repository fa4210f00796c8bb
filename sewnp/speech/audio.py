"""A waveform: one channel of float32 samples in [-1, 1) at the rate that the model hears.  Files are read in :mod:`~sewnp.speech.stream`."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from sewnp.errors import AudioError, check_shape, check_whole
from sewnp.files import path_name
from sewnp.types import Array

Samples: TypeAlias = Array | Sequence[float]
"""(n,) numbers that the caller has made or read."""

AudioFile: TypeAlias = str | os.PathLike[str] | BinaryIO
"""A path, "-" for standard input, or a file open for reading bytes."""


@dataclass(frozen=True)
class RawAudio:
    """A file of samples without a header: 16-bit integers, signed, little-endian, of one channel (``ffmpeg -f s16le -ac 1``)."""

    audio: AudioFile
    sampling_rate: int
    """Hz."""


class HasArray(Protocol):
    """Another library's array of samples: a tensor, a series."""

    def __array__(self) -> Array: ...


class HasDLPack(Protocol):
    """The same, of a library that knows DLPack."""

    def __dlpack__(self) -> Any: ...
    def __dlpack_device__(self) -> Any: ...


Audio: TypeAlias = AudioFile | RawAudio | bytes | bytearray | memoryview | Samples | HasArray | HasDLPack | Mapping[str, Any]
"""What a user gives: a file, the bytes of one, samples, or a dict of samples and their rate."""

HIGHEST_RATE = 1_000_000
"""Hz.  Resampling between rates without common divisor takes a filter of 20 taps per Hz: no damaged header may ask for 2**31."""


LOUDEST = 2.0**40
"""Samples in [-1, 1) are meant, those of unscaled integers reach 2**31; beyond, squares and sums leave float32."""


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
            f" audio.mean(axis={axis}); of several clips, each is an array of its own"
        )
    if x.ndim != 1:
        raise AudioError(f"{name}: expected one channel (samples,), found shape {x.shape}")
    for _ in finite(name, [x]):
        pass
    return x


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


def check_rate(name: str, rate: Any) -> int:
    """A sampling rate in Hz as an int.  Raises InputError, which names it, unless it is a whole number from 1 to HIGHEST_RATE."""
    whole = isinstance(rate, float | np.floating) and rate.is_integer()
    return check_whole(name, int(rate) if whole else rate, 1, HIGHEST_RATE)


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


def finite(name: str, blocks: Iterable[Array], *, least: int = 1) -> Iterator[Array]:
    """The blocks of a waveform, (n,) each, until one holds what is no sample; the rest is only counted.

    Raises AudioError at the end, naming ``name``, for NaN, infinities and what is beyond LOUDEST, and for fewer samples than ``least``.
    """
    count = bad = first = 0
    worst = 0.0
    for block in blocks:
        wrong = np.flatnonzero(~(np.abs(block) <= LOUDEST))
        if len(wrong):
            worst = float(np.maximum(worst, np.abs(block[wrong]).max()))  # NaN stays
        if len(wrong) and not bad:
            first = count + int(wrong[0])
        bad += len(wrong)
        count += len(block)
        if not bad:
            yield block
    if count < least:
        raise AudioError(f"{name}: no samples")
    if bad:
        what = f"beyond all sound (up to {worst:.3g}, expected -1 to 1)" if np.isfinite(worst) else "NaN or infinite in float32"
        raise AudioError(f"{name}: {bad} of {count} samples are {what}, the first at sample {first}")


def is_standard_input(audio: object) -> bool:
    """Whether a clip is what this process alone can read."""
    return is_standard_input(audio.audio) if isinstance(audio, RawAudio) else isinstance(audio, str) and audio == "-"


def audio_name(audio: object) -> str:
    """What to call audio in messages: a path, an open file, bytes, or samples."""
    if isinstance(audio, RawAudio):
        return audio_name(audio.audio)
    if isinstance(audio, str | os.PathLike):
        return "standard input" if audio == "-" else path_name(audio)
    if isinstance(audio, bytes | bytearray | memoryview):
        return "audio bytes"
    if not hasattr(audio, "read"):
        return "audio"
    given = getattr(audio, "name", None)
    return path_name(given) if given and isinstance(given, str) else "audio file object"
