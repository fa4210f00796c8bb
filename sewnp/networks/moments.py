"""Statistics of a whole recording that is never whole in memory: what the first group norm measures, known before it convolves.

A convolution is linear, so the mean and the variance over time of its outputs follow from the mean and the covariance of the windows
of ``K`` samples that its kernel stands on: ten numbers and a 10 x 10 matrix for SEW, whatever the length of the recording.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sewnp.layers.convolution import conv_length
from sewnp.networks.frontend import CONV_NORM_EPS
from sewnp.types import Array, Weights

Moments: TypeAlias = tuple[Array, Array]
"""Mean and variance over time of each channel of the first convolution, (C,) and (C,)."""


class WindowMoments:
    """Mean and covariance of all windows of ``kernel`` samples, one every ``stride``, of a waveform that comes in blocks.

    With a kernel and a stride of 1: mean and variance of the samples.  In float64.  Each block is centred on its own mean before it is
    squared, and the blocks are joined by the difference of their means (Chan, Golub and LeVeque 1983, "Algorithms for Computing the
    Sample Variance"): an offset a million times larger than the sound costs no digits.
    """

    def __init__(self, kernel: int = 1, stride: int = 1) -> None:
        self.count = 0
        """Windows so far."""
        self.mean: npt.NDArray[np.float64] = np.zeros(kernel)
        self._scatter = np.zeros((kernel, kernel))
        self._stride = stride
        self._rest: npt.NDArray[Any] = np.zeros(0)  # samples that later windows still need
        self._skipped = 0  # samples between this block's last window and the next, where the stride is larger than the kernel

    def add(self, x: Array) -> None:
        """The next block, (n,), of any length."""
        kernel, stride = len(self.mean), self._stride
        skipped = min(self._skipped, len(x))
        self._skipped -= skipped
        samples = np.concatenate([self._rest, x[skipped:]], dtype=np.float64)
        count = max(0, conv_length(len(samples), kernel=kernel, stride=stride))
        self._rest = samples[count * stride :]
        if not count:
            return
        self._skipped += max(0, count * stride - len(samples))
        windows = np.stack([samples[k : k + stride * (count - 1) + 1 : stride] for k in range(kernel)])  # (K, count)
        mean = windows.mean(axis=1)
        windows -= mean[:, None]
        total = self.count + count
        step = mean - self.mean
        self._scatter += windows @ windows.T + np.outer(step, step) * (self.count * count / total)
        self.mean = self.mean + step * (count / total)
        self.count = total

    @property
    def covariance(self) -> npt.NDArray[np.float64]:
        """(K, K), biased: divided by the number of windows."""
        return self._scatter / max(1, self.count)


def convolution_moments(mean: Array, covariance: Array, weight: Array, bias: Array | None = None) -> Moments:
    """Mean and variance over time of each channel of a convolution over a waveform.  -> (C,), (C,), float64

    mean (K,) and covariance (K, K): of the waveform's windows.  weight (C, 1, K) and bias (C,) as stored.
    """
    w = weight[:, 0].astype(np.float64)  # (C, K)
    means = w @ mean
    return means if bias is None else means + bias, np.einsum("ck,kl,cl->c", w, covariance, w)


def fold_norm(layer: Weights, moments: Moments) -> Weights:
    """A convolution with its group norm inside: with statistics that are known, the norm is a scale and an offset for each channel.

    layer: ``feature_extractor.conv_layers.0``, one group a channel; moments: of its convolution's output, bias included.  -> the same
    layer without a norm, its kernel and bias folded in float64.
    """
    (mean, variance), conv, norm = moments, layer["conv"], layer["layer_norm"]
    weight: Array = conv["weight"]  # (C, 1, K)
    scale = norm["weight"].astype(np.float64) / np.sqrt(variance + CONV_NORM_EPS)
    bias = norm["bias"] - (mean - conv.get("bias", 0.0)) * scale
    folded = weight.astype(np.float64) * scale[:, None, None]
    return {"conv": {"weight": folded.astype(weight.dtype), "bias": bias.astype(weight.dtype)}}


def fold_statistics(p: Weights, moments: Moments | None) -> Weights:
    """A base model's weights with the statistics of a whole clip folded into the first convolution; as they are without any.

    The convolutions of its parts are then those of the whole.
    """
    if moments is None:
        return p
    first, *others = p["feature_extractor"]["conv_layers"]
    return p | {"feature_extractor": {"conv_layers": [fold_norm(first, moments), *others]}}
