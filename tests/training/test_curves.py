"""Whole runs: torch's loss curve followed, and a clip learned by heart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from judging import assert_close64
from sewnp.speech import read_audio
from sewnp.training import Example, Run, State, encode_text, plan_epoch, prepare, train, training_step

from .conftest import tiny_recipe

families = pytest.mark.parametrize("family", ["sew", "sew-d"])

STILL: dict[str, Any] = {
    "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "feat_proj_dropout": 0.0, "final_dropout": 0.0,
    "mask_time_prob": 0.0, "mask_feature_prob": 0.0, "apply_spec_augment": False,
}  # fmt: skip
"""A configuration in which nothing is random."""


def still(family: str, data: Path, tmp_path: Path, **values: Any) -> Run:
    """A run in float64, from the tiny recipe, with nothing random but the order of the clips."""
    changed = STILL | ({"layerdrop": 0.0} if family == "sew" else {})
    changed |= values.pop("config", {})
    plain = tiny_recipe(family, dtype="float64", augment={}, average=None, data=[{"path": "clips"}], **values)
    return prepare(replace(plain, config=plain.config | changed), tmp_path / "run", folder=data)


@families
def test_a_run_tracks_that_of_torch(family: str, data: Path, tmp_path: Path) -> None:
    steps, warmup = 100, 10
    run = still(family, data, tmp_path, steps=steps, warmup=warmup, batch_seconds=0.25, lr=3e-3, weight_decay=0.05)
    theirs = _as_theirs(run)
    named = {key.lower(): p for key, p in theirs.named_parameters()}
    without = [p for key, p in named.items() if "bias" in key or "norm" in key]
    decayed = [p for key, p in named.items() if not ("bias" in key or "norm" in key)]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": without, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=3e-3)
    schedule = transformers.get_cosine_schedule_with_warmup(optimizer, warmup, steps)

    state = State(run.model.flat_weights())
    curve, their_curve = [], []
    for epoch in range(steps):
        for batch in plan_epoch(run.sets, run.recipe, epoch=epoch, done=0.0):
            if len(curve) == steps:
                break
            state, record = training_step(run, state, batch, steps=steps)
            curve.append(record["loss"])
            loss = sum(_loss(theirs, run, example) for example in batch) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            their_curve.append(float(loss.detach()))
    assert curve[-1] < 0.5 * curve[0]
    assert_close64(np.array(curve), np.array(their_curve), 1e-10)


def _as_theirs(run: Run) -> Any:
    config = transformers.SEWConfig if run.model.config.model_type == "sew" else transformers.SEWDConfig
    kind = transformers.SEWForCTC if run.model.config.model_type == "sew" else transformers.SEWDForCTC
    theirs = kind(config(**run.model.config.to_dict())).double()
    theirs.load_state_dict({key: torch.tensor(w) for key, w in run.model.flat_weights().items()})
    return theirs.train()


def _loss(theirs: Any, run: Run, example: Example) -> Any:
    """As the original has it, but in float64: there it is float32's."""
    values = run.model.features(read_audio(example.clips[0].audio), attention_mask=False).input_values
    log_probs = theirs(torch.tensor(values).double()).logits.log_softmax(-1).transpose(0, 1)
    targets = torch.tensor(encode_text(example.text, run.model))
    lengths = torch.tensor([len(log_probs)]), torch.tensor([targets.shape[1]])
    return torch.nn.functional.ctc_loss(log_probs, targets, *lengths, blank=0, reduction=run.model.config.ctc_loss_reduction)


@families
def test_one_clip_is_learned_by_heart(family: str, data: Path, tmp_path: Path) -> None:
    lines = (data / "clips" / "manifest.tsv").read_text().splitlines()
    (data / "clips" / "manifest.tsv").write_text("\n".join([lines[0], lines[2]]) + "\n")
    larger = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "initializer_range": 0.1}
    schedule: dict[str, Any] = {"steps": 250, "lr": 3e-3, "weight_decay": 0.0, "eval_every": 250, "save_minutes": 60}
    run = still(family, data, tmp_path, config=larger, hold_out={}, eval=["clips"], **schedule)
    records: list[Any] = []
    train(run, progress=records.append)
    assert records[0]["loss"] > 1.0
    assert records[-2]["loss"] < 0.01
    assert records[-1]["wer"] == 0.0
