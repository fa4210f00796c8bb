# %% [markdown]
# # 15 · All of SEW on one page
#
# > Which lines turn samples into scores, all of them, and could you write them yourself?
#
# **Read before:** notebooks 02 to 08; this one comes before 09. They took the network apart, a notebook a part. Here it is whole: once in
# calls to the layers that you know, and once, if you like, in a program of your own, which `sewnp check` will judge.

# %% tags=["setup"]
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption
from checks.one_page import CASES, check_port

import sewnp
from sewnp import plots
from sewnp.layers import (
    activation,
    conv1d,
    disentangled_attention,
    feed_forward,
    frame_lengths,
    frame_mask,
    group_norm,
    grouped_conv1d,
    key_mask,
    layer_norm,
    linear,
    masked_mean,
    multi_head_attention,
    query_key_mask,
    relative_positions,
    squeeze,
    squeeze_mask,
    weight_norm,
    weighted_layers,
)
from sewnp.speech import read_audio

plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, *_ = plots.COLORS

# %% [markdown]
# ## The page
#
# `p` holds the weights under the names that they have in the file, `config` is config.json. Everything is here: both activations, every
# norm with its epsilon, both heads, padding, and the frames that SpecAugment hides. The numbers in the comments are the notebooks that
# explain a line.


# %%
def transformer(x, p, config, keys):
    """SEW's.  (B, N, H) -> what goes into the first layer, and what comes out of each."""
    heads, eps = config.num_attention_heads, config.layer_norm_eps
    act = activation(config.hidden_act)
    states = [layer_norm(x, **p["layer_norm"], eps=eps)]  # SEW normalises before its first layer
    for layer in p["layers"]:  # 06
        x = states[-1]
        a = multi_head_attention(x, layer["attention"], heads=heads, mask=keys)
        y = layer_norm(x + a, **layer["layer_norm"], eps=eps)
        f = feed_forward(y, layer["feed_forward"], activation=act)
        states.append(layer_norm(y + f, **layer["final_layer_norm"], eps=eps))
    return states


def network(samples, p, config, *, attention_mask=None, hidden=None, transformer=transformer):
    """(B, n), normalised -> token scores (B, T, V), or class scores (B, labels), as the weights say."""
    base, encoder, factor = p[config.prefix], p[config.prefix]["encoder"], config.squeeze_factor
    act = activation(config.feat_extract_activation)

    x = samples[:, :, None]  # 02: (B, n) -> (B, T, C)
    for layer, stride in zip(base["feature_extractor"]["conv_layers"], config.conv_stride, strict=True):
        x = conv1d(x, **layer["conv"], stride=stride)
        norm = layer.get("layer_norm")  # 03
        if norm and config.feat_extract_norm == "group":  # in the first layer alone
            x = group_norm(x, **norm, groups=x.shape[2], eps=1e-5)
        elif norm:  # in every layer
            x = layer_norm(x, **norm, eps=1e-5)
        x = act(x)

    x = layer_norm(x, **base["layer_norm"], eps=config.frames_eps)  # always there
    if "feature_projection" in base:  # only where C is not H
        x = linear(x, **base["feature_projection"])  # (B, T, H)
    if hidden is not None and config.apply_spec_augment:
        x = np.where(hidden[:, :, None], base["masked_spec_embed"], x)

    frames, lengths, keys = x.shape[1], None, None
    if attention_mask is not None:  # see "A batch" below
        stack = {"kernels": config.conv_kernel, "strides": config.conv_stride}
        lengths = frame_lengths(attention_mask, **stack)
        real = frame_mask(lengths, frames)
        x = np.where(real[:, :, None], x, x.dtype.type(0))
        keys = key_mask(squeeze_mask(real, factor))

    conv = encoder["pos_conv_embed"]["conv"]  # 05
    kernel = weight_norm(conv["weight_g"], conv["weight_v"])
    place = {"groups": config.num_conv_pos_embedding_groups, "stride": factor, "padding": kernel.shape[2] // 2}
    position = act(grouped_conv1d(x, kernel, conv["bias"], **place))
    pool = squeeze(x, factor)  # 04: (B, N, H)
    states = transformer(pool + position[:, : pool.shape[1]], encoder, config, keys)

    wide = act(linear(states[-1], **encoder["upsample"]["projection"]))  # 04: (B, N, factor H)
    last = wide.reshape(len(x), -1, x.shape[2])
    last = np.pad(last, ((0, 0), (0, frames - last.shape[1]), (0, 0)))  # zeros for an odd tail

    if "lm_head" in p:
        return linear(last, **p["lm_head"])
    if config.use_weighted_layer_sum:  # 09
        last = weighted_layers(states, p["layer_weights"])  # shares by softmax, (B, N, H)
    counted = None if lengths is None else frame_mask(lengths, last.shape[1])
    pooled = masked_mean(linear(last, **p["projector"]), counted)
    return linear(pooled, **p["classifier"])


# %% [markdown]
# Is that really all? The embedded model says so, to the last bit:

# %%
digits = sewnp.load("digits", engine="textbook")
waveform = digits.features(read_audio("../tests/clips/three_one_four.wav")).input_values
logits = network(waveform, digits.weights, digits.config)
print(digits.tokenizer.decode(logits[0].argmax(axis=1)))
assert np.array_equal(logits, digits(waveform).logits)

# %% [markdown]
# The embedded model has one way through each *if*. Small random models have the others: a layer norm behind every convolution, biases in
# the convolutions, no projection, a head for classes, a mixture of layers, hidden frames, and two clips of which one is padded.

# %%
small = {
    "conv_dim": (8, 16),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
small |= {"intermediate_size": 24, "num_conv_pos_embeddings": 5, "num_conv_pos_embedding_groups": 4}
variants = {
    "layer norms, biases": {"feat_extract_norm": "layer", "conv_bias": True, "conv_dim": (8, 12)},
    "no projection": {"squeeze_factor": 3},
    "classes": {"head": "classification"},
    "classes, mixed layers": {"head": "classification", "use_weighted_layer_sum": True},
}
rng = np.random.default_rng(0)
noise = rng.standard_normal((2, 120)).astype(np.float32)  # 11 frames: an odd tail
real_samples = np.arange(120) < [[120], [70]]


def drawn(config, head):
    """A model of that configuration whose weights, biases included, are random and none of them zero."""
    model = sewnp.from_config(config, head=head, seed=1, engine="textbook")
    for weight in model.flat_weights().values():
        weight += 0.1 * rng.standard_normal(weight.shape).astype(weight.dtype)
    return model


def same(model, **options):
    """Whether model and page give the same scores."""
    run = {"attention_mask": real_samples, "hidden": rng.random((2, model.config.frames(120))) < 0.2}
    theirs = model(noise, run["attention_mask"].astype(int), mask_time_indices=run["hidden"]).logits
    return np.array_equal(network(noise, model.weights, model.config, **run, **options), theirs)


for name, keys in variants.items():
    head = keys.pop("head", "ctc")
    model = drawn(sewnp.SEWConfig(**small | keys), head)
    print(f"{name:22} {same(model)}")
    assert same(model)

# %% [markdown]
# ## And SEW-D
#
# It differs in the transformer alone. These lines replace the first function; everything before and behind is shared.


# %%
def transformer_d(x, p, config, keys):
    """SEW-D's.  (B, N, H) -> what goes into the first layer, and what comes out of each."""
    p, eps, act = p["encoder"], config.layer_norm_eps, activation(config.hidden_act)
    table, relative, states = None, None, [x]  # SEW-D does not normalise before its first layer
    if config.relative_attention:  # 07
        table = p["rel_embeddings"]["weight"]  # (2 span, H), one for all layers
        if config.normalizes_positions:
            table = layer_norm(table, **p["LayerNorm"], eps=eps)
        sizes = {"buckets": config.position_buckets, "max_distance": config.max_distance}
        relative = relative_positions(x.shape[1], **sizes)
    kind = {"heads": config.num_attention_heads, "pos_att_type": config.pos_att_type}
    kind |= {"share_att_key": config.share_att_key, "table": table, "relative": relative, "mask": keys}
    for layer in p["layer"]:
        x, inner, outer = states[-1], layer["attention"]["output"], layer["output"]
        a = linear(disentangled_attention(x, layer["attention"]["self"], **kind), **inner["dense"])
        y = layer_norm(a + x, **inner["LayerNorm"], eps=eps)
        f = linear(act(linear(y, **layer["intermediate"]["dense"])), **outer["dense"])
        states.append(layer_norm(f + y, **outer["LayerNorm"], eps=eps))
    return states


digits_d = sewnp.load("digits-d", engine="textbook")
logits = network(waveform, digits_d.weights, digits_d.config, transformer=transformer_d)
print(digits_d.tokenizer.decode(logits[0].argmax(axis=1)))
assert np.array_equal(logits, digits_d(waveform).logits)

variants_d = {
    "own keys, far distances": {"share_att_key": False, "position_buckets": 4, "max_position_embeddings": 6, "squeeze_factor": 1},
    "one term, the table as it is": {"pos_att_type": ("p2c",), "norm_rel_ebd": "none"},
    "no positions": {"relative_attention": False},
    "classes, mixed layers": {"head": "classification", "use_weighted_layer_sum": True},
}
for name, keys in variants_d.items():
    head = keys.pop("head", "ctc")
    model = drawn(sewnp.SEWDConfig(**small | keys), head)
    print(f"{name:29} {same(model, transformer=transformer_d)}")
    assert same(model, transformer=transformer_d)

# %% [markdown]
# What tells the two families apart, in a table:
#
# | | SEW | SEW-D |
# |---|---|---|
# | before the first layer | a layer norm, `encoder.layer_norm` | nothing |
# | attention | one product, times $d^{-1/2}$ | up to three, divided by $\sqrt{3d}$ |
# | order in a layer | attention, output map, + residual, norm; feed-forward, + residual, norm | the same; the map is `attention.output.dense` |
# | names | `encoder.layers.{i}.…` | `encoder.encoder.layer.{i}.…` |
# | `layer_norm_eps` by default | 1e-5 | 1e-7 |
# | the norm behind the convolutions | `layer_norm_eps` | `feature_layer_norm_eps`, 1e-5 |
# | `hidden_act` by default | `gelu` | `gelu_python`, which is the same function |
# | first of the mixed layers | behind the norm | the squeezed frames |
#
# Both are *post-norm*: a norm follows each sum, and nothing normalises what goes into an attention or a feed-forward.

# %% [markdown]
# ## Which epsilon, which activation?
#
# The page says it, but one may ask the network too. Change one key of the configuration, run, and hand back the old value of every stage
# (the replay of notebook 10). A stage that is different nevertheless has read the key *itself*.


# %%
def readers(model, **key):
    """The stages that read a key of the configuration themselves; {i} stands for numbers."""
    before, found = {}, []
    model(noise, see=lambda name, x: before.setdefault(name, x))

    def see(name, x):
        parts = ["{i}" if part.isdigit() else part for part in name.split(".")]
        if not np.array_equal(x, before[name]) and (short := ".".join(parts)) not in found:
            found.append(short)
        return before[name]

    replace(model, config=replace(model.config, **key))(noise, see=see)
    return found


models = {
    "SEW": drawn(sewnp.SEWConfig(**small | {"conv_dim": (8, 12)}), "ctc"),
    "SEW-D": drawn(sewnp.SEWDConfig(**small | {"conv_dim": (8, 12)}), "ctc"),
}
read = {}
for family, model in models.items():
    keys = {"layer_norm_eps": 1.0, "feature_layer_norm_eps": 1.0, "hidden_act": "relu", "feat_extract_activation": "relu"}
    for key, value in keys.items():
        if hasattr(model.config, key):
            read[family, key] = readers(model, **{key: value})
            print(f"{family}, {key}\n   ", "\n    ".join(read[family, key]))

assert read["SEW-D", "feature_layer_norm_eps"] == ["layer_norm"]
assert "layer_norm" in read["SEW", "layer_norm_eps"]
assert "layer_norm" not in read["SEW-D", "layer_norm_eps"]
assert read["SEW", "hidden_act"] == ["encoder.layers.{i}.feed_forward.activation"]
assert [name.split(".")[-2] for name in read["SEW", "feat_extract_activation"]] == ["{i}", "pos_conv_embed", "upsample"]

# %% [markdown]
# `hidden_act` is the feed-forward's and nobody else's. The convolutions, the position and the upsampling share the other. No key reaches
# the norms *between* the convolutions (`feature_extractor.conv_layers.{i}.layer_norm`): their epsilon is 1e-5 in every model. Nor does any
# reach the variance of the waveform, which is normalised before the network with 1e-7 (notebook 01), nor weight norm, which has none.

# %% [markdown]
# ## A batch
#
# Clips of different lengths are padded with zeros to the length of the longest, and `attention_mask` has a 1 for each real sample. Five
# steps make of it what the network needs. Here are four clips in a batch of 11 frames; the last is too short for a single frame.

# %%
config = sewnp.SEWConfig(**small)
frames_of_each = [11, 7, 2, 0]
samples_of_each = [config.samples_for(n) if n else 10 for n in frames_of_each]
mask = (np.arange(config.samples_for(11)) < np.array(samples_of_each)[:, None]).astype(int)
lengths = frame_lengths(mask, kernels=config.conv_kernel, strides=config.conv_stride)
print("real samples", mask.sum(axis=1), " real frames", lengths)
assert lengths.tolist() == frames_of_each

steps = {}
for rules in ("any", "floor"):
    real = frame_mask(lengths, 11, masking=rules)
    squeezed = squeeze_mask(real, 2, masking=rules)
    steps[rules] = real, squeezed

fig, axes = plt.subplots(2, 4, figsize=(7.4, 3.4), width_ratios=(3, 3, 2.4, 2.4), layout="constrained")
for number, (row, rules) in enumerate(zip(axes, steps, strict=True)):
    real, squeezed = steps[rules]
    pairs = np.broadcast_to(key_mask(squeezed), (4, 1, 5, 5)) if rules == "any" else query_key_mask(squeezed)
    pictures = mask, real, squeezed, pairs[1, 0]
    titles = "samples", "frames: the rest is zeroed", "squeezed: keys", "clip 1: who asks whom"
    for ax, picture, title in zip(row, pictures, titles, strict=True):
        ax.imshow(picture, aspect="auto", cmap=plt.matplotlib.colors.ListedColormap(["#DDDDDD", BLUE]), vmin=0, vmax=1,
                  interpolation="none")  # fmt: skip
        if ax is not row[0]:
            ax.set_xticks(np.arange(-0.5, picture.shape[1]), [])
            ax.set_yticks(np.arange(-0.5, len(picture)), [])
            ax.grid(color="white")
        ax.tick_params(length=0)
        ax.set_title("" if number else title, fontsize=8)
    row[0].set(yticks=range(4), yticklabels=["0", "1", "2", "3"], ylabel=f"rules “{rules}”\nclip", xticks=[])
    row[3].set(xlabel="key" if number else "", ylabel="query")
caption(
    "One attention mask on its way to the attention, under both sets of rules. Blue is real. “floor” is drawn for SEW-D, the only one to"
    " mask queries."
)

assert steps["any"][1].sum(axis=1).tolist() == [5, 4, 1, 0]
assert steps["floor"][1].sum(axis=1).tolist() == [5, 3, 1, 5]
assert steps["floor"][0][3].all()

# %% [markdown]
# 1. **Samples to frames.** Only the *number* of ones counts. It goes through the formula of notebook 02, layer by layer, to the number of
#    real frames.
# 2. **Frames.** So many frames from the left are real. This mask comes too late for the group norm (notebook 03).
# 3. **Zeroed frames.** The other frames are set to zero behind the projection, and behind the frames that SpecAugment hides. The position
#    convolution and the mean see zeros.
# 4. **Squeezed.** A squeezed frame is real when *any* of its frames is (rules `any`: transformers since 5.13), or when there were enough real
#    frames to fill it, $\lfloor \text{frames} / 2 \rfloor$ of them (rules `floor`, before). Clip 1 has 7 frames: four keys, or three.
# 5. **Keys.** No query looks at a key that is not real: its score counts as $-\infty$. Padded queries do look, and their answers are not
#    used. Only SEW-D under `floor` masks queries too.
#
# Two rules for the corners. A query that may look nowhere gets a context of zeros, so that its output is a bias. And a clip without frames has
# none under `any`; under `floor` a number of 0 or less counts *from the end*, so that 0 frames mean all of them, and -1 all but the last. That
# is a rule for frames only, applied in step 2. Squeezed frames are counted from the mask which comes out of it, and a clip with one real
# frame has 0 squeezed ones under `floor`: no keys at all, not all of them.

# %%
one = frame_mask(np.array([1]), 11, masking="floor")
assert one.sum() == 1
assert squeeze_mask(one, 2, masking="floor").sum() == 0
assert frame_mask(np.array([-1]), 11, masking="floor").sum() == 10

# %% [markdown]
# The head for classes has a corner of its own. It averages over real frames, at the full rate. Where layers are mixed, what it averages has
# the *squeezed* rate, and the original still counts frames at the full one: the page's `frame_mask(lengths, last.shape[1])`. In a clip with 7
# of 11 real frames, all five mixed frames count. And a clip without real frames has a mean of nothing under `any`: its class scores are
# NaN, 0/0.

# %% [markdown]
# ## The answer
#
# The page above. A stack of convolutions, a norm, a projection; a mean and a wide convolution that halve the rate; layers that attend and
# feed forward, with a norm behind each sum; a projection that restores the rate; and a head. Some seventy lines say all of it, for both families,
# since each call is a notebook of its own.

# %% [markdown]
# ## Capstone
#
# Write the network yourself, in this notebook or in another language. There are three cases, small random models from the suite that
# `sewnp vectors` writes: a padded batch through a SEW, a SEW with a head for classes that mixes its layers, and a SEW-D whose frames lie far
# apart. Your function gets what is in a case's folder: `inputs`, a dict with `input_values` (B, n) and perhaps `attention_mask` (B, n);
# `weights`, arrays by the names in model.safetensors; `config`, config.json as a dict. It returns a dict. `logits` has to be in it, and any
# other stage may, under the name that [the list of stages](../docs/stages.md) gives it. The more you give, the closer a mistake is located.
#
# The weights of the position convolution have other names in files than in memory, as notebook 05 tells. The rules for padding are `any`.


# %%
def my_sew(inputs, weights, config):
    raise NotImplementedError


print("\n".join(CASES))
attempt(check_port, my_sew)

# %% [markdown]
# ## Solution
#
# One of many: NumPy alone, float64 throughout, no function of the package. It reports the stages at which mistakes are made most.

# %%
from math import erf  # noqa: E402  nothing but this and NumPy


def solved_sew(inputs, weights, config):
    c, stages = config, {}
    prefix = "sew." if c["model_type"] == "sew" else "sew_d."
    w = {name.removeprefix(prefix): value.astype(np.float64) for name, value in weights.items()}
    phi = np.vectorize(lambda z: 0.5 * (1 + erf(z / 2**0.5)))

    def gelu(x):  # the only activation of the three cases: "gelu" and "gelu_python"
        return x * phi(x)

    def linear(x, name):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(x, name, eps, axis=-1):
        scaled = (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + eps)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def convolve(x, kernel, stride):  # (B, T, C), (D, C, K) -> (B, T', D)
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2], axis=1)[:, ::stride]
        return np.einsum("btck,dck->btd", windows, kernel)

    def heads(x):  # (B, N, H) -> (B, h, N, d)
        return x.reshape(*x.shape[:2], c["num_attention_heads"], -1).swapaxes(1, 2)

    def attend(scores, v, keys):
        scores = np.where(keys, scores, -np.inf)
        top = scores.max(axis=-1, keepdims=True)
        e = np.exp(scores - np.where(np.isfinite(top), top, 0))
        shares = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)  # a query that may look nowhere gets zeros
        return (shares @ v).swapaxes(1, 2).reshape(len(v), v.shape[2], -1)

    def sew_layer(x, name):
        q, k, v = (heads(linear(x, f"{name}.attention.{n}_proj")) for n in "qkv")
        context = attend(q @ k.swapaxes(2, 3) / q.shape[3] ** 0.5, v, keys)
        y = norm(x + linear(context, f"{name}.attention.out_proj"), f"{name}.layer_norm", eps)
        inside = gelu(linear(y, f"{name}.feed_forward.intermediate_dense"))
        return norm(y + linear(inside, f"{name}.feed_forward.output_dense"), f"{name}.final_layer_norm", eps)

    def sew_d_layer(x, name):
        own = f"{name}.attention.self"
        q, k, v = (heads(linear(x, f"{own}.{n}_proj")) for n in ("query", "key", "value"))
        at = np.clip(relative + span, 0, 2 * span - 1)[None, None]  # row of the table for each pair
        c2p = q @ heads(linear(table[None], f"{own}.key_proj")).swapaxes(2, 3)
        p2c = k @ heads(linear(table[None], f"{own}.query_proj")).swapaxes(2, 3)
        shape = (*q.shape[:3], q.shape[2])
        scores = q @ k.swapaxes(2, 3) + np.take_along_axis(c2p, np.broadcast_to(at, shape), 3)
        scores = scores + np.take_along_axis(p2c, np.broadcast_to(at.swapaxes(2, 3), shape), 3).swapaxes(2, 3)
        context = attend(scores / (3 * q.shape[3]) ** 0.5, v, keys)
        y = norm(linear(context, f"{name}.attention.output.dense") + x, f"{name}.attention.output.LayerNorm", eps)
        return norm(
            linear(gelu(linear(y, f"{name}.intermediate.dense")), f"{name}.output.dense") + y, f"{name}.output.LayerNorm", eps
        )

    # samples to frames
    x, eps, lengths = inputs["input_values"].astype(np.float64)[:, :, None], c["layer_norm_eps"], None
    if "attention_mask" in inputs:
        lengths = (inputs["attention_mask"] == 1).sum(axis=1)
    for i, (size, stride) in enumerate(zip(c["conv_kernel"], c["conv_stride"], strict=True)):
        name = f"feature_extractor.conv_layers.{i}"
        x = stages[f"{name}.conv"] = convolve(x, w[f"{name}.conv.weight"], stride)
        if f"{name}.layer_norm.weight" in w:
            x = stages[f"{name}.layer_norm"] = norm(
                x, f"{name}.layer_norm", 1e-5, axis=1 if c["feat_extract_norm"] == "group" else -1
            )
        x = gelu(x)
        lengths = None if lengths is None else (lengths - size) // stride + 1
    x = norm(x, "layer_norm", c.get("feature_layer_norm_eps", eps))
    x = stages["feature_projection"] = linear(x, "feature_projection")

    # frames to squeezed frames
    batch, frames, channels = x.shape
    factor, taps, groups = c["squeeze_factor"], c["num_conv_pos_embeddings"], c["num_conv_pos_embedding_groups"]
    count, keys = frames // factor, True
    if lengths is not None:
        real = np.arange(frames) < lengths[:, None]
        x = stages["encoder.masked_frames"] = np.where(real[:, :, None], x, 0)
        keys = real[:, : count * factor].reshape(batch, count, factor).any(axis=2)[:, None, None, :]
    g, v = (w[f"encoder.pos_conv_embed.conv.parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = g * v / np.sqrt((v**2).sum(axis=(0, 1), keepdims=True))
    around, width = np.pad(x, ((0, 0), (taps // 2, taps // 2), (0, 0))), channels // groups
    parts = [slice(i * width, (i + 1) * width) for i in range(groups)]
    position = np.concatenate([convolve(around[:, :, part], kernel[part], factor) for part in parts], axis=2)
    position = stages["encoder.pos_conv_embed.conv"] = position + w["encoder.pos_conv_embed.conv.bias"]
    pool = x[:, : count * factor].reshape(batch, count, factor, channels).mean(axis=2)
    x = stages["encoder.squeezed"] = pool + gelu(position)[:, :count]

    # the layers
    if c["model_type"] == "sew":
        states, layer, scope = [norm(x, "encoder.layer_norm", eps)], sew_layer, "encoder.layers"
    else:
        states, layer, scope = [x], sew_d_layer, "encoder.encoder.layer"
        table = norm(w["encoder.encoder.rel_embeddings.weight"], "encoder.encoder.LayerNorm", eps)
        span, middle = c["position_buckets"], c["position_buckets"] // 2
        relative = np.arange(count)[:, None] - np.arange(count)
        quotients = np.maximum(np.abs(relative), middle).astype(np.float32) / np.float32(middle)
        ends = np.float32((c["max_position_embeddings"] - 1) / middle)
        ratio, ratio_end = (np.log(np.float64(x)).astype(np.float32) for x in (quotients, ends))
        far = np.ceil(ratio / ratio_end * np.float32(middle - 1)).astype(int)
        relative = np.where(np.abs(relative) <= middle, relative, np.sign(relative) * (far + middle))
        stages["encoder.encoder.relative_positions"] = relative
    for i in range(c["num_hidden_layers"]):
        states.append(layer(states[-1], f"{scope}.{i}"))

    # and back, to the scores
    wide = gelu(linear(states[-1], "encoder.upsample.projection"))
    last = np.zeros((batch, frames, channels))
    last[:, : count * factor] = wide.reshape(batch, count * factor, channels)
    stages["encoder.last_hidden_state"] = last
    if "lm_head.weight" in w:
        return stages | {"logits": linear(last, "lm_head")}
    if c["use_weighted_layer_sum"]:
        shares = np.exp(w["layer_weights"]) / np.exp(w["layer_weights"]).sum()
        last = stages["weighted_layers"] = sum(share * state for share, state in zip(shares, states, strict=True))
    pooled = stages["pooled"] = linear(last, "projector").mean(axis=1)
    return stages | {"logits": linear(pooled, "classifier")}


check_port(solved_sew)

# %% [markdown]
# Beyond the three cases there are more than a hundred others for a forward pass; [check your port](../docs/check-your-port.md) has them.
