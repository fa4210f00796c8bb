"""The affine map, and the two of them that follow attention in every transformer layer."""

from collections.abc import Callable

import numpy as np

from sewnp.errors import check_shape
from sewnp.layers.activations import activation_vjp
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x W^T + b.  (..., C_in) -> (..., C_out);  weight (C_out, C_in) as stored, bias (C_out,).

    >>> linear(np.array([[1.0, 2.0]]), weight=np.array([[3.0, 4.0], [0.0, 1.0]]), bias=np.array([0.5, 0.0]))
    array([[11.5,  2. ]])
    """
    check_shape("linear weight", weight, (None, x.shape[-1]))
    y: Array = x @ weight.T
    if bias is None:
        return y
    check_shape("linear bias", bias, weight.shape[:1])
    return y + bias


def linear_vjp(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Pullback]:
    """:func:`linear`, and dy -> dx, {"weight", "bias"}.  The gradient of a weight is what goes in times what comes back, summed over all frames.

    >>> y, pullback = linear_vjp(np.array([[1.0, 2.0]]), weight=np.array([[3.0, 4.0]]))
    >>> pullback(np.array([[1.0]]))
    (array([[3., 4.]]), {'weight': array([[1., 2.]])})
    """

    def pullback(dy: Array) -> tuple[Array, Weights]:
        rows = dy.reshape(-1, dy.shape[-1])
        grads = {"weight": rows.T @ x.reshape(-1, x.shape[-1])}
        return dy @ weight, grads if bias is None else grads | {"bias": summed(dy)}

    return linear(x, weight, bias), pullback


def summed(dy: Array) -> Array:
    """The sum over all axes but the last: the gradient by what was added to every frame.  (..., C) -> (C,)

    In float64, as all sums over time: a sum in float32 down a long clip loses digits.

    >>> summed(np.array([[1.0, 2.0], [3.0, 4.0]]))
    array([4., 6.])
    """
    return dy.reshape(-1, dy.shape[-1]).sum(axis=0, dtype=np.float64).astype(dy.dtype)


def merged(*parts: Weights) -> Weights:
    """The gradients of several parts as one: what stands in more than one of them, weights that are used more than once, is summed.

    >>> merged({"q_proj": {"bias": np.array([1.0])}}, {"q_proj": {"bias": np.array([2.0])}, "k_proj": {}})
    {'q_proj': {'bias': array([3.])}, 'k_proj': {}}
    """
    whole: Weights = {}
    for part in parts:
        for name, value in part.items():
            if name not in whole:
                whole[name] = value
            else:
                whole[name] = merged(whole[name], value) if isinstance(value, dict) else whole[name] + value
    return whole


def feed_forward(x: Array, p: Weights, *, activation: Callable[[Array], Array], see: See = unseen) -> Array:
    """Each frame on its own: widen, activate, narrow.  (B, N, H) -> (B, N, H).  Scope of SEW: ``encoder.layers.{i}.feed_forward``.

    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> feed_forward(np.array([[[-1.0], [2.0]]]), {"intermediate_dense": one, "output_dense": one}, activation=abs)
    array([[[1.],
            [2.]]])
    """
    hidden = see("intermediate_dense", linear(x, **p["intermediate_dense"]))  # (B, N, I)
    hidden = see("activation", activation(hidden))
    return see("output_dense", linear(hidden, **p["output_dense"]))


def feed_forward_vjp(
    x: Array, p: Weights, *, activation: Callable[[Array], Array], see: SeeVjp = unseen_vjp
) -> tuple[Array, Pullback]:
    """:func:`feed_forward`, and dy -> dx, gradients nested as p.

    >>> from sewnp.layers import activation
    >>> one = {"weight": np.ones((1, 1)), "bias": np.zeros(1)}
    >>> y, pullback = feed_forward_vjp(np.array([[[-1.0], [2.0]]]), {"intermediate_dense": one, "output_dense": one}, activation=activation("relu"))
    >>> dx, grads = pullback(np.ones((1, 2, 1)))
    >>> dx.ravel(), grads["output_dense"]["weight"]
    (array([0., 1.]), array([[2.]]))
    """
    hidden, widen_back = linear_vjp(x, **p["intermediate_dense"])
    hidden, widened_back = see("intermediate_dense", hidden)
    hidden, activation_back = activation_vjp(hidden, activation)
    hidden, activated_back = see("activation", hidden)
    y, narrow_back = linear_vjp(hidden, **p["output_dense"])
    y, narrowed_back = see("output_dense", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dhidden, narrow = narrow_back(narrowed_back(dy))
        dhidden = activation_back(activated_back(dhidden))
        dx, widen = widen_back(widened_back(dhidden))
        return dx, {"intermediate_dense": widen, "output_dense": narrow}

    return y, pullback
