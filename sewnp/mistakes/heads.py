"""Known mistakes behind the transformer: restoring the frame rate, logits, losses."""

import math

import numpy as np

from sewnp.layers.linear import linear
from sewnp.layers.masking import frame_mask
from sewnp.layers.softmax import log_softmax, softmax
from sewnp.mistakes import ctc
from sewnp.mistakes.ctc import CTCProblem
from sewnp.mistakes.layers import affine, projections
from sewnp.mistakes.stage_run import Mistakes, StageRun
from sewnp.networks.base import FAMILIES
from sewnp.networks.heads import cross_entropy
from sewnp.types import Array


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
    """The lattice of the CTC loss."""
    yield from ctc.lattices(ctc_problem(s), s.right)


def losses(s: StageRun) -> Mistakes:
    """The losses of the clips."""
    yield from ctc.losses(ctc_problem(s), s.right)


def reductions(s: StageRun) -> Mistakes:
    """One loss of many, in another way."""
    if s.model.head == "classification":
        yield "in bits instead of nats", s.right / math.log(2)
        yield "sign missing", -s.right
        yield from _mean_cross_entropies(s)
    else:
        yield from ctc.reductions(ctc_problem(s), s.right, s.used["ctc.losses"])


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
    return ctc_problem(s).cleaned


def ctc_frames(s: StageRun) -> Array:
    """Frames of each clip that the CTC loss counts."""
    batch, frames = s.used["log_probs"].shape[:2]
    return np.full(batch, frames) if s.lengths is None else s.lengths


def ctc_problem(s: StageRun) -> CTCProblem:
    """What the CTC loss of a run is computed from."""
    assert s.inputs.labels is not None  # there is no CTC stage without labels
    c, labels = s.config, s.inputs.labels
    return CTCProblem(s.used["log_probs"], labels, ctc_frames(s), c.pad_token_id, c.ctc_loss_reduction, c.ctc_zero_infinity)
