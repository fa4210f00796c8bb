"""The activations against one-number formulas in Python floats, and against the ones that transformers and torch have."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judging import assert_close64, assert_equals_torch, assert_good_manners, few
from sewnp.errors import ConfigError, SewError
from sewnp.layers import ACTIVATIONS, DERIVATIVES, activation, activation_vjp

names = pytest.mark.parametrize("name", sorted(ACTIVATIONS))


def phi(x):
    """The normal distribution's cumulative function."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def gelu_tanh(x):
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# one number in, one number out: as the papers and the documentation of torch write them
FORMULAS = {
    "gelu": lambda x: x * phi(x),
    "gelu_python": lambda x: x * phi(x),
    "gelu_new": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_fast": lambda x: 0.5 * x * (1 + math.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "gelu_10": lambda x: min(max(x * phi(x), -10.0), 10.0),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: max(x, 0.0),
    "relu2": lambda x: max(x, 0.0) ** 2,
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "sigmoid": sigmoid,
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
    "mish": lambda x: x * math.tanh(softplus(x)),
    "hardswish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    "linear": lambda x: x,
    "laplace": lambda x: phi((x - 0.707107) / 0.282095),
    "sqrtsoftplus": lambda x: math.sqrt(x if x > 20 else softplus(x)),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
}


def theirs(name):
    import torch
    from transformers.activations import ACT2FN

    return torch.nn.functional.selu if name == "selu" else ACT2FN[name]


@names
@few
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([0.1, 1.0, 4.0, 30.0]))
def test_equals_its_formula_number_by_number(name, seed, scale):
    x = np.random.default_rng(seed).normal(scale=scale, size=(2, 3, 4))
    expected = np.empty_like(x)
    for i in np.ndindex(x.shape):
        expected[i] = FORMULAS[name](float(x[i]))
    assert_close64(activation(name)(x), expected)


@names
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, 30.0])
def test_equals_transformers(name, scale):
    x = np.random.default_rng(0).normal(scale=scale, size=(3, 100))
    assert_equals_torch(activation(name), theirs(name), x)


@names
@pytest.mark.parametrize(("dtype", "absolute"), [(np.float32, 4e-6), (np.float64, 1e-14)])
def test_equals_transformers_at_the_corners(name, dtype, absolute):
    """Where pieces meet, and far out, where an exponential written carelessly overflows with a warning."""
    import torch

    corners = [0, 1e-30, 3, 6, 20, 20.000002, 88.8, 750, 1e4]
    x = np.array(corners + [-c for c in corners], dtype)
    # the absolute part: far below zero x times a probability is x times a difference of near equals, 20 * eps in the worst case
    np.testing.assert_allclose(
        activation(name)(x), theirs(name)(torch.tensor(x)).numpy(), rtol=8 * np.finfo(dtype).eps, atol=absolute
    )


def derivatives_of_torch(name, x, dy):
    """dx of every number alone and among many: at NaN torch's code for a single number and for a vector of them do not agree."""
    import torch

    many = torch.tensor(np.repeat(x[:, None], 65, axis=1), requires_grad=True)  # whole vectors, and one number behind them
    for row in many:
        theirs(name)(row).backward(torch.full_like(row, dy))
    return many.grad.numpy()[:, [0, -1]].T


@names
@pytest.mark.parametrize(("dtype", "absolute"), [(np.float32, 4e-6), (np.float64, 1e-14)])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # infinity times zero is NaN here and there
def test_derivative_equals_that_of_torch_at_the_corners(name, dtype, absolute):
    """Where pieces meet, just before and behind, far out, at infinity and at NaN."""
    corners = [0.0, 1e-30, 0.5, 20, 20.000002, 88.8, 750, 1e4, np.inf]
    meet = np.array([0, 3, -3, 6, 10, -10], dtype)
    beside = [np.nextafter(meet, dtype(end)) for end in (-np.inf, np.inf)]
    x = np.concatenate([np.array([*corners, *(-c for c in corners), np.nan], dtype), meet, *beside])
    dx = activation_vjp(x, activation(name))[1](np.ones_like(x))
    assert dx.dtype == dtype
    in_vector, alone = derivatives_of_torch(name, x, 1.0)
    as_alone = np.isclose(dx, alone, rtol=8 * np.finfo(dtype).eps, atol=absolute, equal_nan=True)
    np.testing.assert_allclose(dx[~as_alone], in_vector[~as_alone], rtol=8 * np.finfo(dtype).eps, atol=absolute)
    assert as_alone[~np.isnan(x)].all()


@names
def test_nan_that_comes_back_passes_unless_a_piece_is_flat(name):
    x = np.array([-50.0, -3.0, -1.0, 0.0, 0.5, 3.0, 6.0, 50.0])
    x = x[1:] if name == "gelu_10" else x  # underflow is taken for flat there
    dx = activation_vjp(x, activation(name))[1](np.full_like(x, np.nan))
    np.testing.assert_array_equal(dx, derivatives_of_torch(name, x, np.nan)[1])


def test_every_activation_has_its_derivative():
    assert set(DERIVATIVES) == set(ACTIVATIONS.values())
    with pytest.raises(ConfigError, match="activation: expected one with a known derivative, a value of ACTIVATIONS, found <ufunc"):
        activation_vjp(np.zeros(1), np.cbrt)


@names
def test_nan_stays_nan(name):
    y = activation(name)(np.array([np.nan, 1.0]))
    assert np.isnan(y).tolist() == [True, False]


@names
def test_keeps_dtype_and_argument(name):
    assert_good_manners(activation(name), np.random.default_rng(1).normal(size=(2, 5)))
    assert activation(name)(np.zeros((2, 0, 3), np.float32)).shape == (2, 0, 3)


def test_every_name_of_transformers_is_known_or_refused_by_name():
    from transformers.activations import ACT2FN

    assert set(ACTIVATIONS) == set(ACT2FN) - {"prelu", "xielu"} | {"selu"}
    assert set(ACTIVATIONS) == set(FORMULAS)


@pytest.mark.parametrize("name", ["prelu", "xielu"])
def test_activations_with_parameters_are_refused(name):
    with pytest.raises(ConfigError, match=rf"activation '{name}' has learnable parameters, .* expected one of \['gelu', 'gelu_10'"):
        activation(name)


@pytest.mark.parametrize("name", ["GELU", "", "softmax"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(SewError, match=rf"unknown activation '{name}'; expected one of \['gelu', 'gelu_10'"):
        activation(name)


def test_gelu_is_the_exact_one_and_not_its_tanh_approximation():
    x = np.linspace(-6, 6, 2001)
    apart = np.abs(activation("gelu")(x) - activation("gelu_new")(x)).max()
    assert 4e-4 < apart < 5e-4
    assert activation("gelu") is activation("gelu_python")


def test_gelu_fast_differs_from_gelu_new_by_its_rounded_constant():
    x = np.linspace(-6, 6, 2001)
    apart = np.abs(activation("gelu_fast")(x) - activation("gelu_new")(x)).max()
    assert 1e-13 < apart < 1e-10


def test_gelu_10_clips_at_ten_both_ways():
    np.testing.assert_array_equal(activation("gelu_10")(np.array([10.0, 11.0, 1e4, -1e4])), [10, 10, 10, 0])


def test_sqrtsoftplus_takes_the_logarithm_to_be_its_argument_above_20():
    x = np.array([20.0, np.nextafter(20.0, 21.0)])
    low, high = activation("sqrtsoftplus")(x)
    assert high == math.sqrt(x[1])
    assert low > high  # the step down of 1e-10 that torch's softplus has
    assert low == pytest.approx(math.sqrt(softplus(20.0)), rel=1e-15)


def test_selu_is_known_although_transformers_does_not_know_it():
    from transformers.activations import ACT2FN

    assert "selu" not in ACT2FN
    assert activation("selu")(np.array([1.0]))[0] == 1.0507009873554805
