"""Threads that run one program together, and BLAS kept to one thread each while they do.

NumPy's element-wise functions and its matrix products release Python's lock while they compute, so plain threads suffice.  What costs
is the handing over: each call wants the lock back for a microsecond, and a thread that has to wait for it sleeps for ten.  So the calls
have to be few and long, and no thread waits where it could work.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from sewnp.errors import ConfigError, check_whole

MOST_THREADS = 4
"""Beyond which nobody has measured a gain: the threads share Python's lock."""


def default_threads() -> int:
    """SEWNP_THREADS, or the processors that this process may use, up to four.  Raises ConfigError unless the variable is a number from 1."""
    said = os.environ.get("SEWNP_THREADS")
    if said is None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(MOST_THREADS, available)
    digits = said.isascii() and said.isdigit() and len(said) < 20  # Python does not read thousands of them
    return check_whole("SEWNP_THREADS", int(said) if digits else said, 1, error=ConfigError)


class Crew:
    """``size`` threads of equal rights.  Ranks count from 0."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._error: BaseException | None = None
        # locks[phase][giver][taker]: two phases in turn, since a quick thread may arrive a second time before a slow one has left
        self._locks = [[[threading.Lock() for _ in range(size)] for _ in range(size)] for _ in range(2)]
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
        if self._error is not None:
            raise _Abandoned

    def share(self, count: int, rank: int, *, least: int = 1) -> slice:
        """This thread's part of ``count`` things, none where a part would be fewer than ``least`` and others do with fewer threads."""
        size = max(1, min(self.size, count // least))
        return slice(count * min(rank, size) // size, count * min(rank + 1, size) // size)

    def _all_locks(self) -> Iterator[threading.Lock]:
        return (lock for phase in self._locks for row in phase for lock in row)

    def run(self, program: Callable[[int], None]) -> None:
        """Run ``program(rank)`` on every thread, this one being rank 0.  The first error of any of them is raised here."""

        def member(rank: int) -> None:
            try:
                with np.errstate(all="ignore"):  # threads start with NumPy's defaults; what is infinite or NaN shows in the result
                    program(rank)
            except _Abandoned:
                pass
            except BaseException as error:  # raised again below, in the caller's thread
                self._error = self._error or error
                for lock in self._all_locks():  # nobody shall wait for a thread that has left
                    if lock.locked():
                        lock.release()

        others = [threading.Thread(target=member, args=(rank,), daemon=True) for rank in range(1, self.size)]
        for thread in others:
            thread.start()
        member(0)
        for thread in others:
            thread.join()
        if self._error is not None:
            raise self._error


class _Abandoned(Exception):
    """Another thread of the crew has failed."""


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

    def _take(self) -> None:
        self._taken = _blas().limit(limits=1, user_api="blas")


def _elsewhere(action: Callable[[], None]) -> None:
    """Run in a thread that ends with it.  threadpoolctl 3.8 lets nobody but the thread that took a limit change it while that thread lives, and
    the last out need not be the first in."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


_LIMIT = _Limit()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread per calling thread, in the whole process, until the last user has left."""
    _LIMIT.enter()
    try:
        yield
    finally:
        _LIMIT.leave()


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()  # looks through the process's libraries once, a few milliseconds
