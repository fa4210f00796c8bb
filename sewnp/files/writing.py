"""Files written whole or not at all, and nothing written over that is no file."""

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sewnp.errors import CheckpointError, InputError, SewError
from sewnp.files.names import NO_PATH, WRITING, AnyPath, naming, path_name

_SCRATCH = ".sewnp-"
"""What hidden files begin with that will be renamed: short, because a name of the user's may be as long as names can be."""


@contextmanager
def whole_file(path: Path, error: type[SewError] = InputError) -> Iterator[Path]:
    """A scratch file that takes the place of ``path`` when the block ends well; otherwise nothing of it is left.

    Links are followed.  What is there and no regular file (a device, a named pipe, an open file by its number, ``/dev/stdout``) stays there, and
    is opened and written at the end.
    """
    with naming(path, error, WRITING, NO_PATH):
        descriptor = _descriptor(path)
        found = None if descriptor is not None else _at(path)
    through = descriptor is not None or (found is not None and not stat.S_ISREG(found.st_mode))
    place = Path(os.path.realpath(path))
    with naming(path, error, WRITING):
        handle, name = tempfile.mkstemp(prefix=_SCRATCH, dir=None if through else place.parent)
        os.close(handle)
        scratch = Path(name)
        try:
            yield scratch
            if through:
                with scratch.open("rb") as content, open(path if descriptor is None else os.dup(descriptor), "wb") as out:
                    shutil.copyfileobj(content, out)
            else:
                scratch.chmod(_new_mode() if found is None else stat.S_IMODE(found.st_mode))
                scratch.replace(place)
        finally:
            scratch.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path, error: type[SewError] = CheckpointError, *, gone: Iterable[str] = ()) -> Iterator[Path]:
    """A scratch folder whose content moves into ``folder`` when the block ends well: all of it, or none, and then nothing of it is left.

    Files take the place of files, links followed, and folders that of folders.  Others stay, but for those in ``gone``.
    """
    with naming(folder, error, WRITING, NO_PATH):
        place = Path(os.path.realpath(folder))
        missing = [each for each in (place, *place.parents) if not each.exists()]
    with naming(folder, error, WRITING):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=_SCRATCH, dir=place.parent))
            new, old = scratch / "new", scratch / "old"
            try:
                new.mkdir()
                old.mkdir()
                yield new
                place.mkdir(exist_ok=True)
                _exchange(new, old, place, gone, error)
                shutil.rmtree(old, ignore_errors=True)
            finally:
                shutil.rmtree(new, ignore_errors=True)
                with suppress(OSError):  # should what was there not have gone back, it is kept
                    old.rmdir()
                with suppress(OSError):
                    scratch.rmdir()
        except BaseException:
            for each in missing:
                with suppress(OSError):
                    each.rmdir()
            raise


def overwritten(outputs: Iterable[AnyPath], inputs: Iterable[AnyPath]) -> tuple[AnyPath, AnyPath] | None:
    """The first of the outputs that is one of the inputs, whatever both are called, and that input; None where none is.

    Only regular files count, for others lose nothing when they are written.  An input "-" is the file behind standard input.
    """
    there = {identity: path for path in outputs if (identity := _identity(path))}
    found = next((path for path in inputs if there and _identity(path) in there), None)
    return None if found is None else (there[_identity(found)], found)  # type: ignore[index]


def _identity(path: AnyPath) -> tuple[int, int] | None:
    try:
        found = os.fstat(0) if path == "-" else os.stat(path)
    except NO_PATH:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _exchange(new: Path, old: Path, folder: Path, gone: Iterable[str], error: type[SewError]) -> None:
    """Move what is in ``new`` into the folder, and what was there into ``old``; where a step fails, undo all."""
    steps: list[tuple[Path, Path]] = []

    def move(source: Path, target: Path) -> None:
        steps.append((source, target))  # before it is taken: an interruption may come after
        source.rename(target)

    try:
        for name in gone:
            if os.path.lexists(folder / name):
                _check_replaceable(folder / name, error, folder=False)
                move(folder / name, old / name)
        for path in sorted(new.iterdir()):
            place = Path(os.path.realpath(folder / path.name))
            if os.path.lexists(place):
                _check_replaceable(place, error, folder=path.is_dir())
                path.chmod(stat.S_IMODE(place.stat().st_mode))
                move(place, old / path.name)
            move(path, place)
    except BaseException:
        for source, target in reversed(steps):
            if not os.path.lexists(source):
                target.rename(source)
        raise


def _check_replaceable(path: Path, error: type[SewError], *, folder: bool) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode) != folder:
        kinds = ("file", "folder") if not folder else ("folder", "file")
        raise error(f"{path_name(path)}: {WRITING}: expected a {kinds[0]}, found a {kinds[1]}")
    if not (folder or stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise error(f"{path_name(path)}: {WRITING}: expected a regular file, found a pipe or device")
    if not stat.S_ISLNK(mode):
        _check_writable(path)


def check_writable(folder: AnyPath, error: type[SewError] = InputError) -> None:
    """Raise ``error`` for a folder in which nothing can be written: before any work, and not for each result of it."""
    with naming(folder, error, WRITING, NO_PATH):
        _check_writable(Path(folder))


def _check_writable(path: Path) -> None:
    """A file that its owner has made read-only is not replaced either, though its folder may be written."""
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def _at(path: Path) -> os.stat_result | None:
    """What is there to be written over."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _check_writable(path)
    return found


def _descriptor(path: AnyPath) -> int | None:
    """The number of the open file that a path means: 1 for /dev/stdout.  Opened anew it would be written from its beginning."""
    step = os.path.join(os.getcwd(), path)
    for _ in range(40):  # as many links as Linux follows
        folder, name = os.path.split(step)
        folder = os.path.realpath(folder)
        if name.isdecimal() and re.fullmatch(rf"(/dev|/proc/{os.getpid()}(/task/\d+)?)/fd", folder):
            return int(name)
        if not os.path.islink(step):
            return None
        step = os.path.join(folder, os.readlink(step))
    return None


def _new_mode() -> int:
    """Of a new file.  (mkstemp gives the owner alone what others may be meant to read.)"""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def remove_scratch(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder that nobody else writes to."""
    for path in folder.glob(f"{_SCRATCH}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def write_text(path: Path, text: str, error: type[SewError] = InputError) -> None:
    """Write a text file as UTF-8, with line feeds alone at the ends of lines."""
    with whole_file(path, error) as scratch:
        scratch.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
