"""What of a replay was not computed from their values: everything behind a stage whose value could not be gone on with."""

from collections import defaultdict
from collections.abc import Collection

from sewnp.networks.stage_graph import readers
from sewnp.networks.stages import GRADIENT

MASKED = {"probabilities": "encoder.squeezed_mask", "pooled": "frame_mask"}
"""Stages by the last part of their names, and the mask that they look at: a mask is no input of theirs whose gradient anybody asks for."""


class Behind:
    """Which stages of a run stand behind one that cannot be gone on with: along the graph, so that a branch beside it is not touched."""

    def __init__(self, run: Collection[str]) -> None:
        self._readers = readers(run)
        self._sources: dict[str, list[str]] = defaultdict(list)
        for source, names in self._readers.items():
            for name in names:
                self._sources[name].append(source)
        self._whom: dict[str, str] = {}

    def add(self, name: str, whom: str) -> None:
        """A stage whose own value is not theirs, and the stage that is at the root of it; nothing where that is "" ."""
        if whom:
            self._whom[name] = whom

    def whom(self, name: str) -> str:
        """The stage of another shape, or with NaN, that a stage was computed behind; "" where all that it was computed from is theirs."""
        return next((self._whom[source] for source in self._given(name) if source in self._whom), "")

    def _given(self, name: str) -> list[str]:
        of = name.removeprefix(GRADIENT)
        if of == name:
            mask = MASKED.get(name.rpartition(".")[2], "")
            return [*self._sources[name], mask]
        # a gradient is made of those by its readers, and of the values that these were computed from
        read_by = self._readers.get(of, [])
        values = [source for reader in read_by for source in (reader, *self._sources[reader])]
        return [*(GRADIENT + reader for reader in read_by), *values]
