# %% [markdown]
# # 11 · How the fast twin got fast
#
# > How can the same mathematics run two or three times as fast without leaving NumPy, and how do we know that it still is the same?
#
# **Read before:** notebooks 02 (strided convolutions), 03 (group norm and GELU), 06 and 07 (attention, with positions in 07).

# %%
import copy
from itertools import pairwise
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, show_source
from checks.fast import check_fold, check_line_up, check_tile_samples
from scipy.special import erfinv, ndtr

import sewnp
from sewnp import plots
from sewnp.fast import FastTrunk, one_blas_thread
from sewnp.fast.attention import Positions, attend
from sewnp.fast.convolutions import pack_convolution, tiles
from sewnp.fast.crew import Crew
from sewnp.fast.elementwise import BLOCK, exponentials, gelu
from sewnp.fast.workspace import Workspace
from sewnp.layers import conv1d, group_norm, masked_softmax
from sewnp.layers.disentangled import content_to_position, position_to_content, relative_positions
from sewnp.networks import WindowMoments, convolution_moments, fold_norm
from sewnp.presets import preset
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
# a stopwatch is an observer that looks at the clock. We let it watch the size that was published as sew-tiny, 41 million
# parameters, with random weights: for the time it takes it does not matter what is said. Ten seconds of noise.

# %% tags=["timing"]
kinds = {
    "GELU": "activation",
    "norms": "norm",
    "convolutions": ".conv",
    "feed-forward products": "feed_forward",
    "attention": "attention",
}
noise = np.random.default_rng(0).normal(size=(1, 160_000)).astype(np.float32)
tiny = sewnp.from_config(preset("sew-tiny"), seed=0, engine="textbook")
took, clock = {}, 0.0


def stopwatch(name, x):
    global clock
    kind = next((kind for kind, part in kinds.items() if part in name), "the rest")
    took[kind] = took.get(kind, 0) + perf_counter() - clock
    clock = perf_counter()
    return x


with one_blas_thread():
    tiny(noise)  # once to warm up
    clock = perf_counter()
    tiny(noise, see=stopwatch)
for kind, seconds in sorted(took.items(), key=lambda item: -item[1]):
    print(f"{kind:22} {seconds:.3f} s")

# %% [markdown]
# Cells like this one are left without output here: times differ from run to run, and from your machine to ours. Where this
# notebook says *measured*, it was on two shared cores of an Intel Xeon with AVX-512, NumPy 2.4. On one core the textbook took
# 0.85 s:
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
# The products are done by **BLAS**, a library that has been tuned for decades; there is little to gain. But GELU, which does not
# do a single multiply-add in our count (notebook 04), takes nearly a third of the time. Between the products numbers are only
# fetched, bent a little and put back. That is where NumPy loses, and where the twin works.

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

figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.7), gridspec_kw={"width_ratios": [1, 1.3]})
image = axes[0].imshow(windows.covariance)
axes[0].set(xlabel="sample of the window", ylabel="sample of the window", title="C, the covariance of the windows")
axes[0].figure.colorbar(image, ax=axes[0])
axes[1].plot([0, 7], [0, 7], color=plots.GREY, linewidth=0.8)
axes[1].plot(convolved[0].var(axis=0), variance, "o", color=BLUE, markersize=4)
axes[1].set(xlabel="variance measured behind the convolution", ylabel="w C w", title="32 channels", xlim=(0, 7), ylim=(0, 7))
plt.show()

# %% [markdown]
# The table says that neighbouring samples of speech are nearly equal (0.93 where the variance is 1), and samples that are nine
# apart still a little alike (0.14). On the right each point is a channel: measured on 9,519 frames, and told in advance.
#
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
#
# The centring matters, by the way. $C$ is not the mean of $x x^\top$ minus $m m^\top$. On paper that is the same, but when the
# waveform has an offset, it subtracts one huge number from another:

# %%
lifted = cut.astype(np.float64) + 1e6  # the same sound on an offset of a million
short_cut = lifted.T @ lifted / len(lifted) - np.outer(lifted.mean(axis=0), lifted.mean(axis=0))
windows = WindowMoments(10, 5)
for block in np.array_split(waveform[0].astype(np.float64) + 1e6, 7):
    windows.add(block)
reference = np.cov(cut.T.astype(np.float64), bias=True)
assert error(windows.covariance, reference) < 1e-9
assert error(short_cut, reference) > 1e-5

# %% [markdown]
# ## Tiles
#
# With the group norm gone, nothing in the convolutions looks further than its own few samples. So the clip can be cut into
# **tiles**: some frames of the *last* layer are chosen, and one asks backwards what they are made of. Frames $a$ to $b$ of a
# layer (the end not included) need the frames
#
# $$ a \cdot \text{stride} \quad\text{to}\quad (b - 1) \cdot \text{stride} + \text{kernel} $$
#
# of the layer before, and so on down to the samples. Then all thirteen layers are run on that tile, while its numbers are at
# hand. Where tiles meet, a few frames are computed twice.


# %%
def needed(first, last, layers):
    """Bounds at every layer of what the frames first to last - 1 are made of: the samples first, the frames last."""
    bounds = [(first, last)]
    for layer in reversed(layers):
        start, end = bounds[-1]
        bounds.append((start * layer.stride, (end - 1) * layer.stride + layer.size))
    return bounds[::-1]


conv_layers = tiny.weights["sew"]["feature_extractor"]["conv_layers"]
packed = [pack_convolution(layer, stride) for layer, stride in zip(conv_layers, tiny.config.conv_stride, strict=True)]
widths = [layer.kernel.shape[1] for layer in packed]


def work(first, last):
    """Multiply-adds of all layers for these frames."""
    sizes = [end - start for start, end in needed(first, last, packed)[1:]]
    return sum(size * layer.kernel.size for size, layer in zip(sizes, packed, strict=True))


frames = 499  # of ten seconds
lengths = np.array([1, 2, 4, 8, 16, 32, 64, 125, 250, 499])
extra = [sum(work(a, min(a + n, frames)) for a in range(0, frames, n)) / work(0, frames) - 1 for n in lengths]
megabytes = [
    4e-6 * max((end - start) * w for (start, end), w in zip(needed(0, n, packed)[1:], widths, strict=True)) for n in lengths
]

figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.5))
axes[0].loglog(lengths[:-1], 100 * np.array(extra[:-1]), marker="o", markersize=3.5)
axes[0].set(xlabel="frames of a tile", ylabel="work done twice (%)", title="small tiles repeat work ...")
axes[1].loglog(lengths, megabytes, marker="o", markersize=3.5)
axes[1].axhline(2, color=plots.GREY, linestyle=":")
axes[1].annotate("a core's own cache: 2 MB", (1.2, 2.2), fontsize=8)
axes[1].set(xlabel="frames of a tile", ylabel="largest activation (MB)", title="... and large ones do not fit")
plt.show()

cuts = tiles(frames, packed, 2)
print(cuts)
assert cuts == [(0, 124), (124, 249), (249, 374), (374, 499)]
assert 0.09 < extra[0] < 0.11
assert 0.0005 < extra[7] < 0.0007
assert 1.9 < megabytes[7] < 2.1
assert needed(0, 1, packed)[0] == (0, 400)  # the receptive field of one frame

# %% [markdown]
# The twin takes tiles whose largest activation has 2 MB, as much as a core of today keeps in a cache of its own: four tiles for
# ten seconds, and they repeat less than a thousandth of the work. Run tile by tile, the frames are what they would have been in
# one piece:

# %%
inside = book.config.frames(waveform.shape[1])
trunk = FastTrunk(book.config, book.weights["sew"], threads=2)
whole = trunk.frames(waveform)  # what the encoder is given, (1, T, H)
kept = {}
exact(waveform, see=lambda name, x: kept.setdefault(name, x))
assert whole.shape == (1, inside, 160)
assert error(whole, kept["feature_projection"]) < 4e-6

# %% [markdown]
# Does it pay? Here honesty is due. On the machine where this was measured, one core takes ten seconds of audio in 0.15 s with
# tiles and in 0.14 s without, and a minute in about 1.0 and 0.9 s. Its processors share a third cache of 480 MB, and nothing
# falls out of that. What tiles give on every machine are two other things. Memory for the convolutions does not grow with the
# clip. And tiles are pieces of work that several threads can take turns at, without ever waiting for one another.
#
# The arrays for a tile are taken from a **workspace**, which keeps them from tile to tile and from call to call. Memory that is
# fresh from the operating system has to be cleared and mapped, page by page of 4 kB, at the first touch. So the second tile
# writes where the first did:

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

figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.4))
axes[0].plot(at, share, label="erf(x / √2)")
axes[0].plot(at, np.tanh(at), color=plots.GREY, label="tanh(x)")
axes[0].set(xlabel="x", title="two functions of one shape")
axes[0].legend()
axes[1].plot(at**2, f)
line = np.sqrt(2 / np.pi) * (1 + 0.044715 * at**2)
axes[1].plot(at**2, line, color=plots.GREY, linestyle=":", label="the tanh version's line")
axes[1].set(xlabel="z = x²", ylabel="f(z)", title="what makes them equal")
axes[1].legend()
plt.show()
assert round(float(f[0]), 4) == round(np.sqrt(2 / np.pi), 4) == 0.7979
assert 0.0005 < np.abs(line / f - 1)[at < 2].max() < 0.001  # a thousandth, for most of what occurs

# %% [markdown]
# $f$ begins at $\sqrt{2/\pi}$ and is nearly straight. (Take a straight line, the dotted one, and you have the popular tanh
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
# Below 1.2e-6, the error of PyTorch's own GELU. (Numbers near 8 have neighbours in float32 that are 5e-7 apart.) Measured, the
# first layer of sew-tiny takes 10 ms in place of 50.
#
# ### Why the error must shrink with x
#
# Is a largest error of 1.2e-6 a good measure? It was ours at first. Let us repeat the mistake. $\mathrm{gelu}(x) - x/2$ is an
# even function, a smooth one, and a polynomial in $z$ can be fitted to it with an error that is nowhere larger than 6e-7. We even
# evaluate it in float64, so that this one error is all it has.

# %%
LIMIT = 5.5  # beyond it, gelu(x) is x or 0 to float32
nodes = np.linspace(0, LIMIT, 4001)
even_part = np.polynomial.Chebyshev.fit(nodes**2, nodes * ndtr(nodes) - nodes / 2, 15, domain=[0, LIMIT**2])


def absolute_fit(x):
    """A GELU whose largest error is small."""
    size = np.abs(x.astype(np.float64))
    even = np.where(size < LIMIT, even_part(np.minimum(size, LIMIT) ** 2), size / 2)
    return (x / 2 + even).astype(np.float32)


assert np.abs(absolute_fit(x32) - true_gelu).max() < 1.2e-6  # as good, on paper

small = np.logspace(-5, 0, 400).astype(np.float32)
true_small = small.astype(np.float64) * ndtr(small.astype(np.float64))
relative = np.abs(absolute_fit(small) - true_small) / true_small
figure, ax = plt.subplots(figsize=(6.4, 2.5))
ax.axhspan(1e-8, 5e-7, color=BLUE, alpha=0.25, linewidth=0)
ax.annotate("rounding of float32: in here is the twin's fit, everywhere", (1.3e-5, 6e-8), fontsize=8)
ax.loglog(small[small < 0.1], relative[small < 0.1], color=ORANGE, label="fit of the absolute error")
ax.set(xlabel="x", ylabel="relative error of GELU(x)", xlim=(1e-5, 0.1), ylim=(1e-8, 1e-1), title="small numbers need small errors")
ax.legend()
plt.show()
assert (np.abs(fitted(small) - true_small) < 5e-7 * true_small).all()
assert abs(float(absolute_fit(np.float32([0]))[0])) > 5e-8  # gelu(0) is not 0
assert float(fitted(np.float32([0]))[0]) == 0

# %% [markdown]
# For a fit that bounds the *absolute* error, an $x$ of 1e-4 is worth no more care than one of 5. So it is off by a thousandth of
# a small value. Does that matter? Not for our clip, whose activations have the size of 1. But the next layer only sees what it is
# given, and a model may well live on small numbers. Thirteen convolutions follow one another without a norm between them: if the
# first gives out little, all have little. We take the digits model, make its first norm's learned numbers 10, 100 and 1,000 times
# smaller, and replace GELU by the one or the other, with an observer. How far is the last convolution from the truth?


# %%
class Enough(Exception):
    """The convolutions are done: nobody needs the rest."""


def last_convolution(model, activation=None):
    """What the thirteenth layer gives out, with another GELU in all layers, if one is given."""
    before = None

    def see(name, x):
        nonlocal before
        if name.endswith("activation"):
            x = x if activation is None else activation(before)
            if name == "feature_extractor.conv_layers.12.activation":
                raise Enough(x)
        before = x
        return x

    try:
        model(waveform[:, :16_000], see=see)
    except Enough as done:
        return done.args[0]


def quieter(model, factor):
    """A copy whose first norm gives out so many times less."""
    changed = copy.deepcopy(model)
    norm = changed.weights["sew"]["feature_extractor"]["conv_layers"][0]["layer_norm"]
    norm["weight"] /= np.float32(factor)
    norm["bias"] /= np.float32(factor)
    return changed


factors, errors = (1, 10, 100, 1000), {"textbook": [], "twin": [], "absolute": []}
for factor in factors:
    reference = last_convolution(quieter(exact, factor))
    quiet = quieter(book, factor)
    for name, activation in (("textbook", None), ("twin", fitted), ("absolute", absolute_fit)):
        errors[name].append(error(last_convolution(quiet, activation), reference))

figure, ax = plt.subplots(figsize=(6.4, 2.5))
ax.axhspan(1e-7, 2e-6, color=BLUE, alpha=0.25, linewidth=0)
ax.annotate("rounding of float32: in here are SciPy's erf, the twin's fit, and all that is as trained", (1.1, 4e-7), fontsize=8)
ax.loglog(factors[1:], errors["absolute"][1:], marker="o", color=ORANGE, label="fit of the absolute error")
ax.set(xlabel="activations smaller by a factor of", ylabel="error (of the scale)", ylim=(1e-7, 3e-3), xlim=(0.9, 1200))
ax.set(xticks=factors, title="behind thirteen convolutions")
ax.set_xticklabels(["1, as trained", "10", "100", "1,000"])
ax.legend(loc="upper left")
plt.show()
assert max(errors["textbook"]) < 2e-6
assert max(errors["twin"]) < 2e-6
assert errors["absolute"][0] < 1e-6
assert errors["absolute"][1] > 4 * errors["textbook"][1]
assert errors["absolute"][2] > 50 * errors["textbook"][2]

# %% [markdown]
# As trained, all three are equally good, and a test with this one clip would have passed. With activations a hundred times
# smaller the first fit is 200 times worse than SciPy's erf. Ours was caught in that way: on paper it was as exact as PyTorch's
# GELU, and in a network with small activations it cost twenty times PyTorch's error. The fit that the twin has now was made for
# the error of $\Phi(x)\max(|x|, 1)$: relative where $x$ is small, absolute where it is large.
#
# ## Few and long calls
#
# `gelu` works in blocks of 131,072 numbers. Why not the whole array at once, why not smaller blocks? A block and its three
# helpers should stay in the core's own cache: four arrays of 0.5 MB are the 2 MB that there are. That speaks against larger ones.
# And each call costs something before it begins, half a microsecond. That speaks against much smaller ones. With threads, there
# is a third reason.
#
# Python has a lock: only the thread that holds it can run Python. NumPy lets go of it while it computes, so two threads can
# compute at once. But at the end of every call a thread wants it back. If the other holds it just then, the thread has to
# *sleep*, and waking it takes the operating system ten microseconds or more. If a call takes one microsecond, threads do nothing
# but meet at that door. If it takes twenty, they seldom meet.

# %% tags=["timing"]
numbers = np.random.default_rng(0).normal(size=2**21).astype(np.float32)


def milliseconds(block, crew_size):
    """The quickest of five runs of the fifteen passes over two million numbers, in blocks of that size, on so many threads."""
    scratch, best, y = Workspace(), np.inf, numbers.copy()

    def program(rank):
        part = y[rank * len(y) // crew_size : (rank + 1) * len(y) // crew_size]
        for start in range(0, len(part), block):
            gelu(part[start : start + block], scratch, rank)

    for _ in range(5):
        y[:] = numbers
        begin = perf_counter()
        Crew(crew_size).run(program)
        best = min(best, perf_counter() - begin)
    return 1e3 * best


for block in (1024, 4096, 32_768, 131_072):
    print(f"blocks of {block:7,}: one thread {milliseconds(block, 1):5.1f} ms, two {milliseconds(block, 2):5.1f} ms")

# %% [markdown]
# Measured, medians of twelve runs over two million numbers:
#
# | numbers in a block | one call of `multiply` | one thread | two threads |
# |---|---|---|---|
# | 4,096 | 1 µs | 9.7 ms | 18 ms |
# | 32,768 | 6 µs | 5.9 ms | 8.9 ms |
# | 131,072 | 21 µs | 6.2 ms | 6.6 ms |
# | 262,144 | | 8.8 ms | 7.2 ms |
#
# With short calls the second thread does harm: it takes twice as long as being alone. At 131,072 the harm is gone, and on a less
# crowded machine it is a gain. (These two cores are rented and shared, and GELU alone does not gain much from the second. The
# whole model does, see the end.) So the rule is: few calls, long calls, and where a piece of work is too short for two threads,
# let one do it.

# %%
assert BLOCK == 131_072
crew = Crew(2)
print([crew.share(250, rank, least=BLOCK // 512) for rank in range(2)])  # 250 frames of 512 channels: one thread takes them all
print([crew.share(750, rank, least=BLOCK // 512) for rank in range(2)])
assert crew.share(250, 1, least=BLOCK // 512) == slice(250, 250)
assert crew.share(750, 1, least=BLOCK // 512) == slice(375, 750)

# %% [markdown]
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
print(f"divisions a head: {scores[0].size:,} before the product, {context[0].size:,} after it")
assert (scores[0].size, context[0].size) == (74 * 74, 74 * 40)

# %% [markdown]
# That the largest score of the row is subtracted first remains: without it, $e^{100}$ is infinite in float32. `attend` does this
# for a block of queries at a time, so that in a long clip no table of all frames by all frames is made. The queries come divided
# by the scores' scale, which was done once, to the weights that make them. So was the stacking: queries, keys and values are made
# by one product, not three.

# %%
heads, n, size = q.shape
side_by_side = np.stack([q / np.float32(np.sqrt(size)), k, v], axis=1)  # (heads, 3, N, d)
qkv = np.ascontiguousarray(side_by_side.transpose(2, 0, 1, 3).reshape(n, -1))  # (N, heads 3 d)
out = np.empty((n, heads * size), np.float32)
attend(qkv, out, size=size, attended=None, positions=None, scratch=scratch, rank=0)
assert error(out.reshape(n, heads, size).transpose(1, 0, 2), true_context) < 2e-6

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
# than a row is long. A matrix read with a row stride one short *is* the table of distances, and nothing has been looked up.
#
# The key's part (p2c) is the same with the roles exchanged, and read transposed. Both against the textbook, on random numbers:

# %%
rng = np.random.default_rng(1)
n, size, span = 40, 16, 64
q, k, v = (rng.normal(size=(1, 1, n, size)).astype(np.float32) for _ in range(3))
keys, queries = (rng.normal(size=(1, 1, 2 * span, size)).astype(np.float32) for _ in range(2))
relative = relative_positions(n, buckets=32, max_distance=128)
gathered = q @ k.swapaxes(2, 3) + content_to_position(q, keys, relative) + position_to_content(k, queries, relative)
expected = masked_softmax(gathered.astype(np.float64), None) @ v.astype(np.float64)

falling = relative[::-1, 0], relative[0, 1:]  # buckets of the distances N - 1 ... 0, and -1 ... 1 - N
ordered = np.concatenate(falling)
lined = Positions(keys[0, 0][ordered + span], queries[0, 0][-ordered + span])
qkv = np.ascontiguousarray(np.concatenate([q, k, v], axis=-1)[0, 0])
out = np.empty((n, size), np.float32)
attend(qkv, out, size=size, attended=None, positions=lined, scratch=scratch, rank=0)
assert error(out, expected[0, 0]) < 4e-6

# %% [markdown]
# The two roads to the same scores took 4.5 and 1.8 ms when measured on 250 frames, six heads of 64, for the first of the two
# terms.
#
# ## Threads of equal rights
#
# A **crew** is some threads that run one and the same program, each with its number. In the convolutions they take turns at the
# tiles. In the transformer each has some heads, and some of the columns of the feed-forward. That works because a matrix product
# can be cut in the middle and its parts be summed:

# %%
x, up, down = (rng.normal(size=shape) for shape in ((7, 20), (20, 80), (80, 20)))
parts = np.empty((2, 7, 20))


def half_of_the_columns(rank):
    mine = crew.share(80, rank)
    parts[rank] = np.tanh(x @ up[:, mine]) @ down[mine]
    crew.wait(rank)  # from here on, all parts are there


crew.run(half_of_the_columns)
assert np.allclose(parts.sum(axis=0), np.tanh(x @ up) @ down)

# %% [markdown]
# Between wait and wait everyone works alone, and a layer has four waits. Each is a few locks, and takes a third of the time of
# Python's own `threading.Barrier`.
#
# One trap is left. BLAS has threads of its own, as many as there are cores, and it starts them for every product. With two Python
# threads that both call it, four threads compete for two cores, and those that have nothing to do spin while they wait. So BLAS
# is held to one thread for each of ours, as long as we compute, and gets its freedom back afterwards.

# %%
show_source(one_blas_thread)

# %% [markdown]
# The order of a sum changes its rounding, so one thread and two need not agree to the last bit. But both must be as near to the
# truth:

# %%
for name in ("digits", "digits-d"):
    exactly = sewnp.load(name, dtype="float64")(waveform)
    for threads in (1, 2, 3):
        found = sewnp.load(name, engine="fast", threads=threads)(waveform)
        assert error(found.last_hidden_state, exactly.last_hidden_state) < 4e-6
        assert (found.logits.argmax(axis=-1) == exactly.logits.argmax(axis=-1)).all()
    textbook = sewnp.load(name, engine="textbook")(waveform)
    assert error(textbook.last_hidden_state, exactly.last_hidden_state) < 4e-6

# %% [markdown]
# ## All together
#
# Measured, ten seconds of noise, medians:
#
# | | textbook, one core | twin, one thread | twin, two threads |
# |---|---|---|---|
# | sew-tiny | 0.85 s | 0.54 s | 0.31 s |
# | sew-d-tiny | 1.07 s | 0.51 s | 0.36 s |
#
# Ten seconds of sew-tiny are 26 billion additions and multiplications, and what remains is mostly BLAS. There are no further
# tricks of this size in NumPy: GELU's fifteen passes could be one in a compiled language, and that is all.

# %% tags=["timing"]
for engine, threads in (("textbook", None), ("fast", 1), ("fast", 2)):
    model = sewnp.from_config(preset("sew-tiny"), seed=0, engine=engine, threads=threads)
    model(noise)  # once to warm up
    times = [perf_counter()]
    for _ in range(3):
        model(noise)
        times.append(perf_counter())
    print(f"{engine}, {threads or 'BLAS takes what it likes'}: {min(b - a for a, b in pairwise(times)):.2f} s")

# %% [markdown]
# ## The answer
#
# By leaving the products to BLAS and taking away what lies between them. A norm over time is told in advance from the covariance
# of ten samples, and disappears in a kernel. erf is rebuilt from a tanh that the processor does 16 at a time, fitted so that its
# error shrinks with the number. A softmax divides where there is less to divide, a gather becomes a stride, and arrays are used
# again. Threads get few and long calls, because the lock between them is what they lose their time at. And at each of these steps
# the judge is the same computation in float64: the twin has to be as near to it as the textbook is, for small numbers as for
# large ones.

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
