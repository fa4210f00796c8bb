"""The pullback of every part of the networks, from a convolution to a transformer and a loss: problems for its judges (tests/test_pullbacks.py)."""

from layers.test_vjp import (
    SMOOTH,
    affine_of,
    array,
    attention_mask_of,
    frame_mask_of,
    gains_of,
    kernel_of,
    relative_of,
    rng_of,
)

from judging import (
    Case,
)
from sewnp.config import SEWConfig, SEWDConfig
from sewnp.layers import activation
from sewnp.networks import frontend, heads, sew, sew_d

WIDTH = 4
COMMON = {"hidden_size": WIDTH, "num_hidden_layers": 1, "intermediate_size": 6, "num_conv_pos_embeddings": 3, "vocab_size": 5}


def config_of(random, cls=SEWConfig, **values):
    """A configuration of its own each time; what the parts read is drawn."""
    common = COMMON | {
        "num_attention_heads": random.choice([1, 2]),
        "num_conv_pos_embedding_groups": random.choice([1, 2]),
        "squeeze_factor": random.randint(1, 3),
        "feat_extract_activation": random.choice(SMOOTH),
        "hidden_act": random.choice(SMOOTH),
        "layer_norm_eps": random.choice([1e-5, 0.1]),
        "conv_dim": (3, WIDTH),
        "conv_kernel": (3, 2),
        "conv_stride": (2, 1),
    }
    return cls(**(common | values))


def config_d_of(random, *, relative_attention=(True, True, False)):
    return config_of(
        random,
        SEWDConfig,
        pos_att_type=random.choice([(), ("c2p",), ("p2c",), ("p2c", "c2p")]),
        share_att_key=random.choice([True, False]),
        relative_attention=random.choice(relative_attention),
        position_buckets=random.choice([2, -1]),
        max_position_embeddings=4,
        norm_rel_ebd=random.choice(["layer_norm", "none"]),
    )


def frames_of(random):
    return array(random, random.randint(1, 2), random.randint(1, 5), WIDTH)


def conv_layer_of(random, inputs, out, size, *, normed):
    return {"conv": kernel_of(random, out, inputs, size)} | ({"layer_norm": gains_of(random, out)} if normed else {})


def draw_conv_layer(random):
    inputs, out, size = random.randint(1, 3), random.randint(4, 6), random.randint(1, 3)
    x = array(random, random.randint(1, 2), size + 4 + random.randint(0, 6), inputs)
    options = {"stride": random.randint(1, 2), "norm": random.choice(["group", "layer"])}
    p = conv_layer_of(random, inputs, out, size, normed=random.randint(0, 1))
    return {"x": x, "p": p}, options | {"activation": activation(random.choice(SMOOTH))}


def draw_feature_extractor(random):
    config = config_of(random, feat_extract_norm=random.choice(["group", "layer"]))
    layered = config.feat_extract_norm == "layer"
    layers = [conv_layer_of(random, 1, 3, 3, normed=True), conv_layer_of(random, 3, WIDTH, 2, normed=layered)]
    return {"waveform": array(random, 2, random.randint(11, 20)), "p": {"conv_layers": layers}}, {"config": config}


def draw_projected(random):
    config = config_of(random, apply_spec_augment=random.choice([True, True, False]))
    channels = random.choice([WIDTH, 6])
    x = array(random, 2, random.randint(1, 5), channels)
    p = {"layer_norm": gains_of(random, channels), "masked_spec_embed": array(random, WIDTH)}
    if channels != WIDTH:
        p["feature_projection"] = affine_of(random, channels, WIDTH)
    return {"x": x, "p": p}, {"config": config, "time_mask": frame_mask_of(random, *x.shape[:2])}


def draw_squeezed(random):
    size = random.randint(1, 6)
    config = config_of(random, num_conv_pos_embeddings=size)
    width = WIDTH // config.num_conv_pos_embedding_groups
    conv = {"weight_g": 1 + array(random, 1, 1, size, scale=0.3), "weight_v": array(random, WIDTH, width, size)}
    x = array(random, 2, config.squeeze_factor + random.randint(0, 6), WIDTH)
    p = {"pos_conv_embed": {"conv": conv | {"bias": array(random, WIDTH)}}}
    return {"x": x, "p": p}, {"config": config, "mask": frame_mask_of(random, *x.shape[:2])}


def draw_unsqueezed(random):
    config, x = config_of(random), frames_of(random)
    p = {"upsample": {"projection": affine_of(random, WIDTH, WIDTH * config.squeeze_factor)}}
    return {"x": x, "p": p}, {"config": config, "frames": x.shape[1] * config.squeeze_factor + config.squeeze_factor - 1}


def sew_layer_of(random):
    return {
        "attention": {f"{name}_proj": affine_of(random, WIDTH, WIDTH) for name in ("q", "k", "v", "out")},
        "layer_norm": gains_of(random, WIDTH),
        "feed_forward": {"intermediate_dense": affine_of(random, WIDTH, 6), "output_dense": affine_of(random, 6, WIDTH)},
        "final_layer_norm": gains_of(random, WIDTH),
    }


def draw_sew_layer(random):
    x = frames_of(random)
    options = {"heads": random.choice([1, 2]), "eps": 1e-5, "activation": activation(random.choice(SMOOTH))}
    return {"x": x, "p": sew_layer_of(random)}, options | {"mask": attention_mask_of(random, *x.shape[:2])}


def skipped_of(random, count):
    return frozenset(i for i in range(count) if random.randint(0, 2) == 0)


def draw_sew_transformer(random):
    x, count = frames_of(random), random.randint(0, 3)
    p = {"layer_norm": gains_of(random, WIDTH)} | ({"layers": [sew_layer_of(random) for _ in range(count)]} if count else {})
    mask = attention_mask_of(random, *x.shape[:2])
    return {"x": x, "p": p}, {"config": config_of(random), "mask": mask, "skip_layers": skipped_of(random, count)}


def add_and_norm_of(random, inputs):
    return {"dense": affine_of(random, inputs, WIDTH), "LayerNorm": gains_of(random, WIDTH)}


def sew_d_layer_of(random, config):
    names = ["query", "key", "value"] + ([] if config.share_att_key else ["pos_key", "pos_query"])
    attention = {f"{name}_proj": affine_of(random, WIDTH, WIDTH) for name in names}
    return {
        "attention": {"self": attention, "output": add_and_norm_of(random, WIDTH)},
        "intermediate": {"dense": affine_of(random, WIDTH, 6)},
        "output": add_and_norm_of(random, 6),
    }


def draw_add_and_norm(random):
    residual = frames_of(random)
    x = array(random, *residual.shape[:2], 6)
    return {"x": x, "p": add_and_norm_of(random, 6), "residual": residual}, {"eps": 1e-5}


def draw_sew_d_layer(random):
    config, x = config_d_of(random), frames_of(random)
    positions = random.choice([True, True, False])
    arguments = {"x": x, "p": sew_d_layer_of(random, config), "table": array(random, 6, WIDTH) if positions else None}
    options = {"config": config, "relative": relative_of(random, x.shape[1], 3) if positions else None}
    options |= {"activation": activation(random.choice(SMOOTH)), "mask": attention_mask_of(random, *x.shape[:2])}
    return arguments, options


def positions_of(random, config):
    p = {"rel_embeddings": {"weight": array(random, 2 * config.span, WIDTH)}}
    return p | ({"LayerNorm": gains_of(random, WIDTH)} if config.normalizes_positions else {})


def draw_position_table(random):
    config = config_d_of(random, relative_attention=[True])
    return {"p": positions_of(random, config)}, {"config": config}


def draw_sew_d_transformer(random):
    config, x, count = config_d_of(random), frames_of(random), random.randint(0, 3)
    p = positions_of(random, config) if config.relative_attention else {}
    p |= {"layer": [sew_d_layer_of(random, config) for _ in range(count)]} if count else {}
    options = {"config": config, "mask": attention_mask_of(random, *x.shape[:2]), "skip_layers": skipped_of(random, count)}
    return {"x": x, "p": {"encoder": p} if p else {}}, options


def draw_ctc_logits(random):
    return {"x": frames_of(random), "p": {"lm_head": affine_of(random, WIDTH, 5)}}, {}


def draw_classification_logits(random):
    x = frames_of(random)
    p = {"projector": affine_of(random, WIDTH, 3), "classifier": affine_of(random, 3, 5)}
    return {"x": x, "p": p}, {"mask": frame_mask_of(random, *x.shape[:2], empty=False)}


def draw_cross_entropy(random):
    logits = array(random, random.randint(1, 5), random.randint(1, 4), scale=3)
    labels = rng_of(random).integers(0, logits.shape[1], len(logits))
    labels[1:][rng_of(random).random(len(labels) - 1) < random.choice([0.0, 0.6])] = -100
    return {"logits": logits}, {"labels": labels[:, None] if random.randint(0, 1) else labels}


def case(room, name, theirs, draw, *, sees=True):
    label = f"{room.__name__.split('.')[-1]}.{name}"
    return Case(label, getattr(room, name), getattr(room, f"{name}_vjp"), theirs, draw, sees)


CASES = [
    case(frontend, "conv_layer", "conv_layer", draw_conv_layer),
    case(frontend, "feature_extractor", "feature_extractor", draw_feature_extractor),
    case(frontend, "projected", "projected", draw_projected),
    case(frontend, "squeezed", "squeezed", draw_squeezed),
    case(frontend, "unsqueezed", "unsqueezed", draw_unsqueezed),
    case(sew, "encoder_layer", "sew_layer", draw_sew_layer),
    case(sew, "transformer", "sew_transformer", draw_sew_transformer),
    case(sew_d, "add_and_norm", "add_and_norm", draw_add_and_norm),
    case(sew_d, "encoder_layer", "sew_d_layer", draw_sew_d_layer),
    case(sew_d, "position_table", "position_table", draw_position_table),
    case(sew_d, "transformer", "sew_d_transformer", draw_sew_d_transformer),
    case(heads, "ctc_logits", "ctc_logits", draw_ctc_logits, sees=False),
    case(heads, "classification_logits", "classification_logits", draw_classification_logits),
    case(heads, "cross_entropy", "cross_entropy", draw_cross_entropy, sees=False),
]


def test_every_pullback_of_the_parts_is_judged():
    """Those of the base model and of a whole run are judged with the whole models."""
    rooms = (frontend, sew, sew_d, heads)
    own = {(room, name) for room in rooms for name, f in vars(room).items() if getattr(f, "__module__", "") == room.__name__}
    pullbacks = {f"{room.__name__.split('.')[-1]}.{name[:-4]}" for room, name in own if name.endswith("_vjp")}
    assert pullbacks == {case.name for case in CASES}
