"""Known mistakes in the layers that SEW and SEW-D share: norms, affine maps, convolutions, masks, the squeeze."""

import math

import numpy as np

from sewnp.layers.activations import ACTIVATIONS
from sewnp.layers.convolution import conv1d, conv_length, grouped_conv1d, weight_norm
from sewnp.layers.linear import linear
from sewnp.layers.masking import Masking, frame_mask, squeeze_mask
from sewnp.layers.normalization import group_norm, layer_norm
from sewnp.layers.squeeze import squeeze
from sewnp.mistakes.stage_run import Mistakes, Scene
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.types import Array

EPS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3)

WORDS = {
    "gelu": "erf GELU",
    "gelu_python": "erf GELU",
    "gelu_new": "tanh GELU",
    "gelu_accurate": "tanh GELU",
    "gelu_pytorch_tanh": "tanh GELU",
    "gelu_python_tanh": "tanh GELU",
}


def activations(s: Scene, x: Array | None = None) -> Mistakes:
    """Every activation but the right one, and none at all."""
    inside = s.name.startswith(("encoder.layers", "encoder.encoder"))
    expected = s.config.hidden_act if inside else s.config.feat_extract_activation
    x = s.given() if x is None else x
    tried = {ACTIVATIONS[expected]}
    for name, bend in ACTIVATIONS.items():
        if bend not in tried:
            tried.add(bend)
            said = f"{WORDS.get(name, name)} instead of {WORDS.get(expected, expected)}"
            yield "activation skipped" if name == "linear" else said, bend(x)


def position_activations(s: Scene) -> Mistakes:
    """The same behind the position convolution, whose last frame goes where K is even."""
    y = s.used["encoder.pos_conv_embed.conv"]
    even = s.config.num_conv_pos_embeddings % 2 == 0
    yield from activations(s, y[:, :-1] if even else y)
    bend = ACTIVATIONS[s.config.feat_extract_activation]
    if even:
        yield "first frame dropped instead of the last", bend(y[:, 1:])
        yield "last frame of an even kernel not dropped", bend(y)
    else:
        yield "last frame of an odd kernel dropped", bend(y[:, :-1])


def layer_norms(s: Scene) -> Mistakes:
    """Layer norms with another eps, another variance, or without a part."""
    x, p = s.given(), s.weights(s.name)  # a norm stands in the checkpoint where it stands among the stages
    weight, bias, eps = p["weight"], p["bias"], _eps(s)
    one, zero, channels = np.ones_like(weight), np.zeros_like(bias), x.shape[-1]
    for other in EPS:
        if other != eps:
            yield f"layer norm with eps {other:g} (expected {eps:g})", layer_norm(x, weight, bias, eps=other)
    if channels > 1:
        r = channels / (channels - 1)  # x / sqrt(r v + eps) is x / sqrt(r) / sqrt(v + eps / r)
        yield "layer norm with unbiased variance", layer_norm(x, weight / math.sqrt(r), bias, eps=eps / r)
    yield "layer norm without weight", layer_norm(x, one, bias, eps=eps)
    yield "layer norm without bias", layer_norm(x, weight, zero, eps=eps)
    yield "layer norm without weight and bias", layer_norm(x, one, zero, eps=eps)
    yield "layer norm without subtracting the mean", x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps) * weight + bias
    yield "layer norm skipped", x
    if x.ndim == 3 and x.shape[1] > 1:
        yield "group norm over time instead of layer norm", group_norm(x, weight, bias, groups=channels, eps=eps)


def conv_norms(s: Scene) -> Mistakes:
    """The norm of a convolution: of the first, over time, or of each, over channels."""
    if s.config.feat_extract_norm == "layer":
        yield from layer_norms(s)
        return
    x, p = s.near("conv"), s.weights(s.name)
    weight, bias, eps = p["weight"], p["bias"], CONV_NORM_EPS
    one, zero = np.ones_like(weight), np.zeros_like(bias)
    batch, frames, channels = x.shape
    for other in EPS:
        if other != eps:
            yield f"group norm with eps {other:g} (expected {eps:g})", group_norm(x, weight, bias, groups=channels, eps=other)
    r = frames / max(frames - 1, 1)
    yield "group norm with unbiased variance", group_norm(x, weight / math.sqrt(r), bias, groups=channels, eps=eps / r)
    yield "group norm without weight", group_norm(x, one, bias, groups=channels, eps=eps)
    yield "group norm without bias", group_norm(x, weight, zero, groups=channels, eps=eps)
    yield "group norm without weight and bias", group_norm(x, one, zero, groups=channels, eps=eps)
    yield "group norm with one group for all channels", group_norm(x, weight, bias, groups=1, eps=eps)
    together = x.reshape(1, batch * frames, channels)
    yield "statistics over the whole batch", group_norm(together, weight, bias, groups=channels, eps=eps).reshape(x.shape)
    yield "layer norm instead of group norm", layer_norm(x, weight, bias, eps=eps)
    yield "group norm skipped", x
    if s.inputs.attention_mask is not None:
        yield "statistics without padding", _without_padding(s, x) * weight + bias


def _without_padding(s: Scene, x: Array) -> Array:
    """Each clip normalised by the mean and variance of its real frames alone."""
    samples = np.asarray(s.inputs.attention_mask).sum(axis=1)
    normalised = np.empty_like(x)
    for clip, n in enumerate(samples):
        real = x[clip, : max(1, conv_length(int(n), kernel=s.config.conv_kernel[0], stride=s.config.conv_stride[0]))]
        normalised[clip] = (x[clip] - real.mean(axis=0)) / np.sqrt(real.var(axis=0) + CONV_NORM_EPS)
    return normalised


def convolutions(s: Scene) -> Mistakes:
    """Strided convolutions with a kernel read wrongly, or from the wrong place."""
    x = s.given()
    x = x if x.ndim == 3 else x[:, :, None]
    p, stride = s.weights(s.name), s.config.conv_stride[s.layer]
    weight, bias = p["weight"], p.get("bias")
    out, channels, kernel = weight.shape
    if bias is not None:
        yield "bias missing", conv1d(x, weight, stride=stride)
    if kernel > 1:
        yield "kernel flipped: a true convolution", conv1d(x, weight[:, :, ::-1], bias, stride=stride)
    if out == channels > 1:
        yield "weight used with input and output exchanged", conv1d(x, weight.swapaxes(0, 1), bias, stride=stride)
    if stride > 1 and x.shape[1] > kernel:
        yield "stride starts one sample late", conv1d(x[:, 1:], weight, bias, stride=stride)
    if kernel > 1:
        padded = np.pad(x, ((0, 0), (kernel // 2, kernel // 2), (0, 0)))
        yield "padded on both sides", conv1d(padded, weight, bias, stride=stride)


def position_convolutions(s: Scene) -> Mistakes:
    """The position convolution with other padding, groups or taps."""
    x, weight, bias = s.given(0), s.given(1), s.weights(s.name)["bias"]
    groups, stride = s.config.num_conv_pos_embedding_groups, s.config.squeeze_factor
    out, width, kernel = weight.shape

    def run(
        x: Array = x, weight: Array = weight, bias: Array | None = bias, left: int = kernel // 2, right: int = kernel // 2
    ) -> Array:
        padded = np.pad(x, ((0, 0), (max(left, 0), max(right, 0)), (0, 0)))[:, max(-left, 0) :]
        return grouped_conv1d(padded, weight, bias, groups=groups, stride=stride)

    yield "bias missing", run(bias=None)
    yield "kernel flipped: a true convolution", run(weight=weight[:, :, ::-1])
    yield "padding off by one: one frame less on both sides", run(left=kernel // 2 - 1, right=kernel // 2 - 1)
    yield "padding off by one: one frame less in front", run(left=kernel // 2 - 1, right=kernel // 2 + 1)
    yield "padding off by one: one frame more in front", run(left=kernel // 2 + 1, right=kernel // 2 - 1)
    yield "padded only in front", run(left=2 * (kernel // 2), right=0)
    if kernel % 2 == 0:
        yield "last frame of an even kernel already dropped", s.right[:, :-1]
        yield "first frame of an even kernel already dropped", s.right[:, 1:]
    if out // groups == width > 1:
        turned = weight.reshape(groups, width, width, kernel).swapaxes(1, 2).reshape(weight.shape)
        yield "weight used with input and output exchanged", run(weight=turned)
    if groups > 1 and width > 1:
        order = np.arange(out).reshape(groups, width).T.ravel()
        yield "channels dealt to the groups in turn instead of in blocks", run(x=x[:, :, np.argsort(order)])


def folded_weights(s: Scene) -> Mistakes:
    """Weight norm over other axes than all channels of a tap, or left out."""
    p = s.weights("encoder.pos_conv_embed.conv")
    g, v = p["weight_g"], p["weight_v"]
    for axes in ((1, 2), (0, 2), (0, 1, 2), (0,), (1,), (2,)):
        yield f"weight norm over axes {axes} instead of (0, 1)", v * g / np.sqrt(np.square(v).sum(axis=axes, keepdims=True))
    yield "weight_g ignored", weight_norm(np.ones_like(g), v)
    yield "not divided by the norm", v * g
    yield "weight norm ignored: weight_v as it is", v
    yield "taps in reverse order", weight_norm(g, v)[:, :, ::-1]


def affine(s: Scene, x: Array, path: str) -> Mistakes:
    """An affine map without bias, or with the weight turned."""
    p = s.weights(path)
    weight, bias = p["weight"], p["bias"]
    yield "bias missing", linear(x, weight)
    if weight.shape[0] == weight.shape[1]:
        yield "weight used untransposed", linear(x, weight.T, bias)


def projected(s: Scene) -> Mistakes:
    """The projection to the hidden size."""
    yield from affine(s, s.given(), s.name)


def replaced_frames(s: Scene) -> Mistakes:
    """SpecAugment's frames."""
    x, embed = s.given(), s.weights("masked_spec_embed")
    hidden = np.asarray(s.inputs.mask_time_indices, dtype=bool)[:, :, None]
    yield "mask_time_indices ignored", x
    yield "frames set to zero instead of masked_spec_embed", np.where(hidden, 0.0, x)
    yield "masked_spec_embed added instead of put in place", x + np.where(hidden, embed, 0.0)
    yield "the other frames replaced", np.where(hidden, x, embed)


def zeroed_frames(s: Scene) -> Mistakes:
    """Padding set to zero."""
    x, mask = s.given(0), s.given(1)[:, :, None]
    yield "padded frames not zeroed", x
    yield "real frames zeroed instead of padded ones", np.where(mask, 0.0, x)


def frame_masks(s: Scene) -> Mistakes:
    """Masks over frames by other rules."""
    lengths, frames, rule = s.lengths, s.right.shape[1], s.model.masking
    assert lengths is not None  # there is no frame mask without an attention mask
    other: Masking = "floor" if rule == "any" else "any"
    samples = np.asarray(s.inputs.attention_mask).sum(axis=1).astype(np.int64)
    hop = s.config.hop
    yield f'mask rule "{other}" instead of "{rule}"', frame_mask(lengths, frames, masking=other)
    for off, said in ((1, "one frame too many"), (-1, "one frame too few")):
        yield said, frame_mask(np.maximum(lengths + off, 0), frames)
    yield "frames counted as samples // hop", frame_mask(samples // hop, frames)
    yield "frames counted as samples / hop, rounded up", frame_mask(-(-samples // hop), frames)
    yield "mask inverted", ~s.right
    yield "padding counted as real", np.ones_like(s.right)


def squeezed_masks(s: Scene) -> Mistakes:
    """Masks over squeezed frames by other rules."""
    mask, factor, rule = s.used["frame_mask"], s.config.squeeze_factor, s.model.masking
    other: Masking = "floor" if rule == "any" else "any"
    kept = mask[:, : s.right.shape[1] * factor]
    yield f'mask rule "{other}" instead of "{rule}"', squeeze_mask(mask, factor, masking=other)
    yield "first frame of each group decides", kept[:, ::factor]
    yield "last frame of each group decides", kept[:, factor - 1 :: factor]
    yield "mask inverted", ~s.right
    yield "padding counted as real", np.ones_like(s.right)


def pools(s: Scene) -> Mistakes:
    """Other ways to make one frame of several."""
    x, factor = s.given(), s.config.squeeze_factor
    batch, frames, channels = x.shape
    n = frames // factor
    groups = x[:, : n * factor].reshape(batch, n, factor, channels)
    yield "maximum instead of mean", groups.max(axis=2)
    yield "sum instead of mean", groups.sum(axis=2)
    yield "first frame of each group instead of the mean", groups[:, :, 0]
    yield "last frame of each group instead of the mean", groups[:, :, -1]
    if frames > n * factor:
        yield "groups start behind the tail instead of before it", squeeze(x[:, frames - n * factor :], factor)
    if "frame_mask" in s.used:
        real = s.used["frame_mask"][:, : n * factor].reshape(batch, n, factor).sum(axis=2)
        yield "mean over the real frames of a group only", groups.sum(axis=2) / np.maximum(real, 1)[:, :, None]


def squeezes(s: Scene) -> Mistakes:
    """The sum of pool and position."""
    pool, position = s.given(0), s.given(1)
    n = pool.shape[1]
    yield "position missing", pool
    yield "pool missing", position[:, :n]
    if position.shape[1] > n:
        yield "first position dropped instead of the last", pool + position[:, 1 : n + 1]


def waveforms(s: Scene) -> Mistakes:
    """The waveform before anything is done to it."""
    x = s.right
    spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-7)
    yield "normalised a second time", (x - x.mean(axis=1, keepdims=True)) / spread
    yield "scaled to 16 bits", x * 32768.0


def _eps(s: Scene) -> float:
    if s.name.startswith("feature_extractor"):
        return CONV_NORM_EPS
    return float(s.config.frames_eps if s.name == "layer_norm" else s.config.layer_norm_eps)
