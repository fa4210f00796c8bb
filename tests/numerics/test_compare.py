"""Comparing: every way in which two runs can differ is named, and none of them counts as agreement."""

import json
import math
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from numerics.cases import CASES, allowed, case, diagnosed, planted, truth

from sewnp.errors import InputError
from sewnp.numerics import Comparison, StageComparison, compare, run_in
from sewnp.numerics.compare import metadata_problems
from sewnp.numerics.strangers import strip_prefix
from sewnp.types import Array

Q, MASK = "encoder.layers.0.attention.q", "encoder.squeezed_mask"


def theirs_with(**changes: Any) -> dict[str, Array]:
    """An honest float32 run of the case "sew" with some stages replaced; dots are written __."""
    return run_in(*case("sew"), "float32") | {name.replace("__", "."): np.asarray(x) for name, x in changes.items()}


def result_of(theirs: Mapping[str, Array], **options: Any) -> Comparison:
    return compare(truth("sew"), theirs, allowed("sew")[0], **options)


def row_of(theirs: Mapping[str, Array], name: str) -> StageComparison:
    result = result_of(theirs)
    assert not result.agrees
    (row,) = (row for row in result.rows if row.name == name)
    others = {row.status for row in result.rows if row.name != name}
    assert others == {"agrees"}
    return row


@pytest.mark.parametrize("name", CASES)
def test_an_honest_run_agrees(name: str) -> None:
    result = compare(truth(name), run_in(*case(name), "float32"), allowed(name)[0])
    assert result.agrees
    assert result.verdict == f"all {len(truth(name))} stages agree"
    assert result.first is None
    assert [row.name for row in result.rows] == list(truth(name))


def test_a_difference_and_where_it_is_worst() -> None:
    x = theirs_with()["logits"].copy()
    x[2, 5, 1] += 0.5 * np.abs(x).max()
    row = row_of(theirs_with(logits=x), "logits")
    assert row.status == "diverges"
    assert row.measure is not None
    assert row.measure.worst == (2, 5, 1)
    assert row.measure.max_error == pytest.approx(0.5, rel=1e-3)
    assert row.measure.share == 1 / x.size
    assert result_of(theirs_with(logits=x)).verdict == "55 agree, 1 diverges; the first that does not agree is logits"


def test_the_first_is_the_first_in_the_order_of_computation() -> None:
    both = theirs_with(logits=theirs_with()["logits"] + 1, encoder__pool=theirs_with()["encoder.pool"] * 2)
    first = result_of(dict(reversed(both.items()))).first
    assert first is not None
    assert first.name == "encoder.pool"


def test_a_transposed_layout_is_said_and_not_accepted() -> None:
    conv = "feature_extractor.conv_layers.0.conv"
    row = row_of(theirs_with(**{conv: theirs_with()[conv].transpose(0, 2, 1)}), conv)
    assert (row.status, row.detail) == ("transposed", "ours with axes (0, 2, 1): (3, 8, 21), expected (3, 21, 8)")
    square = "encoder.layers.0.attention.scores"  # the same shape either way
    row = row_of(theirs_with(**{square: np.swapaxes(theirs_with()[square], 2, 3)}), square)
    assert (row.status, row.detail) == ("transposed", "ours with axes (0, 1, 3, 2)")


def test_a_transposed_layout_of_other_numbers_is_only_a_shape() -> None:
    conv = "feature_extractor.conv_layers.0.conv"
    row = row_of(theirs_with(**{conv: theirs_with()[conv].transpose(0, 2, 1) * 1.01}), conv)
    assert (row.status, row.detail) == ("shape", "expected shape (3, 21, 8), found (3, 8, 21)")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.nan, "1 of 297 values are NaN"),
        (np.inf, "expected -1.6694, found inf at [0, 1, 2]; 1 of 297 values are infinite on one side"),
    ],
)
def test_what_is_not_finite(value: float, said: str) -> None:
    x = theirs_with()["logits"].copy()
    x[0, 1, 2] = value
    row = row_of(theirs_with(logits=x), "logits")
    assert row.status == "not finite"
    assert row.detail.startswith(said)
    assert row.measure is not None
    assert row.measure.max_error == math.inf


def test_infinities_where_ours_has_them_agree_and_elsewhere_do_not() -> None:
    alpha = theirs_with()["ctc.alpha"]
    apart = np.count_nonzero(np.isneginf(alpha))
    for low, status, found in ((np.float32(-1e30), "diverges", "-1e+30"), (np.inf, "not finite", "inf")):
        row = row_of(theirs_with(ctc__alpha=np.where(np.isneginf(alpha), low, alpha)), "ctc.alpha")
        said = f"expected -inf, found {found} at [0, 0, 2]; {apart} of {alpha.size} values are infinite on one side"
        assert (row.status, row.detail) == (status, said)


def test_nan_never_agrees_even_with_nan() -> None:
    nan = {"pooled": np.array([[np.nan, 1.0]])}
    result = compare(nan, nan, {"pooled": 1.0})
    assert [row.status for row in result.rows] == ["not finite"]


def test_a_missing_stage() -> None:
    theirs = theirs_with()
    del theirs[Q]
    row = row_of(theirs, Q)
    assert (row.status, row.measure) == ("missing", None)


def test_an_unknown_stage() -> None:
    result = result_of(theirs_with(encoder__layers__9__residual=np.zeros(3)))
    first = result.first
    assert first is not None
    assert (first.name, first.status) == ("encoder.layers.9.residual", "unknown")
    assert first.detail == "the stage list has this stage, but this run does not come by it"
    assert not result.agrees
    (row,) = (row for row in result_of(theirs_with(encoder__layer__0__attn__residual=np.zeros(3))).rows if row.status == "unknown")
    assert row.detail == "no stage of this run has this name; the nearest is encoder.layers.0.residual"
    # asked for or not
    assert not result_of(theirs_with(mine=np.zeros(3)), names=["logits"]).agrees


def test_a_prefix_of_all_names_is_told_and_taken_off() -> None:
    theirs = {("gradient.sew." if name.startswith("gradient.") else "sew.") + name: x for name, x in theirs_with().items()}
    result = result_of(theirs, names=["logits"])
    assert [row.status for row in result.rows] == ["unknown"] * len(theirs) + ["missing"]
    said = f'the {len(theirs)} unknown names all begin with "sew.", which --strip-prefix sew. takes off'
    assert result.verdict == f"{len(theirs)} unknown, 1 missing; {said}"
    ours = truth("sew")
    stripped = strip_prefix(theirs | {"gradient.sew.logits": theirs["sew.logits"]}, "sew.", ours)
    assert list(stripped) == [*ours, "gradient.logits"]
    assert result_of(strip_prefix(theirs, "sew.", ours)).agrees
    assert strip_prefix({"sew.encoder.pool": np.zeros(1)}, "sew.", ["sew.encoder.pool"]).source == {
        "sew.encoder.pool": "sew.encoder.pool"
    }
    with pytest.raises(InputError, match=r"--strip-prefix sew\.: logits and sew\.logits become the same"):
        strip_prefix({"logits": np.zeros(1), "sew.logits": np.zeros(1)}, "sew.", ours)


def test_integers_and_booleans_have_to_be_equal() -> None:
    mask = theirs_with()[MASK].copy()
    mask[1, 0] = False
    row = row_of(theirs_with(**{MASK: mask}), MASK)
    said = f"boolean stages have to be equal: expected True, found False at [1, 0]; 1 of {mask.size} differ"
    assert (row.status, row.detail, row.budget) == ("diverges", said, 0.0)
    # in whatever dtype
    assert result_of(theirs_with(**{MASK: theirs_with()[MASK].astype(np.float32)})).agrees
    positions = "encoder.encoder.relative_positions"
    theirs = run_in(*case("sew-d"), "float32")
    off = theirs | {positions: theirs[positions] + 1}
    (row,) = (row for row in compare(truth("sew-d"), off, allowed("sew-d")[0]).rows if row.status != "agrees")
    said = "integer stages have to be equal: expected 0, found 1 at [0, 0]; 121 of 121 differ"
    assert (row.name, row.detail) == (positions, said)


def test_a_choice_of_stages() -> None:
    theirs = theirs_with()
    result = result_of({"logits": theirs["logits"]}, names=["logits"])
    assert result.agrees
    assert [row.name for row in result.rows] == ["logits"]
    part = {name: theirs[name] for name in ("loss", "logits", Q)}
    assert [row.name for row in result_of(part, names=part).rows] == [Q, "logits", "loss"]  # in our order
    assert [row.status for row in result_of({}, names=["logits"]).rows] == ["missing"]


def test_nothing_to_compare_is_no_agreement() -> None:
    result = compare({}, {}, {})
    assert not result.agrees
    assert result.verdict == "nothing to compare"


def test_without_a_budget_a_stage_has_to_be_equal() -> None:
    assert not compare(truth("sew"), theirs_with(), {}).agrees


def test_metadata_that_has_to_be_the_same() -> None:
    ours = {"fingerprint": "a" * 64, "masking": "any", "inputs": "b" * 64, "stage_list": "1", "dtype": "float64", "model": "x"}
    assert metadata_problems(ours, ours) == ()
    assert metadata_problems(ours, {}) == ()  # a file that says nothing is taken at its word
    assert metadata_problems(ours, ours | {"dtype": "float32", "model": "y"}) == ()
    for key in ("fingerprint", "masking", "inputs", "stage_list"):
        (problem,) = metadata_problems(ours, ours | {key: "c" * 64})
        assert problem.startswith(f"{key}: ")
        assert "cccccccccccc there" in problem
        assert len(problem) < 60


def test_problems_outweigh_everything() -> None:
    result = Comparison((StageComparison("logits", "agrees"),), ("masking: any here, floor there",))
    assert not result.agrees
    assert result.verdict == "not comparable: masking: any here, floor there"


def test_the_result_as_json() -> None:
    x = theirs_with()["logits"].copy()
    x[0, 1, 2] = np.nan
    result = result_of(theirs_with(logits=x))
    back = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert back["agrees"] is False
    assert back["verdict"] == result.verdict
    assert len(back["stages"]) == len(result.rows)
    assert {stage["name"]: stage for stage in back["stages"]}["logits"]["measure"]["max_error"] == "inf"


class Counting(Mapping[str, Array]):
    """Stages that are made anew for whoever asks, and know how often and how many at a time."""

    def __init__(self, stages: Mapping[str, Array]) -> None:
        self.stages, self.reads = stages, list[str]()
        self.alive, self.most = weakref.WeakSet[Any](), 0

    def __getitem__(self, name: str) -> Array:
        x = self.stages[name].copy().view(Kept)
        self.reads.append(name)
        self.alive.add(x)
        self.most = max(self.most, len(self.alive))
        return x

    def __iter__(self) -> Iterator[str]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)


class Kept(np.ndarray[Any, Any]):
    """An array that can be referred to weakly and compared by identity."""

    __hash__ = object.__hash__  # type: ignore[assignment]


def test_stages_are_read_once_and_one_pair_at_a_time() -> None:
    ours, theirs = Counting(truth("sew")), Counting(theirs_with(stranger=np.zeros(2)))
    assert [row.name for row in compare(ours, theirs, allowed("sew")[0]).rows if row.status != "agrees"] == ["stranger"]
    assert ours.reads == list(truth("sew"))
    assert theirs.reads == list(truth("sew"))
    assert (ours.most, theirs.most) == (1, 1)


# -- with a replay ---------------------------------------------------------------------------------------------------------------------


def test_nan_is_blamed_once() -> None:
    """It spreads through everything behind, which is not wrong in itself."""

    def bug(v: dict[str, Array]) -> Array:
        x = v[Q].copy()
        x[1] = np.nan
        return x

    result = diagnosed("sew", planted("sew", {Q: bug}))
    assert [row.name for row in result.rows if row.origin] == [Q]
    assert sum(row.status == "not finite" for row in result.rows) > 20


def test_a_layout_is_blamed_once_and_what_follows_is_judged() -> None:
    conv = "feature_extractor.conv_layers.1.conv"
    theirs = run_in(*case("sew"), "float32")
    theirs[conv] = theirs[conv].transpose(0, 2, 1)
    theirs["logits"] = theirs["logits"] + np.float32(1)
    result = diagnosed("sew", theirs)
    assert [row.name for row in result.rows if row.origin][:2] == [conv, "logits"]


def test_what_merely_follows_a_stage_of_another_shape_is_not_accused() -> None:
    """One frame too few in the branch of the positions: what is next in the order, the pool, is right, and their sum has only our positions."""
    conv, activation = "encoder.pos_conv_embed.conv", "encoder.pos_conv_embed.activation"
    theirs = planted("sew", {"encoder.squeezed": lambda v: v["encoder.pool"]})
    theirs |= {conv: theirs[conv][:, 1:], activation: theirs[activation][:, 1:], "logits": theirs["logits"] * np.float32(2)}
    result = diagnosed("sew", theirs)
    rows = {row.name: row for row in result.rows}
    assert [row.name for row in result.rows if row.origin] == [conv, "logits", "log_probs"]
    assert rows["encoder.pool"].status == "agrees"
    assert rows["encoder.squeezed"].detail == f"not judged: behind {conv}"


def test_a_mask_of_another_shape_does_not_accuse_who_looks_at_it() -> None:
    theirs = theirs_with()
    probabilities = "encoder.layers.0.attention.probabilities"
    theirs |= {MASK: theirs[MASK][:1], probabilities: np.full_like(theirs[probabilities], 1 / theirs[probabilities].shape[-1])}
    rows = {row.name: row for row in diagnosed("sew", theirs).rows}
    assert rows[MASK].origin
    assert not rows[probabilities].origin


def test_a_verdict_is_grouped_by_cause_and_no_longer_than_a_screen() -> None:
    causes = ["", *(f"cause {i}" for i in range(40))]
    rows = tuple(
        StageComparison(f"layers.{i}.q" if cause else f"layers.{i}.k", "diverges", origin=True, cause=cause)
        for cause in causes
        for i in range(3)
    )
    lines = Comparison(rows, replayed=True).verdict.splitlines()
    assert lines[:3] == ["123 diverges; wrong in itself:", "  layers.0.k and 2 more", "  layers.0.q and 2 more (cause 0)"]
    assert lines[-1] == "  and 25 more causes"
    assert len(lines) <= 24


def test_what_has_grown_from_rounding_is_nobodys_fault() -> None:
    """A run in bfloat16 is far beyond float32's budgets, and no stage of it is said to be wrong that only inherits."""
    inherited = {"encoder.pool": lambda v: v["encoder.pool"] * np.float32(1.5)}
    result = diagnosed("sew", planted("sew", inherited))
    behind = [row for row in result.rows if row.status == "diverges" and not row.origin]
    assert len(behind) > 20
    assert all(row.local is not None and row.local.max_error < 1e-5 for row in behind)


def test_a_missing_stage_hides_where_but_not_that() -> None:
    theirs = planted("sew", {"encoder.pool": lambda v: v["encoder.pool"] * np.float32(2)})
    del theirs["encoder.pool"]
    result = diagnosed("sew", theirs)
    assert [row.name for row in result.rows if row.origin] == ["encoder.squeezed"]
    assert not result.agrees


def test_verdict_when_only_a_stage_is_missing() -> None:
    theirs = theirs_with()
    del theirs[Q]
    result = diagnosed("sew", theirs)
    assert result.verdict.startswith("55 agree, 1 missing; no stage is wrong in itself")
    assert result.first is not None
    assert result.first.name == Q
