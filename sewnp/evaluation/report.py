"""What an evaluation found, as one object ready for JSON.

Both reports have ``clips`` (how many count), ``failed`` (those that could not be run and count nowhere), ``seconds`` (of audio, of
processing, and their ratio, the real-time factor), ``bootstrap`` (how the intervals were made) and ``by``: for every column asked for, the
same figures for each of its values.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeAlias

from sewnp.errors import EvaluationError, InputError, brief, few
from sewnp.evaluation.measures import (
    LEVEL,
    RESAMPLES,
    SEED,
    Counts,
    bootstrap_interval,
    count_characters,
    count_words,
    error_rate,
    match_measures,
    word_differences,
)
from sewnp.evaluation.normalization import NORMALIZATIONS, NORMALIZERS
from sewnp.evaluation.results import Recognition
from sewnp.evaluation.run import Evaluation
from sewnp.evaluation.utterances import Utterance, check_columns

WORST = 10
"""How many of the worst utterances are listed."""

CONFUSIONS = 50
"""How many of the most frequent confusions are."""

Heard: TypeAlias = tuple[Utterance, Recognition]


def ctc_report(
    evaluation: Evaluation, *, normalization: str = "basic", spellable: Collection[str], by: Sequence[str] = ()
) -> dict[str, Any]:
    """Word and character error rates.  spellable: the vocabulary's characters, to count those of the references that it lacks.

    Beside the common keys: ``normalization``; ``words`` and ``characters``, each an :class:`ErrorRate`, words with :class:`MatchMeasures`;
    ``outside_vocabulary``, empty where numbers become digits, so that nobody knows how they will be spelled; ``confusions``, the most
    frequent of what was said and what was heard in its place, "" for nothing; ``worst``, the utterances with the most word errors, of
    equals with the most character errors.

    Raises EvaluationError for a set of which nothing could be run, whose references have no words, or not one character that the
    vocabulary can spell, and for a column that no utterance has; InputError for an unknown normalisation; DependencyError without jiwer.
    """
    if normalization not in NORMALIZERS:
        raise InputError(f"normalization: expected one of {', '.join(NORMALIZERS)}, found {brief(normalization)}")
    normalize = NORMALIZERS[normalization]
    texts = [(normalize(utterance.reference), normalize(result.hypothesis)) for utterance, result in evaluation.heard]
    _check_heard(evaluation)
    references = [reference for reference, _ in texts]
    learned = normalization in NORMALIZATIONS  # by others a text may become what no vocabulary spells
    known = {c for token in spellable for c in normalize(token)} if learned else set("".join(references))
    outside = _outside_vocabulary(references, known)
    words = [count_words(*pair) for pair in texts]
    characters = [count_characters(*pair) for pair in texts]

    def rates(chosen: Sequence[int]) -> dict[str, Any]:
        return {
            "words": error_rate([words[i] for i in chosen]).to_dict() | match_measures([words[i] for i in chosen])._asdict(),
            "characters": error_rate([characters[i] for i in chosen]).to_dict(),
        }

    order = sorted(range(len(texts)), key=lambda i: (-words[i].errors, -characters[i].errors))
    worst = [_bad(evaluation.heard[i][0].id, words[i], characters[i], texts[i]) for i in order[:WORST] if characters[i].errors]
    whole = {"normalization": normalization} | rates(range(len(texts))) | {"confusions": _confusions(texts)}
    groups = _by(evaluation.heard, by, lambda chosen: _with_words(chosen, words, rates))
    return _common(evaluation) | whole | {"outside_vocabulary": outside, "by": groups, "worst": worst}


def classification_report(evaluation: Evaluation, *, labels: Sequence[str], by: Sequence[str] = ()) -> dict[str, Any]:
    """Accuracy and the confusion matrix.  labels: the model's.

    Beside the common keys: ``accuracy`` (rate, low, high, right), ``confusion`` (``said`` and ``heard``, the labels of its rows and columns,
    and ``counts``), ``unknown_labels`` (those of the set that the model does not have, with their clips), ``mistakes``.

    Raises EvaluationError for a set of which nothing could be run, none of whose labels the model has, or without a column asked for.
    """
    _check_heard(evaluation)
    references = [utterance.reference for utterance, _ in evaluation.heard]
    unknown = Counter(label for label in references if label not in labels)
    if unknown.total() == len(references):
        raise EvaluationError(f"none of the set's labels is one of the model's: {few(unknown)}; expected {few(labels)}")
    hypotheses = [result.hypothesis for _, result in evaluation.heard]
    rows = [label for label in labels if label in set(references)] + sorted(unknown)
    columns = list(labels)
    pairs = Counter(zip(references, hypotheses, strict=True))
    wrong = [int(a != b) for a, b in zip(references, hypotheses, strict=True)]

    def accuracy(chosen: Sequence[int]) -> dict[str, Any]:
        errors = [wrong[i] for i in chosen]
        low, high = bootstrap_interval(errors, [1] * len(errors))
        right = len(errors) - sum(errors)
        return {"accuracy": {"rate": right / len(errors), "low": 1 - high, "high": 1 - low, "right": right}}

    mistakes = [
        {"id": utterance.id, "said": utterance.reference, "heard": result.hypothesis}
        for (utterance, result), bad in zip(evaluation.heard, wrong, strict=True)
        if bad
    ]
    confusion = {"said": rows, "heard": columns, "counts": [[pairs[row, column] for column in columns] for row in rows]}
    rest = {"unknown_labels": dict(sorted(unknown.items())), "by": _by(evaluation.heard, by, accuracy), "mistakes": mistakes}
    return _common(evaluation) | accuracy(range(len(references))) | {"confusion": confusion} | rest


def _common(evaluation: Evaluation) -> dict[str, Any]:
    audio = sum(result.audio_seconds for _, result in evaluation.heard)
    processing = sum(result.processing_seconds for _, result in evaluation.heard)
    return {
        "clips": len(evaluation.heard),
        "failed": [{"id": utterance.id, "error": error} for utterance, error in evaluation.failed],
        "seconds": {"audio": audio, "processing": processing, "real_time_factor": processing / audio if audio else None},
        "bootstrap": {"interval": "percentile", "drawn": "clips", "resamples": RESAMPLES, "level": LEVEL, "seed": SEED},
    }


def _check_heard(evaluation: Evaluation) -> None:
    if not evaluation.heard:
        raise EvaluationError(f"none of the {len(evaluation.failed)} clips could be run")


def _outside_vocabulary(references: Sequence[str], spellable: set[str]) -> dict[str, Any]:
    """How many references hold characters that the model cannot write, and which, most frequent first."""
    missing = [Counter(c for c in reference if c != " " and c not in spellable) for reference in references]
    total: Counter[str] = sum(missing, Counter())
    spoken = sum(c != " " for reference in references for c in reference)
    if not spoken:
        raise EvaluationError("expected references with at least one word, found none")
    if total.total() == spoken:
        raise EvaluationError(f"the model's vocabulary has not one character of the references, which hold {few(total)}")
    return {"clips": sum(bool(counter) for counter in missing), "characters": dict(total.most_common())}


def _confusions(texts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """The most frequent differences of words; of equals in the order of the alphabet."""
    counted = Counter(pair for texts_of_one in texts for pair in word_differences(*texts_of_one))
    ordered = sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    return [{"said": said, "heard": heard, "count": count} for (said, heard), count in ordered[:CONFUSIONS]]


def _by(heard: Sequence[Heard], columns: Sequence[str], figures: Callable[[Sequence[int]], dict[str, Any]]) -> dict[str, Any]:
    """For every column and each of its values, in order of first appearance, the figures of the clips that have it."""
    check_columns([utterance for utterance, _ in heard], columns)
    tables: dict[str, Any] = {}
    for column in columns:
        groups: dict[str, list[int]] = {}
        for i, (utterance, _) in enumerate(heard):
            groups.setdefault(utterance.columns.get(column, ""), []).append(i)
        tables[column] = {value: {"clips": len(chosen)} | figures(chosen) for value, chosen in groups.items()}
    return tables


def _with_words(chosen: Sequence[int], words: Sequence[Counts], rates: Callable[[Sequence[int]], dict[str, Any]]) -> dict[str, Any]:
    """The rates of a group, or none where nothing was said in it."""
    return rates(chosen) if any(words[i].length for i in chosen) else {"words": None, "characters": None}


def _bad(name: str, words: Counts, characters: Counts, texts: tuple[str, str]) -> dict[str, Any]:
    counted = {"word_errors": words.errors, "words": words.length, "character_errors": characters.errors}
    return {"id": name} | counted | {"reference": texts[0], "hypothesis": texts[1]}
