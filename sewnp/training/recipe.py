"""A recipe: everything that decides what a training run makes, as a TOML file and as one dataclass whose fields are the file's keys.

Paths in it are relative to a folder of data that is named beside it, so that a recipe can be shared and the sound need not be.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from sewnp.errors import ConfigError
from sewnp.evaluation import NORMALIZATIONS
from sewnp.fields import AboveZero, Natural, NonNegative, Positive, Probability, Rule, check_fields, expect, from_table
from sewnp.files import AnyPath, path_name, read_text
from sewnp.speech.own_keys import OwnKeys
from sewnp.training.augmentation import Augmentations

Numbers = Annotated[tuple[int, int], Rule("two numbers from 1 on, the smaller first", lambda x: 1 <= x[0] <= x[1])]
Shares = Annotated[tuple[float, float], Rule("two shares from 0 to 1, the smaller first", lambda x: 0 <= x[0] < x[1] <= 1)]
Pauses = Annotated[tuple[float, float], Rule("two numbers from 0 on, the smaller first", lambda x: 0 <= x[0] <= x[1])]
Betas = Annotated[tuple[float, float], Rule("two numbers from 0 to below 1", lambda x: all(0 <= b < 1 for b in x))]


@dataclass(frozen=True)
class Join:
    """How clips of a source are put together to longer ones, their texts too."""

    clips: Numbers = (1, 8)
    """So many at a time, any number from the first to the second alike."""
    pause: Pauses = (0.0, 1.5)
    """Seconds of silence before each and behind the last."""
    by: str | None = None
    """A column whose value they share, such as ``speaker``."""
    level: NonNegative | None = None
    """Bring them to the same power, give or take so many decibels; by default they stay as loud as they are."""


@dataclass(frozen=True)
class Source:
    """A table ``data``: a set of clips with their texts or labels."""

    path: str
    """A manifest, or a folder: one with a manifest, LibriSpeech's, or one of recordings, whose names then have to say it all."""
    files: str | None = None
    """A regular expression that fits the whole of a recording's path in the folder; others are left out.  Its named groups are columns."""
    text: str | None = None
    """What is said in every clip, or the label of each; "" where nothing is said."""
    texts: dict[str, str] = field(default_factory=dict)
    """Other words for texts: ``{7 = "SEVEN"}``."""
    keep: str | None = None
    """A regular expression that fits the whole text of the clips to use."""
    times: AboveZero = 1.0
    """How often each clip comes in an epoch; 0.5 is every other one."""
    span: Shares = (0.0, 1.0)
    """The part of all steps, as shares, in whose epochs the source takes part."""
    validate: bool = True
    """Whether those of its clips that are held out are for validation."""
    join: Join | None = None

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        for name in ("files", "keep"):
            try:
                re.compile(getattr(self, name) or "")
            except re.error as error:
                raise ConfigError(f"data.{name}: expected a regular expression, found {getattr(self, name)!r} ({error})") from None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run is made of.  Every field is a key of the file, and most are options of ``sewnp train``.

    Raises ConfigError, naming the key, for what makes no sense."""

    model: str | None = None
    """An embedded model, a folder or a hub id to start from; a published size or a config.json, whose weights are then fresh; none where
    ``config`` is a whole configuration."""
    task: Literal["ctc", "classification"] = "ctc"
    labels: tuple[str, ...] = ()
    """Of a new classification head; by default those that the model has."""
    new_vocabulary: bool = False
    """Whether the characters of the texts are the vocabulary of a new CTC head; always where weights are fresh."""
    config: dict[str, Any] = field(default_factory=dict)
    """What shall be otherwise than the model's config.json says: rates of dropout, ``layerdrop``, SpecAugment's ``mask_...``, the loss."""
    freeze: tuple[str, ...] = ()
    """Parts that do not learn: "feature_encoder", "base", or names of weights or their beginnings."""

    data: tuple[Source, ...] = ()
    eval: tuple[str, ...] = ()
    """Manifests for validation."""
    hold_out: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By column: the values whose clips are not trained on but validated with, ``{speaker = ["ann", "bob"]}``."""
    normalize: str = "basic"
    """What is done to texts first: see ``sewnp evaluate``."""
    augment: Augmentations = field(default_factory=Augmentations)

    steps: Positive = 1000
    minutes: AboveZero | None = None
    """Instead of steps: as many as fit, by the pace of some steps that are tried before."""
    batch_seconds: AboveZero = 40.0
    """Sound in a batch of clips of similar length, as far as they fill it; a longer clip is a batch of its own."""
    accumulate: Positive = 1
    """So many batches make a step."""
    seed: Natural = 0
    threads: Positive | None = None
    dtype: Literal["float32", "float64"] = "float32"

    lr: AboveZero = 3e-4
    """The highest rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: NonNegative = 0.1
    """Steps, or below 1 a share of them."""
    betas: Betas = (0.9, 0.999)
    eps: AboveZero = 1e-8
    weight_decay: NonNegative = 0.01
    max_norm: AboveZero | None = 1.0
    """What longer gradients are shortened to."""
    average: Probability | None = None
    """How much a running average of the weights keeps at each step; where there is one, it is what is validated and saved."""

    eval_every: Positive = 200
    """Steps between validations."""
    save_minutes: NonNegative = 5.0
    """Time between savings of all that resuming needs."""
    output: str | None = None
    """The folder of the run."""
    store: Literal["float16", "float32", "float64"] = "float32"
    """The precision of the checkpoints' weights."""
    sewnp: OwnKeys = field(default_factory=OwnKeys)
    """What the checkpoints' folders ask for, over what the model's does: ``segment``, ``words``, ``unknown_margin``.  Words do not outlive
    the vocabulary that they were spelled with."""

    def __post_init__(self) -> None:
        check_fields(self)
        expect(self.normalize in NORMALIZATIONS, "normalize", f"one of {', '.join(NORMALIZATIONS)}", self.normalize)
        expect(self.task == "classification" or not self.labels, "labels", "none with task 'ctc'", self.labels)
        expect(len(set(self.labels)) == len(self.labels), "labels", "each label once", self.labels)
        expect(self.task == "ctc" or not self.new_vocabulary, "new_vocabulary", "false with task 'classification'", True)
        expect(self.model or "model_type" in self.config, "model", "a model, or a config with a model_type", self.model)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; ``recipe_from_dict`` makes the same recipe of it."""
        return asdict(self)


def recipe_from_dict(values: Mapping[str, Any]) -> Recipe:
    """The recipe of a parsed file.  Raises ConfigError, naming the key."""
    return from_table(Recipe, values)


def read_recipe(path: AnyPath) -> dict[str, Any]:
    """What a recipe's TOML file says, for :func:`recipe_from_dict` when options have been laid over it.  Raises ConfigError, naming the file."""
    try:
        return tomllib.loads(read_text(path, error=ConfigError))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path_name(path)}: not a readable TOML file: {error}") from error
