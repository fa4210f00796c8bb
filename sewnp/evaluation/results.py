"""What was recognized, kept clip by clip, so that an evaluation that was killed goes on where it stopped."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sewnp.errors import EvaluationError, brief, printable
from sewnp.files import LONGEST_LINE, naming, open_regular, path_name


@dataclass(frozen=True)
class Recognition:
    """What a model heard in one clip, as it said it: normalisation comes later, so that it may change."""

    id: str
    path: str
    hypothesis: str
    audio_seconds: float
    processing_seconds: float


class ResultsFile:
    """``results.jsonl`` in a folder: a line that says what made it, then a line a clip.

    Each line is on its way to the disk as soon as the clip is done.  A last line without its newline is what a killed process left: it is
    cut off, and its clip run again.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, str], *, resume: bool) -> None:
        """``made_by``: what has to be the same for results to belong together, by name.

        Raises EvaluationError, naming the file, where results are there and ``resume`` is False, where they were made by something
        else or are damaged, and where the folder cannot be written.
        """
        self.path = folder / "results.jsonl"
        self.done: dict[tuple[str, str], Recognition] = {}
        """By id and path."""
        header = {"made_by": dict(made_by)}
        with naming(self.path, EvaluationError, "cannot be written"):
            folder.mkdir(parents=True, exist_ok=True)
            size = self._read(header["made_by"], resume) if os.path.exists(self.path) else 0
            if size:
                os.truncate(self.path, size)
            else:
                self.path.write_text(json.dumps(header) + "\n", encoding="utf-8")

    def append(self, result: Recognition) -> None:
        """Keep one more.  Raises EvaluationError where the disk is full."""
        with naming(self.path, EvaluationError, "cannot be written"), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        self.done[result.id, result.path] = result

    def _read(self, made_by: dict[str, str], resume: bool) -> int:
        """Read what is there -> how many bytes of it are whole lines."""
        size = number = 0
        with open_regular(self.path, EvaluationError) as file:
            while (line := file.readline(LONGEST_LINE)).endswith(b"\n"):
                size, number = size + len(line), number + 1
                if not resume:
                    raise EvaluationError(
                        f"{path_name(self.path)}: holds results already; go on with --resume, or name another folder"
                    )
                try:
                    values = json.loads(line)  # paths that are not UTF-8 are halves of surrogate pairs in it
                    result = _result(values) if number > 1 else None
                except (ValueError, TypeError, RecursionError) as error:
                    cause = printable(str(error))
                    raise EvaluationError(
                        f"{path_name(self.path)}:{number}: expected a result, found {brief(line[:-1])} ({cause})"
                    ) from error
                if result is None:
                    self._check_made_by(values, made_by)
                else:
                    self.done[result.id, result.path] = result
        return size

    def _check_made_by(self, found: Any, expected: dict[str, str]) -> None:
        theirs = found.get("made_by") if isinstance(found, dict) else None
        if not isinstance(theirs, dict):
            raise EvaluationError(f"{path_name(self.path)}:1: expected what made the results, found {brief(found)}")
        for name, value in expected.items():
            if theirs.get(name) != value:
                raise EvaluationError(
                    f"{path_name(self.path)}: made with another {name}: expected {value}, found {brief(theirs.get(name))}; name another folder"
                )


def _result(values: Any) -> Recognition:
    if not isinstance(values, dict):
        raise TypeError(f"expected an object, found {type(values).__name__}")
    result = Recognition(**values)
    for field in fields(Recognition):
        value = getattr(result, field.name)
        if not isinstance(value, field.type):  # type: ignore[arg-type]
            raise TypeError(f"{field.name}: expected a {field.type.__name__}, found {type(value).__name__}")  # type: ignore[union-attr]
        if isinstance(value, float) and not 0 <= value < math.inf:
            raise ValueError(f"{field.name}: expected a number of seconds, found {value}")
    result.hypothesis.encode()  # no model has said half a surrogate pair
    return result
