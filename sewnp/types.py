"""The few types that every room of the house shares."""

from collections.abc import Callable
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


Pullback: TypeAlias = Callable[[Array], Any]
"""From the gradient of a loss by a function's result to its gradients by the function's arguments: that by the first array; then, where there
are weights, a dict of those by the weights, nested as they are; then those by other arrays of floats, in the order of the signature."""


class SeeVjp(Protocol):
    """What observes a stage of a pass that can go back: -> what the network goes on with, and the pullback of what was done to the value."""

    def __call__(self, name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]: ...
