"""Recipes: files and options become one dataclass, or an error that names the key; and the model that a run begins with."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from originals import TINY, TINY_D
from sewnp.errors import ConfigError, TrainingError
from sewnp.parameters import parameter_shapes
from sewnp.training import read_recipe, recipe_from_dict, starting_model

from .conftest import tiny_recipe


def test_a_recipe_goes_through_json() -> None:
    recipe = tiny_recipe()
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe_from_dict(recipe.to_dict()) == recipe


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('model = "digits"\nlr = 1\n[[data]]\npath = "a"\njoin = {by = "speaker"}\n')
    recipe = recipe_from_dict(read_recipe(path))
    assert (recipe.lr, recipe.data[0].path, recipe.data[0].join.clips) == (1.0, "a", (1, 8))  # type: ignore[union-attr]
    path.write_text("model = \n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: not a readable TOML file")):
        read_recipe(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stpes": 1}, "stpes: unknown; expected one of 'model', 'task'"),
        ({"steps": 0}, "steps: expected a number of 1 or more, found 0"),
        ({"steps": 1.5}, "steps: expected an integer, found 1.5"),
        ({"lr": 0}, "lr: expected a number above 0, found 0"),
        ({"lr": float("nan")}, "lr: expected a finite number, found nan"),
        ({"betas": [0.9]}, "betas: expected 2 values, found [0.9]"),
        ({"betas": [0.9, 1.0]}, "betas: expected two numbers from 0 to below 1, found (0.9, 1.0)"),
        ({"schedule": "stairs"}, "schedule: expected 'cosine', 'linear' or 'constant', found 'stairs'"),
        ({"normalize": "most"}, "normalize: expected one of "),
        ({"labels": ["a"]}, "labels: expected none with task 'ctc', found ('a',)"),
        ({"labels": ["a", "a"], "task": "classification"}, "labels: expected each label once"),
        ({"new_vocabulary": True, "task": "classification"}, "new_vocabulary: expected false with task 'classification'"),
        ({"model": None}, "model: expected a model, or a config with a model_type, found None"),
        ({"hold_out": ["ann"]}, "hold_out: expected a dict, found ['ann']"),
        ({"freeze": "base"}, "freeze: expected a list, found 'base'"),
    ],
)
def test_what_makes_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        recipe_from_dict({"model": "digits"} | values)


def test_a_model_of_a_configuration() -> None:
    model = starting_model(tiny_recipe(), {"B A", "C"})
    assert model.tokenizer is not None
    assert list(model.tokenizer.vocab) == ["<pad>", "<s>", "</s>", "<unk>", "|", "A", "B", "C"]
    assert model.config.vocab_size == 8
    assert {key: w.shape for key, w in model.flat_weights().items()} == dict(parameter_shapes(model.config, "ctc"))
    again, other = starting_model(tiny_recipe(), {"ABC"}), starting_model(tiny_recipe(seed=1), {"ABC"})
    key = "sew.encoder.layers.0.attention.k_proj.weight"
    assert np.array_equal(model.flat_weights()[key], again.flat_weights()[key])
    assert not np.array_equal(model.flat_weights()[key], other.flat_weights()[key])


def test_an_embedded_model_keeps_its_weights(digits: sewnp.Model) -> None:
    recipe = recipe_from_dict({"model": "digits", "config": {"hidden_dropout": 0.3}})
    model = starting_model(recipe, {"ONE"})
    assert model.engine == "fast"
    assert model.config.hidden_dropout == 0.3
    assert model.tokenizer is not None
    assert digits.tokenizer is not None
    assert model.tokenizer.vocab == digits.tokenizer.vocab
    ours, theirs = model.flat_weights(), digits.flat_weights()
    assert all(np.array_equal(ours[key], w) for key, w in theirs.items())


def test_new_heads(digits: sewnp.Model) -> None:
    spelled = starting_model(recipe_from_dict({"model": "digits", "new_vocabulary": True}), {"ÄB"})
    assert spelled.flat_weights()["lm_head.weight"].shape == (7, 160)
    labelled = recipe_from_dict({"model": "digits", "task": "classification", "labels": ["yes", "no"]})
    model = starting_model(labelled, {"yes"})
    assert (model.head, model.tokenizer, model.config.id2label) == ("classification", None, {0: "yes", 1: "no"})
    base = {key: w for key, w in digits.flat_weights().items() if key.startswith("sew.")}
    assert all(np.array_equal(model.flat_weights()[key], w) for key, w in base.items())
    with pytest.raises(TrainingError, match="labels: expected the labels of a new classification head, found none"):
        starting_model(recipe_from_dict({"model": "digits", "task": "classification"}), {"yes"})
    words = starting_model(recipe_from_dict({"model": "digit-words", "task": "classification"}), {"ONE"})
    assert len(words.config.id2label) == 12
    letters = starting_model(recipe_from_dict({"model": "digit-words"}), {"ONE"})
    assert letters.config.id2label == {0: "LABEL_0", 1: "LABEL_1"}
    with pytest.raises(TrainingError, match="new_vocabulary: expected texts with at least one character"):
        starting_model(recipe_from_dict({"model": "sew-tiny", "new_vocabulary": True}), {""})


def test_configurations_that_do_not_fit() -> None:
    def start(**config: Any) -> None:
        starting_model(recipe_from_dict({"model": "digits", "config": config}), {"ONE"})

    with pytest.raises(ConfigError, match=r"config: .*: expected shape .*, found .* in digits"):
        start(hidden_size=320)
    with pytest.raises(ConfigError, match=r"config: sew\.encoder\.layers\.6\..*: expected in digits, which does not have it"):
        start(num_hidden_layers=7)
    with pytest.raises(ConfigError, match=r"config\.num_labels: expected labels in the recipe's own key labels"):
        start(num_labels=3)
    mixing = TINY | {"model_type": "sew", "use_weighted_layer_sum": True, "layerdrop": 0.1}
    del mixing["num_labels"]
    with pytest.raises(ConfigError, match=r"layerdrop: expected 0 where a head mixes the hidden states of all layers, found 0\.1"):
        starting_model(recipe_from_dict({"config": mixing, "task": "classification", "labels": ["a"]}), {"a"})


@pytest.mark.parametrize(("name", "family"), [("digits", "sew-d"), ("digits-d", "sew")])
def test_a_model_of_the_other_family_gives_what_both_have(name: str, family: str, tmp_path: Path) -> None:
    there = starting_model(recipe_from_dict({"model": name, "config": {"model_type": family}}), {"ONE"})
    assert there.config.model_type == family
    assert there.config.extra == {}
    there.save(tmp_path / "there")
    back = starting_model(
        recipe_from_dict({"model": str(tmp_path / "there"), "config": {"model_type": sewnp.load(name).config.model_type}}), {"ONE"}
    )
    before, after = sewnp.load(name).flat_weights(), back.flat_weights()
    assert set(after) == set(before)
    others = {key for key in before if not np.array_equal(before[key], after[key])}
    table = ("encoder.rel_embeddings.weight", "encoder.LayerNorm.weight", "encoder.LayerNorm.bias")
    own = (
        ("sew.encoder.layer_norm.weight", "sew.encoder.layer_norm.bias")
        if name == "digits"
        else tuple(f"sew_d.encoder.{key}" for key in table)
    )
    assert others == set(own)


def test_what_the_other_family_alone_has_stays_behind(tmp_path: Path) -> None:
    """SEW-D's projections of positions."""
    config = {key: value for key, value in TINY_D.items() if key != "num_labels"} | {"model_type": "sew-d", "share_att_key": False}
    starting_model(recipe_from_dict({"config": config}), {"ONE"}).save(tmp_path / "there")
    here = starting_model(recipe_from_dict({"model": str(tmp_path / "there"), "config": {"model_type": "sew"}}), {"ONE"})
    assert set(here.flat_weights()) == set(parameter_shapes(here.config, "ctc"))
    with pytest.raises(ConfigError, match=r"pos_key_proj.*: expected in digits, which does not have it"):
        starting_model(recipe_from_dict({"model": "digits", "config": {"model_type": "sew-d", "share_att_key": False}}), {"ONE"})
