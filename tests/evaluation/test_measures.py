"""Errors counted by jiwer against a naive edit distance, and intervals against what is known of them."""

import sys
from types import ModuleType

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.errors import DependencyError, InputError
from sewnp.evaluation import (
    NORMALIZATIONS,
    NORMALIZERS,
    Counts,
    bootstrap_interval,
    count_characters,
    count_words,
    error_rate,
    match_measures,
    word_differences,
)

few = settings(max_examples=100, deadline=None, derandomize=True)


def distance(a, b):
    """Levenshtein's distance by its recursion, a row at a time."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        above, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(above[j - 1] + (x != y), above[j] + 1, row[-1] + 1))
    return row[-1]


texts = st.lists(st.sampled_from(["A", "B", "AB", "BA"]), max_size=7).map(" ".join)


@few
@given(texts, texts)
def test_counts_are_the_edit_distance_and_add_up(reference, hypothesis):
    for count, split in ((count_words, str.split), (count_characters, list)):
        said, heard = split(reference), split(hypothesis)
        found = count(reference, hypothesis)
        assert found.errors == distance(said, heard)
        assert found.length == len(said)
        assert found.hits + found.substitutions + found.insertions == len(heard)


def test_each_kind_of_error():
    assert count_words("A B C D", "A X C D") == Counts(3, 1, 0, 0)
    assert count_words("A B C D", "A C D") == Counts(3, 0, 1, 0)
    assert count_words("A B C D", "A B C C D") == Counts(4, 0, 0, 1)
    assert count_words("", "A B") == Counts(0, 0, 0, 2)
    assert count_words("A B", "") == Counts(0, 0, 2, 0)
    assert count_characters("A B", "AB") == Counts(2, 0, 1, 0)  # the space counts


def test_a_sets_rate_is_all_errors_over_all_words():
    rate = error_rate([Counts(1, 1, 0, 0), Counts(6, 0, 2, 1), Counts(0, 0, 0, 1)])
    assert (rate.errors, rate.length, rate.substitutions, rate.deletions, rate.insertions) == (5, 10, 1, 2, 2)
    assert rate.rate == 0.5
    assert rate.low <= rate.rate <= rate.high
    assert rate.to_dict()["rate"] == 0.5


@pytest.mark.parametrize(
    ("references", "hypotheses", "wer", "mer", "wil", "wip"),
    [  # as jiwer's pages and tests print them
        (["hello world", "i like monthy python"], ["hello duck", "i like python"], 33.33, 33.33, 46.67, 53.33),
        (
            ["short one here", "quite a bit of longer sentence"],
            ["shoe order one", "quite bit of an even longest sentence here"],
            88.89,
            61.54,
            74.75,
            25.25,
        ),
        (["This is a test"], ["This is a test"], 0, 0, 0, 100),
        (["This is a test"], [""], 100, 100, 100, 0),
        (["This is a test"], ["This test"], 50, 50, 50, 50),
    ],
)
def test_match_measures_are_jiwers(references, hypotheses, wer, mer, wil, wip):
    counts = [count_words(*pair) for pair in zip(references, hypotheses, strict=True)]
    found = match_measures(counts)
    assert [round(100 * each, 2) for each in (error_rate(counts).rate, *found)] == [wer, mer, wil, wip]
    theirs = jiwer.process_words(references, hypotheses)
    assert found == pytest.approx((theirs.mer, theirs.wil, theirs.wip))


def test_match_measures_of_nothing_said():
    with pytest.raises(InputError, match="at least one word"):
        match_measures([Counts(0, 0, 0, 2)])


@few
@given(texts, texts)
def test_differences_are_the_errors_of_the_counts(reference, hypothesis):
    pairs, counts = word_differences(reference, hypothesis), count_words(reference, hypothesis)
    kinds = (
        [all(pair) for pair in pairs].count(True),
        [heard for _, heard in pairs].count(""),
        [said for said, _ in pairs].count(""),
    )
    assert kinds == counts[1:]
    assert all(said != heard for said, heard in pairs)


def test_differences_in_their_order():
    said, heard = "short one here a b", "shoe order one here c d a"
    assert word_differences(said, heard) == [("", "shoe"), ("short", "order"), ("", "c"), ("", "d"), ("b", "")]


def test_the_interval_is_that_of_a_mean():
    """For equally long utterances the rate is a mean, whose interval theory knows: 1.96 standard errors to each side."""
    errors = np.random.default_rng(1).binomial(10, 0.2, 400)
    low, high = bootstrap_interval(errors, np.full(400, 10))
    mean, error = errors.mean() / 10, errors.std() / 10 / np.sqrt(400)
    # 2000 draws know their 2.5 % quantile to about 0.06 of a standard error
    assert (low - mean) / error == pytest.approx(-1.96, abs=0.2)
    assert (high - mean) / error == pytest.approx(1.96, abs=0.2)


def test_the_interval_draws_utterances_and_not_words():
    """Errors that come all in one utterance are less certain than the same number spread evenly."""
    spread = bootstrap_interval([1] * 20, [10] * 20)
    heaped = bootstrap_interval([10, 10] + [0] * 18, [10] * 20)
    assert spread == (0.1, 0.1)
    assert heaped[0] == 0
    assert heaped[1] > 0.2


def test_the_interval_is_the_same_every_time_and_seeded():
    errors, lengths = [0, 3, 1, 2, 5], [5, 9, 4, 7, 11]
    assert bootstrap_interval(errors, lengths) == bootstrap_interval(errors, lengths)
    assert bootstrap_interval(errors, lengths, seed=1, resamples=50) != bootstrap_interval(errors, lengths, resamples=50)
    narrow, wide = bootstrap_interval(errors, lengths, level=0.5), bootstrap_interval(errors, lengths, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_silent_utterances_count_their_insertions():
    low, high = bootstrap_interval([2, 0], [0, 4])  # one draw in four holds no word at all
    assert (low, high) == (0, 0.5)


@pytest.mark.parametrize(
    ("errors", "lengths", "message"),
    [([1], [1, 2], "lengths: expected the shape"), ([], [], "at least one word"), ([3], [0], "at least one word")],
)
def test_what_has_no_rate(errors, lengths, message):
    with pytest.raises(InputError, match=message):
        bootstrap_interval(errors, lengths)


@pytest.mark.parametrize(
    ("text", "basic"),
    [
        ("  It’s, well -- “fine”! ", "IT'S WELL FINE"),
        ("twenty-one\t3rd\n", "TWENTY ONE 3RD"),
        ("Cafe\u0301", "CAF\u00c9"),
        ("straße", "STRASSE"),
        ("हिन्दी", "हिन्दी"),  # vowel signs are marks, not punctuation
        ("?!", ""),
    ],
)
def test_basic_normalisation(text, basic):
    assert NORMALIZATIONS["basic"](text) == basic
    assert NORMALIZATIONS["basic"](basic) == basic


def test_no_normalisation_tidies_spaces_alone():
    assert NORMALIZATIONS["none"](" It’s,\n\twell ") == "It’s, well"


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("  Let's say he's like, um, twenty-one!", "let us say he is like 21"),
        ("she's been like [noise] that", "she has been like that"),
        ("10km RC232", "10 km rc 232"),
        ("ONE OH FIVE", "105"),
        ("Mr. Park visited Assoc. Prof. Kim Jr.", "mister park visited associate professor kim junior"),
        ("the mobilisation", "the mobilization"),
    ],
)
def test_english_normalisation_is_whispers(text, english, monkeypatch):
    """By the rules as transformers has them, in the place of the package, which has them too."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    module = ModuleType("whisper_normalizer.english")
    module.EnglishTextNormalizer = lambda: EnglishTextNormalizer({"mobilisation": "mobilization"})
    monkeypatch.setitem(sys.modules, "whisper_normalizer", ModuleType("whisper_normalizer"))
    monkeypatch.setitem(sys.modules, "whisper_normalizer.english", module)
    assert NORMALIZERS["english"](text) == english


def test_english_normalisation_needs_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "whisper_normalizer", None)
    with pytest.raises(DependencyError, match=r"needs whisper_normalizer: python -m pip install 'sewnp\[whisper\]'"):
        NORMALIZERS["english"]("one")
    assert "english" not in NORMALIZATIONS  # no text is learned in it
