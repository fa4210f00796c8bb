"""For every stage, the mistakes that are known there: one table."""

from sewnp.mistakes import attention, heads, layers
from sewnp.mistakes.gradients import gradient_mistakes
from sewnp.mistakes.stage_run import KnownMistakes, Mistakes, StageRun
from sewnp.networks.stages import GRADIENT, stage_of

SEW, SEW_D = "encoder.layers.{i}", "encoder.encoder.layer.{i}"

MISTAKES: dict[str, KnownMistakes] = {
    "frame_mask": layers.frame_masks,
    "input_values": layers.waveforms,
    "feature_extractor.conv_layers.{i}.conv": layers.convolutions,
    "feature_extractor.conv_layers.{i}.layer_norm": layers.conv_norms,
    "feature_extractor.conv_layers.{i}.activation": layers.activations,
    "layer_norm": layers.layer_norms,
    "feature_projection": layers.projections,
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
    f"{SEW}.attention.output": layers.projections,
    f"{SEW}.residual": attention.residuals,
    f"{SEW}.layer_norm": layers.layer_norms,
    f"{SEW}.feed_forward.intermediate_dense": attention.widened,
    f"{SEW}.feed_forward.activation": layers.activations,
    f"{SEW}.feed_forward.output_dense": attention.narrowed,
    f"{SEW}.final_residual": attention.second_residuals,
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
    f"{SEW_D}.attention.output.dense": layers.projections,
    f"{SEW_D}.attention.output.residual": attention.residuals,
    f"{SEW_D}.attention.output.LayerNorm": layers.layer_norms,
    f"{SEW_D}.intermediate.dense": attention.widened,
    f"{SEW_D}.intermediate.activation": layers.activations,
    f"{SEW_D}.output.dense": attention.narrowed,
    f"{SEW_D}.output.residual": attention.second_residuals,
    f"{SEW_D}.output.LayerNorm": layers.layer_norms,
    "encoder.upsample.projection": layers.projections,
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
"""Known mistakes by the name of the stage."""


def mistakes_of(stage: StageRun) -> Mistakes:
    """What the stage becomes through each known mistake, one after the other: the mistake in words, and the value."""
    if stage.name.startswith(GRADIENT):
        yield from gradient_mistakes(stage)
        return
    factors = stage.factors
    for said, value in MISTAKES[stage_of(stage.name).name](stage):
        yield said, value if factors is None or value.shape != factors.shape else value * factors
    if factors is not None:
        yield "kept values not multiplied by 1 / (1 - rate)", stage.right / factors.max()
        yield "dropout applied twice", stage.right * factors
