"""Changes of sound do what they say, and nothing when they are not called for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from sewnp.errors import ConfigError, InputError
from sewnp.training import (
    Augmentations,
    Band,
    Gain,
    Noise,
    Room,
    Speed,
    White,
    augment,
    change_speed,
    convolve,
    join,
    limit_band,
    mix,
    recipe_from_dict,
    room_response,
)  # fmt: skip
from sounds import noise

RATE = 16000


def tone(hertz: float, seconds: float = 1.0) -> Any:
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE).astype(np.float32)


def loudest(x: Any) -> float:
    """The frequency of the largest amplitude, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(x))) * RATE / len(x))


def level(x: Any) -> float:
    """Mean power in decibels."""
    return float(10 * np.log10(np.square(x, dtype=np.float64).mean()))


@pytest.mark.parametrize("factor", [0.8, 1.25])
def test_faster_is_shorter_and_higher(factor: float) -> None:
    x = change_speed(tone(1000), factor)
    assert len(x) == round(RATE / factor)
    assert loudest(x) == pytest.approx(1000 * factor, abs=2)


@pytest.mark.parametrize("decibels", [-3.0, 0.0, 20.0])
def test_a_mix_has_the_ratio_asked_for(decibels: float) -> None:
    x, other = noise(5000, seed=1), 7 * noise(5000, seed=2)
    added = mix(x, other, decibels) - x
    assert level(x) - level(added) == pytest.approx(decibels, abs=1e-3)
    assert np.corrcoef(added, other)[0, 1] > 0.999


def test_a_mix_with_silence() -> None:
    x, silence = noise(100), np.zeros(100, np.float32)
    assert mix(x, silence, 10.0) is x
    assert mix(silence, x, 10.0) is silence


def test_a_channel_keeps_what_is_inside() -> None:
    def gain(hertz: float) -> float:
        return level(limit_band(tone(hertz), 300.0, 3400.0, sampling_rate=RATE)) - level(tone(hertz))

    assert gain(1000) == pytest.approx(0.0, abs=0.1)
    assert gain(300) == pytest.approx(-3.0, abs=0.2)  # Butterworth's half power
    assert gain(3400) == pytest.approx(-3.0, abs=0.2)
    assert gain(75) < -40
    assert gain(7900) < -25


def test_a_room_answers_with_a_decaying_echo() -> None:
    response = room_response(0.5, 6.0, sampling_rate=RATE, rng=np.random.default_rng(0))
    assert response.shape == (8000,)
    assert response[0] == 1.0
    echo = response[1:]
    assert -10 * np.log10(np.square(echo).sum()) == pytest.approx(6.0)
    assert level(echo[:500]) - level(echo[-500:]) == pytest.approx(60.0 * 7500 / 8000, abs=1.5)


def test_convolution_is_that_of_numpy() -> None:
    x, response = noise(3000), np.random.default_rng(0).normal(size=700)
    assert np.allclose(convolve(x, response), np.convolve(x, response)[:3000], atol=1e-6)


def test_joined_clips() -> None:
    x = join([np.ones(3, np.float32), np.full(2, 2, np.float32)], [0.1, 0.2, 0.0], sampling_rate=10)
    assert x.tolist() == [0, 1, 1, 1, 0, 0, 2, 2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "hum.wav", 0.1 * tone(50, 0.1), RATE)
    return tmp_path


def all_of(folder: Path, probability: float) -> Augmentations:
    each: dict[str, Any] = {"probability": probability}
    return Augmentations(
        Speed(**each), Room(**each), Noise(str(folder), **each), White(**each), Band(**each), Gain(decibels=(12.0, 12.0), **each)
    )


def test_all_of_them(folder: Path) -> None:
    x = noise(4000)
    before = x.copy()
    changed = augment(x, all_of(folder, 1.0), sampling_rate=RATE, rng=np.random.default_rng(3))
    again = augment(x, all_of(folder, 1.0), sampling_rate=RATE, rng=np.random.default_rng(3))
    other = augment(x, all_of(folder, 1.0), sampling_rate=RATE, rng=np.random.default_rng(4))
    assert np.array_equal(x, before)
    assert np.array_equal(changed, again)
    assert not np.array_equal(changed[:100], other[:100])
    assert changed.dtype == np.float32
    assert np.abs(changed).max() == 1.0  # where it is cut off
    assert augment(x, all_of(folder, 0.0), sampling_rate=RATE, rng=np.random.default_rng(3)) is x
    assert augment(x, Augmentations(), sampling_rate=RATE, rng=np.random.default_rng(3)) is x


@pytest.mark.parametrize("kind", ["speed", "room", "noise", "white", "band", "gain"])
def test_each_alone_changes_something(kind: str, folder: Path) -> None:
    x = noise(4000)
    alone = Augmentations(**{kind: getattr(all_of(folder, 1.0), kind)})
    assert not np.array_equal(augment(x, alone, sampling_rate=RATE, rng=np.random.default_rng(1))[:3000], x[:3000])


def test_a_probability_is_one(folder: Path) -> None:
    rng = np.random.default_rng(0)
    x = noise(50)
    changed = sum(augment(x, Augmentations(gain=Gain(probability=0.3)), sampling_rate=RATE, rng=rng) is not x for _ in range(2000))
    assert 0.27 < changed / 2000 < 0.33


def test_no_folder_of_noise(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match=r"augment\.noise\.folder: .*: expected a folder of recordings, found none"):
            augment(noise(100), all_of(path, 1.0), sampling_rate=RATE, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"speed": {"range": [1.2, 0.9]}}, r"augment\.speed\.range: expected two positive numbers, the smaller first"),
        ({"speed": {"range": [0.0, 0.9]}}, r"augment\.speed\.range: expected two positive numbers, the smaller first"),
        ({"gain": {"probability": 2}}, r"augment\.gain\.probability: expected a number from 0 to 1, found 2"),
        ({"noise": {}}, r"augment\.noise\.folder: expected a value"),
        ({"echo": {}}, r"augment\.echo: unknown; expected one of 'speed', 'room', 'noise', 'white', 'band', 'gain'"),
        ({"band": 3}, r"augment\.band: expected a table, found 3"),
        ({"room": {"seconds": [-1, 1]}}, r"augment\.room\.seconds: expected two positive numbers"),
        ({"band": {"high": [0, 100]}}, r"augment\.band\.high: expected two positive numbers"),
    ],
)
def test_tables_that_make_no_sense(table: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_dict({"model": "digits", "augment": table})
