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


def gelu_tanh(x: Array) -> Array:
    """The tanh approximation of GELU.  It differs from the exact one by up to 5e-4: never a substitute."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * (x * x * x))))


def gelu_fast(x: Array) -> Array:
    """The tanh approximation with sqrt(2 / pi) rounded to ten digits."""
    return 0.5 * x * (1.0 + np.tanh(0.7978845608 * x * (1.0 + 0.044715 * x * x)))


def gelu_10(x: Array) -> Array:
    """Exact GELU clipped to [-10, 10]."""
    return np.clip(gelu(x), -10.0, 10.0)


def quick_gelu(x: Array) -> Array:
    """x sigmoid(1.702 x)."""
    return x * sigmoid(1.702 * x)


def relu(x: Array) -> Array:
    """max(x, 0); NaN stays NaN."""
    return np.maximum(x, 0.0)


def relu2(x: Array) -> Array:
    """max(x, 0) squared."""
    return np.square(relu(x))


def relu6(x: Array) -> Array:
    """min(max(x, 0), 6)."""
    return np.clip(x, 0.0, 6.0)


def leaky_relu(x: Array) -> Array:
    """x above zero, 0.01 x below."""
    return np.where(x > 0, x, 0.01 * x)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), written with tanh so that no exponential overflows."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def silu(x: Array) -> Array:
    """x sigmoid(x), also called swish."""
    return x * sigmoid(x)


def tanh(x: Array) -> Array:
    """The hyperbolic tangent."""
    return np.tanh(x)


def mish(x: Array) -> Array:
    """x tanh(log(1 + exp(x)))."""
    return x * np.tanh(_softplus(x))


def hardswish(x: Array) -> Array:
    """x min(max(x + 3, 0), 6) / 6."""
    return x * relu6(x + 3.0) / 6.0


def linear_activation(x: Array) -> Array:
    """The identity."""
    return x


def laplace(x: Array) -> Array:
    """The normal distribution's cumulative function with mean 0.707107 and deviation 0.282095."""
    return 0.5 * (1.0 + _erf((x - 0.707107) / (0.282095 * math.sqrt(2.0))))


def sqrtsoftplus(x: Array) -> Array:
    """sqrt(log(1 + exp(x))); above 20 the logarithm is taken to be x, as torch's softplus does (a step of 2e-9)."""
    return np.sqrt(np.where(x > 20.0, x, _softplus(x)))


def selu(x: Array) -> Array:
    """The scaled exponential linear unit.  transformers documents the name but does not know it; we do."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    with np.errstate(invalid="ignore"):  # old NumPy (1.23) warns where expm1 answers NaN with NaN
        below = np.expm1(np.minimum(x, 0.0))
    return scale * np.where(x > 0, x, alpha * below)


def _softplus(x: Array) -> Array:
    # log(1 + exp(x)).  Not np.logaddexp(x, 0), which answers NaN with NaN, rightly, but warns about it
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


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

_WITH_PARAMETERS = ("prelu", "xielu")


def activation(name: str) -> Callable[[Array], Array]:
    """The activation of that name.

    Raises ConfigError for an unknown name, and for ``prelu`` and ``xielu``, whose learnable parameters this package does not build.
    """
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    if name in _WITH_PARAMETERS:
        raise ConfigError(
            f"activation {name!r} has learnable parameters, which sewnp does not build; expected one of {sorted(ACTIVATIONS)}"
        )
    raise ConfigError(f"unknown activation {name!r}; expected one of {sorted(ACTIVATIONS)}")
