"""The affine map, and the two of them that follow attention in every transformer layer."""

from collections.abc import Callable

from sewnp.errors import check_shape
from sewnp.layers.observe import unseen
from sewnp.types import Array, See, Weights


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x W^T + b.  (..., C_in) -> (..., C_out);  weight (C_out, C_in) as stored, bias (C_out,)."""
    check_shape("linear weight", weight, (None, x.shape[-1]))
    y: Array = x @ weight.T
    if bias is None:
        return y
    check_shape("linear bias", bias, weight.shape[:1])
    return y + bias


def feed_forward(x: Array, p: Weights, *, activation: Callable[[Array], Array], see: See = unseen) -> Array:
    """Each frame on its own: widen, bend, narrow.  (B, N, H) -> (B, N, H).  Scope of SEW: ``encoder.layers.{i}.feed_forward``."""
    hidden = see("intermediate_dense", linear(x, **p["intermediate_dense"]))  # (B, N, I)
    hidden = see("activation", activation(hidden))
    return see("output_dense", linear(hidden, **p["output_dense"]))
