"""Autograd, caught on its way back, agrees with ours at every stage and every weight."""

from typing import Any

import numpy as np
import pytest
import torch
from ports.pairs import CONFIGS, HEADS, inputs_for, pair

import originals
from sewnp.errors import InputError, TraceError
from sewnp.networks.stages import GRADIENT, stage_of
from sewnp.numerics import (
    Trace,
    budgets,
    compare,
    honest_runs,
    judge_replay,
    local_budgets,
    open_stages,
    replay,
    trace,
    write_trace,
)
from sewnp.ports import judge
from sewnp.ports.capture import NO_TRUE_GRADIENT, NOT_MATERIALISED, from_torch

NOT_THERE = {*NOT_MATERIALISED, *(GRADIENT + name for name in NOT_MATERIALISED), NO_TRUE_GRADIENT}
LOSSES = [head for head in HEADS if head]


def both(name: str, head: Any, *, masks: bool, dtype: Any = torch.float64) -> tuple[Any, Any, Any]:
    """Theirs, ours, and what both are called with."""
    theirs, ours = pair(
        name,
        head,
        dtype=dtype,
        use_weighted_layer_sum=masks and head == "classification" and name != "sew, no layers",
        ctc_zero_infinity=True,
    )
    inputs = inputs_for(ours, head, masks=masks).arguments() | {"gradients": True}
    return theirs, ours, inputs


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("head", LOSSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_agrees_in_every_gradient(name: str, head: Any, masks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 to 1e-10; for once the CTC loss too, which transformers takes in float32 whatever the model."""

    def log_softmax(x: torch.Tensor, dim: int, **_: Any) -> torch.Tensor:
        return x.log_softmax(dim)

    monkeypatch.setattr(torch.nn.functional, "log_softmax", log_softmax)
    theirs, ours, inputs = both(name, head, masks=masks)
    truth, found = trace(ours, **inputs), from_torch(theirs, **inputs)
    missing = {stage_of(stage).name for stage in truth.keys() - found.keys()}
    without_layers = {"encoder.encoder.relative_positions"} if name == "sew, no layers" else set()
    assert missing <= NOT_THERE | without_layers
    assert found.keys() <= truth.keys()
    assert sum(stage.startswith(GRADIENT) for stage in found) > 30
    allowed = {stage: 1e-10 if stage_of(stage).kind == "float" else 0.0 for stage in truth}
    result = compare(truth, found, allowed, names=found)
    assert result.agrees, result.verdict
    assert found.metadata["inputs"] == truth.metadata["inputs"]


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("head", LOSSES)
@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_agrees_within_the_budgets_that_our_float32_sets(name: str, head: Any, masks: bool) -> None:
    theirs, ours, inputs = both(name, head, masks=masks, dtype=torch.float32)
    found, truth = from_torch(theirs, **inputs), trace(ours, **inputs)
    assert truth.inputs is not None
    honest = honest_runs(ours, truth.inputs, jittered_count=3)
    result = compare(truth, found, budgets(truth, honest), names=found)
    assert {row.name: (row.measure, row.budget) for row in result.rows if row.status != "agrees"} == {}
    replayed = replay(ours, found, truth.inputs)
    judged = judge_replay(result, replayed.local, found, local_budgets(ours, truth.inputs, honest, given=found))
    assert [row.name for row in judged.rows if row.origin] == []


def test_the_log_probabilities_have_no_gradient_that_torch_tells() -> None:
    """What torch's CTC loss gives back to them is that by the logits already: softmax minus posteriors."""
    theirs, ours, inputs = both("sew", "ctc", masks=False)
    truth, found = trace(ours, **inputs), from_torch(theirs, **inputs)
    assert NO_TRUE_GRADIENT in truth
    assert NO_TRUE_GRADIENT not in found
    log_probs = torch.tensor(truth["log_probs"], requires_grad=True)
    labels = inputs["labels"]
    lengths = torch.full((3,), log_probs.shape[1])
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor(labels[labels >= 0]),
        lengths,
        torch.tensor((labels >= 0).sum(axis=1)),
        reduction="mean",
        zero_infinity=True,
    )
    (given,) = torch.autograd.grad(loss, log_probs)
    np.testing.assert_allclose(given.numpy(), truth["gradient.logits"], atol=1e-10)
    assert np.abs(given.numpy() - truth[NO_TRUE_GRADIENT]).max() > 0.01


def test_frozen_parameters_have_none_and_grad_stays() -> None:
    theirs, _, inputs = both("sew-d", "ctc", masks=True)
    theirs.freeze_feature_encoder()
    theirs.lm_head.weight.grad = torch.ones_like(theirs.lm_head.weight)
    found = from_torch(theirs, **inputs)
    assert not any(name.startswith("gradient.sew_d.feature_extractor") for name in found)
    assert "gradient.sew_d.feature_projection.weight" in found
    assert torch.equal(theirs.lm_head.weight.grad, torch.ones_like(theirs.lm_head.weight))
    assert all(p.grad is None for p in theirs.parameters() if p is not theirs.lm_head.weight)


def test_values_are_those_of_a_run_without_gradients() -> None:
    theirs, _, inputs = both("sew", "classification", masks=True)
    both_ways = from_torch(theirs, **inputs)
    forwards = from_torch(theirs, **(inputs | {"gradients": False}))
    assert [name for name in both_ways if not name.startswith(GRADIENT)] == list(forwards)
    for name in forwards:
        np.testing.assert_array_equal(both_ways[name], forwards[name])


def test_gradients_are_those_of_a_loss() -> None:
    theirs, ours, inputs = both("sew", "ctc", masks=False)
    with pytest.raises(InputError, match="gradients are those of a loss"):
        from_torch(theirs, inputs["input_values"], gradients=True)
    base = originals.original("sew", None)
    with pytest.raises(InputError, match="gradients are those of a loss"):
        from_torch(base, inputs["input_values"], labels=inputs["labels"], gradients=True)
    del ours


def test_a_captured_trace_is_judged_from_files(tmp_path: Any) -> None:
    """Down to the stage that is wrong in itself, and why."""
    theirs, ours, inputs = both("sew", "classification", masks=True, dtype=torch.float32)
    found, truth = from_torch(theirs, **inputs), trace(ours, **inputs)
    write_trace(tmp_path / "ours.safetensors", truth)
    write_trace(tmp_path / "theirs.safetensors", found)
    files = [open_stages(tmp_path / f"{name}.safetensors") for name in ("ours", "theirs")]
    result = judge(*files, model=ours)
    missing = {row.name for row in result.rows if row.status == "missing"}
    assert all(row.status == "agrees" or row.name in missing for row in result.rows), result.verdict
    activation = "gradient.encoder.layers.0.attention.scores"
    wrong = dict(found) | {
        activation: found["encoder.layers.0.attention.probabilities"] * found[activation.replace("scores", "probabilities")]
    }
    write_trace(tmp_path / "wrong.safetensors", type(found)(wrong, found.metadata, found.inputs))
    result = judge(files[0], open_stages(tmp_path / "wrong.safetensors"), model=ours, stages=["gradient.*attention*"])
    assert {row.name: row.cause for row in result.rows if row.origin}[activation] == "row sum missing"


@pytest.mark.parametrize("spoilt", ["[1]", "{", '{"logits": "x"}', '{"logits": null}', "1"])
@pytest.mark.parametrize("key", ["budgets", "scales"])
def test_a_trace_with_spoilt_budgets_has_none(key: str, spoilt: str, tmp_path: Any) -> None:
    path = tmp_path / "ours.safetensors"
    write_trace(path, Trace({"logits": np.zeros((1, 2, 3))}, {"budgets": "{}", key: spoilt}))
    with pytest.raises(TraceError, match="carries no budgets"):
        judge(open_stages(path), open_stages(path))
