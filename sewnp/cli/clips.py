"""What the commands over clips share: their arguments, and the loop in which one bad clip does not stop the others."""

import argparse
import errno
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sewnp.batch import MOST_JOBS, Result, processes
from sewnp.cli.found import RAW_SUFFIXES, Clip
from sewnp.cli.output import OutputError, tell
from sewnp.errors import AudioError, SewError, brief
from sewnp.fast.crew import LARGEST_CREW
from sewnp.files import check_regular
from sewnp.loading import embedded
from sewnp.long import Progress
from sewnp.manifests import AUDIO, either
from sewnp.speech.audio import HIGHEST_RATE, Audio


def add_clips(parser: argparse.ArgumentParser, *, model: str) -> None:
    """The arguments of a command over clips; read them with :func:`~sewnp.cli.found.clips_of`."""
    parser.add_argument(
        "audio",
        nargs="*",
        metavar="AUDIO",
        help="audio files (WAV, FLAC, OGG, MP3 ...; with ffmpeg on the PATH M4A, MP4, WebM ... too), folders, which are searched for such"
        " files, patterns in quotes ('a/**/*.wav'); - reads standard input",
    )
    parser.add_argument(
        "--manifest",
        metavar="FILE",
        help="read paths from a file, relative to it: one a line; in .tsv, .csv, .jsonl and NeMo's .json the column"
        f" {either(AUDIO)}, in tables without such a header the first",
    )
    parser.add_argument(
        "--raw",
        type=whole(1, HIGHEST_RATE),
        metavar="RATE",
        help="the clips are samples without a header: 16-bit integers, signed, little-endian, one channel, RATE a second; of a"
        f" folder those whose names end in {either(tuple(sorted(RAW_SUFFIXES)))}",
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
    run: Callable[[Iterator[Audio], Progress], Iterator[Result]],
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

        def ready() -> Iterator[Audio]:
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
                    yield clip.heard

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
