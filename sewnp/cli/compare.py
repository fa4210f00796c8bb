"""``sewnp compare``: where somebody's stages part from ours."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from sewnp.cli.clips import add_model
from sewnp.cli.output import save_figure
from sewnp.config import Config, config_from_dict
from sewnp.errors import SewError, TraceError
from sewnp.loading import load
from sewnp.numerics import (
    Comparison,
    Inputs,
    Row,
    StageFile,
    compare,
    fingerprint,
    honest_runs,
    judge_replay,
    local_budgets,
    open_stages,
    replay,
)
from sewnp.numerics import budgets as derive_budgets
from sewnp.numerics.compare import metadata_problems
from sewnp.numerics.names import read_map, renamed
from sewnp.numerics.plot import plot_comparison
from sewnp.numerics.precision import PRECISIONS, in_precision
from sewnp.numerics.trace import Recorder, chosen
from sewnp.numerics.variants import name_causes
from sewnp.types import Array

DESCRIPTION = """\
Hold a port's stages against a trace of ours, in the order of computation, each within a budget
that is derived from what honest arithmetic costs at that stage.

With --model, each of our stages is also computed from THEIR values of its inputs, so that a
stage that is wrong in itself stands out from those that merely inherit its error, and known
mistakes are named where they reproduce the value.

Exit status: 0 all agree, 1 not, 2 could not compare."""
EXAMPLES = """\
examples:
  sewnp trace clip.wav -o ours.safetensors
  sewnp compare ours.safetensors theirs.npz
  sewnp compare ours.safetensors theirs.safetensors --model digits
  sewnp compare ours.safetensors folder-of-npy --map names.json --json
  sewnp compare ours.safetensors hooked.safetensors --map transformers --plot depth.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("ours", metavar="OURS", help="a trace written by sewnp trace")
    parser.add_argument("theirs", metavar="THEIRS", help="their stages: .safetensors, .npz or a folder of .npy")
    add_model(parser, default=None)
    parser.add_argument("--map", metavar="NAMES", help='JSON from their names to ours, or "transformers" for its module paths')
    parser.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="compare only these stages, with * and ?")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="what the port computes in (default: %(default)s); needs --model for others",
    )
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    parser.add_argument("--plot", metavar="FILE", help="draw the error along the depth against the budget (extra: plots)")


def run(options: argparse.Namespace) -> int:
    """Compare the two files -> exit status."""
    try:
        result = _compare(options)
        if options.plot:
            save_figure(plot_comparison(result).figure, Path(options.plot))
    except SewError as error:
        print(f"sewnp: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result.to_dict(), indent=2) if options.json else table(result))
    return 2 if result.problems else 0 if result.agrees else 1


def table(result: Comparison) -> str:
    """The comparison as text: a line a stage, then the verdict."""
    width = max([len(row.name) for row in result.rows], default=5)
    lines = [f"{'stage':<{width}} {'largest':>9} {'budget':>9} {'mean':>9} {'cosine':>11} {'beyond':>8}  verdict"]
    return "\n".join([*lines, *(_line(row, width) for row in result.rows), "", result.verdict])


def _line(row: Row, width: int) -> str:
    m = row.measure
    numbers = " " * 50
    if m is not None:
        numbers = f"{m.max_error:9.1e} {row.budget:9.1e} {m.mean_error:9.1e} {m.cosine:11.8f} {m.share:8.2%}"
    said = [row.status, row.detail, f"worst at {list(m.worst)}" if m is not None and row.status == "diverges" else ""]
    if row.origin:
        said.append("WRONG IN ITSELF" + (f": {row.cause}" if row.cause else ""))
    elif row.local is not None and row.status != "agrees":
        said.append("inherited")
    return f"{row.name:<{width}} {numbers}  {'; '.join(part for part in said if part)}"


def _compare(options: argparse.Namespace) -> Comparison:
    ours, theirs = open_stages(options.ours), open_stages(options.theirs)
    problems = metadata_problems(ours.metadata, theirs.metadata)
    if problems:
        return Comparison((), problems)
    found = renamed(theirs, read_map(options.map, _config(ours))) if options.map else theirs
    if options.model:
        return _with_model(options, ours, found)
    try:
        budgets = json.loads(ours.metadata["budgets"])
    except (KeyError, ValueError):
        raise TraceError(
            f"{options.ours}: carries no budgets; write it with sewnp trace --dtype float64, or give the model with --model"
        ) from None
    if options.precision != "float32":
        raise TraceError(
            f"--precision {options.precision}: the budgets in {options.ours} are float32's; give the model with --model"
        )
    return compare(ours, found, budgets, names=chosen(ours, options.stages))


def _with_model(options: argparse.Namespace, ours: StageFile, theirs: Mapping[str, Array]) -> Comparison:
    """Truth, budgets and replay from the model itself, on the inputs that our trace keeps."""
    arguments = ours.arguments()
    if "input_values" not in arguments:
        raise TraceError(f"{options.ours}: keeps no inputs to replay; write it with sewnp trace")
    model = load(options.model, dtype="float64", masking=ours.metadata.get("masking", "any"))  # type: ignore[arg-type]
    if ours.metadata.get("fingerprint", "") != fingerprint(model):
        return Comparison((), (f"fingerprint: {options.ours} was not traced with {model.name}",))
    inputs = Inputs(**arguments)
    recorder = Recorder()
    in_precision(model, "float64")(**inputs.arguments(), see=recorder)
    honest = honest_runs(model, inputs, options.precision)
    budgets = derive_budgets(recorder.values, honest, options.precision)
    result = compare(recorder.values, theirs, budgets, names=chosen(recorder.values, options.stages))
    replayed = replay(model, theirs, inputs)
    local = local_budgets(model, inputs, honest, options.precision)
    return name_causes(judge_replay(result, replayed.local, theirs, local), model, replayed, theirs, local)


def _config(ours: StageFile) -> Config | None:
    """The configuration that a trace tells."""
    try:
        return config_from_dict(json.loads(ours.metadata["config"]))
    except (KeyError, ValueError):
        return None
