"""The models of the conformance suite: the weights and inputs that a seed makes of a case, and the branches that the case runs through."""

import zlib
from dataclasses import replace
from typing import Any

import numpy as np

from sewnp.checkpoints import nest
from sewnp.config import Config, config_from_dict
from sewnp.model import Model
from sewnp.networks.dropout import drawn_factors, dropout_rates
from sewnp.numerics.trace import Inputs
from sewnp.parameters import parameter_shapes
from sewnp.suite.cases import NO_SAMPLE, NetworkCase
from sewnp.types import Array

TINY: dict[str, Any] = {
    "vocab_size": 11,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (6, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 6,
    "layer_norm_eps": 1e-3,
    "id2label": {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"},
}
TINY_D = TINY | {"max_position_embeddings": 16, "position_buckets": 8, "feature_layer_norm_eps": 1e-2}
"""The epsilons are larger than anybody's: a wrong one of the usual size, 1e-5 for 1e-7, changes values of size 1 less than float32 does."""


def random_of(name: str, seed: int) -> np.random.Generator:
    """The random numbers of a case.  They depend on its name, so that a new case changes none of the others."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def config_of(case: NetworkCase) -> Config:
    """The configuration of a network case."""
    return config_from_dict({"model_type": case.family, **(TINY if case.family == "sew" else TINY_D), **case.config})


def model_of(case: NetworkCase, seed: int) -> Model:
    """The model of a case: random float32 weights, none of them zero or one, so that none can be forgotten unseen."""
    config, rng = config_of(case), random_of(f"weights of {case.name}", seed)
    weights = {key: _weight(key, shape, case, config, rng) for key, shape in parameter_shapes(config, case.head).items()}
    return Model(config=config, weights=nest(weights), head=case.head, masking=case.masking, name=case.name)


def inputs_of(case: NetworkCase, seed: int) -> Inputs:
    """What the model of a case is called with."""
    config, rng = config_of(case), random_of(f"inputs of {case.name}", seed)
    samples = config.samples_for(case.frame_count) + config.hop // 2  # some samples behind the last frame, which no frame sees
    x = (case.gain * rng.standard_normal((case.clip_count, samples))).astype(np.float32)
    mask = hidden = None
    if case.lengths is not None:
        real = [samples if n == case.frame_count else 0 if n == NO_SAMPLE else samples_for(config, n) for n in case.lengths]
        mask = (np.arange(samples) < np.array(real)[:, None]).astype(np.int64)
        mask = mask[:, ::-1].copy() if case.padding == "left" else mask
    if case.hidden:
        hidden = np.zeros((case.clip_count, case.frame_count), dtype=bool)
        hidden[0, 1:4] = hidden[-1, [0, -1]] = True
    labels = None if case.labels is None else np.array(case.labels, dtype=np.int64)
    return Inputs(x, mask, labels, hidden, case.gradients)


def in_training(case: NetworkCase, model: Model, inputs: Inputs, seed: int) -> Inputs:
    """The inputs of a case with masks for its channels and for every stage that the original drops, at the configuration's rates."""
    rng, rates = random_of(f"masks of {case.name}", seed), dropout_rates(model.config, model.head)
    draw = drawn_factors(rates, rng)
    factors: dict[str, Array] = {}

    def see(name: str, x: Array, /) -> Array:
        by = draw(name, x)
        if by is not None and not any(f".{i}." in name for i in case.skip_layers or ()):
            factors[name] = by
        return x

    replace(inputs, gradients=False).run(model, see)
    hidden = rng.random((len(inputs.input_values), model.config.hidden_size)) < 0.2
    return replace(inputs, mask_feature_indices=hidden, skip_layers=case.skip_layers, dropout=factors)


def samples_for(config: Config, frames: int) -> int:
    """The fewest samples that give so many frames; for 0, the most that give none."""
    return config.samples_for(frames) if frames else config.samples_for(1) - 1


def covers(case: NetworkCase, config: Any, inputs: Inputs) -> list[str]:
    """The branches that a case runs through, read off its configuration and inputs, as ``name:value``."""
    factor = config.squeeze_factor
    branches = {
        "family": case.family,
        "head": case.head or "none",
        "norm": config.feat_extract_norm,
        "conv_bias": config.conv_bias,
        "squeeze": factor,
        "remainder": f"{case.frame_count % factor}/{factor}",
        "kernel": "odd" if config.num_conv_pos_embeddings % 2 else "even",
        "projection": "absent" if config.conv_dim[-1] == config.hidden_size else "present",
        "hidden_act": config.hidden_act,
        "feat_extract_activation": config.feat_extract_activation,
        "layers": config.num_hidden_layers,
        "mask": "none" if case.lengths is None else case.masking,
        "mask_time_indices": "none" if inputs.mask_time_indices is None else "used" if config.apply_spec_augment else "ignored",
        "labels": "none" if inputs.labels is None else "given",
        "feature_norm_eps": config.layer_norm_eps if case.family == "sew" else config.feature_layer_norm_eps,
    }
    if case.lengths and min(case.lengths) <= 0:
        branches["fully_masked"] = case.masking if NO_SAMPLE not in case.lengths else f"{case.masking}, also without any sample"
    if case.gradients:
        branches["gradients"] = "trained" if case.trained else "plain"
        branches |= {"skipped": len(case.skip_layers)} if case.skip_layers else {}
    if case.padding == "left":
        branches["padding"] = "left"
    if case.head == "classification":
        branches["weighted_sum"] = config.use_weighted_layer_sum
    if inputs.labels is not None and case.head == "ctc":
        branches |= {
            "reduction": config.ctc_loss_reduction,
            "zero_infinity": config.ctc_zero_infinity,
            "blank": config.pad_token_id,
        }
    if case.family == "sew-d":
        branches |= {
            "relative_attention": config.relative_attention,
            "pos_att_type": "+".join(sorted(config.pos_att_type)) or "none",
            "share_att_key": config.share_att_key,
            "buckets": "on" if config.position_buckets > 0 else "off",
            "norm_rel_ebd": "layer_norm" if config.normalizes_positions else "none",
            "max_relative_positions": "given" if config.max_relative_positions >= 1 else "default",
            "longer_than_span": case.frame_count // factor > config.span,
            "bucket_sizes": f"{config.position_buckets}/{config.max_distance}",
            "own_feature_eps": config.layer_norm_eps != config.feature_layer_norm_eps,
        }
    return [f"{name}:{str(value).lower() if isinstance(value, bool) else value}" for name, value in branches.items()]


def _weight(key: str, shape: tuple[int, ...], case: NetworkCase, config: Config, rng: np.random.Generator) -> Array:
    x = rng.standard_normal(shape)
    if key.endswith("original0"):  # lengths of the taps: what keeps the position convolution as loud as its input
        x = (1.0 + 0.3 * x) * np.sqrt(config.hidden_size / config.num_conv_pos_embeddings)
    elif key.endswith("original1") or key in ("layer_weights", f"{config.prefix}.masked_spec_embed"):
        pass
    elif len(shape) == 1:
        x = 0.3 * x + (1.0 if "norm" in key.lower() and key.endswith("weight") else 0.0)
    elif "rel_embeddings" not in key:
        x = 1.2 / np.sqrt(np.prod(shape[1:])) * x
    if "conv_layers.0.layer_norm" in key or "intermediate" in key:
        x = case.steep * x
    return np.asarray(x, dtype=np.float32)
