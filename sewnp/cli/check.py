"""``sewnp check``: a port's results, judged."""

import argparse
import os
from pathlib import Path

from sewnp.cli.output import show, show_json
from sewnp.cli.overwriting import check_outputs
from sewnp.errors import TraceError, printable
from sewnp.files import files_in, json_text, write_text
from sewnp.suite import Report, check_vectors

DESCRIPTION = """\
Judge what a port computed for the cases of a suite that sewnp vectors wrote: pass or fail for
each case, and of each that fails the first stage, in the order of computation, that diverges,
with the known mistake that explains it, where one does.

RESULTS holds one entry a case: <case>.safetensors, <case>.npz, a folder <case>/ of .npy, or
<case>.json for the cases about text. A port may leave stages out, but not those that the
manifest says are required.

Exit status: 0 all pass, 1 not, 2 could not check."""
EXAMPLES = """\
examples:
  sewnp check conformance results
  sewnp check conformance results --cases 'sew-d-*' 'ctc-*'
  sewnp check conformance results --junit report.xml"""

FAILURE = 2

SCREEN = 20
"""Places that the verdict tells before it says how many more there are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("folder", metavar="DIR", help="a suite written by sewnp vectors")
    parser.add_argument("results", metavar="RESULTS", help="the folder with the port's results")
    parser.add_argument("--cases", nargs="+", default=[], metavar="NAME", help="judge only these cases, with * and ?")
    parser.add_argument("--strip-prefix", default="", metavar="PREFIX", help="take this off the names of the port's stages")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, a test a stage")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")


def run(options: argparse.Namespace) -> int:
    """Judge the results -> exit status."""
    if options.junit:
        inputs = {"a file of the suite": _files(options.folder), "a result": _files(options.results)}
        check_outputs(options, {"--junit": options.junit}, inputs)
    report = check_vectors(options.folder, options.results, options.cases, strip=options.strip_prefix)
    if options.junit:
        write_text(Path(options.junit), report.to_junit(), TraceError)
    if options.json:
        show_json(json_text(report.to_dict(), indent=2))
    else:
        show(table(report))
    return 0 if report.passes else 1


def _files(folder: str) -> list[str]:
    return files_in(folder, TraceError) if os.path.isdir(folder) else []


def table(report: Report) -> str:
    """The report as text: a line a case, then the verdict and where the cases that fail went wrong first."""
    width = max(len(printable(case.name)) for case in report.cases)
    lines = [f"{'pass' if case.passes else 'FAIL'}  {printable(case.name):<{width}}  {case.verdict}" for case in report.cases]
    origins = [f"{count:>5}  {printable(place, longest=400)}" for place, count in report.origins.items()]
    more = [f"       and {len(origins) - SCREEN} more places"] if len(origins) > SCREEN else []
    said = ["where they went wrong first:", *origins[:SCREEN], *more] if origins else []
    return "\n".join([*lines, "", report.verdict, *said])
