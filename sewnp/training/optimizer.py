"""AdamW, clipping by the global norm, and the running average of weights: pure functions over flat weights by key.

Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (arXiv 1711.05101); Pascanu et al. 2013, "On the difficulty of training
recurrent neural networks" (arXiv 1211.5063); Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging".
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from sewnp.types import Array

Flat = Mapping[str, Array]
"""Weights, or what belongs to each of them, by the keys that transformers 5 writes."""

_UNDECAYED = re.compile(r"bias|layernorm|_norm(?:\.|$)")


@dataclass(frozen=True)
class Moments:
    """What AdamW remembers of the gradients, by key; a key that never had one is not in it."""

    first: Flat = field(default_factory=dict)
    """Running means of the gradients."""
    second: Flat = field(default_factory=dict)
    """Running means of their squares."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """How many gradients there were: those of a layer that LayerDrop left out are fewer."""


def is_decayed(key: str) -> bool:
    """Whether a weight decays: all but biases and what belongs to a norm, as in transformers' Trainer.

    >>> is_decayed("sew.encoder.layers.0.layer_norm.weight"), is_decayed("lm_head.bias"), is_decayed("lm_head.weight")
    (False, False, True)
    """
    return _UNDECAYED.search(key.lower()) is None


def adamw(
    weights: Flat,
    gradients: Flat,
    moments: Moments,
    *,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.01,
) -> tuple[dict[str, Array], Moments]:
    """One step -> new weights and moments.  What has no gradient stays as it is, its decay and its count too, as in torch.

    With g the gradient, m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g g, both divided by how much of them zero was at first
    (1 - b ** count): w = (1 - rate decay) w - rate m / (sqrt(v) + eps).  decay is decoupled: it is no part of g.

    >>> w, _ = adamw({"w": np.array([1.0])}, {"w": np.array([0.3])}, Moments(), rate=0.1, decay=0.0)
    >>> w["w"].round(6)  # the first step is as long as the rate, however large the gradient
    array([0.9])
    """
    kept, first, second, counts = dict(weights), dict(moments.first), dict(moments.second), dict(moments.counts)
    for key, g in gradients.items():
        counts[key] = counts.get(key, 0) + 1
        mean, square = (b * before.get(key, 0.0) for b, before in zip(betas, (first, second), strict=True))
        first[key] = mean + (1.0 - betas[0]) * g
        second[key] = square + (1.0 - betas[1]) * (g * g)
        least, largest = (1.0 - b ** counts[key] for b in betas)
        root = np.sqrt(second[key])
        root /= math.sqrt(largest)
        root += eps
        np.divide(first[key], root, out=root)
        root *= rate / least
        kept[key] = weights[key] * (1.0 - rate * decay if is_decayed(key) else 1.0) - root
    return kept, Moments(first, second, counts)


def global_norm(gradients: Flat) -> float:
    """The length of all gradients as one vector; to the last bit the same in whatever order they come.

    >>> global_norm({"a": np.array([3.0]), "b": np.array([[4.0]])})
    5.0
    """
    return math.sqrt(math.fsum(float(np.square(g, dtype=np.float64).sum()) for g in gradients.values()))


def clip_by_norm(gradients: Flat, most: float) -> tuple[dict[str, Array], float]:
    """Gradients shortened to a global norm of ``most`` where they are longer -> those, and the norm before.

    torch's ``clip_grad_norm_``, the 1e-6 that it adds to the norm included.  What is not finite is handed back as it is.
    """
    norm = global_norm(gradients)
    factor = min(1.0, most / (norm + 1e-6)) if math.isfinite(norm) else 1.0
    return {key: g * factor if factor < 1.0 else g for key, g in gradients.items()}, norm


def averaged(average: Flat, weights: Flat, *, keep: float, step: int) -> dict[str, Array]:
    """The running average of the weights after the steps 0 to ``step``: ``keep`` of what it was, the rest what they are now.

    At first less is kept, (1 + step) / (10 + step) at most, so that what the weights began with is soon forgotten.
    """
    kept = min(keep, (1.0 + step) / (10.0 + step))
    return {key: average[key] + (1.0 - kept) * (w - average[key]) for key, w in weights.items()}
