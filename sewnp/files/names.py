"""What to call a file in a message, and what goes wrong with it turned into an error that names it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeAlias

from sewnp.errors import SewError, printable

READING, WRITING = "cannot be read", "could not be written"
"""What was being done with a file."""
NO_PATH = (OSError, ValueError)
"""What asking for a path ends in; the latter for null characters, and for halves of surrogate pairs that stand for no byte."""

_LONGEST_PATH = 4096
_MISTAKES: dict[type[Exception], str] = {FileNotFoundError: "no such file", IsADirectoryError: "expected a file, found a folder"}

AnyPath: TypeAlias = str | os.PathLike[str]


def path_name(path: AnyPath) -> str:
    """What to call a path in a message."""
    return printable(os.fsdecode(path), longest=_LONGEST_PATH)


@contextmanager
def naming(
    path: AnyPath, error: type[SewError], doing: str = READING, problems: tuple[type[Exception], ...] = (OSError,)
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
        if doing == READING:
            cause = _MISTAKES.get(type(problem), cause)
        raise error(f"{path_name(path)}: {cause}") from problem
