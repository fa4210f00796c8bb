"""The transformer of both families, one clip there and back.  They agree on everything but names, position terms and where they drop."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from sewnp.checkpoints import flatten
from sewnp.config import Config, SEWDConfig
from sewnp.fast.backward.attention import LinedUp, attention_vjp
from sewnp.fast.backward.distances import ClipTable, clip_table_vjp, lined_up_vjp
from sewnp.fast.backward.elementwise import activate_with_slope, layer_norm_vjp, summed
from sewnp.fast.backward.one_pass import Grads, Pass
from sewnp.fast.names import NAMES, layers_of
from sewnp.fast.workspace import Shelf
from sewnp.layers.disentangled import score_scale
from sewnp.types import Array, Weights


@dataclass(frozen=True)
class Layer:
    """A layer's weights, ready for a step."""

    scope: str
    p: dict[str, Array]
    """By name, as stored."""
    qkv: tuple[Array, Array]
    """(3 H, H) and (3 H,): queries, keys, values."""


def pack_layers(encoder: Weights, config: Config) -> list[Layer]:
    """The layers of an encoder."""
    names, packed = NAMES[config.model_type], []
    for i, layer in enumerate(layers_of(encoder, names)):
        p = flatten(layer)
        weight, bias = (np.concatenate([p[f"{name}.{kind}"] for name in names.projections]) for kind in ("weight", "bias"))
        packed.append(Layer(f"{names.layers}.{i}", p, (weight, bias)))
    return packed


def transformer_vjp(
    x: Array, p: Weights, layers: list[Layer], run: Pass, *, skip_layers: Collection[int], keep: bool
) -> tuple[list[Array], Callable[[Array, list[Array] | None], tuple[Array, Grads]]]:
    """x (N, H) -> the hidden states (N, H), the last being the result; and dresult, what else comes back to each state -> dx, gradients by name.

    p: ``encoder``.  keep: whether there will be a way back.
    """
    config, norm_back, by, table = run.config, None, None, None
    if isinstance(config, SEWDConfig):
        table = clip_table_vjp(p.get("encoder", {}), config, len(x))
    else:  # SEW's; nothing normalises what SEW-D starts from
        kept, y = run.shelf.take(*x.shape), run.shelf.take(*x.shape)
        norm_back = layer_norm_vjp(x, **p["layer_norm"], eps=config.layer_norm_eps, normalised=kept, out=y)
        by, x = run.drop("encoder.layer_norm", y), y
    states, backs = [x], {}
    for i, layer in enumerate(layers):
        if i not in skip_layers:
            x, back = _layer_vjp(x, layer, table, run if keep else replace(run, shelf=Shelf()))
            states.append(x)
            if keep:
                backs[i] = back

    def pullback(dx: Array, dstates: list[Array] | None) -> tuple[Array, Grads]:
        grads: Grads = {}
        dtable: Array | None = None
        for number, i in reversed(list(enumerate(backs, 1))):
            if dstates is not None:
                dx = dx + dstates[number]
            dx, own, part = backs[i](dx)
            grads |= {f"{layers[i].scope}.{name}": gradient for name, gradient in own.items()}
            dtable = part if dtable is None or part is None else dtable + part
        if dstates is not None:
            dx = dx + dstates[0]
        if table is not None and dtable is not None:
            grads |= {f"encoder.encoder.{name}": gradient for name, gradient in table.pullback(dtable).items()}
        if norm_back is not None:
            dx, weight, bias = norm_back(dx if by is None else dx * by)
            grads |= {"encoder.layer_norm.weight": weight, "encoder.layer_norm.bias": bias}
        return dx, grads

    return states, pullback


def _layer_vjp(
    x: Array, layer: Layer, table: ClipTable | None, run: Pass
) -> tuple[Array, Callable[[Array], tuple[Array, Grads, Array | None]]]:
    """A layer.  (N, H) -> (N, H); and dy -> dx, gradients by name, what the table's rows receive."""
    positions, positions_back = _positions_vjp(layer, table, run)
    y, attention_back = _attention_vjp(x, layer, positions, run)
    z, feed_forward_back = _feed_forward_vjp(y, layer, run)

    def pullback(dz: Array) -> tuple[Array, Grads, Array | None]:
        grads: Grads = {}
        dx, dpositions = attention_back(feed_forward_back(dz, grads), grads)
        return dx, grads, positions_back(dpositions, grads)

    return z, pullback


def _attention_vjp(
    x: Array, layer: Layer, positions: LinedUp, run: Pass
) -> tuple[Array, Callable[[Array, Grads], tuple[Array, LinedUp]]]:
    """Attention, residual and norm.  x (N, H) -> (N, H); and dy, where gradients go -> dx, dpositions."""
    config, names, p, shelf = run.config, NAMES[run.config.model_type], layer.p, run.shelf
    frames, width = x.shape
    rate = np.float32(1 / _scale(config))
    qkv = np.matmul(x, layer.qkv[0].T, out=shelf.take(frames, 3 * width))
    qkv += layer.qkv[1]
    qkv[:, :width] *= rate
    context, context_back = attention_vjp(
        qkv, positions, heads=config.num_attention_heads, drop=partial(run.factors, f"{layer.scope}.{names.probabilities}"),
        shelf=shelf, scratch=run.scratch,
    )  # fmt: skip
    y = np.matmul(context, p[f"{names.output}.weight"].T, out=shelf.take(frames, width))
    y += p[f"{names.output}.bias"]
    by = run.drop(f"{layer.scope}.{names.projected}", y)
    y += x
    norm_back = _norm_vjp(y, layer, names.norm, run)

    def pullback(dy: Array, grads: Grads) -> tuple[Array, LinedUp]:
        dy = norm_back(dy, grads)
        given = dy if by is None else dy * by
        _add_linear(grads, names.output, given, context)
        dqkv, dpositions = context_back(given @ p[f"{names.output}.weight"])
        dqkv[:, :width] *= rate
        weight, bias = dqkv.T @ x, summed(dqkv)
        for part, name in enumerate(names.projections):
            own = slice(part * width, (part + 1) * width)
            grads[f"{name}.weight"], grads[f"{name}.bias"] = weight[own], bias[own]
        dy += dqkv @ layer.qkv[0]
        return dy, dpositions

    return y, pullback


def _feed_forward_vjp(x: Array, layer: Layer, run: Pass) -> tuple[Array, Callable[[Array, Grads], Array]]:
    """Feed-forward, residual and norm.  x (N, H) -> (N, H); and dy, where gradients go -> dx."""
    names, p, shelf, scratch = NAMES[run.config.model_type], layer.p, run.shelf, run.scratch
    up, down = p[f"{names.up}.weight"], p[f"{names.down}.weight"]
    inner = np.matmul(x, up.T, out=shelf.take(len(x), len(up)))
    inner += p[f"{names.up}.bias"]
    slope = shelf.take(*inner.shape)
    activate_with_slope(inner, slope, run.config.hidden_act, scratch)
    by = run.drop(f"{layer.scope}.{names.activated}", inner)
    if by is not None:
        slope *= by
    y = np.matmul(inner, down.T, out=shelf.take(*x.shape))
    y += p[f"{names.down}.bias"]
    by = run.drop(f"{layer.scope}.{names.down}", y)
    y += x
    norm_back = _norm_vjp(y, layer, names.final_norm, run)

    def pullback(dy: Array, grads: Grads) -> Array:
        dy = norm_back(dy, grads)
        given = dy if by is None else dy * by
        _add_linear(grads, names.down, given, inner)
        dinner = np.matmul(given, down, out=scratch.take("inner", inner.shape))
        dinner *= slope
        _add_linear(grads, names.up, dinner, x)
        dy += dinner @ up
        return dy

    return y, pullback


def _positions_vjp(layer: Layer, table: ClipTable | None, run: Pass) -> tuple[LinedUp, Callable[[LinedUp, Grads], Array | None]]:
    """The table as this layer's keys and queries; and what they receive, gradients to add to -> what the table's rows receive, if any is read."""
    if table is None:
        return (None, None), lambda dpositions, grads: None
    config = table.config
    by = run.factors(f"{layer.scope}.attention.self.table", table.whole)  # drawn even if no term reads it
    embeddings = table.embeddings if by is None else table.embeddings * by[table.part]
    lined: list[Array | None] = [None, None]
    backs = []
    for which, (term, name) in enumerate((("c2p", "key_proj"), ("p2c", "query_proj"))):
        if term in config.position_terms:
            name = f"attention.self.{name if config.share_att_key else f'pos_{name}'}"
            weight, bias, scale = layer.p[f"{name}.weight"], layer.p[f"{name}.bias"], _scale(config) if term == "p2c" else 1.0
            lined[which], back = lined_up_vjp(embeddings, weight, bias, table.lines[which], scale=scale)
            backs.append((which, name, back))

    def pullback(dpositions: LinedUp, grads: Grads) -> Array | None:
        dembeddings: Array | None = None
        for which, name, back in backs:
            dlined = dpositions[which]
            assert dlined is not None  # what was lined up comes back
            part, weight, bias = back(dlined)
            for kind, gradient in (("weight", weight), ("bias", bias)):
                key = f"{name}.{kind}"
                grads[key] = grads[key] + gradient if key in grads else gradient
            dembeddings = part if dembeddings is None else dembeddings + part
        return dembeddings if by is None or dembeddings is None else dembeddings * by[table.part]

    return (lined[0], lined[1]), pullback


def _norm_vjp(y: Array, layer: Layer, name: str, run: Pass) -> Callable[[Array, Grads], Array]:
    """A layer's norm, in place; and dy, where gradients go -> dx."""
    weight, bias = layer.p[f"{name}.weight"], layer.p[f"{name}.bias"]
    norm_back = layer_norm_vjp(y, weight, bias, eps=run.config.layer_norm_eps, normalised=run.shelf.take(*y.shape), out=y)

    def pullback(dy: Array, grads: Grads) -> Array:
        dx, grads[f"{name}.weight"], grads[f"{name}.bias"] = norm_back(dy)
        return dx

    return pullback


def _add_linear(grads: Grads, name: str, dy: Array, x: Array) -> None:
    """The gradients of a linear layer, under its name."""
    grads[f"{name}.weight"], grads[f"{name}.bias"] = dy.T @ x, summed(dy)


def _scale(config: Config) -> float:
    """What scores are divided by."""
    size = config.hidden_size // config.num_attention_heads
    return score_scale(size, config.score_term_count) if isinstance(config, SEWDConfig) else size**0.5
