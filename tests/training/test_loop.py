"""What a run does when something is wrong: with its folder, its clips, its numbers, its disk."""

import errno
import json
import os
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

import sewnp
from sewnp.errors import AudioError, InputError, TrainingError
from sewnp.training import Log, batch_gradients, plan_epoch, prepare, read_state, train, training_step, validate
from sewnp.training import loop as loop_module
from sewnp.training import state as state_module

from .conftest import assert_same_run, flat_state, timeless, tiny_recipe


def test_what_a_run_leaves(data: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    state = train(prepare(tiny_recipe(), tmp_path / "run", folder=data), progress=told.append)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best", "curves.png", "last", "log.jsonl", "state.safetensors",
    ]  # fmt: skip
    assert told == [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in told] == [1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 8]
    assert [record["step"] for record in told if "wer" in record] == [3, 6, 8]
    steps = [record for record in told if "wer" not in record]
    assert all(record["loss"] > 0 and record["norm"] > 0 and record["seconds"] > 0 for record in steps)
    assert steps[0]["lr"] == 0.0 < steps[1]["lr"] == 1e-2
    assert state.step == 8
    assert flat_state(read_state(tmp_path / "run" / "state.safetensors")[0]) == flat_state(state)


@pytest.mark.parametrize("family", ["sew", "sew-d"])
def test_the_last_is_a_checkpoint_that_transformers_loads(family: str, data: Path, tmp_path: Path) -> None:
    state = train(prepare(tiny_recipe(family, store="float16"), tmp_path / "run", folder=data))
    kind = transformers.SEWForCTC if family == "sew" else transformers.SEWDForCTC
    theirs, told = kind.from_pretrained(tmp_path / "run" / "last", output_loading_info=True, dtype="auto")
    assert not any(told.values())
    ours = sewnp.load(tmp_path / "run" / "last")
    assert state.average is not None
    for key, w in ours.flat_weights().items():
        assert np.array_equal(w, state.average[key].astype(np.float16).astype(np.float32))
        assert np.array_equal(w, theirs.state_dict()[key].float().numpy())
    assert ours.tokenizer is not None


def test_what_is_frozen_stays_as_it_is(data: Path, tmp_path: Path) -> None:
    run = prepare(tiny_recipe(freeze=["feature_encoder"], average=None), tmp_path / "run", folder=data)
    state = train(run)
    before = run.model.flat_weights()
    same = {key for key, w in state.weights.items() if np.array_equal(w, before[key])}
    assert {key for key in before if "feature_extractor" in key} <= same
    assert not {key for key in before if "lm_head" in key} & same


def test_a_folder_that_holds_a_run(data: Path, tmp_path: Path) -> None:
    train(prepare(tiny_recipe(steps=2), tmp_path / "run", folder=data))
    with pytest.raises(TrainingError, match=re.escape(f"{tmp_path / 'run'}: holds a run already; go on with --resume, or name")):
        train(prepare(tiny_recipe(steps=2), tmp_path / "run", folder=data))
    for key, values in (("lr", {"lr": 0.5}), ("steps", {"steps": 5}), ("clips", {"hold_out": {"speaker": ["ann"]}})):
        with pytest.raises(TrainingError, match=rf"state\.safetensors: made with other {key}: expected .*; name another folder"):
            train(prepare(tiny_recipe(**({"steps": 2} | values)), tmp_path / "run", folder=data), resume=True)
    train(prepare(tiny_recipe(steps=2, threads=2, save_minutes=9), tmp_path / "run", folder=data), resume=True)


@pytest.mark.parametrize("damage", [b"", b"no safetensors", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_state(damage: bytes, data: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "state.safetensors").write_bytes(damage)
    with pytest.raises(TrainingError, match=r"state\.safetensors: not a state of training"):
        train(prepare(tiny_recipe(), tmp_path / "run", folder=data), resume=True)


def test_a_damaged_log(data: Path, tmp_path: Path) -> None:
    train(prepare(tiny_recipe(steps=2), tmp_path / "run", folder=data))
    path = tmp_path / "run" / "log.jsonl"
    path.write_text(path.read_text() + '{"step": 3, "lo')  # what a kill leaves
    assert [record["step"] for record in Log(path, step=2).records] == [1, 2, 2]
    assert len(path.read_text().splitlines()) == 3
    path.write_text('{"step"\n{"step": 1}\n')
    with pytest.raises(TrainingError, match=r"log\.jsonl:1: expected a line of the log"):
        Log(path, step=2)


def test_a_step_that_is_not_finite_is_skipped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(tiny_recipe(), tmp_path / "run", folder=data)

    def wild(model: Any, batch: Any, **options: Any) -> Any:
        found = batch_gradients(model, batch, **options)
        if options["step"] == 3:
            return replace(found, loss=float("nan"), wild=("0.wav",))
        if options["step"] == 5:
            found.gradients["lm_head.bias"][0] = np.inf
        return found

    monkeypatch.setattr(loop_module, "batch_gradients", wild)
    state = train(run)
    assert (state.step, state.skipped, state.moments.counts["lm_head.bias"]) == (8, 2, 6)
    assert all(np.isfinite(w).all() for w in state.weights.values())
    skipped = [record for record in timeless(tmp_path / "run") if "skipped" in record]
    assert [(record["step"], record["loss"], record["norm"], record["skipped"]) for record in skipped] == [
        (4, None, None, ["0.wav"]),
        (6, None, None, []),
    ]


def test_a_bad_clip_loses_nothing(data: Path, tmp_path: Path) -> None:
    train(prepare(tiny_recipe(), tmp_path / "whole", folder=data))
    clip = data / "clips" / "3.wav"
    content = clip.read_bytes()

    def spoil(record: Any) -> None:
        if record["step"] == 3:
            clip.write_bytes(b"RIFF no more")

    with pytest.raises(AudioError, match=r"3\.wav: not audio"):
        train(prepare(tiny_recipe(), tmp_path / "run", folder=data), progress=spoil)
    assert sewnp.load(tmp_path / "run" / "last").head == "ctc"
    clip.write_bytes(content)
    train(prepare(tiny_recipe(), tmp_path / "run", folder=data), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_full_disk_loses_nothing(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(prepare(tiny_recipe(), tmp_path / "whole", folder=data))
    write = state_module.write_tensors
    with monkeypatch.context() as full:
        calls: list[Any] = []

        def full_at_last(path: Path, *arguments: Any) -> None:
            calls.append(path)
            if len(calls) > 4:
                Path(path).write_bytes(b"half of it")
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write(path, *arguments)

        full.setattr(state_module, "write_tensors", full_at_last)
        with pytest.raises(TrainingError, match=r"state\.safetensors: could not be written.*No space left on device"):
            train(prepare(tiny_recipe(), tmp_path / "run", folder=data))
    assert not list((tmp_path / "run").glob(".*"))
    assert read_state(tmp_path / "run" / "state.safetensors")[0].step == 3
    train(prepare(tiny_recipe(), tmp_path / "run", folder=data), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_an_interrupted_run_is_saved(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(save_minutes=60)
    train(prepare(recipe, tmp_path / "whole", folder=data))

    def interrupt(record: Any) -> None:
        if record["step"] == 5:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(prepare(recipe, tmp_path / "run", folder=data), progress=interrupt)
    state, _ = read_state(tmp_path / "run" / "state.safetensors")
    assert 4 <= state.step < 8
    assert sewnp.load(tmp_path / "run" / "last").head == "ctc"
    train(prepare(recipe, tmp_path / "run", folder=data), resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_minutes_become_steps_once(data: Path, tmp_path: Path) -> None:
    recipe = tiny_recipe(minutes=0.01, save_minutes=60)
    state = train(prepare(recipe, tmp_path / "run", folder=data))
    assert state.step >= 1
    again = train(prepare(tiny_recipe(minutes=5.0, save_minutes=60), tmp_path / "run", folder=data), resume=True)
    assert again.step == state.step


def test_what_can_be_known_before_the_first_step(data: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"clips: 1\.wav: label: expected one of 'yes', 'no'; found 'B A'"):
        prepare(tiny_recipe(task="classification", labels=["yes", "no", "A"][:2], data=[{"path": "clips", "keep": "B A"}]),
                tmp_path / "run", folder=data)  # fmt: skip
    with pytest.raises(InputError, match=r"augment\.noise\.folder: .*none"):
        prepare(tiny_recipe(augment={"noise": {"folder": "none"}}), tmp_path / "run", folder=data)
    with pytest.raises(InputError, match=r"freeze: expected .*, found 'encoder'"):
        prepare(tiny_recipe(freeze=["encoder"]), tmp_path / "run", folder=data)
    assert not (tmp_path / "run").exists()


def test_labels_are_learned(data: Path, tmp_path: Path) -> None:
    labels = {"task": "classification", "labels": ["A", "B"], "data": [{"path": "clips", "keep": "A|B"}], "hold_out": {}}
    recipe = tiny_recipe(**labels, eval=["clips"], augment={}, steps=3)
    recipe = replace(recipe, config=recipe.config | {"layerdrop": 0.0})
    lines = (data / "clips" / "manifest.tsv").read_text().splitlines()
    (data / "clips" / "manifest.tsv").write_text("\n".join([lines[0], lines[1], lines[4]]) + "\n")
    run = prepare(recipe, tmp_path / "run", folder=data)
    state = train(run)
    score, figures = validate(run.trained(state), run.held)
    assert figures["clips"] == 2
    assert score == (1.0 - figures["accuracy"], 0.0)
    assert sewnp.load(tmp_path / "run" / "best").config.id2label == {0: "A", 1: "B"}


def test_a_step_is_pure(data: Path, tmp_path: Path) -> None:
    run = prepare(tiny_recipe(), tmp_path / "run", folder=data)
    start = loop_module.State(run.model.flat_weights())
    copies = {key: w.copy() for key, w in start.weights.items()}
    batch = plan_epoch(run.sets, run.recipe, epoch=0, done=0.0)[0]
    one, _ = training_step(run, replace(start, step=4), batch, steps=8)
    other, _ = training_step(run, replace(start, step=4), batch, steps=8)
    assert flat_state(one) == flat_state(other)
    assert all(np.array_equal(w, copies[key]) for key, w in start.weights.items())
    assert one.step == 5
