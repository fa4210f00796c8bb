"""The textbook: every layer of SEW and SEW-D as a pure function over arrays, one idea a file.

Axes are (batch, time, channels) everywhere; weights keep the shape they have on disk; dtype in is dtype out; no input is changed.
Leaf layers take their weights as arguments named as in the checkpoint (``linear(x, **p["q_proj"])``), composites take a nested dict ``p``
and an observer ``see`` that is shown every stage.

Each layer's backward pass stands below it: ``f_vjp`` takes what ``f`` takes and returns its result and a pullback, which turns the gradient
by the result into the gradients by the arguments.
"""

from sewnp.layers.activations import ACTIVATIONS, DERIVATIVES, activation, activation_vjp
from sewnp.layers.attention import multi_head_attention, multi_head_attention_vjp, project_vjp
from sewnp.layers.convolution import (
    conv1d,
    conv1d_vjp,
    conv_length,
    grouped_conv1d,
    grouped_conv1d_vjp,
    weight_norm,
    weight_norm_vjp,
)
from sewnp.layers.disentangled import (
    content_to_position,
    content_to_position_vjp,
    disentangled_attention,
    disentangled_attention_vjp,
    log_buckets,
    position_to_content,
    position_to_content_vjp,
    relative_positions,
    score_scale,
)
from sewnp.layers.heads import merge_heads, split_heads
from sewnp.layers.linear import feed_forward, feed_forward_vjp, linear, linear_vjp, merged, summed
from sewnp.layers.masking import (
    Masking,
    Masks,
    clip_masks,
    frame_count,
    frame_lengths,
    frame_mask,
    key_mask,
    query_key_mask,
    squeeze_mask,
)
from sewnp.layers.normalization import group_norm, group_norm_vjp, layer_norm, layer_norm_vjp
from sewnp.layers.observe import unseen, unseen_vjp, values_only, within
from sewnp.layers.pooling import masked_mean, masked_mean_vjp, weighted_layers, weighted_layers_vjp
from sewnp.layers.positions import convolutional_position_embedding, convolutional_position_embedding_vjp
from sewnp.layers.softmax import log_softmax, log_softmax_vjp, masked_softmax, masked_softmax_vjp, softmax, softmax_vjp
from sewnp.layers.spec_augment import draw_spans, mask_frames, mask_frames_vjp
from sewnp.layers.squeeze import squeeze, squeeze_vjp, upsample, upsample_vjp

__all__ = [
    "ACTIVATIONS",
    "DERIVATIVES",
    "Masking",
    "Masks",
    "activation",
    "activation_vjp",
    "clip_masks",
    "content_to_position",
    "content_to_position_vjp",
    "conv1d",
    "conv1d_vjp",
    "conv_length",
    "convolutional_position_embedding",
    "convolutional_position_embedding_vjp",
    "disentangled_attention",
    "disentangled_attention_vjp",
    "draw_spans",
    "feed_forward",
    "feed_forward_vjp",
    "frame_count",
    "frame_lengths",
    "frame_mask",
    "group_norm",
    "group_norm_vjp",
    "grouped_conv1d",
    "grouped_conv1d_vjp",
    "key_mask",
    "layer_norm",
    "layer_norm_vjp",
    "linear",
    "linear_vjp",
    "log_buckets",
    "log_softmax",
    "log_softmax_vjp",
    "mask_frames",
    "mask_frames_vjp",
    "masked_mean",
    "masked_mean_vjp",
    "masked_softmax",
    "masked_softmax_vjp",
    "merge_heads",
    "merged",
    "multi_head_attention",
    "multi_head_attention_vjp",
    "position_to_content",
    "position_to_content_vjp",
    "project_vjp",
    "query_key_mask",
    "relative_positions",
    "score_scale",
    "softmax",
    "softmax_vjp",
    "split_heads",
    "squeeze",
    "squeeze_mask",
    "squeeze_vjp",
    "summed",
    "unseen",
    "unseen_vjp",
    "upsample",
    "upsample_vjp",
    "values_only",
    "weight_norm",
    "weight_norm_vjp",
    "weighted_layers",
    "weighted_layers_vjp",
    "within",
]
