"""One copy of a model's weights: where the fast engine has laid out a layer, the layer is all that is held, and its weights are made anew
when somebody asks for them."""

from typing import Any, overload

from sewnp.config import Config
from sewnp.fast.crew import default_threads
from sewnp.fast.names import NAMES
from sewnp.fast.transformer import Layer
from sewnp.fast.trunk import FastTrunk
from sewnp.types import Weights


class HeldWeights:
    """An attribute of nested weights.  Given are dicts and arrays, and as such they are read; what is held may have layers in it.

    What is held is to be found in the object's ``vars`` under the attribute's ``name``.  The object has a ``config``.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> "HeldWeights": ...
    @overload
    def __get__(self, holder: object, owner: type) -> Weights: ...
    def __get__(self, holder: object | None, owner: type) -> Any:
        return self if holder is None else _read(vars(holder)[self._name])

    def __set__(self, holder: Any, weights: Weights) -> None:
        vars(holder)[self._name] = _with_own_layers(weights, holder.config)


def _read(held: Any) -> Any:
    """The very object where it has no layers in it."""
    if isinstance(held, Layer):
        return held.weights()
    if not isinstance(held, dict | list):
        return held
    names = held.keys() if isinstance(held, dict) else range(len(held))
    read = [_read(held[name]) for name in names]
    if all(new is held[name] for name, new in zip(names, read, strict=True)):
        return held
    return dict(zip(names, read, strict=True)) if isinstance(held, dict) else read


def number_count(held: Any) -> int:
    """How many numbers there are in what is held, of which nothing is put together."""
    if isinstance(held, Layer):
        return held.number_count
    if isinstance(held, dict | list):
        return sum(map(number_count, held.values() if isinstance(held, dict) else held))
    return int(held.size)


def packed(holder: dict[str, Any], config: Config, threads: int | None) -> FastTrunk:
    """The packed twin of weights, which takes over their layers: made at the first call, and kept.

    holder: the ``vars`` of who holds them: "weights" and, made here, "packed".  Several threads may be here at once, and a process may be
    forked meanwhile: there is no lock, and each place in the list of layers holds the plain one or the one made of it.
    """
    if "packed" not in holder:
        count = default_threads() if threads is None else threads
        holder.setdefault("packed", FastTrunk(config, holder["weights"][config.prefix], threads=count, hand_over=True))
    twin: FastTrunk = holder["packed"]
    return twin


def _with_own_layers(weights: Weights, config: Config) -> Weights:
    """The same weights with a list of layers that is nobody else's."""
    copied: Weights = dict(weights)
    level: Any = copied
    *scopes, last = (config.prefix, *NAMES[config.model_type].layers.split("."))
    for scope in scopes:
        if scope not in level:  # a model without layers
            return copied
        level[scope] = dict(level[scope])
        level = level[scope]
    if last in level:
        level[last] = list(level[last])
    return copied
