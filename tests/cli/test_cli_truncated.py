"""``--allow-truncated``: every command that reads sound takes what there is, and says what is missing."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import sewnp
from sewnp.cli import COMMANDS, build_parser, main

MISSING = r"cut short: the header promises 95200 bytes of sound, found 59956"
WARNING = f"sewnp: warning: {{}}: {MISSING}; the 1.87 seconds that are there were read\n"


@pytest.fixture
def cut(clips: Path, tmp_path: Path) -> Path:
    path = tmp_path / "cut.wav"
    path.write_bytes((clips / "three_one_four.wav").read_bytes()[:60_000])
    return path


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "CUT"],
        ["classify", "CUT"],
        ["align", "CUT", "THREE ONE"],
        ["plot", "CUT", "-o", "FOLDER/cut.png"],
        ["explain", "CUT", "-o", "FOLDER/cut.html", "--layers", ""],
        ["trace", "CUT", "-o", "FOLDER/cut.safetensors", "--dtype", "float32", "--stages", "logits"],
    ],
    ids=lambda words: words[0],
)
def test_every_command(words: list[str], cut: Path, tmp_path: Path, capsys: Any) -> None:
    words = [word.replace("CUT", str(cut)).replace("FOLDER", str(tmp_path)) for word in words]
    assert main(words) == 1
    assert capsys.readouterr().err == f"sewnp: error: {cut}: {MISSING}\n"
    assert main([*words, "--allow-truncated"]) == 0
    assert WARNING.format(cut) in capsys.readouterr().err


def test_evaluate(cut: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("jiwer")
    (tmp_path / "set.tsv").write_text("path\ttext\ncut.wav\tTHREE ONE FOUR\n")
    assert main(["evaluate", str(tmp_path / "set.tsv"), "-f", "json"]) == 1
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "set.tsv"), "-f", "json", "--allow-truncated"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)
    assert WARNING.format(cut) in err


def test_no_command_that_reads_sound_is_without_it() -> None:
    silent = {
        "benchmark",
        "inspect",
        "models",
        "convert",
        "compare",
        "vectors",
        "check",
        "train",
    }  # half a clip does not go with a whole text
    for name in COMMANDS:
        command = build_parser(name)._subparsers._group_actions[0].choices[name]  # type: ignore[union-attr,index,call-overload]
        assert ("--allow-truncated" in command.format_help()) == (name not in silent), name


def test_standard_input_and_several_processes(cut: Path, tmp_path: Path, monkeypatch: Any, capfd: Any) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(cut.read_bytes())))
    assert main(["transcribe", "-", "--allow-truncated"]) == 0
    text, err = capfd.readouterr()
    assert err == WARNING.format("standard input")
    other = tmp_path / "other.wav"
    other.write_bytes(cut.read_bytes())
    assert main(["transcribe", str(cut), str(other), "--jobs", "2", "--allow-truncated"]) == 0
    out, err = capfd.readouterr()
    assert out == f"{cut}\t{text}{other}\t{text}"
    assert sorted(err.splitlines(keepends=True)) == [WARNING.format(cut), WARNING.format(other)]


def test_in_python(cut: Path, digits: sewnp.Model) -> None:
    calls = [
        lambda **options: digits.transcribe(cut, **options),
        lambda **options: digits.transcribe(cut, window=1.0, overlap=0.1, **options),
        lambda **options: digits.transcribe(cut, compat="transformers", **options),
        lambda **options: digits.align(cut, "THREE ONE", **options),
        lambda **options: sewnp.load("digit-words").classify(cut, **options),
        lambda **options: next(iter(sewnp.transcribe_many([cut], model=digits, **options))).transcript,
    ]
    for call in calls:
        with pytest.warns(sewnp.AudioWarning, match=MISSING) as caught:
            assert call(allow_truncated=True).duration == pytest.approx(1.87, abs=0.01)
        assert len(caught) == 1
    for call in calls[:-1]:
        with pytest.raises(sewnp.AudioError, match=MISSING):
            call()
