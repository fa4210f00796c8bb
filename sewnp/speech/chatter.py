"""What decoders write to standard output and standard error from C, where nobody can ask them not to: it is overheard, and reaches no terminal.

libmpg123 fills frames that it cannot decode with silence, and tells it only there.
"""

import ctypes
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

# libmpg123's errors, notes and warnings, and libsndfile's one remark on ALAC
_CHATTER = re.compile(
    rb"\[[\w./]*libmpg123/[^\]]*\] error: (?P<mpeg>.*)|\[[\w./]*libmpg123/|\w+ \d+ : (?P<alac>Ooops!.*)|Note: |Warning: |\s*$"
)
_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a fork in between would leave the child with a file in place of its standard error
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@contextmanager
def overheard() -> Iterator[list[str]]:
    """The errors that decoders tell meanwhile, there behind the ``with``.  What else is written comes out then."""
    errors: list[str] = []
    with _lock, ExitStack() as diverted:
        _flush()
        for number, file in ((1, sys.__stdout__), (2, sys.__stderr__)):
            if file is not None:  # else it was closed before Python began, and the descriptor may be anybody's
                diverted.enter_context(_diverted(number, errors))
        diverted.callback(_flush)
        yield errors


@contextmanager
def _diverted(number: int, errors: list[str]) -> Iterator[None]:
    """Have what goes to a file descriptor in a scratch file, and pass on what is no chatter."""
    with _scratch() as file:
        terminal = os.dup(number)
        try:
            os.dup2(file.fileno(), number)
            yield
        finally:
            os.dup2(terminal, number)
            os.close(terminal)
            file.seek(0)
            for line in file:
                chatter = _CHATTER.match(line)
                if chatter is None:
                    os.write(number, line)
                elif problem := chatter["mpeg"] or chatter["alac"]:
                    errors.append(problem.decode("ascii", "replace"))


def _scratch() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # a full disk is no reason not to decode
        return open(os.devnull, "w+b")


def _flush() -> None:
    """Have C write what it keeps for later."""
    if os.name == "posix":
        ctypes.CDLL(None).fflush(None)
