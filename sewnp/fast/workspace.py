"""Arrays to compute in, kept from call to call: fresh memory costs a page fault every four kilobytes."""

from math import prod

import numpy as np

from sewnp.types import Array


class Workspace:
    """Scratch arrays by name, grown as needed.  What a name held before is gone."""

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, int], Array] = {}

    def take(self, name: str, shape: tuple[int, ...], rank: int = 0) -> Array:
        """An uninitialised float32 array of that shape.  The same name and rank give the same memory again."""
        size = prod(shape)
        array = self._arrays.get((name, rank))
        if array is None or array.size < size:
            array = self._arrays[name, rank] = np.empty(size, np.float32)
        return array[:size].reshape(shape)


class Shelf:
    """Arrays that stand side by side until all are taken away: what a pass keeps for the way back."""

    def __init__(self) -> None:
        self._block = np.empty(0, np.float32)
        self._used = 0

    def take(self, *shape: int) -> Array:
        """An uninitialised float32 array of that shape, nobody else's until the shelf is cleared."""
        start, size = self._used, prod(shape)
        self._used += -(-size // 16) * 16  # whole cache lines
        if self._used > self._block.size:
            return np.empty(shape, np.float32)  # this once: the next time the block will be long enough
        return self._block[start : start + size].reshape(shape)

    def clear(self) -> None:
        """Take everything away."""
        if self._used > self._block.size:
            self._block = np.empty(0, np.float32)  # first the old one goes
            self._block = np.empty(self._used, np.float32)
        self._used = 0
