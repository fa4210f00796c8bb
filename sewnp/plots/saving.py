"""Figures into files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sewnp.errors import InputError
from sewnp.extras import need
from sewnp.files import naming, whole_file
from sewnp.plots.style import Axes, style


def save_plot(draw: Callable[[], Axes], path: Path) -> None:
    """Draw in the house's style, and save as what the file's name ends in, PNG where it ends in nothing.

    Raises InputError where it cannot be written or matplotlib knows no such format, DependencyError without matplotlib.
    """
    with need("matplotlib.pyplot", "plots").rc_context(style()):
        save_figure(draw().figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Save a figure that is drawn already, in its own style, and close it.  Format and errors as for :func:`save_plot`."""
    try:
        with whole_file(path) as scratch, naming(path, InputError, "could not be drawn", (ValueError,)):
            figure.savefig(scratch, format=path.suffix.lstrip(".") or "png", dpi=150, bbox_inches="tight")
    finally:
        need("matplotlib.pyplot", "plots").close(figure)
