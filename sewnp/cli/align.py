"""``sewnp align``: when each word of a known text was said."""

import argparse
from pathlib import Path

from sewnp.cli.clips import add_format, add_model, add_threads
from sewnp.cli.output import show, show_json
from sewnp.cli.overwriting import check_outputs, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.files import json_text, read_text, write_text
from sewnp.loading import load
from sewnp.plots import plot_alignment, save_plot
from sewnp.speech import Alignment, read_audio

LARGEST_TEXT = 2**21
"""Bytes of a text in a file: thirty hours of speech."""

DESCRIPTION = """\
Find the words and characters of a text that is known in the clip where it is spoken:
CTC forced alignment. Nothing is recognised; the model only says where.

A word's probability is how sure its place is, given the text. Whether the text is what
was said is for the log-likelihood to say (-f json), compared between texts."""
EXAMPLES = """\
examples:
  sewnp align clip.wav "THREE ONE FOUR"            start, end, probability and word, a line each
  sewnp align clip.wav @text.txt -f json           characters and the log-likelihood too
  sewnp align clip.wav @text.txt -f textgrid -o clip.TextGrid     to open in Praat
  sewnp align clip.wav "THREE ONE FOUR" --plot clip.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", metavar="AUDIO", help="an audio file (WAV, FLAC, OGG, MP3 ...); - reads standard input")
    parser.add_argument("text", metavar="TEXT", help="what is said in it; @FILE reads it from a UTF-8 file")
    add_model(parser, default="digits")
    add_threads(parser)
    add_allow_truncated(parser)
    formats = "tsv: a line a word; json: with characters and the log-likelihood; textgrid: Praat's, with both tiers"
    add_format(parser, "tsv", "json", "textgrid", help=formats)
    parser.add_argument("-o", "--output", metavar="FILE", help="write there instead of to standard output")
    parser.add_argument("--plot", metavar="FILE", help="draw the words over the waveform (extra: plots)")


def run(options: argparse.Namespace) -> int:
    """Align one clip -> exit status."""
    file = options.text[1:] if options.text.startswith("@") else None
    inputs = {"the recording": [options.audio], "the text": [file]} | model_files(options.model)
    check_outputs(options, {"-o": options.output, "--plot": options.plot}, inputs)
    text = options.text if file is None else read_text(file, LARGEST_TEXT)
    model = load(options.model, threads=options.threads)
    rate = model.feature_extractor.sampling_rate
    # for a picture the sound is read first, and whole: standard input cannot be read again
    allow = options.allow_truncated
    waveform = read_audio(options.audio, sampling_rate=rate, allow_truncated=allow) if options.plot else None
    alignment = model.align(options.audio, text, allow_truncated=allow) if waveform is None else model.align(waveform, text)
    result = formatted(alignment, options.output_format, audio=options.audio, model=model.name)
    if waveform is not None:
        save_plot(lambda: plot_alignment(waveform, rate, alignment), Path(options.plot))
    if options.output:
        write_text(Path(options.output), result)
    else:
        (show_json if options.output_format == "json" else show)(result)
    return 0


def formatted(alignment: Alignment, form: str, *, audio: str, model: str) -> str:
    """An alignment as the text of a file: tsv, json or textgrid."""
    if form == "json":
        return json_text({"audio": audio} | alignment.to_dict(model=model)) + "\n"
    if form == "textgrid":
        return alignment.to_textgrid()
    rows = [(f"{word.start:.3f}", f"{word.end:.3f}", f"{word.probability:.4f}", word.text) for word in alignment.words]
    return "".join("\t".join(row) + "\n" for row in [("start", "end", "probability", "word"), *rows])
