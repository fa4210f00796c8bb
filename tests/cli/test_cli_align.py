"""``sewnp align`` as a user types it."""

import io
import json
import sys
from pathlib import Path

import pytest

import sewnp
from sewnp.cli import main

TEXT = "THREE ONE FOUR ONE FIVE NINE"


@pytest.fixture
def clip(clips: Path) -> str:
    return str(clips / "three_one_four.wav")


def test_a_line_a_word(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["align", clip, TEXT]) == 0
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["start", "end", "probability", "word"]
    assert [row[3] for row in rows[1:]] == TEXT.split()
    assert rows[1] == ["0.320", "0.440", "1.0000", "THREE"]
    assert err == ""


def test_json_from_a_file_and_standard_input(
    clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "text.txt").write_text("\ufeffthree one four\none five nine\n", encoding="utf-8")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(clip).read_bytes())))
    assert main(["align", "-", f"@{tmp_path / 'text.txt'}", "-f", "json", "--model", "digits-d"]) == 0
    told = json.loads(capsys.readouterr().out)
    expected = sewnp.load("digits-d").align(clip, TEXT.lower()).to_dict(model="digits-d")
    assert told == {"audio": "-"} | expected


def test_textgrid_into_a_file(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.TextGrid"
    assert main(["align", clip, TEXT, "-f", "textgrid", "-o", str(path)]) == 0
    assert capsys.readouterr() == ("", "")
    assert path.read_text(encoding="utf-8") == sewnp.load("digits").align(clip, TEXT).to_textgrid()


def test_a_picture(clip: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["align", clip, TEXT, "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_errors_are_one_line(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "book.txt").write_bytes(b"A " * 2**20 + b"B")
    for arguments, message in [
        ([clip, "THREE 1"], "text: the vocabulary cannot spell '1' (character 7, in '1')"),
        ([clip, TEXT * 9], f"{clip}: text: does not fit into the clip: "),
        ([clip, ""], "text: expected at least one word, found ''"),
        ([clip, f"@{tmp_path / 'gone.txt'}"], f"{tmp_path / 'gone.txt'}: no such file"),
        ([clip, f"@{tmp_path / 'latin.txt'}"], f"{tmp_path / 'latin.txt'}: expected UTF-8, found b'\\xe9' at byte 3"),
        ([clip, f"@{tmp_path / 'book.txt'}"], f"{tmp_path / 'book.txt'}: expected at most 2,097,152 bytes"),
        ([clip, "@/dev/zero"], "/dev/zero: expected a regular file, found a pipe or device"),
        (["gone.wav", TEXT], "gone.wav: no such file"),
        ([clip, TEXT, "--model", "digit-words"], "digit-words: aligning needs a CTC head"),
        ([clip, TEXT, "-o", str(tmp_path / "no" / "a.tsv")], f"{tmp_path / 'no' / 'a.tsv'}: could not be written: No such file"),
        ([clip, TEXT, "--plot", str(tmp_path / "a.xyz")], f"{tmp_path / 'a.xyz'}: could not be drawn: "),
    ]:
        assert main(["align", *arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"sewnp: error: {message}")
        assert err.count("\n") == 1
    assert not list(tmp_path.glob("*a.*"))  # nothing half-written
