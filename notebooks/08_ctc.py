# %% [markdown]
# # 08 · CTC: from frames to letters
#
# > How can 148 frames be scored against 28 letters, when nobody says which frame belongs to which letter?
#
# You need notebook 01 (frames, tokens, softmax, the pipeline). This one begins where the network ends; only one remark looks back at the
# squeeze of notebook 04.

# %% tags=["setup"]
import difflib
import itertools
import math
import re
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, play, show_source
from checks.ctc import check_alpha, check_collapse, check_timestamps
from checks.hearing import until_misheard

import sewnp
from sewnp.ctc import (
    clean_labels,
    collapse,
    ctc_alpha,
    ctc_beta,
    ctc_loss,
    extended_targets,
    greedy_path,
    log_likelihood,
    posteriors,
    runs,
)
from sewnp.layers import log_softmax
from sewnp.plots import COLORS, plot_lattice, plot_posteriors, plot_waveform
from sewnp.speech import read_audio

clips = Path("../tests/clips")
plt.rcParams.update(sewnp.plots.style())

# %%
model = sewnp.load("digits")
tokens = [model.tokenizer.token_of(i) for i in range(model.config.vocab_size)]
text = "THREE ONE FOUR ONE FIVE NINE"
waveform = read_audio(clips / "three_one_four.wav")
input_values = model.features(waveform).input_values

logits = model(input_values).logits
log_probs = log_softmax(logits)  # (1, T, V)
frames = logits.shape[1]
target = model.tokenizer.encode(text)
seconds = model.config.hop / 16000

print("logits:", logits.shape, "  seconds from frame to frame:", seconds)
print("target:", len(target), "tokens:", " ".join(tokens[i] for i in target))
assert logits.shape == (1, 148, len(tokens))
assert len(target) == 28
assert seconds == 0.02

fig, ax = plt.subplots(figsize=(7.4, 2.8))
plot_posteriors(np.exp(log_probs[0]), tokens, seconds_per_frame=seconds, ax=ax, top=11)
ax.set(xlim=(0.2, 2.1))
caption("What the network says at each frame: how likely each token is. Where no letter stands out, the blank does.")

# %% [markdown]
# Every 20 ms the network gives one probability to each token of its vocabulary: a softmax over its logits. There are 148 frames. The text has 28
# characters, the spaces included, which the vocabulary writes as `|`.
#
# To use the network we must turn 148 rows into 28 letters. To train it we need the opposite: a number that says how well the 148 rows
# fit a text that we know to be right. The difficulty is the same in both. Whoever wrote down "THREE" did not write down when its T
# begins, and nobody wants to, for thousands of hours of speech. *Connectionist temporal classification*, CTC (Graves et al. 2006), gets
# along without.
#
# ## Paths and what they spell
#
# Choose one token at each frame. Such a choice is called a **path**. The rule for reading a path has two steps:
#
# 1. merge neighbours that are equal,
# 2. drop the blanks.
#
# The **blank** is a token of its own, `<pad>` with the id 0, that stands for "nothing new here". We write it `_`. Here is the path of the
# likeliest tokens:

# %%
show_source(collapse, runs)


def written(ids):
    """A path as characters."""
    return "".join("_" if i == 0 else tokens[i] for i in ids)


path = greedy_path(logits)[0]
print(written(path))
print("spells:", written(collapse(path, blank=0)))
assert difflib.SequenceMatcher(None, written(collapse(path, blank=0)), written(target)).ratio() > 0.8

twice = re.search(r"([A-Z])_+\1", written(path))  # a letter, blanks, and the letter again
joined = np.delete(path, range(twice.start() + 1, twice.end() - 1))
print(f"without the blanks of {twice[0]}:", written(collapse(joined, blank=0)))
assert len(collapse(joined, blank=0)) == len(collapse(path, blank=0)) - 1

# %% [markdown]
# Look at the end of THREE in the path. Without a blank between them, its two E's would be neighbours and would merge: the last line has
# an E less. That is what the blank is for: it makes room (most frames have nothing new to say) and it separates equal letters. It also
# shows why the order of the two steps matters.

# %%
alphabet = {"_": 0, "s": 1, "e": 2}  # a vocabulary of three, for the next sections


def ids(word):
    return [alphabet[letter] for letter in word]


def spelled(path):
    return "".join("_se"[i] for i in collapse(path, blank=0))


for example in ("_ss_e_ee", "s_e__e", "seee", "____"):
    print(f"{example:8} spells {spelled(ids(example))!r}")
assert spelled(ids("_ss_e_ee")) == spelled(ids("s_e__e")) == "see"
assert spelled(ids("seee")) == "se"
assert spelled(ids("____")) == ""

# %% [markdown]
# Another of our clips shows what goes wrong. We add noise to it, a little more each time, until some word that is read is no number:

# %%
waveform_2, decibels = until_misheard(model, read_audio(clips / "eight_six_seven.flac"))
text_2 = "EIGHT SIX SEVEN FIVE THREE ZERO NINE"
print(f"with noise, {decibels} dB softer than the clip:")
logits_2 = model(model.features(waveform_2).input_values).logits
print(written(greedy_path(logits_2)[0]))
heard_2 = model.transcribe(waveform_2, decoder="greedy").text
print("said:  ", text_2)
print("heard: ", heard_2)
assert not set(heard_2.split()) <= set(text_2.split())

# %% [markdown]
# Some letters or spaces are wrong, or missing, or too many, and no rule for reading a path can know. We shall come back to this clip.
#
# ## How many paths, and how likely is a text?
#
# The network treats frames alike: given the sound, it says one distribution for each frame, and the frames do not
# negotiate. So the probability of a path is the product of its tokens' probabilities. Many paths spell the same text, and the
# probability of the *text* is the sum over all of them.
#
# Let us do that by brute force, for six frames and three tokens. These probabilities are made up; each column is a frame
# and sums to one.

# %%
made_up = np.array(
    [
        [0.1, 0.2, 0.2, 0.1, 0.7, 0.2],  # _
        [0.8, 0.3, 0.1, 0.1, 0.1, 0.1],  # s
        [0.1, 0.5, 0.7, 0.8, 0.2, 0.7],  # e
    ]
).T  # (6, 3)
assert np.allclose(made_up.sum(axis=1), 1)

every_path = list(itertools.product(range(3), repeat=6))
good = [p for p in every_path if spelled(p) == "see"]
probability = {p: math.prod(made_up[t, i] for t, i in enumerate(p)) for p in every_path}
by_force = sum(probability[p] for p in good)

print(len(every_path), "paths,", len(good), "of them spell 'see':")
for start in range(0, len(good), 7):
    print("  ", " ".join("".join("_se"[i] for i in p) for p in good[start : start + 7]))
print(f"p('see') = {by_force:.4f}, the best single path has {max(probability[p] for p in good):.4f}")
assert len(every_path) == 3**6 == 729
assert len(good) == 28
assert np.isclose(sum(probability.values()), 1)
assert round(by_force, 4) == 0.3376
assert round(max(probability[p] for p in good), 4) == 0.1098

# %% [markdown]
# For the clip, this is hopeless. With $V$ tokens there are $V^{148}$ paths, a number of more than 200 digits. Those that spell our sentence
# are fewer, but not few.
# With $T$ frames and $S$ tokens, $R$ of which equal the one before, there are $\binom{T + S - R}{2S}$ of them:

# %%
print(f"all paths: {len(tokens)} to the power of {frames}, a number of", len(str(len(tokens) ** frames)), "digits")
repeats = sum(a == b for a, b in itertools.pairwise(target))
spelling_paths = math.comb(frames + 28 - repeats, 2 * 28)
print(f"paths that spell the sentence: {spelling_paths:.1e}")
assert len(str(len(tokens) ** frames)) > 200
assert repeats == 1  # the two E's of THREE
assert math.comb(6 + 3 - 1, 2 * 3) == 28  # as counted above
assert 2.8e46 < spelling_paths < 2.9e46

# %% [markdown]
# ## The lattice
#
# Many paths share their beginnings, and that saves us. All that matters about the beginning of a path is how far it has come in the text.
# Two beginnings that have come equally far can be continued in the same ways, so they may be added up and carried on as one.
#
# "How far" needs some care, because of the blanks. Write the target with a blank before, between and after its tokens. The $2S + 1$
# places are called **states**:

# %%
show_source(extended_targets)
states = extended_targets([ids("see")], blank=0)[0]
labels = ["_se"[i] for i in states]
print(" ".join(labels))
assert labels == list("_s_e_e_")

# %% [markdown]
# A path walks through the states from left to right. From one frame to the next it may
#
# * **stay** where it is (the token is held, or the blank is),
# * **move** one state on,
# * **leap** over a blank, from a token to the next one. Not between equal tokens: those need the blank, or they would merge.
#
# It begins on one of the first two states and ends on one of the last two. Frames along one axis and states along the other, with all
# allowed steps between them: that is the **lattice**. Here it is for "see" and six frames. What lies on no complete path is grey.

# %%
uniform = np.zeros((1, 6, 3))  # log 1 for every token: only the shape of the lattice matters
reached = ctc_alpha(uniform, [ids("see")], [6], [3], blank=0)[0]
finishing = ctc_beta(uniform, [ids("see")], [6], [3], blank=0)[0]
alive = np.isfinite(reached + finishing)

fig, ax = plt.subplots(figsize=(6.0, 2.8))
for t, s in np.ndindex(alive.shape):
    for step in (0, 1, 2):
        after = s + step
        leap_allowed = step < 2 or (after < 7 and labels[after] not in ("_", labels[s]))
        if t < 5 and after < 7 and leap_allowed:
            used = alive[t, s] and alive[t + 1, after]
            ax.plot([t, t + 1], [s, after], color=COLORS[step] if used else "#DDDDDD", linewidth=1.1, zorder=1 + used)
    ax.plot(t, s, "o", color="#222222" if alive[t, s] else "#DDDDDD", markersize=5, zorder=3)
for step, name in enumerate(("stay", "move", "leap")):
    ax.plot([], [], color=COLORS[step], label=name)
ax.set_yticks(range(7), labels)
ax.set(xlabel="frame", ylabel="state", ylim=(6.4, -0.4))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("The lattice of “see” and six frames: every way from the left edge to the right along colours spells it.")

paths_counted = np.exp(log_likelihood(reached[None], [6], [3])[0])  # with probability 1 for every token, the sum counts paths
print(f"paths through this lattice: {paths_counted:.0f}")
assert np.isclose(paths_counted, 28)

# %% [markdown]
# The 28 paths from above are the 28 ways from the left edge to the right along coloured lines.
#
# ## The forward algorithm
#
# Let $\alpha_t(s)$ be the summed probability of all beginnings of paths, frames 0 to $t$, that stand on state $s$ at frame $t$. Every one
# of them stood, a frame earlier, on $s$, on the state before, or (where a leap is allowed) on the one before that. So
#
# $$ \alpha_t(s) = p_t(\text{token of } s)\,\bigl(\alpha_{t-1}(s) + \alpha_{t-1}(s-1) + [\text{leap}]\;\alpha_{t-1}(s-2)\bigr) $$
#
# Two additions and one multiplication for each state and frame. Watch it fill in:

# %%
toy = np.log(made_up)[None]  # (1, 6, 3)
alpha = ctc_alpha(toy, [ids("see")], [6], [3], blank=0)[0]  # (6, 7), logarithms

fig, axes = plt.subplots(1, 4, figsize=(7.4, 2.3), sharey=True)
for ax, done in zip(axes, (1, 2, 4, 6), strict=True):
    so_far = np.where(np.arange(6)[:, None] < done, np.exp(alpha), np.nan)
    so_far[np.exp(alpha) == 0] = np.nan
    plot_lattice(so_far, labels, ax=ax, bar=False)
    for t, s in np.argwhere(np.isfinite(so_far)):
        ink = "black" if so_far[t, s] > 0.5 else "white"
        ax.text(t, s, f"{so_far[t, s]:.2f}".lstrip("0"), ha="center", va="center", fontsize=5.5, color=ink, fontweight="bold")
    for image in ax.images:
        image.set_clim(0, 1)
    ax.set(title=f"{done} frame{'s' * (done > 1)}", ylabel="state" if done == 1 else "")
caption("The forward sweep after one, two, four and six frames.")

assert np.allclose(np.exp(alpha[0]), [0.1, 0.8, 0, 0, 0, 0, 0])
assert np.isclose(np.exp(alpha[1, 3]), 0.5 * 0.8)  # "se" after two frames: there is only one way, a leap
assert np.isclose(np.exp(alpha[1, 1]), 0.3 * (0.8 + 0.1))  # "s": held, or after a blank

# %% [markdown]
# At frame 0 only the blank (0.1) and the s (0.8) are open. One frame later, `s` holds $0.3 \times (0.8 + 0.1) = 0.27$, and by a leap the
# first `e` already has $0.5 \times 0.8 = 0.40$. The second `e` must wait for a blank. At the last frame, the two final states hold
# everything that has spelled "see". Their sum is what brute force found:

# %%
total = np.exp(alpha[-1, -2:]).sum()
print(f"forward algorithm: {total:.12f}")
print(f"brute force:       {by_force:.12f}")
assert np.isclose(total, by_force, rtol=1e-12)
assert np.isclose(np.exp(log_likelihood(alpha[None], [6], [3])[0]), by_force, rtol=1e-12)

# %% [markdown]
# For the clip that makes $148 \times 57$ small sums, instead of one with $10^{46}$ terms. The next cell takes the time of both. What it
# prints depends on the machine and is not kept here; run it yourself.

# %% tags=["timing"]
start = time.perf_counter()
sum(math.prod(made_up[t, i] for t, i in enumerate(p)) for p in itertools.product(range(3), repeat=6) if spelled(p) == "see")
print(f"brute force, 6 frames, 3 tokens:    {1e3 * (time.perf_counter() - start):.1f} ms")
start = time.perf_counter()
ctc_alpha(log_probs, [target], [frames], [28], blank=0)
print(f"forward, 148 frames, {len(tokens)} tokens:     {1e3 * (time.perf_counter() - start):.1f} ms")

# %% [markdown]
# This is the library's version. It runs over a batch of clips, and time is its only loop. Of its helpers, `_lattice` looks up what each state
# emits at each frame and which states may be leapt to, and `_log_sum` adds the three ways into a state.

# %%
show_source(ctc_alpha, bare=True)

# %% [markdown]
# One difference: it works with logarithms. Products become sums, a sum becomes `logaddexp`, and "impossible" becomes $-\infty$. It has to,
# because probabilities of long paths are too small for the computer. The smallest number that float32 knows is about $10^{-45}$, which
# is $e^{-103}$. In our clip's lattice:

# %%
alpha = ctc_alpha(log_probs, [target], [frames], [28], blank=0)
smallest = alpha[np.isfinite(alpha)].min()
print(f"smallest finite alpha: e^{smallest:.0f}")
assert round(np.log(1.4e-45)) == -103
assert np.exp(np.float32(smallest)) == 0

# %% [markdown]
# ## From the other end: beta
#
# $\alpha$ looks back. The same sweep from the end gives $\beta_t(s)$: the probability of all *ends*, frames $t+1$ to the last, that
# complete the target when the path stands on $s$ at frame $t$. Multiply both, and you have all complete paths that pass through state
# $s$ at frame $t$. Every path passes through some state, so at each frame these products must add up to the same number: the
# probability of the text.

# %%
beta = ctc_beta(log_probs, [target], [frames], [28], blank=0)
log_p = log_likelihood(alpha, [frames], [28])[0]
at_each_frame = np.logaddexp.reduce(alpha[0] + beta[0], axis=1)
print(f"log p(text): {log_p:.4f}; from alpha and beta, over all frames: {at_each_frame.min():.4f} to {at_each_frame.max():.4f}")
assert np.allclose(at_each_frame, log_p, atol=1e-5)

occupancy = posteriors(alpha, beta)[0]  # (148, 57)
assert np.allclose(occupancy.sum(axis=1), 1, atol=1e-5)

letters = ["" if s % 2 == 0 else tokens[target[s // 2]] for s in range(57)]
fig, axes = plt.subplots(1, 3, figsize=(7.4, 4.4), sharey=True)
titles = "alpha: come this far (log)", "beta: finish from here (log)", "both: stand here"
for ax, title, values in zip(axes, titles, (alpha[0], beta[0], occupancy), strict=True):
    plot_lattice(values, letters, ax=ax, bar=False)
    ax.set(title=title, ylabel="")
    ax.tick_params(axis="y", labelsize=5.5, length=0)
caption("All states of the sentence, from above, and all frames. Left times middle is right.")

sure = (occupancy.max(axis=1) > 0.9).mean()
print(f"frames in which one state has more than 0.9: {sure:.0%}")
assert sure > 0.7

# %% [markdown]
# The left picture is broad at the right and the middle one is broad at the left: with frames to waste, many beginnings and many ends are
# possible. Their product is a thin line. Given the text, the model is seldom in doubt where each letter is: in most of
# the frames one state has more than 0.9. These shares are called **posteriors**, or occupancies of the states.
#
# ## The loss
#
# Minus the logarithm of the probability of the text is the CTC loss. Zero would be certainty.

# %%


def loss_of(log_probs, text):
    ids = model.tokenizer.encode(text)
    return float(ctc_loss(log_probs, [ids], [log_probs.shape[1]], [len(ids)], blank=0, reduction="sum"))


loss = loss_of(log_probs, text)
print(f"loss {loss:.4f}: p(text) = {np.exp(-loss):.2g}")
assert np.isclose(loss, -log_p)

spelling = collapse(path, blank=0)
alone = float(log_probs[0].max(axis=-1).sum())
together = -float(ctc_loss(log_probs, [spelling], [frames], [len(spelling)], blank=0, reduction="sum"))
print(f"the likeliest path has {np.exp(alone):.2g}, all that spell the same have {np.exp(together):.2g}")
assert together > alone + np.log(2)
assert np.isclose(-np.log(by_force), ctc_loss(toy, [ids("see")], [6], [3], blank=0, reduction="none")[0])

candidates = [
    "THREE ONE FOUR ONE FIVE NINE",
    "THRE ONE FOUR ONE FIVE NINE",
    "THREE ONE FOR ONE FIVE NINE",
    "THREE ONE FOUR ONE FIVE FIVE",
    "THREE ONE FOUR ONE FIVE",
    "NINE FIVE ONE FOUR ONE THREE",
    "",
]
losses = [loss_of(log_probs, candidate) for candidate in candidates]
for candidate, value in zip(candidates, losses, strict=True):
    print(f"{value:8.2f}  {candidate!r}")
assert losses[0] == min(losses)
assert losses[-1] == max(losses) > losses[0] + 50
assert max(losses[1:3]) < losses[-2]
assert round(np.exp(4)) == 55

# %% [markdown]
# A single path has only a part of what its text has: the model is surer of the letters than of the exact frames, and the sum forgives
# that. A text with one letter less costs more, and what costs 4 more is $e^4 \approx 55$ times less likely. The order of the digits counts,
# and silence is the least likely of all.
#
# The loss is infinite where no path exists. A text needs a frame for each token and one more between equal ones, so THREE needs six, even
# where it was said, from the first letter on:

# %%
three = model.tokenizer.encode("THREE")
begin = np.flatnonzero(path)[0]
for few in (5, 6):
    here = ctc_loss(log_probs[:, begin : begin + few], [three], [few], [5], blank=0, reduction="sum")
    print(few, "frames:", here.round(2))
    assert np.isinf(here) == (few == 5)

# %% [markdown]
# A model computes its loss itself when it is called with labels. The default divides it by the length of the text, so that long
# texts do not weigh more:

# %%
given_labels = model(input_values, labels=[target]).loss
print(f"{float(given_labels):.6f}, times 28: {float(given_labels) * 28:.4f}")
assert np.isclose(float(given_labels) * 28, loss, rtol=1e-4)

# %% [markdown]
# ## Padding, labels and corners
#
# In a batch, and in the files of a training set, the loss meets more than one clean clip. The rules, which are those of the original:
#
# * **Padded clips.** Each clip's loss runs over its real frames alone, as many as `attention_mask` gives (notebook 15); what the network says
#   behind them does not count. Without a mask all frames count.
# * **Labels** stand in a rectangle, (clips, longest text), filled up with -100. Labels of -100 are dropped *wherever they stand*, and so are
#   labels that equal the blank; the rest closes up.
# * **Reductions** (`ctc_loss_reduction`): `mean` divides each clip's loss by the length of its text, at least 1, and takes the mean of the
#   batch; `sum` adds the losses up; `none` gives each.
# * **No path**: a text that does not fit has an infinite loss, or 0 with `ctc_zero_infinity`.
# * **No frames**: the empty text costs 0, as the only path, the empty one, spells it. Every other text costs infinity.
# * **No text**: the empty text has one path through its frames, blanks only.

# %%
two = np.concatenate([log_probs, log_probs])  # two clips, of which the second has 60 real frames
labels = [[*three, -100, -100], [0, *three, -100]]  # a filled row; a blank among the labels
targets, lengths = clean_labels(labels, blank=0, vocab_size=len(tokens))
print("targets", targets.tolist(), "of lengths", lengths)
assert lengths.tolist() == [5, 5]
assert targets[0].tolist() == targets[1].tolist() == three

each = ctc_loss(two, targets, [frames, 60], lengths, blank=0, reduction="none")
short = ctc_loss(log_probs[:, :60], [three], [60], [5], blank=0, reduction="none")
assert np.isclose(each[1], short[0])  # the same as the clip cut off there
assert np.isclose(ctc_loss(two, targets, [frames, 60], lengths, blank=0), np.mean(each / 5))

nothing = np.zeros((2, 0), dtype=int)
print("no frames:", ctc_loss(two, [three, three], [0, 0], [0, 5], blank=0, reduction="none"))
assert ctc_loss(two, [three, three], [0, 0], [0, 5], blank=0, reduction="none").tolist() == [0, np.inf]
assert ctc_loss(two, [three, three], [0, 0], [0, 5], blank=0, reduction="none", zero_infinity=True).tolist() == [0, 0]
only_blanks = -log_probs[0, :, 0].sum()
assert np.isclose(ctc_loss(log_probs, nothing[:1], [frames], [0], blank=0, reduction="none")[0], only_blanks, rtol=1e-5)

# %% [markdown]
# ## What training does with it
#
# Training nudges the logits downhill. How does the loss change when one logit grows? The rates of change, one number for each logit,
# are called the **gradient** of the loss. Here they are so simple that they are worth knowing. For token $v$ at frame $t$ the rate is
#
# $$ \frac{\partial\,\text{loss}}{\partial\,\text{logit}_t(v)} = p_t(v) - \text{occupancy}_t(v) $$
#
# what the model says minus what it would say if it knew the text, where a token's occupancy is the sum over the states that bear it.
# Training pulls the one towards the other. We take the clip that went wrong, with its true text as the target, and test this where the
# rate is largest, by moving those logits a little.

# %%
target_2 = model.tokenizer.encode(text_2)
exact_logits = logits_2.astype(np.float64)
frames_2 = exact_logits.shape[1]
problem = ([target_2], [frames_2], [len(target_2)])


def loss_at(logits):
    return float(ctc_loss(log_softmax(logits), *problem, blank=0, reduction="none")[0])


exact = log_softmax(exact_logits)
of_states = posteriors(ctc_alpha(exact, *problem, blank=0), ctc_beta(exact, *problem, blank=0))[0]
of_tokens = np.zeros((frames_2, len(tokens)))
for s, token in enumerate(extended_targets([target_2], blank=0)[0]):
    of_tokens[:, token] += of_states[:, s]
gradient = np.exp(exact[0]) - of_tokens

strongest = np.argsort(-np.abs(gradient), axis=None)[:6]
for t, v in zip(*np.unravel_index(strongest, gradient.shape), strict=True):
    nudge = np.zeros_like(exact_logits)
    nudge[0, t, v] = 1e-5
    measured = (loss_at(exact_logits + nudge) - loss_at(exact_logits - nudge)) / 2e-5
    said, wanted = np.exp(exact[0, t, v]), of_tokens[t, v]
    print(f"frame {t}, {written([v])}: {said:.4f} - {wanted:.4f} = {gradient[t, v]:+.4f}, measured {measured:+.4f}")
    assert np.isclose(gradient[t, v], measured, atol=1e-6)

# %%
path_2, wanted_2 = greedy_path(logits_2)[0], of_tokens.argmax(axis=1)
differ = np.flatnonzero(path_2 != wanted_2)  # where another token is said than the text wants
worst = differ[np.abs(gradient[differ]).max(axis=1).argmax()]
around = slice(max(worst - 20, 0), min(worst + 21, frames_2))
shown = np.flatnonzero(np.abs(gradient[around]).max(axis=0) > 0.05)
fig, ax = plt.subplots(figsize=(7.2, 2.8))
colors = plt.get_cmap("PuOr", 25)
extent = (around.start - 0.5, around.stop - 0.5, len(shown) - 0.5, -0.5)
image = ax.imshow(gradient[around, shown].T, aspect="auto", cmap=colors, vmin=-1, vmax=1, extent=extent)
ax.set_yticks(range(len(shown)), [written([v]) for v in shown])
ax.set(xlabel="frame", ylabel="token", title="what the model says minus what it should")
fig.colorbar(image, ax=ax, label="gradient of the loss", pad=0.02)
caption("Where training would change what the model says: purple down, orange up.")

print(f"frame {worst} says {written([path_2[worst]])}, and should say {written([wanted_2[worst]])}")
assert np.abs(gradient[worst]).max() > 0.3
large = np.flatnonzero(np.abs(gradient).max(axis=1) > 0.3)
print("frames with a gradient beyond 0.3:", large, "of", frames_2)
assert 0 < len(large) < 0.25 * frames_2
assert np.allclose(logits_2[0, 170], model.weights["lm_head"]["bias"])
assert np.allclose(gradient.sum(axis=1), 0, atol=1e-9)

# %% [markdown]
# Nobody told the algorithm where the mistakes are, and it has found them. Where it says one token and the text wants another there is
# much to do: less of the one (purple), more of the other (orange). In most frames there is little. The gradient of each frame sums to
# zero, so what one token loses, others gain.
#
# The last frame, 170, has nothing to do with hearing. It is the odd one at the end, dropped by the squeeze (notebook 04): its logits are
# the bias of the head whatever is said there.
#
# ## Greedy decoding, and what it misses
#
# `transcribe` takes the likeliest token at each frame and collapses the path. This is called **greedy** decoding. It finds
# the best *path*. The best *text* can be another, because a text collects many paths. The smallest example has two frames and two tokens:

# %%
two_frames = np.log(np.array([[[0.6, 0.4], [0.6, 0.4]]]))  # blank 0.6, "a" 0.4, twice
best = collapse(greedy_path(two_frames)[0], blank=0)
p_empty = np.exp(-ctc_loss(two_frames, np.zeros((1, 0), dtype=int), [2], [0], blank=0, reduction="none")[0])
p_a = np.exp(-ctc_loss(two_frames, [[1]], [2], [1], blank=0, reduction="none")[0])
print(f"greedy spells {best}; p('') = {p_empty:.2f}, p('a') = {p_a:.2f}")
assert best == []
assert np.isclose(p_empty, 0.36)  # __
assert np.isclose(p_a, 0.64)  # a_, _a and aa

# %% [markdown]
# The best path is `__` with 0.36. The three others all spell "a", and together they have 0.64. The surer frames are of themselves, the
# less room there is for the two to differ. Greedy decoding also knows no words: that something is no number is news to it. Who erred in
# the second clip? If the text that was said has the smaller loss, the model knew better than its best path, and another decoder may find
# it (notebook 12). If what was heard has, it was the model:

# %%
log_probs_2 = log_softmax(logits_2)
for candidate in (heard_2, text_2):
    print(f"{loss_of(log_probs_2, candidate):6.2f}  {candidate}")
print("so it was", "the model" if loss_of(log_probs_2, heard_2) < loss_of(log_probs_2, text_2) else "the decoder")

# %% [markdown]
# ## When was it said?
#
# A path knows frames, and frames are 20 ms apart. So the runs of the greedy path tell when each letter was decided, and the words get
# their times from their first and last letters.

# %%
transcript = model.transcribe(waveform)
for word in transcript.words:
    print(f"{word.start:.2f} to {word.end:.2f} s  {word.text}")

first = [(tokens[run.token], run.start, run.end) for run in runs(path) if run.token != 0][:5]
print("first letters, with the frames in which they begin and end:", first)

blank_share = (path == 0).mean()
print(f"blank frames: {blank_share:.0%}")
assert blank_share > 0.5

fig, ax = plt.subplots(figsize=(7.2, 2.2))
plot_waveform(waveform, 16000, words=transcript.words, ax=ax)
caption("The clip, and the frames in which each word was written.")
play({f"{w.text}, cut at its times": waveform[int(16000 * w.start) : int(16000 * w.end)] for w in transcript.words[:2]}
     | {f"{transcript.words[0].text}, until the next word": waveform[: int(16000 * transcript.words[1].start)]})  # fmt: skip

# %% [markdown]
# These are words in the right places, and yet not what one would draw by hand. Play them: much of each word is heard *after* its last
# letter. The letters come in a burst, nearly one frame after the other. After that the path is silent, though the speaker is not. Most
# frames are blank.
#
# Two things make this possible. CTC rewards the right letters in the right order, not their places or lengths: once a letter has been
# said, the blank is as good as the letter. And thanks to attention every frame knows the whole clip, so the network need not wait for a
# sound to end before it spells it. Models trained with CTC become *peaky* like this one (Zeyer, Schlüter and Ney 2021, arXiv 2105.14849,
# ask why). Use such times to find a word in a recording, not to measure how long it is.

# %%
loudness = np.sqrt(np.square(waveform[: 16000 // 50 * 148].reshape(148, 320)).mean(axis=1))
loud = np.flatnonzero(loudness > 0.05 * loudness.max())
print(f"the sound begins at {loud[0] * 0.02:.2f} s, the first word at {transcript.words[0].start:.2f} s")
assert round(loud[0] * 0.02, 2) == 0.26

nexts = [*(later.start for later in transcript.words[1:]), transcript.duration]
for word, following in zip(transcript.words, nexts, strict=True):
    whole, rest = (np.square(waveform[int(16000 * t) : int(16000 * following)]).sum() for t in (word.start, word.end))
    print(f"{word.text}: {rest / whole:.0%} of its energy (the sum of squared samples) comes after its last letter")
    assert rest / whole > 0.1
spelled_in = np.mean([word.end - word.start for word in transcript.words])
from_word_to_word = np.mean(np.diff([word.start for word in transcript.words]))
print(f"a word is spelled in {spelled_in:.2f} s, and {from_word_to_word:.2f} s after it began the next one does")
assert spelled_in < 0.75 * from_word_to_word

# %% [markdown]
# ## The answer
#
# By adding up all the ways in which they could. A path gives one token to every frame; merging repeats and dropping blanks turns it into
# a text, and the probability of a text is the sum over all paths that spell it. There are about $10^{46}$ of them for our clip, but what
# matters about a beginning is only how far in the text it has come, so a sweep over 148 frames and 57 states adds them all up. Minus
# the logarithm is the loss. A second sweep from the end says where each letter stands, and the difference between that and what
# the model said is what training corrects. To read a text off, take the likeliest token at each frame and collapse.
#
# Any clip of yours with its lattice and a path to drag: `sewnp explain clip.wav -o page.html`
# ([what it shows](../docs/explain.md#all-paths-of-the-text)). You have seen all parts now:
# [notebook 15](15_sew_on_one_page.ipynb) has the whole network on one page, and asks you to write it.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read.
#
# **1. Collapse.** Merge repeats, drop blanks. `path` is a list of ids; return a list.

# %%


def my_collapse(path, blank):
    raise NotImplementedError


attempt(check_collapse, my_collapse)

# %% [markdown]
# **2. The forward algorithm** for one clip: `log_probs` is (T, V), `target` a list of S ids. Return logarithms, (T, 2 S + 1). Loops are fine.
# `np.logaddexp` adds in the log domain and `-np.inf` is its zero.

# %%


def my_alpha(log_probs, target, blank):
    raise NotImplementedError


attempt(check_alpha, my_alpha)

# %% [markdown]
# **3. Timestamps.** For each letter of a path, in order: its id, the second it starts, the second it ends. A frame starts at
# its number times `seconds_per_frame`, and ends where the next one starts.

# %%


def my_timestamps(path, blank, seconds_per_frame):
    raise NotImplementedError


attempt(check_timestamps, my_timestamps)

# %% [markdown]
# ## Solutions

# %%


def collapse_solution(path, blank):
    merged = [token for t, token in enumerate(path) if t == 0 or token != path[t - 1]]
    return [token for token in merged if token != blank]


check_collapse(collapse_solution)

# %%


def alpha_solution(log_probs, target, blank):
    states = [blank]
    for token in target:
        states += [token, blank]
    rows = np.full((len(log_probs), len(states)), -np.inf)
    rows[0, :2] = log_probs[0, states[:2]]  # a path starts on one of the first two states
    for t in range(1, len(log_probs)):
        for s, token in enumerate(states):
            ways = rows[t - 1, s]
            if s >= 1:
                ways = np.logaddexp(ways, rows[t - 1, s - 1])
            if s >= 2 and token != blank and token != states[s - 2]:
                ways = np.logaddexp(ways, rows[t - 1, s - 2])
            rows[t, s] = log_probs[t, token] + ways
    return rows


check_alpha(alpha_solution)

# %%


def timestamps_solution(path, blank, seconds_per_frame):
    times = []
    for t, token in enumerate(path):
        if token == blank:
            continue
        if t > 0 and token == path[t - 1]:
            times[-1] = (token, times[-1][1], (t + 1) * seconds_per_frame)
        else:
            times.append((token, t * seconds_per_frame, (t + 1) * seconds_per_frame))
    return times


check_timestamps(timestamps_solution)
