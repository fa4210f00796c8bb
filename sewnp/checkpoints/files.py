"""JSON files, and files that appear whole or not at all."""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sewnp.errors import CheckpointError, brief

LARGEST_JSON = 2**23
"""Bytes.  The JSON files of a published SEW have less than 10 kB; parsed, a file grows in memory by 20 and more."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.  Raises CheckpointError naming the file when it is missing, unreadable, not JSON or no object.

    Stricter than JSON in three ways: no file of more than LARGEST_JSON bytes, no key twice (readers disagree which one counts), and
    no halves of surrogate pairs (a string with one can be neither written nor printed).
    """
    try:
        check_regular(path)
        with path.open("rb") as file:
            content = file.read(LARGEST_JSON + 1)
        if len(content) > LARGEST_JSON:
            raise ValueError(f"expected at most {LARGEST_JSON:,} bytes")
        text = content.decode("utf-8")
        values = json.loads(text, object_pairs_hook=unique_keys)
        if "\\ud" in text.lower():
            json.dumps(values, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def check_regular(path: Path) -> None:
    """Raise ValueError unless it is a regular file: a named pipe would keep its reader waiting, a device never ends."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("expected a regular file")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for ``object_pairs_hook``.  Raises ValueError for a key that is there twice."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {brief(twice)} is there twice")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object as transformers does: sorted keys, two spaces, a newline at the end.  Raises CheckpointError where it cannot be read back."""
    content = (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
    if len(content) > LARGEST_JSON:
        raise CheckpointError(
            f"{path.name}: would have {len(content):,} bytes; expected at most {LARGEST_JSON:,}, which can be read back"
        )
    path.write_bytes(content)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files move into ``folder`` when the block ends well; otherwise nothing of it is left."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield scratch
        folder.mkdir(exist_ok=True)
        for path in sorted(scratch.iterdir()):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A scratch file beside ``path`` that takes its place when the block ends well; otherwise nothing of it is left."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        umask = os.umask(0)
        os.umask(umask)
        scratch.chmod(0o666 & ~umask)  # mkstemp gives the owner alone a file that others may be meant to read
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
