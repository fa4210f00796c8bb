"""Calls that are interrupted: what comes next is right, no thread stays, BLAS has its threads back."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.fast import crew, trunk
from sewnp.fast.products import LAYOUTS

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="interrupts by a timer")


@pytest.fixture(autouse=True)
def _all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """For short clips too."""
    monkeypatch.setattr(trunk, "ALONE", 0)


class Interrupted(Exception):
    pass


@pytest.fixture
def timer() -> Iterator[Any]:
    """A function that lets an exception fall from the sky in so many seconds."""

    def raises(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, raises)
    yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def blas_threads() -> list[int]:
    return [library.num_threads for library in crew.blas().lib_controllers]


def clips() -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, samples)).astype(np.float32) for samples in (4000, 9000, 16000, 30000)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("threads", "tries"), [(1, 75), (2, 200), (4, 200)])
def test_the_next_result_is_right(threads: int, tries: int, layout: str, timer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEWNP_PRODUCTS", layout)
    model, waveforms = sewnp.load("digits", threads=threads), clips()
    right = [model(x).logits for x in waveforms]
    begun = time.perf_counter()
    for x in waveforms:
        model(x)
    each = (time.perf_counter() - begun) / len(waveforms)
    before, rng, hits = blas_threads(), random.Random(threads), 0
    others = threading.active_count()  # those of earlier tests, such as a progress bar's
    time.sleep(0.3)
    most = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
    for i in range(tries):
        try:
            timer(rng.random() * 2 * each + 1e-6)
            model(waveforms[i % 4])
            timer(0)
        except Interrupted:
            hits += 1
        assert threading.active_count() <= others
        np.testing.assert_array_equal(model(waveforms[i // 4 % 4]).logits, right[i // 4 % 4])
    assert hits > tries / 10
    assert blas_threads() == before
    if os.path.isdir("/proc/self/task"):
        tasks = []
        for _ in range(2):
            model(waveforms[0])
            time.sleep(0.3)  # a thread that has said that it is done still has to end
            tasks.append(len(os.listdir("/proc/self/task")))
        assert tasks[0] == tasks[1] <= most


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_an_error_right_after_a_thread_has_started(nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the caller's own start of a thread fails behind it, and where that of the threads below fails."""
    model, x = sewnp.load("digits", threads=4), clips()[2]
    right, before = model(x).logits, blas_threads()
    spawn, count = crew._spawn, 0

    def interrupted(program: Any) -> None:
        nonlocal count
        count += 1
        spawn(program)
        if count == nth:
            raise Interrupted

    for _ in range(10):
        count = 0
        monkeypatch.setattr(crew, "_spawn", interrupted)
        with pytest.raises(Interrupted):
            model(x)
        monkeypatch.setattr(crew, "_spawn", spawn)
        np.testing.assert_array_equal(model(x).logits, right)
    assert blas_threads() == before


def test_no_more_threads_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = sewnp.load("digits", threads=3), clips()[1]
    right, spawn, count = model(x).logits, crew._spawn, 0

    def refuse(program: Any) -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise RuntimeError("can't start new thread")
        spawn(program)

    monkeypatch.setattr(crew, "_spawn", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        model(x)
    monkeypatch.setattr(crew, "_spawn", spawn)
    np.testing.assert_array_equal(model(x).logits, right)


STOPPED = """
import signal, threading, sewnp
from sewnp.fast.crew import undisturbed

def ended(number, frame):
    raise KeyboardInterrupt

def work(stop):
    def busy():
        while not stop.asked:
            sum(range(1000))
    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    print("busy", flush=True)
    busy()
    for thread in threads:
        thread.join()

signal.signal(signal.SIGTERM, ended)
try:
    undisturbed(work)
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="stops processes")
def test_a_signal_while_stopped_ends_it_when_it_goes_on() -> None:
    """Then any thread may take the signal, and its handler waits for the one that waits."""
    for _ in range(4):
        with subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "busy\n"
            for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT):
                process.send_signal(number)
            assert process.communicate(timeout=60)[0] == "ended\n"


FORKS = """
import os, threading, time, numpy as np, sewnp
from sewnp.fast.crew import blas
sewnp.fast.trunk.ALONE = 0
model = sewnp.load("digits", threads=2)
x = np.random.default_rng(0).normal(size=(1, 16000)).astype(np.float32)
right, free = model(x).logits, [library.num_threads for library in blas().lib_controllers]
over = threading.Event()
def work():
    while not over.is_set():
        model(x)
threading.Thread(target=work).start()
fresh = [sewnp.load("digits-d", threads=2) for _ in range(20)]
packing = threading.Thread(target=lambda: [each(x) for each in fresh])
packing.start()
failed = 0
for each in range(20):
    pid = os.fork()
    if pid == 0:
        limits = [library.num_threads for library in blas().lib_controllers]
        good = np.array_equal(model(x).logits, right) and limits == free and fresh[each](x).logits is not None
        os._exit(0 if good else 1)
    until = time.monotonic() + 20
    while (found := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < until:
        time.sleep(0.001)
    if found == (0, 0):
        os.kill(pid, 9), os.waitpid(pid, 0)
    failed += found[1] != 0 or found[0] == 0
over.set()
print(failed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_fork_while_another_thread_computes() -> None:
    """The child finds no lock taken and BLAS unlimited, and computes as its parent does."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("0\n", "")
