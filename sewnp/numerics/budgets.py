"""How much error a stage may have: derived from what honest arithmetic does there, not chosen.

The truth is our float64 run.  A run of ours in the port's precision shows what that precision costs at each stage; a stage's budget is
:data:`FACTOR` times that, and at least :data:`FLOOR` machine epsilons, as a fraction of the stage's scale.  The factor leaves room for other
orders of summation, the floor for stages where our own run happens to be exact.  float16 and bfloat16 are emulated by rounding every stage.
Integers and booleans have no budget: they are equal or they are not.
"""

from collections.abc import Collection, Iterable, Mapping

from sewnp.errors import InputError
from sewnp.model import Model
from sewnp.networks.stages import stage_of
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import EPS, PRECISIONS, ROUNDING, Precision, in_precision, rounding
from sewnp.numerics.replay import replay
from sewnp.numerics.scales import zero_scales
from sewnp.numerics.trace import Inputs, Recorder
from sewnp.types import Array

FACTOR = 4.0
FLOOR = 8.0
SUMS = 2.0
"""So many times that is allowed to gradients by weights, sums over every frame of every clip: added one after the other they cost more than
in any order of ours."""


def run_in(model: Model, inputs: Inputs, precision: Precision) -> dict[str, Array]:
    """Every stage of a run in the precision.  Raises InputError for an unknown one."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {PRECISIONS}, found {precision!r}")
    recorder = Recorder()
    see = rounding(precision, recorder) if precision in ROUNDING else recorder
    inputs.run(in_precision(model, precision), see)
    return recorder.values


def budgets(truth: Mapping[str, Array], runs: Iterable[Mapping[str, Array]], precision: Precision = "float32") -> dict[str, float]:
    """Budget of every stage of a whole run, as a fraction of its scale.

    truth: the stages of the float64 run.  runs: runs in the port's precision, ours and where at hand others', such as torch's: the largest
    error of any counts.  Stages that a run lacks are left to the others.
    """
    runs, zeros = list(runs), zero_scales(truth)
    allowed = {}
    for name, x in truth.items():
        least = zeros.get(name, 0.0)
        errors = (largest_error(x, run[name], least=least) for run in runs if name in run and run[name].shape == x.shape)
        allowed[name] = _budget(name, x, max(errors, default=0.0), precision)
    return allowed


def local_budgets(
    model: Model,
    inputs: Inputs,
    runs: Iterable[Mapping[str, Array]],
    precision: Precision = "float32",
    *,
    given: Collection[str] | None = None,
) -> dict[str, float]:
    """Budget of every stage when it is computed from the run's own values of its inputs: what the arithmetic of the stage alone costs.

    given: the stages that a port gives, all by default.  Behind one that it keeps to itself, such as the lattice inside a CTC loss, a
    stage costs what both do.
    """
    allowed: dict[str, float] = {}
    zeros = zero_scales(run_in(model, inputs, "float64")) if inputs.gradients else {}
    for run in runs:
        shown = run if given is None else {name: x for name, x in run.items() if name in given}
        for name, x in replay(model, shown, inputs).local.items():
            error = largest_error(x, run[name], least=zeros.get(name, 0.0)) if x.shape == run[name].shape else 0.0
            allowed[name] = max(_budget(name, x, error, precision), allowed.get(name, 0.0))
    return allowed


def _budget(name: str, truth: Array, error: float, precision: Precision) -> float:
    if truth.dtype.kind != "f":
        return 0.0
    return (SUMS if stage_of(name).group == "weights" else 1.0) * max(FACTOR * error, FLOOR * EPS[precision])
