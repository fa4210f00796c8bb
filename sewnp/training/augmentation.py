"""The same words as another microphone, room or speaker might have given them: waveforms changed at random, one idea a function.

Each augmentation is a small dataclass: its fields are the keys of its table in a recipe, ``probability`` says how often it is done, and
calling it draws from the clip's generator and changes the clip.  :func:`augment` does all of a recipe's, in the order in which sound
travels: the speaker, the room, the noise in it, the microphone, the level.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from sewnp.errors import InputError
from sewnp.fields import PositiveRange, Probability, Range, check_fields
from sewnp.speech import read_audio, resample
from sewnp.types import Array

_HUNDREDTHS = 100


def change_speed(x: Array, factor: float) -> Array:
    """Played ``factor`` times as fast, pitch included, to a hundredth.  (n,) -> (about n / factor,)

    Ko et al. 2015, "Audio augmentation for speech recognition".
    """
    return resample(x, round(_HUNDREDTHS * factor), _HUNDREDTHS)


def mix(x: Array, other: Array, decibels: float) -> Array:
    """``other`` added, scaled so that ``x`` has so many decibels more mean power.  (n,), (n,) -> (n,); silence on either side changes nothing."""
    power, theirs = (float(np.square(each, dtype=np.float64).mean()) for each in (x, other))
    if power == 0.0 or theirs == 0.0:
        return x
    return x + other * math.sqrt(power / theirs * 10.0 ** (-decibels / 10.0))


def limit_band(x: Array, low: float, high: float, *, sampling_rate: int) -> Array:
    """What a channel from ``low`` to ``high`` Hz lets through: Butterworth magnitudes of fourth order, without their phase.  (n,) -> (n,)"""
    size = _transformed(len(x) + sampling_rate // 20)  # the filter rings, and its end should not come round to the beginning
    frequencies = np.maximum(np.fft.rfftfreq(size, 1.0 / sampling_rate), 1e-3)
    gains = 1.0 / np.sqrt((1.0 + (low / frequencies) ** 8) * (1.0 + (frequencies / high) ** 8))
    filtered: Array = np.fft.irfft(np.fft.rfft(x, size) * gains, size)[: len(x)]
    return filtered.astype(x.dtype)


def room_response(seconds: float, direct: float, *, sampling_rate: int, rng: np.random.Generator) -> Array:
    """The answer of a room to a click: the click itself, and an echo of noise that loses 60 dB in so many ``seconds``.  -> (m,) float64

    direct: the power of the click over that of the echo, in decibels.  Polack 1988, "La transmission de l'énergie sonore dans les salles":
    behind the first reflections a room cannot be told from noise that decays.
    """
    size = max(2, round(seconds * sampling_rate))
    echo = rng.standard_normal(size) * 10.0 ** (-3.0 * np.arange(size) / size)
    echo[0] = 0.0
    response: Array = echo * math.sqrt(10.0 ** (-direct / 10.0) / np.square(echo).sum())
    response[0] = 1.0
    return response


def convolve(x: Array, response: Array) -> Array:
    """``x`` heard through a response, cut to its own length.  (n,), (m,) -> (n,)"""
    size = _transformed(len(x) + len(response) - 1)
    heard: Array = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)]
    return heard.astype(x.dtype)


def _transformed(size: int) -> int:
    """A size of Fourier transforms, not below this one, that has no large prime factor: they may take twenty times as long."""
    return -(-size // 4096) * 4096


def join(pieces: Sequence[Array], pauses: Sequence[float], *, sampling_rate: int) -> Array:
    """Clips one after the other, with so many seconds of silence before each and behind the last.  (n,) each -> (sum,)"""
    silences = [np.zeros(round(pause * sampling_rate), np.float32) for pause in pauses]
    parts = [part for pair in zip(silences, pieces, strict=False) for part in pair]
    return np.concatenate([*parts, silences[-1]])


@dataclass(frozen=True)
class Speed:
    """:func:`change_speed`."""

    range: PositiveRange = (0.9, 1.1)
    probability: Probability = 1.0

    def __post_init__(self) -> None:
        check_fields(self, "augment.speed.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        return change_speed(x, rng.uniform(*self.range))


@dataclass(frozen=True)
class Room:
    """:func:`room_response`: reverberation times in seconds, direct sound over echo in decibels."""

    seconds: PositiveRange = (0.1, 0.6)
    direct: Range = (0.0, 12.0)
    probability: Probability = 0.3

    def __post_init__(self) -> None:
        check_fields(self, "augment.room.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        seconds, direct = rng.uniform(*self.seconds), rng.uniform(*self.direct)
        return convolve(x, room_response(seconds, direct, sampling_rate=sampling_rate, rng=rng))


@dataclass(frozen=True)
class Noise:
    """A recording of a folder, from a place in it on, as often as the clip is long; clip over noise in decibels."""

    folder: str
    snr: Range = (5.0, 40.0)
    probability: Probability = 0.5

    def __post_init__(self) -> None:
        check_fields(self, "augment.noise.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        files = recordings(self.folder)
        noise = read_audio(files[rng.integers(len(files))], sampling_rate=sampling_rate)
        start = int(rng.integers(len(noise)))
        return mix(x, np.take(noise, np.arange(start, start + len(x)), mode="wrap"), rng.uniform(*self.snr))


@dataclass(frozen=True)
class White:
    """White Gaussian noise; clip over noise in decibels."""

    snr: Range = (5.0, 40.0)
    probability: Probability = 0.2

    def __post_init__(self) -> None:
        check_fields(self, "augment.white.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        return mix(x, rng.standard_normal(len(x), np.float32), rng.uniform(*self.snr))


@dataclass(frozen=True)
class Band:
    """:func:`limit_band`: the channel's two ends, each from a range, in Hz."""

    low: PositiveRange = (20.0, 400.0)
    high: PositiveRange = (3000.0, 8000.0)
    probability: Probability = 0.3

    def __post_init__(self) -> None:
        check_fields(self, "augment.band.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        return limit_band(x, rng.uniform(*self.low), rng.uniform(*self.high), sampling_rate=sampling_rate)


@dataclass(frozen=True)
class Gain:
    """Louder or softer by so many decibels, and what exceeds full scale is cut off.  Only the cutting is heard: a model's features are of
    unit variance."""

    decibels: Range = (-12.0, 12.0)
    probability: Probability = 0.3

    def __post_init__(self) -> None:
        check_fields(self, "augment.gain.")

    def __call__(self, x: Array, sampling_rate: int, rng: np.random.Generator) -> Array:
        return np.clip(x * 10.0 ** (rng.uniform(*self.decibels) / 20.0), -1.0, 1.0)


@dataclass(frozen=True)
class Augmentations:
    """The table ``augment`` of a recipe: what is in it is done, with the probability that it says."""

    speed: Speed | None = None
    room: Room | None = None
    noise: Noise | None = None
    white: White | None = None
    band: Band | None = None
    gain: Gain | None = None

    def __post_init__(self) -> None:
        check_fields(self, "augment.")


def augment(x: Array, augmentations: Augmentations, *, sampling_rate: int, rng: np.random.Generator) -> Array:
    """A clip changed by all that the draws say, in the order of the fields of :class:`Augmentations`.  (n,) -> (n',)"""
    for change in vars(augmentations).values():
        if change is not None and rng.random() < change.probability:
            x = change(x, sampling_rate, rng)
    return x


@cache
def recordings(folder: str) -> tuple[Path, ...]:
    """The files of a folder, sorted.  Raises InputError, naming the folder, where there are none."""
    path = Path(folder)
    files = tuple(sorted(each for each in path.iterdir() if each.is_file())) if path.is_dir() else ()
    if not files:
        raise InputError(f"augment.noise.folder: {folder}: expected a folder of recordings, found none")
    return files
