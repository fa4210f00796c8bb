"""Float32 as other hands might have rounded it: runs in which every value is off by a last digit.

One float32 run is a sample of one.  Where it happens to round luckily, a budget derived from it alone is too tight for a port that sums in
another order: torch exceeded such budgets at a layer norm over eight channels that hardly differed.  So a few more runs are made in which
each value of each stage is moved up or down by one machine epsilon of itself.  What such a step grows to further on is what honest
arithmetic may cost.  (Stochastic arithmetic: Vignes 1993, "A stochastic arithmetic for reliable scientific computation".)
"""

import numpy as np

from sewnp.model import Model
from sewnp.numerics.budgets import run_in
from sewnp.numerics.precision import EPS, Precision, in_precision
from sewnp.numerics.trace import Inputs, Recorder
from sewnp.types import Array


def honest_runs(
    model: Model,
    inputs: Inputs,
    precision: Precision = "float32",
    *,
    jittered_count: int = 1,
    rng: np.random.Generator | None = None,
) -> list[dict[str, Array]]:
    """Runs that show what honest arithmetic costs: one in the precision, and for float32 so many more that are moved by a last digit."""
    rng = np.random.default_rng(0) if rng is None else rng
    more = jittered_count if precision == "float32" else 0  # what emulates float16 rounds every stage already
    return [run_in(model, inputs, precision), *(jittered_run(model, inputs, rng) for _ in range(more))]


def jittered_run(model: Model, inputs: Inputs, rng: np.random.Generator) -> dict[str, Array]:
    """Every stage of a float32 run whose float values are all moved by one epsilon, up or down at random."""
    recorder = Recorder()

    def see(name: str, x: Array, /) -> Array:
        return recorder(name, jittered(x, rng) if x.dtype.kind == "f" else x)

    inputs.run(in_precision(model, "float32"), see)
    return recorder.values


def jittered(x: Array, rng: np.random.Generator) -> Array:
    """Each value times 1 - eps or 1 + eps of float32; same dtype.  Zeros and infinities stay."""
    signs = rng.choice(np.array([-EPS["float32"], EPS["float32"]]), size=x.shape)
    return (x * (1.0 + signs)).astype(x.dtype)
