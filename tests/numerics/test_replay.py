"""Replay: each stage computed from somebody else's values of its inputs."""

from collections.abc import Callable

import numpy as np
import pytest
from numerics.cases import CASES, case, diagnosed, origins, planted, truth

from sewnp.networks.stages import stage_of
from sewnp.numerics import replay, run_in
from sewnp.numerics.replay import usable
from sewnp.types import Array


@pytest.mark.parametrize("name", CASES)
def test_our_own_values_replay_to_themselves(name: str) -> None:
    model, inputs = case(name)
    replayed = replay(model, truth(name), inputs)
    assert list(replayed.local) == list(replayed.used) == list(truth(name))
    for stage, x in truth(name).items():
        np.testing.assert_array_equal(replayed.local[stage], x)
    assert replayed.inputs is inputs


def test_a_stage_depends_on_their_inputs_of_it_alone() -> None:
    model, inputs = case("sew")
    a = "encoder.layers.0.attention"
    theirs = {f"{a}.q": truth("sew")[f"{a}.q"] * 2, f"{a}.scores": truth("sew")[f"{a}.scores"]}
    replayed = replay(model, theirs, inputs)
    np.testing.assert_allclose(replayed.local[f"{a}.scores"], 2 * truth("sew")[f"{a}.scores"])
    np.testing.assert_array_equal(replayed.used[f"{a}.scores"], truth("sew")[f"{a}.scores"])
    np.testing.assert_array_equal(replayed.local["logits"], truth("sew")["logits"])


@pytest.mark.parametrize("value", [np.zeros((2, 2)), np.full((3, 9, 11), np.nan)])
def test_what_cannot_be_used_is_not(value: Array) -> None:
    model, inputs = case("sew")
    replayed = replay(model, {"logits": value}, inputs)
    np.testing.assert_array_equal(replayed.used["logits"], truth("sew")["logits"])


def test_usable() -> None:
    ours = np.array([1.0, -np.inf])
    assert usable(ours, np.array([5.0, -np.inf]))
    assert usable(ours, np.array([5.0, 1.0]))
    assert not usable(ours, np.array([np.nan, -np.inf]))
    assert not usable(ours, np.array([np.inf, -np.inf]))
    assert not usable(ours, np.array([1.0]))


def test_their_values_are_not_changed() -> None:
    model, inputs = case("sew-d")
    theirs = run_in(model, inputs, "float32")
    before = {stage: x.copy() for stage, x in theirs.items()}
    replay(model, theirs, inputs)
    for stage, x in theirs.items():
        np.testing.assert_array_equal(x, before[stage])


def shift(stage: str) -> Callable[[dict[str, Array]], Array]:
    """A wrong leaf of the stage: one number of it is off by a tenth of the scale."""

    def bug(v: dict[str, Array]) -> Array:
        x = v[stage].copy()
        scale = np.abs(x[np.isfinite(x)]).max()
        x.flat[np.flatnonzero(np.isfinite(x))[0]] += 0.1 * scale
        return x

    return bug


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_leaf_of_any_stage_is_found_in_that_stage_alone(name: str) -> None:
    for stage in truth(name):
        if stage_of(stage).kind == "float" and np.isfinite(truth(name)[stage]).any() and not _dead_end(name, stage):
            assert list(origins(diagnosed(name, planted(name, {stage: shift(stage)})))) == [stage]


def _dead_end(name: str, stage: str) -> bool:
    return stage == "input_values"  # what goes in is shown, and what is shown goes in: nothing computes it


@pytest.mark.parametrize("seed", range(20))
def test_several_independent_bugs_are_all_found_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = list(CASES)[seed % len(CASES)]
    stages = [
        stage
        for stage in truth(name)
        if stage_of(stage).kind == "float" and np.isfinite(truth(name)[stage]).any() and "ctc" not in stage
    ]
    chosen = sorted(rng.choice(len(stages), size=4, replace=False))
    bugs = {stages[i]: shift(stages[i]) for i in chosen}
    assert list(origins(diagnosed(name, planted(name, bugs)))) == list(bugs)
