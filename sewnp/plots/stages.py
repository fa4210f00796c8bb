"""Pictures of one stage: waveform, frames, letter probabilities, attention, CTC lattice."""

from collections.abc import Sequence

import numpy as np

from sewnp.ctc.greedy import runs
from sewnp.errors import check_shape
from sewnp.plots.style import COLORS, FOREIGN, GREY, Axes, axes_or_new, plain, whole_ticks, with_bar
from sewnp.speech.words import Word
from sewnp.types import Array

_MOST_POINTS = 2**16
"""Of a curve: several a pixel of the widest picture."""


def plot_waveform(
    waveform: Array, sampling_rate: int, *, words: Sequence[Word] = (), start: float = 0.0, ax: Axes | None = None
) -> Axes:
    """Amplitude over time.  waveform (n,), which begins at ``start`` seconds; words: ``Transcript.words``, shaded from start to end with
    their text above."""
    check_shape("waveform", waveform, (None,))
    ax = axes_or_new(ax)
    places, values = outline(waveform)
    ax.plot(start + places / sampling_rate, values, color=COLORS[0], linewidth=0.6)
    for word in words:
        ax.axvspan(word.start, word.end, color=COLORS[1], alpha=0.25, linewidth=0)
        middle = ((word.start + word.end) / 2, 1.02)
        ax.annotate(plain(word.text), middle, xycoords=("data", "axes fraction"), ha="center", fontsize=8, **FOREIGN)
    ax.set(xlabel="time (s)", ylabel="amplitude", xlim=(start, start + max(len(waveform), 1) / sampling_rate))
    return ax


def outline(waveform: Array) -> tuple[Array, Array]:
    """The points of a curve that looks like the waveform: their places in it, and their values.  Of many samples the lowest and the highest
    of each stretch stand for all."""
    step = -(-2 * len(waveform) // _MOST_POINTS)
    if step <= 2:
        return np.arange(len(waveform)), waveform
    places = np.arange(0, len(waveform), step)
    ends = np.stack([np.minimum.reduceat(waveform, places), np.maximum.reduceat(waveform, places)], axis=1)
    return np.repeat(places, 2), ends.ravel()


def plot_frames(
    x: Array,
    *,
    seconds_per_frame: float,
    start: float = 0.0,
    ax: Axes | None = None,
    label: str = "channel",
    bar: bool = True,
    bar_label: str = "value",
) -> Axes:
    """A heat map of frames.  x (T, C): time from left to right, channels from bottom to top, named by ``label``.

    Values of one sign are drawn as amounts, values of both signs around a white zero.  start: seconds at which
    the first frame begins.  bar: whether to draw the colour scale.
    """
    check_shape("x", x, (None, None))
    ax = axes_or_new(ax)
    frames, channels = x.shape
    finite = x[np.isfinite(x)]
    signed = finite.size > 0 and finite.min() < 0 < finite.max()
    limit = float(np.abs(finite).max()) if finite.size else 1.0
    limits = {"cmap": "PuOr", "vmin": -limit, "vmax": limit} if signed else {"cmap": "viridis"}
    extent = (start, start + frames * seconds_per_frame, -0.5, channels - 0.5)
    image = ax.imshow(x.T, aspect="auto", origin="lower", interpolation="nearest", extent=extent, **limits)
    ax.set(xlabel="time (s)", ylabel=label)
    whole_ticks(ax.yaxis)
    return with_bar(ax, image, bar_label if bar else None)


def plot_posteriors(
    probabilities: Array,
    tokens: Sequence[str],
    *,
    seconds_per_frame: float,
    ax: Axes | None = None,
    top: int = 8,
    blank: str = "<pad>",
) -> Axes:
    """The probabilities of the likeliest tokens over time.  probabilities (T, V); tokens: V of them, in the order of their ids.

    Of all tokens but the blank the ``top`` with the largest sums over time are drawn, and each is written where it is the likeliest of
    a frame; the blank is drawn grey.
    """
    check_shape("probabilities", probabilities, (None, len(tokens)))
    ax = axes_or_new(ax)
    seconds = (np.arange(len(probabilities)) + 0.5) * seconds_per_frame
    spoken = [i for i in np.argsort(-probabilities.sum(axis=0), kind="stable").tolist() if tokens[i] != blank][:top]
    for i in [i for i, token in enumerate(tokens) if token == blank]:
        ax.plot(seconds, probabilities[:, i], color=GREY, linestyle="--", linewidth=0.8, label=_shown(f"blank {blank}"))
    for place, i in enumerate(spoken):
        dashes = ("-", ":", "-.")[place // len(COLORS) % 3]
        ax.plot(
            seconds,
            probabilities[:, i],
            color=COLORS[place % len(COLORS)],
            linestyle=dashes,
            label=_shown(tokens[i]),
            zorder=3 - place / 100,
        )
    for token, start, end in runs(probabilities.argmax(axis=1)) if len(probabilities) else []:
        if token in spoken:
            peak = start + int(probabilities[start:end, token].argmax())
            ax.annotate(plain(tokens[token]), (seconds[peak], probabilities[peak, token]), xytext=(0, 2), textcoords="offset points",
                        ha="center", fontsize=7.5, **FOREIGN)  # fmt: skip
    ax.set(xlabel="time (s)", ylabel="probability", xlim=(0, max(len(probabilities), 1) * seconds_per_frame), ylim=(0, 1.12))
    ax.set_yticks([0, 0.5, 1])
    legend = ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    for text in legend.get_texts():
        text.set(**FOREIGN)
    return ax


def plot_attention(probabilities: Array, *, seconds_per_frame: float, ax: Axes | None = None, bar: bool = True) -> Axes:
    """One head's attention.  probabilities (N, N), row = query, column = key, as in the array: the first query is the top row.

    seconds_per_frame: of the frames that attend, the squeezed ones.  bar: whether to draw the colour scale.
    """
    check_shape("probabilities", probabilities, (None, None))
    check_shape("probabilities", probabilities, (len(probabilities), len(probabilities)))
    ax = axes_or_new(ax)
    seconds = len(probabilities) * seconds_per_frame
    image = ax.imshow(
        probabilities, origin="upper", interpolation="nearest", extent=(0.0, seconds, seconds, 0.0), cmap="viridis", vmin=0
    )
    ax.set(xlabel="key: time looked at (s)", ylabel="query: time looking (s)")
    return with_bar(ax, image, "probability" if bar else None)


def plot_lattice(
    values: Array, labels: Sequence[str], *, ax: Axes | None = None, label: str = "log probability", bar: bool = True
) -> Axes:
    """A CTC lattice.  values (T, S), one column a state: frames from left to right, states from top to bottom, named by ``labels``.

    Where no path can be, -inf, the picture is left empty.  label: what the values are; bar: whether to draw the colour scale.
    """
    check_shape("values", values, (None, len(labels)))
    ax = axes_or_new(ax)
    possible = np.ma.masked_invalid(values)
    image = ax.imshow(possible.T, aspect="auto", origin="upper", interpolation="nearest", cmap="viridis")
    ax.set_yticks(np.arange(len(labels)), [*map(plain, labels)], **FOREIGN)
    ax.set(xlabel="frame", ylabel="state")
    whole_ticks(ax.xaxis)
    return with_bar(ax, image, label if bar else None)


def _shown(token: str) -> str:
    """A label for the legend, which leaves out those that begin with an underscore."""
    return f" {plain(token)}" if token.startswith("_") else plain(token)
