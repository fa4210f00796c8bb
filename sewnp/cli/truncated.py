"""The option that lets in sound files that were cut short, shared by the commands that read sound, and the warnings that it brings."""

import argparse
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sewnp.cli.output import tell
from sewnp.errors import AudioWarning


def add_allow_truncated(parser: argparse.ArgumentParser) -> None:
    """--allow-truncated."""
    parser.add_argument(
        "--allow-truncated",
        action="store_true",
        help="use what there is of a file that was cut short or is damaged, and say what is missing (default: it is an error)",
    )


@contextmanager
def warnings_told() -> Iterator[None]:
    """What is missing of a file is told each time, in a line like those of errors."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any) -> None:
            if issubclass(category, AudioWarning):
                tell(f"warning: {message}")
            else:
                usual(message, category, *place)

        warnings.simplefilter("always", AudioWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield
