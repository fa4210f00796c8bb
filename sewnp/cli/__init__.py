"""The command line, one file a command.

Results go to standard output, progress and errors to standard error.  Exit status: 0 all done, 1 something failed, 2 wrong usage,
130 interrupted.
"""

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence

from sewnp.checkpoints.hub import progress
from sewnp.cli.truncated import warnings_told
from sewnp.errors import SewError
from sewnp.version import __version__

COMMANDS = {
    "transcribe": "print the words spoken in audio files",
    "classify": "name the word or class that fits audio files best",
    "align": "tell when each word of a known text was said",
    "evaluate": "measure a model's errors on a test set",
    "train": "fine-tune a model, or train a small one from scratch",
    "plot": "draw a clip from its sound to its words",
    "benchmark": "measure how fast a model is on this machine",
    "inspect": "tell what a model is made of and what it costs",
    "convert": "turn a checkpoint into a folder of safetensors",
    "trace": "write every intermediate value of a model on a clip to a file",
    "compare": "hold a port's intermediate values against ours",
    "vectors": "write a suite of conformance vectors for ports in any language",
    "check": "judge a port's results on a suite of conformance vectors",
}
"""Each is a module of its name here, with DESCRIPTION, EXAMPLES, add_arguments, run, and perhaps FAILURE, the exit status of an error; imported
when it is called for."""


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, or of one command among the names of the others."""
    parser = argparse.ArgumentParser(
        prog="sewnp",
        description="SEW and SEW-D speech recognition in NumPy alone.",
        epilog="Try:  sewnp transcribe clip.wav    Every command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"sewnp {__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if called in (None, name):
            module = importlib.import_module(f"sewnp.cli.{name}")
            command.description, command.epilog = module.DESCRIPTION, module.EXAMPLES
            module.add_arguments(command)
            command.set_defaults(run=module.run, failure=getattr(module, "FAILURE", 1))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    # a command comes first; where something else does, the parser of all knows what to say
    options = build_parser(words[0] if words and words[0] in COMMANDS else None).parse_args(words)
    if sys.stdout is None:
        return 1  # closed before we began: there is nobody to tell, on standard output at least
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may hold what the terminal cannot show
    try:
        with progress(), warnings_told():
            status: int = options.run(options)
        sys.stdout.flush()
        return status
    except SewError as error:
        print(f"sewnp: error: {error}", file=sys.stderr)
        return int(options.failure)
    except KeyboardInterrupt:
        print("sewnp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever read the results has gone; keep Python from flushing into the closed pipe on its way out
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk behind standard output
        print(f"sewnp: error: standard output: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
