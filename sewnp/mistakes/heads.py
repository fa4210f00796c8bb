"""Known mistakes behind the transformer: restoring the frame rate, logits, losses."""

import math

import numpy as np

from sewnp.ctc.lattice import ctc_alpha
from sewnp.ctc.loss import clean_labels, ctc_loss
from sewnp.layers.linear import linear
from sewnp.layers.masking import frame_mask
from sewnp.layers.softmax import log_softmax, softmax
from sewnp.mistakes.layers import affine, projections
from sewnp.mistakes.stage_run import Mistakes, StageRun
from sewnp.networks.base import FAMILIES
from sewnp.networks.heads import cross_entropy
from sewnp.types import Array, See


def states(s: StageRun) -> list[Array]:
    """The layers' input and the output of every layer that was not left out."""
    return [s.used[name] for name in FAMILIES[s.config.model_type].hidden_states(s.config) if name in s.used]


def restored(s: StageRun) -> Mistakes:
    """Wide frames cut into frames, and the tail behind them."""
    y, factor = s.given(), s.config.squeeze_factor
    batch, n, _ = y.shape
    frames, hidden = s.right.shape[1:]
    tail = frames - n * factor
    cut = y.reshape(batch, n * factor, hidden)

    def padded(x: Array, mode: str = "constant") -> Array:
        return np.asarray(np.pad(x.reshape(batch, n * factor, hidden), ((0, 0), (0, tail), (0, 0)), mode=mode))  # type: ignore[call-overload]

    if factor > 1:
        groups = y.reshape(batch, n, factor, hidden)
        yield "channels interleaved: the frame counts fastest", padded(y.reshape(batch, n, hidden, factor).swapaxes(2, 3))
        yield "frames of each group in reverse order", padded(groups[:, :, ::-1])
        yield "all first frames before all second ones", padded(groups.swapaxes(1, 2))
    yield "activation skipped", padded(s.used["encoder.upsample.projection"])
    if tail > 0:
        yield "tail not padded", cut
        yield "last frame repeated for the tail instead of zeros", padded(cut, "edge")
        yield "zeros in front instead of behind", np.pad(cut, ((0, 0), (tail, 0), (0, 0)))
    if "frame_mask" in s.used:
        yield "padded frames set to zero", np.where(s.used["frame_mask"][:, :, None], s.right, 0.0)


def mixes(s: StageRun) -> Mistakes:
    """The hidden states mixed otherwise."""
    layers, weights = np.stack(states(s)), np.asarray(s.weights("layer_weights"))

    def mixed(shares: Array) -> Array:
        return np.tensordot(shares, layers, axes=1)

    yield "layer_weights without softmax", mixed(weights)
    yield "plain mean of the layers", layers.mean(axis=0)
    yield "layers in reverse order", mixed(softmax(weights)[::-1])
    yield "last layer alone", layers[-1]
    if len(weights) > 1:
        yield "the layers' input left out", np.tensordot(softmax(weights[1:]), layers[1:], axes=1)


def projectors(s: StageRun) -> Mistakes:
    """The projection of the classification head."""
    yield from projections(s)
    if "weighted_layers" in s.used:
        yield "layer_weights ignored: the last layer", linear(states(s)[-1], **s.weights())


def means(s: StageRun) -> Mistakes:
    """Frames averaged otherwise."""
    z = s.given()
    frames, factor = z.shape[1], s.config.squeeze_factor
    yield "maximum instead of mean", z.max(axis=1)
    yield "first frame instead of the mean", z[:, 0]
    yield "last frame instead of the mean", z[:, -1]
    yield "sum over all frames instead of mean", z.sum(axis=1)
    if s.lengths is None:
        if frames % factor:
            yield "tail behind the squeezed frames left out", z[:, : frames // factor * factor].mean(axis=1)
        return
    real = frame_mask(s.lengths, frames, masking=s.model.masking)[:, :, None]
    total, count = np.where(real, z, 0.0).sum(axis=1), real.sum(axis=1)
    yield "mean over padding too", z.mean(axis=1)
    yield "sum instead of mean", total
    yield "divided by all frames instead of the real ones", total / frames
    yield "padding in the sum, but not in the count", z.sum(axis=1) / count


def logits(s: StageRun) -> Mistakes:
    """Scores of tokens or labels."""
    x, p = s.given(), s.weights("lm_head" if s.model.head == "ctc" else "classifier")
    yield from affine(x, p)
    yield "softmax applied already", softmax(s.right)
    yield "log softmax applied already", log_softmax(s.right)
    if s.model.head == "ctc" and s.used["encoder.upsample.projection"].shape[2] == x.shape[2]:
        yield "upsampling skipped", linear(states(s)[-1], **p)


def log_probabilities(s: StageRun) -> Mistakes:
    """Log softmax of the logits."""
    x = s.given()
    yield "logarithm to base 2", s.right / math.log(2)
    yield "logarithm to base 10", s.right / math.log(10)
    yield "softmax without the logarithm", softmax(x)
    yield "log softmax skipped", x
    yield "softmax over time instead of tokens", log_softmax(x.swapaxes(1, 2)).swapaxes(1, 2)


def lattices(s: StageRun) -> Mistakes:
    """CTC with other lengths or another blank, seen in the lattice."""
    log_probs, blank = s.used["log_probs"], s.config.pad_token_id
    targets, lengths = ctc_targets(s)
    yield (
        "frames of padding counted",
        ctc_alpha(log_probs, targets, np.full(len(log_probs), log_probs.shape[1]), lengths, blank=blank),
    )
    yield "probabilities instead of their logarithms", np.exp(s.right)
    for other in _other_blanks(s):
        yield f"blank is token {other} instead of {blank}", ctc_alpha(log_probs, targets, ctc_frames(s), lengths, blank=other)


def losses(s: StageRun) -> Mistakes:
    """The losses of the clips."""
    log_probs, blank, keep = s.used["log_probs"], s.config.pad_token_id, s.config.ctc_zero_infinity
    targets, lengths = ctc_targets(s)

    def loss(frames: Array, *, blank: int = blank, zero_infinity: bool = keep) -> Array:
        see: See = lambda _, x: x  # noqa: E731 (somebody looks: a port's log_probs may be anything)
        return ctc_loss(log_probs, targets, frames, lengths, blank=blank, reduction="none", zero_infinity=zero_infinity, see=see)

    yield "zero_infinity ignored" if keep else "infinite losses set to zero", loss(ctc_frames(s), zero_infinity=not keep)
    yield "frames of padding counted", loss(np.full(len(log_probs), log_probs.shape[1]))
    yield "sign missing: log-likelihoods", -s.right
    yield "divided by the lengths of the targets already", s.right / np.maximum(lengths, 1)
    yield "divided by the numbers of frames", s.right / np.maximum(ctc_frames(s), 1)
    yield "in bits instead of nats", s.right / math.log(2)
    for other in _other_blanks(s):
        yield f"blank is token {other} instead of {blank}", loss(ctc_frames(s), blank=other)


def reductions(s: StageRun) -> Mistakes:
    """One loss of many, in another way."""
    yield "in bits instead of nats", s.right / math.log(2)
    yield "sign missing", -s.right
    if s.model.head == "classification":
        yield from _mean_cross_entropies(s)
        return
    each, lengths, rule = s.used["ctc.losses"], np.maximum(ctc_targets(s)[1], 1), s.config.ctc_loss_reduction
    ways = {
        "sum": np.asarray(each.sum()),
        "none": each,
        "mean not divided by the target lengths": np.asarray(each.mean()),
        "mean": np.asarray((each / lengths).mean()),
        "sum divided by all target lengths together": np.asarray(each.sum() / lengths.sum()),
    }
    for way, value in ways.items():
        if way != rule:
            yield f"reduction {way!r} instead of {rule!r}" if way in ("sum", "none", "mean") else way, value


def _mean_cross_entropies(s: StageRun) -> Mistakes:
    scores, labels = s.used["logits"], np.asarray(s.inputs.labels).reshape(-1)
    kept = int((labels != -100).sum())
    total = cross_entropy(scores, labels) * kept
    yield "sum instead of mean", np.asarray(total)
    yield "ignored clips counted in the mean", np.asarray(total / len(labels))
    rows = np.flatnonzero(labels != -100)
    yield "log softmax missing", np.asarray(-scores[rows, labels[rows]].mean())


def ctc_targets(s: StageRun) -> tuple[Array, Array]:
    """Targets of the CTC loss and their lengths."""
    assert s.inputs.labels is not None  # there is no CTC stage without labels
    return clean_labels(s.inputs.labels, blank=s.config.pad_token_id, vocab_size=s.config.vocab_size)


def ctc_frames(s: StageRun) -> Array:
    """Frames of each clip that the CTC loss counts."""
    batch, frames = s.used["log_probs"].shape[:2]
    return np.full(batch, frames) if s.lengths is None else s.lengths


def _other_blanks(s: StageRun) -> list[int]:
    """The first and the last token, unless they are the blank or stand in a target."""
    targets, lengths = ctc_targets(s)
    spelled = {int(token) for row, n in zip(targets, lengths, strict=True) for token in row[:n]}
    spelled |= {s.config.pad_token_id} if (lengths < targets.shape[1]).any() else set()
    return sorted({0, s.config.vocab_size - 1} - spelled - {s.config.pad_token_id})
