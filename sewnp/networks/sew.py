"""SEW: squeezed wav2vec 2.0 with a post-norm transformer (Wu et al. 2021, arXiv 2109.06870)."""

from collections.abc import Callable, Collection

from sewnp.config import SEWConfig
from sewnp.layers.activations import activation
from sewnp.layers.attention import multi_head_attention, multi_head_attention_vjp
from sewnp.layers.linear import feed_forward, feed_forward_vjp
from sewnp.layers.normalization import layer_norm, layer_norm_vjp
from sewnp.layers.observe import unseen, unseen_vjp, within
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def encoder_layer(
    x: Array,
    p: Weights,
    *,
    heads: int,
    eps: float,
    activation: Callable[[Array], Array],
    mask: Array | None = None,
    see: See = unseen,
) -> Array:
    """Post-norm transformer layer.  (B, N, H) -> (B, N, H).  Scope: ``encoder.layers.{i}``."""
    a = multi_head_attention(x, p["attention"], heads=heads, mask=mask, see=within(see, "attention"))
    y = see("layer_norm", layer_norm(see("residual", x + a), **p["layer_norm"], eps=eps))
    f = feed_forward(y, p["feed_forward"], activation=activation, see=within(see, "feed_forward"))
    return see("final_layer_norm", layer_norm(see("final_residual", y + f), **p["final_layer_norm"], eps=eps))


def encoder_layer_vjp(
    x: Array,
    p: Weights,
    *,
    heads: int,
    eps: float,
    activation: Callable[[Array], Array],
    mask: Array | None = None,
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Pullback]:
    """:func:`encoder_layer`, and dy -> dx, gradients nested as p.  A residual gives its gradient on twice: past the block and through it."""
    a, attention_back = multi_head_attention_vjp(x, p["attention"], heads=heads, mask=mask, see=within(see, "attention"))
    y, residual_back = see("residual", x + a)
    y, norm_back = layer_norm_vjp(y, **p["layer_norm"], eps=eps)
    y, normed_back = see("layer_norm", y)
    f, feed_forward_back = feed_forward_vjp(y, p["feed_forward"], activation=activation, see=within(see, "feed_forward"))
    z, final_residual_back = see("final_residual", y + f)
    z, final_norm_back = layer_norm_vjp(z, **p["final_layer_norm"], eps=eps)
    z, final_normed_back = see("final_layer_norm", z)

    def pullback(dz: Array) -> tuple[Array, Weights]:
        dz, final_norm = final_norm_back(final_normed_back(dz))
        dz = final_residual_back(dz)
        dy, feed_forward = feed_forward_back(dz)
        dy, norm = norm_back(normed_back(dz + dy))
        dy = residual_back(dy)
        dx, attention = attention_back(dy)
        return dy + dx, {
            "attention": attention,
            "layer_norm": norm,
            "feed_forward": feed_forward,
            "final_layer_norm": final_norm,
        }

    return z, pullback


def transformer(
    x: Array, p: Weights, config: SEWConfig, *, mask: Array | None = None, skip_layers: Collection[int] = (), see: See = unseen
) -> Array:
    """Normalise the squeezed frames, then let every layer attend.  (B, N, H) -> (B, N, H).  Scope: ``encoder``.

    mask: boolean, broadcasts to (B, h, N, N), True where a query may look.  skip_layers: numbers of layers that are left out (LayerDrop:
    Fan et al. 2019, arXiv 1909.11556).
    """
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.layer_norm_eps))
    heads, eps, act = config.num_attention_heads, config.layer_norm_eps, activation(config.hidden_act)
    for i, layer in enumerate(p.get("layers", [])):  # a model without layers has no such key
        if i not in skip_layers:
            x = encoder_layer(x, layer, heads=heads, eps=eps, activation=act, mask=mask, see=within(see, f"layers.{i}"))
    return x


def transformer_vjp(
    x: Array,
    p: Weights,
    config: SEWConfig,
    *,
    mask: Array | None = None,
    skip_layers: Collection[int] = (),
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Pullback]:
    """:func:`transformer`, and dy -> dx, gradients under the names that p has; a layer that was left out has none."""
    x, norm_back = layer_norm_vjp(x, **p["layer_norm"], eps=config.layer_norm_eps)
    x, normed_back = see("layer_norm", x)
    heads, eps, act, backs = config.num_attention_heads, config.layer_norm_eps, activation(config.hidden_act), {}
    for i, layer in enumerate(p.get("layers", [])):
        if i not in skip_layers:
            x, backs[i] = encoder_layer_vjp(
                x, layer, heads=heads, eps=eps, activation=act, mask=mask, see=within(see, f"layers.{i}")
            )

    def pullback(dx: Array) -> tuple[Array, Weights]:
        layers: list[Weights] = [{} for _ in p.get("layers", [])]
        for i in reversed(backs):
            dx, layers[i] = backs[i](dx)
        dx, norm = norm_back(normed_back(dx))
        return dx, {"layer_norm": norm, "layers": layers}

    return x, pullback
