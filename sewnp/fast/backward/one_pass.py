"""What one clip is computed with, there and back."""

from dataclasses import dataclass

from sewnp.config import Config
from sewnp.fast.workspace import Shelf, Workspace
from sewnp.networks.dropout import Factors
from sewnp.types import Array

Grads = dict[str, Array]
"""Gradients by the names of their weights, from the base model or from a layer on."""


@dataclass(frozen=True)
class Pass:
    """What one clip is computed with."""

    config: Config
    factors: Factors
    """Of dropout, by stage."""
    shelf: Shelf
    scratch: Workspace

    def drop(self, stage: str, x: Array) -> Array | None:
        """Multiply by the stage's factors, in place, and return them, or None where nothing is dropped."""
        by = self.factors(stage, x)
        if by is not None:
            x *= by
        return by
