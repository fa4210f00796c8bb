"""Somebody else's names for the stages, and ours."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sewnp.errors import TraceError
from sewnp.types import Array


@dataclass(frozen=True)
class Target:
    """What one of their names stands for."""

    stage: str
    transpose: tuple[int, ...] | None = None
    """The order in which their axes are ours, where it is another."""


@dataclass(frozen=True, eq=False)
class Renamed(Mapping[str, Array]):
    """Their stages under our names, each read and turned when it is asked for."""

    theirs: Mapping[str, Array]
    source: Mapping[str, tuple[str, Target]]
    """Our name -> their name and what to do with it."""

    def __getitem__(self, name: str) -> Array:
        key, target = self.source[name]
        value = self.theirs[key]
        if target.transpose is None:
            return value
        if sorted(target.transpose) != list(range(value.ndim)):
            raise TraceError(f"{key}: expected an order of its {value.ndim} axes, found {list(target.transpose)}")
        return value.transpose(target.transpose)

    def __iter__(self) -> Iterator[str]:
        return iter(self.source)

    def __len__(self) -> int:
        return len(self.source)


def read_map(path: str) -> dict[str, Target]:
    """A JSON object from their names to ours: ``{"enc.0.attn.q": "encoder.layers.0.attention.q"}``.

    Where their axes stand in another order, the value is ``{"stage": name, "transpose": [0, 2, 1]}``.  Raises TraceError naming file and key.
    """
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TraceError(f"{path}: not a readable JSON file: {error}") from error
    if not isinstance(values, dict):
        raise TraceError(f"{path}: expected an object from their names to ours, found {type(values).__name__}")
    return {key: _target(path, key, value) for key, value in values.items()}


def renamed(theirs: Mapping[str, Array], names: Mapping[str, Target]) -> Renamed:
    """Their stages under our names; names that the map does not know stay what they are.  Raises TraceError when two become the same."""
    source: dict[str, tuple[str, Target]] = {}
    for key in theirs:
        target = names.get(key, Target(key))
        if target.stage in source:
            raise TraceError(f"{key} and {source[target.stage][0]} are both called {target.stage}")
        source[target.stage] = (key, target)
    return Renamed(theirs, source)


def _target(path: str, key: str, value: object) -> Target:
    if isinstance(value, str):
        return Target(value)
    if isinstance(value, dict) and isinstance(value.get("stage"), str):
        axes = value.get("transpose")
        if axes is None or (isinstance(axes, list) and all(isinstance(axis, int) for axis in axes)):
            return Target(value["stage"], None if axes is None else tuple(axes))
    raise TraceError(f'{path}: {key}: expected a stage name or {{"stage": name, "transpose": [axes]}}, found {value!r}')
