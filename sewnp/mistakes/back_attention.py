"""The way back through attention, of both families, rightly and in ways that are known to be wrong."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from sewnp.layers.disentangled import content_to_position_vjp, position_to_content_vjp, score_scale
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import linear_vjp
from sewnp.layers.masking import key_mask, query_key_mask
from sewnp.layers.softmax import masked_softmax, softmax
from sewnp.mistakes.attention import position_projection, squeezed_mask
from sewnp.mistakes.back_layers import affine
from sewnp.mistakes.stage_run import Backs, Gives, StageRun
from sewnp.networks.base import FAMILIES
from sewnp.types import Array, Weights


def heads(s: StageRun) -> Backs:
    """Queries, keys and values."""
    return _headed(s.given(), s.weights())


def _headed(x: Array, p: Weights) -> Backs:
    yield from affine(x, p, merge_heads)
    back = linear_vjp(x, **p)[1]

    def unswapped(dy: Array) -> Gives:
        dx, grads = back(dy.reshape(len(dy), dy.shape[2], -1))
        return {0: dx, **grads}

    yield "heads merged without swapping the axes", unswapped


def positions(s: StageRun) -> Backs:
    """Keys and queries of the position table, which is no batch."""

    def unbatched(back: Callable[[Array], Gives], dy: Array) -> Gives:
        return {key: value[0] if key == 0 else value for key, value in back(dy).items()}

    for said, back in _headed(s.given()[None], s.weights(f"{s.scope}.{position_projection(s)}")):
        yield said, partial(unbatched, back)


def scores(s: StageRun) -> Backs:
    """Products of queries and keys, of both families, and their scale."""
    q, k = s.given(0), s.given(1)
    size = q.shape[-1]
    scale = math.sqrt(size) if s.config.model_type == "sew" else score_scale(size, s.config.score_term_count)

    def back(dy: Array) -> Gives:
        return {0: dy @ k / scale, 1: np.swapaxes(dy, -1, -2) @ q / scale}

    yield "", back
    yield from _scales(back, scale)
    yield "not transposed", lambda dy: {1: dy @ q / scale}
    yield "transposed", lambda dy: {0: np.swapaxes(dy, -1, -2) @ k / scale}


def _scales(back: Callable[[Array], Gives], scale: float) -> Backs:
    yield "scale of the scores forgotten", lambda dy: {key: value * scale for key, value in back(dy).items()}
    yield "scale of the scores applied twice", lambda dy: {key: value / scale for key, value in back(dy).items()}


def position_terms(s: StageRun) -> Backs:
    """c2p and p2c: a row of the table receives the sum of all who read it."""
    x, rows, relative = s.given(0), s.given(1), s.given(2)
    c2p, scale = s.name.endswith("c2p"), score_scale(x.shape[-1], s.config.score_term_count)
    term_vjp = content_to_position_vjp if c2p else position_to_content_vjp

    def back(dy: Array, relative: Array = relative) -> Gives:
        return dict(enumerate(term_vjp(x, rows, relative)[1](dy / scale)))

    yield "", back
    yield from _scales(back, scale)
    yield "sign of the relative positions flipped", lambda dy: back(dy, -relative)
    yield f"{'' if c2p else 'not '}transposed", lambda dy: back(np.swapaxes(dy, -1, -2))
    yield "where several read one row, only the last counts", lambda dy: _overwritten(x, rows, relative, dy / scale, c2p)


def _overwritten(x: Array, rows: Array, relative: Array, dy: Array, c2p: bool) -> Gives:
    """A position term whose gather was undone by assigning instead of adding."""
    size = rows.shape[2]
    places = np.clip((relative if c2p else -relative) + size // 2, 0, size - 1)
    products = np.zeros((*dy.shape[:-1], size))
    read = dy if c2p else np.swapaxes(dy, -1, -2)
    for key in range(dy.shape[-1]):
        np.put_along_axis(products, np.broadcast_to(places[:, key, None], (*dy.shape[:-1], 1)), read[..., key, None], axis=-1)
    return {0: products @ rows, 1: (np.swapaxes(products, -1, -2) @ x).sum(axis=0, keepdims=True)}


def tables(s: StageRun) -> Backs:
    """The table as it is stored."""
    yield "", lambda dy: {"weight": dy}
    yield "rows in reverse order", lambda dy: {"weight": dy[::-1]}


def passed_on(s: StageRun) -> Backs:
    """Sums, and what only has another name: each part receives what the whole does."""
    yield "", lambda dy: dict.fromkeys(range(len(s.sources)), dy)


def probabilities(s: StageRun) -> Backs:
    """Softmax: who gains takes it from all others of the row."""
    x, mask = s.given(), squeezed_mask(s)
    allowed = None
    if mask is not None:
        pairs = FAMILIES[s.config.model_type].disentangled and s.model.masking == "floor"
        allowed = query_key_mask(mask) if pairs else key_mask(mask)
    y = masked_softmax(x, allowed)

    def back(dy: Array, y: Array = y, axis: int = -1) -> Gives:
        return {0: y * (dy - (y * dy).sum(axis=axis, keepdims=True))}

    yield "", back
    yield "row sum missing", lambda dy: {0: y * dy}
    yield "row sum not multiplied by the probability", lambda dy: {0: y * dy - (y * dy).sum(axis=-1, keepdims=True)}
    yield "summed over the queries instead of the keys", lambda dy: back(dy, axis=-2)
    yield "softmax left out", lambda dy: {0: dy}
    if allowed is not None:
        yield "mask ignored", lambda dy: back(dy, softmax(x))


def contexts(s: StageRun) -> Backs:
    """Probabilities times values, heads merged."""
    p, v = s.given(0), s.given(1)

    def back(dy: Array) -> Gives:
        return {0: dy @ np.swapaxes(v, -1, -2), 1: np.swapaxes(p, -1, -2) @ dy}

    yield "", lambda dy: back(split_heads(dy, v.shape[1]))
    yield "heads split without swapping the axes", lambda dy: back(dy.reshape(v.shape))
    yield "probabilities not transposed", lambda dy: {1: p @ split_heads(dy, v.shape[1])}
