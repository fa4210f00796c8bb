"""What is written where: never over an input, never in place of what is no file, and nothing that steers a terminal."""

import contextlib
import csv
import io
import json
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile

import sewnp
import sewnp.manifests
import sewnp.suite
from sewnp.cli import main
from sewnp.cli.overwriting import check_outputs

posix = pytest.mark.skipif(os.name != "posix", reason="pipes and devices by name")


@pytest.fixture(scope="module")
def sound(clips: Path) -> bytes:
    """Half a second of speech, as a WAV."""
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, samples[int(0.15 * rate) : int(0.55 * rate)], rate, format="WAV")
    return file.getvalue()


@pytest.fixture
def clip(sound: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    path.write_bytes(sound)
    return path


@pytest.fixture
def text(sound: bytes, digits: sewnp.Model) -> str:
    return digits.transcribe(io.BytesIO(sound)).text


def run(*arguments: Any, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "sewnp", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, check=False, timeout=120, **options)


def shell(command: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    line = command.replace("sewnp ", f"{sys.executable} -m sewnp ")
    return subprocess.run(["bash", "-c", line], capture_output=True, check=False, timeout=120, **options)


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    """What a command says that is wrong usage."""
    with pytest.raises(SystemExit) as exit:
        main([os.fspath(argument) for argument in arguments])
    assert exit.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    return err.splitlines()[-1]


# --- inputs stay ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["itself", "through a folder", "link to folder", "hard link", "link to file", "through a link"])
def test_no_recording_is_written_over(tmp_path: Path, sound: bytes, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "speech"
    (folder / "sub").mkdir(parents=True)
    recording = folder / "a.txt"
    recording.write_bytes(sound)
    out, named = folder, recording
    if way == "through a folder":
        named = folder / "sub" / ".." / "a.txt"
    elif way == "link to folder":
        out = tmp_path / "link"
        out.symlink_to(folder)
    elif way in ("hard link", "link to file"):
        out = tmp_path / "out"
        out.mkdir()
        (os.link if way == "hard link" else os.symlink)(recording, out / "a.txt")
    elif way == "through a link":
        named = tmp_path / "other" / "a.txt"
        named.parent.mkdir()
        named.symlink_to(recording)
    assert "a.txt is a recording, and would be overwritten" in refused(capsys, "transcribe", named, "-o", out)
    assert recording.read_bytes() == sound


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["transcribe", "--manifest", "list.txt", "-o", "."], "list.txt is the manifest"),
        (["transcribe", "-", "-o", ".", "-f", "txt"], "stdin.txt is a recording"),
        (["transcribe", "vocab.wav", "-f", "json", "-o", "model", "--model", "model"], "vocab.json is a file of the model"),
        (["transcribe", "lm.wav", "-o", ".", "--lm", "lm.txt"], "lm.txt is the language model"),
        (["align", "a.wav", "@lm.txt", "-o", "lm.txt"], "lm.txt is the text"),
        (["align", "a.wav", "ONE", "-o", "./a.wav"], "a.wav is the recording"),
        (["align", "a.wav", "ONE", "--plot", "a.wav"], "a.wav is the recording"),
        (["align", "a.wav", "ONE", "--plot", "x", "-o", "./x"], "x is what -o is written to"),
        (["align", "a.wav", "ONE", "-o", "model/config.json", "--model", "model"], "config.json is a file of the model"),
        (["plot", "a.wav", "-o", "a.wav"], "a.wav is the recording"),
        (["trace", "a.wav", "-o", "a.wav"], "a.wav is the recording"),
        (["explain", "a.wav", "-o", "a.wav"], "a.wav is the recording"),
        (["explain", "a.wav", "-o", "lm.txt", "--lm", "lm.txt"], "lm.txt is the language model"),
        (["trace", "a.wav", "-o", "model/model.safetensors", "--model", "model"], "model.safetensors is a file of the model"),
        (["compare", "a.safetensors", "b.npz", "--plot", "a.safetensors"], "a.safetensors is what is compared"),
        (["compare", "a.safetensors", "stages", "--plot", "stages/x.npy"], "x.npy is what is compared"),
        (["compare", "a.safetensors", "b.npz", "--map", "names.json", "--plot", "names.json"], "names.json is the map"),
        (["check", "suite", "results", "--junit", "suite/manifest.json"], "manifest.json is a file of the suite"),
        (["check", "suite", "results", "--junit", "results/x.npz"], "x.npz is a result"),
        (["evaluate", "report.json", "-o", "."], "report.json is the test set"),
        (["evaluate", "set.tsv", "--task", "classification", "--plot", "set.tsv"], "set.tsv is the test set"),
        (["evaluate", "set.tsv", "--task", "classification", "--plot", "a.wav"], "a.wav is a recording"),
        (["evaluate", "folder", "--task", "classification", "--plot", "folder/manifest.tsv"], "manifest.tsv is the test set"),
        (["evaluate", "set.tsv", "--task", "classification", "-o", "out", "--plot", "out/report.json"], "is what -o"),
        (["benchmark", "--model", "model", "--plot", "model/config.json"], "config.json is a file of the model"),
    ],
)  # fmt: skip
def test_nothing_named_as_input_is_written_over(
    arguments: list[str], said: str, tmp_path: Path, sound: bytes, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jiwer")
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "vocab.wav", "lm.wav", "list.wav", "stdin.txt"):
        Path(name).write_bytes(sound)
    sewnp.load("digits").save("model")
    for name in ("stages", "suite", "results", "folder"):
        Path(name).mkdir()
    for name, content in {
        "list.txt": "list.wav\n", "set.tsv": "a.wav\tONE\n", "folder/manifest.tsv": "../a.wav\tONE\n", "a.safetensors": "", "b.npz": "",
        "stages/x.npy": "", "results/x.npz": "", "suite/manifest.json": "", "names.json": "{}", "lm.txt": "\\data\\",
        "report.json": '{"audio": "a.wav", "text": "ONE"}\n',
    }.items():  # fmt: skip
        Path(name).write_text(content)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if "-" in arguments:
        with open("stdin.txt", "rb") as file:
            done = run(*arguments, stdin=file, cwd=tmp_path)
        assert done.returncode == 2
        assert said in done.stderr.decode()
    else:
        assert said in refused(capsys, *arguments)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_results_beside_the_recordings_are_written_again(clip: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert main(["transcribe", str(clip.parent), "-f", "all", "-o", str(clip.parent)]) == 0
    assert capsys.readouterr().err == "sewnp: left out 5 files that are no sound by name (1 .json, 1 .srt, 1 .tsv, 1 .txt, ...)\n"
    assert clip.with_suffix(".txt").read_text() == f"{text}\n"


def test_two_clips_into_one_file_by_other_names(tmp_path: Path, sound: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        (tmp_path / "speech" / name).mkdir(parents=True)
        (tmp_path / "speech" / name / "a.wav").write_bytes(sound)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "one").mkdir()
    (tmp_path / "out" / "two").symlink_to("one")
    assert "would both be written to" in refused(capsys, "transcribe", tmp_path / "speech", "-o", tmp_path / "out")


def test_a_conversion_does_not_write_over_its_source(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sewnp.load("digits").save(tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    before = {path: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    for target in ("model", "link", "model/../model"):
        assert main(["convert", str(tmp_path / "model"), str(tmp_path / target)]) == 1
        assert "is what is being converted, and would be overwritten" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "config.json").write_text("{}")
    (tmp_path / "x.pt").write_text("")
    with pytest.raises(sewnp.CheckpointError, match=r"config\.json: is what is being converted"):
        sewnp.convert(tmp_path / "x.pt", tmp_path / "out", config=tmp_path / "out" / "config.json")
    (tmp_path / "dict.ltr.txt").symlink_to("out/config.json")  # the default of a dictionary
    with pytest.raises(sewnp.CheckpointError, match=r"config\.json: is what is being converted"):
        sewnp.convert(tmp_path / "x.pt", tmp_path / "out")
    os.link(tmp_path / "model" / "vocab.json", tmp_path / "out" / "vocab.json")
    with pytest.raises(sewnp.CheckpointError, match=r"vocab\.json: is what is being converted"):
        sewnp.convert(tmp_path / "model", tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_devices_may_be_input_and_output() -> None:
    """Both are the same terminal, and nothing is lost."""
    leader, follower = os.openpty()
    name = os.ttyname(follower)
    check_outputs(None, {"-o": name, "--plot": name}, {"the recording": [name]})  # type: ignore[arg-type]
    os.close(leader)
    os.close(follower)


# --- what is no file --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal() -> Iterator[tuple[str, Any]]:
    """A device that anybody may write to: its name, and what comes out of it."""
    leader, follower = os.openpty()
    tty.setraw(follower)
    yield os.ttyname(follower), lambda: os.read(leader, 10_000)
    os.close(leader)
    os.close(follower)


@posix
def test_outputs_into_a_device(clip: Path, terminal: Any, capsys: pytest.CaptureFixture[str]) -> None:
    name, output = terminal
    assert main(["align", str(clip), "THREE", "-o", name]) == 0
    assert output().startswith(b"start\tend\tprobability\tscore\tword\n")
    assert stat.S_ISCHR(os.stat(name).st_mode)
    assert capsys.readouterr() == ("", "")


@posix
def test_outputs_into_pipes_and_substitutions(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = shell(f"sewnp align {clip} THREE -o >(cat); wait $!")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"start\tend")
    done = shell(f"sewnp align {clip} THREE -o /dev/stdout | cat")
    assert done.stdout.startswith(b"start\tend")
    done = shell(f"sewnp plot {clip} -o /dev/stdout | cat")
    assert done.stdout.startswith(b"\x89PNG")
    assert done.stdout.rstrip(b"\n").endswith(b"IEND\xaeB`\x82")
    os.mkfifo(tmp_path / "pipe")
    done = shell(f"cat {tmp_path}/pipe & sewnp trace {clip} --stages logits -o {tmp_path}/pipe; wait")
    (tmp_path / "read.safetensors").write_bytes(done.stdout)
    assert "logits" in sewnp.numerics.open_stages(tmp_path / "read.safetensors").names
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "pipe", "read.safetensors"]


def test_a_picture_of_one_stage(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    ours, picture = str(tmp_path / "x.safetensors"), tmp_path / "x.png"
    assert main(["trace", str(clip), "-o", ours, "--stages", "logits"]) == 0
    assert main(["compare", ours, ours, "--plot", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@posix
def test_results_of_clips_through_a_pipe_and_a_link(clip: Path, text: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    os.mkfifo(out / "a.txt")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((out / "a.txt").read_bytes()))
    reader.start()
    assert main(["transcribe", str(clip), "-o", str(out), "--resume"]) == 0
    reader.join(10)
    assert heard == [f"{text}\n".encode()]
    (out / "a.srt").symlink_to(tmp_path / "elsewhere.srt")
    assert main(["transcribe", str(clip), "-o", str(out), "-f", "srt", "--resume"]) == 0
    assert (out / "a.srt").is_symlink()
    assert (tmp_path / "elsewhere.srt").read_text().startswith("1\n")


def test_the_results_of_an_evaluation_through_links(clip: Path, tmp_path: Path) -> None:
    pytest.importorskip("jiwer")
    (tmp_path / "set.tsv").write_text("a.wav\tTHREE\n")
    (tmp_path / "out").mkdir()
    for name in ("results.jsonl", "report.json"):
        (tmp_path / "out" / name).symlink_to(tmp_path / f"kept.{name}")
    assert main(["evaluate", str(tmp_path / "set.tsv"), "-o", str(tmp_path / "out")]) == 0
    assert main(["evaluate", str(tmp_path / "set.tsv"), "-o", str(tmp_path / "out"), "--resume"]) == 0
    assert all((tmp_path / "out" / name).is_symlink() for name in ("results.jsonl", "report.json"))
    assert len((tmp_path / "kept.results.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "kept.report.json").read_text())["clips"] == 1


# --- one bad thing does not stop the others -------------------------------------------------------------------------------------------


def strange_folder(folder: Path, sound: bytes) -> list[str]:
    """Two clips among things that are none; the names of the latter."""
    folder.mkdir()
    for name in ("1.wav", "9.wav"):
        (folder / name).write_bytes(sound)
    os.mkfifo(folder / "2.wav")
    (folder / "3.wav").symlink_to("2.wav")
    (folder / "4.wav").symlink_to("/dev/zero")
    (folder / "5.wav").symlink_to("gone")
    (folder / "6.wav").symlink_to("6.wav")
    bad = [f"{i}.wav" for i in range(2, 7)]
    if Path("/sys/class/net/lo/speed").exists():  # a regular file whose reading fails
        (folder / "7.wav").symlink_to("/sys/class/net/lo/speed")
        bad.append("7.wav")
    return bad


@posix
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("way", ["folder", "pattern", "manifest"])
def test_what_is_no_file_among_clips(
    tmp_path: Path, sound: bytes, jobs: str, way: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "speech"
    bad = strange_folder(folder, sound)
    (tmp_path / "list").write_text("".join(f"speech/{i}.wav\n" for i in range(1, 10)))
    if way == "manifest":
        bad = [f"{i}.wav" for i in range(2, 9)]
    given = {"folder": [folder], "pattern": [folder / "*.wav"], "manifest": ["--manifest", tmp_path / "list"]}[way]
    with limited(60):
        assert main(["transcribe", *map(str, given), "--jobs", jobs]) == 1
    out, err = capsys.readouterr()
    assert out == "".join(f"{folder / name}\t{text}\n" for name in ("1.wav", "9.wav"))
    lines = err.splitlines()
    assert lines.pop() == f"sewnp: {len(bad)} of {len(bad) + 2} clips failed"
    assert sorted(line.partition(": error: ")[2].partition(": ")[0] for line in lines) == [str(folder / name) for name in bad]
    assert "standard output" not in err
    assert f"{folder / '2.wav'}: expected a regular file, found a pipe or device" in err


def test_a_closed_folder_among_clips(
    tmp_path: Path, sound: bytes, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "speech", tmp_path / "out"
    (folder / "closed").mkdir(parents=True)
    (folder / "a.wav").write_bytes(sound)
    scandir = os.scandir

    def closed(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, os.strerror(13), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    said = f"sewnp: error: {folder / 'closed'}: cannot be read: Permission denied\n"
    for options in ([], ["-o", str(out)], ["-o", str(out), "--resume"]):
        assert main(["transcribe", str(folder), *options]) == 1
        printed, err = capsys.readouterr()
        assert said in err
        assert printed == ("" if options else f"{folder / 'a.wav'}\t{text}\n")
    assert (out / "a.txt").read_text() == f"{text}\n"
    assert main(["transcribe", str(folder / "closed")]) == 1
    assert capsys.readouterr().err == said


def test_a_folder_that_takes_no_files_is_told_before_any_work(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # which nobody is to root
    monkeypatch.setattr(sewnp.Model, "transcribe", lambda *_, **__: pytest.fail("work"))
    assert main(["transcribe", str(clip), str(clip.with_name("b.wav")), "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == f"sewnp: error: {tmp_path / 'out'}: could not be written: Permission denied\n"


@posix
def test_what_is_no_file_in_a_test_set(tmp_path: Path, sound: bytes, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jiwer")
    bad = strange_folder(tmp_path / "speech", sound)
    (tmp_path / "set.tsv").write_text("".join(f"speech/{name}\t{text}\n" for name in ("1.wav", *bad, "9.wav")))
    assert main(["evaluate", str(tmp_path / "set.tsv"), "-f", "json"]) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["clips"], report["words"]["errors"]) == (2, 0)
    assert sorted(failed["id"] for failed in report["failed"]) == sorted(f"speech/{name}" for name in bad)
    assert err.splitlines()[-1] == f"sewnp: {len(bad)} of {len(bad) + 2} clips failed and count nowhere"


@posix
def test_a_pipe_that_is_named_is_waited_for(clip: Path, text: str) -> None:
    done = shell(f"sewnp transcribe <(cat {clip})")
    assert (done.returncode, done.stdout.decode()) == (0, f"{text}\n")


@posix
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder"])
@pytest.mark.parametrize(
    "arguments",
    [
        ["transcribe", "--manifest", "X"],
        ["transcribe", "a.wav", "--lm", "X"],
        ["align", "a.wav", "@X"],
        ["evaluate", "X"],
        ["evaluate", "a.tsv", "--lm", "X"],
        ["convert", "X", "out"],
        ["convert", "X.pt", "out", "--dict", "X"],
        ["convert", "a.wav", "out", "--config", "X"],
        ["compare", "X", "X"],
        ["check", "X", "X"],
    ],
    ids=" ".join,
)
def test_no_command_waits_for_what_is_no_file(
    clip: Path, arguments: list[str], kind: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    pytest.importorskip("jiwer")
    monkeypatch.chdir(clip.parent)
    Path("a.tsv").write_text("a.wav\tTHREE\n")
    path = Path("X")
    if kind == "device":
        leader, follower = os.openpty()
        path.symlink_to(os.ttyname(follower))
    else:
        {"pipe": os.mkfifo, "loop": lambda path: path.symlink_to(path), "folder": os.mkdir}[kind](path)
    Path("X.pt").symlink_to("X")
    with limited(20):
        try:
            status = main(arguments)
        except SystemExit as wrong_usage:
            status = wrong_usage.code
    assert status in (1, 2)
    if kind == "device":
        os.close(leader)
        os.close(follower)
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r"^sewnp( \w+)?: error: ", err, re.MULTILINE)
    assert "standard output" not in err
    assert "X" in err or "a.wav: " in err


@contextlib.contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Fail where something waits."""

    def late(*_: object) -> None:
        pytest.fail("waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@posix
@pytest.mark.parametrize("name", ["preprocessor_config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                                  "processor_config.json", "vocab.json", "model.safetensors"])  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "dangling", "folder"])
def test_an_optional_file_that_is_none_is_not_passed_over(tmp_path: Path, name: str, kind: str) -> None:
    model = tmp_path / "model"
    sewnp.load("digits").save(model)
    (model / name).unlink(missing_ok=True)
    {"pipe": os.mkfifo, "dangling": lambda path: path.symlink_to("gone"), "folder": os.mkdir}[kind](model / name)
    with limited(20), pytest.raises(sewnp.CheckpointError, match=f"{name}: (expected a regular file|no such file)"):
        sewnp.load(model)


@pytest.mark.parametrize("length", [240, 245, 250, 251, 252, 255])
@pytest.mark.parametrize("resume", [False, True])
def test_long_names(tmp_path: Path, sound: bytes, length: int, text: str, resume: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """A recording's name may be as long as names can be; that of its results may then be too long, and fails alone."""
    folder, out = tmp_path / "speech", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "z", "é" * ((length - 4) // 2) + "x" * (length % 2)):
        (folder / f"{name}.wav").write_bytes(sound)
    fits = length <= 254  # .json is longer than .wav by one
    for _ in range(1 + resume):
        status = main(["transcribe", str(folder), "-f", "all", "-o", str(out), *["--resume"][:resume]])
        err = capsys.readouterr().err
        assert status == (0 if fits else 1)
        assert fits or "could not be written: File name too long" in err
    assert len(list(out.iterdir())) == (15 if fits else 10)
    assert fits or ("2 of 3 clips were complete" in err) == resume


def test_a_name_with_a_null_in_a_manifest(tmp_path: Path, sound: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.wav").write_bytes(sound)
    (tmp_path / "list.txt").write_text("x\0.wav\na.wav\n")
    assert main(["transcribe", "--manifest", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out"), "-f", "all"]) == 1
    assert "x\\x00.wav': cannot be read: embedded null byte" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 5
    assert main(["align", str(tmp_path / "a.wav"), "THREE", "-o", "x\0", "--plot", "\0"]) == 1
    assert "could not be written: embedded null byte" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["x" * 300, "loop/x", "a\0b"])
def test_what_cannot_even_be_looked_for_is_named(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    Path("model").mkdir()
    calls: list[Any] = [
        lambda: sewnp.convert(path, "out"),
        lambda: sewnp.convert("model", path),
        lambda: sewnp.load("digits").save(path),
        lambda: sewnp.numerics.open_stages(path),
        lambda: sewnp.suite.check_vectors(path, "model"),
        lambda: sewnp.suite.check_vectors("model", path),
        lambda: sewnp.suite.write_vectors(path),
        lambda: list(sewnp.manifests.read_manifest(path)),
    ]
    for call in calls:
        with pytest.raises(sewnp.SewError, match=r"xxx|loop|a\\x00b|model"):
            call()


@pytest.mark.parametrize("blocked", ["a folder", "a folder in its place"])
def test_one_file_that_cannot_be_written(tmp_path: Path, sound: bytes, blocked: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "speech", tmp_path / "out"
    for name in ("a", "b/c", "d"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.wav").write_bytes(sound)
    out.mkdir()
    if blocked == "a folder":
        (out / "a.txt").mkdir()
    else:
        (out / "b").write_text("a file where a folder should be")
    for resume in ([], ["--resume"]):
        assert main(["transcribe", str(folder), "-o", str(out), *resume]) == 1
        assert "sewnp: 1 of 3 clips failed" in capsys.readouterr().err
    done = {"a folder": ["b/c.txt", "d.txt"], "a folder in its place": ["a.txt", "d.txt"]}[blocked]
    assert all((out / name).is_file() for name in done)


def test_a_full_disk_ends_the_run(tmp_path: Path, sound: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "speech", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name in "ab":
        (folder / f"{name}.wav").write_bytes(sound)
    if not Path("/dev/full").exists():
        pytest.skip("needs a device that is always full")
    (out / "a.txt").symlink_to("/dev/full")
    assert main(["transcribe", str(folder), "-o", str(out)]) == 1
    assert capsys.readouterr().err == f"sewnp: error: {out / 'a.txt'}: could not be written: No space left on device\n"
    assert not (out / "b.txt").exists()


def test_a_file_too_large_for_its_limit_leaves_the_others(tmp_path: Path, clip: Path) -> None:
    """``ulimit -f``: what has been written before stays, and the error is no other's."""
    done = run(
        "trace", clip, "-o", tmp_path / "x.safetensors",
        preexec_fn=lambda: (resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)),
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"sewnp: error: {tmp_path / 'x.safetensors'}: could not be written: ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


def test_a_conversion_that_fails_changes_nothing(tmp_path: Path) -> None:
    sewnp.load("digits").save(tmp_path / "old")
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}
    for name in ("vocab.json", "model.safetensors", "tokenizer_config.json"):
        out = tmp_path / name
        shutil.copytree(tmp_path / "old", out)
        (out / name).unlink()
        (out / name).mkdir()
        with pytest.raises(sewnp.CheckpointError, match=f"{name}: could not be written: expected a file, found a folder"):
            sewnp.load("digits-d").save(out)
        assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == {
            key: value for key, value in before.items() if key != name
        }
        with pytest.raises(sewnp.CheckpointError, match=f"{name}: could not be written: expected a file, found a folder"):
            sewnp.convert(tmp_path / "old", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["old", "vocab.json", "model.safetensors", "tokenizer_config.json"]
    )


@pytest.mark.parametrize(
    "command",
    [["transcribe", "a.wav"], ["transcribe", "a.wav", "a.wav", "--jobs", "2"], ["align", "a.wav", "THREE", "-f", "json"]],
    ids=" ".join,
)
def test_whoever_closes_standard_error_has_the_results(clip: Path, command: list[str]) -> None:
    line = f"cd {clip.parent}; sewnp " + " ".join(command)
    expected = shell(line)
    assert expected.returncode == 0
    done = shell(f"{line} 2>&-")
    assert (done.returncode, done.stdout) == (0, expected.stdout)
    done = shell(f"{line} 2>&- <&-")
    assert (done.returncode, done.stdout) == (0, expected.stdout)


def test_standard_files_that_are_closed_or_full(clip: Path, tmp_path: Path, text: str) -> None:
    done = shell(f"cd {tmp_path}; sewnp transcribe gone.wav a.wav 2>&-")
    assert (done.returncode, done.stdout.decode()) == (1, f"a.wav\t{text}\n")
    done = shell(f"cd {tmp_path}; sewnp transcribe gone.wav a.wav 2>/dev/full")
    assert (done.returncode, done.stdout.decode()) == (1, f"a.wav\t{text}\n")
    done = shell(f"cd {tmp_path}; sewnp transcribe a.wav -o out >&- 2>&- <&-")
    assert done.returncode == 0
    assert (tmp_path / "out" / "a.txt").read_text() == f"{text}\n"
    for command in ("transcribe a.wav", "align a.wav THREE -f json"):
        done = shell(f"cd {tmp_path}; sewnp {command} >&-")
        assert (done.returncode, done.stderr) == (1, b"sewnp: error: standard output: closed\n"), command
        done = shell(f"cd {tmp_path}; sewnp {command} >/dev/full")
        assert (done.returncode, done.stderr) == (1, b"sewnp: error: standard output: No space left on device\n"), command
    done = shell(f"cd {tmp_path}; sewnp transcribe --help >/dev/full")
    assert (done.returncode, done.stderr) == (1, b"sewnp: error: standard output: No space left on device\n")
    done = shell("sewnp --version >&-")
    assert (done.returncode, done.stderr) == (1, b"sewnp: error: standard output: closed\n")


def test_without_standard_files_in_this_process(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pythonw has none."""
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["transcribe", str(clip), "-o", str(tmp_path)]) == 0
    assert (tmp_path / "a.txt").exists()
    assert main(["transcribe", str(clip)]) == 1
    sys.stderr.close()


# --- terminals --------------------------------------------------------------------------------------------------------------------

NASTY = "x\x1b[2J\x9b31m\n9.wav\tFORGED\u202e"


def safe(data: bytes) -> bool:
    """Whether a terminal shows all of it: nothing but lines of printable characters and tabs."""
    return all(c.isprintable() or c in "\n\t" for c in data.decode())


@pytest.mark.parametrize("name", [NASTY, os.fsdecode(b"\xff\x9b"), "it's", "$'a'", "-a"])
def test_names_reach_no_terminal_raw(tmp_path: Path, sound: bytes, text: str, name: str) -> None:
    folder = tmp_path / "speech"
    folder.mkdir()
    (folder / f"{name}.wav").write_bytes(sound)
    (folder / f"{name}.mp3").write_bytes(b"none")
    (folder / "a.wav").write_bytes(sound)
    done = run("transcribe", folder, "--jobs", "1")
    assert done.returncode == 1
    assert safe(done.stdout)
    assert safe(done.stderr)
    assert len(done.stdout.splitlines()) == 2
    assert all(line.endswith(f"\t{text}".encode()) for line in done.stdout.splitlines())
    assert len(done.stderr.splitlines()) == 2
    rows = {line.partition("\t")[0] for line in done.stdout.decode().splitlines()}
    words = subprocess.run(["bash", "-c", " ".join(f"printf '%s\\0' {row if row.startswith('$') else chr(34) + row + chr(34)};" for row in rows)],
                           capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})  # fmt: skip
    assert (
        set(words.stdout.split(b"\0")[:-1]) == {os.fsencode(folder / f"{name}.wav"), os.fsencode(folder / "a.wav")}
        or name == "$'a'"
    )
    (folder / f"{name}.mp3").unlink()
    done = run("transcribe", folder, "-f", "json", "-o", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, b"")
    written = {json.loads(path.read_text(encoding="utf-8"))["audio"] for path in (tmp_path / "out").iterdir()}
    assert written == {str(folder / f"{name}.wav"), str(folder / "a.wav")}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("name", [NASTY, os.fsdecode(b"\xff\x9b"), "日本 é \U0001f600"])
def test_json_keeps_the_true_name(tmp_path: Path, sound: bytes, encoding: str, name: str) -> None:
    path = tmp_path / f"{name}.wav"
    path.write_bytes(sound)
    for command in (["transcribe", path, "-f", "json"], ["align", path, "THREE", "-f", "json"]):
        done = run(*command, env=os.environ | {"PYTHONIOENCODING": encoding})
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.decode(encoding))["audio"] == str(path)
        assert all(c.isprintable() for c in done.stdout.decode(encoding).rstrip("\n"))


@pytest.mark.parametrize("name", [NASTY, os.fsdecode(b"\xff\x9b")])
def test_evaluation_of_strange_names(tmp_path: Path, sound: bytes, name: str, text: str) -> None:
    pytest.importorskip("jiwer")
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / f"{name}.wav").write_bytes(sound)
    with (folder / "set.csv").open("w", newline="", errors="surrogateescape") as file:
        table = csv.writer(file)
        table.writerows([["file", "text", "who\x1b"], [f"{name}.wav" if name == NASTY else "gone.wav", "WRONG", NASTY]])
    shutil.copytree(folder, tmp_path / name)
    for given in (folder / "set.csv", tmp_path / name / "set.csv"):
        done = run("evaluate", given, "--by", "who\x1b", "-o", tmp_path / f"out{given.parent.name}", *(["-f", "table"]))
        assert safe(done.stdout)
        assert safe(done.stderr)
        assert b"Traceback" not in done.stderr
        assert done.returncode == (0 if name == NASTY else 1)
        assert b"\nFORGED" not in done.stdout + done.stderr
    if name == NASTY:
        report = json.loads((tmp_path / "outset" / "report.json").read_text())
        assert report["worst"][0]["id"] == f"{name}.wav"
        done = run("evaluate", tmp_path / name / "set.csv", "-f", "json", env=os.environ | {"PYTHONIOENCODING": "ascii"})
        assert json.loads(done.stdout)["set"] == str(tmp_path / name / "set.csv")


def test_align_of_names_that_are_not_utf8(tmp_path: Path, sound: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/\xff\x9b.wav"
    Path(os.fsdecode(path)).write_bytes(sound)
    for arguments in (["THREE"], ["THREE", "-f", "json"], ["THREE", "-f", "textgrid"], [os.fsdecode(b"\xff")]):
        done = run("align", os.fsdecode(path), *arguments)
        assert b"Traceback" not in done.stderr
        assert safe(done.stdout)
        assert safe(done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [["transcribe", NASTY], ["transcribe", "--manifest", NASTY], ["transcribe", "a.wav", "--model", NASTY], ["inspect", NASTY],
     ["convert", NASTY, "x"], ["align", "a.wav", NASTY], ["align", "a.wav", f"@{NASTY}"], ["trace", "a.wav", "-o", f"{NASTY}/x"],
     ["plot", "a.wav", "-o", f"gone/{NASTY}.png"], ["plot", "a.wav", "-o", f"x.{NASTY}"], ["compare", NASTY, NASTY], ["check", NASTY, "x"],
     ["evaluate", NASTY], ["transcribe", "a.wav", "-f", NASTY], ["transcribe", f"--{NASTY}"], [NASTY], ["transcribe", f"{NASTY}*"],
     ["trace", "a.wav", "-o", "x", "--stages", NASTY], ["transcribe", "a.wav", "--window", NASTY], ["benchmark", "--seconds", NASTY],
     ["transcribe", "a.wav", "--lm", NASTY], ["vectors", f"a.wav/{NASTY}"], ["transcribe", "a.wav", "--jobs", NASTY],
     ["benchmark", "--against", NASTY]],
    ids=range(24),
)  # fmt: skip
def test_no_argument_steers_a_terminal_or_forges_a_line(
    clip: Path, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jiwer")
    monkeypatch.chdir(clip.parent)
    for words in (arguments, [word.replace(NASTY, "y" * 100_000) for word in arguments]):
        try:
            status = main(words)
        except SystemExit as exit:
            status = int(exit.code or 0)
        assert status in (1, 2)
        out, err = capsys.readouterr()
        assert out == ""
        assert safe(err.encode())
        assert "\n9.wav" not in err
        assert len(err) < 12_000


def test_a_models_words_steer_no_terminal(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its vocabulary, its labels, its folder's name."""
    folder = tmp_path / "m\x1b[2J\nx"
    sewnp.load("digits").save(folder)
    vocab = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({key if key != "E" else "\x1b[31m\u202e": value for key, value in vocab.items()}))
    words = tmp_path / "words"
    sewnp.load("digit-words").save(words)
    config = json.loads((words / "config.json").read_text())
    config["id2label"] = {key: f"\x1b[31m\n{value}" for key, value in config["id2label"].items()}
    config["label2id"] = {value: int(key) for key, value in config["id2label"].items()}
    (words / "config.json").write_text(json.dumps(config))
    (tmp_path / "set.tsv").write_text("a.wav\tone\n")
    for command in (
        ["transcribe", clip, "--model", folder], ["transcribe", clip, clip, "--model", folder], ["inspect", folder],
        ["transcribe", clip, "-f", "srt", "--model", folder], ["transcribe", clip, "-f", "json", "--model", folder],
        ["classify", clip, "--model", words], ["classify", clip, clip, "--model", words], ["classify", clip, "--model", folder],
        ["benchmark", "--model", folder, "--seconds", "1", "--runs", "2"], ["align", clip, "THREE", "--model", folder],
        ["evaluate", tmp_path / "set.tsv", "--task", "classification", "--model", words],
    ):  # fmt: skip
        main(list(map(str, command)))
        out, err = capsys.readouterr()
        assert out + err
        assert safe((out + err).encode()), command
        assert command != ["classify", clip, "--model", words] or len(out.splitlines()) == 5


# --- ended from outside -----------------------------------------------------------------------------------------------------------

SLOW = """
import pathlib, signal, sys, time
import safetensors.numpy as library

def slow(tensors, path, metadata):
    path.write_bytes(bytes(1000))
    print("writing", file=sys.stderr, flush=True)
    time.sleep(3)
    save(tensors, path, metadata=metadata)

save, library.save_file = library.save_file, slow
from sewnp.cli import main
if "ignored" in sys.argv:
    sys.argv.remove("ignored")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.exit(main())
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_half_written_is_left(tmp_path: Path, number: signal.Signals) -> None:
    sewnp.load("digits").save(tmp_path / "model")
    command = [sys.executable, "-c", SLOW, "convert", str(tmp_path / "model"), str(tmp_path / "new" / "out")]
    for ignored in [False, True][: 1 + (number == signal.SIGHUP)]:
        with subprocess.Popen(
            [*command, *["ignored"][:ignored]],
            stderr=subprocess.PIPE,
            # whoever started these tests may ignore them, and so would their children
            preexec_fn=lambda: [signal.signal(n, signal.SIG_DFL) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        ) as process:
            assert process.stderr is not None
            assert process.stderr.readline() == b"writing\n"
            process.send_signal(number)
            err = process.stderr.read()
        if ignored:
            assert process.returncode == 0
            assert (tmp_path / "new" / "out" / "config.json").exists()
        else:
            assert process.returncode == (130 if number == signal.SIGINT else -number)
            assert err == (b"sewnp: interrupted\n" if number == signal.SIGINT else b"")
            assert [path.name for path in tmp_path.iterdir()] == ["model"]


# --- the default model -------------------------------------------------------------------------------------------------------------


def test_a_default_model_is_the_embedded_one(clip: Path, text: str, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jiwer")
    monkeypatch.chdir(clip.parent)
    for name in ("digits", "digit-words"):
        sewnp.load("digits-d", head=None).save(name)
    Path("set.tsv").write_text(f"a.wav\t{text}\n")
    assert main(["transcribe", "a.wav"]) == 0
    assert capsys.readouterr().out == f"{text}\n"
    for command in (["classify", "a.wav"], ["align", "a.wav", "THREE"], ["trace", "a.wav", "-o", "x.safetensors", "--stages", "logits"],
                    ["evaluate", "set.tsv"], ["benchmark", "--seconds", "1", "--runs", "2"]):  # fmt: skip
        assert main(command) == 0, command
    assert main(["transcribe", "a.wav", "--model", "digits"]) == 1  # which has no head
    assert "needs a CTC head" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["transcribe", "--help"])
    help = capsys.readouterr().out
    assert "(default: digits)" in " ".join(help.split())
    assert "pretrained" not in help
