"""Attention of one clip, all heads at once, there and back, with or without SEW-D's position terms.

The sum that softmax's pullback wants of each query, its probabilities times what came back to them, is the query's context times what came
back to that: N x d numbers to walk instead of N x N, dropout or not.  What comes back to a position term is written into the windows that its
forward reads (see ``attention``), of a matrix of zeros, and products go on from there.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from sewnp.fast.attention import windows_by_distance
from sewnp.fast.elementwise import exponentials
from sewnp.fast.workspace import Shelf, Workspace
from sewnp.types import Array

LinedUp: TypeAlias = tuple[Array | None, Array | None]
"""The embeddings of relative positions, projected and lined up by distance, (2 N - 1, H) each: as keys, which queries read (c2p), and as
queries, divided by the scores' scale, which keys read (p2c).  None where there is no such term."""


def attention_vjp(
    qkv: Array, positions: LinedUp, *, heads: int, drop: Callable[[Array], Array | None], shelf: Shelf, scratch: Workspace
) -> tuple[Array, Callable[[Array], tuple[Array, LinedUp]]]:
    """qkv (N, 3 H), queries divided by the scores' scale -> context (N, H); and dcontext -> dqkv, in scratch memory, and dpositions.

    drop: the factors of the probabilities (h, N, N), or None.
    """
    frames, width = len(qkv), qkv.shape[1] // 3
    q, k, v = _split(qkv, 3 * heads).reshape(3, heads, frames, -1)  # views: both strides of the first axis are one
    probabilities = shelf.take(heads, frames, frames)
    np.matmul(q, k.swapaxes(1, 2), out=probabilities)
    for side, lined, turn in zip((q, k), positions, (False, True), strict=True):
        if lined is not None:
            product = scratch.take("position product", (heads, frames, len(lined)))
            np.matmul(side, _split(lined, heads).swapaxes(1, 2), out=product)
            probabilities += _turned(windows_by_distance(product, frames), turn)
    probabilities /= exponentials(probabilities, None)
    factors = drop(probabilities)
    kept = probabilities if factors is None else np.multiply(probabilities, factors, out=shelf.take(*probabilities.shape))
    context = shelf.take(frames, width)
    np.matmul(kept, v, out=_split(context, heads))

    def pullback(dcontext: Array) -> tuple[Array, LinedUp]:
        given = _split(dcontext, heads)
        dscores = np.matmul(given, v.swapaxes(1, 2), out=scratch.take("scores", probabilities.shape))
        shared = np.einsum("hnd,hnd->hn", given, _split(context, heads))[:, :, None]
        if kept is probabilities:
            dscores -= shared
            dscores *= probabilities
        else:
            dscores *= kept
            dscores -= probabilities * shared
        dqkv = scratch.take("dqkv", qkv.shape)
        dq, dk, dv = _split(dqkv, 3 * heads).reshape(3, heads, frames, -1)
        np.matmul(dscores, k, out=dq)
        np.matmul(dscores.swapaxes(1, 2), q, out=dk)
        np.matmul(kept.swapaxes(1, 2), given, out=dv)
        dpositions: list[Array | None] = []
        for side, dside, lined, turn in zip((q, k), (dq, dk), positions, (False, True), strict=True):
            dlined = None
            if lined is not None:
                dproduct = scratch.take("position product", (heads, frames, len(lined)))
                dproduct.fill(0)
                windows_by_distance(dproduct, frames)[:] = _turned(dscores, turn)
                dside += dproduct @ _split(lined, heads)
                dlined = np.empty_like(lined)
                np.matmul(dproduct.swapaxes(1, 2), side, out=_split(dlined, heads))
            dpositions.append(dlined)
        return dqkv, (dpositions[0], dpositions[1])

    return context, pullback


def _split(x: Array, heads: int) -> Array:
    """(N, H) -> (h, N, d), a view."""
    return x.reshape(len(x), heads, -1).swapaxes(0, 1)


def _turned(scores: Array, turn: bool) -> Array:
    """Queries and keys exchanged, for the term in which keys stand against positions."""
    return scores.swapaxes(1, 2) if turn else scores
