"""The two configurations, with the fields and defaults of transformers 5.23, read from and written to its config.json.

Fields that only matter in training (dropouts, SpecAugment probabilities, initialisation) are kept so that a file round-trips; this
package runs inference and does not read them.  Keys that are no field (``architectures``, ``transformers_version`` ...) travel in ``extra``.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np

from sewnp.errors import ConfigError, brief
from sewnp.fields import Natural, NonNegative, Positive, Positives, Probability, check_fields, expect
from sewnp.layers.activations import activation
from sewnp.layers.masking import frame_count

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
        check_fields(self)
        known = {f.name for f in dataclasses.fields(self)} & set(self.extra)
        expect(not known, "extra", "a dict of keys that are no fields", self.extra)
        for name in ("hidden_act", "feat_extract_activation"):
            _check_activation(name, getattr(self, name))
        self._check_convolutions()
        self._check_division()
        self._check_unbuilt()
        object.__setattr__(self, "extra", {name: value for name, value in self.extra.items() if name not in _DERIVED})

    def _check_convolutions(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("conv_dim", "conv_stride", "conv_kernel")}
        names = ", ".join(lengths)
        expect(len(set(lengths.values())) == 1 and self.conv_dim, names, "equal lengths of 1 or more", lengths)
        expect(len(self.conv_dim) <= _MOST_CONVOLUTIONS, names, f"at most {_MOST_CONVOLUTIONS} convolutions", len(self.conv_dim))
        count = len(self.conv_dim)
        declared = self.extra.get("num_feat_extract_layers", count)
        expect(declared == count, "num_feat_extract_layers", f"{count}, the length of conv_dim", declared)

    def _check_division(self) -> None:
        for name in ("num_conv_pos_embedding_groups", *(["num_attention_heads"] if self.num_hidden_layers else [])):
            parts = getattr(self, name)
            expect(self.hidden_size % parts == 0, name, f"a divisor of hidden_size={self.hidden_size}", parts)

    def _check_unbuilt(self) -> None:
        adapter = self.extra.get("add_adapter")
        expect(not adapter, "add_adapter", "false: neither family has an adapter", adapter)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The configuration that a parsed config.json describes.  Unknown keys are kept in ``extra``; ``num_labels`` alone makes labels."""
        if not isinstance(values, Mapping):
            raise ConfigError(f"expected a dict of fields, found {type(values).__name__}")
        found = values.get("model_type", cls.model_type)
        expect(found == cls.model_type, "model_type", repr(cls.model_type), found)
        known = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        chosen = {name: value for name, value in values.items() if name in known}
        labels = values.get("num_labels")
        if labels is not None and "id2label" not in values:
            whole = isinstance(labels, int | np.integer) and not isinstance(labels, bool)
            expect(whole and 1 <= labels <= _MOST_LABELS, "num_labels", f"a whole number from 1 to {_MOST_LABELS}", labels)
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
            expect(middle >= 1 and self.max_distance - 1 > middle, "position_buckets",
                    f"0 or less, or from 2 to 2 * ({self.max_distance} - 2)", self.position_buckets)  # fmt: skip

    def _check_unbuilt(self) -> None:
        super()._check_unbuilt()
        kernel = self.extra.get("conv_kernel_size", 0)
        expect(kernel in (0, None), "conv_kernel_size", "0: the convolution layer of DeBERTa is not built", kernel)
        size = self.hidden_size // self.num_attention_heads
        found = self.extra.get("attention_head_size", size)
        expect(found == size, "attention_head_size", f"{size}, hidden_size / num_attention_heads", found)

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


def _check_activation(name: str, value: str) -> None:
    expect(len(value) <= 100 and value.isprintable(), name, "the name of an activation", value)
    try:
        activation(value)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
