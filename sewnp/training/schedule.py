"""How fast weights learn at each step: a warm-up, then down to nothing."""

import math
from collections.abc import Callable, Mapping

SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}
"""From the share of the steps behind the warm-up that are done to the share of the highest rate, by name."""


def learning_rate(step: int, *, peak: float, steps: int, warmup: int, schedule: str = "cosine") -> float:
    """The rate of a step, counted from 0: up to ``peak`` in a straight line, then down as the schedule says.

    transformers' ``get_cosine_schedule_with_warmup`` and ``get_linear_schedule_with_warmup``: the first of the warm-up's steps has a rate of 0.
    Loshchilov and Hutter 2017, "SGDR" (arXiv 1608.03983), for the half cosine.

    >>> [learning_rate(step, peak=1.0, steps=6, warmup=2, schedule="linear") for step in range(6)]
    [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]
    """
    if step < warmup:
        return peak * step / warmup
    return peak * SCHEDULES[schedule](min(1.0, (step - warmup) / max(1, steps - warmup)))


def warmup_steps(warmup: float, steps: int) -> int:
    """A warm-up as steps: below 1 it is a share of all of them.

    >>> warmup_steps(0.1, 500), warmup_steps(20, 500)
    (50, 20)
    """
    return round(warmup * steps) if warmup < 1 else round(warmup)
