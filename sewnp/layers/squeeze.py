"""The paper's idea: run the transformer at half the frame rate, and restore the rate behind it."""

from collections.abc import Callable

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.linear import linear
from sewnp.layers.observe import unseen
from sewnp.types import Array, See, Weights


def squeeze(x: Array, factor: int) -> Array:
    """The mean of every ``factor`` frames.  (B, T, C) -> (B, T // factor, C)

    The last T % factor frames are dropped.  Raises InputError when not one full group of frames is there.
    Source: Wu et al. 2021, arXiv 2109.06870, section 4.2.
    """
    batch, frames, channels = x.shape
    _check_factor("squeeze", factor)
    squeezed = frames // factor
    if squeezed < 1:
        raise InputError(f"squeeze: expected at least {factor} frames, found {frames}")
    return x[:, : squeezed * factor].reshape(batch, squeezed, factor, channels).mean(axis=2)


def upsample(x: Array, p: Weights, *, factor: int, frames: int, activation: Callable[[Array], Array], see: See = unseen) -> Array:
    """Each squeezed frame becomes ``factor`` frames again.  (B, N, H) -> (B, frames, H).  Scope: ``encoder.upsample``.

    A linear map to factor * H channels and an activation; block j of the channels is frame j of the group.  Where frames is not a
    multiple of the factor, zeros stand for the tail that the squeeze dropped.  The activation applies with factor 1 too.
    """
    batch, squeezed, channels = x.shape
    _check_factor("upsample", factor)
    if not squeezed * factor <= frames < (squeezed + 1) * factor:
        raise InputError(f"upsample: {squeezed} squeezed frames times {factor} do not make {frames} frames")
    y = see("projection", linear(x, **p["projection"]))  # (B, N, factor H)
    y = see("activation", activation(y)).reshape(batch, squeezed * factor, channels)
    return np.pad(y, ((0, 0), (0, frames - squeezed * factor), (0, 0)))


def _check_factor(name: str, factor: int) -> None:
    if factor < 1:
        raise InputError(f"{name}: expected a factor of 1 or more, found {factor}")
