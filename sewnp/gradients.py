"""What a loss says to every weight: forward, backward, and the gradients under the weights' own names."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import flatten, nest
from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.networks.dropout import GivenFactors, drawn_factors, dropout_rates, masked_channels, multiplied
from sewnp.networks.outputs import Output
from sewnp.networks.run import Frozen, run_vjp
from sewnp.parameters import Head
from sewnp.types import Array, SeeVjp, Weights

Dropout = np.random.Generator | Mapping[str, Any] | None
"""None; a generator, for the rates of the configuration; or factors by stage."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """A loss, and its gradients."""

    loss: Array
    """() or, with ``ctc_loss_reduction="none"``, (B,): the gradients are then those of the sum."""
    output: Output
    """As from calling the model: ``last_hidden_state`` is what it is before the dropout that stands in front of ``lm_head``."""
    weights: Weights
    """Nested like the model's weights; None for those that are frozen or took no part."""
    input_values: Array | None = None
    """(B, n), if asked for."""

    def flat(self) -> dict[str, Array]:
        """The gradients by the keys that transformers 5 writes, without those that are None."""
        return {key: gradient for key, gradient in flatten(self.weights).items() if gradient is not None}


def compute_gradients(
    p: Weights,
    config: Config,
    waveform: Array,
    labels: Array,
    *,
    head: Head | None,
    masking: Any,
    attention_mask: Array | None,
    time_mask: Array | None,
    feature_mask: Array | None,
    skip_layers: Collection[int],
    dropout: Dropout,
    freeze: str | Iterable[str],
    input_gradient: bool,
    see: SeeVjp,
) -> Gradients:
    """See ``Model.gradients``; arrays are checked there.  feature_mask (B, H) bool."""
    keys = list(flatten(p))
    is_frozen = frozen_keys(freeze, keys, config)
    undropped: dict[str, Array] = {}

    def keep(name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]:
        if name == "encoder.last_hidden_state":
            undropped[name] = x
        return seen(name, x)

    given = GivenFactors(dropout) if isinstance(dropout, Mapping) else None
    seen = see
    if feature_mask is not None and config.apply_spec_augment:
        seen = multiplied(seen, masked_channels(feature_mask, time_masked=time_mask is not None, config=config))
    if given is not None:
        seen = multiplied(seen, given)
    elif isinstance(dropout, np.random.Generator):
        seen = multiplied(seen, drawn_factors(dropout_rates(config, head), dropout))
    elif dropout is not None:
        raise InputError(
            f"dropout: expected a numpy Generator, a dict from stages to factors or None, found {type(dropout).__name__}"
        )
    output, pullback = run_vjp(
        p,
        config,
        waveform,
        head=head,
        masking=masking,
        attention_mask=attention_mask,
        labels=labels,
        time_mask=time_mask,
        skip_layers=frozenset(skip_layers),
        see=seen if dropout is None else keep,
        frozen=None if input_gradient else idle_part(is_frozen, keys, config),
    )
    if given is not None:
        given.check_all_used()
    loss = output.loss
    assert loss is not None  # there are labels
    dwaveform, grads = pullback(np.ones_like(loss))
    by_key = {key: gradient for key, gradient in flatten(grads).items() if not is_frozen(key)}
    if undropped:
        output = replace(output, last_hidden_state=undropped["encoder.last_hidden_state"])
    return Gradients(loss, output, nest({key: by_key.get(key) for key in keys}), dwaveform if input_gradient else None)  # type: ignore[misc]


ClipGradient: TypeAlias = Callable[..., tuple[float, dict[str, Array]]]
"""What is called as :class:`sewnp.fast.ClipGradients` is: one clip (1, n) and its labels -> the loss, and gradients by key."""


def plain_clip_gradients(gradients: Callable[..., Gradients], freeze: str | Iterable[str]) -> ClipGradient:
    """What ``Model.clip_gradients`` is for the textbook: ``Model.gradients``, called as :class:`sewnp.fast.ClipGradients` is."""

    def plainly(
        input_values: Array, labels: npt.ArrayLike, *, time_mask: Any = None, feature_mask: Any = None, **options: Any
    ) -> tuple[float, dict[str, Array]]:
        masks = {"mask_time_indices": time_mask, "mask_feature_indices": feature_mask}
        found = gradients(input_values, labels, **masks, **options, freeze=freeze)
        return float(found.loss.sum()), found.flat()

    return plainly


def frozen_keys(freeze: str | Iterable[str], keys: list[str], config: Config) -> Callable[[str], bool]:
    """Whether a key is frozen.  Raises InputError for a name that is neither a part nor the beginning of a key."""
    parts = {"feature_encoder": f"{config.prefix}.feature_extractor", "base": config.prefix}
    names = [freeze] if isinstance(freeze, str) else list(freeze)
    prefixes = tuple(parts.get(name, name).removesuffix(".") for name in names)

    def begins(key: str, prefix: str) -> bool:
        return key == prefix or key.startswith(f"{prefix}.")

    for name, prefix in zip(names, prefixes, strict=True):
        if not any(begins(key, prefix) for key in keys):
            raise InputError(f"freeze: expected 'feature_encoder', 'base', or a weight's name or its beginning, found {name!r}")
    return lambda key: any(begins(key, prefix) for prefix in prefixes)


def idle_part(is_frozen: Callable[[str], bool], keys: list[str], config: Config) -> Frozen:
    """The largest part from the input on whose weights are all frozen: it need not be gone back through."""
    base = [key for key in keys if key.startswith(f"{config.prefix}.")]
    if all(map(is_frozen, base)):
        return "base"
    features = [key for key in base if key.startswith(f"{config.prefix}.feature_extractor.")]
    return "feature_encoder" if all(map(is_frozen, features)) else None
