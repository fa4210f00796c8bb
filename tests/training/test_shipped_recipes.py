"""The recipes for models like the embedded ones, on noise in the place of speech: that they run, and give the same bytes again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sewnp.loading import EMBEDDED, embedded, load
from sewnp.training import prepare, read_recipe, recipe_from_dict, train

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ALPHABET = "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z"
MANIFESTS = {
    "an4/manifest.tsv": {
        "digits": ("OH ONE", "mewl"),
        "held": ("TWO", "fclc"),
        "letters": (ALPHABET, "mewl"),
        "no": ("NO", "mewl"),
    },
    "gsc/manifest.tsv": {"nine": ("NINE", "aaa"), "three": ("THREE", "0a196374")},
    "kokoro/index.tsv": {"strings": ("SIX FIVE",)},
    "other/index.tsv": {"strings": ("FOUR",)},
    "words/index.tsv": {"two": ("two", "mewl"), "word": ("_unknown_", "fclc")},
}


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """A folder laid out as that of the recordings is, with a clip or two of everything that the recipes name."""
    folder, rng = tmp_path / "speech", np.random.default_rng(0)

    def clip(name: str, seconds: float = 0.6) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, 0.1 * rng.normal(size=int(16000 * seconds)), 16000)

    for name, rows in MANIFESTS.items():
        for stem in rows:
            clip(f"{Path(name).parent}/{stem}.flac", 2.0 if stem == "letters" else 0.6)
        columns = ["path", "text", "speaker"][: 1 + len(next(iter(rows.values())))]
        lines = ["\t".join(columns), *("\t".join((f"{stem}.flac", *row)) for stem, row in rows.items())]
        (folder / name).write_text("\n".join(lines) + "\n")
    for i in range(10):
        clip(f"fsdd/{i}_ann_0.flac")
    for word in ("one", "two", "three", "four", "five", "back", "front", "left", "none", "right", "stop"):
        clip(f"commands/{word}/0.flac")
    clip("noise/0.flac")
    return folder


STAGES = {
    "runs/digits-d-start": "digits-d/start",
    "runs/digits-d-head": "digits-d/head",
    "runs/digits-d-main": "digits-d/main",
    "runs/digits-d": "digits-d/recipe",
    "runs/digits-main": "digits/main",
    "runs/digits": "digits/recipe",
    "runs/digit-words": "digit-words/recipe",
}
"""Each begins with what one before it has made, the last with the embedded digits model."""


def test_from_nothing_to_all_three_models_twice(speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        monkeypatch.chdir(folder)
        for run, stage in STAGES.items():
            name, _, file = stage.partition("/")
            recipe = recipe_from_dict(read_recipe(embedded(name) / f"{file}.toml"))
            assert recipe.hold_out["speaker"]
            small = replace(
                recipe,
                steps=2,
                eval_every=2,
                batch_seconds=4.0,
                data=tuple(replace(source, span=(0.0, 1.0)) for source in recipe.data),
            )
            train(prepare(small, Path(run), folder=speech))
        files = [path for name in EMBEDDED for path in sorted((folder / "runs" / name / "best").iterdir())]
        made.append({str(path.relative_to(folder)): path.read_bytes() for path in files})
    assert made[0] == made[1]
    for name in EMBEDDED:
        assert len(made[0][f"runs/{name}/best/model.safetensors"]) < 6_000_000
        model = load(tmp_path / "second" / "runs" / name / "best")
        assert sum(w.size for w in model.flat_weights().values()) < 3_000_000
