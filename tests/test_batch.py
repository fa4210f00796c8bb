"""Many clips through executors of every kind, and what happens when clips, workers or pools fail."""

import io
import os
import pickle
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp import jobs, transcribe_many
from sewnp.batch import Result, processes
from sewnp.errors import AudioError, CheckpointError, InputError, WorkerError


class Fatal(os.PathLike[str]):
    """A path that ends the process that asks for it, as the kernel does when memory is short; ``once``: only the first time."""

    def __init__(self, parent: int, once: Path | None = None) -> None:
        self.parent, self.once = parent, once

    def __fspath__(self) -> str:
        if os.getpid() == self.parent:
            return "fatal.wav"
        if self.once is not None and self.once.exists():
            return str(self.once)
        if self.once is not None:
            shutil.copy(self.once.with_name("three.wav"), self.once)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


@pytest.fixture(scope="module")
def texts(clips: Path, digits: sewnp.Model, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    """Three clips of about half a second, short since most tests run them, and what they say."""
    folder = tmp_path_factory.mktemp("words")
    samples, rate = soundfile.read(clips / "three_one_four.wav", dtype="float32")
    for name, start, end in (("three", 0.15, 0.55), ("one", 0.45, 0.85), ("four", 0.75, 1.25)):
        soundfile.write(folder / f"{name}.wav", samples[int(start * rate) : int(end * rate)], rate)
    said = {path: digits.transcribe(path).text for path in folder.glob("*.wav")}
    assert len({text for text in said.values() if text}) == 3
    return said


@pytest.fixture
def paths(texts: dict[Path, str]) -> list[Path]:
    three, one, four = texts
    return [three, three.with_name("gone.wav"), one, four]


@pytest.fixture
def check(texts: dict[Path, str]) -> Callable[..., None]:
    """Whether all results are there, once, right, and with the index of their path."""

    def checked(results: Iterator[Result], paths: list[Path], *, ordered: bool = False) -> None:
        found = list(results)
        assert sorted(result.index for result in found) == list(range(len(paths)))
        if ordered:
            assert [result.index for result in found] == list(range(len(paths)))
        for result in found:
            path = paths[result.index]
            assert result.audio == path
            if path in texts:
                assert result.error is None
                assert result.transcript is not None
                assert result.transcript.text == texts[path]
            else:
                assert result.transcript is None
                assert type(result.error) is AudioError
                assert str(result.error) == f"{path}: no such file"

    return checked


def test_in_this_process(paths: list[Path], digits: sewnp.Model, check: Callable[..., None]) -> None:
    check(transcribe_many(paths), paths, ordered=True)
    check(transcribe_many(iter(paths), model=digits), paths, ordered=True)


def test_results_come_while_clips_are_still_being_named(digits: sewnp.Model) -> None:
    endless = (np.zeros(1000, np.float32) for _ in count())
    results = transcribe_many(endless, model=digits)
    assert [next(results).index, next(results).index] == [0, 1]


@pytest.mark.parametrize("ordered", [False, True])
def test_threads(paths: list[Path], digits: sewnp.Model, ordered: bool, check: Callable[..., None]) -> None:
    with ThreadPoolExecutor(2) as executor:
        check(transcribe_many(paths * 2, model=digits, executor=executor, ordered=ordered), paths * 2, ordered=ordered)
        assert executor.submit(int, "7").result() == 7  # it is left open


def test_threads_load_a_named_model_once(paths: list[Path], monkeypatch: pytest.MonkeyPatch, check: Callable[..., None]) -> None:
    loaded = []
    monkeypatch.setattr(jobs, "load", lambda name: loaded.append(name) or sewnp.load(name))
    with ThreadPoolExecutor(4) as executor:
        check(transcribe_many(paths, model="digits", executor=executor), paths)
    assert loaded == ["digits"]


def test_processes_that_are_given_a_model_and_then_a_name(
    paths: list[Path], digits: sewnp.Model, check: Callable[..., None]
) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        check(transcribe_many(paths, model=digits, executor=executor, ordered=True), paths, ordered=True)
        check(transcribe_many(paths, executor=executor), paths)
        assert executor.submit(_jobs_known).result() == 2


def _jobs_known() -> int:
    return len(jobs._jobs)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_pickles_whole(dtype: str) -> None:
    for name in ("digits", "digits-d", "digit-words"):
        model = sewnp.load(name, dtype=dtype, masking="floor")
        x = np.random.default_rng(0).standard_normal((1, 4000)).astype(dtype)
        model(x)  # what a model prepares for itself is its own affair
        twin = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(model(x).logits, twin(x).logits)
        assert (twin.config, twin.head, twin.masking, twin.name) == (model.config, model.head, "floor", name)
        if model.head == "ctc":
            assert model.transcribe(x[0]) == twin.transcribe(x[0])


def test_a_dask_cluster_runs_it_unchanged(paths: list[Path], check: Callable[..., None]) -> None:
    distributed = pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    settings = {"distributed.scheduler.allowed-failures": 1, "distributed.comm.timeouts.connect": "60s"}
    with (
        dask.config.set(settings),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor()
        check(transcribe_many(paths * 2, executor=executor, in_flight=4), paths * 2)
        check(transcribe_many(paths, model=sewnp.load("digits"), executor=executor, ordered=True), paths, ordered=True)
        # a clip that kills its worker is tried again, and the batch goes on
        mixed = [*paths, Fatal(os.getpid()), *paths]
        found = {result.index: result for result in transcribe_many(mixed, executor=executor)}
        assert isinstance(found.pop(4).error, WorkerError)
        shifted = (replace(result, index=index - (index > 4)) for index, result in found.items())
        check(shifted, paths * 2)


def test_a_clip_that_kills_its_worker_fails_alone(paths: list[Path], texts: dict[Path, str]) -> None:
    mixed = [paths[0], Fatal(os.getpid()), paths[1], paths[2]]
    found = {result.index: result for result in transcribe_many(mixed, executor=processes(2), in_flight=3)}
    assert sorted(found) == [0, 1, 2, 3]
    assert isinstance(found[1].error, WorkerError)
    assert str(found[1].error).startswith("fatal.wav: its worker died 3 times (BrokenProcessPool: ")
    assert str(found[2].error) == f"{paths[1]}: no such file"
    assert [found[i].transcript.text for i in (0, 3)] == [texts[paths[0]], texts[paths[2]]]  # type: ignore[union-attr]


def test_a_lost_worker_costs_a_retry(paths: list[Path], texts: dict[Path, str]) -> None:
    mixed = [Fatal(os.getpid(), once=paths[0].with_name("once.wav")), paths[2]]
    found = transcribe_many(mixed, executor=processes(1), in_flight=1)
    assert [result.transcript.text for result in found] == [texts[paths[0]], texts[paths[2]]]  # type: ignore[union-attr]


def test_a_broken_pool_that_was_given_is_said_to_be_broken(paths: list[Path]) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        results = transcribe_many([Fatal(os.getpid()), *paths], executor=executor)
        with pytest.raises(
            WorkerError, match=r"the executor is broken, a worker died .* give transcribe_many a function that makes it"
        ):
            list(results)


def test_a_model_that_does_not_load_is_the_batchs_error(paths: list[Path]) -> None:
    with pytest.raises(CheckpointError, match="gigits: no embedded model"):
        list(transcribe_many(paths, model="gigits"))
    with ThreadPoolExecutor(1) as executor, pytest.raises(CheckpointError, match="gigits: no embedded model"):
        list(transcribe_many(paths, model="gigits", executor=executor))
    with pytest.raises(CheckpointError, match="gigits: no embedded model"):
        list(transcribe_many(paths, model="gigits", executor=processes(1)))


def test_what_cannot_be_sent_is_the_batchs_error(paths: list[Path]) -> None:
    with pytest.raises(InputError, match=r"the model and the options: cannot be sent to other processes .*lambda"):
        list(transcribe_many(paths, executor=processes(1), decoder=lambda logits: None))


class Recorder(Executor):
    """An executor that works when it is told to, and counts what it holds."""

    def __init__(self, disorder: bool = False) -> None:
        self.held, self.most, self.disorder = 0, 0, disorder

    def submit(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        outer = self

        class Lazy(Future[Any]):
            def result(self, timeout: float | None = None) -> Any:
                outer.held -= 1
                return super().result(timeout)

        future: Future[Any] = Lazy()
        self.held += 1
        self.most = max(self.most, self.held)
        future.set_result(f(*args, **kwargs))
        return future


class Echo:
    """Stands in for a model that takes no time."""

    def transcribe(self, audio: Any, **_: Any) -> Any:
        if isinstance(audio, Exception):
            raise audio
        return sewnp.speech.Transcript(str(audio), (), 0.0)


def test_a_million_paths_are_not_submitted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.Job, "loaded", lambda _: Echo())
    named = 0

    def paths() -> Iterator[str]:
        nonlocal named
        for named in range(1, 10**6 + 1):
            yield str(named)

    executor = Recorder()
    results = transcribe_many(paths(), executor=executor, in_flight=5)
    assert [next(results).index for _ in range(20)] != []
    assert executor.most <= 5
    assert named <= 25
    results.close()  # type: ignore[attr-defined]


def test_in_order_too_few_wait_for_the_slow_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.Job, "loaded", lambda _: Echo())

    class SlowFirst(Recorder):
        def __init__(self) -> None:
            super().__init__()
            self.first: Future[Any] | None = None
            self.before: list[str] = []

        def submit(self, f: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
            if self.first is None:
                self.first = Future()
                slow = sewnp.speech.Transcript("slow", (), 0.0)
                threading.Timer(0.3, self.first.set_result, [{"transcript": slow}]).start()
                return self.first
            if not self.first.done():
                self.before.append(args[1])
            return super().submit(f, *args, **kwargs)

    executor = SlowFirst()
    results = transcribe_many((str(i) for i in range(2000)), executor=executor, ordered=True, in_flight=5)
    assert [result.transcript.text for result in results] == ["slow", *map(str, range(1, 2000))]  # type: ignore[union-attr]
    assert executor.before == ["1", "2", "3", "4"]


@pytest.mark.parametrize("executor", [None, "threads"])
def test_a_bug_is_not_called_a_bad_clip(monkeypatch: pytest.MonkeyPatch, executor: str | None) -> None:
    monkeypatch.setattr(jobs.Job, "loaded", lambda _: Echo())
    chosen = ThreadPoolExecutor(1) if executor else None
    with pytest.raises(ZeroDivisionError, match="ours"):
        list(transcribe_many([ZeroDivisionError("ours")], executor=chosen))  # type: ignore[list-item]
    (result,) = transcribe_many([MemoryError("12 GiB")], executor=chosen)  # type: ignore[list-item]
    assert isinstance(result.error, AudioError)
    assert "too large for the memory of this machine (12 GiB)" in str(result.error)
    if chosen is not None:
        chosen.shutdown()


def test_open_files_and_samples_travel_too(clips: Path, digits: sewnp.Model) -> None:
    data = (clips / "counting.ogg").read_bytes()
    found = list(transcribe_many([io.BytesIO(data), np.zeros(16000, np.float32)], model=digits))
    assert [result.transcript.text for result in found] == ["ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE", ""]  # type: ignore[union-attr]


def test_clips_are_classified_too(paths: list[Path]) -> None:
    model = sewnp.load("digit-words")
    for executor in (None, processes(2)):
        found = list(sewnp.classify_many(paths, executor=executor, ordered=True))
        assert str(found[1].error) == f"{paths[1]}: no such file"
        for result in (found[0], *found[2:]):
            assert result.labels is not None
            assert dict(result.labels) == pytest.approx(dict(model.classify(paths[result.index])), abs=1e-4)
            assert result.labels.duration == soundfile.info(paths[result.index]).duration
            assert result.transcript is result.error is None
            assert result.seconds > 0


def test_in_flight_is_at_least_one() -> None:
    with pytest.raises(InputError, match="in_flight: expected a whole number of 1 or more, found 0"):
        transcribe_many([], in_flight=0)
