"""What a forward pass gives back."""

from dataclasses import dataclass

from sewnp.types import Array


@dataclass(frozen=True)
class Output:
    """Results of a forward pass; None where not asked for or not there."""

    last_hidden_state: Array
    """(B, T, H), at the full frame rate."""
    logits: Array | None = None
    """(B, T, V) of a CTC head, (B, labels) of a classification head."""
    loss: Array | None = None
    """() or, with ``ctc_loss_reduction="none"``, (B,)."""
    hidden_states: tuple[Array, ...] | None = None
    """The layers' input and each layer's output, (B, N, H) at the squeezed rate; empty for a model without layers."""
    attentions: tuple[Array, ...] | None = None
    """Each layer's probabilities, (B, h, N, N): row = query, column = key."""
