# %% [markdown]
# # 13 · How a network finds out what to change
#
# > A network has misheard a word. How does it find out which of its two million numbers to change, and which way?
#
# **Read before:** notebooks 02 (convolution), 03 (norms), 06 (attention, and what stands around it) and 08 (CTC). So far every
# number went forwards, from the sound to the letters. Today we go back.

# %% tags=["setup"]
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, gradients, play, show_source
from checks.hearing import until_misheard

import sewnp
from sewnp import ctc, layers, plots
from sewnp.networks.sew import encoder_layer_vjp
from sewnp.speech import read_audio

plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, PURPLE, VERMILION, *_ = plots.COLORS

# %% [markdown]
# ## Two million questions
#
# Here is the clip that goes wrong: with noise, as much as it takes until some word that is read is no number.

# %%
clips = Path("../tests/clips")
model = sewnp.load("digits", dtype="float64")


def features(samples):
    return model.features(samples).input_values.astype(np.float64)


def heard(model, inputs):
    return model.tokenizer.decode(model(inputs).logits[0].argmax(axis=1))


said = "EIGHT SIX SEVEN FIVE THREE ZERO NINE"
labels = [model.tokenizer.encode(said)]
noisy, decibels = until_misheard(model, read_audio(clips / "eight_six_seven.flac"))
inputs = features(noisy)
loss = float(model(inputs, labels=labels).loss)
count = sum(weight.size for weight in model.flat_weights().values())

print(f"noise, {decibels} dB softer than the clip")
print("said  ", said)
print("heard ", heard(model, inputs))
print(f"loss {loss:.4f}, {count:,} weights")
assert heard(model, inputs) != said
assert 2e6 < count < 2.3e6

# %% [markdown]
# Not quite. The loss says how wrong that is: minus the logarithm of the probability of the right text,
# divided by its length (notebook 08). It is one number. It does not say what to do about it.
#
# But we can ask. Take one weight of the very first kernel, make it a little larger, and run the clip again. Did the loss go up or
# down, and by how much for each bit of change?

# %%


def with_value(weights, path, value):
    """The nested weights with another value at a path; everything else is shared."""
    if not path:
        return value
    first, *rest = path
    changed = weights.copy()
    changed[first] = with_value(weights[first], rest, value)
    return changed


path, place = ["sew", "feature_extractor", "conv_layers", 0, "conv", "weight"], (1, 0, 2)
name = ".".join(map(str, path))
kernel = model.flat_weights()[name]  # (32, 1, 10)


def loss_with(nudge):
    changed = kernel.copy()
    changed[place] += nudge
    return float(replace(model, weights=with_value(model.weights, path, changed))(inputs, labels=labels).loss)


h = 1e-6
slope = (loss_with(h) - loss_with(-h)) / (2 * h)
print(f"{slope:.6f} of loss for each unit of this weight")

# %% [markdown]
# Were it positive, the loss would fall when this weight *shrinks*, and else when it grows. That is one answer. All answers together, a
# slope for each weight, are called the **gradient** of the loss. To get it in this way takes two runs for each weight, some four
# million.
#
# Here is another way.

# %%
values, gradient = {}, {}


def record(name, x):
    """An observer that keeps every stage on the way forward, and its gradient on the way back."""

    def pullback(dx):
        gradient[name] = dx
        return dx

    values[name] = x
    return x, pullback


result = model.gradients(inputs, labels, input_gradient=True, see=record)
all_slopes = result.flat()
found = sum(slopes.size for slopes in all_slopes.values())
print(f"{found:,} slopes in {len(all_slopes)} arrays")
print(f"ours by two runs {slope:.7f}\nby one gradient  {all_slopes[name][place]:.7f}")
assert np.isclose(all_slopes[name][place], slope, rtol=1e-6)
assert set(model.flat_weights()) - set(all_slopes) == {"sew.masked_spec_embed"}
assert count - found == 160

# %% [markdown]
# Two million slopes at once, and the one that we measured is among them. (A vector of 160 numbers has none. It stands for frames
# that training hides, and took no part.) What does it cost? The times depend on the machine and are not kept here; run it
# yourself.

# %% tags=["timing"]
times = {}
for what, run in {"forward": lambda: model(inputs), "gradients": lambda: model.gradients(inputs, labels)}.items():
    start = time.perf_counter()
    run()
    times[what] = time.perf_counter() - start
    print(f"{what:10} {times[what]:.3f} s")
print(f"one weight at a time: {2 * count * times['forward'] / 3600:.0f} hours")

# %% [markdown]
# A few runs' worth, instead of days. How can that be? The rest of this notebook is the answer, one layer at a time.
#
# ## Backwards through one layer
#
# A linear layer with two numbers in and two out. Each wire has a weight:
#
# $$ y_0 = w_{00} x_0 + w_{01} x_1 \qquad y_1 = w_{10} x_0 + w_{11} x_1 $$
#
# Whatever stands behind it, somebody there has found out how the loss reacts to its outputs: when $y_0$ rises by a little, the
# loss falls by 1 times as much, and when $y_1$ rises, the loss rises by 0.5 times as much. We write `dy` for these two slopes,
# $-1$ and $0.5$. What follows for the inputs, and for the weights?
#
# When $x_0$ rises by a little, $y_0$ rises $w_{00}$ times as much, and $y_1$ rises $w_{10}$ times as much. Each passes that on
# to the loss by its own slope. **Along a wire slopes multiply, and where wires come together they add up.** That is the whole
# chain rule.
#
# And when $w_{01}$ rises, $y_0$ rises $x_1$ times as much, and nothing else moves. So the slope of a weight is *what went in times
# what comes back*.

# %%
x = np.array([2.0, -1.0])
weight = np.array([[1.0, 3.0], [4.0, -1.0]])
dy = np.array([-1.0, 0.5])

y, pullback = layers.linear_vjp(x[None], weight)
dx, grads = pullback(dy[None])
assert np.allclose(y[0], [-1, 9])
assert np.allclose(dx[0], [-1 * 1 + 0.5 * 4, -1 * 3 + 0.5 * -1])  # along the wires, and added up
assert np.allclose(grads["weight"], [[-1 * 2, -1 * -1], [0.5 * 2, 0.5 * -1]])  # what went in times what comes back


def draw_node(ax, where, name, value, slope):
    ax.plot(*where, "o", markersize=30, color="white", markeredgecolor=plots.GREY, zorder=3)
    ax.text(*where, name, ha="center", va="center", zorder=4)
    ax.text(where[0], where[1] + 0.33, f"{value:g}", ha="center", va="bottom", color=BLUE, fontweight="bold")
    ax.text(where[0], where[1] - 0.33, f"{slope:g}", ha="center", va="top", color=VERMILION, fontweight="bold")


figure, ax = plt.subplots(figsize=(7.0, 2.7))
box = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
for i, j in np.ndindex(2, 2):
    start, end = np.array([0.0, -2.0 * j]), np.array([5.0, -2.0 * i])
    ax.plot(*zip(start, end, strict=True), color=plots.GREY, linewidth=1)
    for share, number, color in [(0.28, weight[i, j], BLUE), (0.72, grads["weight"][i, j], VERMILION)]:
        ax.text(*(start + share * (end - start)), f"{number:g}", color=color, ha="center", va="center", bbox=box, zorder=3)
for n in range(2):
    draw_node(ax, (0, -2 * n), f"$x_{n}$", x[n], dx[0, n])
    draw_node(ax, (5, -2 * n), f"$y_{n}$", y[0, n], dy[n])
ax.text(6.0, -0.75, "blue: values and weights,\non the way forward", color=BLUE, va="center")
ax.text(6.0, -1.65, "vermilion: slopes of the loss,\non the way back", color=VERMILION, va="center")
ax.set(xlim=(-0.5, 9.2), ylim=(-2.9, 0.9))
ax.axis("off")
caption("A linear map: above each circle its value, below it its slope.")

# %% [markdown]
# Above each circle stands its value, below it its slope; each wire has its weight and the slope of its weight. Follow one: $x_1$
# receives $-1 \cdot 3 + 0.5 \cdot (-1) = -3.5$.
#
# Here is the layer of the package. `linear_vjp` takes what `linear` takes. It returns the same `y`, and with it a function, the
# **pullback**, which turns the slopes of the output into those of the input and of the weights. (vjp stands for vector-Jacobian
# product, its name in the literature.)

# %%
show_source(layers.linear_vjp, bare=True)

# %% [markdown]
# In matrices, `y = x @ weight.T`, and back goes `dx = dy @ weight`: the same weights, the other way round. Two habits
# help to get such lines right. A slope has the shape of the thing that it belongs to. And what is used many times collects from
# all its uses: every frame goes through the same weights, so the sum runs over all frames.
#
# Notice what the pullback did *not* need: what the loss is, or how many layers stand behind. Layers can be chained, each pulling
# back what the next one hands it. And for the one product of matrices on the way forward there are two of the same size on the way
# back. So the way back costs about two runs, however many weights there are.
#
# ## Ask the function itself
#
# Formulas for pullbacks are easily wrong, and a wrong one still gives numbers. But any of them can be judged without knowing
# anything: move one input a little to either side, and see what the outputs do. That is what we did with the weight above. Keep
# this function. It is the referee for everything below.

# %%


def measured(f, x, dy, h=1e-5):
    """The slope of sum(dy * f(x)) for each entry of x, by trying.  Shaped as x."""
    slopes = np.empty_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = h
        slopes[place] = (dy * (f(x + step) - f(x - step))).sum() / (2 * h)
    return slopes


assert np.allclose(measured(lambda x: layers.linear(x, weight), x[None], dy[None]), dx)
assert np.allclose(measured(lambda weight: layers.linear(x[None], weight), weight, dy[None]), grads["weight"])

# %% [markdown]
# How large should the step be? We try steps from 1 down to $10^{-12}$ on the GELU of notebook 03, whose slope has a formula, at 2000
# places between -2 and 2.

# %%
gelu = layers.activation("gelu")
x = np.linspace(-2, 2, 2000)
true = layers.DERIVATIVES[gelu](x)
steps = 10.0 ** np.arange(-12, 1)


def errors(tried, dtype=np.float64):
    """How far off the slopes are that are tried with each step, relative to what they should be."""
    found = np.array([tried(x.astype(dtype), dtype(h)) for h in steps], dtype=np.float64)
    return np.sqrt(np.square(found - true).mean(axis=1) / np.square(true).mean())


def one_side(x, h):
    return (gelu(x + h) - gelu(x)) / h


def both_sides(x, h):
    return (gelu(x + h) - gelu(x - h)) / (2 * h)


one_sided, two_sided, in_float32 = errors(one_side), errors(both_sides), errors(both_sides, np.float32)
figure, ax = plt.subplots(figsize=(7.4, 2.7))
ax.loglog(steps, one_sided, "o-", markersize=4, color=BLUE, label="one side, float64")
ax.loglog(steps, two_sided, "s-", markersize=4, color=GREEN, label="both sides, float64")
ax.loglog(steps, in_float32, "^-", markersize=4, color=VERMILION, label="both sides, float32")
ax.set(xlabel="step", ylabel="relative error", title="how far off a measured slope is")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("A slope measured by trying, and how far off it is. Too large a step bends; too small a one loses its digits.")

best = [f"{steps[np.argmin(tried)]:.0e}" for tried in (one_sided, two_sided, in_float32)]
print("best steps:", *best)
assert best == ["1e-08", "1e-05", "1e-02"]
assert min(two_sided) < 1e-10 < min(one_sided) < 1e-7
assert 1e-6 < min(in_float32) < 1e-4
assert min(in_float32[steps < 2e-8]) > 0.9

# %% [markdown]
# Every curve is a V. On the right the step is too large: the function bends, and we measure a slope between two places rather than
# at one. Trying both sides cancels most of the bend. On the left the step is too small: the two results agree in all their
# digits but the last ones, and their difference is rounding. Float32 has seven digits, and with steps of $10^{-8}$ and less nothing
# of the slope is left.
#
# So: both sides, float64, a step near $10^{-5}$, and ten digits are right. Then a formula with a mistake in it cannot hide.
#
# ## A convolution gives back along its taps
#
# A convolution is a linear map too. Eight samples, a kernel of three taps, and a stride of 2: as a matrix, with a row for each
# frame, it is on the left.

# %%
rng = np.random.default_rng(0)
samples, kernel_3 = rng.standard_normal((1, 8, 1)), np.array([[[1.0, -2.0, 0.5]]])
matrix = np.stack([layers.conv1d(np.eye(8)[None, :, n : n + 1], kernel_3, stride=2)[0, :, 0] for n in range(8)], axis=1)  # (3, 8)

y, pullback = layers.conv1d_vjp(samples, kernel_3, stride=2)
dy = rng.standard_normal(y.shape)
dx, grads = pullback(dy)
assert np.allclose(y[0, :, 0], matrix @ samples[0, :, 0])
assert np.allclose(dx[0, :, 0], matrix.T @ dy[0, :, 0])
assert np.allclose(dx, measured(lambda x: layers.conv1d(x, kernel_3, stride=2), samples, dy))
assert np.allclose(grads["weight"], measured(lambda weight: layers.conv1d(samples, weight, stride=2), kernel_3, dy))
assert dx[0, 7, 0] == 0

figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.9), width_ratios=(8, 3))
for ax, shown in zip(axes, (matrix, matrix.T), strict=True):
    ax.imshow(shown, cmap="PuOr", vmin=-3, vmax=3, aspect="auto")
    for (row, column), number in np.ndenumerate(shown):
        ax.text(column, row, f"{number:g}", ha="center", va="center", color=plots.GREY if number == 0 else "black")
    ax.set_xticks(range(shown.shape[1]))
    ax.set_yticks(range(shown.shape[0]))
axes[0].set(xlabel="sample", ylabel="frame", title="forward: what each frame is made of")
axes[1].set(xlabel="frame", ylabel="sample", title="back: transposed")
caption("A convolution as a matrix, and the way back through it: the same numbers, transposed.")

# %% [markdown]
# Read a row on the left: frame 1 is made of samples 2, 3 and 4. Read a row on the right: sample 2 gave to frames 0 and 1, so it
# hears from both, through the taps that it was multiplied with. Sample 7 lies behind the last frame. Nobody used it, and it hears
# nothing.
#
# That holds for everything linear. The way back is the transposed matrix: linear layers, convolutions, the squeeze and its undoing.
# Nobody builds the matrix, of course. The package goes tap by tap, as it does forwards:

# %%
show_source(layers.conv1d_vjp, bare=True)

# %% [markdown]
# ## What a norm forgets, nobody can ask for
#
# A group norm subtracts the mean and divides by the standard deviation (notebook 03). Both are made of *all* frames. Suppose that
# somebody behind the norm would like one single frame to be different. What does that mean for the eight numbers that went in?

# %%
x = rng.standard_normal((1, 8, 1))
dy = np.zeros_like(x)
dy[0, x.argmax()] = 1
one, zero = np.ones(1), np.zeros(1)
normal, pullback = layers.group_norm_vjp(x, one, zero, groups=1)
dx, _ = pullback(dy)
mean, along = dy.mean(), normal * (dy * normal).mean()
assert np.allclose(dx, measured(lambda x: layers.group_norm(x, one, zero, groups=1), x, dy))
assert np.allclose(dx, (dy - mean - along) / np.sqrt(x.var() + 1e-5))

figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.1), sharex=True)
panels = {
    "what went in,\nnormalised: x̂": normal,
    "what comes back\nfrom behind: dy": dy,
    "what is taken\naway from it": -mean - along,
    "what is left, over\nthe deviation: dx": dx,
}
for ax, (title, heights), color in zip(axes, panels.items(), (BLUE, VERMILION, PURPLE, VERMILION), strict=True):
    ax.bar(range(8), heights.ravel(), color=color)
    ax.axhline(0, color=plots.GREY, linewidth=0.6)
    ax.set(title=title, xlabel="frame", ylim=(-2.4, 2.4) if ax is axes[0] else (-0.7, 1.3))
caption("One frame is asked to rise behind a norm, and every frame in front of it hears something.")

# %% [markdown]
# Every frame hears something. Moving any frame moves the mean, so all have to give up an equal part: the mean of what came back.
# And moving a frame outwards stretches the spread, by which all are divided, so each gives up a part in proportion to $\hat x$, to
# where it stands itself (those on the other side of the mean even gain):
#
# $$ dx = \bigl(dy - \mathrm{mean}(dy) - \hat x \cdot \mathrm{mean}(dy \cdot \hat x)\bigr) \,/\, \text{deviation} $$
#
# Three terms. Leave out the second or the third, and everything runs, and the network even learns something. The third exercise
# is about that.
#
# There is a shorter way to see why they must be there. Add the same number to all frames: the norm takes it away again. So the
# loss does not change, and the slope in that direction is zero. The sum of `dx` must be zero. Make all frames twice as large:
# the norm divides it out. So `dx` times `x` must add up to zero as well, but for the small `eps` under the root. **What a layer
# forgets, nobody behind it can ask for.** In the real network, behind the first convolution:

# %%
stage = "feature_extractor.conv_layers.0.conv"
x, dx = values[stage][0], gradient[stage][0]  # (T, 32), every channel for itself
shifting = np.abs(dx.sum(axis=0)).max() / np.abs(dx).sum(axis=0).max()
stretching = np.abs((dx * x).sum(axis=0)).max() / np.abs(dx * x).sum(axis=0).max()
assert shifting < 1e-12
assert stretching < 1e-4

# %% [markdown]
# ## A softmax shares out
#
# Softmax forgets as well: add the same number to all scores of a row, and the shares stay. So the slopes of the scores must sum to
# zero in each row. Its pullback is short:
#
# $$ dx_j = y_j \Bigl(dy_j - \sum_k y_k\, dy_k\Bigr) $$
#
# The sum is the average of what came back, weighted with the shares. A score is pushed up when its share is wanted more than the
# average of the row is, and pushed down when less. The others pay. And the factor in front says: who has no share gets no push.
#
# Here is a real row, of the head and the frame whose scores are pushed the most, in all layers:

# %%
pushed = {
    (i, *np.unravel_index(np.abs(scores).max(axis=-1).argmax(), scores.shape[1:3])): np.abs(scores).max()
    for i in range(6)
    for scores in [gradient[f"encoder.layers.{i}.attention.scores"]]
}
layer, head, frame = max(pushed, key=pushed.get)
attention, row = f"encoder.layers.{layer}.attention", (0, head, frame)
y, dy = (at[f"{attention}.probabilities"][row] for at in (values, gradient))
dx = gradient[f"{attention}.scores"][row]
assert np.allclose(dx, y * (dy - (y * dy).sum()))
assert abs(dx.sum()) < 1e-14

figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.1))
panels = {"its shares": y, "slopes of the shares": dy, "slopes of the scores": dx}
for ax, (title, heights), color in zip(axes, panels.items(), (BLUE, VERMILION, VERMILION), strict=True):
    ax.bar(range(len(y)), heights, width=1, color=color)
    ax.axhline(0, color=plots.GREY, linewidth=0.6)
    ax.set(title=title, xlabel="key: frame looked at")
caption("A row of attention: its shares, the slopes that arrive at them, and what passes the softmax.")

little = np.where(y < 0.01, np.abs(dy), 0).argmax()  # of the keys with next to no share, the one that hears the clearest wish
print(f"layer {layer}, head {head}, frame {frame} of {len(y)}")
for what, key in {"less is wanted of": dx.argmax(), "more is wanted of": dx.argmin(), "clear wish, no share": little}.items():
    print(f"{what:20} key {key:2}: share {y[key]:.3f}, slope of the share {dy[key]:+.4f}, of the score {dx[key]:+.6f}")
assert y[little] < 0.01
assert abs(dy[little]) > 0.1 * np.abs(dy).max()
assert abs(dx[little]) < 0.1 * np.abs(dx).max()

# %% [markdown]
# What is negative makes the loss fall when it grows: of such keys more is wanted. In the middle panel many keys hear clear wishes, and
# nothing of them arrives on the right where their shares are nearly zero. That is what notebook 06 meant: where one has nearly
# everything, training cannot learn from the others.
#
# ## Attention: three answers, and one that goes past
#
# Now a whole layer. Its pullback is the pullbacks of its parts, in reverse order.

# %%
show_source(layers.multi_head_attention_vjp, encoder_layer_vjp, bare=True)

# %% [markdown]
# Two lines deserve a look. In attention every frame was used three times, to make a query, a key and a value. So three answers come
# back to it, and they add up: `dxq + dxk + dxv`.
#
# And in the layer, `x + a`: the frame went through the attention, and it went *past* it, along the residual connection. A sum hands
# its slope to both of its parts unchanged. So the frame hears once more: `dy + dx`. To forget one of the two is a popular mistake,
# for again everything runs. We put the four together from what our observer has kept for layer 5, and compare with what arrived at
# layer 4:

# %%
attention, p = "encoder.layers.5.attention", model.weights["sew"]["encoder"]["layers"][5]["attention"]
answers = {"past the block": gradient["encoder.layers.5.residual"]}
for n, name in [("q", "as queries"), ("k", "as keys"), ("v", "as values")]:
    answers[name] = layers.merge_heads(gradient[f"{attention}.{n}"]) @ p[f"{n}_proj"]["weight"]
for name, answer in answers.items():
    print(f"{name:15} {np.linalg.norm(answer):.3f}")
arrived = gradient["encoder.layers.4.final_layer_norm"]
print(f"{'all together':15} {np.linalg.norm(arrived):.3f}")
assert np.allclose(sum(answers.values()), arrived, rtol=1e-10, atol=1e-13)

# %% [markdown]
# (The number is the length of all slopes of a stage as one vector: the root of the sum of their squares.)
#
# Something here is forgotten too. A bias on the keys adds one and the same number to all scores of a row: the product of the query
# with that bias. The softmax takes it away. So a key bias has no effect whatever, and training can never learn one:

# %%
biases = {name: g for name, g in all_slopes.items() if name.endswith("k_proj.bias")}
assert len(biases) == 6
assert max(np.abs(g).max() for g in biases.values()) < 1e-15

key_bias = ["sew", "encoder", "layers", 5, "attention", "k_proj", "bias"]
other = replace(model, weights=with_value(model.weights, key_bias, p["k_proj"]["bias"] + 1))
assert np.allclose(other(inputs).logits, model(inputs).logits, atol=1e-9)

# %% [markdown]
# Where do the layers want to look elsewhere? For each squeezed frame and each layer, the length of the slopes of its scores:

# %%
wanted = np.stack([np.sqrt(np.square(gradient[f"encoder.layers.{i}.attention.scores"]).sum(axis=(0, 1, 3))) for i in range(6)])
assert wanted.shape == (6, 85)

figure, ax = plt.subplots(figsize=(7.4, 2.3))
plots.plot_frames(wanted.T, seconds_per_frame=0.04, ax=ax, label="layer", bar_label="slopes")
ax.set_yticks(range(6))
for word in model.transcribe(noisy, decoder="greedy").words:
    middle = ((word.start + word.end) / 2, 1.02)
    ax.annotate(word.text, middle, xycoords=("data", "axes fraction"), ha="center", fontsize=8)
caption("How strongly each layer is asked to look elsewhere, and when.")

strongest = np.sort(np.square(wanted), axis=1)[:, :-11:-1].sum(axis=1) / np.square(wanted).sum(axis=1)
print("what the ten strongest of 85 frames have of the squared slopes, layer by layer:", strongest.round(2))
alike = np.corrcoef(wanted)[np.triu_indices(6, 1)].mean()
print(f"on average two layers are correlated by {alike:.2f}")
assert min(strongest) > 0.6
assert alike > 0.3

# %% [markdown]
# All six layers are asked about the same few places. Nearly everything else can stay as it is. Nobody told the layers which they are.
# They got it from what stands behind, and that got it from the loss.
#
# ## Where it begins: what I said minus what was possible
#
# So let us see the loss. A path of CTC reads one log-probability at each frame. The probability of the text sums up all paths that
# spell it (notebook 08). Move one log-probability a little: the paths that read it are moved, the others are not. So the slope of
# the loss is minus the share of the paths, weighted with their probabilities, that stand there. That share is the **posterior** of
# notebook 08: given the text, what was possible? `ctc_loss_vjp` returns that.
#
# One step further back is the log softmax, which shares out: all together may not gain. What comes out at the logits is
#
# $$ \frac{\partial\,\text{loss}}{\partial\,\text{logit}} = \text{what I said} - \text{what was possible} $$
#
# First the small lattice of notebook 08: six frames, and the text "see".

# %%
made_up = np.array(
    [[0.1, 0.2, 0.2, 0.1, 0.7, 0.2], [0.8, 0.3, 0.1, 0.1, 0.1, 0.1], [0.1, 0.5, 0.7, 0.8, 0.2, 0.7]]
).T  # (6, 3): _, s, e
see, problem = [1, 2, 2], ([[1, 2, 2]], [6], [3])
states = ctc.extended_targets([see], blank=0)[0]
log_probs, softmax_back = layers.log_softmax_vjp(np.log(made_up)[None])
_, ctc_back = ctc.ctc_loss_vjp(log_probs, *problem, blank=0, reduction="sum")
dlog_probs = ctc_back(np.ones(()))
dlogits = softmax_back(dlog_probs)[0]

possible = ctc.posteriors(ctc.ctc_alpha(log_probs, *problem, blank=0), ctc.ctc_beta(log_probs, *problem, blank=0))[0]
of_token = np.stack([possible[:, states == token].sum(axis=1) for token in range(3)], axis=1)
assert np.allclose(dlog_probs[0], -of_token)
assert np.allclose(dlogits, made_up - of_token)


def loss_of(logits):
    return ctc.ctc_loss(layers.log_softmax(logits), *problem, blank=0, reduction="sum")


assert np.allclose(dlogits, measured(loss_of, np.log(made_up)[None], np.ones(()))[0], atol=1e-8)


def draw_lattice(axes, said, possible, difference, states, tokens, *, first=0, numbers=True):
    """Three panels: shares of (frames, states) twice, and differences of (frames, tokens)."""
    titles = ["what I said", "what was possible", "the difference, for each token"]
    for ax, shares, names, title in zip(axes, (said, possible, difference), (states, states, tokens), titles, strict=True):
        signed = shares is difference
        colors = {"cmap": "PuOr", "vmin": -1} if signed else {"cmap": "viridis", "vmin": 0}
        extent = (first - 0.5, first + len(shares) - 0.5, len(names) - 0.5, -0.5)
        ax.imshow(shares.T, aspect="auto", vmax=1, extent=extent, **colors)
        ax.set(xlabel="frame", title=title)
        ax.set_yticks(range(len(names)), names)
        ax.xaxis.get_major_locator().set_params(integer=True)
        for (t, s), number in np.ndenumerate(shares) if numbers else []:
            ink = "black" if signed or number > 0.5 else "white"
            label = f"{number:+.2f}" if signed else f"{number:.2f}"
            ax.text(first + t, s, label.replace("0.", "."), ha="center", va="center", fontsize=6.5, color=ink)


figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.5))
draw_lattice(axes, made_up[:, states], possible, dlogits, list("_s_e_e_"), list("_se"))
axes[0].set_ylabel("state")
axes[2].set_ylabel("token")
caption("Six frames and the text “see”: what is said, what was possible, and the difference, which is the slope of the logits.")

print("slopes of frame 4:", dlogits[4].round(2), " they sum to", abs(dlogits[4].sum().round(12)))
assert dlogits[4].round(2).tolist() == [-0.23, 0.1, 0.13]
assert np.allclose(dlogits.sum(axis=1), 0)

# %% [markdown]
# On the left is what the network says, at each state the probability of its token; so all blanks are alike, and both e's. In the
# middle is what a path could be doing there if it is to spell "see". The right panel adds up the states of each token and subtracts.
# Orange numbers are too small and should grow, purple ones should shrink. The s of the later frames goes down: no path that spells
# "see" can say it there.
#
# And the real one, around the word with the frame that has most to change. (The odd frame at the end is not counted: its logits are the
# bias of the head, whatever is said.)

# %%
probabilities = np.exp(values["log_probs"][0])
frames, length = len(probabilities), len(labels[0])
problem = (labels, [frames], [length])
alpha, beta = (sweep(values["log_probs"], *problem, blank=0) for sweep in (ctc.ctc_alpha, ctc.ctc_beta))
possible = ctc.posteriors(alpha, beta)[0]
states = ctc.extended_targets(labels, blank=0)[0]
dlogits = gradient["logits"][0] * length  # the loss is divided by the length of the text

worst = np.abs(dlogits[:-1]).max(axis=1).argmax()
letter = min(possible[worst].argmax() // 2, length - 1)
begin = said[: letter + 1].rfind(" ") + 1  # of the word, in letters; the space in front of it is shown too
end = (said + " ").index(" ", begin)
word, around = slice(2 * max(begin - 1, 0), 2 * end + 1), slice(max(worst - 8, 0), min(worst + 9, frames - 1))
changed = np.flatnonzero(np.abs(dlogits[around]).max(axis=0) > 0.2)
tokens = list(dict.fromkeys([0, *labels[0][begin:end], *changed.tolist()]))


def name_of(token):
    return "_" if token == 0 else model.tokenizer.token_of(token)


figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.9))
draw_lattice(
    axes,
    probabilities[around, states[word]],
    possible[around, word],
    dlogits[around, tokens],
    [name_of(state) for state in states[word].tolist()],
    [name_of(token) for token in tokens],
    first=around.start,
    numbers=False,
)
axes[0].set_ylabel("state")
axes[2].set_ylabel("token")
caption(f"The same around {said[begin:end]}, where most is to be changed.")

more, less = dlogits[worst].argmin(), dlogits[worst].argmax()
print(f"frame {worst}: {name_of(more)} {dlogits[worst, more]:+.2f}, {name_of(less)} {dlogits[worst, less]:+.2f}")
assert dlogits[worst, more] < -0.1 < 0.1 < dlogits[worst, less]
assert np.allclose(dlogits.sum(axis=1), 0)

# %% [markdown]
# Where both pictures agree, there is little to change. Where they do not, a frame is told to say more of one token (orange) and less
# of others (purple). This table of differences is all that goes back into the network. Every one of the two million slopes is made
# of it.
#
# ## Why it arrives at all
#
# From the logits back to the first kernel it is a long way, through six transformer layers and thirteen convolutions. At each step
# the slopes are multiplied by something. Multiply by 0.1 each time, and after six layers a millionth is left. That is called
# **vanishing**. Residual connections (He et al. 2015, arXiv 1512.03385) help against it. How much?
#
# We can take them away, on the way back only. (On the way forward all stays as it was: a network that had never had any would be
# another one.) The observer may hand back other slopes than it got, as it may hand back other values.
# At a residual a slope goes two ways. Where the two come together again, we subtract what came past. Or else we silence the blocks,
# and let only that through which came past.

# %%


def lengths(model, cut=None):
    """How long the slopes are where layers 5 to 0 end, and where layer 0 begins.  cut: "past", "through" or None, the ways left open."""
    found, past = [], {}

    def see(name, x):
        return x, lambda dx: back(name, dx)

    def back(name, dx):
        last = name.rpartition(".")[2]
        if cut == "through" and last.endswith("layer_norm"):
            inside = last == "layer_norm" and "encoder.layers" in name  # between the two blocks of a layer
            dx = dx - past.pop("final_residual" if inside else "residual", 0)
        if last.endswith("residual"):
            past[last] = dx
        if cut == "past" and last in ("output", "output_dense"):
            dx = np.zeros_like(dx)
        if last == "final_layer_norm" or name == "encoder.layer_norm":
            found.append(np.linalg.norm(dx))
        return dx

    model.gradients(inputs, labels, see=see)
    return np.array(found)


small = replace(model.config, initializer_range=0.02)  # how weights of transformers are drawn, by custom
fresh = sewnp.from_config(small, seed=0, dtype="float64")  # the same network, before it has learned anything
ways = {
    None: {"label": "all ways", "color": plots.COLORS[5], "marker": "o", "linewidth": 4},
    "past": {"label": "past the blocks only", "color": BLUE, "marker": "s"},
    "through": {"label": "through the blocks only", "color": VERMILION, "marker": "^"},
}
networks = {"never trained": fresh, "trained": model}
arrives = {title: {cut: lengths(network, cut) for cut in ways} for title, network in networks.items()}

figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.7), sharey=True)
for ax, (title, by_cut) in zip(axes, arrives.items(), strict=True):
    for cut, look in ways.items():
        ax.semilogy([*"543210", "start"], by_cut[cut] / by_cut[cut][0], markersize=4, **look)
    ax.set(title=title, xlabel="layer behind which it is measured")
axes[0].set_ylabel("length of the slopes")
axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("How long the slopes are from the last layer back to the first, by the ways they may take.")

lost = {title: by_cut["through"][0] / by_cut["through"][-1] for title, by_cut in arrives.items()}
grown = {title: by_cut[None][-1] / by_cut[None][0] for title, by_cut in arrives.items()}
print("through the blocks only, divided by", {title: f"{factor:.1e}" for title, factor in lost.items()})
print("all ways, multiplied by", {title: f"{factor:.1f}" for title, factor in grown.items()})
each = arrives["never trained"]["through"]
assert np.all(np.abs(each[1:] / each[:-1] - 4e-3) < 2e-3)
assert 1e14 < lost["never trained"] < 1e15
assert 10 < lost["trained"] < 1e6
assert 1 < grown["never trained"] < 1.2
assert grown["trained"] > 0.5
assert np.isclose(arrives["trained"][None][0], np.linalg.norm(gradient["encoder.layers.5.final_layer_norm"]))
assert (len(model.config.conv_dim), model.config.num_hidden_layers) == (13, 6)

# %% [markdown]
# Read from left to right, the way back. In the network that was never trained, each layer's blocks pass on a few thousandths of
# what they get, for their weights are small. Without residuals the first layer would hear a part in $10^{14}$, which is nothing.
# With them it hears all of it: in every layer there is a way past. In the trained network the blocks have found their voice.
# On its own that way still loses a great deal, but together with what comes past, the slopes arrive, as long or longer. There are
# two residuals in a layer, so there are $2^{12} = 4096$ ways through the six, and they add up.
#
# ## Which samples does FIVE hang on?
#
# The way back does not end at the weights. The first convolution has an input too, and its pullback has slopes for that: one for
# each sample of the sound. Those of the loss say which samples would make the text likelier. But we may ask for something else than
# the loss, and put our own question in on the way back. Take the other clip, THREE ONE FOUR ONE FIVE NINE. Our question is the sum of
# four logits, F and I and V and E of its FIVE, each in the frame where that letter is written first.

# %%
samples = read_audio(clips / "three_one_four.wav")
sound = features(samples)
transcript = model.transcribe(samples)
text = "THREE ONE FOUR ONE FIVE NINE"
logits = model(sound).logits[0]
spelled = [run for run in ctc.runs(ctc.greedy_path(logits[None])[0]) if run.token]
place = "".join(model.tokenizer.token_of(run.token) for run in spelled).index("FIVE")
letters = {run.start: run.token for run in spelled[place : place + 4]}  # the frames in which FIVE is written
print("FIVE is written in the frames", list(letters))
assert model.tokenizer.decode(list(letters.values()), group_tokens=False) == "FIVE"


def score(logits):
    return sum(logits[t, token] for t, token in letters.items())


def ask(name, x):
    """At the logits, put in the slopes of our score for those of the loss."""
    if name != "logits":
        return x, lambda dx: dx
    asked = np.zeros_like(x)
    asked[0, list(letters), list(letters.values())] = 1
    return x, lambda dx: asked


slopes = model.gradients(sound, [model.tokenizer.encode(text)], input_gradient=True, see=ask).input_values[0]
strength = np.sqrt(np.square(slopes[: 148 * 320]).reshape(148, 320).sum(axis=1))  # one number a frame of 20 ms
share = np.square(strength) / np.square(strength).sum()
assert slopes.shape == samples.shape
near_word = slice(min(letters) - 10, max(letters) + 11)  # 0.2 s more on both sides
peak = np.abs(slopes).argmax()  # the sample that matters most

figure, axes = plt.subplots(2, 1, figsize=(7.4, 4.0))
plots.plot_waveform(samples, 16_000, words=transcript.words, ax=axes[0])
axes[0].lines[0].set_color("#C4C4C4")
axes[0].set(xlabel="", ylim=(-0.75, 0.75))
right = axes[0].twinx()
right.bar((np.arange(148) + 0.5) * 0.02, strength, width=0.02, color=BLUE, alpha=0.9)
right.set(ylabel="slopes (blue)", ylim=(-1.15 * strength.max(), 1.15 * strength.max()))
right.yaxis.get_major_locator().set_params(nbins=4)
near = slice(peak - 208, peak + 208)  # 26 milliseconds
seconds = np.arange(near.start, near.stop) / 16_000
axes[1].plot(seconds, samples[near], color=plots.GREY)
axes[1].set(xlabel="time (s)", ylabel="amplitude", xlim=(seconds[0], seconds[-1]))
axes[1].set(ylim=(-1.1 * np.abs(samples[near]).max(), 1.1 * np.abs(samples[near]).max()))
right = axes[1].twinx()
right.plot(seconds, slopes[near], color=BLUE)
limit = 1.1 * np.abs(slopes[near]).max()
right.set(ylabel="slope (blue)", ylim=(-limit, limit))
for ax in figure.axes[2:]:
    ax.spines["right"].set_visible(True)
caption("Grey, the clip; blue, how much each place of it matters to one word. Below, a few milliseconds of it.")
matters = np.repeat(strength > 0.05 * strength.max(), 320)
play({"the clip, only where the slopes are strong": (samples[: 148 * 320] * matters)[:38_400]})

few = np.square(slopes[peak - 64 : peak + 64]).sum() / np.square(slopes).sum()  # 8 milliseconds
print(
    f"of the squared slopes {share[list(letters)].sum():.0%} lie in the four frames, {share[near_word].sum():.0%} within 0.2 s of them"
)
print(f"the sample that matters most is at {peak / 16_000:.3f} s; the 8 ms around it have {few:.0%}")
assert share[near_word].sum() > 0.5
assert few > 0.03  # ten times more than its part of the clip

# %% [markdown]
# Above, the whole clip and the length of the slopes in each 20 ms. Below, a fortieth of a second of it, sample by sample. Most of the
# squared slopes lie near the four frames of the letters, and a good deal of that in a few milliseconds.
#
# So FIVE hangs on these few milliseconds? The referee first. Make one frame's sound a thousandth louder, and the score does
# what the slopes say:

# %%
frame = slice(strength.argmax() * 320, (strength.argmax() + 1) * 320)
louder = np.zeros_like(sound)
louder[:, frame] = sound[:, frame]
predicted = (slopes * louder).sum()
found = (score(model(sound + 1e-3 * louder).logits[0]) - score(model(sound - 1e-3 * louder).logits[0])) / 2e-3
print(f"predicted {predicted:.4f}, found {found:.4f}")
assert np.isclose(predicted, found, rtol=1e-2, atol=1e-3)

# %% [markdown]
# That is right. Now something larger: silence 20 ms altogether, each in turn. What do the slopes predict, and what happens?

# %%


def silenced(start, end):
    """The logits where some of the sound, from start to end in seconds, is silence."""
    quiet = sound.copy()
    quiet[:, round(start * 16_000) : round(end * 16_000)] = 0
    return model(quiet).logits[0]


now = score(logits)
trials = [silenced(0.02 * t, 0.02 * (t + 1)) for t in range(148)]
found = np.array([score(trial) - now for trial in trials])
predicted = -(slopes * sound[0])[: 148 * 320].reshape(148, 320).sum(axis=1)

figure, ax = plt.subplots(figsize=(7.4, 2.3))
middles = (np.arange(148) + 0.5) * 0.02
ax.plot(middles, found, color=VERMILION, label="found")
ax.plot(middles, predicted, color=BLUE, linestyle="--", label="predicted\nby the slopes")
ax.set(xlabel="the 20 ms that are silent (s)", ylabel="change of the score", xlim=(0, 2.96))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("What becomes of the score when 20 ms are silent, and what the slopes had promised.")

deep = np.flatnonzero(found < found.min() / 2)
print(f"the score is {now:.1f}; it falls by up to {-found.min():.1f}, most at", (0.02 * deep).round(2), "s")
print(f"the slopes promised {np.abs(predicted).max():.1f} at the most")
assert np.abs(found).max() > 1.5 * np.abs(predicted).max()

# %% [markdown]
# The slopes are no guide. They tell what a *small* change does. What has happened to the word?

# %%


def written(logits):
    """What is heard, and the frame in which FIVE begins to be written."""
    runs = [run for run in ctc.runs(ctc.greedy_path(logits[None])[0]) if run.token]
    text = "".join(model.tokenizer.token_of(run.token) for run in runs).replace("|", " ")
    return text, runs[text.index("FIVE")].start if "FIVE" in text else None


for start, end in [(0, 0), (1.32, 1.34), (1.44, 1.46), (1.5, 1.52), (1.36, 1.5), (1.5, 1.6), (1.36, 1.76)]:
    heard_now, begins = written(silenced(start, end))
    print(f"silent {start:.2f} to {end:.2f} s: {heard_now:29} {'' if begins is None else f'FIVE from frame {begins}'}")
assert begins is None  # 1.36 to 1.76 s is all of it
beginnings = [begins for _, begins in map(written, trials)]
still = [begins for begins in beginnings if begins is not None]
print(f"of {len(trials)} silences of 20 ms {len(still)} leave it there, from frame {min(still)} to {max(still)} on")
assert len(still) > 0.8 * len(trials)

# %% [markdown]
# Hardly any of the 148 silences takes the word away. It is still there where the score falls, at times a frame or two earlier or later,
# and our question was about four logits in four fixed frames. The dips say how surely FIVE is written *there*, not whether it is heard.
# The last lines take more: the hiss of its F, half of its vowel, and in the end the whole word.
#
# Three lessons, then. The slopes are exact for what they are: small changes, of that score. A question about four numbers is not a
# question about a word. And the referee is always there to be asked.
#
# ## And then change it
#
# Back to the clip that went wrong. We have the slopes of all weights. Against them the loss falls fastest. So take from each weight a
# little of its slope: how much, is called the **learning rate**.

# %%


def stepped(weights, slopes, rate):
    """All weights, each less its slope times the rate."""
    if isinstance(weights, dict):
        return {name: stepped(weight, slopes[name], rate) for name, weight in weights.items()}
    if isinstance(weights, list):
        return [stepped(weight, slope, rate) for weight, slope in zip(weights, slopes, strict=True)]
    return weights if slopes is None else weights - rate * slopes


squares = sum(np.square(slope).sum() for slope in all_slopes.values())
little = replace(model, weights=stepped(model.weights, result.weights, 1e-6))
fell = loss - float(little(inputs, labels=labels).loss)
print(f"rate 0.000001: predicted to fall by {1e-6 * squares:.7f}, fell by {fell:.7f}")
assert np.isclose(fell, 1e-6 * squares, rtol=0.01)

learning, losses = model, []
for step in range(7):
    now = learning.gradients(inputs, labels)
    losses.append(float(now.loss))
    print(f"after {step} steps: loss {losses[-1]:.3f}  {heard(learning, inputs)}")
    if step >= 2 and heard(learning, inputs) == said:
        break
    if step < 6:
        learning = replace(learning, weights=stepped(learning.weights, now.weights, 0.01))
assert losses[-1] < 0.95 * losses[0]

# %% [markdown]
# The first line is the referee's last word: a step along all two million slopes at once makes the loss fall by as much as they
# promise, the sum of their squares times the rate. Then some larger steps. The loss falls, and letters fall into their places.
#
# Was that learning? Ask for the other clip, before and after:

# %%
for network in (model, learning):
    print(f"loss {float(network(sound, labels=[model.tokenizer.encode(text)]).loss):.3f}  {heard(network, sound)}")
assert not np.allclose(learning(sound).logits, model(sound).logits, atol=0.1)

# %% [markdown]
# Nobody has asked for it, and it is not what it was. Two million weights were changed to please one clip. Training does the same with
# thousands of clips, many small steps, each for several of them, so that what remains is what helps most. Nothing else is new
# in it: forward, loss, backward, a step. [Notebook 14](14_watch_a_network_learn_to_hear.ipynb) takes many of them.
#
# ## The answer
#
# By going back. The loss is one number, and its slopes at the logits are simple: what I said minus what was possible. From there each
# layer turns the slopes of what came out into those of what went in and of its weights. Along a wire slopes multiply, and where wires
# come together they add up. What is linear goes back by its transpose, what is used often collects from every use, and what a
# layer forgets nobody can ask for. Residuals let the slopes pass. One walk back, at the price of a few runs, and each of the two
# million weights knows which way to go. Whether a walk is right can always be measured: move one number a little, and look.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read. You have the referee
# too: `measured` from above works on your own functions.
#
# **1. Linear.** `y = x @ weight.T + bias`, with clips and frames: `x` is (B, T, C_in), `dy` (B, T, C_out), `weight` (C_out, C_in).
# Return `dx`, `dweight` and `dbias`.

# %%


def my_linear_pullback(dy, x, weight):
    raise NotImplementedError


attempt(gradients.check_linear_pullback, my_linear_pullback)

# %% [markdown]
# **2. Softmax** over the last axis. `dy` and the shares `y`, (N, M) each, to `dx`. What must a row of it sum to?

# %%


def my_softmax_pullback(dy, y):
    raise NotImplementedError


attempt(gradients.check_softmax_pullback, my_softmax_pullback)

# %% [markdown]
# **3. Layer norm.** Each row of `x` (N, C) is normalised over its channels, then multiplied by `weight` (C,), and a bias is added.
# From `dy` (N, C) to `dx`. It is the formula of the group norm above, with the weight in front and the channels in the place of time.

# %%


def my_layer_norm_pullback(dy, x, weight, eps):
    raise NotImplementedError


attempt(gradients.check_layer_norm_pullback, my_layer_norm_pullback)

# %% [markdown]
# **4. CTC, at the logits.** `logits` is (T, V). `occupancy` (T, S) has the posteriors of the states, and `states` (S,) the token of
# each state. Several states may have one token. Return (T, V).

# %%


def my_ctc_gradient(logits, occupancy, states):
    raise NotImplementedError


attempt(gradients.check_ctc_gradient, my_ctc_gradient)

# %% [markdown]
# **5. Two residuals**, as in a transformer layer: `y = x + f(x)`, then `z = y + g(y)`. You are given `dz` and the pullbacks of `f` and
# `g`, functions from slopes to slopes. Return `dx`.

# %%


def my_two_residuals(dz, f_back, g_back):
    raise NotImplementedError


attempt(gradients.check_two_residuals, my_two_residuals)

# %% [markdown]
# ## Solutions

# %%


def solved_linear_pullback(dy, x, weight):
    rows = dy.reshape(-1, dy.shape[-1])  # all frames of all clips
    return dy @ weight, rows.T @ x.reshape(-1, x.shape[-1]), rows.sum(axis=0)


def solved_softmax_pullback(dy, y):
    return y * (dy - (y * dy).sum(axis=-1, keepdims=True))


def solved_layer_norm_pullback(dy, x, weight, eps):
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
    normal, given = centred / deviation, dy * weight
    mean, along = given.mean(axis=-1, keepdims=True), (given * normal).mean(axis=-1, keepdims=True)
    return (given - mean - normal * along) / deviation


def solved_ctc_gradient(logits, occupancy, states):
    difference = np.exp(logits - logits.max(axis=1, keepdims=True))
    difference /= difference.sum(axis=1, keepdims=True)  # what I said
    for s, token in enumerate(states):
        difference[:, token] -= occupancy[:, s]  # what was possible
    return difference


def solved_two_residuals(dz, f_back, g_back):
    dy = dz + g_back(dz)  # past g, and through it
    return dy + f_back(dy)  # past f, and through it


gradients.check_linear_pullback(solved_linear_pullback)
gradients.check_softmax_pullback(solved_softmax_pullback)
gradients.check_layer_norm_pullback(solved_layer_norm_pullback)
gradients.check_ctc_gradient(solved_ctc_gradient)
gradients.check_two_residuals(solved_two_residuals)
