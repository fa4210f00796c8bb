"""Where a frame stands, told by a wide grouped convolution over its neighbours."""

from collections.abc import Callable

from sewnp.layers.convolution import grouped_conv1d, weight_norm
from sewnp.layers.observe import unseen
from sewnp.types import Array, See, Weights


def convolutional_position_embedding(
    x: Array, p: Weights, *, groups: int, stride: int, activation: Callable[[Array], Array], see: See = unseen
) -> Array:
    """A position for every squeezed frame.  (B, T, H) -> (B, ~T / stride, H).  Scope: ``encoder.pos_conv_embed``.

    A weight-normed grouped convolution with K // 2 zeros on both sides; where K is even, its last frame is one too many and is dropped.
    Frames: T // stride for even K, ceil(T / stride) for odd K.  Source: Baevski et al. 2020 (wav2vec 2.0), section 2; strided in SEW.
    """
    conv = p["conv"]
    weight = see("conv.weight", weight_norm(conv["weight_g"], conv["weight_v"]))  # (H, H/G, K)
    kernel = weight.shape[2]
    y = see("conv", grouped_conv1d(x, weight, conv["bias"], groups=groups, stride=stride, padding=kernel // 2))
    if kernel % 2 == 0:
        y = y[:, :-1]
    return see("activation", activation(y))
