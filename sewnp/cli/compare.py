"""``sewnp compare``: where somebody's stages part from ours."""

import argparse
import os
from pathlib import Path

from sewnp.cli.clips import add_model
from sewnp.cli.output import show, show_json
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.errors import printable
from sewnp.files import files_in, json_text
from sewnp.loading import load
from sewnp.numerics import Comparison, StageComparison, open_stages
from sewnp.numerics.plot import plot_comparison
from sewnp.numerics.precision import PRECISIONS
from sewnp.plots import save_figure
from sewnp.ports import judge, read_map, traced_config

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

FAILURE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("ours", metavar="OURS", help="a trace written by sewnp trace")
    parser.add_argument("theirs", metavar="THEIRS", help="their stages: .safetensors, .npz or a folder of .npy")
    add_model(parser, default=None)
    parser.add_argument("--map", metavar="NAMES", help='JSON from their names to ours, or "transformers" for its module paths')
    parser.add_argument("--strip-prefix", default="", metavar="PREFIX", help="take this off their names")
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
    if options.plot:
        theirs_files = files_in(options.theirs) if os.path.isdir(options.theirs) else [options.theirs]
        inputs = {"what is compared": [options.ours, *theirs_files], "the map": [options.map]} | model_files(options.model)
        check_outputs(options, {"--plot": options.plot}, inputs)
    ours, theirs = open_stages(options.ours), open_stages(options.theirs)
    names = read_map(options.map, traced_config(ours)) if options.map else None
    masking = ours.metadata.get("masking", "any")
    model = load(options.model, dtype="float64", masking=masking) if options.model else None  # type: ignore[arg-type]
    result = judge(
        ours, theirs, names=names, model=model, precision=options.precision, stages=options.stages, strip=options.strip_prefix
    )
    if options.plot:
        save_figure(plot_comparison(result).figure, Path(options.plot))
    if options.json:
        show_json(json_text(result.to_dict(), indent=2))
    else:
        show(table(result))
    return 2 if result.problems else 0 if result.agrees else 1


def table(result: Comparison) -> str:
    """The comparison as text: a line a stage, then the verdict."""
    width = max([len(printable(row.name)) for row in result.rows], default=5)
    lines = [f"{'stage':<{width}} {'largest':>9} {'budget':>9} {'mean':>9} {'cosine':>11} {'beyond':>8}  verdict"]
    return "\n".join([*lines, *(_line(row, width) for row in result.rows), "", result.verdict])


def _line(row: StageComparison, width: int) -> str:
    m = row.measure
    numbers = " " * 50
    if m is not None:
        numbers = f"{m.max_error:9.1e} {row.budget:9.1e} {m.mean_error:9.1e} {m.cosine:11.8f} {m.share:8.2%}"
    remarks = [
        row.status,
        row.detail,
        f"worst at {list(m.worst)}" if m is not None and row.status == "diverges" and not row.detail else "",
    ]
    if row.origin:
        remarks.append("WRONG IN ITSELF" + (f": {row.cause}" if row.cause else ""))
    elif row.local is not None and row.status != "agrees":
        remarks.append("inherited")
    return f"{printable(row.name):<{width}} {numbers}  {'; '.join(part for part in remarks if part)}"
