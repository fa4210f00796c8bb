"""The way back from the losses to the transformer, rightly and in ways that are known to be wrong."""

from functools import partial

import numpy as np

from sewnp.ctc.loss import ctc_loss_vjp
from sewnp.layers.masking import frame_mask
from sewnp.layers.pooling import masked_mean_vjp, weighted_layers_vjp
from sewnp.layers.softmax import log_softmax, softmax
from sewnp.mistakes.heads import ctc_frames, ctc_targets, states
from sewnp.mistakes.stage_run import Backs, Gives, StageRun
from sewnp.types import Array


def restored(s: StageRun) -> Backs:
    """Frames put side by side again; the tail came from nowhere."""
    shape, factor = s.given().shape, s.config.squeeze_factor
    batch, n, wide = shape

    def kept(dy: Array) -> Array:
        return dy[:, : n * factor].reshape(batch, n, factor, wide // factor)

    yield "", lambda dy: {0: kept(dy).reshape(shape)}
    if factor > 1:
        yield "channels interleaved: the frame counts fastest", lambda dy: {0: kept(dy).swapaxes(2, 3).reshape(shape)}
    if s.used[s.name].shape[1] > n * factor:
        yield "read from the end: the tail in front", lambda dy: {0: dy[:, -n * factor :].reshape(shape)}


def mixes(s: StageRun) -> Backs:
    """The hidden states mixed."""
    layers, weights = states(s), np.asarray(s.weights("layer_weights"))
    back = weighted_layers_vjp(layers, weights)[1]

    def right(dy: Array) -> Gives:
        each, dweights = back(dy)
        return {**dict(enumerate(each)), "layer_weights": dweights}

    yield "", right
    yield "layer_weights without softmax", lambda dy: {i: weight * dy for i, weight in enumerate(weights)}
    yield "the same share for each layer", lambda dy: dict.fromkeys(range(len(layers)), dy / len(layers))
    yield "softmax of layer_weights left out", lambda dy: {"layer_weights": np.array([(dy * state).sum() for state in layers])}


def means(s: StageRun) -> Backs:
    """The mean over the frames that count."""
    z, lengths = s.given(), s.lengths
    mask = None if lengths is None else frame_mask(lengths, z.shape[1], masking=s.model.masking)
    counts = np.full((len(z), 1), z.shape[1]) if mask is None else mask.sum(axis=1, keepdims=True)
    back = masked_mean_vjp(z, mask)[1]
    yield "", lambda dy: {0: back(dy)}
    yield "not divided by the number of frames", lambda dy: {0: back(dy * counts)}
    if mask is not None:
        yield "mean over padding too", lambda dy: {0: masked_mean_vjp(z)[1](dy)}
        yield "divided by all frames instead of the real ones", lambda dy: {0: back(dy * counts / z.shape[1])}
        yield "padded frames receive although they do not count", lambda dy: {0: np.broadcast_to((dy / counts)[:, None], z.shape)}


def log_probabilities(s: StageRun) -> Backs:
    """Log softmax of the logits."""
    share = softmax(s.given())
    yield "", lambda dy: {0: dy - share * dy.sum(axis=-1, keepdims=True)}
    yield "sum over the tokens missing", lambda dy: {0: dy}
    yield "softmax instead of log softmax", lambda dy: {0: share * (dy - (share * dy).sum(axis=-1, keepdims=True))}


def losses(s: StageRun) -> Backs:
    """CTC: minus the posteriors at the log-probabilities, which are input 1."""
    log_probs, frames, (targets, lengths) = s.used["log_probs"], ctc_frames(s), ctc_targets(s)
    options = {"blank": s.config.pad_token_id, "zero_infinity": s.config.ctc_zero_infinity}
    options["see"] = lambda _, x: (x, lambda dx: dx)  # a port's log_probs may be anything

    def back(dy: Array, frames: Array = frames) -> Array:
        return ctc_loss_vjp(log_probs, targets, frames, lengths, **options, reduction="none")[1](dy)

    feasible = back(np.ones(len(log_probs))).any(axis=-1, keepdims=True)
    yield "", lambda dy: {1: back(dy)}
    at_logits = np.where(feasible, np.exp(log_probs), 0.0)
    yield "softmax minus posteriors: the gradient at the logits", lambda dy: {1: back(dy) + at_logits * dy[:, None, None]}
    yield "frames of padding counted", lambda dy: {1: back(dy, np.full(len(log_probs), log_probs.shape[1]))}


def reductions(s: StageRun) -> Backs:
    """One loss of many."""
    if s.model.head == "classification":
        yield from _mean_cross_entropies(s)
        return
    batch, lengths, rule = len(s.given()), np.maximum(ctc_targets(s)[1], 1), s.config.ctc_loss_reduction
    shares = {
        "mean": 1 / (batch * lengths),
        "sum": np.ones(batch),
        "none": np.ones(batch),
        "not divided by the target lengths": np.full(batch, 1 / batch),
        "not divided by the number of clips": 1 / lengths,
        "divided by all target lengths together": np.full(batch, 1 / lengths.sum()),
    }

    def back(share: Array, dy: Array) -> Gives:
        return {0: dy * share}

    yield "", partial(back, shares[rule])
    for way, share in shares.items():
        if way not in ("none", rule) and not (way == "sum" and rule == "none"):
            said = f"reduction {way!r} instead of {rule!r}" if way in ("sum", "mean") else way
            yield said, partial(back, share)


def _mean_cross_entropies(s: StageRun) -> Backs:
    logits, labels = s.given(), np.asarray(s.inputs.labels).reshape(-1)
    rows = np.flatnonzero(labels != -100)
    one = np.zeros_like(logits)
    one[rows, labels[rows]] = 1
    share = np.where((labels != -100)[:, None], np.exp(log_softmax(logits)), 0.0)
    yield "", lambda dy: {0: dy * (share - one) / len(rows)}
    yield "not divided by the number of clips", lambda dy: {0: dy * (share - one)}
    yield "clips without a label counted", lambda dy: {0: dy * (share - one) / len(labels)}
    yield "one not subtracted at the label", lambda dy: {0: dy * share / len(rows)}
    yield "clips without a label receive", lambda dy: {0: dy * (np.exp(log_softmax(logits)) - one) / len(rows)}
