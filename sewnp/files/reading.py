"""Files opened for reading: where they are regular, as far as they are bounded."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedReader

from sewnp.errors import InputError, SewError
from sewnp.files.names import NO_PATH, READING, AnyPath, naming, path_name

LARGEST_TEXT = 2**24
"""Bytes of a text that is read whole: a long book has 4 MB."""

LONGEST_LINE = 2**20
"""Bytes of a line, where a file is read line by line."""


def check_regular(path: AnyPath, error: type[SewError] = InputError) -> None:
    """Raise ``error`` unless there is a regular file: a named pipe would keep its reader waiting, a device never ends."""
    with naming(path, error, problems=NO_PATH):
        mode = os.stat(path).st_mode
    _check_kind(path, mode, error)


def _check_kind(path: AnyPath, mode: int, error: type[SewError]) -> None:
    if not stat.S_ISREG(mode):
        raise error(f"{path_name(path)}: expected a regular file, found a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")


def is_there(path: AnyPath, error: type[SewError] = InputError, doing: str = READING) -> bool:
    """Whether anything has that name, a link that leads nowhere included: an optional file that cannot be read is no missing one.

    Raises ``error`` where that cannot be known, for a name that is too long for instance.
    """
    with naming(path, error, doing, NO_PATH):
        try:
            os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def is_folder(path: AnyPath, error: type[SewError] = InputError, doing: str = READING) -> bool:
    """Whether a folder has that name.  Raises ``error`` where that cannot be known, where for one parent folders may not be looked into."""
    with naming(path, error, doing, NO_PATH):
        try:
            return stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


@contextmanager
def open_regular(path: AnyPath, error: type[SewError] = InputError) -> Iterator[BufferedReader]:
    """Open a regular file for reading bytes.  Raises ``error`` where it cannot be opened, or read inside the block."""
    check_regular(path, error)
    with naming(path, error), open(path, "rb", opener=_without_waiting) as file:
        _check_kind(path, os.fstat(file.fileno()).st_mode, error)
        yield file


def _without_waiting(path: str, flags: int) -> int:
    """What was a regular file a moment ago may have become a named pipe, on which opening would wait."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def files_in(
    folder: AnyPath, error: type[SewError] = InputError, *, unread: Callable[[str, SewError], None] | None = None
) -> list[str]:
    """The paths of everything that is no folder in a folder and the folders in it, hidden ones left out, sorted.

    Links to folders are not followed.  Raises ``error`` for a folder that cannot be read, or hands it and its path to ``unread``.
    """

    def failed(problem: OSError) -> None:
        try:
            with naming(problem.filename, error):
                raise problem
        except error as named:
            if unread is None:
                raise
            unread(os.fspath(problem.filename), named)

    found: list[str] = []
    for parent, folders, names in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def mistaken(begin: bytes) -> str:
    """What a file that should be another is by its first bytes, as the end of a message; nothing where that is not known."""
    if begin.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer; the file that it stands for has not been downloaded"
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", begin, re.IGNORECASE):
        return "is a web page; what it should lead to has not been downloaded"
    return "" if begin else "is empty"


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
