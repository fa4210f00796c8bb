"""The command line, one file a command.

Results go to standard output, progress and errors to standard error.  Exit status: 0 all done, 1 something failed, 2 wrong usage,
130 interrupted.
"""

import argparse
import importlib
import io
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import partial
from typing import Any, NoReturn

from sewnp.checkpoints.hub import progress
from sewnp.cli.output import OutputError, open_standard_files, show, tell
from sewnp.cli.signals import ended_in_order
from sewnp.cli.truncated import warnings_told
from sewnp.cli.whisper import translated
from sewnp.errors import SewError, printable
from sewnp.fields import alike
from sewnp.files import path_name
from sewnp.version import __version__

COMMANDS = {
    "transcribe": "print the words spoken in audio files",
    "classify": "name the word or class that fits audio files best",
    "align": "tell when each word of a known text was said",
    "evaluate": "measure a model's errors on a test set",
    "train": "fine-tune a model, or train a small one from scratch",
    "plot": "draw a clip from its sound to its words",
    "explain": "show a clip's whole way through a model on an interactive page",
    "benchmark": "measure how fast a model is on this machine",
    "models": "list the models that are here",
    "inspect": "tell what a model is made of and what it costs",
    "convert": "turn a checkpoint into a folder of safetensors",
    "trace": "write every intermediate value of a model on a clip to a file",
    "compare": "hold a port's intermediate values against ours",
    "vectors": "write a suite of conformance vectors for ports in any language",
    "check": "judge a port's results on a suite of conformance vectors",
}
"""Each is a module of its name here, with DESCRIPTION, EXAMPLES, add_arguments, run, and perhaps FAILURE, the exit status of an error, and ANSWERS to
options of others; imported when it is called for."""


class _Parser(argparse.ArgumentParser):
    """One whose errors, which quote the arguments, are errors like others, and whose help is output like other."""

    def error(self, message: str) -> NoReturn:
        super().error(str(SewError(re.sub(r"\S{300,}", lambda word: printable(word[0]), message))))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """The value of an argument; among choices case, hyphens and underscores do not matter."""
        value = super()._get_value(action, arg_string)
        choices = None if isinstance(action.choices, Mapping) else action.choices  # a mapping is that of the commands
        return alike(value, choices) or value if choices is not None and isinstance(value, str) else value

    def explain(self, unknown: Sequence[str], answers: Mapping[str, str]) -> str:
        """What is said of arguments that nothing here takes: an answer that is known, or the option that they may have been meant for."""
        for word in unknown:
            option = word.partition("=")[0].replace("_", "-")
            answer = next((said for name, said in answers.items() if name.replace("_", "-") == option), None)
            if answer is not None:
                return f"argument {printable(word.partition('=')[0])}: {answer}"
            close = get_close_matches(option, self._option_string_actions, 1)
            if option.startswith("--") and close:
                return f"unrecognized arguments: {' '.join(map(printable, unknown))} (did you mean {close[0]}?)"
        return f"unrecognized arguments: {' '.join(map(printable, unknown))}"

    def _print_message(self, message: str, file: Any = None) -> None:
        if file in (None, sys.stdout):
            show(message)
        else:
            with suppress(OSError):
                file.write(message)


def build_parser(called: str | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, or of one command among the names of the others."""
    parser = _Parser(
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
            explain = partial(command.explain, answers=getattr(module, "ANSWERS", {}))
            command.set_defaults(run=module.run, failure=getattr(module, "FAILURE", 1), refuse=command.error, explain=explain)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status."""
    open_standard_files()
    words = sys.argv[1:] if arguments is None else list(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a text may hold what the terminal cannot show
    failure = 1
    try:
        options = _parsed(words)
        failure = options.failure
        with ended_in_order(), progress(), warnings_told():
            status: int = options.run(options)
        return status
    except OutputError as error:
        if str(error):
            tell(f"error: {error}")
    except SewError as error:
        tell(f"error: {error}")
    except MemoryError as error:
        tell(f"error: not enough memory: {error}")
    except OSError as error:
        tell(f"error: {path_name(error.filename)}: {error.strerror}" if isinstance(error.filename, str) else f"error: {error}")
    except KeyboardInterrupt:
        tell("interrupted")
        return 130
    return failure


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """The options of the command that comes first; where something else does, the parser of all knows what to say."""
    if words[:1] == ["transcribe"]:
        words = translated(words)
    options, unknown = build_parser(words[0] if words and words[0] in COMMANDS else None).parse_known_args(words)
    if unknown:
        options.refuse(options.explain(unknown))
    return options
