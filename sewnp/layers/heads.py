"""Channels in contiguous blocks: the heads of attention, the groups of a convolution."""

from sewnp.errors import InputError
from sewnp.types import Array


def split_heads(x: Array, heads: int) -> Array:
    """Contiguous blocks of channels become heads.  (B, N, H) -> (B, h, N, H / h).  Raises InputError when they do not divide.

    Either is the other's pullback.

    >>> split_heads(np.array([[[1, 2, 3, 4]]]), 2).tolist()
    [[[[1, 2]], [[3, 4]]]]
    """
    batch, frames, channels = x.shape
    if heads < 1 or channels % heads:
        raise InputError(f"split_heads: {channels} channels do not divide into {heads} heads")
    return x.reshape(batch, frames, heads, channels // heads).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """The inverse of split_heads.  (B, h, N, d) -> (B, N, h d)

    >>> merge_heads(np.array([[[[1, 2]], [[3, 4]]]]))
    array([[[1, 2, 3, 4]]])
    """
    batch, heads, frames, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, frames, heads * size)
