"""Comparing somebody's stages with ours: where they agree, where they part, and where they parted first."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from sewnp.errors import printable
from sewnp.networks.stages import stage_of
from sewnp.numerics.behind import Behind
from sewnp.numerics.measure import Measure, measure, transposition
from sewnp.numerics.replay import usable
from sewnp.numerics.scales import zero_scales
from sewnp.numerics.strangers import described_strangers, in_common
from sewnp.types import Array

Status = Literal["agrees", "diverges", "transposed", "shape", "not finite", "missing", "unknown"]

MUST_MATCH = ("stage_list", "fingerprint", "masking", "inputs")
"""Metadata that has to be the same where both files have it."""

SCREEN = 16
"""Causes that a verdict tells before it says how many more there are: with what stands around them, a screen."""


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
    """The known mistake that reproduces their value."""
    least: float = 0.0
    """The scale is at least this, for a gradient that is zero on paper."""


@dataclass(frozen=True)
class Comparison:
    """All stages compared, in the order of computation."""

    rows: tuple[StageComparison, ...]
    """Names that no stage has first: mostly the rest is missing under its own."""
    problems: tuple[str, ...] = ()
    """What keeps the two from being comparable at all: another model, other mask rules, other inputs."""
    replayed: bool = False
    hint: str = ""
    """What all the names that no stage has begin with, in words."""

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
        counted += f"; {self.hint}" if self.hint else ""
        if self.replayed:
            return f"{counted}; {self._origins}"
        assert self.first is not None
        return counted if self.hint else f"{counted}; the first that does not agree is {printable(self.first.name)}"

    @property
    def _origins(self) -> str:
        """What is wrong in itself, grouped by cause: on one line, or where there are several causes on one each."""
        groups: dict[tuple[str, str], list[str]] = {}
        for row in self.rows:
            if row.origin:  # without a known cause it is the kind of stage that tells what goes together
                groups.setdefault((row.cause, row.cause or of_any_layer(row.name)), []).append(printable(row.name))
        if not groups:
            return "no stage is wrong in itself: what differs has grown from rounding, or from a stage that is missing"
        said = [_places(names) + (f" ({cause})" if cause else "") for (cause, _), names in groups.items()]
        more = [f"and {len(said) - SCREEN} more causes"] if len(said) > SCREEN else []
        return "wrong in itself: " + said[0] if len(said) == 1 else "\n  ".join(["wrong in itself:", *said[:SCREEN], *more])

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
    unknown = [StageComparison(name, "unknown", detail=said) for name, said in described_strangers(strangers, ours).items()]
    return Comparison((*unknown, *rows), hint=in_common(strangers, ours))


def judge_replay(
    comparison: Comparison, local: Mapping[str, Array], theirs: Mapping[str, Array], budgets: Mapping[str, float]
) -> Comparison:
    """Mark the rows whose stage is wrong in itself: their value is beyond the local budget from what we make of their inputs.

    Where their value cannot be gone on with (another shape, NaN), what is computed from it was computed from ours instead and would look
    wrong without being so: it is not blamed, nor is what has another shape or NaN because that has.  The gradient by a weight is what
    nothing else is computed from: as long as it agrees, it is right, whatever was shown before it.
    """
    rows = {row.name: row for row in comparison.rows}
    behind = Behind(local)
    for name, ours in local.items():
        row, found, cut = rows.get(name), theirs.get(name), behind.whom(name)
        if found is None or not usable(ours, found):
            behind.add(name, cut or ("" if found is None else name))
        if row is None or found is None or row.status == "missing":
            continue
        alone = _compared(name, ours, found, budgets.get(name, 0.0), row.least)
        wrong, right_leaf = alone.status != "agrees", row.status == "agrees" and stage_of(name).group == "weights"
        origin = wrong and not cut and not right_leaf
        note = f"not judged: behind {cut}" if wrong and not origin and cut else ""
        rows[name] = replace(row, local=alone.measure, origin=origin, detail="; ".join(filter(None, (row.detail, note))))
    return replace(comparison, rows=tuple(rows.values()), replayed=True)


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
        if (infinities := _infinities(truth, found)) and not np.isfinite(found).all():
            return "not finite", infinities
    axes = transposition(truth, found, budget=budget, least=least)
    if axes is not None:
        return "transposed", f"ours with axes {axes}" + ("" if measured else f": {found.shape}, expected {truth.shape}")
    if measured is None:
        return "shape", f"expected shape {truth.shape}, found {found.shape}"
    exact = {"b": "boolean", "i": "integer"}.get(truth.dtype.kind)
    if not exact:
        return "diverges", _infinities(truth, found)
    others = f" at {list(measured.worst)}" if measured.worst else ""
    said = f"expected {truth[measured.worst]}, found {found[measured.worst]}{others}"
    return "diverges", f"{exact} stages have to be equal: {said}; {np.count_nonzero(truth != found)} of {truth.size} differ"


def _infinities(truth: Array, found: Array) -> str:
    """On which side the infinities are that the other does not have, and where the first is; "" where both have the same."""
    apart = (np.isinf(truth) | np.isinf(found)) & (truth != found)
    if not apart.any():
        return ""
    where = tuple(map(int, np.unravel_index(int(apart.argmax()), truth.shape)))
    at = f" at {list(where)}" if where else ""
    said = f"expected {float(truth[where]):.6g}, found {float(found[where]):.6g}{at}"
    return f"{said}; {np.count_nonzero(apart)} of {truth.size} values are infinite on one side"


def of_any_layer(name: str) -> str:
    """A stage's name with {i} for its layer's number."""
    return re.sub(r"\.\d+\.", ".{i}.", name)


def _places(names: Sequence[str]) -> str:
    """Stages in a few words."""
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _short(value: str) -> str:
    return value[:12] if len(value) == 64 else value


def _jsonable(value: Any) -> Any:
    """JSON has no infinity: it is written as the string "inf"."""
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value
