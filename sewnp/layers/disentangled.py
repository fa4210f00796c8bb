"""Disentangled attention: content and position apart (DeBERTa, He et al. 2020, arXiv 2006.03654), as SEW-D uses it.

The score of query i and key j is a sum of up to three products: content with content, the query's content with the key's relative
position (c2p), and the key's content with the query's relative position (p2c).  Relative positions are embedded, not absolute ones, and
far ones share an embedding: distance is counted in buckets that grow with the logarithm.
"""

import math
from collections.abc import Callable, Collection

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.attention import project_vjp
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import linear, merged
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.layers.softmax import masked_softmax, masked_softmax_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def log_buckets(relative: Array, *, buckets: int, max_distance: int) -> Array:
    """Distances in buckets: exact up to buckets // 2, logarithmic beyond, sign kept.  Integers of any shape -> int64 of that shape.

    Distance max_distance - 1 lands in bucket buckets - 1 (for even ``buckets``), larger ones go on growing.  The arithmetic is float32
    whatever the model's dtype, as in the original: in float64 some exact powers (distance 32 with 32 buckets and max_distance 129) would
    land one bucket higher.

    >>> log_buckets(np.array([-3, 3, 8, 200]), buckets=8, max_distance=64)
    array([-3,  3,  5,  9])

    Raises InputError for sizes that leave no room for a logarithm.
    """
    middle = buckets // 2
    if middle < 1 or (max_distance - 1) / middle <= 1.0:
        raise InputError(
            f"expected buckets >= 2 and max_distance > buckets // 2 + 1, found buckets={buckets}, max_distance={max_distance}"
        )
    distance = np.abs(relative)
    ratio = np.maximum(distance, middle).astype(np.float32) / np.float32(middle)
    # the logarithm itself in float64, then rounded: closer to torch's float32 logarithm than NumPy's is
    log_ratio = np.log(ratio.astype(np.float64)).astype(np.float32)
    log_range = np.float32(math.log(float(np.float32((max_distance - 1) / middle))))
    far = np.ceil(log_ratio / log_range * np.float32(middle - 1)).astype(np.int64) + middle
    return np.where(distance <= middle, relative, np.sign(relative) * far).astype(np.int64)


def relative_positions(frames: int, *, buckets: int, max_distance: int) -> Array:
    """Bucket of every query minus every key.  -> (N, N) int64;  raw distances where ``buckets`` is 0 or less.

    >>> relative_positions(3, buckets=0, max_distance=8)
    array([[ 0, -1, -2],
           [ 1,  0, -1],
           [ 2,  1,  0]])
    """
    relative = np.arange(frames)[:, None] - np.arange(frames)
    return log_buckets(relative, buckets=buckets, max_distance=max_distance) if buckets > 0 else relative


def score_scale(head_size: int, terms: int) -> float:
    """sqrt(head_size * terms), rounded to float32 even in a float64 model: the original computes it so, and 4e-8 of every score depends on it.

    >>> score_scale(8, 3)
    4.898979663848877
    """
    return float(np.sqrt(np.float32(head_size * terms)))


def content_to_position(q: Array, position_keys: Array, relative: Array) -> Array:
    """c2p[i, j] = q_i . K[relative[i, j]].  q (B, h, N, d), position_keys (1, h, 2 span, d), relative (N, N) -> (B, h, N, N)

    >>> keys = np.array([[[[1.0], [10.0], [100.0], [1000.0]]]])  # of distances -2, -1, 0 and 1
    >>> content_to_position(np.ones((1, 1, 3, 1)), keys, relative_positions(3, buckets=0, max_distance=2))[0, 0]
    array([[ 100.,   10.,    1.],
           [1000.,  100.,   10.],
           [1000., 1000.,  100.]])
    """
    return _gather(q @ np.swapaxes(position_keys, -1, -2), relative)


def content_to_position_vjp(q: Array, position_keys: Array, relative: Array) -> tuple[Array, Pullback]:
    """:func:`content_to_position`, and dy -> dq, d position_keys.  A position that several keys share receives the sum of theirs.

    >>> y, pullback = content_to_position_vjp(np.ones((1, 1, 3, 1)), np.ones((1, 1, 4, 1)), relative_positions(3, buckets=0, max_distance=2))
    >>> dq, dkeys = pullback(np.ones((1, 1, 3, 3)))
    >>> dq.ravel(), dkeys.ravel()
    (array([3., 3., 3.]), array([1., 2., 3., 3.]))
    """

    def pullback(dy: Array) -> tuple[Array, Array]:
        dproducts = _scatter(dy, relative, position_keys.shape[2])
        return dproducts @ position_keys, (np.swapaxes(dproducts, -1, -2) @ q).sum(axis=0, keepdims=True)

    return content_to_position(q, position_keys, relative), pullback


def position_to_content(k: Array, position_queries: Array, relative: Array) -> Array:
    """p2c[i, j] = k_j . Q[-relative[j, i]].  k (B, h, N, d), position_queries (1, h, 2 span, d), relative (N, N) -> (B, h, N, N)

    The gather runs along the key's own row, so its result stands key first and is transposed.

    >>> queries = np.array([[[[1.0], [10.0], [100.0], [1000.0]]]])
    >>> position_to_content(np.ones((1, 1, 3, 1)), queries, relative_positions(3, buckets=0, max_distance=2))[0, 0]
    array([[ 100.,   10.,    1.],
           [1000.,  100.,   10.],
           [1000., 1000.,  100.]])
    """
    return np.swapaxes(_gather(k @ np.swapaxes(position_queries, -1, -2), -relative), -1, -2)


def position_to_content_vjp(k: Array, position_queries: Array, relative: Array) -> tuple[Array, Pullback]:
    """:func:`position_to_content`, and dy -> dk, d position_queries.

    >>> y, pullback = position_to_content_vjp(np.ones((1, 1, 3, 1)), np.ones((1, 1, 4, 1)), relative_positions(3, buckets=0, max_distance=2))
    >>> pullback(np.ones((1, 1, 3, 3)))[1].ravel()
    array([1., 2., 3., 3.])
    """

    def pullback(dy: Array) -> tuple[Array, Array]:
        dproducts = _scatter(np.swapaxes(dy, -1, -2), -relative, position_queries.shape[2])
        return dproducts @ position_queries, (np.swapaxes(dproducts, -1, -2) @ k).sum(axis=0, keepdims=True)

    return position_to_content(k, position_queries, relative), pullback


def disentangled_attention(
    x: Array,
    p: Weights,
    *,
    heads: int,
    pos_att_type: Collection[str],
    share_att_key: bool = True,
    table: Array | None = None,
    relative: Array | None = None,
    mask: Array | None = None,
    see: See = unseen,
) -> Array:
    """Attention with separate terms for content and position.  (B, N, H) -> (B, N, H).  Scope: ``encoder.encoder.layer.{i}.attention.self``.

    table: (2 span, H) embeddings of the relative positions -span ... span - 1, relative: (N, N) integers, both None for attention without
    positions.  pos_att_type: which of "c2p" and "p2c" to add; each of them also enters the scale, with or without positions, as in the
    original.  share_att_key: project positions with query_proj and key_proj instead of projections of their own.
    mask: boolean, broadcasts to (B, h, N, N), True where a query may look; a query that may look nowhere gets zeros.

    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> p = {f"{name}_proj": one for name in ("query", "key", "value")}
    >>> disentangled_attention(np.array([[[0.0], [np.log(3.0)]]]), p, heads=1, pos_att_type=()).round(3).ravel()
    array([0.549, 0.846])
    """
    q, k, v = (see(n[0], split_heads(linear(x, **p[f"{n}_proj"]), heads)) for n in ("query", "key", "value"))  # (B, h, N, d)
    terms = [term for term in ("c2p", "p2c") if term in pos_att_type]
    scale = score_scale(q.shape[-1], 1 + len(terms))
    scores = see("content", q @ np.swapaxes(k / scale, -1, -2))  # (B, h, N, N)
    if table is not None and relative is not None:
        table = see("table", table)
        if "c2p" in terms:
            projection = p["key_proj"] if share_att_key else p["pos_key_proj"]
            position_keys = see("pos_k", split_heads(linear(table[None], **projection), heads))  # (1, h, 2 span, d)
            scores = scores + see("c2p", content_to_position(q, position_keys, relative) / scale)
        if "p2c" in terms:
            projection = p["query_proj"] if share_att_key else p["pos_query_proj"]
            position_queries = see("pos_q", split_heads(linear(table[None], **projection), heads))
            scores = scores + see("p2c", position_to_content(k, position_queries, relative) / scale)
    scores = see("scores", scores)
    probabilities = see("probabilities", masked_softmax(scores, mask))
    return see("context", merge_heads(probabilities @ v))


def disentangled_attention_vjp(
    x: Array,
    p: Weights,
    *,
    heads: int,
    pos_att_type: Collection[str],
    share_att_key: bool = True,
    table: Array | None = None,
    relative: Array | None = None,
    mask: Array | None = None,
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Pullback]:
    """:func:`disentangled_attention`, and dy -> dx, gradients nested as p, d table (None where no term reads it).

    Queries and keys receive from the content and from their position term, and a projection that content and positions share from both.

    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> p = {f"{name}_proj": one for name in ("query", "key", "value")}
    >>> y, pullback = disentangled_attention_vjp(np.array([[[1.0], [1.0]]]), p, heads=1, pos_att_type=())
    >>> pullback(np.array([[[1.0], [0.0]]]))[0].ravel()
    array([0.5, 0.5])
    """
    q, q_back = project_vjp("q", x, p, "query_proj", heads, see)  # (B, h, N, d) each
    k, k_back = project_vjp("k", x, p, "key_proj", heads, see)
    v, v_back = project_vjp("v", x, p, "value_proj", heads, see)
    terms = [term for term in ("c2p", "p2c") if term in pos_att_type]
    scale = score_scale(q.shape[-1], 1 + len(terms))
    scores, content_back = see("content", q @ np.swapaxes(k / scale, -1, -2))  # (B, h, N, N)
    term_backs: dict[str, Pullback] = {}  # by the side that stands against the positions
    table_back: Callable[[Array], Array] | None = None
    if table is not None and relative is not None:
        table, table_back = see("table", table)
        for term in terms:
            side, against = ("q", q) if term == "c2p" else ("k", k)
            added, term_backs[side] = _term_vjp(term, against, table, p, relative, heads, scale, share_att_key, see)
            scores = scores + added
    scores, scores_back = see("scores", scores)
    probabilities, softmax_back = masked_softmax_vjp(scores, mask)
    probabilities, probabilities_back = see("probabilities", probabilities)
    y, context_back = see("context", merge_heads(probabilities @ v))

    def pullback(dy: Array) -> tuple[Array, Weights, Array | None]:
        dcontext = split_heads(context_back(dy), heads)
        dscores = scores_back(softmax_back(probabilities_back(dcontext @ np.swapaxes(v, -1, -2))))
        dcontent = content_back(dscores)
        dsides = {"q": dcontent @ (k / scale), "k": np.swapaxes(dcontent, -1, -2) @ q / scale}
        grads: list[Weights] = []
        dtable: Array | None = None
        for side, term_back in term_backs.items():
            dside, drows, own = term_back(dscores)
            dsides[side] = dsides[side] + dside
            dtable = drows if dtable is None else dtable + drows
            grads.append(own)
        dxq, dq = q_back(dsides["q"])
        dxk, dk = k_back(dsides["k"])
        dxv, dv = v_back(np.swapaxes(probabilities, -1, -2) @ dcontext)
        if dtable is not None and table_back is not None:
            dtable = table_back(dtable)
        return dxq + dxk + dxv, merged(dq, dk, dv, *grads), dtable

    return y, pullback


def _term_vjp(
    term: str, side: Array, table: Array, p: Weights, relative: Array, heads: int, scale: float, shared: bool, see: SeeVjp
) -> tuple[Array, Pullback]:
    """A position term of the scores, and dscores -> d side, d table, gradients of the projection of positions."""
    add_vjp = content_to_position_vjp if term == "c2p" else position_to_content_vjp
    name, projection = ("pos_k", "key_proj") if term == "c2p" else ("pos_q", "query_proj")
    positions, project_back = project_vjp(name, table[None], p, projection if shared else f"pos_{projection}", heads, see)
    y, add_back = add_vjp(side, positions, relative)
    y, seen_back = see(term, y / scale)

    def pullback(dscores: Array) -> tuple[Array, Array, Weights]:
        dside, dpositions = add_back(seen_back(dscores) / scale)
        drows, grads = project_back(dpositions)
        return dside, drows[0], grads

    return y, pullback


def _gather(products: Array, relative: Array) -> Array:
    """products[..., i, row of relative[i, j]].  (B, h, N, R), (N, N) -> (B, h, N, N)"""
    rows = _table_rows(relative, products.shape[-1])
    return np.take_along_axis(products, np.broadcast_to(rows, (*products.shape[:2], *rows.shape)), axis=-1)


def _scatter(dy: Array, relative: Array, size: int) -> Array:
    """The pullback of :func:`_gather`: to each row of the table the sum of what was read there.  (B, h, N, N) -> (B, h, N, R)"""
    queries = np.arange(dy[..., 0].size).reshape(*dy.shape[:3], 1)
    places = queries * size + _table_rows(relative, size)
    sums = np.bincount(places.ravel(), weights=dy.ravel(), minlength=queries.size * size)  # in float64
    return sums.reshape(*dy.shape[:3], size).astype(dy.dtype)


def _table_rows(relative: Array, size: int) -> Array:
    """The row of the table for each relative position, those past its ends taking its first or last."""
    return np.clip(relative + size // 2, 0, size - 1)
