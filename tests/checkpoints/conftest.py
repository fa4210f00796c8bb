"""What the tests of checkpoints share."""

from pathlib import Path

import pytest

import sewnp


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint folder that lacks its tensors."""
    config = sewnp.SEWConfig(
        vocab_size=11,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        conv_dim=(8, 12, 12),
        conv_kernel=(10, 3, 2),
        conv_stride=(5, 2, 1),
        num_conv_pos_embeddings=5,
        num_conv_pos_embedding_groups=4,
    )
    sewnp.from_config(config, head="ctc").save(tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        if path.name != "config.json":
            path.unlink()
    return tmp_path / "model"
