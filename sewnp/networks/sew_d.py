"""SEW-D: SEW with the transformer of DeBERTa, whose attention keeps content and position apart."""

from collections.abc import Callable

from sewnp.config import SEWDConfig
from sewnp.layers.activations import activation
from sewnp.layers.disentangled import disentangled_attention, relative_positions
from sewnp.layers.linear import linear
from sewnp.layers.normalization import layer_norm
from sewnp.layers.observe import unseen, within
from sewnp.types import Array, See, Weights


def add_and_norm(x: Array, residual: Array, p: Weights, *, eps: float, see: See) -> Array:
    """Project, add what was there before, normalise.  Scopes: ``attention.output`` and ``output`` of a layer."""
    y = see("dense", linear(x, **p["dense"]))
    return see("LayerNorm", layer_norm(see("residual", y + residual), **p["LayerNorm"], eps=eps))


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


def position_table(p: Weights, config: SEWDConfig, *, see: See = unseen) -> Array | None:
    """Embeddings of the relative positions, normalised once for all layers.  -> (2 span, H), or None without relative attention."""
    if not config.relative_attention:
        return None
    table: Array = see("rel_embeddings", p["rel_embeddings"]["weight"])
    if not config.normalizes_positions:
        return table
    return see("LayerNorm", layer_norm(table, **p["LayerNorm"], eps=config.layer_norm_eps))


def transformer(x: Array, p: Weights, config: SEWDConfig, *, mask: Array | None = None, see: See = unseen) -> Array:
    """Every layer attends, by content and by position.  (B, N, H) -> (B, N, H).  Scope: ``encoder``.

    Unlike SEW, nothing normalises the squeezed frames.  mask: boolean, broadcasts to (B, h, N, N), True where a query may look.
    """
    p, see = p.get("encoder", {}), within(see, "encoder")  # without layers and positions there is no such key
    table = position_table(p, config, see=see)
    relative = None
    if table is not None:
        relative = relative_positions(x.shape[1], buckets=config.position_buckets, max_distance=config.max_distance)
        relative = see("relative_positions", relative)  # (N, N)
    act = activation(config.hidden_act)
    for i, layer in enumerate(p.get("layer", [])):
        x = encoder_layer(
            x, layer, config, table=table, relative=relative, activation=act, mask=mask, see=within(see, f"layer.{i}")
        )
    return x
