"""The checks of notebook 13: solutions pass, typical mistakes are named."""

import numpy as np
import pytest
from checks.gradients import (
    check_ctc_gradient,
    check_layer_norm_pullback,
    check_linear_pullback,
    check_softmax_pullback,
    check_two_residuals,
)

from sewnp.layers import layer_norm_vjp, linear_vjp, log_softmax, softmax


def linear(dy, x, weight):
    dx, grads = linear_vjp(x, weight, np.zeros(len(weight)))[1](dy)
    return dx, grads["weight"], grads["bias"]


def linear_by_loops(dy, x, weight):
    dx, dweight, dbias = np.zeros_like(x), np.zeros_like(weight), np.zeros(len(weight))
    for b, t, o in np.ndindex(dy.shape):
        dx[b, t] += dy[b, t, o] * weight[o]
        dweight[o] += dy[b, t, o] * x[b, t]
        dbias[o] += dy[b, t, o]
    return [dx, dweight, dbias]


def softmax_pullback(dy, y):
    return y * (dy - (y * dy).sum(axis=1, keepdims=True))


def softmax_by_matrix(dy, y):
    return np.stack([(np.diag(share) - np.outer(share, share)) @ slope for share, slope in zip(y, dy, strict=True)])


def layer_norm(dy, x, weight, eps):
    return layer_norm_vjp(x, weight, np.zeros(len(weight)), eps=eps)[1](dy)[0]


def layer_norm_by_matrix(dy, x, weight, eps):
    rows = []
    for frame, slope in zip(x, dy, strict=True):
        size = len(frame)
        centred = frame - frame.mean()
        deviation = np.sqrt(centred @ centred / size + eps)
        jacobian = (np.eye(size) - 1 / size) / deviation - np.outer(centred, centred) / size / deviation**3
        rows.append(jacobian.T @ (slope * weight))
    return np.array(rows)


def ctc_gradient(logits, occupancy, states):
    return softmax(logits) - occupancy @ (states[:, None] == np.arange(logits.shape[1]))


def ctc_by_add_at(logits, occupancy, states):
    found = softmax(logits)
    np.subtract.at(found.T, states, occupancy.T)
    return found


def residuals(dz, f_back, g_back):
    dy = dz + g_back(dz)
    return dy + f_back(dy)


def residuals_by_ways(dz, f_back, g_back):
    return dz + g_back(dz) + f_back(dz) + f_back(g_back(dz))


@pytest.mark.parametrize(
    ("check", "solution"),
    [
        (check_linear_pullback, linear),
        (check_linear_pullback, linear_by_loops),
        (check_softmax_pullback, softmax_pullback),
        (check_softmax_pullback, softmax_by_matrix),
        (check_layer_norm_pullback, layer_norm),
        (check_layer_norm_pullback, layer_norm_by_matrix),
        (check_ctc_gradient, ctc_gradient),
        (check_ctc_gradient, ctc_by_add_at),
        (check_two_residuals, residuals),
        (check_two_residuals, residuals_by_ways),
    ],
)
def test_the_solution_passes(check, solution, capsys):
    check(solution)
    assert capsys.readouterr().out.startswith("✓ ")


def but(number, wrong):
    """The pullback of linear with one of its three results replaced."""

    def pullback(dy, x, weight):
        found = list(linear(dy, x, weight))
        found[number] = wrong(dy, x, weight)
        return tuple(found)

    return pullback


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda dy, x, weight: linear(dy, x, weight)[0], "expected three arrays"),
        (but(0, lambda dy, x, weight: dy @ weight.T), "the forward product"),
        (but(0, lambda dy, x, weight: x @ weight), "what goes back is made of dy"),
        (but(0, lambda dy, x, weight: dy), "the weight is missing"),
        (but(1, lambda dy, x, weight: linear(dy, x, weight)[1].T), "transposed: a gradient is shaped"),
        (but(1, lambda dy, x, weight: linear(dy, x, weight)[1] / 10), "averaged over the frames; each frame used"),
        (but(1, lambda dy, x, weight: np.einsum("bto,bti->btoi", dy, x)), "one gradient a frame"),
        (but(1, lambda dy, x, weight: dy.swapaxes(1, 2) @ x), "one gradient a clip"),
        (but(1, lambda dy, x, weight: np.einsum("bto,bti->toi", dy, x)), "over the clips only; the frames share the weight"),
        (but(1, lambda dy, x, weight: (dy.swapaxes(1, 2) @ x).mean(axis=0)), "averaged over the clips"),
        (but(1, lambda dy, x, weight: np.tile(dy.sum(axis=(0, 1))[:, None], x.shape[2])), "what came back is to be multiplied"),
        (but(2, lambda dy, x, weight: dy), "the bias was added to every frame"),
        (but(2, lambda dy, x, weight: dy.mean(axis=(0, 1))), "averaged over the frames; add up"),
        (but(2, lambda dy, x, weight: dy.sum(axis=1)), "the clips share the bias too"),
        (but(2, lambda dy, x, weight: dy.sum(axis=0)), "the frames share the bias too"),
        (but(2, lambda dy, x, weight: dy.sum()), "each channel has its own bias"),
        (but(2, lambda dy, x, weight: 2 * linear(dy, x, weight)[2]), "dbias the shape is right and the values are not"),
        (but(2, lambda dy, x, weight: None), "is a return missing"),
    ],
)
def test_wrong_linear_pullbacks_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_linear_pullback(wrong)


def in_place(dy, y):
    dy -= (y * dy).sum(axis=1, keepdims=True)
    return y * dy


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda dy, y: y * dy, "the row sum is forgotten"),
        (lambda dy, y: y * (1 - y) * dy, "only the diagonal"),
        (lambda dy, y: y * dy - (y * dy).sum(axis=1, keepdims=True), "outside the bracket"),
        (lambda dy, y: y * (dy - dy.sum(axis=1, keepdims=True)), "that of dy alone"),
        (lambda dy, y: y * (dy - dy.mean(axis=1, keepdims=True)), "the mean of dy is subtracted"),
        (lambda dy, y: y * (dy - (y * dy).mean(axis=1, keepdims=True)), "y dy is averaged"),
        (lambda dy, y: y * (dy - (y * dy).sum(axis=0)), "down the columns"),
        (lambda dy, y: y * (dy - (y * dy).sum()), "over everything"),
        (lambda dy, y: -softmax_pullback(dy, y), "signs are the wrong way round"),
        (lambda dy, y: dy - (y * dy).sum(axis=1, keepdims=True), "the factor y in front is missing"),
        (lambda dy, y: dy - y * dy.sum(axis=1, keepdims=True), "log softmax"),
        (lambda dy, y: 2 * softmax_pullback(dy, y), "the shape is right and the values are not"),
        (in_place, "changes its argument"),
        (lambda dy, y: None, "is a return missing"),
    ],
)
def test_wrong_softmax_pullbacks_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_softmax_pullback(wrong)


def norm_with(*, mean=True, along=True, axis=1, of="normal", weight_first=True, sums=(), eps_in=True, again=True, power=1):
    """A pullback of layer norm that can be broken in the ways in which it is broken."""

    def pullback(dy, x, weight, eps):
        centred = x - x.mean(axis=1, keepdims=True)
        deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + eps * eps_in)
        normal = {"normal": centred / deviation, "centred": centred, "x": x}[of]
        given = dy * weight if weight_first else dy
        means = {name: np.sum if name in sums else np.mean for name in ("mean", "along")}
        dx = given
        if mean:
            dx = dx - means["mean"](given, axis=axis, keepdims=True)
        if along:
            dx = dx - means["along"](given * normal, axis=axis, keepdims=True) * (normal if again else 1)
        return dx / deviation**power

    return pullback


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (norm_with(mean=False), "the mean term is missing"),
        (norm_with(along=False), "the third term is missing"),
        (norm_with(mean=False, along=False), "the mean term and the third term are missing"),
        (norm_with(weight_first=False), "the weight is missing"),
        (lambda dy, x, weight, eps: norm_with(weight_first=False)(dy, x, weight, eps) * weight, "the weight is applied last"),
        (norm_with(power=0), "the division by the deviation is missing"),
        (norm_with(power=-1), "multiplied by the deviation"),
        (norm_with(power=2), "divided by the variance"),
        (norm_with(eps_in=False), "eps is missing"),
        (norm_with(sums=["along"]), "the third term has sums"),
        (norm_with(sums=["mean"]), "the mean term has a sum"),
        (norm_with(again=False), "not multiplied by x̂ a second time"),
        (norm_with(of="centred"), "has the centred x"),
        (norm_with(of="x"), "has x where"),
        (norm_with(axis=0), "the means run over the frames"),
        (lambda dy, x, weight, eps: layer_norm(dy, x, weight, eps).T, "the shape is"),
    ],
)
def test_wrong_layer_norm_pullbacks_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_layer_norm_pullback(wrong)


def overwriting(logits, occupancy, states):
    found = softmax(logits)
    found[:, states] -= occupancy
    return found


def assigning(logits, occupancy, states):
    possible = np.zeros_like(logits)
    possible[:, states] = occupancy
    return softmax(logits) - possible


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda logits, *rest: ctc_gradient(logits, *rest) - softmax(logits), "the gradient at the log-probabilities"),
        (lambda *given: -ctc_gradient(*given), "signs are the wrong way round"),
        (overwriting, "does not add up over equal ids"),
        (assigning, "only the last one counts"),
        (lambda logits, occupancy, states: softmax(logits), "what was possible is still to be subtracted"),
        (lambda logits, *rest: softmax(logits) - ctc_gradient(logits, *rest), "it is to be subtracted from what was said"),
        (lambda logits, occupancy, states: softmax(logits)[:, states] - occupancy, "one column a state"),
        (lambda logits, *rest: logits - softmax(logits) + ctc_gradient(logits, *rest), "logits are not probabilities"),
        (
            lambda logits, *rest: log_softmax(logits) - softmax(logits) + ctc_gradient(logits, *rest),
            "log-probabilities stand where",
        ),
        (lambda logits, *rest: softmax(logits.T).T - softmax(logits) + ctc_gradient(logits, *rest), "runs over the frames"),
        (lambda *given: ctc_gradient(*given) / 3, "the length of the target"),
        (lambda *given: ctc_gradient(*given) / 7, "the number of frames"),
        (lambda *given: ctc_gradient(*given) + 1, "the values are not"),
    ],
)
def test_wrong_ctc_gradients_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_ctc_gradient(wrong)


def both(dz, g_back):
    return dz + g_back(dz)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda dz, f, g: f(g(dz)), "once at both residuals, through the blocks only"),
        (lambda dz, f, g: dz, "once at both residuals, past the blocks only"),
        (lambda dz, f, g: both(g(dz), f), r"once at z = y \+ g\(y\), through g only"),
        (lambda dz, f, g: both(dz, f), r"once at z = y \+ g\(y\), past g only"),
        (lambda dz, f, g: f(both(dz, g)), r"once at y = x \+ f\(x\), through f only"),
        (lambda dz, f, g: both(dz, g), r"once at y = x \+ f\(x\), past f only"),
        (lambda dz, f, g: f(dz), "once at each residual, past g and through f"),
        (lambda dz, f, g: g(dz), "once at each residual, through g and past f"),
        (lambda dz, f, g: dz + f(both(dz, g)), "does not go past f"),
        (lambda dz, f, g: both(dz, g) + f(dz), "f is given dz"),
        (lambda dz, f, g: dz + f(g(dz)), "all or nothing"),
        (lambda dz, f, g: residuals(dz, g, f), "the way back begins with the last block"),
        (lambda dz, f, g: both(dz + both(dz, g), f), r"counted twice at z = y \+ g\(y\)"),
        (lambda dz, f, g: both(dz, g) + residuals(dz, f, g), r"counted twice at y = x \+ f\(x\)"),
        (lambda dz, f, g: residuals(dz, f, g) / 4, "averaged over the ways"),
        (lambda dz, f, g: 3 * residuals(dz, f, g), "the values are not"),
    ],
)
def test_wrong_residuals_are_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_two_residuals(wrong)
