"""``sewnp explain``: a clip's whole way through a model, on one interactive page."""

import argparse
from pathlib import Path

from sewnp.cli.clips import add_model
from sewnp.cli.decoding import add_decoder_options, check_decoder_options, decoder
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.decoding import BeamSearch
from sewnp.errors import brief
from sewnp.loading import load

DESCRIPTION = """\
Write one HTML file in which a clip can be played and followed from its samples to its
words: the convolutions and their filters, the squeeze, who attends to whom, letters over
time, all paths of the text, and which samples a word depends on. The file holds everything,
the sound too, and fetches nothing; any current browser opens it."""
EXAMPLES = """\
examples:
  sewnp explain clip.wav -o page.html
  sewnp explain clip.wav -o page.html --model digits-d --layers 0,5
  sewnp explain clip.wav -o page.html --text "THREE ONE FOUR"     the paths of this text"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file of a minute at most; - reads standard input")
    add_model(parser, default="digits")
    add_allow_truncated(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the page: .html")
    parser.add_argument(
        "--layers",
        type=_numbers,
        metavar="L,L",
        help="show the attention of these layers, counted from 0 (default: all; of clips of more than 250 squeezed frames the first,"
        " a middle one and the last)",
    )
    parser.add_argument(
        "--text", metavar="TEXT", help="what is said, if known: its paths are shown instead of those of the text heard"
    )
    add_decoder_options(parser, default="Greedy by default: the likeliest token at each frame.")


def run(options: argparse.Namespace) -> int:
    """Write the page -> exit status."""
    check_decoder_options(options)
    inputs = {"the recording": [options.audio], "the language model": [options.lm]} | model_files(options.model)
    check_outputs(options, {"-o": options.output}, inputs)
    model = load(options.model)
    chosen = {"layers": options.layers, "text": options.text, "allow_truncated": options.allow_truncated}
    search = decoder(options, model)
    model.explain(options.audio, **chosen, decoder=search if isinstance(search, BeamSearch) else None).save(Path(options.output))
    return 0


def _numbers(text: str) -> list[int]:
    """ "0,3,5" as numbers; an empty string is none."""
    try:
        return [int(part) for part in text.split(",") if text]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected whole numbers with commas between them, found {brief(text)}") from None
