"""Element-wise activations, by the names that configurations use.

Every function here takes an array of any shape and returns one of the same shape and dtype.  Sources: Hendrycks & Gimpel 2016 (GELU,
arXiv 1606.08415); Ramachandran et al. 2017 (swish); Misra 2019 (mish); Klambauer et al. 2017 (SELU); So et al. 2021 (squared ReLU);
Ma et al. 2022 (laplace, arXiv 2209.10655); the constants are those of transformers 5.23.
"""

import math
from collections.abc import Callable

import numpy as np

from sewnp.errors import ConfigError
from sewnp.types import Array


def gelu(x: Array) -> Array:
    """x times the normal distribution's Phi(x), with the exact error function."""
    return 0.5 * x * (1.0 + _erf(x * math.sqrt(0.5)))


def gelu_derivative(x: Array) -> Array:
    """Phi(x) + x phi(x)."""
    return 0.5 * (1.0 + _erf(x * math.sqrt(0.5))) + x * (_bell(x) / math.sqrt(2.0 * math.pi))


def gelu_tanh(x: Array) -> Array:
    """The tanh approximation of GELU.  It differs from the exact one by up to 5e-4: never a substitute."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def gelu_tanh_derivative(x: Array) -> Array:
    """(1 + t) / 2 + x (1 - t^2) u' / 2, with t = tanh(u)."""
    t = np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x)))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (math.sqrt(2.0 / math.pi) * (1.0 + 3 * 0.044715 * (x * x)))


def gelu_fast(x: Array) -> Array:
    """The tanh approximation with sqrt(2 / pi) rounded to ten digits."""
    return 0.5 * x * (1.0 + np.tanh(0.7978845608 * x * (1.0 + 0.044715 * x * x)))


def gelu_fast_derivative(x: Array) -> Array:
    """As :func:`gelu_tanh_derivative`."""
    t = np.tanh(0.7978845608 * x * (1.0 + 0.044715 * x * x))
    return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * (0.7978845608 * (1.0 + 3 * 0.044715 * (x * x)))


def gelu_10(x: Array) -> Array:
    """Exact GELU clipped to [-10, 10]."""
    return np.clip(gelu(x), -10.0, 10.0)


def gelu_10_derivative(x: Array) -> Array:
    """That of GELU up to the clip, its edge included; 0 beyond.  NaN at infinity, as in torch, where GELU's is NaN."""
    return (np.abs(gelu(x)) <= 10.0) * gelu_derivative(x)


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x)."""
    return x * sigmoid(1.702 * x)


def quick_gelu_derivative(x: Array) -> Array:
    """s + 1.702 x s (1 - s)."""
    s = sigmoid(1.702 * x)
    return s + 1.702 * x * s * (1.0 - s)


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0.0)


def relu_derivative(x: Array) -> Array:
    """1 above zero; 0 below, and at zero, as torch has it."""
    return np.where(x <= 0, x.dtype.type(0), x.dtype.type(1))


def relu2(x: Array) -> Array:
    """max(x, 0) squared."""
    return np.square(relu(x))


def relu2_derivative(x: Array) -> Array:
    """2 max(x, 0)."""
    return 2.0 * relu(x)


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return np.clip(x, 0.0, 6.0)


def relu6_derivative(x: Array) -> Array:
    """1 between 0 and 6; 0 outside, and at both ends, as torch has it."""
    return np.where((x <= 0) | (x >= 6), x.dtype.type(0), x.dtype.type(1))


def leaky_relu(x: Array) -> Array:
    """x above zero, 0.01 x below."""
    return np.where(x > 0, x, 0.01 * x)


def leaky_relu_derivative(x: Array) -> Array:
    """1 above zero; 0.01 below, and at zero."""
    return np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that no exponential overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def sigmoid_derivative(x: Array) -> Array:
    """s (1 - s)."""
    s = sigmoid(x)
    return s * (1.0 - s)


def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def silu_derivative(x: Array) -> Array:
    """s (1 + x (1 - s))."""
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(x)


def tanh_derivative(x: Array) -> Array:
    """1 - tanh(x)^2."""
    return 1.0 - np.square(np.tanh(x))


def mish(x: Array) -> Array:
    """x tanh(log(1 + exp(x)))."""
    return x * np.tanh(_softplus(x))


def mish_derivative(x: Array) -> Array:
    """t + x s (1 - t^2), with t = tanh(log(1 + exp(x)))."""
    t = np.tanh(_softplus(x))
    return t + x * sigmoid(x) * (1.0 - t * t)


def hardswish(x: Array) -> Array:
    """x min(max(x + 3, 0), 6) / 6."""
    return x * relu6(x + 3.0) / 6.0


def hardswish_derivative(x: Array) -> Array:
    """x / 3 + 1 / 2 between -3 and 3, 0 from -3 down, 1 from 3 up, as torch has it."""
    return np.where(x <= -3, x.dtype.type(0), np.where(x >= 3, x.dtype.type(1), x / 3.0 + 0.5))


def linear_activation(x: Array) -> Array:
    """The identity."""
    return x


def linear_activation_derivative(x: Array) -> Array:
    """1 everywhere."""
    return np.ones_like(x)


_LAPLACE_MEAN, _LAPLACE_DEVIATION = 0.707107, 0.282095


def laplace(x: Array) -> Array:
    """The normal distribution's cumulative function with mean 0.707107 and deviation 0.282095."""
    return 0.5 * (1.0 + _erf((x - _LAPLACE_MEAN) / (_LAPLACE_DEVIATION * math.sqrt(2.0))))


def laplace_derivative(x: Array) -> Array:
    """The density of that distribution."""
    return _bell((x - _LAPLACE_MEAN) / _LAPLACE_DEVIATION) / (_LAPLACE_DEVIATION * math.sqrt(2.0 * math.pi))


def sqrtsoftplus(x: Array) -> Array:
    """sqrt(log(1 + exp(x))); above 20 the logarithm is taken to be x, as torch's softplus does (a step of 2e-9)."""
    return np.sqrt(np.where(x > 20.0, x, _softplus(x)))


def sqrtsoftplus_derivative(x: Array) -> Array:
    """s / (2 sqrt(log(1 + exp(x)))), s = 1 above 20.  NaN where the root underflows to 0, as in torch."""
    slope = np.exp(np.minimum(x, 0.0)) / (1.0 + np.exp(-np.abs(x)))  # the sigmoid, whose small values the root makes large
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(x > 20.0, x.dtype.type(1), slope) / (2.0 * sqrtsoftplus(x))


_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def selu(x: Array) -> Array:
    """The scaled exponential linear unit.  transformers documents the name but does not know it; we do."""
    with np.errstate(invalid="ignore"):  # old NumPy (1.23) warns where expm1 answers NaN with NaN
        below = np.expm1(np.minimum(x, 0.0))
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * below)


def selu_derivative(x: Array) -> Array:
    """scale above zero; scale alpha exp(x) below, and at zero, as torch has it."""
    return _SELU_SCALE * np.where(x > 0, x.dtype.type(1), _SELU_ALPHA * np.exp(np.minimum(x, 0.0)))


def _softplus(x: Array) -> Array:
    # log(1 + exp(x)).  Not np.logaddexp(x, 0), which answers NaN with NaN, rightly, but warns about it
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _bell(x: Array) -> Array:
    # exp(-x^2 / 2), where nothing overflows: at 40 it is 0 in float64 too
    return np.exp(-0.5 * np.square(np.clip(x, -40.0, 40.0)))


def _erf(x: Array) -> Array:
    from scipy.special import erf  # not at the top: this import alone would cost half of what `import sewnp` may take

    y: Array = erf(x)
    return y


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_python": gelu,
    "gelu_new": gelu_tanh,
    "gelu_accurate": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "gelu_python_tanh": gelu_tanh,
    "gelu_fast": gelu_fast,
    "gelu_10": gelu_10,
    "quick_gelu": quick_gelu,
    "relu": relu,
    "relu2": relu2,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "sigmoid": sigmoid,
    "silu": silu,
    "swish": silu,
    "tanh": tanh,
    "mish": mish,
    "hardswish": hardswish,
    "linear": linear_activation,
    "laplace": laplace,
    "sqrtsoftplus": sqrtsoftplus,
    "selu": selu,
}
"""Every activation without parameters, by the name a configuration gives it."""

DERIVATIVES: dict[Callable[[Array], Array], Callable[[Array], Array]] = {
    gelu: gelu_derivative,
    gelu_tanh: gelu_tanh_derivative,
    gelu_fast: gelu_fast_derivative,
    gelu_10: gelu_10_derivative,
    quick_gelu: quick_gelu_derivative,
    relu: relu_derivative,
    relu2: relu2_derivative,
    relu6: relu6_derivative,
    leaky_relu: leaky_relu_derivative,
    sigmoid: sigmoid_derivative,
    silu: silu_derivative,
    tanh: tanh_derivative,
    mish: mish_derivative,
    hardswish: hardswish_derivative,
    linear_activation: linear_activation_derivative,
    laplace: laplace_derivative,
    sqrtsoftplus: sqrtsoftplus_derivative,
    selu: selu_derivative,
}
"""The derivative of every activation, element by element."""

_WITH_FLAT_PIECES = (relu, relu2, relu6, hardswish, gelu_10)
_WITH_PARAMETERS = ("prelu", "xielu")


def activation(name: str) -> Callable[[Array], Array]:
    """The activation of that name.

    >>> activation("relu6")(np.array([-1.0, 3.0, 7.0]))
    array([0., 3., 6.])

    Raises ConfigError for an unknown name, and for ``prelu`` and ``xielu``, whose learnable parameters this package does not build.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if name in _WITH_PARAMETERS:
        raise ConfigError(
            f"activation {name!r} has learnable parameters, which sewnp does not build; expected one of {sorted(ACTIVATIONS)}"
        )
    raise ConfigError(f"unknown activation {name!r}; expected one of {sorted(ACTIVATIONS)}")


def activation_vjp(x: Array, activation: Callable[[Array], Array]) -> tuple[Array, Callable[[Array], Array]]:
    """An activation of the table applied, and dy -> dx: dy times the derivative at x, element by element.

    From a piece that is flat nothing comes back, not even NaN: as in torch, whose relu and clips choose and do not multiply.

    >>> y, pullback = activation_vjp(np.array([-1.0, 2.0]), relu2)
    >>> y, pullback(np.array([1.0, 1.0]))
    (array([0., 4.]), array([0., 4.]))

    Raises ConfigError for a function that has no derivative in :data:`DERIVATIVES`.
    """
    if activation not in DERIVATIVES:
        raise ConfigError(f"activation: expected one with a known derivative, a value of ACTIVATIONS, found {activation!r}")
    derivative = DERIVATIVES[activation]

    def pullback(dy: Array) -> Array:
        slope = derivative(x)
        return np.where(slope == 0, slope, dy * slope) if activation in _WITH_FLAT_PIECES else dy * slope

    return activation(x), pullback
