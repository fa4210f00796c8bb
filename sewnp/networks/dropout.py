"""Dropout, as an observer: stages multiplied by factors, forwards and back (Srivastava et al. 2014, JMLR 15).

Where the original drops is told by the stages' rows; nothing in the networks knows of it.
"""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase

import numpy as np

from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.networks.stages import STAGES, stage_of
from sewnp.parameters import Head
from sewnp.types import Array, SeeVjp

Factors = Callable[[str, Array], Array | None]
"""From a stage's name and value to what it is multiplied by, of the same shape; None for 1."""


def multiplied(see: SeeVjp, factors: Factors) -> SeeVjp:
    """An observer that multiplies stages before it shows them to ``see``: what is seen is what the network goes on with."""

    def multiply(name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]:
        by = factors(name, x)
        if by is None:
            return see(name, x)
        y, seen_back = see(name, x * by)
        return y, lambda dy: seen_back(dy) * by

    return multiply


def dropout_rates(config: Config, head: Head | None) -> dict[str, float]:
    """The stages that are dropped in training, by their names in :data:`STAGES`, with their rates, those of 0 left out.

    What stands before the encoder is dropped behind the projection, or behind the norm where there is no projection; what stands before
    ``lm_head`` only where there is one.
    """
    projects = config.conv_dim[-1] != config.hidden_size
    absent = {"layer_norm" if projects else "feature_projection"} | (set() if head == "ctc" else {"encoder.last_hidden_state"})
    rates = {stage.name: float(getattr(config, stage.dropout)) for stage in STAGES if stage.dropout and stage.name not in absent}
    return {name: rate for name, rate in rates.items() if rate > 0}


def drawn_factors(rates: Mapping[str, float], rng: np.random.Generator) -> Factors:
    """Inverted dropout: each value is 0 with probability ``rate``, else 1 / (1 - rate); drawn anew for each stage, in the order of the pass."""

    def draw(name: str, x: Array) -> Array | None:
        rate = rates.get(stage_of(name).name)
        if rate is None:
            return None
        kept = rng.random(x.shape) >= rate
        return np.multiply(kept, 1.0 / (1.0 - rate) if rate < 1 else 0.0, dtype=x.dtype)

    return draw


class GivenFactors:
    """Factors by the name of a stage, by its name with ``{i}`` for any layer, or by a pattern with * and ?; the first that fits."""

    def __init__(self, factors: Mapping[str, Array]) -> None:
        self._factors = {name: np.asarray(value) for name, value in factors.items()}
        self._unused = set(self._factors)

    def __call__(self, name: str, x: Array) -> Array | None:
        fitting = (given for given in self._factors if given in (name, stage_of(name).name) or fnmatchcase(name, given))
        found = name if name in self._factors else next(fitting, None)
        if found is None:
            return None
        self._unused.discard(found)
        if stage_of(name).kind != "float":
            raise InputError(f"dropout: {name}: expected a stage of floats, found one of {stage_of(name).kind} values")
        by = self._factors[found]
        try:
            return np.broadcast_to(by, x.shape).astype(x.dtype)
        except (ValueError, TypeError):
            raise InputError(
                f"dropout: {found}: expected numbers that broadcast to {x.shape}, found {by.dtype} of shape {by.shape}"
            ) from None

    def check_all_used(self) -> None:
        """Raise InputError for a name that no stage of the run has."""
        for name in sorted(self._unused):
            raise InputError(f"dropout: {name}: no stage of this run has such a name")


def masked_channels(mask: Array, *, time_masked: bool, config: Config) -> Factors:
    """SpecAugment's mask over channels, (B, H) bool: they are 0 in every frame, last of all before the encoder."""
    site = (
        "masked_spec_embed" if time_masked else "feature_projection" if config.conv_dim[-1] != config.hidden_size else "layer_norm"
    )
    return lambda name, x: np.broadcast_to(~mask[:, None], x.shape).astype(x.dtype) if name == site else None
