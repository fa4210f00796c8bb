"""What was taken for what."""

from collections.abc import Sequence

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.extras import need
from sewnp.plots.style import FOREIGN, INK, Axes, plain, with_bar
from sewnp.types import Array

_WIDEST = 100.0  # inches: no picture has more than 2**16 pixels along a side
_MOST_NUMBERS = 20  # labels, above which counts would not fit into their cells


def plot_confusion(
    counts: Array, labels: Sequence[str], predicted: Sequence[str] | None = None, *, ax: Axes | None = None, bar: bool = True
) -> Axes:
    """A confusion matrix.  counts (labels, predicted): rows are what was said, columns what was heard, the same labels by default.

    A cell's colour is its share of the row, so that rare labels show as well as frequent ones; its number is the count.
    bar: whether to draw the colour scale.  Raises InputError for counts of another shape, and negative ones.
    """
    columns = list(labels if predicted is None else predicted)
    check_shape("counts", counts, (len(labels), len(columns)))
    if (counts < 0).any():
        raise InputError("counts: expected 0 or more, found a negative count")
    if ax is None:  # with room for every label
        longest = 0.07 * max(0, max((len(plain(label)) for label in [*columns, *labels]), default=0) - 12)
        size = [min(0.38 * len(names) + edge + longest, _WIDEST) for names, edge in ((columns, 2.2), (labels, 1.6))]
        ax = need("matplotlib.pyplot", "plots").subplots(figsize=size, layout="constrained")[1]
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    image = ax.imshow(shares, vmin=0, vmax=1, cmap="viridis", interpolation="nearest")
    if max(counts.shape) <= _MOST_NUMBERS:
        for (i, j), count in np.ndenumerate(counts):
            if count:
                ax.text(j, i, str(int(count)), ha="center", va="center", fontsize=8, color=INK if shares[i, j] > 0.6 else "white")
    ax.set_xticks(range(len(columns)), [*map(plain, columns)], rotation=45, ha="right", rotation_mode="anchor", **FOREIGN)
    ax.set_yticks(range(len(labels)), [*map(plain, labels)], **FOREIGN)
    ax.set(xlabel="heard as", ylabel="said")
    return with_bar(ax, image, "share of the row" if bar else None)
