"""The paper's idea: run the transformer at half the frame rate, and restore the rate behind it."""

from collections.abc import Callable

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.activations import activation_vjp
from sewnp.layers.linear import linear, linear_vjp
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def squeeze(x: Array, factor: int) -> Array:
    """The mean of every ``factor`` frames.  (B, T, C) -> (B, T // factor, C)

    The last T % factor frames are dropped.

    >>> squeeze(np.array([[[1.0], [3.0], [5.0], [7.0], [9.0]]]), 2).ravel()
    array([2., 6.])

    Raises InputError when not one full group of frames is there.  Source: Wu et al. 2021, arXiv 2109.06870, section 4.2.
    """
    batch, frames, channels = x.shape
    _check_factor("squeeze", factor)
    squeezed = frames // factor
    if squeezed < 1:
        raise InputError(f"squeeze: expected at least {factor} frames, found {frames}")
    return x[:, : squeezed * factor].reshape(batch, squeezed, factor, channels).mean(axis=2)


def squeeze_vjp(x: Array, factor: int) -> tuple[Array, Callable[[Array], Array]]:
    """:func:`squeeze`, and dy -> dx: each frame of a group receives its share, those that were dropped nothing.

    >>> y, pullback = squeeze_vjp(np.array([[[1.0], [3.0], [5.0], [7.0], [9.0]]]), 2)
    >>> pullback(np.array([[[1.0], [4.0]]])).ravel()
    array([0.5, 0.5, 2. , 2. , 0. ])
    """
    frames = x.shape[1]

    def pullback(dy: Array) -> Array:
        dx = np.repeat(dy, factor, axis=1) / factor
        return np.pad(dx, ((0, 0), (0, frames - dx.shape[1]), (0, 0)))

    return squeeze(x, factor), pullback


def upsample(x: Array, p: Weights, *, factor: int, frames: int, activation: Callable[[Array], Array], see: See = unseen) -> Array:
    """Each squeezed frame becomes ``factor`` frames again.  (B, N, H) -> (B, frames, H).  Scope: ``encoder.upsample``.

    A linear map to factor * H channels and an activation; block j of the channels is frame j of the group.  Where frames is not a
    multiple of the factor, zeros stand for the tail that the squeeze dropped.  The activation applies with factor 1 too.

    >>> p = {"projection": {"weight": np.array([[1.0], [-1.0]]), "bias": np.zeros(2)}}
    >>> upsample(np.array([[[5.0]]]), p, factor=2, frames=3, activation=abs).ravel()
    array([5., 5., 0.])
    """
    _check_upsampling(x.shape[1], factor, frames)
    y = see("projection", linear(x, **p["projection"]))  # (B, N, factor H)
    return _side_by_side(see("activation", activation(y)), factor, frames)


def upsample_vjp(
    x: Array, p: Weights, *, factor: int, frames: int, activation: Callable[[Array], Array], see: SeeVjp = unseen_vjp
) -> tuple[Array, Pullback]:
    """:func:`upsample`, and dy -> dx, gradients nested as p.  The zeros of the tail come from nowhere and give nothing back.

    >>> from sewnp.layers import activation
    >>> p = {"projection": {"weight": np.array([[1.0], [2.0]]), "bias": np.zeros(2)}}
    >>> y, pullback = upsample_vjp(np.array([[[5.0]]]), p, factor=2, frames=3, activation=activation("relu"))
    >>> dx, grads = pullback(np.ones((1, 3, 1)))
    >>> dx.ravel(), grads["projection"]["bias"]
    (array([3.]), array([1., 1.]))
    """
    batch, squeezed, channels = x.shape
    _check_upsampling(squeezed, factor, frames)
    y, projection_back = linear_vjp(x, **p["projection"])
    y, projected_back = see("projection", y)
    y, activation_back = activation_vjp(y, activation)
    y, activated_back = see("activation", y)

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dwide = dy[:, : squeezed * factor].reshape(batch, squeezed, factor * channels)
        dx, projection = projection_back(projected_back(activation_back(activated_back(dwide))))
        return dx, {"projection": projection}

    return _side_by_side(y, factor, frames), pullback


def _side_by_side(wide: Array, factor: int, frames: int) -> Array:
    """Each frame's blocks of channels as frames, and zeros for the tail.  (B, N, factor H) -> (B, frames, H)"""
    batch, squeezed, channels = wide.shape
    y = wide.reshape(batch, squeezed * factor, channels // factor)
    return np.pad(y, ((0, 0), (0, frames - squeezed * factor), (0, 0)))


def _check_upsampling(squeezed: int, factor: int, frames: int) -> None:
    _check_factor("upsample", factor)
    if not squeezed * factor <= frames < (squeezed + 1) * factor:
        raise InputError(f"upsample: {squeezed} squeezed frames times {factor} do not make {frames} frames")


def _check_factor(name: str, factor: int) -> None:
    if factor < 1:
        raise InputError(f"{name}: expected a factor of 1 or more, found {factor}")
