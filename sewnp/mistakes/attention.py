"""Known mistakes in the transformer layers of both families: heads, scores, positions, softmax, residuals."""

import math
from collections.abc import Callable

import numpy as np

from sewnp.layers.disentangled import content_to_position, log_buckets, position_to_content, score_scale
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import linear
from sewnp.layers.masking import key_mask, query_key_mask
from sewnp.layers.normalization import layer_norm
from sewnp.layers.softmax import masked_softmax, softmax
from sewnp.mistakes.layers import affine, projections
from sewnp.mistakes.stage_run import Mistakes, StageRun
from sewnp.networks.stages import layer_of, stage_of
from sewnp.types import Array, DTypeLike

NORM = {"sew": "encoder.layers.{i}.layer_norm", "sew-d": "encoder.encoder.layer.{i}.attention.output.LayerNorm"}
"""The norm behind the attention, in each family."""


def heads(s: StageRun) -> Mistakes:
    """Queries, keys and values: projected wrongly, mixed up, or split into heads wrongly."""
    x, own = s.given(), stage_of(s.name).module.rpartition(".")[2]
    yield from _into_heads(s, x, own)
    normed = layer_norm(x, **s.weights(NORM[s.config.model_type].format(i=layer_of(s.name))), eps=s.config.layer_norm_eps)
    yield "layer norm before the attention: pre-norm", split_heads(linear(normed, **s.weights()), s.config.num_attention_heads)


def _into_heads(s: StageRun, x: Array, own: str) -> Mistakes:
    """A projection and its heads: without bias, with another's weights, or split wrongly."""
    p, count = s.weights(s.scope), s.config.num_attention_heads
    for said, y in affine(x, p[own]):
        yield said, split_heads(y, count)
    y = linear(x, **p[own])  # (B, N, H)
    batch, frames, _ = y.shape
    yield "heads interleaved instead of contiguous", y.reshape(batch, frames, -1, count).transpose(0, 3, 1, 2)
    yield "split into heads without swapping the axes", y.reshape(batch, count, frames, -1)
    for other in p:
        if other.endswith("_proj") and other not in (own, "out_proj"):
            said = "separate projection ignored: " if own == f"pos_{other}" else ""
            yield f"{said}{other} instead of {own}", split_heads(linear(x, **p[other]), count)


def scores(s: StageRun) -> Mistakes:
    """Products of queries and keys of SEW."""
    q, k = s.given(0), s.given(1)
    size, hidden = q.shape[-1], q.shape[-1] * q.shape[1]
    products = q @ np.swapaxes(k, -1, -2)
    yield "scale missing", products
    yield "scaled by the hidden size instead of the head's", products / math.sqrt(hidden)
    yield "scaled twice", products / size
    yield "operands swapped: keys are rows", np.swapaxes(s.right, -1, -2)
    yield from hidden_keys(s)


def hidden_keys(s: StageRun) -> Mistakes:
    """Scores shown behind the mask."""
    mask = squeezed_mask(s)
    if mask is not None:
        yield "shown after the mask: hidden keys are at -inf already", np.where(key_mask(mask), s.right, -np.inf)


def content(s: StageRun) -> Mistakes:
    """Products of queries and keys of SEW-D."""
    yield from scales(s)
    yield "operands swapped: keys are rows", np.swapaxes(s.right, -1, -2)


def scales(s: StageRun) -> Mistakes:
    """Another scale under a term of SEW-D's scores."""
    size, terms = s.given().shape[-1], s.config.score_term_count
    scale = score_scale(size, terms)
    for count in (1, 2, 3):
        if count != terms:
            yield f"scale counts {count} term{'s' * (count > 1)} instead of {terms}", s.right * (scale / math.sqrt(size * count))
    yield "scale missing", s.right * scale
    yield "scaled by the hidden size instead of the head's", s.right * (scale / math.sqrt(s.config.hidden_size * terms))
    yield "scaled twice", s.right / scale
    yield "scale in float64 instead of rounded to float32", s.right * (scale / math.sqrt(size * terms))


def position_terms(s: StageRun) -> Mistakes:
    """c2p and p2c: other signs, clips and operands."""
    yield from scales(s)
    c2p = s.name.endswith("c2p")
    yield f"{'c2p' if c2p else 'p2c'} {'transposed' if c2p else 'not transposed'}", np.swapaxes(s.right, -1, -2)
    scale = score_scale(s.given().shape[-1], s.config.score_term_count)
    for said, products in _position_products(s, c2p):
        yield said, products / scale


def _position_products(s: StageRun, c2p: bool) -> Mistakes:
    """A position term of other things, before its scale."""
    x, table, relative = s.given(0), s.given(1), s.given(2)
    term, opposite = (content_to_position, position_to_content) if c2p else (position_to_content, content_to_position)
    span, frames = table.shape[2] // 2, np.arange(len(relative))
    yield "sign of the relative positions flipped", term(x, table, -relative)
    if not c2p:
        yield "gathered like c2p: neither transposed nor the sign turned", content_to_position(x, table, relative)
    yield "clipped alike on both sides of the table", term(x, table, np.clip(relative, 1 - span, span - 1))
    wrapped = np.mod(relative + span, 2 * span) - span
    yield "positions behind the table's ends wrapped instead of clipped", term(x, table, wrapped)
    for off in (1, -1):
        yield f"relative positions off by {off}", term(x, table, relative + off)
    yield "raw distances instead of buckets", term(x, table, frames[:, None] - frames)
    own, others = ("queries", "keys") if c2p else ("keys", "queries")
    y, other = s.near["k" if c2p else "q"], s.near.get("pos_q" if c2p else "pos_k")
    yield f"{others} in place of {own}", term(y, table, relative)
    if other is not None:
        yield "c2p and p2c exchanged", opposite(y, other, relative)
        yield f"position {own} in place of position {others}", term(x, other, relative)


def position_projection(s: StageRun) -> str:
    """The projection of the table: that of the content where they share one, else its own."""
    own = "key_proj" if s.name.endswith("pos_k") else "query_proj"
    return own if s.config.share_att_key else f"pos_{own}"


def positions(s: StageRun) -> Mistakes:
    """Keys and queries of the position table."""
    own = position_projection(s)
    yield from _into_heads(s, s.given()[None], own)
    if "encoder.encoder.LayerNorm" in s.used:
        stored = linear(s.used["encoder.encoder.rel_embeddings"][None], **s.weights(f"{s.scope}.{own}"))
        yield "table of positions not normalised", split_heads(stored, s.config.num_attention_heads)


def tables(s: StageRun) -> Mistakes:
    """The table of positions as stored."""
    yield "rows in reverse order", s.right[::-1]


def layer_tables(s: StageRun) -> Mistakes:
    """The table as a layer uses it."""
    yield from tables(s)
    if "encoder.encoder.LayerNorm" in s.used:
        yield "not normalised: the table as stored", s.used["encoder.encoder.rel_embeddings"]


def buckets(s: StageRun) -> Mistakes:
    """Relative positions counted otherwise."""
    frames, size, far = np.arange(len(s.right)), s.config.position_buckets, s.config.max_distance
    raw, span = frames[:, None] - frames, s.config.span
    yield "sign flipped: key minus query", -s.right
    yield "already an index into the table", s.right + span
    yield "already an index into the table", np.clip(s.right + span, 0, 2 * span - 1)
    yield "already clipped to the table", np.clip(s.right, -span, span - 1)
    yield "absolute distances", np.abs(s.right)
    if size > 0:
        yield "raw distances instead of buckets", raw
        for order in STEPS:
            yield "buckets computed in float64 instead of float32", _buckets(raw, size, far, order=order)
        for order in OTHERS:
            yield order, _buckets(raw, size, far, order=order, dtype=np.float32)
        yield "logarithm rounded down instead of up", _buckets(raw, size, far, np.floor)
        yield "logarithm rounded to the nearest", _buckets(raw, size, far, np.rint)
        yield "buckets up to max_distance instead of max_distance - 1", log_buckets(raw, buckets=size, max_distance=far + 1)


STEPS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "quotient of the logarithms first": lambda r, a, m: _log(r / a) / _log((m - 1) / a) * (a - 1),
    "product taken before the quotient of the logarithms": lambda r, a, m: _log(r / a) * (a - 1) / _log((m - 1) / a),
    "constants divided before the product": lambda r, a, m: _log(r / a) * ((a - 1) / _log((m - 1) / a)),
    "logarithms subtracted instead of distances divided": lambda r, a, m: (_log(r) - _log(a)) / (_log(m - 1) - _log(a)) * (a - 1),
}
"""How many buckets distance r is behind a, half of all, before it is rounded up; m: max_distance.  One number on paper; the first is right."""

FIRST, *OTHERS = STEPS


def _log(x: Array) -> Array:
    """In its own precision, and rounded as well as it can be."""
    return np.asarray(np.log(x.astype(np.float64)), dtype=x.dtype)


def _buckets(
    raw: Array, size: int, far: int, to_integer: np.ufunc = np.ceil, *, order: str = FIRST, dtype: DTypeLike = np.float64
) -> Array:
    """log_buckets in another precision, in another order, or rounded in another way."""
    middle, distance = size // 2, np.abs(raw)
    r, a, m = (np.asarray(x, dtype) for x in (np.maximum(distance, middle), middle, far))
    return np.where(distance <= middle, raw, np.sign(raw) * (to_integer(STEPS[order](r, a, m)) + middle)).astype(np.int64)


def sums(s: StageRun) -> Mistakes:
    """Scores of SEW-D: the sum of the terms without one of them."""
    parts = {name: s.near[name] for name in ("content", "c2p", "p2c") if name in s.near}
    for name in parts:
        if len(parts) > 1:
            yield f"{name} missing", np.sum([part for other, part in parts.items() if other != name], axis=0)
    if len(parts) == 3:
        yield "c2p and p2c missing", parts["content"]
    if "p2c" in parts:
        yield "p2c not transposed", s.right - parts["p2c"] + np.swapaxes(parts["p2c"], -1, -2)
    yield from hidden_keys(s)


def probabilities(s: StageRun) -> Mistakes:
    """Softmax along another axis, or under another mask."""
    x, mask = s.given(), squeezed_mask(s)
    if mask is None:
        yield "softmax over the queries instead of the keys", np.swapaxes(softmax(np.swapaxes(x, -1, -2)), -1, -2)
        yield "softmax skipped", x
        return
    keys, pairs = key_mask(mask), query_key_mask(mask)
    over_queries = masked_softmax(np.swapaxes(np.where(keys, x, -np.inf), -1, -2), None)
    yield "softmax over the queries instead of the keys", np.swapaxes(over_queries, -1, -2)
    yield "mask ignored", softmax(x)
    yield "mask on the queries instead of the keys", masked_softmax(x, mask[:, None, :, None])
    yield "mask on the keys alone, not on the queries", masked_softmax(x, keys)
    yield "mask on queries and keys", masked_softmax(x, pairs)
    yield "mask inverted", masked_softmax(x, ~keys)
    yield "masked after the softmax instead of before", softmax(x) * keys
    uniform = np.full_like(s.right, 1 / x.shape[-1])
    yield (
        "rows without a key attend uniformly instead of to nothing",
        np.where(s.right.any(axis=-1, keepdims=True), s.right, uniform),
    )


def contexts(s: StageRun) -> Mistakes:
    """Probabilities times something, heads merged somehow."""
    p, v = s.given(0), s.given(1)
    batch, _, frames, _ = v.shape
    y = p @ v  # (B, h, N, d)
    yield "heads merged without swapping the axes", y.reshape(batch, frames, -1)
    yield "heads merged interleaved instead of contiguous", y.transpose(0, 2, 3, 1).reshape(batch, frames, -1)
    yield "probabilities transposed", merge_heads(np.swapaxes(p, -1, -2) @ v)
    yield "keys in place of values", merge_heads(p @ s.near["k"])
    yield "queries in place of values", merge_heads(p @ s.near["q"])


def widened(s: StageRun) -> Mistakes:
    """The feed-forward's first map."""
    yield from projections(s)
    yield "input taken before the layer norm", linear(s.used[s.source(of=s.source())], **s.weights())


def narrowed(s: StageRun) -> Mistakes:
    """The feed-forward's second map."""
    yield from projections(s)
    yield "input taken before the activation", linear(s.used[s.source(of=s.source())], **s.weights())


def residuals(s: StageRun) -> Mistakes:
    """Sums of what goes past a block and what comes out of it."""
    yield "residual missing", s.given(1)
    yield "block missing: the residual alone", s.given(0)


def second_residuals(s: StageRun) -> Mistakes:
    """The sum behind the feed-forward, to which more than one value could be added."""
    yield from residuals(s)
    first = s.source(of=s.source())
    yield "residual taken before the layer norm", s.used[first] + s.given(1)
    yield "residual taken from the layer's input", s.used[s.source(of=first)] + s.given(1)


def squeezed_mask(s: StageRun) -> Array | None:
    """The real squeezed frames, where an attention mask was given."""
    mask = s.used.get("encoder.squeezed_mask")
    return None if mask is None else mask.astype(bool)
