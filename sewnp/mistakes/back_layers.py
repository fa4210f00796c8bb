"""The way back through the layers that SEW and SEW-D share, rightly and in ways that are known to be wrong."""

from collections.abc import Callable
from functools import partial

import numpy as np

from sewnp.layers.activations import ACTIVATIONS, DERIVATIVES, linear_activation
from sewnp.layers.convolution import conv1d_vjp, grouped_conv1d_vjp, weight_norm_vjp
from sewnp.layers.linear import linear_vjp, summed
from sewnp.layers.squeeze import squeeze_vjp
from sewnp.mistakes.layers import activation_name, called, norm_eps
from sewnp.mistakes.stage_run import Backs, Gives, StageRun
from sewnp.networks.stages import layer_of
from sewnp.types import Array, Weights


def linears(s: StageRun) -> Backs:
    """An affine map of each frame."""
    path = {"logits": "lm_head" if s.model.head == "ctc" else "classifier"}.get(s.name, "")
    return affine(s.given(), s.weights(path), lambda dy: dy)


def affine(x: Array, p: Weights, merged: Callable[[Array], Array]) -> Backs:
    back = linear_vjp(x, **p)[1]

    def right(dy: Array) -> Gives:
        dx, grads = back(merged(dy))
        return {0: dx, **grads}

    yield "", right
    if len(set(p["weight"].shape)) == 1:
        yield "weight used transposed", lambda dy: {0: merged(dy) @ p["weight"].T}


def norms(s: StageRun) -> Backs:
    """Layer norm over channels, and the first convolution's over time: a mean and a spread that depend on every value."""
    over_time = s.name.startswith("feature_extractor") and s.config.feat_extract_norm == "group"
    x, p, eps, axis = s.given(), s.weights(), norm_eps(s), 1 if over_time else -1
    centred = x - x.mean(axis=axis, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=axis, keepdims=True) + eps)
    normalised = centred / deviation

    def back(dy: Array, *, mean: float = 1, along: float = 1, weight: Array = p["weight"], divisor: Array = deviation) -> Gives:
        given = dy * weight
        means = mean * given.mean(axis=axis, keepdims=True)
        return {0: (given - means - along * normalised * (given * normalised).mean(axis=axis, keepdims=True)) / divisor}

    yield "", lambda dy: back(dy) | {"weight": summed(dy * normalised), "bias": summed(dy)}
    yield "mean term missing", lambda dy: back(dy, mean=0)
    yield "spread's term missing", lambda dy: back(dy, along=0)
    yield "mean and spread taken for constants", lambda dy: back(dy, mean=0, along=0)
    yield "weight of the norm forgotten", lambda dy: back(dy, weight=np.ones_like(p["weight"]))
    yield "not divided by the spread", lambda dy: back(dy, divisor=np.ones_like(deviation))
    yield "summed with what went into the norm instead of what is normalised", lambda dy: {"weight": summed(dy * x)}


def activations(s: StageRun) -> Backs:
    """The derivative of the activation, or of another."""
    return _activated(activation_name(s), s.given())


def _activated(name: str, x: Array) -> Backs:
    own = ACTIVATIONS[name]

    def back(function: Callable[[Array], Array], dy: Array) -> Gives:
        return {0: dy * DERIVATIVES[function](x)}

    yield "", partial(back, own)
    tried = {own}
    for other, function in ACTIVATIONS.items():
        if function not in tried:
            tried.add(function)
            said = (
                "derivative left out"
                if function is linear_activation
                else f"derivative of {called(other)} instead of {called(name)}"
            )
            yield said, partial(back, function)
    yield "derivative at what comes out instead of what goes in", lambda dy: {0: dy * DERIVATIVES[own](own(x))}


def position_activations(s: StageRun) -> Backs:
    """The same behind the position convolution, whose last frame goes where K is even."""
    y, spare = s.given(), 1 - s.config.num_conv_pos_embeddings % 2

    def padded(back: Callable[[Array], Gives], dy: Array) -> Gives:
        return {0: np.pad(back(dy)[0], ((0, 0), (0, spare), (0, 0)))}

    for said, back in _activated(activation_name(s), y[:, : y.shape[1] - spare]):
        yield said, partial(padded, back)


def convolutions(s: StageRun) -> Backs:
    """A strided convolution: each tap gives back to the samples that it was multiplied with."""
    x, p, stride = s.given(), s.weights(), s.config.conv_stride[layer_of(s.name)]
    wide = x if x.ndim == 3 else x[:, :, None]

    def back(dy: Array, weight: Array) -> Gives:
        dx, grads = conv1d_vjp(wide, **(p | {"weight": weight}), stride=stride)[1](dy)
        return {0: dx.reshape(x.shape), **grads}

    yield "", lambda dy: back(dy, p["weight"])
    if p["weight"].shape[2] > 1:
        yield "kernel not flipped", lambda dy: {0: back(dy, p["weight"][:, :, ::-1])[0]}
        yield "taps in reverse order", lambda dy: {"weight": back(dy, p["weight"])["weight"][:, :, ::-1]}


def position_convolutions(s: StageRun) -> Backs:
    """The position convolution, whose kernel is a stage."""
    x, kernel = s.given(0), s.given(1)
    groups, stride, padding = s.config.num_conv_pos_embedding_groups, s.config.squeeze_factor, kernel.shape[2] // 2

    def back(dy: Array, x: Array, kernel: Array, padding: int) -> Gives:
        options = {"groups": groups, "stride": stride, "padding": padding}
        dx, grads = grouped_conv1d_vjp(x, kernel, s.weights()["bias"], **options)[1](dy)
        return {0: dx, 1: grads["weight"], "bias": grads["bias"]}

    yield "", lambda dy: back(dy, x, kernel, padding)
    if kernel.shape[2] > 1:
        yield "kernel not flipped", lambda dy: {0: back(dy, x, kernel[:, :, ::-1], padding)[0]}
        yield "taps in reverse order", lambda dy: {1: back(dy, x, kernel, padding)[1][:, :, ::-1]}
        padded = np.pad(x, ((0, 0), (padding, padding), (0, 0)))
        yield "padding in front not cut off", lambda dy: {0: back(dy, padded, kernel, 0)[0][:, : x.shape[1]]}


def folded_weights(s: StageRun) -> Backs:
    """Weight norm: the length receives what lies along the direction, the direction what stands across it."""
    p = s.weights("encoder.pos_conv_embed.conv")
    g, v = p["weight_g"], p["weight_v"]
    length, back = np.sqrt(np.square(v).sum(axis=(0, 1), keepdims=True)), weight_norm_vjp(g, v)[1]

    yield "", lambda dw: dict(zip(("original0", "original1"), back(dw), strict=True))
    yield "not divided by the length of weight_v", lambda dw: {"original0": back(dw)[0] * length}
    yield "divided twice by the length of weight_v", lambda dw: {"original0": back(dw)[0] / length}
    yield "weight_v's length taken for a constant: g / |v| times what comes back", lambda dw: {"original1": g / length * dw}
    yield "weight_g forgotten", lambda dw: {"original1": back(dw)[1] / g}
    yield "not divided by the length of weight_v", lambda dw: {"original1": back(dw)[1] * length}


def replaced_frames(s: StageRun) -> Backs:
    """SpecAugment's frames: the vector receives what they would have received."""
    hidden = np.asarray(s.inputs.mask_time_indices, dtype=bool)[:, :, None]
    yield "", lambda dy: {0: np.where(hidden, 0.0, dy), "masked_spec_embed": summed(np.where(hidden, dy, 0.0))}
    yield "frames receive although they are hidden", lambda dy: {0: dy}
    yield "summed over all frames instead of the hidden ones", lambda dy: {"masked_spec_embed": summed(dy)}


def zeroed_frames(s: StageRun) -> Backs:
    """Padding was set to zero."""
    mask = s.given(1)[:, :, None]
    yield "", lambda dy: {0: np.where(mask, dy, 0.0)}
    yield "padded frames receive although they were set to zero", lambda dy: {0: dy}


def pools(s: StageRun) -> Backs:
    """The mean of every s frames."""
    x, factor = s.given(), s.config.squeeze_factor
    back = squeeze_vjp(x, factor)[1]
    yield "", lambda dy: {0: back(dy)}
    if factor > 1:
        yield "not divided by the squeeze factor", lambda dy: {0: back(dy) * factor}
        first = (np.arange(x.shape[1]) % factor == 0)[:, None]
        yield "all to the first frame of each group", lambda dy: {0: np.where(first, back(dy) * factor, 0.0)}


def squeezes(s: StageRun) -> Backs:
    """The sum of pool and position, which may have a frame more."""
    spare = s.given(1).shape[1] - s.given(0).shape[1]
    yield "", lambda dy: {0: dy, 1: np.pad(dy, ((0, 0), (0, spare), (0, 0)))}
    if spare:
        yield "frame dropped in front instead of behind", lambda dy: {1: np.pad(dy, ((0, 0), (spare, 0), (0, 0)))}
