"""What reaches the terminal: results on standard output, all else on standard error, and nothing in either that could steer it."""

import os
import sys
from contextlib import suppress
from typing import Any

from sewnp.errors import SewError, harmless
from sewnp.files import ascii_json


class OutputError(SewError):
    """Standard output cannot be written.  Whatever else cannot be read or written has an error that names it."""


def show(text: str) -> None:
    """Lines of results, as soon as they are there."""
    _write(harmless(text))


def show_json(text: str) -> None:
    """A result as JSON, in JSON's own escapes where standard output cannot show a character."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = ascii_json(text)
    _write(text)


def _write(text: str) -> None:
    text = text.removesuffix("\n")
    if sys.stdout is None:
        raise OutputError("standard output: closed")
    try:
        _above_a_bar(text, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        raise OutputError from None  # whoever read the results has gone, and knows
    except OSError as error:
        discard_output()
        raise OutputError(f"standard output: {error.strerror}") from error


def tell(text: str) -> None:
    """A line on standard error.  Where that cannot be written, the work goes on."""
    with suppress(OSError):
        _above_a_bar(f"sewnp: {harmless(text)}", sys.stderr)


def _above_a_bar(line: str, file: Any) -> None:
    if "tqdm" in sys.modules:  # slow to import, and where there is a bar it has been
        sys.modules["tqdm"].tqdm.write(line, file=file)
    else:
        print(line, file=file)


def discard_output() -> None:
    """Keep Python from flushing into what cannot be written on its way out, and from failing at it."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def open_standard_files() -> None:
    """Where a standard file is closed, have nothing in its place: the next file that is opened would be, and get what is meant for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process)
