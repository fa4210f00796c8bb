# %% [markdown]
# # 11 · How the fast twin got fast
#
# > How can the same mathematics run two or three times as fast without leaving NumPy, and how do we know that it still is the same?
#
# **Read before:** notebooks 02 (strided convolutions), 03 (group norm and GELU), 06 and 07 (attention, with positions in 07).

# %% tags=["setup"]
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, show_source
from checks.fast import check_fold, check_line_up, check_tile_samples
from matplotlib.colors import ListedColormap
from scipy.special import erfinv, ndtr

import sewnp
from sewnp import plots
from sewnp.fast import FastTrunk, kernels, one_blas_thread
from sewnp.fast.convolutions import pack_convolution, tiles
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import exponentials, gelu, twice_phi
from sewnp.fast.products import lay_out
from sewnp.fast.workspace import Workspace
from sewnp.layers import conv1d, group_norm, masked_softmax
from sewnp.networks import WindowMoments, convolution_moments, fold_norm
from sewnp.speech import read_audio

plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, *_ = plots.COLORS
samples = read_audio("../tests/clips/three_one_four.wav")
book = sewnp.load("digits", engine="textbook")
fast = sewnp.load("digits", engine="fast", threads=2)
exact = sewnp.load("digits", dtype="float64")
waveform = book.features(samples).input_values
scratch = Workspace()  # arrays that the twin uses again from call to call

# %% [markdown]
# ## Twins
#
# The package computes every model in two ways. The **textbook**, `sewnp/layers` and `sewnp/networks`, is written to be read: it is
# what the other notebooks show. The **fast twin**, `sewnp/fast`, is written to be quick, and it is what `sewnp.load` gives you.
#
# First of all, the judge. Both compute in float32 and round differently in the last digits, so neither is right. We compute a third
# time in float64, call that the truth, and ask how far each is from it, as a fraction of the largest value.


# %%
def error(found, truth):
    """The largest difference, as a fraction of the largest true value."""
    return float(np.abs(found - truth).max() / np.abs(truth).max())


truth = exact(waveform).last_hidden_state
for model in (book, fast):
    assert error(model(waveform).last_hidden_state, truth) < 4e-6
assert fast.transcribe(samples).text == book.transcribe(samples).text

# %% [markdown]
# On the clips of our tests the textbook, the twin and PyTorch are off by one or two millionths: that is what float32 costs, whoever
# does it. Each trick below has to be as close to the truth as the textbook is.
#
# ## Where the time goes
#
# An observer (notebook 02) sees every stage pass, so a stopwatch is an observer that looks at the clock. It watched the textbook
# compute sew-tiny, 41 million parameters, on one core. (*Measured* means here: two cores with AVX-512, NumPy 2.4. Cells that measure
# are left without output, since your times differ.)

# %%
seconds = {"GELU": 0.26, "feed-forward products": 0.18, "convolutions": 0.19, "attention": 0.15, "norms": 0.06, "the rest": 0.01}
_, ax = plt.subplots(figsize=(6.4, 1.7))
ax.barh(list(seconds), list(seconds.values()), color=[ORANGE, BLUE, BLUE, BLUE, ORANGE, plots.GREY])
ax.invert_yaxis()
ax.set(xlabel="seconds, for ten seconds of sound")
caption("The textbook's time, measured. Blue is mostly matrix products; orange has none.")

# %% [markdown]
# GELU, in which our count found not one multiply-add (notebook 04), takes nearly a third: between the products numbers are only fetched,
# bent a little and put back, and there NumPy loses. The products are done by **BLAS**, a library tuned for decades. It
# looks as if nothing could be gained there. For long clips that is so.
#
# ## The group norm that is not there
#
# No stage gives out more numbers than the first convolution: for ten seconds, 32,000 frames of 64 channels. Its group norm walks
# over them six times, and before the first walk has ended nothing behind it can begin.
#
# But a convolution is linear. Channel $c$ at frame $t$ is its kernel $w_c$ times a window $x_t$ of 10 samples, and the kernel, which
# does not depend on $t$, can be taken out of the mean over time, and twice out of the mean square:
#
# $$ y_c(t) = w_c \cdot x_t, \qquad \text{mean}_c = w_c \cdot m, \qquad \text{variance}_c = w_c\,C\,w_c $$
#
# Here $m$ is the mean of all windows, ten numbers, and $C$ their **covariance**, the mean of the 10 × 10 products of what
# deviates from $m$. Both are measured on the waveform, before anything is convolved. What the norm then does, with a
# learned scale $g_c$ and shift $b_c$, is linear too, and can be done to the kernel, once a clip:
#
# $$ \frac{w_c \cdot x_t - w_c \cdot m}{\sqrt{w_c C w_c + \varepsilon}}\,g_c + b_c = w'_c \cdot x_t + b'_c,
# \qquad w'_c = \frac{g_c}{\sqrt{w_c C w_c + \varepsilon}}\,w_c,\quad b'_c = b_c - w'_c \cdot m $$

# %%
show_source(convolution_moments, fold_norm)

# %%
first = book.weights["sew"]["feature_extractor"]["conv_layers"][0]
windows = WindowMoments(kernel=10, stride=5)
for block in np.array_split(waveform[0], 7):  # in any pieces: windows over their edges are not lost
    windows.add(block)
moments = convolution_moments(windows.mean, windows.covariance, **first["conv"])
folded = pack_convolution(fold_norm(first, moments), stride=5)
ours = np.lib.stride_tricks.sliding_window_view(waveform[0], 10)[::5] @ folded.kernel + folded.bias

convolved = conv1d(waveform[:, :, None].astype(np.float64), first["conv"]["weight"].astype(np.float64), stride=5)
normalised = group_norm(convolved, **{k: v.astype(np.float64) for k, v in first["layer_norm"].items()}, groups=32)[0]
textbook = group_norm(conv1d(waveform[:, :, None], first["conv"]["weight"], stride=5), **first["layer_norm"], groups=32)[0]
assert np.allclose(moments[0], convolved[0].mean(axis=0), atol=1e-12)
assert np.allclose(moments[1], convolved[0].var(axis=0), rtol=1e-10)
assert error(ours, normalised) < 5e-7
assert error(textbook, normalised) < 5e-7

# %% [markdown]
# Measured on ten seconds of sew-tiny: 14 ms for the norm, 1.4 ms for the covariance. And an hour of sound can be read twice,
# once for $m$ and $C$ and once for the words, and never be in memory as a whole.
#
# With the norm gone, nothing in the convolutions looks further than its own few samples. So the clip is cut into **tiles**: some
# frames of the last layer, and backwards what they are made of. Frames $a$ to $b$ of a layer (the end not included) need the
# frames $a \cdot \text{stride}$ to $(b - 1) \cdot \text{stride} + \text{kernel}$ of the layer before. Where tiles
# meet, less than a thousandth is computed twice; memory does not grow with the clip, and threads take turns without waiting.

# %%
conv_layers = book.weights["sew"]["feature_extractor"]["conv_layers"]
packed = [pack_convolution(layer, stride) for layer, stride in zip(conv_layers, book.config.conv_stride, strict=True)]
assert tiles(499, packed, 2) == [(0, 249), (249, 499)]  # ten seconds, two threads

trunk = FastTrunk(book.config, book.weights["sew"], threads=2)
kept = {}
exact(waveform, see=lambda name, x: kept.setdefault(name, x))
assert error(trunk.frames(waveform), kept["feature_projection"]) < 4e-6

# %% [markdown]
# ## GELU by a fitted error function
#
# GELU is $x\,\Phi(x) = \frac{x}{2}\,(1 + \mathrm{erf}(x/\sqrt 2))$. SciPy's `erf` takes 15 nanoseconds a number, one at a time;
# NumPy's `tanh` takes 0.4, 16 at a time. Both have the same S shape. We solve for the $f$ that makes them equal:
#
# $$ \mathrm{erf}(x/\sqrt 2) = \tanh(x\,f(x^2)) \qquad\Longleftrightarrow\qquad f(x^2) = \frac{\mathrm{artanh}(\mathrm{erf}(x/\sqrt 2))}{x} $$

# %%
share = np.linspace(0.001, 0.999999, 2000)  # values of erf
at = np.sqrt(2) * erfinv(share)
f = np.arctanh(share) / at
line = np.sqrt(2 / np.pi) * (1 + 0.044715 * at**2)
assert 0.0005 < np.abs(line / f - 1)[at < 2].max() < 0.001  # a thousandth, for most of what occurs

# %% [markdown]
# $f$ is nearly straight in $x^2$. (A straight line gives the popular tanh version of notebook 03, off by 5e-4.) The twin adds one
# small fraction, so that six constants are enough for float32:

# %%
show_source(twice_phi)

# %% [markdown]
# With the rest of GELU that is some fifteen quick passes for one slow one: measured, 10 ms in place of 50 for sew-tiny's first layer.
#
# Its largest error is PyTorch's, 1.2e-6. Is that a good measure? It was ours at first, and a mistake: $\mathrm{gelu}(x) - x/2$ is
# even and smooth, and a polynomial in $x^2$ is nowhere further from it than 6e-7. But for that fit an $x$ of 1e-4 is worth no
# more care than one of 5:


# %%
def fitted(x):
    """The twin's GELU, on a copy."""
    y = np.array(x, dtype=np.float32, order="C")
    gelu(y, scratch, 0)
    return y


x = np.linspace(-8, 8, 200_001).astype(np.float32)
assert np.abs(fitted(x) - x.astype(np.float64) * ndtr(x.astype(np.float64))).max() < 1.2e-6

nodes = np.linspace(0, 5.5, 4001)
even_part = np.polynomial.Chebyshev.fit(nodes**2, nodes * ndtr(nodes) - nodes / 2, 15, domain=[0, 5.5**2])
assert np.abs(nodes / 2 + even_part(nodes**2) - nodes * ndtr(nodes)).max() < 1.2e-6  # as good, on paper

small = np.logspace(-5, -1, 400).astype(np.float32)
exactly_small = small.astype(np.float64) * ndtr(small.astype(np.float64))
relative = np.abs(small / 2 + even_part(small.astype(np.float64) ** 2) - exactly_small) / exactly_small
assert (np.abs(fitted(small) - exactly_small) < 5e-7 * exactly_small).all()

figure, ax = plt.subplots(figsize=(6.4, 2.3))
ax.axhspan(1e-8, 5e-7, color=BLUE, alpha=0.25, linewidth=0)
ax.annotate("rounding of float32: in here is the twin's fit, everywhere", (1.3e-5, 6e-8), fontsize=8)
ax.loglog(small, relative, color=ORANGE, label="fit of the absolute error")
ax.set(xlabel="x", ylabel="relative error of GELU(x)", xlim=(1e-5, 0.1), ylim=(1e-8, 1e-1))
ax.legend()
caption("Two fits with the same largest error. Small numbers need small errors.")

# %% [markdown]
# In a model of small activations that fit was 200 times worse than SciPy's erf behind thirteen convolutions; on our clips one saw
# nothing. The twin's was made for the error of $\Phi(x)\max(|x|, 1)$: relative where $x$ is small, absolute where it is large.
#
# ## Softmax, divided afterwards
#
# Attention turns a row of scores $s_j$ into probabilities and takes the mean of the values with them:
#
# $$ \sum_j \frac{e^{s_j}}{\Sigma}\,v_j = \frac{1}{\Sigma} \sum_j e^{s_j}\,v_j, \qquad \Sigma = \sum_j e^{s_j} $$
#
# Divided before, that is one number for each frame, 250 for ten seconds; afterwards, one for each channel of a value, 64.

# %%
show_source(exponentials)

# %%
kept.clear()
book(waveform, see=lambda name, x: kept.setdefault(name, x))
scores, v = (kept["encoder.layers.0.attention." + name][0] for name in ("scores", "v"))  # (heads, N, N), (heads, N, d)
late = scores.copy()
total = exponentials(late, None)  # in place: exp(score - the row's largest); and the rows' sums

true_context = masked_softmax(scores.astype(np.float64), None) @ v.astype(np.float64)
assert error((late @ v) / total, true_context) < 1e-6
assert error(masked_softmax(scores, None) @ v, true_context) < 1e-6

# %% [markdown]
# ## Positions without gathering
#
# SEW-D adds to every score something that depends on how far query and key are apart (notebook 07). The textbook multiplies each
# query with the embedding of each distance, and then *gathers*: it looks up, pair by pair, which of these products it needs. That
# cannot be done 16 at a time. But line up the distances from $N - 1$ down to $1 - N$. Query 0 needs $0, -1, -2, \dots$, the
# right end of its row of products; query 1 needs $1, 0, -1, \dots$, one place earlier in its own:

# %%
N = 6
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.3), gridspec_kw={"width_ratios": [11, 6]})
distance = np.tile(np.arange(N - 1, -N, -1), (N, 1))  # (6, 11): what stands in each row of the product
step, item = distance.strides
moving = np.lib.stride_tricks.as_strided(distance[0, N - 1 :], (N, N), (step - item, item))
for ax, table, title in ((axes[0], distance, "query times distance"), (axes[1], moving, "query times key")):
    ax.imshow(table, cmap="PuOr", vmin=1 - N, vmax=N - 1)
    for (a, j), value in np.ndenumerate(table):
        ax.text(j, a, value, ha="center", va="center", fontsize=7.5, color="white" if abs(value) > 3 else "black")
    ax.set(title=title, ylabel="query", xticks=[], yticks=range(N))
    ax.tick_params(length=0)
for a in range(N):
    axes[0].add_patch(plt.Rectangle((N - 1 - a - 0.5, a - 0.46), N, 0.92, fill=False, edgecolor=plots.COLORS[6], linewidth=1.4))
caption("Six frames. The right table is the left one's memory, read with rows that are one number short.")

i, j = np.arange(N)[:, None], np.arange(N)
assert np.array_equal(moving, i - j)
assert np.shares_memory(moving, distance)  # nothing was copied

# %% [markdown]
# An array is a piece of memory and a rule for walking in it, its **strides**: so many bytes to the next column, so many to the
# next row. Make the second a number less, and the products *are* the table of distances. Nothing was looked up: 1.8 ms in
# place of 4.5, measured on 250 frames.
#
# ## Products that are never packed
#
# Now the products. A second of sound is 25 frames in the transformer, and 25 rows times a matrix of 512 × 2048 are 52 million
# operations. A core of ours does a hundred thousand million a second, so that is half a millisecond. It takes 1.2.
#
# For before BLAS multiplies it **packs**: it copies both operands into an order in which its innermost loop finds the next number
# right behind the last. In a large product each copied number is used hundreds of times, and nobody notices. With 25 rows each number of
# the weight is used 25 times, and copying it costs more than multiplying. The weight is the same at every call, but BLAS cannot know.
#
# OpenBLAS has a second way. Its AVX-512 kernels multiply *without* packing where rows × columns × inputs are a million at most. So the
# twin makes small products of the large one. Weights are laid out once, in blocks of 32 columns that lie side by side for each
# input; frames come in chunks; and one call of `np.matmul` multiplies every chunk with every block.

# %%
weight = np.random.default_rng(2).normal(size=(2048, 512)).astype(np.float32)
laid = lay_out(weight, "blocks")
assert laid.blocks.shape == (2048 // 32, 512, 32)
assert 1_000_000 // (512 * 32) == 61  # frames of a chunk
assert np.array_equal(laid.weight(), weight)  # the same numbers in another order: nothing is lost

x = np.random.default_rng(3).normal(size=(100, 512)).astype(np.float32)
found = np.empty((100, 2048), np.float32)
laid.multiply(x, found, scratch, 0)
true_product = x.astype(np.float64) @ weight.T.astype(np.float64)
assert error(found, true_product) < 1e-6
assert error(x @ weight.T, true_product) < 1e-6

figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.2), gridspec_kw={"width_ratios": [1, 1, 1.3]})
place = np.arange(64 * 16).reshape(64, 16)  # of each number of a small weight, as stored
places = lay_out(place, "blocks").blocks.argsort(axis=None).reshape(place.shape)
for ax, table, title in ((axes[0], place, "as stored"), (axes[1], places, "in blocks")):
    ax.imshow(table.T, aspect="auto")
    ax.set(title=title, xlabel="columns", ylabel="inputs", xticks=[], yticks=[])
rows = [25, 50, 100, 250, 750]
axes[2].semilogx(rows, [45, 65, 80, 91, 95], "o-", color=ORANGE, label="as stored, packed at every call")
axes[2].semilogx(rows, [80, 95, 98, 100, 106], "o-", color=BLUE, label="in blocks, never packed")
axes[2].set(title="GFLOP/s of one core", xlabel="frames", xticks=rows, xticklabels=rows, ylim=(0, 115))
axes[2].minorticks_off()
axes[2].legend(loc="lower right")
caption("Where the numbers of a weight of 64 columns lie in memory, from first (dark) to last. Right, measured: 512 × 2048.")

# %% tags=["timing"]
weights = [np.random.default_rng(seed).normal(size=(2048, 512)).astype(np.float32) for seed in range(8)]
print(kernels())
with one_blas_thread():
    for layout in ("plain", "blocks"):
        laid_out = [lay_out(weight, layout) for weight in weights]
        for frames in (25, 50, 250):
            x, out, begin = np.ones((frames, 512), np.float32), np.empty((frames, 2048), np.float32), perf_counter()
            for each in laid_out * 3:
                each.multiply(x, out, scratch, 0)
            print(f"{layout}, {frames} frames: {48e-9 * frames * 512 * 2048 / (perf_counter() - begin):.0f} GFLOP/s")

# %% [markdown]
# Older kernels gain nothing from small products, and there weights stay as they are stored. The kernel's *name* decides, and no
# stopwatch, which would say something else on a busy afternoon: the same machine shall compute the same bits every day. Nobody keeps
# the stored weights beside the blocks. Layer by layer they give way, and `model.weights` is put together again for who asks.
#
# ## The lock
#
# Two cores should take half the time. Python has a lock: only the thread that holds it can run Python. NumPy lets go of it while it
# computes, so two threads can compute at once. But at the end of every call a thread wants it back. If the other holds it just then,
# the thread has to *sleep*, and to be woken takes tens of microseconds. Here is a toy of that:


# %%
def take_turns(call, until, held=1.0, wake=20.0):
    """Two threads that call NumPy for some ``call`` µs and hold the lock in between: (which, what, start, end)."""
    rng, now, free, spans = np.random.default_rng(0), [0.0, 0.0], 0.0, []
    while min(now) < until:
        me, begin = now.index(min(now)), min(now)
        if begin < free:  # the other has it
            now[me] = free + wake
            spans.append((me, "sleeps", begin, now[me]))
        else:
            free = begin + held
            now[me] = free + call * rng.uniform(0.5, 1.5)
            spans += [(me, "holds the lock", begin, free), (me, "computes", free, now[me])]
    return spans


def gain(call):
    """How much more two such threads compute than one."""
    computed = sum(end - start for _, what, start, end in take_turns(call, 10_000) if what == "computes")
    return computed / (10_000 * call / (call + 1))


assert gain(1) < 1.1  # nothing
assert gain(40) > 1.9

figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.1), gridspec_kw={"width_ratios": [1.2, 1.2, 1]})
for ax, call in ((axes[0], 2), (axes[1], 30)):
    for what, colour in (("computes", BLUE), ("sleeps", ORANGE), ("holds the lock", "black")):
        bars = [(me, start, end - start) for me, does, start, end in take_turns(call, 160) if does == what]
        ranks, starts, widths = zip(*bars, strict=True)
        ax.barh(ranks, widths, left=starts, height=0.6, color=colour, label=what)
    ax.set(title=f"calls of {call} µs", xlabel="µs", xlim=(0, 160), ylim=(-0.5, 1.9), yticks=[0, 1], yticklabels=["one", "two"])
axes[0].legend(loc="upper left", ncols=3, fontsize=6.5, columnspacing=0.6, handlelength=0.8, handletextpad=0.3)
lengths = np.geomspace(0.5, 100, 24)
axes[2].semilogx(lengths, [gain(call) for call in lengths], color=BLUE)
axes[2].axhline(1, color=plots.GREY, linewidth=1)
axes[2].set(title="two threads against one", xlabel="µs of a call", ylabel="times the work", ylim=(0, 2))
caption("A simulation. With short calls one thread sleeps while the other works. Long ones seldom meet at the lock.")

# %% [markdown]
# Real threads fare worse: GELU over two million numbers took 9.7 ms on one thread and 18 on two in blocks of 4,096, a microsecond a
# call; in blocks of 131,072, twenty a call, the harm was gone. So calls are few and long. In the transformer each thread of the
# **crew** has some heads and some columns of the feed-forward, since a product can be cut in the middle and its parts be summed, and
# between wait and wait everyone works alone:

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
# BLAS would start threads of its own for every product, and four would compete for two cores. So it is held to one for each of ours
# while we compute (`one_blas_thread`).
#
# ## Clips that share their products
#
# Measured, the second thread takes ten seconds of sew-tiny from 156 ms to 99, but one second only from 22 to 19: its calls, some fifty
# a layer, are short. A clip whose layers have less than 50 million multiply-adds gets one thread only. But short clips seldom come alone.
# `transcribe_many` lays the frames of neighbours end to end: one matrix of some hundred rows for every product. And each
# thread has such a group for itself, so that nobody waits for anybody.

# %%
pieces = np.split(waveform[0], [14_000, 36_000])
alone = [exact(piece[None]).last_hidden_state[0] for piece in pieces]
for found, state in zip(trunk.together(pieces), alone, strict=True):
    assert error(found, state) < 4e-6

counts = np.array([len(state) // 2 for state in alone])
clip = np.repeat([1, 2, 3], counts)  # of each squeezed frame
together = np.repeat(clip[:, None], 50, axis=1)
pairs = np.where(clip[:, None] == clip, clip, 0)
padded = np.where(np.arange(counts.max()) < counts[:, None], [[1], [2], [3]], 0)
figure, axes = plt.subplots(1, 3, figsize=(7.0, 2.0), gridspec_kw={"width_ratios": [1.2, 1, 1.4]})
for ax, table, title in zip(
    axes, (together, pairs, padded), ("a product's rows", "pairs in attention", "a padded batch"), strict=True
):
    ax.imshow(table, cmap=ListedColormap(["#EEEEEE", BLUE, ORANGE, GREEN]), vmin=0, vmax=3, aspect="auto")
    ax.set(title=title, xticks=[], yticks=[])
axes[0].set(xlabel="channels", ylabel="frames")
axes[1].set(xlabel="keys", ylabel="queries")
axes[2].set(xlabel="frames", ylabel="clips")
caption("Three clips, a colour each: they meet in products alone. Right, in grey, what a padded batch computes for nothing.")

# %% [markdown]
# Padding would also change the statistics of the group norm (notebook 03). Here nothing is padded, so every clip comes out as
# alone, to the rounding of a product of more rows. Two threads sum in another order than one, and must be as near to the truth:

# %%
for name in ("digits", "digits-d"):
    exactly = sewnp.load(name, dtype="float64")(waveform)
    for threads in (1, 2):
        found = sewnp.load(name, engine="fast", threads=threads)(waveform)
        assert error(found.last_hidden_state, exactly.last_hidden_state) < 4e-6
        assert (found.logits.argmax(axis=-1) == exactly.logits.argmax(axis=-1)).all()

# %% [markdown]
# ## The answer
#
# By taking away what is no computation. A norm over time is told in advance from ten samples' covariance. erf becomes
# a tanh that the processor does 16 at a time, with an error that shrinks with the number. A softmax divides where there is less to divide,
# a gather becomes a stride, weights lie as the multiplication wants them. Threads get few and long calls, and clips of their own
# where calls are short. And at each step the judge is the same computation in float64.
# [How that compares](../docs/performance.md) with PyTorch and ONNX Runtime has a page of its own.
#
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
