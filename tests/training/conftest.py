"""Clips to train on: letters that are tones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from originals import TINY, TINY_D
from sewnp.training import Recipe, State, recipe_from_dict

TEXTS = ("A", "B A", "AB", "B", "BA A", "A B")
SPEAKERS = ("ann", "bob", "cem")


def tones(text: str) -> Any:
    """A twentieth of a second a letter, high for A and low for B, silence for a space."""
    time = np.arange(800) / 16000
    parts = {"A": 0.3 * np.sin(2 * np.pi * 2200 * time), "B": 0.3 * np.sin(2 * np.pi * 500 * time), " ": 0 * time}
    return np.concatenate([parts[letter] for letter in text])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a manifest of six clips by three speakers, ``clips``, and one of noise, ``noise``."""
    folder = tmp_path / "data"
    (folder / "clips").mkdir(parents=True)
    (folder / "noise").mkdir()
    lines = ["path\ttext\tspeaker"]
    for i, text in enumerate(TEXTS):
        soundfile.write(folder / "clips" / f"{i}.wav", tones(text), 16000)
        lines.append(f"{i}.wav\t{text}\t{SPEAKERS[i % 3]}")
    (folder / "clips" / "manifest.tsv").write_text("\n".join(lines) + "\n")
    soundfile.write(folder / "noise" / "hum.wav", 0.1 * np.random.default_rng(0).normal(size=500), 16000)
    return folder


def tiny_values(family: str = "sew", **values: Any) -> dict[str, Any]:
    """A recipe for a tiny model from scratch, in which everything random takes part; ready for TOML."""
    tiny = TINY if family == "sew" else TINY_D
    config = {key: value for key, value in tiny.items() if key != "num_labels"} | {"model_type": family, "mask_time_length": 4}
    config |= {"mask_time_prob": 0.2, "mask_feature_prob": 0.1, "mask_feature_length": 2, "vocab_size": 7}
    config |= {"layerdrop": 0.3} if family == "sew" else {}
    return {
        "config": config,
        "data": [{"path": "clips", "join": {"clips": [1, 2], "pause": [0.0, 0.02]}}],
        "hold_out": {"speaker": ["cem"]},
        "augment": {
            "noise": {"folder": "noise"},
            "white": {},
            "speed": {},
            "room": {"seconds": [0.01, 0.02]},
            "band": {},
            "gain": {},
        },
        "batch_seconds": 0.15,
        "steps": 8,
        "eval_every": 3,
        "save_minutes": 0.0,
        "average": 0.9,
        "lr": 1e-2,
        "threads": 1,
    } | values


def tiny_recipe(family: str = "sew", **values: Any) -> Recipe:
    """:func:`tiny_values` as a recipe."""
    return recipe_from_dict(tiny_values(family, **values))


def assert_same_run(one: Path, other: Path) -> None:
    """Two runs' folders hold the same state and checkpoints, to the last bit, and the same log but for the time that it took."""
    from sewnp.training import read_state

    (state, about), (other_state, other_about) = read_state(one / "state.safetensors"), read_state(other / "state.safetensors")
    assert about == other_about
    assert flat_state(state) == flat_state(other_state)
    for name in ("best", "last"):
        files = sorted(path.name for path in (one / name).iterdir())
        assert files == sorted(path.name for path in (other / name).iterdir())
        assert all((one / name / file).read_bytes() == (other / name / file).read_bytes() for file in files)
    assert timeless(one) == timeless(other)
    assert not list(other.glob(".*"))


def flat_state(state: State) -> dict[str, Any]:
    """All of a state that may be compared: everything but the time that it took."""
    values = vars(state) | vars(state.moments)
    arrays = {f"{n}/{k}": x.tobytes() for n in ("weights", "average", "first", "second") for k, x in (values.pop(n) or {}).items()}
    return arrays | {name: value for name, value in values.items() if name not in ("seconds", "moments")}


def timeless(run: Path) -> list[dict[str, Any]]:
    """The lines of a log without the time that they took."""
    return [json.loads(line) | {"seconds": None} for line in (run / "log.jsonl").read_text().splitlines()]
