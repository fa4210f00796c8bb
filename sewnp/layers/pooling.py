"""From many to one: the layers of a model mixed, and the frames of a clip averaged."""

from collections.abc import Sequence

import numpy as np

from sewnp.layers.softmax import softmax, softmax_vjp
from sewnp.types import Array, Pullback


def weighted_layers(hidden_states: Sequence[Array], layer_weights: Array) -> Array:
    """The hidden states mixed by a learned softmax.  L + 1 arrays (B, N, H), layer_weights (L + 1,) -> (B, N, H), at the squeezed rate.

    >>> weighted_layers([np.array([[[1.0]]]), np.array([[[5.0]]])], np.log([1.0, 3.0]))
    array([[[4.]]])
    """
    shares = softmax(layer_weights)
    mixed = shares[0] * hidden_states[0]
    for share, state in zip(shares[1:], hidden_states[1:], strict=True):
        mixed = mixed + share * state
    return mixed


def weighted_layers_vjp(hidden_states: Sequence[Array], layer_weights: Array) -> tuple[Array, Pullback]:
    """:func:`weighted_layers`, and dy -> a list of the states' gradients, d layer_weights.

    >>> y, pullback = weighted_layers_vjp([np.array([[[1.0]]]), np.array([[[5.0]]])], np.zeros(2))
    >>> states, dweights = pullback(np.ones((1, 1, 1)))
    >>> [float(state[0, 0, 0]) for state in states], dweights  # the second state is larger than the mean of 3
    ([0.5, 0.5], array([-1.,  1.]))
    """
    shares, softmax_back = softmax_vjp(layer_weights)

    def pullback(dy: Array) -> tuple[list[Array], Array]:
        dshares = [np.multiply(dy, state, dtype=np.float64).sum() for state in hidden_states]
        return [share * dy for share in shares], softmax_back(np.array(dshares, dtype=shares.dtype))

    return weighted_layers(hidden_states, layer_weights), pullback


def masked_mean(x: Array, mask: Array | None = None) -> Array:
    """The mean over the frames that count.  (B, T, C), mask (B, T) bool, all frames without one -> (B, C)

    A clip without a single frame that counts gives NaN, as 0 / 0 does in the original.

    >>> masked_mean(np.array([[[1.0], [3.0], [8.0]]]), np.array([[True, True, False]]))
    array([[2.]])
    """
    if mask is None:
        return x.mean(axis=1)
    with np.errstate(invalid="ignore"):  # the NaN of an empty clip is the answer
        return np.where(mask[:, :, None], x, x.dtype.type(0)).sum(axis=1) / mask.sum(axis=1, keepdims=True).astype(x.dtype)


def masked_mean_vjp(x: Array, mask: Array | None = None) -> tuple[Array, Pullback]:
    """:func:`masked_mean`, and dy -> dx: each frame that counts receives its share.

    >>> y, pullback = masked_mean_vjp(np.array([[[1.0], [3.0], [8.0]]]), np.array([[True, True, False]]))
    >>> pullback(np.array([[4.0]])).ravel()
    array([2., 2., 0.])
    """
    shape = x.shape

    def pullback(dy: Array) -> Array:
        if mask is None:
            return np.broadcast_to((dy / shape[1])[:, None], shape)
        with np.errstate(invalid="ignore", divide="ignore"):
            share = dy / mask.sum(axis=1, keepdims=True).astype(dy.dtype)
        return np.where(mask[:, :, None], share[:, None], dy.dtype.type(0))

    return masked_mean(x, mask), pullback
