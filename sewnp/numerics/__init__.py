"""The oracle: trace every stage of a forward pass, and judge somebody else's.

Somebody ports SEW to another framework and dumps the values of the stages under their public names (``sewnp.networks.STAGES``).  :func:`compare`
holds them against our float64 run, stage by stage, with budgets that come from the arithmetic (:func:`budgets`); :func:`replay` computes each
of our stages from their values of its inputs, so that the stage that is itself wrong stands out from those that merely inherit an error.
"""

from sewnp.numerics.budgets import budgets, local_budgets, run_in
from sewnp.numerics.capture import from_torch
from sewnp.numerics.check import CaseReport, Report, check_vectors
from sewnp.numerics.compare import Comparison, Row, compare, judge_replay
from sewnp.numerics.files import StageFile, open_stages
from sewnp.numerics.jitter import honest_runs
from sewnp.numerics.judge import judge
from sewnp.numerics.measure import Measure, measure
from sewnp.numerics.precision import Precision, round_to_bfloat16, round_to_float16
from sewnp.numerics.replay import Replay, replay
from sewnp.numerics.trace import Inputs, Recorder, Trace, trace, write_trace
from sewnp.numerics.variants import name_causes
from sewnp.numerics.vectors import write_vectors

__all__ = [
    "CaseReport",
    "Comparison",
    "Inputs",
    "Measure",
    "Precision",
    "Recorder",
    "Replay",
    "Report",
    "Row",
    "StageFile",
    "Trace",
    "budgets",
    "check_vectors",
    "compare",
    "from_torch",
    "honest_runs",
    "judge",
    "judge_replay",
    "local_budgets",
    "measure",
    "name_causes",
    "open_stages",
    "replay",
    "round_to_bfloat16",
    "round_to_float16",
    "run_in",
    "trace",
    "write_trace",
    "write_vectors",
]
