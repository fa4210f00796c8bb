"""What a hostile file may cost: each call in a process that has two gigabytes, with its time taken and its error looked at.

A reader that fails these tests takes all memory, never ends, or ends the process.  That is nothing for pytest's own process.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from sewnp.errors import SewError

T = TypeVar("T")

MEMORY = 2**31
"""Bytes of address space of the process, Python, NumPy and libsndfile included."""
SECONDS = 6.0

_HARNESS = """
import json, os, resource, signal, sys, time
from pathlib import Path
import numpy as np, safetensors.numpy, scipy.signal, soundfile  # all that may be read later, while it may be read
import sewnp
from sewnp.checkpoints import open_file, open_tensors, read_checkpoint
from sewnp.files import read_json
from sewnp.errors import SewError
from sewnp.speech import CTCTokenizer, read_audio

calls, memory, user = json.loads(sys.stdin.read())
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
if user is not None and os.geteuid() == 0:  # nothing is forbidden to root
    os.setgid(user)
    os.setuid(user)
signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends a call that waits for ever, and with it the process
for name, call in calls.items():
    signal.alarm(20)
    print(json.dumps({"began": name}), flush=True)
    start = time.process_time()
    try:
        eval(call)
        outcome = ["", "nothing was raised"]
    except SewError as error:
        outcome = [type(error).__name__, str(error)]
    except BaseException as error:
        outcome = ["", f"{type(error).__name__} escapes: {error}"[:500]]
    print(json.dumps({"name": name, "outcome": outcome, "seconds": time.process_time() - start}), flush=True)
"""


def tried(make: Callable[[], T]) -> tuple[T | None, str]:
    """What it makes, or the message of the SewError that it ends in: for files that may be read or refused.  Others are not caught."""
    try:
        return make(), ""
    except SewError as error:
        return None, str(error)


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    error: str
    """The name of the SewError; empty if anything else was raised, or nothing."""
    message: str
    seconds: float


def outcomes(calls: Mapping[str, str], *, user: int | None = None) -> dict[str, Outcome]:
    """Evaluate expressions, one after the other, in a process of their own.  user: a user to become first, for what root may do."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _HARNESS],
        input=json.dumps([dict(calls), MEMORY, user]),
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found = {line["name"]: Outcome(*line["outcome"], line["seconds"]) for line in lines if "name" in line}
    if done.returncode or found.keys() != dict(calls).keys():
        began = [line["began"] for line in lines if "began" in line]
        pytest.fail(f"{began[-1:] or 'the harness'} ended the process ({done.returncode}): {done.stderr[-2000:]}")
    assert done.stderr == "", done.stderr
    return found


def check_refused(calls: Mapping[str, tuple[str, Path | str, str]], *, user: int | None = None) -> None:
    """Each call, (expression, file, cause), has to end soon in one SewError that names the file and says why."""
    problems = []
    for name, outcome in outcomes({name: call for name, (call, _, _) in calls.items()}, user=user).items():
        _, file, cause = calls[name]
        if not outcome.error or str(file) not in outcome.message or cause not in outcome.message:
            problems.append(
                f"{name}: expected {cause!r} of {file}, found {outcome.error or 'no SewError'}: {outcome.message[:300]}"
            )
        if outcome.seconds > SECONDS:
            problems.append(f"{name}: took {outcome.seconds:.1f} s")
    assert not problems, "\n".join(problems)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder that other users may look into.  Not one of pytest's: whoever starts another pytest, as test_the_tests does, closes them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
