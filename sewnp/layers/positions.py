"""Where a frame stands, told by a wide grouped convolution over its neighbours."""

from collections.abc import Callable

import numpy as np

from sewnp.layers.activations import activation_vjp
from sewnp.layers.convolution import grouped_conv1d, grouped_conv1d_vjp, weight_norm, weight_norm_vjp
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def convolutional_position_embedding(
    x: Array, p: Weights, *, groups: int, stride: int, activation: Callable[[Array], Array], see: See = unseen
) -> Array:
    """A position for every squeezed frame.  (B, T, H) -> (B, ~T / stride, H).  Scope: ``encoder.pos_conv_embed``.

    A weight-normed grouped convolution with K // 2 zeros on both sides; where K is even, its last frame is one too many and is dropped.
    Frames: T // stride for even K, ceil(T / stride) for odd K.  Source: Baevski et al. 2020 (wav2vec 2.0), section 2; strided in SEW.

    >>> conv = {"weight_g": np.ones((1, 1, 2)), "weight_v": np.ones((1, 1, 2)), "bias": np.zeros(1)}
    >>> convolutional_position_embedding(np.ones((1, 3, 1)), {"conv": conv}, groups=1, stride=1, activation=abs).ravel()
    array([1., 2., 2.])
    """
    conv = p["conv"]
    weight = see("conv.weight", weight_norm(conv["weight_g"], conv["weight_v"]))  # (H, H/G, K)
    kernel = weight.shape[2]
    y = see("conv", grouped_conv1d(x, weight, conv["bias"], groups=groups, stride=stride, padding=kernel // 2))
    return see("activation", activation(_cropped(y, kernel)))


def convolutional_position_embedding_vjp(
    x: Array, p: Weights, *, groups: int, stride: int, activation: Callable[[Array], Array], see: SeeVjp = unseen_vjp
) -> tuple[Array, Pullback]:
    """:func:`convolutional_position_embedding`, and dy -> dx, gradients nested as p.  A frame that was dropped gives nothing back.

    >>> from sewnp.layers import activation
    >>> conv = {"weight_g": np.ones((1, 1, 2)), "weight_v": np.ones((1, 1, 2)), "bias": np.zeros(1)}
    >>> y, pullback = convolutional_position_embedding_vjp(
    ...     np.ones((1, 3, 1)), {"conv": conv}, groups=1, stride=1, activation=activation("linear"))
    >>> dx, grads = pullback(np.ones((1, 3, 1)))
    >>> dx.ravel(), grads["conv"]["weight_g"].ravel()
    (array([2., 2., 1.]), array([2., 3.]))
    """
    conv = p["conv"]
    weight, norm_back = weight_norm_vjp(conv["weight_g"], conv["weight_v"])
    weight, weight_back = see("conv.weight", weight)
    kernel = weight.shape[2]
    y, conv_back = grouped_conv1d_vjp(x, weight, conv["bias"], groups=groups, stride=stride, padding=kernel // 2)
    y, convolved_back = see("conv", y)
    y, activation_back = activation_vjp(_cropped(y, kernel), activation)
    y, activated_back = see("activation", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dy = activation_back(activated_back(dy))
        dy = np.pad(dy, ((0, 0), (0, 1 - kernel % 2), (0, 0)))
        dx, grads = conv_back(convolved_back(dy))
        dg, dv = norm_back(weight_back(grads["weight"]))
        return dx, {"conv": {"weight_g": dg, "weight_v": dv, "bias": grads["bias"]}}

    return y, pullback


def _cropped(y: Array, kernel: int) -> Array:
    """Without the last frame where the kernel is even, as many zeros on both sides having made one too many."""
    return y[:, :-1] if kernel % 2 == 0 else y
