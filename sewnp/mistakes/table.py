"""Known mistakes: what a stage becomes when it is computed wrongly in a particular way."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile

import numpy as np

from sewnp.mistakes import attention, heads, layers
from sewnp.mistakes.stage_run import Mistakes, Scene, Variant
from sewnp.model import Model
from sewnp.networks.stages import stage_of
from sewnp.numerics.compare import Comparison
from sewnp.numerics.measure import largest_error, measure
from sewnp.numerics.precision import in_precision
from sewnp.numerics.replay import Replay
from sewnp.types import Array

SEW, SEW_D = "encoder.layers.{i}", "encoder.encoder.layer.{i}"

VARIANTS: dict[str, Variant] = {
    "frame_mask": layers.frame_masks,
    "input_values": layers.waveforms,
    "feature_extractor.conv_layers.{i}.conv": layers.convolutions,
    "feature_extractor.conv_layers.{i}.layer_norm": layers.conv_norms,
    "feature_extractor.conv_layers.{i}.activation": layers.activations,
    "layer_norm": layers.layer_norms,
    "feature_projection": layers.projected,
    "masked_spec_embed": layers.replaced_frames,
    "encoder.masked_frames": layers.zeroed_frames,
    "encoder.squeezed_mask": layers.squeezed_masks,
    "encoder.pos_conv_embed.conv.weight": layers.folded_weights,
    "encoder.pos_conv_embed.conv": layers.position_convolutions,
    "encoder.pos_conv_embed.activation": layers.position_activations,
    "encoder.pool": layers.pools,
    "encoder.squeezed": layers.squeezes,
    "encoder.layer_norm": layers.layer_norms,
    **{f"{SEW}.attention.{n}": attention.heads for n in "qkv"},
    f"{SEW}.attention.scores": attention.scores,
    f"{SEW}.attention.probabilities": attention.probabilities,
    f"{SEW}.attention.context": attention.contexts,
    f"{SEW}.attention.output": attention.dense,
    f"{SEW}.residual": attention.residuals,
    f"{SEW}.layer_norm": layers.layer_norms,
    f"{SEW}.feed_forward.intermediate_dense": attention.dense,
    f"{SEW}.feed_forward.activation": layers.activations,
    f"{SEW}.feed_forward.output_dense": attention.dense,
    f"{SEW}.final_residual": attention.residuals,
    f"{SEW}.final_layer_norm": layers.layer_norms,
    "encoder.encoder.rel_embeddings": attention.tables,
    "encoder.encoder.LayerNorm": layers.layer_norms,
    "encoder.encoder.relative_positions": attention.buckets,
    **{f"{SEW_D}.attention.self.{n}": attention.heads for n in "qkv"},
    f"{SEW_D}.attention.self.content": attention.content,
    f"{SEW_D}.attention.self.table": attention.layer_tables,
    **{f"{SEW_D}.attention.self.{n}": attention.positions for n in ("pos_k", "pos_q")},
    **{f"{SEW_D}.attention.self.{n}": attention.position_terms for n in ("c2p", "p2c")},
    f"{SEW_D}.attention.self.scores": attention.sums,
    f"{SEW_D}.attention.self.probabilities": attention.probabilities,
    f"{SEW_D}.attention.self.context": attention.contexts,
    f"{SEW_D}.attention.output.dense": attention.dense,
    f"{SEW_D}.attention.output.residual": attention.residuals,
    f"{SEW_D}.attention.output.LayerNorm": layers.layer_norms,
    f"{SEW_D}.intermediate.dense": attention.dense,
    f"{SEW_D}.intermediate.activation": layers.activations,
    f"{SEW_D}.output.dense": attention.dense,
    f"{SEW_D}.output.residual": attention.residuals,
    f"{SEW_D}.output.LayerNorm": layers.layer_norms,
    "encoder.upsample.projection": heads.upsampled,
    "encoder.upsample.activation": layers.activations,
    "encoder.last_hidden_state": heads.restored,
    "weighted_layers": heads.mixes,
    "projector": heads.projectors,
    "pooled": heads.means,
    "logits": heads.logits,
    "log_probs": heads.log_probabilities,
    "ctc.alpha": heads.lattices,
    "ctc.losses": heads.losses,
    "loss": heads.reductions,
}
"""For every pattern of stage names, the mistakes that are known there."""

LOWEST = -1e30
"""Below this a value stands for minus infinity: many ports mask with the lowest number there is."""


def mistakes(scene: Scene) -> Mistakes:
    """What the stage becomes through each known mistake, one after the other."""
    return VARIANTS[stage_of(scene.name).name](scene)


def name_causes(
    comparison: Comparison, model: Model, replayed: Replay, theirs: Mapping[str, Array], budgets: Mapping[str, float]
) -> Comparison:
    """Name the cause of every stage that is wrong in itself, where a known mistake reproduces its value to within the local budget.

    model: the one of the replay.  budgets: local ones.  Mistakes that differ from each other by less than arithmetic does, such as two very
    small eps, cannot be told apart: then all that fit are named, the best first.
    """
    exact = in_precision(model, "float64")
    rows = []
    for row in comparison.rows:
        if row.origin:
            scene = Scene(row.name, exact, replayed.used, replayed.inputs, replayed.local[row.name])
            row = replace(row, cause=in_words(causes_of(scene, theirs[row.name], budgets.get(row.name, 0.0))))
        rows.append(row)
    return replace(comparison, rows=tuple(rows))


def causes_of(scene: Scene, found: Array, budget: float) -> list[str]:
    """The mistakes that make the stage what was found, the closest first."""
    fits: dict[str, float] = {}
    if found.dtype.kind == "f":
        found = np.where(found < LOWEST, -np.inf, found)
    with np.errstate(all="ignore"):  # a mistake may well divide by zero
        for said, value in mistakes(scene):
            if value.shape == found.shape and largest_error(value, found) <= budget:
                # the mean, because rounding averages out and a systematic difference does not
                fits[said] = min(measure(value, found).mean_error, fits.get(said, np.inf))
    return sorted(fits, key=lambda said: fits[said])


def in_words(causes: Sequence[str]) -> str:
    """Alternatives in one phrase: "tanh GELU instead of erf GELU", "relu instead of erf GELU" -> "tanh GELU or relu instead of erf GELU"."""
    words = [cause.split() for cause in causes]
    start, end = _shared(words), _shared([part[::-1] for part in words])
    middles = [" ".join(part[start : len(part) - end]) for part in words]
    if len(causes) < 2 or not all(middles):
        return " or ".join(causes)
    return " ".join([*words[0][:start], " or ".join(middles), *words[0][len(words[0]) - end :]])


def _shared(words: Sequence[Sequence[str]]) -> int:
    """How many words all begin with alike."""
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False)))
