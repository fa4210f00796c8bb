"""Files that commands write: whole or not at all, with an error that names them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sewnp.checkpoints.files import whole_file
from sewnp.errors import InputError
from sewnp.extras import need
from sewnp.plots import Axes, style


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8.  Raises InputError, which names it, where it cannot be written."""
    try:
        with whole_file(path) as scratch:
            scratch.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{path}: could not be written: {error.strerror or error}") from error


def save_plot(draw: Callable[[], Axes], path: Path) -> None:
    """Draw in the house's style, and save as what the file's name ends in, PNG where it ends in nothing.

    Raises InputError where it cannot be written or matplotlib knows no such format, DependencyError without matplotlib.
    """
    with need("matplotlib.pyplot", "plots").rc_context(style()):
        save_figure(draw().figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Save a figure that is drawn already, in its own style, and close it.  Format and errors as for :func:`save_plot`."""
    try:
        with whole_file(path) as scratch:
            figure.savefig(scratch, format=path.suffix.lstrip(".") or "png", dpi=150, bbox_inches="tight")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: could not be drawn: {error}") from error
    finally:
        need("matplotlib.pyplot", "plots").close(figure)
