"""The heads of one clip, there and back: the plain ones, which are little work, between one clip's arrays and a batch's of one."""

from collections.abc import Callable

import numpy as np

from sewnp.checkpoints import flatten
from sewnp.fast.backward.one_pass import Grads, Pass
from sewnp.layers.pooling import weighted_layers_vjp
from sewnp.networks.run import classification_head_vjp, ctc_head_vjp, ctc_problem
from sewnp.types import Array, Weights

HeadBack = Callable[[], tuple[Array | None, list[Array] | None, Grads]]
"""-> what comes back to the last hidden state (T, H), or to each layer's state (N, H), and the head's gradients by name."""


def head_vjp(
    last: Array, states: list[Array], *, p: Weights, labels: Array, targets: tuple[Array, Array] | None, run: Pass
) -> tuple[float, HeadBack]:
    """The loss, and what comes back.  last (T, H), which is dropped in place; states (N, H) each.

    p: all weights.  targets: a CTC head's tokens (1, S) and their count (1,); None for a classifier, whose labels are (1,).
    """
    by, mix_back, x = None, None, last[None]
    if targets is not None:
        by = run.drop("encoder.last_hidden_state", last)
        _, loss, loss_back = ctc_head_vjp(x, p, ctc_problem(targets, None, len(last)), run.config)
    else:
        if run.config.use_weighted_layer_sum:
            x, mix_back = weighted_layers_vjp([state[None] for state in states], p["layer_weights"])
        _, loss, loss_back = classification_head_vjp(x, p, labels)

    def pullback() -> tuple[Array | None, list[Array] | None, Grads]:
        dx, nested = loss_back(np.ones_like(loss))
        if mix_back is not None:
            each, nested["layer_weights"] = mix_back(dx)
            return None, [state[0] for state in each], flatten(nested)
        return dx[0] if by is None else dx[0] * by, None, flatten(nested)

    return float(loss.sum()), pullback
