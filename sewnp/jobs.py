"""What is done with a clip, wherever it is done: a model that travels there once, and an answer that travels back."""

import errno
import hashlib
import os
import pickle
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from sewnp.errors import AudioError, InputError, SewError
from sewnp.files import naming
from sewnp.loading import DEFAULTS, embedded, load
from sewnp.model import Model
from sewnp.speech.audio import Audio, audio_name
from sewnp.speech.given import check_one

_SMALL = 2**16  # bytes; more than this is not sent with every clip
_MEMORY = "sewnp-model"  # what the system calls memory with a model in it
_REMEMBERED = 2  # jobs whose models a worker keeps: two batches may share its process

Answer: TypeAlias = dict[str, Any]
"""What a Result says, beside which clip it is of."""
_SAYS = {"transcribe": "transcript", "classify": "labels"}  # which of its fields a method of Model fills
UNSENDABLE = (pickle.PicklingError, TypeError, AttributeError)
"""What pickling ends in."""


class Job:
    """What is the same for every clip: what to do, and with which model.  In other processes it arrives as a :class:`Parcel`."""

    def __init__(self, task: str, model: str | os.PathLike[str] | Model | None, options: dict[str, Any]) -> None:
        self.task, self.model, self.options = task, model, options
        self.token = uuid.uuid4().hex
        self.problem: Exception | None = None
        """Why it cannot be sent."""
        self._lock = threading.Lock()
        self._content: bytes | _Shared | None = None

    def loaded(self) -> Model:
        """The model, loaded by whoever asks first."""
        with self._lock:
            if not isinstance(self.model, Model):
                self.model = load(embedded(DEFAULTS[self.task]) if self.model is None else self.model)
            return self.model

    def packed(self) -> "bytes | _Shared":
        """All that as bytes; in memory that can be shared, where they are too many to send with every clip."""
        with self._lock:
            if self._content is None:
                try:
                    content = pickle.dumps((self.task, self.model, self.options))
                except UNSENDABLE as error:
                    raise InputError(f"the model and the options: cannot be sent to other processes ({error})") from error
                self._content = content if len(content) <= _SMALL else _shared(content)
            return self._content

    def close(self) -> None:
        if isinstance(self._content, _Shared):
            os.close(self._content.descriptor)
            self._content = None

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            return Parcel, (self.token, self.packed())
        except Exception as error:  # raised in a thread of the executor's: kept for the one who waits
            self.problem = error
            raise


@dataclass(frozen=True)
class _Shared:
    """Bytes in memory that belongs to a process, without a name that could be left behind: when the process ends, so do they."""

    process: int
    descriptor: int
    digest: bytes

    def read(self) -> bytes:
        """Raises OSError where they are not to be had.  On another machine the same numbers may stand for anything."""
        path = f"/proc/{self.process}/fd/{self.descriptor}"
        if not os.readlink(path).startswith(f"/memfd:{_MEMORY} "):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with open(path, "rb") as file:
            content = file.read()
        if _digest(content) != self.digest:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return content


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content).digest()


def _shared(content: bytes) -> "bytes | _Shared":
    """Bytes for other processes of this machine; where the system knows no memory of that kind, or has none left, themselves."""
    if not hasattr(os, "memfd_create") or not os.path.isdir("/proc/self/fd"):
        return content
    try:
        descriptor = os.memfd_create(_MEMORY)
    except OSError:
        return content
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
    except OSError:
        os.close(descriptor)
        return content
    return _Shared(os.getpid(), descriptor, _digest(content))


@dataclass(frozen=True)
class Parcel:
    """A job on its way to a worker process; unpickled with every clip, opened once."""

    token: str
    content: bytes | _Shared

    def opened(self) -> Job:
        with _lock:
            job = _jobs.get(self.token)
            if job is None:
                job = _jobs[self.token] = Job(*pickle.loads(self.read()))
            _jobs.move_to_end(self.token)
            while len(_jobs) > _REMEMBERED:
                _jobs.popitem(last=False)
            return job

    def read(self) -> bytes:
        if isinstance(self.content, bytes):
            return self.content
        try:
            return self.content.read()
        except OSError as error:
            raise InputError(
                f"model: expected a name, or a folder that every worker sees; a loaded Model reaches only workers of this user on the"
                f" machine that loaded it ({error.strerror})"
            ) from error


_jobs: OrderedDict[str, Job] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True)
class Raised:
    """An answer that is nothing of the clip's: the model does not load, or this package has a bug."""

    error: Exception


def work(job: "Job | Parcel", audio: Audio, attempt: int = 0) -> Answer | Raised:
    """What a worker does with a clip.

    attempt: which one this is.  Dask takes a call with the arguments of one that has failed for the same call, and repeats its error.
    """
    try:
        ready = job if isinstance(job, Job) else job.opened()
        model = ready.loaded()
    except Exception as error:
        return Raised(error)
    start, answer = time.perf_counter(), {}

    def act() -> None:
        check_one(audio)
        answer[_SAYS[ready.task]] = getattr(model, ready.task)(audio, **ready.options)

    failed = answered(audio_name(audio), act)
    return failed or answer | {"seconds": time.perf_counter() - start}


def answered(name: str, act: Callable[[], None]) -> Answer | Raised | None:
    """The answer that says what went wrong with the clip of that name; None if nothing did."""
    try:
        with naming(name, AudioError):  # whatever else fails, of reading it and of the decoders behind
            act()
        return None
    except SewError as error:
        return {"error": error if f"{name}:" in str(error) else type(error)(f"{name}: {error}")}
    except MemoryError as error:
        return {"error": AudioError(f"{name}: too large for the memory of this machine ({error})")}
    except Exception as error:
        return Raised(error)
