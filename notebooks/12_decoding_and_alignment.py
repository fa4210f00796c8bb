# %% [markdown]
# # 12 · Decoding and alignment
#
# > Which text was most likely said, when was each of its words said, and how sure is that?
#
# **Read before:** notebook 08 (CTC: paths, blanks, the lattice). It ended with the likeliest *path*. Here we look for the
# likeliest *text*, ask somebody who knows words, and make subtitles of the answer.

# %% tags=["setup"]
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, play, show_source
from checks.decoding import check_best_path, check_grow, check_srt_time

import sewnp
from sewnp import plots
from sewnp.ctc import ctc_loss, forced_align, prefix_search
from sewnp.decoding import BeamSearch, LanguageModel
from sewnp.layers import log_softmax
from sewnp.speech import cues, read_audio, vocabulary_spelling
from sewnp.speech.formats import subtitles, to_srt, to_vtt

clips = Path("../tests/clips")
plt.rcParams.update(plots.style())
BLUE, ORANGE, GREEN, PURPLE, *_ = plots.COLORS

# %% [markdown]
# ## The clip that goes wrong
#
# Somebody says "eight six seven five three zero nine".

# %%
model = sewnp.load("digits")
tokens = [model.tokenizer.token_of(i) for i in range(model.config.vocab_size)]
said = "EIGHT SIX SEVEN FIVE THREE ZERO NINE"
samples = read_audio(clips / "eight_six_seven.flac")
logits = model(model.features(samples).input_values).logits[0].astype(np.float64)
log_probs = log_softmax(logits)  # (T, V), natural logarithms

greedy = model.transcribe(samples, decoder="greedy")
print(greedy.text)
assert greedy.text == "EIGHT SIX SEVEN FIVE THRE ZERO FIVE"

figure, ax = plt.subplots(figsize=(7.2, 3.0))
plots.plot_posteriors(np.exp(log_probs), tokens, seconds_per_frame=0.02, top=12, ax=ax)
ax.set(xlim=(1.8, 2.7))
caption("What the network says towards the end of the clip. A spike is a letter.")
play({"the clip": samples})

# %% [markdown]
# THRE is no word, and at the end FIVE is a word and the wrong one. In the picture the second E of THREE, at two seconds, is not
# there, and at the end F and V stand where N should be. The network has not quite missed the right letters: look for an orange
# bump at two seconds and a dotted one under the V. It has given them little probability. What can a better decoder make of that?
#
# ## The best text, not the best path
#
# Greedy decoding reads the best path. A text collects all its paths, so another text may have more (notebook 08 had two frames
# and two tokens for that). There are too many texts to sum up each. **Prefix search** (Graves 2012; Hannun et al. 2014) goes
# through the frames once, and keeps a small number of beginnings of texts, *prefixes*, with the summed probability of all paths
# that spell them so far.
#
# What does the next frame's token do to a prefix? That depends on how its paths end, and so each prefix needs two numbers:
#
# | next token | paths that end in a blank | paths that end in the last token |
# |---|---|---|
# | the blank | the same prefix | the same prefix |
# | the last token again | the prefix with it **twice** | the **same** prefix (one long letter) |
# | another token | the prefix with it | the prefix with it |
#
# Here is the whole search at work on five frames with the tokens blank, S and E. After each frame, the probabilities of all
# prefixes that a beam of four keeps:

# %%
toy = np.array([[0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.4, 0.1, 0.5], [0.6, 0.1, 0.3], [0.3, 0.1, 0.6]])


def letters(prefix):
    return "".join("_SE"[i] for i in prefix) or "(nothing)"


figure, axes = plt.subplots(1, 5, figsize=(7.4, 1.9), sharex=True)
for t, ax in enumerate(axes, 1):
    found = prefix_search(np.log(toy[:t]), blank=0, beam_width=4)
    ax.barh(range(len(found)), [math.exp(text.log_probability) for text in found], color=BLUE)
    ax.set_yticks(range(len(found)), [letters(text.tokens) for text in found])
    ax.invert_yaxis()
    ax.set(title=f"{t} frame" + "s" * (t > 1), xlim=(0, 0.65), xlabel="probability")
caption("Prefix search after one to five frames: the beginnings that a beam of four keeps, and their probabilities.")

everything = prefix_search(np.log(toy), blank=0, beam_width=10_000)
for text in everything[:5]:  # each is the sum that the CTC loss knows
    loss = ctc_loss(np.log(toy)[None], [list(text.tokens)], [5], [len(text.tokens)], blank=0, reduction="sum")
    assert math.isclose(text.log_probability, -float(loss), rel_tol=1e-9)
assert math.isclose(sum(math.exp(text.log_probability) for text in everything), 1)
print([letters(text.tokens) for text in everything[:3]], "of", len(everything))
assert letters(everything[0].tokens) == "SE"

# %% [markdown]
# With a beam so wide that nothing is dropped, all texts that five frames can spell come out, each with the probability that the
# loss of notebook 08 computes for it, and together they have 1. A narrow beam drops what looks bad, and what it drops is missing
# from the sums. (The panels are separate searches of the first frames.)
#
# `prefix_search` is a plain loop over a dictionary. `BeamSearch` does the same on arrays, and by default it keeps 100 prefixes,
# does not try tokens below a probability of 0.7 % in a frame, and drops prefixes that are $e^{10}$ times less likely than the
# best.

# %%


def text_of(hypothesis):
    return model.tokenizer.decode(hypothesis.tokens, group_tokens=False)


blank = model.config.pad_token_id
for width in (1, 2, 100):
    best = BeamSearch(width).decode(log_probs, blank=blank)[0]
    print(f"beam of {width:3}: {best.log_probability:.2f}  {text_of(best)}")
    assert text_of(best) == greedy.text
    assert round(best.log_probability, 1) == (-3.6 if width == 1 else -2.7)

three = BeamSearch().decode(log_probs, blank=blank, n_best=3)
print()
for found in three:
    print(f"{found.log_probability:.2f}  {text_of(found)}")
assert [text_of(found).split()[-1] for found in three] == ["FIVE", "FINE", "FIVE"]
assert round(three[0].log_probability, 1) == -2.7


def log_p(text):
    """log p(text | sound), all paths."""
    ids = model.tokenizer.encode(text)
    return -float(ctc_loss(log_probs[None], [ids], [len(log_probs)], [len(ids)], blank=blank, reduction="sum"))


assert log_p(greedy.text) - 0.1 < three[0].log_probability <= log_p(greedy.text)

# %% [markdown]
# A wider beam finds more of the paths, from -3.6 to -2.7, and the same text. Sure of itself as this network is, path and text
# seldom differ. By the network's own count, THRE is what was said: the decoder makes no mistake here. Still, look at the second
# line. FINE is close to FIVE. The network spells sounds, and it has no idea what a word is.
#
# ## Asking somebody who knows words
#
# A **language model** gives probabilities to sequences of words, without having heard anything. The classical one counts: how
# often did this word come after that one, in a lot of text? It comes as an ARPA file, which is text, and simple enough to write
# one by hand. Ours knows ten words, none likelier than another.

# %%
DIGITS = ["ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"]


def arpa(words, pairs=None, end=0.15):
    """An ARPA file.  words: probability of each; pairs: of the second word behind the first; end: of the end of a text."""
    pairs = pairs or {}
    lines = ["\\data\\", f"ngram 1={len(words) + 3}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    lines += ["-5.0\t<unk>", "-99\t<s>\t0.0", f"{math.log10(end):.4f}\t</s>"]
    lines += [f"{math.log10(p):.4f}\t{word}\t0.0" for word, p in words.items()]
    lines += ["", "\\2-grams:", *(f"{math.log10(p):.4f}\t{a} {b}" for (a, b), p in pairs.items())]
    return "\n".join([*lines, "", "\\end\\", ""])


def language_model(*description):
    with TemporaryDirectory() as folder:
        path = Path(folder) / "words.arpa"
        path.write_text(arpa(*description), encoding="utf-8")
        return LanguageModel.read(path)


equal = dict.fromkeys(DIGITS, 0.085)
print("\n".join(arpa(equal).splitlines()[:9]), "\n...")
digits = language_model(equal)
assert math.isclose(digits.score_text(["THREE", "ZERO"]), 2 * math.log10(0.085) + math.log10(0.15), abs_tol=1e-3)
assert digits.score_text(["THRE", "ZERO"]) < digits.score_text(["THREE", "ZERO"]) - 3.9

# %% [markdown]
# The numbers are logarithms to the base 10. `<s>` and `</s>` are the beginning and the end of a text, `<unk>` is any word that is
# not in the list. A file may go on with pairs of words, and triples. Where it does not know a pair, it *backs off* to the single
# word.
#
# How do we join the two? The network says how well a text fits the sound, the language model how well it fits the world.
# **Shallow fusion** adds the two logarithms, with weights:
#
# $$ \text{score}(\text{text}) = \ln p(\text{text} \mid \text{sound}) + \alpha \ln p(\text{words}) + \beta \cdot \text{number of words} $$
#
# $\alpha$ is how much we listen to the language model. $\beta$ makes up for a habit of it: each word has a probability below 1,
# so few words are always likelier than many. And a word that is not in the list is charged $10^{-10}$ on top of what the file
# says of `<unk>`, which $\alpha$ weighs too.

# %%
spelling = vocabulary_spelling(model.tokenizer, model.config.vocab_size)
search = BeamSearch(language_model=digits)  # alpha 0.5, beta 1.5
best = search.decode(log_probs, blank=blank, spelling=spelling)[0]
print(text_of(best))
assert text_of(best) == "EIGHT SIX SEVEN FIVE THREE ZERO FIVE"


def fused(text, alpha, beta=1.5, unknown=-10.0):
    """The score of a text, by the formula."""
    words = text.split()
    log10 = digits.score_text(words) + unknown * sum(word not in DIGITS for word in words)
    return log_p(text) + alpha * math.log(10) * log10 + beta * len(words)


print(f"{'':36}  ln p(text | sound)   score")
for text in (greedy.text, text_of(best), said):
    print(f"{text:36}  {log_p(text):18.1f}  {fused(text, 0.5):6.1f}")
assert math.isclose(fused(text_of(best), 0.5), best.score, abs_tol=0.1)
assert round(log_p(greedy.text), 1) == -2.7
assert round(log_p(text_of(best)), 1) == -6.4
assert round(log_p(said), 1) == -10.7

alphas = np.linspace(0, 0.5, 51)
candidates = {greedy.text: ORANGE, text_of(best): BLUE, said: GREEN}
lines = {text: np.array([fused(text, alpha) for alpha in alphas]) for text in candidates}
figure, ax = plt.subplots(figsize=(7.2, 2.8))
for text, color in candidates.items():
    ax.plot(alphas, lines[text], color=color, label=" ".join(text.split()[-3:]))
ax.set(xlabel="α, the weight of the language model", ylabel="score", xlim=(0, 0.5), title="three texts that begin alike")
ax.legend()
caption("The score of three texts, as the language model gets more say.")
crossing = alphas[(lines[text_of(best)] > lines[greedy.text]).argmax()]
print(f"THREE overtakes THRE at alpha = {crossing:.2f}")
assert 0.1 < crossing < 0.15

# %% [markdown]
# THREE costs the network 3.8 more than THRE: by the sound it is $e^{3.8}$, some 40 times, less likely. But THRE is no word, and
# as soon as that counts for anything, THREE wins. NINE is not helped. The green line runs beside the blue one at a fixed
# distance: to a language model of digits FIVE and NINE are the same.
#
# ## What a language model expects
#
# Could we give it a hint? Suppose that somebody counted in a world in which ZERO is nearly always followed by NINE.

# %%
hinted = language_model(equal, {("ZERO", "NINE"): 0.9, ("ZERO", "FIVE"): 1e-4})
right = model.transcribe(samples, decoder=BeamSearch(language_model=hinted))
print(right.text)
assert right.text == said

# %% [markdown]
# All seven words are right. Is that good? By the sound FIVE was $e^{4.2}$, 70 times, likelier than NINE, and the language model
# overruled that. Had FIVE been said, it would have overruled it all the same. A language model knows what is usually said. The
# more it is listened to, the less it matters what was said this time. And if it expects the wrong things, they come out:

# %%
friendly = language_model(equal | {"FIVE": 0.005, "FINE": 0.5})
for alpha in (0.25, 1.0):
    words = model.transcribe(samples, decoder=BeamSearch(language_model=friendly, alpha=alpha)).text
    print(f"alpha {alpha:4}: {words}")
    assert words.endswith("ZERO FINE")

# %% [markdown]
# Two things keep it at bay. First, it can only choose among what the network left open: a token that has less than 0.7 % in its
# frame is not tried. Where the network is sure, even a language model that knows but two words changes nothing:

# %%
two_words = language_model({"ONE": 0.4, "TWO": 0.4})
clear = model.transcribe(clips / "three_one_four.wav", decoder=BeamSearch(language_model=two_words)).text
print(clear)
assert clear == "THREE ONE FOUR ONE FIVE NINE"

# %% [markdown]
# Second, its weight is chosen on recordings whose text is known. On 60 clips of a speaker that the model never heard, a language
# model of equally likely digits takes the word errors from 11.0 % to 8.8 %, for any $\alpha$ between 0.25 and 1.
#
# ## How sure?
#
# Each word of a transcript has a `probability`: the mean, over its letters, of the largest probability that the network gave each
# in its frames. The language model has no part in it. Here are all 29 words of our four clips, sorted:

# %%
truths = dict(line.split("\t") for line in (clips / "manifest.tsv").read_text(encoding="utf-8").splitlines())
sure = []
for name, truth in truths.items():
    words = model.transcribe(clips / name, decoder="greedy").words
    sure += [(word.probability, word.text, word.text == wanted) for word, wanted in zip(words, truth.split(), strict=True)]
sure.sort()
print([(text, round(probability, 2), "right" if is_right else "wrong") for probability, text, is_right in sure[:5]])
assert len(sure) == 29
assert [round(probability, 2) for probability, _, _ in sure[:4]] == [0.84, 0.92, 0.93, 0.94]
assert [is_right for _, _, is_right in sure] == [False, False] + 27 * [True]

figure, ax = plt.subplots(figsize=(7.2, 2.5))
colours = [BLUE if is_right else ORANGE for _, _, is_right in sure]
ax.bar(range(29), [probability for probability, _, _ in sure], color=colours)
ax.set_xticks(range(29), [text for _, text, _ in sure], rotation=90, fontsize=7)
ax.set(ylim=(0.7, 1.01), ylabel="probability", title="29 words, the least sure first")
caption("How sure the network was of each word. Orange: the words that are wrong.")

# %% [markdown]
# The two mistakes are the two least sure words of all. Do not read too much into that. FIVE, which is wrong, has 0.92, and two
# right words have 0.93 and 0.94; nothing says that of words with 0.9 nine in ten are right. Such a number is good for a list of
# places where somebody should listen again. After the repair it is the same voice that speaks:

# %%
repaired = model.transcribe(samples, decoder=search)
for before, after in zip(greedy.words, repaired.words, strict=True):
    print(f"{before.text:6} {before.probability:.2f}   {after.text:6} {after.probability:.2f}")
place = len("EIGHT SIX SEVEN FIVE THREE") - 1
print(f"the last {text_of(best)[place]} of THREE: {best.probabilities[place]:.2f}")
assert repaired.words[4].text == "THREE"
assert round(repaired.words[4].probability, 2) == 0.68
assert round(best.probabilities[place], 2) == 0.02

# %% [markdown]
# THREE is right and has 0.68, less than the wrong THRE had. The network gave its last letter 0.02. That is honest: the letter is
# there because the language model wanted it, and the number says what was heard.
#
# ## When? Forced alignment
#
# Now the other question. The text is known, from a script, a book, a corrected transcript, and what is wanted is when each word
# was said. Nothing is to be recognised. The lattice of notebook 08 has all paths that spell the text, and its forward sweep added
# them up. Put a maximum in the place of the sum, note at every state where its best beginning came from, and walk the notes back
# from the end. That is **Viterbi's algorithm** (1967), and what comes out is the single best path of this text.

# %%
target = np.array(model.tokenizer.encode(said))
alignment = forced_align(log_probs, target, blank=blank)
path = "".join("·" if i == blank else tokens[i] for i in alignment.tokens)
print(path[60:140])
assert model.tokenizer.decode(alignment.tokens) == said
assert alignment.log_probability < log_p(said)  # one path of all
states = alignment.states
assert set(np.diff(states)) <= {0, 1, 2}  # stay, step, or leap over a blank

# %% [markdown]
# `model.align` does all that for a recording and a text. In the picture each letter's bar stands in the frames that hold it. How
# high it is, is the **probability of the place**: of all paths that spell this text, weighted by their probabilities, how many
# have the letter there?

# %%
placed = model.align(samples, said)
figure, ax = plt.subplots(figsize=(12, 2.6))
plots.plot_alignment(samples, 16_000, placed, ax=ax)
caption("The text laid over its sound: each letter in the frames that hold it.")
play({f"{word.text}, {word.start:.2f} to {word.end:.2f} s": samples[int(16_000 * word.start) : int(16_000 * word.end)] for word in placed.words[4:]}
     | {"the same, until the clip ends": samples[int(16_000 * placed.words[4].start) :]})  # fmt: skip
for word in placed.words[4:]:
    print(f"{word.start:.2f} to {word.end:.2f} s  {word.text:6} {word.probability:.3f}")
assert [word.text for word in placed.words] == said.split()
assert [round(word.start, 2) for word in placed.words[4:]] == [1.88, 2.16, 2.48]
assert min(word.probability for word in placed.words) > 0.99

# %% [markdown]
# THREE and NINE, which the network did not even recognise, have found their places. And it is sure of them: 0.99 and more. That
# is no contradiction. The probability of a place takes the text for granted. If NINE was said, it can only have been there.
# *Whether* it was said is another question, and for that there is the likelihood of the whole text, over all paths:

# %%
for text in (greedy.text, text_of(best), said, "ONE TWO"):
    aligned = model.align(samples, text)
    surest = min(word.probability for word in aligned.words)
    print(f"{aligned.log_likelihood:7.1f}  least sure place {surest:.2f}  {text}")
    assert math.isclose(aligned.log_likelihood, log_p(text), abs_tol=1e-2)
assert aligned.log_likelihood < -100

# %% [markdown]
# Compare such likelihoods for one clip only. They tell which of some texts fits best. How bad -10 is in itself they do not tell.
#
# CTC **spikes**, as notebook 08 has shown: a letter holds the frame or two in which it is decided, so words begin and end inside
# their sound. For the place of a word in a recording that is good enough, and to measure how long a vowel is held it is not.
#
# ## Subtitles
#
# Words with times are what subtitles are made of. What remains is a matter of reading: which words stand on the screen together,
# and how long? A **cue**, one piece of subtitle, has at most two lines of 42 characters, and stays long enough to be read and no
# longer than that. The package follows the limits of one well-known style guide (Netflix's); that a pause of half a second ends a
# cue is its own choice:

# %%
print(
    f"{cues.LINES} lines of {cues.LINE} characters, {cues.SHORTEST:.2f} to {cues.LONGEST:.0f} s, a pause of {cues.PAUSE} s ends a cue"
)
show_source(cues.cut)

# %%
print(to_srt(right))
shown = subtitles(right)
assert [(cue.start, cue.end) for cue in shown] == [(360, 1193), (1480, 2560)]

figure, ax = plt.subplots(figsize=(7.2, 1.9))
for word in right.words:
    ax.barh(1, word.end - word.start, left=word.start, height=0.5, color=BLUE)
    ax.annotate(word.text, ((word.start + word.end) / 2, 1.33), ha="center", fontsize=7.5)
for cue in shown:
    ax.barh(0, (cue.end - cue.start) / 1000, left=cue.start / 1000, height=0.5, color=GREEN)
    ax.annotate(" ".join(cue.lines), ((cue.start + cue.end) / 2000, 0), ha="center", va="center", fontsize=7.5, color="white")
ax.set(yticks=[0, 1], ylim=(-0.4, 1.7), xlim=(0, right.duration), xlabel="time (s)")
ax.set_yticklabels(["cues", "words"])
caption("Above, the words; below, the stretches in which the two subtitles show.")
gaps = [after.start - before.end for before, after in zip(right.words, right.words[1:], strict=False)]
print("gaps between words (s):", [round(gap, 2) for gap in gaps])
assert round(max(gaps), 2) == 0.5
assert gaps.index(max(gaps)) == 2

# %% [markdown]
# There are two cues, for between SEVEN and FIVE lies half a second in which no letter is decided. The first one stays longer than
# its words, until 1.193 s: a subtitle that shows for less than 5/6 of a second cannot be read, and the next one leaves it the
# time.
#
# SubRip (`.srt`) numbers its cues and has a comma before the milliseconds. WebVTT, which browsers read, has a header and a dot.
# In both an arrow separates the times, so an arrow inside a text would break the file, and is made harmless.

# %%
print(to_vtt(right).splitlines()[:4])
assert to_vtt(right).splitlines()[2] == "00:00.360 --> 00:01.193"

# %% [markdown]
# ## The answer
#
# *Which text:* a beam of prefixes sums up the paths of each, and a language model adds what it thinks of the words. It mends what
# is no word; among words it brings in its expectations, right or wrong. *When:* the best of all paths through the lattice of the
# text, found by Viterbi's algorithm. *How sure:* there are three numbers for three questions. The probability of a word says how
# clearly the network heard its letters. The probability of a place says where, and takes the text for granted. The likelihood of
# a text says whether, and compares texts for one clip.

# %% [markdown]
# ## Exercises
#
# Each check says what is wrong, not only that something is. Replace the line that raises, run the cell, read.
#
# **1. Prefix search, one frame of it**, in plain probabilities and without dropping anything. `beam` is a dictionary: for each
# prefix, a tuple of ids, the summed probability of its paths that end in a blank, and of those that end in its last token.
# `frame` has the probability of each token. Return the beam behind this frame. (The table above has all cases. Two ways can lead
# to one prefix.)

# %%


def my_grow(beam, frame, blank):
    raise NotImplementedError


attempt(check_grow, my_grow)

# %% [markdown]
# **2. Viterbi.** `log_probs` is (T, V), `target` a list of S ids. Return the token at each frame, T of them, on the likeliest
# path that spells the target. The states are those of notebook 08: a blank, a token, a blank, ... Where two paths are equal,
# either will do.

# %%


def my_best_path(log_probs, target, blank):
    raise NotImplementedError


attempt(check_best_path, my_best_path)

# %% [markdown]
# **3. A time in SubRip**: 75.5 seconds are `00:01:15,500`. Beware of 59.9996.

# %%


def my_srt_time(seconds):
    raise NotImplementedError


attempt(check_srt_time, my_srt_time)

# %% [markdown]
# ## Solutions

# %%


def grow_solution(beam, frame, blank):
    grown = {}

    def add(prefix, in_blank, in_token):
        before = grown.get(prefix, (0, 0))
        grown[prefix] = (before[0] + in_blank, before[1] + in_token)

    for prefix, (in_blank, in_token) in beam.items():
        for token, p in enumerate(frame):
            if token == blank:
                add(prefix, (in_blank + in_token) * p, 0)
            elif prefix and token == prefix[-1]:
                add(prefix, 0, in_token * p)  # one long letter
                add((*prefix, token), 0, in_blank * p)  # the letter once more
            else:
                add((*prefix, token), 0, (in_blank + in_token) * p)
    return grown


check_grow(grow_solution)

beam = {(): (1.0, 0.0)}
for frame in toy:
    beam = grow_solution(beam, frame, 0)
best_prefix = max(beam, key=lambda prefix: sum(beam[prefix]))
assert letters(best_prefix) == "SE"
assert math.isclose(math.log(sum(beam[best_prefix])), everything[0].log_probability)

# %%


def best_path_solution(log_probs, target, blank):
    states = [blank]
    for token in target:
        states += [token, blank]
    best = {s: log_probs[0, states[s]] for s in range(min(2, len(states)))}
    notes = []
    for frame in log_probs[1:]:
        came_from, reached = {}, {}
        for s, token in enumerate(states):
            ways = [s, s - 1]
            if s >= 2 and token not in (blank, states[s - 2]):
                ways.append(s - 2)
            ways = [way for way in ways if way in best]
            if ways:
                came_from[s] = max(ways, key=best.get)
                reached[s] = best[came_from[s]] + frame[token]
        notes.append(came_from)
        best = reached
    state = max((s for s in (len(states) - 1, len(states) - 2) if s in best), key=best.get)
    path = [state]
    for came_from in reversed(notes):
        path.append(came_from[path[-1]])
    return [states[s] for s in reversed(path)]


check_best_path(best_path_solution)

# %%


def srt_time_solution(seconds):
    seconds, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{milliseconds:03d}"


check_srt_time(srt_time_solution)
