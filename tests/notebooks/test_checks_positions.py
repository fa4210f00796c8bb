import numpy as np
import pytest
from checks.positions import check_dense_kernel, check_position_frames, check_weight_norm


def right_fold(g, v):
    return g * v / np.sqrt(np.square(v).sum(axis=(0, 1), keepdims=True))


def right_dense_kernel(weight, groups):
    out, size, kernel = weight.shape
    dense = np.zeros((out, groups * size, kernel))
    for o in range(out):
        start = o // (out // groups) * size
        dense[o, start : start + size] = weight[o]
    return dense


def right_position_frames(frames, kernel, stride):
    made = (frames + 2 * (kernel // 2) - kernel) // stride + 1
    return made, min(made - (kernel % 2 == 0), frames // stride)


@pytest.mark.parametrize(
    ("check", "function"),
    [
        (check_weight_norm, right_fold),
        (check_dense_kernel, right_dense_kernel),
        (check_position_frames, right_position_frames),
    ],
)
def test_the_solution_passes(check, function, capsys):
    check(function)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda g, v: right_fold(np.ones_like(g), v), "g is missing"),
        (lambda g, v: g * v / np.sqrt(np.square(v).sum(axis=(0, 1), keepdims=True) + 1e-12), "is there an epsilon"),
        (lambda g, v: g * v, "v is not brought to length 1"),
        (lambda g, v: g * v / np.square(v).sum(axis=(0, 1), keepdims=True), "the root is missing"),
        (lambda g, v: g * v / np.sqrt(np.square(v).sum()), "one length for the whole kernel"),
        (lambda g, v: g * v / np.sqrt(np.square(v).sum(axis=(1, 2), keepdims=True)), "each output channel"),
        (lambda g, v: g * v / np.sqrt(np.square(v).sum(axis=2, keepdims=True)), "along the taps"),
        (lambda g, v: g * v / np.sqrt(np.square(v).mean(axis=(0, 1), keepdims=True)), "the mean square's root"),
    ],
)
def test_check_weight_norm_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_weight_norm(function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda w, groups: np.tile(w, (1, groups, 1)), "repeated for every group"),
        (lambda w, groups: w, "the grouped kernel as it was"),
        (lambda w, groups: np.pad(w, ((0, 0), (0, (groups - 1) * w.shape[1]), (0, 0))), "every group reads the first channels"),
        (
            lambda w, groups: right_dense_kernel(w, groups)[:, ::-1],
            "output channel 0 is in group 0, which reads input channels 0 to 1",
        ),
        (lambda w, groups: right_dense_kernel(w, groups) + 1, r"so this is weight\[0, 0, 0\]"),
        (lambda w, groups: right_dense_kernel(w, groups)[..., 0], "the shape is"),
    ],
)
def test_check_dense_kernel_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_dense_kernel(function)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda t, k, s: right_position_frames(t, k, s)[0], "expected two numbers"),
        (lambda t, k, s: ((t + k // 2 - k) // s + 1, t // s), "counts twice"),
        (lambda t, k, s: ((t - k) // s + 1, t // s), "is missing"),
        (lambda t, k, s: (right_position_frames(t, k, s)[0],) * 2, "74 squeezed frames|85 squeezed frames"),
        (lambda t, k, s: (right_position_frames(t, k, s)[0], right_position_frames(t, k, s)[0] - (k % 2 == 1)), "K = 31"),
        (lambda t, k, s: (t + 2 * (k // 2) - k + 1, t // s), "the stride is missing"),
    ],
)
def test_check_position_frames_names_the_mistake(function, message):
    with pytest.raises(AssertionError, match=message):
        check_position_frames(function)
