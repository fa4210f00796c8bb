"""The errors that bad input can cause.  Each message names the file, key or argument, what was expected and what was found."""

import math
import operator
import re
import reprlib
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

from sewnp.types import Array

_LONGEST = 20_000
"""Characters of a message: some list hundreds of tensors."""

_STEERING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that turn the direction of writing, and halves of surrogate pairs."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 20


class SewError(Exception):
    """The parent of every error that bad input can cause: catch this one to catch them all.

    Whatever its message quotes, it steers no terminal (:func:`harmless`), forges no line, since its own are indented, and has a readable length.
    """

    def __init__(self, message: object = "", /, **named: Any) -> None:
        super().__init__(_readable(str(message)), **named)


class ConfigError(SewError, ValueError):
    """A configuration that is wrong in itself, or asks for what this package does not build."""


class CheckpointError(SewError):
    """A checkpoint folder or file that is missing, damaged, or does not hold what its configuration promises."""


class AudioError(SewError):
    """Audio that cannot be read or cannot be used."""


class AudioWarning(UserWarning):
    """Audio that was cut short or is damaged, and used as far as it goes because the caller allowed it."""


class TokenizerError(SewError, ValueError):
    """A vocabulary that is not one, or text and ids that it cannot express."""


class LanguageModelError(SewError):
    """A language model's file that is missing, damaged or malformed, or a model that does not fit the vocabulary."""


class TraceError(SewError):
    """A file of stages that is missing or damaged, or stages that are not what they are said to be."""


class ManifestError(SewError):
    """A list of clips that is missing, damaged or malformed."""


class EvaluationError(SewError):
    """A test set that cannot be evaluated, or a file of results that is missing, damaged or malformed."""


class TrainingError(SewError):
    """A run of training that cannot go on, or a folder of one that is missing, damaged or another's."""


class InputError(SewError, ValueError):
    """An argument of the wrong shape, dtype or range."""


class KindError(InputError, TypeError):
    """An argument of another kind than is expected: one clip in place of many."""


class WorkerError(SewError):
    """A worker process that died with the clip it was given, and not for the first time."""


class DependencyError(SewError, ImportError):
    """A package that an optional part of sewnp needs and that is not installed; the message says which extra brings it."""


def brief(value: Any) -> str:
    """A foreign value in a message: like ``repr``, but short, however long or deep the value is."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python does not spell integers of more than 4300 digits
        return "an integer of thousands of digits"


def printable(word: str, *, longest: int = 200) -> str:
    """A foreign word in a message or a row, a name or a path: as it stands, or quoted as ``ls`` does where it could steer a terminal.

    Quoted, ``$'a\\nb'`` is what shells read as that word, bytes of a path that are not UTF-8 included.  No two words are shown alike, unless they
    are too long and cut.
    """
    if isinstance(word, _Shown):
        return word
    short = word if len(word) <= longest else f"{word[:longest]}..."
    if short.isprintable() and not short.startswith(("$'", "''")):
        return _Shown(short or "''")
    return _Shown("$'" + "".join(map(_quoted, short)) + "'")


class _Shown(str):
    """A word that is not quoted again."""


def harmless(text: str) -> str:
    """A foreign text for a terminal: what would steer it is escaped, and so are halves of surrogate pairs; line feeds and tabs stay."""
    return _STEERING.sub(lambda found: _escaped(found[0]), text)


def _quoted(character: str) -> str:
    return character if character.isprintable() and character not in "\\'" else _escaped(character)


def _escaped(character: str) -> str:
    code = ord(character)
    if 0x80 <= code <= 0xFF:  # for a shell, \\x and two digits are a byte
        return f"\\u{code:04x}"
    if 0xDC80 <= code <= 0xDCFF:  # which this is, of a path that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\{character}" if character in "\\'" else character.encode("unicode_escape").decode()


def _readable(message: str) -> str:
    return "\n  ".join(harmless(line.replace("\n", "\\n")) for line in message[:_LONGEST].split("\n  "))[:_LONGEST]


def few(values: Collection[Any], most: int = 12) -> str:
    """Foreign values in a message: the first ones, and how many more there are."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(brief, islice(values, most))) + more


def check_whole(name: str, value: Any, least: int = 0, most: int | None = None, *, error: type[SewError] = InputError) -> int:
    """The value as an int.  Raises ``error``, which names it, unless it is a whole number from ``least`` to ``most``; True is none."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        allowed = f"of {least} or more" if most is None else f"from {least} to {most}"
        raise error(f"{name}: expected a whole number {allowed}, found {brief(value if number is None else number)}")
    return number


def check_real(name: str, value: Any, least: float, most: float, *, expected: str) -> None:
    """Raise InputError, which says what was ``expected``, unless the value is a real number from ``least`` to ``most``; True is none."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= most:
        raise InputError(f"{name}: expected {expected}, found {brief(value)}")


def check_shape(name: str, x: Array, expected: Sequence[int | None]) -> None:
    """Raise InputError unless ``x`` has the expected shape; None stands for any size."""
    fits = x.ndim == len(expected) and all(want in (None, size) for want, size in zip(expected, x.shape, strict=True))
    if not fits:
        wanted = ", ".join("*" if size is None else str(size) for size in expected)
        raise InputError(f"{name}: expected shape ({wanted}{',' if len(expected) == 1 else ''}), found {x.shape}")
