"""Group norm and layer norm against sums over Python floats, and against torch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import EPS32, assert_close64, assert_equals_torch, assert_good_manners, few, scale_error
from sewnp.errors import InputError
from sewnp.layers import group_norm, layer_norm

seeds = st.integers(0, 10**6)
epsilons = st.sampled_from([1e-5, 1e-7, 1e-1])


def moments(values):
    """Mean and biased variance of some numbers, summed exactly."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / len(values)


def loop_group_norm(x, weight, bias, *, groups, eps):
    batch, frames, channels = x.shape
    y = np.empty_like(x)
    for b in range(batch):
        for g in range(groups):
            members = range(g * channels // groups, (g + 1) * channels // groups)
            mean, variance = moments([x[b, t, c] for t in range(frames) for c in members])
            for t in range(frames):
                for c in members:
                    y[b, t, c] = (x[b, t, c] - mean) / math.sqrt(variance + eps) * weight[c] + bias[c]
    return y


def loop_layer_norm(x, weight, bias, *, eps):
    y = np.empty_like(x)
    for i in np.ndindex(x.shape[:-1]):
        mean, variance = moments(x[i].tolist())
        for c in range(x.shape[-1]):
            y[i][c] = (x[i][c] - mean) / math.sqrt(variance + eps) * weight[c] + bias[c]
    return y


def problem(seed, *shape):
    """x with a mean and spread of its own in each channel, weight and bias."""
    rng = np.random.default_rng(seed)
    channels = shape[-1]
    x = rng.normal(size=shape) * rng.uniform(0.1, 3, size=channels) + rng.normal(scale=2, size=channels)
    return x, rng.normal(size=channels), rng.normal(size=channels)


@few
@given(seeds, st.integers(1, 2), st.integers(2, 6), st.integers(1, 3), st.integers(1, 3), epsilons)
def test_group_norm_equals_a_loop(seed, batch, frames, groups, per_group, eps):
    arguments = problem(seed, batch, frames, groups * per_group)
    assert_close64(group_norm(*arguments, groups=groups, eps=eps), loop_group_norm(*arguments, groups=groups, eps=eps))


@few
@given(seeds, st.integers(1, 3), st.integers(2, 400), st.integers(1, 8), st.integers(1, 4), epsilons)
def test_group_norm_equals_torch(seed, batch, frames, groups, per_group, eps):
    import torch

    assert_equals_torch(
        lambda *arguments: group_norm(*arguments, groups=groups, eps=eps),
        lambda x, weight, bias: torch.nn.functional.group_norm(x.mT, groups, weight, bias, eps).mT,
        *problem(seed, batch, frames, groups * per_group),
    )


@few
@given(seeds, st.lists(st.integers(1, 3), max_size=2), st.integers(1, 6), epsilons)
def test_layer_norm_equals_a_loop(seed, shape, channels, eps):
    arguments = problem(seed, *shape, channels)
    assert_close64(layer_norm(*arguments, eps=eps), loop_layer_norm(*arguments, eps=eps))


@few
@given(seeds, st.integers(1, 3), st.integers(1, 20), st.integers(2, 800), epsilons)
def test_layer_norm_equals_torch(seed, batch, frames, channels, eps):
    import torch

    assert_equals_torch(
        lambda *arguments: layer_norm(*arguments, eps=eps),
        lambda x, weight, bias: torch.nn.functional.layer_norm(x, (channels,), weight, bias, eps),
        *problem(seed, batch, frames, channels),
    )


def test_group_norm_of_a_million_frames_in_float32_loses_nothing():
    """An hour of speech has as many: the statistics accumulate in float64, and what is left is the rounding of the last few steps."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1, 10**6, 2)) * [1, 0.05] + [3, 1]).astype(np.float32)
    weight, bias = np.ones(2, np.float32), np.zeros(2, np.float32)
    truth = group_norm(x.astype(np.float64), weight.astype(np.float64), bias.astype(np.float64), groups=2)
    # each step rounds once, at half an eps of values up to |x - mean| / deviation, and x - mean carries the mean's own rounding
    assert scale_error(group_norm(x, weight, bias, groups=2), truth) <= 4 * EPS32

    # the mutant that this test is here to catch: means in the array's own float32, as x.mean(axis=1) takes them
    mean = x.mean(axis=1, keepdims=True)
    naive = (x - mean) / np.sqrt(np.square(x - mean).mean(axis=1, keepdims=True) + np.float32(1e-5))
    assert naive.dtype == np.float32
    assert scale_error(naive, truth) > 100 * EPS32


def test_group_norm_of_a_million_frames_equals_plain_float64_arithmetic():
    """The truth of the test above, taken from its own formula."""
    x = np.random.default_rng(0).normal(size=(1, 10**6, 1)) + 3
    plain = (x - x.mean()) / math.sqrt(x.var() + 1e-5)
    assert_close64(group_norm(x, np.ones(1), np.zeros(1), groups=1), plain)


@pytest.mark.parametrize("offset", [100.0, 1e4])
def test_group_norm_of_a_small_signal_on_a_large_offset(offset):
    """In float32 the mean of such a signal rounds; the variance is freed of that rounding, which would otherwise enter it squared."""
    x = (np.random.default_rng(1).normal(scale=1e-2, size=(1, 5000, 1)) + offset).astype(np.float32)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    y = group_norm(x, one, zero, groups=1)
    x64 = x.astype(np.float64)
    deviation = math.sqrt(x64.var() + 1e-5)
    np.testing.assert_allclose(np.std(y.astype(np.float64)), np.std(x64) / deviation, rtol=1e-6)
    # what cannot be helped: the mean is off by half a float32 step of the offset
    assert np.abs(y - (x64 - x64.mean()) / deviation).max() <= 1.01 * offset * EPS32 / deviation


def test_group_norm_divides_by_the_biased_variance():
    """Two values at distance 2: the biased variance is 1, the unbiased one 2."""
    x = np.array([[[-1.0], [1.0]]])
    np.testing.assert_allclose(group_norm(x, np.ones(1), np.zeros(1), groups=1, eps=0.0), x, rtol=1e-15)


def test_layer_norm_divides_by_the_biased_variance():
    x = np.array([[[-1.0, 1.0]]])
    np.testing.assert_allclose(layer_norm(x, np.ones(2), np.zeros(2), eps=0.0), x, rtol=1e-15)


def test_the_epsilon_of_group_norm_is_that_of_torch_by_default():
    """The convolution stack's epsilon is fixed, whatever layer_norm_eps says.  A signal so faint that it decides the result."""
    x, weight, bias = problem(2, 1, 9, 4)
    x *= 1e-3
    assert_close64(group_norm(x, weight, bias, groups=4), loop_group_norm(x, weight, bias, groups=4, eps=1e-5))

    import torch

    assert torch.nn.GroupNorm(4, 4).eps == 1e-5


def test_the_statistics_of_group_norm_include_padding():
    """A quirk of SEW with feat_extract_norm "group": zeros behind a clip change every one of its frames."""
    x, weight, bias = problem(3, 1, 10, 4)
    padded = np.pad(x, ((0, 0), (0, 5), (0, 0)))
    alone, together = group_norm(x, weight, bias, groups=4), group_norm(padded, weight, bias, groups=4)[:, :10]
    assert np.abs(alone - together).max() > 0.1


@pytest.mark.parametrize("value", [0.0, 7.25, 1e6])
def test_a_constant_signal_becomes_the_bias(value):
    """No spread: epsilon keeps the division finite, and what is left of x is 0."""
    bias = np.array([1.0, -2.0])
    for dtype in (np.float32, np.float64):
        x = np.full((2, 50, 2), value, dtype)
        np.testing.assert_array_equal(
            group_norm(x, np.ones(2, dtype), bias.astype(dtype), groups=2), np.broadcast_to(bias, x.shape)
        )
        np.testing.assert_array_equal(
            layer_norm(x, np.ones(2, dtype), bias.astype(dtype), eps=1e-5), np.broadcast_to(bias, x.shape)
        )


def test_one_value_to_normalise_is_refused_where_torch_refuses_it():
    """A single clip with a single frame; two clips of one frame are fine, in torch and here, although each is normalised alone."""
    import torch

    def ours(batch, frames, channels, groups):
        return group_norm(np.zeros((batch, frames, channels)), np.ones(channels), np.zeros(channels), groups=groups)

    def theirs(batch, frames, channels, groups):
        return torch.nn.functional.group_norm(torch.zeros(batch, channels, frames), groups)

    with pytest.raises(
        InputError, match=r"group_norm: expected more than 1 value per group, found shape \(1, 1, 4\) with 4 groups"
    ):
        ours(1, 1, 4, 4)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
        theirs(1, 1, 4, 4)
    for shape in [(2, 1, 4, 4), (1, 2, 4, 4), (1, 1, 4, 2)]:
        assert not ours(*shape).any()
        assert not theirs(*shape).any()


def test_good_manners():
    arguments = problem(4, 2, 7, 6)
    assert_good_manners(lambda *given: group_norm(*given, groups=3), *arguments)
    assert_good_manners(lambda *given: layer_norm(*given, eps=1e-5), *arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: group_norm(x, np.ones(6), np.ones(6), groups=4), "group_norm: 6 channels do not divide into 4 groups"),
        (lambda x: group_norm(x, np.ones(3), np.ones(6), groups=3), r"group_norm weight: expected shape \(6,\), found \(3,\)"),
        (lambda x: group_norm(x, np.ones(6), np.ones(1), groups=3), r"group_norm bias: expected shape \(6,\), found \(1,\)"),
        (lambda x: layer_norm(x, np.ones(1), np.ones(6), eps=1e-5), r"layer_norm weight: expected shape \(6,\), found \(1,\)"),
        (lambda x: layer_norm(x, np.ones(6), np.ones((5, 6)), eps=1e-5), r"layer_norm bias: expected shape \(6,\), found \(5, 6\)"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(np.zeros((2, 5, 6)))
