"""Replay: each of our stages computed from somebody else's values of its inputs.

The observer hands the network their value wherever they have one.  What our float64 arithmetic then makes of a stage differs from theirs only by
what they do differently *in this stage*: the first stage that diverges although its inputs agreed is exact, and so is every later one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sewnp.model import Model
from sewnp.numerics.precision import in_precision
from sewnp.numerics.trace import Inputs
from sewnp.types import Array


@dataclass(frozen=True, eq=False)
class Replay:
    """What a replay found."""

    local: dict[str, Array]
    """Our value of each stage, float64, computed from their values of the stages before it."""
    used: dict[str, Array]
    """What the network went on with: their value where they have a usable one, else ours."""
    inputs: Inputs
    """What the run was called with."""


def replay(model: Model, theirs: Mapping[str, Array], inputs: Inputs) -> Replay:
    """Run the model in float64 over their stages.  A value of another shape, or with NaN where ours has none, is not used."""
    local: dict[str, Array] = {}
    used: dict[str, Array] = {}

    def see(name: str, x: Array, /) -> Array:
        local[name] = x
        value = theirs.get(name)
        used[name] = x if value is None or not usable(x, value) else value.astype(x.dtype)
        return used[name]

    inputs.run(in_precision(model, "float64"), see)
    return Replay(local, used, inputs)


def usable(ours: Array, theirs: Array) -> bool:
    """Whether the network can go on with their value: same shape, and finite where ours is."""
    return ours.shape == theirs.shape and bool(np.all(np.isfinite(theirs) | ~np.isfinite(ours)))
