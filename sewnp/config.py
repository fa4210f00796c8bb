"""The two configurations, with the fields and defaults of transformers 5.23, read from and written to its config.json.

Fields that only matter in training (dropouts, SpecAugment probabilities, initialisation) are kept so that a file round-trips; this
package runs inference and does not read them.  Keys that are no field (``architectures``, ``transformers_version`` ...) travel in ``extra``.
"""

import dataclasses
import math
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, Self, get_args, get_origin

from sewnp.errors import ConfigError, brief
from sewnp.layers.activations import activation
from sewnp.layers.masking import frame_count


@dataclass(frozen=True)
class _Rule:
    """What is asked of a field's value beyond its type: in words, and as a test."""

    expected: str
    holds: Callable[[Any], bool]


Positive = Annotated[int, _Rule("a number of 1 or more", lambda x: x >= 1)]
Natural = Annotated[int, _Rule("a number of 0 or more", lambda x: x >= 0)]
Positives = Annotated[tuple[int, ...], _Rule("numbers of 1 or more", lambda x: all(n >= 1 for n in x))]
NonNegative = Annotated[float, _Rule("a number of 0 or more", lambda x: x >= 0)]
Probability = Annotated[float, _Rule("a number from 0 to 1", lambda x: 0 <= x <= 1)]

_DERIVED = ("model_type", "label2id", "num_labels", "num_feat_extract_layers")
"""Keys of a config.json that follow from the fields."""

_MOST_LABELS = 10**5
"""So many labels may be named by their number alone: their names are made up here, and a damaged file may ask for any number.  More
would not fit into a config.json that is read back."""

_MOST_CONVOLUTIONS = 100
"""The published models have 13.  No tensor stands for a stride, so that nothing else bounds their product, the hop."""


@dataclass(frozen=True, kw_only=True)
class _Config:
    """What both families share.  ``num_labels`` follows from ``id2label``.

    Every field is checked on construction; ConfigError names the field, what was expected and what was found."""

    model_type: ClassVar[str]
    prefix: ClassVar[str]

    vocab_size: Positive = 32
    hidden_size: Positive = 768
    num_hidden_layers: Natural = 12
    num_attention_heads: Positive = 12
    intermediate_size: Positive = 3072
    squeeze_factor: Positive = 2
    hidden_act: str = "gelu"
    hidden_dropout: Probability = 0.1
    activation_dropout: Probability = 0.1
    attention_dropout: Probability = 0.1
    feat_proj_dropout: Probability = 0.0
    final_dropout: Probability = 0.1
    initializer_range: NonNegative = 0.02
    layer_norm_eps: NonNegative = 1e-5
    feat_extract_norm: Literal["group", "layer"] = "group"
    feat_extract_activation: str = "gelu"
    conv_dim: Positives = (64, 128, 128, 128, 128, 256, 256, 256, 256, 512, 512, 512, 512)
    conv_stride: Positives = (5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1)
    conv_kernel: Positives = (10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1)
    conv_bias: bool = False
    num_conv_pos_embeddings: Positive = 128
    num_conv_pos_embedding_groups: Positive = 16
    apply_spec_augment: bool = True
    mask_time_prob: Probability = 0.05
    mask_time_length: int = 10
    mask_time_min_masks: int = 2
    mask_feature_prob: Probability = 0.0
    mask_feature_length: int = 10
    mask_feature_min_masks: int = 0
    ctc_loss_reduction: Literal["mean", "sum", "none"] = "mean"
    ctc_zero_infinity: bool = False
    use_weighted_layer_sum: bool = False
    classifier_proj_size: Positive = 256
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2
    id2label: dict[int, str] = field(default_factory=lambda: {0: "LABEL_0", 1: "LABEL_1"})
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _checked(f.name, getattr(self, f.name), f.type))
        known = {f.name for f in dataclasses.fields(self)} & set(self.extra)
        _expect(not known, "extra", "a dict of keys that are no fields", self.extra)
        for name in ("hidden_act", "feat_extract_activation"):
            _check_activation(name, getattr(self, name))
        self._check_convolutions()
        self._check_division()
        self._check_unbuilt()
        object.__setattr__(self, "extra", {name: value for name, value in self.extra.items() if name not in _DERIVED})

    def _check_convolutions(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("conv_dim", "conv_stride", "conv_kernel")}
        names = ", ".join(lengths)
        _expect(len(set(lengths.values())) == 1 and self.conv_dim, names, "equal lengths of 1 or more", lengths)
        _expect(len(self.conv_dim) <= _MOST_CONVOLUTIONS, names, f"at most {_MOST_CONVOLUTIONS} convolutions", len(self.conv_dim))
        count = len(self.conv_dim)
        declared = self.extra.get("num_feat_extract_layers", count)
        _expect(declared == count, "num_feat_extract_layers", f"{count}, the length of conv_dim", declared)

    def _check_division(self) -> None:
        for name in ("num_conv_pos_embedding_groups", *(["num_attention_heads"] if self.num_hidden_layers else [])):
            parts = getattr(self, name)
            _expect(self.hidden_size % parts == 0, name, f"a divisor of hidden_size={self.hidden_size}", parts)

    def _check_unbuilt(self) -> None:
        adapter = self.extra.get("add_adapter")
        _expect(not adapter, "add_adapter", "false: neither family has an adapter", adapter)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that a parsed config.json describes.  Unknown keys are kept in ``extra``; ``num_labels`` alone makes labels."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected a dict of fields, found {type(values).__name__}")
        found = values.get("model_type", cls.model_type)
        _expect(found == cls.model_type, "model_type", repr(cls.model_type), found)
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        chosen = {name: value for name, value in values.items() if name in known}
        labels = values.get("num_labels")
        if labels is not None and "id2label" not in values:
            whole = isinstance(labels, int) and not isinstance(labels, bool)
            _expect(whole and 1 <= labels <= _MOST_LABELS, "num_labels", f"a whole number from 1 to {_MOST_LABELS}", labels)
            chosen["id2label"] = {i: f"LABEL_{i}" for i in range(labels)}
        return cls(**chosen, extra={name: value for name, value in values.items() if name not in known})

    def to_dict(self) -> dict[str, Any]:
        """What config.json holds: every field, the keys of ``extra``, and what follows from them."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("extra", "id2label")}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        labels = {}
        if self.id2label != {0: "LABEL_0", 1: "LABEL_1"}:  # as transformers, which writes labels only where they were named
            labels = {
                "id2label": {str(i): label for i, label in self.id2label.items()},
                "label2id": {v: k for k, v in self.id2label.items()},
            }
        return values | labels | self.extra | {"model_type": self.model_type, "num_feat_extract_layers": len(self.conv_dim)}

    @property
    def num_labels(self) -> int:
        """Classes of the classification head."""
        return len(self.id2label)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next: the product of the strides (``inputs_to_logits_ratio`` in transformers)."""
        return math.prod(self.conv_stride)

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees, before the normalisation over time and the transformer."""
        return self.samples_for(1)

    def frames(self, samples: int) -> int:
        """Frames that so many samples give: one row of logits each; 0 where there are too few."""
        return max(0, frame_count(samples, kernels=self.conv_kernel, strides=self.conv_stride))

    def samples_for(self, frames: int) -> int:
        """The fewest samples that give so many frames."""
        samples = frames
        for kernel, stride in zip(reversed(self.conv_kernel), reversed(self.conv_stride), strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    @property
    def minimum_samples(self) -> int:
        """The fewest samples a forward pass accepts: one squeezed frame's worth."""
        return self.samples_for(self.squeeze_factor)


@dataclass(frozen=True, kw_only=True)
class SEWConfig(_Config):
    """Configuration of SEW (model_type ``"sew"``).  Source: Wu et al. 2021, arXiv 2109.06870; fields as transformers 5.23 names them.

    A Positive is an int of 1 or more, Positives are a tuple of those, a Natural is an int of 0 or more; a Probability is a float from 0 to 1,
    a NonNegative one of 0 or more."""

    model_type: ClassVar[str] = "sew"
    prefix: ClassVar[str] = "sew"

    layerdrop: Probability = 0.1

    @property
    def frames_eps(self) -> float:
        """Epsilon of the norm behind the convolutions."""
        return self.layer_norm_eps

    @property
    def position_terms(self) -> tuple[str, ...]:
        """Terms of attention that tell positions: none."""
        return ()


@dataclass(frozen=True, kw_only=True)
class SEWDConfig(_Config):
    """Configuration of SEW-D, SEW with disentangled attention (model_type ``"sew-d"``)."""

    model_type: ClassVar[str] = "sew-d"
    prefix: ClassVar[str] = "sew_d"

    hidden_act: str = "gelu_python"
    layer_norm_eps: NonNegative = 1e-7
    feature_layer_norm_eps: NonNegative = 1e-5
    max_position_embeddings: Positive = 512
    max_relative_positions: int = -1
    position_buckets: int = 256
    share_att_key: bool = True
    relative_attention: bool = True
    pos_att_type: tuple[str, ...] = ("p2c", "c2p")
    norm_rel_ebd: str = "layer_norm"

    def __post_init__(self) -> None:
        super().__post_init__()
        middle = self.position_buckets // 2
        if self.relative_attention and self.position_buckets > 0:
            # transformers builds these too, and then divides by zero or fills the buckets with nonsense
            _expect(middle >= 1 and self.max_distance - 1 > middle, "position_buckets",
                    f"0 or less, or from 2 to 2 * ({self.max_distance} - 2)", self.position_buckets)  # fmt: skip

    def _check_unbuilt(self) -> None:
        super()._check_unbuilt()
        kernel = self.extra.get("conv_kernel_size", 0)
        _expect(kernel in (0, None), "conv_kernel_size", "0: the convolution layer of DeBERTa is not built", kernel)
        size = self.hidden_size // self.num_attention_heads
        found = self.extra.get("attention_head_size", size)
        _expect(found == size, "attention_head_size", f"{size}, hidden_size / num_attention_heads", found)

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        if self.max_relative_positions < 1:  # transformers does not declare this one: written only where it says something
            del values["max_relative_positions"]
        return values

    @property
    def frames_eps(self) -> float:
        """Epsilon of the norm behind the convolutions, which this family sets apart from its transformer's."""
        return self.feature_layer_norm_eps

    @property
    def position_terms(self) -> tuple[str, ...]:
        """Terms of attention that tell positions, of "c2p" and "p2c", in the order in which they are added."""
        return tuple(term for term in ("c2p", "p2c") if term in self.pos_att_type) if self.relative_attention else ()

    @property
    def score_term_count(self) -> int:
        """Terms that the scale of the scores counts: content, and each of "c2p" and "p2c", with or without relative attention."""
        return 1 + len({"c2p", "p2c"} & set(self.pos_att_type))

    @property
    def max_distance(self) -> int:
        """The largest relative distance told apart: ``max_relative_positions`` where given, else ``max_position_embeddings``."""
        return self.max_relative_positions if self.max_relative_positions >= 1 else self.max_position_embeddings

    @property
    def span(self) -> int:
        """Half the rows of the table of relative positions."""
        return self.position_buckets if self.position_buckets > 0 else self.max_distance

    @property
    def normalizes_positions(self) -> bool:
        """Whether a layer norm goes over the table of relative positions."""
        return "layer_norm" in [part.strip() for part in self.norm_rel_ebd.lower().split("|")]


Config = SEWConfig | SEWDConfig
"""Either family's configuration."""


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """The configuration of the family that ``model_type`` names.  Raises ConfigError for any other family and for wrong fields."""
    for cls in (SEWConfig, SEWDConfig):
        if values.get("model_type") == cls.model_type:
            return cls.from_dict(values)
    raise ConfigError(f"model_type: expected 'sew' or 'sew-d', found {brief(values.get('model_type'))}")


def _expect(condition: Any, name: str, expected: str, found: Any) -> None:
    if not condition:
        raise ConfigError(f"{name}: expected {expected}, found {brief(found)}")


def _check_activation(name: str, value: str) -> None:
    _expect(len(value) <= 100 and value.isprintable(), name, "the name of an activation", value)
    try:
        activation(value)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _checked(name: str, value: Any, kind: Any) -> Any:
    """The value as its field's type has it: lists become tuples, whole numbers floats, digit keys integers; anything else is refused."""
    inner = get_args(kind)
    if isinstance(kind, types.UnionType):
        return None if value is None else _checked(name, value, inner[0])
    if get_origin(kind) is Annotated:
        value, rule = _checked(name, value, inner[0]), inner[1]
        _expect(rule.holds(value), name, rule.expected, value)
        return value
    if get_origin(kind) is Literal:
        _expect(value in inner, name, f"{', '.join(map(repr, inner[:-1]))} or {inner[-1]!r}", value)
        return value
    if get_origin(kind) is tuple:
        _expect(isinstance(value, (list, tuple)), name, "a list", value)
        return tuple(_checked(f"{name}[{i}]", item, inner[0]) for i, item in enumerate(value))
    if get_origin(kind) is dict:
        _expect(inner[0] is int or isinstance(value, dict), name, "a dict", value)
        return _labels(value) if inner[0] is int else value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        # an infinite one computes to zeros or NaN, and an integer may be too large to be a float at all
        _expect(abs(value) <= sys.float_info.max, name, "a finite number", value)
        return float(value)
    _expect(type(value) is kind, name, {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind], value)
    if kind is int:
        _expect(abs(value) < 2**63, name, "an integer of 64 bits", value)
    return value


def _labels(value: Any) -> dict[int, str]:
    _expect(isinstance(value, dict) and value, "id2label", "a dict from 0, 1, ... to names", value)
    try:
        labels = {int(i): label for i, label in value.items()}
    except (TypeError, ValueError):
        raise ConfigError(f"id2label: expected whole numbers as keys, found {brief(list(value))}") from None
    _expect(len(labels) == len(value), "id2label", "each key once", list(value))  # "1" and "01" are one number
    _expect(sorted(labels) == list(range(len(labels))), "id2label", "the keys 0, 1, ... without gaps", sorted(labels))
    for i, label in labels.items():
        if not isinstance(label, str):
            raise ConfigError(f"id2label[{i}]: expected a string, found {brief(label)}")
    return dict(sorted(labels.items()))
