"""Where outputs go: over no input, whatever it is called as output, and not two into one place."""

import argparse
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from sewnp.checkpoints.folder import held_files
from sewnp.errors import InputError
from sewnp.files import NO_PATH, AnyPath, naming, overwritten, path_name


def check_outputs(
    options: argparse.Namespace, outputs: Mapping[str, AnyPath | None], inputs: Mapping[str, Iterable[AnyPath | None]]
) -> None:
    """Exit with status 2 where an output is one of the inputs, or two outputs are one.

    outputs: by the argument that names them.  inputs: by what they are ("the manifest"); None is none.
    """
    named = {argument: path for argument, path in outputs.items() if path is not None}
    taken: dict[str, str] = {}
    for argument, path in named.items():
        check_inputs_stay(options, argument, [path], inputs)
        first = taken.setdefault(place(path), argument)
        if first != argument and (os.path.isfile(path) or not os.path.exists(path)):
            options.refuse(f"argument {argument}: {path_name(path)} is what {first} is written to")


def check_inputs_stay(
    options: argparse.Namespace, argument: str, outputs: Iterable[AnyPath], inputs: Mapping[str, Iterable[AnyPath | None]]
) -> None:
    """Exit with status 2 where one of the outputs of an argument is one of the inputs."""
    outputs = list(outputs)
    for kind, paths in inputs.items():
        lost = overwritten(outputs, (path for path in paths if path is not None))
        if lost is not None:
            options.refuse(f"argument {argument}: {path_name(lost[0])} is {kind}, and would be overwritten")


def check_apart(
    options: argparse.Namespace, argument: str, outputs: Iterable[tuple[Iterable[AnyPath], str]], *, advice: str = ""
) -> None:
    """Exit with status 2 where the results of two clips would go to one place.  outputs: each clip's, and what to call it."""
    taken: dict[str, str] = {}
    for paths, clip in outputs:
        own = {place(path): path for path in paths}
        for where, path in own.items():
            if where in taken:
                options.refuse(f"argument {argument}: {taken[where]} and {clip} would both be written to {path_name(path)}{advice}")
        taken |= dict.fromkeys(own, clip)


def make_folder(folder: Path) -> None:
    """Make a folder for outputs, where it is not there.  Raises InputError."""
    with naming(folder, InputError, "cannot be made"):
        folder.mkdir(parents=True, exist_ok=True)


def place(path: AnyPath) -> str:
    """What a path leads to, whatever it is called."""
    with suppress(*NO_PATH):
        return os.path.realpath(path)
    return os.fspath(path)


def model_files(model: str | None) -> dict[str, Iterable[AnyPath | None]]:
    """The files of a model that is a folder, as inputs."""
    return {"a file of the model": held_files(model) if model is not None else []}
