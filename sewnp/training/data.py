"""From the sources of a recipe to the batches of an epoch: which clips there are, which are held out, which come together.

Nothing is read here but headers.  What an epoch is made of depends on the recipe's seed and the epoch's number alone.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from sewnp.errors import ConfigError, ManifestError, brief
from sewnp.evaluation import NORMALIZATIONS, Utterance, read_test_set
from sewnp.files import path_name
from sewnp.manifests import LABEL, TEXT, either, read_manifest
from sewnp.speech import audio_seconds
from sewnp.training.recipe import Join, Recipe, Source

_SORTED_TOGETHER = 16
"""Batches' worth of clips that are sorted by length at a time: enough for batches of similar clips, few enough for epochs that differ."""


@dataclass(frozen=True)
class Clip:
    """A recording to train on."""

    audio: Path
    name: str
    """What it is called in its source."""
    text: str
    """What is said in it, normalised; or its label."""
    seconds: float
    """As its header says."""
    columns: Mapping[str, str]
    """All else that is known of it."""


@dataclass(frozen=True)
class ClipSet:
    """The clips of a source."""

    source: Source
    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Example:
    """What is run as one clip: one recording, or several that will be joined."""

    clips: tuple[Clip, ...]
    join: Join | None

    @property
    def text(self) -> str:
        """What is said in all of it; a label."""
        return " ".join(clip.text for clip in self.clips if clip.text)

    @property
    def seconds(self) -> float:
        """About how long it will be."""
        pauses = 0.0 if self.join is None else (len(self.clips) + 1) * sum(self.join.pause) / 2
        return pauses + sum(clip.seconds for clip in self.clips)


def read_sources(recipe: Recipe, folder: Path) -> tuple[list[ClipSet], list[Utterance]]:
    """The clips to train on, source by source, and the utterances for validation.  folder: what the recipe's paths are relative to.

    Raises ManifestError for what cannot be read or says too little, naming the place, AudioError for recordings that are none, and
    ConfigError for a source of which nothing is left.
    """
    normalize = NORMALIZATIONS[recipe.normalize] if recipe.task == "ctc" else str.strip
    sets, held = [], {u.audio: u for path in recipe.eval for u in read_test_set(folder / path, task=recipe.task)}
    for source in recipe.data:
        clips: list[Clip] = []
        for audio, name, columns in _entries(source, folder / source.path):
            text = normalize(_text(source, columns, name, recipe.task))
            if source.keep is not None and re.fullmatch(source.keep, text) is None:
                continue
            if any(columns.get(column) in values for column, values in recipe.hold_out.items()):
                if source.validate:
                    held.setdefault(audio, Utterance(str(audio), audio, text, columns))
            else:
                clips.append(Clip(audio, name, text, audio_seconds(audio), columns))
        if not clips:
            raise ConfigError(f"data: {path_name(source.path)}: expected clips to train on, found none that are kept")
        sets.append(ClipSet(source, tuple(clips)))
    for utterance in held.values():
        audio_seconds(utterance.audio)  # what is no audio is said now, and not after the first epoch
    return sets, list(held.values())


def _entries(source: Source, path: Path) -> Iterator[tuple[Path, str, dict[str, str]]]:
    """Recording, its name and columns, in an order that the file system does not decide."""
    if source.files is not None and path.is_dir() and not any(path.glob("manifest.*")):
        inside = sorted(each for each in path.rglob("*") if each.is_file())
        listed: list[tuple[Path, str, dict[str, str]]] = [(each, each.relative_to(path).as_posix(), {}) for each in inside]
    else:
        listed = [(entry.audio, entry.given, dict(entry.columns)) for entry in read_manifest(path)]
    for audio, name, columns in listed:
        match = re.fullmatch(source.files or ".*", name, re.DOTALL)
        if match is not None:
            yield audio, name, columns | {key: value for key, value in match.groupdict().items() if value is not None}


def _text(source: Source, columns: Mapping[str, str], name: str, task: str) -> str:
    if source.text is not None:
        return source.text
    names = TEXT + LABEL if task == "ctc" else LABEL + TEXT
    column = next((each for each in names if each in columns), None)
    if column is None:
        found = ", ".join(map(brief, columns)) or "none beside the path"
        raise ManifestError(f"{path_name(source.path)}: {path_name(name)}: expected a column {either(names)}, found {found}")
    return source.texts.get(columns[column], columns[column])


def fingerprint(sets: Sequence[ClipSet]) -> str:
    """A hash of all clips' names, texts and lengths: whether data are those that a run began with."""
    digest = hashlib.sha256()
    for each in sets:
        for clip in each.clips:
            digest.update(f"{clip.name}\0{clip.text}\0{clip.seconds!r}\n".encode(errors="surrogateescape"))
        digest.update(b"\n")
    return digest.hexdigest()


def epoch_examples(sets: Sequence[ClipSet], *, done: float, rng: np.random.Generator) -> list[Example]:
    """The examples of an epoch, in random order.  done: the share of all steps that lies behind it."""
    examples: list[Example] = []
    for each in sets:
        first, last = each.source.span
        if first <= done < last:
            examples += _joined(_repeated(each.clips, each.source.times, rng), each.source.join, rng)
    if not examples:
        raise ConfigError(f"data: no source takes part when {done:.0%} of the steps are done; expected their spans to leave no gap")
    return [examples[i] for i in rng.permutation(len(examples))]


def _repeated(clips: Sequence[Clip], times: float, rng: np.random.Generator) -> list[Clip]:
    """All clips as often as ``times`` says, a fraction of them once more, each round in an order of its own."""
    whole = int(times)
    rounds = [rng.permutation(len(clips)) for _ in range(whole + 1)]
    rounds[-1] = rounds[-1][: round((times - whole) * len(clips))]
    return [clips[i] for order in rounds for i in order]


def _joined(clips: Sequence[Clip], join: Join | None, rng: np.random.Generator) -> Iterator[Example]:
    if join is None:
        yield from (Example((clip,), None) for clip in clips)
        return
    groups: dict[str, list[Clip]] = {}
    for clip in clips:
        groups.setdefault(clip.columns.get(join.by, "") if join.by else "", []).append(clip)
    for group in groups.values():
        rest = iter(group)
        while chosen := tuple(islice(rest, int(rng.integers(join.clips[0], join.clips[1] + 1)))):
            yield Example(chosen, join)


def batches(examples: Sequence[Example], *, seconds: float, rng: np.random.Generator) -> list[list[Example]]:
    """Examples of similar length together, about ``seconds`` of sound in each batch, in random order.

    Some batches' worth of examples at a time are sorted by length and cut into parts of equal seconds.
    """
    parts: list[list[Example]] = []
    for pool in _filled(examples, _SORTED_TOGETHER * seconds):
        pool = sorted(pool, key=lambda example: example.seconds)
        total = sum(example.seconds for example in pool)
        share, reached = total / max(1, round(total / seconds)), 0.0
        cut: list[list[Example]] = [[]]
        for example in pool:
            if cut[-1] and reached + example.seconds / 2 > share * len(cut):
                cut.append([])
            cut[-1].append(example)
            reached += example.seconds
        parts += cut
    return [parts[i] for i in rng.permutation(len(parts))]


def _filled(examples: Sequence[Example], seconds: float) -> Iterator[list[Example]]:
    pool: list[Example] = []
    filled = 0.0
    for example in examples:
        pool.append(example)
        filled += example.seconds
        if filled >= seconds:
            yield pool
            pool, filled = [], 0.0
    if pool:
        yield pool


def plan_epoch(sets: Sequence[ClipSet], recipe: Recipe, *, epoch: int, done: float) -> list[list[Example]]:
    """The steps of an epoch, each a list of examples: as many batches as the recipe accumulates."""
    rng = np.random.default_rng(np.random.SeedSequence(recipe.seed, spawn_key=(epoch,)))
    parts = batches(epoch_examples(sets, done=done, rng=rng), seconds=recipe.batch_seconds, rng=rng)
    return [
        [example for part in parts[i : i + recipe.accumulate] for example in part] for i in range(0, len(parts), recipe.accumulate)
    ]
