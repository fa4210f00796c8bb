"""``sewnp align``: when each word of a known text was said."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sewnp.cli.clips import add_format, add_model, add_threads
from sewnp.cli.output import OutputError, show, show_json, tell
from sewnp.cli.overwriting import check_apart, check_inputs_stay, check_outputs, make_folder, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.errors import AudioError, ManifestError, SewError, brief
from sewnp.files import check_regular, json_text, path_name, read_text, write_text
from sewnp.loading import load
from sewnp.manifests import TEXT, Entry, either, read_manifest
from sewnp.plots import plot_alignment, save_plot
from sewnp.speech import Alignment, read_audio

LARGEST_TEXT = 2**21
"""Bytes of a text in a file: thirty hours of speech."""

SUFFIXES = {"tsv": "tsv", "json": "json", "textgrid": "TextGrid"}
"""What the files of each format end in."""

DESCRIPTION = """\
Find the words and characters of a text that is known in the clip where it is spoken:
CTC forced alignment. Nothing is recognised; the model only says where. A word * stands
for whatever is said there and is not in the text.

A word's probability is how sure its place is, given the text. Its score is the mean
probability that the model gives its letters there: a low one was not said. Whether all
of the text is what was said is for the log-likelihood to say (-f json), compared between
texts."""
EXAMPLES = """\
examples:
  sewnp align clip.wav "THREE ONE FOUR"            start, end, probability, score and word, a line each
  sewnp align clip.wav "THREE * NINE"              other words between the two
  sewnp align clip.wav @text.txt -f json           characters and the log-likelihood too
  sewnp align clip.wav @text.txt -f textgrid -o clip.TextGrid     to open in Praat
  sewnp align --manifest set.tsv -f textgrid -o grids/
  sewnp align clip.wav "THREE ONE FOUR" --plot clip.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    parser.add_argument("audio", nargs="?", metavar="AUDIO", help="an audio file (WAV, FLAC, OGG, MP3 ...); - reads standard input")
    parser.add_argument("text", nargs="?", metavar="TEXT", help="what is said in it; @FILE reads it from a UTF-8 file")
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="align all clips of a file that names them with their texts, as for sewnp evaluate: a table, JSON lines, or a LibriSpeech"
        " folder; one that fails is reported, and the others go on",
    )
    add_model(parser, default="digits")
    add_threads(parser)
    add_allow_truncated(parser)
    formats = "tsv: a line a word; json: with characters and the log-likelihood, a line a clip; textgrid: Praat's, with both tiers"
    add_format(parser, "tsv", "json", "textgrid", help=formats)
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write there instead of to standard output; with --manifest a folder, which gets a file a clip, named for it",
    )
    parser.add_argument("--plot", metavar="FILE", help="draw the words over the waveform (extra: plots)")


def run(options: argparse.Namespace) -> int:
    """Align one clip, or those of a manifest -> exit status."""
    if options.manifest is not None:
        return _align_all(options)
    if options.text is None:
        options.refuse("the following arguments are required: AUDIO, TEXT (or --manifest)")
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


def _align_all(options: argparse.Namespace) -> int:
    """Align the clips of a manifest -> exit status."""
    if options.audio is not None or options.plot is not None:
        options.refuse("argument --manifest: expected without AUDIO, TEXT and --plot")
    if options.output is None and options.output_format == "textgrid":
        options.refuse("argument -f textgrid: several files need -o DIR")
    entries = list(read_manifest(options.manifest))
    texts = [_text(entry) for entry in entries]
    files = None if options.output is None else _files(options, entries)
    model = load(options.model, threads=options.threads)
    if files is None and options.output_format == "tsv":
        show("\t".join(("audio", *COLUMNS)))
    failed = 0
    for number, (entry, text) in enumerate(zip(entries, texts, strict=True)):
        try:
            check_regular(entry.audio, AudioError)
            alignment = model.align(entry.audio, text, allow_truncated=options.allow_truncated)
            result = formatted(alignment, options.output_format, audio=str(entry.audio), model=model.name)
            if files is not None:
                make_folder(files[number].parent)
                write_text(files[number], result)
            elif options.output_format == "json":
                show_json(result)
            else:
                show("".join(f"{path_name(entry.audio)}\t{line}\n" for line in result.splitlines()[1:]))
        except OutputError:
            raise
        except SewError as error:
            tell(f"error: {entry.place}: {error}")
            failed += 1
    if failed:
        tell(f"{failed} of {len(entries)} clips failed")
    return 1 if failed else 0


def _text(entry: Entry) -> str:
    """What is said in a clip of a manifest."""
    column = next((name for name in TEXT if name in entry.columns), None)
    if column is None:
        raise ManifestError(
            f"{entry.place}: expected a column {either(TEXT)}, found {', '.join(map(brief, entry.columns)) or 'none'}"
        )
    return entry.columns[column]


def _files(options: argparse.Namespace, entries: Sequence[Entry]) -> list[Path]:
    """Where the results of a manifest's clips go; two in one place, or one over an input, are wrong usage."""
    files = [Path(options.output, f"{entry.name}.{SUFFIXES[options.output_format]}") for entry in entries]
    check_apart(options, "-o", (([file], entry.place) for file, entry in zip(files, entries, strict=True)))
    inputs = {"a recording": [entry.audio for entry in entries], "the manifest": [options.manifest]} | model_files(options.model)
    check_inputs_stay(options, "-o", files, inputs)
    return files


COLUMNS = ("start", "end", "probability", "score", "word")
"""Of a table, a line a word."""


def formatted(alignment: Alignment, form: str, *, audio: str, model: str) -> str:
    """An alignment as the text of a file: tsv, json or textgrid."""
    if form == "json":
        return json_text({"audio": audio} | alignment.to_dict(model=model)) + "\n"
    if form == "textgrid":
        return alignment.to_textgrid()
    rows = [
        (f"{word.start:.3f}", f"{word.end:.3f}", f"{word.probability:.4f}", f"{word.score:.4f}", word.text)
        for word in alignment.words
    ]
    return "".join("\t".join(row) + "\n" for row in [COLUMNS, *rows])
