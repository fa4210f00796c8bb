"""A text held against a recording: spelled, placed, timed, written as a TextGrid, drawn."""

import json
import math
import re
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

import sewnp
from sewnp import plots
from sewnp.ctc import ctc_loss
from sewnp.errors import AudioError, InputError, KindError, TokenizerError
from sewnp.layers import log_softmax
from sewnp.speech import (
    Alignment,
    CTCTokenizer,
    Word,
    align_logits,
    delimiter_id,
    read_audio,
    spell,
    spelling_tokens,
    text_tokens,
    textgrid,
)

VOCAB = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "'": 7}
TOKENIZER = CTCTokenizer.from_files(VOCAB)


def logits_of(path, width=8, sure=6.0):
    logits = np.zeros((len(path), width))
    logits[np.arange(len(path)), path] = sure
    return logits


def aligned(path, text, tokenizer=TOKENIZER, width=8):
    return align_logits(logits_of(path, width), text, tokenizer, seconds_per_frame=Fraction(1, 50), duration=len(path) / 50 + 0.005)


def test_words_and_characters_stand_in_their_frames():
    found = aligned([0, 5, 5, 0, 6, 4, 0, 6, 0, 6, 0], "AB  BB\n")
    assert found.text == "AB BB"
    assert [(word.text, word.start, word.end) for word in found.words] == [("AB", 0.02, 0.1), ("BB", 0.14, 0.2)]
    assert [(c.text, c.start, c.end) for c in found.characters] == [
        ("A", 0.02, 0.06),
        ("B", 0.08, 0.1),
        ("B", 0.14, 0.16),
        ("B", 0.18, 0.2),
    ]
    assert all(0.9 < span.probability <= 1 for span in (*found.words, *found.characters))
    assert found.characters == found.words[0].characters + found.words[1].characters


def test_a_word_is_as_sure_as_its_place_and_a_letter_may_be_less_so():
    """Two frames that could be A or B, between sure blanks: "AB" is surely there, which of the frames is whose is not."""
    logits = logits_of([0, 5, 5, 6, 0], sure=40.0)
    logits[2, 6] = 40.0  # A and B alike
    (word,) = align_logits(logits, "ab", TOKENIZER, seconds_per_frame=1, duration=5.0).words
    assert (word.start, word.end) == (1, 4)
    assert word.probability == pytest.approx(1)
    a, b = word.characters
    assert (a.start, a.end, b.start, b.end) == (1, 2, 2, 4)  # of equally likely paths the one that moves on early
    assert (a.probability, b.probability) == pytest.approx((1, 0.75))


def test_a_score_is_the_mean_probability_of_what_is_said():
    logits = logits_of([0, 0, 5, 5, 0, 6, 0, 0]) + np.random.default_rng(5).normal(size=(8, 8))
    probabilities = np.exp(log_softmax(logits))
    (word,) = align_logits(logits, "AB", TOKENIZER, seconds_per_frame=1, duration=8.0).words
    a, b = word.characters
    assert (a.start, a.end, b.start, b.end) == (2, 4, 5, 6)
    assert a.score == pytest.approx(probabilities[2:4, 5].mean())
    assert b.score == pytest.approx(probabilities[5, 6])
    assert word.score == pytest.approx((2 * a.score + b.score) / 3)  # torchaudio's weighs spans by their lengths too


def test_a_wildcard_is_whatever_is_said():
    path = [0, 5, 0, 4, 0, 6, 0, 6, 4, 5, 0, 4, 6, 0]  # A BB A B
    whole, found = aligned(path, "A BB A B"), aligned(path, "A  * B")
    assert (found.text, [word.text for word in found.words]) == ("A * B", ["A", "*", "B"])
    for here, there in ((0, 0), (2, 3)):
        assert (found.words[here].start, found.words[here].end) == (whole.words[there].start, whole.words[there].end)
        assert found.words[here].score == pytest.approx(whole.words[there].score)
    star = found.words[1]
    assert (star.start, star.end, star.score) == (0.08, 0.22, 1.0)
    assert [character.text for character in star.characters] == ["*"]
    assert whole.log_likelihood < found.log_likelihood <= 0
    assert [word.text for word in aligned(path, "* *").words] == ["*", "*"]
    assert aligned(path, "*").log_likelihood == 0.0  # whatever was said
    longer = [word.score for word in aligned([0, 5, 0, 0, 0, 4, 0, 6, 0], "A ' B").words]  # and what was not
    assert longer[1] < 0.01 < 0.9 < min(longer[0], longer[2])
    own = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "*": 2})
    assert aligned([0, 2, 0], "*", own, 3).words[0].score < 1  # a vocabulary that can spell it
    with pytest.raises(TokenizerError, match=r"cannot spell '\*' \(character 2, in 'A\*'\)"):
        aligned(path, "A*")
    with pytest.raises(TokenizerError, match=r"cannot spell '\*'"):
        spell("*", TOKENIZER)


def test_the_likelihood_is_minus_the_ctc_loss():
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(20, 8)).astype(np.float32)
    found = align_logits(logits, "AB BA'", TOKENIZER, seconds_per_frame=0.02, duration=0.4)
    labels = [[5, 6, 4, 6, 5, 7]]
    loss = ctc_loss(log_softmax(logits.astype(np.float64))[None], labels, [20], [6], blank=0, reduction="sum")
    assert found.log_likelihood == pytest.approx(-float(np.sum(loss)), rel=1e-12)


def test_the_caller_writes_as_he_likes():
    found = aligned([5, 6, 4, 5], "aB a")
    assert [word.text for word in found.words] == ["aB", "a"]
    assert [c.text for c in found.characters] == ["a", "B", "a"]


def test_spelling_takes_the_other_case_only_where_it_must():
    both = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "a": 2, "A": 3, "B": 4, "c": 5})
    assert [[token for token, _, _ in word] for word in spell("aAbB cC", both)] == [[2, 3, 4, 4], [5, 5]]
    lower = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "a": 2, "A": 3}, {"do_lower_case": True})
    assert [[token for token, _, _ in word] for word in spell("aA", lower)] == [[3, 3]]  # the tokenizer upper-cases, too


def test_spelling_equals_the_tokenizer_where_that_knows_every_character():
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "S": 2, "C": 3, "H": 4, "SCH": 5, "CH": 6})
    for text in ("SCH", "SSCHC", "CHSCH", "CS"):
        (word,) = spell(text, tokenizer)
        assert [token for token, _, _ in word] == tokenizer.encode(text)
        assert "".join(text[start:end] for _, start, end in word) == text


def test_a_vocabulary_without_delimiter_needs_none_between_words():
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "A": 1, "B": 2}, {"word_delimiter_token": None})
    assert delimiter_id(tokenizer) is None
    assert [word.text for word in aligned([1, 0, 2], "A B", tokenizer, 3).words] == ["A", "B"]
    appended = CTCTokenizer.from_files({"<pad>": 0, "A": 1, "B": 2})  # the tokenizer appends "|", which a model of 3 tokens lacks
    assert delimiter_id(appended) is not None
    assert delimiter_id(appended, vocab_size=3) is None
    assert [word.text for word in aligned([1, 0, 2], "A B", appended, 3).words] == ["A", "B"]


def test_special_tokens_spell_nothing():
    assert set(spelling_tokens(TOKENIZER)) == {"A", "B", "'"}
    assert set(spelling_tokens(TOKENIZER, vocab_size=7)) == {"A", "B"}
    with pytest.raises(TokenizerError, match=r"cannot spell '\|'"):
        spell("A|B", TOKENIZER)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (
            "A 1 BÑ",
            TokenizerError,
            r"^text: the vocabulary cannot spell '1' \(character 3, in '1'\), 'Ñ' \(character 6, in 'BÑ'\)$",
        ),
        ("xyzuvw", TokenizerError, r"'x' \(character 1, in 'xyzuvw'\), .*'v' \(character 5, in 'xyzuvw'\), and 1 more$"),
        ("<pad>", TokenizerError, r"'<' \(character 1"),
        ("  \n", InputError, "^text: expected at least one word, found '  "),
        (b"A", InputError, "^text: expected a str, found bytes"),
        (
            "AA BB A",
            InputError,
            r"does not fit into the clip: 7 tokens, spaces too, and 2 blanks between equal neighbours need 9 frames, which is 0.18 s;"
            r" found 8 frames in 0.17 s",
        ),
    ],
)
def test_errors_say_which_part_of_the_text(text, error, message):
    with pytest.raises(error, match=message):
        aligned([5] * 8, text)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_have_to_be_finite(bad):
    logits = logits_of([5, 6])
    logits[1, 2] = bad
    with pytest.raises(InputError, match="logits: expected finite values"):
        align_logits(logits, "A", TOKENIZER, seconds_per_frame=1, duration=2)


TEXT = "THREE ONE FOUR ONE FIVE NINE"


@pytest.fixture(scope="module")
def alignment(digits, clips) -> Alignment:
    return digits.align(clips / "three_one_four.wav", TEXT.lower())


def test_words_of_a_clip_stand_where_greedy_decoding_heard_them(digits, clips, alignment):
    """The greedy path spells this text, and no path is likelier: the two have to agree to the frame."""
    transcript = digits.transcribe(clips / "three_one_four.wav")
    assert transcript.text == TEXT
    assert [(w.text.upper(), w.start, w.end) for w in alignment.words] == [(w.text, w.start, w.end) for w in transcript.words]
    assert alignment.duration == transcript.duration
    assert all(word.probability > 0.9 for word in alignment.words)
    log_probs = log_softmax(
        digits(digits.features(read_audio(clips / "three_one_four.wav")).input_values).logits.astype(np.float64)
    )
    targets = text_tokens(TEXT, digits.tokenizer)
    (loss,) = ctc_loss(log_probs, [targets], [log_probs.shape[1]], [len(targets)], blank=0, reduction="none")
    assert alignment.log_likelihood == pytest.approx(-loss, rel=1e-5)


def test_another_text_is_less_likely_even_where_its_places_are_sure(digits, clips, alignment):
    other = digits.align(clips / "three_one_four.wav", "THREE ONE FOUR ONE FIVE FIVE")
    assert other.log_likelihood < alignment.log_likelihood - 5
    assert min(word.probability for word in other.words[:5]) > 0.9


def test_samples_and_a_file_give_the_same(digits, clips, alignment):
    samples = read_audio(clips / "three_one_four.wav", sampling_rate=16000)
    assert digits.align(samples, TEXT.lower(), sampling_rate=16000) == alignment


def test_words_beside_a_wildcard_stand_where_they_stood(digits, clips, alignment):
    found = digits.align(clips / "three_one_four.wav", "three * nine")
    for word, same in zip((found.words[0], found.words[2]), (alignment.words[0], alignment.words[5]), strict=True):
        assert (word.text, word.start, word.end, word.score) == (same.text, same.start, same.end, same.score)
    assert alignment.words[0].end <= found.words[1].start < found.words[1].end <= alignment.words[5].start


def test_several_clips_with_their_texts(digits, clips, alignment):
    names, texts = ["three_one_four.wav", "two_seven_one.mp3"], [TEXT.lower(), "TWO * EIGHT"]
    paths = [clips / name for name in names]
    assert digits.align(paths, texts) == [alignment, digits.align(paths[1], texts[1])]
    assert digits.align((str(paths[0]),), (texts[0],)) == [alignment]
    for text in (TEXT, [TEXT], [TEXT] * 3, None):
        with pytest.raises(KindError, match="text: expected a list of 2 texts, one a clip, found"):
            digits.align(paths, text)
    with pytest.raises(InputError, match="text: expected a str, found list"):
        digits.align(paths[0], texts)
    with pytest.raises(AudioError, match=r"audio\[1\]: "):
        digits.align([np.zeros(16000), np.full(16000, np.nan)], ["A", "A"])


def test_models_that_cannot_align(digits, clips):
    clip = clips / "three_one_four.wav"
    with pytest.raises(InputError, match="digit-words: aligning needs a CTC head, found classification"):
        sewnp.load("digit-words").align(clip, TEXT)
    with pytest.raises(TokenizerError, match="model: aligning needs a vocab"):
        sewnp.from_config(digits.config, head="ctc").align(clip, TEXT)
    with pytest.raises(InputError, match=r"need 1 frames, .* found 0 frames"):
        digits.align(np.zeros(100), "A")


def test_a_long_clip_is_read_in_the_windows_of_transcribe(digits, clips):
    """And where greedy decoding hears the text, its letters are the alignment's."""
    clip = read_audio(clips / "three_one_four.wav", sampling_rate=16000)
    waveform = np.tile(clip, math.ceil(40 * 16000 / len(clip)))
    heard = digits.transcribe(waveform)
    found = digits.align(waveform, heard.text)
    assert found.duration == heard.duration > 40
    assert [word.text for word in found.words] == [word.text for word in heard.words]
    near = [abs(a.start - b.start) <= 0.08 for a, b in zip(found.words, heard.words, strict=True)]
    assert np.mean(near) == 1
    with sewnp.speech.open_recording(waveform, target=16000, sampling_rate=16000) as recording:
        logits, _ = digits.recording_logits(recording)
    told = {"seconds_per_frame": Fraction(digits.config.hop, 16000), "duration": found.duration}
    assert align_logits(logits, heard.text, digits.tokenizer, **told) == found


def test_what_cannot_be_spelled_is_said_before_the_sound_is_read(digits):
    with pytest.raises(TokenizerError, match="cannot spell '1'"):
        digits.align("missing.wav", "THREE 1")


def test_to_dict_is_json_with_everything(alignment):
    told = json.loads(json.dumps(alignment.to_dict(model="digits")))
    assert list(told) == ["text", "words", "log_likelihood", "model", "duration"]
    assert [word["word"] for word in told["words"]] == TEXT.lower().split()
    assert list(told["words"][0]) == ["word", "start", "end", "probability", "score", "chars"]
    assert list(told["words"][0]["chars"][0]) == ["char", "start", "end", "probability", "score"]
    assert sum(len(word["chars"]) for word in told["words"]) == len(alignment.characters) == 23
    assert "model" not in alignment.to_dict()


def read_textgrid(text):
    """Tiers of a long TextGrid by a reader that knows only the manual's page: every number and every quoted text, in order."""
    assert text.startswith('File type = "ooTextFile"\nObject class = "TextGrid"\n\n')
    body = text.split("item []:", 1)[1]
    body = re.sub(r"\[\d+\]", "", body)
    values = [
        quoted.replace('""', '"') if number == "" else float(number)
        for quoted, number in re.findall(r'= "((?:[^"]|"")*)"|= ([-0-9.e]+)', body)
    ]
    tiers = {}
    while values:
        kind, name, low, high, size = values[:5]
        assert kind == "IntervalTier"
        cells = values[5 : 5 + 3 * int(size)]
        tiers[name] = (low, high, [tuple(cells[i : i + 3]) for i in range(0, len(cells), 3)])
        values = values[5 + 3 * int(size) :]
    return tiers


def test_a_textgrid_has_no_gaps_and_keeps_every_span(alignment):
    tiers = read_textgrid(alignment.to_textgrid())
    assert list(tiers) == ["words", "characters"]
    for name, spans in (("words", alignment.words), ("characters", alignment.characters)):
        low, high, intervals = tiers[name]
        assert (low, high) == (0, alignment.duration)
        assert intervals[0][0] == 0
        assert intervals[-1][1] == high
        assert all(before[1] == after[0] for before, after in pairwise(intervals))
        assert all(start < end for start, end, _ in intervals)
        assert [interval for interval in intervals if interval[2]] == [(s.start, s.end, s.text) for s in spans]


def test_a_textgrid_doubles_quotation_marks_and_may_be_empty():
    text = textgrid({'a "tier"': [Word('say "hi"', 0.0, 0.5, 1.0), Word("é", 0.5, 2.0, 1.0)], "none": []}, duration=1.5)
    assert 'text = "say ""hi"""' in text
    assert read_textgrid(text) == {
        'a "tier"': (0, 2, [(0, 0.5, 'say "hi"'), (0.5, 2, "é")]),  # a span behind the end moves the end
        "none": (0, 2, [(0, 2, "")]),
    }
    assert read_textgrid(textgrid({"t": []}, duration=1.5))["t"] == (0, 1.5, [(0, 1.5, "")])


def test_the_picture_has_every_character_over_the_sound(alignment, clips):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    samples = read_audio(clips / "three_one_four.wav", sampling_rate=16000)
    with pyplot.rc_context(plots.style()):
        ax = plots.plot_alignment(samples, 16000, alignment)
        ax.figure.canvas.draw()
    assert ax.get_xlabel() == "time (s)"
    assert ax.get_xlim() == (0, alignment.duration)
    said = [text.get_text() for text in ax.texts]
    assert [text for text in said if len(text) == 1] == list(TEXT.lower().replace(" ", ""))
    assert [text.split("\n")[0] for text in said if "\n" in text] == TEXT.lower().split()
    bars = [bar for container in ax.containers for bar in container]
    assert [bar.get_height() for bar in bars] == [c.probability for c in alignment.characters]
    assert [bar.get_x() for bar in bars] == [c.start for c in alignment.characters]
    _, given = pyplot.subplots()
    assert plots.plot_alignment(np.zeros(0), 16000, Alignment("", (), -math.inf, 0.0), ax=given) is given
    with pytest.raises(InputError, match="waveform: expected shape"):
        plots.plot_alignment(samples[None], 16000, alignment)
    pyplot.close("all")
