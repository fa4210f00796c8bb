"""How much error a stage may have: derived from what honest arithmetic does there, not chosen.

The truth is our float64 run.  A run of ours in the port's precision shows what that precision costs at each stage; a stage's budget is
:data:`FACTOR` times that, and at least :data:`FLOOR` machine epsilons, as a fraction of the stage's scale.  The factor leaves room for other
orders of summation, the floor for stages where our own run happens to be exact.  float16 and bfloat16 are emulated by rounding every stage.
Integer and boolean stages have no budget: they are equal or they are not.
"""

from collections.abc import Iterable, Mapping

from sewnp.errors import InputError
from sewnp.model import Model
from sewnp.networks.stages import stage_of
from sewnp.numerics.measure import largest_error
from sewnp.numerics.precision import EPS, PRECISIONS, ROUNDING, Precision, in_precision, rounding
from sewnp.numerics.replay import replay
from sewnp.numerics.trace import Inputs, Recorder
from sewnp.types import Array

FACTOR = 4.0
FLOOR = 8.0


def run_in(model: Model, inputs: Inputs, precision: Precision) -> dict[str, Array]:
    """Every stage of a run in the precision.  Raises InputError for an unknown one."""
    if precision not in PRECISIONS:
        raise InputError(f"precision: expected one of {PRECISIONS}, found {precision!r}")
    recorder = Recorder()
    see = rounding(precision, recorder) if precision in ROUNDING else recorder
    in_precision(model, precision)(**inputs.arguments(), see=see)
    return recorder.values


def budgets(truth: Mapping[str, Array], runs: Iterable[Mapping[str, Array]], precision: Precision = "float32") -> dict[str, float]:
    """Budget of every stage of a whole run, as a fraction of its scale.

    truth: the stages of the float64 run.  runs: runs in the port's precision, ours and where at hand others', such as torch's: the largest
    error of any counts.  Stages that a run lacks are left to the others.
    """
    worst = dict.fromkeys(truth, 0.0)
    for run in runs:
        for name in truth.keys() & run.keys():
            if run[name].shape == truth[name].shape:
                worst[name] = max(worst[name], largest_error(truth[name], run[name]))
    return {name: _budget(name, error, precision) for name, error in worst.items()}


def local_budgets(
    model: Model, inputs: Inputs, runs: Iterable[Mapping[str, Array]], precision: Precision = "float32"
) -> dict[str, float]:
    """Budget of every stage when it is computed from the run's own values of its inputs: what the arithmetic of the stage alone costs."""
    worst: dict[str, float] = {}
    for run in runs:
        for name, local in replay(model, run, inputs).local.items():
            worst[name] = max(worst.get(name, 0.0), largest_error(local, run[name]) if local.shape == run[name].shape else 0.0)
    return {name: _budget(name, error, precision) for name, error in worst.items()}


def _budget(name: str, error: float, precision: Precision) -> float:
    return 0.0 if stage_of(name).kind != "float" else max(FACTOR * error, FLOOR * EPS[precision])
