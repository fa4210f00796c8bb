"""The fast twin of ``sewnp.networks``: the same numbers to rounding, in float32, with everything that makes NumPy quick.

The textbook is the specification; this is tested against it.
"""

from typing import Literal, TypeAlias

from sewnp.fast.backward.clip import ClipGradients
from sewnp.fast.crew import default_threads, limited, one_blas_thread
from sewnp.fast.holding import HeldWeights, number_count, packed
from sewnp.fast.products import chosen_layout, kernels
from sewnp.fast.trunk import FastTrunk

Engine: TypeAlias = Literal["fast", "textbook"]
"""What a model computes with."""

ENGINES: tuple[Engine, ...] = ("fast", "textbook")
"""All of them, the default in float32 first."""

__all__ = [
    "ENGINES",
    "ClipGradients",
    "Engine",
    "FastTrunk",
    "HeldWeights",
    "chosen_layout",
    "default_threads",
    "kernels",
    "limited",
    "number_count",
    "one_blas_thread",
    "packed",
]
