"""The way back in traces, budgets and replays: what is recorded, what it is measured against, and what is wrong in itself."""

from typing import Any

import numpy as np
import pytest
from numerics.cases import GRADIENT_CASES, case, diagnosed, origins, planted, truth

from sewnp.errors import InputError
from sewnp.networks.stage_graph import readers, sources
from sewnp.networks.stages import GRADIENT, NO_GRADIENT, WEIGHTS, stage_of, weight_of
from sewnp.numerics import Inputs, budgets, local_budgets, open_stages, replay, run_in, trace, write_trace
from sewnp.numerics.budgets import FACTOR, FLOOR, SUMS
from sewnp.numerics.jitter import honest_runs, jittered_run
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import EPS
from sewnp.numerics.scales import zero_scales
from sewnp.types import Array

A0 = "encoder.layers.0.attention"
KEY_BIAS = f"gradient.sew.{A0}.k_proj.bias"


@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_a_trace_holds_what_the_model_gives(name: str) -> None:
    """Stages, then their gradients on the way back, then those of the weights; looking changes nothing."""
    model, inputs = case(name)
    recorded = trace(model, **inputs.arguments())
    arguments = inputs.arguments()
    del arguments["gradients"]
    plain = model.gradients(**arguments, input_gradient=True)
    stages = [stage for stage in recorded if not stage.startswith(GRADIENT)]
    back = [stage for stage in recorded if stage.startswith(GRADIENT) and stage.removeprefix(GRADIENT) in stages]
    weights = [stage for stage in recorded if stage not in {*stages, *back}]
    assert list(recorded) == [*stages, *back, *weights]
    expected = {stage for stage in stages if stage_of(stage).kind == "float" and stage != NO_GRADIENT}
    if model.head == "classification" and model.config.use_weighted_layer_sum:
        expected -= {"encoder.upsample.projection", "encoder.upsample.activation", "encoder.last_hidden_state"}  # nobody reads them
    assert {stage.removeprefix(GRADIENT) for stage in back} == expected
    assert back[0] == "gradient.loss"
    assert back[-1] == "gradient.input_values" or "rel_embeddings" in back[-1]
    assert weights == [GRADIENT + key for key in plain.flat()]
    for stage in back:
        assert recorded[stage].shape == recorded[stage.removeprefix(GRADIENT)].shape, stage
        assert recorded[stage].dtype == np.float32
    for key, gradient in plain.flat().items():
        np.testing.assert_array_equal(recorded[GRADIENT + key], gradient)
        assert stage_of(GRADIENT + key).group == "weights"
    np.testing.assert_array_equal(recorded["gradient.input_values"], plain.input_values)
    np.testing.assert_array_equal(recorded["loss"], plain.loss)


def test_a_trace_in_a_file_can_be_run_again(tmp_path: Any) -> None:
    """With masks over channels, layers left out and what was dropped."""
    model, inputs = case("sew, trained, back")
    recorded = trace(model, **inputs.arguments())
    write_trace(tmp_path / "t.safetensors", recorded)
    back = open_stages(tmp_path / "t.safetensors")
    assert list(back) == list(recorded)
    again = Inputs.of(back.arguments(), gradients=True)
    assert again.digest() == inputs.digest() == recorded.metadata["inputs"]
    assert again.skip_layers == [1]
    assert again.dropout is not None
    assert len(again.dropout) > 5
    for stage, x in trace(model, **again.arguments()).items():
        np.testing.assert_array_equal(x, recorded[stage])
    with pytest.raises(InputError, match="nonsense: no argument of a run has this name"):
        Inputs.of({"input_values": inputs.input_values, "nonsense": np.zeros(1)})


def test_what_a_pass_has_no_use_for_or_cannot_do_without() -> None:
    model, inputs = case("sew, back")
    x = inputs.input_values
    with pytest.raises(InputError, match="labels: gradients are those of a loss"):
        trace(model, x, gradients=True)
    for argument, value in {"dropout": {"layer_norm": 1.0}, "skip_layers": [0], "mask_feature_indices": np.zeros((3, 16))}.items():
        with pytest.raises(InputError, match=f"{argument}: expected only in a pass with gradients"):
            trace(model, x, labels=inputs.labels, **{argument: value})
    strict, other = case("sew")
    with pytest.raises(InputError, match="found a loss of inf: its gradients are no numbers"):
        trace(strict, other.input_values, labels=np.ones((3, 40), dtype=int), gradients=True)


@pytest.mark.parametrize("of", ["ctc.alpha", "frame_mask", "nothing", "encoder.layers.{i}.residual", "sew.nothing.weight"])
def test_what_has_no_gradient_has_no_name_for_it(of: str) -> None:
    with pytest.raises(InputError, match="no stage of stage list 2 has this name"):
        stage_of(GRADIENT + of)


# -- who reads what ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_every_value_is_read_by_those_that_are_computed_from_it(name: str) -> None:
    run = truth(name)
    read_by = readers(run)
    for stage in run:
        if not stage.startswith(GRADIENT):
            for source in filter(None, sources(stage, run)):
                assert stage in read_by[source]
        elif stage.removeprefix(GRADIENT) not in run:
            assert read_by[stage.removeprefix(GRADIENT)], stage
    ends = {stage for stage in run if not stage.startswith(GRADIENT) and stage not in read_by}
    assert ends <= {"loss", "encoder.last_hidden_state", "encoder.squeezed_mask", "frame_mask"}


def test_a_layer_that_was_left_out_is_passed_over() -> None:
    run = truth("sew, trained, back")
    assert sources("encoder.layers.2.residual", run)[0] == "encoder.layers.0.final_layer_norm"
    read_by = readers(run)["encoder.layers.0.final_layer_norm"]
    assert read_by == [*(f"encoder.layers.2.attention.{n}" for n in "qkv"), "encoder.layers.2.residual"]


def test_shared_projections_are_read_twice_and_separate_ones_once() -> None:
    s = "encoder.encoder.layer.0.attention.self"
    for name, places in {"sew-d, back": [f"{s}.k", f"{s}.pos_k"], "sew-d, separate keys, back": [f"{s}.k"]}.items():
        assert readers(truth(name))[f"sew_d.{s}.key_proj.weight"] == places


def test_every_weight_has_a_place() -> None:
    for name in GRADIENT_CASES:
        model, _ = case(name)
        for key in model.flat_weights():
            assert all(stage_of(place.format(i=0)) for place in WEIGHTS[weight_of(key)])


# -- budgets -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRADIENT_CASES)
def test_an_honest_run_agrees_and_nothing_in_it_is_wrong_in_itself(name: str) -> None:
    model, inputs = case(name)
    for seed in range(2):
        result = diagnosed(name, jittered_run(model, inputs, np.random.default_rng(seed)))
        assert origins(result) == {}
    exact = diagnosed(name, truth(name))
    assert exact.agrees, exact.verdict


def test_a_gradient_that_is_zero_on_paper_has_the_scale_of_what_it_comes_from() -> None:
    run = truth("sew, back")
    scales = zero_scales(run)
    assert KEY_BIAS in scales
    assert np.abs(run[KEY_BIAS]).max() < 1e-10 * scales[KEY_BIAS]
    assert scales[KEY_BIAS] == np.abs(run[f"gradient.{A0}.k"]).max()
    assert not any(stage in scales for stage in ("gradient.logits", "gradient.sew.encoder.layers.0.attention.q_proj.bias"))
    assert zero_scales({stage: x for stage, x in run.items() if not stage.startswith(GRADIENT)}) == {}

    rounded = dict(run)
    rounded[KEY_BIAS] = run[KEY_BIAS] + 3 * EPS["float32"] * scales[KEY_BIAS]
    assert diagnosed("sew, back", rounded).agrees
    rounded[KEY_BIAS] = run[KEY_BIAS] + 1e-4 * scales[KEY_BIAS]
    assert origins(diagnosed("sew, back", rounded)) == {KEY_BIAS: ""}


def test_gradients_by_weights_may_cost_more() -> None:
    assert SUMS > 1
    model, inputs = case("sew, back")
    run = dict(run_in(model, inputs, "float32"))
    for stage in ("gradient.logits", "gradient.lm_head.bias"):
        run[stage] = run[stage] * np.float32(1.001)
    found, factor = budgets(truth("sew, back"), [run]), {"gradient.logits": FACTOR, "gradient.lm_head.bias": SUMS * FACTOR}
    for stage, expected in factor.items():
        assert found[stage] == expected * largest_error(truth("sew, back")[stage], run[stage])
    assert found["gradient.loss"] == FLOOR * EPS["float32"]


def test_behind_what_a_port_keeps_to_itself_a_stage_costs_what_both_do() -> None:
    model, inputs = case("sew, back")
    honest = honest_runs(model, inputs, jittered_count=3)
    whole = local_budgets(model, inputs, honest)
    shown = set(whole) - {"ctc.alpha", "gradient.log_probs"}
    less = local_budgets(model, inputs, honest, given=shown)
    assert less["gradient.logits"] > 1.5 * whole["gradient.logits"]
    others = [stage for stage in shown if stage not in ("gradient.logits", "ctc.losses", "loss")]
    assert {stage: less[stage] for stage in others} == {stage: whole[stage] for stage in others}


def test_a_moved_run_is_off_by_what_float32_lattices_cost() -> None:
    """All of a clip's posteriors by the same share, as many last digits as its lattice's logarithms are large."""
    model, inputs = case("sew, back")
    run = jittered_run(model, inputs, np.random.default_rng(3))
    alpha = np.abs(np.where(np.isfinite(run["ctc.alpha"]), run["ctc.alpha"], 0)).max(axis=(1, 2))
    moved = replay(model, run, inputs).local["gradient.log_probs"]
    for clip, end in enumerate(alpha):
        where = np.abs(moved[clip]) > 1e-3 * np.abs(moved[clip]).max()
        shares = run["gradient.log_probs"][clip][where] / moved[clip][where] - 1
        np.testing.assert_allclose(np.abs(shares), EPS["float32"] * end, rtol=0.6, atol=EPS["float32"])
        assert len(set(np.sign(shares))) == 1


# -- replay --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [f"gradient.{A0}.scores", "gradient.encoder.pool", "gradient.logits", "gradient.input_values"])
def test_a_gradient_is_wrong_in_itself_although_what_it_comes_from_agrees(stage: str) -> None:
    """An unknown mistake goes on to all before it; one stage alone is wrong in itself."""

    def bug(v: dict[str, Array]) -> Array:
        return v[stage] * np.where(np.arange(v[stage].shape[-1]) % 3 == 0, 1.01, 1.0)

    result = diagnosed("sew, back", planted("sew, back", {stage: bug}))
    assert origins(result) == {stage: ""}
    assert result.first is not None
    assert result.first.name == stage
    inherited = [row.name for row in result.rows if row.status != "agrees"]
    assert len(inherited) > 20 or stage == "gradient.input_values"
    names = list(truth("sew, back"))
    assert all(names.index(name) >= names.index(stage) for name in inherited)


def test_a_wrong_value_on_the_way_forward_is_not_blamed_on_the_way_back() -> None:
    result = diagnosed("sew-d, back", planted("sew-d, back", {"encoder.pool": lambda v: v["encoder.pool"] * 2}))
    assert origins(result) == {"encoder.pool": "sum instead of mean"}
    assert sum(row.name.startswith(GRADIENT) and row.status != "agrees" for row in result.rows) > 60


def test_the_gradient_of_another_scale_is_seen_at_the_weight_alone() -> None:
    weight = "gradient.sew.encoder.layers.0.feed_forward.output_dense.weight"
    wrong = planted("sew, back", {weight: lambda v: v[weight] / 3})
    assert origins(diagnosed("sew, back", wrong)) == {weight: "averaged over the clips instead of summed"}
