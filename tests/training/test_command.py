"""``sewnp train`` as a user types it."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.cli import main
from sewnp.training import read_state

from .conftest import assert_same_run, timeless, tiny_values


def toml(value: Any) -> str:
    """A value as TOML spells it on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(x)}" for key, x in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


@pytest.fixture
def recipe(data: Path) -> Path:
    """The tiny recipe as a file in the folder of its data."""
    path = data / "tiny.toml"
    path.write_text("".join(f"{key} = {toml(value)}\n" for key, value in tiny_values().items()))
    return path


def test_fine_tuning_what_is_embedded(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = tmp_path / "train.tsv"
    manifest.write_text(f"path\ttext\n{clips / 'three_one_four.wav'}\tTHREE ONE FOUR ONE FIVE NINE\n")
    words = ["train", str(manifest), "--model", "digits", "--eval", str(manifest), "-o", str(tmp_path / "run"), "--steps", "2"]
    assert main([*words, "--lr", "1e-4", "--threads", "1", "--freeze", "feature_encoder"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "sewnp: 1 clips to train on, 1 to validate with, 1 threads"
    assert lines[1].startswith("sewnp: step 2 of 2  loss ")
    assert "WER 0.0%" in lines[1]
    assert lines[1].endswith("s of sound a second  0:00:00 left")
    assert lines[2].startswith("sewnp: 2 steps in 0:00:0")
    assert lines[2].endswith(f", in {tmp_path / 'run'}")
    ours, before = sewnp.load(tmp_path / "run" / "last").flat_weights(), sewnp.load("digits").flat_weights()
    assert np.array_equal(ours[key := "sew.feature_extractor.conv_layers.1.conv.weight"], before[key])
    assert not np.array_equal(ours["lm_head.weight"], before["lm_head.weight"])
    assert main([*words]) == 1
    assert "run: holds a run already; go on with --resume" in capsys.readouterr().err


def test_options_override_a_recipe(recipe: Path, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    words = ["train", "--recipe", str(recipe), "-o", run, "--steps", "2", "--lr", "0.5", "--warmup", "0", "--seed", "7"]
    assert main([*words, "--batch-seconds", "9", "--schedule", "linear", "--eval-every", "1", "--accumulate", "2"]) == 0
    said = json.loads((tmp_path / "run" / "run.json").read_text())
    assert said["data"] == str(recipe.parent)
    told = said["recipe"]
    assert [told[key] for key in ("steps", "lr", "warmup", "seed", "batch_seconds", "schedule", "eval_every", "accumulate")] == [
        2, 0.5, 0.0, 7, 9.0, "linear", 1, 2,
    ]  # fmt: skip
    assert told["average"] == 0.9  # what no option said
    assert [record["lr"] for record in timeless(tmp_path / "run") if "lr" in record] == [0.5, 0.25]
    (state, _) = read_state(tmp_path / "run" / "state.safetensors")
    assert state.step == 2


def test_data_of_one_folder_and_a_recipe_of_another(recipe: Path, tmp_path: Path) -> None:
    moved = recipe.rename(tmp_path / "moved.toml")
    assert main(["train", "--recipe", str(moved), "-o", str(tmp_path / "run"), "--steps", "1"]) == 1
    assert (
        main(["train", "--recipe", str(moved), "--data", str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--steps", "1"]) == 0
    )


def test_a_head_for_words(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "clips" / "words.tsv").write_text("path\tlabel\n0.wav\tyes\n3.wav\tno\n")
    words = ["train", str(data / "clips" / "words.tsv"), "--task", "classification", "--labels", "yes,no", "--model", "digits"]
    out = ["-o", str(tmp_path / "words"), "--steps", "1", "--eval", str(data / "clips" / "words.tsv")]
    assert main([*words, *out]) == 0
    assert "accuracy " in capsys.readouterr().err
    assert sewnp.load(tmp_path / "words" / "last").classify(data / "clips" / "0.wav")[0][0] in ("yes", "no")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "DATA: expected clips to train on, a --recipe, or a run to --resume in the folder -o"),
        (["--resume", "-o", "{}/run"], "DATA: expected clips to train on"),
        (["--recipe", "digits", "-o", "{}/run"], "--data: expected the folder that the recipe's paths are relative to, found none"),
        (["--recipe", "none.toml", "-o", "{}/run"], "none.toml: no such file"),
        (["--recipe", "digits-d/end", "--data", "{}", "-o", "{}/run"], "end.toml: no such file"),
        (
            ["--recipe", "digits-d/start", "-o", "{}/run"],
            "--data: expected the folder that the recipe's paths are relative to, found none",
        ),
        (["{}/clips"], "model: expected a model, or a config with a model_type, found None"),
        (["{}/clips", "--model", "digits"], "-o: expected a folder for the run, found none, in the recipe neither"),
        (["{}/none", "--model", "digits", "-o", "{}/run"], "none: no such file"),
        (["{}/clips", "--model", "digits", "-o", "{}/run", "--steps", "0"], "steps: expected a number of 1 or more, found 0"),
        (["{}/clips", "--model", "digits", "-o", "{}/clips/0.wav"], "0.wav: could not be written: "),
        (["{}/clips", "--model", "digits", "-o", "{}/run", "--freeze", "legs"], "freeze: expected 'feature_encoder', 'base'"),
        (["{}/clips", "--model", "digits", "--labels", "a,b", "-o", "{}/run"], "labels: expected none with task 'ctc'"),
    ],
)
def test_what_cannot_be(words: list[str], message: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *(word.format(data) for word in words)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sewnp: error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert not (data / "run").exists()


STEPS = ["--steps", "12", "--eval-every", "5"]

WAITING = """
import sys, time
from sewnp.cli import main
from sewnp.training import loop

step = loop.training_step

def waiting(run, state, batch, **options):
    while state.step == 8:  # for the signal, however long that is on its way
        options["check"]()
        time.sleep(0.001)
    return step(run, state, batch, **options)

loop.training_step = waiting
sys.exit(main())
"""
"""``sewnp``, but that the ninth step of a training does not end by itself."""


def started(recipe: Path, out: Path, *, program: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
    """A run in a process of its own."""
    command = [sys.executable, *program, "train", "--recipe", str(recipe), "-o", str(out), *STEPS]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"MPLBACKEND": "agg"}, **options)


def heeding() -> None:
    """For processes whose shell runs in the background and ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_stopped_and_resumed_without_a_word_of_what_it_was(recipe: Path, tmp_path: Path) -> None:
    assert main(["train", "--recipe", str(recipe), "-o", str(tmp_path / "whole"), *STEPS]) == 0
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -9)):
        run = tmp_path / number.name
        process = started(recipe, run, program=["-c", WAITING], preexec_fn=heeding)
        log = run / "log.jsonl"
        while process.poll() is None and not (log.exists() and '"step": 8' in log.read_text()):
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == status, err
        assert "Traceback" not in err
        state, _ = read_state(run / "state.safetensors")
        assert state.step in ((5, 6, 7, 8) if number == signal.SIGKILL else (8,))
        if number != signal.SIGKILL:
            assert err.endswith("sewnp: interrupted\n") == (number == signal.SIGINT)
            assert sewnp.load(run / "last").head == "ctc"
        assert main(["train", "-o", str(run), "--resume"]) == 0
        assert_same_run(tmp_path / "whole", run)


def test_a_disk_without_room(recipe: Path, tmp_path: Path) -> None:
    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    process = started(recipe, tmp_path / "run", program=["-m", "sewnp"], preexec_fn=cramped)
    _, err = process.communicate()
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith(f"sewnp: error: {tmp_path / 'run' / 'state.safetensors'}: could not be written: ")
    assert "Traceback" not in err
    assert main(["train", "--recipe", str(recipe), "-o", str(tmp_path / "run"), "--steps", "1"]) == 0
