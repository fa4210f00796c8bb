"""The panels of the reading: letters, lattice, words, beams, and what the words depend on.  Arrays -> plain objects of JSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sewnp.ctc import ForcedAlignment, ctc_alpha, ctc_beta, extended_targets, greedy_path, log_likelihood, posteriors
from sewnp.decoding import BeamSearch
from sewnp.explain.arrays import Packed, pack
from sewnp.explain.subject import Subject
from sewnp.layers.observe import unseen_vjp
from sewnp.speech import CTCTokenizer, Word, vocabulary_spelling
from sewnp.types import Array, Pullback

LIKELY = 0.05
"""A token that is never so likely gets no row, unless the text has it."""
FLOOR = 25.0
"""Nats under the best state of a frame: what lies lower in the lattice is told as that."""
NOWHERE = 25.5
"""And this stands for what no path leads to."""
COLUMNS = 2000
"""So many stretches of samples gradients are told for."""
SECONDS = 60.0
"""Seconds of sound that gradients are computed through, a clip as often as it has words; words beyond are left out."""
HYPOTHESES = 10
"""So many texts of a beam are told."""


def letters(log_probs: Array, targets: Sequence[int], tokenizer: CTCTokenizer) -> dict[str, Any]:
    """The tokens over time, and the greedy path.  log_probs (T, V)"""
    blank, path = tokenizer.pad_token_id, greedy_path(log_probs)
    ever = np.flatnonzero(np.exp(log_probs.max(axis=0)) >= LIKELY).tolist()
    rows = sorted({blank, *ever, *targets, *path.tolist()}, key=lambda i: (i != blank, tokenizer.token_of(i), i))
    return {
        "tokens": [tokenizer.token_of(i) for i in rows],
        "ids": rows,
        "log_probs": pack(np.maximum(log_probs[:, rows], -1e30), "float32"),  # (T, rows)
        "path": [rows.index(token) for token in path.tolist()],
        "delimiter": tokenizer.special["word_delimiter_token"],
    }


def lattice(
    log_probs: Array, targets: Sequence[int], alignment: ForcedAlignment, *, blank: int, rows: Sequence[int]
) -> dict[str, Any]:
    """All paths of a text.  rows: the tokens' ids in the order of :func:`letters`, by whose places the states name them."""
    problem = log_probs[None], [list(targets)], [len(log_probs)], [len(targets)]
    alpha, beta = ctc_alpha(*problem, blank=blank), ctc_beta(*problem, blank=blank)
    extended = extended_targets([list(targets)], blank=blank)[0]
    return {
        "states": [rows.index(token) for token in extended.tolist()],
        "alpha": _below_best(alpha[0]),
        "beta": _below_best(beta[0]),
        "posteriors": pack(posteriors(alpha, beta)[0], "uint8", power=2),
        "path": alignment.states.tolist(),
        "path_log_probability": alignment.log_probability,
        "log_likelihood": float(log_likelihood(alpha, [len(log_probs)], [len(targets)])[0]),
    }


def _below_best(sweep: Array) -> dict[str, Packed]:
    """Log-probabilities as their best of each frame, and how many nats below it the others are.  (T, S), -inf where no path leads."""
    best = sweep.max(axis=1)
    with np.errstate(invalid="ignore"):  # a frame without any path: -inf less -inf
        below = np.minimum(best[:, None] - sweep, FLOOR)
    return {"best": pack(best, "float32"), "below": pack(np.where(sweep == -np.inf, NOWHERE, below), "uint8")}


def words(spoken: Sequence[Word]) -> list[dict[str, Any]]:
    """Words with times and confidence."""
    return [{"word": word.text, "start": word.start, "end": word.end, "probability": word.probability} for word in spoken]


def beams(log_probs: Array, tokenizer: CTCTokenizer, decoder: BeamSearch) -> list[dict[str, Any]]:
    """The best texts of a decoder, best first."""
    spelling = vocabulary_spelling(tokenizer, log_probs.shape[1])
    found = decoder.decode(log_probs, blank=tokenizer.pad_token_id, spelling=spelling, n_best=HYPOTHESES)
    return [
        {"tokens": list(each.tokens), "text": tokenizer.decode(each.tokens, group_tokens=False), "score": each.score,
         "log_probability": each.log_probability}
        for each in found
    ]  # fmt: skip


def gradients(
    subject: Subject, input_values: Array, targets: Sequence[int], tokens: Array, spoken: Sequence[Word], seconds_per_frame: float
) -> dict[str, Any]:
    """Which samples each word depends on: how the log-probability of its tokens in its frames changes with every sample.

    tokens: (T,), the path that is read.  Of more words than :data:`SECONDS` has time for, those of least confidence are chosen.
    """
    seconds = len(tokens) * seconds_per_frame
    count = min(len(spoken), max(1, int(SECONDS / max(seconds, 1e-9))))
    chosen = sorted(np.argsort([word.probability for word in spoken], kind="stable")[:count].tolist())
    rows = []
    for number in chosen:
        start, end = (round(time / seconds_per_frame) for time in (spoken[number].start, spoken[number].end))
        found = subject.gradients(input_values, [list(targets)], input_gradient=True, see=_asks_for(tokens, start, end))
        assert found.input_values is not None  # it was asked for
        rows.append(_largest(np.abs(found.input_values[0].astype(np.float64))))
    slopes = np.array(rows)
    steepest = slopes.max(axis=1)
    shares = slopes / np.maximum(steepest, 1e-300)[:, None]
    return {"words": chosen, "steepest": steepest.tolist(), "values": pack(shares, "uint8", power=2)}


def _asks_for(tokens: Array, start: int, end: int) -> Any:
    """The observer that goes back from some frames' tokens instead of from the loss."""

    def see(name: str, x: Array, /) -> tuple[Array, Pullback]:
        if name != "log_probs":
            return unseen_vjp(name, x)

        def pullback(_: Array) -> Array:
            dx = np.zeros_like(x)
            dx[0, np.arange(start, end), tokens[start:end]] = 1
            return dx

        return x, pullback

    return see


def _largest(x: Array) -> Array:
    """The largest in each of COLUMNS stretches of equal length.  (n,) -> (columns,)"""
    starts = np.unique(np.linspace(0, len(x), COLUMNS, endpoint=False).astype(int))
    return np.asarray(np.maximum.reduceat(x, starts))
