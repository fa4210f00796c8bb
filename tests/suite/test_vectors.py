"""The conformance suite: what it covers, that its bytes depend on the seed alone, and that the original passes it."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sewnp
from sewnp.cli import main
from sewnp.errors import InputError, TraceError
from sewnp.layers.activations import ACTIVATIONS
from sewnp.numerics import Inputs, open_stages, trace, write_trace
from sewnp.ports.capture import from_torch
from sewnp.speech.features import FeatureExtractor
from sewnp.speech.tokenizer import CLEAN_UP
from sewnp.suite import check_vectors, vectors, write_vectors

CASE = "sew-d-two-layers"
TEXT = "tokenizer-plain"


def manifest(suite: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))
    return found


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_it_is_small(suite: Path) -> None:
    assert sum(map(len, bytes_of(suite).values())) < 18e6


def test_the_seed_decides_every_byte(suite: Path, tmp_path: Path) -> None:
    write_vectors(tmp_path / "again")
    assert bytes_of(tmp_path / "again") == bytes_of(suite)
    write_vectors(tmp_path / "again", seed=1)
    other = bytes_of(tmp_path / "again")
    assert other.keys() == bytes_of(suite).keys()
    for name in ("model", "inputs", "expected"):
        assert other[f"cases/{CASE}/{name}.safetensors"] != (suite / "cases" / CASE / f"{name}.safetensors").read_bytes()


def test_the_manifest_is_what_its_schema_says(suite: Path) -> None:
    schema = json.loads((suite / "manifest.schema.json").read_text(encoding="utf-8"))
    assert list(violations(manifest(suite), schema)) == []
    broken = manifest(suite)
    broken["cases"][0] |= {"kind": "other", "name": "../up", "more": 1}
    del broken["seed"], broken["cases"][1]["title"]
    assert len(list(violations(broken, schema))) == 5


def violations(value: Any, schema: dict[str, Any], path: str = "") -> list[str]:
    """The few words of JSON schema that ours uses; any other is an error."""
    types = {"object": dict, "array": list, "string": str, "integer": int}
    known = {
        "$schema",
        "title",
        "description",
        "type",
        "required",
        "additionalProperties",
        "properties",
        "items",
        "const",
        "enum",
        "pattern",
    }
    assert schema.keys() <= known | {"minimum"}
    wrong = []
    if "const" in schema and value != schema["const"]:
        wrong.append(f"{path}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{path}: {value!r} is none of {schema['enum']}")
    if "type" in schema and (not isinstance(value, types[schema["type"]]) or isinstance(value, bool)):
        return [*wrong, f"{path}: {value!r} is no {schema['type']}"]
    if "minimum" in schema and value < schema["minimum"]:
        wrong.append(f"{path}: {value!r} is too small")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        wrong.append(f"{path}: {value!r} does not match {schema['pattern']}")
    if isinstance(value, dict):
        wrong += [f"{path}: {key} is missing" for key in schema["required"] if key not in value]
        wrong += [f"{path}: {key} is too much" for key in value if key not in schema["properties"]]
        for key in value.keys() & schema["properties"].keys():
            wrong += violations(value[key], schema["properties"][key], f"{path}.{key}")
    if isinstance(value, list):
        for i, item in enumerate(value):
            wrong += violations(item, schema["items"], f"{path}[{i}]")
    return wrong


def test_every_branch_is_covered(suite: Path) -> None:
    covers = [set(case["covers"]) for case in manifest(suite)["cases"]]

    def together(*tags: str) -> bool:
        return any(set(tags) <= found for found in covers)

    for family in ("family:sew", "family:sew-d"):
        for tag in (
            "norm:group",
            "norm:layer",
            "conv_bias:true",
            "kernel:odd",
            "kernel:even",
            "projection:present",
            "projection:absent",
        ):
            assert together(family, tag), (family, tag)
        for head in ("ctc", "classification", "none"):
            assert together(family, f"head:{head}"), (family, head)
        for masking in ("any", "floor"):
            assert together(family, f"mask:{masking}"), (family, masking)
            assert together(family, f"fully_masked:{masking}, also without any sample"), (family, masking)
        for tag in (
            "mask:none",
            "weighted_sum:true",
            "weighted_sum:false",
            "mask_time_indices:used",
            "layers:0",
            "layers:2",
            "labels:given",
        ):
            assert together(family, tag), (family, tag)
        for factor in (1, 2, 3, 4):
            for rest in range(factor):
                assert together(family, f"remainder:{rest}/{factor}"), (family, rest, factor)
    for factor in (1, 2, 3, 4):
        for rest in range(factor):
            for kernel in ("odd", "even"):
                assert together(f"remainder:{rest}/{factor}", f"kernel:{kernel}"), (rest, factor, kernel)
    for name in ACTIVATIONS:
        assert together(f"hidden_act:{name}"), name
        assert together(f"feat_extract_activation:{name}"), name
    for terms in ("none", "c2p", "p2c", "c2p+p2c"):
        for shared in ("true", "false"):
            assert together(f"pos_att_type:{terms}", f"share_att_key:{shared}", "relative_attention:true"), (terms, shared)
    for tag in (
        "relative_attention:false",
        "norm_rel_ebd:none",
        "norm_rel_ebd:layer_norm",
        "bucket_sizes:32/129",
        "bucket_sizes:18/65",
        "bucket_sizes:50/37",
        "own_feature_eps:true",
    ):
        assert together(tag), tag
    for buckets in ("on", "off"):
        assert together(f"buckets:{buckets}", "longer_than_span:true"), buckets
        assert together(f"buckets:{buckets}", "longer_than_span:false"), buckets
        assert together(f"buckets:{buckets}", "max_relative_positions:given"), buckets
    for reduction in ("mean", "sum", "none"):
        assert together(f"reduction:{reduction}", "family:sew") or together(f"reduction:{reduction}", "family:sew-d"), reduction
        assert together(f"reduction:{reduction}"), reduction
    for infinity in ("true", "false"):
        assert together("ctc:infeasible", f"zero_infinity:{infinity}", "reduction:mean"), infinity
    for tag in (
        "ctc:repeats",
        "ctc:ignored",
        "ctc:blanks",
        "ctc:empty_target",
        "ctc:no_frames",
        "blank:5",
        "mask_time_indices:ignored",
    ):
        assert together(tag), tag
    for family in ("family:sew", "family:sew-d"):
        for tag in (
            "head:ctc",
            "head:classification",
            "weighted_sum:true",
            "norm:group",
            "norm:layer",
            "conv_bias:true",
            "mask:none",
            "mask:any",
            "mask:floor",
            "mask_time_indices:used",
            "fully_masked:any",
            "layers:0",
        ):
            assert together("gradients:plain", family, tag), (family, tag)
        for tag in ("head:ctc", "head:classification", "mask:any", "mask_time_indices:used", "skipped:1"):
            assert together("gradients:trained", family, tag), (family, tag)
    for tag in ("c2p+p2c", "c2p", "p2c", "none"):
        assert together("gradients:plain", f"pos_att_type:{tag}"), tag
    for tag in (
        "share_att_key:false",
        "norm_rel_ebd:none",
        "relative_attention:false",
        "buckets:off",
        "projection:absent",
        "kernel:even",
    ):
        assert together("gradients:plain", tag), tag
    for name in ACTIVATIONS:
        assert together("gradients:plain", f"hidden_act:{name}") or together(
            "gradients:plain", f"feat_extract_activation:{name}"
        ), name
    for tag in ("ctc:repeats", "ctc:ignored", "ctc:blanks", "ctc:empty_target", "ctc:no_frames", "ctc:infeasible", "blank:5"):
        assert together("gradients:ctc", tag), tag
    for reduction in ("mean", "sum", "none"):
        assert together("gradients:ctc", f"reduction:{reduction}"), reduction
    for tag in ("padding:left", "features:padding", "features:mask", "features:raw", "spec_augment:alone", "tokenizer:plain"):
        assert together(tag), tag


def test_masks_are_of_several_lengths(suite: Path) -> None:
    """Some end inside a group of squeezed frames, some between two; that is where the rule sets part."""
    for masking in ("any", "floor"):
        inside = set()
        for case in manifest(suite)["cases"]:
            if case["masking"] == masking and f"mask:{masking}" in case["covers"]:
                factor = json.loads((suite / "cases" / case["name"] / "config.json").read_text())["squeeze_factor"]
                lengths = load_file(suite / "cases" / case["name"] / "expected.safetensors")["frame_mask"].sum(axis=1)
                inside |= {(factor, int(length) % factor) for length in lengths}
        assert {factor for factor, rest in inside if rest} == {2, 3, 4}
        assert {factor for factor, rest in inside if not rest} == {1, 2, 3, 4}


def test_expected_values_are_usable(suite: Path) -> None:
    for case in manifest(suite)["cases"]:
        folder = suite / "cases" / case["name"]
        rows = json.loads((folder / "stages.json").read_text(encoding="utf-8"))
        assert set(case["required"]) <= {row["name"] for row in rows}
        if case["kind"] == "tokenizer":
            continue
        expected = open_stages(folder / "expected.safetensors")
        assert list(expected) == [row["name"] for row in rows]
        for row in rows:
            x = expected[row["name"]]
            assert x.dtype == {"float": np.float64, "integer": np.int64, "boolean": np.bool_}[row["kind"]]
            assert list(x.shape) == row["shape"]
            assert not np.isnan(x).any(), "NaN never agrees, so none may be expected"
            largest = 1e-3 if row["name"].startswith("gradient.") else 1e-4
            assert 8 * 2.0**-23 <= row["budget"] < largest if row["kind"] == "float" else row["budget"] == 0.0
            assert row.get("scale", 1.0) > 0.0


def test_the_files_alone_give_the_expected_values(suite: Path) -> None:
    """Models are read back from what was written, not from what wrote them."""
    for case in manifest(suite)["cases"]:
        folder = suite / "cases" / case["name"]
        if case["kind"] == "network":
            model = sewnp.load(folder, dtype="float64", masking=case["masking"])
            inputs = Inputs.of(load_file(folder / "inputs.safetensors"), gradients=goes_back(case))
            found = trace(model, **inputs.arguments())
            expected = open_stages(folder / "expected.safetensors")
            assert list(found) == list(expected)
            for name, x in found.items():
                np.testing.assert_array_equal(x, expected[name])
        if case["kind"] == "features":
            extractor = FeatureExtractor.from_dict(json.loads((folder / "preprocessor_config.json").read_text()))
            given = load_file(folder / "inputs.safetensors")
            values = extractor([given[f"audio.{i}"] for i in range(len(given))]).input_values
            np.testing.assert_allclose(values, open_stages(folder / "expected.safetensors")["input_values"], atol=1e-5)


def test_transformers_passes(suite: Path, tmp_path: Path) -> None:
    """Outputs and losses of the original, loaded from the suite, for all cases that it knows: not selu, and not the older mask rules."""
    import torch

    from originals import CLASSES

    judged = []
    for case in manifest(suite)["cases"]:
        if case["kind"] == "network" and known(case) and not goes_back(case):
            folder = suite / "cases" / case["name"]
            model = CLASSES[case["family"], case["head"]].from_pretrained(folder).eval()
            given = {name: torch.tensor(x) for name, x in load_file(folder / "inputs.safetensors").items()}
            with torch.no_grad():
                out = model(**given)
            kept = {"encoder.last_hidden_state": out.get("last_hidden_state"), "logits": out.get("logits"), "loss": out.get("loss")}
            save_file({name: x.numpy() for name, x in kept.items() if x is not None}, tmp_path / f"{case['name']}.safetensors")
            judged.append(case["name"])
    report = check_vectors(suite, tmp_path, judged)
    assert report.passes, [case.verdict for case in report.cases if not case.passes]
    assert len(judged) > 70


def test_autograd_passes(suite: Path, tmp_path: Path) -> None:
    """Every value and gradient that can be caught in the original, which drops nothing that is given to it."""
    from originals import CLASSES

    judged = []
    for case in manifest(suite)["cases"]:
        if "gradients:plain" in case["covers"] and known(case):
            folder = suite / "cases" / case["name"]
            model = CLASSES[case["family"], case["head"]].from_pretrained(folder).eval()
            if "fully_masked:any" not in " ".join(case["covers"]):  # eager attention of such clips is another
                model.set_attn_implementation("eager")
            found = from_torch(model, **load_file(folder / "inputs.safetensors"), gradients=True)
            write_trace(tmp_path / f"{case['name']}.safetensors", found)
            judged.append(case["name"])
    report = check_vectors(suite, tmp_path, judged)
    assert report.passes, [case.verdict for case in report.cases if not case.passes]
    assert len(judged) > 35
    given = {stage for case in report.cases for stage in case.not_given}
    never = {"ctc.alpha", "ctc.losses", "gradient.ctc.losses", "gradient.log_probs"}
    assert given <= never | {
        f"{g}encoder.layers.0.attention.{n}" for g in ("", "gradient.") for n in ("scores", "probabilities")
    } | {"encoder.encoder.relative_positions"}


def goes_back(case: dict[str, Any]) -> bool:
    return any(said.startswith("gradients:") for said in case["covers"])


def known(case: dict[str, Any]) -> bool:
    """Whether the original knows it."""
    return not {"hidden_act:selu", "feat_extract_activation:selu", "mask:floor"} & set(case["covers"])


def test_an_expected_file_is_a_trace(suite: Path, ported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = suite / "cases" / CASE
    assert main(["compare", str(folder / "expected.safetensors"), str(ported / f"{CASE}.safetensors"), "--model", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("all ")


def test_only_an_empty_folder_or_an_earlier_suite_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CASES", [case for case in vectors.CASES if case.name in (CASE, TEXT)])
    folder = tmp_path / "new" / "suite"
    assert main(["vectors", str(folder)]) == 0
    (folder / "notes.txt").write_text("mine")
    (folder / "cases" / "old-case").mkdir()
    assert write_vectors(folder) == [CASE, TEXT]
    assert sorted(path.name for path in (folder / "cases").iterdir()) == [CASE, TEXT]
    assert (folder / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    for wrong in (tmp_path / "other", tmp_path / "other" / "thesis.txt"):
        with pytest.raises(InputError, match="expected"):
            write_vectors(wrong)
    with pytest.raises(InputError, match="seed"):
        write_vectors(folder, seed=-1)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "CASES", [case for case in vectors.CASES if case.name in (CASE, TEXT)])
    write_vectors(tmp_path / "suite")
    before = bytes_of(tmp_path)

    def full(case: Any, folder: Path, seed: int) -> dict[str, Any]:
        raise OSError("no space left on device")

    monkeypatch.setattr(vectors, "write_case", full)
    for name in ("suite", "other"):
        with pytest.raises(TraceError, match="no space left"):
            write_vectors(tmp_path / name)
    assert bytes_of(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["suite"]


def test_the_readme_tells_every_activation_as_a_formula() -> None:
    """Each is evaluated as it stands, and is what the package computes."""
    page = (Path(sewnp.suite.__file__).parent / "data" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| `([^`]+)`", page, re.M)
    formulas = {name: formula for names, formula in rows for name in re.findall(r"\w+", names)}
    assert set(formulas) == set(ACTIVATIONS)
    known = {name: getattr(math, name) for name in ("erf", "exp", "log", "pi", "sqrt", "tanh")} | {"min": min, "max": max}
    for name, formula in formulas.items():
        for x in (-7.5, -2.9, -0.4, 0.0, 0.3, 2.9, 7.5, 19.0):
            expected = float(ACTIVATIONS[name](np.array(x)))
            assert eval(formula, known, {"x": x}) == pytest.approx(expected, rel=1e-12, abs=1e-12), f"{name} at {x}"


def test_the_readme_tells_every_rule_of_the_clean_up() -> None:
    page = (Path(sewnp.suite.__file__).parent / "data" / "README.md").read_text(encoding="utf-8")
    assert ", ".join(f'`"{rule}"`' for rule in CLEAN_UP) in page
