"""Fields of dataclasses, checked by their types: what a JSON or TOML file says becomes what the type promises, or an error that names it."""

import dataclasses
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

from sewnp.errors import ConfigError, brief, few


@dataclass(frozen=True)
class Rule:
    """What is asked of a field's value beyond its type: in words, and as a test."""

    expected: str
    holds: Callable[[Any], bool]


Positive = Annotated[int, Rule("a number of 1 or more", lambda x: x >= 1)]
Natural = Annotated[int, Rule("a number of 0 or more", lambda x: x >= 0)]
Positives = Annotated[tuple[int, ...], Rule("numbers of 1 or more", lambda x: all(n >= 1 for n in x))]
NonNegative = Annotated[float, Rule("a number of 0 or more", lambda x: x >= 0)]
AboveZero = Annotated[float, Rule("a number above 0", lambda x: x > 0)]
Probability = Annotated[float, Rule("a number from 0 to 1", lambda x: 0 <= x <= 1)]
Range = Annotated[tuple[float, float], Rule("two numbers, the smaller first", lambda x: x[0] <= x[1])]
PositiveRange = Annotated[tuple[float, float], Rule("two positive numbers, the smaller first", lambda x: 0 < x[0] <= x[1])]

T = TypeVar("T")


def alike(word: str, names: Iterable[str]) -> str | None:
    """Which of the names is meant where case, hyphens and underscores do not matter; None for no such name."""
    return next((name for name in names if _folded(name) == _folded(word)), None)


def _folded(word: str) -> str:
    return word.casefold().replace("-", "").replace("_", "")


def expect(condition: Any, name: str, expected: str, found: Any) -> None:
    """Raise ConfigError, in the house's words, unless the condition holds."""
    if not condition:
        raise ConfigError(f"{name}: expected {expected}, found {brief(found)}")


def checked(name: str, value: Any, kind: Any) -> Any:
    """The value as its field's type has it: lists become tuples, whole numbers floats, digit keys integers, tables dataclasses; anything
    else is refused."""
    inner = get_args(kind)
    if kind is Any:
        return value
    if get_origin(kind) in (types.UnionType, Union):
        return None if value is None else checked(name, value, inner[0])
    if get_origin(kind) is Annotated:
        value, rule = checked(name, value, inner[0]), inner[1]
        expect(rule.holds(value), name, rule.expected, value)
        return value
    if get_origin(kind) is Literal:
        expect(value in inner, name, f"{', '.join(map(repr, inner[:-1]))} or {inner[-1]!r}", value)
        return value
    if get_origin(kind) is tuple:
        expect(isinstance(value, (list, tuple)), name, "a list", value)
        kinds = [inner[0]] * len(value) if inner[-1] is ... else inner
        expect(len(value) == len(kinds), name, f"{len(kinds)} values", value)
        return tuple(checked(f"{name}[{i}]", item, kind) for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))
    if get_origin(kind) is dict:
        expect(inner[0] is int or isinstance(value, dict), name, "a dict", value)
        return _labels(value) if inner[0] is int else {key: checked(f"{name}.{key}", x, inner[1]) for key, x in value.items()}
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else from_table(kind, value, name)  # type: ignore[arg-type]
    if isinstance(value, np.integer | np.floating):
        value = value.item()
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is float and number:
        # an infinite one computes to zeros or NaN, and an integer may be too large to be a float at all
        expect(abs(value) <= sys.float_info.max, name, "a finite number", value)
        return float(value)
    expect(type(value) is kind, name, {int: "an integer", float: "a number", bool: "true or false", str: "a string"}[kind], value)
    if kind is int:
        expect(abs(value) < 2**63, name, "an integer of 64 bits", value)
    return value


def check_fields(instance: Any, scope: str = "") -> None:
    """Put :func:`checked` values into the fields of a frozen dataclass; for its ``__post_init__``."""
    for f in dataclasses.fields(instance):
        object.__setattr__(instance, f.name, checked(f"{scope}{f.name}", getattr(instance, f.name), f.type))


def from_table(cls: type[T], values: Any, name: str = "") -> T:
    """A dataclass from a table of a file.  Raises ConfigError for keys that are no fields, and fields that have to be there."""
    expect(isinstance(values, Mapping), name, "a table", values)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    scope = f"{name}." if name else ""
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise ConfigError(f"{scope}{unknown[0]}: unknown; expected one of {few(fields, len(fields))}")
    for key, f in fields.items():
        needed = f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        expect(not needed or key in values, f"{scope}{key}", "a value", None)
    return cls(**{key: checked(f"{scope}{key}", value, fields[key].type) for key, value in values.items()})


def _labels(value: Any) -> dict[int, str]:
    expect(isinstance(value, dict) and value, "id2label", "a dict from 0, 1, ... to names", value)
    try:
        labels = {int(i): label for i, label in value.items()}
    except (TypeError, ValueError):
        raise ConfigError(f"id2label: expected whole numbers as keys, found {brief(list(value))}") from None
    expect(len(labels) == len(value), "id2label", "each key once", list(value))  # "1" and "01" are one number
    expect(sorted(labels) == list(range(len(labels))), "id2label", "the keys 0, 1, ... without gaps", sorted(labels))
    for i, label in labels.items():
        if not isinstance(label, str):
            raise ConfigError(f"id2label[{i}]: expected a string, found {brief(label)}")
    return dict(sorted(labels.items()))
