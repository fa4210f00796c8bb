"""Pictures of what happens inside: waveforms, frames, probabilities, attention, CTC lattices, and the model itself.

Every function draws into ``ax``, or into a new figure where none is given, and returns the Axes.  Time is in seconds.  The colours are
those of Okabe and Ito, the colour maps viridis (amounts) and PuOr (signed values): all can be told apart by colour-blind readers.
Needs matplotlib: ``python -m pip install 'sewnp[plots]'``.
"""

from collections.abc import Sequence
from itertools import groupby
from math import log, prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from sewnp.config import Config
from sewnp.costs import Stage, stages
from sewnp.ctc.decoding import runs
from sewnp.errors import check_shape
from sewnp.extras import need
from sewnp.parameters import Head
from sewnp.speech.transcript import Word
from sewnp.types import Array

Axes: TypeAlias = Any
"""``matplotlib.axes.Axes``, which the type checker cannot know: matplotlib is optional."""

COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
"""Blue, orange, green, purple, vermilion, sky blue, black (Okabe and Ito 2008, "Color Universal Design"; their yellow is faint on white)."""

GREY = "#8C8C8C"
"""What stands back: the blank, guides, annotations."""

_INK = "#222222"


def style() -> dict[Any, Any]:
    """Settings for small figures that read well on light and dark pages: ``plt.rcParams.update(sewnp.plots.style())``."""
    cycler = need("matplotlib", "plots").cycler
    ink = dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"], _INK)
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


def plot_waveform(samples: Array, sampling_rate: int, *, words: Sequence[Word] = (), ax: Axes | None = None) -> Axes:
    """Amplitude over time.  samples (n,); words: ``Transcript.words``, shaded from start to end with their text above."""
    check_shape("samples", samples, (None,))
    ax = _axes(ax)
    ax.plot(np.arange(len(samples)) / sampling_rate, samples, color=COLORS[0], linewidth=0.6)
    for word in words:
        ax.axvspan(word.start, word.end, color=COLORS[1], alpha=0.25, linewidth=0)
        ax.annotate(word.text, ((word.start + word.end) / 2, 1.02), xycoords=("data", "axes fraction"), ha="center", fontsize=8)
    ax.set(xlabel="time (s)", ylabel="amplitude", xlim=(0, max(len(samples), 1) / sampling_rate))
    return ax


def plot_frames(
    x: Array,
    *,
    seconds_per_frame: float,
    ax: Axes | None = None,
    label: str = "channel",
    bar: bool = True,
    bar_label: str = "value",
) -> Axes:
    """A heat map of frames.  x (T, C): time from left to right, channels from bottom to top, named by ``label``.

    Values of one sign are drawn as amounts, values of both signs around a white zero.  bar: whether to draw the colour scale.
    """
    check_shape("x", x, (None, None))
    ax = _axes(ax)
    frames, channels = x.shape
    finite = x[np.isfinite(x)]
    signed = finite.size > 0 and finite.min() < 0 < finite.max()
    limit = float(np.abs(finite).max()) if finite.size else 1.0
    limits = {"cmap": "PuOr", "vmin": -limit, "vmax": limit} if signed else {"cmap": "viridis"}
    extent = (0.0, frames * seconds_per_frame, -0.5, channels - 0.5)
    image = ax.imshow(x.T, aspect="auto", origin="lower", interpolation="nearest", extent=extent, **limits)
    ax.set(xlabel="time (s)", ylabel=label)
    _whole_ticks(ax.yaxis)
    return _with_bar(ax, image, bar_label if bar else None)


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
    ax = _axes(ax)
    seconds = (np.arange(len(probabilities)) + 0.5) * seconds_per_frame
    spoken = [i for i in np.argsort(-probabilities.sum(axis=0), kind="stable").tolist() if tokens[i] != blank][:top]
    for i in [i for i, token in enumerate(tokens) if token == blank]:
        ax.plot(seconds, probabilities[:, i], color=GREY, linestyle="--", linewidth=0.8, label=_shown(blank))
    for place, i in enumerate(spoken):
        dashes = ("-", ":", "-.")[place // len(COLORS) % 3]
        ax.plot(
            seconds,
            probabilities[:, i],
            color=COLORS[place % len(COLORS)],
            linestyle=dashes,
            label=tokens[i],
            zorder=3 - place / 100,
        )
    for token, start, end in runs(probabilities.argmax(axis=1)) if len(probabilities) else []:
        if token in spoken:
            peak = start + int(probabilities[start:end, token].argmax())
            ax.annotate(tokens[token], (seconds[peak], probabilities[peak, token]), xytext=(0, 2), textcoords="offset points",
                        ha="center", fontsize=7.5)  # fmt: skip
    ax.set(xlabel="time (s)", ylabel="probability", xlim=(0, max(len(probabilities), 1) * seconds_per_frame), ylim=(0, 1.12))
    ax.set_yticks([0, 0.5, 1])
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=1.2)
    return ax


def plot_attention(probabilities: Array, *, seconds_per_frame: float, ax: Axes | None = None, bar: bool = True) -> Axes:
    """One head's attention.  probabilities (N, N), row = query, column = key, as in the array: the first query is the top row.

    seconds_per_frame: of the frames that attend, the squeezed ones.  bar: whether to draw the colour scale.
    """
    check_shape("probabilities", probabilities, (None, None))
    check_shape("probabilities", probabilities, (len(probabilities), len(probabilities)))
    ax = _axes(ax)
    seconds = len(probabilities) * seconds_per_frame
    image = ax.imshow(
        probabilities, origin="upper", interpolation="nearest", extent=(0.0, seconds, seconds, 0.0), cmap="viridis", vmin=0
    )
    ax.set(xlabel="key: time looked at (s)", ylabel="query: time looking (s)")
    return _with_bar(ax, image, "probability" if bar else None)


def plot_lattice(
    values: Array, labels: Sequence[str], *, ax: Axes | None = None, label: str = "log probability", bar: bool = True
) -> Axes:
    """A CTC lattice.  values (T, S), one column a state: frames from left to right, states from top to bottom, named by ``labels``.

    Where no path can be, -inf, the picture is left empty.  label: what the values are; bar: whether to draw the colour scale.
    """
    check_shape("values", values, (None, len(labels)))
    ax = _axes(ax)
    possible = np.ma.masked_invalid(values)
    image = ax.imshow(possible.T, aspect="auto", origin="upper", interpolation="nearest", cmap="viridis")
    ax.set_yticks(np.arange(len(labels)), labels)
    ax.set(xlabel="frame", ylabel="state")
    _whole_ticks(ax.xaxis)
    return _with_bar(ax, image, label if bar else None)


def plot_architecture(config: Config, *, head: Head | None = None, sampling_rate: int = 16000, ax: Axes | None = None) -> Axes:
    """The model from top to bottom, for one second of sound: each stage's shape, frame rate, parameters and multiply-adds.

    A bar's width grows with the logarithm of the frame rate; convolutions at one rate share a bar.  The numbers come from
    ``sewnp.costs.stages``.  sampling_rate: samples a second.
    """
    samples = max(sampling_rate, config.minimum_samples)
    rows = _rows(config, samples, head, sampling_rate)
    ax = _axes(ax)
    _draw_rows(ax, rows)
    return ax


def _axes(ax: Axes | None) -> Axes:
    pyplot = need("matplotlib.pyplot", "plots")
    if ax is not None:
        return ax
    return pyplot.subplots(layout="constrained")[1]


def _with_bar(ax: Axes, image: Any, label: str | None) -> Axes:
    if label is not None and ax.figure is not None:
        ax.figure.colorbar(image, ax=ax, label=label, pad=0.02)
    return ax


def _whole_ticks(axis: Any) -> None:
    axis.set_major_locator(need("matplotlib.ticker", "plots").MaxNLocator(integer=True, nbins=6))


def _shown(token: str) -> str:
    return f"blank {token}"


class _Row(NamedTuple):
    """What one bar of the architecture says."""

    title: str
    detail: str
    kind: str
    rate: float
    """Frames a second; 0 for what comes once a clip."""
    stage: Stage


_KINDS = {"sound": GREY, "convolution": COLORS[0], "frames": COLORS[5], "squeezed": COLORS[4], "head": COLORS[2]}


def _rows(config: Config, samples: int, head: Head | None, sampling_rate: int) -> list[_Row]:
    """The stages as the picture tells them: consecutive convolutions of one frame rate together."""
    found = stages(config, samples, head)
    count = len(config.conv_stride)
    rate = float(sampling_rate)
    rows = [_Row("sound", "normalised samples", "sound", rate, Stage("sound", samples, 1, 0, 0))]
    rates = [sampling_rate / prod(config.conv_stride[: i + 1]) for i in range(count)]
    for rate, group in groupby(range(count), key=lambda i: rates[i]):
        layers = list(group)
        first, last = layers[0], layers[-1]
        together = Stage("", found[last].frames, found[last].channels, sum(found[i].parameters for i in layers),
                         sum(found[i].multiply_adds for i in layers))  # fmt: skip
        title = f"convolution {first}" if first == last else f"convolutions {first}–{last}"
        kernels = ", ".join(str(config.conv_kernel[i]) for i in layers)
        rows.append(_Row(title, f"kernel {kernels} · stride {config.conv_stride[first]}", "convolution", rate, together))
    taps, factor = config.num_conv_pos_embeddings, config.squeeze_factor
    attention = "attention" if config.model_type == "sew" else "disentangled attention"
    heads = f"{attention}, {config.num_attention_heads} heads"
    projection = ("projection", f"to {config.hidden_size} channels", "frames", rate)
    if config.conv_dim[-1] == config.hidden_size:  # then there is nothing to project
        projection = ("layer norm", "of each frame", "frames", rate)
    told = {
        "projection": projection,
        "squeeze and position": ("squeeze + position", f"mean of {factor} · kernel {taps}", "squeezed", rate / factor),
        "transformer": (f"transformer × {config.num_hidden_layers}", heads, "squeezed", rate / factor),
        "upsampling": ("upsampling", f"1 frame becomes {factor}", "frames", rate),
        "ctc head": ("letters", f"scores of {config.vocab_size} tokens", "head", rate),
        "classification head": ("label", f"scores of {config.num_labels} labels, a clip", "head", 0.0),
    }
    return rows + [_Row(*told[stage.name.partition(",")[0]], stage) for stage in found[count:]]


def _draw_rows(ax: Axes, rows: list[_Row]) -> None:
    """Text to the left, bars in the middle, numbers to the right; x runs from 0 to 100, one row a unit of y."""
    slowest, fastest = min(row.rate for row in rows if row.rate), max(row.rate for row in rows)

    def width(row: _Row) -> float:
        share = log(max(row.rate, slowest) / slowest) / log(fastest / slowest) if fastest > slowest else 1.0
        return 13 + 27 * share

    middle, columns = 45, {"per second": 75, "parameters": 87, "multiply-adds": 99.5}
    for name, x in columns.items():
        ax.text(x, -0.85, name, ha="right", va="center", fontsize=8, color=GREY)
    ax.text(middle, -0.85, "time × channels, one second of sound", ha="center", va="center", fontsize=8, color=GREY)
    for y, row in enumerate(rows):
        half = width(row) / 2
        color = _KINDS[row.kind]
        if y:
            above = width(rows[y - 1]) / 2
            ax.fill([middle - above, middle + above, middle + half, middle - half], [y - 0.66, y - 0.66, y - 0.34, y - 0.34],
                    color=GREY, alpha=0.18, linewidth=0)  # fmt: skip
        ax.barh(y, 2 * half, left=middle - half, height=0.68, color=color, linewidth=0)
        light = row.kind == "frames"
        shape = f"{row.stage.frames:,} × {row.stage.channels}"
        ax.text(middle, y + 0.02, shape, ha="center", va="center", fontsize=9, color=_INK if light else "white", weight="bold")
        ax.text(0, y - 0.17, row.title, ha="left", va="center", fontsize=9, color=_INK, weight="bold")
        ax.text(0, y + 0.21, row.detail, ha="left", va="center", fontsize=7.5, color="#555555")
        numbers = (f"{row.rate:,.5g}" if row.rate else "–", _short(row.stage.parameters), _short(row.stage.multiply_adds))
        for x, number in zip(columns.values(), numbers, strict=True):
            ax.text(x, y, number, ha="right", va="center", fontsize=9, color=_INK)
    ax.set(xlim=(-1, 100.5), ylim=(len(rows) - 0.5, -1.2))
    ax.set_axis_off()


def _short(count: int) -> str:
    """A count in three digits and a letter; a dash for nothing."""
    count = int(float(f"{count:.3g}"))
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:#.3g}".rstrip(".") + f" {letter}"
    return str(count) if count else "–"
