"""Judging results: whatever is not agreement is named, and counts as none."""

import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from sewnp.cli import main
from sewnp.cli.check import table
from sewnp.numerics import Comparison, StageComparison
from sewnp.suite import CaseReport, Report, check_vectors

CASE, OUTPUT = "sew-d-two-layers", "encoder.encoder.layer.0.output.LayerNorm"
TEXT = "tokenizer-plain"


def manifest_of(suite: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))
    return found


def judged(suite: Path, ported: Path, folder: Path, change: Callable[[dict[str, Any]], Any], case: str = CASE) -> Any:
    """The report of a case whose results were changed."""
    folder.mkdir()
    if case == TEXT:
        values = json.loads((ported / f"{case}.json").read_text())
        change(values)
        (folder / f"{case}.json").write_text(json.dumps(values))
    else:
        values = load_file(ported / f"{case}.safetensors")
        change(values)
        save_file(
            {name: np.ascontiguousarray(x) if np.ndim(x) else x for name, x in values.items()}, folder / f"{case}.safetensors"
        )
    (report,) = check_vectors(suite, folder, [case]).cases
    assert report.problem or len(report.comparison.rows) + len(report.not_given) >= 3
    return report


def put(name: str, value: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Any]:
    def change(values: dict[str, Any]) -> None:
        values[name] = value(values[name])

    return change


def with_value(x: Any, value: float) -> Any:
    x = x.copy()
    x.flat[5] = value
    return x


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any], str, str]] = [
    ("NaN", put(OUTPUT, lambda x: with_value(x, np.nan)), OUTPUT, "not finite"),
    ("infinity", put(OUTPUT, lambda x: with_value(x, np.inf)), OUTPUT, "not finite"),
    ("one element", put(OUTPUT, lambda x: with_value(x, 1.001 * x.flat[5] + 0.001)), OUTPUT, "diverges"),
    ("channels first", put(OUTPUT, lambda x: x.swapaxes(1, 2)), OUTPUT, "transposed"),
    ("no batch axis", put(OUTPUT, lambda x: x[0]), OUTPUT, "shape"),
    ("another length", put(OUTPUT, lambda x: x[:, :-1]), OUTPUT, "shape"),
    ("no logits", lambda values: values.pop("logits"), "logits", "missing"),
    (
        "a stage that nobody knows",
        lambda values: values.update({"layer.0.out": np.zeros(3, dtype=np.float32)}),
        "layer.0.out",
        "unknown",
    ),
    ("a mask of another kind", put("frame_mask", lambda x: ~x), "frame_mask", "diverges"),
    (
        "buckets off by one",
        put("encoder.encoder.relative_positions", lambda x: x + 1),
        "encoder.encoder.relative_positions",
        "diverges",
    ),
]


@pytest.mark.parametrize(("change", "stage", "status"), [row[1:] for row in BROKEN], ids=[row[0] for row in BROKEN])
def test_what_is_wrong_is_named(
    change: Callable[[dict[str, Any]], Any], stage: str, status: str, suite: Path, ported: Path, tmp_path: Path
) -> None:
    report = judged(suite, ported, tmp_path / "results", change)
    assert not report.passes
    assert (report.first.name, report.first.status) == (stage, status)
    assert report.verdict.startswith(f"first divergence: {stage}: {status}")


def test_a_port_may_leave_stages_out(suite: Path, ported: Path, tmp_path: Path) -> None:
    def kept(values: dict[str, Any]) -> None:
        for name in set(values) - {"logits", "encoder.pool"}:
            del values[name]

    report = judged(suite, ported, tmp_path / "results", kept)
    assert report.passes
    assert [row.name for row in report.comparison.rows] == ["encoder.pool", "logits"]
    assert report.verdict == f"2 stages agree, {len(report.not_given)} not given"


def test_what_was_last_right_is_told(suite: Path, ported: Path, tmp_path: Path) -> None:
    report = judged(suite, ported, tmp_path / "results", put("logits", lambda x: x + 1))
    assert report.before == "encoder.last_hidden_state"
    assert re.fullmatch(
        r"first divergence: logits: diverges; off by [\d.e-]+ of its scale \(budget [\d.e-]+\), most at \[.*\];"
        r" encoder.last_hidden_state still agrees",
        report.verdict,
    )


@pytest.mark.parametrize("form", ["npz", "npy", "float64", "float as bool"])
def test_forms_of_results(form: str, suite: Path, ported: Path, tmp_path: Path) -> None:
    values = load_file(ported / f"{CASE}.safetensors")
    if form == "npz":
        np.savez(tmp_path / f"{CASE}.npz", **values)
    elif form == "npy":
        (tmp_path / CASE).mkdir()
        for name, x in values.items():
            np.save(tmp_path / CASE / f"{name}.npy", x)
    elif form == "float64":
        save_file(
            {name: x.astype(np.float64) if x.dtype.kind == "f" else x for name, x in values.items()},
            tmp_path / f"{CASE}.safetensors",
        )
    else:
        save_file({name: x.astype(np.float32) for name, x in values.items()}, tmp_path / f"{CASE}.safetensors")
    assert check_vectors(suite, tmp_path, [CASE]).passes


def test_results_that_cannot_be_read(suite: Path, ported: Path, tmp_path: Path) -> None:
    """Each fails its own case, says why, and hides nothing of the others."""
    whole = (ported / f"{CASE}.safetensors").read_bytes()
    wrong = {
        "sew-two-layers": ("truncated", lambda: (tmp_path / "sew-two-layers.safetensors").write_bytes(whole[:-1])),
        "sew-quiet": ("not a readable .npz", lambda: (tmp_path / "sew-quiet.npz").write_bytes(whole)),
        "sew-d-quiet": ("cannot be read", lambda: pickled(tmp_path / "sew-d-quiet.npz")),
        "sew-classes": (
            "several results: sew-classes.npz, sew-classes.safetensors",
            lambda: twice(tmp_path / "sew-classes", whole),
        ),
        "sew-weighted": ("expected .safetensors, .npz", lambda: (tmp_path / "sew-weighted.json").write_text("{}")),
        TEXT: ("not a readable JSON file", lambda: (tmp_path / f"{TEXT}.json").write_text("[")),
        "tokenizer-labels": ("expected a .json file", lambda: np.savez(tmp_path / "tokenizer-labels.npz", text=np.zeros(1))),
        "sew-no-layers": ("no results", lambda: None),
    }
    for _, write in wrong.values():
        write()
    (tmp_path / f"{CASE}.safetensors").write_bytes(whole)
    (tmp_path / "notes.txt").write_text("not a result")
    report = check_vectors(suite, tmp_path, [*wrong, CASE])
    for case in report.cases:
        if case.name == CASE:
            assert case.passes
        else:
            assert not case.passes
            said = "not a readable safetensors" if case.name == "sew-two-layers" else wrong[case.name][0]
            assert said in case.verdict
    assert report.verdict == f"{len(wrong)} of {len(wrong) + 1} cases fail"


def pickled(path: Path) -> None:
    np.savez(path, logits=np.array([None, {}], dtype=object))


def twice(path: Path, content: bytes) -> None:
    path.with_suffix(".safetensors").write_bytes(content)
    path.with_suffix(".npz").write_bytes(content)


def test_what_is_no_number_is_not_compared(suite: Path, ported: Path, tmp_path: Path) -> None:
    values = load_file(ported / f"{CASE}.safetensors")
    for dtype in (np.complex64, np.str_):
        np.savez(tmp_path / f"{CASE}.npz", **values | {"logits": values["logits"].astype(dtype)})
        (case,) = check_vectors(suite, tmp_path, [CASE]).cases
        assert not case.passes
        assert "logits: expected floats, integers or booleans" in case.verdict


def test_results_of_another_model_are_no_results(suite: Path, ported: Path, tmp_path: Path) -> None:
    values = load_file(ported / f"{CASE}.safetensors")
    save_file(values, tmp_path / f"{CASE}.safetensors", metadata={"masking": "floor"})
    (case,) = check_vectors(suite, tmp_path, [CASE]).cases
    assert not case.passes
    assert "masking: any here, floor there" in case.verdict


def test_a_prefix_of_all_names_is_told_and_taken_off(
    suite: Path, ported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [CASE, "sew-two-layers"]
    for name in names:
        values = load_file(ported / f"{name}.safetensors")
        save_file({f"net.{stage}": x for stage, x in values.items()}, tmp_path / f"{name}.safetensors")
    check = ["check", str(suite), str(tmp_path), "--cases", *names]
    assert main(check) == 1
    said = 'names all begin with "net.", which --strip-prefix net. takes off'
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("FAIL") and line.endswith(said) for line in lines[:2])
    assert lines[-1] == f"    2  unknown {said}"
    assert main([*check, "--strip-prefix", "net."]) == 0


def test_the_verdict_is_a_screen_at_most(suite: Path, ported: Path, tmp_path: Path) -> None:
    names = [row["name"] for row in json.loads((suite / "cases" / CASE / "stages.json").read_text())]
    rows = [StageComparison(name, "diverges", cause=f"cause {i}") for i, name in enumerate(names)]
    failed = Report(tuple(CaseReport(row.name, "", Comparison((row,))) for row in rows))
    said = table(failed).splitlines()[len(rows) + 1 :]
    assert len(said) == 23
    assert said[2] == f"    1  {names[0]}: cause 0"
    assert said[-1] == f"       and {len(rows) - 20} more places"


def test_results_of_no_case_are_named(suite: Path, ported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ported / f"{CASE}.safetensors", tmp_path)
    shutil.copy(ported / f"{CASE}.safetensors", tmp_path / "sew_two_layers.safetensors")
    assert main(["check", str(suite), str(tmp_path), "--cases", CASE]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "all 1 cases pass; results of no case: sew_two_layers.safetensors"


TEXTS: list[tuple[Callable[[dict[str, Any]], Any], str, str]] = [
    (put("text", lambda x: [x[0].lower(), *x[1:]]), "text", "[0]: expected 'AA B  C', found 'aa b  c'"),
    (put("text", lambda x: x[:-1]), "text", "expected 9 items, found 8"),
    (put("text", lambda x: None), "text", "found None"),
    (
        put("char_offsets", lambda x: [[{**x[0][0], "end_offset": 2}, *x[0][1:]], *x[1:]]),
        "char_offsets",
        "[0][0]['end_offset']: expected 3, found 2",
    ),
    (put("char_offsets", lambda x: [[{**x[0][0], "end_offset": 3.0}, *x[0][1:]], *x[1:]]), "char_offsets", "expected 3, found 3.0"),
    (put("word_offsets", lambda x: [[{"word": "AA"}], *x[1:]]), "word_offsets", "expected the keys"),
    (lambda values: values.pop("text"), "text", "missing"),
    (lambda values: values.update(words=[]), "words", "unknown"),
]


@pytest.mark.parametrize(("change", "stage", "said"), TEXTS)
def test_text_has_to_be_equal(
    change: Callable[[dict[str, Any]], Any], stage: str, said: str, suite: Path, ported: Path, tmp_path: Path
) -> None:
    report = judged(suite, ported, tmp_path / "results", change, TEXT)
    assert not report.passes
    assert report.first.name == stage
    assert said in report.verdict


def test_junit_is_well_formed(suite: Path, ported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = load_file(ported / f"{CASE}.safetensors")
    values["logits"] = values["logits"] + 1
    del values["encoder.pool"]
    (tmp_path / "results").mkdir()
    np.savez(tmp_path / "results" / f"{CASE}.npz", **values, **{'<&"\x01\ud800'.encode(errors="replace").decode(): np.zeros(2)})
    arguments = ["check", str(suite), str(tmp_path / "results"), "--cases", CASE, TEXT, "--junit", str(tmp_path / "report.xml")]
    assert main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[-4:] == [
        "2 of 2 cases fail",
        "where they went wrong first:",
        "    1  $'<&\"\\x01?'",
        "    1  no readable results",
    ]
    root = ET.parse(tmp_path / "report.xml").getroot()
    tests = {(test.get("classname"), test.get("name")): test for test in root.iter("testcase")}
    failed = {name for name, test in tests.items() if test.find("failure") is not None}
    assert failed == {(CASE, "logits"), (CASE, '<&"\ufffd?'), (TEXT, "results")}
    assert tests[CASE, "encoder.pool"].find("skipped") is not None
    assert (root.get("tests"), root.get("failures")) == (str(len(tests)), "3")
    assert {suite.get("name"): suite.get("failures") for suite in root} == {CASE: "2", TEXT: "1"}


def test_json_has_everything(suite: Path, ported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(suite), str(ported), "--json", "--cases", "ctc-*", TEXT]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["passes"], result["unknown_results"]) == (True, [])
    by_name = {case["name"]: case for case in result["cases"]}
    assert [stage["status"] for stage in by_name["ctc-infeasible"]["stages"]] == ["agrees"] * 3
    assert by_name[TEXT]["first_divergence"] is None


def test_what_cannot_be_checked_has_a_status_of_its_own(
    suite: Path, ported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "suite"
    shutil.copytree(suite, broken)
    (broken / "cases" / CASE / "expected.safetensors").write_bytes(b"")
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text(json.dumps(manifest_of(suite) | {"version": 99}))
    (tmp_path / "up").mkdir()
    entry = manifest_of(suite)["cases"][0] | {"name": "../../etc"}
    (tmp_path / "up" / "manifest.json").write_text(json.dumps(manifest_of(suite) | {"cases": [entry]}))
    for arguments, said in (
        ([suite, tmp_path / "nowhere"], "expected a folder with results, found nothing"),
        ([tmp_path / "nowhere", ported], "expected a suite written by sewnp vectors"),
        ([other, ported], "of version 1, found"),
        ([tmp_path / "up", ported], "is no name of a case"),
        ([broken, ported], "expected.safetensors: not a readable safetensors file"),
        ([suite, ported, "--cases", "sow-*"], "no case of this suite has such a name"),
        ([suite, ported, "--junit", tmp_path / "nowhere" / "report.xml"], "could not be written"),
    ):
        assert main(["check", *map(str, arguments)]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err


def test_nothing_is_no_agreement() -> None:
    assert not Report(()).passes
