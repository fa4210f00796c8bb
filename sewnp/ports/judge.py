"""Somebody's stages, in a file, held against a trace of ours; with the model, down to what is wrong in itself, and why."""

import json
from collections.abc import Mapping, Sequence

from sewnp.config import Config, config_from_dict
from sewnp.errors import TraceError
from sewnp.mistakes import name_mistakes
from sewnp.model import Model
from sewnp.networks.stages import GRADIENT
from sewnp.numerics.budgets import budgets, local_budgets, run_in
from sewnp.numerics.compare import Comparison, compare, judge_replay, metadata_problems
from sewnp.numerics.jitter import honest_runs
from sewnp.numerics.precision import Precision
from sewnp.numerics.replay import replay
from sewnp.numerics.stage_files import StageFile
from sewnp.numerics.strangers import strip_prefix
from sewnp.numerics.trace import Inputs, chosen
from sewnp.ports.names import Target, renamed
from sewnp.types import Array


def judge(
    ours: StageFile,
    theirs: StageFile,
    *,
    names: Mapping[str, Target] | None = None,
    model: Model | None = None,
    precision: Precision = "float32",
    stages: Sequence[str] = (),
    strip: str = "",
) -> Comparison:
    """Compare their stages with ours, each within its budget.

    names: from their names to ours.  model: the traced one; then truth, budgets and a replay are computed from the inputs that our trace
    keeps, and what is wrong in itself is told from what is inherited.  precision: what they compute in.  stages: only these, with * and ?.
    strip: a prefix that their names have and ours have not; it is taken off when the map has been read.

    Files that are not of the same run, and another model than the traced one, are problems of the Comparison.  Raises TraceError for a
    trace without budgets where there is no model, and for one without inputs where there is.
    """
    problems = metadata_problems(ours.metadata, theirs.metadata)
    if problems:
        return Comparison((), problems)
    found: Mapping[str, Array] = theirs if names is None else renamed(theirs, names)
    found = strip_prefix(found, strip, frozenset(ours)) if strip else found
    if model is not None:
        return _judge_with(model, ours, found, precision, stages)
    try:
        allowed, scales = _numbers(ours.metadata["budgets"]), _numbers(ours.metadata.get("scales", "{}"))
    except (KeyError, ValueError):
        raise TraceError(
            f"{ours.path}: carries no budgets; write it with sewnp trace --dtype float64, or give the model with --model"
        ) from None
    if precision != "float32":
        raise TraceError(f"--precision {precision}: the budgets in {ours.path} are float32's; give the model with --model")
    return compare(ours, found, allowed, names=chosen(ours, stages), scales=scales)


def _numbers(text: str) -> dict[str, float]:
    """Numbers by stage, from JSON.  Raises ValueError for anything else."""
    try:
        return {name: float(value) for name, value in json.loads(text).items()}
    except (AttributeError, TypeError) as error:
        raise ValueError(str(error)) from None


def traced_config(ours: StageFile) -> Config | None:
    """The configuration that a trace tells."""
    try:
        return config_from_dict(json.loads(ours.metadata["config"]))
    except (KeyError, ValueError):
        return None


def _judge_with(
    model: Model, ours: StageFile, theirs: Mapping[str, Array], precision: Precision, stages: Sequence[str]
) -> Comparison:
    arguments = ours.arguments()
    if "input_values" not in arguments:
        raise TraceError(f"{ours.path}: keeps no inputs to replay; write it with sewnp trace")
    if ours.metadata.get("fingerprint", "") != model.fingerprint():
        return Comparison((), (f"fingerprint: {ours.path} was not traced with {model.name}",))
    inputs = Inputs.of(arguments, gradients=any(name.startswith(GRADIENT) for name in ours))
    truth, honest = run_in(model, inputs, "float64"), honest_runs(model, inputs, precision)
    result = compare(truth, theirs, budgets(truth, honest, precision), names=chosen(truth, stages))
    replayed = replay(model, theirs, inputs)
    local = local_budgets(model, inputs, honest, precision, given=theirs.keys())
    return name_mistakes(judge_replay(result, replayed.local, theirs, local), model, replayed, theirs, local)
