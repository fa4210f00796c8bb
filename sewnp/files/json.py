"""JSON: read strictly, and written so that whoever reads it, terminals included, has what was meant."""

import json
import re
from pathlib import Path
from typing import Any

from sewnp.errors import CheckpointError, SewError, brief
from sewnp.files.names import AnyPath, path_name
from sewnp.files.reading import mistaken, read_bytes

LARGEST_JSON = 2**23
"""Bytes.  The JSON files of a published SEW have less than 10 kB; parsed, a file grows in memory by 20 and more."""

_BEYOND_ASCII = re.compile("[^\n -~]")


def read_json(path: AnyPath, error: type[SewError] = CheckpointError, *, kind: type[Any] = dict) -> Any:
    """What a JSON file of at most LARGEST_JSON bytes holds, an object unless ``kind`` says otherwise, as strictly as :func:`parse_json`."""
    content = read_bytes(path, LARGEST_JSON, error)
    try:
        values = parse_json(content.decode("utf-8"))
    except ValueError as problem:
        raise error(f"{path_name(path)}: not a readable JSON file: {mistaken(content) or problem}") from problem
    if not isinstance(values, kind):
        expected = "object" if kind is dict else kind.__name__
        raise error(f"{path_name(path)}: expected a JSON {expected}, found {type(values).__name__}")
    return values


def parse_json(text: str) -> Any:
    """The value of a JSON text.  Raises ValueError where it is none.

    Stricter than JSON in two ways: no key twice (readers disagree which one counts), and no halves of surrogate pairs (a string with one can
    be neither written nor printed).
    """
    try:
        values = json.loads(text, object_pairs_hook=unique_keys)
    except RecursionError as problem:
        raise ValueError(str(problem)) from None
    if "\\ud" in text.lower():
        json.dumps(values, ensure_ascii=False).encode()
    return values


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for ``object_pairs_hook``.  Raises ValueError for a key that is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {brief(twice)} is there twice")
    return values


def json_text(values: Any, *, indent: int | None = None) -> str:
    """Values as JSON in one line, or with ``indent`` in many: readable, but with escapes for what no terminal shows or no UTF-8 can hold.

    So a path that is not UTF-8 keeps its true name, for ``os.fsencode``.
    """
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    return _BEYOND_ASCII.sub(lambda found: found[0] if found[0].isprintable() else ascii_json(found[0]), text)


def ascii_json(text: str) -> str:
    """A JSON text in ASCII alone, for whatever cannot take more: outside strings JSON has nothing else."""
    return _BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object as transformers does: sorted keys, two spaces, a newline at the end.  For files in a :func:`whole_folder`.

    Raises CheckpointError where it is no JSON, or could not be read back.
    """
    try:
        text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        content = text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path.name}: cannot be written as JSON: {problem}") from problem
    if len(content) > LARGEST_JSON:
        raise CheckpointError(
            f"{path.name}: would have {len(content):,} bytes; expected at most {LARGEST_JSON:,}, which can be read back"
        )
    path.write_bytes(content)
