"""SpecAugment: hiding spans of frames, and drawing which (Park et al. 2019, arXiv 1904.08779)."""

from typing import Any

import numpy as np

from sewnp.errors import InputError, check_shape
from sewnp.types import Array


def mask_frames(x: Array, time_mask: Array, masked_spec_embed: Array) -> Array:
    """Replace the chosen frames by the learned vector.  x (B, T, H), time_mask (B, T) bool, masked_spec_embed (H,) -> (B, T, H)"""
    check_shape("time_mask", time_mask, x.shape[:2])
    check_shape("masked_spec_embed", masked_spec_embed, x.shape[2:])
    if time_mask.dtype != np.bool_:
        raise InputError(f"time_mask: expected dtype bool, found {time_mask.dtype}")
    return np.where(time_mask[:, :, None], masked_spec_embed, x)


def draw_spans(
    shape: tuple[int, int], *, probability: float, length: int, min_masks: int = 0, rng: np.random.Generator | np.random.RandomState
) -> Array:
    """Draw spans to hide.  shape (B, T) -> (B, T) bool, True where hidden.

    About probability * T / length spans of ``length`` steps start at random in each row; they may overlap.  One ``rng.random()`` rounds
    the number of spans up or down for the whole batch, then one ``rng.choice`` a row places them, and nothing else is drawn: with a
    ``numpy.random.RandomState`` in the state of NumPy's global generator the result is that of transformers 5.23, bit for bit.
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
