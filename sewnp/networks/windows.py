"""A long recording in constant memory: every convolution as over the whole of it, attention alone in windows.

The convolutions see a fraction of a second, so that a part of the recording with its neighbours gives their exact values.  Attention
sees everything there is; here it sees a window, and of what it makes the middle is kept, away from the edges behind which it was blind.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.layers.observe import unseen
from sewnp.networks.base import FAMILIES
from sewnp.networks.frontend import frames, squeezed, unsqueezed
from sewnp.types import Array, Weights


class Parts(Protocol):
    """A base model in three parts, so that a long clip can be cut between them.  All for one clip, B = 1."""

    def frames(self, waveform: Array) -> Array:
        """What the encoder is given.  (1, n) -> (1, T, H)"""
        ...

    def squeezed(self, frames: Array) -> Array:
        """What the transformer is given.  (1, T, H) -> (1, N, H)"""
        ...

    def restored(self, hidden: Array, *, frames: int) -> Array:
        """The transformer, and the full rate again.  (1, N, H) -> (1, frames, H)"""
        ...


@dataclass(frozen=True)
class TextbookParts:
    """The base model in plain layers."""

    config: Config
    p: Weights
    """The base model's weights, without the family's prefix."""

    def frames(self, waveform: Array) -> Array:
        """See :class:`Parts`."""
        return frames(waveform, self.p, self.config, see=unseen)

    def squeezed(self, frames: Array) -> Array:
        """See :class:`Parts`."""
        return squeezed(frames, self.p["encoder"], self.config, see=unseen)

    def restored(self, hidden: Array, *, frames: int) -> Array:
        """See :class:`Parts`."""
        hidden = FAMILIES[self.config.model_type].transformer(hidden, self.p["encoder"], self.config)
        return unsqueezed(hidden, self.p["encoder"], self.config, frames=frames, see=unseen)


class Window(NamedTuple):
    """Frames of a clip that attend to each other, [start, stop), and those of them that are kept, [first, last)."""

    start: int
    stop: int
    first: int
    last: int


def plan_windows(frames: int, *, window: int, overlap: int, factor: int) -> list[Window]:
    """Windows that keep every frame once, in order.  All in frames; ``window`` and ``overlap`` are multiples of the squeeze ``factor``.

    Neighbours share 2 ``overlap`` frames, and each keeps its half.  No window is shorter than ``window`` unless the clip is: the last
    one begins so much earlier.  Every start is a multiple of ``factor``, so that the same frames are squeezed together as in the whole
    clip.  Raises InputError where a window would keep nothing.
    """
    if overlap < 0 or window <= 2 * overlap or window % factor or overlap % factor:
        raise InputError(
            f"window: expected a multiple of {factor} frames, longer than twice the overlap, found {window} and {overlap} frames"
        )
    last = max(0, frames - window) // factor * factor
    starts = [*range(0, last, window - 2 * overlap), last]
    stops = [*(start + window for start in starts[:-1]), frames]
    cuts = [0, *(stop - overlap for stop in stops[:-1]), frames]
    return [Window(start, stop, first, end) for start, stop, first, end in zip(starts, stops, cuts[:-1], cuts[1:], strict=True)]


def windowed_states(
    model: Parts, config: Config, blocks: Iterable[Array], *, samples: int, window: int, overlap: int
) -> Iterator[Array]:
    """The last hidden states of one clip, a few seconds at a time.  Yields (1, t, H); together they are (1, T, H).

    model: where the first convolution is normalised over time, one with the statistics of the whole clip folded in (``fold_statistics``).
    blocks: the waveform, normalised, in arrays (n,) of any lengths that make ``samples`` in all, at least ``config.minimum_samples``.
    window, overlap: see :func:`plan_windows`.  What is held at a time is one window.  Raises InputError when the blocks end before ``samples``.
    """
    factor, kernel = config.squeeze_factor, config.num_conv_pos_embeddings
    # what the position convolution's kernel reaches to the left of a squeezed frame's first frame, and to the right of its last
    left, right = _multiple(kernel // 2, factor), _multiple(max(0, kernel - kernel // 2 - factor), factor)
    total = config.frames(samples)
    plan = plan_windows(total, window=window, overlap=overlap, factor=factor)
    heard = _Sliding(blocks)

    def convolved() -> Iterator[Array]:
        for start, stop in zip([0, *stops], stops, strict=False):
            first = start * config.hop
            part = heard.between(first, first + config.samples_for(stop - start))
            yield model.frames(part[None])[0]

    # the frames that each window is the first to need
    stops = [min(item.stop + right, total) for item in plan]
    seen = _Sliding(convolved())
    for item, stop in zip(plan, stops, strict=True):
        start, frames = max(0, item.start - left), item.stop - item.start
        hidden = model.squeezed(seen.between(start, stop)[None])  # the neighbours too, which tell the others their position
        hidden = hidden[:, (item.start - start) // factor :][:, : frames // factor]
        yield model.restored(hidden, frames=frames)[:, item.first - item.start : item.last - item.start]


def _multiple(frames: int, factor: int) -> int:
    """Rounded up to a multiple of the factor."""
    return -(-frames // factor) * factor


class _Sliding:
    """A long array that comes in pieces along its first axis, of which a part at a time is held."""

    def __init__(self, pieces: Iterable[Array]) -> None:
        self._pieces = iter(pieces)
        self._held: list[Array] = []
        self._start = self._stop = 0  # what is held, counted from the array's beginning

    def between(self, start: int, stop: int) -> Array:
        """The part [start, stop); what is before ``start`` is forgotten.  Both may only grow from call to call."""
        while self._stop < stop:
            piece = next(self._pieces, None)
            if piece is None:
                raise InputError(f"blocks: expected at least {stop} samples, found {self._stop}")
            self._held.append(piece)
            self._stop += len(piece)
        joined = np.concatenate(self._held) if len(self._held) != 1 else self._held[0]
        self._held = [joined[start - self._start :].copy()]
        self._start = start
        return self._held[0][: stop - start]
