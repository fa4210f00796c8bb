"""What is named as input is never written over, whatever it is called as output."""

import argparse
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from sewnp.checkpoints.folder import held_files
from sewnp.files import NO_PATH, AnyPath, overwritten, path_name


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


def place(path: AnyPath) -> str:
    """What a path leads to, whatever it is called."""
    with suppress(*NO_PATH):
        return os.path.realpath(path)
    return os.fspath(path)


def model_files(model: str | None) -> dict[str, Iterable[AnyPath | None]]:
    """The files of a model that is a folder, as inputs."""
    return {"a file of the model": held_files(model) if model is not None else []}
