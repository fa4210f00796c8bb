"""What travels between processes: a model that nothing is left of, and errors that say whose they are."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp import jobs, sharing, transcribe_many
from sewnp.batch import processes
from sewnp.errors import AudioError, InputError, SewError, WorkerError


@pytest.fixture(scope="module")
def word(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half a second of speech."""
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    path = tmp_path_factory.mktemp("word") / "three.wav"
    soundfile.write(path, samples[int(0.15 * rate) : int(0.55 * rate)], rate)
    return path


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="memory without a name is Linux's")
def test_a_model_is_sent_through_memory_without_a_name(digits: sewnp.Model) -> None:
    job = jobs.Job("transcribe", digits, {})
    content = job.packed()
    assert isinstance(content, jobs._Shared)
    assert job.packed() is content
    _, arguments = job.__reduce__()
    opened = jobs.Parcel(*arguments).opened()
    assert opened.loaded().fingerprint() == digits.fingerprint()
    for other in (jobs._Shared(os.getpid(), content.descriptor, b"another"), jobs._Shared(os.getpid(), 0, content.digest)):
        with pytest.raises(InputError, match="reaches only workers of this user"):  # the same numbers on another machine
            jobs.Parcel("other", other).opened()
    job.close()
    with pytest.raises(InputError, match=r"model: expected a name, or a folder .*reaches only workers of this user .*No such file"):
        jobs.Parcel("another", content).opened()


@pytest.mark.parametrize("lacking", ["the call", "memory", "room"])
def test_where_there_is_no_such_memory_it_goes_with_every_clip(
    digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    def refuse(_: str) -> int:
        raise OSError(12, os.strerror(12))

    if lacking == "the call":
        monkeypatch.delattr(os, "memfd_create", raising=False)
    else:
        monkeypatch.setattr(os, "memfd_create", refuse if lacking == "memory" else lambda _: os.open("/dev/full", os.O_WRONLY))
    before = set(os.listdir("/proc/self/fd"))
    job = jobs.Job("transcribe", digits, {})
    assert isinstance(job.packed(), bytes)
    assert jobs.Parcel(job.token, job.packed()).opened().loaded().fingerprint() == digits.fingerprint()
    assert set(os.listdir("/proc/self/fd")) == before


def heedful() -> None:
    """Whoever started these tests, under nohup for one, may ignore signals, and so would their children."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_killed_run_leaves_nothing_of_the_model(word: Path, tmp_path: Path, number: signal.Signals) -> None:
    folder, temporary, out = (tmp_path / name for name in ("speech", "temporary", "out"))
    folder.mkdir()
    temporary.mkdir()
    for i in range(100):
        (folder / f"{i}.wav").write_bytes(word.read_bytes())
    samples, rate = soundfile.read(word, dtype="float32")
    soundfile.write(folder / "long.wav", np.tile(samples, 1000), rate)  # which outlasts the signal's way
    command = [sys.executable, "-m", "sewnp", "transcribe", str(folder), "-o", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(temporary)}, stderr=subprocess.PIPE, preexec_fn=heedful)
    while not list(out.glob("*.txt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == -number
    assert [path for path in temporary.rglob("*") if path.is_file() and path.stat().st_size > 2**16] == []


def test_a_full_temporary_folder_stops_no_processes(word: Path, tmp_path: Path) -> None:
    """One in which nothing can be written at all."""
    code = "import sys, tempfile; tempfile.tempdir = sys.argv.pop(1); from sewnp.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, str(tmp_path / "gone"), "transcribe", str(word), str(word), "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 2


class Failing(io.RawIOBase):
    """An open file whose disk, or whose decompressor, fails."""

    name = "failing.wav"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def read(self, _: int = -1) -> bytes:
        raise self.error


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), TimeoutError("slow")])
def test_what_fails_in_reading_a_clip_is_the_clips(digits: sewnp.Model, error: Exception, word: Path) -> None:
    bad, good = transcribe_many([Failing(error), word], model=digits)  # type: ignore[list-item]
    assert isinstance(bad.error, AudioError)
    assert str(bad.error).startswith("failing.wav: cannot be read: ")
    assert good.error is None


def test_what_fails_deeper_down_is_the_clips_too(word: Path, digits: sewnp.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    true = sharing.transcription

    def transcription(model: sewnp.Model, audio: Any, **options: Any) -> Any:
        if audio == "bad.wav":
            raise OSError(22, "Invalid argument")
        if audio == "worse.wav":
            raise InputError("logits: not finite")
        return (yield from true(model, audio, **options))

    monkeypatch.setattr(sharing, "transcription", transcription)
    found = list(transcribe_many(["bad.wav", "worse.wav", str(word)], model=digits))
    assert [str(result.error) for result in found] == [
        "bad.wav: cannot be read: Invalid argument", "worse.wav: logits: not finite", "None"
    ]  # fmt: skip
    assert [type(result.error) for result in found[:2]] == [AudioError, InputError]


def test_an_executor_that_takes_no_work(word: Path, digits: sewnp.Model) -> None:
    for executor in (ThreadPoolExecutor(1), ProcessPoolExecutor(1, mp_context=get_context("spawn"))):
        executor.shutdown()
        with pytest.raises(WorkerError, match=f"{word}: the executor takes no work .*after shutdown"):
            list(transcribe_many([word], model=digits, executor=executor))


def test_a_clip_that_cannot_be_sent_fails_alone(word: Path) -> None:
    with word.open("rb") as file:
        bad, good = transcribe_many([file, word], executor=processes(1), ordered=True)
    assert isinstance(bad.error, InputError)
    assert str(bad.error).startswith(f"{word}: cannot be sent to another process (")
    assert good.error is None
    assert good.transcript is not None


def test_standard_input_is_read_here(word: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for executor in (None, processes(1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(word.read_bytes())))
        before = threading.active_count()
        results += transcribe_many(["-", word], executor=executor, ordered=True)
        assert threading.active_count() == before
    assert len({result.transcript.text for result in results if result.transcript}) == 1
    assert [result.error for result in results] == [None] * 4


@pytest.mark.parametrize(
    "clips", ["a.wav", b"a.wav", Path("a.wav"), 3, {"array": [0.0]}, io.BytesIO(), np.zeros(9), np.zeros((), np.int16)]
)
def test_one_clip_is_not_several(clips: Any) -> None:
    message = "clips: expected an iterable of clips, such as a list of paths, found .*; of one clip, make a list of one"
    with pytest.raises(TypeError, match=message) as caught:
        transcribe_many(clips)
    assert isinstance(caught.value, InputError)


def test_clips_of_every_kind(word: Path, digits: sewnp.Model) -> None:
    samples, rate = soundfile.read(word, dtype="float32")
    clips = [word, word.read_bytes(), {"array": samples, "sampling_rate": rate}, [word, word], np.array(["a.wav", "b.wav"])]
    *same, several, table = transcribe_many(clips, model=digits)
    assert len({result.transcript for result in same}) == 1
    assert "expected one clip, found a list of 2 " in str(several.error)
    assert "audio: expected floats" in str(table.error)
    assert len(list(transcribe_many(np.array([word, word]), model=digits))) == 2


@pytest.mark.parametrize("executor", [3, "threads"])
def test_what_is_no_executor(executor: Any) -> None:
    with pytest.raises(InputError, match="executor: expected an executor, a function that makes one or None, found"):
        transcribe_many([], executor=executor)


@pytest.mark.parametrize("named", [None, "argument"])
def test_a_folder_here_does_not_shadow_the_default(
    named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: Path, digits: sewnp.Model
) -> None:
    for name in ("digits", "digit-words"):
        sewnp.load("digits-d" if name == "digits" else name, head=None).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    if named:  # the name means the folder, as it always has
        assert sewnp.load("digits").config.model_type == "sew-d"
        return
    text = digits.transcribe(word).text
    assert sewnp.load().fingerprint() == digits.fingerprint()
    assert sewnp.load().name == "digits"
    assert sewnp.transcribe(word).text == text
    (result,) = transcribe_many([word])
    assert result.transcript is not None
    assert result.transcript.text == text
    (result,) = sewnp.classify_many([np.zeros(16000, np.float32)])
    assert result.labels is not None
    with pytest.raises(SewError, match="head"):
        sewnp.load("digit-words").classify(np.zeros(16000, np.float32))
