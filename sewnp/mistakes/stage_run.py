"""A stage of a run and everything that it was computed from: where mistakes are tried out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from sewnp.errors import TraceError
from sewnp.layers.masking import frame_lengths
from sewnp.model import Model
from sewnp.networks.dropout import GivenFactors, masked_channels
from sewnp.networks.stage_graph import readers, sources
from sewnp.networks.stages import layer_of, stage_of
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

    def at(self, name: str) -> "StageRun":
        """Another stage of the same run."""
        return replace(self, name=name, right=self.used[name])

    @cached_property
    def sources(self) -> list[str]:
        """The stages that this one was computed from, in the order of the inputs in its row; "" for one that is not in the run."""
        return sources(self.name, self.used)

    @cached_property
    def readers(self) -> dict[str, list[str]]:
        """For every stage and weight of the run, the stages that read it."""
        return readers(self.used)

    def source(self, number: int = 0, *, of: str = "") -> str:
        """The stage that this one, or another, was computed from: the input of that number in its row of the stage list."""
        found = (self.at(of) if of else self).sources[number]
        if not found:
            raise TraceError(f"{of or self.name}: none of {stage_of(of or self.name).inputs[number]} is in the run")
        return found

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
    def factors(self) -> Array | None:
        """What the stage was multiplied by before it was shown: by dropout, and SpecAugment's mask over channels."""
        x, found = self.used[self.name], []
        if self.inputs.dropout:
            found.append(GivenFactors({name: np.asarray(by) for name, by in self.inputs.dropout.items()})(self.name, x))
        if self.inputs.mask_feature_indices is not None and self.config.apply_spec_augment:
            mask, hidden = np.asarray(self.inputs.mask_feature_indices, dtype=bool), self.inputs.mask_time_indices is not None
            found.append(masked_channels(mask, time_masked=hidden, config=self.config)(self.name, x))
        by = [factors for factors in found if factors is not None]
        return np.asarray(np.prod(by, axis=0)) if by else None

    @cached_property
    def lengths(self) -> Array | None:
        """Real frames of each clip (B,), where an attention mask was given."""
        mask = self.inputs.attention_mask
        if mask is None:
            return None
        return frame_lengths(np.asarray(mask), kernels=self.config.conv_kernel, strides=self.config.conv_stride)


Mistakes: TypeAlias = Iterator[tuple[str, Array]]
"""What was done wrongly, in words, and the value that the stage then has: each computed when it is asked for."""

Gives: TypeAlias = dict[int | str, Array]
"""Gradients by the inputs of a stage, under their numbers among its sources, and by its weights, under what their keys end in."""

Backs: TypeAlias = Iterator[tuple[str, Callable[[Array], Gives]]]
"""Ways back from the gradient by the stage: first the right one, then known mistakes, in words, with what they give wrongly."""

KnownMistakes: TypeAlias = Callable[[StageRun], Mistakes]
"""All known mistakes of one kind of stage."""
