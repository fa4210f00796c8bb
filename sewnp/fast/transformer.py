"""The transformer of both families: each thread computes some heads and some columns of the feed-forward, and the parts are summed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.fast.attention import Positions, attend
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import BLOCK, activate, layer_norm
from sewnp.fast.workspace import Workspace
from sewnp.layers.disentangled import log_buckets, score_scale
from sewnp.layers.linear import linear
from sewnp.networks.sew_d import position_table
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class Layer:
    """One layer's weights.  Both families agree on everything but the scores."""

    qkv: tuple[Array, Array]
    """(3 H, H) and (3 H,): head by head its queries, divided by the scores' scale, its keys, its values.  All else is as stored."""
    output: tuple[Array, Array]
    norm: tuple[Array, Array]
    up: tuple[Array, Array]
    down: tuple[Array, Array]
    final_norm: tuple[Array, Array]
    position_keys: Array | None = None
    """(2 span, H): the table of relative positions, projected, as c2p's keys."""
    position_queries: Array | None = None
    """(2 span, H): as p2c's queries, divided by the scores' scale."""


def pack_layers(p: Weights, config: Config) -> list[Layer]:
    """The layers of an encoder, p being its weights."""
    return [*_PACKED[config.model_type](p, config)]


def _sew(p: Weights, config: SEWConfig) -> Iterator[Layer]:
    heads = config.num_attention_heads
    for layer in p.get("layers", []):
        attention, feed_forward = layer["attention"], layer["feed_forward"]
        yield Layer(
            qkv=_fused([attention[f"{n}_proj"] for n in "qkv"], heads, scale=(config.hidden_size // heads) ** 0.5),
            output=_pair(attention["out_proj"]),
            norm=_pair(layer["layer_norm"]),
            up=_pair(feed_forward["intermediate_dense"]),
            down=_pair(feed_forward["output_dense"]),
            final_norm=_pair(layer["final_layer_norm"]),
        )


def _sew_d(p: Weights, config: SEWDConfig) -> Iterator[Layer]:
    p, heads, terms = p.get("encoder", {}), config.num_attention_heads, config.position_terms
    table = position_table(p, config)
    scale = score_scale(config.hidden_size // heads, config.score_term_count)
    for layer in p.get("layer", []):
        own, keys, queries = layer["attention"]["self"], None, None
        if table is not None and "c2p" in terms:
            keys = linear(table, **own["key_proj" if config.share_att_key else "pos_key_proj"])
        if table is not None and "p2c" in terms:
            queries = linear(table, **own["query_proj" if config.share_att_key else "pos_query_proj"]) / np.float32(scale)
        yield Layer(
            qkv=_fused([own[f"{n}_proj"] for n in ("query", "key", "value")], heads, scale=scale),
            output=_pair(layer["attention"]["output"]["dense"]),
            norm=_pair(layer["attention"]["output"]["LayerNorm"]),
            up=_pair(layer["intermediate"]["dense"]),
            down=_pair(layer["output"]["dense"]),
            final_norm=_pair(layer["output"]["LayerNorm"]),
            position_keys=keys,
            position_queries=queries,
        )


_PACKED: dict[str, Callable[[Weights, Any], Iterator[Layer]]] = {"sew": _sew, "sew-d": _sew_d}


def run_layers(
    hidden: Array, parts: list[Array], layers: list[Layer], config: Config, *, attended: Array | None, crew: Crew, scratch: Workspace,
    rank: int, keep: Callable[[], None] | None,
) -> None:  # fmt: skip
    """All layers, in place.  hidden (N, H), and the same for each thread's part of a product; attended (1, N) or (N, N) bool.

    keep: called by rank 0 before the first layer and after each, while ``hidden`` stands still.
    """

    def kept() -> None:
        if keep is not None:  # the others wait before they write the next layer's
            if rank == 0:
                keep()
            crew.wait(rank)

    frames, width = hidden.shape
    size = width // config.num_attention_heads
    heads = crew.share(config.num_attention_heads, rank)
    rows = crew.share(frames, rank, least=BLOCK // width)  # short calls of several threads only hinder each other
    channels, columns = slice(heads.start * size, heads.stop * size), crew.share(config.intermediate_size, rank)
    fused = slice(3 * channels.start, 3 * channels.stop)
    rows_by_distance = table_rows(frames, config)
    qkv = scratch.take("qkv", (frames, fused.stop - fused.start), rank)
    context = scratch.take("context", (frames, channels.stop - channels.start), rank)
    inner = scratch.take("inner", (frames, columns.stop - columns.start), rank)
    kept()
    for layer in layers:
        np.matmul(hidden, layer.qkv[0][fused].T, out=qkv)
        qkv += layer.qkv[1][fused]
        positions = _lined_up(layer, rows_by_distance, channels, scratch, rank)
        if heads.stop > heads.start:
            attend(qkv, context, size=size, attended=attended, positions=positions, scratch=scratch, rank=rank)
        np.matmul(context, layer.output[0][:, channels].T, out=parts[rank])
        crew.wait(rank)
        _sum_and_norm(hidden[rows], [part[rows] for part in parts], layer.output[1], layer.norm, config.layer_norm_eps)
        crew.wait(rank)
        np.matmul(hidden, layer.up[0][columns].T, out=inner)
        inner += layer.up[1][columns]
        activate(inner, config.hidden_act, scratch, rank)
        np.matmul(inner, layer.down[0][:, columns].T, out=parts[rank])
        crew.wait(rank)
        _sum_and_norm(hidden[rows], [part[rows] for part in parts], layer.down[1], layer.final_norm, config.layer_norm_eps)
        crew.wait(rank)
        kept()


def _sum_and_norm(hidden: Array, parts: list[Array], bias: Array, norm: tuple[Array, Array], eps: float) -> None:
    """Add what a product left in parts to the residual, and normalise, in place."""
    if not len(hidden):
        return
    for part in parts:
        hidden += part
    hidden += bias
    layer_norm(hidden, *norm, eps=eps)


def table_rows(frames: int, config: Config) -> tuple[Array, Array] | None:
    """For distances N - 1 down to 1 - N the row of the position table: as c2p counts them, and as p2c does in the opposite order."""
    if not isinstance(config, SEWDConfig) or not config.position_terms:
        return None
    distance = np.arange(frames - 1, -frames, -1)
    ordered = distance
    if config.position_buckets > 0:
        ordered = log_buckets(distance, buckets=config.position_buckets, max_distance=config.max_distance)
    last = 2 * config.span - 1
    return np.clip(ordered + config.span, 0, last), np.clip(-ordered + config.span, 0, last)


def _lined_up(layer: Layer, rows: tuple[Array, Array] | None, channels: slice, scratch: Workspace, rank: int) -> Positions | None:
    if rows is None:
        return None

    def lined(name: str, table: Array | None, index: Array) -> Array | None:
        if table is None:
            return None
        out = scratch.take(name, (len(index), channels.stop - channels.start), rank)
        return np.take(table[:, channels], index, axis=0, out=out, mode="clip")

    return Positions(
        lined("position keys", layer.position_keys, rows[0]), lined("position queries", layer.position_queries, rows[1])
    )


def _pair(p: Weights) -> tuple[Array, Array]:
    return p["weight"], p["bias"]


def _fused(projections: list[Weights], heads: int, *, scale: float) -> tuple[Array, Array]:
    """q, k and v head by head in one matrix, q divided by the scale."""
    q, k, v = projections
    divided = {name: (x / np.float32(scale)) for name, x in q.items()}
    width = q["weight"].shape[1]
    weight = np.stack([p["weight"].reshape(heads, -1, width) for p in (divided, k, v)], axis=1)  # (h, 3, d, H)
    bias = np.stack([p["bias"].reshape(heads, -1) for p in (divided, k, v)], axis=1)
    return weight.reshape(-1, width), bias.reshape(-1)
