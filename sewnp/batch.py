"""Many clips through any executor of ``concurrent.futures``: threads, processes, or the machines of a Dask cluster.

What travels is a path there and a transcript back.  The recordings are read, and the model is loaded, where the work is done.
"""

import os
import signal
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, TypeAlias

import numpy as np

from sewnp.errors import InputError, KindError, SewError, WorkerError, brief, check_whole, harmless
from sewnp.fast.crew import LOOK
from sewnp.jobs import UNSENDABLE, Answer, Job, Raised, work
from sewnp.model import Model
from sewnp.sharing import can_share, share
from sewnp.speech.audio import Audio, audio_name, is_standard_input
from sewnp.speech.given import holds_one
from sewnp.speech.labels import Labels
from sewnp.speech.transcript import Transcript

IN_FLIGHT = 64
"""Clips given to an executor whose results have not been handed on, unless the caller says otherwise."""

RETRIES = 2
"""Times that a clip whose worker has died is tried again: the worker may have died of another clip, or of want of memory."""

MOST_JOBS = 512
"""Processes of one pool.  Each is a Python with a model."""

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
    model: str | os.PathLike[str] | Model | None = None,
    executor: Executors | None = None,
    ordered: bool = False,
    in_flight: int = IN_FLIGHT,
    **options: Any,
) -> Iterator[Result]:
    """Transcribe any number of clips, and hand on the result of each as soon as it is there.

    clips: paths, or whatever else ``Model.transcribe`` takes; any iterable, read as far as needed.  "-", standard input, is read here,
    whatever the executor.  model, options: as for ``sewnp.load`` and ``Model.transcribe``, by default the embedded "digits".  Every worker
    process loads the model once.  A name or folder has to mean the same there as here; a Model reaches no other machine, unless it is small.

    executor: None works in this process, in order.  There the clips share the network's products: up to ``in_flight`` of them, or some two
    minutes of sound, are read before the first result comes, and results are those of ``Model.transcribe`` up to rounding.  An Executor is used
    and left open: a pool, or a Dask cluster's ``client.get_executor()``.  A function that makes one, such as :func:`processes` returns, is
    called again when a pool breaks.
    ordered: hand on in the order of the clips.  in_flight: how many clips are submitted and not yet handed on, at most; memory does not
    grow with the number of clips.  A cluster wants about twice as many as it has workers.

    A clip that cannot be transcribed has its error in its Result, which names it, and the others go on.  When a worker dies, the clips that
    were in flight are tried again, each alone, twice at most; one whose worker dies each time has a WorkerError.

    Raises what loading the model raises, InputError for in_flight below 1, and WorkerError when an Executor that was given is broken or shut.
    """
    return _many(clips, Job("transcribe", model, options), executor, ordered, in_flight)


def classify_many(
    clips: Iterable[Audio],
    *,
    model: str | os.PathLike[str] | Model | None = None,
    executor: Executors | None = None,
    ordered: bool = False,
    in_flight: int = IN_FLIGHT,
    **options: Any,
) -> Iterator[Result]:
    """Classify any number of clips, by default with "digit-words".  options: for ``Model.classify``; all else as for :func:`transcribe_many`."""
    return _many(clips, Job("classify", model, options), executor, ordered, in_flight)


def _many(clips: Iterable[Audio], job: Job, executor: Executors | None, ordered: bool, in_flight: int) -> Iterator[Result]:
    check_whole("in_flight", in_flight, 1)
    samples = isinstance(clips, np.ndarray) and clips.ndim < 2 and clips.dtype.kind in "biuf"
    if holds_one(clips) or samples or not isinstance(clips, Iterable):
        raise KindError(
            f"clips: expected an iterable of clips, such as a list of paths, found {brief(clips)}; of one clip, make a list of one"
        )
    if executor is not None and not isinstance(executor, Executor) and not callable(executor):
        raise InputError(f"executor: expected an executor, a function that makes one or None, found {brief(executor)}")
    tasks = (_Task(index, audio) for index, audio in enumerate(clips))
    if executor is None:
        return _here(job, tasks, in_flight)
    return _through(_Pool(executor), job, tasks, ordered=ordered, in_flight=in_flight)


def _here(job: Job, tasks: "Iterator[_Task]", in_flight: int) -> Iterator[Result]:
    """In this process, in order."""
    first = next(tasks, None)
    if first is None:
        return
    model, tasks = job.loaded(), chain([first], tasks)
    if can_share(job, model):
        for task, answer in share(job, model, ((task, task.audio) for task in tasks), most=in_flight):
            yield task.result(answer)
    else:
        for task in tasks:
            yield task.result(work(job, task.audio))


def processes(jobs: int) -> Callable[[], Executor]:
    """A function that starts a pool of ``jobs`` processes: an executor for :func:`transcribe_many` that survives its workers.

    Each computes on one thread, so that they do not fight for the cores, and leaves Ctrl-C to the process that started it.  Processes are
    spawned, not forked: a script that uses this needs its ``if __name__ == "__main__":``.  Raises InputError for jobs that are no number
    from 1 to :data:`MOST_JOBS`.
    """
    check_whole("jobs", jobs, 1, MOST_JOBS)
    import multiprocessing  # a tenth of the time that importing this package takes, and one clip needs none of it
    from concurrent.futures import ProcessPoolExecutor

    return partial(ProcessPoolExecutor, jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)


@dataclass
class _Task:
    """A clip on its way."""

    index: int
    audio: Audio
    deaths: int = 0

    def result(self, answer: Answer | Raised) -> Result:
        if isinstance(answer, Raised):
            raise answer.error
        return Result(self.index, self.audio, **answer)


def _through(pool: "_Pool", job: Job, tasks: Iterator[_Task], *, ordered: bool, in_flight: int) -> Iterator[Result]:
    """The results of tasks, as they finish or in order."""
    running: dict[Future[Any], _Task] = {}
    suspects: deque[_Task] = deque()  # was in flight when a worker died: one of these killed it
    alone: Future[Any] | None = None  # the suspect that is being tried
    early: dict[int, Result] = {}  # results before their turn
    turn = 0
    try:
        pool.prepare(job)
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
            for future in wait(running, timeout=LOOK, return_when=FIRST_COMPLETED).done:
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


def _finished(future: "Future[Any]", task: _Task, job: Job) -> Result | None:
    """The result of a task, None if its worker died and it shall be tried again."""
    try:
        answer = future.result()
    except Exception as error:  # not the clip's and not the model's, which come back as answers: the executor's own trouble
        if job.problem is not None:
            raise job.problem from error
        if isinstance(error, UNSENDABLE):
            problem = f"{audio_name(task.audio)}: cannot be sent to another process ({error}); give its path"
            return task.result({"error": InputError(problem)})
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
        self.here: ThreadPoolExecutor | None = None

    def prepare(self, job: Job) -> None:
        """Find out here and now whether a job can be sent: in the threads of a pool of processes an error is hard to be heard."""
        from concurrent.futures import ProcessPoolExecutor

        if isinstance(self.executor, ProcessPoolExecutor):
            job.packed()

    def submit(self, job: Job, task: _Task) -> "Future[Any]":
        if is_standard_input(task.audio):
            self.here = self.here or ThreadPoolExecutor(1)
            return self.here.submit(work, job, task.audio)
        try:
            return self.executor.submit(work, job, task.audio, task.deaths)
        except BrokenExecutor as error:
            if self.make is None:
                raise WorkerError(
                    f"{audio_name(task.audio)}: the executor is broken, a worker died ({error}); to go on with a new one, give"
                    " transcribe_many a function that makes it"
                ) from error
            self.close(wait=False)
            self.executor = self.make()
            return self.executor.submit(work, job, task.audio, task.deaths)
        except RuntimeError as error:
            raise WorkerError(f"{audio_name(task.audio)}: the executor takes no work ({error})") from error

    def close(self, *, wait: bool) -> None:
        """Shut down what we made; what was given is not ours."""
        if self.here is not None:
            self.here.shutdown(wait=wait, cancel_futures=True)
        if self.make is not None:
            self.executor.shutdown(wait=wait, cancel_futures=True)


def _start_worker() -> None:
    """What a process of :func:`processes` does first."""
    from threadpoolctl import threadpool_limits

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    os.environ["SEWNP_THREADS"] = "1"
    warnings.formatwarning = lambda message, *_: (
        f"sewnp: warning: {harmless(str(message))}\n"
    )  # of what file, which is what matters, and not of what line
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: killed, it cannot say so, and its workers would wait for ever."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
