"""A picture of the model: its stages from waveform to logits, with shapes and frame rates."""

from itertools import groupby
from math import log, prod
from typing import NamedTuple

from sewnp.config import Config
from sewnp.costs import StageCost, stages
from sewnp.parameters import Head
from sewnp.plots.style import COLORS, GREY, INK, Axes, axes_or_new


def plot_architecture(config: Config, *, head: Head | None = None, sampling_rate: int = 16000, ax: Axes | None = None) -> Axes:
    """The model from top to bottom, for one second of sound: each stage's shape, frame rate, parameters and multiply-adds.

    A bar's width grows with the logarithm of the frame rate; convolutions at one rate share a bar.  The numbers come from
    ``sewnp.costs.stages``.  sampling_rate: samples a second.
    """
    samples = max(sampling_rate, config.minimum_samples)
    rows = _rows(config, samples, head, sampling_rate)
    ax = axes_or_new(ax)
    _draw_rows(ax, rows)
    return ax


class _Row(NamedTuple):
    """What one bar of the architecture says."""

    title: str
    detail: str
    kind: str
    rate: float
    """Frames a second; 0 for what comes once a clip."""
    stage: StageCost


_KINDS = {"sound": GREY, "convolution": COLORS[0], "frames": COLORS[5], "squeezed": COLORS[4], "head": COLORS[2]}


def _rows(config: Config, samples: int, head: Head | None, sampling_rate: int) -> list[_Row]:
    """The stages as the picture tells them: consecutive convolutions of one frame rate together."""
    costs = stages(config, samples, head)
    count = len(config.conv_stride)
    rate = float(sampling_rate)
    rows = [_Row("sound", "normalised samples", "sound", rate, StageCost("sound", samples, 1, 0, 0))]
    rates = [sampling_rate / prod(config.conv_stride[: i + 1]) for i in range(count)]
    for rate, group in groupby(range(count), key=lambda i: rates[i]):
        layers = list(group)
        first, last = layers[0], layers[-1]
        together = StageCost("", costs[last].frames, costs[last].channels, sum(costs[i].parameters for i in layers),
                         sum(costs[i].multiply_adds for i in layers))  # fmt: skip
        title = f"convolution {first}" if first == last else f"convolutions {first}–{last}"
        kernels = ", ".join(str(config.conv_kernel[i]) for i in layers)
        rows.append(_Row(title, f"kernel {kernels} · stride {config.conv_stride[first]}", "convolution", rate, together))
    taps, factor = config.num_conv_pos_embeddings, config.squeeze_factor
    attention = "attention" if config.model_type == "sew" else "disentangled attention"
    heads = f"{attention}, {config.num_attention_heads} heads"
    projection = ("projection", f"to {config.hidden_size} channels", "frames", rate)
    if config.conv_dim[-1] == config.hidden_size:  # then there is nothing to project
        projection = ("layer norm", "of each frame", "frames", rate)
    titles = {
        "projection": projection,
        "squeeze and position": ("squeeze + position", f"mean of {factor} · kernel {taps}", "squeezed", rate / factor),
        "transformer": (f"transformer × {config.num_hidden_layers}", heads, "squeezed", rate / factor),
        "upsampling": ("upsampling", f"1 frame becomes {factor}", "frames", rate),
        "ctc head": ("letters", f"scores of {config.vocab_size} tokens", "head", rate),
        "classification head": ("label", f"scores of {config.num_labels} labels, a clip", "head", 0.0),
    }
    return rows + [_Row(*titles[stage.name.partition(",")[0]], stage) for stage in costs[count:]]


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
        ax.text(middle, y + 0.02, shape, ha="center", va="center", fontsize=9, color=INK if light else "white", weight="bold")
        ax.text(0, y - 0.17, row.title, ha="left", va="center", fontsize=9, color=INK, weight="bold")
        ax.text(0, y + 0.21, row.detail, ha="left", va="center", fontsize=7.5, color="#555555")
        numbers = (f"{row.rate:,.5g}" if row.rate else "–", _short(row.stage.parameters), _short(row.stage.multiply_adds))
        for x, number in zip(columns.values(), numbers, strict=True):
            ax.text(x, y, number, ha="right", va="center", fontsize=9, color=INK)
    ax.set(xlim=(-1, 100.5), ylim=(len(rows) - 0.5, -1.2))
    ax.set_axis_off()


def _short(count: int) -> str:
    """A count in three digits and a letter; a dash for nothing."""
    count = int(float(f"{count:.3g}"))
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:#.3g}".rstrip(".") + f" {letter}"
    return str(count) if count else "–"
