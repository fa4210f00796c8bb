"""Gradients that are zero on paper, and what to measure rounding against there.

The bias of the keys shifts all scores of a row alike, which no softmax notices; the scores of a clip of one squeezed frame have nothing to
share out; before a group norm over time, so does a convolution's bias.  Their gradients are sums of terms that cancel: what a run has there
is what rounding has left, and has no scale of its own.  A fraction of it would fail every honest port, or, where our own run happens to be
exactly zero, whoever has rounded at all.  So such a gradient has the scale of what it is a sum of: of the gradients that it comes from.
"""

from collections.abc import Mapping

import numpy as np

from sewnp.networks.stage_graph import readers
from sewnp.networks.stages import GRADIENT
from sewnp.types import Array

NOTHING = 1e-10
"""Below this share of the gradients that it comes from, a gradient in float64 is zero on paper.  Rounding leaves 1e-16 for each of some
thousand terms; what the smallest of layers, the mean over the frames of an hour, leaves of a gradient is 1e-5."""


def zero_scales(truth: Mapping[str, Array]) -> dict[str, float]:
    """The gradients among the stages of a float64 run that are zero on paper, each with the scale that its error is a fraction of."""
    if not any(name.startswith(GRADIENT) for name in truth):
        return {}
    largest: dict[str, float] = {}  # with that of what it comes from for what is zero: such gradients stand in rows
    zeros: dict[str, float] = {}
    read_by = readers(truth)
    for name in truth:  # a gradient stands behind those that it comes from
        of = name.removeprefix(GRADIENT)
        if of != name:
            size = float(np.abs(truth[name]).max(initial=0.0))
            terms = max((largest.get(reader, 0.0) for reader in read_by.get(of, [])), default=0.0)
            if size <= NOTHING * terms:
                zeros[name] = size = terms
            largest[of] = size
    return zeros
