"""A picture of a benchmark: time against the length of the clip."""

import numpy as np

from sewnp.benchmark import Benchmark
from sewnp.plots.style import COLORS, FOREIGN, GREY, Axes, axes_or_new, plain


def plot_growth(result: Benchmark, *, ax: Axes | None = None) -> Axes:
    """Median seconds against seconds of sound, both logarithmic, one line a candidate; a dashed line is real time."""
    ax = axes_or_new(ax)
    names = list(dict.fromkeys(row.name for row in result.rows))
    for name, color in zip(names, COLORS, strict=False):
        rows = [row for row in result.rows if row.name == name]
        ax.loglog([row.audio for row in rows], [row.median for row in rows], "o-", color=color, label=name, markersize=3)
    lengths = np.array(sorted({row.audio for row in result.rows}))
    ax.loglog(lengths, lengths, "--", color=GREY, linewidth=0.9, label="real time")
    ax.set(xlabel="clip (seconds)", ylabel="time (seconds)")
    ax.set_title(f"{plain(result.model)}, {result.threads} threads", **FOREIGN)
    ax.legend()
    return ax
