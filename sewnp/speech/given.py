"""What people have in their hands when they want it heard: one clip or several, a data set's dict, the bytes of a file, another library's array."""

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

import numpy as np

from sewnp.errors import AudioError, AudioWarning, InputError, KindError, SewError, brief
from sewnp.speech.audio import Audio, audio_name, check_rate

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A", bound=Audio)

_ARRAYS = ("array", "raw")
"""Where a dict has its samples: those of ``datasets``, and those that pipelines of transformers take."""


class Heard(Protocol[P, T]):
    """A method that answers for one clip, and with a list for a list or tuple of clips."""

    @overload
    def __call__(self, audio: Audio, *args: P.args, **options: P.kwargs) -> T: ...
    @overload
    def __call__(self, audio: list[A] | tuple[A, ...], *args: P.args, **options: P.kwargs) -> list[T]: ...


class HeardBy(Protocol[P, T]):
    """The same, before it belongs to a model."""

    def __get__(self, model: Any, owner: Any = None) -> Heard[P, T]: ...


def one_or_several(method: Callable[Concatenate[Any, Audio, P], T]) -> HeardBy[P, T]:
    """Let a method whose ``audio`` is one clip take a list or tuple of clips too, one after the other.  -> its answers, a list in their order

    The error of a clip names it: ``audio[3]``, where it has no name of its own.
    """

    @wraps(method)
    def hear(self: Any, audio: Any, *args: P.args, **options: P.kwargs) -> Any:
        if not is_several(audio):
            return method(self, audio, *args, **options)
        answers = []
        for number, clip in enumerate(audio):
            with _numbered(number, clip):
                answers.append(method(self, clip, *args, **options))
        return answers

    return cast(HeardBy[P, T], hear)


class Placed(Protocol[P, T]):
    """A method that answers for one clip and its text, and with a list for lists of both."""

    @overload
    def __call__(self, audio: Audio, text: str, *args: P.args, **options: P.kwargs) -> T: ...
    @overload
    def __call__(self, audio: list[A] | tuple[A, ...], text: Sequence[str], *args: P.args, **options: P.kwargs) -> list[T]: ...


class PlacedBy(Protocol[P, T]):
    """The same, before it belongs to a model."""

    def __get__(self, model: Any, owner: Any = None) -> Placed[P, T]: ...


def each_with_its_text(method: Callable[Concatenate[Any, Audio, str, P], T]) -> PlacedBy[P, T]:
    """Let a method of a clip and its text take lists of both too, as :func:`one_or_several` does.  Raises KindError for other than a text a clip."""

    @wraps(method)
    def place(self: Any, audio: Any, text: Any, *args: P.args, **options: P.kwargs) -> Any:
        if not is_several(audio):
            return method(self, audio, text, *args, **options)
        if not isinstance(text, list | tuple) or len(text) != len(audio):
            raise KindError(f"text: expected a list of {len(audio)} texts, one a clip, found {brief(text)}")
        answers = []
        for number, (clip, said) in enumerate(zip(audio, text, strict=True)):
            with _numbered(number, clip):
                answers.append(method(self, clip, said, *args, **options))
        return answers

    return cast(PlacedBy[P, T], place)


def is_several(audio: object) -> bool:
    """Whether something is a list of clips, and not a clip that is a list of numbers."""
    return isinstance(audio, list | tuple) and len(audio) > 0 and not _is_number(audio[0])


def holds_one(given: object) -> bool:
    """Whether something that can be gone through is one clip all the same: a path, the bytes of a file, a dict, an open file."""
    return isinstance(given, str | bytes | bytearray | os.PathLike | Mapping) or hasattr(given, "read")


def check_one(audio: object) -> None:
    """Raise AudioError, which says what to do, for several clips in place of one."""
    if isinstance(audio, list | tuple) and is_several(audio):
        kind = type(audio[0]).__name__
        raise AudioError(
            f"audio: expected one clip, found a {type(audio).__name__} of {len(audio)} ({kind} ...); transcribe and transcribe_many take several"
        )


def unwrapped(audio: Any, sampling_rate: Any) -> tuple[Any, Any]:
    """A clip as a path, an open file or samples, and the rate of samples: out of a dict, of the bytes of a file.

    Raises AudioError for a dict without samples or rate, InputError for a rate that is given besides and another.
    """
    if isinstance(audio, bytes | bytearray | memoryview):
        return io.BytesIO(audio), sampling_rate
    if not isinstance(audio, Mapping):
        return audio, sampling_rate
    held = [name for name in _ARRAYS if audio.get(name) is not None]
    rate = audio.get("sampling_rate", sampling_rate)
    if len(held) != 1 or rate is None:
        raise AudioError(f'audio: expected "array" or "raw" and "sampling_rate" in a dict, found {brief(list(audio))}')
    rate = check_rate("sampling_rate", rate)
    if sampling_rate is not None and check_rate("sampling_rate", sampling_rate) != rate:
        raise InputError(f"sampling_rate: expected the dict's, {rate}, or none, found {brief(sampling_rate)}")
    found = audio[held[0]]
    if isinstance(found, str | bytes | os.PathLike) or hasattr(found, "read"):
        raise AudioError(f'audio: expected samples in a dict, found {brief(found)} as "{held[0]}"')
    return found, rate


def samples(audio: Any, sampling_rate: int | None, target: int) -> Any:
    """What NumPy takes for an array, from whoever holds one; an AudioWarning for integers that come without a rate, as those of files do.

    float samples are often made for a model; integers are read from files, few of which have its rate.
    """
    if hasattr(audio, "__dlpack__") and not hasattr(audio, "__array__"):
        try:
            audio = np.from_dlpack(audio)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:  # on a GPU, for instance
            raise AudioError(f"audio: expected an array of samples, found {type(audio).__name__} ({error})") from error
    if sampling_rate is None and not isinstance(audio, list | tuple) and getattr(audio, "dtype", None) in _INTEGERS:
        warnings.warn(
            f"audio: {audio.dtype} samples without a sampling_rate are taken for {target} Hz; give the rate of their file",
            AudioWarning,
            stacklevel=2,
        )
    return audio


_INTEGERS = (np.uint8, np.int8, np.int16, np.int32)


def _is_number(value: Any) -> bool:
    """A sample of any library: also a tensor of no dimensions."""
    return isinstance(value, float | int | np.number) or (getattr(value, "shape", None) == () and hasattr(value, "__float__"))


@contextmanager
def _numbered(number: int, clip: Any) -> Iterator[None]:
    """Name the clip in an error of one that has no name."""
    try:
        yield
    except SewError as error:
        if audio_name(clip) != "audio":
            raise
        raise type(error)(f"audio[{number}]{str(error).removeprefix('audio')}") from error
