"""SpecAugment: hiding spans of frames, and drawing which (Park et al. 2019, arXiv 1904.08779)."""

from typing import Any

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.layers.linear import summed
from sewnp.types import Array, Pullback


def mask_frames(x: Array, time_mask: Array, masked_spec_embed: Array) -> Array:
    """Replace the chosen frames by the learned vector.  x (B, T, H), time_mask (B, T) bool, masked_spec_embed (H,) -> (B, T, H)

    >>> mask_frames(np.array([[[1.0], [2.0]]]), np.array([[False, True]]), np.array([9.0]))
    array([[[1.],
            [9.]]])
    """
    check_shape("time_mask", time_mask, x.shape[:2])
    check_shape("masked_spec_embed", masked_spec_embed, x.shape[2:])
    if time_mask.dtype != np.bool_:
        raise InputError(f"time_mask: expected dtype bool, found {time_mask.dtype}")
    return np.where(time_mask[:, :, None], masked_spec_embed, x)


def mask_frames_vjp(x: Array, time_mask: Array, masked_spec_embed: Array) -> tuple[Array, Pullback]:
    """:func:`mask_frames`, and dy -> dx, d masked_spec_embed: a hidden frame gives to the vector what it would have received.

    >>> y, pullback = mask_frames_vjp(np.array([[[1.0], [2.0]]]), np.array([[False, True]]), np.array([9.0]))
    >>> dx, dembed = pullback(np.array([[[3.0], [5.0]]]))
    >>> dx.ravel(), dembed
    (array([3., 0.]), array([5.]))
    """

    def pullback(dy: Array) -> tuple[Array, Array]:
        hidden, none = time_mask[:, :, None], dy.dtype.type(0)
        return np.where(hidden, none, dy), summed(np.where(hidden, dy, none))

    return mask_frames(x, time_mask, masked_spec_embed), pullback


def draw_spans(
    shape: tuple[int, int], *, probability: float, length: int, min_masks: int = 0, rng: np.random.Generator | np.random.RandomState
) -> Array:
    """Draw spans to hide.  shape (B, T) -> (B, T) bool, True where hidden.

    About probability * T / length spans of ``length`` steps start at random in each row; they may overlap.  One ``rng.random()`` rounds
    the number of spans up or down for the whole batch, then one ``rng.choice`` a row places them, and nothing else is drawn: with a
    ``numpy.random.RandomState`` in the state of NumPy's global generator the result is that of transformers 5.23, bit for bit.

    >>> draw_spans((1, 12), probability=0.5, length=3, rng=np.random.default_rng(1)).astype(int)
    array([[0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]])

    Raises InputError when length < 1 or length > T.
    """
    steps = shape[1]
    if length < 1:
        raise InputError(f"length: expected at least 1 step a span, found {length}")
    if length > steps:
        raise InputError(f"length: a span of {length} steps does not fit into {steps}")
    spans = max(int(probability * steps / length + float(rng.random())), min_masks)
    if spans * length > steps:
        spans = steps // length
    starts = steps - length + 1
    spans = min(spans, starts)
    mask: np.ndarray[Any, np.dtype[np.bool_]] = np.zeros(shape, dtype=bool)
    if spans == 0:
        return mask
    for row in mask:
        for start in rng.choice(np.arange(starts), spans, replace=False):
            row[start : start + length] = True
    return mask
