"""``sewnp evaluate`` as a user types it, on the clips that come with the tests."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import sewnp
from sewnp.cli import main

CLIPS = {
    "three_one_four.wav": ("THREE ONE FOUR ONE FIVE NINE", "ann"),
    "two_seven_one.mp3": ("TWO SEVEN ONE EIGHT TWO EIGHT", "bob"),
    "counting.ogg": ("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE", "bob"),
}


@pytest.fixture
def manifest(clips: Path, tmp_path: Path) -> Path:
    for name in CLIPS:
        shutil.copy(clips / name, tmp_path)
    rows = [("path", "text", "speaker"), *((name, text, speaker) for name, (text, speaker) in CLIPS.items())]
    path = tmp_path / "set.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def test_a_table(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.write_text(manifest.read_text().replace("THREE ONE", "THREE, É one"))
    assert main(["evaluate", str(manifest), "--by", "speaker", "--greedy"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"{manifest}: 3 clips"
    assert lines[1] == "model digits, decoder greedy"
    (words,) = [line for line in lines if line.startswith("word errors")]
    assert words.split()[2:4] == ["4.3", "%"]
    assert words.split()[-5:] == ["1", "23", "0", "1", "0"]
    assert "1 references hold characters that the vocabulary lacks, each a sure error: 'É' 1" in lines
    assert any(line.startswith("bob") and line.split()[1:3] == ["2", "16"] for line in lines)
    place = lines.index("the most frequent confusions of words")
    assert lines[place + 1 : place + 3] == ["  said  heard      times", "  É     (nothing)      1"]
    assert "match errors (MER) 4.3 %, word information lost (WIL) 4.3 %, preserved (WIP) 95.7 %" in lines
    assert "    said   THREE É ONE FOUR ONE FIVE NINE" in lines
    assert "    heard  THREE ONE FOUR ONE FIVE NINE" in lines


def test_json_a_folder_and_a_bad_clip(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest.rename(manifest.with_name("manifest.tsv"))
    bad = manifest.parent / "two_seven_one.mp3"
    bad.write_text("not audio")
    out = manifest.parent / "out"
    assert main(["evaluate", str(manifest.parent), "-o", str(out), "-f", "json", "--beam", "4", "--normalize", "none"]) == 1
    printed, err = capsys.readouterr()
    report = json.loads(printed)
    assert report == json.loads((out / "report.json").read_text())
    assert (report["task"], report["name"], report["clips"], report["normalization"]) == ("ctc", "digits", 2, "none")
    assert report["decoder"].startswith("beam search: beam_width 4,")
    assert (report["words"]["errors"], report["words"]["length"]) == (0, 16)
    assert [failed["id"] for failed in report["failed"]] == [bad.name]
    lines = err.splitlines()
    assert lines[0].startswith(f"sewnp: error: {bad}: not audio")
    assert lines[1:] == ["sewnp: 1 of 3 clips failed and count nowhere"]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_clips_that_are_not_there_fail_like_others(manifest: Path, jobs: str, capsys: pytest.CaptureFixture[str]) -> None:
    (manifest.parent / "counting.ogg").unlink()
    with manifest.open("a") as file:
        file.write("\0.wav\tONE\tann\n")
    out = manifest.parent / "out"
    assert main(["evaluate", str(manifest), "-o", str(out), "--jobs", jobs, "-f", "json"]) == 1
    printed, err = capsys.readouterr()
    report = json.loads(printed)
    gone = str(manifest.parent / "counting.ogg")
    assert [failed["id"] for failed in report["failed"]] == ["counting.ogg", "\0.wav"]
    assert report["failed"][0]["error"] == f"{gone}: no such file"
    assert (report["clips"], report["words"]["errors"], report["words"]["length"]) == (2, 0, 12)
    assert sorted(err.splitlines())[:2] == [
        "sewnp: 2 of 4 clips failed and count nowhere",
        f"sewnp: error: $'{manifest.parent}/\\x00.wav': cannot be read: embedded null byte",
    ]
    assert main(["evaluate", str(manifest), "-o", str(out), "--resume"]) == 1
    assert (out / "results.jsonl").read_text().count("\n") == 3


def test_going_on_after_a_kill(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed for good in the second clip: the first is kept, and only the others are run again."""
    out = manifest.parent / "out"
    dies = (
        "import os, signal, sewnp.cli, sewnp.sharing\n"
        "sewnp.sharing.SECONDS = 1e-9\n"  # one at a time
        "run, calls = sewnp.sharing.transcription, []\n"
        "def transcribe(*arguments, **options):\n"
        "    calls.append(1)\n"
        f"    if len(calls) == 2: os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "    return run(*arguments, **options)\n"
        "sewnp.sharing.transcription = transcribe\n"
        f"sewnp.cli.main(['evaluate', {str(manifest)!r}, '-o', {str(out)!r}])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(sewnp.__file__).parent.parent)}
    assert subprocess.run([sys.executable, "-c", dies], env=environment, check=False).returncode == -signal.SIGKILL
    kept = (out / "results.jsonl").read_text()
    assert kept.count("\n") == 2
    with (out / "results.jsonl").open("a") as file:
        file.write('{"id": "two_sev')  # as if it had been writing
    assert main(["evaluate", str(manifest), "-o", str(out)]) == 1
    assert "holds results already; go on with --resume" in capsys.readouterr().err
    assert main(["evaluate", str(manifest), "-o", str(out), "--model", "digits-d", "--resume"]) == 1
    assert "made with another model" in capsys.readouterr().err
    assert main(["evaluate", str(manifest), "-o", str(out), "--beam", "2", "--resume"]) == 1
    assert "made with another decoder: expected beam search: beam_width 2" in capsys.readouterr().err
    assert main(["evaluate", str(manifest), "-o", str(out), "--resume"]) == 0
    text = (out / "results.jsonl").read_text()
    assert text.startswith(kept)
    assert text.count("\n") == 4
    assert json.loads((out / "report.json").read_text())["words"]["errors"] == 0


def test_classification(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    best = sewnp.load("digit-words").classify(clips / "counting.ogg")[0][0]
    rows = [{"audio": str(clips / "counting.ogg"), "label": best, "id": "right"}]
    rows += [{"audio": str(clips / "counting.ogg"), "label": "cat", "id": "wrong"}]
    (tmp_path / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    picture = tmp_path / "confusion.png"
    assert main(["evaluate", str(tmp_path / "set.jsonl"), "--task", "classification", "--plot", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "accuracy  50.0 % (0.0 % – 100.0 %)  1 of 2 right" in out
    assert "label 'cat' is none of the model's: 1 clips, all counted as wrong" in out
    assert [line.split()[0] for line in out.splitlines()[-3:]] == ["said", best, "cat"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_errors_are_one_line_before_anything_is_run(
    manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(sewnp.Model, "transcribe", never)
    monkeypatch.setattr(sewnp.Model, "classify", never)
    path = str(manifest)
    for arguments, message in [
        (["gone.tsv"], "gone.tsv: no such file"),
        ([path, "--model", "digit-words"], "digit-words: expected a model with the head ctc, found classification"),
        ([path, "--by", "room"], "the set has no column 'room'; it has 'speaker'"),
    ]:
        assert main(["evaluate", *arguments]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"sewnp: error: {message}"), err
        assert err.count("\n") == 1


def test_without_jiwer(manifest: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    assert main(["evaluate", str(manifest)]) == 1
    assert "needs jiwer: python -m pip install 'sewnp[evaluate]'" in capsys.readouterr().err
