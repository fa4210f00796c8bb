"""What a model is called with: arrays of the right shapes, finite, and no more than this machine can hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np

from sewnp.config import Config
from sewnp.costs import attention_bytes
from sewnp.errors import InputError, SewError
from sewnp.machine import memory
from sewnp.types import Array

P = ParamSpec("P")
T = TypeVar("T")


def calmly(function: Callable[P, T]) -> Callable[P, T]:
    """A function to which the caller's ``np.seterr(all="raise")`` does not reach: a softmax underflows by design, and a NaN is told in words."""

    @wraps(function)
    def calm(*args: P.args, **kwargs: P.kwargs) -> T:
        asked: dict[str, Any] = {kind: "warn" if how == "raise" else how for kind, how in np.geterr().items()}
        with np.errstate(**asked | {"under": "ignore"}):
            return function(*args, **kwargs)

    return calm


@contextmanager
def about(audio: str, error: type[SewError] | None = None) -> Iterator[None]:
    """Name the recording in an InputError raised inside the block: a model that answers NaN does so for one clip among many.

    Samples that the caller holds have no name.  error: what to raise instead, whatever the clip is called.
    """
    try:
        yield
    except InputError as problem:
        if error is None and audio == "audio":
            raise
        raise (error or InputError)(f"{audio}: {problem}") from problem


def check_arguments(
    config: Config,
    input_values: Any,
    attention_mask: Any,
    mask_time_indices: Any,
    *,
    dtype: np.dtype[Any],
    can_hide: bool,
    all_scores: bool,
    kept: int = 0,
) -> tuple[Array, Array | None, Array | None]:
    """The arguments of ``Model.__call__`` -> waveform (B, n) in dtype, attention mask (B, n), frames to hide (B, T) bool.

    can_hide: whether the model has the vector for that.  all_scores: whether attention holds all its scores at once; kept: how
    many arrays of their size are kept of each layer.  Raises InputError.
    """
    x = as_array("input_values", input_values)
    if x.ndim != 2 or x.dtype.kind != "f":
        raise InputError(f"input_values: expected floats of shape (batch, samples), found {x.dtype} of shape {x.shape}")
    batch, samples = x.shape
    if batch < 1 or samples < config.minimum_samples:
        raise InputError(f"input_values: expected at least 1 clip and {config.minimum_samples} samples, found shape {x.shape}")
    if all_scores:
        check_attention("input_values", config, samples, batch=batch, itemsize=dtype.itemsize, kept=kept)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is said below
        x = x.astype(dtype, copy=False)
    bad = np.count_nonzero(~np.isfinite(x))
    if bad:
        raise InputError(f"input_values: expected finite samples, found {bad} NaN or infinite ones in {dtype}")
    mask = None if attention_mask is None else as_array("attention_mask", attention_mask)
    if mask is not None and mask.shape != x.shape:
        raise InputError(f"attention_mask: expected shape {x.shape}, found {mask.shape}")
    if mask_time_indices is None:
        return x, mask, None
    hidden, expected = as_array("mask_time_indices", mask_time_indices), (batch, config.frames(samples))
    if hidden.shape != expected:
        raise InputError(f"mask_time_indices: expected shape {expected}, found {hidden.shape}")
    if config.apply_spec_augment and not can_hide:
        raise InputError(
            "mask_time_indices: this model has no masked_spec_embed: its checkpoint does not hold it, or its mask_time_prob and"
            " mask_feature_prob are 0"
        )
    return x, mask, hidden.astype(bool)


def check_channels(config: Config, batch: int, mask_feature_indices: Any) -> Array | None:
    """Channels to set to 0, (B, H) bool.  Raises InputError for another shape."""
    if mask_feature_indices is None:
        return None
    channels = as_array("mask_feature_indices", mask_feature_indices)
    if channels.shape != (batch, config.hidden_size):
        raise InputError(f"mask_feature_indices: expected shape {(batch, config.hidden_size)}, found {channels.shape}")
    return channels.astype(bool)


def check_attention(name: str, config: Config, samples: int, *, batch: int = 1, itemsize: int = 4, kept: int = 0) -> None:
    """Raise InputError where attention over so many samples at once would not fit into this machine's memory."""
    needed = attention_bytes(config, samples, batch=batch, itemsize=itemsize, kept=kept)
    if needed > memory():
        raise InputError(
            f"{name}: attention over {samples} samples at once needs about {needed / 2**30:.0f} GiB of memory, more than the"
            f" {memory() / 2**30:.0f} GiB of this machine; split the clip"
        )


def as_array(name: str, x: Any) -> Array:
    """Whatever NumPy takes for an array.  Raises InputError for what is none."""
    try:
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: a tensor that wants its gradient
        raise InputError(f"{name}: expected an array, found {type(x).__name__} ({error})") from error
