"""Squeeze and upsample against loops over frames, and against torch and the module of transformers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import affine, assert_close64, assert_equals_torch, assert_good_manners, few, loaded
from sewnp.errors import InputError
from sewnp.layers import activation, squeeze, upsample

seeds = st.integers(0, 10**6)


def loop_squeeze(x, factor):
    batch, frames, channels = x.shape
    y = np.empty((batch, frames // factor, channels))
    for b, n, c in np.ndindex(y.shape):
        y[b, n, c] = math.fsum(x[b, factor * n + j, c] for j in range(factor)) / factor
    return y


def loop_upsample(x, p, *, factor, frames):
    """Frame t of the result is block t % factor of what squeezed frame t // factor becomes; behind the last of them are zeros."""
    weight, bias = p["projection"]["weight"], p["projection"]["bias"]
    batch, squeezed, channels = x.shape
    y = np.zeros((batch, frames, channels))
    for b in range(batch):
        for t in range(squeezed * factor):
            for c in range(channels):
                row = t % factor * channels + c
                y[b, t, c] = math.tanh(math.fsum(weight[row, i] * x[b, t // factor, i] for i in range(channels)) + bias[row])
    return y


@few
@given(seeds, st.integers(1, 3), st.integers(1, 4), st.integers(0, 9), st.integers(1, 4))
def test_squeeze_equals_a_loop(seed, batch, factor, more, channels):
    x = np.random.default_rng(seed).normal(size=(batch, factor + more, channels))
    assert_close64(squeeze(x, factor), loop_squeeze(x, factor))


@few
@given(seeds, st.integers(1, 3), st.integers(1, 5), st.integers(0, 90), st.integers(1, 20))
def test_squeeze_equals_torch(seed, batch, factor, more, channels):
    import torch

    x = np.random.default_rng(seed).normal(size=(batch, factor + more, channels))
    assert_equals_torch(lambda x: squeeze(x, factor), lambda x: torch.nn.functional.avg_pool1d(x.mT, factor, factor).mT, x)


@few
@given(seeds, st.integers(1, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 3))
def test_upsample_equals_a_loop(seed, batch, squeezed, factor, channels, rest):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(batch, squeezed, channels)), {"projection": affine(rng, channels, factor * channels)}
    options = {"factor": factor, "frames": squeezed * factor + rest % factor}
    assert_close64(upsample(x, p, **options, activation=np.tanh), loop_upsample(x, p, **options))


@few
@given(
    seeds,
    st.integers(1, 3),
    st.integers(1, 30),
    st.integers(1, 4),
    st.integers(1, 20),
    st.integers(0, 3),
    st.sampled_from(["gelu", "tanh"]),
)
def test_upsample_equals_the_module_of_transformers(seed, batch, squeezed, factor, channels, rest, act):
    """And behind it the padding that the encoder adds."""
    import torch
    from transformers import SEWConfig
    from transformers.models.sew.modeling_sew import SEWUpsampling

    config = SEWConfig(hidden_size=channels, squeeze_factor=factor, feat_extract_activation=act)
    rest %= factor
    rng = np.random.default_rng(seed)
    assert_equals_torch(
        lambda x, p: upsample(x, p, factor=factor, frames=squeezed * factor + rest, activation=activation(act)),
        lambda x, p: torch.nn.functional.pad(loaded(SEWUpsampling(config), p)(x), (0, 0, 0, rest)),
        rng.normal(size=(batch, squeezed, channels)),
        {"projection": affine(rng, channels, factor * channels)},
    )


def test_average_pool_divides_by_the_factor_padding_included():
    """Masked frames are zeros and count: a half-valid pair of frames is half as large as it would be alone."""
    x = np.array([[[4.0], [0.0], [0.0], [0.0]]])
    assert squeeze(x, 2).tolist() == [[[2.0], [0.0]]]
    assert squeeze(x, 4).tolist() == [[[1.0]]]


def test_squeeze_drops_the_tail_that_fills_no_group():
    x = np.arange(7.0)[None, :, None]
    assert squeeze(x, 3)[0, :, 0].tolist() == [1.0, 4.0]
    assert squeeze(x, 1)[0, :, 0].tolist() == list(range(7))


def test_odd_tail_frames_are_exact_zeros():
    """What the squeeze dropped comes back as zeros, and not as the activation of anything: sigmoid(0) would be 1/2."""
    rng = np.random.default_rng(0)
    p = {"projection": affine(rng, 4, 12)}
    for rest in range(3):
        y = upsample(rng.normal(size=(2, 5, 4)), p, factor=3, frames=15 + rest, activation=activation("sigmoid"))
        assert y.shape == (2, 15 + rest, 4)
        assert (y[:, :15] > 0).all()
        assert not y[:, 15:].any()


def test_upsample_activation_applies_with_factor_one():
    """Nothing is upsampled then, but transformers projects and bends all the same."""
    p = {"projection": {"weight": np.eye(3), "bias": np.zeros(3)}}
    x = np.array([[[-1.0, 0.0, 2.0]]])
    assert upsample(x, p, factor=1, frames=1, activation=activation("relu")).tolist() == [[[0.0, 0.0, 2.0]]]


def test_upsample_reads_the_blocks_of_channels_in_order():
    p = {"projection": {"weight": np.zeros((6, 2)), "bias": np.arange(6.0)}}
    y = upsample(np.zeros((1, 2, 2)), p, factor=3, frames=6, activation=activation("linear"))
    assert y[0].tolist() == [[0, 1], [2, 3], [4, 5]] * 2


def test_good_manners():
    rng = np.random.default_rng(1)
    assert_good_manners(lambda x: squeeze(x, 2), rng.normal(size=(2, 7, 3)))
    assert_good_manners(
        lambda x, p, **see: upsample(x, p, factor=2, frames=7, activation=activation("gelu"), **see),
        rng.normal(size=(2, 3, 4)),
        {"projection": affine(rng, 4, 8)},
        stages=["projection", "activation"],
    )


@pytest.mark.parametrize(("frames", "factor"), [(0, 1), (1, 2), (3, 4)])
def test_squeeze_refuses_less_than_one_group(frames, factor):
    with pytest.raises(InputError, match=f"squeeze: expected at least {factor} frames, found {frames}"):
        squeeze(np.zeros((1, frames, 2)), factor)


def test_sizes_that_make_no_sense_are_refused():
    x = np.zeros((1, 4, 4))
    p = {"projection": {"weight": np.zeros((8, 4)), "bias": np.zeros(8)}}
    for wrong in (
        lambda: squeeze(x, 0),
        lambda: upsample(x, p, factor=0, frames=8, activation=np.tanh),
        lambda: upsample(x, p, factor=2, frames=7, activation=np.tanh),
        lambda: upsample(x, p, factor=2, frames=10, activation=np.tanh),
    ):
        with pytest.raises(InputError):
            wrong()
