"""The fast twin of ``sewnp.networks``: the same numbers to rounding, in float32, with everything that makes NumPy quick.

The textbook is the specification; this is tested against it.
"""

from sewnp.fast.backward.clip import ClipGradients
from sewnp.fast.crew import default_threads, limited, one_blas_thread
from sewnp.fast.trunk import FastTrunk

__all__ = ["ClipGradients", "FastTrunk", "default_threads", "limited", "one_blas_thread"]
