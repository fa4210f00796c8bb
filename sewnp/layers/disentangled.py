"""Disentangled attention: content and position apart (DeBERTa, He et al. 2020, arXiv 2006.03654), as SEW-D uses it.

The score of query i and key j is a sum of up to three products: content with content, the query's content with the key's relative
position (c2p), and the key's content with the query's relative position (p2c).  Relative positions are embedded, not absolute ones, and
far ones share an embedding: distance is counted in buckets that grow with the logarithm.
"""

import math
from collections.abc import Collection

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.attention import merge_heads, split_heads
from sewnp.layers.linear import linear
from sewnp.layers.observe import unseen
from sewnp.layers.softmax import masked_softmax
from sewnp.types import Array, See, Weights


def log_buckets(relative: Array, *, buckets: int, max_distance: int) -> Array:
    """Distances in buckets: exact up to buckets // 2, logarithmic beyond, sign kept.  Integers of any shape -> int64 of that shape.

    Distance max_distance - 1 lands in bucket buckets - 1 (for even ``buckets``), larger ones go on growing.  The arithmetic is float32
    whatever the model's dtype, as in the original: in float64 some exact powers (distance 32 with 32 buckets and max_distance 129) would
    land one bucket higher.  Raises InputError for sizes that leave no room for a logarithm.
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
    """Bucket of every query minus every key.  -> (N, N) int64;  raw distances where ``buckets`` is 0 or less."""
    relative = np.arange(frames)[:, None] - np.arange(frames)
    return log_buckets(relative, buckets=buckets, max_distance=max_distance) if buckets > 0 else relative


def score_scale(head_size: int, terms: int) -> float:
    """sqrt(head_size * terms), rounded to float32 even in a float64 model: the original computes it so, and 4e-8 of every score depends on it."""
    return float(np.sqrt(np.float32(head_size * terms)))


def content_to_position(q: Array, position_keys: Array, relative: Array) -> Array:
    """c2p[i, j] = q_i . K[relative[i, j]].  q (B, h, N, d), position_keys (1, h, 2 span, d), relative (N, N) -> (B, h, N, N)"""
    return _gather(q @ np.swapaxes(position_keys, -1, -2), relative)


def position_to_content(k: Array, position_queries: Array, relative: Array) -> Array:
    """p2c[i, j] = k_j . Q[-relative[j, i]].  k (B, h, N, d), position_queries (1, h, 2 span, d), relative (N, N) -> (B, h, N, N)

    The gather runs along the key's own row, so its result stands key first and is transposed.
    """
    return np.swapaxes(_gather(k @ np.swapaxes(position_queries, -1, -2), -relative), -1, -2)


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
    """
    q, k, v = (see(n[0], split_heads(linear(x, **p[f"{n}_proj"]), heads)) for n in ("query", "key", "value"))  # (B, h, N, d)
    terms = [term for term in ("c2p", "p2c") if term in pos_att_type]
    scale = score_scale(q.shape[-1], 1 + len(terms))
    scores = see("content", q @ np.swapaxes(k / scale, -1, -2))  # (B, h, N, N)
    if table is not None and relative is not None:
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


def _gather(products: Array, relative: Array) -> Array:
    """products[..., i, clip(relative[i, j] + span)].  (B, h, N, 2 span), (N, N) -> (B, h, N, N);  positions past the table take its last entry."""
    size = products.shape[-1]
    index = np.clip(relative + size // 2, 0, size - 1)
    return np.take_along_axis(products, np.broadcast_to(index, (*products.shape[:2], *index.shape)), axis=-1)
