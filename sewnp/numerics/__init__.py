"""The oracle: trace every stage of a pass, forwards and back, and judge somebody else's.

Somebody ports SEW to another framework and dumps the values of the stages under their public names (``sewnp.networks.STAGES``).  :func:`compare`
holds them against our float64 run, stage by stage, with budgets that come from the arithmetic (:func:`budgets`); :func:`replay` computes each
of our stages from their values of its inputs, so that the stage that is itself wrong stands out from those that merely inherit an error.
"""

from sewnp.numerics.budgets import budgets, local_budgets, run_in
from sewnp.numerics.compare import Comparison, StageComparison, compare, judge_replay
from sewnp.numerics.jitter import honest_runs
from sewnp.numerics.measure import Measure, measure
from sewnp.numerics.precision import Precision, round_to_bfloat16, round_to_float16
from sewnp.numerics.replay import Replay, replay
from sewnp.numerics.scales import zero_scales
from sewnp.numerics.stage_files import StageFile, open_stages
from sewnp.numerics.trace import Inputs, Recorder, Trace, trace, write_trace

__all__ = [
    "Comparison",
    "Inputs",
    "Measure",
    "Precision",
    "Recorder",
    "Replay",
    "StageComparison",
    "StageFile",
    "Trace",
    "budgets",
    "compare",
    "honest_runs",
    "judge_replay",
    "local_budgets",
    "measure",
    "open_stages",
    "replay",
    "round_to_bfloat16",
    "round_to_float16",
    "run_in",
    "trace",
    "write_trace",
    "zero_scales",
]
