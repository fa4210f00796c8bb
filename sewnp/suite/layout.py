"""What a conformance suite looks like on disk.  Its README.md and the schema of its manifest lie in data/, and are copied into every suite."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sewnp.errors import TraceError, brief
from sewnp.files import path_name, read_json

FORMAT = "sewnp conformance vectors"
FORMAT_VERSION = 1
"""Counts up whenever a suite of before would be read wrongly."""

MANIFEST, CASES_FOLDER = "manifest.json", "cases"
INPUTS, EXPECTED, STAGES = "inputs", "expected", "stages.json"


def write_lines(path: Path, values: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write JSON that people can read too, in the order given: each item of a list, and of a list in an object, has a line of its own."""
    if isinstance(values, Mapping):
        parts = [
            f"{json.dumps(key)}: {_lines(value) if isinstance(value, list) else _compact(value)}" for key, value in values.items()
        ]
        text = "{\n" + ",\n".join(parts) + "\n}"
    else:
        text = _lines(values)
    path.write_text(text + "\n", encoding="utf-8")


def _lines(items: Sequence[Any]) -> str:
    return "[\n" + ",\n".join(" " + _compact(item) for item in items) + "\n]" if items else "[]"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def is_suite(folder: Path) -> bool:
    """Whether a suite of some version lies in the folder."""
    try:
        return bool(read_json(folder / MANIFEST, TraceError).get("format") == FORMAT)
    except TraceError:
        return False


def read_suite(folder: Path) -> dict[str, Any]:
    """The manifest of a suite.  Raises TraceError where there is none, or one of another version."""
    try:
        manifest: dict[str, Any] = read_json(folder / MANIFEST, TraceError)
    except TraceError as error:
        raise TraceError(f"{error}; expected a suite written by sewnp vectors") from None
    found = manifest.get("format"), manifest.get("version")
    if found != (FORMAT, FORMAT_VERSION):
        raise TraceError(
            f"{path_name(folder / MANIFEST)}: expected {FORMAT!r} of version {FORMAT_VERSION}, found {brief(found[0])} of {brief(found[1])}"
        )
    return manifest
