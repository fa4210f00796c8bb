"""What a forward pass costs, counted from the configuration alone: shapes, multiply-adds, memory."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sewnp.config import Config, SEWDConfig
from sewnp.layers.convolution import conv_length
from sewnp.parameters import Head, head_shapes, parameter_shapes


@dataclass(frozen=True)
class StageCost:
    """One stage of the model's story: what it makes of a clip, what it has learned, what it costs."""

    name: str
    frames: int
    """Steps in time that it gives."""
    channels: int
    parameters: int
    multiply_adds: int
    """Multiplications of its matrix products, one addition with each; element-wise work is not counted."""


def stages(config: Config, samples: int, head: Head | None = None) -> list[StageCost]:
    """The stages of a forward pass over so many samples, in the order of computation.  samples: at least ``config.minimum_samples``."""
    return [
        *_convolutions(config, samples),
        *_transformer(config, config.frames(samples)),
        *_head(config, config.frames(samples), head),
    ]


def attention_bytes(config: Config, samples: int, *, batch: int = 1, itemsize: int = 4, kept: int = 0) -> int:
    """Memory that one layer's attention takes for a moment: several arrays of one number a head, query and key.

    kept: so many such arrays are kept of each layer.
    """
    squeezed = config.frames(samples) // config.squeeze_factor
    arrays = 4 + len(config.position_terms)  # scores, their exponentials, probabilities; c2p and p2c terms
    return (arrays + kept * config.num_hidden_layers) * batch * config.num_attention_heads * squeezed**2 * itemsize


def _convolutions(config: Config, samples: int) -> Iterator[StageCost]:
    frames, channels = samples, 1
    for i, (dim, kernel, stride) in enumerate(zip(config.conv_dim, config.conv_kernel, config.conv_stride, strict=True)):
        frames = conv_length(frames, kernel=kernel, stride=stride)
        own = f"feature_extractor.conv_layers.{i}."
        yield StageCost(f"convolution {i}", frames, dim, _parameters(config, own), frames * dim * channels * kernel)
        channels = dim


def _transformer(config: Config, frames: int) -> Iterator[StageCost]:
    hidden, last, factor = config.hidden_size, config.conv_dim[-1], config.squeeze_factor
    squeezed = frames // factor
    projected = frames * last * hidden if last != hidden else 0
    yield StageCost(
        "projection", frames, hidden, _parameters(config, "layer_norm.", "feature_projection.", "masked_spec_embed"), projected
    )
    taps = hidden // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    position = _parameters(config, "encoder.pos_conv_embed.", "encoder.layer_norm.")
    yield StageCost("squeeze and position", squeezed, hidden, position, squeezed * hidden * taps)
    layers = _parameters(config, "encoder.layers.", "encoder.encoder.")
    yield StageCost(
        f"transformer, {config.num_hidden_layers} layers",
        squeezed,
        hidden,
        layers,
        config.num_hidden_layers * _layer(config, squeezed),
    )
    upsample = _parameters(config, "encoder.upsample.")
    yield StageCost("upsampling", frames, hidden, upsample, squeezed * hidden * factor * hidden)


def _layer(config: Config, frames: int) -> int:
    """Multiply-adds of one transformer layer: four projections, scores and context, feed-forward, and SEW-D's position terms."""
    hidden = config.hidden_size
    count = frames * 4 * hidden**2 + 2 * frames**2 * hidden + 2 * frames * hidden * config.intermediate_size
    if isinstance(config, SEWDConfig):
        # the table projected, then every frame against every position
        count += len(config.position_terms) * 2 * config.span * (hidden**2 + frames * hidden)
    return count


def _head(config: Config, frames: int, head: Head | None) -> Iterator[StageCost]:
    parameters = sum(math.prod(shape) for shape in head_shapes(config, head).values())
    if head == "ctc":
        yield StageCost("ctc head", frames, config.vocab_size, parameters, frames * config.hidden_size * config.vocab_size)
    if head == "classification":
        steps = frames // config.squeeze_factor if config.use_weighted_layer_sum else frames
        width = config.classifier_proj_size
        yield StageCost(
            "classification head", 1, config.num_labels, parameters, steps * config.hidden_size * width + width * config.num_labels
        )


def _parameters(config: Config, *scopes: str) -> int:
    keys = tuple(f"{config.prefix}.{scope}" for scope in scopes)
    return sum(math.prod(shape) for key, shape in parameter_shapes(config).items() if key.startswith(keys))
