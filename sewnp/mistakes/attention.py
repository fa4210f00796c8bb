"""Known mistakes in the transformer layers of both families: heads, scores, positions, softmax, residuals."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sewnp.layers.disentangled import content_to_position, log_buckets, position_to_content, score_scale
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import linear
from sewnp.layers.masking import key_mask, query_key_mask
from sewnp.layers.normalization import layer_norm
from sewnp.layers.softmax import masked_softmax, softmax
from sewnp.mistakes.layers import affine
from sewnp.mistakes.stage_run import Mistakes, Scene
from sewnp.types import Array


def heads(s: Scene) -> Mistakes:
    """Queries, keys and values: projected wrongly, mixed up, or split into heads wrongly."""
    own = _names(s).projections[s.name[-1]]
    x, count = s.layer_input, s.config.num_attention_heads
    yield from _split(affine(s, x, f"{s.scope}.{own}"), count)
    y = linear(x, **s.weights(f"{s.scope}.{own}"))  # (B, N, H)
    batch, frames, channels = y.shape
    yield "heads interleaved instead of contiguous", y.reshape(batch, frames, -1, count).transpose(0, 3, 1, 2)
    yield "split into heads without swapping the axes", y.reshape(batch, count, frames, channels // count)
    for other in _projections(s):
        if other != own:
            yield f"{other} instead of {own}", split_heads(linear(x, **s.weights(f"{s.scope}.{other}")), count)
    normed = layer_norm(x, **s.weights(_names(s).norm), eps=s.config.layer_norm_eps)
    yield "layer norm before the attention: pre-norm", split_heads(linear(normed, **s.weights(f"{s.scope}.{own}")), count)


def scores(s: Scene) -> Mistakes:
    """Products of queries and keys of SEW."""
    q, k = s.near("q"), s.near("k")
    size, hidden = q.shape[-1], q.shape[-1] * q.shape[1]
    products = q @ np.swapaxes(k, -1, -2)
    yield "scale missing", products
    yield "scaled by the hidden size instead of the head's", products / math.sqrt(hidden)
    yield "scaled twice", products / size
    yield "operands swapped: keys are rows", np.swapaxes(s.right, -1, -2)
    yield from hidden_keys(s)


def hidden_keys(s: Scene) -> Mistakes:
    """Scores shown behind the mask."""
    mask = _squeezed_mask(s)
    if mask is not None:
        yield "shown after the mask: hidden keys are at -inf already", np.where(key_mask(mask), s.right, -np.inf)


def content(s: Scene) -> Mistakes:
    """Products of queries and keys of SEW-D."""
    yield from scales(s)
    yield "operands swapped: keys are rows", np.swapaxes(s.right, -1, -2)


def scales(s: Scene) -> Mistakes:
    """Another scale under a term of SEW-D's scores."""
    size, terms = s.near("q").shape[-1], s.config.score_term_count
    scale = score_scale(size, terms)
    for count in (1, 2, 3):
        if count != terms:
            yield f"scale counts {count} term{'s' * (count > 1)} instead of {terms}", s.right * (scale / math.sqrt(size * count))
    yield "scale missing", s.right * scale
    yield "scaled by the hidden size instead of the head's", s.right * (scale / math.sqrt(s.config.hidden_size * terms))
    yield "scaled twice", s.right / scale
    yield "scale in float64 instead of rounded to float32", s.right * (scale / math.sqrt(size * terms))


def position_terms(s: Scene) -> Mistakes:
    """c2p and p2c: other signs, clips and operands."""
    c2p = s.name.endswith("c2p")
    term = content_to_position if c2p else position_to_content
    x, table, relative = s.near("q" if c2p else "k"), s.near("pos_k" if c2p else "pos_q"), _relative(s)
    scale = score_scale(x.shape[-1], s.config.score_term_count)
    span = table.shape[2] // 2
    yield from scales(s)
    yield f"{'c2p' if c2p else 'p2c'} {'transposed' if c2p else 'not transposed'}", np.swapaxes(s.right, -1, -2)
    yield "sign of the relative positions flipped", term(x, table, -relative) / scale
    if not c2p:
        yield "gathered like c2p: neither transposed nor the sign turned", content_to_position(x, table, relative) / scale
    yield "clipped alike on both sides of the table", term(x, table, np.clip(relative, 1 - span, span - 1)) / scale
    wrapped = np.mod(relative + span, 2 * span) - span
    yield "positions behind the table's ends wrapped instead of clipped", term(x, table, wrapped) / scale
    for off in (1, -1):
        yield f"relative positions off by {off}", term(x, table, relative + off) / scale
    frames = np.arange(len(relative))
    yield "raw distances instead of buckets", term(x, table, frames[:, None] - frames) / scale
    yield (
        f"{'keys' if c2p else 'queries'} in place of {'queries' if c2p else 'keys'}",
        term(s.near("k" if c2p else "q"), table, relative) / scale,
    )
    if s.has("pos_q" if c2p else "pos_k"):
        other = s.near("pos_q" if c2p else "pos_k")
        exchanged = position_to_content(s.near("k"), other, relative) if c2p else content_to_position(s.near("q"), other, relative)
        yield "c2p and p2c exchanged", exchanged / scale
        yield (
            f"position {'queries' if c2p else 'keys'} in place of position {'keys' if c2p else 'queries'}",
            term(x, other, relative) / scale,
        )


def positions(s: Scene) -> Mistakes:
    """Keys and queries of the position table."""
    key, count = s.name.endswith("pos_k"), s.config.num_attention_heads
    shared, separate = ("key_proj", "pos_key_proj") if key else ("query_proj", "pos_query_proj")
    own = shared if s.config.share_att_key else separate
    table = s.given()[None]
    yield from _split(affine(s, table, f"{s.scope}.{own}"), count)
    y = linear(table, **s.weights(f"{s.scope}.{own}"))
    yield "heads interleaved instead of contiguous", y.reshape(1, y.shape[1], -1, count).transpose(0, 3, 1, 2)
    yield "split into heads without swapping the axes", y.reshape(1, count, y.shape[1], -1)
    for other in _projections(s):
        if other != own:
            said = f"separate projection ignored: {other} instead of {own}" if other == shared else f"{other} instead of {own}"
            yield said, split_heads(linear(table, **s.weights(f"{s.scope}.{other}")), count)
    if "encoder.encoder.LayerNorm" in s.used:
        stored = s.used["encoder.encoder.rel_embeddings"][None]
        yield "table of positions not normalised", split_heads(linear(stored, **s.weights(f"{s.scope}.{own}")), count)


def tables(s: Scene) -> Mistakes:
    """The table of positions as stored."""
    yield "rows in reverse order", s.right[::-1]


def layer_tables(s: Scene) -> Mistakes:
    """The table as a layer uses it."""
    yield from tables(s)
    if "encoder.encoder.LayerNorm" in s.used:
        yield "not normalised: the table as stored", s.used["encoder.encoder.rel_embeddings"]


def buckets(s: Scene) -> Mistakes:
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
        yield "buckets computed in float64 instead of float32", _buckets(raw, size, far, np.ceil)
        yield "logarithm rounded down instead of up", _buckets(raw, size, far, np.floor)
        yield "logarithm rounded to the nearest", _buckets(raw, size, far, np.rint)
        yield "buckets up to max_distance instead of max_distance - 1", log_buckets(raw, buckets=size, max_distance=far + 1)


def _buckets(raw: Array, size: int, far: int, to_integer: np.ufunc) -> Array:
    """log_buckets in float64, with another way to round."""
    middle, distance = size // 2, np.abs(raw)
    ratio = np.log(np.maximum(distance, middle) / middle) / math.log((far - 1) / middle)
    return np.where(distance <= middle, raw, np.sign(raw) * (to_integer(ratio * (middle - 1)) + middle)).astype(np.int64)


def sums(s: Scene) -> Mistakes:
    """Scores of SEW-D: the sum of the terms without one of them."""
    parts = {name: s.near(name) for name in ("content", "c2p", "p2c") if s.has(name)}
    for name in parts:
        if len(parts) > 1:
            yield f"{name} missing", np.sum([part for other, part in parts.items() if other != name], axis=0)
    if len(parts) == 3:
        yield "c2p and p2c missing", parts["content"]
    if "p2c" in parts:
        yield "p2c not transposed", s.right - parts["p2c"] + np.swapaxes(parts["p2c"], -1, -2)
    yield from hidden_keys(s)


def probabilities(s: Scene) -> Mistakes:
    """Softmax along another axis, or under another mask."""
    x, mask = s.near("scores"), _squeezed_mask(s)
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


def contexts(s: Scene) -> Mistakes:
    """Probabilities times something, heads merged somehow."""
    p, v = s.near("probabilities"), s.near("v")
    batch, _, frames, _ = v.shape
    y = p @ v  # (B, h, N, d)
    yield "heads merged without swapping the axes", y.reshape(batch, frames, -1)
    yield "heads merged interleaved instead of contiguous", y.transpose(0, 2, 3, 1).reshape(batch, frames, -1)
    yield "probabilities transposed", merge_heads(np.swapaxes(p, -1, -2) @ v)
    yield "keys in place of values", merge_heads(p @ s.near("k"))
    yield "queries in place of values", merge_heads(p @ s.near("q"))


def dense(s: Scene) -> Mistakes:
    """The affine maps of a layer, and what they may have been given by mistake."""
    path = f"{s.scope}.out_proj" if s.name.endswith("attention.output") else s.name
    yield from affine(s, s.given(), path)
    p = s.weights(path)
    if "intermediate" in s.name:
        yield "input taken before the layer norm", linear(s.of_layer(_names(s).residual), **p)
    elif "attention" not in s.name:
        yield "input taken before the activation", linear(s.of_layer(_names(s).widened), **p)


def residuals(s: Scene) -> Mistakes:
    """Sums of what goes past a block and what comes out of it."""
    names = _names(s)
    first = s.name == names.residual.format(i=s.layer)
    branch = s.of_layer(names.attended if first else names.narrowed)
    yield "residual missing", branch
    yield "block missing: the residual alone", s.layer_input if first else s.of_layer(names.norm)
    if not first:
        yield "residual taken before the layer norm", s.of_layer(names.residual) + branch
        yield "residual taken from the layer's input", s.layer_input + branch


class _Names(NamedTuple):
    """What the same stages of a layer are called."""

    residual: str
    norm: str
    attended: str
    widened: str
    narrowed: str
    projections: dict[str, str]


_NAMES = {
    "sew": _Names(
        "encoder.layers.{i}.residual",
        "encoder.layers.{i}.layer_norm",
        "encoder.layers.{i}.attention.output",
        "encoder.layers.{i}.feed_forward.intermediate_dense",
        "encoder.layers.{i}.feed_forward.output_dense",
        {"q": "q_proj", "k": "k_proj", "v": "v_proj"},
    ),
    "sew-d": _Names(
        "encoder.encoder.layer.{i}.attention.output.residual",
        "encoder.encoder.layer.{i}.attention.output.LayerNorm",
        "encoder.encoder.layer.{i}.attention.output.dense",
        "encoder.encoder.layer.{i}.intermediate.dense",
        "encoder.encoder.layer.{i}.output.dense",
        {"q": "query_proj", "k": "key_proj", "v": "value_proj"},
    ),
}


def _names(s: Scene) -> _Names:
    return _NAMES[s.config.model_type]


def _split(mistakes: Mistakes, count: int) -> Iterator[tuple[str, Array]]:
    return ((said, split_heads(y, count)) for said, y in mistakes)


def _projections(s: Scene) -> list[str]:
    """Every projection of the attention but the last."""
    return [name for name in s.weights(s.scope) if name.endswith("_proj") and name != "out_proj"]


def _relative(s: Scene) -> Array:
    return s.used["encoder.encoder.relative_positions"]


def _squeezed_mask(s: Scene) -> Array | None:
    mask = s.used.get("encoder.squeezed_mask")
    return None if mask is None else mask.astype(bool)
