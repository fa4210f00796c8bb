"""A stage and everything that it was computed from: where mistakes are tried out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from sewnp.config import Config
from sewnp.errors import TraceError
from sewnp.layers.masking import frame_lengths
from sewnp.model import Model
from sewnp.networks.base import FAMILIES
from sewnp.networks.stages import input_names, layer_of
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
        return layer_of(self.name)

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

    def given(self, number: int = 0) -> Array:
        """What the stage was computed from: the input of that number in its row of the stage list."""
        names = input_names(self.name, self.config)[number]
        for name in names:
            if name in self.used:
                return self.used[name]
        raise TraceError(f"{self.name}: none of {names} is in the run")

    def of_layer(self, name: str) -> Array:
        """A stage of the same layer, ``{i}`` in its name."""
        return self.used[name.format(i=self.layer)]

    @property
    def layer_input(self) -> Array:
        """What went into the layer of the stage."""
        family = FAMILIES[self.config.model_type]
        return self.used[family.layer_output.format(i=self.layer - 1) if self.layer else family.layer_input]

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
