"""``sewnp transcribe``: speech in, text out."""

import argparse
import io
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from sewnp.batch import Result, transcribe_many
from sewnp.cli.clips import (
    Clip,
    add_clips,
    add_format,
    add_jobs,
    add_threads,
    clips_of,
    for_each,
    in_processes,
    show,
    until_interrupted,
)  # fmt: skip
from sewnp.cli.decoding import add_decoder_options, decoder
from sewnp.cli.long import add_window_options, window_options
from sewnp.cli.truncated import add_allow_truncated
from sewnp.errors import InputError
from sewnp.files import naming, write_text
from sewnp.loading import load
from sewnp.long import Progress
from sewnp.model import Model
from sewnp.speech.audio import AudioFile
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
  sewnp transcribe clip.wav -f srt -o .          subtitles, in clip.srt
  sewnp transcribe speech/ -f all -o texts --jobs 4
  sewnp transcribe speech/ -f all -o texts --resume      what is not there yet
  arecord -d 3 -r 16000 -f S16_LE | sewnp transcribe -"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this command."""
    add_clips(parser, model="digits")
    formats = (
        "txt: the text on a line; json: whisper's result, with segments and words; srt, vtt: subtitles; tsv: a table of their times in"
        " milliseconds; all of these"
    )
    add_format(parser, *FORMATS, "all", help=formats)
    parser.add_argument(
        "-o",
        "--output_dir",
        "--output-dir",
        metavar="DIR",
        help="write a file a clip and format, named for the clip, instead of to standard output; the files of a folder keep its"
        " folders",
    )
    parser.add_argument(
        "--timestamps",
        choices=("segment", "word", "char"),
        default="segment",
        help="what srt, vtt and tsv show at a time: a few words up to a pause, one word, or one character, which json then lists"
        " too (default: segment)",
    )
    add_jobs(parser, "transcribe")
    parser.add_argument("--resume", action="store_true", help="with -o: leave out the clips whose files are all there")
    add_threads(parser)
    add_allow_truncated(parser)
    add_window_options(parser)
    add_decoder_options(parser)


def run(options: argparse.Namespace) -> int:
    """Transcribe every clip -> exit status."""
    clips = clips_of(options)
    formats = FORMATS if options.output_format == "all" else (options.output_format,)
    _check(options, clips)
    todo = clips
    if options.output_dir is not None:
        files = _files(options, clips, formats)
        todo = [clip for clip in clips if not (options.resume and all(path.exists() for path in files[clip]))]
        if len(todo) < len(clips):
            print(f"sewnp: {len(clips) - len(todo)} of {len(clips)} clips were complete", file=sys.stderr)
        if not todo:
            return 0
    model = load(options.model, threads=options.threads)
    alone = len(clips) == 1 and options.audio == [clips[0].audio]

    def give(clip: Clip, result: Result) -> None:
        assert result.transcript is not None  # the others are reported
        # a name that is not UTF-8 can be opened, but not written down
        named = clip.audio.encode("utf-8", "backslashreplace").decode("utf-8")
        content = partial(format_transcript, result.transcript, timestamps=options.timestamps, audio=named, model=model.name)
        if options.output_dir is not None:
            for form, path in zip(formats, files[clip], strict=True):
                _write(path, content(form))
        elif options.output_format == "txt" and not alone:
            show(f"{clip.audio}\t{one_line(result.transcript.text)}")
        else:
            show(content(options.output_format).removesuffix("\n"))

    return for_each(todo, partial(_results, options, len(todo), model), give, of=len(clips))


def _results(options: argparse.Namespace, count: int, model: Model, clips: Iterator[str], progress: Progress) -> Iterator[Result]:
    """The results of so many clips: in their order to standard output, as they are there to files."""
    keywords = window_options(options) | {"decoder": decoder(options, model), "allow_truncated": options.allow_truncated}
    if count == 1:
        keywords["progress"] = progress
    if many := in_processes(options.jobs, count, ordered=options.output_dir is None):
        return until_interrupted(transcribe_many(map(_sendable, clips), model=model, **many, **keywords))
    return transcribe_many(clips, model=model, **keywords)


class _StandardInput(io.BytesIO):
    """What stood on standard input, which other processes do not have."""

    name = "standard input"


def _sendable(audio: str) -> AudioFile:
    return _StandardInput(sys.stdin.buffer.read()) if audio == "-" and sys.stdin is not None else audio


def _check(options: argparse.Namespace, clips: list[Clip]) -> None:
    """Options that do not go together are wrong usage."""
    if options.output_dir is None and options.resume:
        options.refuse("argument --resume: expected with -o DIR")
    if (
        options.output_dir is None
        and options.output_format not in ("txt", "json")
        and (options.output_format == "all" or len(clips) > 1)
    ):
        options.refuse(f"argument -f {options.output_format}: several files need -o DIR")


def _files(options: argparse.Namespace, clips: list[Clip], formats: tuple[str, ...]) -> dict[Clip, list[Path]]:
    """Where the results of every clip go.  Two that would go to one place, or over a recording, are wrong usage: nothing is overwritten unseen."""
    folder = Path(options.output_dir)
    recordings = {Path(clip.audio).absolute() for clip in clips}
    taken: dict[Path, Clip] = {}
    files: dict[Clip, list[Path]] = {}
    for clip in clips:
        files[clip] = [folder / f"{clip.name}.{form}" for form in formats]
        for path in files[clip]:
            if path in taken:
                options.refuse(
                    f"argument -o: {taken[path].audio} and {clip.audio} would both be written to {path}; name the folder"
                    " that holds both, or give them other names"
                )
            if path.absolute() in recordings:
                options.refuse(f"argument -o: {path} is a recording, and would be overwritten")
            taken[path] = clip
    return files


def _write(path: Path, text: str) -> None:
    with naming(path.parent, InputError, "cannot be made"):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
