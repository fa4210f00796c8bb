"""Naming mistakes: which of those that are known makes a stage what a port has there."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from sewnp.mistakes.stage_run import StageRun
from sewnp.mistakes.table import mistakes_of
from sewnp.model import Model
from sewnp.numerics.compare import Comparison, StageComparison
from sewnp.numerics.measure import largest_error, measure
from sewnp.numerics.precision import in_precision
from sewnp.numerics.replay import Replay
from sewnp.types import Array

LOWEST = -1e30
"""Below this a value stands for minus infinity: many ports mask with the lowest number there is."""


def name_mistakes(
    comparison: Comparison, model: Model, replayed: Replay, theirs: Mapping[str, Array], budgets: Mapping[str, float]
) -> Comparison:
    """Name the cause of every stage that is wrong in itself, where a known mistake reproduces its value to within the local budget.

    model: the one of the replay.  budgets: local ones.  Mistakes that differ from each other by less than arithmetic does, such as two very
    small eps, cannot be told apart: then all that fit are named, the best first.
    """
    exact = in_precision(model, "float64")

    def named(row: StageComparison) -> StageComparison:
        stage = StageRun(row.name, exact, replayed.used, replayed.inputs, replayed.local[row.name])
        fits = mistakes_that_fit(stage, theirs[row.name], budgets.get(row.name, 0.0), least=row.least)
        return replace(row, cause=in_words(fits))

    return replace(comparison, rows=tuple(named(row) if row.origin else row for row in comparison.rows))


def mistakes_that_fit(stage: StageRun, found: Array, budget: float, *, least: float = 0.0) -> list[str]:
    """The mistakes that make the stage what was found, the closest first."""
    return fitting(mistakes_of(stage), found, budget, least=least)


def fitting(mistakes: Iterable[tuple[str, Array]], found: Array, budget: float, *, least: float = 0.0) -> list[str]:
    """Of mistakes and the values that they make, those whose value was found, the closest first."""
    fits: dict[str, float] = {}
    if found.dtype.kind == "f":
        found = np.where(found < LOWEST, -np.inf, found)
    with np.errstate(all="ignore"):  # a mistake may well divide by zero
        for said, value in mistakes:
            if value.shape == found.shape and largest_error(value, found, least=least) <= budget:
                # the mean, because rounding averages out and a systematic difference does not
                fits[said] = min(measure(value, found, least=least).mean_error, fits.get(said, np.inf))
    return sorted(fits, key=lambda said: fits[said])


def in_words(mistakes: Sequence[str]) -> str:
    """Alternatives in one phrase: "tanh GELU instead of erf GELU", "relu instead of erf GELU" -> "tanh GELU or relu instead of erf GELU"."""
    words = [mistake.split() for mistake in mistakes]
    start, end = _shared(words), _shared([part[::-1] for part in words])
    middles = [" ".join(part[start : len(part) - end]) for part in words]
    if len(mistakes) < 2 or not all(middles):
        return " or ".join(mistakes)
    return " ".join([*words[0][:start], " or ".join(middles), *words[0][len(words[0]) - end :]])


def _shared(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with alike."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
