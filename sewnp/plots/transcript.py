"""A clip from its sound to its words: waveform, letters, attention, one above the other."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

from sewnp.errors import check_shape
from sewnp.extras import need
from sewnp.plots.stages import plot_attention, plot_frames, plot_waveform
from sewnp.plots.style import FOREIGN, Axes, plain
from sewnp.speech.transcript import Transcript
from sewnp.speech.words import Word
from sewnp.types import Array

_NARROWEST, _WIDEST = 7.5, 24.0  # inches
_MOST_ROWS = 24
"""Of a long recording: more make a picture that no viewer opens."""
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
    The figure is as wide as the words need to stand beside each other; what is wider than two feet goes on in further rows, up to
    :func:`seconds_drawn`, and the first title says how much of ``transcript.duration`` is drawn where it is not all: so a ``waveform``
    may be the beginning alone.  tokens: V of them, in the order of their ids.
    """
    check_shape("waveform", waveform, (None,))
    check_shape("probabilities", probabilities, (None, len(tokens)))
    maps = dict(attentions or {})
    seconds = min(max(len(waveform), 1) / sampling_rate, seconds_drawn(transcript))
    waveform, probabilities = waveform[: round(seconds * sampling_rate)], probabilities[: ceil(seconds / seconds_per_frame)]
    each = min(seconds, _seconds_a_row(transcript.words))
    rows = ceil(seconds / each - 1e-6)
    width = float(np.clip(1.2 + each * _inches_per_second(transcript.words), _NARROWEST, _WIDEST))
    spoken = _spoken(probabilities, tokens, blank)
    columns = max(1, min(len(maps), int(width / _PANEL)))
    side = min(width / columns, _LARGEST_PANEL)
    heights = [1.6, max(0.8, _ROW * len(spoken))] * rows + [-(-len(maps) // columns) * side] * bool(maps)
    figure = need("matplotlib.pyplot", "plots").figure(figsize=(width, sum(heights) + 0.6 + 0.6 * rows), layout="constrained")
    grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
    for row in range(rows):
        start, stop = row * each, (row + 1) * each
        sound, letters = figure.add_subplot(grid[2 * row]), figure.add_subplot(grid[2 * row + 1])
        _draw_sound(sound, waveform, sampling_rate, transcript.words, start, stop)
        _draw_letters(letters, probabilities[:, spoken], [tokens[i] for i in spoken], seconds_per_frame, blank, start, stop)
        for ax in (sound, letters):
            ax.set_xlim(start, stop)
            ax.xaxis.set_major_locator(need("matplotlib.ticker", "plots").MaxNLocator(int(width), steps=[1, 2, 5, 10]))
        if row < rows - 1:
            letters.set_xlabel("")
    found = "and the words that were found in it" if transcript.words else "in which no words were found"
    figure.axes[0].set_title(f"The sound{_part(seconds, transcript.duration)}, {found}", pad=18)
    figure.axes[1].set_title("How likely each letter is: dark 0, bright 1; the blank stands for no letter")
    for place, (title, attention) in enumerate(maps.items()):
        if place == 0:
            inner = grid[2 * rows].subgridspec(-(-len(maps) // columns), columns)
        ax = figure.add_subplot(inner[divmod(place, columns)])
        frame = seconds_per_attention or seconds_per_frame
        _draw_attention(ax, attention, frame)
        part = _part(len(attention) * frame, transcript.duration, spare=2 * frame)
        ax.set_title(title if place else f"Where each moment looks{part}: dark nowhere, bright most\n{title}")
    return figure


def seconds_drawn(transcript: Transcript) -> float:
    """How much of a recording :func:`plot_transcript` draws: all, or as many seconds as its rows have room for."""
    return min(max(transcript.duration, 1e-3), _MOST_ROWS * _seconds_a_row(transcript.words))


def pool(attention: Array) -> tuple[Array, int]:
    """An attention map of at most so many cells as can be seen, and how many frames along each side a cell stands for.  (N, N) -> (n, n)

    A cell is the largest of its frames: they are many, and the bright ones few.
    """
    step = max(1, -(-len(attention) // _CELLS))
    padded = np.pad(attention, (0, -len(attention) % step))
    return padded.reshape(len(padded) // step, step, -1, step).max(axis=(1, 3)), step


def _part(seconds: float, duration: float, *, spare: float = 0.05) -> str:
    """What to say of a part that is not the whole: ", the first 5:20 of 1:00:00"."""
    return "" if seconds + spare >= duration else f", the first {_clock(seconds)} of {_clock(duration)}"


def _clock(seconds: float) -> str:
    """63 -> "1:03" """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _seconds_a_row(words: Sequence[Word]) -> float:
    return (_WIDEST - 1.2) / _inches_per_second(words)


def _inches_per_second(words: Sequence[Word]) -> float:
    """How much room a second needs for neighbouring words not to touch; not more than 3 inches, for words that lie on each other."""
    needed = [_CAPITAL * (len(a.text) + len(b.text) + 1) / max(b.start + b.end - a.start - a.end, 1e-3) for a, b in pairwise(words)]
    return float(np.clip(max(needed, default=1.0), 1.0, 3.0))


def _spoken(probabilities: Array, tokens: Sequence[str], blank: str) -> list[int]:
    """The tokens that are ever the likeliest, from the bottom row up: the blank, marks, letters from Z to A."""
    ever = {int(token) for token in probabilities.argmax(axis=1)} if len(probabilities) else set()
    ever |= {i for i, token in enumerate(tokens) if token == blank}
    return sorted(ever, key=lambda i: (tokens[i] != blank, tokens[i].isalpha(), [-ord(c) for c in tokens[i]]))


def _draw_sound(ax: Axes, waveform: Array, sampling_rate: int, words: Sequence[Word], start: float, stop: float) -> None:
    """The part from start to stop, in seconds; a word is named where its middle is."""
    here = [word for word in words if start <= (word.start + word.end) / 2 < stop]
    first = round(start * sampling_rate)
    plot_waveform(waveform[first : round(stop * sampling_rate)], sampling_rate, words=here, start=start, ax=ax)
    ax.set(xlabel="")


def _draw_letters(
    ax: Axes, probabilities: Array, tokens: Sequence[str], seconds_per_frame: float, blank: str, start: float, stop: float
) -> None:
    first = int(start / seconds_per_frame)
    part = probabilities[first : ceil(stop / seconds_per_frame)]
    if not len(part):  # behind the last frame that the model gives
        return
    plot_frames(part, seconds_per_frame=seconds_per_frame, start=first * seconds_per_frame, ax=ax, label="", bar=False)
    names = {blank: "blank", "|": "| (space)"}
    ax.set_yticks(range(len(tokens)), [plain(names.get(token, token)) for token in tokens], fontsize=7.5, **FOREIGN)
    ax.images[0].set_clim(0, 1)


def _draw_attention(ax: Axes, attention: Array, seconds_per_frame: float) -> None:
    cells, step = pool(attention)
    frames = len(attention)
    plot_attention(cells, seconds_per_frame=step * seconds_per_frame, ax=ax, bar=False)
    ax.images[0].set_norm(need("matplotlib.colors", "plots").PowerNorm(0.5, vmin=0, vmax=max(float(cells.max(initial=0)), 1e-6)))
    ax.set(xlim=(0, frames * seconds_per_frame), ylim=(frames * seconds_per_frame, 0))
    ax.label_outer()
