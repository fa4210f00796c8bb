"""A text drawn over the sound in which it was label."""

import numpy as np

from sewnp.errors import check_shape
from sewnp.extras import need
from sewnp.plots.stages import outline
from sewnp.plots.style import COLORS, FOREIGN, GREY, Axes, plain
from sewnp.speech.alignment import Alignment
from sewnp.types import Array

_INCHES_PER_SECOND = 4.5  # at which letters of neighbouring frames, 20 ms apart, just do not touch
_NARROWEST, _WIDEST = 7.0, 60.0  # inches


def plot_alignment(waveform: Array, sampling_rate: int, alignment: Alignment, *, ax: Axes | None = None) -> Axes:
    """Words and characters over the waveform.  waveform (n,), what was aligned.

    A bar a character stands in the frames that hold it, as high as its probability, with the character on top; words are shaded from
    start to end, and named above with their own probability.  The waveform behind is scaled to fill the height: it has no axis.  A
    new figure is as wide as the clip is long.
    """
    check_shape("waveform", waveform, (None,))
    seconds = max(len(waveform), 1) / sampling_rate
    if ax is None:
        width = float(np.clip(_INCHES_PER_SECOND * seconds, _NARROWEST, _WIDEST))
        ax = need("matplotlib.pyplot", "plots").subplots(figsize=(width, 2.6), layout="constrained")[1]
    peak = max(float(np.abs(waveform).max(initial=0.0)), 1e-12)
    places, values = outline(waveform)
    ax.plot(places / sampling_rate, 0.5 + 0.5 * values / peak, color=GREY, alpha=0.6, linewidth=0.5)
    for word in alignment.words:
        ax.axvspan(word.start, word.end, color=COLORS[1], alpha=0.2, linewidth=0)
        middle = (word.start + word.end) / 2
        label = f"{plain(word.text)}\n{word.probability:.2f}"
        ax.annotate(label, (middle, 1.02), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8, **FOREIGN)
    for character in alignment.characters:
        ax.bar(
            character.start,
            character.probability,
            character.end - character.start,
            align="edge",
            color=COLORS[0],
            alpha=0.6,
            edgecolor="white",
            linewidth=0.6,
        )
        middle = (character.start + character.end) / 2
        ax.annotate(
            plain(character.text),
            (middle, character.probability),
            (0, 2),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8,
            fontfamily="monospace",
            **FOREIGN,
        )
    ax.set(xlabel="time (s)", ylabel="probability of the place", xlim=(0, seconds), ylim=(0, 1.18), yticks=[0, 0.5, 1])
    return ax
