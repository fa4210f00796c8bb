# %% [markdown]
# # 11 · How the fast twin got fast
#
# > How can the same mathematics run two or three times as fast without leaving NumPy, and how do we know that it still is the same?
#
# **Read before:** notebooks 02 (strided convolutions), 03 (group norm and GELU), 06 and 07 (attention, with positions in 07).

# %%
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, show_source
from checks.fast import check_fold, check_line_up, check_tile_samples
from scipy.special import erfinv, ndtr

import sewnp
from sewnp import plots
from sewnp.fast import FastTrunk, kernels, one_blas_thread
from sewnp.fast.convolutions import pack_convolution, tiles
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import exponentials, gelu
from sewnp.fast.products import lay_out
from sewnp.fast.workspace import Workspace
from sewnp.layers import conv1d, group_norm, masked_softmax
from sewnp.networks import WindowMoments, convolution_moments, fold_norm
from sewnp.speech import read_audio

plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, *_ = plots.COLORS
samples = read_audio("../tests/clips/three_one_four.wav")

# %% [markdown]
# ## Twins
#
# The package can compute every model in two ways. The **textbook**, `sewnp/layers` and `sewnp/networks`, is written to be read,
# and it is what the other notebooks show. The **fast twin**, `sewnp/fast`, is written to be quick. `sewnp.load` gives you the
# twin unless you ask otherwise; you have used it in notebook 08 without noticing.
#
# A twin is worth something only if it is a twin. So before all tricks, the judge. Both compute in float32, and rounding makes
# them differ in the last digits. Which of them is right? Neither. We compute a third time in float64, which has nine digits more,
# call that the truth, and ask how far each is from it, as a fraction of the largest value.

# %%
book = sewnp.load("digits", engine="textbook")
fast = sewnp.load("digits", engine="fast", threads=2)
exact = sewnp.load("digits", dtype="float64")
waveform = book.features(samples).input_values


def error(found, truth):
    """The largest difference, as a fraction of the largest true value."""
    return float(np.abs(found - truth).max() / np.abs(truth).max())


truth = exact(waveform).last_hidden_state
for model in (book, fast):
    assert error(model(waveform).last_hidden_state, truth) < 4e-6  # PyTorch has 2.3e-6 on this clip
    print(model.engine, model.transcribe(samples).text)

# %% [markdown]
# Measured on the four clips of our tests: the textbook is off by 0.4 to 1.0e-6, the twin by 0.5 to 2.1e-6, PyTorch by 0.5 to
# 2.3e-6. That is what float32 costs, whoever does it. We shall hold every trick against the same judge: not "is it close to the
# textbook", but "is it as close to the truth as the textbook is".
#
# ## Where the time goes
#
# Nobody should make anything faster before having looked where the time goes. An observer (notebook 02) sees every stage pass, so
# a stopwatch is an observer that looks at the clock. It watched the size that was published as sew-tiny, 41 million parameters, with
# random weights, on ten seconds of noise. Where this notebook says *measured*, it was on two shared cores with AVX-512, NumPy 2.4,
# and the cells that measure are left without output: times differ from your machine to ours. On one core the textbook took 0.85 s:
#
# | | seconds | |
# |---|---|---|
# | GELU | 0.26 | 0.19 between the convolutions, 0.07 in the transformer |
# | feed-forward products | 0.18 | |
# | convolutions | 0.19 | the position convolution included |
# | attention | 0.15 | 0.06 of it between the products: scores, softmax |
# | norms | 0.06 | half of it the one group norm |
# | the rest | 0.01 | |
#
# GELU, which does not do a single multiply-add in our count (notebook 04), takes nearly a third of the time: between the products
# numbers are only fetched, bent a little and put back, and that is where NumPy loses. The products are done by **BLAS**, a library
# that has been tuned for decades. It looks as if nothing could be gained there. For long clips that is so.

# %% [markdown]
# ## The group norm that is not there
#
# No stage of the model gives out more numbers than the first convolution: for ten seconds, 32,000 frames of 64 channels. Its
# group norm (notebook 03) walks over it for the mean, again for the variance, again to subtract, to divide, to scale and to
# shift. And before it has walked to the end, nothing behind it can begin.
#
# But a convolution is linear. Channel $c$ at frame $t$ is a product of its kernel $w_c$ with a window $x_t$ of 10 samples:
#
# $$ y_c(t) = w_c \cdot x_t $$
#
# What is the mean of this over all frames? The kernel does not depend on $t$, so it can be taken out of the mean. With $m$ the
# mean of all windows, ten numbers:
#
# $$ \text{mean}_c = w_c \cdot m $$
#
# The variance is the mean square of what deviates from that, $w_c \cdot (x_t - m)$. A square is a product with itself, and again
# the kernel can be taken out, on both sides:
#
# $$ \text{variance}_c = \text{mean of } (w_c \cdot (x_t - m))\,((x_t - m) \cdot w_c) = w_c\,C\,w_c $$
#
# where $C$ is the mean of the 10 × 10 tables of products, the **covariance** of the windows. So ten numbers and a 10 × 10 table
# are all that group norm wants to know, and both can be measured on the waveform, before anything is convolved.

# %%
show_source(convolution_moments)

# %%
first = book.weights["sew"]["feature_extractor"]["conv_layers"][0]
windows = WindowMoments(kernel=10, stride=5)
for block in np.array_split(waveform[0], 7):  # in any pieces: windows over their edges are not lost
    windows.add(block)
mean, variance = convolution_moments(windows.mean, windows.covariance, **first["conv"])

wide = waveform[:, :, None].astype(np.float64)
convolved = conv1d(wide, first["conv"]["weight"].astype(np.float64), stride=5)
assert windows.count == convolved.shape[1] == 9519
assert [round(value, 2) for value in windows.covariance[0, [0, 1, 9]].tolist()] == [1.01, 0.93, 0.14]
assert np.allclose(mean, convolved[0].mean(axis=0), atol=1e-12)
assert np.allclose(variance, convolved[0].var(axis=0), rtol=1e-10)

# %% [markdown]
# What the norm then does to a channel, divide by the standard deviation, multiply by a learned scale $g_c$ and add a learned
# shift $b_c$, is linear too. So it can be done to the kernel instead, once, and to a bias:
#
# $$ \frac{w_c \cdot x_t - w_c \cdot m}{\sqrt{w_c C w_c + \varepsilon}}\,g_c + b_c = w'_c \cdot x_t + b'_c,
# \qquad w'_c = \frac{g_c}{\sqrt{w_c C w_c + \varepsilon}}\,w_c,\quad b'_c = b_c - w'_c \cdot m $$

# %%
show_source(fold_norm)

# %%
first_layer = book.weights["sew"]["feature_extractor"]["conv_layers"][0]
one_layer = pack_convolution(fold_norm(first_layer, (mean, variance)), stride=5)
cut = np.lib.stride_tricks.sliding_window_view(waveform[0], 10)[::5]  # (9519, 10)
ours = cut @ one_layer.kernel + one_layer.bias

norm = {name: value.astype(np.float64) for name, value in first["layer_norm"].items()}
normalised = group_norm(convolved, **norm, groups=32)[0]
textbook = group_norm(conv1d(waveform[:, :, None], first["conv"]["weight"], stride=5), **first["layer_norm"], groups=32)[0]
assert error(ours, normalised) < 5e-7
assert error(textbook, normalised) < 5e-7

# %% [markdown]
# No group norm is left. It has become a matter of 10 × 32 numbers that are multiplied once a clip. Measured on ten seconds of
# sew-tiny: 14 ms for the norm, 1.4 ms for the covariance. And there is a second gain: since the statistics are known before the
# convolution, a recording of an hour can be read twice, once for $m$ and $C$ and once for the words, without ever being in memory
# as a whole. `transcribe` does that with long recordings.

# %% [markdown]
# ## Tiles
#
# With the group norm gone, nothing in the convolutions looks further than its own few samples. So the clip can be cut into
# **tiles**: some frames of the *last* layer are chosen, and one asks backwards what they are made of. Frames $a$ to $b$ of a
# layer (the end not included) need the frames
#
# $$ a \cdot \text{stride} \quad\text{to}\quad (b - 1) \cdot \text{stride} + \text{kernel} $$
#
# of the layer before, and so on down to the samples. Where tiles meet, a few frames are computed twice: with the twin's tiles, whose
# largest activation has 2 MB, less than a thousandth. So memory does not grow with the clip, and threads can take turns at
# tiles without ever waiting for one another.

# %%
conv_layers = book.weights["sew"]["feature_extractor"]["conv_layers"]
packed = [pack_convolution(layer, stride) for layer, stride in zip(conv_layers, book.config.conv_stride, strict=True)]
assert tiles(499, packed, 2) == [(0, 249), (249, 499)]  # ten seconds, two threads

trunk = FastTrunk(book.config, book.weights["sew"], threads=2)
whole = trunk.frames(waveform)  # what the encoder is given, (1, T, H): tile by tile
kept = {}
exact(waveform, see=lambda name, x: kept.setdefault(name, x))
assert error(whole, kept["feature_projection"]) < 4e-6

# %% [markdown]
# The arrays for a tile are taken from a **workspace**, which keeps them from tile to tile and from call to call. Memory that is
# fresh from the operating system has to be cleared and mapped, page by page of 4 kB, at the first touch.

# %%
scratch = Workspace()
one = scratch.take("conv 0", (1000, 64))
other = scratch.take("conv 0", (500, 128))
assert np.shares_memory(one, other)

# %% [markdown]
# ## GELU by a fitted error function
#
# Now the largest item. GELU is $x\,\Phi(x) = \frac{x}{2}\,(1 + \mathrm{erf}(x/\sqrt 2))$. SciPy's `erf` takes 15 nanoseconds a
# number, for it is computed one number at a time. NumPy's `tanh` takes 0.4, since NumPy computes 16 at a time with the AVX-512
# instructions of this processor. The two functions have the same S shape. How alike are they? We solve for the $f$ that makes
# them equal:
#
# $$ \mathrm{erf}(x/\sqrt 2) = \tanh(x\,f(x^2)) \qquad\Longleftrightarrow\qquad f(x^2) = \frac{\mathrm{artanh}(\mathrm{erf}(x/\sqrt 2))}{x} $$
#
# Both sides are odd, so $f$ depends on $z = x^2$ alone.

# %%
share = np.linspace(0.001, 0.999999, 2000)  # values of erf
at = np.sqrt(2) * erfinv(share)
f = np.arctanh(share) / at

line = np.sqrt(2 / np.pi) * (1 + 0.044715 * at**2)
assert round(float(f[0]), 4) == round(np.sqrt(2 / np.pi), 4) == 0.7979
assert 0.0005 < np.abs(line / f - 1)[at < 2].max() < 0.001  # a thousandth, for most of what occurs

# %% [markdown]
# $f$ begins at $\sqrt{2/\pi}$ and is nearly straight. (Take a straight line and you have the popular tanh
# version of notebook 03, which is off by 5e-4.) The twin adds one small fraction to the line, so that six constants are enough
# for float32:

# %%
show_source(gelu)

# %% [markdown]
# Fifteen simple passes in place of one slow one. `out=` writes each result over an old one, so no memory is taken. How exact is
# it?

# %%
x32 = np.linspace(-8, 8, 200_001).astype(np.float32)
x64 = x32.astype(np.float64)
true_gelu = x64 * ndtr(x64)


def fitted(x):
    """The twin's GELU, on a copy."""
    y = np.array(x, dtype=np.float32, order="C")
    gelu(y, scratch, 0)
    return y


assert np.abs(fitted(x32) - true_gelu).max() < 1.2e-6

# %% [markdown]
# Below 1.2e-6, the error of PyTorch's own GELU. Measured, the first layer of sew-tiny takes 10 ms in place of 50.
#
# Is a largest error of 1.2e-6 a good measure? It was ours at first, and a mistake. $\mathrm{gelu}(x) - x/2$ is even and smooth, and a
# polynomial in $z$ can be fitted to it with an error that is nowhere larger than 6e-7. But for it an $x$ of 1e-4 is worth no more
# care than one of 5:

# %%
LIMIT = 5.5  # beyond it, gelu(x) is x or 0 to float32
nodes = np.linspace(0, LIMIT, 4001)
even_part = np.polynomial.Chebyshev.fit(nodes**2, nodes * ndtr(nodes) - nodes / 2, 15, domain=[0, LIMIT**2])
absolute = (x64 / 2 + np.where(np.abs(x64) < LIMIT, even_part(np.minimum(np.abs(x64), LIMIT) ** 2), np.abs(x64) / 2)).astype(
    np.float32
)
assert np.abs(absolute - true_gelu).max() < 1.2e-6  # as good, on paper

small = np.logspace(-5, -1, 400).astype(np.float32)
true_small = small.astype(np.float64) * ndtr(small.astype(np.float64))
by_absolute = small / 2 + even_part(small.astype(np.float64) ** 2)
relative = np.abs(by_absolute - true_small) / true_small
assert (np.abs(fitted(small) - true_small) < 5e-7 * true_small).all()
assert float(fitted(np.float32([0]))[0]) == 0

figure, ax = plt.subplots(figsize=(6.4, 2.5))
ax.axhspan(1e-8, 5e-7, color=BLUE, alpha=0.25, linewidth=0)
ax.annotate("rounding of float32: in here is the twin's fit, everywhere", (1.3e-5, 6e-8), fontsize=8)
ax.loglog(small, relative, color=ORANGE, label="fit of the absolute error")
ax.set(xlabel="x", ylabel="relative error of GELU(x)", xlim=(1e-5, 0.1), ylim=(1e-8, 1e-1), title="small numbers need small errors")
ax.legend()
plt.show()

# %% [markdown]
# In a model whose activations are a hundred times smaller than usual, that fit was 200 times worse than SciPy's erf behind thirteen
# convolutions, and on our clips as good. The twin's was made for the error of $\Phi(x)\max(|x|, 1)$: relative where $x$ is small,
# absolute where it is large.
#
# ## Softmax, and its division afterwards
#
# Attention (notebook 06) turns a row of scores $s_j$ into probabilities and takes the mean of the values with them:
#
# $$ \sum_j \frac{e^{s_j}}{\Sigma}\,v_j = \frac{1}{\Sigma} \sum_j e^{s_j}\,v_j, \qquad \Sigma = \sum_j e^{s_j} $$
#
# The sum $\Sigma$ is one number for the whole row, so it does not matter whether we divide before or after. Before, there are $N$
# numbers in a row to be divided, one for each frame; after, there are as many as a value has channels, 64 in sew-tiny. At 40 ms a
# frame, ten seconds are 250.

# %%
show_source(exponentials)

# %%
kept.clear()
book(waveform, see=lambda name, x: kept.setdefault(name, x))
attention = "encoder.layers.0.attention."
q, k, v = (kept[attention + name][0] for name in "qkv")  # (heads, N, d)
scores = kept[attention + "scores"][0]
late = scores.copy()
total = exponentials(late, None)
context = (late @ v) / total

true_scores = scores.astype(np.float64)
true_context = masked_softmax(true_scores, None) @ v.astype(np.float64)
assert error(context, true_context) < 1e-6
assert error(masked_softmax(scores, None) @ v, true_context) < 1e-6

# %% [markdown]
# That the largest score of the row is subtracted first remains: without it, $e^{100}$ is infinite in float32. `attend` does this
# for a block of queries at a time, so that in a long clip no table of all frames by all frames is made. The queries come divided
# by the scores' scale, which was done once, to the weights that make them. So was the stacking: queries, keys and values are made
# by one product, not three.

# %% [markdown]
# ## Positions without gathering
#
# SEW-D adds to every score something that depends on how far query and key are apart (notebook 07). The textbook multiplies each
# query with the embedding of each distance, and then *gathers*: for every pair it looks up which of these products it needs.
# Looking up cannot be done 16 at a time.
#
# But what is it that is looked up? Line up the distances from $N - 1$ down to $1 - N$. Query 0 stands first: it needs the
# distances $0, -1, -2, \dots$, in the product's row from the middle to the right end. Query 1 needs $1, 0, -1, \dots$: its own
# row, one place earlier. So row by row the window moves to the left by one. In a picture, for six frames:

# %%
N = 6
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5), gridspec_kw={"width_ratios": [11, 6]})
distance = np.tile(np.arange(N - 1, -N, -1), (N, 1))  # (6, 11): what stands in each row of the product
limits = {"cmap": "PuOr", "vmin": 1 - N, "vmax": N - 1}
axes[0].imshow(distance, **limits)
for a in range(N):
    axes[0].add_patch(plt.Rectangle((N - 1 - a - 0.5, a - 0.46), N, 0.92, fill=False, edgecolor=plots.COLORS[6], linewidth=1.4))
step, item = distance.strides
moving = np.lib.stride_tricks.as_strided(distance[0, N - 1 :], (N, N), (step - item, item))
axes[1].imshow(moving, **limits)
for ax, table, title in ((axes[0], distance, "query times distance"), (axes[1], moving, "query times key")):
    for (a, j), value in np.ndenumerate(table):
        ax.text(j, a, value, ha="center", va="center", fontsize=7.5, color="white" if abs(value) > 3 else "black")
    ax.set(title=title, ylabel="query", xticks=[], yticks=range(N))
    ax.tick_params(length=0)
axes[0].set(xlabel="distances in order, and each query's window")
axes[1].set(xlabel="key")
plt.show()

i, j = np.arange(N)[:, None], np.arange(N)
assert np.array_equal(moving, i - j)
assert np.shares_memory(moving, distance)  # nothing was copied

# %% [markdown]
# An array is a piece of memory and a rule for walking in it, its **strides**: so many bytes to the next column, so many to the
# next row. The picture on the right is the memory of the left one with another rule. To the next row it goes one number less far
# than a row is long. A matrix read with a row stride one short *is* the table of distances, and nothing has been looked up. For the
# first of SEW-D's two terms that took 1.8 ms in place of 4.5, on 250 frames. (The key's part is the same with the roles exchanged,
# and read transposed.)
#
# ## The products, after all
#
# One second of sound is 25 frames in the transformer. A product of 25 rows with a matrix of 512 x 2048 numbers is 52 million
# floating point operations, and one core of ours does 200 thousand million a second when its numbers are at hand. It should take a
# quarter of a millisecond. It takes more than four times as long. Where is the time?
#
# Before BLAS multiplies it **packs**: it copies both operands into an order in which its innermost loop finds the next number
# right behind the last. For a large product that is nothing, since each copied number is used hundreds of times. For 25 rows, each
# number of the weight is used 25 times, and copying it costs as much as using it. And the weight is the same at every call!
#
# BLAS cannot know that, and offers no way to tell it. But OpenBLAS has a second way: its AVX-512 kernels multiply *without* packing
# where rows times columns times inputs are at most a million. So the twin makes small products out of the large one. Each
# weight is laid out once, in blocks of 32 columns; the frames come in chunks; and one call of `np.matmul` multiplies every chunk
# with every block.

# %%
weight = np.random.default_rng(2).normal(size=(2048, 512)).astype(np.float32)
blocks = lay_out(weight, "blocks")
print(blocks.blocks.shape)
assert blocks.blocks.shape == (2048 // 32, 512, 32)
assert 1_000_000 // (512 * 32) == 61  # frames of a chunk
assert np.array_equal(blocks.weight(), weight)  # the same numbers in another order: nothing is lost

x = np.random.default_rng(3).normal(size=(100, 512)).astype(np.float32)
found = np.empty((100, 2048), np.float32)
blocks.multiply(x, found, scratch, 0)
true_product = x.astype(np.float64) @ weight.T.astype(np.float64)
assert error(found, true_product) < 1e-6
assert error(x @ weight.T, true_product) < 1e-6

# %% tags=["timing"]
weights = [np.random.default_rng(seed).normal(size=(2048, 512)).astype(np.float32) for seed in range(8)]
print(kernels())
with one_blas_thread():
    for rows in (25, 50, 250):
        x, out = np.ones((rows, 512), np.float32), np.empty((rows, 2048), np.float32)
        for layout in ("plain", "blocks"):
            laid = [lay_out(weight, layout) for weight in weights]
            times = []
            for _ in range(3):
                begin = perf_counter()
                for each in laid:
                    each.multiply(x, out, scratch, 0)
                times.append(perf_counter() - begin)
            print(f"{rows} frames, {layout}: {16e-9 * rows * 512 * 2048 / min(times):.0f} GFLOP/s")

# %% [markdown]
# Measured on one core with AVX-512, twelve weights of a model one after the other: 45 thousand million operations a second
# become 80 with 25 frames, 65 become 95 with 50, 91 become 100 with 250. With older kernels small products gain nothing, and the weights
# stay as they are stored. Which of the two it is, the kernel's *name* decides. A stopwatch would decide differently on a busy
# afternoon, and the same machine shall compute the same bits every day.
#
# Where blocks are used, nobody keeps the weights beside them: layer by layer they give way, and `model.weights` is put
# together again when you ask for it.
#
# ## The lock
#
# Two cores should take half the time. Python has a lock: only the thread that holds it can run Python. NumPy lets go of it while it
# computes, so two threads can compute at once. But at the end of every call a thread wants it back. If the other holds it just then,
# the thread has to *sleep*, and waking it takes the operating system ten microseconds or more. If a call takes one microsecond, threads
# do nothing but meet at that door. If it takes twenty, they seldom meet. So `gelu` works in blocks of 131,072 numbers: long enough for
# the lock, short enough for the core's own cache.
# Measured on two million numbers: 9.7 ms on one thread and 18 on two in blocks of 4,096, and 6.2 and 6.6 in blocks of 131,072.
#
# In the transformer each thread of the **crew** has some heads, and some columns of the feed-forward: a matrix product can be
# cut in the middle and its parts be summed. Between wait and wait everyone works alone.

# %%
crew, rng = Crew(2), np.random.default_rng(1)
x, up, down = (rng.normal(size=shape) for shape in ((7, 20), (20, 80), (80, 20)))
parts = np.empty((2, 7, 20))


def half_of_the_columns(rank):
    mine = crew.share(80, rank)
    parts[rank] = np.tanh(x @ up[:, mine]) @ down[mine]
    crew.wait(rank)  # from here on, all parts are there


crew.run(half_of_the_columns)
assert np.allclose(parts.sum(axis=0), np.tanh(x @ up) @ down)

# %% [markdown]
# For a short clip that no longer pays: with the quicker products, a second of sew-tiny takes as long on two threads as on one,
# since each of some fifty calls a layer wants the lock back. So a clip whose layers have less than 50 million multiply-adds has one
# thread. Two threads find enough to do all the same where there are many clips: `transcribe_many` lays the frames of
# neighbours end to end, a matrix of some hundred rows for every product, and each thread has such a group for itself. The clips
# meet in products alone; positions and attention see them one by one:

# %%
thirds = np.array_split(waveform[0], 3)
alone = [exact(part[None]).last_hidden_state[0] for part in thirds]
for part, state in zip(FastTrunk(book.config, book.weights["sew"], threads=2).together(thirds), alone, strict=True):
    assert error(part, state) < 4e-6

# %% [markdown]
# One trap is left. BLAS has threads of its own, as many as there are cores, and starts them for every product. With two Python
# threads that both call it, four compete for two cores. So BLAS is held to one thread for each of ours while we compute
# (`one_blas_thread`). The order of a sum changes its rounding, so one thread and two need not agree to the last bit; but both must
# be as near to the truth:

# %%
for name in ("digits", "digits-d"):
    exactly = sewnp.load(name, dtype="float64")(waveform)
    for threads in (1, 2):
        found = sewnp.load(name, engine="fast", threads=threads)(waveform)
        assert error(found.last_hidden_state, exactly.last_hidden_state) < 4e-6
        assert (found.logits.argmax(axis=-1) == exactly.logits.argmax(axis=-1)).all()

# %% [markdown]
# ## All together
#
# Measured on one thread, sew-tiny, milliseconds, before and after the products learned not to be copied: 36 and 24 for a second, 50
# and 37 for two, 190 and 180 for ten. The textbook takes two to three times as long.

# %% [markdown]
# ## The answer
#
# By taking away what is no computation. A norm over time is told in advance from the covariance of ten samples, and disappears in a
# kernel. erf is rebuilt from a tanh that the processor does 16 at a time, fitted so that its error shrinks with the number. A softmax
# divides where there is less to divide, a gather becomes a stride, weights lie as the multiplication wants them and are not copied
# each time. Threads get few and long calls, and clips of their own where calls are short, because the lock between them is what they
# lose their time at. And at each of these steps the judge is the same computation in float64.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read.
#
# **1. The fold.** `kernel` (C, K) are the channels' kernels, `mean` (K,) and `covariance` (K, K) those of the windows, `scale`
# and `shift` (C,) what the norm has learned. Return the kernel and the bias with the norm inside.

# %%


def my_fold(kernel, mean, covariance, scale, shift, eps):
    raise NotImplementedError


attempt(check_fold, my_fold)

# %% [markdown]
# **2. What a tile is made of.** `kernels` and `strides` are those of the layers, the first layer first. Which samples do the
# frames `first` to `last - 1` of the last layer need? Return where they start, and the place behind the last.

# %%


def my_tile_samples(first, last, kernels, strides):
    raise NotImplementedError


attempt(check_tile_samples, my_tile_samples)

# %% [markdown]
# **3. The moving window.** `product` is (R, R + W - 1). Row $a$ of the result is row $a$ of the product, from column $R - 1 - a$
# on, $W$ numbers. Loops are fine; so is indexing, and so is `np.lib.stride_tricks.as_strided`.

# %%


def my_line_up(product):
    raise NotImplementedError


attempt(check_line_up, my_line_up)

# %% [markdown]
# ## Solutions

# %%


def fold_solution(kernel, mean, covariance, scale, shift, eps):
    variance = ((kernel @ covariance) * kernel).sum(axis=1)  # w C w of each channel
    kernel = kernel * (scale / np.sqrt(variance + eps))[:, None]
    return kernel, shift - kernel @ mean


check_fold(fold_solution)

# %%


def tile_samples_solution(first, last, kernels, strides):
    for kernel, stride in zip(kernels[::-1], strides[::-1], strict=True):
        first, last = first * stride, (last - 1) * stride + kernel
    return first, last


check_tile_samples(tile_samples_solution)

# %%


def line_up_solution(product):
    rows = len(product)
    width = product.shape[1] - rows + 1
    step, item = product.strides
    return np.lib.stride_tricks.as_strided(product[0, rows - 1 :], (rows, width), (step - item, item))


check_line_up(line_up_solution)
