# %% [markdown]
# # 12 · Decoding and alignment
#
# > Which text was most likely said, when was each of its words said, and how sure is that?
#
# **Read before:** notebook 08 (CTC: paths, blanks, the lattice). It ended with the likeliest *path*. Here we look for the
# likeliest *text*, ask somebody who knows words, and make subtitles of the answer.

# %% tags=["setup"]
import difflib
import math
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from checks import attempt, caption, play, show_source
from checks.decoding import check_best_path, check_grow, check_srt_time
from checks.hearing import NUMBERS, until_misheard

import sewnp
from sewnp import plots
from sewnp.ctc import collapse, ctc_loss, forced_align, greedy_path, prefix_search
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
# Somebody says "eight six seven five three zero nine". We add noise, a little more each time, until some word that is read is no number.

# %%
model = sewnp.load("digits")
tokens = [model.tokenizer.token_of(i) for i in range(model.config.vocab_size)]
said = "EIGHT SIX SEVEN FIVE THREE ZERO NINE"
clear = read_audio(clips / "eight_six_seven.flac")
samples, decibels = until_misheard(model, clear)
logits = model(model.features(samples).input_values).logits[0].astype(np.float64)
log_probs = log_softmax(logits)  # (T, V), natural logarithms

greedy = model.transcribe(samples, decoder="greedy")
wrong = next(word for word in greedy.words if word.text not in NUMBERS)
print(f"noise {decibels} dB softer than the clip: {greedy.text}\nthe first word that is no number: {wrong.text}")
assert greedy.text != said

figure, ax = plt.subplots(figsize=(7.2, 3.0))
plots.plot_posteriors(np.exp(log_probs), tokens, seconds_per_frame=0.02, top=12, ax=ax)
ax.set(xlim=(max(wrong.start - 0.4, 0), wrong.end + 0.5))
caption("What the network says around the first word that is no number. A spike is a letter.")
play({"the clip": samples})

# %% [markdown]
# Look at the picture: between the spikes that make the word there are lower bumps. The network has often not quite missed the right
# token, a letter or a space, it has given it too little probability. What can a better decoder make of that?
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
found = {width: BeamSearch(width).decode(log_probs, blank=blank)[0] for width in (1, 2, 100)}
for width, best in found.items():
    print(f"beam of {width:3}: {best.log_probability:.2f}  {text_of(best)}")
assert found[1].log_probability < found[100].log_probability

three = BeamSearch().decode(log_probs, blank=blank, n_best=3)
print()
for found in three:
    print(f"{found.log_probability:.2f}  {text_of(found)}")


def log_p(tokens):
    """log p(text | sound), all paths.  A text as its tokens."""
    return -float(ctc_loss(log_probs[None], [list(tokens)], [len(log_probs)], [len(tokens)], blank=blank, reduction="sum"))


right_tokens, greedy_tokens = model.tokenizer.encode(said), collapse(greedy_path(logits[None])[0], blank=blank)
print(f"\nread greedily {log_p(greedy_tokens):.2f}, what was said {log_p(right_tokens):.2f}")
assert log_p(three[0].tokens) - 2 < three[0].log_probability <= log_p(three[0].tokens) + 1e-6
assert log_p(three[0].tokens) > log_p(greedy_tokens) - 0.5  # the beam misses some paths, and may mistake near ties

# %% [markdown]
# A wider beam finds more of the paths, and a text as likely as the greedy one, or likelier. It can mend a letter, for a text that has many
# paths wins over one that has the best. But where a word that is no number is likelier by the network's own count, the decoder
# makes no mistake in writing it. The network spells sounds, and it has no idea what a word is.
#
# ## Asking somebody who knows words
#
# A **language model** gives probabilities to sequences of words, without having heard anything. The classical one counts: how
# often did this word come after that one, in a lot of text? It comes as an ARPA file, which is text, and simple enough to write
# one by hand. Ours knows ten words, none likelier than another.

# %%


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


equal = dict.fromkeys(NUMBERS, 0.085)
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


def unknown(text):
    """How many of its words are no numbers."""
    return sum(word not in NUMBERS for word in text.split())


def fused(tokens, alpha, beta=1.5, charge=-10.0, model_of_words=digits):
    """The score of a text, by the formula."""
    text = model.tokenizer.decode(tokens, group_tokens=False)
    log10 = model_of_words.score_text(text.split()) + charge * unknown(text)
    return log_p(tokens) + alpha * math.log(10) * log10 + beta * len(text.split())


assert unknown(text_of(best)) < unknown(greedy.text)
assert best.score > fused(best.tokens, 0.5) - 1  # to words one space is as good as two, so the beam has some paths more

others = [  # what was said with another number in one place
    (" ".join([*said.split()[:k], number, *said.split()[k + 1 :]]), k)
    for k, word in enumerate(said.split())
    for number in NUMBERS
    if number != word
]
rival, place = max(others, key=lambda other: log_p(model.tokenizer.encode(other[0])))
rival_tokens = model.tokenizer.encode(rival)

texts = {
    "read greedily": (greedy_tokens, ORANGE),
    "what was said": (right_tokens, GREEN),
    "its closest rival": (rival_tokens, BLUE),
}
alphas = np.linspace(0, 0.5, 11)
lines = {name: np.array([fused(ids, alpha) for alpha in alphas]) for name, (ids, _) in texts.items()}
print(f"{'':17}  ln p(text | sound)   score at alpha 0.5")
for name, (ids, _) in texts.items():
    text = model.tokenizer.decode(ids, group_tokens=False)
    print(f"{name:17}  {log_p(ids):18.1f}   {fused(ids, 0.5):18.1f}   {text}")

figure, ax = plt.subplots(figsize=(7.2, 2.8))
for name, (_, color) in texts.items():
    ax.plot(alphas, lines[name], color=color, label=name)
ax.set(xlabel="α, the weight of the language model", ylabel="score", xlim=(0, 0.5))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
caption("The score of three texts, as the language model gets more say.")
ahead = lines["what was said"] - lines["read greedily"]
assert np.all(np.diff(ahead) > 0)
assert ahead[-1] > 0
assert np.allclose(np.ptp(lines["what was said"] - lines["its closest rival"]), 0)

# %% [markdown]
# By the sound, what is no word may well be the likelier. But as soon as words count for anything, the orange line sinks, and the text
# of numbers overtakes it (or is ahead all the way). Which number it was, the language model cannot say. The rival has another number
# in one place, and its line runs beside the green one at a fixed distance: to a language model of digits all numbers are the same.
#
# ## What a language model expects
#
# Could we give it a hint? Suppose that somebody counted in a world in which one number is nearly always followed by a certain other
# one: by the one that was said here, or else by the rival's.

# %%
before = said.split()[place - 1] if place else "<s>"
pair = said.split()[place], rival.split()[place]
lead = {0.0: log_p(right_tokens) - log_p(rival_tokens)}
print(f"{pair[0]} or {pair[1]} behind {before}: by the sound {pair[0]} is ahead by {lead[0.0]:.1f}")
for usual, rare in (pair, pair[::-1]):
    hinted = language_model(equal, {(before, usual): 0.9, (before, rare): 1e-4})
    for alpha in (0.5, 2.0):
        right, wrong_one = (fused(ids, alpha, model_of_words=hinted) for ids in (right_tokens, rival_tokens))
        words = model.transcribe(samples, decoder=BeamSearch(language_model=hinted, alpha=alpha)).text
        print(f"{usual:5} expected, alpha {alpha}: {pair[0]} is ahead by {right - wrong_one:5.1f};  {words}")
        push = alpha * math.log(9000) * (1 if usual == pair[0] else -1)
        assert math.isclose(right - wrong_one, lead[0.0] + push, abs_tol=0.01)

# %% [markdown]
# A hint pushes by $\alpha \ln 9000$, whichever way it points, and the sound has nothing to say in that. A good hint mends what was
# misheard. But had the rival been said, the same hint would have overruled it all the same. A language model knows what is usually
# said. The more it is listened to, the less it matters what was said this time. And if it expects the wrong things, they come out.
# Here is one that takes our word that is no number for a common one:

# %%
friendly = language_model(equal | {wrong.text: 0.5})
for alpha in (0.25, 1.0):
    words = model.transcribe(samples, decoder=BeamSearch(language_model=friendly, alpha=alpha)).text
    print(f"alpha {alpha:4}: {words}")
assert wrong.text in words.split()

# %% [markdown]
# Two things keep it at bay. First, it can only choose among what the network left open: a token that has less than 0.7 % in its
# frame is not tried. Where the network is sure, there is nothing to choose:

# %%
choices = (log_probs > BeamSearch().min_token_log_prob).sum(axis=1)
print(f"frames in which a single token is tried: {(choices <= 1).mean():.0%}")
assert (choices <= 1).mean() > 0.3

# %% [markdown]
# Second, its weight is chosen on recordings whose text is known: with too little, mistakes stay, and with too much, others come in.
#
# ## How sure?
#
# Each word of a transcript has a `probability`: the mean, over its letters, of the largest probability that the network gave each
# in its frames. The language model has no part in it. Here are all words of our four clips, the second one with its noise, sorted:

# %%
truths = dict(line.split("\t") for line in (clips / "manifest.tsv").read_text(encoding="utf-8").splitlines())
sure = []
for name, truth in truths.items():
    words = (greedy if truth == said else model.transcribe(clips / name, decoder="greedy")).words
    matches = difflib.SequenceMatcher(None, [word.text for word in words], truth.split(), autojunk=False).get_matching_blocks()
    good = {place for start, _, length in matches for place in range(start, start + length)}
    sure += [(word.probability, word.text, place in good) for place, word in enumerate(words)]
sure.sort()
print([(text, round(probability, 2), "right" if is_right else "wrong") for probability, text, is_right in sure[:5]])
surest = {kind: np.mean([probability for probability, _, is_right in sure if is_right == kind]) for kind in (True, False)}
print(f"on average, right words have {surest[True]:.2f} and wrong ones {surest[False]:.2f}")

figure, ax = plt.subplots(figsize=(7.2, 2.5))
colours = [BLUE if is_right else ORANGE for _, _, is_right in sure]
ax.bar(range(len(sure)), [probability for probability, _, _ in sure], color=colours)
ax.set_xticks(range(len(sure)), [text for _, text, _ in sure], rotation=90, fontsize=7)
ax.set(ylim=(min(0.7, sure[0][0] - 0.05), 1.01), ylabel="probability", title=f"{len(sure)} words, the least sure first")
caption("How sure the network was of each word. Orange: the words that are wrong.")

# %% [markdown]
# Do not read too much into such a number. A wrong word may have 0.9 and more, a right one less: the network is asked for letters, and
# is sure of them where they are badly spelled too. Nothing says that of words with 0.9 nine in ten are right. It is good for a list of
# places where somebody should listen again. After the repair it is the same voice that speaks:

# %%
repaired = model.transcribe(samples, decoder=search)
for heard in (greedy, repaired):
    print("  ".join(f"{word.text} {word.probability:.2f}" for word in heard.words))
letter = np.argmin(best.probabilities)
print(f"least sure of all that was repaired: {tokens[best.tokens[letter]]!r} with {best.probabilities[letter]:.2f}")
assert best.probabilities[letter] < 0.7

# %% [markdown]
# The words are right now, or at least words, and some of their letters have little. That is honest: such a letter is there because the
# language model wanted it, and the number says what was heard.
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
assert alignment.log_probability < log_p(right_tokens)  # one path of all
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
assert np.mean([word.probability for word in placed.words]) > 0.8

# %% [markdown]
# All words have found their places, those that the network did not even recognise as well, and it is rather sure of them. That is no
# contradiction. The probability of a place takes the text for granted. If NINE was said, it can only have been there.
# *Whether* it was said is another question, and for that there is the likelihood of the whole text, over all paths:

# %%
for text in (" ".join(greedy.text.split()), text_of(best), said, "ONE TWO"):
    aligned = model.align(samples, text)
    surest = min(word.probability for word in aligned.words)
    print(f"{aligned.log_likelihood:7.1f}  least sure place {surest:.2f}  {text}")
    assert math.isclose(aligned.log_likelihood, log_p(model.tokenizer.encode(text)), abs_tol=1e-2)
assert aligned.log_likelihood < log_p(right_tokens) - 20

# %% [markdown]
# Compare such likelihoods for one clip only. They tell which of some texts fits best. How bad a number is in itself they do not tell.
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
right = model.transcribe(clear)
print(to_srt(right))
shown = subtitles(right)

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
gaps = [round(after.start - before.end, 2) for before, after in pairwise(right.words)]
print("gaps between words (s):", gaps)
assert len(shown) == 1 + sum(gap >= cues.PAUSE for gap in gaps)
assert all(cue.end - cue.start > 830 or cue.end == after.start for cue, after in pairwise(shown))

# %% [markdown]
# Wherever no letter is decided for half a second, a new cue begins. A cue may stay longer than its words: a subtitle that shows for
# less than 5/6 of a second cannot be read, and where the next one leaves it the time, it gets that.
#
# SubRip (`.srt`) numbers its cues and has a comma before the milliseconds. WebVTT, which browsers read, has a header and a dot.
# In both an arrow separates the times, so an arrow inside a text would break the file, and is made harmless.

# %%
print(to_vtt(right).splitlines()[:4])
assert to_vtt(right).splitlines()[2].split(" --> ")[0] == f"00:00.{shown[0].start:03}"

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
