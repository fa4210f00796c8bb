"""SEW-D: SEW with the transformer of DeBERTa, whose attention keeps content and position apart."""

from collections.abc import Callable, Collection

from sewnp.config import SEWDConfig
from sewnp.layers.activations import activation, activation_vjp
from sewnp.layers.disentangled import disentangled_attention, disentangled_attention_vjp, relative_positions
from sewnp.layers.linear import linear, linear_vjp
from sewnp.layers.normalization import layer_norm, layer_norm_vjp
from sewnp.layers.observe import unseen, unseen_vjp, within
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def add_and_norm(x: Array, residual: Array, p: Weights, *, eps: float, see: See) -> Array:
    """Project, add what was there before, normalise.  Scopes: ``attention.output`` and ``output`` of a layer."""
    y = see("dense", linear(x, **p["dense"]))
    return see("LayerNorm", layer_norm(see("residual", y + residual), **p["LayerNorm"], eps=eps))


def add_and_norm_vjp(x: Array, residual: Array, p: Weights, *, eps: float, see: SeeVjp) -> tuple[Array, Pullback]:
    """:func:`add_and_norm`, and dy -> dx, gradients nested as p, dresidual."""
    y, dense_back = linear_vjp(x, **p["dense"])
    y, projected_back = see("dense", y)
    y, residual_back = see("residual", y + residual)
    y, norm_back = layer_norm_vjp(y, **p["LayerNorm"], eps=eps)
    y, normed_back = see("LayerNorm", y)

    def pullback(dy: Array) -> tuple[Array, Weights, Array]:
        dy, norm = norm_back(normed_back(dy))
        dresidual = residual_back(dy)
        dx, dense = dense_back(projected_back(dresidual))
        return dx, {"dense": dense, "LayerNorm": norm}, dresidual

    return y, pullback


def encoder_layer(
    x: Array,
    p: Weights,
    config: SEWDConfig,
    *,
    table: Array | None,
    relative: Array | None,
    activation: Callable[[Array], Array],
    mask: Array | None = None,
    see: See = unseen,
) -> Array:
    """Post-norm transformer layer with disentangled attention.  (B, N, H) -> (B, N, H).  Scope: ``encoder.encoder.layer.{i}``."""
    context = disentangled_attention(
        x,
        p["attention"]["self"],
        heads=config.num_attention_heads,
        pos_att_type=config.pos_att_type,
        share_att_key=config.share_att_key,
        table=table,
        relative=relative,
        mask=mask,
        see=within(see, "attention.self"),
    )
    y = add_and_norm(context, x, p["attention"]["output"], eps=config.layer_norm_eps, see=within(see, "attention.output"))
    hidden = see("intermediate.dense", linear(y, **p["intermediate"]["dense"]))  # (B, N, I)
    hidden = see("intermediate.activation", activation(hidden))
    return add_and_norm(hidden, y, p["output"], eps=config.layer_norm_eps, see=within(see, "output"))


def encoder_layer_vjp(
    x: Array,
    p: Weights,
    config: SEWDConfig,
    *,
    table: Array | None,
    relative: Array | None,
    activation: Callable[[Array], Array],
    mask: Array | None = None,
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Pullback]:
    """:func:`encoder_layer`, and dy -> dx, gradients nested as p, dtable (None where no term reads it)."""
    context, attention_back = disentangled_attention_vjp(
        x,
        p["attention"]["self"],
        heads=config.num_attention_heads,
        pos_att_type=config.pos_att_type,
        share_att_key=config.share_att_key,
        table=table,
        relative=relative,
        mask=mask,
        see=within(see, "attention.self"),
    )
    y, output_back = add_and_norm_vjp(
        context, x, p["attention"]["output"], eps=config.layer_norm_eps, see=within(see, "attention.output")
    )
    hidden, dense_back = linear_vjp(y, **p["intermediate"]["dense"])
    hidden, widened_back = see("intermediate.dense", hidden)
    hidden, activation_back = activation_vjp(hidden, activation)
    hidden, activated_back = see("intermediate.activation", hidden)
    z, final_back = add_and_norm_vjp(hidden, y, p["output"], eps=config.layer_norm_eps, see=within(see, "output"))

    def pullback(dz: Array) -> tuple[Array, Weights, Array | None]:
        dhidden, final, dy = final_back(dz)
        through, dense = dense_back(widened_back(activation_back(activated_back(dhidden))))
        dcontext, output, dx = output_back(dy + through)
        through, attention, dtable = attention_back(dcontext)
        grads = {"attention": {"self": attention, "output": output}, "intermediate": {"dense": dense}, "output": final}
        return dx + through, grads, dtable

    return z, pullback


def position_table(p: Weights, config: SEWDConfig, *, see: See = unseen) -> Array | None:
    """Embeddings of the relative positions, normalised once for all layers.  -> (2 span, H), or None without relative attention."""
    if not config.relative_attention:
        return None
    table: Array = see("rel_embeddings", p["rel_embeddings"]["weight"])
    if not config.normalizes_positions:
        return table
    return see("LayerNorm", layer_norm(table, **p["LayerNorm"], eps=config.layer_norm_eps))


def position_table_vjp(
    p: Weights, config: SEWDConfig, *, see: SeeVjp = unseen_vjp
) -> tuple[Array | None, Callable[[Array], Weights]]:
    """:func:`position_table`, and dtable -> gradients under the names that p has."""
    if not config.relative_attention:
        return None, lambda dtable: {}
    table, embeddings_back = see("rel_embeddings", p["rel_embeddings"]["weight"])
    if not config.normalizes_positions:
        return table, lambda dtable: {"rel_embeddings": {"weight": embeddings_back(dtable)}}
    table, norm_back = layer_norm_vjp(table, **p["LayerNorm"], eps=config.layer_norm_eps)
    table, normed_back = see("LayerNorm", table)

    def pullback(dtable: Array) -> Weights:
        dtable, norm = norm_back(normed_back(dtable))
        return {"rel_embeddings": {"weight": embeddings_back(dtable)}, "LayerNorm": norm}

    return table, pullback


def transformer(
    x: Array, p: Weights, config: SEWDConfig, *, mask: Array | None = None, skip_layers: Collection[int] = (), see: See = unseen
) -> Array:
    """Every layer attends, by content and by position.  (B, N, H) -> (B, N, H).  Scope: ``encoder``.

    Unlike SEW, nothing normalises the squeezed frames.  mask: boolean, broadcasts to (B, h, N, N), True where a query may look.
    skip_layers: numbers of layers that are left out.
    """
    p, see = p.get("encoder", {}), within(see, "encoder")  # without layers and positions there is no such key
    table = position_table(p, config, see=see)
    relative = None if table is None else see("relative_positions", _relative(x.shape[1], config))  # (N, N)
    act = activation(config.hidden_act)
    for i, layer in enumerate(p.get("layer", [])):
        if i not in skip_layers:
            x = encoder_layer(
                x, layer, config, table=table, relative=relative, activation=act, mask=mask, see=within(see, f"layer.{i}")
            )
    return x


def transformer_vjp(
    x: Array,
    p: Weights,
    config: SEWDConfig,
    *,
    mask: Array | None = None,
    skip_layers: Collection[int] = (),
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Pullback]:
    """:func:`transformer`, and dy -> dx, gradients under the names that p has; a layer that was left out has none.

    The position table is one for all layers, and receives the sum of what comes back from each.
    """
    p, see = p.get("encoder", {}), within(see, "encoder")
    table, table_back = position_table_vjp(p, config, see=see)
    relative = None if table is None else see("relative_positions", _relative(x.shape[1], config))[0]
    act, backs = activation(config.hidden_act), {}
    for i, layer in enumerate(p.get("layer", [])):
        if i not in skip_layers:
            x, backs[i] = encoder_layer_vjp(
                x, layer, config, table=table, relative=relative, activation=act, mask=mask, see=within(see, f"layer.{i}")
            )

    def pullback(dx: Array) -> tuple[Array, Weights]:
        layers: list[Weights] = [{} for _ in p.get("layer", [])]
        dtable: Array | None = None
        for i in reversed(backs):
            dx, layers[i], part = backs[i](dx)
            dtable = part if dtable is None else dtable + part
        return dx, {"encoder": {"layer": layers} | ({} if dtable is None else table_back(dtable))}

    return x, pullback


def _relative(frames: int, config: SEWDConfig) -> Array:
    return relative_positions(frames, buckets=config.position_buckets, max_distance=config.max_distance)
