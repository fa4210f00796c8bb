"""A comparison drawn: the error of every stage along the depth of the network."""

import numpy as np

from sewnp.extras import need
from sewnp.numerics.compare import Comparison
from sewnp.plots import COLORS, Axes

BLUE, GREEN, VERMILION = COLORS[0], COLORS[2], COLORS[4]
FLOOR, CEILING = 1e-9, 10.0  # an exact stage has no place on a logarithmic axis, an infinite error neither


def plot_comparison(comparison: Comparison, *, ax: Axes | None = None) -> Axes:
    """The error of every stage along the depth of the network, against its budget.

    Stages within their budget are circles, others crosses; what is wrong in itself, after a replay, is ringed and named.
    """
    if ax is None:
        ax = need("matplotlib.pyplot", "plots").subplots(figsize=(7.5, 3.4), layout="constrained")[1]
    rows = [row for row in comparison.rows if row.measure is not None]
    depth = np.arange(len(rows))
    errors = np.array([row.measure.max_error if row.measure else 0.0 for row in rows])
    budgets = np.array([row.budget for row in rows])
    fine = np.array([row.status == "agrees" for row in rows], dtype=bool)
    shown = np.clip(np.nan_to_num(errors, posinf=CEILING), FLOOR, CEILING)
    ax.step(depth, np.clip(budgets, FLOOR, None), where="mid", color=BLUE, label="budget")
    ax.plot(depth[fine], shown[fine], "o", ms=3.5, color=GREEN, label="agrees")
    ax.plot(depth[~fine], shown[~fine], "x", ms=5, color=VERMILION, label="does not agree")
    for i, row in enumerate(rows):
        if row.origin:
            ax.plot(i, shown[i], "o", ms=11, mfc="none", mec=VERMILION)
            ax.annotate(row.name, (i, shown[i]), xytext=(0, 9), textcoords="offset points", ha="right", fontsize="small")
    ax.set(yscale="log", xlabel="stage, in the order of computation", ylabel="largest error / scale of the stage")
    ax.legend(loc="lower right")
    return ax
