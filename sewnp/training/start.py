"""The model that a run begins with: loaded, of a published size, or described by the recipe; with a head for what it shall learn."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sewnp.checkpoints import nest
from sewnp.checkpoints.folder import read_config
from sewnp.config import Config, config_from_dict
from sewnp.errors import ConfigError, TrainingError, brief
from sewnp.fast.names import NAMES
from sewnp.initialization import fill
from sewnp.loading import load
from sewnp.model import Model
from sewnp.parameters import head_shapes, parameter_shapes
from sewnp.presets import PRESETS
from sewnp.speech import CTCTokenizer, FeatureExtractor, vocabulary_spelling
from sewnp.speech.own_keys import OwnKeys, own_keys, with_own_keys
from sewnp.training.recipe import Recipe
from sewnp.types import Array

_FAMILYS_OWN = ("encoder.layer_norm", "encoder.encoder.rel_embeddings", "encoder.encoder.LayerNorm")
"""What the other family does not have."""

_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "|")
"""What a new vocabulary begins with: transformers' own tokens, in the order of the published models."""


def starting_model(recipe: Recipe, texts: Collection[str]) -> Model:
    """The model that a recipe trains: by the fast engine in float32, by the plain layers in float64.

    texts: what is said in all clips, for a new vocabulary.

    Weights that the recipe's model does not have, those of a new head or of SpecAugment's vector, are drawn from the recipe's seed.  A model of the
    other family, where the recipe's config has another model_type, gives what both have, and all else of its config.json.  Raises
    ConfigError, naming the key, and what loading raises; TrainingError for a head that would need a vocabulary or labels.
    """
    base = _base(recipe)
    config = config_from_dict(base.config.to_dict() | _without_labels(recipe.config))
    if config.model_type != base.config.model_type:
        config = replace(config, extra={})  # what only the other family's says
    tokenizer, fresh_head = base.tokenizer, base.head != recipe.task
    if recipe.task == "ctc" and (recipe.new_vocabulary or tokenizer is None):
        tokenizer, fresh_head = new_vocabulary(texts), True
        special = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
        config = config_from_dict(config.to_dict() | special | {"vocab_size": len(tokenizer)})
    if recipe.task == "ctc" and base.head == "classification":
        config = replace(config, id2label=type(config)().id2label)  # they are no letters
    if recipe.labels and recipe.labels != tuple(config.id2label.values()):
        config, fresh_head = replace(config, id2label=dict(enumerate(recipe.labels))), True
    if recipe.task == "classification" and not recipe.labels and fresh_head:
        raise TrainingError("labels: expected the labels of a new classification head, found none")
    if getattr(config, "layerdrop", 0.0) > 0 and recipe.task == "classification" and config.use_weighted_layer_sum:
        raise ConfigError(f"layerdrop: expected 0 where a head mixes the hidden states of all layers, found {config.layerdrop}")  # type: ignore[union-attr]
    weights = _weights(base, config, recipe, fresh_head=fresh_head)
    asked = own_keys(base.feature_extractor.extra) if recipe.task == "ctc" else OwnKeys()
    if tokenizer is not base.tokenizer:
        asked = replace(asked, words=None, unknown_margin=None)
    asked = replace(asked, **recipe.sewnp.said())
    if tokenizer is not None and recipe.task == "ctc":
        asked.check_vocabulary(vocabulary_spelling(tokenizer, config.vocab_size))
    return replace(
        base,
        feature_extractor=replace(base.feature_extractor, extra=with_own_keys(base.feature_extractor.extra, asked)),
        config=config,
        weights=nest(weights),
        head=recipe.task,
        tokenizer=tokenizer if recipe.task == "ctc" else None,
        engine="fast" if recipe.dtype == "float32" else "textbook",
    )


def new_vocabulary(texts: Collection[str]) -> CTCTokenizer:
    """A tokenizer of all characters of the texts, one a token, after the special ones.

    >>> new_vocabulary(["ONE", "TEN"]).vocab
    {'<pad>': 0, '<s>': 1, '</s>': 2, '<unk>': 3, '|': 4, 'E': 5, 'N': 6, 'O': 7, 'T': 8}
    """
    characters = sorted({c for text in texts for c in text if not c.isspace()} - {"|"})
    if not characters:
        raise TrainingError("new_vocabulary: expected texts with at least one character, found none")
    return CTCTokenizer.from_files({token: index for index, token in enumerate((*_SPECIAL, *characters))})


def _base(recipe: Recipe) -> Model:
    """What the recipe's model names; of a configuration alone a model without weights."""
    name, dtype = recipe.model, recipe.dtype
    if name is not None and name not in PRESETS and not name.endswith(".json"):
        return load(name, dtype=dtype, engine="textbook")
    described = config_from_dict(recipe.config) if name is None else None
    config = described or PRESETS.get(str(name)) or read_config(Path(str(name)))
    return Model(config=config, weights={}, head=None, feature_extractor=FeatureExtractor(), name=name or config.model_type)


def _without_labels(config: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("id2label", "label2id", "num_labels"):
        if key in config:
            raise ConfigError(f"config.{key}: expected labels in the recipe's own key labels, found {brief(config[key])}")
    return dict(config)


def _weights(base: Model, config: Config, recipe: Recipe, *, fresh_head: bool) -> dict[str, Array]:
    """By key, those of the base model where it has them, the others fresh."""
    held = base.flat_weights()
    own: tuple[str, ...] = (f"{config.prefix}.masked_spec_embed",)
    if held and base.config.model_type != config.model_type:
        held = {_twin(key, config.model_type): w for key, w in held.items()}
        own += tuple(f"{config.prefix}.{name}." for name in _FAMILYS_OWN)
    wanted = parameter_shapes(config, recipe.task)
    heads = head_shapes(config, recipe.task)
    fresh = {key: shape for key, shape in wanted.items() if key not in held or (fresh_head and key in heads)}
    for key, shape in wanted.items():
        if key not in fresh and held[key].shape != shape:
            raise ConfigError(f"config: {key}: expected shape {shape}, found {held[key].shape} in {base.name}")
        if held and key in fresh and key not in heads and not key.startswith(own):
            raise ConfigError(f"config: {key}: expected in {base.name}, which does not have it")
    made = fill(fresh, config, seed=recipe.seed, dtype=recipe.dtype)
    return {key: made[key] if key in made else np.array(held[key]) for key in wanted}


def _twin(key: str, family: str) -> str:
    """The key that a weight has in a model of that family, which is not its own."""
    theirs, ours = NAMES["sew" if family == "sew-d" else "sew-d"], NAMES[family]
    prefix = "sew_d." if family == "sew-d" else "sew."
    of_layer = re.fullmatch(rf"sew(?:_d)?\.{re.escape(theirs.layers)}\.(\d+)\.(.*)\.(weight|bias)", key)
    if of_layer is None:
        return re.sub(r"^sew(_d)?\.", prefix, key)
    number, part, kind = of_layer.groups()
    # SEW-D's projections of positions, where it has any, are called as they are: SEW wants none
    return f"{prefix}{ours.layers}.{number}.{dict(zip(theirs.parts, ours.parts, strict=True)).get(part, part)}.{kind}"
