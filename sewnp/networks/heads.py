"""The heads: logits per frame for CTC, logits per clip for classification."""

import numpy as np

from sewnp.errors import InputError
from sewnp.layers.linear import linear, linear_vjp
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.layers.pooling import masked_mean, masked_mean_vjp
from sewnp.layers.softmax import log_softmax, log_softmax_vjp
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


def ctc_logits(x: Array, p: Weights) -> Array:
    """Scores of the tokens at each frame.  (B, T, H) -> (B, T, V)"""
    return linear(x, **p["lm_head"])


def ctc_logits_vjp(x: Array, p: Weights) -> tuple[Array, Pullback]:
    """:func:`ctc_logits`, and dy -> dx, {"lm_head": gradients}."""
    y, linear_back = linear_vjp(x, **p["lm_head"])

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dx, grads = linear_back(dy)
        return dx, {"lm_head": grads}

    return y, pullback


def classification_logits(x: Array, p: Weights, *, mask: Array | None = None, see: See = unseen) -> Array:
    """Project every frame, average over the clip, classify.  (B, T, H) -> (B, labels)

    mask: (B, T) bool, the frames that count; without one all do, the zero frames behind an odd tail included.  A clip without a single
    frame that counts gives NaN, as 0 / 0 does in the original.
    """
    z = see("projector", linear(x, **p["projector"]))  # (B, T, P)
    return linear(see("pooled", masked_mean(z, mask)), **p["classifier"])


def classification_logits_vjp(
    x: Array, p: Weights, *, mask: Array | None = None, see: SeeVjp = unseen_vjp
) -> tuple[Array, Pullback]:
    """:func:`classification_logits`, and dy -> dx, {"projector": gradients, "classifier": gradients}."""
    z, project_back = linear_vjp(x, **p["projector"])
    z, projected_back = see("projector", z)
    pooled, mean_back = masked_mean_vjp(z, mask)
    pooled, pooled_back = see("pooled", pooled)
    y, classify_back = linear_vjp(pooled, **p["classifier"])

    def pullback(dy: Array) -> tuple[Array, Weights]:
        dpooled, classifier = classify_back(dy)
        dx, projector = project_back(projected_back(mean_back(pooled_back(dpooled))))
        return dx, {"projector": projector, "classifier": classifier}

    return y, pullback


def cross_entropy(logits: Array, labels: Array) -> Array:
    """The mean of -log p(label) over the clips.  logits (B, labels); labels (B,) or (B, 1), integers, -100 for a clip to leave out -> ()

    Where all are left out, NaN, as in torch.  Raises InputError for labels of another shape or dtype, or out of range.
    """
    rows, kept = _kept_labels(logits, labels)
    if not len(rows):
        return np.array(np.nan, dtype=logits.dtype)
    return np.asarray(-log_softmax(logits)[rows, kept].mean(), dtype=logits.dtype)


def cross_entropy_vjp(logits: Array, labels: Array) -> tuple[Array, Pullback]:
    """:func:`cross_entropy`, and dloss -> dlogits: softmax minus one at the label, shared by the clips that count; 0 for those left out."""
    rows, kept = _kept_labels(logits, labels)
    log_probs, softmax_back = log_softmax_vjp(logits)

    def pullback(dloss: Array) -> Array:
        dlog_probs = np.zeros_like(log_probs)
        dlog_probs[rows, kept] = -dloss / max(1, len(rows))
        return softmax_back(dlog_probs)

    return cross_entropy(logits, labels), pullback


def _kept_labels(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The clips that have a label, and their labels."""
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
    rows = np.flatnonzero(kept)
    return rows, labels[rows]
