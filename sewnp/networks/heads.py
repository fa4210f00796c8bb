"""The heads: logits per frame for CTC, logits per clip for classification."""

from collections.abc import Sequence

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.linear import linear
from sewnp.layers.observe import unseen
from sewnp.layers.softmax import log_softmax, softmax
from sewnp.types import Array, See, Weights


def ctc_logits(x: Array, p: Weights) -> Array:
    """Scores of the tokens at each frame.  (B, T, H) -> (B, T, V)"""
    return linear(x, **p["lm_head"])


def weighted_layers(hidden_states: Sequence[Array], layer_weights: Array) -> Array:
    """The hidden states mixed by a learned softmax.  L + 1 arrays (B, N, H), layer_weights (L + 1,) -> (B, N, H), at the squeezed rate."""
    shares = softmax(layer_weights)
    mixed = shares[0] * hidden_states[0]
    for share, state in zip(shares[1:], hidden_states[1:], strict=True):
        mixed = mixed + share * state
    return mixed


def classification_logits(x: Array, p: Weights, *, mask: Array | None = None, see: See = unseen) -> Array:
    """Project every frame, average over the clip, classify.  (B, T, H) -> (B, labels)

    mask: (B, T) bool, the frames that count; without one all do, the zero frames behind an odd tail included.  A clip without a single
    frame that counts gives NaN, as 0 / 0 does in the original.
    """
    z = see("projector", linear(x, **p["projector"]))  # (B, T, P)
    if mask is None:
        pooled = z.mean(axis=1)
    else:
        with np.errstate(invalid="ignore"):  # the NaN of an empty clip is the answer
            pooled = np.where(mask[:, :, None], z, z.dtype.type(0)).sum(axis=1) / mask.sum(axis=1, keepdims=True).astype(z.dtype)
    return linear(see("pooled", pooled), **p["classifier"])


def cross_entropy(logits: Array, labels: Array) -> Array:
    """The mean of -log p(label) over the clips.  logits (B, labels); labels (B,) or (B, 1), integers, -100 for a clip to leave out -> ()

    Where all are left out, NaN, as in torch.  Raises InputError for labels of another shape or dtype, or out of range.
    """
    labels = np.asarray(labels)
    batch, classes = logits.shape
    if labels.dtype.kind not in "iu" or labels.size != batch:
        raise InputError(f"labels: expected {batch} integers, one a clip, found {labels.dtype} of shape {labels.shape}")
    labels = labels.reshape(batch)
    kept = labels != -100
    wrong = kept & ((labels < 0) | (labels >= classes))
    if wrong.any():
        raise InputError(
            f"labels: expected 0 to {classes - 1} or -100, found {labels[wrong][0]} for clip {np.flatnonzero(wrong)[0]}"
        )
    if not kept.any():
        return np.array(np.nan, dtype=logits.dtype)
    rows = np.flatnonzero(kept)
    return np.asarray(-log_softmax(logits)[rows, labels[rows]].mean(), dtype=logits.dtype)
