"""Known mistakes in gradients: one table of the ways back through every kind of stage, and what each makes of the gradients before it.

A gradient is the sum of what comes back from all who read the value.  So a mistake is planted by taking away what one reader gives and
putting in its place what it would give wrongly.
"""

from collections.abc import Callable, Iterator

import numpy as np

from sewnp.mistakes import back_attention, back_heads, back_layers
from sewnp.mistakes.stage_run import Backs, Gives, Mistakes, StageRun
from sewnp.networks.stages import GRADIENT, stage_of
from sewnp.types import Array

SEW, SEW_D = "encoder.layers.{i}", "encoder.encoder.layer.{i}"

BACKWARD: dict[str, Callable[[StageRun], Backs]] = {
    "feature_extractor.conv_layers.{i}.conv": back_layers.convolutions,
    "feature_extractor.conv_layers.{i}.layer_norm": back_layers.norms,
    "feature_extractor.conv_layers.{i}.activation": back_layers.activations,
    "layer_norm": back_layers.norms,
    "feature_projection": back_layers.linears,
    "masked_spec_embed": back_layers.replaced_frames,
    "encoder.masked_frames": back_layers.zeroed_frames,
    "encoder.pos_conv_embed.conv.weight": back_layers.folded_weights,
    "encoder.pos_conv_embed.conv": back_layers.position_convolutions,
    "encoder.pos_conv_embed.activation": back_layers.position_activations,
    "encoder.pool": back_layers.pools,
    "encoder.squeezed": back_layers.squeezes,
    "encoder.layer_norm": back_layers.norms,
    **{f"{SEW}.attention.{n}": back_attention.heads for n in "qkv"},
    f"{SEW}.attention.scores": back_attention.scores,
    f"{SEW}.attention.probabilities": back_attention.probabilities,
    f"{SEW}.attention.context": back_attention.contexts,
    f"{SEW}.attention.output": back_layers.linears,
    f"{SEW}.residual": back_attention.passed_on,
    f"{SEW}.layer_norm": back_layers.norms,
    f"{SEW}.feed_forward.intermediate_dense": back_layers.linears,
    f"{SEW}.feed_forward.activation": back_layers.activations,
    f"{SEW}.feed_forward.output_dense": back_layers.linears,
    f"{SEW}.final_residual": back_attention.passed_on,
    f"{SEW}.final_layer_norm": back_layers.norms,
    "encoder.encoder.rel_embeddings": back_attention.tables,
    "encoder.encoder.LayerNorm": back_layers.norms,
    **{f"{SEW_D}.attention.self.{n}": back_attention.heads for n in "qkv"},
    f"{SEW_D}.attention.self.content": back_attention.scores,
    f"{SEW_D}.attention.self.table": back_attention.passed_on,
    **{f"{SEW_D}.attention.self.{n}": back_attention.positions for n in ("pos_k", "pos_q")},
    **{f"{SEW_D}.attention.self.{n}": back_attention.position_terms for n in ("c2p", "p2c")},
    f"{SEW_D}.attention.self.scores": back_attention.passed_on,
    f"{SEW_D}.attention.self.probabilities": back_attention.probabilities,
    f"{SEW_D}.attention.self.context": back_attention.contexts,
    f"{SEW_D}.attention.output.dense": back_layers.linears,
    f"{SEW_D}.attention.output.residual": back_attention.passed_on,
    f"{SEW_D}.attention.output.LayerNorm": back_layers.norms,
    f"{SEW_D}.intermediate.dense": back_layers.linears,
    f"{SEW_D}.intermediate.activation": back_layers.activations,
    f"{SEW_D}.output.dense": back_layers.linears,
    f"{SEW_D}.output.residual": back_attention.passed_on,
    f"{SEW_D}.output.LayerNorm": back_layers.norms,
    "encoder.upsample.projection": back_layers.linears,
    "encoder.upsample.activation": back_layers.activations,
    "encoder.last_hidden_state": back_heads.restored,
    "weighted_layers": back_heads.mixes,
    "projector": back_layers.linears,
    "pooled": back_heads.means,
    "logits": back_layers.linears,
    "log_probs": back_heads.log_probabilities,
    "ctc.losses": back_heads.losses,
    "loss": back_heads.reductions,
}
"""The way back through each kind of stage that is computed from others or from weights."""


def gradient_mistakes(s: StageRun) -> Mistakes:
    """What the gradient by a stage or a weight becomes through each known mistake."""
    of = s.name.removeprefix(GRADIENT)
    parts: dict[str, Array] = {}
    for run, key in _reads(s, of):
        dy = s.used[GRADIENT + run.name]
        down = dy if run.factors is None else dy * run.factors
        (_, right), *wrong_ones = BACKWARD[stage_of(run.name).name](run)
        past = key == 0 and run.name.endswith("residual")
        part = parts["past the block" if past else f"from {run.name}"] = right(down)[key]
        rest = s.right - part
        for said, wrong in wrong_ones:
            given = wrong(down)
            if key in given:
                yield said, rest + given[key]
        if run.factors is not None:
            yield "dropout not applied on the way back", rest + right(dy)[key]
            yield "dropout applied twice", rest + right(down * run.factors)[key]
        if stage_of(run.name).axes.startswith("B ") and not stage_of(s.name).axes.startswith("B"):
            for said, value in _summed_wrongly(stage_of(run.name).axes.split(), down, part, right, key):
                yield said, rest + value
    if len(parts) > 1:
        for place, part in parts.items():
            yield f"what comes {place} missing", s.right - part
            yield f"what comes {place} counted twice", s.right + part
            if len(parts) > 2:
                yield f"only what comes {place}", part
    yield "nothing comes back", np.zeros_like(s.right)
    yield "with the opposite sign", -s.right
    if s.right.ndim == 2 and of not in s.used:
        yield "transposed", s.right.T


def _reads(s: StageRun, of: str) -> Iterator[tuple[StageRun, int | str]]:
    """Who reads a stage or a weight, and gives back to it, and under what."""
    for reader in s.readers.get(of, []):
        if GRADIENT + reader in s.used:
            run = s.at(reader)
            yield run, run.sources.index(of) if of in s.used else of.rpartition(".")[2]


def _summed_wrongly(axes: list[str], dy: Array, part: Array, right: Callable[[Array], Gives], key: int | str) -> Mistakes:
    """What clips and frames share receives the sum over them."""
    clips = len(dy)
    if clips > 1:
        for said, clip in (("first", 0), ("last", clips - 1)):
            alone = np.zeros_like(dy)
            alone[clip] = dy[clip]
            yield f"of the {said} clip alone", right(alone)[key]
        yield "averaged over the clips instead of summed", part / clips
    frames = next((size for size, axis in zip(dy.shape, axes, strict=False) if axis in ("T", "N", "N*")), 1)
    if frames > 1:
        yield "averaged over the frames instead of summed", part / frames
        yield "averaged over the frames of all clips instead of summed", part / (clips * frames)
