"""A model of transformers, caught while it runs, agrees with ours in every stage: the one line that the whole oracle is for."""

from typing import Any

import numpy as np
import pytest
import torch
from ports.pairs import CONFIGS, HEADS, inputs_for, pair

import originals
from sewnp.errors import ConfigError, InputError
from sewnp.mistakes import name_mistakes
from sewnp.model import Model
from sewnp.networks.stages import stage_of
from sewnp.numerics import (
    Comparison,
    Inputs,
    budgets,
    compare,
    judge_replay,
    local_budgets,
    open_stages,
    replay,
    run_in,
    trace,
    write_trace,
)
from sewnp.ports.capture import NOT_MATERIALISED, ONLY_EAGER, from_torch
from sewnp.ports.names import read_map, renamed
from sewnp.types import Array


def expected_stages(ours: Model, truth: Any, *, eager: bool = True) -> set[str]:
    """Every stage of ours but those that torch never makes."""
    hidden = {*NOT_MATERIALISED, *(() if eager else ONLY_EAGER)}
    if ours.config.num_hidden_layers == 0:
        hidden.add("encoder.encoder.relative_positions")
    return {stage for stage in truth if stage_of(stage).name not in hidden}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", CONFIGS)
def test_transformers_agrees_in_every_stage(name: str, head: Any, masks: bool) -> None:
    """In float64 to 1e-12, but for the loss, which transformers takes in float32 whatever the model."""
    theirs, ours = pair(name, head, use_weighted_layer_sum=masks and head == "classification" and name != "sew, no layers")
    inputs = inputs_for(ours, head, masks=masks)
    truth, found = trace(ours, **inputs.arguments()), from_torch(theirs, **inputs.arguments())
    assert set(found) == expected_stages(ours, truth)
    allowed = dict.fromkeys(truth, 1e-12) | ({"log_probs": 1e-6, "loss": 1e-6} if head == "ctc" else {})
    exact = {stage: allowed[stage] if stage_of(stage).kind == "float" else 0.0 for stage in truth}
    assert compare(truth, found, exact, names=found).agrees
    same = {"fingerprint", "masking", "inputs", "stage_list", "dtype", "sewnp"}
    assert {key: found.metadata[key] for key in same} == {key: truth.metadata[key] for key in same}


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", CONFIGS)
def test_in_float32_it_agrees_within_the_budgets_that_our_float32_sets(name: str, head: Any, masks: bool) -> None:
    theirs, ours = pair(name, head, dtype=torch.float32)
    inputs = inputs_for(ours, head, masks=masks)
    found = from_torch(theirs, **inputs.arguments())
    truth, honest = trace(ours, **inputs.arguments()), run_in(ours, inputs, "float32")
    result = compare(truth, found, budgets(truth, [honest]), names=found)
    assert {row.name: row.measure for row in result.rows if row.status != "agrees"} == {}
    replayed = replay(ours, found, inputs)
    judged = judge_replay(result, replayed.local, found, local_budgets(ours, inputs, [honest]))
    assert [row.name for row in judged.rows if row.origin] == []


def test_fused_attention_shows_no_scores_and_agrees_on_clips_that_are_all_padding() -> None:
    theirs, ours = pair("sew", "ctc")
    x = originals.clips(ours, frames=9)
    mask = originals.mask_of(ours, [9, 0, 4], x.shape[1])
    truth = trace(ours, x, mask)
    allowed = {stage: 1e-12 if stage_of(stage).kind == "float" else 0.0 for stage in truth}
    theirs.set_attn_implementation("sdpa")
    found = from_torch(theirs, x, mask)
    assert set(found) == expected_stages(ours, truth, eager=False)
    assert compare(truth, found, allowed, names=found).agrees
    # eager attention is different there, and that is what the comparison says
    theirs.set_attn_implementation("eager")
    found = from_torch(theirs, x, mask)
    result = compare(truth, found, allowed, names=found)
    assert result.first is not None
    assert result.first.name == "encoder.layers.0.attention.probabilities"
    inputs = Inputs(x, mask)
    replayed = replay(ours, found, inputs)
    judged = judge_replay(result, replayed.local, found, allowed)
    named = name_mistakes(judged, ours, replayed, found, allowed)
    assert {row.cause for row in named.rows if row.origin} == {"rows without a key attend uniformly instead of to nothing"}


def test_the_model_is_left_as_it_was() -> None:
    theirs, ours = pair("sew-d", "ctc")
    x = originals.clips(ours)
    before = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    first, second = from_torch(theirs, x), from_torch(theirs, x)
    assert list(first) == list(second)
    for stage in first:
        np.testing.assert_array_equal(first[stage], second[stage])
    assert all(torch.equal(tensor, before[name]) for name, tensor in theirs.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in theirs.modules())


def test_hooks_are_gone_when_the_model_fails() -> None:
    theirs, _ = pair("sew", "ctc")
    with pytest.raises(RuntimeError):
        from_torch(theirs, np.zeros((1, 3)))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in theirs.modules())


def test_arguments_may_be_tensors() -> None:
    theirs, ours = pair("sew", "classification")
    x = originals.clips(ours)
    arrays = from_torch(theirs, x, np.ones_like(x), np.array([1, 2, 0]))
    tensors = from_torch(theirs, torch.tensor(x), torch.ones(x.shape), torch.tensor([1, 2, 0]))
    for stage in arrays:
        np.testing.assert_array_equal(arrays[stage], tensors[stage])
    assert arrays.metadata == tensors.metadata


def test_a_captured_trace_goes_to_a_file_and_back(tmp_path: Any) -> None:
    theirs, ours = pair("sew-d", "ctc")
    inputs = inputs_for(ours, "ctc", masks=True)
    found = from_torch(theirs, **inputs.arguments())
    write_trace(tmp_path / "theirs.safetensors", found)
    back = open_stages(tmp_path / "theirs.safetensors")
    assert list(back) == list(found)
    assert (back.metadata["model"], back.metadata["dtype"]) == ("SEWDForCTC", "float64")


def test_what_is_not_ours_to_run() -> None:
    theirs, ours = pair("sew", "ctc")
    with pytest.raises(InputError, match="call its eval"):
        from_torch(theirs.train(), originals.clips(ours))
    with pytest.raises(InputError, match=r"expected one of SEWModel, .*, found Linear"):
        from_torch(torch.nn.Linear(2, 2).eval(), np.zeros((1, 10)))
    odd = originals.original("sew", "ctc", hidden_act="prelu")
    with pytest.raises(ConfigError, match="prelu"):
        from_torch(odd, originals.clips(ours))


def test_bfloat16_is_judged_by_its_emulation() -> None:
    theirs, ours = pair("sew", "ctc", dtype=torch.float32)
    x = originals.clips(ours).astype(np.float32)
    found = from_torch(theirs.to(torch.bfloat16), x)
    assert found.metadata["dtype"] == "bfloat16"
    assert "fingerprint" not in found.metadata  # of weights that have been rounded
    truth, inputs = trace(ours, x), Inputs(x)
    assert compare(truth, found, budgets(truth, [run_in(ours, inputs, "bfloat16")], "bfloat16"), names=found).agrees
    assert not compare(truth, found, budgets(truth, [run_in(ours, inputs, "float32")]), names=found).agrees


@pytest.mark.parametrize("name", CONFIGS)
def test_what_somebody_hooked_himself_is_understood(name: str) -> None:
    """Outputs by module path, as the simplest of hooks gives them, and as they stand in torch."""
    theirs, ours = pair(name, "ctc")
    dumped: dict[str, Array] = {}

    def keep(path: str) -> Any:
        def hook(module: Any, arguments: Any, out: Any) -> None:
            if isinstance(out, torch.Tensor):
                dumped[f"{path}@2" if path in dumped else path] = out.detach().numpy().copy()

        return hook

    for path, module in theirs.named_modules():
        module.register_forward_hook(keep(path))
    x = originals.clips(ours)
    with torch.no_grad():
        theirs(torch.tensor(x))
    found = renamed(dumped, read_map("transformers", ours.config))
    truth = trace(ours, x)
    result: Comparison = compare(truth, found, dict.fromkeys(truth, 1e-12), names=found)
    assert result.agrees, result.verdict
    assert len(result.rows) > 12 * ours.config.num_hidden_layers
