"""What has no end, no room or no sense is refused: at once, by name, and as wrong usage where the words of the command show it."""

import argparse
import glob
import json
import math
import os
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import sewnp
from sewnp import inputs
from sewnp.batch import processes
from sewnp.cli import main
from sewnp.cli.found import clips_of
from sewnp.costs import attention_bytes
from sewnp.decoding import BeamSearch
from sewnp.errors import ConfigError, EvaluationError, InputError, ManifestError, TraceError
from sewnp.evaluation import ResultsFile
from sewnp.manifests import read_manifest
from sewnp.numerics import open_stages, trace


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What is said of a command line that is wrong usage, behind the usage of its command."""
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"usage: sewnp {arguments[0]} ")
    said = err.splitlines()[-1]
    start = f"sewnp {arguments[0]}: error: "
    assert said.startswith(start)
    assert len(said) < 500
    return said.removeprefix(start)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("transcribe a.wav --alpha 1", "argument --alpha: expected with --lm"),
        ("transcribe a.wav --beam 3 --beta 0", "argument --beta: expected with --lm"),
        ("transcribe a.wav --lm a.arpa --unknown-margin 0", "argument --unknown-margin: expected with --words"),
        ("evaluate a.tsv --words a.txt --hotword-weight 0", "argument --hotword-weight: expected with --hotwords"),
        ("transcribe a.wav --hotwords ,", "argument --hotwords: expected words, found none"),
        ("evaluate a.tsv --task classification --unknown-margin 1", "argument --unknown-margin: expected with --task ctc alone"),
        ("evaluate a.tsv --task classification --hotwords A", "argument --hotwords: expected with --task ctc alone"),
        ("transcribe a.wav --resume", "argument --resume: expected with -o DIR"),
        ("transcribe a.wav --compat transformers --overlap 1", "argument --overlap: expected with --window"),
        ("transcribe a.wav --compat transformers --segment", "argument --segment: expected without --compat"),
        ("evaluate a.tsv --task classification --no-segment", "argument --segment: expected with --task ctc alone"),
        ("transcribe a.wav --overlap 1,2", "argument --overlap: LEFT,RIGHT are expected with --compat transformers alone"),
        ("transcribe a.wav --window 4 --overlap 2", "argument --window: expected more than its overlaps, found 4 and 4 seconds"),
        ("transcribe a.wav --window inf --overlap inf", "argument --window: expected more than its overlaps, found inf"),
        ("transcribe a.wav --compat transformers --window 2 --overlap 1,1", "argument --window: expected more than its overlaps"),
        ("evaluate a.tsv --resume", "argument --resume: expected with -o FOLDER"),
        ("evaluate a.tsv --plot a.png", "argument --plot: expected with --task classification"),
        ("evaluate a.tsv --alpha 1", "argument --alpha: expected with --lm"),
        ("evaluate a.tsv --task classification --beam 3", "argument --beam: expected with --task ctc alone"),
        ("evaluate a.tsv --task classification --lm a.arpa", "argument --lm: expected with --task ctc alone"),
        ("evaluate a.tsv --task classification --beta 1", "argument --beta: expected with --task ctc alone"),
        ("evaluate a.tsv --task classification --normalize none", "argument --normalize: expected with --task ctc alone"),
        ("convert . out --dict a.txt", "arguments --dict and --config: expected with a .pt file"),
        ("convert . out --config a.json", "arguments --dict and --config: expected with a .pt file"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *line.split()).startswith(message)


@pytest.mark.parametrize(
    "line",
    ["transcribe a.wav", "classify a.wav", "align a.wav A", "evaluate a.tsv", "plot a.wav -o a.png", "benchmark", "inspect digits",
     "convert a b", "trace a.wav -o a.safetensors", "compare a b", "vectors a", "check a b"],
)  # fmt: skip
def test_unknown_options_are_told_with_the_usage_of_the_command(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, *line.split(), "--nosuch") == "unrecognized arguments: --nosuch"


@pytest.mark.parametrize("number", ["0", "-1", "5000", "9" * 5000, "1.5", "two", "\u0663", ""])
@pytest.mark.parametrize(
    "option", ["transcribe a.wav --threads", "transcribe a.wav --jobs", "align a.wav A --threads", "benchmark --runs"]
)
def test_numbers_of_threads_and_processes_are_bounded(option: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    if (option, number) == ("benchmark --runs", "5000"):
        return
    assert re.match(r"argument --\w+: expected a whole number from [12] to \d+, found '", refused(capsys, *option.split(), number))


def test_too_many_processes_are_refused_before_any_is_started() -> None:
    for jobs in (0, 5000, 10**9, 1.5):
        with pytest.raises(InputError, match="jobs: expected a whole number from 1 to 512"):
            processes(jobs)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e9", "1e400", "-1", "0"])
def test_a_benchmark_of_unbounded_length_is_refused(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "--seconds", seconds]) == 1
    assert re.search(r"seconds: expected at least [\d.]+ and at most 3600, found ", capsys.readouterr().err)


@pytest.mark.parametrize("compat", ["transformers", None])
def test_seconds_that_are_none_are_input_errors(compat: Any, digits: sewnp.Model, clips: Path) -> None:
    for window in (math.nan, -1, -(10**5000), "1", None if compat else (1, 2)):
        with pytest.raises(InputError, match=r"window: expected seconds|overlap: expected only with a window"):
            digits.transcribe(clips / "three_one_four.wav", window=window, overlap=None if window else 1.0, compat=compat)  # type: ignore[arg-type]
    assert digits.transcribe(clips / "three_one_four.wav", window=10**5000, compat=compat).text == "THREE ONE FOUR ONE FIVE NINE"


@pytest.mark.parametrize("model", [5, b"digits", ["digits"]])
def test_a_model_that_is_no_name_is_an_error_of_ours(model: Any) -> None:
    with pytest.raises(ConfigError, match="model: expected a name, a folder or a hub id, found"):
        sewnp.load(model)


@pytest.mark.parametrize("window", ["inf", "1e308", "1e30"])
def test_a_window_without_end_is_one_piece_in_both_ways(window: str, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for compat in ([], ["--compat", "transformers"]):
        assert main(["transcribe", str(clips / "three_one_four.wav"), "--window", window, *compat]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == second == "THREE ONE FOUR ONE FIVE NINE"


# --- folders that hold themselves ---------------------------------------------------------------------------------------------------


@pytest.fixture
def maze(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders with links to themselves, to each other and to nowhere: by links, they are infinitely deep."""
    for folder in ("a/.hidden", "b/c", "d", "e"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("top.wav", "a/one.wav", "a/.hidden/no.wav", "b/c/two.wav", "e/three.wav"):
        (tmp_path / file).write_text("no sound")
    for folder in ("a", "b", "b/c"):
        for number, target in enumerate((".", tmp_path, "..", "gone", "link4")):
            (tmp_path / folder / f"link{number}").symlink_to(target)
    for link, target in (("a/to_b", "b"), ("b/to_a", "a"), ("d/to_e", "e")):
        (tmp_path / link).symlink_to(tmp_path / target)
    (tmp_path / "self").symlink_to("self")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("**/*.wav", ["a/one.wav", "b/c/two.wav", "e/three.wav", "top.wav"]),
        ("./**/*.wav", ["./a/one.wav", "./b/c/two.wav", "./e/three.wav", "./top.wav"]),
        ("{maze}/**/t*.wav", ["{maze}/b/c/two.wav", "{maze}/e/three.wav", "{maze}/top.wav"]),
        ("**/c/**/*.wav", ["b/c/two.wav"]),
        ("[ab]/**/*.wav", ["a/one.wav", "a/to_b/c/two.wav", "b/c/two.wav", "b/to_a/one.wav"]),
        ("d/**/*.wav", ["d/to_e/three.wav"]),  # a link to elsewhere is followed
        ("a/*/*.wav", ["a/link0/one.wav", "a/link1/top.wav", "a/link2/top.wav"]),  # one level is what was asked for
    ],
)
def test_a_pattern_searches_each_folder_once(pattern: str, found: list[str], maze: Path) -> None:
    options = argparse.Namespace(audio=[pattern.format(maze=maze)], manifest=None, raw=None)
    assert [clip.audio for clip in clips_of(options)] == [path.format(maze=maze) for path in found]


def test_without_links_a_pattern_finds_what_glob_finds(tmp_path: Path) -> None:
    for name in ("a/b/c.wav", "a/d.wav", ".e/f.wav", "g[1]/h.wav", "i.wav", "a/.j.wav", "k/l/m/n/o.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    for pattern in ("**/*.wav", "**", "*/**/*.wav", "**/?.wav", "**/l/**/*.wav", "**/**/*.wav", "a/**", "**/[a-d].wav", "k/**/**"):
        path = f"{tmp_path}/{pattern}"
        expected = sorted({found for found in glob.glob(path, recursive=True) if not os.path.isdir(found)})
        assert [clip.audio for clip in clips_of(argparse.Namespace(audio=[path], manifest=None, raw=None))] == expected


# --- texts and tables ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    ["transcribe --manifest {}", "classify --manifest {}", "evaluate {}", "align {clip} @{}", "evaluate {clip} --lm {}",
     "compare {} {}", "compare {clip} {}", "convert {} {out}", "inspect {}"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["device", "pipe", "huge"])
def test_texts_without_end_are_refused(
    line: str, kind: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "endless"
    if kind == "device":
        path = Path("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.touch()
        os.truncate(path, 2**36)  # of zeros, of which nothing lies on the disk
    start = time.monotonic()
    assert main(line.format(path, path, clip=clips / "three_one_four.wav", out=tmp_path / "out").split()) in (1, 2)
    assert time.monotonic() - start < 10
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sewnp: error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "."])
def test_an_id_of_librispeech_is_the_name_of_a_file_beside_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "1.trans.txt").write_text(f"..x ONE\n{name} ONE\n")
    entries = read_manifest(tmp_path)
    assert next(entries).audio == tmp_path / "..x.flac"
    with pytest.raises(ManifestError, match=r"1\.trans\.txt:2: expected an id, the name of a file beside this one, found '"):
        next(entries)


@pytest.mark.parametrize("cell", ["\\ud800", "\\udfff.wav", "\\uD83D"])
@pytest.mark.parametrize("column", ["audio", "text", "id", "speaker"])
def test_half_a_surrogate_pair_in_a_manifest_is_refused(
    cell: str, column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {"audio": '"a.wav"', "text": '"ONE"'} | {column: f'"{cell}"'}
    path = tmp_path / "m.jsonl"
    path.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in values.items()) + "}\n")
    for command in (["evaluate", str(path)], ["transcribe", "--manifest", str(path)]):
        assert main(command) == 1
        assert capsys.readouterr().err.startswith(f"sewnp: error: {path}:1: expected a JSON object, found ")


def test_a_manifest_of_names_that_are_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.tsv"
    path.write_bytes(b"audio\ttext\na\0b.wav\tONE\n" + b"a" * 300 + b".wav\tTWO\n" + b"a/" * 3000 + b".wav\tTWO\n")
    for command in (["evaluate", str(path)], ["transcribe", "--manifest", str(path)]):
        assert main(command) == 1
        assert "\0" not in capsys.readouterr().err


GOOD = {"id": "a", "path": "b", "hypothesis": "c", "audio_seconds": 1.0, "processing_seconds": 1.0}


@pytest.mark.parametrize(
    "line",
    [
        "5", "[]", "null", '"a"', "{}", '{"id": 1}', '{"\\u001b[31m": 1}', "1" * 5000, "[" * 100_000,
        *(json.dumps(GOOD | change) for change in (
            {"id": 1}, {"path": None}, {"hypothesis": ["c"]}, {"hypothesis": "\ud800"}, {"audio_seconds": "1"}, {"audio_seconds": 1},
            {"audio_seconds": True}, {"audio_seconds": math.nan}, {"processing_seconds": math.inf}, {"audio_seconds": -1.0}, {"more": 1},
        )),
    ],
    ids=range(20),
)  # fmt: skip
def test_results_of_wrong_types_are_refused(line: str, tmp_path: Path) -> None:
    made_by = {"model": "m"}
    (tmp_path / "results.jsonl").write_text(json.dumps({"made_by": made_by}) + "\n" + json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(EvaluationError, match=r"results\.jsonl:3: expected a result, found b") as raised:
        ResultsFile(tmp_path, made_by, resume=True)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 800


@pytest.mark.parametrize("line", ["5", "[]", '{"made_by": 5}', '{"made_by": null}', '{"made_by": {"model": 5}}', '{"made_by": {}}'])
def test_results_made_by_nobody_known_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text(line + "\n")
    with pytest.raises(EvaluationError, match=r"results\.jsonl.*(expected what made|made with another)"):
        ResultsFile(tmp_path, {"model": "m"}, resume=True)


def test_an_archive_that_unfolds_to_gigabytes_is_refused(tmp_path: Path) -> None:
    zeros = zipfile.ZipInfo("logits.npy")
    zeros.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive, archive.open(zeros, "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**27,)})
        for _ in range(2**9):
            file.write(bytes(2**20))
    start = time.monotonic()
    with pytest.raises(TraceError, match=r"bomb\.npz: logits: cannot be read: unfolds to 536,871,040 bytes, out of \d+"):
        open_stages(tmp_path / "bomb.npz")["logits"]
    assert time.monotonic() - start < 1
    np.savez_compressed(tmp_path / "packed.npz", logits=np.zeros(10**6, np.float32))
    assert open_stages(tmp_path / "packed.npz")["logits"].shape == (10**6,)


def test_attention_that_is_kept_of_all_layers_is_counted(digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(digits, engine="textbook")
    x = np.random.default_rng(0).normal(size=(1, 32000)).astype(np.float32)
    labels = np.array([[6]])
    # enough for a layer after the other, not for all at once
    one = attention_bytes(model.config, 32000)
    monkeypatch.setattr(inputs, "memory", lambda: one)
    assert model(x).logits is not None
    trace(model, x, stages=["logits"])
    for keeps in (
        lambda: model(x, output_attentions=True),
        lambda: digits(x, output_attentions=True),
        lambda: model.gradients(x, labels),
        lambda: trace(model, x),
    ):
        with pytest.raises(InputError, match="input_values: attention over 32000 samples at once needs about"):
            keeps()


# --- models that answer NaN -----------------------------------------------------------------------------------------------------------


def test_a_model_that_answers_nan_is_told_with_the_clip(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(clips / "three_one_four.wav")
    for name, key, commands in (
        (
            "digits",
            "lm_head.bias",
            (["transcribe"], ["transcribe", "--window", "1"], ["transcribe", "--beam", "2"], ["plot", "-o", "a.png"]),
        ),
        ("digit-words", "classifier.bias", (["classify"],)),
    ):
        folder = tmp_path / name
        sewnp.load(name).save(folder)
        tensors = load_file(folder / "model.safetensors")
        save_file(tensors | {key: np.full_like(tensors[key], np.nan)}, folder / "model.safetensors", {"format": "pt"})
        for command in commands:
            assert main([*command, clip, "--model", str(folder)]) == 1
            out, err = capsys.readouterr()
            assert out == ""
            assert err.startswith(f"sewnp: error: {clip}: log"), err


# --- whatever NumPy has been asked to do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["fast", "textbook"])
@pytest.mark.parametrize("name", ["digits", "digits-d"])
def test_numpys_own_settings_do_not_reach_a_model(name: str, engine: Any, clips: Path) -> None:
    model, clip = sewnp.load(name, engine=engine), clips / "three_one_four.wav"
    labels = np.array([[6, 11, 13]])

    def everything() -> list[Any]:
        x = model.features(sewnp.speech.read_audio(clip)).input_values
        return [
            model.transcribe(clip).text,
            model.transcribe(clip, window=1.0).text,
            model.transcribe(clip, decoder=BeamSearch()).text,
            model.align(clip, "THREE ONE FOUR ONE FIVE NINE").words,
            model(x, labels=labels).loss,
            model.gradients(x[:, :16000], labels).loss,
            sewnp.layers.softmax(np.array([0.0, -745.0, -1000.0])).tolist(),
            sewnp.layers.log_softmax(np.array([0.0, -745.0, -1000.0])).tolist(),
        ]

    expected = everything()
    with np.errstate(all="raise"):
        assert everything() == expected
        assert set(np.geterr().values()) == {"raise"}
    assert sewnp.load("digit-words").classify(clip)[0]
