import numpy as np
import pytest
from checks.squeeze import check_layer_cost, check_squeeze, check_unfold


def right_squeeze(x, factor):
    batch, frames, channels = x.shape
    groups = frames // factor
    return x[:, : groups * factor].reshape(batch, groups, factor, channels).mean(axis=2)


def right_unfold(y, factor, frames):
    batch, groups, wide = y.shape
    flat = y.reshape(batch, groups * factor, wide // factor)
    return np.concatenate([flat, np.zeros((batch, frames - groups * factor, wide // factor))], axis=1)


def right_layer_cost(frames, hidden, intermediate):
    return frames * (4 * hidden**2 + 2 * hidden * intermediate) + 2 * frames**2 * hidden


def with_its_own_tail(x, factor):
    return np.stack([x[:, i : i + factor].mean(axis=1) for i in range(0, x.shape[1], factor)], axis=1)


def in_place(x, factor):
    x *= 1.0 / factor
    return right_squeeze(x, 1)


@pytest.mark.parametrize(
    ("check", "function"),
    [(check_squeeze, right_squeeze), (check_unfold, right_unfold), (check_layer_cost, right_layer_cost)],
)
def test_the_solution_passes(check, function, capsys):
    check(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, f: None, "is a return missing"),
        (lambda x, f: x, "nothing was squeezed"),
        (lambda x, f: right_squeeze(x, f) * f, "these are sums"),
        (lambda x, f: x[:, : x.shape[1] // f * f : f], "throws the others away"),
        (lambda x, f: right_squeeze(x.swapaxes(1, 2), f), "the shape is"),
        (lambda x, f: x.reshape(len(x), -1, f, x.shape[2]).mean(axis=2), "7 frames and factor 2 it stops with ValueError"),
        (lambda x, f: x[:, : x.shape[1] // f * f].reshape(len(x), f, -1, x.shape[2]).mean(axis=1), "far apart"),
        (with_its_own_tail, "a frame of its own"),
        (lambda x, f: right_squeeze(x[:, x.shape[1] % f :], f), "drops the first frames"),
        (in_place, "changes its argument"),
        (lambda x, f: right_squeeze(x, f) + 1.0, "the values are not"),
    ],
)
def test_check_squeeze_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_squeeze(function)


def unfold_with(order):
    def unfold(y, factor, frames):
        batch, groups, wide = y.shape
        blocks = order(y.reshape(batch, groups, factor, wide // factor))
        return np.pad(blocks.reshape(batch, groups * factor, -1), ((0, 0), (0, frames - groups * factor), (0, 0)))

    return unfold


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (unfold_with(lambda blocks: np.repeat(blocks[:, :, :1], blocks.shape[2], axis=2)), "block 0: each block"),
        (unfold_with(lambda blocks: blocks[:, :, ::-1]), "wrong order"),
        (unfold_with(lambda blocks: blocks.swapaxes(1, 2)), "time runs twice"),
        (lambda y, f, t: right_unfold(y, f, y.shape[1] * f), "the tail is missing: 8 frames"),
        (
            lambda y, f, t: right_unfold(y, f, t)[:, [*range(y.shape[1] * f), *[y.shape[1] * f - 1] * (t % f)]],
            "repeats the last frame",
        ),
        (lambda y, f, t: np.roll(right_unfold(y, f, t), t % f, axis=1), "zeros stand at the beginning"),
        (
            lambda y, f, t: right_unfold(y.reshape(*y.shape[:2], -1, f).swapaxes(2, 3).reshape(y.shape), f, t),
            "so-many-th channel",
        ),
    ],
)
def test_check_unfold_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_unfold(function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda n, h, i: n * (4 * h * h + 2 * h * i), "every frame meets every frame is missing"),
        (lambda n, h, i: n * (4 * h * h + n * h + 2 * h * i), "counted once"),
        (lambda n, h, i: n * (3 * h * h + 2 * n * h + 2 * h * i), "one projection is missing"),
        (lambda n, h, i: 2 * right_layer_cost(n, h, i), "exactly twice too much"),
        (lambda n, h, i: right_layer_cost(n, h, i) + 1, "the values are not"),
        (lambda n, h, i: right_layer_cost(n, h, i) // n, "the cost of one frame"),
    ],
)
def test_check_layer_cost_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_layer_cost(function)
