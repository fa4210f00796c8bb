"""Convolutions and weight norm against sums over Python floats, and against torch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import EPS32, assert_close64, assert_equals_torch, assert_good_manners, few, scale_error
from sewnp.errors import InputError
from sewnp.layers import conv1d, conv_length, grouped_conv1d, weight_norm

seeds = st.integers(0, 10**6)


def loop_conv(x, weight, bias, *, groups=1, stride=1, padding=0):
    """One output number at a time: y[b, t, o] = bias[o] + sum over c, k of w[o, c, k] x[b, stride t + k - padding, c of o's group]."""
    (batch, time, channels), (out, per_group, kernel) = x.shape, weight.shape
    starts = range(-padding, time + padding - kernel + 1, stride)
    y = np.empty((batch, len(starts), out))
    for b in range(batch):
        for t, start in enumerate(starts):
            for o in range(out):
                first = o // (out // groups) * (channels // groups)
                products = [
                    weight[o, c, k] * x[b, start + k, first + c]
                    for c in range(per_group)
                    for k in range(kernel)
                    if 0 <= start + k < time
                ]
                y[b, t, o] = math.fsum(products) + (0.0 if bias is None else bias[o])
    return y


def kernel_and_bias(rng, out, inputs, kernel, biased):
    p = {"weight": rng.normal(size=(out, inputs, kernel)) / math.sqrt(inputs * kernel)}
    return p | {"bias": rng.normal(size=out)} if biased else p


@few
@given(
    seeds,
    st.integers(1, 2),
    st.integers(0, 6),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
)
def test_conv1d_equals_a_loop(seed, batch, extra, channels, out, kernel, stride, biased):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(batch, kernel + extra, channels)), kernel_and_bias(rng, out, channels, kernel, biased)
    assert_close64(conv1d(x, **p, stride=stride), loop_conv(x, p["weight"], p.get("bias"), stride=stride))


@few
@given(
    seeds,
    st.integers(1, 3),
    st.integers(0, 90),
    st.integers(1, 20),
    st.integers(1, 20),
    st.integers(1, 10),
    st.integers(1, 5),
    st.booleans(),
)
def test_conv1d_equals_torch(seed, batch, extra, channels, out, kernel, stride, biased):
    import torch

    rng = np.random.default_rng(seed)
    assert_equals_torch(
        lambda x, p: conv1d(x, **p, stride=stride),
        lambda x, p: torch.nn.functional.conv1d(x.mT, **p, stride=stride).mT,
        rng.normal(size=(batch, kernel + extra, channels)),
        kernel_and_bias(rng, out, channels, kernel, biased),
    )


@few
@given(
    seeds,
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(1, 2),
    st.integers(1, 7),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
)
def test_grouped_conv1d_equals_a_loop(seed, groups, inputs, outputs, time, kernel, stride, biased):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(2, time, groups * inputs)), kernel_and_bias(rng, groups * outputs, inputs, kernel, biased)
    options = {"groups": groups, "stride": stride, "padding": kernel // 2}
    assert_close64(grouped_conv1d(x, **p, **options), loop_conv(x, p["weight"], p.get("bias"), **options))


@few
@given(
    seeds,
    st.integers(1, 16),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(1, 40),
    st.integers(1, 31),
    st.integers(1, 4),
    st.booleans(),
)
def test_grouped_conv1d_equals_torch(seed, groups, inputs, outputs, time, kernel, stride, biased):
    import torch

    rng = np.random.default_rng(seed)
    options = {"groups": groups, "stride": stride, "padding": kernel // 2}
    assert_equals_torch(
        lambda x, p: grouped_conv1d(x, **p, **options),
        lambda x, p: torch.nn.functional.conv1d(x.mT, **p, **options).mT,
        rng.normal(size=(2, time, groups * inputs)),
        kernel_and_bias(rng, groups * outputs, inputs, kernel, biased),
    )


def test_with_one_group_and_no_padding_the_two_are_the_same():
    rng = np.random.default_rng(0)
    x, p = rng.normal(size=(2, 9, 3)), kernel_and_bias(rng, 4, 3, 3, True)
    assert_close64(grouped_conv1d(x, **p, groups=1, stride=2), conv1d(x, **p, stride=2))
    assert_close64(grouped_conv1d(x, **p, groups=1), conv1d(x, **p))
    assert_close64(conv1d(x, **p), loop_conv(x, **p))


def test_an_output_group_sees_its_own_input_group_only():
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(1, 8, 6)), rng.normal(size=(4, 3, 3))
    before = grouped_conv1d(x, weight, groups=2)
    after = grouped_conv1d(np.concatenate([x[:, :, :3], rng.normal(size=(1, 8, 3))], axis=2), weight, groups=2)
    np.testing.assert_array_equal(after[:, :, :2], before[:, :, :2])
    assert (after[:, :, 2:] != before[:, :, 2:]).all()


@few
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 7))
def test_conv_length_counts_the_places_where_the_kernel_fits(length, kernel, stride):
    places = len(range(0, length - kernel + 1, stride))
    assert max(conv_length(length, kernel=kernel, stride=stride), 0) == places


def test_conv_length_floors_below_zero_too():
    """Lengths go through the recursion of transformers, which divides with a floor: 0 samples become 0 or fewer frames, not 1."""
    assert [conv_length(n, kernel=10, stride=5) for n in (10, 9, 5, 4, 0, -1)] == [1, 0, 0, -1, -1, -2]


def loop_weight_norm(weight_g, weight_v):
    weight = np.empty_like(weight_v)
    out, inputs, kernel = weight_v.shape
    for k in range(kernel):
        norm = math.sqrt(math.fsum(weight_v[o, c, k] ** 2 for o in range(out) for c in range(inputs)))
        for o in range(out):
            for c in range(inputs):
                weight[o, c, k] = weight_g[0, 0, k] * weight_v[o, c, k] / norm
    return weight


@few
@given(seeds, st.integers(1, 5), st.integers(1, 4), st.integers(1, 6))
def test_weight_norm_equals_a_loop(seed, out, inputs, kernel):
    rng = np.random.default_rng(seed)
    weight_g, weight_v = rng.normal(size=(1, 1, kernel)), rng.normal(size=(out, inputs, kernel))
    assert_close64(weight_norm(weight_g, weight_v), loop_weight_norm(weight_g, weight_v))


@few
@given(seeds, st.integers(1, 60), st.integers(1, 20), st.integers(1, 40))
def test_weight_norm_equals_the_parametrization_of_torch(seed, out, inputs, kernel):
    import torch

    def theirs(weight_g, weight_v):
        conv = torch.nn.Conv1d(inputs, out, kernel, bias=False, dtype=weight_v.dtype)
        conv = torch.nn.utils.parametrizations.weight_norm(conv, name="weight", dim=2)
        conv.parametrizations.weight.original0.data = weight_g
        conv.parametrizations.weight.original1.data = weight_v
        return conv.weight

    rng = np.random.default_rng(seed)
    assert_equals_torch(weight_norm, theirs, rng.normal(size=(1, 1, kernel)), rng.normal(size=(out, inputs, kernel)))


def test_weight_norm_is_one_norm_a_tap():
    rng = np.random.default_rng(2)
    weight_g = np.array([1.0, 2.0, 0.0, -4.0])[None, None]
    weight = weight_norm(weight_g, rng.normal(size=(6, 3, 4)))
    np.testing.assert_allclose(np.sqrt(np.square(weight).sum(axis=(0, 1))), [1, 2, 0, 4], rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [0.0, 3.0])
def test_a_weight_norm_tap_of_zeros_is_nan_as_in_torch_and_no_other_is(length, dtype):
    """No epsilon in the original; that no warning escapes is for pytest's filter to see."""
    import torch

    weight_v = np.random.default_rng(3).normal(size=(4, 2, 3)).astype(dtype)
    weight_v[:, :, 1] = 0
    weight_g = np.full((1, 1, 3), length, dtype=dtype)
    weight = weight_norm(weight_g, weight_v)
    assert np.isnan(weight).all(axis=(0, 1)).tolist() == np.isnan(weight).any(axis=(0, 1)).tolist() == [False, True, False]
    assert torch._weight_norm(torch.tensor(weight_v), torch.tensor(weight_g), 2).isnan()[:, :, 1].all()


def test_weight_norm_in_float32_does_not_show_the_order_of_summation():
    """A tap of the published models sums 768 * 48 squares: the norm is taken in float64 and rounded once."""
    rng = np.random.default_rng(4)
    weight_g, weight_v = rng.normal(size=(1, 1, 3)).astype(np.float32), rng.normal(size=(768, 48, 3)).astype(np.float32)
    truth = weight_norm(weight_g.astype(np.float64), weight_v.astype(np.float64))
    assert scale_error(weight_norm(weight_g, weight_v), truth) <= EPS32  # two roundings, of the scale and of the product


def test_good_manners():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2, 9, 4))
    for biased in (True, False):
        assert_good_manners(lambda x, p: conv1d(x, **p, stride=2), x, kernel_and_bias(rng, 3, 4, 3, biased))
        assert_good_manners(lambda x, p: grouped_conv1d(x, **p, groups=2, padding=1), x, kernel_and_bias(rng, 6, 2, 3, biased))
    assert_good_manners(weight_norm, rng.normal(size=(1, 1, 3)), rng.normal(size=(4, 2, 3)))
    assert_good_manners(weight_norm, np.ones((1, 1, 3)), np.zeros((4, 2, 3)))


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((1, 2, 3), (4, 3, 3), None, r"conv1d: expected at least 3 frames \(one kernel\), found 2"),
        ((1, 9, 3), (4, 2, 3), None, r"conv1d weight: expected shape \(\*, 3, \*\), found \(4, 2, 3\)"),
        ((1, 9, 3), (4, 3), None, r"conv1d weight: expected shape \(\*, 3, \*\), found \(4, 3\)"),
        ((1, 9, 3), (4, 3, 3), (1,), r"conv1d bias: expected shape \(4,\), found \(1,\)"),
    ],
)
def test_conv1d_refuses_what_does_not_fit(x, weight, bias, message):
    with pytest.raises(InputError, match=message):
        conv1d(np.zeros(x), np.zeros(weight), None if bias is None else np.zeros(bias))


@pytest.mark.parametrize(
    ("x", "weight", "bias", "message"),
    [
        ((1, 9, 5), (4, 2, 3), None, "grouped_conv1d: 5 input and 4 output channels do not divide into 2 groups"),
        ((1, 9, 4), (3, 2, 3), None, "grouped_conv1d: 4 input and 3 output channels do not divide into 2 groups"),
        ((1, 9, 4), (4, 4, 3), None, r"grouped_conv1d weight: expected shape \(\*, 2, \*\), found \(4, 4, 3\)"),
        ((1, 9, 4), (4, 2, 3), (2,), r"grouped_conv1d bias: expected shape \(4,\), found \(2,\)"),
        ((1, 2, 4), (4, 2, 5), None, r"grouped_conv1d: expected at least 5 frames \(one kernel\), found 4"),
    ],
)
def test_grouped_conv1d_refuses_what_does_not_fit(x, weight, bias, message):
    with pytest.raises(InputError, match=message):
        grouped_conv1d(np.zeros(x), np.zeros(weight), None if bias is None else np.zeros(bias), groups=2, padding=1)


@pytest.mark.parametrize("weight_g", [(1, 1, 4), (3,), (4, 1, 3), (4, 1, 1)])
def test_weight_norm_refuses_lengths_that_are_not_one_a_tap(weight_g):
    with pytest.raises(InputError, match=r"weight_g: expected shape \(1, 1, 3\), found \("):
        weight_norm(np.ones(weight_g), np.ones((4, 2, 3)))
