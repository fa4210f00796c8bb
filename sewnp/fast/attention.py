"""Attention over some of the heads, in blocks of queries: in a long clip no (N, N) array is made, and memory grows with N alone.

SEW-D's position terms need no gathering.  What query i adds for key j depends on i - j alone, so with the position embeddings lined up by
distance, one row for each from N - 1 down to 1 - N, the terms of a query are N neighbours in one row of a product, and those of the next
query the same one place further: a matrix read with a row stride that is one short.
"""

from dataclasses import dataclass

import numpy as np

from sewnp.fast.elementwise import BLOCK, exponentials
from sewnp.fast.workspace import Workspace
from sewnp.types import Array

_ROWS = 256
"""Queries of a block, in clips so long that blocks are needed."""


@dataclass(frozen=True)
class Positions:
    """The embeddings of relative positions of some heads, lined up by distance.  Row r of each is for distance N - 1 - r (keys) or r - N + 1."""

    keys: Array | None
    """(2 N - 1, heads d), for c2p."""
    queries: Array | None
    """(2 N - 1, heads d), for p2c."""

    def nearest(self, frames: int, fewer: int) -> "Positions":
        """Those of a clip of fewer frames."""
        middle = slice(frames - fewer, frames + fewer - 1)
        return Positions(*(None if x is None else x[middle] for x in (self.keys, self.queries)))


def attend(
    qkv: Array, context: Array, *, size: int, attended: Array | None, positions: Positions | None, scratch: Workspace, rank: int
) -> None:
    """Attention of heads of ``size`` d.  qkv: (N, heads 3 d), queries scaled, each head's q, k and v side by side.  Into context (N, heads d).

    attended: (1, N) or (N, N) bool.
    """
    frames, heads = len(qkv), qkv.shape[1] // (3 * size)
    q, k, v = np.moveaxis(qkv.reshape(frames, heads, 3, size), (2, 1), (0, 1))  # (heads, N, d) each, views
    out = np.moveaxis(context.reshape(frames, heads, size), 1, 0)
    rows = frames if frames * frames <= 2 * BLOCK else _ROWS
    together = max(1, 2 * BLOCK // (rows * frames)) if positions is None else 1
    for first in range(0, heads, together):
        some = slice(first, min(first + together, heads))
        for start in range(0, frames, rows):
            part = slice(start, min(start + rows, frames))
            scores = scratch.take("scores", (some.stop - some.start, part.stop - part.start, frames), rank)
            np.matmul(q[some, part], k[some].swapaxes(1, 2), out=scores)
            if positions is not None:
                columns = slice(first * size, (first + 1) * size)
                _add_positions(scores[0], q[first], k[first], positions, columns, part, scratch, rank)
            total = exponentials(scores, attended if attended is None or len(attended) == 1 else attended[part])
            np.matmul(scores, v[some], out=out[some, part])
            out[some, part] /= total


def _add_positions(
    scores: Array, q: Array, k: Array, positions: Positions, columns: slice, part: slice, scratch: Workspace, rank: int
) -> None:
    """Add c2p and p2c to the scores of the queries ``part``.  scores (R, N);  q, k (N, d)."""
    rows, frames = scores.shape
    if positions.keys is not None:
        width = frames + rows - 1
        lined = positions.keys[frames - part.stop : frames - part.stop + width, columns]
        product = scratch.take("position product", (rows, width), rank)
        np.matmul(q[part], lined.T, out=product)
        scores += windows_by_distance(product, frames)
    if positions.queries is not None:
        for start in range(0, frames, rows):
            stop = min(start + rows, frames)
            width = rows + stop - start - 1
            first = part.start - stop + frames
            product = scratch.take("position product", (stop - start, width), rank)
            np.matmul(k[start:stop], positions.queries[first : first + width, columns].T, out=product)
            scores[:, start:stop] += windows_by_distance(product, rows).T


def windows_by_distance(product: Array, width: int) -> Array:
    """Row a's window begins at column rows - 1 - a.  (..., rows, rows + width - 1) -> (..., rows, width), a view."""
    *stack, rows, _ = product.shape
    *strides, step, item = product.strides
    return np.lib.stride_tricks.as_strided(product[..., 0, rows - 1 :], (*stack, rows, width), (*strides, step - item, item))
