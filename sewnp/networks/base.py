"""The base model of both families: convolutions, squeeze, transformer, upsampling.  The families differ in their transformers alone."""

from collections.abc import Callable
from dataclasses import dataclass

from sewnp.config import Config
from sewnp.layers.masking import Masks
from sewnp.layers.observe import unseen, within
from sewnp.networks import sew, sew_d
from sewnp.networks.frontend import frames, squeezed, unsqueezed
from sewnp.types import Array, See, Weights


@dataclass(frozen=True)
class Family:
    """What tells SEW and SEW-D apart.  Stages by name, ``{i}`` being a layer's number."""

    transformer: Callable[..., Array]
    disentangled: bool
    layer_input: str
    layer_output: str
    attention: str
    """The stages that transformers calls attentions."""

    def hidden_states(self, config: Config) -> list[str]:
        """The stages that transformers calls hidden_states: what goes into the first layer, and what comes out of each."""
        return [self.layer_input, *(self.layer_output.format(i=i) for i in range(config.num_hidden_layers))]

    def attentions(self, config: Config) -> list[str]:
        """The stages that transformers calls attentions."""
        return [self.attention.format(i=i) for i in range(config.num_hidden_layers)]


FAMILIES: dict[str, Family] = {
    "sew": Family(
        transformer=sew.transformer,
        disentangled=False,
        layer_input="encoder.layer_norm",
        layer_output="encoder.layers.{i}.final_layer_norm",
        attention="encoder.layers.{i}.attention.probabilities",
    ),
    "sew-d": Family(
        transformer=sew_d.transformer,
        disentangled=True,
        layer_input="encoder.squeezed",
        layer_output="encoder.encoder.layer.{i}.output.LayerNorm",
        attention="encoder.encoder.layer.{i}.attention.self.probabilities",
    ),
}
"""The families by ``model_type``."""


def base_model(
    waveform: Array, p: Weights, config: Config, *, masks: Masks | None = None, time_mask: Array | None = None, see: See = unseen
) -> Array:
    """The base model, SEW or SEW-D as the configuration says.  waveform (B, n), normalised -> (B, T, H).

    p: the base model's nested weights.  masks: of padding, from ``clip_masks``.  time_mask: (B, T) bool, True for frames to hide.
    Raises InputError when the waveform is too short for one squeezed frame.
    """
    x = frames(waveform, p, config, time_mask=time_mask, see=see)  # (B, T, H)
    frame_mask, attended = masks or (None, None)
    p, inside = p["encoder"], within(see, "encoder")
    hidden = squeezed(x, p, config, mask=frame_mask, see=inside)  # (B, N, H)
    hidden = FAMILIES[config.model_type].transformer(hidden, p, config, mask=attended, see=inside)
    return unsqueezed(hidden, p, config, frames=x.shape[1], see=inside)
