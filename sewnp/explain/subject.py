"""What a page needs of a model, and what is looked at in a run of it."""

from collections.abc import Collection
from typing import Any, Protocol

from sewnp.config import Config
from sewnp.gradients import Gradients
from sewnp.networks import Output
from sewnp.parameters import Head
from sewnp.speech import CTCTokenizer, FeatureExtractor
from sewnp.types import Array, See, SeeVjp, Weights


class Subject(Protocol):
    """A model: see :class:`sewnp.Model`."""

    @property
    def config(self) -> Config: ...
    @property
    def weights(self) -> Weights: ...
    @property
    def head(self) -> Head | None: ...
    @property
    def tokenizer(self) -> CTCTokenizer | None: ...
    @property
    def feature_extractor(self) -> FeatureExtractor: ...
    @property
    def name(self) -> str: ...

    def __call__(self, input_values: Array, *, see: See = ...) -> Output: ...

    def gradients(self, input_values: Array, labels: Any, *, input_gradient: bool = ..., see: SeeVjp = ...) -> Gradients: ...


def stages_seen(subject: Subject, input_values: Array, names: Collection[str]) -> dict[str, Array]:
    """The values of those stages in a run on one clip, without the axis of the batch.  input_values (1, n)"""
    kept: dict[str, Array] = {}

    def see(name: str, x: Array, /) -> Array:
        if name in names:
            kept[name] = x if name == "encoder.encoder.relative_positions" else x[0]
        return x

    subject(input_values, see=see)
    return kept
