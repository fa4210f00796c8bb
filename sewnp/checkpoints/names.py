"""Key spellings: flat checkpoint keys <-> the nested dict that layers read.

A checkpoint says ``encoder.layers.0.layer_norm.weight``; in memory that is ``p["encoder"]["layers"][0]["layer_norm"]["weight"]``.
The position convolution's weight norm pair has two spellings in files and a third, ``weight_g`` and ``weight_v``, in memory.
"""

from collections.abc import Mapping
from typing import Any

from sewnp.types import Array, Weights

_MODERN = (".parametrizations.weight.original0", ".parametrizations.weight.original1")
_OLD = (".weight_g", ".weight_v")


def modern(key: str) -> str:
    """The key as transformers 5 writes it: ``conv.weight_g`` becomes ``conv.parametrizations.weight.original0``."""
    for old, new in zip(_OLD, _MODERN, strict=True):
        if key.endswith(f"pos_conv_embed.conv{old}"):
            return key.removesuffix(old) + new
    return key


def nest(flat: Mapping[str, Array]) -> Weights:
    """Flat keys to nested dicts; where the keys of a level are 0, 1, 2 ..., to a list."""
    nested: Weights = {}
    for key, value in flat.items():
        for old, new in zip(_OLD, _MODERN, strict=True):
            key = key.removesuffix(new) + old if key.endswith(new) else key
        *scopes, leaf = key.split(".")
        level = nested
        for scope in scopes:
            level = level.setdefault(scope, {})
        level[leaf] = value
    result: Weights = _lists(nested)
    return result


def flatten(nested: Any, scope: str = "") -> dict[str, Array]:
    """The inverse of nest, with modern keys."""
    if not isinstance(nested, (dict, list)):
        return {modern(scope): nested}
    items = nested.items() if isinstance(nested, dict) else enumerate(nested)
    flat: dict[str, Array] = {}
    for name, value in items:
        flat |= flatten(value, f"{scope}.{name}" if scope else str(name))
    return flat


def _lists(level: Any) -> Any:
    if not isinstance(level, dict):
        return level
    inner = {name: _lists(value) for name, value in level.items()}
    if inner and all(name.isdigit() for name in inner) and sorted(map(int, inner)) == list(range(len(inner))):
        return [inner[str(i)] for i in range(len(inner))]
    return inner
