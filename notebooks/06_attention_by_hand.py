# %% [markdown]
# # 06 · Attention by hand
#
# > How does one frame of a clip collect what it needs from all the others?
#
# **Read before:** notebooks 03 (layer norm, GELU), 04 (squeezed frames, and how a function `see` watches the network) and 05
# (why a transformer layer treats its frames as a set). Today the closed box is opened.

# %% tags=["setup"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, show_source
from checks.attention import check_attention, check_masked_softmax, check_split_heads

import sewnp
from sewnp import plots
from sewnp.layers import (
    activation,
    feed_forward,
    key_mask,
    layer_norm,
    linear,
    masked_softmax,
    multi_head_attention,
    softmax,
    unseen,
    within,
)
from sewnp.networks import ctc_logits
from sewnp.networks.frontend import unsqueezed
from sewnp.networks.sew import encoder_layer
from sewnp.speech import align_logits, read_audio

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, PURPLE, VERMILION, *_ = plots.COLORS

model = sewnp.load("digits", engine="textbook")
encoder = model.weights["sew"]["encoder"]


def run(name, said):
    """What the model reads in a clip, where the words that are said stand, and every stage of the network by name."""
    trace = {}

    def record(stage, x):
        trace[stage] = x
        return x

    samples = read_audio(clips / name)
    logits = model(model.features(samples).input_values, see=record).logits[0]
    alignment = align_logits(logits, said, model.tokenizer, seconds_per_frame=0.02, duration=len(samples) / 16_000)
    return model.tokenizer.decode(logits.argmax(axis=1)), alignment.words, trace


said = dict(line.split("\t") for line in (clips / "manifest.tsv").read_text(encoding="utf-8").splitlines())
text, words, trace = run("three_one_four.wav", said["three_one_four.wav"])
print(text)

# %% [markdown]
# ## A question, labels, and something to give
#
# So far a frame has seen only its surroundings: 25 milliseconds through the convolutions, 0.62 seconds through the position
# convolution. (And, through the norm of notebook 03, a little of everything.) Whatever else it needs from further away, it
# has to fetch itself. **Attention** is a way to fetch that needs no fixed place. Think of a dictionary in Python: a *query*
# is compared with *keys*, and where it matches you get a *value*. Attention is the soft version. The query matches every key
# to some degree, and you get a mixture of all values, each in proportion to its match.
#
# All three come from the frames themselves, by three linear maps that the model has learned. Every frame makes
#
# * a **query**, what it looks for;
# * a **key**, the label it holds up for others to find;
# * a **value**, what it hands over when it is found.
#
# We do it for the last of the six layers, layer 5, on the 74 squeezed frames of our clip. The layer does all of this four
# times side by side, in four **heads**, each with 40 of the 160 channels. We pick the one that looks most at its own
# surroundings, whose picture will be easy to read.

# %%
x = trace["encoder.layers.4.final_layer_norm"][0]  # (74, 160), what layer 5 is given
p = encoder["layers"][5]["attention"]
stages = ["q", "probabilities", "context"]
recorded = {stage: trace[f"encoder.layers.5.attention.{stage}"] for stage in stages}

n = np.arange(74)
close = np.abs(n[:, None] - n) <= 2  # at most two frames, 80 ms, apart
chosen = int((recorded["probabilities"][0] * close).sum(axis=(1, 2)).argmax())
head = slice(40 * chosen, 40 * chosen + 40)  # its channels
q = linear(x, **p["q_proj"])[:, head]
k = linear(x, **p["k_proj"])[:, head]
v = linear(x, **p["v_proj"])[:, head]
print(f"head {chosen}: queries", q.shape, "keys", k.shape, "values", v.shape)
assert np.allclose(q, recorded["q"][0, chosen], atol=1e-4)  # the model's own

# %% [markdown]
# ## One frame looks around
#
# Take a frame of the second ONE: of those, we let the program choose the one that gives most of its attention to the *first*
# ONE. How well does its query match a key? By their **dot product**: multiply number by number, add up. It is large when both
# are long and point in the same direction. The 74 dot products, divided by $\sqrt{40}$ (soon you will see why), are the
# **scores**.
#
# To mix values we need shares that are positive and sum to 1. You know the function that makes them from notebook 01, where
# it made probabilities of logits: the softmax, exponentials divided by their sum.

# %%


def frames_of(word):
    """The squeezed frames of a word, with one before and one after it."""
    return slice(round(word.start / 0.04) - 1, round(word.end / 0.04) + 1)


first_one, second_one = (frames_of(word) for word in words if word.text == "ONE")
to_first = recorded["probabilities"][0, chosen, :, first_one].sum(axis=1)  # what each frame gives to the first ONE
query = second_one.start + int(to_first[second_one].argmax())

scores = k @ q[query] / np.sqrt(40)
shares = np.exp(scores) / np.exp(scores).sum()
assert np.allclose(shares, softmax(scores), atol=1e-6)

seconds = (np.arange(74) + 0.5) * 0.04
figure, axes = plt.subplots(2, 1, figsize=(7.2, 3.6), sharex=True)
for ax, y, label in [(axes[0], scores, "score"), (axes[1], shares, "share")]:
    ax.bar(seconds, y, width=0.036, color=BLUE)
    ax.axvspan(query * 0.04, (query + 1) * 0.04, color=ORANGE, alpha=0.4, linewidth=0)
    ax.set(ylabel=label, xlim=(0, 74 * 0.04))
for word in words:
    axes[0].annotate(
        word.text,
        ((word.start + word.end) / 2, 1.03),
        xycoords=("data", "axes fraction"),
        ha="center",
        fontsize=8,
    )
axes[1].set_xlabel("time of the key (s); orange: the frame that asks")
caption("One query against all keys: the scores, and the shares that softmax makes of them.")

best = np.argsort(-shares)[:4]
even = (first_one.stop - first_one.start) / 74
print(f"frame {query} gives most to frames {best}: {', '.join(f'{share:.0%}' for share in shares[best])}")
print(f"to the first ONE {shares[first_one].sum():.0%}; a frame that looks everywhere alike would give it {even:.0%}")
assert shares[first_one].sum() > 2 * even
assert shares[best].sum() > 3 * len(best) / 74

# %% [markdown]
# (The words stand over the frames in which their letters are written, which is a little early: notebook 01.) A few frames get
# much more than an equal share. Some of them stand in the *first* ONE, half a second earlier, where the same word is spoken.
# Nobody told the model that the two places have anything to do with each other. Their keys simply point the same way, and the
# query of our frame points there too.
#
# What the frame gets is the mixture of the values in these shares. It is called the **context**. (The package calls the
# shares `probabilities`, as everybody does. Nothing is drawn at random from them.)

# %%
context = shares @ v  # (74,) @ (74, 40) -> (40,)
assert np.allclose(context, recorded["context"][0, query, head], atol=1e-4)

# %% [markdown]
# That is the whole of attention: two matrix products with a softmax in between. The rest of this notebook is: all frames at
# once, several heads, a mask, what stands around it, and what it is used for.

# %% [markdown]
# ## All frames at once
#
# Stack the queries, and the scores of all frames are one matrix product: row $i$, column $j$ says how well query $i$ matches
# key $j$. Then the softmax goes over each **row**, since the shares of each asking frame must sum to 1.

# %%


def attention(q, k, v):
    """One head.  Three arrays (N, d) -> (N, d), and the shares (N, N)"""
    scores = q @ k.T / np.sqrt(q.shape[1])  # (N, N)
    shares = softmax(scores)  # over the last axis: the keys
    return shares @ v, shares


context, shares = attention(q, k, v)
assert np.allclose(shares.sum(axis=1), 1, atol=1e-5)
assert np.allclose(shares, recorded["probabilities"][0, chosen], atol=1e-5)
assert np.allclose(context, recorded["context"][0, :, head], atol=1e-4)

ax = plots.plot_attention(shares, seconds_per_frame=0.04, ax=plt.subplots(figsize=(4.6, 3.7))[1])
ax.set_title(f"layer 5, head {chosen}")
caption("The same for all queries, a row each.")

# %% [markdown]
# Every row of the picture is what we just did for one frame. Now the cost that notebook 04 spoke of is plain to see: $N^2$ dot
# products of $d$ numbers for the scores, and as many multiply-adds again to mix the values. So is the reason for notebook 05:
# shuffle the frames, and rows and columns of this matrix are shuffled, nothing more. Position does not appear in the formula.
#
# Here is the same in the package, for a batch of clips and all heads.

# %%
show_source(multi_head_attention, bare=True)

# %% [markdown]
# ## Why the square root?
#
# Dot products grow with the number of channels. If the numbers in $q$ and $k$ were independent with mean 0 and variance 1,
# each product $q_c k_c$ would have variance 1 too, and the sum of $d$ of them variance $d$: its standard deviation is
# $\sqrt{d}$. Dividing by $\sqrt{d}$ keeps the scores in the same range whatever the width of a head (Vaswani et al. 2017,
# arXiv 1706.03762).
#
# Why care? Because of the softmax. When scores lie far apart, it gives nearly everything to the largest one, and then
# training cannot learn from the others: their shares hardly move when the scores do.

# %%
rng = np.random.default_rng(0)
sizes = np.array([4, 10, 40, 160, 640])
drawn = [(rng.standard_normal((200, d)), rng.standard_normal((74, d))) for d in sizes]
spread = [float((a @ b.T).std()) for a, b in drawn]
largest = {
    "not scaled": [float(softmax(a @ b.T).max(axis=1).mean()) for a, b in drawn],
    "divided by √d": [float(softmax(a @ b.T / np.sqrt(a.shape[1])).max(axis=1).mean()) for a, b in drawn],
}
assert np.allclose(spread, np.sqrt(sizes), rtol=0.05)

figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5))
axes[0].loglog(sizes, np.sqrt(sizes), color=plots.GREY, linestyle="--", label="√d")
axes[0].loglog(sizes, spread, "o", label="measured")
axes[0].set(xlabel="channels of a head, d", ylabel="standard deviation\nof the dot products")
axes[0].set_yticks([2, 5, 10, 20], ["2", "5", "10", "20"], minor=False)
axes[0].set_yticks([], minor=True)
axes[0].legend()
for (label, values), color in zip(largest.items(), [VERMILION, BLUE], strict=True):
    axes[1].semilogx(sizes, values, marker="o", markersize=4, color=color, label=label)
axes[1].set(xlabel="channels of a head, d", ylabel="mean of the largest\nof 74 shares", ylim=(0, 1))
axes[1].legend()
for ax in axes:
    ax.set_xticks(sizes, [str(d) for d in sizes])
    ax.set_xticks([], minor=True)
caption("Dot products grow with the width of a head, and with them the largest share, unless they are divided by √d.")

assert largest["not scaled"][-1] > 0.8
assert max(largest["divided by √d"]) < 0.2

# %% [markdown]
# With random vectors of 640 channels and no scale, one of 74 keys takes more than 80 % on average. With the scale, the number
# of channels makes little difference. A trained head may still be sharp if that serves it.
#
# ## Heads
#
# A single softmax can follow a single interest. Our frame looked at places that resemble its own, but a second need,
# such as "is somebody speaking at all?", would have to share the same 100 %. So each layer has several heads, here four, each
# with its own queries, keys and values. They are cut from one linear map: channels 0 to 39 are head 0, channels 40 to 79 head
# 1, and so on. Afterwards the four contexts are laid side by side again, and a last linear map, `out_proj`, mixes them.

# %%
q, k, v = (linear(x, **p[f"{name}_proj"]) for name in "qkv")  # (74, 160) each
contexts = [attention(q[:, c : c + 40], k[:, c : c + 40], v[:, c : c + 40])[0] for c in (0, 40, 80, 120)]
by_hand = linear(np.concatenate(contexts, axis=1), **p["out_proj"])

assert np.allclose(by_hand, multi_head_attention(x[None], p, heads=4)[0], atol=1e-4)
assert np.allclose(by_hand, trace["encoder.layers.5.attention.output"][0], atol=1e-4)

# %% [markdown]
# Four heads of 40 channels cost as much as one head of 160 would: the heads are narrower in proportion.

# %% [markdown]
# ## The mask
#
# Clips in a batch must have one length, so shorter ones are filled up. Nobody should look at the filling. A **mask** says
# which frames are real. The scores of the others are set to $-\infty$ before the softmax, and $e^{-\infty} = 0$: their share
# is exactly zero, and the rest sums to 1 without any further step. Only *keys* are masked: a row for a filling frame is still
# computed, it just does not matter to anyone.
#
# We append 20 frames of noise to our 74 and run the attention without a mask and with one.

# %%
noise = np.random.default_rng(1).normal(size=(20, 160)).astype(np.float32)
filled = np.concatenate([x, 2 * noise])[None]
real = np.arange(94) < 74

seen = {}


def keep(name, value):
    return seen.setdefault(name, value)


alone = multi_head_attention(x[None], p, heads=4)
open_to_all = multi_head_attention(filled, p, heads=4, see=within(keep, "open"))
masked = multi_head_attention(filled, p, heads=4, mask=key_mask(real[None]), see=within(keep, "masked"))

figure, axes = plt.subplots(1, 2, figsize=(7.2, 3.2))
for ax, name, title in [(axes[0], "open", "without a mask"), (axes[1], "masked", "with a mask")]:
    plots.plot_attention(seen[f"{name}.probabilities"][0, 0], seconds_per_frame=0.04, ax=ax, bar=False)
    ax.axvline(74 * 0.04, color="white", linewidth=0.8, linestyle="--")
    ax.set_title(f"{title} (head 0)")
axes[1].set_ylabel("")
caption("A padded clip. Left, frames look into the padding; right, they may not.")

assert np.array_equal(seen["masked.probabilities"][..., 74:], np.zeros((1, 4, 94, 20)))
assert np.allclose(masked[:, :74], alone, atol=1e-4)
assert np.abs(open_to_all[:, :74] - alone).max() > 0.3

# %% [markdown]
# The dashed line marks where the filling begins. With the mask, the 74 real frames get what they get alone. (For the network
# as a whole that is not true: the group norm of notebook 03 has looked at the padding long before. That is why `transcribe`
# runs clips alone.)
#
# One case remains: what if *no* key may be looked at, as in a clip that is all filling? The sum of the shares would be 0, and
# 0 / 0 is NaN. The package gives zeros instead, as the original does in its default setting.

# %%
show_source(masked_softmax, bare=True)
nobody = masked_softmax(np.ones((2, 3)), np.array([[True, True, False], [False, False, False]]))
assert nobody.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]

# %% [markdown]
# ## What stands around it
#
# A transformer layer wraps the attention into three more things.

# %%
show_source(encoder_layer, feed_forward, bare=True)

# %% [markdown]
# * **Add.** The attention's output is *added* to the frame (`x + a`), it does not replace it. This is called a residual
#   connection. A layer only has to say what should change; the rest stays.
# * **Normalise.** A layer norm (notebook 03) brings each frame's 160 channels back to one scale, so that sums do not grow from
#   layer to layer.
# * **Feed forward.** Then each frame, for itself, goes through a linear map to 640 channels, a GELU, and a linear map back to
#   160. Again it is added, and normalised. Attention moves things between frames; this step works on what has arrived.
#
# By hand, from beginning to end:

# %%
layer = encoder["layers"][5]
y = layer_norm(x + by_hand, **layer["layer_norm"], eps=1e-5)
z = layer_norm(
    y + feed_forward(y, layer["feed_forward"], activation=activation("gelu")),
    **layer["final_layer_norm"],
    eps=1e-5,
)
assert np.allclose(z, trace["encoder.layers.5.final_layer_norm"][0], atol=1e-4)

# %% [markdown]
# Now count again: four maps of $160 \times 160$ for queries, keys, values and output, two of $160 \times 640$ to feed
# forward, and $2 \cdot 160$ for each pair of frames. That is the bill of notebook 04.

# %% [markdown]
# ## What the heads look at
#
# Six layers with four heads: 24 pictures. Each is drawn on its own colour scale.

# %%
maps = np.stack([trace[f"encoder.layers.{i}.attention.probabilities"][0] for i in range(6)])  # (layer, head, query, key)
assert maps.shape == (6, 4, 74, 74)

figure, axes = plt.subplots(6, 4, figsize=(9.0, 13.6), sharex=True, sharey=True)
for i in range(6):
    for h in range(4):
        ax = axes[i, h]
        plots.plot_attention(
            np.minimum(maps[i, h], np.quantile(maps[i, h], 0.995)),
            seconds_per_frame=0.04,
            ax=ax,
            bar=False,
        )
        ax.set(xlabel="", ylabel=f"layer {i}" if h == 0 else "", title=f"head {h}" if i == 0 else "")
figure.supxlabel("to the right: key, time looked at (s); downwards: query, time looking (s)")
figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.0, wspace=0.0)
caption(
    "All heads of all layers on one clip, a row of pictures a layer. Stripes look at one place, whoever asks; diagonals look nearby."
)

# %% [markdown]
# Two kinds of pattern catch the eye.
#
# * **Stripes**: all frames look at the same few places, whoever asks.
# * **Diagonals**, in the later layers: frames look at where they are themselves, or close by.
#
# ### A pattern that holds
#
# How much of its attention does a frame that belongs to a word give to frames at most 80 ms away? Someone who looks
# everywhere alike would give 5 frames of 74 to 94, which is 5 to 7 %. We measure it on all four clips and show, for each
# head, the *smallest* of the four results.

# %%
runs = {"three_one_four.wav": (text, words, trace)}
for name in ["eight_six_seven.flac", "counting.ogg", "two_seven_one.mp3"]:
    runs[name] = run(name, said[name])

lengths = [trace["encoder.squeezed"].shape[1] for *_, trace in runs.values()]
assert (min(lengths), max(lengths)) == (74, 94)
assert (round(100 * 5 / 94), round(100 * 5 / 74)) == (5, 7)


def attentions(trace):
    return np.stack([trace[f"encoder.layers.{i}.attention.probabilities"][0] for i in range(6)])


def speaking(words, frames):
    """Squeezed frames from the first word's start to the last word's end."""
    return slice(int(words[0].start / 0.04), min(frames, int(words[-1].end / 0.04) + 1))


near = []
for _, words, trace in runs.values():
    maps = attentions(trace)
    n = np.arange(maps.shape[-1])
    close = np.abs(n[:, None] - n) <= 2
    near.append((maps * close).sum(axis=-1)[:, :, speaking(words, len(n))].mean(axis=-1))
smallest = np.min(near, axis=0)  # (6, 4)

figure, ax = plt.subplots(figsize=(4.2, 3.4))
image = ax.imshow(smallest, vmin=0)
for i in range(6):
    for h in range(4):
        ax.text(
            h,
            i,
            f"{smallest[i, h]:.0%}",
            ha="center",
            va="center",
            color="black" if smallest[i, h] > 0.6 * smallest.max() else "white",
        )
ax.set(xlabel="head", ylabel="layer", xticks=range(4), title="share within 80 ms")
figure.colorbar(image, ax=ax, label="share, smallest of four clips")
caption("How much of its attention each head gives to the neighbourhood, in the clip where it gives least.")

local = (5, chosen)
print(f"head {chosen} of layer 5 gives at least {smallest[local]:.0%}")
assert smallest[local] > 2.5 * 5 / 74
assert smallest[3:].max() > 1.5 * smallest[:2].max()

# %% [markdown]
# Heads that look nearby stand in the later layers; in the first two there is none that comes close. The head that we took apart
# is one of them in all four clips. Which of the neighbours does it prefer?

# %%
preferred = set()
for name, (_, words, trace) in runs.items():
    shares = attentions(trace)[local]
    asking = np.arange(len(shares))[speaking(words, len(shares) - 2)]
    by_distance = {d: float(shares[asking, asking + d].mean()) for d in (-2, -1, 0, 1, 2)}
    print(f"{name:22} before {by_distance[-1]:.0%}, itself {by_distance[0]:.0%}, after {by_distance[1]:.0%}")
    preferred.add(max(by_distance, key=by_distance.get))
assert len(preferred) == 1  # the same in every clip
assert abs(preferred.pop()) == 1  # and not the frame itself

# %% [markdown]
# Not itself, but the frame next to it on one side, and on the same side in every clip. Which side it is was left to training:
# another model of the same shape may have made it the other one.

# %% [markdown]
# ### A story that does not
#
# Which words do the stripes stand in? We add up the attention that each frame *receives*, averaged over all that ask, and
# look for heads that give more to a ONE of the first clip than to any other word.

# %%


def received(name, i, h):
    return attentions(runs[name][2])[i, h].mean(axis=0)


def word_shares(name, i, h):
    """What each word's frames receive, one frame before and after it included."""
    weights = received(name, i, h)
    return [(word.text, float(weights[frames_of(word)].sum())) for word in runs[name][1]]


def favourite(name, i, h):
    """The word that receives most."""
    return max(word_shares(name, i, h), key=lambda item: item[1])[0]


here, there = "three_one_four.wav", "counting.ogg"
found = [(i, h) for i in range(6) for h in range(4) if favourite(here, i, h) == "ONE"]
kept = [place for place in found if favourite(there, *place) == "ONE"]
print(f"heads that favour ONE in {here}: {len(found)}; in {there} as well: {len(kept)}")
assert len(kept) < len(found)


def to_one(place):
    """What a head gives to all ONEs of the first clip."""
    return sum(share for word, share in word_shares(here, *place) if word == "ONE")


striking = max(set(found) - set(kept), key=to_one)
print("the strongest of the others is head {1} of layer {0}".format(*striking))

figure, axes = plt.subplots(2, 1, figsize=(7.2, 3.6))
for ax, name in zip(axes, [here, there], strict=True):
    weights = received(name, *striking)
    ax.bar((np.arange(len(weights)) + 0.5) * 0.04, weights, width=0.036, color=BLUE)
    for word in runs[name][1]:
        ax.axvspan(word.start, word.end, color=ORANGE, alpha=0.25, linewidth=0)
        ax.annotate(
            word.text,
            ((word.start + word.end) / 2, 1.02),
            xycoords=("data", "axes fraction"),
            ha="center",
            fontsize=6.5,
        )
    ax.set(ylabel="mean share", xlim=(0, len(weights) * 0.04))
axes[1].set_xlabel("time of the key (s)")
caption("Attention received from one head, in two clips. What looks like a rule in the first is none in the second.")

for name in (here, there):
    print(f"{name:20}", ", ".join(f"{word} {share:.0%}" for word, share in word_shares(name, *striking)))

# %% [markdown]
# In the first clip this head gives more to a ONE than to any other word. "A detector for the word ONE" is what one would like to
# write underneath. The second clip says otherwise. It holds a ONE as well, and another word gets more. Perhaps the head looks for
# a vowel, or for a voice that has just reached its loudest; we do not know. **A pattern in one clip is a guess. Look at a second
# clip before you believe it.**

# %% [markdown]
# ### Does it matter?
#
# Where a head looks says nothing about whether the rest of the network needs what it brings. So take each head out in turn,
# by setting its context to zero, and count the frames that write another letter than before. We need only the part behind the
# squeeze for that, so we put it together from the package's own pieces. All trials of a clip run as one batch: its first row is
# the clip as it is, and each layer adds four rows, each without one of that layer's heads.

# %%


def transformer_layer(x, i, see=unseen):
    return encoder_layer(x, encoder["layers"][i], heads=4, eps=1e-5, activation=activation("gelu"), see=see)


def read_from(x, frames):
    """What each frame behind the last layer writes.  (B, N, 160) -> tokens (B, T)"""
    last = unsqueezed(x, encoder, model.config, frames=frames, see=unseen)
    return ctc_logits(last, model.weights).argmax(axis=2)


def one_head_missing(name, x):
    """Of the last four rows, row h goes without head h."""
    if name == "attention.context":
        x = x.copy()
        for h in range(4):
            x[len(x) - 4 + h, :, 40 * h : 40 * (h + 1)] = 0.0
    return x


changed, texts = np.zeros((6, 4), dtype=int), {}
for name, (text, _, trace) in runs.items():
    x = trace["encoder.layer_norm"]  # what layer 0 is given, (1, N, 160)
    for i in range(6):
        x = transformer_layer(np.concatenate([x, np.repeat(x[:1], 4, axis=0)]), i, see=one_head_missing)
    whole, *trials = read_from(x, trace["logits"].shape[1])
    assert len(trials) == 24
    assert model.tokenizer.decode(whole) == text
    changed += np.sum(trials != whole, axis=1).reshape(6, 4)
    texts[name] = [model.tokenizer.decode(trial) for trial in trials]

frames = sum(trace["logits"].shape[1] for *_, trace in runs.values())
most = int(changed.argmax())
print(f"of {frames} frames change, without each head (a row a layer):\n{changed}")
print(f"without head {most % 4} of layer {most // 4}, which is missed most:")
for name, (text, *_) in runs.items():
    print(f"{text}\n  -> {texts[name][most]}")
assert frames == 661
assert changed.max() < 0.1 * frames
assert changed.max() > 1.3 * np.median(changed)

# %% [markdown]
# Whichever head goes, nearly all frames write what they wrote before. What changes is a letter here and there, written a little
# earlier or later, twice or not at all. Some heads are missed more than others, and how striking a head looks does not tell
# which: compare the table with the pictures.
#
# That a single head is hardly missed does not mean that it is useless: others may do the same work, and heads that matter little
# for digits in clear speech may matter in noise. And all of them together? We leave out every attention in all six layers:

# %%


def no_attention(name, x):
    return np.zeros_like(x) if name == "attention.output" else x


all_changed, known = 0, []
for name, (text, _, trace) in runs.items():
    x = trace["encoder.layer_norm"]
    for i in range(6):
        x = transformer_layer(x, i, see=no_attention)
    without = read_from(x, trace["logits"].shape[1])[0]
    all_changed += int(np.sum(without != trace["logits"][0].argmax(axis=1)))
    print(f"with attention     {text}\nwithout attention  {model.tokenizer.decode(without)}")
    known += [word for word in model.tokenizer.decode(without).split() if word in said[name].split()]
print(f"{all_changed} of {frames} frames change; {len(known)} of {sum(len(said[name].split()) for name in runs)} words are right")
assert all_changed > 2 * changed.max()
assert all_changed < 0.3 * frames

# %% [markdown]
# Now it is missed: many more letters change than without any single head. Yet much can still be read. This small model knows
# eleven short words, and the position convolution lets each frame see 0.62 seconds, so most of what it needs is nearby.
# Attention does the last part. Models for whole sentences have more use for what is far away, and we cannot see that here.
#
# The general warning has been given by others too: attention maps are easy to look at and easy to over-read ("Attention is
# not Explanation", Jain & Wallace 2019, arXiv 1902.10186; and the reply "Attention is not not Explanation", Wiegreffe &
# Pinter 2019, arXiv 1908.04626).

# %% [markdown]
# ## The answer
#
# Every frame makes a query, a key and a value. The dot products of its query with all keys, divided by the root of their
# length and put through a softmax, are shares; the values mixed in these shares are what it collects. Several heads do this
# side by side, and a mask gives frames that are not real a share of exactly zero. The result is added to the frame,
# normalised, and worked on frame by frame by the feed-forward part. Where a head looks can be drawn; what that is good for
# has to be tested.
#
# Any clip of yours, to point at: `sewnp explain clip.wav -o page.html`
# ([what it shows](../docs/explain.md#attention)).

# %% [markdown]
# ## Exercises
#
# **1. One head.** From queries, keys and values, (N, d) each, to the context, (N, d). Write the softmax yourself. The check
# also tries scores near 1000, whose exponential is too large for a float: subtract something first that does not change the
# result.

# %%


def my_attention(q, k, v):
    raise NotImplementedError


attempt(check_attention, my_attention)

# %% [markdown]
# **2. The mask.** Softmax over scores (N, N) with a mask over the keys, (N,), True where they may be looked at. Hidden keys
# get exactly 0, the others of a row sum to 1, and where no key may be looked at, all are 0.

# %%


def my_masked_softmax(scores, mask):
    raise NotImplementedError


attempt(check_masked_softmax, my_masked_softmax)

# %% [markdown]
# **3. Heads.** Cut the channels into contiguous blocks: (N, H) → (heads, N, H / heads).

# %%


def my_split_heads(x, heads):
    raise NotImplementedError


attempt(check_split_heads, my_split_heads)

# %% [markdown]
# ## Solutions

# %%


def solved_attention(q, k, v):
    scores = q @ k.T / np.sqrt(q.shape[1])
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))  # the largest becomes exp(0) = 1
    return weights / weights.sum(axis=1, keepdims=True) @ v


def solved_masked_softmax(scores, mask):
    if not mask.any():
        return np.zeros_like(scores)
    hidden = np.where(mask, scores, -np.inf)
    weights = np.exp(hidden - hidden.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def solved_split_heads(x, heads):
    frames, channels = x.shape
    return x.reshape(frames, heads, channels // heads).swapaxes(0, 1)


check_attention(solved_attention)
check_masked_softmax(solved_masked_softmax)
check_split_heads(solved_split_heads)
