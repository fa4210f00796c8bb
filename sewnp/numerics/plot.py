"""A comparison drawn: the error of every stage along the depth of the network."""

from itertools import groupby

import numpy as np

from sewnp.extras import need
from sewnp.networks.stages import layer_of, stage_of
from sewnp.numerics.compare import Comparison, StageComparison
from sewnp.plots import COLORS, Axes
from sewnp.plots.style import FOREIGN, plain

BLUE, GREEN, VERMILION = COLORS[0], COLORS[2], COLORS[4]
CEILING = 10.0
"""An infinite error has no place on an axis: it stands here, and so does all that is larger."""


def plot_comparison(comparison: Comparison, *, ax: Axes | None = None) -> Axes:
    """The error of every stage along the depth of the network, against its budget.

    Stages within their budget are dots, others crosses; an exact stage stands on the lower edge and an infinite error on the upper.  What is
    wrong in itself, after a replay, is ringed, numbered, and named beside the axes; without a replay, the first stage that does not agree is.
    Stages without a measurement (missing, of another shape) are crosses on the upper edge.
    """
    alone = ax is None
    if ax is None:
        ax = need("matplotlib.pyplot", "plots").subplots(figsize=(9.0, 4.4), layout="constrained")[1]
    rows = [row for row in comparison.rows if row.status != "unknown"]
    depth = np.arange(len(rows))
    errors = np.array([row.measure.max_error if row.measure else np.inf for row in rows])
    budgets = np.array([row.budget for row in rows])
    fine = np.array([row.status == "agrees" for row in rows], dtype=bool)
    lowest = min([1e-7, *budgets[budgets > 0], *errors[(errors > 0) & np.isfinite(errors)]])
    floor = 10.0 ** np.floor(np.log10(lowest) - 0.5)
    shown = np.clip(errors, floor, CEILING)
    for left, right, shaded in _blocks(rows):
        if shaded:
            ax.axvspan(left - 0.5, right + 0.5, color="0.95", lw=0)
    ax.step(depth, np.where(budgets > 0, budgets, np.nan), where="mid", color=BLUE, lw=1.2, label="budget")
    ax.plot(depth[fine], shown[fine], "o", ms=3.5, color=GREEN, label="agrees")
    if not fine.all():
        ax.plot(depth[~fine], shown[~fine], "x", ms=5, color=VERMILION, label="does not agree", clip_on=False)
    ax.set(yscale="log", ylim=(floor, CEILING), xlim=(-1, max(len(rows), 1)), ylabel="largest error / scale of the stage")
    ax.set_xticks(*_ticks(rows), rotation=45, ha="right", rotation_mode="anchor")
    _name_culprits(ax, rows, shown)
    ax.set_title(_shortened(comparison.verdict.partition(";")[0]), loc="left", fontsize="medium", **FOREIGN)
    if alone:
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=3, fontsize="small", frameon=False)
    else:  # other people's figures have a layout of their own
        ax.legend(fontsize="small")
    return ax


def _part(row: StageComparison) -> str:
    """The part of the network that a stage belongs to: convolutions, a layer, what stands between them."""
    stage = stage_of(row.name)
    if "{i}" in stage.name:
        return "convolutions" if stage.group == "frames" else f"layer {layer_of(row.name)}"
    return stage.group if stage.group in ("frames", "upsample", "head") else "squeeze"


def _blocks(rows: list[StageComparison]) -> list[tuple[int, int, bool]]:
    """First and last stage of every part, and whether it is shaded: every other one."""
    parts = [(part, len(list(group))) for part, group in groupby(rows, _part)]
    ends = np.cumsum([count for _, count in parts])
    return [(int(end - count), int(end - 1), i % 2 == 1) for i, ((_, count), end) in enumerate(zip(parts, ends, strict=True))]


def _ticks(rows: list[StageComparison]) -> tuple[list[float], list[str]]:
    """A tick in the middle of every part.  Parts of one or two stages have no room for a name, nor have all of many layers."""
    blocks = [(left, right) for left, right, _ in _blocks(rows) if right - left >= 2]
    step = max(1, -(-len(blocks) // 24))  # of a few stages no part has room
    return [(left + right) / 2 for left, right in blocks[::step]], [_part(rows[left]) for left, _ in blocks[::step]]


def _name_culprits(ax: Axes, rows: list[StageComparison], shown: np.ndarray[tuple[int], np.dtype[np.float64]]) -> None:
    culprits = [i for i, row in enumerate(rows) if row.origin] or [i for i, row in enumerate(rows) if row.status != "agrees"][:1]
    lines = []
    for number, i in enumerate(culprits[:MOST], 1):
        row = rows[i]
        ax.plot(i, shown[i], "o", ms=11, mfc="none", mec=VERMILION, clip_on=False)
        ax.annotate(
            str(number), (i, shown[i]), xytext=(0, 7), textcoords="offset points", ha="center", va="bottom", annotation_clip=False
        )
        lines.append(f"{number}  {plain(row.name)}: {_shortened(row.cause or row.detail or row.status)}")
    if len(culprits) > MOST:
        lines.append(f"... and {len(culprits) - MOST} more")
    ax.set_xlabel("\n".join(lines), loc="left", fontsize="small", **FOREIGN)


MOST = 6
"""How many culprits are named."""


def _shortened(text: str, most: int = 90) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."
