"""``sewnp check``: a port's results, judged."""

import argparse
import json
from pathlib import Path

from sewnp.errors import TraceError
from sewnp.files import write_text
from sewnp.suite import Report, check_vectors

DESCRIPTION = """\
Judge what a port computed for the cases of a suite that sewnp vectors wrote: pass or fail for
each case, and of each that fails the first stage, in the order of computation, that diverges.

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("folder", metavar="DIR", help="a suite written by sewnp vectors")
    parser.add_argument("results", metavar="RESULTS", help="the folder with the port's results")
    parser.add_argument("--cases", nargs="+", default=[], metavar="NAME", help="judge only these cases, with * and ?")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML, a test a stage")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")


def run(options: argparse.Namespace) -> int:
    """Judge the results -> exit status."""
    report = check_vectors(options.folder, options.results, options.cases)
    if options.junit:
        write_text(Path(options.junit), report.to_junit(), TraceError)
    print(json.dumps(report.to_dict(), indent=2) if options.json else table(report))
    return 0 if report.passes else 1


def table(report: Report) -> str:
    """The report as text: a line a case, then the verdict and where the cases that fail went wrong first."""
    width = max(len(case.name) for case in report.cases)
    lines = [f"{'pass' if case.passes else 'FAIL'}  {case.name:<{width}}  {case.verdict}" for case in report.cases]
    origins = [f"{count:>5}  {place}" for place, count in report.origins.items()]
    return "\n".join([*lines, "", report.verdict, *(["where they went wrong first:", *origins] if origins else [])])
