"""Float32 as other hands might have rounded it: runs in which every value is off by a last digit.

One float32 run is a sample of one.  Where it happens to round luckily, a budget derived from it alone is too tight for a port that sums in
another order: torch exceeded such budgets at a layer norm over eight channels that hardly differed.  So a few more runs are made in which
each value of each stage is moved up or down by one machine epsilon of itself.  What such a step grows to further on is what honest
arithmetic may cost.  (Stochastic arithmetic: Vignes 1993, "A stochastic arithmetic for reliable scientific computation".)
"""

import numpy as np

from sewnp.model import Model
from sewnp.networks.stages import GRADIENT
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
    """Every stage of a float32 run whose float values are all moved by one epsilon, up or down at random.

    A gradient is recorded before it is moved: gradients are sums of terms that cancel, and what they cost is what a last digit of each term
    does to the sum, whatever is added in which order.
    """
    recorder = Recorder()

    def see(name: str, x: Array, /) -> Array:
        if x.dtype.kind != "f":
            return recorder(name, x)
        if not name.startswith(GRADIENT):
            return recorder(name, jittered(x, rng))
        return jittered(
            recorder(name, of_float32_lattices(x, recorder.values["ctc.alpha"], rng) if name == f"{GRADIENT}log_probs" else x), rng
        )

    inputs.run(in_precision(model, "float32"), see)
    return recorder.values


def of_float32_lattices(gradient: Array, alpha: Array, rng: np.random.Generator) -> Array:
    """The gradient by the log-probabilities, (B, T, V), as a float32 CTC lattice makes it.  alpha: the forward lattice, (B, T, S).

    Posteriors are exponentials of what stands in the lattices, divided by that of where they end.  An epsilon of the end, a logarithm of
    30 perhaps, is 30 epsilons of every posterior of the clip alike.  (Our own lattices are float64 in every run.)
    """
    ends = np.where(np.isfinite(alpha), np.abs(alpha), 0.0).max(axis=(1, 2), initial=0.0)
    signs = rng.choice(np.array([-EPS["float32"], EPS["float32"]]), size=len(alpha))
    return (gradient * (1.0 + signs * ends)[:, None, None]).astype(gradient.dtype)


def jittered(x: Array, rng: np.random.Generator) -> Array:
    """Each value times 1 - eps or 1 + eps of float32; same dtype.  Zeros and infinities stay."""
    signs = rng.choice(np.array([-EPS["float32"], EPS["float32"]]), size=x.shape)
    return (x * (1.0 + signs)).astype(x.dtype)
