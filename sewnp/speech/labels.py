"""What a clip is taken for."""

from collections.abc import Iterable, Mapping

import numpy as np

from sewnp.errors import InputError, SewError, brief, few
from sewnp.layers.softmax import softmax
from sewnp.types import Array


class Labels(list[tuple[str, float]]):
    """Labels with their probabilities, best first."""

    def __init__(self, scores: Iterable[tuple[str, float]], duration: float) -> None:
        super().__init__(scores)
        self.duration = duration
        """Seconds of sound."""


def label_number(name: str, label: str, names: Mapping[int, str], *, error: type[SewError] = InputError) -> int:
    """The number of a label.  Raises ``error``, calling it ``name``, for one that the model does not have."""
    numbers = {known: number for number, known in names.items()}
    if label not in numbers:
        raise error(f"{name}: expected one of {few(numbers)}; found {brief(label)}")
    return numbers[label]


def labels_from_logits(logits: Array, names: Mapping[int, str], *, duration: float, top_k: int | None = None) -> Labels:
    """The ``top_k`` likeliest labels, or all.  logits (L,), duration in seconds.  Raises InputError for NaN and infinite logits."""
    scores = softmax(logits)
    if np.isnan(scores).any():
        raise InputError("logits: expected finite values, found NaN or infinity")
    best = np.argsort(-scores, kind="stable")[:top_k]
    return Labels([(names[i], float(scores[i])) for i in best.tolist()], duration)
