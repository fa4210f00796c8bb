"""Change the sampling rate: of an array, or of a stream of blocks.  Both give the same samples to the last bit."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.speech.audio import check_rate
from sewnp.types import Array

MOST_STEPS = 200_000
"""Of the filter, from one of its zero crossings to the next: all rates up to 200 kHz, and higher ones that share a divisor with the target's."""

_LEAST = 8
"""A block of a stream waits for so many outputs of every phase of the filter: all of its taps are read for one."""


def resample(x: Array, original: int, target: int) -> Array:
    """Change the sampling rate from ``original`` to ``target`` Hz.  (n,) -> (ceil(n * target / original),), floating, dtype kept.

    Polyphase filtering: with up / down = target / original in lowest terms, insert up - 1 zeros after each sample, low-pass at the
    lower of the two half-rates, keep every down-th.  The filter is the default of ``scipy.signal.resample_poly``, a sinc under a
    Kaiser window (beta 5) reaching ten zero crossings to each side.  Equal rates return ``x`` itself.
    Raises InputError for rates that are not whole numbers from 1 to :data:`~sewnp.speech.audio.HIGHEST_RATE`, and for two whose filter would
    be too long.
    """
    check_shape("audio", x, (None,))
    original, target = check_rate("original", original), check_rate("target", target)
    if original == target:
        return x
    if problem := too_long(original, target):
        raise InputError(f"original: {problem}")
    from scipy.signal import resample_poly  # half a second to import, and 16 kHz recordings need none of it

    return np.asarray(resample_poly(x, target, original)).astype(x.dtype, copy=False)


def too_long(original: int, target: int) -> str:
    """Why one rate cannot be resampled to the other; nothing if it can.  A small file may ask for a filter that takes longer than its sound."""
    steps = max(original, target) // math.gcd(original, target)
    if steps <= MOST_STEPS:
        return ""
    taps = f"{20 * steps + 1:,} taps, expected {20 * MOST_STEPS + 1:,} at most"
    return f"{original} Hz cannot be resampled to {target} Hz: the filter would have {taps}"


def resampled(blocks: Iterable[Array], original: int, target: int) -> Iterator[Array]:
    """``resample`` for a stream: the blocks of a waveform, (n,) each, at ``target`` instead of ``original`` Hz.

    Joined, what comes out is what ``resample`` makes of the joined input, bit for bit, however it is cut.  A block comes out when enough
    has gone in: one sample depends on ten of the lower rate's to each side.
    """
    if original == target:
        yield from blocks
        return
    from scipy.signal import firwin  # half a second to import, and 16 kHz recordings need none of it

    divisor = math.gcd(original, target)
    up, down = target // divisor, original // divisor
    reach = 10 * max(up, down)  # in steps of a grid on which inputs stand every ``up`` and outputs every ``down``
    taps = firwin(2 * reach + 1, 1 / max(up, down), window=("kaiser", 5.0))  # what resample_poly designs itself, at every call
    least = _LEAST * up
    waiting, start, done = np.zeros(0, np.float32), 0, 0  # inputs from number ``start`` on; outputs so far
    for block in blocks:
        waiting = np.concatenate([waiting.astype(block.dtype, copy=False), block])
        ready = ((start + len(waiting)) * up - reach - 1) // down + 1  # outputs that need no later input
        if ready - done >= least:
            # a cut at a multiple of ``down`` is one at an output: all that follows falls on the same taps
            offset = start // down * up
            yield _filtered(waiting, up, down, taps)[done - offset : ready - offset]
            done = ready
            first = max(0, (done * down - reach) // up) // down * down
            waiting, start = waiting[first - start :], first
    if len(waiting):
        yield _filtered(waiting, up, down, taps)[done - start // down * up :]


def _filtered(x: Array, up: int, down: int, taps: Array) -> Array:
    from scipy.signal import resample_poly

    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is reported with its place
        return np.asarray(resample_poly(x, up, down, window=taps.astype(x.dtype))).astype(x.dtype, copy=False)
