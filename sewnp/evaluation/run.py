"""Every clip of a test set, run alone; one that fails does not stop the others."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sewnp.batch import Result, classify_many, transcribe_many
from sewnp.errors import AudioError, InputError, SewError
from sewnp.evaluation.results import Recognition, ResultsFile
from sewnp.evaluation.utterances import Task, Utterance
from sewnp.files import check_regular
from sewnp.model import Model
from sewnp.speech.audio import audio_name


@dataclass(frozen=True)
class Evaluation:
    """What was heard in a test set."""

    heard: list[tuple[Utterance, Recognition]]
    """The clips that could be run, in the set's order."""
    failed: list[tuple[Utterance, str]]
    """The others, with the error of each, which names the file."""


def evaluate(
    utterances: Sequence[Utterance],
    recognize: Callable[[Iterable[Path]], Iterable[Result]],
    *,
    results: ResultsFile | None = None,
    on_failure: Callable[[str], None] = lambda message: None,
) -> Evaluation:
    """Run every clip that ``results`` does not hold yet.  recognize: what :func:`recognizer` returns.

    A clip that fails is among those that failed, and its error is passed to ``on_failure`` at once; what ``recognize`` raises stops the
    evaluation.
    """
    paths = {utterance.id: os.path.abspath(utterance.audio) for utterance in utterances}  # the same from wherever it is resumed
    done = {} if results is None else {id: result for (id, path), result in results.done.items() if paths.get(id) == path}
    failed: dict[str, str] = {}
    waiting = [utterance for utterance in utterances if utterance.id not in done]
    sent: list[Utterance] = []

    def fail(utterance: Utterance, error: SewError) -> None:
        name, message = audio_name(utterance.audio), str(error)
        failed[utterance.id] = message if name in message else f"{name}: {message}"
        on_failure(failed[utterance.id])

    def regular() -> Iterator[Path]:
        for utterance in waiting:
            try:
                if os.path.exists(utterance.audio):
                    check_regular(utterance.audio, AudioError)  # a pipe would keep all others waiting
            except AudioError as error:
                fail(utterance, error)
            else:
                sent.append(utterance)
                yield utterance.audio

    for result in recognize(regular()):
        utterance = sent[result.index]
        if result.error is not None:
            fail(utterance, result.error)
            continue
        if result.transcript is not None:
            hypothesis, duration = result.transcript.text, result.transcript.duration
        elif result.labels is not None:
            hypothesis, duration = result.labels[0][0], result.labels.duration
        done[utterance.id] = Recognition(utterance.id, paths[utterance.id], hypothesis, duration, result.seconds)
        if results is not None:
            results.append(done[utterance.id])
    return Evaluation(
        [(utterance, done[utterance.id]) for utterance in utterances if utterance.id in done],
        [(utterance, failed[utterance.id]) for utterance in utterances if utterance.id in failed],
    )


def recognizer(model: Model, task: Task, **options: Any) -> Callable[[Iterable[Path]], Iterator[Result]]:
    """What a model does with clips, for :func:`evaluate`: :func:`sewnp.transcribe_many` them, or :func:`sewnp.classify_many`.

    options: for these.  Raises InputError for a model whose head does another task.
    """
    if model.head != task:
        raise InputError(f"{model.name}: expected a model with the head {task}, found {model.head or 'none'}")
    many = transcribe_many if task == "ctc" else classify_many
    return lambda clips: many(clips, model=model, **options)
