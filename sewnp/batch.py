"""Many clips through any executor of ``concurrent.futures``: threads, processes, or the machines of a Dask cluster.

What travels is a path there and a transcript back.  The recordings are read, and the model is loaded, where the work is done.
"""

import os
import pickle
import signal
import tempfile
import threading
import time
import uuid
import warnings
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from sewnp.errors import AudioError, InputError, SewError, WorkerError, check_whole
from sewnp.loading import load
from sewnp.model import Model
from sewnp.speech.audio import Audio, audio_name
from sewnp.speech.labels import Labels
from sewnp.speech.transcript import Transcript

IN_FLIGHT = 64
"""Clips given to an executor whose results have not been handed on, unless the caller says otherwise."""

RETRIES = 2
"""Times that a clip whose worker has died is tried again: the worker may have died of another clip, or of want of memory."""

_SMALL = 2**16  # bytes; more than this is not sent with every clip
_REMEMBERED = 2  # jobs whose models a worker keeps: two batches may share its process

_Answer: TypeAlias = dict[str, Any]  # what a Result says, beside which clip it is of
_SAYS = {"transcribe": "transcript", "classify": "labels"}  # which of its fields a method of Model fills

Executors: TypeAlias = Executor | Callable[[], Executor]


@dataclass(frozen=True)
class Result:
    """What became of one clip: a transcript or labels, or the error that says why there are none."""

    index: int
    """Its place among the clips, counted from 0."""
    audio: Audio
    transcript: Transcript | None = None
    """What :func:`transcribe_many` heard."""
    labels: Labels | None = None
    """What :func:`classify_many` says of it."""
    error: SewError | None = None
    seconds: float = 0.0
    """That reading, network and decoding took, by the wall clock."""


def transcribe_many(
    clips: Iterable[Audio],
    *,
    model: str | os.PathLike[str] | Model = "digits",
    executor: Executors | None = None,
    ordered: bool = False,
    in_flight: int = IN_FLIGHT,
    **options: Any,
) -> Iterator[Result]:
    """Transcribe any number of clips, and hand on the result of each as soon as it is there.

    clips: paths, or whatever else ``Model.transcribe`` takes; any iterable, read as far as needed.  model, options: as for ``sewnp.load``
    and ``Model.transcribe``.  Every worker process loads the model once.  A name or folder has to mean the same there as here; a Model
    goes through a file in the temporary folder, which workers on other machines do not see.

    executor: None works in this process, one clip after the other.  An Executor is used and left open: a pool, or a Dask cluster's
    ``client.get_executor()``.  A function that makes one, such as :func:`processes` returns, is called again when a pool breaks.
    ordered: hand on in the order of the clips.  in_flight: how many clips are submitted and not yet handed on, at most; memory does not
    grow with the number of clips.  A cluster wants about twice as many as it has workers.

    A clip that cannot be transcribed has its error in its Result, and the others go on.  When a worker dies, the clips that were in flight
    are tried again, each alone, twice at most; one whose worker dies each time has a WorkerError.

    Raises what loading the model raises, InputError for in_flight below 1, and WorkerError when an Executor that was given is broken.
    """
    return _many(clips, _Job("transcribe", model, options), executor, ordered, in_flight)


def classify_many(
    clips: Iterable[Audio],
    *,
    model: str | os.PathLike[str] | Model = "digit-words",
    executor: Executors | None = None,
    ordered: bool = False,
    in_flight: int = IN_FLIGHT,
    **options: Any,
) -> Iterator[Result]:
    """Classify any number of clips.  options: for ``Model.classify``; everything else as for :func:`transcribe_many`."""
    return _many(clips, _Job("classify", model, options), executor, ordered, in_flight)


def _many(clips: Iterable[Audio], job: "_Job", executor: Executors | None, ordered: bool, in_flight: int) -> Iterator[Result]:
    check_whole("in_flight", in_flight, 1)
    tasks = (_Task(index, audio) for index, audio in enumerate(clips))
    if executor is None:
        return (task.result(_work(job, task.audio)) for task in tasks)
    return _through(_Pool(executor), job, tasks, ordered=ordered, in_flight=in_flight)


def processes(jobs: int) -> Callable[[], Executor]:
    """A function that starts a pool of ``jobs`` processes: an executor for :func:`transcribe_many` that survives its workers.

    Each computes on one thread, so that they do not fight for the cores, and leaves Ctrl-C to the process that started it.  Processes are
    spawned, not forked: a script that uses this needs its ``if __name__ == "__main__":``.
    """
    import multiprocessing  # a tenth of the time that importing this package takes, and one clip needs none of it
    from concurrent.futures import ProcessPoolExecutor

    return partial(ProcessPoolExecutor, jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)


@dataclass
class _Task:
    """A clip on its way."""

    index: int
    audio: Audio
    deaths: int = 0

    def result(self, answer: "_Answer | _Raised") -> Result:
        if isinstance(answer, _Raised):
            raise answer.error
        return Result(self.index, self.audio, **answer)


def _through(pool: "_Pool", job: "_Job", tasks: Iterator[_Task], *, ordered: bool, in_flight: int) -> Iterator[Result]:
    """The results of tasks, as they finish or in order."""
    running: dict[Future[Any], _Task] = {}
    suspects: deque[_Task] = deque()  # was in flight when a worker died: one of these killed it
    alone: Future[Any] | None = None  # the suspect that is being tried
    early: dict[int, Result] = {}  # results before their turn
    turn = 0
    try:
        while True:
            if not running and suspects:
                task = suspects.popleft()
                alone = pool.submit(job, task)
                running[alone] = task
            while not suspects and alone not in running and len(running) + len(early) < in_flight:
                following = next(tasks, None)
                if following is None:
                    break
                running[pool.submit(job, following)] = following
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                result = _finished(future, task, job)
                if result is None:
                    suspects.append(task)
                elif ordered:
                    early[result.index] = result
                else:
                    yield result
            while turn in early:
                yield early.pop(turn)
                turn += 1
        pool.close(wait=True)
    finally:
        for future in running:
            future.cancel()
        pool.close(wait=False)
        job.close()


def _finished(future: "Future[Any]", task: _Task, job: "_Job") -> Result | None:
    """The result of a task, None if its worker died and it shall be tried again."""
    try:
        answer = future.result()
    except Exception as error:  # not the clip's and not the model's, which come back as answers: the executor's own trouble
        if job.problem is not None:
            raise job.problem from error
        task.deaths += 1
        if task.deaths <= RETRIES:
            return None
        problem = f"{audio_name(task.audio)}: its worker died {task.deaths} times ({type(error).__name__}: {error})"
        return task.result({"error": WorkerError(problem)})
    return task.result(answer)


class _Pool:
    """An executor, made anew when it breaks if we know how."""

    def __init__(self, executor: Executors) -> None:
        self.make = None if isinstance(executor, Executor) else executor
        self.executor = executor if isinstance(executor, Executor) else executor()

    def submit(self, job: "_Job", task: _Task) -> "Future[Any]":
        try:
            return self.executor.submit(_work, job, task.audio, task.deaths)
        except BrokenExecutor as error:
            if self.make is None:
                raise WorkerError(
                    f"{audio_name(task.audio)}: the executor is broken, a worker died ({error}); to go on with a new one, give"
                    " transcribe_many a function that makes it"
                ) from error
            self.close(wait=False)
            self.executor = self.make()
            return self.executor.submit(_work, job, task.audio, task.deaths)

    def close(self, *, wait: bool) -> None:
        """Shut down what we made; what was given is not ours."""
        if self.make is not None:
            self.executor.shutdown(wait=wait, cancel_futures=True)


class _Job:
    """What is the same for every clip: what to do, and with which model.  In other processes it arrives as a :class:`_Parcel`."""

    def __init__(self, task: str, model: str | os.PathLike[str] | Model, options: dict[str, Any]) -> None:
        self.task, self.model, self.options = task, model, options
        self.token = uuid.uuid4().hex
        self.problem: Exception | None = None
        """Why it cannot be sent."""
        self._lock = threading.Lock()
        self._content: bytes | Path | None = None

    def loaded(self) -> Model:
        """The model, loaded by whoever asks first."""
        with self._lock:
            if not isinstance(self.model, Model):
                self.model = load(self.model)
            return self.model

    def packed(self) -> bytes | Path:
        """All that as bytes; as the file that holds them, where they are too many to send with every clip."""
        with self._lock:
            if self._content is None:
                content = pickle.dumps((self.task, self.model, self.options))
                self._content = content if len(content) <= _SMALL else _in_a_file(content)
            return self._content

    def close(self) -> None:
        if isinstance(self._content, Path):
            self._content.unlink(missing_ok=True)

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return _Parcel, (self.token, self.packed())
        except Exception as error:  # raised in a thread of the executor's: kept for the one who waits
            self.problem = error
            raise


@dataclass(frozen=True)
class _Parcel:
    """A job on its way to a worker process; unpickled with every clip, opened once."""

    token: str
    content: bytes | Path

    def opened(self) -> _Job:
        with _lock:
            job = _jobs.get(self.token)
            if job is None:
                job = _jobs[self.token] = _Job(*pickle.loads(self.read()))
            _jobs.move_to_end(self.token)
            while len(_jobs) > _REMEMBERED:
                _jobs.popitem(last=False)
            return job

    def read(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        try:
            return self.content.read_bytes()
        except OSError as error:
            raise InputError(
                f"model: expected a name, or a folder that every worker sees; a loaded Model reaches only workers that share"
                f" {self.content.parent} ({error.strerror})"
            ) from error


_jobs: OrderedDict[str, _Job] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class _Raised:
    """An answer that is nothing of the clip's: the model does not load, or this package has a bug."""

    error: Exception


def _work(job: "_Job | _Parcel", audio: Audio, attempt: int = 0) -> _Answer | _Raised:
    """What a worker does with a clip.

    attempt: which one this is.  Dask takes a call with the arguments of one that has failed for the same call, and repeats its error.
    """
    try:
        ready = job if isinstance(job, _Job) else job.opened()
        model = ready.loaded()
    except Exception as error:
        return _Raised(error)
    start = time.perf_counter()
    try:
        answer = getattr(model, ready.task)(audio, **ready.options)
        return {_SAYS[ready.task]: answer, "seconds": time.perf_counter() - start}
    except SewError as error:
        return {"error": error}
    except MemoryError as error:
        return {"error": AudioError(f"{audio_name(audio)}: too large for the memory of this machine ({error})")}
    except Exception as error:
        return _Raised(error)


def _in_a_file(content: bytes) -> Path:
    handle, name = tempfile.mkstemp(prefix="sewnp-model.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return Path(name)


def _start_worker() -> None:
    """What a process of :func:`processes` does first."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    os.environ["SEWNP_THREADS"] = "1"
    warnings.formatwarning = lambda message, *_: (
        f"sewnp: warning: {message}\n"
    )  # of what file, which is what matters, and not of what line
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot say so, and its workers would wait for ever."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
