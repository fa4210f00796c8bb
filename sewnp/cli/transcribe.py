"""``sewnp transcribe``: speech in, text out."""

import argparse
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from sewnp.batch import Result, transcribe_many
from sewnp.cli import live, whisper
from sewnp.cli.clips import (
    add_clips,
    add_format,
    add_jobs,
    add_threads,
    for_each,
    in_processes,
    probability,
    until_interrupted,
    whole,
)  # fmt: skip
from sewnp.cli.decoding import add_decoder_options, check_decoder_options, decoder, decoder_files
from sewnp.cli.found import Clip, clips_of, tell_left_out
from sewnp.cli.long import add_window_options, check_window_options, window_options
from sewnp.cli.output import show, show_json, tell
from sewnp.cli.overwriting import check_apart, check_inputs_stay, make_folder, model_files
from sewnp.cli.truncated import add_allow_truncated
from sewnp.errors import InputError, printable
from sewnp.files import WRITING, check_writable, is_there, path_name, write_text
from sewnp.loading import load
from sewnp.long import Progress
from sewnp.model import Model
from sewnp.speech.audio import Audio, is_standard_input
from sewnp.speech.cues import Layout
from sewnp.speech.formats import FORMATS, format_transcript, one_line

DESCRIPTION = """\
Print the words spoken in audio files, or write them to files: text, JSON, subtitles.

The embedded model "digits" knows the English digits zero to nine and nothing else;
name the folder of any SEW or SEW-D checkpoint with a CTC head for other speech.

A clip that cannot be transcribed is reported, and the others go on.
Exit status: 0 all done, 1 something failed, 2 wrong usage, 130 interrupted."""
EXAMPLES = """\
examples:
  sewnp transcribe clip.wav
  sewnp transcribe clip.wav --model path/to/sew-tiny-100k-ft-ls100h
  sewnp transcribe *.flac                        one line a clip: its name, a tab, its text
  sewnp transcribe clip.wav -o clip.srt          subtitles
  sewnp transcribe speech/ -f all -o texts --jobs 4
  sewnp transcribe speech/ -f all -o texts --resume      what is not there yet
  arecord -d 3 -r 16000 -f S16_LE | sewnp transcribe -
  arecord -r 16000 -f S16_LE | sewnp transcribe -        a line a segment, as each ends
  ffmpeg -i talk.m4a -ac 1 -ar 16000 -f s16le - | sewnp transcribe --raw 16000 -"""

ANSWERS = whisper.ANSWERS

LOW = 0.85
"""Below lies speech that the embedded models do not know, above that which they were made for."""

_LAYOUT = (
    ("max_line_width", "characters in a line"),
    ("max_line_count", "lines at a time; with a width too, cues are filled up to both"),
    ("max_words_per_line", "words at a time"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_clips(parser, model="digits")
    formats = (
        "txt: the text on a line; json: whisper's result, with segments and words; srt, vtt: subtitles; tsv: a table of their times in"
        " milliseconds; all of these"
    )
    add_format(parser, *FORMATS, "all", help=formats)
    parser.set_defaults(output_format=None)  # so that -o clip.srt may say it
    parser.add_argument(
        "-o",
        "--output_dir",
        "--output-dir",
        metavar="DIR",
        help="write a file a clip and format, named for the clip, instead of to standard output; the files of a folder keep its"
        " folders.  A name such as clip.srt is that of the one file of one clip, and says its format",
    )
    parser.add_argument(
        "--timestamps",
        choices=("segment", "word", "char"),
        default="segment",
        help="what srt, vtt and tsv show at a time: a few words up to a pause, one word, or one character, which json then lists"
        " too (default: segment)",
    )
    shown = parser.add_argument_group("subtitles", "Whisper's options for the segments of srt and vtt.")
    for name, what in _LAYOUT:
        shown.add_argument(f"--{name}", f"--{name.replace('_', '-')}", type=whole(1, 10**6), metavar="N", help=what)
    shown.add_argument("--highlight_words", "--highlight-words", action="store_true", help="underline each word while it is said")
    add_jobs(parser, "transcribe")
    parser.add_argument("--resume", action="store_true", help="with -o: leave out the clips whose files are all there")
    add_threads(parser)
    add_allow_truncated(parser)
    parser.add_argument(
        "--min-confidence",
        "--min_confidence",
        type=probability,
        default=LOW,
        metavar="P",
        help=f"warn, once, of clips whose {live.FEW} or more characters have a lower mean probability (default: {LOW}; 0 never warns)",
    )
    say = parser.add_mutually_exclusive_group()
    say.add_argument("-v", dest="verbose", action="store_true", help="say on standard error how long each clip is and took")
    say.add_argument("-q", dest="quiet", action="store_true", help="say nothing there but errors and warnings about sound files")
    add_window_options(parser)
    add_decoder_options(parser)


def run(options: argparse.Namespace) -> int:
    """Transcribe every clip -> exit status."""
    clips = clips_of(options)
    named = _named_format(options, clips)
    formats = FORMATS if options.output_format == "all" else (options.output_format,)
    _check(options, clips)
    todo = clips
    files: dict[Clip, list[Path]] = {}
    if options.output_dir is not None:
        files = _files(options, clips, formats, named)
    if not options.quiet:
        tell_left_out(options)
    if options.output_dir is not None:
        todo = [clip for clip in clips if not (options.resume and clip in files and all(map(os.path.isfile, files[clip])))]
        if len(todo) < len(clips) and not options.quiet:
            tell(f"{len(clips) - len(todo)} of {len(clips)} clips were complete")
        if not todo:
            return 0
        folder = Path(options.output_dir).parent if named else Path(options.output_dir)
        make_folder(folder)
        check_writable(folder)
    given = {name: getattr(options, name) for name, _ in _LAYOUT if getattr(options, name) is not None}
    layout = Layout(**given, highlight_words=options.highlight_words)
    model = load(options.model, threads=options.threads)
    alone = len(clips) == 1 and options.audio == [clips[0].audio]

    source = Clip("-", "stdin", raw=options.raw).heard
    if alone and live.fits(options, model):
        pipe, sound = live.listen(options)
        if sound is not None:
            confidence = live.transcribe(options, model, sound, decoder(options, model))
            if confidence is not None and confidence < options.min_confidence and not options.quiet:
                tell(_doubt([(confidence, pipe.name)], 1, model.name))
            return 0
        source = cast(BinaryIO, pipe)

    doubtful: list[tuple[float, str]] = []

    def check(clip: Clip) -> None:
        for path in files.get(clip, []):
            is_there(path, InputError, WRITING)

    def give(clip: Clip, result: Result) -> None:
        assert result.transcript is not None  # the others are reported
        if options.verbose:
            tell(f"{path_name(clip.audio)}: {result.transcript.duration:.2f} s of sound in {result.seconds:.2f} s")
        confidence, count = result.transcript.confidence, result.transcript.confidence_count
        if confidence is not None and count >= live.FEW and confidence < options.min_confidence:
            doubtful.append((confidence, path_name(clip.audio)))
        content = partial(
            format_transcript, result.transcript, timestamps=options.timestamps, layout=layout, audio=clip.audio, model=model.name
        )
        if options.output_dir is not None:
            for form, path in zip(formats, files[clip], strict=True):
                make_folder(path.parent)
                write_text(path, content(form))
        elif options.output_format == "txt" and not alone:
            show(f"{path_name(clip.audio)}\t{one_line(result.transcript.text)}")
        else:
            (show_json if options.output_format == "json" else show)(content(options.output_format))

    status = for_each(
        todo, partial(_results, options, len(todo), model, source), give, of=len(clips), check=check, quiet=options.quiet
    )
    if doubtful and not options.quiet:
        tell(_doubt(doubtful, len(todo), model.name))
    return status


def _doubt(doubtful: list[tuple[float, str]], count: int, model: str) -> str:
    """What is said once of clips with a low confidence, the lowest by name."""
    confidence, name = min(doubtful)
    many = f" and {len(doubtful) - 1} more of {count} clips" if len(doubtful) > 1 else ""
    return f"warning: {name}{many}: low confidence ({confidence:.2f}); the model {printable(model)} may not know what is said there"


def _results(
    options: argparse.Namespace, count: int, model: Model, source: Audio, clips: Iterator[Audio], progress: Progress
) -> Iterator[Result]:
    """The results of so many clips: in their order to standard output, as they are there to files.  source: what - is"""
    keywords = window_options(options) | {"decoder": decoder(options, model), "allow_truncated": options.allow_truncated}
    if count == 1:
        keywords["progress"] = progress
    if many := in_processes(options.jobs, count, ordered=options.output_dir is None):
        return until_interrupted(transcribe_many(clips, model=model, **many, **keywords))
    return transcribe_many((source if is_standard_input(clip) else clip for clip in clips), model=model, **keywords)


def _check(options: argparse.Namespace, clips: list[Clip]) -> None:
    """Options that do not go together are wrong usage."""
    check_decoder_options(options)
    check_window_options(options)
    if options.output_dir is None and options.resume:
        options.refuse("argument --resume: expected with -o DIR")
    if (
        options.output_dir is None
        and options.output_format not in ("txt", "json")
        and (options.output_format == "all" or len(clips) > 1)
    ):
        options.refuse(f"argument -f {options.output_format}: several files need -o DIR")


def _named_format(options: argparse.Namespace, clips: list[Clip]) -> bool:
    """Whether -o names a file, of one clip, whose name says the format; what -f says otherwise is wrong usage."""
    form = "" if options.output_dir is None or options.output_dir.endswith(os.sep) else Path(options.output_dir).suffix[1:].lower()
    if form not in FORMATS or os.path.isdir(options.output_dir):
        options.output_format = options.output_format or FORMATS[0]
        return False
    if options.output_format not in (None, form):
        options.refuse(f"argument -o: {path_name(options.output_dir)} is a file of {form}, and -f asks for {options.output_format}")
    if len(clips) > 1:
        options.refuse(f"argument -o: {path_name(options.output_dir)} is one file, and there are {len(clips)} clips; name a folder")
    options.output_format = form
    return True


def _files(options: argparse.Namespace, clips: list[Clip], formats: tuple[str, ...], named: bool) -> dict[Clip, list[Path]]:
    """Where the results of every clip go; named: into the one file that -o is.

    Two that would go to one place, or over an input, are wrong usage: nothing is overwritten unseen.
    """
    folder = Path(options.output_dir)
    each = [
        (clip, [folder] if named else [folder / f"{clip.name}.{form}" for form in formats])
        for clip in clips
        if clip.problem is None
    ]
    advice = "; name the folder that holds both, or give them other names"
    check_apart(options, "-o", ((paths, path_name(clip.audio)) for clip, paths in each), advice=advice)
    files = dict(each)
    inputs = {"a recording": [clip.audio for clip in clips], "the manifest": [options.manifest]} | decoder_files(options)
    check_inputs_stay(options, "-o", (path for paths in files.values() for path in paths), inputs | model_files(options.model))
    return files
