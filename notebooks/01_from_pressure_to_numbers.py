# %% [markdown]
# # 01 · From pressure to numbers
#
# > What does a network that turns speech into words get to see, and what does it give back?
#
# **Read before:** nothing. You should be at home in Python and NumPy. Everything about sound is explained here.
#
# This is the first of a series of notebooks that take one speech recogniser apart. It is called SEW (Wu et al. 2021, [arXiv
# 2109.06870](https://arxiv.org/abs/2109.06870)). We use a very small one, `digits`, that comes with the package: it knows the
# English digits and nothing else, but it is built of the same parts as its large relatives, with learned weights in every one of
# them. Today we look at it from the outside, at what goes in and what comes out.
#
# How good are the large ones? The usual measure is the **word error rate**: wrong, missing and additional words, divided by the number of
# words that were said. These are the published models' own figures, for audiobooks of LibriSpeech, one half clearly read ("clean") and one
# less so ("other"), after training with 100 hours of transcripts. They come from the models' cards; nothing here can verify them, and
# [one command](../docs/evaluation.md) would.
#
# | model | parameters | errors, clean | errors, other |
# |---|---|---|---|
# | sew-tiny | 41 million | 10.61 % | 23.74 % |
# | sew-d-tiny | 24 million | 10.47 % | 22.73 % |
# | sew-d-mid | 79 million | 4.94 % | 11.51 % |
# | sew-d-mid-k127 | 80 million | 4.99 % | 10.95 % |
# | sew-d-base-plus | 177 million | 4.34 % | 9.45 % |

# %% tags=["setup"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import soundfile
from checks import attempt, caption, play
from checks.waveform import check_alias, check_mix, check_normalise

import sewnp
from sewnp import plots
from sewnp.evaluation import count_characters
from sewnp.layers import softmax
from sewnp.parameters import parameter_count
from sewnp.speech import read_audio, resample

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
model = sewnp.load("digits")

# %% [markdown]
# ## Sound is a list of numbers
#
# Sound is air pressure that rises and falls. A microphone turns the pressure into a voltage, and a converter reads the voltage at
# regular moments, thousands of times a second, and writes each reading down as a whole number. Such a reading is a **sample**,
# the list of them is a **waveform**, and the number of readings in a second is the **sampling rate**, counted in hertz (Hz, "a
# second").
#
# Here is a file with six spoken digits. (The voice is synthetic, which made the file easy to share. It is no stranger to the
# model: part of what the model learned from was spoken by the same speech synthesiser.)

# %%
readings, rate = soundfile.read(clips / "three_one_four.wav", dtype="int16")
print(f"{len(readings):,} samples of type {readings.dtype}, {rate:,} a second: {len(readings) / rate} seconds")
print("ten of them:", readings[7200:7210])
assert (len(readings), rate) == (47_600, 16_000)
assert len(readings) / rate == 2.975

# %% [markdown]
# The readings are 16-bit integers, so they lie between -32,768 and 32,767. Nobody computes with those: we divide by 32,768 and
# get floats from -1 up to (not including) 1. `read_audio` does that, and whatever else a file may need: it decodes FLAC, OGG and
# MP3 too, averages stereo to a single channel, and converts other sampling rates to the 16,000 Hz that the model was trained on.

# %%
samples = read_audio(clips / "three_one_four.wav")
assert samples.dtype == np.float32
assert np.array_equal(samples, readings / 32_768)
assert np.abs(samples).max() < 0.66
assert samples[-8000:].std() < 0.001 * samples.std()  # the last half second

plots.plot_waveform(samples, rate).set_title("six spoken digits")
caption("The whole file. Six bursts are six words; the rest is nearly silence.")
play({"the clip": samples[:38_400], "the clip, backwards": samples[38_400::-1]})

# %% [markdown]
# You can see that somebody says something six times, and that the last half second is nearly silent. You cannot see *what* is
# said, nor could you if the clip ran backwards; but you can hear it. Let us look closer, at 40 thousandths of a second of the sound *th*
# and then of the sound *ee*, both in the first word.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7, 2.2))
for ax, start, sound in zip(axes, (0.27, 0.45), ("th", "ee"), strict=True):
    piece = samples[int(start * rate) :][:640]
    milliseconds = 1000 * np.arange(640) / rate
    ax.plot(milliseconds, piece, linewidth=0.9)
    ax.set(title=f"“{sound}”, from {start} s", xlabel="time (ms)", ylabel="amplitude")
caption("Two sounds of THREE, 40 ms each: noise, and a shape that comes again and again.")

# %% [markdown]
# The *th* is hiss: it looks like random numbers. The *ee* repeats. The vocal cords open and close, each opening gives the air in
# the mouth a knock, and the shape between two knocks says how the mouth stands. So the speed of the repetition is the voice's
# **pitch**, and the *shape* of what is repeated is what tells an *ee* from an *ah*.
#
# How fast does it repeat? We slide the piece along itself and look for the shift at which it fits best.

# %%
piece = samples[7200:8000]  # 0.45 to 0.5 s
fit = np.array([np.corrcoef(piece[:-shift], piece[shift:])[0, 1] for shift in range(1, 201)])

figure, ax = plt.subplots(figsize=(7, 1.9))
ax.plot(np.arange(1, 201), fit)
ax.set(xlabel="shift (samples)", ylabel="correlation", title="how well 50 ms of “ee” fit on themselves, shifted")

best = 40 + np.argmax(fit[39:])  # not among the very small shifts, where any smooth curve fits
ax.plot(best, fit[best - 1], "o", color=plots.COLORS[4])
caption("The second sound held against itself. It fits best, at the dot, when it is shifted by one of its repetitions.")
print(f"the sound repeats every {best} samples: {rate / best:.0f} times a second")
assert best == 72
assert round(rate / best) == 222

# %% [markdown]
# 222 knocks a second: the pitch of this voice at this moment is 222 Hz. A man's voice often lies around 120 Hz, a woman's around
# 200, and it moves all the time. The digit is the same at any pitch. That is the first hint at why recognising speech is hard:
# **most of what is in the numbers has nothing to do with the words.**

# %% [markdown]
# ## How many samples a second are enough?
#
# Between two samples we know nothing. What could hide there? Take a steady tone of 7,000 Hz, a wave that goes up and down 7,000
# times a second, and write down only 8,000 samples a second.

# %%
count = 16
fine = np.linspace(0, count / 8000, 2000)
moments = np.arange(count) / 8000

figure, ax = plt.subplots(figsize=(7, 2))
ax.plot(1000 * fine, np.cos(2 * np.pi * 7000 * fine), color=plots.GREY, linewidth=0.8, label="7,000 Hz")
ax.plot(1000 * fine, np.cos(2 * np.pi * 1000 * fine), label="1,000 Hz")
ax.plot(1000 * moments, np.cos(2 * np.pi * 7000 * moments), "o", color=plots.COLORS[4], label="8,000 samples a second")
ax.set(xlabel="time (ms)", ylabel="amplitude")
figure.legend(loc="outside upper center", ncols=3)
caption("Two tones that leave the same samples, the dots.")

assert np.allclose(np.cos(2 * np.pi * 7000 * moments), np.cos(2 * np.pi * 1000 * moments))

# %% [markdown]
# The samples of the fast wave are, exactly, the samples of a slow one. Once the samples are taken, nobody can tell which it was.
# This is called **aliasing**. The rule behind it: a rate of $r$ samples a second can tell apart frequencies up to $r / 2$, and
# everything faster is folded back and passes for something slower. So 16,000 samples a second keep frequencies up to 8,000 Hz.
#
# Speech has most of its energy below 4,000 Hz, and the classic telephone carried no more than that. Music is sold at 44,100 Hz
# because ears reach to about 20,000. Speech recognisers have settled on 16,000.
#
# Whoever lowers a sampling rate must first remove what would be folded back. `resample` does that. So we can ask how much of the
# range up to 8,000 Hz the model needs: go down to a lower rate, which removes the upper frequencies, and come back up. We count
# how many letters of the text would have to be changed, added or dropped.

# %%
SPOKEN = "THREE ONE FOUR ONE FIVE NINE"


def wrong(text):
    """How many letters and spaces stand between a text and what is said in the clip."""
    return count_characters(SPOKEN, text).errors


heard, limited = {}, {}
for limit in (4000, 2000, 500):
    lower = resample(samples, rate, 2 * limit)
    limited[limit] = resample(lower, 2 * limit, rate)
    heard[limit] = model.transcribe(limited[limit], decoder="greedy").text
    print(f"up to {limit:,} Hz: {heard[limit]}  ({wrong(heard[limit])} of {len(SPOKEN)} wrong)")

folded = resample(np.ascontiguousarray(samples[::4]), rate // 4, rate)  # every fourth sample, and nothing was removed first
to_hear = {f"up to {limit:,} Hz": sound for limit, sound in limited.items()} | {"up to 2,000 Hz, the rest folded back": folded}
play({name: sound[:38_400] for name, sound in to_hear.items()})
assert max(wrong(heard[4000]), wrong(heard[2000])) < len(SPOKEN) / 4
assert wrong(heard[500]) > len(SPOKEN) / 3

# %% [markdown]
# Three quarters of the range can go, and most of this clip is still read, although it sounds as if through a wall; with a
# sixteenth left the model breaks down. Do not take the borders for laws: near its limits such a small model is fickle.
# (`transcribe` is the whole recogniser in one call; the rest of this notebook unfolds it.) The last sound has lost its upper half
# in the wrong way, by leaving samples out. What was above has been folded down into what is left, and rattles.

# %% [markdown]
# ## Loud and quiet: normalisation
#
# How large the numbers are depends on the distance to the microphone and on somebody's volume control. The words do not. So the
# first thing that happens to a waveform is **normalisation**: subtract the mean, then divide by the standard deviation.

# %%
by_hand = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
input_values = model.features(samples).input_values

print("shape", input_values.shape)
print(f"before: mean {samples.mean():.5f}, standard deviation {samples.std():.4f}")
print(f"after:  mean {abs(input_values.mean()):.5f}, standard deviation {input_values.std():.4f}")
assert np.allclose(input_values[0], by_hand, atol=1e-5)
assert input_values.shape == (1, 47_600)

# %% [markdown]
# `model.features` gives what the network is called with. Its first axis counts clips, and there is one. The `1e-7` under the root
# keeps silence from being divided by zero.
#
# A hundred times quieter, or ten times louder: after normalisation it is the same clip. Nearly, for the very quiet one, because
# 1e-7 is no longer small beside its variance.

# %%
for gain in (10, 0.1, 0.01):
    scaled = model.features(samples * np.float32(gain)).input_values
    share = np.abs(scaled - input_values).max() / np.abs(input_values).max()
    print(f"{gain:>5} times as loud: differs by {share:.1%}")
    assert share < (0.001 if gain >= 0.1 else 0.05)

silence = model.features(np.zeros(16_000, dtype=np.float32)).input_values
assert np.all(silence == 0)

# %% [markdown]
# ## What comes out: a row of scores every 20 ms
#
# Now the network itself. It is a function from arrays to arrays.

# %%
logits = model(input_values).logits
print(input_values.shape, "->", logits.shape)
assert logits.shape == (1, 148, model.config.vocab_size)

# %% [markdown]
# 47,600 samples went in, 148 rows of numbers came out. Each row stands for a **frame**, a short stretch of time. Frames follow
# one another every 320 samples, which at 16,000 Hz is 20 ms: 50 frames a second. (Why 148 and not 47,600 / 320 = 148.75, and how
# much of the clip one frame hears, is the subject of notebook 02.)

# %%
seconds_per_frame = model.config.hop / rate
print(f"a frame every {model.config.hop} samples = {seconds_per_frame} s; {len(samples) / model.config.hop} frames would fit")
assert model.config.hop == 320
assert seconds_per_frame == 0.02

# %% [markdown]
# Each number of a row belongs to a **token**, one of the signs that the model can write. Most are letters:

# %%
tokens = [model.tokenizer.token_of(i) for i in range(model.config.vocab_size)]
print(*tokens)
assert len(set(tokens)) == len(tokens) == logits.shape[2]
assert set("ABCDEFGHIJKLMNOPQRSTUVWXYZ") < set(tokens)
assert tokens[0] == "<pad>"
assert tokens[4] == "|"

# %% [markdown]
# `|` stands between words, where you would write a space. The four in angle brackets come with the toolbox that such models are
# made with. Three of them play no part here, but `<pad>`, token 0, has been given a job. It is the **blank**, and it means
# "nothing new in this frame". Its use will be clear in a moment.
#
# The numbers themselves are scores, called **logits**: the higher, the more the model believes in that token for that frame. They
# are turned into **probabilities** by exponentiating and dividing by the sum of the row, which is called *softmax*. Look at the
# frame of the first half second in which the model is surest of a letter:

# %%
probabilities = softmax(logits)[0]
letters = [i for i, token in enumerate(tokens) if token.isalpha()]
frame = int(probabilities[:25, letters].max(axis=1).argmax())
print(f"frame {frame}, {frame * seconds_per_frame:.2f} s into the clip")
for i in np.argsort(-logits[0, frame])[:4]:
    print(f"{tokens[i]:>5}  logit {logits[0, frame, i]:5.2f}  probability {probabilities[frame, i]:.3f}")

assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
assert np.allclose(probabilities[frame], np.exp(logits[0, frame]) / np.exp(logits[0, frame]).sum())
assert tokens[logits[0, frame].argmax()] in "THREE"
assert probabilities[frame].max() > 0.8

# %% [markdown]
# A letter of THREE, with little doubt. In every frame we may take the token with the largest score. Here are all 148 of them,
# with a dot for the blank:

# %%
path = logits[0].argmax(axis=1)
spelled = "".join("·" if i == 0 else tokens[i] for i in path)
print(spelled)
print(f"{np.count_nonzero(path == 0)} of {len(path)} frames are blank")
assert np.count_nonzero(path == 0) > len(path) / 2

# %% [markdown]
# You can nearly read it! Two rules make a text of it:
#
# 1. Equal tokens in neighbouring frames are merged: a sound may last longer than a frame, and `|||` is one gap between words.
# 2. Then the blanks are dropped.
#
# And here is what the blank is good for. Speech has far more frames than letters, so something must fill the rest. And without it
# the two letters of the EE in THREE would be merged into one: the model has to write `E·E`. (How a model *learns* when to say
# what, although nobody ever told it, is the subject of notebook 08.)

# %%
merged = [token for i, token in enumerate(path) if i == 0 or token != path[i - 1]]
text = "".join(tokens[token] for token in merged if token != 0).replace("|", " ")
print(text)
assert wrong(text) < len(SPOKEN) / 4

E = tokens.index("E")
assert model.tokenizer.decode([E, E]) == "E"
assert model.tokenizer.decode([E, 0, E]) == "EE"

# %% [markdown]
# A wrong letter here and there is no wonder: nothing tells the network which words there are.
#
# The same as a picture. Each line is the probability of one token. The model writes in spikes: one or two frames for a letter,
# and blank between them.

# %%
figure, ax = plt.subplots(figsize=(7.2, 2.5))
plots.plot_posteriors(probabilities, tokens, seconds_per_frame=seconds_per_frame, top=11, ax=ax)
ax.set_xlim(0.2, 1.15)
ax.set_title("the first three words")
caption("How likely each token is over time, one line a token. Where no letter stands out, the blank does.")

# %% [markdown]
# ## The whole pipeline in five lines
#
# That was all. From a file to its words:

# %%
samples = read_audio(clips / "three_one_four.wav")
input_values = model.features(samples).input_values
logits = model(input_values).logits
path = logits[0].argmax(axis=1)
print(model.tokenizer.decode(path))

assert model.tokenizer.decode(path) == text.strip()

# %% [markdown]
# `model.transcribe` does that too, but looks for the words that the model's folder lists, so that it writes no other (notebook 12
# tells how). And it keeps the frames in which each word's letters were written. Multiplied by 20 ms they are times:

# %%
transcript = model.transcribe(clips / "three_one_four.wav")
for word in transcript.words:
    print(f"{word.start:4.2f} to {word.end:4.2f} s  {word.text}")

plots.plot_waveform(samples, rate, words=transcript.words)
caption("The clip, and the frames in which the letters of each word were written.")
assert wrong(transcript.text) < len(SPOKEN) / 4
assert 0.25 < transcript.words[0].start < transcript.words[0].end < 0.6
assert sum(word.end - word.start for word in transcript.words) < 0.7 * (transcript.words[-1].end - transcript.words[0].start)

# %% [markdown]
# The shaded stretches are shorter than the sounds: they are the frames in which the model wrote the letters. Where in a word it
# does that is left to it.
#
# Everything between `input_values` and `logits` is the network, some two million learned numbers. Here it is from top to bottom,
# for one second of sound. You are not expected to understand the names yet: the next seven notebooks go down this picture stage
# by stage.

# %%
figure, ax = plt.subplots(figsize=(7.5, 5.6))
plots.plot_architecture(model.config, head="ctc", ax=ax)
caption("The network from the samples, above, to the tokens, below: frame rates, channels, and where they change.")
parameters = sum(weight.size for weight in model.flat_weights().values())
print(f"{parameters:,} learned numbers")
assert 2.1e6 < parameters < 2.2e6

# %% [markdown]
# ## What this model can and cannot hear
#
# What it learned from stands on [its card](../sewnp/pretrained/digits/README.md): digits spoken by people and by speech
# synthesisers. These are the clips that come with the package. (`decoder="greedy"` takes each letter as it is written, as our
# five lines did.)

# %%
truth = dict(line.split("\t") for line in (clips / "manifest.tsv").read_text().splitlines())
heard = {name: model.transcribe(clips / name, decoder="greedy").text for name in truth}
for name, text in truth.items():
    print(f"{'right' if heard[name] == text else 'WRONG'}  {text}")
    if heard[name] != text:
        print(f"    read {heard[name]}")

astray = sum(count_characters(truth[name], heard[name]).errors for name in truth)
print(f"{astray} of {sum(map(len, truth.values()))} letters and spaces wrong")
assert astray < 0.25 * sum(map(len, truth.values()))

published = [parameter_count(config, "ctc") for config in sewnp.PRESETS.values() if config.model_type == "sew"]
assert [round(min(published) / parameters), round(max(published) / parameters)] == [19, 81]

# %% [markdown]
# Left to itself it spells letter by letter and knows no words, so it can write words that do not exist. On people whom it has
# never heard it makes more mistakes; its card has the measurements. The published SEW models are 19 to 81 times as large, learned
# from hundreds of hours of speech, and do far better. This one exists to be looked at.
#
# Which disturbances does it withstand? Hiss, for one: we add random numbers, as strong as a given share of the speech.

# %%
hiss = np.random.default_rng(0).standard_normal(len(samples)).astype(np.float32)
noisy = {}
for share in (0.3, 1.0, 2.0):
    noisy[share] = model.transcribe(samples + share * samples.std() * hiss, decoder="greedy").text
    print(f"hiss of {share:.0%} of the speech: {noisy[share]}  ({wrong(noisy[share])} of {len(SPOKEN)} wrong)")

play({f"hiss of {share:.0%}": (samples + share * samples.std() * hiss)[:38_400] for share in (0.3, 2.0)})
assert wrong(noisy[0.3]) < len(SPOKEN) / 4
assert wrong(noisy[2.0]) > wrong(noisy[0.3])

# %% [markdown]
# Speech played at the wrong speed is another matter. If a clip says 16,000 samples a second and we claim that it had 8,000, it is
# stretched to twice its length and everything sounds at half its pitch. And what is not speech, or not digits, is still written
# in digits or not at all: the model has nothing else to say.

# %%
strange = {
    "half the speed": model.transcribe(samples, sampling_rate=8000, decoder="greedy").text,
    "one and a half times the speed": model.transcribe(samples, sampling_rate=24_000, decoder="greedy").text,
    "played backwards": model.transcribe(samples[::-1].copy(), decoder="greedy").text,
    "hiss alone": model.transcribe(hiss, decoder="greedy").text,
    "silence": model.transcribe(np.zeros(16_000, dtype=np.float32)).text,
}
for what, text in strange.items():
    print(f"{what}: {text or '(nothing)'}")

assert set("".join(strange.values())) <= set("ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE")
assert len(strange["silence"]) < len(strange["played backwards"])
assert all(wrong(text) > 2 for text in strange.values())

# %% [markdown]
# Played backwards, the clip becomes a row of digits, more or less well spelled, as if these had been said. The model has no way
# to answer "this is no digit".

# %% [markdown]
# ## The answer
#
# The network gets a **waveform**: a list of pressure readings, 16,000 a second, shifted and scaled so that their mean is 0 and
# their standard deviation is 1. It gives back one row of **logits** every 20 ms: a score for each of its **tokens**, 26 of them
# letters, one the gap between words, one the **blank**, "nothing new". Taking the best token of each frame, merging repeats and
# dropping blanks gives the text.

# %% [markdown]
# ## Exercises
#
# Write each function and run its cell: the check says what is not right yet. The solutions are below.
#
# **1. Normalise.** Zero mean, and unit variance up to the 1e-7 under the root, whatever array of floats comes in. The input must
# not be changed.


# %%
def normalise(samples):
    """Zero mean and unit variance.  (n,) -> (n,)"""
    raise NotImplementedError


attempt(check_normalise, normalise)

# %% [markdown]
# **2. Which tone is heard?** A tone of `frequency` Hz is sampled `sampling_rate` times a second, without removing anything first.
# Which frequency, from 0 to half the sampling rate, has the same samples? (7,000 Hz at 8,000 samples a second is 1,000 Hz. What
# are 9,000 Hz?)


# %%
def alias(frequency, sampling_rate):
    """The frequency from 0 to sampling_rate / 2 that a sampled tone passes for, in Hz."""
    raise NotImplementedError


attempt(check_alias, alias)

# %% [markdown]
# **3. Mix at a given ratio.** How strong speech is beside noise is usually given in decibels: $10 \log_{10}(P_s / P_n)$, where a
# **power** $P$ is the mean of the squared samples. Equal powers are 0 dB, and every 10 dB more is a factor of ten. Leave the
# speech as it is, scale the noise so that the ratio is `decibels`, and return the sum.


# %%
def mix(speech, noise, decibels):
    """Speech plus scaled noise, (n,), so that 10 log10(power of speech / power of noise) is ``decibels``."""
    raise NotImplementedError


attempt(check_mix, mix)

# %% [markdown]
# With `mix`, find out at how many decibels the model begins to lose words of this clip. Then try another seed for the noise.

# %% [markdown]
# ## Solutions


# %%
def normalise(samples):
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


check_normalise(normalise)


# %%
def alias(frequency, sampling_rate):
    folded = frequency % sampling_rate  # whole turns between two samples do not show
    return min(folded, sampling_rate - folded)  # and a wave that turns backwards looks like one that turns forwards


check_alias(alias)


# %%
def mix(speech, noise, decibels):
    wanted = np.mean(speech**2) / 10 ** (decibels / 10)  # the noise's power
    return speech + noise * np.sqrt(wanted / np.mean(noise**2))


check_mix(mix)


# %%
astray = {}
for decibels in (5, 0, -10):
    noises = [np.random.default_rng(seed).standard_normal(len(samples)) for seed in (1, 2)]
    texts = [model.transcribe(mix(samples, noise, decibels), decoder="greedy").text for noise in noises]
    astray[decibels] = [wrong(text) for text in texts]
    print(f"{decibels:3} dB: {astray[decibels]} of {len(SPOKEN)} letters and spaces wrong;  {texts[0]}")

assert max(astray[5]) < len(SPOKEN) / 3
assert max(astray[5] + astray[0]) < min(astray[-10])
assert min(astray[-10]) > len(SPOKEN) / 2

# %% [markdown]
# Most of the text survives a hiss that is as strong as the speech (0 dB), and next to nothing one that is ten times as strong
# (-10 dB). In between the count varies from noise to noise, and need not even grow with it: one clip is not a measurement.
