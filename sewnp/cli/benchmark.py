"""``sewnp benchmark``: how fast a model is here, beside whoever else is installed."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sewnp.benchmark import ON_ONE_THREAD, PEERS, Benchmark, Throughput, benchmark, throughput
from sewnp.cli.clips import add_format, add_model, add_threads, whole
from sewnp.cli.output import show, show_json, tell
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.errors import brief, printable
from sewnp.files import json_text
from sewnp.loading import from_config, load
from sewnp.model import Model
from sewnp.plots import plot_growth, save_plot
from sewnp.presets import PRESETS, preset

DESCRIPTION = """\
Measure how fast a model is on this machine: the median of interleaved runs on clips of noise,
how many times real time that is, and what share of the machine's best (a large matrix product).

MODEL may also be a preset (sew-tiny, sew-d-tiny ...): the size of a published model with fresh
weights, which take as long as trained ones."""
EXAMPLES = """\
examples:
  sewnp benchmark
  sewnp benchmark --model sew-tiny --against torch,onnx
  sewnp benchmark --model sew-tiny --seconds 1,2,5,10,20,40 --against textbook --plot growth.png
  sewnp benchmark --model sew-tiny --clips 64 --against torch,onnx
  sewnp benchmark --threads 1 -f json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_model(parser, default="digits")
    add_threads(parser)
    parser.add_argument(
        "--seconds", type=_lengths, default="2,10,30", metavar="S,S", help="lengths of the clips (default: 2,10,30)"
    )
    parser.add_argument(
        "--against",
        default="",
        metavar="P,P",
        help=f"peers to measure beside: {', '.join(PEERS)}; torch and onnx have to be installed",
    )
    parser.add_argument("--runs", type=whole(2, 1_000_000), default=9, metavar="N", help="runs of each (default: 9)")
    parser.add_argument(
        "--clips",
        type=whole(1, 100_000),
        metavar="N",
        help="measure also how fast N clips of 1 to 4 seconds are worked off, by each peer one by one, several at a time and in batches",
    )
    add_format(parser, "table", "json", help="what to print")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw time against length; the ending says the format (extra plots)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure and print -> exit status."""
    check_outputs(options, {"--plot": options.plot}, model_files(options.model))
    model, against = _model(options.model, options.threads), [name for name in options.against.split(",") if name]
    result = benchmark(model, seconds=options.seconds, against=against, runs=options.runs, progress=tell)
    many: tuple[Throughput, ...] = ()
    if options.clips is not None:
        many = throughput(model, count=options.clips, against=against, runs=min(options.runs, 3), progress=tell)
    if options.plot is not None:
        save_plot(lambda: plot_growth(result), options.plot)
    if options.output_format == "json":
        show_json(json_text(result.to_dict() | {"clips": [row.to_dict() for row in many]}, indent=2))
    else:
        show("\n".join([table(result), *clips_table(options.clips, many)]))
    return 0


def table(result: Benchmark) -> str:
    """The text that the command prints."""
    machine = result.machine
    threads = f"{result.threads} thread{'s' * (result.threads > 1)}"
    lines = [
        f"{printable(result.model)}, {result.engine} engine, {threads}; {machine['processor']}, {machine['cores']} cores,"
        f" Python {machine['python']}, NumPy {machine['numpy']}",
        f"{'clip':>7} {'':<10}{'median':>10}{'spread':>9}{'real time':>11}{'of peak':>9}{'ours/this':>11}{'difference':>12}",
    ]
    for row in result.rows:
        ratio, off = ("", "") if row.name in ("sewnp", ON_ONE_THREAD) else (f"{row.ratio:.2f}", f"{row.difference:.1e}")
        lines.append(
            f"{row.audio:>5g} s {row.name:<10}{1000 * row.median:>7.1f} ms{row.spread:>8.0%} {row.real_time:>9.1f}x{row.share_of_peak:>9.0%}"
            f"{ratio:>11}{off:>12}"
        )
    peaks = 2e-9 * max(row.peak for row in result.rows)
    lines.append(f"products: {result.products}")
    lines.append(f"peak: {peaks:.0f} GFLOP/s, a product of 2048 x 2048 matrices in the same rounds")
    return "\n".join(lines)


def clips_table(count: int | None, many: Sequence[Throughput]) -> list[str]:
    """What the command prints of many clips."""
    if not many:
        return []
    lines = [f"{count} clips of 1 to 4 s, seconds of sound a second"]
    for row in many:
        ratio = "" if row.name == "sewnp" else f"{many[0].real_time / row.real_time:>10.2f} ours/this"
        lines.append(f"        {row.name:<10}{row.real_time:>9.1f}x  {row.way:<26}{ratio}".rstrip())
    return lines


def _model(name: str, threads: int | None) -> Model:
    if name in PRESETS:
        return replace(from_config(preset(name), threads=threads), name=f"{name} (fresh weights)")
    return load(name, threads=threads)


def _lengths(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, found {brief(text)}") from None
