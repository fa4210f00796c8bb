"""``sewnp transcribe`` on many clips and into files: what is meant, what is written where, what happens when something breaks."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main


@pytest.fixture(scope="module")
def spoken(clips: Path, digits: sewnp.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Three half-seconds of speech in a folder with folders, and what they say."""
    folder = tmp_path_factory.mktemp("speech")
    (folder / "b").mkdir()
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    for name, start, end in (("b/three", 0.15, 0.55), ("b/one", 0.45, 0.85), ("a", 0.75, 1.25)):
        soundfile.write(folder / f"{name}.wav", samples[int(start * rate) : int(end * rate)], rate)
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_text("no audio either")
    return {str(path): digits.transcribe(path).text for path in sorted(folder.rglob("[a-z]*.wav"))}


LEFT_OUT = "sewnp: left out 1 file that is no sound by name (1 .txt)\n"
"""What is said of that folder."""


@pytest.fixture
def speech(spoken: dict[str, str]) -> Path:
    return Path(next(iter(spoken))).parent


def lines(spoken: dict[str, str]) -> str:
    return "".join(f"{path}\t{text}\n" for path, text in spoken.items())


def tree(folder: Path) -> list[str]:
    """All files of a folder, hidden ones too."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- which clips are meant --------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_and_sorted(spoken: dict[str, str], speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(spoken) == [str(speech / name) for name in ("a.wav", "b/one.wav", "b/three.wav")]
    assert main(["transcribe", str(speech)]) == 0
    assert capsys.readouterr() == (lines(spoken), LEFT_OUT)


def test_a_pattern_is_sorted_and_names_its_one_file(
    spoken: dict[str, str], speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["transcribe", f"{speech}/**/t*.wav", f"{speech}/*.wav"]) == 0
    paths = list(spoken)
    assert capsys.readouterr().out == "".join(f"{path}\t{spoken[path]}\n" for path in (paths[2], paths[0]))
    assert main(["transcribe", f"{speech}/?.wav"]) == 0
    assert capsys.readouterr().out == f"{paths[0]}\t{spoken[paths[0]]}\n"


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "take [1].wav").write_bytes((speech / "a.wav").read_bytes())
    assert main(["transcribe", str(tmp_path / "take [1].wav")]) == 0
    assert "\t" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "b/three.wav\n\n  a.wav \n"),
        ("list.tsv", "b/three.wav\tTHREE\na.wav\tFOUR\n"),
        ("list.tsv", "text\tpath\nTHREE\tb/three.wav\nFOUR\ta.wav\n"),
        ("list.csv", 'sentence,file\n"THREE, or so",b/three.wav\n"FOUR\n",a.wav\n'),
        ("list.jsonl", '{"audio": "b/three.wav"}\n{"audio_filepath": "a.wav", "duration": 1}\n'),
        ("list.json", '{"audio_filepath": "b/three.wav", "text": "a \u2028 b"}\n{"audio_filepath": "a.wav", "offset": 0.0}\n'),
    ],
)
def test_a_manifest_in_its_own_order(
    spoken: dict[str, str], speech: Path, name: str, content: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (speech / name).write_text(content, encoding="utf-8-sig")
    try:
        assert main(["transcribe", "--manifest", str(speech / name)]) == 0
        three, four = list(spoken)[2], next(iter(spoken))
        assert capsys.readouterr().out == f"{three}\t{spoken[three]}\n{four}\t{spoken[four]}\n"
        assert main(["transcribe", "--manifest", str(speech / name), "-o", str(tmp_path)]) == 0
        assert tree(tmp_path) == ["a.txt", "b/three.txt"]
    finally:
        (speech / name).unlink()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.txt", None, ": no such file"),
        ("empty.txt", b"\n", ": names no clips"),
        ("list.txt", b"a\xff.wav", ":1: expected UTF-8, found b'\\xff' at byte 1"),
        ("list.tsv", b"text\tpath\nTHREE\n", ":2: expected 2 columns ('text', 'path'), separated by tabs, found 1"),
        ("list.jsonl", b'{"words": "3"}', ":1: expected a path in a column audio, audio_filepath, path or file, found 'words'"),
        ("list.jsonl", b"{", ":1: expected a JSON object, found '{'"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, name: str, content: bytes | None, message: str, capsys: Any) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["transcribe", "--manifest", str(tmp_path / name)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"sewnp: error: {tmp_path / name}{message}")


def test_a_folder_or_pattern_without_audio(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(tmp_path)]) == 1
    assert main(["transcribe", str(tmp_path / "*.wav")]) == 1
    assert capsys.readouterr().err == (
        f"sewnp: error: {tmp_path}: no audio files in this folder\nsewnp: error: {tmp_path}/*.wav: no file of that pattern\n"
    )


# --- what is written --------------------------------------------------------------------------------------------------------------


def test_all_formats_into_a_folder(
    spoken: dict[str, str], speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "texts"
    assert main(["transcribe", str(speech), "-f", "all", "-o", str(out)]) == 0
    assert capsys.readouterr() == ("", LEFT_OUT)
    stems = ("a", "b/one", "b/three")
    assert tree(out) == sorted(f"{stem}.{form}" for stem in stems for form in ("txt", "json", "srt", "vtt", "tsv"))
    for path, stem in zip(spoken, stems, strict=True):
        assert (out / f"{stem}.txt").read_text() == f"{spoken[path]}\n"
        result = json.loads((out / f"{stem}.json").read_text())
        assert (result["audio"], result["text"], result["model"]) == (path, spoken[path], "digits")


def test_one_clip_of_any_format_to_standard_output(speech: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = str(speech / "a.wav")
    assert main(["transcribe", clip, "-f", "srt"]) == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,")
    assert main(["transcribe", clip, "-f", "tsv", "--timestamps", "char"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert all(len(row.split("\t")[2]) == 1 for row in rows[1:])
    assert main(["transcribe", clip, "-f", "json", "--timestamps", "char"]) == 0
    assert "chars" in json.loads(capsys.readouterr().out)["segments"][0]


def test_the_search_and_the_windows_are_the_models(speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    true = sewnp.sharing.transcription

    def transcription(model: sewnp.Model, audio: str, **options: Any) -> Any:
        seen.update(options)
        return true(model, audio, **options)

    monkeypatch.setattr(sewnp.sharing, "transcription", transcription)
    assert main(["transcribe", str(speech / "a.wav"), "--beam", "3", "--window", "20", "--overlap", "2"]) == 0
    assert (seen["decoder"].beam_width, seen["window"], seen["overlap"]) == (3, 20.0, 2.0)
    assert callable(seen["progress"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{a}", "{a}", "-o", "{out}"], "a.wav would both be written to"),
        (["{a}", "{copy}", "-o", "{out}"], "a.wav and {copy} would both be written to {out}/a.txt"),
        (["{txt}", "-o", "{parent}"], "is a recording, and would be overwritten"),
        (["{a}", "-f", "all"], "-f all: several files need -o DIR"),
        (["{a}", "{three}", "-f", "srt"], "-f srt: several files need -o DIR"),
        (["{a}", "--resume"], "--resume: expected with -o DIR"),
        (["{a}", "--jobs", "0"], "--jobs: expected a whole number from 1 to 512, found '0'"),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    speech: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a.wav", "a.txt"):
        (tmp_path / name).write_bytes((speech / "a.wav").read_bytes())
    names = {
        "a": speech / "a.wav", "three": speech / "b/three.wav", "copy": tmp_path / "a.wav", "txt": tmp_path / "a.txt",
        "parent": tmp_path, "out": tmp_path / "out",
    }  # fmt: skip
    with pytest.raises(SystemExit) as exit:
        main(["transcribe", *(argument.format(**names) for argument in arguments)])
    assert exit.value.code == 2
    assert message.format(**names) in " ".join(capsys.readouterr().err.split())
    assert tree(tmp_path) == ["a.txt", "a.wav"]
    assert (tmp_path / "a.txt").read_bytes() == (speech / "a.wav").read_bytes()


# --- when something breaks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_bad_files_are_named_counted_and_left_out(
    spoken: dict[str, str], speech: Path, tmp_path: Path, jobs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.wav").write_text("not audio")
    paths = list(spoken)
    arguments = [paths[0], str(tmp_path / "bad.wav"), *paths[1:], str(tmp_path / "gone.wav"), "--jobs", jobs]
    assert main(["transcribe", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == lines(spoken)
    assert [line.partition(": not audio")[0] for line in err.splitlines()] == [
        f"sewnp: error: {tmp_path / 'bad.wav'}",
        f"sewnp: error: {tmp_path / 'gone.wav'}: no such file",
        "sewnp: 2 of 5 clips failed",
    ]


def test_standard_input_among_processes(spoken: dict[str, str], speech: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sewnp", "transcribe", "-", str(speech / "b"), "--jobs", "2"],
        input=(speech / "a.wav").read_bytes(),
        capture_output=True,
        check=False,
    )
    texts = list(spoken.values())
    assert done.stderr == b""
    assert [line.split("\t")[1] for line in done.stdout.decode().splitlines()] == texts
    assert done.stdout.startswith(b"-\t")


def test_resume_does_what_is_missing_and_only_that(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["transcribe", str(speech), "-f", "all", "-o", str(tmp_path), "--resume"]
    assert main(arguments) == 0
    before = tree(tmp_path)
    (tmp_path / "a.json").unlink()
    (tmp_path / "a.txt").write_text("old")
    (tmp_path / "b" / "one.txt").write_text("kept")
    assert main(arguments) == 0
    assert capsys.readouterr().err == f"{LEFT_OUT}{LEFT_OUT}sewnp: 2 of 3 clips were complete\n"
    assert tree(tmp_path) == before
    assert (tmp_path / "a.txt").read_text() != "old"
    assert (tmp_path / "b" / "one.txt").read_text() == "kept"
    assert main(arguments) == 0
    assert capsys.readouterr().err == f"{LEFT_OUT}sewnp: 3 of 3 clips were complete\n"


def test_ctrl_c_keeps_what_is_done(speech: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true = sewnp.sharing.transcription

    def interrupted(model: sewnp.Model, audio: str, **options: Any) -> Any:
        if "one" in audio:
            raise KeyboardInterrupt
        return true(model, audio, **options)

    monkeypatch.setattr(sewnp.sharing, "transcription", interrupted)
    monkeypatch.setattr(sewnp.sharing, "SECONDS", 1e-9)  # one at a time: who is read together is lost together
    assert main(["transcribe", str(speech), "-o", str(tmp_path)]) == 130
    assert capsys.readouterr() == ("", f"{LEFT_OUT}sewnp: interrupted\n")
    assert tree(tmp_path) == ["a.txt"]


class Full:
    """A disk that has no room left after so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def write_text(self, path: Path, text: str, **options: Any) -> int:
        with path.open("w", **options) as file:
            written = file.write(text[: self.room])
        self.room -= written
        if written < len(text):
            raise OSError(28, os.strerror(28))
        return written


def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Full(8)
    monkeypatch.setattr(Path, "write_text", lambda path, text, **options: disk.write_text(path, text, **options))
    assert main(["transcribe", str(speech), "-o", str(tmp_path)]) == 1
    monkeypatch.undo()
    said = f"sewnp: error: {tmp_path / 'b/one.txt'}: could not be written: No space left on device\n"
    assert capsys.readouterr().err == LEFT_OUT + said
    assert tree(tmp_path) == ["a.txt"]
    assert main(["transcribe", str(speech), "-o", str(tmp_path), "--resume"]) == 0
    assert tree(tmp_path) == ["a.txt", "b/one.txt", "b/three.txt"]


def test_a_folder_that_cannot_be_made(speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["transcribe", str(speech / "a.wav"), "-o", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"sewnp: error: {tmp_path / 'file'}: cannot be made: File exists\n"


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def many(speech: Path, tmp_path: Path) -> tuple[Path, Path]:
    """40 short clips, two of them corrupt, a long one that outlasts all others, and where to write."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(40):
        (folder / f"{i:02d}.wav").write_bytes(b"RIFF and no more" if i in (7, 23) else (speech / "a.wav").read_bytes())
    samples, rate = soundfile.read(speech / "a.wav", dtype="float32")
    soundfile.write(folder / "long.wav", np.tile(samples, 400), rate)
    return folder, tmp_path / "out"


def started(folder: Path, out: Path, jobs: int) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-m", "sewnp", "transcribe", str(folder), "-o", str(out), "--jobs", str(jobs)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell that starts these tests in the background has them, and their children, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not list(out.glob("*.txt")):
        assert process.poll() is None
        time.sleep(0.005)
    return process


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_and_resumed(
    many: tuple[Path, Path], number: signal.Signals, capsys: pytest.CaptureFixture[str], spoken: dict[str, str]
) -> None:
    folder, out = many
    process = started(folder, out, 2)
    workers = children(process.pid)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    if number == signal.SIGINT:
        assert err.endswith(b"sewnp: interrupted\n")
        assert b"Traceback" not in err
    wait_until_gone(workers)
    done = tree(out)
    assert 1 <= len(done) < 39
    assert all((out / name).read_text() == f"{spoken[next(iter(spoken))]}\n" for name in done if not name.startswith("."))
    (folder / "long.wav").unlink()
    assert main(["transcribe", str(folder), "-o", str(out), "--resume"]) == 1
    err = capsys.readouterr().err
    assert "sewnp: 2 of 40 clips failed" in err
    assert [name in err for name in ("07.wav", "23.wav", "08.wav")] == [True, True, False]
    assert len(list(out.glob("*.txt"))) == 38


def wait_until_gone(workers: list[int]) -> None:
    """Workers whose parent was killed end by themselves."""
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{worker}").exists() and children_of_init(worker) for worker in workers):
        assert time.monotonic() < deadline, "workers outlive the process that started them"
        time.sleep(0.02)


def children_of_init(pid: int) -> bool:
    """Whether the process still runs: one that nobody has waited for is gone already."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- the page ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "least"), [("transcribing.md", 9), ("sound-files.md", 5)])
def test_the_page_shows_what_is_printed(
    name: str, least: int, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    page = (Path(__file__).parents[2] / "docs" / name).read_text(encoding="utf-8")
    shutil.copytree(clips, tmp_path / "clips")
    shutil.copytree(clips, tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    shown = re.findall(r"^\$ (.*)\n((?:(?!\$ |```).*\n)*)", page, flags=re.MULTILINE)
    assert len(shown) >= least
    for line, printed in shown:
        if not line.startswith("sewnp "):
            subprocess.run(["bash", "-c", line], check=True)
            continue
        with contextlib.suppress(SystemExit):
            main(shlex.split(line.removesuffix(" 2>&1 | tail -n 1"))[1:])
        out, err = capsys.readouterr()
        said = err + out if "warning" in err or "left out" in err else out + err
        assert (said.splitlines(keepends=True)[-1] if line.endswith("tail -n 1") else said) == printed
