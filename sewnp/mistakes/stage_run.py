"""A stage of a run and everything that it was computed from: where mistakes are tried out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from sewnp.errors import TraceError
from sewnp.layers.masking import frame_lengths
from sewnp.model import Model
from sewnp.networks.stages import input_names, layer_of, stage_of
from sewnp.numerics.trace import Inputs
from sewnp.types import Array


@dataclass(frozen=True, eq=False)
class StageRun:
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
        return self.model.config

    @property
    def scope(self) -> str:
        """The stage's name without its last part."""
        return self.name.rpartition(".")[0]

    @cached_property
    def near(self) -> dict[str, Array]:
        """The stages of the same scope, by the last part of their names."""
        return {name.removeprefix(f"{self.scope}."): x for name, x in self.used.items() if name.startswith(f"{self.scope}.")}

    def source(self, number: int = 0, *, of: str = "") -> str:
        """The stage that this one, or another, was computed from: the input of that number in its row of the stage list."""
        names = input_names(of or self.name, self.config)[number]
        for name in names:
            if name in self.used:
                return name
        raise TraceError(f"{of or self.name}: none of {names} is in the run")

    def given(self, number: int = 0) -> Array:
        """The value of its input of that number."""
        return self.used[self.source(number)]

    def weights(self, path: str = "") -> Any:
        """What stands at a path of the base model's weights or the head's: by default, where transformers' module of the stage has its own."""
        path = path or stage_of(self.name).module.format(i=layer_of(self.name))
        level: Any = self.model.weights if path in self.model.weights else self.model.weights[self.config.prefix]
        for part in path.split("."):
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
"""What was done wrongly, in words, and the value that the stage then has: each computed when it is asked for."""

KnownMistakes: TypeAlias = Callable[[StageRun], Mistakes]
"""All known mistakes of one kind of stage."""
