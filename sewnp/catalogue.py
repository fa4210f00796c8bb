"""Which models are here: those that come with the package, and those of the hub that its cache holds."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sewnp.checkpoints.card import read_card
from sewnp.checkpoints.folder import read_config
from sewnp.checkpoints.hub import CONFIG, cached_models
from sewnp.errors import CheckpointError, ConfigError
from sewnp.loading import EMBEDDED, embedded


@dataclass(frozen=True)
class KnownModel:
    """A model that ``sewnp.load`` finds without a download."""

    name: str
    """What to load it by."""
    source: Literal["embedded", "cached"]
    folder: Path
    bytes: int
    """Of its weights on disk."""
    licence: str | None = None
    """As its card says; the cards of cached models are there where somebody else has fetched them."""
    measures: dict[str, float] = field(default_factory=dict)
    """What its card says of its errors, in per cent: "wer", "accuracy"."""


def models() -> list[KnownModel]:
    """The embedded models, and the SEW and SEW-D models in the cache of the Hugging Face hub.  Nothing is downloaded."""
    here = [_known(name, "embedded", embedded(name)) for name in EMBEDDED]
    return [*here, *(_known(name, "cached", folder) for name, folder in _cached())]


def _cached() -> Iterator[tuple[str, Path]]:
    for name, folder in cached_models():
        try:
            read_config(folder / CONFIG)
        except (CheckpointError, ConfigError):  # another family's, or one that only began to be fetched
            continue
        if _weights(folder):
            yield name, folder


def _known(name: str, source: Literal["embedded", "cached"], folder: Path) -> KnownModel:
    card = read_card(folder)
    return KnownModel(name, source, folder, sum(path.stat().st_size for path in _weights(folder)), card.licence, card.measures)


def _weights(folder: Path) -> list[Path]:
    """Safetensors, in one file or in shards; torch's files where there are none."""
    return list(folder.glob("*.safetensors")) or list(folder.glob("*.bin"))
