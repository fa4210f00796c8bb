"""The curves of a training run."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sewnp.plots.style import COLORS, GREY, Axes, axes_or_new

_WINDOWS = 100  # parts of a run whose losses are averaged


def plot_training(records: Sequence[Mapping[str, Any]], *, ax: Axes | None = None) -> Axes:
    """The loss of every step, faint, and its running mean, on a logarithmic scale; beside it the error rate of every validation.

    records: lines of a run's log (:class:`sewnp.training.Log`); steps that were not taken have no loss and are left out.
    """
    ax = axes_or_new(ax)
    losses = [(record["step"], record["loss"]) for record in records if record.get("loss") is not None]
    steps, values = (np.array(column) for column in zip(*losses, strict=True)) if losses else (np.zeros(0), np.zeros(0))
    ax.plot(steps, values, color=GREY, alpha=0.35, linewidth=0.6)
    parts = [part for part in np.array_split(np.arange(len(steps)), min(_WINDOWS, len(steps)) or 1) if len(part)]
    ax.plot([steps[p].mean() for p in parts], [values[p].mean() for p in parts], color=COLORS[0], label="loss")
    ax.set(xlabel="step", ylabel="loss", yscale="log")
    errors = [(r["step"], r["wer"] if "wer" in r else 1 - r["accuracy"]) for r in records if "wer" in r or "accuracy" in r]
    if errors:
        right = ax.twinx()
        right.spines["right"].set_visible(True)
        right.plot(*zip(*errors, strict=True), "o-", color=COLORS[1], markersize=3, label="error rate")
        right.set(ylabel="error rate", ylim=(0, min(1.0, 1.1 * max(rate for _, rate in errors)) or 1.0))
        ax.plot([], [], "o-", color=COLORS[1], markersize=3, label="error rate, validation")
    ax.legend()
    return ax
