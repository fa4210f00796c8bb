"""From a mask over samples to a mask over frames, squeezed frames, and pairs of a query and a key.

Two sets of rules exist.  ``"any"`` is what transformers does since 5.13: a squeezed frame counts when any of its frames is real, a clip
without frames has no real frame, and only keys are masked.  ``"floor"`` is the complete set before: a squeezed frame counts when all of
its frames are real, a clip without frames counts as whole, and SEW-D masks queries too.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.convolution import conv_length
from sewnp.layers.observe import unseen
from sewnp.types import Array, See

Masking: TypeAlias = Literal["any", "floor"]
"""The name of a set of mask rules."""

MASKINGS: tuple[Masking, ...] = ("any", "floor")


class Masks(NamedTuple):
    """What a network has to know of padding."""

    frames: Array
    """(B, T) bool, True for real frames: the others are set to zero before the squeeze."""
    attended: Array
    """(B, 1, 1, N) or (B, 1, N, N) bool, True where a query may look."""


def frame_count(samples: int, *, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Frames that a convolution stack makes of so many samples; 0 or less where there are too few for one frame.

    >>> frame_count(16000, kernels=(10, 3), strides=(5, 2))
    1599
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = conv_length(samples, kernel=kernel, stride=stride)
    return samples


def frame_lengths(attention_mask: Array, *, kernels: Sequence[int], strides: Sequence[int]) -> Array:
    """Real frames of each clip.  attention_mask (B, n), 1 for a real sample and 0 for padding, any dtype -> (B,) int64.

    Only the number of ones counts, not where they stand: a clip padded on the left is taken for one padded on the right, as in the
    original.  Can be 0 or less.

    >>> frame_lengths(np.array([[1, 1, 1, 1], [1, 1, 1, 0]]), kernels=(2,), strides=(2,))
    array([2, 1])

    Raises InputError for a mask that is not two-dimensional, or holds anything but 0 and 1.
    """
    if attention_mask.ndim != 2:
        raise InputError(f"attention_mask: expected shape (batch, samples), found {attention_mask.shape}")
    ones = attention_mask == 1
    if not np.all(ones | (attention_mask == 0)):
        raise InputError("attention_mask: expected only 0 and 1, found other values")
    return np.array([frame_count(int(n), kernels=kernels, strides=strides) for n in ones.sum(axis=1)], dtype=np.int64)


def frame_mask(lengths: Array, frames: int, *, masking: Masking = "any") -> Array:
    """True for the real frames of each clip.  lengths (B,) -> (B, frames) bool.

    A length of 0 or less gives a row of False under "any".  Under "floor" it counts from the end: 0 is the whole row, -1 all but the last.

    >>> frame_mask(np.array([2, 0]), 3).astype(int)
    array([[1, 1, 0],
           [0, 0, 0]])
    """
    _check_masking(masking)
    if masking == "floor":
        lengths = np.where(lengths <= 0, frames + lengths, lengths)
    return np.asarray(np.arange(frames) < lengths[:, None])


def squeeze_mask(mask: Array, factor: int, *, masking: Masking = "any") -> Array:
    """True for the real squeezed frames.  (B, T) bool -> (B, T // factor) bool: any frame of the group ("any"), or the whole group ("floor").

    >>> squeeze_mask(np.array([[True, True, True, False]]), 2), squeeze_mask(np.array([[True, True, True, False]]), 2, masking="floor")
    (array([[ True,  True]]), array([[ True, False]]))
    """
    _check_masking(masking)
    batch, frames = mask.shape
    squeezed = frames // factor
    if masking == "any":
        return np.any(mask[:, : squeezed * factor].reshape(batch, squeezed, factor), axis=2)
    return np.asarray(np.arange(squeezed) < (mask.sum(axis=1) // factor)[:, None])


def key_mask(mask: Array) -> Array:
    """A mask over frames as attention reads it, hiding keys from every query.  (B, N) -> (B, 1, 1, N)

    >>> key_mask(np.array([[True, False]]))
    array([[[[ True, False]]]])
    """
    return mask[:, None, None, :]


def query_key_mask(mask: Array) -> Array:
    """The same, with padded queries looking nowhere ("floor" rules of SEW-D).  (B, N) -> (B, 1, N, N)

    >>> query_key_mask(np.array([[True, False]]))
    array([[[[ True, False],
             [False, False]]]])
    """
    return mask[:, None, None, :] & mask[:, None, :, None]


def clip_masks(mask: Array, *, factor: int, masking: Masking = "any", disentangled: bool = False, see: See = unseen) -> Masks:
    """All that a network has to know of padding.  mask (B, T) bool, True for real frames; factor: of the squeeze.

    disentangled: for SEW-D, which under the "floor" rules masks queries too.  One stage, ``squeezed_mask`` (B, N).

    >>> clip_masks(np.array([[True, True, True, False]]), factor=2).attended
    array([[[[ True,  True]]]])
    """
    squeezed = see("squeezed_mask", squeeze_mask(mask, factor, masking=masking))
    return Masks(mask, query_key_mask(squeezed) if disentangled and masking == "floor" else key_mask(squeezed))


def _check_masking(masking: str) -> None:
    if masking not in MASKINGS:
        raise InputError(f"masking: expected one of {MASKINGS}, found {masking!r}")
