"""Which clips there are, and what is said in them, from files and folders: one reader for every command.

**Tables**: ``.tsv``, in which nothing is quoted, and ``.csv``, in which a comma or a line feed may stand in quotes.  The first line names the
columns; without such a line the first is the path, and of two the second is the text.  **JSON lines**: ``.jsonl``, ``.ndjson``, and NeMo's
``.json``, an object a line.  A **LibriSpeech folder**, at any depth: files ``*.trans.txt`` whose lines are an id and a text, with ``id.flac``
beside them (https://www.openslr.org/12).  Anything else, a ``.txt`` for instance, is a path a line.

The clip is called one of :data:`AUDIO`, relative to the manifest's folder; what is said is one of :data:`TEXT`, or a ``label``.
"""

import csv
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sewnp.errors import ManifestError, brief
from sewnp.files import AnyPath, is_folder, is_there, parse_json, path_name, read_lines

__all__ = ["AUDIO", "LABEL", "TEXT", "Entry", "is_list", "read_manifest"]

AUDIO = ("audio", "audio_filepath", "path", "file")
"""What the column with the clip may be called; of several the first."""
TEXT = ("text", "sentence", "transcript")
"""What the column with its text may be called."""
LABEL = ("label",)
"""What the column with its label may be called."""

_KNOWN = {*AUDIO, *TEXT, *LABEL}
_IN_FOLDER = ("manifest.tsv", "manifest.csv", "manifest.jsonl", "manifest.ndjson", "manifest.json")

_Row: TypeAlias = tuple[str, dict[str, str]]  # where it stands, and its cells by column


@dataclass(frozen=True)
class Entry:
    """A clip that a manifest names."""

    place: str
    """Where it stands, "file:line", for messages."""
    audio: Path
    """The recording.  Whether there is one is for the reader of it to say."""
    given: str
    """What the manifest calls it."""
    columns: Mapping[str, str]
    """All else that the manifest says of it: text, label, speaker ..."""

    @property
    def name(self) -> str:
        """What its results are called, without suffix: those of a relative path keep its folders."""
        keeps = not os.path.isabs(self.given) and ".." not in Path(self.given).parts
        return os.path.splitext(self.given)[0] if keeps else self.audio.stem


def read_manifest(path: AnyPath) -> Iterator[Entry]:
    """The clips of a manifest, of a folder with a ``manifest.tsv`` (``.csv``, ``.jsonl`` ...), or of a LibriSpeech folder, in its order.

    Raises ManifestError, naming file and line, for what is missing or cannot be read: a file that is not UTF-8, malformed lines, a line
    without a path, a manifest without clips.
    """
    path, empty = Path(path), True
    if is_folder(path, ManifestError):
        inside = next((path / name for name in _IN_FOLDER if is_there(path / name, ManifestError)), None)
        folder, rows = path, _librispeech(path) if inside is None else _rows(inside)
    else:
        folder, rows = path.parent, _rows(path)
    for place, cells in rows:
        column = next((name for name in AUDIO if cells.get(name)), None)
        if column is None:
            raise ManifestError(
                f"{place}: expected a path in a column {either(AUDIO)}, found {', '.join(map(brief, cells)) or 'none'}"
            )
        empty = False
        columns = {name: value for name, value in cells.items() if name != column}
        yield Entry(place, folder / cells[column], cells[column], columns)
    if empty:
        raise ManifestError(f"{path_name(path)}: names no clips")


def is_list(path: AnyPath) -> bool:
    """Whether :func:`read_manifest` reads such a file in a folder."""
    name = os.path.basename(os.fspath(path))
    return name in _IN_FOLDER or name.endswith(".trans.txt")


def either(names: tuple[str, ...]) -> str:
    """``a, b or c``"""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _rows(path: Path) -> Iterator[_Row]:
    return _READERS.get(path.suffix.lower(), _paths)(path)


def _table(path: Path, *, delimiter: str, quoting: Any) -> Iterator[_Row]:
    names: list[str] | None = None
    for place, row in _cells(path, delimiter, quoting):
        if names is None:
            names = row if _KNOWN & set(row) else ["path", "text"] if len(row) == 2 else ["path", *map(str, range(2, len(row) + 1))]
            if len(set(names)) < len(names):
                raise ManifestError(f"{place}: expected columns of different names, found {', '.join(map(brief, names))}")
            if names is row:
                continue
        if len(row) != len(names):
            separator = "tabs" if delimiter == "\t" else "commas"
            columns = f"{len(names)} columns ({', '.join(map(brief, names))})"
            raise ManifestError(f"{place}: expected {columns}, separated by {separator}, found {len(row)}")
        yield place, dict(zip(names, row, strict=True))


def _cells(path: Path, delimiter: str, quoting: Any) -> Iterator[tuple[str, list[str]]]:
    """The rows of a table that are not blank, each with the line that it begins on."""
    reader = csv.reader(
        (f"{line}\n" for _, line in read_lines(path, ManifestError)), delimiter=delimiter, quoting=quoting, strict=True
    )
    while True:
        place = f"{path_name(path)}:{reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as problem:
            raise ManifestError(f"{place}: not a readable table: {problem}") from problem
        if any(cell.strip() for cell in row):
            yield place, row


def _json_lines(path: Path) -> Iterator[_Row]:
    for place, line in read_lines(path, ManifestError):
        if not line.strip():
            continue
        try:
            values = parse_json(line)
        except ValueError as problem:
            raise ManifestError(f"{place}: expected a JSON object, found {brief(line)} ({problem})") from problem
        if not isinstance(values, dict):
            raise ManifestError(f"{place}: expected a JSON object, found {brief(values)}")
        if "audio_filepath" in values and values.get("offset"):
            raise ManifestError(f"{place}: offset: expected clips that are whole files, found {brief(values['offset'])}")
        yield place, {name: _cell(place, name, value) for name, value in values.items() if _is_cell(name, value)}


def _is_cell(name: str, value: Any) -> bool:
    """Objects, lists and null in columns that nobody needs are passed over; in those that are needed they are errors."""
    return name in {*_KNOWN, "id"} or isinstance(value, str | int | float)


def _cell(place: str, name: str, value: Any) -> str:
    if isinstance(value, str) or (isinstance(value, int | float) and name not in _KNOWN):
        return str(value)
    raise ManifestError(f"{place}: {name}: expected a string, found {brief(value)}")


def _paths(path: Path) -> Iterator[_Row]:
    return ((place, {"path": line.strip()}) for place, line in read_lines(path, ManifestError) if line.strip())


def _librispeech(folder: Path) -> Iterator[_Row]:
    transcripts = sorted(folder.rglob("*.trans.txt"))
    if not transcripts:
        raise ManifestError(
            f"{path_name(folder)}: expected files *.trans.txt as in LibriSpeech, or a {either(_IN_FOLDER)}, found neither"
        )
    for transcript in transcripts:
        chapter = transcript.absolute().parent
        columns = {"speaker": chapter.parent.name, "chapter": chapter.name, "subset": chapter.parent.parent.name}
        for place, line in read_lines(transcript, ManifestError):
            name, _, text = line.strip().partition(" ")
            if Path(name).name != name:
                raise ManifestError(f"{place}: expected an id, the name of a file beside this one, found {brief(name)}")
            if name:
                audio = transcript.parent.relative_to(folder) / f"{name}.flac"
                yield place, {"id": name, "audio": str(audio), "text": text} | columns


_READERS: dict[str, Callable[[Path], Iterator[_Row]]] = {
    ".tsv": partial(_table, delimiter="\t", quoting=csv.QUOTE_NONE),
    ".csv": partial(_table, delimiter=",", quoting=csv.QUOTE_MINIMAL),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_lines,
}
