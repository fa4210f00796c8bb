"""A test set: clips, and what is said in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from sewnp.errors import EvaluationError, brief
from sewnp.files import AnyPath
from sewnp.manifests import LABEL, TEXT, Entry, either, read_manifest

Task: TypeAlias = Literal["ctc", "classification"]
"""What a test set asks of a model."""

_REFERENCE: Mapping[Task, tuple[str, ...]] = {"ctc": TEXT + LABEL, "classification": LABEL + TEXT}


@dataclass(frozen=True)
class Utterance:
    """One clip of a test set."""

    id: str
    audio: Path
    reference: str
    """What is said in it: a text, or a label."""
    columns: Mapping[str, str]
    """What else the manifest tells about it, for tables by column.  LibriSpeech: speaker, chapter, subset."""


def read_test_set(path: AnyPath, *, task: Task = "ctc") -> list[Utterance]:
    """The utterances of a manifest or a LibriSpeech folder (:func:`sewnp.manifests.read_manifest`), in its order.

    ``task`` says which column wins where there is both a text and a label.  Raises ManifestError for what cannot be read, and
    EvaluationError, naming file and line, for a clip of which nobody says what is said in it, and for an id that is there twice.
    """
    utterances: dict[str, Utterance] = {}
    places: dict[str, str] = {}
    for entry in read_manifest(path):
        utterance = _utterance(entry, _REFERENCE[task])
        if utterance.id in places:
            raise EvaluationError(f"{entry.place}: the id {brief(utterance.id)} is there twice, first in {places[utterance.id]}")
        utterances[utterance.id], places[utterance.id] = utterance, entry.place
    return list(utterances.values())


def _utterance(entry: Entry, names: tuple[str, ...]) -> Utterance:
    reference = next((name for name in names if name in entry.columns), None)
    if reference is None:
        found = ", ".join(map(brief, entry.columns)) or "none beside the path"
        raise EvaluationError(f"{entry.place}: expected a column {either(names)}, found {found}")
    columns = {name: value for name, value in entry.columns.items() if name not in (reference, "id")}
    return Utterance(entry.columns.get("id") or entry.given, entry.audio, entry.columns[reference], columns)


def check_columns(utterances: Sequence[Utterance], columns: Sequence[str]) -> None:
    """Raise EvaluationError for a column that none of the utterances has."""
    known = list(dict.fromkeys(name for utterance in utterances for name in utterance.columns))
    for column in columns:
        if column not in known:
            raise EvaluationError(f"the set has no column {brief(column)}; it has {', '.join(map(brief, known)) or 'none'}")
