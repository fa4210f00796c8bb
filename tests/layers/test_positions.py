"""The convolutional position embedding against sums over Python floats, and against the module of transformers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import assert_close64, assert_equals_torch, assert_good_manners, few, loaded
from sewnp.errors import InputError
from sewnp.layers import activation, convolutional_position_embedding

seeds = st.integers(0, 10**6)
acts = st.sampled_from(["gelu", "tanh"])


def weights(rng, width, groups, kernel):
    return {
        "conv": {
            "weight_g": rng.uniform(0.5, 2, size=(1, 1, kernel)),
            "weight_v": rng.normal(size=(width, width // groups, kernel)),
            "bias": rng.normal(size=width),
        }
    }


def loop_positions(x, p, *, groups, stride):
    """tanh(bias + sum over taps and the group's channels), the frames before and behind the clip being zeros."""
    g, v, bias = (p["conv"][name] for name in ("weight_g", "weight_v", "bias"))
    (batch, time, width), (_, size, kernel) = x.shape, v.shape
    norms = [math.sqrt(math.fsum((v[:, :, k] ** 2).ravel())) for k in range(kernel)]
    starts = list(range(-(kernel // 2), time + kernel // 2 - kernel + 1, stride))
    if kernel % 2 == 0:
        starts.pop()
    y = np.empty((batch, len(starts), width))
    for b in range(batch):
        for t, start in enumerate(starts):
            for o in range(width):
                products = [
                    g[0, 0, k] * v[o, c, k] / norms[k] * x[b, start + k, o // size * size + c]
                    for k in range(kernel)
                    if 0 <= start + k < time
                    for c in range(size)
                ]
                y[b, t, o] = math.tanh(math.fsum(products) + bias[o])
    return y


@few
@given(seeds, st.integers(1, 3), st.integers(1, 2), st.integers(1, 9), st.integers(1, 6), st.integers(1, 4))
def test_equals_a_loop(seed, groups, per_group, time, kernel, stride):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(2, time, groups * per_group)), weights(rng, groups * per_group, groups, kernel)
    ours = convolutional_position_embedding(x, p, groups=groups, stride=stride, activation=np.tanh)
    assert_close64(ours, loop_positions(x, p, groups=groups, stride=stride))


@few
@given(seeds, st.sampled_from([1, 2, 4]), st.integers(1, 8), st.integers(0, 60), st.integers(1, 40), st.integers(1, 4), acts)
def test_equals_the_module_of_transformers(seed, groups, per_group, more, kernel, stride, act):
    from transformers import SEWConfig
    from transformers.models.sew.modeling_sew import SEWPositionalConvEmbedding

    width = groups * per_group
    config = SEWConfig(
        hidden_size=width,
        num_conv_pos_embeddings=kernel,
        num_conv_pos_embedding_groups=groups,
        squeeze_factor=stride,
        feat_extract_activation=act,
    )
    rng = np.random.default_rng(seed)
    assert_equals_torch(
        lambda x, p: convolutional_position_embedding(x, p, groups=groups, stride=stride, activation=activation(act)),
        lambda x, p: loaded(SEWPositionalConvEmbedding(config), p)(x.mT).mT,
        rng.normal(size=(2, stride + more, width)),
        weights(rng, width, groups, kernel),
    )


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 31, 128])
def test_an_even_kernel_drops_its_last_frame_and_an_odd_one_has_a_frame_for_a_rest(kernel, stride):
    """T // stride frames for even kernels, and one more for odd kernels where T is no multiple of the stride."""
    p = weights(np.random.default_rng(0), 2, 1, kernel)
    for time in range(stride, 4 * stride + 1):
        y = convolutional_position_embedding(np.zeros((1, time, 2)), p, groups=1, stride=stride, activation=np.tanh)
        assert y.shape == (1, time // stride if kernel % 2 == 0 else math.ceil(time / stride), 2)


def test_zeros_stand_around_the_clip():
    """Padding a clip with zeros changes none of the positions that it had."""
    rng = np.random.default_rng(1)
    x, p = rng.normal(size=(1, 8, 4)), weights(rng, 4, 2, 5)
    options = {"groups": 2, "stride": 2, "activation": np.tanh}
    alone = convolutional_position_embedding(x, p, **options)
    padded = convolutional_position_embedding(np.pad(x, ((0, 0), (0, 6), (0, 0))), p, **options)
    np.testing.assert_array_equal(padded[:, :4], alone)


def test_good_manners():
    rng = np.random.default_rng(2)
    for kernel in (4, 5):
        assert_good_manners(
            lambda x, p, **see: convolutional_position_embedding(x, p, groups=2, stride=2, activation=activation("gelu"), **see),
            rng.normal(size=(2, 7, 4)),
            weights(rng, 4, 2, kernel),
            stages=["conv.weight", "conv", "activation"],
        )


def test_channels_that_do_not_divide_are_refused():
    p = weights(np.random.default_rng(3), 4, 2, 3)
    with pytest.raises(InputError, match="grouped_conv1d: 4 input and 4 output channels do not divide into 3 groups"):
        convolutional_position_embedding(np.zeros((1, 5, 4)), p, groups=3, stride=1, activation=np.tanh)
