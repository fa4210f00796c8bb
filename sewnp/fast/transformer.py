"""The transformer of both families: each thread computes some heads and some columns of the feed-forward, and the parts are summed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sewnp.checkpoints import flatten, nest
from sewnp.config import Config, SEWDConfig
from sewnp.fast.attention import Positions, attend
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import BLOCK, activate, layer_norm
from sewnp.fast.names import NAMES, Names, layers_of
from sewnp.fast.products import Layout, Matrix, lay_out
from sewnp.fast.workspace import Workspace
from sewnp.layers.disentangled import log_buckets, score_scale
from sewnp.layers.linear import linear
from sewnp.networks.sew_d import position_table
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class Layer:
    """One layer's weights.  Both families agree on everything but names and scores."""

    qkv: tuple[Matrix, Array]
    """(3 H, H) and (3 H,): head by head its queries, its keys, its values."""
    output: tuple[Matrix, Array]
    norm: tuple[Array, Array]
    up: tuple[Matrix, Array]
    down: tuple[Matrix, Array]
    final_norm: tuple[Array, Array]
    size: int
    """Of a head."""
    rate: np.float32
    """What queries are multiplied by.  It is in no weight, so that weights can be given back as they were."""
    position_keys: Array | None
    """(2 span, H): the table of relative positions, projected, as c2p's keys."""
    position_queries: Array | None
    """(2 span, H): as p2c's queries, times ``rate``."""
    names: Names
    stored: dict[str, Array | None]
    """All weights by name, in their order; None for those that are in the matrices above."""

    @property
    def number_count(self) -> int:
        """How many numbers :meth:`weights` have."""
        matrices = (self.qkv[0], self.output[0], self.up[0], self.down[0])
        return sum(x.size for x in self.stored.values() if x is not None) + sum(matrix.size for matrix in matrices)

    def weights(self) -> Weights:
        """As they were given, to the last bit."""
        names, rows = self.names, self.output[0].weight()
        fused = self.qkv[0].weight().reshape(-1, 3, self.size, len(rows))
        made = {name: fused[:, part].reshape(rows.shape) for part, name in enumerate(names.projections)}
        made |= {names.output: rows, names.up: self.up[0].weight(), names.down: self.down[0].weight()}
        return nest({key: made[key.removesuffix(".weight")] if x is None else x for key, x in self.stored.items()})


def pack_layers(p: Weights, config: Config, layout: Layout, *, hand_over: bool = False) -> list[Layer]:
    """The layers of an encoder, p being its weights.

    hand_over: put each into the place of its weights in p, so that nobody need hold both.  Whatever interrupts, each place has the one or the other.
    """
    names, packed = NAMES[config.model_type], []
    layers = layers_of(p, names)
    table = position_table(p["encoder"], config) if isinstance(config, SEWDConfig) and layers else None
    for i, layer in enumerate(layers):
        packed.append(layer if isinstance(layer, Layer) else _pack(flatten(layer), config, names, table, layout))
        if hand_over:
            layers[i] = layer = packed[i]  # the weights are gone before the next are begun
    return packed


def _pack(p: dict[str, Array], config: Config, names: Names, table: Array | None, layout: Layout) -> Layer:
    """p: a layer's weights by name."""
    heads, terms = config.num_attention_heads, config.score_term_count if isinstance(config, SEWDConfig) else 1
    size = config.hidden_size // heads
    rate = np.float32(1 / score_scale(size, terms))

    def pair(name: str) -> tuple[Matrix, Array]:
        return lay_out(p[f"{name}.weight"], layout), p[f"{name}.bias"]

    def fused(kind: str) -> Array:
        """Head by head, flat."""
        return np.stack([p[f"{name}.{kind}"].reshape(heads, size, -1) for name in names.projections], axis=1).reshape(-1)

    def positions(term: str, name: str) -> Array | None:
        if table is None or not isinstance(config, SEWDConfig) or term not in config.position_terms:
            return None
        name = f"attention.self.{name if config.share_att_key else f'pos_{name}'}"
        return linear(table, p[f"{name}.weight"], p[f"{name}.bias"])

    queries = positions("p2c", "query_proj")
    laid = {f"{name}.weight" for name in (*names.projections, names.output, names.up, names.down)}
    return Layer(
        qkv=(lay_out(fused("weight").reshape(-1, config.hidden_size), layout, unit=3 * size), fused("bias")),
        output=pair(names.output),
        norm=(p[f"{names.norm}.weight"], p[f"{names.norm}.bias"]),
        up=pair(names.up),
        down=pair(names.down),
        final_norm=(p[f"{names.final_norm}.weight"], p[f"{names.final_norm}.bias"]),
        size=size,
        rate=rate,
        position_keys=positions("c2p", "key_proj"),
        position_queries=None if queries is None else queries * rate,
        names=names,
        stored={key: None if key in laid else x for key, x in p.items()},
    )


def run_layers(
    hidden: Array, parts: list[Array], layers: list[Layer], config: Config, *, clips: Sequence[slice], attended: Array | None, crew: Crew,
    scratch: Workspace, rank: int, keep: Callable[[], None] | None,
) -> None:  # fmt: skip
    """All layers, in place.  hidden (N, H), and the same for each thread's part of a product; attended (1, N) or (N, N) bool.

    clips: the rows of each clip, since attention sees one at a time.
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
    channels = slice(heads.start * size, heads.stop * size)
    fused = slice(3 * channels.start, 3 * channels.stop)
    longest = max(clip.stop - clip.start for clip in clips)
    rows_by_distance = table_rows(longest, config)
    qkv = scratch.take("qkv", (frames, fused.stop - fused.start), rank)
    queries = qkv.reshape(frames, -1, 3, size)[:, :, 0]
    context = scratch.take("context", (frames, channels.stop - channels.start), rank)
    kept()
    for layer in layers:
        layer.qkv[0].multiply(hidden, qkv, scratch, rank, columns=fused)
        qkv += layer.qkv[1][fused]
        queries *= layer.rate
        positions = _lined_up(layer, rows_by_distance, channels, scratch, rank)
        for clip in clips if heads.stop > heads.start else ():
            own = None if positions is None else positions.nearest(longest, clip.stop - clip.start)
            attend(qkv[clip], context[clip], size=size, attended=attended, positions=own, scratch=scratch, rank=rank)
        layer.output[0].multiply(context, parts[rank], scratch, rank, inputs=channels)
        crew.wait(rank)
        _sum_and_norm(hidden[rows], [part[rows] for part in parts], layer.output[1], layer.norm, config.layer_norm_eps)
        crew.wait(rank)
        columns = crew.share(config.intermediate_size, rank, step=layer.up[0].step)
        inner = scratch.take("inner", (frames, columns.stop - columns.start), rank)
        layer.up[0].multiply(hidden, inner, scratch, rank, columns=columns)
        inner += layer.up[1][columns]
        activate(inner, config.hidden_act, scratch, rank)
        layer.down[0].multiply(inner, parts[rank], scratch, rank, inputs=columns)
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
