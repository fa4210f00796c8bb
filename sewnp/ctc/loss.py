"""The CTC loss: minus the log-likelihood of the labels, with the conventions of torch and of transformers' CTC heads."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

from sewnp.ctc.lattice import (
    check_blank,
    check_log_probs,
    ctc_alpha,
    ctc_beta,
    extended_targets,
    log_likelihood,
    posteriors,
    refuse,
)
from sewnp.errors import InputError
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.types import Array, See, SeeVjp

IGNORED = -100
"""The label that transformers pads with: dropped before the loss."""


def clean_labels(labels: npt.ArrayLike, *, blank: int, vocab_size: int) -> tuple[Array, Array]:
    """Labels as a dataset has them to targets and their lengths.  (B, L) -> (B, S) int64, (B,) int64, S the longest that is left.

    Labels of -100 and labels that equal the blank are dropped *wherever they stand*, and the rest closes up: that is what
    transformers 5.23 does, so with blank 0 a zero inside a label row vanishes.  Rows are filled up with the blank, which no target
    holds.  Labels may be of any integer dtype, or floats with integral values; one dimension is a batch of one.

    >>> clean_labels([[3, 0, 2, -100], [1, -100, -100, -100]], blank=0, vocab_size=4)
    (array([[3, 2],
           [1, 0]]), array([2, 1]))

    Raises InputError, naming value and position, for any other negative label (transformers lets torch read outside its arrays),
    for a label >= ``vocab_size``, and for a float that is not integral.
    """
    labels = np.asarray(labels)
    check_blank(blank, vocab_size)
    if labels.ndim not in (1, 2):
        raise InputError(f"labels: expected shape (batch, length) or (length,), found {labels.shape}")
    if np.issubdtype(labels.dtype, np.floating):
        refuse("labels", labels, labels != np.floor(labels), "an integral value")
    elif not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: expected integers, found dtype {labels.dtype}")
    out_of_range = ((labels < 0) & (labels != IGNORED)) | (labels >= vocab_size)
    refuse("labels", labels, out_of_range, f"{IGNORED} or 0 <= label < {vocab_size}")

    rows = np.atleast_2d(labels)
    kept = (rows != IGNORED) & (rows != blank)
    lengths = kept.sum(axis=1)
    longest = lengths.max(initial=0)
    targets = np.full((len(rows), longest), blank, dtype=np.int64)
    targets[np.arange(longest) < lengths[:, None]] = rows[kept]  # both sides run row by row
    return targets, lengths


def ctc_loss(
    log_probs: Array,
    targets: npt.ArrayLike,
    input_lengths: npt.ArrayLike,
    target_lengths: npt.ArrayLike,
    *,
    blank: int,
    reduction: Literal["mean", "sum", "none"] = "mean",
    zero_infinity: bool = False,
    see: See = unseen,
) -> Array:
    """Minus the log of the probability that a path spells the target.  (B, T, V) -> () for mean and sum, (B,) for none, in nats.

    ``log_probs`` come from :func:`sewnp.layers.log_softmax`; ``targets`` (B, S) and ``target_lengths`` from :func:`clean_labels`;
    ``input_lengths`` (B,) counts frames.  "mean" divides each loss by its target's length (at least 1) before it averages the
    batch.  The dtype is that of ``log_probs``; a CTC head of transformers always computes this in float32, whatever the model's
    dtype.

    What is not quite a number has a meaning too:

    * A target that no path can spell has loss inf, which is an answer and not an error; ``zero_infinity`` makes it 0.  See
      :func:`sewnp.ctc.log_likelihood` for which targets those are.
    * Without frames the empty target costs 0 (+0.0; torch's is -0.0) and every other inf.
    * NaN anywhere in a sample's first ``input_lengths`` frames makes that sample's loss NaN, even where no path of the target reads
      it and with ``zero_infinity`` too; the other samples keep theirs.

    >>> fair = np.log(np.full((1, 2, 2), 0.5))  # two frames, each a coin; "aa", "a_" and "_a" spell "a": 3 paths of 4
    >>> np.exp(-ctc_loss(fair, [[1]], [2], [1], blank=0)).round(12).tolist()
    0.75

    Stages for ``see``: ``alpha`` (B, T, 2S + 1), ``losses`` (B,) before they are reduced.  Raises InputError for what
    :func:`sewnp.ctc.ctc_alpha` refuses, an unknown reduction, the mean of no samples and, where nobody looks, for raw logits and
    probabilities.

    Graves et al. (2006), section 4.1; reductions as in ``torch.nn.functional.ctc_loss``.
    """
    log_probs = _checked(log_probs, reduction)
    alpha = ctc_alpha(log_probs, targets, input_lengths, target_lengths, blank=blank)
    if see is unseen:  # whoever looks may have put anything there
        check_log_probs(log_probs, _in_clip(log_probs, input_lengths))
    alpha = see("alpha", alpha)
    losses = see("losses", _losses(log_probs, alpha, input_lengths, target_lengths, zero_infinity=zero_infinity))
    return _reduced(losses, target_lengths, reduction)


def ctc_loss_vjp(
    log_probs: Array,
    targets: npt.ArrayLike,
    input_lengths: npt.ArrayLike,
    target_lengths: npt.ArrayLike,
    *,
    blank: int,
    reduction: Literal["mean", "sum", "none"] = "mean",
    zero_infinity: bool = False,
    see: SeeVjp = unseen_vjp,
) -> tuple[Array, Callable[[Array], Array]]:
    """:func:`ctc_loss`, and dloss -> dlog_probs (B, T, V), dloss being () or, without reduction, (B,).

    Where a path stands on a token it reads that token's log-probability, so the derivative is minus the probability of standing there:
    minus the :func:`posteriors`, summed over the states of each token.  Through :func:`sewnp.layers.log_softmax_vjp` it becomes, at the
    logits, what the network said minus what was possible: softmax minus posteriors.  (torch's ctc_loss returns that already at its
    log_probs, which is not their derivative; both give the same at the logits.)

    An infeasible sample gets NaN at the frames within its length, with ``zero_infinity`` zeros; frames behind the length get 0, and so
    does a sample without frames.  The pullback of the stage ``alpha`` is never called.

    >>> fair = np.log(np.full((1, 2, 2), 0.5))  # "aa", "a_" and "_a" spell "a"
    >>> loss, pullback = ctc_loss_vjp(fair, [[1]], [2], [1], blank=0)
    >>> pullback(np.ones(()))[0].round(3)  # at either frame "a" is on 2 of the 3 paths
    array([[-0.333, -0.667],
           [-0.333, -0.667]])
    """
    log_probs = _checked(log_probs, reduction)
    lengths = np.asarray(input_lengths), np.asarray(target_lengths)
    alpha = ctc_alpha(log_probs, targets, *lengths, blank=blank)
    if see is unseen_vjp:
        check_log_probs(log_probs, _in_clip(log_probs, lengths[0]))
    alpha, _ = see("alpha", alpha)
    losses = _losses(log_probs, alpha, *lengths, zero_infinity=zero_infinity)
    undefined = ~np.isfinite(losses)
    losses, losses_back = see("losses", losses)

    def pullback(dloss: Array) -> Array:
        batch, frames, vocab_size = log_probs.shape
        dlosses = np.broadcast_to(dloss, (batch,)).astype(log_probs.dtype)
        if reduction == "mean":
            dlosses = dlosses / (batch * np.maximum(lengths[1], 1)).astype(log_probs.dtype)
        dlosses = losses_back(dlosses)
        occupancy = posteriors(alpha, ctc_beta(log_probs, targets, *lengths, blank=blank))  # (B, T, N)
        padding = np.arange(np.shape(targets)[1]) >= lengths[1][:, None]
        extended = extended_targets(np.where(padding, blank, targets), blank=blank)  # (B, N)
        dlog_probs = np.empty_like(log_probs)
        for clip, states in enumerate(extended):
            is_token = (states[:, None] == np.arange(vocab_size)).astype(log_probs.dtype)  # (N, V)
            dlog_probs[clip] = -dlosses[clip] * (occupancy[clip] @ is_token)
        in_clip = np.arange(frames) < lengths[0][:, None]
        dlog_probs[undefined[:, None] & in_clip] = np.nan
        dlog_probs[~in_clip] = 0
        return dlog_probs

    return _reduced(losses, target_lengths, reduction), pullback


def _checked(log_probs: Array, reduction: str) -> Array:
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction: expected mean, sum or none, found {reduction!r}")
    return np.asarray(log_probs)


def _losses(
    log_probs: Array, alpha: Array, input_lengths: npt.ArrayLike, target_lengths: npt.ArrayLike, *, zero_infinity: bool
) -> Array:
    """The loss of each sample, (B,)."""
    losses = 0.0 - log_likelihood(alpha, input_lengths, target_lengths)  # a plain minus sign would make -0.0 of certainty
    in_clip = _in_clip(log_probs, input_lengths)
    losses = np.where((np.isnan(log_probs).any(axis=2) & in_clip).any(axis=1), np.nan, losses)
    return np.where(np.isinf(losses), 0, losses) if zero_infinity else losses


def _in_clip(log_probs: Array, input_lengths: npt.ArrayLike) -> Array:
    """Which frames count, (B, T)."""
    return np.asarray(np.arange(log_probs.shape[1]) < np.asarray(input_lengths)[:, None])


def _reduced(losses: Array, target_lengths: npt.ArrayLike, reduction: str) -> Array:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return np.asarray(losses.sum())
    if losses.size == 0:
        raise InputError("log_probs: expected at least one sample to average over, found none")
    return np.asarray((losses / np.maximum(target_lengths, 1).astype(losses.dtype)).mean())
