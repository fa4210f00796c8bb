"""Lists of words and hotwords in beam search: against the plain version, against every path, and against what other decoders give."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from arpa import toy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import collapse, prefix_search
from sewnp.decoding import BeamSearch, Fusion, LanguageModel, Spelling, beam_search, read_words
from sewnp.errors import InputError
from sewnp.layers import log_softmax
from sewnp.speech import CTCTokenizer, vocabulary_spelling

INF = math.inf
LETTERS = Spelling(("_", "|", "A", "B"), delimiter=1)  # the blank is 0
ALIKE = Spelling(("_", "|", "A", "AB", "", "B"), delimiter=1)
PIECES = Spelling(("_", "A", "AB", "", "B", "A"), None, frozenset({1, 2, 3}))  # ▁A ▁AB ▁ B A


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LanguageModel:
    return toy_model(tmp_path_factory.mktemp("arpa"))


def piece_tokenizer(tokens: list[str]) -> CTCTokenizer:
    """Of a vocabulary whose blank is the first token, and whose delimiter the network lacks."""
    return CTCTokenizer.from_files({token or "<pad>": i for i, token in enumerate(tokens)})


def distributions(seed: int, frames: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return log_softmax(rng.normal(size=(frames, size)) * rng.choice([0.5, 2.0, 6.0]))


def every_text(log_probs: np.ndarray, spelling: Spelling) -> dict[tuple[str, ...], float]:
    """The words that each path spells, by Python's own ideas of text, and the probability of all their paths."""
    totals: dict[tuple[str, ...], float] = {}
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        tokens = collapse(path, blank=0)
        letters = "".join(" " if i == spelling.delimiter else " " * (i in spelling.begins) + spelling.tokens[i] for i in tokens)
        text = tuple(letters.split())
        totals[text] = totals.get(text, 0.0) + math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return totals


# --- the plain version ------------------------------------------------------------------------------------------------------------


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(0, 14),
    width=st.sampled_from([1, 2, 5, 40]),
    min_token_log_prob=st.sampled_from([-INF, -2.0]),
    beam_threshold=st.sampled_from([INF, 3.0, 0.0]),
    words=st.sampled_from([None, (), ("AB",), ("A", "AB", "BAB"), ("AA", "B")]),
    margin=st.sampled_from([INF, 2.0, 0.0]),
    hotwords=st.sampled_from([(), ("AB",), ("A", "BBA")]),
    spelling=st.sampled_from([LETTERS, ALIKE, PIECES]),
    helped=st.booleans(),
)
def test_arrays_equal_the_plain_version(
    model, seed, frames, width, min_token_log_prob, beam_threshold, words, margin, hotwords, spelling, helped
):
    """The same texts in the same order with the same scores, to the last bit; or neither has a text."""
    log_probs = distributions(seed, frames, len(spelling.tokens))
    options = {"blank": 0, "beam_width": width, "min_token_log_prob": min_token_log_prob, "beam_threshold": beam_threshold}
    options["spelling"] = spelling

    def fusion() -> Fusion:
        language = {"alpha": 0.7, "beta": 0.4, "unknown_offset": -2.0}
        lists = {"words": words, "unknown_margin": margin, "hotwords": hotwords, "hotword_weight": 1.5}
        return Fusion(model if helped else None, spelling, **language, **lists)

    found = []
    for search in (
        lambda: beam_search(log_probs, **options, fusion=fusion()),
        lambda: prefix_search(log_probs, **options, bonus=fusion().bonus),
    ):
        try:
            found.append(search())
        except InputError as error:
            assert min_token_log_prob > -INF, "unpruned there is always the empty text"
            found.append(str(error))
    assert found[0] == found[1]


# --- all paths --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", [LETTERS, ALIKE, PIECES], ids=["letters", "tokens that spell alike", "word pieces"])
@pytest.mark.parametrize("helped", [False, True], ids=["alone", "with a language model"])
@pytest.mark.parametrize("margin", [INF, 1.25])
@pytest.mark.parametrize("seed", range(4))
def test_a_wide_beam_is_exhaustive(model, seed, margin, helped, spelling):
    """Every text of the list's words, and where others may be those too, with the score that the formula gives it by itself."""
    listed, hot = {"AB", "B", "BA"}, {"B", "AA"} if margin < INF else {"B"}
    log_probs = distributions(seed, 4 if spelling is ALIKE else 5, len(spelling.tokens))
    expected = {}
    for text, total in every_text(log_probs, spelling).items():
        outside = [word for word in text if word not in listed]
        if outside and margin == INF:
            continue
        score = math.log(total) - (margin * len(outside) if outside else 0.0) + 3.0 * sum(word in hot for word in text)
        if helped:
            unknown = [word for word in text if word not in listed or word not in ("AB", "B", "AA")]
            score += 0.5 * math.log(10) * (model.score_text(text) - 4.0 * len(unknown)) + 0.25 * len(text)
        expected[text] = score
    search = BeamSearch(
        10**6,
        -INF,
        INF,
        model if helped else None,
        0.5,
        0.25,
        -4.0,
        words=sorted(listed),
        unknown_margin=margin,
        hotwords=sorted(hot),
        hotword_weight=3.0,
    )
    found = search.decode(log_probs, blank=0, spelling=spelling, n_best=10**6)
    # up to 6**4 paths are added to each other, with errors of 1e-16 each
    assert {spelling.words(text.tokens): text.score for text in found} == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert len(found) == len(expected)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 30), width=st.integers(1, 4))
def test_however_narrow_it_ends_with_words_of_the_list(seed, frames, width):
    log_probs = distributions(seed, frames, 4)
    search = BeamSearch(width, beam_threshold=1.0, words=["ABBA", "BAB"])
    found = search.decode(log_probs, blank=0, spelling=LETTERS, n_best=width)
    assert 1 <= len(found) <= width
    for text in found:
        assert set(LETTERS.words(text.tokens)) <= {"ABBA", "BAB"}
        path = np.zeros(frames, int)
        for token, start, end in text.spans:
            path[start:end] = token
        assert tuple(collapse(path, blank=0)) == text.tokens


# --- what others give -------------------------------------------------------------------------------------------------------------

SIX_FRAMES = np.log(
    [
        [0.1, 0.1, 0.5, 0.3],
        [0.4, 0.1, 0.2, 0.3],
        [0.2, 0.2, 0.3, 0.3],
        [0.3, 0.4, 0.1, 0.2],
        [0.2, 0.1, 0.3, 0.4],
        [0.05, 0.85, 0.05, 0.05],
    ]
)


def test_flashlights_lexicon_decoder():
    """What flashlight-text 0.0.7 gives: LexiconDecoder with ZeroLM, log_add, words spelled with a final | and | for silence.

    Its words end in a delimiter, the last one too: that is so for all texts where the last frame can be nothing else.
    """
    log_probs = SIX_FRAMES.copy()
    log_probs[-1] = np.log([1e-30, 1, 1e-30, 1e-30])
    search = BeamSearch(10**4, -INF, INF, words=["AB", "B", "BA"])
    found = search.decode(log_probs, blank=0, spelling=LETTERS, n_best=7)
    assert [" ".join(LETTERS.words(text.tokens)) for text in found] == ["AB", "B", "BA", "B B", "AB B", "BA B", ""]
    scores = [-2.254461920998252, -2.684577966731839, -2.846967602934757, -2.965979433489959, -3.1961364350545183]
    # from log-probabilities that flashlight has in float32
    assert [text.score for text in found] == pytest.approx([*scores, -3.780994854751378, -4.779523716111111], abs=1e-6)


def test_pyctcdecodes_hotword_scores():
    """What pyctcdecode 0.5.0 gives without pruning, for hotwords of which one is a phrase."""
    search = BeamSearch(10**4, -INF, INF, hotwords=["AB", "BBA A"], hotword_weight=2.5)
    found = search.decode(SIX_FRAMES, blank=0, spelling=LETTERS, n_best=6)
    assert [" ".join(LETTERS.words(text.tokens)) for text in found] == ["A A", "AB A", "A A A", "A AB", "AB", "A B"]
    scores = [1.8786478125213582, 1.4853259220777608, 1.2203199048340938, 0.3582176955151768, 0.17485227439681061]
    assert [text.score for text in found] == pytest.approx([*scores, -0.2655257240394633], rel=1e-12)


BPE = ["", "▁bu", "gs", "n", "▁n", "ny", "▁", "▁bugs"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {},
            {"nny bu": -3.372269010186966, "n bu": -3.798064613327162, "nny": -3.8817244700963496, "ny bu": -3.9502607419928863},
        ),
        (
            {"hotwords": ["bugs", "nny"], "hotword_weight": 2.5},
            {"nny bugs": 1.0334122228896514, "nny bugs bugs": 0.15788486905709664, "nny bugs bu": 0.013267380861175404},
        ),
    ],
)
def test_pyctcdecodes_word_pieces(options, expected):
    """What pyctcdecode 0.5.0 gives for a vocabulary of pieces, without pruning.  (All 4,836 texts have its scores, to 6e-15.)"""
    log_probs = log_softmax(np.random.default_rng(5).normal(size=(5, len(BPE))))
    spelling = vocabulary_spelling(piece_tokenizer(BPE), len(BPE))
    assert spelling == Spelling(("<pad>", "bu", "gs", "n", "n", "ny", "", "bugs"), None, frozenset({1, 4, 6, 7}))
    found = BeamSearch(10**5, -INF, INF, **options).decode(log_probs, blank=0, spelling=spelling, n_best=len(expected))
    assert [" ".join(spelling.words(text.tokens)) for text in found] == list(expected)
    assert [text.score for text in found] == pytest.approx(list(expected.values()), rel=1e-12)


# --- what a list does -------------------------------------------------------------------------------------------------------------


def heard(text: str, *, other: str | None = None, sure: float = 0.6) -> np.ndarray:
    """Log-probabilities of a text of LETTERS, a frame a character, with blanks written as _; and what else is a little less likely there."""
    rows = np.full((len(text), 4), 1e-9)
    for time, pair in enumerate(zip(text, other or text, strict=True)):
        for character, share in zip(pair, (sure, 1 - sure), strict=True):
            rows[time, LETTERS.tokens.index(character)] += share
    return np.log(rows / rows.sum(axis=1, keepdims=True))


def texts(search: BeamSearch, log_probs: np.ndarray, n_best: int = 1) -> list[str]:
    found = search.decode(log_probs, blank=0, spelling=LETTERS, n_best=n_best)
    return [" ".join(LETTERS.words(each.tokens)) for each in found]


def test_a_word_that_is_nearly_heard_becomes_one_of_the_list():
    log_probs = heard("ABA|AB_A", other="AB_|ABBA")
    assert texts(BeamSearch(), log_probs) == ["ABA ABA"]
    assert texts(BeamSearch(words=["AB", "ABBA"]), log_probs) == ["AB AB"]  # of a pair of B no path has its blank between
    assert texts(BeamSearch(words=["AB", "ABA"]), log_probs) == ["ABA ABA"]


def test_tokens_are_not_pruned_away_from_the_list():
    """The network is sure of "BB", which is no word, and gives the word "A" less than ``min_token_log_prob``."""
    log_probs = heard("B_B", other="A__", sure=0.999)
    assert texts(BeamSearch(words=["A"]), log_probs) == ["A"]
    assert texts(BeamSearch(words=["A"], beam_threshold=INF), log_probs) == ["A"]


def test_an_unknown_word_wins_by_more_than_the_margin():
    """ "AA" against "AB": by how much the first is likelier, to the third digit."""
    log_probs = heard("A_A", other="A_B", sure=0.9)
    gap = BeamSearch().decode(log_probs, blank=0, spelling=LETTERS)[0].score
    gap -= BeamSearch(words=["AB"]).decode(log_probs, blank=0, spelling=LETTERS)[0].score
    assert gap == pytest.approx(math.log(0.9 / 0.1), rel=1e-6)
    assert texts(BeamSearch(words=["AB"], unknown_margin=gap - 1e-3), log_probs) == ["AA"]
    assert texts(BeamSearch(words=["AB"], unknown_margin=gap + 1e-3), log_probs) == ["AB"]


def test_where_all_words_are_listed_nothing_changes():
    log_probs = heard("AB_|B_A", other="AA_|BBB", sure=0.8)
    plain = BeamSearch().decode(log_probs, blank=0, spelling=LETTERS)[0]
    assert BeamSearch(words=["AB", "BA"], unknown_margin=3.0).decode(log_probs, blank=0, spelling=LETTERS)[0] == plain


def test_words_are_taken_in_the_vocabularys_case():
    assert texts(BeamSearch(words=["ab", "Ba"]), heard("ABA|BBA", other="AB_|_BA")) == ["AB BA"]
    mixed = Spelling(("_", "|", "A", "a"), delimiter=1)
    log_probs = np.log(np.eye(4)[[2, 3]] * 0.9 + 0.025)
    found = BeamSearch(words=["Aa"]).decode(log_probs, blank=0, spelling=mixed)[0]
    assert mixed.words(found.tokens) == ("Aa",)


def test_a_list_without_words_leaves_silence():
    found = BeamSearch(words=[]).decode(heard("AB|B"), blank=0, spelling=LETTERS, n_best=9)
    assert [text.tokens for text in found] == [()]
    with np.errstate(divide="ignore"):
        certain = np.log(np.eye(4)[[2, 3]])
    with pytest.raises(InputError, match="log_probs: expected a possible text of the words that are allowed, found none"):
        BeamSearch(words=["BA"]).decode(certain, blank=0, spelling=LETTERS)


# --- hotwords ---------------------------------------------------------------------------------------------------------------------


def test_a_hotword_is_heard_more_readily():
    log_probs = heard("ABA|BBA", other="AB_|BAA", sure=0.7)
    assert texts(BeamSearch(), log_probs) == ["ABA BA"]
    assert texts(BeamSearch(hotwords=["ab"]), log_probs) == ["AB BA"]
    assert texts(BeamSearch(hotwords=["AB"], hotword_weight=0.5), log_probs) == ["ABA BA"]
    assert texts(BeamSearch(hotwords=["AB BA"], hotword_weight=-3.0), heard("BBA", other="BB_")) == ["B"]


def test_the_beginning_of_a_hotword_has_its_part():
    """By the shortest one that begins so: "A" is a half of "AB", and "ABB" one and a half, for "ABBB" begins with it."""
    fusion = Fusion(None, LETTERS, hotwords=("AB", "ABBB", "BBBB"), hotword_weight=4.0)
    blank, bar, a, b = range(4)
    assert [fusion.bonus(prefix, False) for prefix in [(), (a,), (a, b), (a, b, b), (a, a), (b,)]] == [0, 2, 4, 3, 0, 1]
    assert fusion.bonus((a, b, bar), False) == fusion.bonus((a, b), True) == 4
    assert fusion.bonus((a, b, bar, b, a, bar, a, b), True) == 8
    assert fusion.bonus((a,), True) == 0
    assert blank == 0


def test_a_hotword_that_the_language_model_lacks_is_charged_when_it_ends(model):
    options = {"alpha": 1 / math.log(10), "beta": 0.0, "unknown_offset": -2.0, "hotwords": ("BB",), "hotword_weight": 3.0}
    fusion = Fusion(model, LETTERS, **options)
    assert fusion.bonus((3, 3), False) == 3.0
    assert fusion.bonus((3, 3, 2), False) == pytest.approx(-2.0)
    assert fusion.bonus((3, 3, 1), False) == pytest.approx(-0.3 - 2 - 2 + 3)


# --- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"words": "AB"}, "words: expected a list of words, found 'AB'"),
        ({"words": 3}, "words: expected a list of words, found 3"),
        ({"words": ["AB", 3]}, "words: expected words without spaces, found 3"),
        ({"words": ["AB BA"]}, "words: expected words without spaces, found 'AB BA'"),
        ({"words": [""]}, "words: expected words without spaces, found ''"),
        ({"unknown_margin": -1.0}, "unknown_margin: expected at least 0, found -1.0"),
        ({"unknown_margin": math.nan}, "unknown_margin: expected at least 0, found nan"),
        ({"hotwords": "AB"}, "hotwords: expected a list of words, found 'AB'"),
        ({"hotwords": [" "]}, "hotwords: expected words or phrases, found ' '"),
        ({"hotword_weight": math.inf}, "hotword_weight: expected a number from -1,000,000 to 1,000,000, found inf"),
    ],
)
def test_a_search_that_means_nothing(options, message):
    with pytest.raises(InputError, match=message):
        BeamSearch(**options)


def test_words_and_a_vocabulary_that_do_not_fit():
    log_probs = heard("AB")
    for options in ({"words": ["AB"]}, {"hotwords": ["AB"]}):
        with pytest.raises(InputError, match="spelling: a list of words needs the text of each token, found none"):
            BeamSearch(**options).decode(log_probs, blank=0)
        with pytest.raises(InputError, match="vocabulary: a list of words needs a word delimiter token"):
            BeamSearch(**options).check_spelling(Spelling(LETTERS.tokens, delimiter=None))
    unspellable = ["ABC", "X", "Y", "Z", "V", "W", "A|B"]
    with pytest.raises(InputError, match=r"words: the vocabulary cannot spell 'ABC', 'A\|B', 'V', 'W', 'X', and 2 more"):
        BeamSearch(words=["AB", *unspellable]).check_spelling(LETTERS)
    with pytest.raises(InputError, match="hotwords: expected some of the words, which are the only ones, found 'BB'"):
        BeamSearch(words=["AB"], hotwords=["AB BB"]).check_spelling(LETTERS)
    BeamSearch(words=["AB"], unknown_margin=5.0, hotwords=["BB"]).check_spelling(LETTERS)


def test_words_of_a_vocabulary_of_pieces():
    pieces = Spelling(("_", "|", "ON", "E", "T", "HREE"), delimiter=1)
    BeamSearch(words=["one", "THREE", "TONE", "EE"]).check_spelling(pieces)
    for word in ("NO", "ONT H".replace(" ", ""), "TREE"):
        with pytest.raises(InputError, match=f"words: the vocabulary cannot spell '{word}'"):
            BeamSearch(words=[word]).check_spelling(pieces)
    marked = vocabulary_spelling(piece_tokenizer(["", "▁ON", "E", "▁T", "HREE"]), 5)
    BeamSearch(words=["one", "three"]).check_spelling(marked)
    with pytest.raises(InputError, match="words: the vocabulary cannot spell 'EE', 'HREE'"):
        BeamSearch(words=["EE", "HREE"]).check_spelling(marked)
    alone = vocabulary_spelling(piece_tokenizer(["", "▁", "E", "HREE"]), 4)
    BeamSearch(words=["EE", "HREE"]).check_spelling(alone)


def test_how_pieces_are_marked():
    """As SentencePiece does it, or as BERT; a vocabulary with a delimiter has none."""
    bert = vocabulary_spelling(piece_tokenizer(["", "ON", "##E", "T"]), 4)
    assert (bert.tokens[1:], bert.delimiter, bert.begins) == (("ON", "E", "T"), None, {1, 3})
    letters = vocabulary_spelling(piece_tokenizer(["", "|", "▁", "##E"]), 4)
    assert (letters.tokens[1:], letters.delimiter, letters.begins) == (("|", "▁", "##E"), 1, frozenset())
    with pytest.raises(InputError, match=r"spelling\.begins: expected none beside the delimiter 1, found \[0\]"):
        Spelling(("A", "|"), 1, frozenset({0}))
    with pytest.raises(InputError, match=r"spelling\.begins: expected tokens from 0 to 1 other than the blank 0, found \[2\]"):
        BeamSearch().decode(np.log([[0.5, 0.5]]), blank=0, spelling=Spelling(("", "A"), None, frozenset({2})))


# --- files ------------------------------------------------------------------------------------------------------------------------


def test_a_file_of_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffeins\r\n\n zwölf \ndrei".encode())
    assert read_words(path) == ("eins", "zwölf", "drei")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ONE\nTWO T W O\n", "words.txt:2: expected one word a line, found 'TWO T W O'"),
        (b"\n \n", "words.txt: expected words, one a line, found none"),
        (b"ONE\n\xff\n", "words.txt:2: expected UTF-8"),
    ],
)
def test_a_file_that_is_no_list_of_words(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_words(path)
    with pytest.raises(InputError, match=r"gone.txt: no such file"):
        read_words(tmp_path / "gone.txt")
