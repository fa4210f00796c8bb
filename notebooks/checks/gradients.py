"""Checks of the exercises in 13_how_a_network_finds_out_what_to_change."""

from collections.abc import Callable
from typing import Any

import numpy as np

from checks import passed
from checks.mistakes import agree, call
from sewnp import ctc
from sewnp.layers import log_softmax, softmax
from sewnp.types import Array


def check_linear_pullback(pullback: Callable[[Array, Array, Array], Any]) -> None:
    """pullback(dy, x, weight): of y = x W^T + b.  (B, T, C_out), (B, T, C_in), (C_out, C_in) -> dx, dweight, dbias"""
    rng = np.random.default_rng(13)
    for channels, outputs in ((3, 3), (3, 4)):  # the square map lets a transposed weight pass, so that it can be named
        x, dy = rng.normal(size=(2, 5, channels)), rng.normal(size=(2, 5, outputs))
        weight = rng.normal(size=(outputs, channels))
        on = f"2 clips, 5 frames, {channels} channels in and {outputs} out"
        found = call(pullback, dy, x, weight, on=on)
        three = isinstance(found, tuple | list) and len(found) == 3
        assert three, f"with {on} expected three arrays, dx, dweight and dbias, found {type(found).__name__}"
        by_frame = np.einsum("bto,bti->btoi", dy, x)
        slips: dict[str, Any] = {"dx is dy itself; the weight is missing": dy}
        if channels == outputs:
            slips["this is the forward product, dy @ weight.T; back along the wires it is dy @ weight"] = dy @ weight.T
            slips["dx is x times the weight; what goes back is made of dy"] = x @ weight
        agree(found[0], dy @ weight, slips, on=f"{on}, dx")
        slips = {
            "transposed: a gradient is shaped as what it belongs to, (C_out, C_in)": by_frame.sum(axis=(0, 1)).T,
            "averaged over the frames; each frame used the weight, so what they want adds up": by_frame.mean(axis=(0, 1)),
            "one gradient a frame; all frames share the weight, so add up over clips and frames": by_frame,
            "one gradient a clip; the clips share the weight too, so add up over them": by_frame.sum(axis=1),
            "added up over the clips only; the frames share the weight too": by_frame.sum(axis=0),
            "averaged over the clips; add up": by_frame.sum(axis=1).mean(axis=0),
            "x is not in it: what came back is to be multiplied with what went in": np.repeat(
                dy.sum(axis=(0, 1))[:, None], channels, axis=1
            ),
        }
        agree(found[1], by_frame.sum(axis=(0, 1)), slips, on=f"{on}, dweight")
        slips = {
            "this is dy; the bias was added to every frame, so add up over clips and frames": dy,
            "averaged over the frames; add up": dy.mean(axis=(0, 1)),
            "added up over the frames only; the clips share the bias too": dy.sum(axis=1),
            "added up over the clips only; the frames share the bias too": dy.sum(axis=0),
            "added up over the channels as well; each channel has its own bias": dy.sum(),
        }
        agree(found[2], dy.sum(axis=(0, 1)), slips, on=f"{on}, dbias")
    passed("linear: back along the wires, and what went in times what comes back")


def check_softmax_pullback(pullback: Callable[[Array, Array], Any]) -> None:
    """pullback(dy, y): of y = softmax(x) over the last axis.  (N, M), (N, M) -> dx (N, M)"""
    rng = np.random.default_rng(14)
    y, dy = softmax(1.5 * rng.normal(size=(4, 5))), rng.normal(size=(4, 5))
    on = "4 rows of 5"
    total = (y * dy).sum(axis=1, keepdims=True)
    slips: dict[str, Any] = {
        "the row sum is forgotten: who gains takes it from the others of the row, so subtract sum(y dy) inside the bracket": y * dy,
        "only the diagonal, y (1 - y) dy, as for a sigmoid; a score moves the other shares of its row too": y * (1 - y) * dy,
        "the row sum is subtracted outside the bracket; y multiplies it too": y * dy - total,
        "the sum in the bracket is that of dy alone; weigh it with the shares, sum(y dy)": y * (dy - dy.sum(axis=1, keepdims=True)),
        "the mean of dy is subtracted; it should be the mean weighted with the shares, sum(y dy)": y
        * (dy - dy.mean(axis=1, keepdims=True)),
        "y dy is averaged; the shares sum to 1 already, so sum(y dy) is the mean": y * (dy - (y * dy).mean(axis=1, keepdims=True)),
        "the sum runs down the columns; a row is what sums to 1, so it runs over the last axis": y * (dy - (y * dy).sum(axis=0)),
        "the sum runs over everything; each row has its own": y * (dy - (y * dy).sum()),
        "the signs are the wrong way round": y * (total - dy),
        "the factor y in front is missing": dy - total,
        "that is the pullback of log softmax, dy - y sum(dy)": dy - y * dy.sum(axis=1, keepdims=True),
    }
    found = call(pullback, dy, y, on=on)
    agree(found, y * (dy - total), slips, on=on)
    passed("softmax: every row sums to zero")


def check_layer_norm_pullback(pullback: Callable[[Array, Array, Array, float], Any]) -> None:
    """pullback(dy, x, weight, eps): of layer norm over the last axis.  (N, C), (N, C), (C,), number -> dx (N, C)"""
    rng = np.random.default_rng(15)
    x, dy = rng.normal(size=(6, 5)) * 1.7 + 0.6, rng.normal(size=(6, 5))
    weight, eps = rng.uniform(0.4, 1.8, size=5), 0.3  # eps large, so that its place shows
    on = "6 frames of 5 channels"

    def mean(values: Array, axis: int = 1) -> Array:
        return values.mean(axis=axis, keepdims=True)

    centred = x - mean(x)
    deviation = np.sqrt(mean(centred**2) + eps)
    bare = np.sqrt(mean(centred**2))
    normal, given = centred / deviation, dy * weight
    along = mean(given * normal)
    right = (given - mean(given) - normal * along) / deviation
    slips: dict[str, Any] = {
        "the mean term is missing: every channel moves the mean, so subtract the mean of what all received": (
            given - normal * along
        )
        / deviation,
        "the third term is missing: every channel moves the spread, so subtract x̂ times the mean of (what was received times x̂)": (
            given - mean(given)
        )
        / deviation,
        "the mean term and the third term are missing: mean and spread are treated as if x did not move them": given / deviation,
        "the weight is missing: y = x̂ weight + bias, so what comes back to x̂ is dy weight": (
            dy - mean(dy) - normal * mean(dy * normal)
        )
        / deviation,
        "the weight is applied last; it stands behind the norm, so it comes first on the way back": weight
        * (dy - mean(dy) - normal * mean(dy * normal))
        / deviation,
        "the division by the deviation is missing": right * deviation,
        "multiplied by the deviation; divide, as on the way forward": right * deviation**2,
        "divided by the variance; take the root": right / deviation,
        "eps is missing: the deviation is sqrt(variance + eps), here too": (
            given - mean(given) - centred / bare * mean(given * centred / bare)
        )
        / bare,
        "the third term has sums where means should be": (given - mean(given) - normal * (given * normal).sum(1, keepdims=True))
        / deviation,
        "the mean term has a sum where a mean should be": (given - given.sum(1, keepdims=True) - normal * along) / deviation,
        "the third term is not multiplied by x̂ a second time": (given - mean(given) - along) / deviation,
        "the third term has the centred x where the normalised one, x̂, should be": (
            given - mean(given) - centred * mean(given * centred)
        )
        / deviation,
        "the third term has x where the normalised one, x̂, should be": (given - mean(given) - x * mean(given * x)) / deviation,
        "the means run over the frames; layer norm goes over the channels of each frame": (
            given - mean(given, 0) - normal * mean(given * normal, 0)
        )
        / deviation,
    }
    agree(call(pullback, dy, x, weight, eps, on=on), right, slips, on=on)
    passed("layer norm: three terms, so that shifting or stretching a frame is not asked for")


def check_ctc_gradient(gradient: Callable[[Array, Array, Array], Any]) -> None:
    """gradient(logits, occupancy, states): of the CTC loss of one clip.  (T, V), (T, S), (S,) ids -> (T, V)"""
    logits = 1.3 * np.random.default_rng(16).normal(size=(7, 4))
    target = [1, 2, 2]
    on = "7 frames, 4 tokens and the target [1, 2, 2]"
    log_probs = log_softmax(logits)
    problem = (log_probs[None], [target], [7], [3])
    occupancy = ctc.posteriors(ctc.ctc_alpha(*problem, blank=0), ctc.ctc_beta(*problem, blank=0))[0]
    states = ctc.extended_targets([target], blank=0)[0]
    said, possible = softmax(logits), occupancy @ (states[:, None] == np.arange(4))
    overwritten = said.copy()
    overwritten[:, states] -= occupancy
    slips: dict[str, Any] = {
        "that is the gradient at the log-probabilities, minus what was possible; at the logits there is also what was said": -possible,
        "the signs are the wrong way round: what was said minus what was possible": possible - said,
        "where a token has several states only the last one counts: array[:, states] -= ... does not add up over equal ids": (
            overwritten
        ),
        "that is what was said; what was possible is still to be subtracted": said,
        "that is what was possible; it is to be subtracted from what was said": possible,
        "one column a state; expected one a token, the states of a token added up": said[:, states] - occupancy,
        "logits are not probabilities: a softmax over the tokens is missing": logits - possible,
        "log-probabilities stand where probabilities should: use softmax": log_probs - possible,
        "the softmax runs over the frames; the tokens of a frame are what sums to 1": softmax(logits.T).T - possible,
        "divided by the length of the target; the loss meant here is not": (said - possible) / 3,
        "divided by the number of frames; the loss meant here is not": (said - possible) / 7,
    }
    agree(call(gradient, logits, occupancy, states, on=on), said - possible, slips, on=on)
    passed("CTC: what was said minus what was possible")


def check_two_residuals(pullback: Callable[[Array, Callable[[Array], Array], Callable[[Array], Array]], Any]) -> None:
    """pullback(dz, f_back, g_back): of y = x + f(x), z = y + g(y).  (N, C), the pullbacks of f and g -> dx (N, C)"""
    rng = np.random.default_rng(17)
    dz, f_weight, g_weight = rng.normal(size=(5, 4)), rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    on = "5 frames and 4 channels"

    def f_back(dy: Array) -> Array:
        return dy @ f_weight

    def g_back(dy: Array) -> Array:
        return dy @ g_weight

    through_g = g_back(dz)
    dy = dz + through_g
    once, both = "the gradient is counted once", "it goes past the block and through it, and both are to be added"
    slips: dict[str, Any] = {
        f"{once} at both residuals, through the blocks only; {both}": f_back(through_g),
        f"{once} at both residuals, past the blocks only; {both}": dz,
        f"{once} at z = y + g(y), through g only; {both}": through_g + f_back(through_g),
        f"{once} at z = y + g(y), past g only; {both}": dz + f_back(dz),
        f"{once} at y = x + f(x), through f only; {both}": f_back(dy),
        f"{once} at y = x + f(x), past f only; {both}": dy,
        f"{once} at each residual, past g and through f; {both}": f_back(dz),
        f"{once} at each residual, through g and past f; {both}": through_g,
        "it went all or nothing, past both blocks or through both; it may also go past one and through the other": dz
        + f_back(through_g),
        "dz goes past both blocks, but what came back through g does not go past f": dz + f_back(dy),
        "the way through both blocks is missing: f is given dz; it should be given the gradient at y, past g plus through g": dy
        + f_back(dz),
        "the order is that of the forward pass; the way back begins with the last block, g": dz
        + f_back(dz)
        + g_back(dz + f_back(dz)),
        "the gradient that goes past is counted twice at z = y + g(y)": dy + dz + f_back(dy + dz),
        "the gradient that goes past is counted twice at y = x + f(x)": 2 * dy + f_back(dy),
        "averaged over the ways; they add up": (dy + f_back(dy)) / 4,
    }
    agree(call(pullback, dz, f_back, g_back, on=on), dy + f_back(dy), slips, on=on)
    passed("residuals: past and through, added up, four ways in all")
