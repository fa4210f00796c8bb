"""The published sizes of SEW and SEW-D (asapp's releases on the Hugging Face hub), as configurations.

Widths, depths and kernels are those of the hub's config.json files.
"""

from typing import Any

from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.errors import ConfigError, brief


def _size(hidden: int, layers: int, *, width: int = 64, kernel: int = 31) -> dict[str, Any]:
    """The four numbers that tell the published sizes apart; the rest follows from them."""
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
        "conv_dim": (width, *[2 * width] * 4, *[4 * width] * 4, *[8 * width] * 4),
        "num_conv_pos_embeddings": kernel,
    }


PRESETS: dict[str, Config] = {
    "sew-tiny": SEWConfig(**_size(512, 12)),
    "sew-small": SEWConfig(**_size(768, 12)),
    "sew-mid": SEWConfig(**_size(768, 24)),
    "sew-d-tiny": SEWDConfig(**_size(384, 12)),
    "sew-d-small": SEWDConfig(**_size(512, 12)),
    "sew-d-mid": SEWDConfig(**_size(512, 24)),
    "sew-d-mid-k127": SEWDConfig(**_size(512, 24, kernel=127)),
    "sew-d-base": SEWDConfig(**_size(768, 24)),
    "sew-d-base-plus": SEWDConfig(**_size(768, 24, width=96)),
}
"""Configuration of each published size by name."""


def preset(name: str) -> Config:
    """The configuration of a published size.  Raises ConfigError for an unknown name."""
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {brief(name)}; expected one of {sorted(PRESETS)}")
    return PRESETS[name]
