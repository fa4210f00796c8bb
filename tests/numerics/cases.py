"""Small models of every kind with weights that matter, and the ways in which the tests of the oracle run and judge them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from sewnp.config import SEWConfig, SEWDConfig
from sewnp.loading import from_config
from sewnp.mistakes import name_mistakes
from sewnp.model import Model
from sewnp.networks.stages import stage_of
from sewnp.numerics import (
    Comparison,
    Inputs,
    Precision,
    Trace,
    budgets,
    compare,
    honest_runs,
    judge_replay,
    local_budgets,
    replay,
    trace,
)
from sewnp.numerics.precision import in_precision, with_weights
from sewnp.types import Array

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8, 12, 12),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 1),
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 10,
    "vocab_size": 11,
    "id2label": {0: "a", 1: "b", 2: "c"},
}
TINY_D = TINY | {"max_position_embeddings": 16, "position_buckets": 4}

LABELS = {
    "ctc": np.array([[1, 2, 2], [3, -100, -100], [4, 5, -100]]),
    "classification": np.array([1, 0, -100]),
}


@dataclass(frozen=True)
class Case:
    """What a model is made of and called with."""

    family: str = "sew"
    head: Any = "ctc"
    frames: int = 9
    lengths: tuple[int, ...] | None = None
    hidden: bool = False
    masking: Any = "any"
    gain: float = 1.0
    """Makes what the first norm gives out so many times as large."""
    config: dict[str, Any] = field(default_factory=dict)
    gradients: bool = False
    trained: bool = False
    """Whether it runs as in training: stages dropped, a layer left out, channels hidden."""


CASES: dict[str, Case] = {
    "sew": Case(lengths=(9, 6, 4), hidden=True, config={"conv_bias": True}),
    "sew, one clip all padding": Case(
        lengths=(9, 0, 3),
        hidden=True,
        gain=12.0,
        config={"ctc_zero_infinity": True, "ctc_loss_reduction": "sum", "apply_spec_augment": False},
    ),
    "sew, layer norm": Case(
        frames=11,
        hidden=True,
        gain=12.0,
        config={
            "apply_spec_augment": False,
            "feat_extract_norm": "layer",
            "num_conv_pos_embeddings": 4,
            "squeeze_factor": 3,
            "feat_extract_activation": "relu",
            "hidden_act": "gelu_new",
            "ctc_loss_reduction": "none",
        },
    ),
    "sew, weighted": Case(
        head="classification", lengths=(9, 5, 3), frames=10, config={"use_weighted_layer_sum": True, "num_conv_pos_embeddings": 6}
    ),
    "sew, square": Case(head=None, config={"conv_dim": (16, 16, 16), "squeeze_factor": 1, "num_conv_pos_embeddings": 4}),
    "sew-d": Case("sew-d", lengths=(23, 12, 5), frames=23, config={}),
    "sew-d, separate keys": Case(
        "sew-d",
        "classification",
        frames=29,
        # the last bucket is another one where constants are divided first
        config={"share_att_key": False, "position_buckets": 14, "max_position_embeddings": 13},
    ),
    "sew-d, raw distances": Case(
        "sew-d",
        lengths=(25, 9, 11),
        frames=25,
        masking="floor",
        config={"position_buckets": 0, "max_position_embeddings": 6, "norm_rel_ebd": "none", "conv_dim": (8, 12, 16)},
    ),
    "sew-d, c2p alone": Case("sew-d", "classification", lengths=(9, 4, 2), config={"pos_att_type": ("c2p",)}),
    "sew-d, p2c alone": Case("sew-d", lengths=(9, 9, 1), config={"pos_att_type": ("p2c",), "conv_bias": True}),
    "sew-d, no positions": Case("sew-d", None, config={"relative_attention": False}),
    "sew-d, exact powers": Case(
        "sew-d", None, frames=75, config={"position_buckets": 50, "max_position_embeddings": 37, "num_hidden_layers": 1}
    ),
}


GRADIENT_CASES: dict[str, Case] = {
    f"{name}, back": replace(each, gradients=True, config={"ctc_zero_infinity": True} | each.config)
    for name, each in CASES.items()
    if each.head is not None and name != "sew-d, raw distances"
} | {
    "sew-d, floor, back": replace(CASES["sew-d, raw distances"], lengths=(25, 12, 11), gradients=True),
    "sew-d, weighted, back": Case(
        "sew-d", "classification", frames=11, config={"use_weighted_layer_sum": True, "norm_rel_ebd": "none"}, gradients=True
    ),
    "sew, one frame, back": Case(frames=3, head="classification", gradients=True),
    "sew-d, one frame, back": Case("sew-d", frames=3, head="classification", gradients=True),
    "sew, trained, back": Case(
        lengths=(9, 6, 7), hidden=True, config={"num_hidden_layers": 3, "conv_bias": True}, gradients=True, trained=True
    ),
    "sew-d, trained, back": Case(
        "sew-d", lengths=(13, 12, 9), frames=13, config={"num_hidden_layers": 3}, gradients=True, trained=True
    ),
    "sew-d, square, trained, back": Case(
        "sew-d", "classification", config={"conv_dim": (8, 12, 16), "num_hidden_layers": 2}, gradients=True, trained=True
    ),
}
"""The same, and back again; and what shows on the way back alone."""

DROPPED = (
    "layer_norm",
    "encoder.layer_norm",
    "encoder.layers.{i}.attention.probabilities",
    "encoder.layers.{i}.attention.output",
    "encoder.layers.{i}.feed_forward.activation",
    "encoder.encoder.layer.{i}.attention.self.table",
    "encoder.encoder.layer.{i}.attention.self.probabilities",
    "encoder.encoder.layer.{i}.output.dense",
    "encoder.last_hidden_state",
)


def training(model: Model, inputs: Inputs, rng: np.random.Generator) -> Inputs:
    """The inputs with factors for some stages, the second of three layers left out, and some channels hidden."""
    shapes: dict[str, tuple[int, ...]] = {}

    def see(name: str, x: Array, /) -> Array:
        shapes[name] = x.shape
        return x

    skipped = [1] if model.config.num_hidden_layers == 3 else None
    plain = {name: value for name, value in inputs.arguments().items() if name != "gradients"}
    model(**plain, see=see)
    factors = {
        name: (rng.random(shape) > 0.3) / 0.7
        for name, shape in shapes.items()
        if stage_of(name).name in DROPPED and not (skipped and ".1." in name)
    }
    channels = rng.random((3, model.config.hidden_size)) < 0.2
    return replace(inputs, mask_feature_indices=channels, skip_layers=skipped, dropout=factors)


@cache
def case(name: str) -> tuple[Model, Inputs]:
    """The model of a case, float32, with weights so large that no part of it drowns in another, and what it is called with."""
    wanted = (CASES | GRADIENT_CASES)[name]
    config = SEWConfig(**(TINY | wanted.config)) if wanted.family == "sew" else SEWDConfig(**(TINY_D | wanted.config))
    rng = np.random.default_rng(len(name))

    def shaken(weight: Array) -> Array:
        spread = 0.3 if weight.ndim == 1 else 1.5 / np.sqrt(np.prod(weight.shape[1:]))
        return (weight + spread * rng.normal(size=weight.shape)).astype(np.float32)

    model = with_weights(from_config(config, head=wanted.head, masking=wanted.masking), shaken)
    norm = model.weights[config.prefix]["feature_extractor"]["conv_layers"][0]["layer_norm"]
    norm["weight"] = (norm["weight"] * wanted.gain).astype(np.float32)
    samples = config.samples_for(wanted.frames)
    x = rng.normal(size=(3, samples)).astype(np.float32)
    mask = None
    if wanted.lengths is not None:
        counts = [config.samples_for(n) if n else config.samples_for(1) - 1 for n in wanted.lengths]
        mask = (np.arange(samples) < np.array(counts)[:, None]).astype(np.int64)
    hidden = np.zeros((3, wanted.frames), dtype=bool)
    hidden[0, 2:4] = hidden[2, 1] = True
    inputs = Inputs(x, mask, LABELS.get(wanted.head), hidden if wanted.hidden else None, wanted.gradients)
    return model, training(model, inputs, rng) if wanted.trained else inputs


@cache
def truth(name: str) -> Trace:
    """The float64 trace of a case."""
    model, inputs = case(name)
    return trace(in_precision(model, "float64"), **inputs.arguments())


@cache
def allowed(name: str, precision: Precision = "float32") -> tuple[dict[str, float], dict[str, float]]:
    """Budgets of a case, of the whole run and local."""
    model, inputs = case(name)
    runs = honest_runs(model, inputs, precision, jittered_count=3 if inputs.gradients else 0)
    return budgets(truth(name), runs, precision), local_budgets(model, inputs, runs, precision)


def planted(name: str, bugs: dict[str, Callable[[dict[str, Array]], Array]], precision: Precision = "float32") -> dict[str, Array]:
    """A run of the case in which some stages are computed otherwise: each bug is given all stages so far, the right value of its own included."""
    model, inputs = case(name)
    values: dict[str, Array] = {}

    def see(stage: str, x: Array, /) -> Array:
        values[stage] = x
        if stage in bugs:
            with np.errstate(all="ignore"):
                values[stage] = bugs[stage](values).astype(x.dtype)
        return values[stage]

    inputs.run(in_precision(model, precision), see)
    return values


def diagnosed(
    name: str, theirs: Mapping[str, Array], precision: Precision = "float32", *, names: Iterable[str] | None = None
) -> Comparison:
    """What the oracle says of their stages, or of some of them."""
    model, inputs = case(name)
    whole, local = allowed(name, precision)
    replayed = replay(model, theirs, inputs)
    judged = judge_replay(compare(truth(name), theirs, whole, names=names), replayed.local, theirs, local)
    return name_mistakes(judged, model, replayed, theirs, local)


def origins(result: Comparison) -> dict[str, str]:
    """The stages that are wrong in themselves, with their causes."""
    return {row.name: row.cause for row in result.rows if row.origin}
