"""The public stage names: what each means, and in which axes it stands.

A stage is a value that a forward pass shows its observer under a name that follows the checkpoint's scopes.  Which stages a model has is
read off a run (:func:`stage_list`); what a name means is told here, and tests see to it that the two never part.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from sewnp.errors import InputError
from sewnp.types import Array

STAGE_LIST_VERSION = 1
"""Counts up whenever a name changes its meaning, its axes or its place."""

Kind = Literal["float", "integer", "boolean"]


@dataclass(frozen=True)
class StageKind:
    """What all stages of one pattern have in common."""

    pattern: str
    """A name in which ``{i}`` stands for a layer's number."""
    axes: str
    """Names of the axes.  B batch, n samples, T frames (in the convolution stack, of the convolution at hand), N squeezed frames, C channels
    of a convolution, H hidden size, I width of the feed-forward, h heads, d = H / h, K taps, G groups, s squeeze factor, R rows of the
    position table, V tokens, S states of the CTC lattice, P projection of the classification head, L labels."""
    meaning: str
    kind: Kind = "float"


@dataclass(frozen=True)
class Stage:
    """A stage of a particular run."""

    name: str
    shape: tuple[int, ...]
    axes: str
    meaning: str
    kind: Kind


KINDS: tuple[StageKind, ...] = (
    StageKind("frame_mask", "B T", "real frames, from the attention mask", "boolean"),
    StageKind("input_values", "B n", "the normalised waveform"),
    StageKind("feature_extractor.conv_layers.{i}.conv", "B T C", "strided convolution"),
    StageKind("feature_extractor.conv_layers.{i}.layer_norm", "B T C", "group norm over time, or layer norm over channels"),
    StageKind("feature_extractor.conv_layers.{i}.activation", "B T C", "its activation"),
    StageKind("layer_norm", "B T C", "layer norm over the features"),
    StageKind("feature_projection", "B T H", "projection to the hidden size, where the model has one"),
    StageKind("masked_spec_embed", "B T H", "frames with those of mask_time_indices replaced"),
    StageKind("encoder.masked_frames", "B T H", "frames with padding set to zero"),
    StageKind("encoder.squeezed_mask", "B N", "real squeezed frames", "boolean"),
    StageKind(
        "encoder.pos_conv_embed.conv.weight", "H H/G K", "kernel of the position convolution, folded from its weight norm pair"
    ),
    StageKind("encoder.pos_conv_embed.conv", "B N* H", "position convolution; one frame more than the next where K is even"),
    StageKind("encoder.pos_conv_embed.activation", "B N* H", "its activation"),
    StageKind("encoder.pool", "B N H", "mean of every s frames"),
    StageKind("encoder.squeezed", "B N H", "pooled frames plus position: what the transformer of SEW-D starts from"),
    StageKind("encoder.layer_norm", "B N H", "what the transformer of SEW starts from"),
    StageKind("encoder.layers.{i}.attention.q", "B h N d", "queries"),
    StageKind("encoder.layers.{i}.attention.k", "B h N d", "keys"),
    StageKind("encoder.layers.{i}.attention.v", "B h N d", "values"),
    StageKind(
        "encoder.layers.{i}.attention.scores", "B h N N", "scaled products of queries (rows) and keys (columns), before the mask"
    ),
    StageKind("encoder.layers.{i}.attention.probabilities", "B h N N", "softmax over the keys that the mask leaves"),
    StageKind("encoder.layers.{i}.attention.context", "B N H", "probabilities times values, heads merged"),
    StageKind("encoder.layers.{i}.attention.output", "B N H", "projection of the context"),
    StageKind("encoder.layers.{i}.residual", "B N H", "the layer's input plus its attention"),
    StageKind("encoder.layers.{i}.layer_norm", "B N H", "layer norm of that"),
    StageKind("encoder.layers.{i}.feed_forward.intermediate_dense", "B N I", "feed-forward, widened"),
    StageKind("encoder.layers.{i}.feed_forward.activation", "B N I", "its activation"),
    StageKind("encoder.layers.{i}.feed_forward.output_dense", "B N H", "feed-forward, narrowed"),
    StageKind("encoder.layers.{i}.final_residual", "B N H", "what went into the feed-forward plus what came out"),
    StageKind("encoder.layers.{i}.final_layer_norm", "B N H", "the layer's output"),
    StageKind("encoder.encoder.rel_embeddings", "R H", "table of relative positions, as stored"),
    StageKind("encoder.encoder.LayerNorm", "R H", "the table, normalised"),
    StageKind(
        "encoder.encoder.relative_positions",
        "N N",
        "query minus key, in buckets; may lie outside the table, which clips it",
        "integer",
    ),
    StageKind("encoder.encoder.layer.{i}.attention.self.q", "B h N d", "queries"),
    StageKind("encoder.encoder.layer.{i}.attention.self.k", "B h N d", "keys"),
    StageKind("encoder.encoder.layer.{i}.attention.self.v", "B h N d", "values"),
    StageKind("encoder.encoder.layer.{i}.attention.self.content", "B h N N", "scaled products of queries and keys"),
    StageKind("encoder.encoder.layer.{i}.attention.self.pos_k", "1 h R d", "keys of the position table"),
    StageKind("encoder.encoder.layer.{i}.attention.self.c2p", "B h N N", "scaled content-to-position term"),
    StageKind("encoder.encoder.layer.{i}.attention.self.pos_q", "1 h R d", "queries of the position table"),
    StageKind("encoder.encoder.layer.{i}.attention.self.p2c", "B h N N", "scaled position-to-content term"),
    StageKind("encoder.encoder.layer.{i}.attention.self.scores", "B h N N", "their sum, before the mask"),
    StageKind("encoder.encoder.layer.{i}.attention.self.probabilities", "B h N N", "softmax over the keys that the mask leaves"),
    StageKind("encoder.encoder.layer.{i}.attention.self.context", "B N H", "probabilities times values, heads merged"),
    StageKind("encoder.encoder.layer.{i}.attention.output.dense", "B N H", "projection of the context"),
    StageKind("encoder.encoder.layer.{i}.attention.output.residual", "B N H", "that plus the layer's input"),
    StageKind("encoder.encoder.layer.{i}.attention.output.LayerNorm", "B N H", "layer norm of that"),
    StageKind("encoder.encoder.layer.{i}.intermediate.dense", "B N I", "feed-forward, widened"),
    StageKind("encoder.encoder.layer.{i}.intermediate.activation", "B N I", "its activation"),
    StageKind("encoder.encoder.layer.{i}.output.dense", "B N H", "feed-forward, narrowed"),
    StageKind("encoder.encoder.layer.{i}.output.residual", "B N H", "that plus what went into the feed-forward"),
    StageKind("encoder.encoder.layer.{i}.output.LayerNorm", "B N H", "the layer's output"),
    StageKind("encoder.upsample.projection", "B N sH", "each squeezed frame as s frames, side by side"),
    StageKind("encoder.upsample.activation", "B N sH", "its activation"),
    StageKind(
        "encoder.last_hidden_state", "B T H", "the s frames one after the other, and zeros for the tail that the squeeze dropped"
    ),
    StageKind("weighted_layers", "B N H", "the hidden states mixed by layer_weights"),
    StageKind("projector", "B T P", "projection of every frame (squeezed frames behind weighted_layers)"),
    StageKind("pooled", "B P", "mean over the frames that count"),
    StageKind("logits", "B T V | B L", "scores of tokens at each frame, or of labels"),
    StageKind("log_probs", "B T V", "log softmax of the logits"),
    StageKind("ctc.alpha", "B T S", "forward lattice of the CTC loss; -inf where no path leads"),
    StageKind("ctc.losses", "B", "loss of each clip, before the reduction"),
    StageKind("loss", "", "the loss; (B,) without reduction"),
)
"""Every pattern of stage names, roughly in the order of computation."""


@cache
def kind_of(name: str) -> StageKind:
    """What a stage's name stands for.  Raises InputError for a name that is no stage."""
    found = _BY_PATTERN.get(re.sub(r"\.\d+\.", ".{i}.", name))
    if found is None or "{" in name:
        raise InputError(f"{name}: no stage of stage list {STAGE_LIST_VERSION} has this name")
    return found


def stage_list(values: Mapping[str, Array]) -> list[Stage]:
    """The stages of a run, in its order, each with shape, axes and meaning.  values: what a trace recorded."""
    kinds = {name: kind_of(name) for name in values}
    return [Stage(name, values[name].shape, kind.axes, kind.meaning, kind.kind) for name, kind in kinds.items()]


_BY_PATTERN = {kind.pattern: kind for kind in KINDS}
