"""The pullback of every layer: problems for its judges (tests/test_pullbacks.py), its corners and its sums."""

import math

import numpy as np
import pytest

from judging import (
    EPS32,
    Case,
    affine,
    assert_gradients_close,
    cast,
    gradient_errors,
    pulled_by_ours,
    pulled_by_torch,
)
from sewnp import layers
from sewnp.layers import ACTIVATIONS, activation, key_mask, query_key_mask, relative_positions

SMOOTH = sorted(set(ACTIVATIONS) - {"relu", "relu6", "leaky_relu", "gelu_10", "hardswish", "selu"})


def rng_of(random):
    return np.random.default_rng(random.getrandbits(32))


def array(random, *shape, scale=1.0):
    return rng_of(random).normal(scale=scale, size=shape)


def affine_of(random, inputs, outputs, *, bias=True):
    p = affine(rng_of(random), inputs, outputs)
    return p if bias else {"weight": p["weight"]}


def gains_of(random, channels):
    return {"weight": 1 + array(random, channels, scale=0.3), "bias": array(random, channels)}


def kernel_of(random, out, inputs, size):
    p = {"weight": array(random, out, inputs, size) / math.sqrt(inputs * size)}
    return p | {"bias": array(random, out)} if random.randint(0, 1) else p


def frame_mask_of(random, batch, frames, *, empty=True):
    mask = rng_of(random).random((batch, frames)) < random.choice([0.4, 0.9])
    if not empty:
        mask[:, 0] = True
    return random.choice([None, mask])


def attention_mask_of(random, batch, frames):
    """Over keys, over pairs, or none; rows that may look nowhere among them."""
    mask = frame_mask_of(random, batch, frames)
    return None if mask is None else random.choice([key_mask, query_key_mask])(mask)


def draw_linear(random):
    inputs, outputs = random.randint(1, 6), random.randint(1, 6)
    shape = [random.randint(1, 4) for _ in range(random.randint(0, 2))]
    return {"x": array(random, *shape, inputs), **affine_of(random, inputs, outputs, bias=random.randint(0, 1))}, {}


def draw_conv1d(random):
    channels, out, size = random.randint(1, 4), random.randint(1, 4), random.randint(1, 5)
    x = array(random, random.randint(1, 2), size + random.randint(0, 9), channels)
    return {"x": x, **kernel_of(random, out, channels, size)}, {"stride": random.randint(1, 4)}


def draw_grouped_conv1d(random):
    groups, channels, out, size = (random.randint(1, 4) for _ in range(4))
    padding = random.randint(0, 3)
    x = array(random, random.randint(1, 3), max(1, size - 2 * padding) + random.randint(0, 9), groups * channels)
    options = {"groups": groups, "stride": random.randint(1, 3), "padding": padding}
    return {"x": x, **kernel_of(random, groups * out, channels, size)}, options


def draw_weight_norm(random):
    out, channels, size = (random.randint(1, 4) for _ in range(3))
    return {"weight_g": array(random, 1, 1, size), "weight_v": array(random, out, channels, size)}, {}


def draw_group_norm(random):
    groups, size = random.randint(1, 3), random.randint(1, 3)
    # one or two values have no spread worth the name: what comes back is the rounding of differences
    x = array(random, random.randint(1, 3), random.randint(4, 12), groups * size) + array(random, groups * size, scale=3)
    return {"x": x, **gains_of(random, groups * size)}, {"groups": groups, "eps": random.choice([1e-5, 0.1])}


def draw_layer_norm(random):
    channels = random.randint(4, 9)
    x = array(random, *[random.randint(1, 4) for _ in range(random.randint(0, 2))], channels) + 3 * array(random)
    return {"x": x, **gains_of(random, channels)}, {"eps": random.choice([1e-7, 1e-5, 0.1])}


def draw_softmax(random):
    return {"x": array(random, random.randint(1, 3), random.randint(1, 7), scale=random.choice([1, 5]))}, {}


def draw_masked_softmax(random):
    batch, frames = random.randint(1, 3), random.randint(1, 6)
    scores = array(random, batch, random.randint(1, 2), frames, frames, scale=3)
    return {"scores": scores}, {"mask": attention_mask_of(random, batch, frames)}


def draw_activation(name):
    """Small and large values together; half a hundredth away from where pieces meet, which central differences must not step over."""

    def draw(random):
        x = array(random, 20, random.randint(1, 30)) * np.geomspace(0.1, 30, 20)[:, None]
        return {"x": np.clip(np.round(x, 2) + 0.005, -80, 80)}, {"activation": activation(name)}

    return draw


def draw_position_embedding(random):
    groups, per_group, size = random.randint(1, 2), random.randint(1, 2), random.randint(1, 7)
    width = groups * per_group
    conv = {"weight_g": 1 + array(random, 1, 1, size, scale=0.3), "weight_v": array(random, width, per_group, size)}
    options = {"groups": groups, "stride": random.randint(1, 3), "activation": activation(random.choice(SMOOTH))}
    x = array(random, random.randint(1, 2), random.randint(1, 9), width)
    return {"x": x, "p": {"conv": conv | {"bias": array(random, width)}}}, options


def draw_squeeze(random):
    factor = random.randint(1, 4)
    return {"x": array(random, 2, factor + random.randint(0, 9), random.randint(1, 3))}, {"factor": factor}


def draw_upsample(random):
    factor, width, frames = random.randint(1, 4), random.randint(1, 3), random.randint(1, 4)
    options = {"factor": factor, "activation": activation(random.choice(SMOOTH))}
    options["frames"] = frames * factor + random.randint(0, factor - 1)
    return {"x": array(random, 2, frames, width), "p": {"projection": affine_of(random, width, factor * width)}}, options


def draw_feed_forward(random):
    width, inner = random.randint(1, 4), random.randint(1, 6)
    p = {"intermediate_dense": affine_of(random, width, inner), "output_dense": affine_of(random, inner, width)}
    return {"x": array(random, 2, random.randint(1, 4), width), "p": p}, {"activation": activation(random.choice(SMOOTH))}


def draw_attention(random):
    batch, frames, heads, size = (random.randint(1, n) for n in (3, 5, 3, 3))
    p = {f"{name}_proj": affine_of(random, heads * size, heads * size) for name in ("q", "k", "v", "out")}
    x = array(random, batch, frames, heads * size)
    return {"x": x, "p": p}, {"heads": heads, "mask": attention_mask_of(random, batch, frames)}


def draw_projection(random):
    heads, size = random.randint(1, 3), random.randint(1, 3)
    x = array(random, 2, random.randint(1, 4), heads * size)
    return {"x": x, "p": {"k_proj": affine_of(random, heads * size, heads * size)}}, {"heads": heads}


def relative_of(random, frames, span):
    """As a network has them, or arbitrary and past the table at both ends, so that no symmetry hides a transposed gather."""
    any_at_all = rng_of(random).integers(-span - 2, span + 3, (frames, frames))
    return random.choice([any_at_all, relative_positions(frames, buckets=0, max_distance=8)])


def draw_positions(first, second):
    def draw(random):
        batch, frames, heads, size, span = (random.randint(1, n) for n in (3, 5, 2, 3, 4))
        arguments = {first: array(random, batch, heads, frames, size), second: array(random, 1, heads, 2 * span, size)}
        return arguments, {"relative": relative_of(random, frames, span)}

    return draw


def draw_disentangled(terms, shared, positions):
    def draw(random):
        batch, frames, heads, size, span = (random.randint(1, n) for n in (3, 5, 2, 3, 4))
        width = heads * size
        names = ["query", "key", "value"] + ([] if shared else ["pos_key", "pos_query"])
        p = {f"{name}_proj": affine_of(random, width, width) for name in names}
        table = array(random, 2 * span, width) if positions else None
        options = {"heads": heads, "pos_att_type": terms, "share_att_key": shared, "mask": attention_mask_of(random, batch, frames)}
        options["relative"] = relative_of(random, frames, span) if positions else None
        return {"x": array(random, batch, frames, width), "p": p, "table": table}, options

    return draw


def draw_mask_frames(random):
    batch, frames, width = (random.randint(1, 4) for _ in range(3))
    time_mask = rng_of(random).random((batch, frames)) < random.choice([0.0, 0.5, 1.0])
    return {"x": array(random, batch, frames, width), "masked_spec_embed": array(random, width)}, {"time_mask": time_mask}


def draw_masked_mean(random):
    batch, frames = random.randint(1, 3), random.randint(1, 5)
    x = array(random, batch, frames, random.randint(1, 3))
    return {"x": x}, {"mask": frame_mask_of(random, batch, frames, empty=False)}


def draw_weighted_layers(random):
    shape, count = [random.randint(1, 3) for _ in range(3)], random.randint(1, 4)
    return {"hidden_states": [array(random, *shape) for _ in range(count)], "layer_weights": array(random, count)}, {}


def case(name, draw, *, sees=False, theirs=None):
    return Case(name, getattr(layers, name), getattr(layers, f"{name}_vjp"), theirs or name, draw, sees)


def project(x, p, *, heads, see):
    return see("k", layers.split_heads(layers.linear(x, **p["k_proj"]), heads))


CASES = [
    case("linear", draw_linear),
    case("conv1d", draw_conv1d),
    case("grouped_conv1d", draw_grouped_conv1d),
    case("weight_norm", draw_weight_norm),
    case("group_norm", draw_group_norm),
    case("layer_norm", draw_layer_norm),
    case("softmax", draw_softmax),
    case("log_softmax", draw_softmax),
    case("masked_softmax", draw_masked_softmax),
    case("convolutional_position_embedding", draw_position_embedding, sees=True, theirs="position_embedding"),
    case("squeeze", draw_squeeze),
    case("upsample", draw_upsample, sees=True),
    case("feed_forward", draw_feed_forward, sees=True),
    case("multi_head_attention", draw_attention, sees=True),
    Case(
        "project",
        project,
        lambda x, p, *, heads, see: layers.project_vjp("k", x, p, "k_proj", heads, see),
        "project",
        draw_projection,
        sees=True,
    ),
    case("content_to_position", draw_positions("q", "position_keys")),
    case("position_to_content", draw_positions("k", "position_queries")),
    *(
        case("disentangled_attention", draw_disentangled(terms, shared, positions), sees=True)._replace(
            name=f"disentangled_attention-{'+'.join(terms) or 'content'}-{'shared' if shared else 'separate'}-{positions}"
        )
        for terms in [(), ("c2p",), ("p2c",), ("p2c", "c2p")]
        for shared in (True, False)
        for positions in ("table", "")
    ),
    case("mask_frames", draw_mask_frames),
    case("masked_mean", draw_masked_mean),
    case("weighted_layers", draw_weighted_layers),
    *(
        Case(
            f"activation-{name}",
            lambda x, activation: activation(x),
            layers.activation_vjp,
            "activate",
            draw_activation(name),
        )
        for name in sorted(ACTIVATIONS)
    ),
]


def test_every_pullback_of_the_layers_is_judged():
    exported = {getattr(layers, name) for name in layers.__all__ if name.endswith("_vjp")}
    assert exported - {case.vjp for case in CASES} == {layers.project_vjp, layers.unseen_vjp}  # wrapped, and an observer


def corners():
    """A case's name, arrays and options: where something is divided by zero, infinite, NaN, constant or not there."""
    rng = np.random.default_rng(0)
    x, scores, clips = rng.normal(size=(2, 4, 3)), rng.normal(size=(3, 4)), np.array([[True, False, True, True], [False] * 4])
    directions, lengths = rng.normal(size=(3, 2, 3)), np.array([1.0, 2.0, 0.0])[None, None]
    directions[:, :, 1] = 0
    gains = {"weight": np.ones(3), "bias": np.zeros(3)}
    broken, infinite, odd = x.copy(), scores.copy(), scores.copy()
    broken[0, 1] = odd[0, 1] = np.nan
    infinite[0, 1] = infinite[1] = -np.inf
    infinite[2, 2] = np.inf
    yield "a tap of zeros, and one of no length", "weight_norm", {"weight_g": lengths, "weight_v": directions}, {}
    yield "a constant frame", "layer_norm", {"x": np.ones((2, 3)), **gains}, {"eps": 1e-5}
    yield "silence", "group_norm", {"x": np.zeros((2, 4, 3)), **gains}, {"groups": 3, "eps": 1e-5}
    yield "a broken frame", "layer_norm", {"x": broken, **gains}, {"eps": 1e-5}
    yield "a broken clip", "group_norm", {"x": broken, **gains}, {"groups": 3, "eps": 1e-5}
    for name in ("softmax", "log_softmax"):
        yield "infinite scores", name, {"x": infinite}, {}
        yield "NaN", name, {"x": odd}, {}
    yield "-inf", "masked_softmax", {"scores": infinite[:1]}, {"mask": np.array([True, True, True, False])}
    yield "NaN", "masked_softmax", {"scores": odd}, {"mask": None}
    yield "NaN under the mask", "masked_softmax", {"scores": odd}, {"mask": np.array([True, False, True, True])}
    yield "NaN under the mask", "mask_frames", {"x": broken, "masked_spec_embed": np.ones(3)}, {"time_mask": ~clips}
    yield "NaN under the mask, and no frames", "masked_mean", {"x": broken}, {"mask": clips}


@pytest.mark.parametrize(
    ("name", "arguments", "options"), [pytest.param(*rest, id=f"{rest[0]}: {what}") for what, *rest in corners()]
)
def test_corners_are_those_of_torch(name, arguments, options):
    """NaN and 0 where autograd has them; that no warning escapes is for pytest's filter to see."""
    one = next(case for case in CASES if case.name == name)
    dy = np.random.default_rng(1).normal(size=one.ours(**arguments, **options).shape)
    ours, theirs = (pulled(one, arguments, options, dy).gradients for pulled in (pulled_by_ours, pulled_by_torch))
    assert_gradients_close(ours, theirs)


def test_sums_over_a_long_clip_lose_nothing_in_float32():
    """A million frames whose gradients do not cancel: summed in float32 from the first to the last, three digits would be lost."""
    rng = np.random.default_rng(2)
    x = rng.random((1, 1_000_000, 2), np.float32)
    dy = x + rng.random(x.shape, np.float32)  # along x: else the frames' shares of a gain would cancel
    gains = {"weight": np.ones(2, np.float32), "bias": np.zeros(2, np.float32)}
    for name, options in [("layer_norm", {"eps": 0.1}), ("group_norm", {"groups": 2}), ("mask_frames", {})]:
        arguments = {"x": x, **gains}
        if name == "mask_frames":
            arguments = {"x": x, "masked_spec_embed": gains["bias"]}
            options = {"time_mask": np.ones(x.shape[:2], bool)}
        one = next(case for case in CASES if case.name == name)
        ours = pulled_by_ours(one, arguments, options, dy).gradients
        truth = pulled_by_ours(one, *cast((arguments, options, dy), np.float64)).gradients
        for key, error in gradient_errors(ours, truth, floor=0).items():
            assert error <= 8 * EPS32, f"{name} {key}: {error:.2g}"
