"""From the samples of a clip to what is squeezed, there and back: convolutions, projection, and what SpecAugment hides."""

from collections.abc import Callable

import numpy as np

from sewnp.fast.backward.elementwise import layer_norm_vjp, summed
from sewnp.fast.backward.one_pass import Grads, Pass
from sewnp.fast.convolutions import ConvLayer, first_moments, pack_convolution, run_tiles, tiles
from sewnp.networks.moments import fold_norm
from sewnp.types import Array, Weights


def features(samples: Array, layers: list[ConvLayer], first_layer: Weights, run: Pass) -> Array:
    """The convolutions alone, tile by tile, nothing kept.  samples (n,) -> (T, C).  first_layer: as stored."""
    config = run.config
    out = np.empty((config.frames(len(samples)), config.conv_dim[-1]), np.float32)

    def done(x: Array, first: int, last: int) -> None:
        out[first:last] = x

    if config.feat_extract_norm == "group":
        _, moments = first_moments(samples, first_layer, config.conv_stride[0])
        layers = [pack_convolution(fold_norm(first_layer, moments), config.conv_stride[0]), *layers[1:]]
    run_tiles(samples, layers, config.feat_extract_activation, iter(tiles(len(out), layers, 1)), done, run.scratch, 0)
    return out


def projected_vjp(
    x: Array, p: Weights, run: Pass, *, time_mask: Array | None, feature_mask: Array | None
) -> tuple[Array, Callable[[Array], tuple[Array, Grads]]]:
    """Features normalised and projected, some frames and channels hidden.  x (T, C) -> (T, H); and dy, written over, -> dx, gradients by name.

    p: the base model.  time_mask (T,), feature_mask (H,): True where hidden.
    """
    config, shelf = run.config, run.shelf
    y = shelf.take(*x.shape)
    norm_back = layer_norm_vjp(x, **p["layer_norm"], eps=config.frames_eps, normalised=shelf.take(*x.shape), out=y)
    projection, normed, stage = p.get("feature_projection"), y, "layer_norm"
    if projection is not None:
        y = np.matmul(normed, projection["weight"].T, out=shelf.take(len(x), config.hidden_size))
        y += projection["bias"]
        stage = "feature_projection"
    by = run.drop(stage, y)
    if time_mask is not None:
        y[time_mask] = p["masked_spec_embed"]
    if feature_mask is not None:
        y[:, feature_mask] = 0

    def pullback(dy: Array) -> tuple[Array, Grads]:
        grads: Grads = {}
        if feature_mask is not None:
            dy[:, feature_mask] = 0
        if time_mask is not None:
            grads["masked_spec_embed"] = summed(dy[time_mask])
            dy[time_mask] = 0
        if by is not None:
            dy *= by
        if projection is not None:
            grads["feature_projection.weight"], grads["feature_projection.bias"] = dy.T @ normed, summed(dy)
            dy = dy @ projection["weight"]
        dx, grads["layer_norm.weight"], grads["layer_norm.bias"] = norm_back(dy)
        return dx, grads

    return y, pullback
