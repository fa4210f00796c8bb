"""The log of a run: a line of JSON a step, and one a validation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from sewnp.errors import TrainingError
from sewnp.files import WRITING, naming, parse_json, read_lines, write_text

Record: TypeAlias = Mapping[str, Any]
"""Of a step: ``step``, ``loss``, ``lr``, ``norm``, ``clips``, ``audio_seconds``, ``seconds``, ``steps``, ``epoch``; one that was not taken has
no loss and no norm, and ``skipped``, the clips whose loss was not finite.  Of a validation: ``step``, and error rates or accuracy."""


class Log:
    """``log.jsonl``, and what it says.  A run that goes on forgets what was written after its state was saved."""

    def __init__(self, path: Path, *, step: int) -> None:
        """step: how many are done.  Raises TrainingError for a file that is damaged or cannot be written."""
        self._path = path
        self.records: list[Record] = []
        lines = list(read_lines(path, TrainingError)) if path.exists() else []
        for number, (place, line) in enumerate(lines, 1):
            try:
                record = parse_json(line)
                if record["step"] <= step:
                    self.records.append(record)
            except (ValueError, TypeError, KeyError) as error:
                if number < len(lines):  # the last line may be what a killed process left
                    raise TrainingError(f"{place}: expected a line of the log ({error})") from error
        write_text(path, "".join(map(_line, self.records)), TrainingError)

    def append(self, record: Record) -> None:
        """Keep one more.  Raises TrainingError where the disk is full."""
        with naming(self._path, TrainingError, WRITING), self._path.open("a", encoding="utf-8") as file:
            file.write(_line(record))
        self.records.append(record)


def _line(record: Record) -> str:
    return json.dumps(record) + "\n"
