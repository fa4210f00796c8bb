"""Fresh weights, distributed as transformers 5.23 leaves a model that was never trained."""

import math

import numpy as np

from sewnp.config import Config
from sewnp.parameters import Head, Shapes, parameter_shapes
from sewnp.types import Array, DTypeLike


def initial_weights(config: Config, head: Head | None, *, seed: int, dtype: DTypeLike = np.float32) -> dict[str, Array]:
    """Flat weights of a fresh model, the same for the same seed.

    Linear maps and embeddings N(0, initializer_range); convolutions Kaiming normal; norms 1 and 0; biases 0; ``masked_spec_embed``
    uniform on [0, 1); ``layer_weights`` all equal.  The position convolution is uniform within 1 / sqrt(fan in), torch's default: the
    original means to draw something else, but writes it to a tensor that is thrown away.
    """
    return fill(parameter_shapes(config, head), config, seed=seed, dtype=dtype)


def fill(shapes: Shapes, config: Config, *, seed: int, dtype: DTypeLike) -> dict[str, Array]:
    """Fresh values for the given keys and shapes, drawn in their order."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Array] = {}
    for key, shape in shapes.items():
        if key.endswith("original0"):
            continue  # the norm of a direction that is drawn next
        weights[key] = _draw(key, shape, config, rng).astype(dtype)
        if key.endswith("original1"):
            norm = np.sqrt(np.square(weights[key], dtype=np.float64).sum(axis=(0, 1), keepdims=True))
            weights[key.replace("original1", "original0")] = norm.astype(dtype)
    return {key: weights[key] for key in shapes}


def _draw(key: str, shape: tuple[int, ...], config: Config, rng: np.random.Generator) -> Array:
    if key.endswith("masked_spec_embed"):
        return rng.random(shape)
    if key == "layer_weights":
        return np.full(shape, 1.0 / shape[0])
    if key.endswith("original1"):
        bound = 1.0 / math.sqrt(shape[1] * shape[2])
        return rng.uniform(-bound, bound, shape)
    if key.endswith(".bias"):
        return np.zeros(shape)
    if "norm" in key.lower():
        return np.ones(shape)
    if ".conv_layers." in key:
        return rng.normal(0.0, math.sqrt(2.0 / (shape[1] * shape[2])), shape)
    return rng.normal(0.0, config.initializer_range, shape)
