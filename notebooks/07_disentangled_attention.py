# %% [markdown]
# # 07 · Disentangled attention
#
# > How can a frame ask *where* another one stands, apart from *what* it says?
#
# You need notebooks 05 (position by convolution) and 06 (attention by hand): queries, keys, values, heads, softmax, the scale.
#
# SEW has a sibling, SEW-D. The D stands for *disentangled*, and the idea comes from DeBERTa, a model of text
# (He et al. 2020, arXiv 2006.03654). This notebook takes it apart on `digits-d`, a small SEW-D model that comes with the package.

# %% tags=["setup"]
import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, show_source
from checks.disentangled import check_c2p, check_log_buckets, check_p2c

import sewnp
from sewnp.layers import (
    content_to_position,
    linear,
    log_buckets,
    merge_heads,
    position_to_content,
    relative_positions,
    score_scale,
    softmax,
)
from sewnp.layers.activations import gelu
from sewnp.networks.sew_d import add_and_norm, encoder_layer, position_table
from sewnp.plots import COLORS, plot_attention
from sewnp.speech import read_audio

clips = Path("../tests/clips")
plt.rcParams.update(sewnp.plots.style())

# %%
model = sewnp.load("digits-d", engine="textbook")
waveform = read_audio(clips / "three_one_four.wav")
input_values = model.features(waveform).input_values

stages = {}


def record(name, x):
    """The network shows us each of its stages by name, and goes on with what we give back."""
    stages[name] = x
    return x


output = model(input_values, see=record)
text = model.tokenizer.decode(output.logits[0].argmax(axis=-1))
print(text)  # what is said: THREE ONE FOUR ONE FIVE NINE

# %% [markdown]
# Most of this model you know: the strided convolutions, the squeeze, the position convolution, the feed-forward maps are those of
# SEW. One thing is new, and it costs one table of 10,240 numbers (and a layer norm for it, where SEW has one in another place). What
# the attention works on are the squeezed frames: 74 for this clip, 40 ms apart, each a vector of 160 numbers in 4 heads of 40.

# %%
config = model.config
sew = sewnp.load("digits", engine="textbook")
parameters = {
    m.name: sum(w.size for name, w in m.flat_weights().items() if not name.startswith("lm_head"))  # the head is the vocabulary's
    for m in (sew, model)
}
print(parameters)
assert parameters["digits-d"] - parameters["digits"] == 10_240

q = stages["encoder.encoder.layer.0.attention.self.q"]
frames = q.shape[2]
seconds = config.hop * config.squeeze_factor / 16000
print("heads, frames, channels of a head:", q.shape[1:], "  seconds from frame to frame:", seconds)
assert q.shape == (1, 4, 74, 40)
assert seconds == 0.04

# %% [markdown]
# ## One score, four products
#
# In SEW, position enters once. The position convolution makes a vector $p_i$ for each frame, it is *added* to the frame's
# content $c_i$, and the sum $c_i + p_i$ goes into the first layer. From then on the two are one vector. Multiply out what a score is
# made of, and four products appear:
#
# $$ W_q(c_i + p_i) \cdot W_k(c_j + p_j) \;=\;
#    \underbrace{W_q c_i \cdot W_k c_j}_{\text{content asks content}} +
#    \underbrace{W_q c_i \cdot W_k p_j}_{\text{content asks position}} +
#    \underbrace{W_q p_i \cdot W_k c_j}_{\text{position asks content}} +
#    \underbrace{W_q p_i \cdot W_k p_j}_{\text{position asks position}} $$
#
# The model gets only their sum. It has learned to make something of it, but a head that wants to know "what came just before me?" must
# first find that in a mixture. DeBERTa proposes to keep position out of the vectors, and to give the products to every layer
# as separate terms of the score:
#
# * **content to content**: as before, the query of frame *i* times the key of frame *j*;
# * **content to position**, *c2p*: the query of frame *i* times a key made of *the distance from i to j*. "I am a vowel; I want what
#   stands two frames before me, whatever it is";
# * **position to content**, *p2c*: the key of frame *j* times a query made of that distance. "I am a burst of noise; whoever comes right
#   after me should look at me";
# * position to position would be the fourth, and is left out. It knows nothing of the clip, so it could say little that is new.
#
# How disentangled is it here? Less than in DeBERTa. SEW-D keeps SEW's position convolution in front, so what we call
# content has already been told something about its neighbourhood. The distances come on top.

# %% [markdown]
# ## Relative positions
#
# A distance is a difference of two frame numbers: query minus key, $r_{ij} = i - j$. Positive means that the key lies in the past.
# (`log_buckets` is the matter of the next section; with `buckets=0` it is not called.)

# %%
show_source(relative_positions, bare=True)
few = relative_positions(6, buckets=0, max_distance=128)  # buckets=0: the plain differences
print(few)
assert few[5, 0] == 5  # frame 0 is five frames before frame 5
assert few[0, 5] == -5

# %% [markdown]
# Each diagonal holds one number, and that is the point. Say the same word one second later: all frame numbers change and no difference
# does. What the model learns about "two frames before" holds everywhere in a clip.

# %%
distances = relative_positions(frames, buckets=0, max_distance=128)
early, late = slice(10, 20), slice(35, 45)  # 25 frames, one second, apart
assert np.array_equal(distances[early, early], distances[late, late])
print("largest distance in this clip:", distances.max(), "frames,", round(distances.max() * seconds, 2), "s")
assert distances.max() == 73
assert 2 * round(60 / seconds) - 1 == 2_999  # different distances in a clip of a minute, which has 1,500 frames

# %% [markdown]
# ## Far is far: logarithmic buckets
#
# A model needs something learned for each distance it can meet, one row of a table. With a row each, a clip of a minute (1,500 squeezed
# frames) needs 2,999 rows, and those of the largest distances would hardly ever be trained. But "73 frames before" and "74 frames
# before" need not be told apart. Near distances deserve precision, far ones only an order of magnitude.
#
# So distances are sorted into **buckets**. `digits-d` has 32 on each side. Up to a distance of 16, half of them, every distance has a
# bucket of its own. The other half grows with the logarithm, such that distance 127 falls into bucket 31:
#
# $$ \text{bucket}(r) = \text{sign}(r)\left(16 + \left\lceil 15\,\frac{\log(|r| / 16)}{\log(127 / 16)}\right\rceil\right)
#    \quad\text{for } |r| > 16 $$
#
# In general, with $b$ for `position_buckets` and $D$ for the largest distance that is told apart, $m = \lfloor b / 2 \rfloor$ buckets are exact, and
#
# $$ \text{bucket}(r) = \text{sign}(r)\left(m + \left\lceil \frac{\log(|r| / m)}{\log((D - 1) / m)}\,(m - 1)\right\rceil\right)
#    \quad\text{for } |r| > m $$
#
# $D$ is `max_relative_positions` where that is 1 or more, else `max_position_embeddings`. The package's version reads:

# %%
show_source(log_buckets, bare=True)

# %%
settings = {"buckets": config.position_buckets, "max_distance": config.max_distance}
assert settings == {"buckets": 32, "max_distance": 128}
distance = np.arange(128)
bucket = log_buckets(distance, **settings)
widths = np.bincount(bucket)

fig, ax = plt.subplots(figsize=(6.4, 2.6))
ax.plot(distance, distance, "--", color="#8C8C8C", linewidth=1, label="a bucket for each distance")
ax.step(distance, bucket, where="mid", label="logarithmic buckets")
ax.axvline(16, color="#8C8C8C", linewidth=0.8, linestyle=":")
ax.set(xlabel="distance (frames of 40 ms)", ylabel="bucket", xlim=(0, 127), ylim=(0, 42))
ax.legend(loc="lower right")
caption("Near distances have a bucket each; beyond the dotted line buckets widen.")

assert np.array_equal(bucket[:17], np.arange(17))
assert bucket[127] == 31
assert widths[16] == 1
assert widths[17] == 2
assert widths[31] == 17
assert 16 * seconds == 0.64

# %% [markdown]
# Up to 16 frames, 0.64 s, distances are exact; that is about as long as a spoken digit and the pause behind it. Each step further right
# is a bucket, and they widen: bucket 17 holds two distances, bucket 31 holds seventeen, from 111 to 127 frames.
#
# The original evaluates this formula in float32, and that is more than a detail. The formula rounds up, so it jumps wherever its
# argument is a whole number, and there the last digit decides. With 32 buckets and `max_distance` 129, distance 32 has the argument
# $15 \log 2 / \log 8$, which is 5 exactly. On a computer it depends on the precision, and on the order in which one divides and multiplies:

# %%
in_float64 = np.log(2.0) / np.log(8.0) * 15
in_float32 = np.float32(np.log(2.0)) / np.float32(np.log(8.0)) * np.float32(15)
print(f"float64: {in_float64:.15f} -> rounded up, bucket {16 + int(np.ceil(in_float64))}")
print(f"float32: {in_float32:.15f} -> rounded up, bucket {16 + int(np.ceil(in_float32))}")
assert in_float64 > 5
assert in_float32 == 5
assert log_buckets(np.array([32]), buckets=32, max_distance=129)[0] == 21

divided_first = math.log(19 / 4) / math.log(19 / 4) * 3  # 8 buckets, max_distance 20, distance 19
multiplied_first = 3 * math.log(19 / 4) / math.log(19 / 4)
print(f"float64, divided first: {divided_first:.16f}   multiplied first: {multiplied_first:.16f}")
assert divided_first == 3
assert multiplied_first > 3
assert log_buckets(np.array([19]), buckets=8, max_distance=20)[0] == 7

# %% [markdown]
# A difference in the sixteenth digit, and the score reads another row of the table. So: the ratio and both logarithms in float32, then
# divide, then multiply, then round up. The weights were trained with the float32 answer, so
# the float32 answer is the right one, even in a model that computes everything else in float64. With the settings of `digits-d` it makes
# no difference:


# %%
def buckets_in_float64(r):
    return np.where(r <= 16, r, 16 + np.ceil(15 * np.log(np.maximum(r, 16) / 16) / np.log(127 / 16))).astype(int)


assert np.array_equal(buckets_in_float64(np.arange(1000)), log_buckets(np.arange(1000), **settings))

# %% [markdown]
# Here are the buckets of our clip, for every query and every key:

# %%
relative = stages["encoder.encoder.relative_positions"]
assert np.array_equal(relative, log_buckets(distances, **settings))


def signed(ax, values, *, title, xlabel="key: frame", ylabel="query: frame", limit=None, extent=None, levels=25):
    """A heat map around a white zero, in so many colours, with its scale."""
    limit = np.abs(values).max() if limit is None else limit
    colors = plt.get_cmap("PuOr", levels)
    image = ax.imshow(values, cmap=colors, vmin=-limit, vmax=limit, aspect="auto", extent=extent)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.figure.colorbar(image, ax=ax, pad=0.02)


fig, ax = plt.subplots(figsize=(3.9, 2.9))
signed(ax, relative, title="bucket of query minus key", limit=27.5, levels=55)
caption("The buckets of all pairs of frames. Near the diagonal every distance has its own.")
assert relative.max() == 27
assert relative.min() == -27

# %% [markdown]
# Below the diagonal lies the past, above it the future. The stripes towards the corners are the wide buckets. The largest distance of this
# clip, 73, falls into bucket 27.
#
# ## The table
#
# Each bucket has a learned vector as wide as a frame. All of them stand in one table, shared by all six layers, and row 0 belongs to
# bucket −32: the row of a bucket is *bucket + 32*.

# %%
show_source(position_table)
table = stages["encoder.encoder.LayerNorm"]
print(table.shape)
assert table.shape == (64, 160)
assert config.span == 32
assert log_buckets(np.array([127, 128, -127, -128]), **settings).tolist() == [31, 32, -31, -32]
assert 129 * seconds > 5  # the shortest clip with such distances, in seconds

# %% [markdown]
# The 64 rows reach from −32 to 31. So the table is lopsided: 128 frames into the future have a row, 128 frames into the past (bucket 32)
# have none, and take the nearest, 31. Whatever lies further away takes the first or the last row as well. It needs a clip of more than
# five seconds for any of this to matter.
#
# Other configurations:
#
# * `position_buckets` of 0 or less: no buckets. The distances count as they are, and the table has $2D$ rows, from $-D$ to $D - 1$. In general it
#   has $2 \cdot \text{span}$ rows, the span being `position_buckets` or, without buckets, $D$; the row is $r + \text{span}$, clipped to the table at
#   both ends.
# * `norm_rel_ebd`: the table goes through a layer norm, once for all layers, if `layer_norm` is among the words of this key. They are
#   separated by `|`; upper case and spaces do not matter. Its epsilon is `layer_norm_eps`.
# * `pos_att_type`: which of `c2p` and `p2c` are added. With `relative_attention` false there is no table and neither is added; the scale of
#   the scores, below, counts them nevertheless.

# %%
raw = sewnp.SEWDConfig(position_buckets=0, max_position_embeddings=50)
assert (raw.span, raw.max_distance) == (50, 50)
assert sewnp.SEWDConfig(position_buckets=32, max_relative_positions=100).max_distance == 100
assert [sewnp.SEWDConfig(norm_rel_ebd=words).normalizes_positions for words in ("other | Layer_Norm", "none")] == [True, False]

# %% [markdown]
# Now the table needs keys and queries, as the frames do. SEW-D makes both with the layer's own matrices: `key_proj`, which turns frames
# into keys, turns rows of the table into *position keys*, and `query_proj` turns them into *position queries*. (The configuration
# calls this `share_att_key`; without it, each layer has two more matrices.) So one layer gives us, for each head, 64 position keys and 64
# position queries:

# %%
layer = "encoder.encoder.layer.5.attention.self."  # the last layer: its heads are the easiest to read
position_keys, position_queries = stages[layer + "pos_k"], stages[layer + "pos_q"]
print("position keys:", position_keys.shape, "  position queries:", position_queries.shape)
assert position_keys.shape == position_queries.shape == (1, 4, 64, 40)

# %% [markdown]
# ## c2p: every query reads its own row
#
# For frame *i* and frame *j*, c2p is the query of *i* times the position key of the bucket of $r_{ij}$:
#
# $$ \text{c2p}_{ij} = q_i \cdot K[\,r_{ij} + 32\,] $$
#
# Written as a loop, this builds $74^2 = 5{,}476$ dot products. But there are only 64 different position keys. So multiply each query with
# all 64 at once, a matrix product of shape (74, 64), and then *look up* which of the 64 is wanted for which *j*. Such a look-up along an
# axis is called a **gather**; in NumPy it is `np.take_along_axis`. The helper `_gather` adds the 32, clips to the table and does that.

# %%
show_source(content_to_position, bare=True)

# %% [markdown]
# Let us see it in one head of that layer, the one that looks most at what stands near.

# %%
near = np.abs(distances) <= 2
head = int((stages[layer + "probabilities"][0] * near).sum(axis=(1, 2)).argmax())
print("head", head)
q, k = stages[layer + "q"], stages[layer + "k"]
products = q[0, head] @ position_keys[0, head].T
c2p = content_to_position(q, position_keys, relative)[0, head]

row = np.clip(relative + 32, 0, 63)
by_hand = np.zeros((frames, frames))
for i, j in np.ndindex(by_hand.shape):
    by_hand[i, j] = q[0, head, i] @ position_keys[0, head, row[i, j]]
assert products.shape == (74, 64)
assert frames**2 == 5_476
assert c2p.shape == (74, 74)
assert np.allclose(c2p, by_hand, atol=1e-4)

fig, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.5))
limit = np.abs(products).max()
signed(
    left,
    products,
    title="each query times each position key",
    xlabel="bucket of the position key",
    limit=limit,
    extent=(-32.5, 31.5, 73.5, -0.5),
)
signed(right, c2p, title="c2p: gathered by bucket", ylabel="", limit=limit)
caption("Left, every query times every position key. Right, of each row what is wanted for each key.")

# %% [markdown]
# Read one row of the left picture from right to left and you read the same row of the right picture from left to right: large
# buckets are the past, and the past is at the left. What stood at one bucket, a column on the left, becomes a diagonal on the right. And
# far from the diagonal, neighbours share a bucket and so a value: the streaks get broader.

# %%
assert (relative[73, :10] == 27).all()  # for the last query, the first ten frames share a bucket
assert len(np.unique(c2p[73, :10])) == 1
assert len(np.unique(c2p[73, 58:74])) == 16  # near by, each distance has its own

# %% [markdown]
# ## p2c: every key reads its own row
#
# The other way round, the key of frame *j* is multiplied with the position query of the same bucket:
#
# $$ \text{p2c}_{ij} = k_j \cdot Q[\,r_{ij} + 32\,] $$
#
# The products are now $k Q^\top$, and their rows belong to *keys*. A gather runs along rows, so its result has the key first and is
# transposed at the end. Along the key's row, the distance to query *i* is $-r_{ji}$, the same number as $r_{ij}$: that is where the
# minus sign comes from. (The paper writes the other sign in its formula. DeBERTa's own code has the minus, transformers has taken it
# over, and checkpoints are trained with it.)

# %%
show_source(position_to_content, bare=True)

# %%
p2c = position_to_content(k, position_queries, relative)[0, head]
by_hand = np.zeros((frames, frames))
for i, j in np.ndindex(by_hand.shape):
    by_hand[i, j] = k[0, head, j] @ position_queries[0, head, row[i, j]]
assert np.allclose(p2c, by_hand, atol=1e-4)

# %% [markdown]
# ## Three terms, one scale
#
# Notebook 06 divides scores by $\sqrt{d}$, because a sum of $d$ products of numbers of size one has a spread of $\sqrt{d}$. Now three such
# sums are added. If they have nothing to do with each other, the spread is $\sqrt{3d}$, so that is the scale. A quick experiment with
# random numbers:

# %%
rng = np.random.default_rng(0)
a, b, c, d = rng.standard_normal((4, 50_000, 40))
scores = (a * b).sum(axis=1) + (a * c).sum(axis=1) + (b * d).sum(axis=1)
print(f"spread divided by sqrt(d): {np.std(scores / np.sqrt(40)):.2f}, by sqrt(3 d): {np.std(scores / np.sqrt(120)):.2f}")
assert abs(np.std(scores / np.sqrt(120)) - 1) < 0.02

show_source(score_scale, bare=True)
exact = np.sqrt(3 * 40)
print(f"score_scale: {score_scale(40, 3):.9f}   sqrt(120): {exact:.9f}")
assert 3e-8 < score_scale(40, 3) / exact - 1 < 4e-8

# %% [markdown]
# The original computes this scale in float32, and so does the package, even in a float64 model. It is wrong by four parts in a
# hundred million, and a comparison with the original would show it.
#
# The whole attention, then. You know everything in it:

# %%
show_source(sewnp.layers.disentangled_attention, bare=True)

# %%
scale = score_scale(40, 3)
content = q[0, head] @ k[0, head].T
probabilities = softmax((content + c2p + p2c) / scale)
assert np.allclose(probabilities, stages[layer + "probabilities"][0, head], atol=1e-4)

context = merge_heads(stages[layer + "probabilities"] @ stages[layer + "v"])
assert np.allclose(context, stages[layer + "context"], atol=1e-4)

# %% [markdown]
# ## What stands around it
#
# What comes out is the *context*. Unlike SEW's attention, this one has no output map of its own; the layer has it:

# %%
show_source(encoder_layer, add_and_norm, bare=True)

# %% [markdown]
# The order is: a linear map (`attention.output.dense`), plus what went into the layer, a layer norm; a linear map to the wide channels, the
# activation, a linear map back (`output.dense`), plus what came out of the first half, a layer norm. Those are SEW's steps under other names.
# There are two real differences. SEW normalises the squeezed frames before its first layer, and SEW-D does not. And the epsilon of all norms
# from here on, the table's included, is SEW-D's `layer_norm_eps`, 1e-7 by default, where SEW has 1e-5; the norm behind the convolutions has
# one of its own, `feature_layer_norm_eps`, 1e-5. The activation is `hidden_act`, `gelu_python` by default, which is the GELU of notebook 03.

# %%
p = model.weights["sew_d"]["encoder"]["encoder"]["layer"][5]
went_in = stages["encoder.encoder.layer.4.output.LayerNorm"]


def normed(x, p):
    deviation = x - x.mean(-1, keepdims=True)
    return deviation / np.sqrt(x.var(-1, keepdims=True) + config.layer_norm_eps) * p["weight"] + p["bias"]


y = normed(linear(stages[layer + "context"], **p["attention"]["output"]["dense"]) + went_in, p["attention"]["output"]["LayerNorm"])
z = normed(linear(gelu(linear(y, **p["intermediate"]["dense"])), **p["output"]["dense"]) + y, p["output"]["LayerNorm"])
assert np.allclose(z, stages["encoder.encoder.layer.5.output.LayerNorm"], atol=1e-4)
assert config.hidden_act in ("gelu", "gelu_python")

# %% [markdown]
# ## One head, taken apart
#
# Our head once more. First its three terms, divided by the scale (mind the colour scales), then what the softmax makes of their
# sum.

# %%
terms = {"content": content / scale, "c2p": c2p / scale, "p2c": p2c / scale}
extent = (0, frames * seconds, frames * seconds, 0)

fig, axes = plt.subplots(2, 2, figsize=(6.2, 4.3))
for ax, (name, term) in zip(axes.flat, terms.items(), strict=False):
    signed(ax, term, title=name, xlabel="key (s)", ylabel="query (s)", extent=extent)
plot_attention(probabilities, seconds_per_frame=seconds, ax=axes[1, 1])
axes[1, 1].set(title="softmax of the sum", xlabel="key (s)", ylabel="query (s)", aspect="auto")
caption("One head: three terms of its scores, and the attention that they make.")

# %% [markdown]
# The content term compares sounds. It does not know where they stand: what suits a query suits it at any distance, and so its
# patches lie all over the picture. The position terms know where. They draw the line beside the diagonal. (c2p changes from row to
# row, since it depends on the query's content, and p2c from column to column, since it depends on the key's.)
#
# Take the middle of the second ONE, 1.24 s, frame 31: here are its favourite keys by content alone and by all three terms. And counted over
# the speech in this clip, frames 8 to 52: how much of this head's attention goes to frames at most 80 ms away?

# %%
for name, scores in (("by content alone", terms["content"]), ("by all three terms", sum(terms.values()))):
    print(f"favourite keys of frame 31 {name}: {np.argsort(-scores[31])[:4]}")


def share_of_near(scores):
    return (softmax(scores) * near)[8:53].sum(axis=1).mean()


shares = {
    "content": share_of_near(terms["content"]),
    "position": share_of_near(terms["c2p"] + terms["p2c"]),
    "both": share_of_near(sum(terms.values())),
}
print({name: f"{share:.0%}" for name, share in shares.items()})
assert shares["position"] > 1.1 * shares["content"]
assert shares["both"] > 1.5 * shares["content"]
assert shares["position"] > 5 * near[8:53].mean()  # who looks everywhere alike

# %% [markdown]
# The position terms make the head look near. By content alone it would look near much less.
#
# The stages `c2p` and `p2c` are recorded with the scale divided out, as they enter the sum; the formulas above have it behind the sum.
# To see what the positions contribute, average c2p + p2c along the diagonals: one number per distance. These are the four heads of the
# last layer.

# %%
both = (stages[layer + "c2p"] + stages[layer + "p2c"])[0]
around = np.arange(-30, 31)
profiles = np.array([[np.diagonal(one, offset=-r).mean() for r in around] for one in both])

fig, ax = plt.subplots(figsize=(5.8, 2.1))
for i, profile in enumerate(profiles):
    ax.plot(around * seconds, profile, label=f"head {i}", color=COLORS[i], linewidth=1.6)
ax.axvline(0, color="#8C8C8C", linewidth=0.8, linestyle=":")
ax.set(xlabel="how long before the query the key stands (s)", ylabel="mean of c2p + p2c", xlim=(-1.2, 1.2))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("What the positions alone add, by distance, in four heads.")

peaks = around[profiles.argmax(axis=1)]
print("how many frames before the query the preferred key stands (less than 0: behind it):", peaks)
assert (np.abs(peaks) <= 10).all()
assert len(set(peaks.tolist())) > 1

# %% [markdown]
# All of these heads prefer the near, and not all the same place: before the query or behind it, close by or a few frames off. Spelling
# needs that. Whether an O starts a new letter or belongs to the one before is a question about the frames next to it.
#
# ## What is it worth?
#
# Two ways to ask. First: how large are the terms? Softmax does not notice a number that is added to a whole row, so we measure how much
# each term varies *within* its rows.

# %%
names = ("content", "c2p", "p2c")
spread = np.array(
    [
        [
            np.std(x - x.mean(axis=-1, keepdims=True))
            for x in (stages[f"encoder.encoder.layer.{i}.attention.self.{name}"] for name in names)
        ]
        for i in range(6)
    ]
)

fig, ax = plt.subplots(figsize=(7.0, 2.4))
for place, name in enumerate(names):
    at = np.arange(6) + 0.27 * (place - 1)
    bars = ax.bar(at, spread[:, place], width=0.25, color=COLORS[place], label=name)
    ax.bar_label(bars, fmt="%.1f", fontsize=7, padding=1)
ax.set(xlabel="layer", ylabel="spread in a row", ylim=(0, 1.25 * spread.max()))
ax.legend(loc="upper right", ncols=3)
caption("How much each term varies within a row, layer by layer.")

share = spread[:, 1:] / spread[:, :1]
assert (share[1:] > 0.15).all()
assert share[0].mean() < share[1:].mean()

# %% [markdown]
# Compared with the content, the position terms are smaller in the first layer than in the later ones on average. None of those is
# idle: all vary enough to change what the softmax chooses.
#
# Second: what happens without them? `see` can do more than watch. The network goes on with what it returns, so let it return zeros for
# a term, in all layers.


# %%
def without(*terms):
    return lambda name, x: np.zeros_like(x) if name.split(".")[-1] in terms else x


labels = [model.tokenizer.encode("THREE ONE FOUR ONE FIVE NINE")]
loss = {}
for removed in ((), ("c2p",), ("p2c",), ("c2p", "p2c"), ("content",), ("content", "c2p", "p2c")):
    result = model(input_values, labels=labels, see=without(*removed))
    loss[removed] = float(result.loss)
    heard = model.tokenizer.decode(result.logits[0].argmax(axis=-1))
    print(f"without {' + '.join(removed) or 'nothing':20} loss {loss[removed]:5.2f}  {heard}")

assert loss["c2p", "p2c"] > 1.5 * max(loss["c2p",], loss["p2c",])
assert loss["content",] < 0.3 * loss["content", "c2p", "p2c"]
assert max(loss, key=loss.get) == ("content", "c2p", "p2c")

# %% [markdown]
# The loss (notebook 08) says in one number how far the network is from the right text. Without both position terms it is much larger than
# without one: each covers in part for the other. Most surprising is the row below. Without the *content* term, each frame attends
# only by distance and by what one side of the pair says, and still nearly all can be read. With no scores at all, every frame attends to
# all frames equally, and the transcript falls apart.
#
# Be careful with such experiments. They tell what *this* model leans on, not how well a model trained without these terms would do: it
# would have learned to manage. That comparison is not made here. (`digits` and `digits-d` are no such pair either, since
# they were not trained alike.)
#
# ## What the table has learned
#
# Nobody told the model that bucket 5 lies between 4 and 6. Rows of the table start as independent random numbers, so at first no two
# rows are more alike than any others. After training?

# %%
rows = stages["encoder.encoder.rel_embeddings"]
directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
cosines = directions @ directions.T
apart = np.arange(1, 33)
likeness = np.array([np.diagonal(cosines, offset=n).mean() for n in apart])

fig, ax = plt.subplots(figsize=(5.4, 2.0))
ax.axhline(0, color="#8C8C8C", linewidth=0.8, linestyle=":")
ax.plot(apart, likeness, marker="o", markersize=3)
ax.set(xlabel="buckets apart", ylabel="mean cosine", xlim=(0, 33))
caption("How alike two rows of the table are, by how many buckets lie between them.")

length = np.linalg.norm(rows, axis=1).mean()
started = config.initializer_range * math.sqrt(160)
print(f"likeness of neighbours: {likeness[0]:.2f}   mean length of a row: {length:.2f}, at first about {started:.2f}")
assert likeness[:3].mean() > 0.04
assert likeness[:3].mean() > 2 * np.abs(likeness[10:20]).mean()
assert 0.7 < length / started < 1.6

# %% [markdown]
# The cosine is 1 for rows that point the same way and 0 for rows that have nothing to do with each other. Neighbouring buckets have grown
# alike, the more so the nearer they are, and beyond ten buckets the likeness is gone. It is a faint pattern: the table was
# not trained for long, and its rows are not much longer than at the beginning, $\sqrt{160}$ times `initializer_range`, so much of each
# is probably still the random numbers it started from.
#
# ## The answer
#
# By giving the question terms of its own. Next to query times key, the score adds the query times a key made of the distance (c2p)
# and the key times a query made of it (p2c). The distance is the query's frame number minus the key's, exact up to 16 frames
# and then sorted into buckets that widen with the logarithm, so that 64 learned rows serve for any clip. Because only 64
# rows exist, each term is one small matrix product and a gather. Three terms make the scale $\sqrt{3d}$. In `digits-d` the
# two position terms cover for each other in part, and to be without both costs much more than to be without one.
#
# Any clip of yours with its terms apart, to point at: `sewnp explain clip.wav -o page.html --model digits-d`
# ([what it shows](../docs/explain.md#attention)).

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read.
#
# **1. Buckets.** Write `log_buckets` for an array of distances with signs. Begin with any formula that fits the picture; the check will
# tell you about the last details: float32, and the order of the operations.


# %%
def my_log_buckets(distances, buckets, max_distance):
    raise NotImplementedError


attempt(check_log_buckets, my_log_buckets)

# %% [markdown]
# **2. c2p for one head.** `q` is (N, d), `position_keys` (2 span, d), `relative` (N, N), already in buckets. Leave the scale away. Some
# positions may lie past the table.


# %%
def my_c2p(q, position_keys, relative):
    raise NotImplementedError


attempt(check_c2p, my_c2p)

# %% [markdown]
# **3. p2c for one head**, with `k` (N, d) and `position_queries` (2 span, d). Whose row is it?


# %%
def my_p2c(k, position_queries, relative):
    raise NotImplementedError


attempt(check_p2c, my_p2c)

# %% [markdown]
# ## Solutions


# %%
def log_buckets_solution(distances, buckets, max_distance):
    middle = buckets // 2
    beyond = np.maximum(np.abs(distances), middle)
    # quotients are float32; their logarithms are taken in float64 and rounded; dividing and multiplying is done in float32
    quotient, range_ = beyond.astype(np.float32) / np.float32(middle), np.float32((max_distance - 1) / middle)
    numerator, denominator = (np.log(np.float64(x)).astype(np.float32) for x in (quotient, range_))
    far = middle + np.ceil(numerator / denominator * np.float32(middle - 1)).astype(int)
    return np.where(np.abs(distances) <= middle, distances, np.sign(distances) * far)


check_log_buckets(log_buckets_solution)


# %%
def c2p_solution(q, position_keys, relative):
    size = len(position_keys)
    products = q @ position_keys.T
    return np.take_along_axis(products, np.clip(relative + size // 2, 0, size - 1), axis=1)


check_c2p(c2p_solution)


# %%
def p2c_solution(k, position_queries, relative):
    size = len(position_queries)
    products = k @ position_queries.T  # row j belongs to key j
    return np.take_along_axis(products, np.clip(relative.T + size // 2, 0, size - 1), axis=1).T


check_p2c(p2c_solution)
