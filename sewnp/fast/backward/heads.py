"""The heads of one clip: from what the base model says to the loss, and what comes back."""

from collections.abc import Callable

import numpy as np

from sewnp.fast.backward.ctc import ctc_loss_and_gradient
from sewnp.fast.backward.elementwise import summed
from sewnp.fast.backward.one_pass import Grads, Pass
from sewnp.layers.pooling import weighted_layers_vjp
from sewnp.networks.heads import classification_logits_vjp, cross_entropy_vjp
from sewnp.types import Array, Weights

HeadBack = Callable[[], tuple[Array | None, list[Array] | None, Grads]]
"""-> what comes back to the last hidden state (T, H), or to each layer's state (N, H), and the head's gradients by name."""


def ctc_vjp(last: Array, p: Weights, target: Array, run: Pass) -> tuple[float, HeadBack]:
    """last (T, H), which is dropped in place; target (S,) without blanks."""
    config = run.config
    by = run.drop("encoder.last_hidden_state", last)
    head = p["lm_head"]
    loss, dlogits = ctc_loss_and_gradient(last @ head["weight"].T + head["bias"], target, blank=config.pad_token_id or 0)
    if config.ctc_zero_infinity and np.isinf(loss):
        loss, dlogits = 0.0, np.zeros_like(dlogits)
    if config.ctc_loss_reduction == "mean":
        share = max(1, len(target))
        loss, dlogits = loss / share, dlogits / share

    def pullback() -> tuple[Array | None, list[Array] | None, Grads]:
        dy = dlogits.astype(np.float32)
        dlast = dy @ head["weight"]
        if by is not None:
            dlast *= by
        return dlast, None, {"lm_head.weight": dy.T @ last, "lm_head.bias": summed(dy)}

    return loss, pullback


def classification_vjp(last: Array, states: list[Array], p: Weights, labels: Array, run: Pass) -> tuple[float, HeadBack]:
    """last (T, H), states (N, H) each, labels (1,): the plain head, which is no work."""
    x, mix_back = last[None], None
    if run.config.use_weighted_layer_sum:
        x, mix_back = weighted_layers_vjp([state[None] for state in states], p["layer_weights"])
    logits, classify_back = classification_logits_vjp(x, p)
    loss, entropy_back = cross_entropy_vjp(logits, labels)

    def pullback() -> tuple[Array | None, list[Array] | None, Grads]:
        dx, nested = classify_back(entropy_back(np.ones_like(loss)))
        grads = {f"{name}.{kind}": gradient for name, pair in nested.items() for kind, gradient in pair.items()}
        if mix_back is None:
            return dx[0], None, grads
        each, grads["layer_weights"] = mix_back(dx)
        return None, [state[0] for state in each], grads

    return float(loss), pullback
