"""Transcripts against the pipeline of transformers, and their shape against whisper's."""

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from sewnp.decoding import BeamSearch, LanguageModel, Spelling
from sewnp.errors import InputError
from sewnp.speech import Character, CTCTokenizer, Transcript, Word, transcript_from_logits, vocabulary_spelling

DIGITS = Path(__file__).parents[2] / "sewnp" / "pretrained" / "digits"
HOP = Fraction(320, 16000)
PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)
TOKENS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6, "C": 7}


@pytest.fixture(scope="module")
def tokenizer():
    return CTCTokenizer.from_files(TOKENS)


def spelling(tokens, *, probabilities=0.9):
    """(T, V) logits whose likeliest token at each frame has the given probability."""
    vocab_size = len(TOKENS)
    p = np.broadcast_to(np.asarray(probabilities, float), (len(tokens),))
    logits = np.log(np.repeat((1 - p)[:, None] / (vocab_size - 1), vocab_size, axis=1))
    logits[np.arange(len(tokens)), [TOKENS[token] for token in tokens]] = np.log(p)
    return logits + 3  # a constant that softmax must not see


def split(text):
    return [{"_": "<pad>"}.get(c, c) for c in text]


# --- parity -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[{}, {"do_lower_case": True}, {"clean_up_tokenization_spaces": True}])
def pair(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps(TOKENS | {"'": 8, ".": 9}))
    theirs = Wav2Vec2CTCTokenizer(folder / "vocab.json", **request.param)
    theirs.save_pretrained(folder)
    return theirs, CTCTokenizer.from_files(*(json.loads((folder / f"{n}.json").read_text()) for n in ("vocab", "tokenizer_config")))


@PROPERTY
@given(
    seed=st.integers(0, 2**32 - 1),
    frames=st.integers(0, 60),
    hop=st.integers(1, 1000),
    rate=st.sampled_from([7, 8000, 16000, 44100]),
)
def test_text_and_times_are_the_pipelines(pair, seed, frames, hop, rate):
    theirs, ours = pair
    rng = np.random.default_rng(seed)
    logits = rng.standard_normal((frames, 11)).astype(np.float32).repeat(2, axis=0)  # one id more than tokens
    logits[rng.random(2 * frames) < 0.5, 0] += 3
    before = logits.copy()
    found = transcript_from_logits(logits, ours, seconds_per_frame=Fraction(hop, rate), duration=1.0)
    ids = logits.argmax(axis=-1)
    expected = theirs.decode(ids, output_word_offsets=True)
    assert found.text == expected.text == theirs.decode(ids)
    times = [(w["start_offset"] * hop / rate, w["end_offset"] * hop / rate) for w in expected.word_offsets] if found.text else []
    assert [(word.start, word.end) for word in found.words] == times
    words = [w["word"].lower() if theirs.do_lower_case else w["word"] for w in expected.word_offsets] if found.text else []
    assert [word.text for word in found.words] == words
    np.testing.assert_array_equal(logits, before)


def test_words_have_the_case_of_the_text():
    """transformers' pipeline gives HI for the text hi."""
    tokenizer = CTCTokenizer.from_files(TOKENS, {"do_lower_case": True})
    found = transcript_from_logits(spelling("AB"), tokenizer, seconds_per_frame=HOP, duration=0.04)
    assert (found.text, found.words[0].text) == ("ab", "ab")


# --- words ------------------------------------------------------------------------------------------------------------------------


def test_times(tokenizer):
    found = transcript_from_logits(spelling(split("__A__BB_||_C__")), tokenizer, seconds_per_frame=HOP, duration=0.28)
    assert found.text == "AB C"
    assert found.duration == 0.28
    assert [(word.text, word.start, word.end) for word in found.words] == [("AB", 0.04, 0.14), ("C", 0.22, 0.24)]


def test_a_fraction_rounds_once(tokenizer):
    logits = spelling(split("___A"))
    exact = transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=0.08).words[0]
    twice = transcript_from_logits(logits, tokenizer, seconds_per_frame=0.02, duration=0.08).words[0]
    assert exact.start == 3 * 320 / 16000 == 0.06
    assert twice.start == 3 * 0.02
    assert type(exact.start) is type(exact.end) is type(twice.start) is type(exact.probability) is float


def test_probability_is_the_mean_over_characters_of_the_best_frame(tokenizer):
    path = split("_AA_B|C__")
    probabilities = [0.99, 0.5, 0.75, 0.99, 0.25, 0.99, 0.6, 0.99, 0.99]
    found = transcript_from_logits(spelling(path, probabilities=probabilities), tokenizer, seconds_per_frame=HOP, duration=0.18)
    assert [word.probability for word in found.words] == pytest.approx([(0.75 + 0.25) / 2, 0.6], rel=1e-12)


def test_a_repeated_character_counts_twice(tokenizer):
    found = transcript_from_logits(
        spelling(split("A_A"), probabilities=[0.5, 0.99, 0.9]), tokenizer, seconds_per_frame=HOP, duration=1
    )
    assert found.text == "AA"
    assert found.words[0].probability == pytest.approx(0.7, rel=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_are_probabilities(tokenizer, dtype):
    logits = (np.random.default_rng(0).standard_normal((200, len(TOKENS))) * 30).astype(dtype)
    found = transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=4.0)
    assert len(found.words) > 5
    assert all(0 < word.probability <= 1 for word in found.words)


def test_a_token_may_be_impossible(tokenizer):
    logits = spelling("A")
    logits[0, 3] = -np.inf
    assert transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=0.02).text == "A"


# --- nothing said -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "____", "||", "_|_|"])
def test_no_text_no_words_no_segments(tokenizer, path):
    found = transcript_from_logits(spelling(split(path)), tokenizer, seconds_per_frame=HOP, duration=0.5)
    assert found == Transcript("", (), 0.5)
    assert found.to_dict() == {"text": "", "segments": [], "decoder": "greedy", "duration": 0.5}


def test_a_word_of_white_space_is_no_text():
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "\u3000": 2})
    assert transcript_from_logits(np.eye(3)[[0, 2]], tokenizer, seconds_per_frame=HOP, duration=0.5) == Transcript("", (), 0.5)


def test_text_without_words_spans_the_recording():
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1}, {"replace_word_delimiter_char": "-"})
    found = transcript_from_logits(np.eye(2)[[0, 1]], tokenizer, seconds_per_frame=HOP, duration=0.5)
    assert found.to_dict()["segments"] == [{"id": 0, "start": 0.0, "end": 0.5, "text": "-", "words": []}]


# --- the shape --------------------------------------------------------------------------------------------------------------------


def test_whispers_shape():
    words = (Word("THREE", 0.1, 0.5, 0.875), Word("ONE", 0.75, 1.0, 0.5))
    found = Transcript("THREE ONE", words, 1.25).to_dict(model="digits")
    assert json.loads(json.dumps(found)) == {
        "text": "THREE ONE",
        "segments": [
            {
                "id": 0,
                "start": 0.1,
                "end": 1.0,
                "text": "THREE ONE",
                "words": [
                    {"word": " THREE", "start": 0.1, "end": 0.5, "probability": 0.875},
                    {"word": " ONE", "start": 0.75, "end": 1.0, "probability": 0.5},
                ],
            }
        ],
        "model": "digits",
        "duration": 1.25,
    }
    assert list(found) == ["text", "segments", "model", "duration"]


def test_the_mean_of_the_characters_log_probabilities():
    characters = (Character("A", 0.0, 0.5, 0.5), Character("B", 0.5, 1.0, 0.0))
    (segment,) = Transcript("AB", (Word("AB", 0.0, 1.0, 0.25, characters),), 1.0, characters).to_dict()["segments"]
    assert segment["avg_logprob"] == pytest.approx((np.log(0.5) + np.log(1e-38)) / 2)


def test_what_is_not_known_is_not_there():
    assert set(Transcript("A", (Word("A", 0, 1, 1),), 1.0).to_dict()) == {"text", "segments", "duration"}


def test_a_transcript_says_which_decoder_made_it(tokenizer):
    logits = spelling(split("A_"))
    told = {"seconds_per_frame": HOP, "duration": 0.5}
    listed = BeamSearch(words=["A"], unknown_margin=5.0, hotwords=["A"])
    greedy, plain, helped = (
        transcript_from_logits(logits, tokenizer, **told, decoder=each) for each in (None, BeamSearch(7), listed)
    )
    assert (greedy.decoder, plain.decoder) == ("greedy", "beam search: beam_width 7")
    named = "beam search: beam_width 100, words 1, unknown_margin 5, hotwords 1, hotword_weight 10"
    assert helped.decoder == helped.to_dict()["decoder"] == named
    assert greedy == plain == helped
    silent = transcript_from_logits(spelling(split("__")), tokenizer, **told)
    assert (silent.text, silent.decoder) == ("", "greedy")


def test_transcripts_are_values():
    word = Word("A", 0.0, 1.0, 0.5)
    assert {Transcript("A", (word,), 1.0), Transcript("A", (word,), 1.0)} == {Transcript("A", (word,), 1.0)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        word.text = "B"


# --- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (1, 5, 8)])
def test_logits_of_other_dimensions(tokenizer, shape):
    with pytest.raises(InputError, match=r"logits: expected shape \(\*, \*\), found"):
        transcript_from_logits(np.zeros(shape), tokenizer, seconds_per_frame=HOP, duration=1.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_no_numbers(tokenizer, value):
    logits = spelling(split("A_B"))
    logits[1, 3] = value
    with pytest.raises(InputError, match="logits: expected a finite maximum in every frame"):
        transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=1.0)


@pytest.mark.parametrize("logits", [np.full((2, 8), -np.inf), np.zeros((2, 0))])
def test_logits_without_a_likeliest_token(tokenizer, logits):
    with pytest.raises(InputError, match="logits: expected a finite maximum in every frame"):
        transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=1.0)


def test_a_decoder_that_is_none(tokenizer):
    with pytest.raises(InputError, match="decoder: expected a BeamSearch, 'greedy' or None, found 'beam'"):
        transcript_from_logits(spelling("AB"), tokenizer, seconds_per_frame=HOP, duration=0.04, decoder="beam")


# --- beam search ------------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(seed=st.integers(0, 2**32 - 1))
def test_where_a_decoder_finds_greedys_words_all_is_the_same(tokenizer, seed):
    """But for delimiters around the words, which greedy decoding prints, and between two of them, all of which are one to a decoder."""
    rng = np.random.default_rng(seed)
    path = rng.integers(0, 8, 25).repeat(rng.integers(1, 4, 25))
    logits = np.eye(8)[path] * 12 + rng.normal(size=(len(path), 8))
    told = {"seconds_per_frame": HOP, "duration": 2.0}
    greedy = transcript_from_logits(logits, tokenizer, **told)
    found = transcript_from_logits(logits, tokenizer, **told, decoder=BeamSearch())
    assert (found.text, found.words) == (" ".join(greedy.text.split()), greedy.words)
    heard, spoken = ([c for c in transcript.characters if c.text != " "] for transcript in (greedy, found))
    assert heard == spoken
    assert sum(c.text == " " for c in found.characters) == max(0, len(found.words) - 1)


def test_a_decoders_text_has_times_and_probabilities(tokenizer, language_model):
    """The model hears AC twice, the second time only just; the language model knows no such word, but AB."""
    path = split("_AA_C_|_A_CC")
    logits = spelling(path, probabilities=0.5)
    logits[4] = logits[10:] = np.log([0.05, 0.01, 0.01, 0.01, 0.01, 0.01, 0.43, 0.47]) + 3
    greedy = transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=0.24)
    decoder = BeamSearch(language_model=language_model)
    found = transcript_from_logits(logits, tokenizer, seconds_per_frame=HOP, duration=0.24, decoder=decoder)
    assert (greedy.text, found.text) == ("AC AC", "AB AB")
    assert [(word.text, word.start, word.end) for word in found.words] == [("AB", 0.02, 0.1), ("AB", 0.16, 0.24)]
    assert [word.probability for word in found.words] == pytest.approx([(0.5 + 0.43) / 2] * 2, rel=1e-12)
    assert found.duration == 0.24


def test_a_decoder_has_the_case_of_the_vocabulary(language_model):
    """Texts are lower-cased after decoding, so the language model's words are looked up in upper case."""
    tokenizer = CTCTokenizer.from_files(TOKENS, {"do_lower_case": True})
    decoder = BeamSearch(language_model=language_model)
    found = transcript_from_logits(spelling("AB"), tokenizer, seconds_per_frame=HOP, duration=0.04, decoder=decoder)
    assert (found.text, found.words[0].text) == ("ab", "ab")


@pytest.mark.parametrize("search", [BeamSearch(), BeamSearch(beam_width=1)])
def test_a_decoder_and_nothing_to_decode(tokenizer, search):
    for frames in (0, 3):
        found = transcript_from_logits(spelling(["<pad>"] * frames), tokenizer, seconds_per_frame=HOP, duration=0.1, decoder=search)
        assert (found.text, found.words) == ("", ())


def test_a_decoder_without_a_word_delimiter(language_model):
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "<unk>": 1, "A": 2, "B": 3}, {"word_delimiter_token": None})
    told = {"seconds_per_frame": HOP, "duration": 0.06}
    assert transcript_from_logits(np.eye(4)[[2, 0, 3]], tokenizer, **told, decoder=BeamSearch()).text == "AB"
    for files in ((), ({"word_delimiter_token": None},)):
        tokenizer = CTCTokenizer.from_files({"<pad>": 0, "<unk>": 1, "A": 2, "B": 3}, *files)
        assert vocabulary_spelling(tokenizer, 4) == Spelling(("<pad>", "<unk>", "A", "B"), None)
        with pytest.raises(InputError, match="a language model of words needs a word delimiter token"):
            transcript_from_logits(np.eye(4), tokenizer, **told, decoder=BeamSearch(language_model=language_model))


def test_what_a_vocabulary_spells(tokenizer):
    """An output that has no token is shown as the unknown one."""
    assert vocabulary_spelling(tokenizer, 9) == Spelling((*TOKENS, "<unk>"), 4)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("arpa") / "ab.arpa"
    path.write_text("\\data\\\nngram 1=4\n\\1-grams:\n-9 <s>\n-1 </s>\n-1 AB\n-2 <unk>\n\\end\\\n")
    return LanguageModel.read(path)
