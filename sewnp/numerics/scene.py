"""A stage and everything that it was computed from: where mistakes are tried out."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from sewnp.config import Config
from sewnp.errors import TraceError
from sewnp.layers.masking import frame_lengths
from sewnp.model import Model
from sewnp.numerics.trace import Inputs
from sewnp.types import Array


@dataclass(frozen=True, eq=False)
class Scene:
    """One stage of one run."""

    name: str
    model: Model
    """In float64."""
    used: Mapping[str, Array]
    """The stages of the run, with which the network went on."""
    inputs: Inputs
    right: Array
    """What the stage should be, given the stages before it."""

    @property
    def config(self) -> Any:
        """The configuration; of either family, so that fields of only one need no ceremony."""
        config: Config = self.model.config
        return config

    @cached_property
    def layer(self) -> int:
        """Number of the layer that the stage belongs to, 0 for those outside."""
        number = re.search(r"\.(\d+)\.", self.name)
        return int(number[1]) if number else 0

    @property
    def scope(self) -> str:
        """The stage's name without its last part."""
        return self.name.rpartition(".")[0]

    def near(self, name: str) -> Array:
        """A stage of the same scope."""
        return self.used[f"{self.scope}.{name}" if self.scope else name]

    def has(self, name: str) -> bool:
        """Whether the same scope has such a stage."""
        return (f"{self.scope}.{name}" if self.scope else name) in self.used

    def first(self, *names: str) -> Array:
        """The first of these stages that the run has.  ``{i}`` stands for the layer's number, ``{h}`` for that of the layer before."""
        for name in names:
            found = self.used.get(name.format(i=self.layer, h=self.layer - 1))
            if found is not None:
                return found
        raise TraceError(f"{self.name}: none of {names} is in the run")

    def weights(self, path: str) -> Any:
        """What stands at a path of the base model's weights, with ``{i}`` in it, or of the head's."""
        level: Any = self.model.weights if path in self.model.weights else self.model.weights[self.config.prefix]
        for part in path.format(i=self.layer).split("."):
            level = level[int(part)] if isinstance(level, list) else level[part]
        return level

    @cached_property
    def lengths(self) -> Array | None:
        """Real frames of each clip (B,), where an attention mask was given."""
        mask = self.inputs.attention_mask
        if mask is None:
            return None
        return frame_lengths(np.asarray(mask), kernels=self.config.conv_kernel, strides=self.config.conv_stride)


Mistakes: TypeAlias = Iterator[tuple[str, Array]]
"""What was done wrongly, in words, and the value that the stage then has."""

Variant: TypeAlias = Callable[[Scene], Mistakes]
"""All mistakes of one kind that can be made at a stage, each computed when it is asked for."""
