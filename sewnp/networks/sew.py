"""SEW: squeezed wav2vec 2.0 with a post-norm transformer (Wu et al. 2021, arXiv 2109.06870)."""

from collections.abc import Callable

from sewnp.config import SEWConfig
from sewnp.layers.activations import activation
from sewnp.layers.attention import multi_head_attention
from sewnp.layers.linear import feed_forward
from sewnp.layers.normalization import layer_norm
from sewnp.layers.observe import unseen, within
from sewnp.types import Array, See, Weights


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


def transformer(x: Array, p: Weights, config: SEWConfig, *, mask: Array | None = None, see: See = unseen) -> Array:
    """Normalise the squeezed frames, then let every layer attend.  (B, N, H) -> (B, N, H).  Scope: ``encoder``.

    mask: boolean, broadcasts to (B, h, N, N), True where a query may look.
    """
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.layer_norm_eps))
    heads, eps, act = config.num_attention_heads, config.layer_norm_eps, activation(config.hidden_act)
    for i, layer in enumerate(p.get("layers", [])):  # a model without layers has no such key
        x = encoder_layer(x, layer, heads=heads, eps=eps, activation=act, mask=mask, see=within(see, f"layers.{i}"))
    return x
