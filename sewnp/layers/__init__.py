"""The textbook: every layer of SEW and SEW-D as a pure function over arrays, one idea a file.

Axes are (batch, time, channels) everywhere; weights keep the shape they have on disk; dtype in is dtype out; no input is changed.
Leaf layers take their weights as arguments named as in the checkpoint (``linear(x, **p["q_proj"])``), composites take a nested dict ``p``
and an observer ``see`` that is shown every stage.
"""

from sewnp.layers.activations import ACTIVATIONS, activation
from sewnp.layers.attention import merge_heads, multi_head_attention, split_heads
from sewnp.layers.convolution import conv1d, conv_length, grouped_conv1d, weight_norm
from sewnp.layers.disentangled import (
    content_to_position,
    disentangled_attention,
    log_buckets,
    position_to_content,
    relative_positions,
    score_scale,
)
from sewnp.layers.linear import feed_forward, linear
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
from sewnp.layers.normalization import group_norm, layer_norm
from sewnp.layers.observe import unseen, within
from sewnp.layers.positions import convolutional_position_embedding
from sewnp.layers.softmax import log_softmax, masked_softmax, softmax
from sewnp.layers.spec_augment import draw_spans, mask_frames
from sewnp.layers.squeeze import squeeze, upsample

__all__ = [
    "ACTIVATIONS",
    "Masking",
    "Masks",
    "activation",
    "clip_masks",
    "content_to_position",
    "conv1d",
    "conv_length",
    "convolutional_position_embedding",
    "disentangled_attention",
    "draw_spans",
    "feed_forward",
    "frame_count",
    "frame_lengths",
    "frame_mask",
    "group_norm",
    "grouped_conv1d",
    "key_mask",
    "layer_norm",
    "linear",
    "log_buckets",
    "log_softmax",
    "mask_frames",
    "masked_softmax",
    "merge_heads",
    "multi_head_attention",
    "position_to_content",
    "query_key_mask",
    "relative_positions",
    "score_scale",
    "softmax",
    "split_heads",
    "squeeze",
    "squeeze_mask",
    "unseen",
    "upsample",
    "weight_norm",
    "within",
]
