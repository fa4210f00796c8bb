"""How good the weights are by now: greedy decoding of whole clips that are not trained on, as ``sewnp evaluate --greedy --no-segment`` does it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sewnp.errors import TrainingError
from sewnp.evaluation import Evaluation, Utterance, classification_report, ctc_report, evaluate, recognizer
from sewnp.model import Model
from sewnp.speech import spelling_tokens


def validate(
    model: Model, utterances: Sequence[Utterance], *, normalization: str = "basic", check: Callable[[], None] = lambda: None
) -> tuple[tuple[float, float], dict[str, Any]]:
    """Run every utterance -> what to compare, the smaller the better, and the figures by name.

    Of a CTC model word and character error rate are compared, in this order; of a classification model the share of wrong labels.  check:
    called before each clip, to raise where the run shall stop.  Raises TrainingError where a clip fails, naming it.
    """
    assert model.head is not None  # what is trained has one
    plain: dict[str, Any] = {"decoder": "greedy", "segment": False} if model.head == "ctc" else {}
    recognize = recognizer(model, model.head, **plain)

    def checked(clips: Iterable[Path]) -> Iterator[Path]:
        for clip in clips:
            check()
            yield clip

    heard = evaluate(utterances, lambda clips: recognize(checked(clips)), on_failure=_fail)
    return _ctc(heard, model, normalization) if model.head == "ctc" else _classification(heard, model)


def _fail(message: str) -> None:
    raise TrainingError(message)


def _ctc(heard: Evaluation, model: Model, normalization: str) -> tuple[tuple[float, float], dict[str, Any]]:
    assert model.tokenizer is not None  # the clips were transcribed with it
    spellable = spelling_tokens(model.tokenizer, vocab_size=model.config.vocab_size)
    report = ctc_report(heard, normalization=normalization, spellable=spellable)
    words, characters = report["words"], report["characters"]
    figures = {"wer": words["rate"], "cer": characters["rate"], "word_errors": words["errors"], "words": words["length"]}
    return (words["rate"], characters["rate"]), figures


def _classification(heard: Evaluation, model: Model) -> tuple[tuple[float, float], dict[str, Any]]:
    accuracy = classification_report(heard, labels=list(model.config.id2label.values()))["accuracy"]
    return (1.0 - accuracy["rate"], 0.0), {"accuracy": accuracy["rate"], "right": accuracy["right"], "clips": len(heard.heard)}
