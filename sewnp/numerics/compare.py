"""Comparing somebody's stages with ours: where they agree, where they part, and where they parted first."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sewnp.errors import printable
from sewnp.networks.stages import stage_of
from sewnp.numerics.measure import Measure, measure, transposition
from sewnp.numerics.replay import usable
from sewnp.numerics.scales import zero_scales
from sewnp.types import Array

Status = Literal["agrees", "diverges", "transposed", "shape", "not finite", "missing", "unknown"]

MUST_MATCH = ("stage_list", "fingerprint", "masking", "inputs")
"""Metadata that has to be the same where both files have it."""


@dataclass(frozen=True)
class StageComparison:
    """One stage compared."""

    name: str
    status: Status
    budget: float = 0.0
    measure: Measure | None = None
    detail: str = ""
    origin: bool = False
    """By replay: the stage itself is wrong, whatever its inputs."""
    local: Measure | None = None
    """By replay: the difference from what we make of their inputs."""
    cause: str = ""
    """By replay: what reproduces their value."""
    least: float = 0.0
    """The scale is at least this, for a gradient that is zero on paper."""


@dataclass(frozen=True)
class Comparison:
    """All stages compared, in the order of computation."""

    rows: tuple[StageComparison, ...]
    problems: tuple[str, ...] = ()
    """What keeps the two from being comparable at all: another model, other mask rules, other inputs."""
    replayed: bool = False

    @property
    def agrees(self) -> bool:
        """Whether every stage is there and within its budget."""
        return not self.problems and bool(self.rows) and all(row.status == "agrees" for row in self.rows)

    @property
    def first(self) -> StageComparison | None:
        """The first stage that does not agree; after a replay, the first that is itself wrong."""
        origins = [row for row in self.rows if row.origin]
        return next(iter(origins or [row for row in self.rows if row.status != "agrees"]), None)

    @property
    def verdict(self) -> str:
        """The result in a sentence or two."""
        if self.problems:
            return "not comparable: " + "; ".join(self.problems)
        if not self.rows:
            return "nothing to compare"
        if self.agrees:
            return f"all {len(self.rows)} stages agree"
        counts = Counter(row.status for row in self.rows)
        counted = ", ".join(f"{count} {'agree' if status == 'agrees' else status}" for status, count in counts.items())
        if not self.replayed:
            assert self.first is not None
            return f"{counted}; the first that does not agree is {printable(self.first.name)}"
        origins = [f"{printable(row.name)}{f' ({row.cause})' if row.cause else ''}" for row in self.rows if row.origin]
        if origins:
            return f"{counted}; wrong in itself: {'; '.join(origins)}"
        return f"{counted}; no stage is wrong in itself: what differs has grown from rounding, or from a stage that is missing"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        stages = _jsonable([asdict(row) for row in self.rows])
        return {"agrees": self.agrees, "verdict": self.verdict, "problems": list(self.problems), "stages": stages}


def compare(
    truth: Mapping[str, Array],
    theirs: Mapping[str, Array],
    budgets: Mapping[str, float],
    *,
    names: Iterable[str] | None = None,
    scales: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare stage by stage, in the order of ``truth``, one pair in memory at a time.

    truth: our stages.  theirs: their stages under our names.  budgets: fraction of the scale for each stage (see ``budgets``).  names: stages to
    compare, all of ours by default, or ``theirs`` for those that they have; what they lack counts as missing.  Names of theirs that we do not
    know are unknown, whatever was asked for.  scales: of gradients that are zero on paper (``zero_scales``); those of a truth that is whole
    by default.
    """
    ours, chosen = dict.fromkeys(truth), None if names is None else frozenset(names)
    wanted, zeros = [name for name in ours if chosen is None or name in chosen], zero_scales(truth) if scales is None else scales
    rows = [_compared(name, truth[name], theirs.get(name), budgets.get(name, 0.0), zeros.get(name, 0.0)) for name in wanted]
    strangers = [name for name in theirs if name not in ours]  # not "in truth": that of a Mapping would read the stage
    rows += [StageComparison(name, "unknown", detail="no stage of this run has this name") for name in strangers]
    return Comparison(tuple(rows))


def judge_replay(
    comparison: Comparison, local: Mapping[str, Array], theirs: Mapping[str, Array], budgets: Mapping[str, float]
) -> Comparison:
    """Mark the rows whose stage is wrong in itself: their value is beyond the local budget from what we make of their inputs.

    Where their value cannot be gone on with (another shape, NaN), what follows was computed from ours instead and would look wrong without
    being so.  Nothing is blamed then until a stage agrees again; and as shapes and NaN spread, only the first of them is blamed.  The gradient
    by a weight is what nothing else is computed from: as long as it agrees, it is right, whatever was shown before it.
    """
    rows = []
    cut = ""  # the stage behind which we are on our own
    spread = False
    for row in comparison.rows:
        if row.status not in ("missing", "unknown") and row.name in local:
            ours, found = local[row.name], theirs[row.name]
            alone = _compared(row.name, ours, found, budgets.get(row.name, 0.0), row.least)
            wrong, unusable = alone.status != "agrees", not usable(ours, found)
            right_leaf = row.status == "agrees" and stage_of(row.name).group == "weights"
            origin = wrong and not cut and not (unusable and spread) and not right_leaf
            behind = f"not judged: behind {cut}" if wrong and not origin and cut else ""
            detail = "; ".join(filter(None, (row.detail, behind)))
            row = replace(row, local=alone.measure, origin=origin, detail=detail)
            if unusable:
                cut, spread = cut or row.name, True
            elif not wrong and _depends_on_clips(row.name):
                cut = ""
        rows.append(row)
    return replace(comparison, rows=tuple(rows), replayed=True)


def _depends_on_clips(name: str) -> bool:
    """Whether a stage tells anything of those before it: masks and tables are computed from lengths and weights alone."""
    stage = stage_of(name)
    return stage.kind == "float" and stage.axes.startswith("B")


def metadata_problems(ours: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[str, ...]:
    """What the two files say differently of model, mask rules, inputs and stage list."""
    return tuple(
        f"{key}: {_short(ours[key])} here, {_short(theirs[key])} there"
        for key in MUST_MATCH
        if key in ours and key in theirs and ours[key] != theirs[key]
    )


def _compared(name: str, truth: Array, found: Array | None, budget: float, least: float) -> StageComparison:
    if found is None:
        return StageComparison(name, "missing", budget, detail="not in their file", least=least)
    measured = measure(truth, found, budget=budget, least=least) if found.shape == truth.shape else None
    status, detail = _judged(truth, found, measured, budget, least)
    return StageComparison(name, status, budget, measured, detail, least=least)


def _judged(truth: Array, found: Array, measured: Measure | None, budget: float, least: float) -> tuple[Status, str]:
    """The status of a stage and what there is to say of it.  measured: None where the shapes differ."""
    if measured is not None:
        nan_count = np.count_nonzero(np.isnan(found)) if found.dtype.kind == "f" else 0
        if nan_count:
            return "not finite", f"{nan_count} of {found.size} values are NaN"
        if measured.max_error <= budget:  # NaN in either has no bound
            return "agrees", ""
        if np.isinf(measured.max_error) and not np.isfinite(found).all():
            return "not finite", "infinite where the truth is not, or the other way round"
    axes = transposition(truth, found, budget=budget, least=least)
    if axes is not None:
        return "transposed", f"ours with axes {axes}" + ("" if measured else f": {found.shape}, expected {truth.shape}")
    if measured is None:
        return "shape", f"expected shape {truth.shape}, found {found.shape}"
    exact = {"b": "boolean", "i": "integer"}.get(truth.dtype.kind)
    return "diverges", f"{exact} stages have to be equal" if exact else ""


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value


def _jsonable(value: Any) -> Any:
    """JSON has no infinity: it is written as the string "inf"."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
