"""What the commands over clips share: which clips are meant, and the loop in which one bad clip does not stop the others."""

import argparse
import errno
import glob
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sewnp.batch import MOST_JOBS, Result, processes
from sewnp.cli.output import OutputError, tell
from sewnp.errors import AudioError, InputError, SewError, brief
from sewnp.fast.crew import LARGEST_CREW
from sewnp.files import check_regular, files_in, path_name
from sewnp.loading import embedded
from sewnp.long import Progress
from sewnp.manifests import AUDIO, either, read_manifest

SUFFIXES = frozenset(
    [
        ".wav",
        ".wave",
        ".w64",
        ".rf64",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aiff",
        ".aif",
        ".aifc",
        ".caf",
        ".au",
        ".snd",
        ".voc",
    ]
)
"""What is audio in a folder.  A file named on its own may be called anything."""


@dataclass(frozen=True)
class Clip:
    """A recording, and what its results are called."""

    audio: str
    """A path, or - for standard input."""
    name: str
    """The results' path without suffix, relative to the folder of all results."""
    named: bool = True
    """Whether somebody has named this one, who may name a pipe.  In a folder, a pattern or a manifest it would keep the others waiting."""
    problem: SewError | None = None
    """Why it is none: a folder among the clips that cannot be read."""


def add_clips(parser: argparse.ArgumentParser, *, model: str) -> None:
    """The arguments of a command over clips; read them with :func:`clips_of`."""
    parser.add_argument(
        "audio",
        nargs="*",
        metavar="AUDIO",
        help="audio files (WAV, FLAC, OGG, MP3 ...), folders, which are searched for such files, patterns in quotes ('a/**/*.wav');"
        " - reads standard input",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="read paths from a file, relative to it: one a line; in .tsv, .csv, .jsonl and NeMo's .json the column"
        f" {either(AUDIO)}, in tables without such a header the first",
    )
    add_model(parser, default=model)


def add_model(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """The option that names a model.  default: an embedded one, which no folder in the working directory stands in for."""
    suffix = f" (default: {default})" if default else ""
    parser.add_argument(
        "--model",
        default=str(embedded(default)) if default else None,
        metavar="M",
        help=f"an embedded model's name, a checkpoint folder, or a hub id: name/name, name/name@revision{suffix}",
    )


def add_jobs(parser: argparse.ArgumentParser, doing: str) -> None:
    """The option that says how many processes run the clips."""
    parser.add_argument(
        "--jobs", type=whole(1, MOST_JOBS), default=1, metavar="N", help=f"{doing} on N processes (default: 1, in this one)"
    )


def whole(least: int, most: int) -> Callable[[str], int]:
    """What reads a whole number from ``least`` to ``most``: an argument's ``type``."""

    def number(text: str) -> int:
        value = int(text) if re.fullmatch(r"[+-]?\d{1,18}", text, re.ASCII) else None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a whole number from {least} to {most}, found {brief(text)}")
        return value

    return number


def probability(text: str) -> float:
    """What reads a number from 0 to 1: an argument's ``type``."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {brief(text)}")
    return value


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option that says how many threads compute."""
    parser.add_argument(
        "--threads",
        type=whole(1, LARGEST_CREW),
        metavar="N",
        help="threads to compute with (default: SEWNP_THREADS, or one a processor up to four)",
    )


def add_format(parser: argparse.ArgumentParser, *choices: str, help: str) -> None:
    """The option that says in which format results are printed or written, by default the first."""
    names = ("-f", "--output_format", "--output-format")
    parser.add_argument(*names, choices=choices, default=choices[0], help=f"{help} (default: {choices[0]})")


def clips_of(options: argparse.Namespace) -> list[Clip]:
    """The clips that the arguments mean, in the order given; those of a folder or a pattern sorted by path.

    A file that does not exist is a clip like others, whose error is reported in its turn.  Raises InputError, before any work is done, for a
    folder without audio, a pattern that fits nothing, and a manifest that cannot be read.  Exits with status 2 where nothing is named.
    """
    if not options.audio and options.manifest is None:
        options.refuse("the following arguments are required: AUDIO (or --manifest)")
    named = [clip for argument in options.audio for clip in _meant(argument)]
    return named + ([] if options.manifest is None else list(_listed(options.manifest)))


def _meant(argument: str) -> Iterator[Clip]:
    if argument == "-":
        yield Clip("-", "stdin")
    elif os.path.isdir(argument):
        yield from _found(argument)
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        paths = sorted({path for path in _fitting(argument) if not os.path.isdir(path)})
        if not paths:
            raise InputError(f"{path_name(argument)}: no file of that pattern")
        parts = Path(argument).parts
        fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        yield from (Clip(path, str(Path(path).relative_to(fixed).with_suffix("")), named=False) for path in paths)
    else:
        yield Clip(argument, Path(argument).stem)


def _fitting(pattern: str) -> Iterator[str]:
    """What glob.glob finds, but for a folder that is reached twice below a ``**``, by links to itself for instance: that one is searched once."""
    parts = pattern.replace(os.altsep or os.sep, os.sep).split(os.sep)
    if "**" not in parts:
        yield from glob.glob(pattern)
        return
    place = parts.index("**")
    outside, inside = os.sep.join(parts[:place]), os.sep.join(parts[place + 1 :]) or "*"
    for base in glob.glob(outside) if outside else [os.sep * place]:
        for folder in _folders(base):
            yield from _fitting(os.path.join(glob.escape(folder), inside))


def _folders(base: str) -> Iterator[str]:
    """A folder and all folders in it, but for hidden ones, each once however many links lead there."""
    around = Path(os.path.abspath(base)).parents  # which a link inside may lead back to
    seen = {key for parent in around if (key := _identity(str(parent)))}
    waiting, links = [base], deque[str]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.popleft()  # links last: what has a path of its own is called by it
        key = _identity(folder or ".")
        if key is None or key in seen:
            continue
        seen.add(key)
        yield folder
        with suppress(OSError), os.scandir(folder or ".") as entries:  # one that may not be read is passed over, as by glob
            for entry in entries:
                if not entry.name.startswith(".") and os.path.isdir(entry.path):
                    (links if entry.is_symlink() else waiting).append(os.path.join(folder, entry.name))


def _identity(path: str) -> tuple[int, int] | None:
    """What is the same for a folder by whatever path; None for what is not there."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _found(folder: str) -> Iterator[Clip]:
    """The audio files in a folder and the folders in it, but for hidden ones; their results keep the folders' names."""
    unread: list[Clip] = []
    paths = files_in(folder, unread=lambda path, problem: unread.append(Clip(path, "", named=False, problem=problem)))
    found = [path for path in paths if Path(path).suffix.lower() in SUFFIXES]
    if not found:
        raise (
            unread[0].problem if unread and unread[0].problem else InputError(f"{path_name(folder)}: no audio files in this folder")
        )
    yield from unread
    for path in found:
        yield Clip(path, str(Path(path).relative_to(folder).with_suffix("")), named=False)


def _listed(manifest: str) -> Iterator[Clip]:
    """The clips of a manifest.  The results of a relative path keep its folders."""
    for entry in read_manifest(manifest):
        keeps = not os.path.isabs(entry.given) and ".." not in Path(entry.given).parts
        yield Clip(str(entry.audio), os.path.splitext(entry.given)[0] if keeps else entry.audio.stem, named=False)


class Bar:
    """A progress bar on standard error: of clips; of a single one, its seconds.  None where nobody watches."""

    def __init__(self, clips: int, *, quiet: bool = False) -> None:
        from tqdm import tqdm

        self.alone = clips == 1
        kind = {"unit": "s", "unit_scale": True} if self.alone else {"unit": "clip", "total": clips}
        self._bar = tqdm(file=sys.stderr, leave=False, disable=quiet or None, delay=1, **kind)

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def update(self) -> None:
        """One clip more is done."""
        if not self.alone:
            self._bar.update()

    def reach(self, seconds: float, total: float | None) -> None:
        """A single clip is done so far; total: its seconds, None while nobody knows."""
        self._bar.total = total
        self._bar.update(seconds - self._bar.n)


def for_each(
    clips: Sequence[Clip],
    run: Callable[[Iterator[str], Progress], Iterator[Result]],
    give: Callable[[Clip, Result], None],
    *,
    of: int,
    check: Callable[[Clip], None] = lambda clip: None,
    quiet: bool = False,
) -> int:
    """Give on the result of every clip as it is done; one that fails is reported at once, and counted at the end -> exit status.

    run: from the clips' audio, and the progress of a single one, to results.  of: how many clips there are, those that are done included.
    check: raises what can be known to be wrong with a clip before it is run.  What cannot be given on is that clip's error too, unless it
    is one that all others would have.  quiet: without a bar.
    """
    failed = 0
    sent: list[Clip] = []
    with Bar(len(clips), quiet=quiet) as progress:

        def fail(error: SewError) -> None:
            nonlocal failed
            failed += 1
            tell(f"error: {error}")
            progress.update()

        def ready() -> Iterator[str]:
            for clip in clips:
                try:
                    if clip.problem is not None:
                        raise clip.problem
                    if not clip.named:
                        check_regular(clip.audio, AudioError)
                    check(clip)
                except SewError as error:
                    fail(error)
                else:
                    sent.append(clip)
                    yield clip.audio

        for result in run(ready(), progress.reach):
            if result.error is not None:
                fail(result.error)
                continue
            try:
                give(sent[result.index], result)
            except OutputError:
                raise
            except SewError as error:
                if _full(error):
                    raise
                fail(error)
            else:
                progress.update()
    if failed and of > 1:
        tell(f"{failed} of {of} clips failed")
    return 1 if failed else 0


def _full(error: SewError) -> bool:
    """Whether nothing more can be written, whatever it is called."""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def in_processes(jobs: int, count: int, *, ordered: bool) -> dict[str, Any]:
    """How :func:`sewnp.transcribe_many` runs so many clips in ``jobs`` processes, as its keyword arguments."""
    jobs = min(jobs, count)
    # one in work and one waiting; when a worker dies, few are tried again
    return {} if jobs < 2 else {"executor": processes(jobs), "ordered": ordered, "in_flight": 2 * jobs}


def until_interrupted(results: Iterator[Result]) -> Iterator[Result]:
    """Ctrl-C does not wait for the clips that are being worked on."""
    try:
        yield from results
    except (KeyboardInterrupt, GeneratorExit):
        import multiprocessing

        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
