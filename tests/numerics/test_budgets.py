"""Budgets come from the arithmetic: what honest rounding costs, times a stated factor, above a stated floor."""

import numpy as np
import pytest
from numerics.cases import CASES, allowed, case, planted, truth

from sewnp.errors import InputError
from sewnp.networks.stages import stage_of
from sewnp.numerics import (
    Precision,
    budgets,
    compare,
    local_budgets,
    measure,
    round_to_bfloat16,
    round_to_float16,
    run_in,
)
from sewnp.numerics.budgets import FACTOR, FLOOR
from sewnp.numerics.precision import EPS, PRECISIONS


def test_the_factor() -> None:
    true, run = {"logits": np.array([1.0, -2.0])}, {"logits": np.array([1.0, -2.002])}
    assert budgets(true, [run]) == {"logits": pytest.approx(FACTOR * 0.001)}


def test_the_largest_error_of_any_run_counts() -> None:
    true = {"logits": np.array([1.0, 2.0])}
    runs = [{"logits": np.array([1.0, 2.0 + e])} for e in (0.002, 0.006, 0.004)]
    assert budgets(true, runs) == {"logits": pytest.approx(FACTOR * 0.003)}
    assert budgets(true, [{}, runs[0], {"logits": np.zeros(3)}]) == {"logits": pytest.approx(FACTOR * 0.001)}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_floor_is_eight_eps_of_the_precision(precision: Precision) -> None:
    true = {"logits": np.array([1.0, 2.0])}
    assert budgets(true, [true], precision) == {"logits": FLOOR * EPS[precision]}
    assert FLOOR == 8


def test_eps() -> None:
    torch = pytest.importorskip("torch")
    for precision, eps in EPS.items():
        assert eps == torch.finfo(getattr(torch, precision)).eps


@pytest.mark.parametrize("name", CASES)
def test_integers_and_booleans_have_none(name: str) -> None:
    for table in allowed(name):
        assert {stage_of(stage).kind for stage, budget in table.items() if budget == 0.0} <= {"integer", "boolean"}
        assert all(budget > 0 for stage, budget in table.items() if stage_of(stage).kind == "float")
        assert all(budget < 1e-3 for budget in table.values())
        assert table.keys() == truth(name).keys()


@pytest.mark.parametrize("name", CASES)
def test_local_budgets_are_smaller_where_errors_have_grown(name: str) -> None:
    whole, local = allowed(name)
    assert np.median([local[stage] / whole[stage] for stage in whole if whole[stage]]) < 1


def test_an_unknown_precision() -> None:
    with pytest.raises(InputError, match="precision: expected one of"):
        run_in(*case("sew"), "float8")  # type: ignore[arg-type]


def test_float64_has_budgets_too() -> None:
    model, inputs = case("sew")
    run = run_in(model, inputs, "float64")
    assert compare(truth("sew"), run, budgets(truth("sew"), [run], "float64")).agrees
    shifted = run | {"logits": run["logits"] * (1 + 1e-13)}
    assert not compare(truth("sew"), shifted, budgets(truth("sew"), [run], "float64")).agrees


# -- half precision --------------------------------------------------------------------------------------------------------------------


def corners(bits: int) -> np.ndarray:
    """Every float32 whose lower bits are about to be rounded away: all patterns of the upper half, with ties and their neighbours below."""
    upper = np.arange(2**16, dtype=np.uint32) << 16
    tie = np.uint32(1 << (bits - 1))
    return np.concatenate([upper, *(upper | low for low in (tie - 1, tie, tie + 1, np.uint32(0xFFFF)))]).view(np.float32)


def test_bfloat16_rounds_as_torch_does_bit_for_bit() -> None:
    torch = pytest.importorskip("torch")
    x = corners(16)
    rng = np.random.default_rng(0)
    x = np.concatenate([x, rng.integers(0, 2**32, size=200_000, dtype=np.uint32).view(np.float32)])
    ours, theirs = round_to_bfloat16(x), torch.tensor(x).to(torch.bfloat16).float().numpy()
    number = ~np.isnan(x)
    np.testing.assert_array_equal(ours[number].view(np.uint32), theirs[number].view(np.uint32))
    assert np.isnan(ours[~number]).all()


def test_float16_rounds_as_numpy_does() -> None:
    x = np.concatenate([corners(13), np.array([65504, 65519.9, 65520, -65520, 1e30, 5e-8, -0.0], dtype=np.float32)])
    x = x[~np.isnan(x)]
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(round_to_float16(x), x.astype(np.float16).astype(np.float32))
    assert round_to_float16(np.array([70000.0])).item() == np.inf


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_keeps_dtype_and_argument(dtype: type) -> None:
    x = np.array([[1.0 + 2.0**-9, np.nan], [np.inf, -np.inf]], dtype=dtype)
    before = x.copy()
    for to in (round_to_bfloat16, round_to_float16):
        assert to(x).dtype == dtype
        assert to(x).shape == x.shape
        np.testing.assert_array_equal(to(to(x)), to(x))
        assert to(np.array(3.0, dtype=dtype)).shape == ()
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["sew", "sew, weighted", "sew-d", "sew-d, c2p alone"])
def test_a_port_in_half_precision_is_judged_by_an_emulation_of_it(name: str, precision: Precision) -> None:
    """It passes with its own precision's budgets and fails with float32's."""
    run = run_in(*case(name), precision)
    for stage, x in run.items():
        if x.dtype.kind == "f":
            to = round_to_float16 if precision == "float16" else round_to_bfloat16
            np.testing.assert_array_equal(to(x), x, err_msg=stage)
    own, _ = allowed(name, precision)
    assert compare(truth(name), run, own).agrees
    assert not compare(truth(name), run, allowed(name)[0]).agrees
    # and a mistake is still seen
    bug = planted(name, {"encoder.pool": lambda v: v["encoder.pool"] * 2}, "float32")
    assert not compare(truth(name), bug, own).agrees


def test_half_precision_weights_are_rounded_too() -> None:
    run = run_in(*case("sew-d"), "bfloat16")
    stage = "encoder.encoder.rel_embeddings"
    np.testing.assert_array_equal(run[stage], round_to_bfloat16(truth("sew-d")[stage]))


def test_local_budgets_of_a_run_are_what_its_own_stages_cost() -> None:
    model, inputs = case("sew")
    run = run_in(model, inputs, "float32")
    local = local_budgets(model, inputs, [run])
    x, p = (
        run["encoder.layers.0.attention.context"].astype(float),
        model.weights["sew"]["encoder"]["layers"][0]["attention"]["out_proj"],
    )
    stage = "encoder.layers.0.attention.output"
    error = measure(x @ p["weight"].T.astype(float) + p["bias"], run[stage]).max_error
    assert local[stage] == pytest.approx(max(FACTOR * error, FLOOR * EPS["float32"]), rel=1e-6)
