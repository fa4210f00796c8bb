"""Multi-head attention as SEW uses it."""

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.linear import linear
from sewnp.layers.observe import unseen
from sewnp.layers.softmax import masked_softmax
from sewnp.types import Array, See, Weights


def split_heads(x: Array, heads: int) -> Array:
    """Contiguous blocks of channels become heads.  (B, N, H) -> (B, h, N, H / h).  Raises InputError when they do not divide."""
    batch, frames, channels = x.shape
    if heads < 1 or channels % heads:
        raise InputError(f"split_heads: {channels} channels do not divide into {heads} heads")
    return x.reshape(batch, frames, heads, channels // heads).swapaxes(1, 2)


def merge_heads(x: Array) -> Array:
    """The inverse of split_heads.  (B, h, N, d) -> (B, N, h d)"""
    batch, heads, frames, size = x.shape
    return x.swapaxes(1, 2).reshape(batch, frames, heads * size)


def multi_head_attention(x: Array, p: Weights, *, heads: int, mask: Array | None = None, see: See = unseen) -> Array:
    """Every frame asks every frame.  (B, N, H) -> (B, N, H).  Scope: ``encoder.layers.{i}.attention``.

    mask: boolean, broadcasts to (B, h, N, N) as (batch, head, query, key), True where a query may look.  A query that may look nowhere
    gets a context of zeros, so that its output is the bias of ``out_proj``.  Source: Vaswani et al. 2017, section 3.2.2.
    """
    q, k, v = (see(n, split_heads(linear(x, **p[f"{n}_proj"]), heads)) for n in "qkv")  # (B, h, N, d) each
    scores = see("scores", q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5)  # (B, h, N, N)
    probabilities = see("probabilities", masked_softmax(scores, mask))
    context = see("context", merge_heads(probabilities @ v))  # (B, N, H)
    return see("output", linear(context, **p["out_proj"]))
