"""The affine map and the feed-forward pair against sums over Python floats, and against torch."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import affine, assert_close64, assert_equals_torch, assert_good_manners, few, loaded
from sewnp.errors import InputError
from sewnp.layers import activation, feed_forward, linear

sizes = st.integers(1, 5)


def loop_linear(x, weight, bias):
    y = np.empty((*x.shape[:-1], len(weight)))
    for i in np.ndindex(x.shape[:-1]):
        for o in range(len(weight)):
            y[i][o] = math.fsum(x[i][c] * weight[o, c] for c in range(x.shape[-1])) + (0.0 if bias is None else bias[o])
    return y


def small_ffn(rng, width, inner):
    return {"intermediate_dense": affine(rng, width, inner), "output_dense": affine(rng, inner, width)}


@few
@given(st.integers(0, 10**6), st.lists(sizes, max_size=3), sizes, sizes, st.booleans())
def test_linear_equals_a_loop(seed, shape, inputs, outputs, biased):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=(*shape, inputs)), rng.normal(size=(outputs, inputs))
    bias = rng.normal(size=outputs) if biased else None
    assert_close64(linear(x, weight, bias), loop_linear(x, weight, bias))


@few
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 70), st.integers(1, 300), st.integers(1, 40), st.booleans())
def test_linear_equals_torch(seed, batch, frames, inputs, outputs, biased):
    import torch

    rng = np.random.default_rng(seed)
    p = affine(rng, inputs, outputs) if biased else {"weight": rng.normal(size=(outputs, inputs))}
    x = rng.normal(size=(batch, frames, inputs))
    assert_equals_torch(lambda x, p: linear(x, **p), lambda x, p: torch.nn.functional.linear(x, **p), x, p)


@few
@given(st.integers(0, 10**6), sizes, sizes, sizes, sizes)
def test_feed_forward_equals_a_loop(seed, batch, frames, width, inner):
    rng = np.random.default_rng(seed)
    x, p = rng.normal(size=(batch, frames, width)), small_ffn(rng, width, inner)
    hidden = loop_linear(x, **p["intermediate_dense"])
    for i in np.ndindex(hidden.shape):
        hidden[i] = hidden[i] * 0.5 * math.erfc(-hidden[i] / math.sqrt(2))
    assert_close64(feed_forward(x, p, activation=activation("gelu")), loop_linear(hidden, **p["output_dense"]))


@few
@given(
    st.integers(0, 10**6),
    st.integers(1, 3),
    st.integers(1, 20),
    st.integers(1, 30),
    st.integers(1, 50),
    st.sampled_from(["gelu", "relu2"]),
)
def test_feed_forward_equals_the_module_of_transformers(seed, batch, frames, width, inner, act):
    from transformers import SEWConfig
    from transformers.models.sew.modeling_sew import SEWFeedForward

    config = SEWConfig(hidden_size=width, intermediate_size=inner, hidden_act=act)
    rng = np.random.default_rng(seed)
    assert_equals_torch(
        lambda x, p: feed_forward(x, p, activation=activation(act)),
        lambda x, p: loaded(SEWFeedForward(config), p)(x),
        rng.normal(size=(batch, frames, width)),
        small_ffn(rng, width, inner),
    )


def test_good_manners():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4))
    assert_good_manners(lambda x, p: linear(x, **p), x, affine(rng, 4, 5))
    assert_good_manners(linear, x, rng.normal(size=(5, 4)))
    assert_good_manners(
        lambda x, p, **see: feed_forward(x, p, activation=activation("gelu"), **see),
        x,
        small_ffn(rng, 4, 6),
        stages=["intermediate_dense", "activation", "output_dense"],
    )


def test_one_frame_is_the_same_alone_and_in_a_batch():
    rng = np.random.default_rng(1)
    x, p = rng.normal(size=(3, 4, 5)), affine(rng, 5, 2)
    assert_close64(linear(x[1, 2], **p), linear(x, **p)[1, 2])


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        ((2, 3), (2,), r"linear weight: expected shape \(\*, 4\), found \(2, 3\)"),
        ((4,), (2,), r"linear weight: expected shape \(\*, 4\), found \(4,\)"),
        ((2, 4), (3,), r"linear bias: expected shape \(2,\), found \(3,\)"),
        ((2, 4), (1,), r"linear bias: expected shape \(2,\), found \(1,\)"),  # which NumPy would broadcast in silence
        ((2, 4), (3, 2), r"linear bias: expected shape \(2,\), found \(3, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(weight, bias, message):
    with pytest.raises(InputError, match=message):
        linear(np.zeros((1, 3, 4)), np.zeros(weight), np.zeros(bias))
