# %% [markdown]
# # 05 · Position by convolution
#
# > A transformer has no sense of order. How does SEW tell it which frame comes after which?
#
# **Read before:** notebooks 02 (kernel, channel, stride), 03 (GELU) and 04 (the squeeze, and how a function `see` watches the
# network). The transformer layer stays a closed box until notebook 06.

# %% tags=["setup"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, show_source
from checks.positions import check_dense_kernel, check_position_frames, check_weight_norm

import sewnp
from sewnp import plots
from sewnp.evaluation import count_characters
from sewnp.layers import (
    activation,
    conv1d,
    convolution,
    convolutional_position_embedding,
    grouped_conv1d,
    weight_norm,
)
from sewnp.networks.sew import encoder_layer
from sewnp.speech import read_audio

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, PURPLE, VERMILION, *_ = plots.COLORS

model = sewnp.load("digits", engine="textbook")
encoder = model.weights["sew"]["encoder"]
samples = read_audio(clips / "three_one_four.wav")
input_values = model.features(samples).input_values


def text(logits):
    return model.tokenizer.decode(logits[0].argmax(axis=1))


def changed(other):
    """The share of letters and spaces that one would have to change, to make another text of what the model reads."""
    return count_characters(read, other).errors / len(read)


trace = {}


def record(name, x):
    trace[name] = x
    return x


read = text(model(input_values, see=record).logits)
print(read)
frames = trace["feature_projection"]  # 148 frames of 160 channels, one every 20 ms
assert frames.shape == (1, 148, 160)

# %% [markdown]
# ## The transformer does not know about order
#
# Here is a strange property of a transformer layer. Give it 74 frames, and it returns 74 frames. Shuffle the 74 before you
# give them, and it returns **the same frames, shuffled in the same way**. Nothing else changes.

# %%
order = np.random.default_rng(0).permutation(74)
back = np.argsort(order)  # the shuffle that undoes the shuffle


def layer(x):
    p = encoder["layers"][0]
    return encoder_layer(x, p, heads=4, eps=1e-5, activation=activation("gelu"))


x = trace["encoder.layer_norm"]  # what the first layer is given
assert x.shape == (1, 74, 160)
difference = np.abs(layer(x[:, order]) - layer(x)[:, order]).max()
assert difference < 1e-5  # nothing but rounding

# %% [markdown]
# Six such layers stacked up have the same property. So we may shuffle the frames in front of the first layer, undo the
# shuffle behind the last, and the model reads what it always reads. From the 40-millisecond pieces of a sentence in random
# order!

# %%
behind_last = "encoder.layers.5.final_layer_norm"


def shuffled_inside(name, x):
    if name == "encoder.squeezed":  # in front of the transformer, position already in
        return x[:, order]
    if name == behind_last:
        return x[:, back]
    return x


print(text(model(input_values, see=shuffled_inside).logits))
assert text(model(input_values, see=shuffled_inside).logits) == read

# %% [markdown]
# For the layers, the frames are a *set*. (Notebook 06 shows why: every frame looks at every other, and nothing in that look
# knows how far it goes.) But ONE and ENO are different words made of the same letters. Whatever has to be known about order
# must be written **into the frames themselves** before the first layer. In SEW that happens right before, in one step.
# Shuffle in front of *that* step, and undo it at the same place as before:

# %%
both_of_each_pair = (2 * order[:, None] + [0, 1]).ravel()  # the same shuffle, for frames at 20 ms


def shuffled_before(name, x):
    if name == "feature_projection":
        return x[:, both_of_each_pair]
    if name == behind_last:
        return x[:, back]
    return x


nonsense = text(model(input_values, see=shuffled_before).logits)
print(nonsense)
assert changed(nonsense) > 0.4

# %% [markdown]
# Every squeezed frame still holds the sound it held before and is back in its place at the end. Yet the text is nonsense,
# because each frame was told about wrong neighbours.
#
# ## Three ways to tell
#
# * **Number the frames.** Learn one vector for "first frame", one for "second frame" and so on, and add them. The first
#   transformers did this, with fixed waves in place of learned vectors (Vaswani et al. 2017, arXiv 1706.03762). But a table
#   ends somewhere, and in a recording the frame's number says little: a word is the same word three seconds later.
# * **Tell every pair how far it stands apart.** SEW-D does this in addition; it is the subject of notebook 07.
# * **Let every frame look around.** A convolution with a wide kernel adds to each frame a summary of what comes before and
#   after it. This is what wav2vec 2.0 does (Baevski et al. 2020, arXiv 2006.11477), and what SEW does.
#
# SEW's version looks at 31 frames, 0.62 seconds. It makes one such summary for each squeezed frame, so its stride is 2, and
# adds it to the mean of notebook 04:

# %%
pool, position = trace["encoder.pool"], trace["encoder.pos_conv_embed.activation"]
assert np.array_equal(trace["encoder.squeezed"], pool + position)
assert pool.shape == position.shape == (1, 74, 160)

words = model.transcribe(samples).words
ones = [i for i, word in enumerate(words) if word.text == "ONE"][:2]
inside = [int((words[i].start + words[i].end) / 2 / 0.04) for i in ones]  # the squeezed frame at the middle of each
figure, ax = plt.subplots(figsize=(7.2, 2.4))
plots.plot_waveform(samples, 16_000, words=words, ax=ax)
for n, color, height in zip(inside, (GREEN, VERMILION), (-0.8, -0.95), strict=True):
    first, last = 2 * n - 15, 2 * n + 15  # frames that squeezed frame n looks at
    ax.plot(
        [first * 0.02, (last + 1) * 0.02],
        [height, height],
        color=color,
        linewidth=3,
        solid_capstyle="butt",
    )
    ax.plot(
        [2 * n * 0.02, (2 * n + 2) * 0.02],
        [height, height],
        color="black",
        linewidth=6,
        solid_capstyle="butt",
    )
    ax.text(
        (last + 2) * 0.02,
        height,
        f"what squeezed frame {n} is told about",
        va="center",
        fontsize=8,
        color="black",
    )
ax.set_ylim(-1.05, 0.75)
caption("Two squeezed frames, black, and the stretch of sound, coloured, of which each is told.")

assert [words[i - 1].text for i in ones] == ["THREE", "FOUR"]

# %% [markdown]
# Black is the squeezed frame, 40 milliseconds of sound; the bar is what the convolution shows it. Both black pieces lie in a
# ONE, and they may sound alike. Their surroundings tell them apart: one comes after THREE and the other after FOUR.

# %% [markdown]
# ## Groups: a wide kernel that is affordable
#
# A convolution from 160 channels to 160 with 31 taps (a *tap* is one place of the kernel) has $160 \cdot 160 \cdot 31$
# weights: 793,600, more than a third of what the whole model has now. So the channels are cut into 16 **groups** of 10.
# Output group $g$ sees only input group $g$. That leaves $160 \cdot 10 \cdot 31 = 49{,}600$ weights, a sixteenth.

# %%
show_source(grouped_conv1d, bare=True)

# %% [markdown]
# The stored kernel has the shape (160, 10, 31): for each of the 160 output channels, 10 input channels, those of its own
# group. As a matrix for one tap, from all channels to all channels, it is zero outside of 16 blocks along the diagonal:

# %%
conv = encoder["pos_conv_embed"]["conv"]
kernel = weight_norm(conv["weight_g"], conv["weight_v"])  # explained below
assert kernel.shape == (160, 10, 31)
assert 160 * 160 * 31 == 793_600
assert kernel.size == 160 * 10 * 31 == 49_600
assert sum(weight.size for weight in model.flat_weights().values()) / 3 < 793_600

blocks = np.zeros((160, 160))
for group in range(16):
    rows = slice(10 * group, 10 * (group + 1))
    blocks[rows, rows] = kernel[rows, :, 15]

figure, ax = plt.subplots(figsize=(4.4, 3.6))
limit = np.abs(blocks).max()
image = ax.imshow(blocks, cmap="PuOr", vmin=-limit, vmax=limit)
ax.set(xlabel="input channel", ylabel="output channel", title="the middle tap as a matrix")
figure.colorbar(image, ax=ax, label="weight")
caption("One tap of the grouped kernel, written as a matrix from all channels to all channels: 16 blocks, and zeros.")

# %% [markdown]
# The proof that the zeros are real: change the channels of group 3 in the input, and see which outputs move.

# %%
touched = frames.copy()
touched[:, :, 30:40] += 1.0
before, after = (grouped_conv1d(x, kernel, groups=16, padding=15, stride=2) for x in (frames, touched))
moved = np.flatnonzero(np.abs(after - before).max(axis=(0, 1)) > 0)
print("outputs that moved:", moved)
assert moved.tolist() == list(range(30, 40))

# %% [markdown]
# So in this step, what a frame learns about its neighbours in channels 0 to 9 cannot reach its channels 10 to 159. That is no
# great loss: the transformer behind it mixes all channels of a frame anyway.

# %% [markdown]
# ## Weight norm: length and direction apart
#
# The checkpoint does not store this kernel. It stores two arrays: `weight_v`, of the kernel's shape, and `weight_g`, one
# number for each of the 31 taps. The kernel is put together from them: each tap of $v$ is brought to length 1 and then given
# the length $g$,
#
# $$ w_k = g_k \, \frac{v_k}{\lVert v_k \rVert}, $$
#
# where $v_k$ is all 1,600 numbers of tap $k$ and $\lVert v_k \rVert$ is the root of the sum of their squares.

# %%
show_source(weight_norm, convolution._tap_norms, bare=True)

# %%
g, v = conv["weight_g"], conv["weight_v"]
assert (g.shape, v.shape) == ((1, 1, 31), (160, 10, 31))


def length(x):
    """Of each tap.  (160, 10, 31) -> (31,)"""
    return np.sqrt(np.square(x, dtype=np.float64).sum(axis=(0, 1)))


assert np.allclose(length(kernel), g.ravel(), rtol=1e-5)  # the lengths are g ...
assert np.allclose(kernel[0, 0] / v[0, 0], g.ravel() / length(v))  # ... and the directions those of v

milliseconds = 20 * (np.arange(31) - 15)
figure, ax = plt.subplots(figsize=(6.6, 2.5))
ax.plot(
    milliseconds,
    length(v),
    marker="o",
    markersize=3.5,
    color=ORANGE,
    label="length of v, which does not count",
)
ax.plot(
    milliseconds,
    g.ravel(),
    marker="o",
    markersize=3.5,
    color=BLUE,
    label="g: the length of the kernel's tap",
)
ax.set(xlabel="how far the tap looks, from the frame (ms)", ylabel="length", ylim=(0, None))
ax.legend()
caption("The length of each tap: as `weight_v` has it, which does not matter, and as `weight_g` says.")
print(f"g: from {g.min():.2f} to {g.max():.2f}")
assert 0 < g.max() < 2 * g.min()

# %% [markdown]
# Why such a detour? It is about training (Salimans & Kingma 2016, arXiv 1602.07868). Training moves the weights step by step.
# When length and direction are numbers of their own, a step can change how *much* a tap matters without changing *what* it
# looks for. That made training faster and steadier. Once training is over the detour has no effect: many $v$ describe the
# same kernel, and only the product counts. Multiply all of $v$ by 7 and nothing happens:

# %%
assert np.allclose(weight_norm(g, 7 * v), kernel, rtol=1e-5)

# %% [markdown]
# Three details that a port to another library gets wrong easily:
#
# * **One length for each tap**, over all channels at once. Weight norm usually keeps one length for each *output channel*.
#   wav2vec 2.0 chose taps, and SEW inherited it.
# * **No epsilon.** Some libraries add a small number to the length before they divide. For a trained kernel that changes nothing that
#   float32 could show; it matters where $v$ is very short. A tap whose $v$ is all zeros has no direction, and 0 / 0 is NaN (not a
#   number). The package gives NaN as well, instead of inventing a value that the original does not have.
# * **Names in files.** What is $g$ and $v$ here is spelled in two ways. Files that newer versions of transformers save say
#   `encoder.pos_conv_embed.conv.parametrizations.weight.original0` ($g$) and `…original1` ($v$); older ones say `…conv.weight_g` and
#   `…conv.weight_v`. In memory this package has the old names, whichever the file had. The bias, one number a channel, is plain
#   `…conv.bias`, and is added after the convolution.
#
# What did the model learn? All 31 taps are of similar length: the longest is not twice as long as the shortest. The window's far
# ends matter nearly as much as its middle. Whether a wider window would help, this picture cannot say; one of the published SEW-D
# models has 127 taps.

# %%
hollow = v.copy()
hollow[:, :, 4] = 0.0
assert np.isnan(weight_norm(g, hollow)[:, :, 4]).all()
assert not np.isnan(weight_norm(g, hollow)[:, :, 5]).any()

assert sewnp.preset("sew-d-mid-k127").num_conv_pos_embeddings == 127

# %% [markdown]
# ## Odd and even kernels
#
# `K // 2` zeros are put on both sides of the clip, 15 for our kernel. With 148 frames, a stride of 2 and $K = 31$ there is
# room for $(148 + 30 - 31) // 2 + 1 = 74$ places, as many as there are squeezed frames. Squeezed frame $n$ looks at frames
# $2n - 15$ to $2n + 15$.
#
# It does not always come out so well. The picture shows all the places that a kernel of 5 and one of 4 taps finds in clips of
# 8 and 9 frames.

# %%


def draw_places(ax, frames, size, stride=2):
    made = (frames + 2 * (size // 2) - size) // stride + 1
    kept = frames // stride
    for i in range(-(size // 2), frames + size // 2):
        real = 0 <= i < frames
        ax.add_patch(
            plt.Rectangle(
                (i + 0.06, 0.1),
                0.88,
                0.8,
                facecolor=BLUE if real else "white",
                edgecolor=BLUE if real else plots.GREY,
            )
        )
        ax.text(
            i + 0.5,
            0.5,
            str(i) if real else "0",
            ha="center",
            va="center",
            fontsize=7,
            color="white" if real else "black",
        )
    for n in range(made):
        start = n * stride - size // 2
        color = ORANGE if n < kept else VERMILION
        ax.plot([start + 0.1, start + size - 0.1], [-0.6 - 0.75 * n] * 2, color=color, linewidth=3.5, solid_capstyle="butt",
                linestyle="-" if n < kept else (0, (1.2, 0.8)))  # fmt: skip
        ax.text(start - 0.2, -0.6 - 0.75 * n, f"{n}", va="center", ha="right", fontsize=7)
    ax.set(
        xlim=(-4, 12.5),
        ylim=(-5, 1.2),
        title=f"K = {size}, {frames} frames: {made} places, {kept} kept",
    )
    ax.axis("off")
    return made, kept


figure, axes = plt.subplots(2, 2, figsize=(7.4, 4.0))
found = [draw_places(ax, frames, size) for ax, (size, frames) in zip(axes.flat, [(5, 8), (5, 9), (4, 8), (4, 9)], strict=True)]
assert found == [(4, 4), (5, 4), (5, 4), (5, 4)]
caption(
    "Where kernels of 5 and 4 taps find a place in 8 and 9 frames. White squares are the zeros at the ends; dotted places are dropped."
)

# %% [markdown]
# Blue squares are frames, white ones the added zeros, and each line is a place of the kernel. The dotted ones are too many:
# there are $\lfloor T / 2 \rfloor$ squeezed frames to be added to, 4 here.
#
# * **K even** (lower row): the kernel has no middle. Padding by `K // 2` on both sides leaves one place too many, the last,
#   which is dropped. What is left looks one frame further back than ahead. The class default of the original, 128, is even.
# * **K odd** (upper row): right for an even number of frames. For an odd number there is one place over, the one that looks
#   at the odd tail of notebook 04. It is cut off where position and mean are added.
#
# Here is the whole step. A GELU comes last (`feat_extract_activation`, the one of the convolutions). Nothing normalises inside.

# %%
show_source(convolutional_position_embedding, bare=True)

# %% [markdown]
# What happens to the sum of mean and position? In SEW a layer norm, `encoder.layer_norm`, and the result goes into the first layer. SEW-D has
# no norm there: its first layer is given the sum as it is.

# %%
summed = trace["encoder.squeezed"]
p = encoder["layer_norm"]
by_hand = (summed - summed.mean(-1, keepdims=True)) / np.sqrt(summed.var(-1, keepdims=True) + 1e-5) * p["weight"] + p["bias"]
assert np.allclose(by_hand, trace["encoder.layer_norm"], atol=1e-4)
assert "layer_norm" not in sewnp.load("digits-d").weights["sew_d"]["encoder"]

# %% [markdown]
# ## What does a frame really learn from this?
#
# It is called a *position embedding*. (An **embedding** is a vector that stands for something, here for a place.) Does it say
# where in the clip a frame stands? Try: feed the convolution the same frame 148 times, so that there is nothing to see but
# the position.

# %%


def positions(x):
    return convolutional_position_embedding(x, encoder["pos_conv_embed"], groups=16, stride=2, activation=activation("gelu"))


same = np.broadcast_to(frames.mean(axis=1, keepdims=True), frames.shape)
told = positions(same)[0]
from_middle = np.abs(told - told[37]).max(axis=1)

figure, ax = plt.subplots(figsize=(6.6, 2.2))
ax.plot(np.arange(74) * 0.04, from_middle, marker="o", markersize=3)
ax.set(xlabel="time of the squeezed frame (s)", ylabel="largest difference\nfrom the middle one")
caption("The same frame everywhere: what each squeezed frame is told then differs only near the two ends of the clip.")

differs = np.flatnonzero(from_middle > 1e-3)
print("squeezed frames that are told anything else:", differs)
assert differs.tolist() == [*range(8), *range(67, 74)]
assert from_middle[8:67].max() < 1e-4

# %% [markdown]
# In the middle, 59 frames are told exactly the same. Only the first 8 and the last 7 notice something: their window reaches
# over the edge, where the padding is. The convolution knows "the clip began a moment ago", and nothing else about absolute
# time. That is the nature of a convolution. If we cut two frames off the beginning, everything moves up by one squeezed
# frame, and stays the same otherwise:

# %%
whole, cut = positions(frames)[0], positions(frames[:, 2:])[0]
change = np.abs(cut - whole[1:]).max(axis=1)
assert change[8:].max() < 1e-4
assert change[:8].min() > 0.01

# %% [markdown]
# So what it tells is not *where*, but *between what*. That is what order means for speech: this sound comes after that one. And
# the look around carries more than order. Compare the two parts that are added, by their root mean square: the summary of the
# surroundings is no small correction.

# %%
sizes = {name: float(np.sqrt(np.square(x).mean())) for name, x in [("mean of the pair", pool), ("surroundings", position)]}
print({name: round(size, 2) for name, size in sizes.items()})
assert sizes["surroundings"] > 0.7 * sizes["mean of the pair"]


def without(stage):
    return lambda name, x: np.zeros_like(x) if name == stage else x


def rearranged(rearrange):
    return lambda name, x: rearrange(x) if name == "encoder.pos_conv_embed.activation" else x


trials = {
    "as it is": lambda name, x: x,
    "surroundings left out": without("encoder.pos_conv_embed.activation"),
    "surroundings of the next frame": rearranged(lambda x: np.roll(x, -1, axis=1)),
    "surroundings back to front": rearranged(lambda x: x[:, ::-1]),
    "mean of the pair left out": without("encoder.pool"),
}
heard = {what: text(model(input_values, see=see).logits) for what, see in trials.items()}
amounts = {what: changed(words) for what, words in heard.items()}
for what, words in heard.items():
    print(f"{what:31} {amounts[what]:4.0%} changed: {words or '(nothing)'}")

assert amounts["as it is"] == 0
unreadable = min(amounts["surroundings left out"], amounts["surroundings back to front"])
assert unreadable > 0.5
assert max(amounts["surroundings of the next frame"], amounts["mean of the pair left out"]) < unreadable

# %% [markdown]
# With the surroundings of the next frame the model stumbles, with those of wholly different frames it writes nonsense, and
# without any it cannot read. The surprise is in the last line. Take away the *mean*, which we thought to be the content, and keep
# nothing but the "position": part of the text is still there. The 31 taps include the frame itself and its neighbours, so the
# convolution passes on what was said as well.
#
# Do not read too much into such operations. The model was trained with both parts and never saw either alone; that it cannot read
# without its surroundings shows that it *relies* on them, not that nothing could be read without. But one thing is safe to say:
# in this model "position embedding" is a modest name for more than half a second of context.

# %% [markdown]
# ## The answer
#
# A transformer layer treats its frames as a set: shuffled frames in, the same frames shuffled out. So SEW adds to each
# squeezed frame a summary of the 31 frames around it, made by a convolution with 16 groups of channels, which makes it
# sixteen times smaller. Its kernel is stored as a length and a direction for each tap. It does not say where in the clip a
# frame stands, except near the edges; it says what comes before and after, and a good part of what is said as well.

# %% [markdown]
# ## Exercises
#
# **1. Weight norm.** Put the kernel together: (1, 1, K) and (O, C, K) → (O, C, K).

# %%


def my_weight_norm(g, v):
    raise NotImplementedError


attempt(check_weight_norm, my_weight_norm)

# %% [markdown]
# **2. A kernel without groups.** Given a grouped kernel (O, C / groups, K), make the kernel (O, C, K) with which `conv1d`
# gives the same result as `grouped_conv1d` with the small one.

# %%


def my_dense_kernel(weight, groups):
    raise NotImplementedError


attempt(check_dense_kernel, my_dense_kernel)

# %% [markdown]
# **3. How many?** For T frames, a kernel of K taps and a stride, return two numbers: how many places the convolution finds
# with `K // 2` zeros on both sides, and how many of them are kept, to be added to the squeezed frames.

# %%


def my_position_frames(frames, kernel, stride):
    raise NotImplementedError


attempt(check_position_frames, my_position_frames)

# %% [markdown]
# ## Solutions

# %%


def solved_weight_norm(g, v):
    return g * v / np.sqrt(np.square(v).sum(axis=(0, 1), keepdims=True))


def solved_dense_kernel(weight, groups):
    out, size, taps = weight.shape
    dense = np.zeros((out, groups * size, taps), dtype=weight.dtype)
    per_group = out // groups
    for group in range(groups):
        rows, columns = (
            slice(group * per_group, (group + 1) * per_group),
            slice(group * size, (group + 1) * size),
        )
        dense[rows, columns] = weight[rows]
    return dense


def solved_position_frames(frames, kernel, stride):
    made = (frames + 2 * (kernel // 2) - kernel) // stride + 1
    if kernel % 2 == 0:
        return made, made - 1
    return made, min(made, frames // stride)


check_weight_norm(solved_weight_norm)
check_dense_kernel(solved_dense_kernel)
check_position_frames(solved_position_frames)

# %% [markdown]
# And on the model's own kernel, the dense one and the grouped one agree:

# %%
padded = np.pad(frames, ((0, 0), (15, 15), (0, 0)))
dense = conv1d(padded, solved_dense_kernel(kernel, 16), stride=2)
assert np.allclose(dense, grouped_conv1d(frames, kernel, groups=16, padding=15, stride=2), atol=1e-4)
