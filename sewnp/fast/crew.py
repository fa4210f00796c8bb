"""Threads that run one program together, and BLAS kept to one thread each while they do.

NumPy's element-wise functions and its matrix products release Python's lock while they compute, so plain threads suffice.  What costs
is the handing over: each call wants the lock back for a microsecond, and a thread that has to wait for it sleeps for ten.  So the calls
have to be few and long, and no thread waits where it could work.

What a signal's handler raises (Ctrl-C, a timer) can reach the main thread between any two of its instructions.  So nothing is computed,
no limit taken and no other thread started there: it only waits (:func:`undisturbed`).
"""

import _thread
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, TypeVar

import numpy as np

from sewnp.errors import ConfigError, check_whole

MOST_THREADS = 4
"""Beyond which nobody has measured a gain: the threads share Python's lock."""

LARGEST_CREW = 128
"""Threads.  Their locks grow with the square of their number: 5,000 threads would take gigabytes before the system refuses to start them."""


def default_threads() -> int:
    """SEWNP_THREADS, or the processors that this process may use, up to four.  Raises ConfigError unless the variable is a number from 1 to 128."""
    said = os.environ.get("SEWNP_THREADS")
    if said is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(MOST_THREADS, available)
    digits = said.isascii() and said.isdigit() and len(said) < 20  # Python does not read thousands of them
    return check_whole("SEWNP_THREADS", int(said) if digits else said, 1, LARGEST_CREW, error=ConfigError)


T = TypeVar("T")


class Stop:
    """Whether those who compute have been asked to stop."""

    asked = False


LOOK = 0.5
"""Seconds after which the thread that waits looks for signals itself: one that another thread took, as happens to a process that is stopped
and goes on, does not wake it."""


def undisturbed(action: Callable[[Stop], T]) -> T:
    """``action`` run in a thread of its own, which no signal reaches, while the caller waits.  What it raises is raised here.

    Where the waiting is interrupted, ``action`` is asked to stop, its end is awaited, and the interruption raised.
    """
    stop, entry, done = Stop(), _thread.allocate_lock(), _thread.allocate_lock()
    results: list[T] = []
    errors: list[BaseException] = []
    done.acquire()

    def run() -> None:
        if entry.acquire(blocking=False):  # not called off before it began
            try:
                results.append(action(stop))
            except BaseException as error:  # raised again below, in the caller's thread
                errors.append(error)
            finally:
                done.release()

    interruption: BaseException | None = None
    while True:
        try:
            if interruption is None:
                _spawn(run)
            elif results or errors or entry.acquire(blocking=False):
                break  # it has ended, or never began
            while not done.acquire(timeout=LOOK):
                pass
            break
        except BaseException as error:
            stop.asked = True
            interruption = interruption or error
    if interruption is not None:
        raise interruption
    if errors:
        raise errors[0]
    return results[0]


def _spawn(program: Callable[[], None]) -> None:
    """Start a thread in one step, so that it has been started or not, whatever interrupts: threading.Thread takes several."""
    _thread.start_new_thread(program, ())


class Crew:
    """``size`` threads of equal rights.  Ranks count from 0."""

    def __init__(self, size: int, stop: Stop | None = None) -> None:
        self.size, self._stop = size, stop or Stop()
        self._error: BaseException | None = None
        # locks[phase][giver][taker]: two phases in turn, since a quick thread may arrive a second time before a slow one has left
        self._locks = [[[_thread.allocate_lock() for _ in range(size)] for _ in range(size)] for _ in range(2)]
        self._phase = [0] * size
        for lock in self._all_locks():
            lock.acquire()

    def wait(self, rank: int) -> None:
        """Return when every thread has come here: what any of them wrote before, all may read.  A third of what threading.Barrier takes."""
        phase = self._phase[rank]
        self._phase[rank] = 1 - phase
        locks = self._locks[phase]
        for other in range(self.size):
            if other != rank:
                locks[rank][other].release()
        for other in range(self.size):
            if other != rank:
                locks[other][rank].acquire()
        self.go_on()

    def go_on(self) -> None:
        """Leave the program if another thread has failed, or the caller was interrupted."""
        if self._error is not None or self._stop.asked:
            raise _Abandoned

    def share(self, count: int, rank: int, *, least: int = 1, step: int = 1) -> slice:
        """This thread's part of ``count`` things, none where a part would be fewer than ``least`` and others do with fewer threads.

        step: what ``count`` and each part are multiples of.
        """
        size, steps = max(1, min(self.size, count // least)), count // step
        return slice(steps * min(rank, size) // size * step, steps * min(rank + 1, size) // size * step)

    def _all_locks(self) -> Iterator[Any]:
        return (lock for phase in self._locks for row in phase for lock in row)

    def run(self, program: Callable[[int], None]) -> None:
        """Run ``program(rank)`` on every thread, this one being rank 0.  The first error of any of them is raised here."""
        others = [_thread.allocate_lock() for _ in range(1, self.size)]  # each held while its thread is at work
        for rank, busy in enumerate(others, 1):
            busy.acquire()
            try:
                _spawn(partial(self._member, program, rank, busy))
            except RuntimeError as error:  # there are no more threads to be had
                busy.release()
                self._fail(error)
        self._member(program, 0, None)
        for busy in others:
            with busy:
                pass
        if self._error is not None:
            raise self._error

    def _member(self, program: Callable[[int], None], rank: int, busy: Any) -> None:
        try:
            with np.errstate(all="ignore"):  # threads start with NumPy's defaults; what is infinite or NaN shows in the result
                program(rank)
        except BaseException as error:  # raised again in the thread that runs the crew
            self._fail(error)
        finally:
            if busy is not None:
                busy.release()

    def _fail(self, error: BaseException) -> None:
        """Nobody shall wait for a thread that has left."""
        self._error = self._error or error
        for lock in self._all_locks():
            if lock.locked():
                lock.release()


class _Abandoned(Exception):
    """Another thread of the crew has failed, or the caller was interrupted."""


class _Limit:
    """One BLAS thread for as long as anybody computes: the limit is the process's, so the first in takes it and the last out restores it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._taken: Any = None

    def enter(self) -> None:
        with self._lock:
            if self._users == 0:
                _elsewhere(self._take)
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                _elsewhere(self._taken.restore_original_limits)

    def before_fork(self) -> None:
        """Nobody is entering or leaving while the process is copied."""
        self._lock.acquire()

    def after_in_parent(self) -> None:
        self._lock.release()

    def after_in_child(self) -> None:
        """Those who computed are not here: the limit is given back."""
        self._lock = threading.Lock()
        if self._users:
            self._users = 0
            _elsewhere(self._taken.restore_original_limits)

    def _take(self) -> None:
        self._taken = blas().limit(limits=1, user_api="blas")


def _elsewhere(action: Callable[[], None]) -> None:
    """Run in a thread that ends with it.  threadpoolctl 3.8 lets nobody but the thread that took a limit change it while that thread lives, and
    the last out need not be the first in.  (join would enter the thread that waits, which _spawn has started, as a thread for ever.)"""
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    while thread.is_alive():
        time.sleep(1e-5)


_LIMIT = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_LIMIT.before_fork, after_in_parent=_LIMIT.after_in_parent, after_in_child=_LIMIT.after_in_child)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread per calling thread, in the whole process, until the last user has left."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


def limited(action: Callable[[Stop], T]) -> T:
    """Undisturbed, with one BLAS thread for each of ours, so that the bits do not depend on who else computes.  (A process that is forked
    while BLAS computes on threads of its own may hang.)"""

    def alone(stop: Stop) -> T:
        with one_blas_thread():
            return action(stop)

    return undisturbed(alone)


@cache
def blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through the process's libraries once, a few milliseconds
