"""What the two families call the parts of a layer."""

from dataclasses import dataclass
from typing import Any

from sewnp.types import Weights


@dataclass(frozen=True)
class Names:
    """What a family calls the parts of a layer, and the stages at which it drops."""

    layers: str
    projections: tuple[str, str, str]
    output: str
    norm: str
    up: str
    down: str
    final_norm: str
    probabilities: str
    projected: str
    activated: str

    @property
    def parts(self) -> tuple[str, ...]:
        """What has weights, in the same order for both families; SEW-D may have projections of positions besides."""
        return (*self.projections, self.output, self.norm, self.up, self.down, self.final_norm)


NAMES = {
    "sew": Names(
        layers="encoder.layers",
        projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        output="attention.out_proj",
        norm="layer_norm",
        up="feed_forward.intermediate_dense",
        down="feed_forward.output_dense",
        final_norm="final_layer_norm",
        probabilities="attention.probabilities",
        projected="attention.output",
        activated="feed_forward.activation",
    ),
    "sew-d": Names(
        layers="encoder.encoder.layer",
        projections=("attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"),
        output="attention.output.dense",
        norm="attention.output.LayerNorm",
        up="intermediate.dense",
        down="output.dense",
        final_norm="output.LayerNorm",
        probabilities="attention.self.probabilities",
        projected="attention.output.dense",
        activated="intermediate.activation",
    ),
}
"""By ``model_type``.  The stage behind ``down`` is called as ``down`` is."""


def layers_of(encoder: Weights, names: Names) -> list[Any]:
    """The layers of an encoder's weights; none of a model without layers, which has no such key."""
    found: Any = encoder
    for scope in names.layers.split(".")[1:]:
        found = found.get(scope, {})
    return found or []
