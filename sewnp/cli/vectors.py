"""``sewnp vectors``: a conformance suite that any port can be held against."""

import argparse

from sewnp.cli.clips import whole
from sewnp.cli.output import tell
from sewnp.files import path_name
from sewnp.suite import write_vectors

DESCRIPTION = """\
Write a suite of small random models with inputs and the true value of every stage, for whoever
writes SEW or SEW-D in another language. Reading it needs JSON and safetensors, no Python: the
README.md in the folder says how.

An earlier suite in the folder is replaced; a folder with other files is refused."""
EXAMPLES = """\
examples:
  sewnp vectors conformance
  sewnp check conformance results      (see sewnp check)"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("folder", metavar="DIR", help="the folder to write; it is made where it is missing")
    parser.add_argument(
        "--seed",
        type=whole(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="what to draw weights and inputs from (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Write the suite -> exit status."""
    names = write_vectors(options.folder, options.seed)
    tell(f"{len(names)} cases in {path_name(options.folder)}; its README.md says how to use them")
    return 0
