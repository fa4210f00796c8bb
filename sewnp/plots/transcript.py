"""A clip from its sound to its words: waveform, letters, attention, one above the other."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from sewnp.errors import check_shape
from sewnp.extras import need
from sewnp.plots.stages import plot_attention, plot_frames, plot_waveform
from sewnp.plots.style import Axes
from sewnp.speech.transcript import Transcript
from sewnp.speech.words import Word
from sewnp.types import Array

_NARROWEST, _WIDEST = 7.5, 60.0  # inches
_CAPITAL = 0.085  # inches, at 8 points with some air
_ROW = 0.15  # inches, of a letter
_PANEL, _LARGEST_PANEL = 1.8, 3.6  # inches
_CELLS = 320  # along each side of an attention map: about what a panel has pixels for


def plot_transcript(
    waveform: Array,
    sampling_rate: int,
    transcript: Transcript,
    probabilities: Array,
    tokens: Sequence[str],
    *,
    seconds_per_frame: float,
    blank: str = "<pad>",
    attentions: Mapping[str, Array] | None = None,
    seconds_per_attention: float | None = None,
) -> Any:
    """A clip from its sound to its words -> Figure.  waveform (n,), probabilities (T, V), attentions {title: (N, N)}.

    The waveform with the words found; below it, on the same time axis, the probability of each token that is ever the likeliest, a row
    each; below these a map for each of ``attentions``, whose frames last ``seconds_per_attention``, by default as long as the letters'.
    The figure is as wide as the words need to stand beside each other.  tokens: V of them, in the order of their ids.
    """
    check_shape("waveform", waveform, (None,))
    check_shape("probabilities", probabilities, (None, len(tokens)))
    maps = dict(attentions or {})
    seconds = max(len(waveform), 1) / sampling_rate
    width = float(np.clip(1.2 + seconds * _inches_per_second(transcript.words), _NARROWEST, _WIDEST))
    spoken = _spoken(probabilities, tokens, blank)
    columns = max(1, min(len(maps), int(width / _PANEL)))
    rows = -(-len(maps) // columns)
    side = min(width / columns, _LARGEST_PANEL)
    heights = [1.6, max(0.8, _ROW * len(spoken)), *([rows * side] if maps else [])]
    figure = need("matplotlib.pyplot", "plots").figure(figsize=(width, sum(heights) + 1.2), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    sound = figure.add_subplot(grid[0])
    plot_waveform(waveform, sampling_rate, words=transcript.words, ax=sound)
    found = "and the words that were found in it" if transcript.words else "in which no words were found"
    sound.set(xlabel="", xlim=(0, seconds))
    sound.set_title(f"The sound, {found}", pad=18)
    _draw_letters(figure.add_subplot(grid[1]), probabilities[:, spoken], [tokens[i] for i in spoken], seconds_per_frame, blank)
    figure.axes[1].set_xlim(0, seconds)
    for place, (title, attention) in enumerate(maps.items()):
        if place == 0:
            inner = grid[2].subgridspec(rows, columns)
        ax = figure.add_subplot(inner[divmod(place, columns)])
        _draw_attention(ax, attention, seconds_per_attention or seconds_per_frame)
        ax.set_title(title if place else f"Where each moment looks: dark nowhere, bright most\n{title}")
    for ax in figure.axes[:2]:
        ax.xaxis.set_major_locator(need("matplotlib.ticker", "plots").MaxNLocator(int(width), steps=[1, 2, 5, 10]))
    return figure


def _inches_per_second(words: Sequence[Word]) -> float:
    """How much room a second needs for neighbouring words not to touch; not more than 3 inches, for words that lie on each other."""
    needed = [_CAPITAL * (len(a.text) + len(b.text) + 1) / max(b.start + b.end - a.start - a.end, 1e-3) for a, b in pairwise(words)]
    return float(np.clip(max(needed, default=1.0), 1.0, 3.0))


def _spoken(probabilities: Array, tokens: Sequence[str], blank: str) -> list[int]:
    """The tokens that are ever the likeliest, from the bottom row up: the blank, marks, letters from Z to A."""
    ever = {int(token) for token in probabilities.argmax(axis=1)} if len(probabilities) else set()
    ever |= {i for i, token in enumerate(tokens) if token == blank}
    return sorted(ever, key=lambda i: (tokens[i] != blank, tokens[i].isalpha(), [-ord(c) for c in tokens[i]]))


def _draw_letters(ax: Axes, probabilities: Array, tokens: Sequence[str], seconds_per_frame: float, blank: str) -> None:
    plot_frames(probabilities, seconds_per_frame=seconds_per_frame, ax=ax, label="", bar=False)
    names = {blank: "blank", "|": "| (space)"}
    ax.set_yticks(range(len(tokens)), [names.get(token, token) for token in tokens], fontsize=7.5)
    ax.images[0].set_clim(0, 1)
    ax.set_title("How likely each letter is: dark 0, bright 1; the blank stands for no letter")


def _draw_attention(ax: Axes, attention: Array, seconds_per_frame: float) -> None:
    """A map, of which each cell shows the largest of the frames that it stands for: they are many, and the bright ones few."""
    step = -(-len(attention) // _CELLS)
    frames = len(attention)
    padded = np.pad(attention, (0, -frames % step))
    cells = padded.reshape(len(padded) // step, step, -1, step).max(axis=(1, 3))
    plot_attention(cells, seconds_per_frame=step * seconds_per_frame, ax=ax, bar=False)
    ax.images[0].set_norm(need("matplotlib.colors", "plots").PowerNorm(0.5, vmin=0, vmax=max(float(cells.max(initial=0)), 1e-6)))
    ax.set(xlim=(0, frames * seconds_per_frame), ylim=(frames * seconds_per_frame, 0))
    ax.label_outer()
