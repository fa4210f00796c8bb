"""The cases of the conformance suite: data/cases.json, one line a case, read into what each kind of case is.

Every case is as small as it can be while the branch that it is there for still shows: hidden size 16, one or two layers, clips of a dozen frames.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from sewnp.layers.masking import Masking
from sewnp.parameters import Head

DATA = Path(__file__).parent / "data"

NO_SAMPLE = -1
"""As a length: no sample of the clip is real.  0 is a clip that is just too short for one frame."""


@dataclass(frozen=True)
class NetworkCase:
    """A model, and what it is called with."""

    name: str
    title: str
    family: Literal["sew", "sew-d"]
    config: Mapping[str, Any] = field(default_factory=dict)
    """What differs from ``networks.TINY``."""
    head: Head | None = "ctc"
    frame_count: int = 9
    lengths: Sequence[int] | None = None
    """Real frames of each clip, or :data:`NO_SAMPLE`; None for a run without attention mask."""
    padding: Literal["right", "left"] = "right"
    masking: Masking = "any"
    hidden: bool = False
    """Whether some frames are hidden by ``mask_time_indices``."""
    labels: Sequence[Any] | None = None
    gain: float = 1.0
    """The waveform is so many times as loud."""
    steep: float = 1.0
    """What goes into activations is so many times as large."""
    gradients: bool = False
    """Whether the run goes back too."""
    trained: bool = False
    """Whether it runs as in training: stages dropped at the configuration's rates and channels hidden, all by given masks."""
    skip_layers: Sequence[int] | None = None
    """Layers left out, where it runs as in training."""

    @property
    def clip_count(self) -> int:
        """How many: as many as were described, and one where none was."""
        described = self.lengths if self.lengths is not None else self.labels
        return len(described) if described is not None else 1 + self.hidden


@dataclass(frozen=True)
class CTCCase:
    """The loss alone."""

    name: str
    title: str
    labels: Sequence[Sequence[int]]
    input_lengths: Sequence[int]
    blank: int = 0
    reduction: Literal["mean", "sum", "none"] = "mean"
    zero_infinity: bool = False
    vocab_size: int = 6
    gradients: bool = False
    """Whether the gradient by the log-probabilities is asked for too."""


@dataclass(frozen=True)
class FeatureCase:
    """From waveforms to input_values."""

    name: str
    title: str
    lengths: Sequence[int]
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of preprocessor_config.json."""
    gain: float = 0.1
    offset: float = 0.0


TOKENS = ("<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C", "'", "?")
PATHS = (
    (0, 5, 5, 0, 5, 4, 6, 6, 4, 0, 4, 7, 0, 0),
    (4, 4, 5, 0, 0, 6, 4, 4, 4, 9, 4),
    (),
    (0, 0, 0),
    (4, 0, 4),
    (5, 1, 6, 3, 2, 2, 0, 2),
    (5, 99, 98, 5, 0, -100, 6),
    (5, 4, 8, 4, 6, 4, 9),
    (6,),
)
"""Repeats, blanks between them, delimiters in a row and at the ends, nothing, special tokens, ids that no token has."""


@dataclass(frozen=True)
class TokenizerCase:
    """From paths of ids to text and offsets."""

    name: str
    title: str
    tokens: Sequence[str] = TOKENS
    """The vocabulary, in the order of its ids."""
    paths: Sequence[Sequence[int]] = PATHS
    config: Mapping[str, Any] = field(default_factory=dict)
    """Fields of tokenizer_config.json."""
    options: Mapping[str, bool] = field(default_factory=dict)
    """How to decode: ``skip_special_tokens``, ``group_tokens``."""


@dataclass(frozen=True)
class SpecAugmentCase:
    """Frames replaced where indices say so."""

    name: str
    title: str
    indices: Sequence[Sequence[int]]
    """Of each clip, the frames to hide."""
    frame_count: int = 7


Case: TypeAlias = NetworkCase | CTCCase | FeatureCase | TokenizerCase | SpecAugmentCase

KINDS: dict[str, type[Case]] = {
    "network": NetworkCase,
    "ctc": CTCCase,
    "features": FeatureCase,
    "tokenizer": TokenizerCase,
    "spec_augment": SpecAugmentCase,
}
"""The kinds of cases, as the manifest names them."""

CASES: tuple[Case, ...] = tuple(
    KINDS[kind](**fields) for kind, cases in json.loads((DATA / "cases.json").read_text("utf-8")).items() for fields in cases
)
"""The whole suite, in its order."""
