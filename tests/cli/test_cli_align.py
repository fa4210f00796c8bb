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
    assert rows[0] == ["start", "end", "probability", "score", "word"]
    words = sewnp.load("digits").align(clip, TEXT).words
    assert rows[1:] == [[f"{w.start:.3f}", f"{w.end:.3f}", f"{w.probability:.4f}", f"{w.score:.4f}", w.text] for w in words]
    assert [row[4] for row in rows[1:]] == TEXT.split()
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


@pytest.fixture
def manifest(clips: Path, tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("three_one_four.wav", "two_seven_one.mp3"):
        (tmp_path / "in" / name).write_bytes((clips / name).read_bytes())
    path = tmp_path / "set.tsv"
    path.write_text("path\ttext\nin/three_one_four.wav\tTHREE * NINE\ngone.wav\tONE\nin/two_seven_one.mp3\tTWO SEVEN *\n")
    return path


def test_the_clips_of_a_manifest(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = manifest.parent
    model = sewnp.load("digits")
    paths = [folder / "in" / "three_one_four.wav", folder / "in" / "two_seven_one.mp3"]
    expected = model.align(paths, ["THREE * NINE", "TWO SEVEN *"])
    failed = f"sewnp: error: {manifest}:3: {folder / 'gone.wav'}: no such file\nsewnp: 1 of 3 clips failed\n"
    assert main(["align", "--manifest", str(manifest)]) == 1
    out, err = capsys.readouterr()
    rows = [line.split("\t") for line in out.splitlines()]
    assert rows[0] == ["audio", "start", "end", "probability", "score", "word"]
    assert [(row[0], row[5]) for row in rows[1:]] == [
        (str(path), word.text) for path, found in zip(paths, expected, strict=True) for word in found.words
    ]
    assert err == failed
    assert main(["align", "--manifest", str(manifest), "-f", "json"]) == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == [{"audio": str(p)} | found.to_dict(model="digits") for p, found in zip(paths, expected, strict=True)]
    assert main(["align", "--manifest", str(manifest), "-f", "textgrid", "-o", str(folder / "out")]) == 1
    assert capsys.readouterr() == ("", failed)
    written = {path.relative_to(folder / "out").as_posix(): path.read_text() for path in (folder / "out").rglob("*.*")}
    assert written == {
        "in/three_one_four.TextGrid": expected[0].to_textgrid(),
        "in/two_seven_one.TextGrid": expected[1].to_textgrid(),
    }


def test_wrong_usage_of_a_manifest(manifest: Path, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, name = manifest.parent, str(manifest)
    (folder / "same.tsv").write_text("path\ttext\nin/a.wav\tONE\nin/a.mp3\tONE\n")
    for arguments, message in [
        ([clip], "the following arguments are required: AUDIO, TEXT (or --manifest)"),
        ([clip, TEXT, "--manifest", name], "argument --manifest: expected without AUDIO, TEXT and --plot"),
        (["--manifest", name, "--plot", "a.png"], "argument --manifest: expected without AUDIO, TEXT and --plot"),
        (["--manifest", name, "-f", "textgrid"], "argument -f textgrid: several files need -o DIR"),
        (["--manifest", str(folder / "same.tsv"), "-o", str(folder / "out")], "argument -o: "),
    ]:
        with pytest.raises(SystemExit) as left:
            main(["align", *arguments])
        assert left.value.code == 2
        assert f"sewnp align: error: {message}" in capsys.readouterr().err
    (folder / "paths.txt").write_text("in/three_one_four.wav\n")
    assert main(["align", "--manifest", str(folder / "paths.txt")]) == 1
    assert "paths.txt:1: expected a column text, sentence or transcript, found none" in capsys.readouterr().err


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
