"""What the commands over clips share: which clips are meant, and the loop in which one bad clip does not stop the others."""

import argparse
import glob
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sewnp.errors import InputError, SewError

SUFFIXES = frozenset(
    {
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
    }
)
"""What is audio in a folder.  A file named on its own may be called anything."""

COLUMNS = ("audio", "audio_filepath", "path")
"""What manifests call the column of paths: ours, NeMo's, Common Voice's."""


@dataclass(frozen=True)
class Clip:
    """A recording, and what its results are called."""

    source: str
    """A path, or - for standard input."""
    name: str
    """The results' path without suffix, relative to the folder of all results."""


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
        help="read paths from a file, relative to it: one a line; in .tsv the column audio, audio_filepath or path, else the first;"
        " in .jsonl the key of that name",
    )
    parser.set_defaults(refuse=parser.error)
    add_model(parser, default=model)


def add_model(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """The option that names a model."""
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        "--model",
        default=default,
        metavar="M",
        help=f"an embedded model's name, a checkpoint folder, or a hub id: name/name, name/name@revision{said}",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """The option that says how many threads compute."""
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads to compute with (default: SEWNP_THREADS, or one a processor up to four)",
    )


def clips_of(options: argparse.Namespace) -> list[Clip]:
    """The clips that the arguments mean, in the order given; those of a folder or a pattern sorted by path.

    A file that does not exist is a clip like others, whose error is reported in its turn.  Raises InputError, before any work is done, for a
    folder without audio, a pattern that fits nothing, and a manifest that cannot be read.  Exits with status 2 where nothing is named.
    """
    if not options.audio and options.manifest is None:
        options.refuse("the following arguments are required: AUDIO (or --manifest)")
    named = [clip for argument in options.audio for clip in _meant(argument)]
    return named + ([] if options.manifest is None else list(_listed(Path(options.manifest))))


def _meant(argument: str) -> Iterator[Clip]:
    if argument == "-":
        yield Clip("-", "stdin")
    elif os.path.isdir(argument):
        yield from _found(argument)
    elif not os.path.lexists(argument) and glob.has_magic(argument):
        paths = sorted(path for path in glob.glob(argument, recursive=True) if not os.path.isdir(path))
        if not paths:
            raise InputError(f"{argument}: no file of that pattern")
        parts = Path(argument).parts
        fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
        yield from (Clip(path, str(Path(path).relative_to(fixed).with_suffix(""))) for path in paths)
    else:
        yield Clip(argument, Path(argument).stem)


def _found(folder: str) -> Iterator[Clip]:
    """The audio files in a folder and the folders in it, but for hidden ones; their results keep the folders' names."""

    def failed(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error

    found = []
    for parent, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.join(parent, name) for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        ]
    if not found:
        raise InputError(f"{folder}: no audio files in this folder")
    for path in sorted(found):
        yield Clip(path, str(Path(path).relative_to(folder).with_suffix("")))


def _listed(manifest: Path) -> Iterator[Clip]:
    """The clips of a manifest.  The results of a relative path keep its folders."""
    try:
        rows = manifest.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{manifest}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{manifest}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    paths = list(_paths(manifest, rows))
    if not paths:
        raise InputError(f"{manifest}: names no audio files")
    for given in paths:
        path = Path(given)
        keeps = not path.is_absolute() and ".." not in path.parts
        yield Clip(str(manifest.parent / path), str(path.with_suffix("")) if keeps else path.stem)


def _paths(manifest: Path, rows: list[str]) -> Iterator[str]:
    kind = manifest.suffix.lower()
    column = 0
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        if kind == ".jsonl":
            yield _of_object(f"{manifest}: line {number}", row)
            continue
        cells = row.split("\t") if kind == ".tsv" else [row.strip()]
        if number == 1 and kind == ".tsv" and (known := [name for name in COLUMNS if name in cells]):
            column = cells.index(known[0])
            continue
        if column >= len(cells) or not cells[column]:
            raise InputError(f"{manifest}: line {number}: expected a path in column {column + 1}, found {row!r:.80}")
        yield cells[column]


def _of_object(place: str, row: str) -> str:
    try:
        values: Any = json.loads(row)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: expected JSON ({error})") from error
    found = next((values[name] for name in COLUMNS if name in values), None) if isinstance(values, dict) else None
    if not isinstance(found, str) or not found:
        raise InputError(f"{place}: expected an object with the key {', '.join(COLUMNS[:-1])} or {COLUMNS[-1]}, found {row!r:.80}")
    return found


def report(error: SewError | str) -> None:
    """An error that does not stop the others, on a line of its own above a progress bar."""
    from tqdm import tqdm  # slow to import, and not needed by --help

    tqdm.write(f"sewnp: error: {error}", file=sys.stderr)


def show(line: str) -> None:
    """A line of results, as soon as it is there."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


class Bar:
    """A progress bar on standard error: of clips; of a single one, its seconds.  None where nobody watches."""

    def __init__(self, clips: int) -> None:
        from tqdm import tqdm

        self.alone = clips == 1
        kind = {"unit": "s", "unit_scale": True} if self.alone else {"unit": "clip", "total": clips}
        self._bar = tqdm(file=sys.stderr, leave=False, disable=None, delay=1, **kind)

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


def for_each_clip(clips: list[Clip], line: Callable[[str], str]) -> int:
    """Show ``line(source)`` for every clip as it is done.  A clip that fails is reported at once and counted at the end -> exit status."""
    failed = 0
    with Bar(len(clips)) as progress:
        for clip in clips:
            try:
                result = line(clip.source)
            except SewError as error:
                failed += 1
                report(error)
            else:
                show(result)
            progress.update()
    return exit_status(failed, len(clips))


def exit_status(failed: int, clips: int) -> int:
    """0 if none failed, else 1, and how many did."""
    if failed and clips > 1:
        print(f"sewnp: {failed} of {clips} clips failed", file=sys.stderr)
    return 1 if failed else 0
