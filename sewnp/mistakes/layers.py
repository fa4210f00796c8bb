"""Known mistakes in the layers that SEW and SEW-D share: norms, affine maps, convolutions, masks, the squeeze."""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from sewnp.layers.activations import ACTIVATIONS
from sewnp.layers.convolution import conv1d, conv_length, grouped_conv1d, weight_norm
from sewnp.layers.linear import linear
from sewnp.layers.masking import Masking, frame_mask, squeeze_mask
from sewnp.layers.normalization import group_norm, layer_norm
from sewnp.layers.squeeze import squeeze
from sewnp.mistakes.stage_run import Mistakes, StageRun
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.networks.stages import layer_of
from sewnp.types import Array, Weights

EPS = (0.0, 1e-12, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3)

WORDS = dict.fromkeys(("gelu", "gelu_python"), "erf GELU") | dict.fromkeys(
    ("gelu_new", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), "tanh GELU"
)


def activations(s: StageRun) -> Mistakes:
    """Every activation but the right one, and none at all."""
    yield from _others(activation_name(s), s.given())


def activation_name(s: StageRun) -> str:
    """What the configuration says of the activation at a stage."""
    inside = s.name.startswith(("encoder.layers", "encoder.encoder"))
    return str(s.config.hidden_act if inside else s.config.feat_extract_activation)


def called(name: str) -> str:
    """An activation in words."""
    return WORDS.get(name, name)


def _others(expected: str, x: Array) -> Mistakes:
    """Every other activation; one of several names for the same function is enough."""
    tried = {ACTIVATIONS[expected]}
    for name, other in ACTIVATIONS.items():
        if other not in tried:
            tried.add(other)
            said = f"{called(name)} instead of {called(expected)}"
            yield "activation skipped" if name == "linear" else said, other(x)


def position_activations(s: StageRun) -> Mistakes:
    """The same behind the position convolution, whose last frame goes where K is even."""
    y, expected = s.given(), s.config.feat_extract_activation
    even = s.config.num_conv_pos_embeddings % 2 == 0
    yield from _others(expected, y[:, :-1] if even else y)
    right = ACTIVATIONS[expected]
    if even:
        yield "first frame dropped instead of the last", right(y[:, 1:])
        yield "last frame of an even kernel not dropped", right(y)
    else:
        yield "last frame of an odd kernel dropped", right(y[:, :-1])


def _norms(said: str, norm: Callable[..., Array], p: Weights, eps: float, count: int) -> Mistakes:
    """What goes wrong in any norm: another eps, another variance, a part missing.  count: numbers that one mean is taken over."""
    weight, bias = p["weight"], p["bias"]
    one, zero = np.ones_like(weight), np.zeros_like(bias)
    for other in EPS:
        if other != eps:
            yield f"{said} with eps {other:g} (expected {eps:g})", norm(weight, bias, eps=other)
    r = count / max(count - 1, 1)  # x / sqrt(r v + eps) is x / sqrt(r) / sqrt(v + eps / r)
    yield f"{said} with unbiased variance", norm(weight / math.sqrt(r), bias, eps=eps / r)
    yield f"{said} without weight", norm(one, bias, eps=eps)
    yield f"{said} without bias", norm(weight, zero, eps=eps)
    yield f"{said} without weight and bias", norm(one, zero, eps=eps)


def norm_eps(s: StageRun) -> float:
    """The epsilon of the norm at a stage."""
    if s.name.startswith("feature_extractor"):
        return CONV_NORM_EPS
    return float(s.config.frames_eps if s.name == "layer_norm" else s.config.layer_norm_eps)


def layer_norms(s: StageRun) -> Mistakes:
    """Layer norms done wrongly."""
    x, p, eps = s.given(), s.weights(), norm_eps(s)
    yield from _norms("layer norm", partial(layer_norm, x), p, eps, x.shape[-1])
    length = np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + eps)
    yield "layer norm without subtracting the mean", x / length * p["weight"] + p["bias"]
    yield "layer norm skipped", x
    if x.ndim == 3 and x.shape[1] > 1:
        yield "group norm over time instead of layer norm", group_norm(x, **p, groups=x.shape[-1], eps=eps)


def conv_norms(s: StageRun) -> Mistakes:
    """The norm of a convolution: of the first, over time, or of each, over channels."""
    if s.config.feat_extract_norm == "layer":
        yield from layer_norms(s)
        return
    x, p, eps = s.given(), s.weights(), CONV_NORM_EPS
    batch, frames, channels = x.shape
    yield from _norms("group norm", partial(group_norm, x, groups=channels), p, eps, frames)
    yield "group norm with one group for all channels", group_norm(x, **p, groups=1, eps=eps)
    together = group_norm(x.reshape(1, batch * frames, channels), **p, groups=channels, eps=eps)
    yield "statistics over the whole batch", together.reshape(x.shape)
    yield "layer norm instead of group norm", layer_norm(x, **p, eps=eps)
    yield "group norm skipped", x
    if s.inputs.attention_mask is not None:
        yield "statistics without padding", _without_padding(s, x) * p["weight"] + p["bias"]


def _without_padding(s: StageRun, x: Array) -> Array:
    """Each clip normalised by the mean and variance of its real frames alone."""
    samples = np.asarray(s.inputs.attention_mask).sum(axis=1)
    normalised = np.empty_like(x)
    for clip, n in enumerate(samples):
        real = x[clip, : max(1, conv_length(int(n), kernel=s.config.conv_kernel[0], stride=s.config.conv_stride[0]))]
        normalised[clip] = (x[clip] - real.mean(axis=0)) / np.sqrt(real.var(axis=0) + CONV_NORM_EPS)
    return normalised


def convolutions(s: StageRun) -> Mistakes:
    """Strided convolutions with a kernel read wrongly, or from the wrong place."""
    x = s.given()
    x = x if x.ndim == 3 else x[:, :, None]
    p, stride = s.weights(), s.config.conv_stride[layer_of(s.name)]
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


def position_convolutions(s: StageRun) -> Mistakes:
    """The position convolution with other padding, groups or taps."""
    x, weight, bias = s.given(0), s.given(1), s.weights()["bias"]
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
    if "frame_mask" not in s.used:
        yield from ((said, run(x=hidden)) for said, hidden in _hidden_all_the_same(s, x))
    else:
        yield UNMASKED, run(x=_unmasked(s))


def folded_weights(s: StageRun) -> Mistakes:
    """Weight norm over other axes than all channels of a tap, or left out."""
    p = s.weights("encoder.pos_conv_embed.conv")
    g, v = p["weight_g"], p["weight_v"]
    for axes in ((1, 2), (0, 2), (0, 1, 2), (0,), (1,), (2,)):
        yield f"weight norm over axes {axes} instead of (0, 1)", v * g / np.sqrt(np.square(v).sum(axis=axes, keepdims=True))
    yield "weight_g ignored", weight_norm(np.ones_like(g), v)
    yield "not divided by the norm", v * g
    yield "weight norm ignored: weight_v as it is", v
    yield "taps in reverse order", weight_norm(g, v)[:, :, ::-1]


def affine(x: Array, p: Weights) -> Mistakes:
    """An affine map without bias, or with the weight turned."""
    weight, bias = p["weight"], p["bias"]
    yield "bias missing", linear(x, weight)
    if weight.shape[0] == weight.shape[1]:
        yield "weight used untransposed", linear(x, weight.T, bias)


def projections(s: StageRun) -> Mistakes:
    """An affine map of what the stage is given."""
    yield from affine(s.given(), s.weights())


def replaced_frames(s: StageRun) -> Mistakes:
    """SpecAugment's frames."""
    x, embed = s.given(), s.weights("masked_spec_embed")
    hidden = np.asarray(s.inputs.mask_time_indices, dtype=bool)[:, :, None]
    yield "mask_time_indices ignored", x
    yield "frames set to zero instead of masked_spec_embed", np.where(hidden, 0.0, x)
    yield "masked_spec_embed added instead of put in place", x + np.where(hidden, embed, 0.0)
    yield "the other frames replaced", np.where(hidden, x, embed)


def _hidden_all_the_same(s: StageRun, x: Array) -> Iterator[tuple[str, Array]]:
    """The frames that a stage is given, hidden where the configuration says that nothing is."""
    weights = s.model.weights[s.config.prefix]
    if s.inputs.mask_time_indices is not None and not s.config.apply_spec_augment and "masked_spec_embed" in weights:
        hidden = np.asarray(s.inputs.mask_time_indices, dtype=bool)[:, :, None]
        yield (
            "frames of mask_time_indices hidden although apply_spec_augment is false",
            np.where(hidden, weights["masked_spec_embed"], x),
        )


UNMASKED = "computed from unmasked frames: padding not set to zero"


def _unmasked(s: StageRun) -> Array:
    """The frames whose padding is set to zero before position convolution and pool, as they were before."""
    return s.used[s.source(of="encoder.masked_frames")]


def zeroed_frames(s: StageRun) -> Mistakes:
    """Padding set to zero."""
    x, mask = s.given(0), s.given(1)[:, :, None]
    yield "padded frames not zeroed", x
    yield "real frames zeroed instead of padded ones", np.where(mask, 0.0, x)
    yield from ((said, np.where(mask, hidden, 0.0)) for said, hidden in _hidden_all_the_same(s, x))


def frame_masks(s: StageRun) -> Mistakes:
    """Masks over frames by other rules."""
    lengths, frames, hop = s.lengths, s.right.shape[1], s.config.hop
    assert lengths is not None  # there is no frame mask without an attention mask
    samples = np.asarray(s.inputs.attention_mask).sum(axis=1).astype(np.int64)
    yield _other_rule(s, partial(frame_mask, lengths, frames))
    for off, said in ((1, "one frame too many"), (-1, "one frame too few")):
        yield said, frame_mask(np.maximum(lengths + off, 0), frames)
    yield "frames counted as samples // hop", frame_mask(samples // hop, frames)
    yield "frames counted as samples / hop, rounded up", frame_mask(-(-samples // hop), frames)
    yield "mask inverted", ~s.right
    yield "padding counted as real", np.ones_like(s.right)


def squeezed_masks(s: StageRun) -> Mistakes:
    """Masks over squeezed frames by other rules."""
    mask, factor = s.given(), s.config.squeeze_factor
    kept = mask[:, : s.right.shape[1] * factor]
    yield _other_rule(s, partial(squeeze_mask, mask, factor))
    yield "first frame of each group decides", kept[:, ::factor]
    yield "last frame of each group decides", kept[:, factor - 1 :: factor]
    yield "mask inverted", ~s.right
    yield "padding counted as real", np.ones_like(s.right)


def _other_rule(s: StageRun, mask: Callable[..., Array]) -> tuple[str, Array]:
    other: Masking = "floor" if s.model.masking == "any" else "any"
    return f'mask rule "{other}" instead of "{s.model.masking}"', mask(masking=other)


def pools(s: StageRun) -> Mistakes:
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
        yield UNMASKED, squeeze(_unmasked(s), factor)
    else:
        yield from ((said, squeeze(hidden, factor)) for said, hidden in _hidden_all_the_same(s, x))


def squeezes(s: StageRun) -> Mistakes:
    """The sum of pool and position."""
    pool, position = s.given(0), s.given(1)
    n = pool.shape[1]
    yield "position missing", pool
    yield "pool missing", position[:, :n]
    if position.shape[1] > n:
        yield "first position dropped instead of the last", pool + position[:, 1 : n + 1]


def waveforms(s: StageRun) -> Mistakes:
    """The waveform before anything is done to it."""
    x = s.right
    spread = np.sqrt(x.var(axis=1, keepdims=True) + 1e-7)
    yield "normalised a second time", (x - x.mean(axis=1, keepdims=True)) / spread
    yield "scaled to 16 bits", x * 32768.0
