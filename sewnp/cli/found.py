"""Which clips the arguments of a command mean: files, folders, patterns, manifests."""

import argparse
import glob
import os
from collections import Counter, deque
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from sewnp.cli.output import tell
from sewnp.errors import InputError, SewError, printable
from sewnp.files import files_in, path_name
from sewnp.manifests import read_manifest
from sewnp.speech.audio import Audio, RawAudio

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
        # through ffmpeg
        ".m4a",
        ".m4b",
        ".mp4",
        ".mov",
        ".3gp",
        ".webm",
        ".mka",
        ".mkv",
        ".aac",
        ".wma",
        ".amr",
        ".spx",
    ]
)
"""What is audio in a folder.  A file named on its own may be called anything."""

RAW_SUFFIXES = frozenset([".raw", ".pcm", ".s16", ".s16le", ".sw"])
"""The same, where samples without a header are meant."""

_MOST_KINDS = 4  # of files that are left out


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
    raw: int | None = None
    """The rate of samples without a header."""

    @property
    def heard(self) -> Audio:
        """What a model hears."""
        return self.audio if self.raw is None else RawAudio(self.audio, self.raw)


def clips_of(options: argparse.Namespace) -> list[Clip]:
    """The clips that the arguments mean, in the order given; those of a folder or a pattern sorted by path.

    A file that does not exist is a clip like others, whose error is reported in its turn.  What folders hold besides is for
    :func:`tell_left_out`.  Raises InputError, before any work is done, for a folder without audio, a pattern that fits nothing, and a
    manifest that cannot be read.  Exits with status 2 where nothing is named.
    """
    if not options.audio and options.manifest is None:
        options.refuse("the following arguments are required: AUDIO (or --manifest)")
    suffixes = SUFFIXES if options.raw is None else RAW_SUFFIXES
    skipped: Counter[str] = Counter()
    clips = [clip for argument in options.audio for clip in _meant(argument, suffixes, skipped)]
    clips += [] if options.manifest is None else _listed(options.manifest)
    options.left_out = skipped
    return clips if options.raw is None else [replace(clip, raw=options.raw) for clip in clips]


def tell_left_out(options: argparse.Namespace) -> None:
    """Say once, when all arguments are known to be right, how many files of folders are no clips."""
    skipped: Counter[str] = options.left_out
    count = skipped.total()
    if count:
        kinds = ", ".join(
            f"{n} {printable(suffix) if suffix else 'without suffix'}" for suffix, n in skipped.most_common(_MOST_KINDS)
        )
        more = ", ..." if len(skipped) > _MOST_KINDS else ""
        tell(f"left out {count} {'file that is' if count == 1 else 'files that are'} no sound by name ({kinds}{more})")


def _meant(argument: str, suffixes: Collection[str], skipped: Counter[str]) -> Iterator[Clip]:
    """What an argument means.  suffixes: of sound.  skipped: there what is left out of folders is counted, by suffix."""
    if argument == "-":
        yield Clip("-", "stdin")
    elif os.path.isdir(argument):
        yield from _found(argument, suffixes, skipped)
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


def _found(folder: str, suffixes: Collection[str], skipped: Counter[str]) -> Iterator[Clip]:
    """The audio files in a folder and the folders in it, but for hidden ones; their results keep the folders' names."""
    unread: list[Clip] = []
    paths = files_in(folder, unread=lambda path, problem: unread.append(Clip(path, "", named=False, problem=problem)))
    found = [path for path in paths if Path(path).suffix.lower() in suffixes]
    skipped.update(suffix for path in paths if (suffix := Path(path).suffix.lower()) not in suffixes)
    if not found:
        raise (
            unread[0].problem if unread and unread[0].problem else InputError(f"{path_name(folder)}: no audio files in this folder")
        )
    yield from unread
    for path in found:
        yield Clip(path, str(Path(path).relative_to(folder).with_suffix("")), named=False)


def _listed(manifest: str) -> Iterator[Clip]:
    """The clips of a manifest."""
    for entry in read_manifest(manifest):
        yield Clip(str(entry.audio), entry.name, named=False)
