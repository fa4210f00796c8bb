"""The lattice of connectionist temporal classification, and its two sweeps.

A network emits one token a frame; a path is one such token for every frame.  Merging the path's repeats and then dropping its
blanks gives its text, so many paths spell the same target, and the target's probability is the sum over all of them.  There are
V**T paths.  The sum takes T steps, because all paths that have spelled the same part of the target may be counted together.

Put a blank before, between and after the target's tokens.  The 2S + 1 *states* of this extended target are the places where a path
can stand.  From one frame to the next a path stays, moves one state on, or leaps over a blank; that leap is forbidden between two
equal tokens, which without a blank between them would merge into one::

    state       0   1   2   3   4   5   6         target "see": 7 states
    token       _   s   _   e   _   e   _         1 -> 3 may leap, 3 -> 5 may not

A path starts on state 0 or 1 and ends on one of the last two.  :func:`ctc_alpha` sweeps from the start, :func:`ctc_beta` from the
end.

Everything is in the log domain, where a product is a sum and "impossible" is -inf.  Axes are (batch, time, ...); only time is a
loop.  Shapes: B samples, T frames, V tokens, S the longest target, N = 2S + 1 states.  What lies behind a sample's length is never
read.

Graves, Fernández, Gomez and Schmidhuber (2006), "Connectionist Temporal Classification", sections 3 and 4.1.
"""

import numpy as np
import numpy.typing as npt

from sewnp.errors import InputError, brief, check_shape
from sewnp.layers.softmax import masked_softmax
from sewnp.types import Array

FAR_FROM_ONE = 0.1
"""How far from 1 the probabilities of a frame may be in sum: bfloat16 of 100,000 tokens is off by 0.05."""


def extended_targets(targets: npt.ArrayLike, *, blank: int) -> Array:
    """A blank before, between and after the tokens: "see" becomes "_s_e_e_".  (B, S) -> (B, 2S + 1), dtype kept."""
    targets = np.asarray(targets)
    check_shape("targets", targets, (None, None))
    batch, longest = targets.shape
    extended = np.full((batch, 2 * longest + 1), blank, dtype=targets.dtype)
    extended[:, 1::2] = targets
    return extended


def ctc_alpha(
    log_probs: Array, targets: npt.ArrayLike, input_lengths: npt.ArrayLike, target_lengths: npt.ArrayLike, *, blank: int
) -> Array:
    """How likely it is to have come to a state: the forward sweep.  (B, T, V) -> (B, T, N), floating, dtype kept.

    ``alpha[b, t, s]`` is the log of the summed probability of all beginnings of a path, frames 0 to t *inclusive*, that stand on
    state s at frame t.  It is -inf where no path can be, on the states behind ``2 * target_lengths + 1`` and the frames behind
    ``input_lengths``.

    ``log_probs`` may hold -inf (an impossible token).  ``targets`` (B, S) are integers without blanks; ``input_lengths`` (B,)
    counts frames, ``target_lengths`` (B,) tokens.  Raises InputError for wrong shapes or dtypes, lengths or tokens out of range, a
    blank among the targets, and log-probabilities of +inf.
    """
    log_probs, targets, frames, tokens = check_problem(log_probs, targets, input_lengths, target_lengths, blank)
    emissions, leaps = _lattice(log_probs, targets, frames, tokens, blank)
    alpha = np.empty_like(emissions)
    edge = np.full((len(targets), 2), -np.inf, dtype=log_probs.dtype)
    row = _one_state(np.zeros_like(tokens), emissions)  # before the first frame every path stands on the first blank
    for t in range(emissions.shape[1]):
        behind = np.concatenate([edge, row], axis=1)  # behind[:, s + 2 - k] is the state k before s
        row = emissions[:, t] + _log_sum(row, behind[:, 1:-1], np.where(leaps, behind[:, :-2], -np.inf))
        alpha[:, t] = row
    return alpha


def ctc_beta(
    log_probs: Array, targets: npt.ArrayLike, input_lengths: npt.ArrayLike, target_lengths: npt.ArrayLike, *, blank: int
) -> Array:
    """How likely it is to finish from a state: the backward sweep.  (B, T, V) -> (B, T, N), floating, dtype kept.

    ``beta[b, t, s]`` is the log of the summed probability of all ends of a path, frames t + 1 to the last, that complete the target
    when the path stands on state s at frame t.  Frame t itself is *not* counted, since alpha has it.  (Graves et al. count it in
    both and divide once; Rabiner counts it as here.)  So at every frame of the sample ::

        log p(target) = logsumexp over s of (alpha[b, t, s] + beta[b, t, s])

    and at the last frame beta is 0 on the two final states.  It is -inf where the target can no longer be completed, and behind the
    sample's lengths.  Arguments and errors as for :func:`ctc_alpha`.
    """
    log_probs, targets, frames, tokens = check_problem(log_probs, targets, input_lengths, target_lengths, blank)
    emissions, leaps = _lattice(log_probs, targets, frames, tokens, blank)
    beta = np.empty_like(emissions)
    edge = np.full((len(targets), 2), -np.inf, dtype=log_probs.dtype)
    end = _one_state(2 * tokens, emissions)  # after a sample's last frame every path stands on its last blank
    onward = np.full_like(end, -np.inf)  # the probability of frames t + 1 to the last, given the state at t + 1
    for t in reversed(range(emissions.shape[1])):
        onward = np.where((frames == t + 1)[:, None], end, onward)
        ahead = np.concatenate([onward, edge], axis=1)  # ahead[:, s + k] is the state k after s
        leapt = np.concatenate([np.where(leaps, onward, -np.inf), edge], axis=1)
        row = _log_sum(onward, ahead[:, 1:-1], leapt[:, 2:])
        beta[:, t] = row
        onward = emissions[:, t] + row
    return beta


def log_likelihood(alpha: Array, input_lengths: npt.ArrayLike, target_lengths: npt.ArrayLike) -> Array:
    """log p(target): what alpha has gathered on the two final states at the last frame.  (B, T, N) -> (B,), dtype kept.

    -inf where no path spells the target: it needs as many frames as it has tokens, and one more between each two equal neighbours.
    Without any frame the empty target is certain, 0, and every other one impossible.  Raises InputError for lengths that the
    lattice does not have.
    """
    check_shape("alpha", alpha, (None, None, None))
    batch, last_frame, states = alpha.shape
    frames = check_lengths("input_lengths", input_lengths, batch, last_frame)
    tokens = check_lengths("target_lengths", target_lengths, batch, states // 2)
    start = _one_state(np.zeros_like(tokens), alpha)  # where paths stand after no frames at all
    row = np.concatenate([start[:, None], alpha], axis=1)[np.arange(batch), frames]  # (B, N)
    state = np.arange(states)
    final = (state == 2 * tokens[:, None]) | (state == 2 * tokens[:, None] - 1)
    with np.errstate(invalid="ignore", under="ignore"):  # as in log_add
        return np.asarray(np.logaddexp.reduce(np.where(final, row, -np.inf), axis=-1))


def posteriors(alpha: Array, beta: Array) -> Array:
    """Where the paths of the target stand at each frame: state occupancies, summing to 1 over the states.  (B, T, N) -> (B, T, N).

    ``exp(alpha + beta)`` divided by its sum over the states, which is p(target) at every frame; dividing by the frame's own sum
    keeps rounding in ``log p`` out of the result.  All zeros at frames behind the sample's length, and throughout an infeasible
    sample.
    """
    check_shape("beta", beta, alpha.shape)
    with np.errstate(under="ignore"):
        return masked_softmax(alpha + beta, None)


def log_add(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """log(exp(a) + exp(b)), -inf where both are.  It answers NaN with NaN, and what is too small with nothing, without a word."""
    with np.errstate(invalid="ignore", under="ignore"):
        return np.asarray(np.logaddexp(a, b))


def check_problem(
    log_probs: Array, targets: npt.ArrayLike, input_lengths: npt.ArrayLike, target_lengths: npt.ArrayLike, blank: int
) -> tuple[Array, Array, Array, Array]:
    """The four as int64 (``log_probs`` floating, as it is), or an InputError that says which of them does not fit the others."""
    log_probs, targets = np.asarray(log_probs), np.asarray(targets)
    check_shape("log_probs", log_probs, (None, None, None))
    if not np.issubdtype(log_probs.dtype, np.floating):
        raise InputError(f"log_probs: expected a floating dtype, found {log_probs.dtype}")
    batch, last_frame, vocab_size = log_probs.shape
    check_blank(blank, vocab_size)
    check_shape("targets", targets, (batch, None))
    _check_integers("targets", targets)
    frames = check_lengths("input_lengths", input_lengths, batch, last_frame)
    tokens = check_lengths("target_lengths", target_lengths, batch, targets.shape[1])
    in_target = np.arange(targets.shape[1]) < tokens[:, None]
    in_range = (targets >= 0) & (targets < vocab_size) & (targets != blank)
    refuse("targets", targets, in_target & ~in_range, f"0 <= token < {vocab_size} other than the blank {blank}")
    in_clip = (np.arange(last_frame) < frames[:, None])[:, :, None]
    refuse("log_probs", log_probs, in_clip & (log_probs == np.inf), "a log-probability below +inf")
    return log_probs, targets.astype(np.int64), frames, tokens


def check_log_probs(log_probs: Array, read: Array | None = None) -> None:
    """Raise InputError for what cannot be log-probabilities, saying what it looks like.  (..., V), read (...,): frames that count.

    The probabilities of a frame add up to 1, in float16 and for 100,000 tokens still to 1 %.  In no frame can they add up to more.  To
    less they may, where tokens were forbidden or frames averaged, but not in every frame; unless that has impossible tokens.
    """
    with np.errstate(over="ignore", under="ignore"):
        probabilities = np.exp(log_probs, dtype=np.result_type(log_probs, np.float32))
        sums = probabilities.sum(axis=-1, dtype=np.float64)
    read = np.ones(sums.shape, dtype=bool) if read is None else read
    wrong = read & (sums > 1 + FAR_FROM_ONE)
    if not wrong.any():
        wrong = read & (sums < 1 - FAR_FROM_ONE) & (probabilities > 0).all(axis=-1)
        if not wrong.any() or not wrong[read].all():
            return
    where = tuple(np.argwhere(wrong)[0].tolist())
    frame = log_probs[where].astype(np.float64)
    are_probabilities = frame.min() >= 0 and abs(frame.sum() - 1) <= FAR_FROM_ONE
    looks = "probabilities: take their logarithm" if are_probabilities else "raw logits: take their log_softmax"
    raise InputError(
        f"log_probs[{', '.join(map(str, where))}]: expected log-probabilities, of which the exponentials add up to 1; found a sum of"
        f" {sums[where]:.3g}; these look like {looks}"
    )


def check_blank(blank: int, vocab_size: int) -> None:
    """Raise InputError unless the blank is one of the tokens."""
    if not isinstance(blank, int | np.integer) or not 0 <= blank < vocab_size:
        raise InputError(f"blank: expected 0 <= blank < {vocab_size}, found {brief(blank)}")


def check_lengths(name: str, lengths: npt.ArrayLike, batch: int, limit: int) -> Array:
    """(B,) integers from 0 to ``limit``, as int64, or an InputError."""
    lengths = np.asarray(lengths)
    check_shape(name, lengths, (batch,))
    _check_integers(name, lengths)
    refuse(name, lengths, (lengths < 0) | (lengths > limit), f"0 <= length <= {limit}")
    return lengths.astype(np.int64)


def refuse(name: str, values: Array, bad: Array, expected: str) -> None:
    """Raise InputError for the first of ``values`` that is ``bad``, naming it and its position."""
    if bad.any():
        where = tuple(np.argwhere(bad)[0].tolist())
        raise InputError(f"{name}[{', '.join(map(str, where))}]: expected {expected}, found {values[where]}")


def _check_integers(name: str, x: Array) -> None:
    if not np.issubdtype(x.dtype, np.integer) and x.size > 0:  # an empty list is an array of float64
        raise InputError(f"{name}: expected an integer dtype, found {x.dtype}")


def _lattice(log_probs: Array, targets: Array, frames: Array, tokens: Array, blank: int) -> tuple[Array, Array]:
    """What each state emits at each frame (B, T, N), -inf behind the lengths; which may be reached by a leap (B, N)."""
    padding = np.arange(targets.shape[1]) >= tokens[:, None]
    extended = extended_targets(np.where(padding, blank, targets), blank=blank)  # whatever the padding holds, it can be looked up
    two_before = np.pad(extended, ((0, 0), (2, 0)), constant_values=blank)[:, :-2]
    leaps = extended != two_before  # never true of a blank: two states before it is another, or the edge
    in_clip = np.arange(log_probs.shape[1]) < frames[:, None]
    in_target = np.arange(extended.shape[1]) < 2 * tokens[:, None] + 1
    spoken = np.take_along_axis(log_probs, extended[:, None, :], axis=2)  # (B, T, N)
    return np.where(in_clip[:, :, None] & in_target[:, None, :], spoken, -np.inf), leaps


def _one_state(state: Array, like: Array) -> Array:
    """(B,) -> (B, N): log 1 on one state of each sample, log 0 on the others; size and dtype as those of ``like`` (B, T, N)."""
    rows = np.full((like.shape[0], like.shape[2]), -np.inf, dtype=like.dtype)
    rows[np.arange(len(state)), state] = 0
    return rows


def _log_sum(stay: Array, move: Array, leap: Array) -> Array:
    """log(exp(stay) + exp(move) + exp(leap)), -inf where all three are."""
    return log_add(log_add(stay, move), leap)
