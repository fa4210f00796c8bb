"""JSON files, and files that appear whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sewnp.errors import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.  Raises CheckpointError naming the file when it is missing, unreadable, not JSON or no object."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object as transformers does: sorted keys, two spaces, a newline at the end."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


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
