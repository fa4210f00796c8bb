"""A model of transformers and ours with the same weights, of every kind that captures are tried on."""

from typing import Any

import numpy as np
import torch

import originals
from sewnp.model import Model
from sewnp.numerics import Inputs
from sewnp.numerics.precision import in_precision

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "sew": ("sew", {}),
    "sew, layer norm": (
        "sew",
        {
            "feat_extract_norm": "layer",
            "conv_bias": True,
            "num_conv_pos_embeddings": 4,
            "squeeze_factor": 3,
            "hidden_act": "gelu_new",
        },
    ),
    "sew, square": (
        "sew",
        {"conv_dim": [16, 16, 16], "squeeze_factor": 1, "feat_extract_activation": "silu", "num_hidden_layers": 1},
    ),
    "sew, no layers": ("sew", {"num_hidden_layers": 0}),
    "sew-d": ("sew-d", {}),
    "sew-d, separate keys": (
        "sew-d",
        {"share_att_key": False, "position_buckets": 0, "max_position_embeddings": 3, "norm_rel_ebd": "none"},
    ),
    "sew-d, c2p": ("sew-d", {"pos_att_type": ["c2p"], "feat_extract_norm": "layer"}),
    "sew-d, p2c": ("sew-d", {"pos_att_type": ["p2c"], "num_conv_pos_embeddings": 6}),
    "sew-d, content": ("sew-d", {"pos_att_type": []}),
    "sew-d, no positions": ("sew-d", {"relative_attention": False, "hidden_act": "relu"}),
}
HEADS = {None: None, "ctc": np.array([[1, 2], [3, -100], [4, 4]]), "classification": np.array([2, 0, 1])}


def pair(name: str, head: Any, *, dtype: Any = torch.float64, **values: Any) -> tuple[Any, Model]:
    """Theirs, showing its attention, and ours in float64 with the same weights."""
    family, changes = CONFIGS[name]
    theirs = originals.original(family, head, dtype=dtype, **(changes | values))
    if family == "sew":
        theirs.set_attn_implementation("eager")
    return theirs, in_precision(originals.twin(theirs), "float64")


def inputs_for(ours: Model, head: Any, *, masks: bool) -> Inputs:
    x = originals.clips(ours, frames=11).astype(np.float32)
    mask = originals.mask_of(ours, [11, 7, 6], x.shape[1]) if masks else None
    hidden = np.zeros((3, 11), dtype=bool)
    hidden[0, 2:5] = hidden[1, 9] = True
    return Inputs(x, mask, HEADS[head], hidden if masks else None)
