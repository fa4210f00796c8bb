# %% [markdown]
# # 02 · Strided convolutions
#
# > How do 16,000 samples a second become 50 frames a second, and how much sound does one frame hear?
#
# **Read before:** notebook 01 (waveform, sampling rate, frame).

# %% tags=["setup"]
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, play, show_source
from checks.convolution import check_convolve, check_frames, check_receptive_field

import sewnp
from sewnp import plots
from sewnp.costs import stages
from sewnp.layers import conv1d, conv_length
from sewnp.speech import read_audio

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
model = sewnp.load("digits", engine="textbook")
samples = read_audio(clips / "three_one_four.wav")
rate = 16_000

# %% [markdown]
# ## A small pattern, slid along the signal
#
# A single sound of speech lasts some 50 to 100 ms, a thousand samples and more. Nobody can read it off a single sample. So the
# first part of the network makes fewer numbers that each say more: 50 frames a second instead of 16,000 samples, and in each
# frame 128 numbers instead of one. Its tool is convolution.
#
# Take a short list of weights, the **kernel**. Lay it on the signal, multiply each weight with the number under it, add up: one
# number. Move the kernel one step, and again. What comes out depends on the weights. Here are two kernels on a signal that jumps
# up and later down.

# %%
signal = np.zeros(30)
signal[8:20] = 1.0
signal[14] = 1.6


def slide(signal, kernel):
    return np.array([np.dot(signal[start : start + len(kernel)], kernel) for start in range(len(signal) - len(kernel) + 1)])


change, mean = slide(signal, [-1, 1]), slide(signal, [0.2] * 5)

figure, axes = plt.subplots(1, 3, figsize=(7.2, 1.8), sharey=True)
for ax, values, title in zip(axes, (signal, change, mean), ("signal", "kernel -1, 1", "kernel 0.2, five times"), strict=True):
    ax.stem(values, basefmt=" ", markerfmt=".")
    ax.set(title=title, xlabel="sample")
axes[0].set_ylabel("value")
caption("A signal, and what two kernels make of it: one answers to changes, one smooths.")

assert np.array_equal(np.flatnonzero(change), [7, 13, 14, 19])
assert len(change) == 29
assert len(mean) == 26

# %% [markdown]
# The first kernel answers where something *changes*, the second smooths. A kernel is a question, asked at every place, and the
# answer is large where the signal looks like the kernel. In a network the weights are learned: training looks for the questions
# whose answers help to spell.
#
# (In mathematics the kernel of a convolution is turned round first. Networks do not bother, since the weights are learned anyway.
# `np.convolve` does turn it.)

# %%
assert np.allclose(slide(signal, [-1, 1]), np.convolve(signal, [1, -1], mode="valid"))

# %% [markdown]
# ## Channels: many questions at once
#
# One kernel gives one number per place. The first layer of `digits` has 32 kernels of 10 weights each, so at each place it gives
# 32 numbers. We call them the frame's **channels**. The next layer reads all 32 channels: each of *its* kernels has 3 weights for
# each of them, 96 weights in all. So the weights of a layer form an array of three axes: channels out, channels in, **taps** (the
# places of the kernel).

# %%
layers = model.weights["sew"]["feature_extractor"]["conv_layers"]
for i in (0, 1):
    print(f"layer {i}: weight of shape", layers[i]["conv"]["weight"].shape)

assert layers[0]["conv"]["weight"].shape == (32, 1, 10)
assert layers[1]["conv"]["weight"].shape == (64, 32, 3)

# %% [markdown]
# ## Stride: not at every place
#
# Neighbouring places give nearly the same answers. So the kernel need not visit all of them. The **stride** is the step from one
# place to the next. The first layer has stride 5: from 16,000 samples a second it makes 3,200 frames.
#
# Which samples does a layer of 3 taps and stride 2 read?

# %%
figure, ax = plt.subplots(figsize=(7, 2))
taps, stride, length = 3, 2, 12
count = conv_length(length, kernel=taps, stride=stride)
grid = np.full((count, length), np.nan)
for frame in range(count):
    for tap in range(taps):
        grid[frame, stride * frame + tap] = tap
        ax.text(stride * frame + tap, frame, tap, ha="center", va="center", color="white" if tap < 2 else "black")
ax.imshow(grid, cmap="viridis", aspect="auto", vmin=0, vmax=2)
ax.set(
    xlabel="sample",
    ylabel="frame",
    xticks=range(length),
    yticks=range(count),
    title="which sample meets which tap: kernel 3, stride 2",
)
caption("Each row is a frame. The number is the tap that meets the sample; the last sample meets none.")

assert count == 5

# %% [markdown]
# Five frames, and sample 11 is read by nobody: a sixth frame would need samples 10, 11 and 12. In general the last of the $T'$
# frames begins at sample $(T' - 1) \cdot \text{stride}$ and has to end within the signal, which gives
#
# $$T' = \left\lfloor \frac{T - K}{\text{stride}} \right\rfloor + 1$$
#
# for $T$ samples and $K$ taps, rounded down. That is `conv_length`.
#
# Now read the picture by colour. Tap 0 meets samples 0, 2, 4, 6, 8; tap 1 meets 1, 3, 5, 7, 9; tap 2 meets 2, 4, 6, 8, 10. **For
# one tap the samples are a slice with a step**, and what happens to them is a matrix product: the channels of each sample times
# that tap's weights. A convolution is the sum of one such product for each tap. This is how the package computes it:

# %%
show_source(conv1d, bare=True)

# %% [markdown]
# The axes are (clip, time, channels). `x[:, k : ... : stride]` are the samples that tap `k` meets, `weight[:, :, k].T` is a
# matrix from channels in to channels out, and `@` multiplies each frame by it.
#
# Does it do what sliding does? One example with all the loops written out:

# %%
rng = np.random.default_rng(0)
x, weight = rng.standard_normal((1, 12, 4)), rng.standard_normal((6, 4, 3))

by_loops = np.zeros((1, 5, 6))
for frame in range(5):
    for out in range(6):
        for channel in range(4):
            for tap in range(3):
                by_loops[0, frame, out] += x[0, 2 * frame + tap, channel] * weight[out, channel, tap]

assert np.allclose(conv1d(x, weight, stride=2), by_loops)

# %% [markdown]
# With one tap and stride 1 there is no sliding left. The layer mixes the channels of each frame, and time plays no part. It
# sounds like a waste of the word convolution, but 6 of the 13 layers are like that: first a layer looks a little around in time,
# then one thinks about what it saw.

# %%
weight = rng.standard_normal((6, 4, 1))
assert np.allclose(conv1d(x, weight), x @ weight[:, :, 0].T)
assert sum(kernel == 1 for kernel in model.config.conv_kernel) == 6
assert len(model.config.conv_kernel) == 13

# %% [markdown]
# ## Thirteen layers in a row
#
# The frames of one layer are the samples of the next. Here is what becomes of our clip:

# %%
length = len(samples)
print("layer  kernel  stride  frames  channels")
print(f"{length:>22,}         1")
for i, (kernel, stride, channels) in enumerate(
    zip(model.config.conv_kernel, model.config.conv_stride, model.config.conv_dim, strict=True)
):
    length = conv_length(length, kernel=kernel, stride=stride)
    print(f"{i:5}  {kernel:6}  {stride:6}  {length:6,}  {channels:8}")

assert length == model.config.frames(len(samples)) == 148

# %% [markdown]
# 148 frames, as we found in notebook 01. The reason that it is not 148.75, or 149: at each stage, what does not fill a kernel is
# left over.
#
# A step of one frame behind the first layer is 5 samples. Behind the next layer with a stride of 2 it is 2 of those steps, 10
# samples, and so on. The distance of two frames at the end, the **hop**, is the product of all strides.

# %%
hop = np.prod(model.config.conv_stride)
print(" × ".join(str(stride) for stride in model.config.conv_stride if stride > 1), "=", hop)
print(f"{hop / rate * 1000:.0f} ms, {rate // hop} frames a second")

assert hop == model.config.hop == 320
assert rate / hop == 50

# %% [markdown]
# ## How much sound does one frame hear?
#
# Not 320 samples. The kernels overlap. Go backwards: one frame at the end reads, in the last layer, one frame (kernel 1). That
# one reads 2 frames of the layer before it (kernel 2). In general, $n$ frames that follow one another, each reading $K$ frames
# and each a stride further, together read
#
# $$(n - 1) \cdot \text{stride} + K$$
#
# frames of the layer before. Apply that from the last layer to the first, starting with $n = 1$. What arrives at the waveform is
# the **receptive field**.

# %%
heard = 1
fields = [heard]
for kernel, stride in zip(reversed(model.config.conv_kernel), reversed(model.config.conv_stride), strict=True):
    heard = (heard - 1) * stride + kernel
    fields.append(heard)

print("backwards:", *fields)
print(f"one frame hears {heard} samples, {heard / rate * 1000:.0f} ms; it shares {heard - hop} of them with the next")
assert heard == model.config.receptive_field == 400
assert heard / rate == 0.025
assert heard - hop == 80

# %% [markdown]
# 25 ms of sound, every 20 ms. That is no accident: speech recognisers have cut speech into such pieces for decades. It is long
# enough for several knocks of the vocal cords, and so short that the mouth hardly moves.
#
# ## Measured
#
# Derivations can be wrong. Let us measure. The idea: give the stack a signal that is silent but for one sample, and look which
# frames notice. We want to do that for every sample, so for many signals. A network can run several signals of one length side by
# side, in one array with one row for each; such an array is called a **batch**. The identity matrix is a batch of exactly the
# signals that we need!
#
# Between its convolutions the network does two more things, the subject of notebook 03: a bend of each single number, and, once,
# a normalisation. We leave both out and chain the bare convolutions, with their learned weights.


# %%
def bare_stack(waveforms):
    x = waveforms[:, :, None]  # (clips, samples, 1 channel)
    for layer, stride in zip(layers, model.config.conv_stride, strict=True):
        x = conv1d(x, layer["conv"]["weight"], stride=stride)
    return x


length = model.config.samples_for(3)  # just enough for three frames
impulses = np.eye(length, dtype=np.float32)
response = bare_stack(impulses)
print(length, "signals of", length, "samples ->", response.shape)

strength = np.abs(response).max(axis=2)  # (sample, frame): the largest channel
assert response.shape == (1040, 3, 128)
for frame in range(3):
    noticed = np.flatnonzero(strength[:, frame])
    print(f"frame {frame} notices samples {noticed.min()} to {noticed.max()}")
    assert np.array_equal(noticed, np.arange(320 * frame, 320 * frame + 400))

# %%
figure, ax = plt.subplots(figsize=(7, 2.2))
for frame in range(3):
    ax.plot(strength[:, frame], color=plots.COLORS[frame], linewidth=0.9, label=f"frame {frame}")
    ax.axvspan(320 * frame, 320 * frame + 400, color=plots.COLORS[frame], alpha=0.12, linewidth=0)
ax.set(xlabel="sample", ylabel="largest answer", title="what one sample does to each frame")
figure.legend(loc="outside right center")
caption("An impulse at each sample in turn, and how much each of three frames answers. The shaded bands are what each can hear.")

# %% [markdown]
# Frame $t$ hears samples $320\,t$ to $320\,t + 399$, to the sample, and the 80 samples that two frames share show as overlaps.
# Where the answer is not zero, do not read much into its height: the network was never trained to run without what we have left
# out.
#
# We have found more than a border, by the way. A sum of multiples of impulses is any signal, and the bare stack gives the same
# sum of multiples of their answers. So **thirteen convolutions in a row are one convolution**, with 400 taps and stride 320,
# whose kernel we have just measured:

# %%
kernel = response[:400, 0].T[:, None]  # (128, 1, 400)
waveform = model.features(samples).input_values
in_one = conv1d(waveform[:, :, None], kernel, stride=320)
in_thirteen = bare_stack(waveform)
assert kernel.shape == (128, 1, 400)
assert np.abs(in_one - in_thirteen).max() < 1e-5 * np.abs(in_thirteen).max()

# %% [markdown]
# Then why thirteen? Because without anything in between they would indeed be a waste. The bends between them are what makes a
# deep stack able to say more than one layer can. They are applied to every number for itself, so they do not move a border: the
# field stays 400 samples.
#
# The normalisation is different: it looks at the whole clip. In the complete model we change one sample by 1 (the loudest one is
# 6.2) and look at the frames behind the stack. To look inside, we pass an observer: a function `see` that is shown every stage by
# name, and hands its value back.


# %%
def frames_behind_the_stack(waveform):
    kept = {}

    def see(name, x):
        if name == "feature_extractor.conv_layers.12.activation":
            kept["frames"] = x[0]
        return x

    model(waveform, see=see)
    return kept["frames"]


touched = waveform.copy()
touched[0, 16_000] += 1
difference = np.abs(frames_behind_the_stack(touched) - frames_behind_the_stack(waveform)).max(axis=1)

figure, ax = plt.subplots(figsize=(7, 2))
ax.semilogy(0.02 * np.arange(148), difference, ".-", linewidth=0.7)
ax.set(xlabel="time of the frame (s)", ylabel="largest change", title="one sample changed, at 1 s: the complete stack")
caption("How far each frame moves when a single sample does. Two frames hear it; all others move through the normalisation.")

assert round(float(np.abs(waveform).max()), 1) == 6.2
assert set(np.argsort(-difference)[:2]) == {49, 50}
assert difference.min() > 0
assert difference[[49, 50]].min() > 3 * np.delete(difference, [49, 50]).max()

# %% [markdown]
# The two frames whose fields contain the sample, 49 and 50, change by far the most, but all the others change a little, the
# silent ones at the end included. That is the normalisation over the whole clip, and notebook 03 is about it.
#
# Further on, a part called the transformer lets every frame look at every other (notebook 06). So the letter that is written at a
# frame can depend on the whole clip. What the receptive field limits is what a frame knows *before* it asks the others.

# %% [markdown]
# ## What has the first layer learned to ask?
#
# Its 32 kernels are the only ones that meet the sound itself, so we can look at them.

# %%
first = layers[0]["conv"]["weight"][:, 0]  # (32, 10)

figure, axes = plt.subplots(4, 8, figsize=(7.2, 2.8), sharex=True, sharey=True)
for i, (ax, taps) in enumerate(zip(axes.flat, first, strict=True)):
    ax.axhline(0, color=plots.GREY, linewidth=0.5)
    ax.plot(1000 * np.arange(10) / rate, taps, ".-", markersize=3, linewidth=0.9)
    ax.set_title(i, fontsize=7, pad=1)
    ax.tick_params(labelsize=7)
figure.supxlabel("time (ms)", fontsize=8)
figure.supylabel("weight", fontsize=8)
caption("All kernels of the first layer, ten taps each.")

assert first.shape == (32, 10)

# %% [markdown]
# Some are smooth, some go up and down quickly. There is a better way to look at a wave: by asking how much of which tone is in
# it.
#
# Every list of numbers can be written as a sum of steady tones. How strong each tone is in the sum is the list's **spectrum**,
# and `np.fft.rfft` computes it. The spectrum of a *sound* says which frequencies it is made of. The spectrum of a *kernel* says
# which frequencies it answers to: its answer to a steady tone is a tone of the same frequency, with its height multiplied by the
# kernel's spectrum there. Let us check that for one tone.

# %%
frequencies = np.fft.rfftfreq(512, 1 / rate)
answers = np.abs(np.fft.rfft(first, 512, axis=1))  # (32, 257): zeros are appended up to 512, for a finer picture

at = 63  # one of the 257 frequencies
tone = np.cos(2 * np.pi * frequencies[at] * np.arange(4000) / rate)
loudest = int(answers[:, at].argmax())
answered = slide(tone, first[loudest])
said = answers[loudest, at]
print(f"{frequencies[at]:.0f} Hz: kernel {loudest} gives a wave of height {answered.max():.3f}, its spectrum says {said:.3f}")
assert frequencies[at] == 1968.75
assert abs(answered.max() - said) < 0.02 * said

# %% [markdown]
# Here are the spectra of all 32 kernels, one a row, each scaled to a largest value of 1 and sorted by the frequency it answers to
# most.

# %%
peaks = frequencies[answers.argmax(axis=1)]
order = np.argsort(peaks, kind="stable")
shown = answers[order] / answers[order].max(axis=1, keepdims=True)

figure, ax = plt.subplots(figsize=(7, 3))
image = ax.imshow(shown, aspect="auto", cmap="viridis", extent=(0, rate / 2, 31.5, -0.5), vmin=0, vmax=1)
ax.plot(peaks[order], np.arange(32), "o", color="white", markersize=3)
ax.set(xlabel="frequency (Hz)", ylabel="kernel, sorted", title="what each kernel of the first layer answers to")
figure.colorbar(image, label="share of its largest answer")
caption("A kernel a row: how strongly it answers to each frequency. The dot is the frequency it likes best.")
low, high = first[order[0]], first[order[-1]]
play(
    {
        "the clip": samples[:38_400],
        "what the lowest kernel lets pass": slide(samples[:38_400], low),
        "and the highest": slide(samples[:38_400], high),
    }
)

print("kernels with their largest answer")
counts, edges = np.histogram(peaks, [0, 2000, 4000, 6000, 8000])
for count, low in zip(counts, edges, strict=False):
    print(f"  from {low} to {low + 2000} Hz: {count}")
assert counts.sum() == 32
assert counts.min() >= 2

# %% [markdown]
# Heard through the kernel with the lowest peak the clip is dull, and through the one with the highest it is thin and hissing. (These are
# the answers at every place; the layer keeps every fifth.) Together the kernels cover the whole range, and each answers to a broad band.
# That is no surprise: ten taps last 0.6 ms, and to tell 1,000 Hz from 1,100 Hz one has to listen for longer. The later layers can.
#
# It is tempting to say that the model has discovered frequencies here. Before we say such a thing we need a control: what would
# kernels look like that have learned nothing?


# %%
def narrowness(kernels):
    """The mean share of a kernel's answers that lies within 1,000 Hz of its largest one."""
    powers = np.abs(np.fft.rfft(kernels, 512, axis=1)) ** 2
    shares = [np.sum(power[np.abs(frequencies - frequencies[power.argmax()]) <= 1000]) / power.sum() for power in powers]
    return np.mean(shares)


random_sets = [narrowness(np.random.default_rng(seed).standard_normal((32, 10))) for seed in range(100)]
print(f"learned: {narrowness(first):.2f}; random: {np.mean(random_sets):.2f}, give or take {np.std(random_sets):.2f}")
assert np.abs(narrowness(first) - np.mean(random_sets)) < 4 * np.std(random_sets)

# %% [markdown]
# Random kernels are about as narrow as the learned ones, and any 32 of them answer to something different each: their picture
# looks much like the one above. So that picture shows what ten taps can do, not what training has done. What training did change
# in this layer, this measure does not see; and for the large published models, trained for much longer, the question would have
# to be asked again.
#
# Random or not: do their answers tell the *th* of notebook 01 from the *ee*? Above, the two sounds' spectra. Below, how strongly
# each kernel answers to them, drawn at the frequency of its peak.

# %%
pieces = {"th": samples[4320:4960], "ee": samples[7200:7840]}  # 40 ms each
figure, axes = plt.subplots(2, 2, figsize=(7.2, 3.6), sharex=True)
sound_share, answer_share = {}, {}
for column, (sound, piece) in enumerate(pieces.items()):
    windowed = piece * np.hanning(len(piece))  # faded in and out, so that the cut itself makes no sound
    spectrum = np.abs(np.fft.rfft(windowed))
    tones = np.fft.rfftfreq(len(piece), 1 / rate)
    answer = conv1d(piece[None, :, None], layers[0]["conv"]["weight"], stride=5)[0]
    strength = np.sqrt(np.mean(answer**2, axis=0))  # (32,)
    sound_share[sound] = np.sum(spectrum[tones > 3000] ** 2) / np.sum(spectrum**2)
    answer_share[sound] = np.sum(strength[peaks > 3000] ** 2) / np.sum(strength**2)
    axes[0, column].plot(tones, spectrum, linewidth=0.9)
    axes[0, column].set_title(f"“{sound}”")
    axes[1, column].vlines(peaks, 0, strength, color=plots.COLORS[4])
    axes[1, column].plot(peaks, strength, "o", color=plots.COLORS[4], markersize=3)
    axes[1, column].set_xlabel("frequency (Hz)")
axes[0, 0].set_ylabel("spectrum")
axes[1, 0].set_ylabel("kernels' answers")
caption("Two sounds, above by their own frequencies, below by the answers of the kernels.")

for sound in pieces:
    print(f"{sound}: {sound_share[sound]:.0%} of the sound's power and {answer_share[sound]:.0%} of the answers' is above 3,000 Hz")
assert [round(100 * sound_share[sound]) for sound in pieces] == [99, 4]
assert 0.1 < answer_share["th"] - answer_share["ee"] < sound_share["th"] - sound_share["ee"]

# %% [markdown]
# The *th* is nearly all above 3,000 Hz, the *ee* nearly all below. In the answers the difference is there, but blurred, since
# each kernel lets through a part of what is far from its peak. The first layer begins to sort tones; to finish it takes the
# layers behind. What those ask cannot be drawn so simply: their inputs are answers to questions.

# %% [markdown]
# ## What it costs
#
# Each frame of each layer takes channels in × channels out × taps multiplications, and an addition with each. The package counts
# these **multiply-adds**, here for a second of sound:

# %%
story = stages(model.config, rate)
total = sum(stage.multiply_adds for stage in story)
convolutions = [stage for stage in story if stage.name.startswith("convolution")]
cost = sum(stage.multiply_adds for stage in convolutions)
for stage in convolutions:
    print(f"{stage.name:>15}  {stage.frames:5,} × {stage.channels:<3}  {stage.multiply_adds / 1e6:5.2f} million")
print(f"together {cost / 1e6:.1f} million, {cost / total:.0%} of the network's {total / 1e6:.0f} million")

assert convolutions[1].multiply_adds == 1599 * 32 * 64 * 3 == 9_824_256
assert max(stage.multiply_adds for stage in convolutions) == convolutions[1].multiply_adds
assert round(100 * cost / total) == 53
assert sum(stage.parameters for stage in convolutions) / sum(stage.parameters for stage in story) < 0.09

# %% [markdown]
# More than half of the work, with less than a tenth of the learned numbers: early layers are small, but there are many frames to
# apply them to. That is why the channels start few and grow only as the frames get fewer, and it is one of the things that SEW
# changed about its ancestor, wav2vec 2.0, which has 512 channels from the first layer on.

# %% [markdown]
# ## The answer
#
# Thirteen convolutions, each a sum of shifted matrix products, shorten the sequence by strides whose product, the **hop**, is
# 320: 16,000 samples a second become 50 frames. Because the kernels overlap, one frame hears 400 samples, 25 ms: its **receptive
# field**. (And, through the normalisation over time, faintly, the whole clip.)
#
# The whole stack of any clip of yours, to point at: `sewnp explain clip.wav -o page.html`
# ([what it shows](../docs/explain.md#the-funnel)).

# %% [markdown]
# ## Exercises
#
# **1. Frames.** How many frames does a stack with these kernels and strides make of so many samples? Zero, where there are too
# few.


# %%
def frames(samples, kernels, strides):
    """Frames behind the last layer, an int of 0 or more."""
    raise NotImplementedError


attempt(check_frames, frames)

# %% [markdown]
# **2. Receptive field.** How many samples does one frame hear?


# %%
def receptive_field(kernels, strides):
    """Samples that one frame behind the last layer hears, an int."""
    raise NotImplementedError


attempt(check_receptive_field, receptive_field)

# %% [markdown]
# **3. Convolution.** Your own, for one clip, any way you like: `x` is (T, C_in), `weight` is (C_out, C_in, K), the result (T',
# C_out).


# %%
def convolve(x, weight, stride):
    """A strided convolution.  (T, C_in) -> (T', C_out)"""
    raise NotImplementedError


attempt(check_convolve, convolve)

# %% [markdown]
# **4. To think about.** Let the first layer have stride 2 and the second stride 5, instead of 5 and 2. What happens to the hop,
# to the receptive field, and to the cost? (Use your functions.)

# %% [markdown]
# ## Solutions


# %%
def frames(samples, kernels, strides):
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
    return max(0, samples)


check_frames(frames)


# %%
def receptive_field(kernels, strides):
    heard = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        heard = (heard - 1) * stride + kernel
    return heard


check_receptive_field(receptive_field)


# %%
def convolve(x, weight, stride):
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2], axis=0)[::stride]  # (T', C_in, K)
    return np.einsum("tck,ock->to", windows, weight)


check_convolve(convolve)

# %% [markdown]
# The windows are the other way to see a convolution: cut out what the kernel meets at each place, then take one product with all
# weights. It is often faster, and takes K / stride times the memory.
#
# For the fourth: the hop is a product, so it stays. The receptive field becomes a little smaller. But layer 0 now makes 2.5 times
# as many frames, at 2.5 times the cost; from layer 1 on nothing changes. Strides pay early.

# %%
kernels, strides = list(model.config.conv_kernel), list(model.config.conv_stride)
swapped = [2, 5, *strides[2:]]
made = {
    name: [frames(rate, kernels[: i + 1], chosen[: i + 1]) for i in range(3)]
    for name, chosen in (("5, 2", strides), ("2, 5", swapped))
}
for name, counts in made.items():
    print(f"strides {name}: layers 0, 1 and 2 make {counts} frames of a second")
print("receptive field:", receptive_field(kernels, strides), "->", receptive_field(kernels, swapped))

assert np.prod(swapped) == 320
assert receptive_field(kernels, swapped) == 394
assert made == {"5, 2": [3199, 1599, 1599], "2, 5": [7996, 1599, 1599]}
