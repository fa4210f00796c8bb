"""The look of the pictures, and what drawing them shares."""

from typing import Any, TypeAlias

from sewnp.errors import printable
from sewnp.extras import need

Axes: TypeAlias = Any
"""``matplotlib.axes.Axes``, which the type checker cannot know: matplotlib is optional."""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""Blue, orange, green, purple, vermilion, sky blue, black (Okabe and Ito 2008, "Color Universal Design"; their yellow is faint on white)."""

GREY = "#8C8C8C"
"""What stands back: the blank, guides, annotations."""

INK = "#222222"
"""Text and axes."""


def style() -> dict[Any, Any]:
    """Settings for small figures that read well on light and dark pages: ``plt.rcParams.update(sewnp.plots.style())``."""
    cycler = need("matplotlib", "plots").cycler
    ink = dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"], INK)
    white = dict.fromkeys(["figure.facecolor", "axes.facecolor", "savefig.facecolor"], "white")
    return ink | white | {
        "figure.figsize": (7.0, 2.4),
        "figure.dpi": 110,
        "savefig.dpi": "figure",
        "figure.constrained_layout.use": True,
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.prop_cycle": cycler(color=COLORS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "grid.color": "#DDDDDD",
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.3,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "image.cmap": "viridis",
        "image.interpolation": "nearest",
    }  # fmt: skip


FOREIGN = {"parse_math": False}
"""How to draw words that others chose (a vocabulary's, a manifest's): a dollar sign among them begins no formula."""


def plain(word: str) -> str:
    """A foreign word as it can be drawn: without line feeds and control characters, and no longer than a picture has room for."""
    shown = printable(word)
    return shown if len(shown) <= 32 else f"{shown[:29]}..."


def axes_or_new(ax: Axes | None) -> Axes:
    pyplot = need("matplotlib.pyplot", "plots")
    if ax is not None:
        return ax
    return pyplot.subplots(layout="constrained")[1]


def with_bar(ax: Axes, image: Any, label: str | None) -> Axes:
    if label is not None and ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label=label, pad=0.02)
    return ax


def whole_ticks(axis: Any) -> None:
    axis.set_major_locator(need("matplotlib.ticker", "plots").MaxNLocator(integer=True, nbins=6))
