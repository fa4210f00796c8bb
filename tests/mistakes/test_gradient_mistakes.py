"""Known mistakes on the way back: each is planted into a run and has to be named, and nothing else may be."""

from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
from numerics.cases import GRADIENT_CASES, allowed, case, truth

from sewnp.mistakes import StageRun, mistakes_of
from sewnp.mistakes.gradients import BACKWARD
from sewnp.mistakes.naming import in_words, mistakes_that_fit
from sewnp.networks.stages import GRADIENT, STAGES, stage_of
from sewnp.numerics import Precision, replay, run_in
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import in_precision
from sewnp.numerics.scales import zero_scales
from sewnp.types import Array

SWEEPS: list[tuple[str, Precision]] = [(name, "float32") for name in GRADIENT_CASES] + [("sew, layer norm, back", "float64")]


def says(cause: str, mistake: str) -> bool:
    """Whether a cause, of several alternatives maybe, tells of the mistake."""
    return mistake in cause.split(" or ") or set(mistake.split()) <= set(cause.split())


def quietly(run: StageRun) -> list[tuple[str, Array]]:
    with np.errstate(all="ignore"):
        return list(mistakes_of(run))


def gradients(names: Iterable[str]) -> list[str]:
    """Those of the gradients among them that the sweep looks at: of the layers, one is enough."""
    return [name for name in names if name.startswith(GRADIENT) and (".1." not in name or "conv_layers" in name)]


@cache
def everything_planted(name: str, precision: Precision) -> dict[tuple[str, str], str]:
    """(gradient, mistake) -> what the oracle says when that of an honest run is replaced by what the mistake makes of it.

    One replay is enough for all: what a gradient should be does not depend on what it was found to be.
    """
    model, inputs = case(name)
    honest = run_in(model, inputs, precision)
    replayed, local, zeros = replay(model, honest, inputs), allowed(name, precision)[1], zero_scales(truth(name))
    exact, said = in_precision(model, "float64"), {}
    for stage in gradients(replayed.local):
        right = replayed.local[stage]
        run = StageRun(stage, exact, replayed.used, inputs, right)
        least = zeros.get(stage, 0.0)
        for mistake, value in quietly(run):
            if (
                value.shape != right.shape or largest_error(right, value, least=least) > 2 * local[stage]
            ):  # else not to be seen on this run
                fitting = mistakes_that_fit(run, value.astype(precision), local[stage], least=least)
                said[stage, mistake] = in_words(fitting)
    return said


@pytest.mark.parametrize(("name", "precision"), SWEEPS)
def test_every_mistake_is_named(name: str, precision: Precision) -> None:
    for (stage, mistake), cause in everything_planted(name, precision).items():
        assert says(cause, mistake), f"{stage}: {mistake} was called {cause or 'nothing'}"


def test_no_mistake_is_dead() -> None:
    """Every mistake of every kind of stage can be seen in some run."""
    known, seen, kinds = set(), set(), set()
    for name, precision in SWEEPS:
        model, inputs = case(name)
        values = truth(name)
        for stage in gradients(values):
            run = StageRun(stage, in_precision(model, "float64"), values, inputs, values[stage])
            known |= {mistake for mistake, _ in quietly(run)}
            kinds.add(stage_of(stage).name)
        seen |= {mistake for _, mistake in everything_planted(name, precision)}
    assert sorted(known - seen) == []
    assert kinds >= {f"{GRADIENT}{stage.name}" for stage in STAGES if stage.kind == "float" and stage.name != "ctc.alpha"}


def test_every_stage_that_is_computed_from_others_has_its_way_back() -> None:
    leaves = {"input_values", "ctc.alpha"}
    assert set(BACKWARD) == {stage.name for stage in STAGES if stage.kind == "float"} - leaves
