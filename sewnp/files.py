"""Files of the user's: opened for reading where they are regular and of bounded size, written whole or not at all.

Every error names the file.  Whoever reads or writes says as which :class:`~sewnp.errors.SewError`.
"""

import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeAlias

from sewnp.errors import CheckpointError, InputError, SewError, brief, printable

LARGEST_JSON = 2**23
"""Bytes.  The JSON files of a published SEW have less than 10 kB; parsed, a file grows in memory by 20 and more."""

LARGEST_TEXT = 2**24
"""Bytes of a text that is read whole: a long book has 4 MB."""

LONGEST_LINE = 2**20
"""Bytes of a line, where a file is read line by line."""

_LONGEST_PATH = 4096
_READING = "cannot be read"
_MISTAKES: dict[type[Exception], str] = {FileNotFoundError: "no such file", IsADirectoryError: "expected a file, found a folder"}
_SCRATCH = ".sewnp-"
"""What hidden files begin with that will be renamed: short, because a name of the user's may be as long as names can be."""

AnyPath: TypeAlias = str | os.PathLike[str]


def path_name(path: AnyPath) -> str:
    """What to call a path in a message."""
    return printable(os.fsdecode(path), longest=_LONGEST_PATH)


@contextmanager
def naming(
    path: AnyPath, error: type[SewError], doing: str = _READING, problems: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Turn what goes wrong with a file inside the block into ``error``, which names the file, what was done with it and the cause.

    problems: what may go wrong; errors of this package pass through as they are.
    """
    try:
        yield
    except SewError:
        raise
    except problems as problem:
        cause = f"{doing}: {getattr(problem, 'strerror', None) or problem}"
        if doing == _READING:
            cause = _MISTAKES.get(type(problem), cause)
        raise error(f"{path_name(path)}: {cause}") from problem


# --- reading ----------------------------------------------------------------------------------------------------------------------


def check_regular(path: AnyPath, error: type[SewError] = InputError) -> None:
    """Raise ``error`` unless there is a regular file: a named pipe would keep its reader waiting, a device never ends."""
    with naming(path, error, problems=(OSError, ValueError)):  # ValueError: a null character
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise error(f"{path_name(path)}: expected a regular file, found a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")


@contextmanager
def open_regular(path: AnyPath, error: type[SewError] = InputError) -> Iterator[BufferedReader]:
    """Open a regular file for reading bytes.  Raises ``error`` where it cannot be opened, or read inside the block."""
    check_regular(path, error)
    with naming(path, error), open(path, "rb") as file:
        yield file


def read_bytes(path: AnyPath, largest: int, error: type[SewError] = InputError) -> bytes:
    """The whole of a file of at most ``largest`` bytes."""
    with open_regular(path, error) as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise error(f"{path_name(path)}: expected at most {largest:,} bytes")
    return content


def read_text(path: AnyPath, largest: int = LARGEST_TEXT, error: type[SewError] = InputError) -> str:
    """The whole of a UTF-8 file; a byte order mark at its beginning is dropped."""
    return _decoded(path_name(path), read_bytes(path, largest, error), error)


def read_lines(path: AnyPath, error: type[SewError] = InputError) -> Iterator[tuple[str, str]]:
    """The lines of a UTF-8 file of any length, with where each stands ("file:line") and without their ends, which are \\n or \\r\\n alone."""
    with open_regular(path, error) as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            place = f"{path_name(path)}:{number}"
            if len(line) > LONGEST_LINE:
                raise error(f"{place}: expected at most {LONGEST_LINE:,} bytes in a line")
            text = _decoded(place, line, error, marked=number == 1)
            yield place, text.removesuffix("\n").removesuffix("\r")


def _decoded(place: str, content: bytes, error: type[SewError], *, marked: bool = True) -> str:
    try:
        return content.decode("utf-8-sig" if marked else "utf-8")
    except UnicodeDecodeError as problem:
        found = content[problem.start : problem.start + 1]
        raise error(f"{place}: expected UTF-8, found {found!r} at byte {problem.start}") from problem


def read_json(path: AnyPath, error: type[SewError] = CheckpointError, *, kind: type[Any] = dict) -> Any:
    """What a JSON file of at most LARGEST_JSON bytes holds, an object unless ``kind`` says otherwise, as strictly as :func:`parse_json`."""
    content = read_bytes(path, LARGEST_JSON, error)
    try:
        values = parse_json(content.decode("utf-8"))
    except ValueError as problem:
        raise error(f"{path_name(path)}: not a readable JSON file: {problem}") from problem
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


# --- writing ----------------------------------------------------------------------------------------------------------------------


@contextmanager
def whole_file(path: Path, error: type[SewError] = InputError) -> Iterator[Path]:
    """A scratch file beside ``path`` that takes its place when the block ends well; otherwise nothing of it is left."""
    with naming(path, error, "could not be written"):
        handle, name = tempfile.mkstemp(prefix=_SCRATCH, dir=path.parent)
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


@contextmanager
def whole_folder(folder: Path, error: type[SewError] = CheckpointError) -> Iterator[Path]:
    """A scratch folder whose content moves into ``folder`` when the block ends well; otherwise nothing of it is left."""
    with naming(folder, error, "could not be written"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=folder.parent))
        new, old = scratch / "new", scratch / "old"
        try:
            new.mkdir()
            old.mkdir()
            yield new
            folder.mkdir(exist_ok=True)
            for path in sorted(new.iterdir()):
                place = folder / path.name
                if place.is_dir():  # onto which nothing can be moved
                    place.rename(old / path.name)
                path.replace(place)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def remove_scratch(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder that nobody else writes to."""
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[SewError] = InputError) -> None:
    """Write a text file as UTF-8, with line feeds alone at the ends of lines."""
    with whole_file(path, error) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write an object as transformers does: sorted keys, two spaces, a newline at the end.  For files in a :func:`whole_folder`.

    Raises CheckpointError where it could not be read back.
    """
    content = (json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode("utf-8")
    if len(content) > LARGEST_JSON:
        raise CheckpointError(
            f"{path.name}: would have {len(content):,} bytes; expected at most {LARGEST_JSON:,}, which can be read back"
        )
    path.write_bytes(content)
