"""Where somebody speaks: a recording cut at its pauses, as a stream, by the energy of its frames and no model.

A frame is loud by its power against the noise around it, the quietest tenth of a second within five seconds on either side: this floor
follows a recording whose noise changes.  Three more rules keep it honest.  What is far below the loudest around is a pause even where the
floor is digital silence; what comes near the loudest that there has ever been is never one, so that a steady sound, which is its own floor,
is not taken for noise; and where the noise itself is not far below that, nothing is a pause.  What is held in memory is one piece and five
seconds more, however long the recording.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sewnp.errors import InputError, check_real, check_whole
from sewnp.types import Array

T = TypeVar("T")

AROUND = 5.0
"""Seconds on either side of a frame that its floor is sought in."""
SMOOTH = 0.05
"""Seconds on either side of a frame over which power is averaged, for the floor and for the quietest place."""
FAINTEST = 1e-9
"""Power, 90 dB below that of full scale 1, that is silence everywhere: the normalisation of a waveform leaves it faint."""
RANGE = 40.0
"""dB below the loudest around that are a pause."""
CONTRAST = 35.0
"""dB that the noise around has to lie below the loudest that there has ever been, or there is no pause: what is said in noise is read
better as a whole than in pieces."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A piece of a recording in which somebody speaks."""

    start: int
    """Its first sample, counted in the recording: a multiple of ``frame``."""
    waveform: Array
    """(n,) samples as they were given."""


def speech_segments(
    blocks: Iterable[Array],
    *,
    rate: int,
    frame: int,
    threshold: float = 10.0,
    min_speech_duration: float = 0.1,
    min_silence_duration: float = 0.5,
    edge_silence_duration: float = 1.0,
    speech_pad: float = 0.15,
    max_speech_duration: float = 20.0,
) -> Iterator[Segment]:
    """Cut a recording at its pauses.  blocks: (n,) floats each, as long as it likes -> its segments in order, none overlapping.

    rate: Hz.  frame: samples whose power is measured at once; segments start at multiples of it.  threshold: dB above the noise that are
    speech.  The others are seconds, rounded to frames: louder moments shorter than ``min_speech_duration`` are clicks; a pause lasts
    ``min_silence_duration`` at least, and leaves ``speech_pad`` of itself to either side; silence at the beginning or the end stays where
    it is shorter than ``edge_silence_duration``; a segment that would go beyond ``max_speech_duration`` is cut at the quietest place of
    its second half.

    The segments do not depend on where blocks end, and a recording without pauses is one.  Raises InputError for values that make no sense.
    """
    check_whole("rate", rate, 1)
    check_whole("frame", frame, 1)
    check_real("threshold", threshold, 0.0, RANGE, expected=f"dB from 0 to {RANGE:g}")
    seconds = {
        "min_speech_duration": min_speech_duration, "min_silence_duration": min_silence_duration,
        "edge_silence_duration": edge_silence_duration, "speech_pad": speech_pad, "max_speech_duration": max_speech_duration,
    }  # fmt: skip
    for name, value in seconds.items():
        check_real(name, value, 0.0, 86400.0, expected="seconds, up to a day")
    least, silence, edge, pad, longest = (round(value * rate / frame) for value in seconds.values())
    least, silence, longest = max(least, 1), max(silence, 1), max(longest, 2)
    edge, pad = max(edge, silence), min(pad, silence // 2)
    smooth = round(SMOOTH * rate / frame)
    if 2 * speech_pad > min_silence_duration:
        raise InputError(
            f"speech_pad: expected at most half of min_silence_duration, found {speech_pad:g} and {min_silence_duration:g} seconds"
        )
    if 2 * min_speech_duration > max_speech_duration:
        raise InputError(
            f"min_speech_duration: expected at most half of max_speech_duration, found {min_speech_duration:g} and"
            f" {max_speech_duration:g} seconds"
        )
    piece: deque[tuple[Array, float]] = deque()  # frames with their levels: an open segment, or what one may still begin with
    first = 0  # the number of its first frame

    def taken(end: int) -> list[Array]:
        """The frames up to that number, which are let go of."""
        nonlocal first
        first, count = max(first, end), max(0, end - first)
        return [piece.popleft()[0] for _ in range(count)]

    is_open = False
    run = 0  # loud frames without a break
    last = -1  # the last one of a run that was long enough
    for t, (x, level, is_loud) in enumerate(_judged(blocks, frame, threshold, around=round(AROUND * rate / frame), smooth=smooth)):
        piece.append((x, level))
        run = run + 1 if is_loud else 0
        begin = t + 1 - run
        if is_open and begin - last > (silence if run >= least else edge):
            yield Segment(first * frame, np.concatenate(taken(last + 1 + pad)))
            is_open = False
        if not is_open and (first > 0 or begin >= edge):
            taken(begin - pad)
        if run >= least:
            is_open, last = True, t
        while is_open and last - first >= longest:
            quietest = min(range(longest, longest // 2 - 1, -1), key=lambda i: piece[i][1])
            yield Segment(first * frame, np.concatenate(taken(first + quietest)))
    if is_open:
        yield Segment(first * frame, np.concatenate(taken(t + 1)))


def _judged(
    blocks: Iterable[Array], frame: int, threshold: float, *, around: int, smooth: int
) -> Iterator[tuple[Array, float, bool]]:
    """Every frame with its level, the power around it, and whether it is loud."""
    # without the mean: a recorder's offset is no sound
    powers = ((float(x[:frame].astype(np.float64).var()), x) for x in _frames(blocks, frame))
    levels = ((sum(window) / len(window), (power, x)) for power, x, window in _around(powers, smooth))
    loudest_ever = 0.0
    ratio, contrast = 10 ** (threshold / 10), 10 ** (CONTRAST / 10)
    for level, (power, x), window in _around(levels, around):
        floor, loudest = min(window), max(window)
        loudest_ever = max(loudest_ever, loudest)
        least = min(max(floor * ratio, loudest / 10 ** (RANGE / 10)), loudest_ever / ratio)
        yield x, level, power > (FAINTEST if loudest_ever < floor * contrast else max(least, FAINTEST))


def _around(pairs: Iterable[tuple[float, T]], reach: int) -> Iterator[tuple[float, T, deque[float]]]:
    """Every pair with the numbers of its neighbours, itself among them, up to ``reach`` to either side."""
    window: deque[float] = deque()
    waiting: deque[tuple[float, T]] = deque()
    for pair in pairs:
        window.append(pair[0])
        waiting.append(pair)
        if len(waiting) > reach:
            yield *waiting.popleft(), window
            if len(window) > 2 * reach:
                window.popleft()
    while waiting:
        yield *waiting.popleft(), window
        if len(window) > reach + len(waiting):
            window.popleft()


def _frames(blocks: Iterable[Array], size: int) -> Iterator[Array]:
    """Frames of so many samples; the last has what is left over too, or is all there is."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        whole = max(0, len(held) // size - 1)  # one stays: it may be the last
        for start in range(0, whole * size, size):
            yield held[start : start + size]
        held = held[whole * size :]
    if len(held):
        yield held
