"""``sewnp plot``: a clip from its sound to its words, in a picture."""

import argparse
from pathlib import Path

from sewnp.cli.clips import add_model
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.loading import load
from sewnp.plots import plot_clip, save_plot
from sewnp.plots.clip import HEADS

DESCRIPTION = """\
Draw what a model hears: the waveform, the letters' probabilities over time with the words
found, and who attends to whom in chosen layers and heads. Times are in seconds everywhere.
A long recording is drawn in rows; the title says how much of it there was room for.
Needs matplotlib: python -m pip install 'sewnp[plots]'"""
EXAMPLES = """\
examples:
  sewnp plot clip.wav -o clip.png
  sewnp plot clip.wav -o clip.svg --layers 0 5 --heads 2
  sewnp plot clip.wav -o clip.pdf --layers         no attention"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file; - reads standard input")
    add_model(parser, default="digits")
    add_allow_truncated(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the picture: .png, .svg or .pdf")
    parser.add_argument(
        "--layers",
        type=int,
        nargs="*",
        metavar="L",
        help="draw the attention of these layers, counted from 0 (default: the first, a middle one and the last)",
    )
    parser.add_argument("--heads", type=int, nargs="+", metavar="H", help=f"and of these heads (default: the first {HEADS})")


def run(options: argparse.Namespace) -> int:
    """Draw the clip -> exit status."""
    check_outputs(options, {"-o": options.output}, {"the recording": [options.audio]} | model_files(options.model))
    model = load(options.model)
    chosen = {"layers": options.layers, "heads": options.heads, "allow_truncated": options.allow_truncated}
    save_plot(lambda: plot_clip(model, options.audio, **chosen).axes[0], Path(options.output))
    return 0
