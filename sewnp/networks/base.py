"""The base model of both families: convolutions, squeeze, transformer, upsampling.  The families differ in their transformers alone."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from sewnp.config import Config
from sewnp.layers.linear import merged
from sewnp.layers.masking import Masks
from sewnp.layers.observe import unseen, unseen_vjp, values_only, within
from sewnp.networks import sew, sew_d
from sewnp.networks.frontend import (
    feature_extractor,
    feature_extractor_vjp,
    frames,
    projected_vjp,
    squeezed,
    squeezed_vjp,
    unsqueezed,
    unsqueezed_vjp,
)
from sewnp.types import Array, Pullback, See, SeeVjp, Weights


@dataclass(frozen=True)
class Family:
    """What tells SEW and SEW-D apart.  Stages by name, ``{i}`` being a layer's number."""

    transformer: Callable[..., Array]
    transformer_vjp: Callable[..., tuple[Array, Pullback]]
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
        transformer_vjp=sew.transformer_vjp,
        disentangled=False,
        layer_input="encoder.layer_norm",
        layer_output="encoder.layers.{i}.final_layer_norm",
        attention="encoder.layers.{i}.attention.probabilities",
    ),
    "sew-d": Family(
        transformer=sew_d.transformer,
        transformer_vjp=sew_d.transformer_vjp,
        disentangled=True,
        layer_input="encoder.squeezed",
        layer_output="encoder.encoder.layer.{i}.output.LayerNorm",
        attention="encoder.encoder.layer.{i}.attention.self.probabilities",
    ),
}
"""The families by ``model_type``."""


def base_model(
    waveform: Array,
    p: Weights,
    config: Config,
    *,
    masks: Masks | None = None,
    time_mask: Array | None = None,
    skip_layers: Collection[int] = (),
    see: See = unseen,
) -> Array:
    """The base model, SEW or SEW-D as the configuration says.  waveform (B, n), normalised -> (B, T, H).

    p: the base model's nested weights.  masks: of padding, from ``clip_masks``.  time_mask: (B, T) bool, True for frames to hide.
    skip_layers: numbers of transformer layers to leave out.  Raises InputError when the waveform is too short for one squeezed frame.
    """
    x = frames(waveform, p, config, time_mask=time_mask, see=see)  # (B, T, H)
    frame_mask, attended = masks or (None, None)
    p, inside, transformer = p["encoder"], within(see, "encoder"), FAMILIES[config.model_type].transformer
    hidden = squeezed(x, p, config, mask=frame_mask, see=inside)  # (B, N, H)
    hidden = transformer(hidden, p, config, mask=attended, skip_layers=skip_layers, see=inside)
    return unsqueezed(hidden, p, config, frames=x.shape[1], see=inside)


def base_model_vjp(
    waveform: Array,
    p: Weights,
    config: Config,
    *,
    masks: Masks | None = None,
    time_mask: Array | None = None,
    skip_layers: Collection[int] = (),
    see: SeeVjp = unseen_vjp,
    features_frozen: bool = False,
) -> tuple[Array, Callable[[Array | None], tuple[Array | None, Weights]]]:
    """:func:`base_model`, and dy -> dwaveform (B, n), gradients nested as p; what took no part has none.

    features_frozen: the convolutions run plainly, keep nothing and cost no backward work; dwaveform is None.  dy may be None where nothing
    reads the last hidden state and all comes back by the stages of ``see``: a head that mixes the hidden states.
    """
    inside, feature_back = within(see, "feature_extractor"), None
    if features_frozen:
        x = feature_extractor(waveform, p["feature_extractor"], config, see=values_only(inside))
    else:
        x, feature_back = feature_extractor_vjp(waveform, p["feature_extractor"], config, see=inside)
    x, project_back = projected_vjp(x, p, config, time_mask=time_mask, see=see)
    frame_mask, attended = masks or (None, None)
    p, inside, transformer_vjp = p["encoder"], within(see, "encoder"), FAMILIES[config.model_type].transformer_vjp
    hidden, squeeze_back = squeezed_vjp(x, p, config, mask=frame_mask, see=inside)
    hidden, transformer_back = transformer_vjp(hidden, p, config, mask=attended, skip_layers=skip_layers, see=inside)
    y, restore_back = unsqueezed_vjp(hidden, p, config, frames=x.shape[1], see=inside)
    shape, dtype = hidden.shape, hidden.dtype

    def pullback(dy: Array | None) -> tuple[Array | None, Weights]:
        dhidden, restored = (np.zeros(shape, dtype), {}) if dy is None else restore_back(dy)
        dhidden, attended = transformer_back(dhidden)
        dx, embedded = squeeze_back(dhidden)
        dx, grads = project_back(dx)
        grads["encoder"] = merged(embedded, attended, restored)
        if feature_back is None:
            return None, grads
        dwaveform, grads["feature_extractor"] = feature_back(dx)
        return dwaveform, grads

    return y, pullback
