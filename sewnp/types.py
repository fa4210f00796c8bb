"""The few types that every room of the house shares."""

from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""A NumPy array; the docstring of each function says which shape and dtype."""

Weights: TypeAlias = dict[str, Any]
"""Nested weights: ``{"conv": {"weight": array}}``; where a checkpoint counts with digits, a list."""

DTypeLike: TypeAlias = type[np.floating[Any]] | np.dtype[Any] | str


class See(Protocol):
    """What observes a stage: called with its name and value, and what it returns is what the network goes on with."""

    def __call__(self, name: str, x: Array, /) -> Array: ...
