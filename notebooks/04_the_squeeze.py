# %% [markdown]
# # 04 · The squeeze
#
# > Why does SEW run its transformer on half as many frames as it has, and how does it get the other half back?
#
# **Read before:** notebooks 01 (frame, token, blank) and 02 (channel, stride, hop). The transformer itself is still a closed
# box here; notebook 06 opens it. All you need to know about it now is what it costs.

# %% tags=["setup"]
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, show_source
from checks.squeeze import check_layer_cost, check_squeeze, check_unfold

import sewnp
from sewnp import plots
from sewnp.costs import attention_bytes, stages
from sewnp.layers import softmax
from sewnp.speech import read_audio

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, *_ = plots.COLORS

model = sewnp.load("digits", engine="textbook")
config = model.config

# %% [markdown]
# ## Three frame rates
#
# Let us first watch it happen. Calling the model with a function `see` shows that function every intermediate result, by
# name; what `see` returns is what the network goes on with. The smallest useful observer stores each array and hands it back.

# %%
waveform = read_audio(clips / "three_one_four.wav")
trace = {}


def record(name, x):
    trace[name] = x
    return x


output = model(model.features(waveform).input_values, see=record)
for name in [
    "feature_projection",
    "encoder.pool",
    "encoder.layers.5.final_layer_norm",
    "encoder.last_hidden_state",
]:
    print(f"{name:35} {trace[name].shape}")

frames = trace["feature_projection"]
pooled = trace["encoder.pool"]
restored = trace["encoder.last_hidden_state"]
assert trace["layer_norm"].shape == (1, 148, 128)  # before that linear map
assert frames.shape == restored.shape == (1, 148, 160)
assert pooled.shape == trace["encoder.layers.5.final_layer_norm"].shape == (1, 74, 160)

# %% [markdown]
# The shapes are (clips, frames, channels). The convolutions of notebook 02 make 148 frames of our 2.975 seconds, one every 20
# milliseconds, a layer norm over the channels puts each in order, and a linear map takes it from 128 channels to 160. (The norm is in every
# model, the map only in those where the two widths differ: notebook 03.) Then something turns 148 frames into 74. The
# transformer's six layers all work on those 74. Behind the last layer something makes 148 of them again, and it is from those
# that the tokens are read.
#
# The first step is called the **squeeze**. It gave the model its name: *Squeezed and Efficient Wav2vec* (Wu et al. 2021,
# arXiv 2109.06870). A squeezed frame stands for 40 milliseconds, the *squeeze factor* is 2.

# %%
fig, axes = plt.subplots(3, 1, figsize=(7.0, 3.6), sharex=True)
for ax, x, seconds, title in [
    (axes[0], frames, 0.02, "before: 148 frames, one every 20 ms"),
    (axes[1], pooled, 0.04, "squeezed: 74 frames, one every 40 ms"),
    (axes[2], restored, 0.02, "behind the transformer, restored: 148 frames"),
]:
    limit = float(np.quantile(np.abs(x), 0.99))
    plots.plot_frames(np.clip(x[0, :, :24], -limit, limit), seconds_per_frame=seconds, ax=ax, bar=False)
    ax.set(title=title, xlabel="")
axes[2].set_xlabel("time (s)")
caption("The clip in front of the squeeze, behind it, and behind the transformer.")

# %% [markdown]
# (The first 24 of the 160 channels. Values beyond the 99th percentile are clipped, so that a few large ones do not make the
# rest pale.) The middle picture looks like the upper one seen through a coarser sieve, which is precisely what it is. The
# lower one is different: it has been through the transformer, and its channels mean other things.

# %% [markdown]
# ## What a transformer layer costs
#
# Why go to such lengths? Because of the bill. We count **multiply-adds**, as notebook 02 did: one multiplication together
# with the addition that follows it, the unit of work of every matrix product. A linear map from $m$ to $n$ channels costs
# $mn$ of them for each frame.
#
# One transformer layer with $N$ frames of $H$ channels does two kinds of work (you will meet each piece in notebook 06):
#
# * **Each frame by itself.** Four linear maps from $H$ to $H$ channels, then a map out to $I$ channels and one back:
#   $4H^2+2HI$ multiply-adds a frame.
# * **Each frame with each frame.** Every frame is compared with every other, and then collects something from every other.
#   Both cost $H$ multiply-adds a pair: $2H$ for each of the $N^2$ pairs.
#
# Together: $N(4H^2 + 2HI) + 2N^2H$. The first part grows like $N$, the second like $N^2$. The package counts the same way,
# from the configuration alone, in `sewnp.costs`.

# %%
H, inside, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
assert (H, inside, layers) == (160, 640, 6)
alone, pair = 4 * H**2 + 2 * H * inside, 2 * H
assert (alone, pair) == (307_200, 320)

N = 74
by_name = {stage.name: stage for stage in stages(config, len(waveform), head="ctc")}
assert by_name["transformer, 6 layers"].multiply_adds == layers * (N * alone + N**2 * pair) == 146_910_720
print(f"one layer, {N} frames: {N * alone / 1e6:.1f} million alone, {N**2 * pair / 1e6:.2f} million in pairs")

# %% [markdown]
# For the digits model, a frame by itself costs 307,200 multiply-adds a layer, and a pair costs 320. In a clip of three
# seconds the pairs are a small part, 7 %. They catch up when $320 N = 307{,}200$, at $N = 960$ frames: 38 seconds of sound at
# the squeezed rate, but only 19 seconds at the full one.

# %%
seconds = np.linspace(1, 60, 200)
fig, ax = plt.subplots(figsize=(7.0, 3.0))
for rate, color, label in [(50, ORANGE, "50 frames/s"), (25, BLUE, "25 frames/s (squeezed)")]:
    n = rate * seconds
    ax.plot(seconds, (n * alone + n**2 * pair) / 1e6, color=color, label=label)
    ax.plot(
        seconds,
        n * alone / 1e6,
        color=color,
        linestyle=":",
        linewidth=1.0,
        label=f"{label}: frames alone",
    )
ax.set(
    xlabel="length of the clip (s)",
    ylabel="multiply-adds of one\nlayer (million)",
    xlim=(0, 60),
    ylim=(0, None),
)
ax.legend()
caption("What a layer costs at two frame rates. Dotted: what frames do alone; above it, what they do in pairs.")

share = N * pair / (alone + N * pair)
assert 0.07 < share < 0.075
assert alone / pair == 960
assert (960 / 25, 960 / 50) == (38.4, 19.2)

# %% [markdown]
# The dotted lines are the work that frames do alone, the gap above them is the work in pairs. Halving $N$ halves the first
# and quarters the second. So whatever the clip's length, **half the frames means less than half the work** in every layer:
# close to half for short clips, close to a quarter for very long ones.
#
# The pairs also need memory: each head (notebook 06) keeps several numbers for each pair for a moment. For a minute of sound
# through the digits model that is 549 MiB at 50 frames a second, and 137 at 25.

# %%
minute = 60 * 16000
mebibytes = [attention_bytes(replace(config, squeeze_factor=factor), minute) / 2**20 for factor in (1, 2)]
print("MiB for one layer's pairs, one minute:", [round(m) for m in mebibytes])
assert [round(m) for m in mebibytes] == [549, 137]

# %% [markdown]
# ## Neighbours say much the same
#
# Saving work by throwing away half of the input sounds dangerous. It is less so when frames come in similar pairs, and speech
# sounds last longer than 20 milliseconds. How similar are frames that stand $d$ frames apart? We take the cosine between
# them: 1 for two vectors of the same direction, 0 for directions that have nothing to do with each other. (The mean frame is
# subtracted first, since something that all frames share says nothing about similarity.)

# %%
x = frames[0] - frames[0].mean(axis=0)
unit = x / np.linalg.norm(x, axis=1, keepdims=True)
distances = np.arange(1, 26)
cosine = np.array([(unit[:-d] * unit[d:]).sum(axis=1).mean() for d in distances])

fig, ax = plt.subplots(figsize=(6.0, 2.4))
ax.plot(distances * 20, cosine, marker="o", markersize=3.5)
ax.axhline(0, color=plots.GREY, linewidth=0.8)
ax.set(xlabel="distance of the two frames (ms)", ylabel="mean cosine", ylim=(-0.2, 1))
caption("How alike two frames are, by how far they stand apart.")

print(f"neighbours {cosine[0]:.2f}, at 200 ms {cosine[9]:.2f}")
assert cosine[0] > 0.6
assert cosine[0] > 2 * abs(cosine[9])

# %% [markdown]
# Direct neighbours are much alike; at 200 milliseconds little of it is left. So how much survives when each pair is replaced by
# its mean? Take the sum of all squared values as the measure. As a control we also pair up frames at random.

# %%


def kept(pairs):
    """The share of the sum of squares that is left when both frames of each pair become their mean.  (N, 2, C)"""
    return float(2 * np.square(pairs.mean(axis=1)).sum() / np.square(pairs).sum())


neighbours = frames[0].reshape(-1, 2, 160)
shuffled = frames[0][np.random.default_rng(0).permutation(148)].reshape(-1, 2, 160)
print(f"neighbours: {kept(neighbours):.1%} kept, strangers: {kept(shuffled):.1%}")
assert 1 - kept(neighbours) < (1 - kept(shuffled)) / 2

# %% [markdown]
# Averaging neighbours loses far less of it than averaging strangers. So little is lost because neighbours are alike. That is no
# proof that the missing part did not matter. Only models trained both ways can show that. The paper compares such models; we have
# one.

# %% [markdown]
# ## Down: a mean
#
# Here is the squeeze as the package has it. It counts the full groups and takes the mean of each. (It also refuses a clip that has none;
# what only checks its arguments is left out here.)

# %%
show_source(sewnp.layers.squeeze, bare=True)

# %% [markdown]
# Four frames with one channel, holding 1, 3, 10 and 20, become the two means 2 and 15:

# %%
few = np.array([1.0, 3.0, 10.0, 20.0]).reshape(1, 4, 1)
assert sewnp.layers.squeeze(few, 2).ravel().tolist() == [2.0, 15.0]

assert np.array_equal(sewnp.layers.squeeze(frames, 2), pooled)  # the model does precisely this

# %% [markdown]
# In the network a second path runs beside the mean, from the same 148 frames to 74: a wide convolution that tells each
# squeezed frame about its surroundings. Its result is added to the mean. It is the subject of notebook 05.

# %% [markdown]
# ## Up: one frame makes two
#
# Why not simply read the tokens at 25 frames a second? Look at where the model writes the first word. Each frame has a
# probability for each token; the picture shows half a second of them, with lines at the borders of the squeezed frames.

# %%
probabilities = softmax(output.logits[0])
tokens = [model.tokenizer.token_of(i) for i in range(config.vocab_size)]

fig, ax = plt.subplots(figsize=(7.2, 2.6))
plots.plot_posteriors(probabilities[:36], tokens, seconds_per_frame=0.02, top=7, ax=ax)
ax.set_xlim(0.26, 0.72)
for border in np.arange(0.24, 0.76, 0.04):
    ax.axvline(border, color="#CCCCCC", linewidth=0.8, zorder=0)
caption("Half a second of probabilities. Between two grey lines lies a squeezed frame, in which two tokens can be written.")

path = "".join("·" if i == 0 else tokens[i] for i in output.logits[0].argmax(axis=1))
print(path)
start = next(i for i, token in enumerate(path) if token.isalpha())
end = start + len(path[start : path.index("|", start)].rstrip("·"))
touched = (end - 1) // 2 - start // 2 + 1
print(f"{path[start:end]}: frames {start} to {end - 1}, {touched} squeezed frames")
pairs = [path[i : i + 2] for i in range(0, 148, 2)]
print("squeezed frames in which two letters are written:", *(pair for pair in pairs if pair.isalpha() and pair[0] != pair[1]))
assert touched < len("THRE·E")
assert sum(pair.isalpha() and pair[0] != pair[1] for pair in pairs) >= 3

# %% [markdown]
# The printed line holds the likeliest token of each of the 148 frames, with a dot for the blank. Two E in a row need a blank
# between them (notebook 01), so THREE needs at least 6 frames: `THRE·E`. The model writes its first word within fewer squeezed
# frames than that. At one token per squeezed frame it could not write THREE there; it would have to spread its letters over a
# longer time.
#
# So the rate is restored before the tokens are read, and each squeezed frame has to make two different frames. A linear map
# widens it from 160 channels to 320; the first 160 are one frame and the other 160 the next.

# %%
show_source(sewnp.layers.upsample, bare=True)

# %% [markdown]
# Are the two halves really different? We can make them equal and see. The observer now *changes* what it is shown: it copies
# one half of the 320 channels over the other.

# %%


def text(logits):
    """What the likeliest tokens spell."""
    return model.tokenizer.decode(logits[0].argmax(axis=1))


def both_halves_from(half):
    def see(name, x):
        if name == "encoder.upsample.activation":
            chosen = x[..., 160 * half : 160 * (half + 1)]
            return np.concatenate([chosen, chosen], axis=-1)
        return x

    return see


inputs = model.features(waveform).input_values
first = model(inputs, see=both_halves_from(0)).logits
second = model(inputs, see=both_halves_from(1)).logits
print(f"both halves   {text(output.logits)}\nonly block 0  {text(first)}\nonly block 1  {text(second)}")

assert np.array_equal(first[0, 1::2].argmax(axis=1), output.logits[0, ::2].argmax(axis=1))
assert np.array_equal(second[0, ::2].argmax(axis=1), output.logits[0, 1::2].argmax(axis=1))
assert all(len(text(half)) < len(text(output.logits)) for half in (first, second))
assert text(first) != text(second)

# %% [markdown]
# The two halves share the work like two hands at a piano: letters that block 0 leaves out block 1 spells, and interleaved they
# give the words. The transformer has put two letters into one vector, and the upsampling takes them apart in the right order.
# Exchange the blocks, and the letters trade places in pairs:

# %%


def exchanged(name, x):
    if name == "encoder.upsample.activation":
        return np.concatenate([x[..., 160:], x[..., :160]], axis=-1)
    return x


swapped = model(inputs, see=exchanged).logits
print(text(swapped))
in_pairs = output.logits[0].argmax(axis=1).reshape(-1, 2)
assert np.array_equal(swapped[0].argmax(axis=1), in_pairs[:, ::-1].ravel())
assert text(swapped) != text(output.logits)

# %% [markdown]
# ## The odd tail
#
# 148 frames make 74 pairs. What if the number is odd?

# %%
fig, ax = plt.subplots(figsize=(7.2, 2.3))
for i in range(9):
    last = i == 8
    ax.add_patch(
        plt.Rectangle(
            (i + 0.04, 2.1),
            0.92,
            0.6,
            facecolor="white" if last else BLUE,
            edgecolor=BLUE,
            hatch="///" * last,
        )
    )
    ax.add_patch(plt.Rectangle((i + 0.04, 0.1), 0.92, 0.6, facecolor="white" if last else GREEN, edgecolor=GREEN))
    ax.text(i + 0.5, 2.4, f"{i}", ha="center", va="center", color="black" if last else "white",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5} if last else None)  # fmt: skip
    ax.text(
        i + 0.5,
        0.4,
        "0" if last else "block " + "01"[i % 2],
        ha="center",
        va="center",
        color="black" if last else "white",
        fontsize=8,
    )
for j in range(4):
    ax.add_patch(plt.Rectangle((2 * j + 0.04, 1.1), 1.92, 0.6, facecolor=ORANGE, edgecolor=ORANGE))
    ax.text(2 * j + 1, 1.4, f"mean of {2 * j}, {2 * j + 1}", ha="center", va="center", fontsize=8)
ax.set(
    xlim=(-0.1, 9.1),
    ylim=(0, 2.8),
    xticks=np.arange(10),
    xticklabels=[f"{20 * i}" for i in range(10)],
    xlabel="time (ms)",
)
ax.set_yticks([2.4, 1.4, 0.4], ["frames", "squeezed", "restored"])
ax.spines["left"].set_visible(False)
ax.tick_params(axis="y", length=0)
caption("Nine frames, four squeezed ones, and nine again, of which the last is zeros.")

# %% [markdown]
# Nine frames make four pairs, and the ninth frame (hatched) is dropped. Restoring gives eight frames. The ninth is filled
# with zeros, so that there are as many frames behind the transformer as before it. What does the model say about a frame of
# zeros? The tokens' scores are a linear map of the frame, $Wx + b$, and with $x = 0$ only the bias $b$ is left, *whatever was
# said*. (This last map is called the model's **head**, `lm_head`. The *heads* of an attention, in notebook 06, are something else.)

# %%
odd = read_audio(clips / "eight_six_seven.flac")
odd_output = model(model.features(odd).input_values)
assert odd_output.logits.shape[1] == 171  # 85 pairs and one over

bias = model.weights["lm_head"]["bias"]
assert not odd_output.last_hidden_state[0, -1].any()
assert np.array_equal(odd_output.logits[0, -1], bias)
assert np.array_equal(odd_output.logits[0, -1], model(model.features(np.roll(odd, 999)).input_values).logits[0, -1])
print("likeliest token of the last frame:", tokens[int(bias.argmax())])
assert bias.argmax() == config.pad_token_id  # the blank

# %% [markdown]
# The last frame's scores equal the bias of that map to the last bit, also after we have rotated the clip by 999 samples. In the
# digits model the bias prefers the blank, so the tail writes nothing and no harm is done: 20 milliseconds at the end of a
# recording rarely hold a letter. But nothing in the architecture forces a model's bias to prefer the blank. Whoever averages
# over all frames, as a classifier of whole clips does, averages the empty tail in. The original implementation (transformers
# 5.23) behaves in just this way, so the package does too.

# %% [markdown]
# ## The bill, before and after
#
# `sewnp.costs.stages` counts a model stage by stage. We ask it about three digits models that differ in their squeeze factor
# alone, for ten seconds of sound.

# %%


def bill(configuration, samples=160_000):
    """Million multiply-adds: convolutions before the squeeze, transformer layers, everything else."""
    parts = {"convolutions": 0.0, "transformer": 0.0, "rest": 0.0}
    for stage in stages(configuration, samples, head="ctc"):
        part = next((part for part in parts if stage.name.startswith(part[:-1])), "rest")
        parts[part] += stage.multiply_adds / 1e6
    return parts


def draw_bills(bills, ax, unit="million", scale=1.0):
    left = np.zeros(len(bills))
    for part, color in zip(["convolutions", "transformer", "rest"], [BLUE, ORANGE, GREEN], strict=True):
        widths = np.array([parts[part] / scale for parts in bills.values()])
        ax.barh(range(len(bills)), widths, left=left, color=color, label=part, height=0.6)
        left += widths
    for i, total in enumerate(left):
        ax.text(total, i, f"  {total:,.0f}" if scale == 1 else f"  {total:.1f}", va="center")
    ax.set_yticks(range(len(bills)), list(bills))
    ax.invert_yaxis()
    ax.set(xlabel=f"multiply-adds for ten seconds ({unit})", xlim=(0, left.max() * 1.12))
    ax.legend(loc="lower right")


bills = {f"squeeze factor {factor}": bill(replace(config, squeeze_factor=factor)) for factor in (1, 2, 4)}
draw_bills(bills, plt.subplots(figsize=(7.0, 2.2))[1])
caption("Ten seconds of sound through three models that differ in their squeeze factor alone.")

totals = [sum(parts.values()) for parts in bills.values()]
assert [round(total / 1000, 1) for total in totals] == [2.0, 1.2, 0.8]
transformer = [parts["transformer"] for parts in bills.values()]
assert 2.4 < transformer[0] / transformer[1] < 2.45
assert 1.70 < totals[0] / totals[1] < 1.72

# %% [markdown]
# With factor 2 the transformer needs 2.4 times fewer multiply-adds for these ten seconds, and the whole model 1.7 times
# fewer. The convolutions in front do not gain anything, since they run before the squeeze; in this small model they are a
# large part. Factor 4 would save less again, and it would have to put four letters into one vector.
#
# Is a multiply-add less also a second less? Try it. The next cell builds both models with random weights (how long a matrix
# product takes does not depend on the numbers in it) and times ten seconds of noise. Its output depends on your machine, so
# none is kept here.

# %% tags=["timing"]
noise = np.random.default_rng(0).normal(size=(1, 160_000)).astype(np.float32)
for factor in (1, 2):
    fresh = sewnp.from_config(replace(config, squeeze_factor=factor), seed=0, engine="textbook")
    took = []
    for _ in range(2):
        start = perf_counter()
        fresh(noise)
        took.append(perf_counter() - start)
    print(f"squeeze factor {factor}: {min(took):.2f} s")

# %% [markdown]
# The squeezed model should be faster on any machine. By how much is hard to predict: activations, norms and softmax cost time
# without a single multiply-add, small matrices run at a worse speed than large ones, and moving numbers to and from memory
# has a price of its own.

# %% [markdown]
# ## What the paper claims, and what can be seen here
#
# The abstract says that SEW "achieves a 1.9x inference speedup compared to wav2vec 2.0, with a 13.5% relative reduction in
# word error rate", when pre-trained on 960 hours of the LibriSpeech corpus and fine-tuned on 100 hours of them with
# transcripts. (The version of the abstract that appeared at ICASSP 2022 gives these two numbers to SEW-D, the relative of
# notebook 07.) Four things to unpack:
#
# * **wav2vec 2.0** (Baevski et al. 2020, arXiv 2006.11477) is the model that SEW sets out to improve. It has the same
#   outline, without a squeeze.
# * **Pre-trained** and **fine-tuned**: the training has two rounds. The first needs nothing but sound. Parts of a clip are
#   hidden, and the model learns to pick out, among several candidates, what was there. The second starts from the weights
#   found so, takes sound with transcripts, and trains the model to write.
# * **Word error rate**: wrong, missing and additional words, divided by the number of words that were said.
# * **Relative** reduction by 13.5 %: from 10 % to 8.65 %, say, not from 20 % to 6.5 %.
#
# The first claim has a side that can be counted. The package builds SEW, and a SEW with factor 1 and the convolutions of
# wav2vec 2.0 *is* wav2vec 2.0, but for the upsampling layer at the end. At factor 1 there is nothing to restore, but its projection and
# its activation are still there; wav2vec 2.0 reads its letters from the last transformer layer directly. Take the layer away and the
# parameters of its "base" size come out, all 94,396,320. (A test of this package goes further: it gives the weights of a
# `Wav2Vec2Model` of transformers to such a SEW, and finds the same numbers behind the last transformer layer.)

# %%
wav2vec2_base = sewnp.SEWConfig(
    conv_dim=(512,) * 7,
    conv_kernel=(10, 3, 3, 3, 3, 2, 2),
    conv_stride=(5, 2, 2, 2, 2, 2, 2),
    hidden_size=768,
    num_hidden_layers=12,
    intermediate_size=3072,
    num_conv_pos_embeddings=128,
    squeeze_factor=1,
)
counted = [stage for stage in stages(wav2vec2_base, 160_000, head="ctc") if stage.name != "upsampling"]
assert sum(stage.parameters for stage in counted) == 94_396_320
assert wav2vec2_base.hop == config.hop == 320

small = sewnp.preset("sew-small")
compared = {
    "wav2vec 2.0 base": bill(wav2vec2_base),
    "SEW-small, not squeezed": bill(replace(small, squeeze_factor=1)),
    "SEW-small": bill(small),
    "SEW-tiny": bill(sewnp.preset("sew-tiny")),
}
draw_bills(compared, plt.subplots(figsize=(7.2, 2.4))[1], unit="thousand million", scale=1000)
caption("The ancestor, and what SEW saves: cheaper convolutions, then a shorter transformer.")

base, plain, squeezed_small, tiny = (sum(parts.values()) / 1000 for parts in compared.values())
assert [round(x, 1) for x in (base, plain, squeezed_small, tiny)] == [74.4, 51.3, 26.4, 13.7]
assert round(compared["wav2vec 2.0 base"]["convolutions"] / 1000, 1) == 24.5
assert round(compared["SEW-small"]["convolutions"] / 1000, 1) == 3.3
assert 2.7 < base / squeezed_small < 2.9

# %% [markdown]
# SEW-small has the same transformer as wav2vec 2.0 base: twelve layers, 768 channels. It does 2.8 times less arithmetic, and
# the picture shows that the squeeze is only one of two savings. The other is in front: wav2vec 2.0 gives all its convolutions
# 512 channels, even at 3,200 frames a second, where SEW begins with 64 and widens as the rate falls. That brings 24.5
# thousand million multiply-adds down to 3.3.
#
# How many times less each published size has to do than the ancestor depends on the length of the clip, since pairs of frames count more
# and more. (SEW-D's attention has a table of positions to multiply with, however short the clip is: notebook 07.)

# %%
names = ("sew-tiny", "sew-small", "sew-mid", "sew-d-small", "sew-d-mid", "sew-d-base")
lengths = np.arange(2, 31)
ratios = {}
for name in names:
    there, here = (
        np.array([sum(bill(each, 16_000 * int(n)).values()) for n in lengths]) for each in (wav2vec2_base, sewnp.preset(name))
    )
    ratios[name] = there / here

fig, ax = plt.subplots(figsize=(7.0, 3.0))
for number, (name, line) in enumerate(ratios.items()):
    ax.plot(lengths, line, color=plots.COLORS[number % 3], linestyle="--" if "-d-" in name else "-")
    ax.text(30.4, line[-1], name, va="center", fontsize=8)
ax.axhline(1.9, color=plots.GREY, linewidth=1.0)
ax.text(24.0, 1.9, "the paper's speedup", va="bottom", fontsize=8)
ax.set(
    xlabel="length of the clip (s)",
    ylabel="wav2vec 2.0's\nmultiply-adds / model's",
    xlim=(2, 30),
    ylim=(0, 6),
)
caption("How many times less arithmetic than wav2vec 2.0 base each size needs. Dashed: SEW-D.")

at_ten = {name: float(line[lengths == 10][0]) for name, line in ratios.items()}
print("at ten seconds:", {name: round(ratio, 1) for name, ratio in at_ten.items()})
assert [round(ratio, 1) for ratio in at_ten.values()] == [5.4, 2.8, 1.5, 4.0, 2.2, 1.1]

# %% [markdown]
# At ten seconds the sizes lie between 1.1 and 5.4. SEW-mid has twice as many layers as the ancestor, and the squeeze pays for them.
# That is the arithmetic, exactly. Notebook 09 adds the time that two programs take for it. What we cannot see:
#
# * **The 1.9.** It was measured, with the authors' program on the authors' machines, between trained models whose word error rates were
#   compared as well. Ratios of multiply-adds that happen to lie near it are no confirmation.
# * **The 13.5 %.** That needs both models, trained alike for days on many processors, and a large test. Our digits model
#   cannot stand in: it was trained with a squeeze, so running it without one would only show that it does not expect that.
#
# And our four clips are far too few:

# %%
wrong = said = 0
for line in (clips / "manifest.tsv").read_text().splitlines():
    name, words = line.split("\t")
    words, heard = words.split(), model.transcribe(clips / name).text.split()
    right = sum(block.size for block in SequenceMatcher(None, words, heard).get_matching_blocks())
    wrong, said = wrong + max(len(words), len(heard)) - right, said + len(words)
    print(f"{name:22} {len(words)} words, {right} of them heard")
print(f"word error rate {wrong} / {said} = {wrong / said:.1%}")
assert said == 29
assert 0.135 * wrong < 1

# %% [markdown]
# With 13.5 % fewer errors it would not even be a word less. No test with 29 words can tell such models apart.

# %% [markdown]
# ## The answer
#
# A transformer layer's work grows with the number of frames, and in part with its square. Neighbouring frames of speech say much
# the same, so SEW replaces each pair by its mean and runs the whole transformer on half as many frames, for less than half of the
# work. Behind it a linear map widens each squeezed frame to twice the channels and cuts that into two frames, because the tokens
# need the full rate: THREE takes six frames, and gets them. The two halves of the map write different letters. Where the number
# of frames is odd, the last one is dropped, and zeros stand in its place.

# %% [markdown]
# ## Exercises
#
# Replace `raise NotImplementedError` and run the cell again; each check says what is wrong.
#
# **1. The squeeze.** The mean of every `factor` frames; frames that fill no group are dropped. (B, T, C) → (B, T // factor,
# C).

# %%


def my_squeeze(x, factor):
    raise NotImplementedError


attempt(check_squeeze, my_squeeze)

# %% [markdown]
# **2. Unfolding.** The last step of the upsampling, without its linear map: block $j$ of the channels becomes frame $j$ of
# the group, and zeros fill up to `frames`. (B, N, factor · H) → (B, frames, H).

# %%


def my_unfold(y, factor, frames):
    raise NotImplementedError


attempt(check_unfold, my_unfold)

# %% [markdown]
# **3. The bill.** The multiply-adds of one transformer layer with so many frames, hidden channels and channels inside.

# %%


def my_layer_cost(frames, hidden, intermediate):
    raise NotImplementedError


attempt(check_layer_cost, my_layer_cost)

# %% [markdown]
# ## Solutions

# %%


def solved_squeeze(x, factor):
    batch, frames, channels = x.shape
    groups = frames // factor
    return x[:, : groups * factor].reshape(batch, groups, factor, channels).mean(axis=2)


def solved_unfold(y, factor, frames):
    batch, squeezed, wide = y.shape
    unfolded = np.zeros((batch, frames, wide // factor), dtype=y.dtype)
    unfolded[:, : squeezed * factor] = y.reshape(batch, squeezed * factor, wide // factor)
    return unfolded


def solved_layer_cost(frames, hidden, intermediate):
    alone = 4 * hidden**2 + 2 * hidden * intermediate
    pairs = 2 * hidden
    return frames * alone + frames**2 * pairs


check_squeeze(solved_squeeze)
check_unfold(solved_unfold)
check_layer_cost(solved_layer_cost)

# %% [markdown]
# The reshape in `solved_unfold` moves no number. Row by row, an array (B, N, factor · H) lies in memory exactly as an array
# (B, N · factor, H) does: taking one squeezed frame apart into two frames is only another way of reading it.
