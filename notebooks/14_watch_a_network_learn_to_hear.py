# %% [markdown]
# # 14 · Watch a network learn to hear
#
# > A network begins with random numbers. How do half a minute of sound, and the words that were said, make it hear?
#
# **Read before:** notebooks 08 (CTC, its lattice and its gradient) and 13 (slopes, and pullbacks). Thirteen notebooks took
# somebody's weights as given. Here we make our own: a SEW with twenty thousand weights, trained in this notebook, in seconds.

# %% tags=["setup"]
import json
import math
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, play, show_source, training

import sewnp
from sewnp import ctc, layers, plots
from sewnp.checkpoints import nest
from sewnp.config import SEWConfig
from sewnp.initialization import initial_weights
from sewnp.speech import FeatureExtractor
from sewnp.training import (
    Augmentations,
    Clip,
    Example,
    Moments,
    Speed,
    adamw,
    augment,
    batches,
    clip_by_norm,
    draw_masks,
    learning_rate,
    new_vocabulary,
)

plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, _ = plots.COLORS

# %% [markdown]
# ## A language of whistles
#
# Speech takes hours to learn. On the island of La Gomera people whistle across valleys, in a language made of pitches, and we
# invent an even simpler one: five letters, four of which are tones and one of which is a hiss. Every whistler has a pitch, a
# tremble and a pace of their own, and no two tones come out the same.

# %%
RATE = 8000
PITCH = {"E": 850, "A": 500, "L": 1400, "T": 2200}  # S is a hiss
WORDS, NEW_WORDS = map(
    str.split,
    (
        "SEAT EAST TALE LATE LAST SALT STEAL LEAST SLATE LET SET SAT EAT TEA SEA ALE ATE LEASE TEASE ELSE STEEL TELL LESS SELL TALL "
        "STALL SEE TASTE LATEST SEALS TALES TEAS EEL ATLAS STATES LASS",
        "STALE SEAL SALE TEAL TASTES LETS SEATS EASEL ALAS TEASEL LASTS STATE",
    ),
)


def whistled(word, whistler, rng):
    """The sound of a word: its letters one after another, silence on both sides, and a little noise."""
    pitch, tremble, pace = whistler
    parts = [np.zeros(int(RATE * rng.uniform(0.03, 0.08)))]
    for letter in word:
        t = np.arange(int(RATE * pace * rng.uniform(0.06, 0.1))) / RATE
        if letter == "S":
            part = 0.4 * np.diff(rng.normal(size=len(t)), prepend=0)
        else:
            wave = 1 + tremble * np.sin(2 * np.pi * rng.uniform(4, 8) * t + rng.uniform(0, 6))
            part = rng.uniform(0.6, 1) * np.sin(
                2 * np.pi * np.cumsum(PITCH[letter] * pitch * rng.uniform(0.97, 1.03) * wave) / RATE
            )
        edge = np.minimum(t, t[::-1]) / 0.015  # 15 ms to begin and to end
        parts.append(part * np.minimum(1, edge))
    sound = np.concatenate([*parts, np.zeros(int(RATE * rng.uniform(0.03, 0.08)))])
    return sound + 0.05 * rng.normal(size=len(sound))


def clips_of(words, count, whistlers, rng):
    """That many clips, by whistlers of whom each is another."""
    voices = [(rng.uniform(0.88, 1.12), rng.uniform(0, 0.04), rng.uniform(0.9, 1.1)) for _ in range(whistlers)]
    return [(words[i % len(words)], whistled(words[i % len(words)], voices[i % whistlers], rng)) for i in range(count)]


known = clips_of(WORDS, 60, whistlers=8, rng=np.random.default_rng(1))
others = clips_of(NEW_WORDS, 24, whistlers=6, rng=np.random.default_rng(2))
seconds = sum(len(sound) for _, sound in known) / RATE
print(f"to learn from: {len(known)} clips of 8 whistlers, {seconds:.0f} seconds in all")
print(f"to be tested with: {len(others)} clips of 6 other whistlers, {len(NEW_WORDS)} other words")
assert not set(WORDS) & set(NEW_WORDS)

word, sound = others[0]
figure, ax = plt.subplots(figsize=(7.4, 2.3))
ax.specgram(sound, NFFT=160, noverlap=120, Fs=RATE, cmap="Greys", vmin=-90, vmax=-30)
ax.set(xlabel="time (s)", ylabel="frequency (Hz)", ylim=(0, 4000), title=f"{word}, whistled")
caption("A whistled word. A network that has never heard one gets the samples, and not this picture.")
play(dict(others[:3]), rate=RATE)

# %% [markdown]
# Time to the right, pitch upwards: a hiss, then four tones. Whoever sees the picture can read it. (Below it, three words to hear.)
# The network gets no picture, only the samples, and with each clip the word. Nobody tells it that there are tones, how many letters
# a second there are, or which part of the sound is the T.
#
# The network is a SEW like all the others, only smaller: four convolutions, the squeeze, one transformer layer, a head. Its
# vocabulary is made from the texts. Its weights are drawn at random.

# %%
tokenizer = new_vocabulary(WORDS)
config = SEWConfig(
    conv_dim=(16, 24, 32, 32),
    conv_kernel=(16, 8, 4, 2),
    conv_stride=(8, 5, 3, 2),
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=64,
    num_conv_pos_embeddings=15,
    num_conv_pos_embedding_groups=4,
    initializer_range=0.1,
    vocab_size=len(tokenizer),
    pad_token_id=0,
    ctc_loss_reduction="mean",
    ctc_zero_infinity=True,
    hidden_dropout=0.0,
    attention_dropout=0.0,
    activation_dropout=0.0,
    feat_proj_dropout=0.0,
    final_dropout=0.0,
    layerdrop=0.0,
    mask_time_prob=0.0,
    mask_feature_prob=0.0,
)
fresh = sewnp.Model(
    config=config,
    weights=nest(initial_weights(config, "ctc", seed=0, dtype=np.float64)),
    head="ctc",
    tokenizer=tokenizer,
    feature_extractor=FeatureExtractor(sampling_rate=RATE),
    name="whistles",
    engine="textbook",
)
NAMES = ["_", *(tokenizer.token_of(token) for token in range(1, len(tokenizer)))]
size = sum(weight.size for weight in fresh.flat_weights().values())
print(f"{size:,} weights, a frame every {1000 * config.hop // RATE} ms, tokens {' '.join(NAMES)}")
assert config.hop == 240
assert size == 23_481


def inputs(sound):
    return fresh.features(sound).input_values.astype(np.float64)


def heard(model, sound):
    return model.tokenizer.decode(model(inputs(sound)).logits[0].argmax(axis=1))


def errors(said, found):
    """How many letters have to be put in, taken out or changed to make the one of the other (Levenshtein)."""
    row = list(range(len(found) + 1))
    for i, letter in enumerate(said):
        above, row = row, [i + 1]
        for j, other in enumerate(found):
            row.append(min(above[j] + (letter != other), above[j + 1] + 1, row[j] + 1))
    return row[-1]


def tested(model, clips):
    """The mean loss, and the share of wrong letters."""
    losses = [float(model(inputs(sound), labels=[tokenizer.encode(word)]).loss) for word, sound in clips]
    wrong = sum(errors(word, heard(model, sound)) for word, sound in clips)
    return np.mean(losses), wrong / sum(len(word) for word, _ in clips)


print("before training it hears:", [heard(fresh, sound) for _, sound in others[:4]])

# %% [markdown]
# ## The whole of training
#
# Notebook 13 ended with a step against the slopes. Training is many such steps, and four plain functions make it work. The first
# collects clips of similar length into **batches**, whose slopes are averaged: one clip alone says NINE where it should say FIVE.
#
# The second makes the step. One rate for all weights is a bad fit: the slopes of some are a thousand times those of others.
# **AdamW** keeps two running means for each weight, of its slopes and of their squares, and steps by the one over the root of the
# other. What remains is a direction and a length near 1, whatever the unit of the slope. The W stands for decay: all weights but
# biases and norms shrink a little at each step, so that what nobody needs goes away.

# %%
show_source(adamw, bare=True)

# %% [markdown]
# The third **clips**: slopes that are longer than they should be, as one vector, are shortened. The fourth says the **rate** of
# each step: up from nothing in a straight line, the warm-up, then down to nothing along half a cosine.

# %%
show_source(clip_by_norm, learning_rate, bare=True)

figure, ax = plt.subplots(figsize=(5.0, 1.9))
ax.plot([learning_rate(step, peak=5e-3, steps=500, warmup=50) for step in range(500)])
ax.set(xlabel="step", ylabel="rate")
caption("The rate of each of 500 steps: a warm-up, then half a cosine.")

# %% [markdown]
# That is all. Here is the loop. `clip_gradients` is the walk back of notebook 13 for one clip, all pullbacks in their order. It
# returns the loss and a slope for each weight. Masks and dropout come later; for now their rates are zero.

# %%
quicker_or_slower = Augmentations(speed=Speed(range=(0.88, 1.14)))  # and higher or lower with it, as with a tape


def learn(model, clips, steps, *, rate=5e-3, warmup=50, most=1.0, change=None, freeze=(), keep=()):
    """Train -> the trained model, a log, and the models after the steps that shall be kept."""
    rng = np.random.default_rng(0)
    sounds = {str(i): sound for i, (_, sound) in enumerate(clips)}
    examples = [
        Example((Clip(Path(), str(i), word, seconds=len(sound) / RATE, columns={}),), join=None)
        for i, (word, sound) in enumerate(clips)
    ]
    weights, moments, waiting, log, kept = model.flat_weights(), Moments(), [], [], {}
    for step in range(steps):
        if step in keep:
            kept[step] = replace(model, weights=nest(weights))
        if not waiting:  # all have had their turn
            waiting = batches([examples[i] for i in rng.permutation(len(examples))], seconds=2.0, rng=rng)
        batch = waiting.pop()
        gradients_of = replace(model, weights=nest(weights)).clip_gradients(freeze)
        loss, total = 0.0, {}
        for example in batch:
            sound = sounds[example.clips[0].name]
            x = inputs(sound if change is None else augment(sound, change, sampling_rate=RATE, rng=rng))
            masks = draw_masks(model.config, model.config.frames(x.shape[1]), rng)
            labels = [tokenizer.encode(example.text)]
            found, gradients = gradients_of(x, labels, time_mask=masks.time, feature_mask=masks.channels, dropout=rng)
            loss += found / len(batch)
            for key, gradient in gradients.items():
                total[key] = total.get(key, 0.0) + gradient / len(batch)
        total, norm = clip_by_norm(total, most)
        now = learning_rate(step, peak=rate, steps=steps, warmup=warmup)
        before = weights
        weights, moments = adamw(weights, total, moments, rate=now, betas=(0.9, 0.98))
        moved = math.sqrt(sum(np.square(weights[key] - before[key]).sum() for key in total))
        count = sum(gradient.size for gradient in total.values())
        log.append({"loss": loss, "norm": norm, "moved": moved / (now * math.sqrt(count)) if now else 0.0})
    trained = replace(model, weights=nest(weights))
    return trained, log, kept | {steps: trained}


LOOKS = [0, 20, 60, 100, 140, 180, 200, 220, 260, 300, 400, 500]
trained, log, kept = learn(fresh, known, 500, change=quicker_or_slower, keep=LOOKS)
results = {step: tested(model, others) for step, model in kept.items()}
for step in LOOKS[1:]:
    model, (loss, wrong) = kept[step], results[step]
    print(
        f"step {step:3}: loss {loss:6.2f}, {wrong:4.0%} of the letters wrong  {' '.join(heard(model, s) or '-' for _, s in others[:4])}"
    )
print("what was said:                               ", *(word for word, _ in others[:4]))
assert results[60][1] == 1
assert results[500][1] < 0.12

# %% [markdown]
# Half a minute of sound, five hundred steps, and it reads words that it was never given, by people whom it never heard. On the way
# it was silent, then it wrote a T or nothing whatever it heard, then the letters came. Here is the loss of every step, and what is
# heard of the 24 clips that it does not learn from:

# %%


def smooth(values, width=15):
    """A running mean."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


figure, ax = plt.subplots(figsize=(7.4, 2.7))
losses = np.array([entry["loss"] for entry in log])
ax.semilogy(losses, color=plots.GREY, alpha=0.4, linewidth=0.6)
ax.semilogy(np.arange(7, 493), smooth(losses), color=BLUE, label="loss of the\nbatches")
ax.semilogy(list(results), [loss for loss, _ in results.values()], "s", color=GREEN, markersize=4, label="loss of the\nother clips")
ax.set(xlabel="step", ylabel="loss")
right = ax.twinx()
right.plot(list(results)[1:], [wrong for _, wrong in list(results.values())[1:]], "o-", color=VERMILION, markersize=3)
right.set(ylabel="wrong letters (vermilion)", ylim=(0, 1.05), yticks=[0, 0.5, 1], yticklabels=["0", "50 %", "100 %"])
right.spines["right"].set_visible(True)
ax.legend(loc="center left", bbox_to_anchor=(1.12, 0.5))
caption("Loss and wrong letters: a fall, a plateau, and a second fall.")

# %% [markdown]
# Three parts: a fall, a **plateau** that lasts a hundred steps and looks as if nothing went on, and a second fall. Everyone who
# trains with CTC meets this plateau, and many give up on it. What happens there?
#
# ## Blank first
#
# The word of the first picture, at six times. Each panel has the probabilities of the tokens, frame by frame.

# %%
word, sound = others[0]
shown = [0, *range(5, len(tokenizer))]


def says(model, sound):
    """(T, V) probabilities."""
    return np.exp(layers.log_softmax(model(inputs(sound)).logits)[0])


figure, axes = plt.subplots(2, 3, figsize=(7.4, 3.0), sharex=True, sharey=True)
for ax, step in zip(axes.ravel(), [0, 60, 140, 200, 260, 500], strict=True):
    ax.imshow(says(kept[step], sound)[:, shown].T, aspect="auto", vmin=0, vmax=1)
    ax.set_yticks(range(len(shown)), [NAMES[token] for token in shown])
    ax.set(title=f"step {step}", xlabel="frame" if step >= 200 else "")
caption("What the network says, frame by frame, at six times: blank everywhere, then letters.")

blank = {step: np.mean([says(model, s)[:, 0].mean() for _, s in others]) for step, model in kept.items()}
print("mean probability of the blank:", {step: float(round(share, 2)) for step, share in blank.items()})
assert all((heard(kept[140], s) == "T") == (config.frames(len(s)) % 2 == 1) for _, s in others)

# %% [markdown]
# First the blank rises everywhere. Then all frames look alike for a long time. Then letters appear, at first blurred, then sharp.
# (The stripes are the squeeze: two frames are made of one, each with weights of its own. The last frame is the odd one that has
# none, and says what the bias of the head says. On the plateau that is a T, and whoever wrote a T above has an odd number of
# frames.)
#
# Why the blank?
#
# Remember the slope of the loss at a logit, from notebook 08: *what I said minus what was possible*. At the beginning every token
# is said about equally often. But what is possible? Of the states of the lattice every other one is a blank, and of the many paths
# that spell a word most spend most of their time in them. So the blank is possible everywhere, each letter only somewhere, and the
# first thing that all slopes agree about is: more blank. For that a network needs not hear. One number is enough, the blank's bias.

# %%


def lattice(model, word, sound):
    """alpha and beta in the log domain and the posteriors of the states, (T, S) each; and what each token should have, (T, V)."""
    target = tokenizer.encode(word)
    log_probs = layers.log_softmax(model(inputs(sound)).logits)
    problem = ([target], [log_probs.shape[1]], [len(target)])
    alpha, beta = ctc.ctc_alpha(log_probs, *problem, blank=0), ctc.ctc_beta(log_probs, *problem, blank=0)
    possible = np.zeros(log_probs.shape[1:])
    occupancy = ctc.posteriors(alpha, beta)
    for state, token in enumerate(ctc.extended_targets([target], blank=0)[0]):
        possible[:, token] += occupancy[0, :, state]
    return alpha[0], beta[0], occupancy[0], possible


said = np.concatenate([says(fresh, s) for _, s in others]).mean(axis=0)
possible = np.concatenate([lattice(fresh, w, s)[3] for w, s in others]).mean(axis=0)
figure, ax = plt.subplots(figsize=(6.4, 2.1))
places = np.arange(len(NAMES))
ax.bar(places - 0.2, said, width=0.4, color=VERMILION, label="said")
ax.bar(places + 0.2, possible, width=0.4, color=BLUE, label="possible")
ax.set_xticks(places, NAMES)
ax.set(ylabel="share of all frames", title="before the first step")
ax.legend()
caption("Before the first step: how often each token is said, and how often the lattice finds it possible.")
print(f"blank: said {said[0]:.2f}, possible {possible[0]:.2f}")
assert possible[0] > 2 * possible[1:].max()

# %% [markdown]
# How good can a network be that does not hear at all, and says the same in all frames? We can find out: forget the network, take
# one row of logits for all frames of all clips, and let it learn alone. It is the same loop with the `ctc_loss_vjp` as its only
# layer.

# %%
pairs = [(tokenizer.encode(w), config.frames(len(s))) for w, s in known]
deaf, moments = {"row": np.zeros(len(NAMES))}, Moments()
for step in range(150):
    loss, slope = 0.0, np.zeros(len(NAMES))
    for target, frames in pairs[step % 4 :: 4]:  # a quarter of the clips
        rows = np.repeat(deaf["row"][None, None], frames, axis=1)
        log_probs, softmax_back = layers.log_softmax(rows), np.exp(layers.log_softmax(rows))
        found, loss_back = ctc.ctc_loss_vjp(log_probs, [target], [frames], [len(target)], blank=0, reduction="mean")
        dlog = loss_back(np.ones(()))
        slope += (dlog - softmax_back * dlog.sum(axis=2, keepdims=True)).sum(axis=(0, 1)) / 15
        loss += float(found) / 15
    deaf, moments = adamw(deaf, {"row": slope}, moments, rate=learning_rate(step, peak=0.2, steps=150, warmup=10), decay=0.0)
row = np.exp(layers.log_softmax(deaf["row"][None]))[0]
print(f"the best that says the same always: loss {loss:.2f}")
print("it says", {name: float(round(share, 2)) for name, share in zip(NAMES, row, strict=True) if share > 0.005})
print(f"the network, steps 60 to 140: {losses[60:140].mean():.2f}")
assert abs(loss - losses[60:140].mean()) < 0.1
assert row[0] > 0.6

# %% [markdown]
# There it is. The plateau is the best that one can do **without listening**. Getting there is easy, for a few biases are enough. To
# get away from it, convolutions, attention and head have to agree on something: that a certain tone, in a certain frame, makes one
# letter likelier there. Until a first tone has been found, hardly a slope points that way, because where a letter belongs, the
# lattice does not yet know either. Watch what it knows, at four times: alpha (come this far), beta (finish from here), and the
# posteriors (stand here), for the same word.

# %%
letters = ["_" if s % 2 == 0 else word[s // 2] for s in range(2 * len(word) + 1)]
figure, axes = plt.subplots(3, 4, figsize=(7.4, 5.2), sharex=True, sharey=True)
sharpest = {}
for column, step in enumerate([0, 140, 200, 500]):
    *sweeps, occupancy, _ = lattice(kept[step], word, sound)
    sharpest[step] = (occupancy.max(axis=1) > 0.9).mean()
    for ax, values in zip(axes[:, column], [*sweeps, occupancy], strict=True):
        plots.plot_lattice(values, letters, ax=ax, bar=False)
        ax.tick_params(axis="y", labelsize=6.5, length=0)
        ax.set(xlabel="frame" if ax is axes[2, column] else "", ylabel="")
    axes[0, column].set(title=f"step {step}")
for ax, name in zip(axes[:, 0], ("alpha", "beta", "posteriors"), strict=True):
    ax.set(ylabel=name)
caption("The lattice of one word at four times: a cloud, and at the end a line.")
print("frames in which one state has more than 0.9:", {step: f"{share:.0%}" for step, share in sharpest.items()})
assert sharpest[140] == 0
assert sharpest[500] > 0.6

# %% [markdown]
# On the left the posteriors are a cloud along the diagonal: the word has to begin at the beginning and to end at the end, and that
# is all. On the plateau still. But a cloud is a hint. On average it puts the T of STALE a little more where a T is than elsewhere,
# in this clip and in all the others, and what all clips agree about is what remains of an average. As soon as one letter has been
# found, it stands fixed in the lattice, and its neighbours have less room: the cloud is narrower, the hints are better, the next
# letter is found faster. That is why the second fall is so steep. Nobody aligned anything. The network and the lattice taught each
# other.
#
# ## What breaks
#
# Which of all this is needed? The same 60 clips, 250 steps, first without any change of the sounds; then the same without clipping;
# without warm-up; and with four times the rate.

# %%
trials = {
    "as it should be": {},
    "no clipping": {"most": math.inf},
    "no warm-up": {"warmup": 0},
    "rate times four": {"rate": 2e-2},
}
runs, models = {}, {}
for name in ("as it should be", "no clipping"):
    models[name], runs[name], _ = learn(fresh, known, 250, **trials[name])

# %%
for name in ("no warm-up", "rate times four"):
    models[name], runs[name], _ = learn(fresh, known, 250, **trials[name])

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.7))
for (name, entries), color in zip(runs.items(), (BLUE, VERMILION, GREEN, ORANGE), strict=True):
    axes[0].semilogy(np.arange(7, 243), smooth([entry["loss"] for entry in entries]), color=color, label=name)
    axes[1].plot(np.arange(7, 243), smooth([entry["moved"] for entry in entries]), color=color)
axes[0].set(xlabel="step", title="loss", yticks=[1, 2, 4], yticklabels=["1", "2", "4"])
axes[0].minorticks_off()
axes[1].set(xlabel="step", title="length of a step, over the rate", ylim=(0, 1))
axes[0].legend()
caption("Four runs that differ in one thing each: their losses, and how far the weights move at each step.")
ends = {name: np.mean([entry["loss"] for entry in entries[-30:]]) for name, entries in runs.items()}
for name, end in ends.items():
    print(f"{name:16} loss {end:.1f} at the end")
norms = [entry["norm"] for entry in runs["no clipping"]]
print(f"length of the slopes: {np.mean(norms[5:25]):.1f} during the fall, {np.mean(norms[60:120]):.1f} on the plateau")
assert ends["no clipping"] > 1.7
assert ends["rate times four"] > 1.8
assert ends["no warm-up"] < ends["as it should be"] < 1

# %% [markdown]
# **Clipping.** Without it the run sits on the plateau a hundred steps longer. The right picture says why. It shows how far the
# weights move at each step, as a share of the rate. While the loss falls all slopes point the same way, and the steps are long. On
# the plateau they point everywhere, and the steps are short, for the mean of many directions is nearly nothing. But AdamW divides
# by the root of the mean *square*, and that remembers. Without clipping the slopes of the fall are longer than those behind it, and
# as long as their squares are remembered, the few hints on the plateau are divided by too much. With `betas` of 0.9 and 0.98, as
# here, the squares fade within some hundred steps; with 0.999, which is usual, it takes a thousand. Clipped, all slopes were
# equally long from the beginning. (Other initial weights give other times and the same order: tried with three.) With large
# networks clipping has another duty as well: one strange clip, with slopes a hundred times too long, can do no harm.
#
# **Warm-up.** Here it makes no difference, or rather, it costs time: the run without is ahead. We promised that it is needed, so
# why is it not? AdamW's first steps are as long as the rate, whatever the slopes, and made of one or two batches. In a deep network
# with its norms behind the residuals, as SEW has them, the slopes near the head are the largest at first (Xiong et al. 2020, "On
# layer normalization in the transformer architecture"), and a wrong long step there can ruin what stands before it. Our network has
# one layer. There is little to ruin.
#
# **The rate** does break it. Four times as much, and the plateau is for ever: the fall goes so far that nothing comes back. In the
# right picture the steps stay short, for the slopes contradict each other to the end. If a run with CTC does not leave its plateau,
# try a smaller rate before anything else. That is what a warm-up is a remedy for, too: a rate that is right later can be too much
# at first.
#
# ## Learned by heart
#
# The blue run is not as good as it looks. Give it a hundred steps more, and ask: how well does it read the clips that it has
# learned from, and how well the others? We compare it with two runs that make learning by heart harder. **SpecAugment** hides spans
# of frames and of channels at random, **dropout** single numbers, at every step others: no clip is ever seen twice, and nothing can
# hang on one number alone. And the first run of this notebook heard each clip a little faster or slower each time, and higher or
# lower with it.

# %%
drop = dict.fromkeys(("hidden_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"), 0.05)
spec = {"mask_time_prob": 0.06, "mask_time_length": 2, "mask_feature_prob": 0.05, "mask_feature_length": 4}
cover = {"sew.masked_spec_embed": np.zeros(config.hidden_size)}  # what stands in for a hidden frame; it is learned too
hidden = replace(fresh, config=replace(config, **drop, **spec), weights=nest(fresh.flat_weights() | cover))
models["nothing"], _, _ = learn(fresh, known, 350)
models["masks, dropout"], _, _ = learn(hidden, known, 350)
models["other speeds"] = trained

# %%
print(f"{'':16} {'learned from':>22} {'others':>22}")
table = {}
for name in ("nothing", "masks, dropout", "other speeds"):
    table[name] = [tested(models[name], clips) for clips in (known, others)]
    print(f"{name:16}", *(f"  loss {loss:4.2f}, {wrong:3.0%} wrong" for loss, wrong in table[name]))
away = {name: wrong for name, (_, (_, wrong)) in table.items()}
assert table["nothing"][0][1] < 0.01
assert away["masks, dropout"] > away["nothing"] > 2.5 * away["other speeds"]

# %% [markdown]
# With nothing against it the network knows its own clips all but perfectly, and reads a quarter of the letters of the others wrong:
# it has learned *these* recordings by heart. That is easy, with four hundred weights for each clip. Masks and dropout do hinder
# that. Nothing is known by heart any more. But they do not help either: the others' letters are read worse than before, and their
# loss is what it was. What every large model is trained with is of no use here, and we should know why. Masks say "do not rely on
# any one thing". In a network of our size there is no other thing to rely on, and of a word of five letters a hidden one is often
# gone for good.
#
# Look at the last line instead. Other speeds, and with them other pitches, leave a third of the mistakes (it had more steps, but
# that is not why: see step 300 of the first run). Speeds say something true about whistlers, of whom there were eight: the next one
# will be higher or lower. What is known about the world is the best augmentation. Masks are for where little is known, and networks
# are large.
#
# ## Freezing
#
# A new whistler comes to town, a child, whose tones are a third higher than any so far.

# %%
rng = np.random.default_rng(3)
child = (1.35, 0.02, 1.0)
lessons = [(w, whistled(w, child, rng)) for w in WORDS[:10]]
exam = [(w, whistled(w, child, rng)) for w in NEW_WORDS]
outcomes, counts = {"as it was": tested(trained, exam)}, {"as it was": 0}
for what, freeze in {"all weights": (), "all but convolutions": "feature_encoder", "the head": "base"}.items():
    tuned, _, _ = learn(trained, lessons, 60, rate=2e-3, warmup=10, freeze=freeze)
    before = trained.flat_weights()
    counts[what] = sum(weight.size for key, weight in tuned.flat_weights().items() if weight is not before[key])
    outcomes[what] = tested(tuned, exam)
for what, (loss, wrong) in outcomes.items():
    print(f"{what:21} {counts[what]:6,} weights learned: loss {loss:.2f}, {wrong:3.0%} of the letters wrong")
assert counts["all but convolutions"] < 0.7 * counts["all weights"]
assert (
    max(outcomes[what][0] for what in ("all weights", "all but convolutions")) < outcomes["the head"][0] < outcomes["as it was"][0]
)

# %% [markdown]
# What was learned is not lost: from the old weights ten lessons go a long way. With the convolutions **frozen** it learns as well,
# though a third of the weights stand still. They have found out what tones are, and that is the same for a child. They cost nothing
# on the way back either, which in a large SEW is a good part of the work. The head alone does not help much: what it is given has
# the child's tones in the wrong places already. That is the usual choice, too: freeze what hears, teach what understands.
#
# ## The real thing
#
# Now the same with two million weights and eleven words by some hundred voices. `sewnp train --recipe digits-d` does what our
# loop does, with everything switched on at once: joined clips, rooms, noise, speed, SpecAugment, dropout, warm-up, clipping, and
# a running average of the weights. It begins with a network that can tell words, and whose head for letters knows that most
# frames are blank. [Its page](../docs/training.md) tells how and why. This is its log, thinned:

# %%
records = json.loads(Path("curves.json").read_text())
figure, axes = plt.subplots(2, 1, figsize=(7.4, 4.2), height_ratios=(3, 1), sharex=True)
plots.plot_training(records, ax=axes[0])
axes[0].set(xlabel="")
steps = [record for record in records if "lr" in record]
axes[1].plot([record["step"] for record in steps], [record["lr"] for record in steps], color=GREEN)
axes[1].set(xlabel="step", ylabel="rate")
caption("The log of a real run: the loss, the words that are wrong, and the rate.")

rates = [(record["wer"], record["step"]) for record in records if "wer" in record]
print(f"loss {steps[0]['loss']:.1f} at first, {steps[-1]['loss']:.2f} in step {steps[-1]['step']:,} of {records[0]['steps']:,}")
print(f"best of {len(rates)} validations: {min(rates)[0]:.1%} of the words wrong, in step {min(rates)[1]:,}")
assert steps[0]["loss"] > steps[-1]["loss"]
assert rates[0][0] > 2 * min(rates)[0]

# %% [markdown]
# Look for what you know. A plateau first, on which all words are wrong. Then the letters. Where the plan of the run changes, the loss
# may take a step: up when spelled letters, names and long pauses join the digits, down when letters and names leave again. The
# validation, on speakers who are held out, chooses the weights that are kept. The loss of the batches stays well above nothing,
# for what is trained on is noisier and stranger than what is tested with.
#
# ## How the published models began
#
# SEW's published models learned to write from a hundred hours of read books. That is little, for a model with a hundred million
# weights. But before that they had *listened* to 960 hours, without a single word of text (Baevski et al. 2020, "wav2vec 2.0"; Wu
# et al. 2021 for SEW). How does one learn from sound alone? By guessing what is hidden. It takes three things.
#
# **Masks.** Spans of ten frames are hidden, about half of all frames in total, as `masked_spec_embed` stands in for them. The
# network is to say from what is around them what was there.
#
# **A quantiser.** What was there: but in which words? The samples are full of what nobody can guess. So there is a list of typical
# sounds, the **codebook**, and a hidden frame is to be told by its place in that list. Which sounds are typical is learned along.
# Here is a toy: the frames behind our own convolutions, and eight typical ones, found by averaging what is near each other.

# %%
rng = np.random.default_rng(5)


def convolved(sound):
    """(T, 32), what the transformer part is given."""
    seen = {}

    def keep(name, x):
        seen[name] = x
        return x

    trained(inputs(sound), see=keep)
    return seen["layer_norm"][0]


frames = np.concatenate([convolved(s) for _, s in known])


def nearest(x, book):
    """(T,) the place in the book of what is nearest to each frame."""
    return np.square(x[:, None] - book).sum(axis=2).argmin(axis=1)


book = frames[:: len(frames) // 8][:8]
for _ in range(10):
    codes = nearest(frames, book)
    book = np.stack([frames[codes == k].mean(axis=0) if (codes == k).any() else book[k] for k in range(8)])

word, sound = known[34]
x = convolved(sound)
codes = nearest(x, book)
covered = layers.draw_spans((1, len(x)), probability=0.5, length=3, rng=rng)[0]
figure, axes = plt.subplots(3, 1, figsize=(7.4, 3.6), height_ratios=(4, 4, 1), sharex=True)
limit = np.abs(x).max()
axes[0].imshow(x.T, aspect="auto", cmap="PuOr", vmin=-limit, vmax=limit)
axes[1].imshow(np.where(covered[:, None], np.nan, x).T, aspect="auto", cmap="PuOr", vmin=-limit, vmax=limit)
axes[2].imshow(codes[None], aspect="auto", cmap="Set3", vmin=0, vmax=11)
for t, code in enumerate(codes):
    axes[2].text(t, 0, str(code), ha="center", va="center", fontsize=7, color="black" if covered[t] else plots.GREY)
axes[0].set(title=f"{word}: frames behind the convolutions", ylabel="channel")
axes[1].set(title="what the transformer is given (white: hidden)", ylabel="channel")
axes[2].set(title="what it is asked for (black): their places in the codebook", xlabel="frame", yticks=[])
caption("Masking: half of the frames are hidden, and the network is asked which typical sound was there.")

# %% [markdown]
# Equal sounds have equal codes, without a letter being known. (The real codebook has two lists of 320, and a frame is told
# by a place in each: 102,400 combinations.)
#
# To learn which of eight to choose is a difficulty of its own: a choice has no slope. The **Gumbel softmax** is the way out. Add
# random numbers of a certain kind to the scores, $-\log(-\log u)$ with $u$ uniform between 0 and 1, and take the largest: then each
# place is chosen as often as the softmax of its score says. Instead of the largest take a softmax again, of everything divided by a
# **temperature**. Warm, it is a mixture with honest slopes; cold, it is nearly a choice. Pre-training begins at 2 and cools down to
# 0.5.

# %%
scores = -np.square(x[5] - book).sum(axis=1) / 40
noise = -np.log(-np.log(np.random.default_rng(22).random(8)))
figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.0), sharey=True)
axes[0].bar(range(8), layers.softmax(scores), color=plots.GREY)
axes[0].set(title="softmax", xlabel="place", xticks=[0, 2, 4, 6], ylim=(0, 1), ylabel="share")
for ax, temperature in zip(axes[1:], (2.0, 0.5, 0.1), strict=True):
    ax.bar(range(8), layers.softmax((scores + noise) / temperature), color=PURPLE)
    ax.set(title=f"Gumbel, at {temperature}", xlabel="place", xticks=[0, 2, 4, 6])
caption("A choice among eight, and three mixtures that come near it, the colder the nearer.")

draws = (scores - np.log(-np.log(rng.random((20_000, 8))))).argmax(axis=1)
often = np.bincount(draws, minlength=8) / 20_000
assert np.abs(often - layers.softmax(scores)).max() < 0.015

# %% [markdown]
# **A contrastive loss.** Nothing keeps such a game from being too easy: make all codes equal, and every guess is right. So the
# question is not "what was there?" but "which of these was there?" The right code stands among a hundred wrong ones, which are
# taken from other hidden frames of the same recording. The network's answer is a vector, $c$. Its cosine with each candidate, over
# a temperature of 0.1, makes a softmax, and the loss is minus the logarithm of what the right one gets. (A second, smaller loss
# asks that all places of the codebook are used.) In a few lines:

# %%


def contrastive(context, candidates, temperature=0.1):
    """The loss of an answer (C,) where the first of the candidates (K + 1, C) is right, and the shares."""
    cosines = candidates @ context / np.linalg.norm(candidates, axis=1) / np.linalg.norm(context)
    shares = layers.softmax(cosines / temperature)
    return -np.log(shares[0]), shares


hidden_codes = codes[covered]
right = hidden_codes[0]
wrong = [code for code in dict.fromkeys(hidden_codes.tolist()) if code != right]
candidates = book[[right, *wrong]]
guess = rng.normal(size=book.shape[1])
closeness = np.linspace(0, 1, 21)
mixed = [(1 - share) * guess + share * book[right] for share in closeness]
curve = [contrastive(context, candidates)[0] for context in mixed]
figure, axes = plt.subplots(1, 2, figsize=(7.0, 2.3), width_ratios=(3, 2))
axes[0].plot(closeness, curve, label="loss")
axes[0].axhline(math.log(len(candidates)), color=plots.GREY, linestyle="--", label="chance")
axes[0].set(xlabel="how much of the right code is in the answer", ylabel="loss", ylim=(0, None))
axes[0].legend()
for share, color in ((0.2, SKY), (0.6, BLUE)):
    places = np.arange(len(candidates)) + (0.2 if share > 0.5 else -0.2)
    shares = contrastive((1 - share) * guess + share * book[right], candidates)[1]
    axes[1].bar(places, shares, width=0.4, color=color, label=f"{share:.0%} of it")
axes[1].set_xticks(range(len(candidates)), ["right", *["wrong"] * len(wrong)], fontsize=7)
axes[1].set(ylabel="share", ylim=(0, 1))
axes[1].legend()
caption("The contrastive loss: the more of the right code is in the answer, the more of the share it gets.")
assert curve[-1] < 0.1 < curve[0]

# %% [markdown]
# Whoever can play this game knows how sounds follow each other: which ones go together, what a speaker will do next. All of that is
# learned without text, and it is most of what hearing is. SEW has its squeeze for the price of it, since listening to 960 hours
# some hundred times is what costs (notebook 04), and it undoes the squeeze at the end, among other things because the codes come
# fifty times a second.
#
# **Fine-tuning** then drops the quantiser, puts a fresh `lm_head` on top, and trains with CTC, as we did. The convolutions stay as
# they are, always; for the first steps everything but the head does, as with our child. Learning rates are small, masks and dropout
# and LayerDrop (whole layers left out at random) remain, for a hundred hours are soon known by heart. And there is no long plateau:
# what takes our network its hundred steps, to find out that sounds exist, was done before. `sewnp train --model path/to/sew-tiny
# --freeze feature_encoder` is that second half. The first is not built here.
#
# ## The answer
#
# By guessing, being told how wrong the guess was, and changing a little. First it learns what needs no ears: blank, mostly. That is
# a plateau, and its height can be computed. There the lattice knows no more than that words begin at the beginning. But its clouds
# lean the right way, all clips lean together, and when the first letter is found the others follow. What gets it off the plateau
# are small things, steps of a sensible length and a rate that is not too high. What makes it hear others than it knows is to hear
# nothing twice in the same way, and best in ways in which the world itself differs.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read.
#
# **1. The rate** of a step, counted from 0: in a straight line from 0 up to `peak`, which is reached in step `warmup`; then along
# half a cosine down to 0, which is reached in step `steps`.

# %%


def my_rate(step, peak, steps, warmup):
    raise NotImplementedError


attempt(training.check_rate, my_rate)

# %% [markdown]
# **2. Clipping.** `slopes` is a list of arrays. Where all of them together, as one vector, are longer than `most`, shorten them to
# that length; else return them as they are.

# %%


def my_clipping(slopes, most):
    raise NotImplementedError


attempt(training.check_clipping, my_clipping)

# %% [markdown]
# **3. AdamW.** One step for one array of weights. `m` and `v` are the running means so far, of the slopes and of their squares,
# both 0 before the first step; `count` says how many slopes there have been, this one included. Return the new `weight`, `m` and
# `v`.

# %%


def my_adamw(weight, slope, m, v, count, rate, betas, eps, decay):
    raise NotImplementedError


attempt(training.check_adamw, my_adamw)

# %% [markdown]
# **4. Deaf.** What is the loss of a network that says the same in all frames? `row` (V,) has its probabilities, `target` the tokens
# of a text, no two neighbours equal, and there are `frames` frames. You may use `ctc_alpha`, or the forward algorithm as you wrote
# it in notebook 08. Return minus the logarithm of the probability of the text.

# %%


def my_deaf_loss(row, target, frames, blank):
    raise NotImplementedError


attempt(training.check_deaf_loss, my_deaf_loss)

# %% [markdown]
# **5. The contrastive loss** of an answer `context` (C,). The first of the `candidates` (K + 1, C) is the right one. Return one
# number.

# %%


def my_contrastive(context, candidates, temperature):
    raise NotImplementedError


attempt(training.check_contrastive, my_contrastive)

# %% [markdown]
# ## Solutions

# %%


def solved_rate(step, peak, steps, warmup):
    if step < warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def solved_clipping(slopes, most):
    norm = math.sqrt(sum(np.square(slope).sum() for slope in slopes))  # of all of them
    return [slope * min(1, most / norm) for slope in slopes]


def solved_adamw(weight, slope, m, v, count, rate, betas, eps, decay):
    m = betas[0] * m + (1 - betas[0]) * slope
    v = betas[1] * v + (1 - betas[1]) * slope**2
    mean, square = m / (1 - betas[0] ** count), v / (1 - betas[1] ** count)  # they began at zero
    return weight * (1 - rate * decay) - rate * mean / (np.sqrt(square) + eps), m, v


def solved_deaf_loss(row, target, frames, blank):
    log_probs = np.repeat(np.log(row)[None, None], frames, axis=1)
    alpha = ctc.ctc_alpha(log_probs, [target], [frames], [len(target)], blank=blank)
    return -ctc.log_likelihood(alpha, [frames], [len(target)])[0]


def solved_contrastive(context, candidates, temperature):
    cosines = candidates @ context / np.linalg.norm(candidates, axis=1) / np.linalg.norm(context)
    return np.log(np.exp(cosines / temperature).sum()) - cosines[0] / temperature


training.check_rate(solved_rate)
training.check_clipping(solved_clipping)
training.check_adamw(solved_adamw)
training.check_deaf_loss(solved_deaf_loss)
training.check_contrastive(solved_contrastive)
