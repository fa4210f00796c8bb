"""The CTC loss of one clip and its gradient at the logits, both sweeps of the lattice in one loop over time.

Read backwards, the target and the frames pose the same problem again.  So the sweep from the end is one from the start, and two rows side
by side make it, in float64 and in the log domain, where nothing underflows.  See ``sewnp.ctc.lattice`` for what is swept.
"""

import numpy as np

from sewnp.ctc import extended_targets
from sewnp.layers.softmax import log_softmax, masked_softmax
from sewnp.types import Array


def ctc_loss_and_gradient(logits: Array, target: Array, *, blank: int) -> tuple[float, Array]:
    """Minus the log-likelihood of the target, in nats, and its gradient by the logits, softmax minus posteriors, float64.

    logits (T, V), target (S,) without blanks.  inf and NaN where no path spells the target.
    """
    log_probs = log_softmax(logits.astype(np.float64))
    states = extended_targets(target[None], blank=blank)[0]  # (2 S + 1,)
    emissions = np.empty((len(logits), 2, len(states)))  # read from the start, and from the end
    emissions[:, 0] = log_probs[:, states]
    emissions[:, 1] = emissions[::-1, 0, ::-1]
    reached, swept = _sweep(emissions, states)
    paths = swept[:, 0] + reached[::-1, 1, ::-1]  # (T, 2 S + 1): all that pass there; the frame itself is counted once
    with np.errstate(invalid="ignore"):  # logaddexp of NaN
        log_likelihood = float(np.logaddexp.reduce(paths[-1]))
    if not np.isfinite(log_likelihood):
        return -log_likelihood, np.full_like(log_probs, np.nan)
    is_token = (states[:, None] == np.arange(logits.shape[1])).astype(np.float64)
    return 0.0 - log_likelihood, np.exp(log_probs) - masked_softmax(paths, None) @ is_token


def _sweep(emissions: Array, states: Array) -> tuple[Array, Array]:
    """Both sweeps, (T, 2, N) each: the log-probability of coming to a state without what it emits there, and with it."""
    frames, _, count = emissions.shape
    leaps = np.full((2, count), -np.inf)
    for row, read in zip(leaps, (states, states[::-1]), strict=True):
        row[2:][read[2:] != read[:-2]] = 0
    table = np.full(
        (frames + 1, 2, count + 2), -np.inf
    )  # two states before the first that nobody comes from, one frame before the first
    table[0, :, 2] = 0  # where every path stands on the first blank
    reached, leapt = np.empty_like(emissions), np.empty((2, count))
    here, moved, two_back, onward = table[:-1, :, 2:], table[:-1, :, 1:-1], table[:-1, :, :-2], table[1:, :, 2:]
    with np.errstate(invalid="ignore"):
        for stay, move, leap, row, to, emitted in zip(here, moved, two_back, reached, onward, emissions, strict=True):
            np.logaddexp(stay, move, out=row)
            np.add(leap, leaps, out=leapt)
            np.logaddexp(row, leapt, out=row)
            np.add(row, emitted, out=to)
    return reached, onward
