"""Other people's names for the stages."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numerics.cases import CASES, case, truth

from sewnp.config import SEWDConfig
from sewnp.errors import TraceError
from sewnp.networks.stages import stage_of
from sewnp.ports.names import read_map, renamed, transformers_names


def written(tmp_path: Path, value: Any) -> str:
    (tmp_path / "names.json").write_text(json.dumps(value))
    return str(tmp_path / "names.json")


def test_names_axes_and_heads(tmp_path: Path) -> None:
    names = read_map(
        written(
            tmp_path,
            {
                "out": "logits",
                "conv": {"stage": "encoder.pos_conv_embed.conv", "transpose": [0, 2, 1]},
                "enc.{i}.q": {"stage": "encoder.layers.{i}.attention.q", "heads": 2},
                "blocks_{i}/res": {"stage": "encoder.layers.{i}.residual"},
                "debug": None,
                "enc.{i}.debug": None,
            },
        )
    )
    theirs = {
        "out": np.zeros((1, 2)),
        "conv": np.arange(6).reshape(1, 2, 3),
        "enc.11.q": np.arange(12).reshape(1, 3, 4),
        "blocks_3/res": np.ones(2),
        "debug": np.zeros(1),
        "enc.2.debug": np.zeros(1),
        "loss": np.array(3.0),
        "mine.7": np.array(4.0),
    }
    ours = renamed(theirs, names)
    assert list(ours) == [
        "logits",
        "encoder.pos_conv_embed.conv",
        "encoder.layers.11.attention.q",
        "encoder.layers.3.residual",
        "loss",
        "mine.7",
    ]
    assert len(ours) == 6
    np.testing.assert_array_equal(ours["encoder.pos_conv_embed.conv"], [[[0, 3], [1, 4], [2, 5]]])
    np.testing.assert_array_equal(ours["encoder.layers.11.attention.q"][0, 1], [[2, 3], [6, 7], [10, 11]])
    assert "logits" in ours
    assert "debug" not in ours
    with pytest.raises(KeyError):
        ours["debug"]


def test_an_exact_name_wins_over_a_pattern(tmp_path: Path) -> None:
    names = read_map(written(tmp_path, {"l.{i}": "encoder.layers.{i}.residual", "l.0": "logits"}))
    assert list(renamed({"l.0": np.zeros(1), "l.1": np.zeros(1)}, names)) == ["logits", "encoder.layers.1.residual"]


def test_two_names_for_one_stage(tmp_path: Path) -> None:
    names = read_map(written(tmp_path, {"a": "logits"}))
    with pytest.raises(TraceError, match="a and logits are both called logits"):
        renamed({"logits": np.zeros(1), "a": np.zeros(1)}, names)


@pytest.mark.parametrize("axes", [[0, 1], [0, 1, 3], [0, 0, 1], [2, 1, 0, 3]])
def test_axes_that_do_not_fit(axes: list[int], tmp_path: Path) -> None:
    ours = renamed({"a": np.zeros((1, 2, 3))}, read_map(written(tmp_path, {"a": {"stage": "logits", "transpose": axes}})))
    with pytest.raises(TraceError, match=r"a: shape \(1, 2, 3\) is not what the map says of logits"):
        ours["logits"]


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 4), (1, 2, 3, 4)])
def test_heads_that_do_not_fit(shape: tuple[int, ...], tmp_path: Path) -> None:
    ours = renamed({"a": np.zeros(shape)}, read_map(written(tmp_path, {"a": {"stage": "logits", "heads": 2}})))
    with pytest.raises(TraceError, match="a: shape"):
        ours["logits"]


@pytest.mark.parametrize(
    "value",
    [3, True, ["logits"], {}, {"stage": 3}, {"transpose": [0]}, {"stage": "logits", "transpose": "0 1"}, {"stage": "logits", "heads": 0},
     {"stage": "logits", "heads": True}, {"stage": "logits", "transpose": [0.5]}, {"stage": "logits", "axes": [0]},
     {"stage": "logits", "transpose": [0], "heads": 2}],
)  # fmt: skip
def test_a_map_that_says_something_else(value: Any, tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"names\.json: a: expected a stage name, null, "):
        read_map(written(tmp_path, {"a": value}))


def test_what_is_no_map(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"gone\.json: no such file"):
        read_map(str(tmp_path / "gone.json"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(TraceError, match=r"bad\.json: not a readable JSON file"):
        read_map(str(tmp_path / "bad.json"))
    with pytest.raises(TraceError, match="expected a JSON object, found list"):
        read_map(written(tmp_path, []))
    with pytest.raises(TraceError, match="the trace does not tell its configuration"):
        read_map("transformers")


@pytest.mark.parametrize("name", CASES)
def test_the_map_of_transformers_names_stages_of_ours(name: str) -> None:
    model, _ = case(name)
    names = read_map("transformers", model.config)
    stages = {target.stage for target in names.values()} - {None}
    for stage in stages:
        assert stage is not None
        stage_of(stage)
    # all but what is not in a module's hands: read in the docstring of from_torch
    left = set(truth(name)) - stages
    assert left <= {"input_values", "masked_spec_embed", "encoder.masked_frames", "ctc.alpha", "ctc.losses", "loss"}


def test_the_map_of_transformers_knows_which_term_is_divided_when() -> None:
    s = "encoder.encoder.layer.0.attention.self"
    for terms, expected in {
        ("p2c", "c2p"): {"@2": "c2p", "@3": "p2c"},
        ("p2c",): {"@2": "p2c"},
        ("c2p",): {"@2": "c2p"},
        (): {},
    }.items():
        names = transformers_names(SEWDConfig(num_hidden_layers=1, pos_att_type=terms))
        found = {path.removeprefix(f"{s}/div"): target.stage for path, target in names.items() if path.startswith(f"{s}/div")}
        assert found == {key: f"{s}.{term}" for key, term in expected.items()}
