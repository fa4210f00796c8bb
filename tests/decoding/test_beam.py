"""Beam search against its plain version, against all paths, against greedy decoding, and against what other decoders publish."""

import math
from itertools import product

import numpy as np
import pytest
from arpa import toy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.ctc import (
    Run,
    ScoredText,
    collapse,
    ctc_alpha,
    ctc_beta,
    ctc_loss,
    ctc_loss_vjp,
    forced_align,
    greedy_decode,
    greedy_path,
    posteriors,
    prefix_search,
    probabilities_inside,
)
from sewnp.decoding import BeamSearch, Fusion, Hypothesis, LanguageModel, Spelling, beam_search
from sewnp.decoding.search import Search
from sewnp.errors import InputError, LanguageModelError
from sewnp.layers import log_softmax

few = settings(max_examples=150, deadline=None, derandomize=True)
INF = math.inf

LETTERS = Spelling(("_", "|", "A", "B"), delimiter=1)  # the blank is 0


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return toy_model(tmp_path_factory.mktemp("arpa"))


def fusion(model, spelling=LETTERS, *, alpha=0.7, beta=0.4, unknown_offset=-2.0):
    return Fusion(model, spelling, alpha=alpha, beta=beta, unknown_offset=unknown_offset)


def distributions(rng, frames, vocab_size, *, ties):
    """(T, V) log-probabilities: random ones, or powers of two, of which many sums are equal, and some impossible tokens."""
    if ties:
        rows = [[1.0] + [0.0] * (vocab_size - 1) for _ in range(frames)]
        for row in rows:
            for token in range(1, int(rng.integers(1, vocab_size + 1))):  # the others are impossible
                halved = int(rng.integers(token))
                row[halved] = row[token] = row[halved] / 2
        with np.errstate(divide="ignore"):
            return np.round(np.log2(rng.permuted(np.array(rows).reshape(frames, vocab_size), axis=1))) * math.log(2)
    return log_softmax(rng.normal(size=(frames, vocab_size)) * rng.choice([0.5, 2.0, 6.0]))


# --- the plain version ------------------------------------------------------------------------------------------------------------


@few
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(0, 12),
    vocab_size=st.integers(1, 5),
    width=st.sampled_from([1, 2, 3, 7, 50]),
    min_token_log_prob=st.sampled_from([-INF, -3.0, -1.0, 0.0]),
    beam_threshold=st.sampled_from([INF, 3.0, 0.5, 0.0]),
    ties=st.booleans(),
    texts=st.sampled_from([None, ("A", "B", "C", "D", "E"), ("A", "B", "AB", "", "A")]),
    delimited=st.booleans(),
)
def test_arrays_equal_the_plain_version(
    seed, frames, vocab_size, width, min_token_log_prob, beam_threshold, ties, texts, delimited
):
    """The same texts in the same order with the same scores, to the last bit."""
    rng = np.random.default_rng(seed)
    log_probs = distributions(rng, frames, vocab_size, ties=ties)
    blank = int(rng.integers(vocab_size))
    delimiter = (blank + 1) % vocab_size if delimited and vocab_size > 1 else None
    options = {
        "blank": blank,
        "beam_width": width,
        "min_token_log_prob": min_token_log_prob,
        "beam_threshold": beam_threshold,
        "spelling": None if texts is None else Spelling(texts[:vocab_size], delimiter),
    }
    assert beam_search(log_probs, **options) == prefix_search(log_probs, **options)


@few
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(0, 14),
    width=st.sampled_from([1, 2, 5, 40]),
    min_token_log_prob=st.sampled_from([-INF, -2.0]),
    beam_threshold=st.sampled_from([INF, 4.0]),
    weights=st.sampled_from([(0.7, 0.4, -2.0), (0.0, 0.0, -10.0), (2.0, -1.0, 0.0)]),
    ties=st.booleans(),
    spelling=st.sampled_from([None, LETTERS]),
)
def test_arrays_equal_the_plain_version_with_a_language_model(
    words, seed, frames, width, min_token_log_prob, beam_threshold, weights, ties, spelling
):
    log_probs = distributions(np.random.default_rng(seed), frames, 4, ties=ties)
    alpha, beta, offset = weights
    options = {"blank": 0, "beam_width": width, "min_token_log_prob": min_token_log_prob, "beam_threshold": beam_threshold}
    options["spelling"] = spelling
    found = beam_search(log_probs, **options, fusion=fusion(words, alpha=alpha, beta=beta, unknown_offset=offset))
    plain = prefix_search(log_probs, **options, bonus=fusion(words, alpha=alpha, beta=beta, unknown_offset=offset).bonus)
    assert found == plain


def test_many_prefixes_and_many_beginnings_of_words(tmp_path):
    """Some thousand prefixes, most of them dropped, and more beginnings of words than there is room for at first."""
    rng = np.random.default_rng(5)
    known = sorted({"".join(rng.choice(list("ABC"), rng.integers(1, 6))) for _ in range(200)})
    lines = [f"{-1 - i / 100:.2f} {word}" for i, word in enumerate(["<s>", "</s>", *known])]
    (tmp_path / "many.arpa").write_text("\n".join(["\\data\\", f"ngram 1={len(lines)}", "\\1-grams:", *lines, "\\end\\"]))
    model = LanguageModel.read(tmp_path / "many.arpa")
    spelling = Spelling(("_", "|", "A", "B", "C", ""), delimiter=1)
    log_probs = log_softmax(rng.normal(size=(45, 6)))
    options = {"blank": 0, "beam_width": 60, "spelling": spelling}
    assert beam_search(log_probs, **options) == prefix_search(log_probs, **options)
    found = beam_search(log_probs, **options, fusion=fusion(model, spelling))
    assert found == prefix_search(log_probs, **options, bonus=fusion(model, spelling).bonus)


def test_forgotten_prefixes_are_not_missed(words, monkeypatch):
    """The tree is cut back to what the beam stands on every few frames, and nothing changes."""
    log_probs = log_softmax(np.random.default_rng(8).normal(size=(60, 4)))
    plain = prefix_search(log_probs, blank=0, beam_width=8, bonus=fusion(words).bonus, spelling=LETTERS)
    search = BeamSearch(8, -INF, INF, words, 0.7, 0.4, -2.0)
    before = search.decode(log_probs, blank=0, spelling=LETTERS, n_best=8)
    forgotten = []
    forget = Search._forget

    def counted(search):
        size = len(search.tree)
        forget(search)
        forgotten.append(size - len(search.tree))

    monkeypatch.setattr("sewnp.decoding.search.SPARE_NODES", 3)
    monkeypatch.setattr(Search, "_forget", counted)
    assert beam_search(log_probs, blank=0, beam_width=8, fusion=fusion(words), spelling=LETTERS) == plain
    assert len(forgotten) > 3
    assert sum(forgotten) > 20
    assert search.decode(log_probs, blank=0, spelling=LETTERS, n_best=8) == before


# --- all paths --------------------------------------------------------------------------------------------------------------------


def enumerate_texts(log_probs, blank):
    """Every text that any path spells, and the summed probability of its paths."""
    totals = {}
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        text = tuple(collapse(path, blank=blank)) if path else ()
        totals[text] = totals.get(text, 0.0) + math.exp(sum(log_probs[t, c] for t, c in enumerate(path)))
    return totals


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 5), vocab_size=st.integers(2, 4))
def test_a_wide_beam_is_exhaustive(seed, frames, vocab_size):
    rng = np.random.default_rng(seed)
    log_probs = distributions(rng, frames, vocab_size, ties=False)
    blank = int(rng.integers(vocab_size))
    totals = enumerate_texts(log_probs, blank)
    found = prefix_search(log_probs, blank=blank, beam_width=10**6)
    assert {text.tokens for text in found} == set(totals)
    # up to 4**5 paths are added to each other, with errors of 1e-16 each
    assert [math.exp(text.score) for text in found] == pytest.approx([totals[text.tokens] for text in found], rel=1e-12)
    assert [text.score for text in found] == sorted((text.score for text in found), reverse=True)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 5))
def test_a_wide_beam_is_exhaustive_with_a_language_model(words, seed, frames):
    """Score by score what the formula says, computed for every text by itself."""
    log_probs = distributions(np.random.default_rng(seed), frames, 4, ties=False)
    expected = {}
    for text, total in enumerate_texts(log_probs, 0).items():
        spoken = "".join(LETTERS.tokens[token] for token in text).replace("|", " ").split()
        unknown = sum(word not in ("AB", "B", "AA") for word in spoken)
        log10 = words.score_text(spoken) - 2.0 * unknown
        expected[text] = math.log(total) + 0.7 * math.log(10) * log10 + 0.4 * len(spoken)
    found = beam_search(log_probs, blank=0, beam_width=10**6, fusion=fusion(words))
    assert {text.tokens: text.score for text in found} == pytest.approx(expected, rel=1e-12, abs=1e-12)


# --- words ------------------------------------------------------------------------------------------------------------------------

SPELLINGS = {
    "a delimiter": Spelling(("_", "|", "A", "B"), delimiter=1),
    "tokens that spell alike": Spelling(("_", "|", "A", "AA"), delimiter=1),
    "a token that spells nothing": Spelling(("_", "|", "A", ""), delimiter=1),
    "a delimiter behind the blank": Spelling(("_", "A", "B", "|"), delimiter=3),
    "nothing but delimiters": Spelling(("_", "|"), delimiter=1),
    "no delimiter": Spelling(("_", "|", "A", "B"), delimiter=None),
    "no delimiter, tokens that spell alike": Spelling(("_", "A", "B", "AB"), delimiter=None),
}


def spoken(path, spelling, blank=0):
    """The words of a path, by Python's own ideas of text."""
    text = "".join(" " if token == spelling.delimiter else spelling.tokens[token] for token in collapse(path, blank=blank))
    return tuple(text.split())


def enumerate_words(log_probs, spelling):
    """Every sequence of words that any path spells, and its paths with their log-probabilities."""
    totals = {}
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        own = sum(log_probs[t, c] for t, c in enumerate(path))
        totals.setdefault(spoken(path, spelling), {})[path] = own
    return totals


@pytest.mark.parametrize("search", [prefix_search, beam_search])
@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("seed", range(6))
def test_a_text_is_its_words(search, name, seed):
    """With a beam so wide that nothing is dropped: each sequence of words once, with all paths of all its spellings."""
    spelling = SPELLINGS[name]
    log_probs = distributions(np.random.default_rng(seed), seed % 5 + 1, len(spelling.tokens), ties=seed == 0)
    expected = {words: sum(map(math.exp, paths.values())) for words, paths in enumerate_words(log_probs, spelling).items()}
    found = search(log_probs, blank=0, beam_width=10**6, spelling=spelling)
    assert [spelling.tidied(text.tokens) for text in found] == [text.tokens for text in found]
    by_words = {spelling.words(text.tokens): math.exp(text.score) for text in found}
    assert len(by_words) == len(found)
    # up to 4**5 paths are added to each other, with errors of 1e-16 each
    assert by_words == pytest.approx({words: total for words, total in expected.items() if total > 0}, rel=1e-12)


@pytest.mark.parametrize("search", [prefix_search, beam_search])
@pytest.mark.parametrize("seed", range(6))
def test_a_text_is_its_words_with_a_language_model(words, search, seed):
    log_probs = distributions(np.random.default_rng(seed), seed % 5 + 1, 4, ties=False)
    expected = {}
    for text, paths in enumerate_words(log_probs, LETTERS).items():
        log10 = words.score_text(text) - 2.0 * sum(word not in ("AB", "B", "AA") for word in text)
        expected[text] = math.log(sum(map(math.exp, paths.values()))) + 0.7 * math.log(10) * log10 + 0.4 * len(text)
    language = {"fusion": fusion(words)} if search is beam_search else {"bonus": fusion(words).bonus}
    found = search(log_probs, blank=0, beam_width=10**6, spelling=LETTERS, **language)
    assert {LETTERS.words(text.tokens): text.score for text in found} == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert len(found) == len(expected)


@few
@given(seed=st.integers(0, 10**6), name=st.sampled_from(sorted(SPELLINGS)), frames=st.integers(1, 5))
def test_frames_are_those_of_the_likeliest_path_of_all_spellings(seed, name, frames):
    spelling = SPELLINGS[name]
    rng = np.random.default_rng(seed)
    log_probs = distributions(rng, frames, len(spelling.tokens), ties=False)
    paths = enumerate_words(log_probs, spelling)
    for text in BeamSearch(10**4, -INF, INF).decode(log_probs, blank=0, spelling=spelling, n_best=4):
        own = paths[spelling.words(text.tokens)]
        best = max(own, key=own.__getitem__)
        assert spelling.tidied(text.tokens) == text.tokens
        letters = greedy_decode(np.eye(len(spelling.tokens))[list(best)][None], blank=0)[0]
        assert [span for span in text.spans if span.token != spelling.delimiter] == [
            run for run in letters if run.token != spelling.delimiter
        ]
        for before, gap, after in zip(text.spans, text.spans[1:], text.spans[2:], strict=False):
            if gap.token == spelling.delimiter:  # from the first to the last of its delimiters
                between = [run for run in letters if run.token == gap.token and before.end <= run.start < after.start]
                assert (gap.start, gap.end) == (between[0].start, between[-1].end)


def test_delimiters_around_and_between_words_are_one_text():
    """Four frames in which "B" has 0.272 in six spellings, none of which alone has the 0.155 of "B A"."""
    with np.errstate(divide="ignore"):
        log_probs = np.log([[0, 0.4, 0, 0.6], [0.3, 0.6, 0, 0.1], [0.9, 0.1, 0, 0], [0, 0.2, 0.4, 0.4]])
    best, second, *_ = BeamSearch().decode(log_probs, blank=0, spelling=LETTERS, n_best=9)
    assert (best.tokens, second.tokens) == ((3,), (3, 1, 2))
    assert (math.exp(best.score), math.exp(second.score)) == pytest.approx((0.272, 0.1552), rel=1e-12)
    without = BeamSearch().decode(log_probs, blank=0, n_best=9)
    assert without[0].tokens == (3, 1, 2)


def test_a_language_model_pays_for_no_empty_words(words):
    """The pause is a sure delimiter, a blank, and a delimiter again."""
    log_probs = np.log(np.eye(4)[[2, 0, 3, 1, 0, 1, 3, 1]] * 0.9 + 0.025)
    for found in BeamSearch(language_model=words, beta=5.0).decode(log_probs, blank=0, spelling=LETTERS, n_best=50):
        assert LETTERS.tidied(found.tokens) == found.tokens
    best = BeamSearch(language_model=words).decode(log_probs, blank=0, spelling=LETTERS)[0]
    assert best.tokens == (2, 3, 1, 3)
    assert best.spans[2] == Run(1, 3, 6)


@few
@given(seed=st.integers(0, 10**6), width=st.integers(1, 30))
def test_a_score_is_never_above_the_log_likelihood(seed, width):
    """The beam follows some of a text's paths, and none twice."""
    log_probs = distributions(np.random.default_rng(seed), 12, 4, ties=False)
    for text in beam_search(log_probs, blank=0, beam_width=width)[:3]:
        loss = ctc_loss(log_probs[None], [text.tokens], [12], [len(text.tokens)], blank=0, reduction="sum")
        assert text.score <= -float(loss) + 1e-12 * abs(text.score)


# --- greedy decoding --------------------------------------------------------------------------------------------------------------


@few
@given(
    seed=st.integers(0, 10**6),
    frames=st.integers(1, 30),
    width=st.integers(1, 4),
    min_token_log_prob=st.sampled_from([-INF, -0.5, 0.0]),
    beam_threshold=st.sampled_from([INF, 1.0, 0.0]),
)
def test_the_best_is_never_below_greedy(words, seed, frames, width, min_token_log_prob, beam_threshold):
    """Its score, against the greedy path's log-probability and what the language model adds to the greedy text."""
    log_probs = distributions(np.random.default_rng(seed), frames, 4, ties=seed % 2 == 0)
    path = float(log_probs.max(axis=1).sum())
    text = tuple(collapse(greedy_path(log_probs), blank=0))
    search = BeamSearch(width, min_token_log_prob, beam_threshold)
    assert search.decode(log_probs, blank=0)[0].score >= path
    search = BeamSearch(width, min_token_log_prob, beam_threshold, words, alpha=0.7, beta=0.4, unknown_offset=-2.0)
    assert search.decode(log_probs, blank=0, spelling=LETTERS)[0].score >= path + fusion(words).bonus(text, True)


def test_a_narrow_beam_alone_would_lose_greedy():
    """Tokens: blank, a, b.  Greedy reads "aba".  After two frames "a" has 0.22 and "ab" only 0.18, so a beam of 1 keeps "a"; then
    an "a" comes, and tears it into "a" and "aa"."""
    log_probs = np.log(np.array([[0.3, 0.4, 0.3], [0.3, 0.25, 0.45], [0.005, 0.99, 0.005]]))
    for search in (beam_search, prefix_search):
        assert [text.tokens for text in search(log_probs[:2], blank=0, beam_width=1)] == [(1,)]
        (found,) = search(log_probs, blank=0, beam_width=1)
        assert found.tokens == (1, 2, 1)
        assert math.exp(found.score) == pytest.approx(0.4 * 0.45 * 0.99, rel=1e-12)


def test_greedys_text_keeps_the_better_of_its_two_probabilities():
    """The beam comes back to greedy's text by worse paths than greedy's own, which it has dropped."""
    for seed in range(4000):
        rng = np.random.default_rng(seed)
        log_probs = log_softmax(rng.normal(size=(6, 3)))
        path, text = float(log_probs.max(axis=1).sum()), tuple(collapse(greedy_path(log_probs), blank=0))
        found = beam_search(log_probs, blank=0, beam_width=1)
        if found[0] == ScoredText(text, path, path):
            return
    raise AssertionError("no example in 4000")


@pytest.mark.parametrize("seed", range(5))
def test_where_it_finds_greedys_text_the_frames_are_greedys(seed):
    rng = np.random.default_rng(seed)
    path = np.repeat(rng.integers(0, 5, 30), rng.integers(1, 4, 30))
    log_probs = log_softmax(np.eye(5)[path] * 9 + rng.normal(size=(len(path), 5)))
    (best,) = BeamSearch().decode(log_probs, blank=0)
    (greedy,) = greedy_decode(log_probs[None], blank=0)
    assert best.tokens == tuple(run.token for run in greedy)
    assert best.spans == tuple(greedy)
    assert best.probabilities == tuple(math.exp(log_probs[run.start : run.end, run.token].max()) for run in greedy)


# --- pruning ----------------------------------------------------------------------------------------------------------------------


def test_a_pruned_token_is_impossible_in_its_frame():
    log_probs = np.log(np.array([[0.5, 0.3, 0.2], [0.05, 0.9, 0.05], [0.1, 0.1, 0.8], [0.4, 0.3, 0.3]]))
    pruned = np.where(log_probs >= math.log(0.25), log_probs, -np.inf)
    assert beam_search(log_probs, blank=0, beam_width=99, min_token_log_prob=math.log(0.25)) == beam_search(
        pruned, blank=0, beam_width=99
    )


def test_the_frames_likeliest_token_is_never_pruned():
    log_probs = np.log(np.full((3, 4), 0.25))
    log_probs[:, 2] += 1e-3
    found = beam_search(log_probs, blank=0, beam_width=9, min_token_log_prob=-0.1)
    assert [text.tokens for text in found] == [(2,)]


def test_the_beam_threshold_is_in_nats_below_the_best():
    log_probs = np.log(np.array([[0.7, 0.2, 0.1]]))
    for threshold, count in [(math.log(7.1), 3), (math.log(6.9), 2), (math.log(3.6), 2), (math.log(3.4), 1), (0.0, 1)]:
        assert len(beam_search(log_probs, blank=0, beam_width=9, beam_threshold=threshold)) == count


def test_of_equals_the_first_stays():
    fair = np.log(np.full((1, 4), 0.25))
    found = [text.tokens for text in beam_search(fair, blank=1, beam_width=9)]
    assert found == [(), (0,), (2,), (3,)]
    assert [text.tokens for text in beam_search(fair, blank=1, beam_width=2)] == found[:2]


def test_long_silence_is_exact():
    frames = 5000
    log_probs = np.tile(np.log([1 - 2e-6, 1e-6, 1e-6]), (frames, 1))
    log_probs[frames // 2] = np.log([0.1, 0.8, 0.1])
    (best,) = BeamSearch(100, -INF, INF).decode(log_probs, blank=0)
    assert best.spans == (Run(1, frames // 2, frames // 2 + 1),)
    loss = ctc_loss(log_probs[None], [[1]], [frames], [1], blank=0, reduction="sum")
    # all of the text's 12 million paths but those through a dropped prefix; 10,000 sums are rounded at 1e-16 of at most 0.3
    assert best.log_probability == pytest.approx(-float(loss), rel=1e-10)
    (pruned,) = BeamSearch().decode(log_probs, blank=0)
    # the blank is the only choice outside one frame: one path
    assert pruned.log_probability == pytest.approx((frames - 1) * math.log(1 - 2e-6) + math.log(0.8), rel=1e-10)


# --- what others publish ----------------------------------------------------------------------------------------------------------


def test_tensorflows_beam_search():
    """tensorflow/python/kernel_tests/nn_ops/ctc_decoder_ops_test.py, testCTCDecoderBeamSearch: beam of 2, the last token the blank."""
    logits = np.array(
        [
            [0.30999, 0.309938, 0.0679938, 0.0673362, 0.0708352, 0.173908],
            [0.215136, 0.439699, 0.0370931, 0.0393967, 0.0381581, 0.230517],
            [0.199959, 0.489485, 0.0233221, 0.0251417, 0.0233289, 0.238763],
            [0.279611, 0.452966, 0.0204795, 0.0209126, 0.0194803, 0.20655],
            [0.51286, 0.288951, 0.0243026, 0.0220788, 0.0219297, 0.129878],
        ]
    )
    found = beam_search(log_softmax(logits + 2.0), blank=5, beam_width=2)
    assert [text.tokens for text in found] == [(1, 0), (1,)]
    # published with 7 digits
    assert [text.score for text in found] == pytest.approx([-5.811451, -6.63339], abs=1e-6)


@pytest.mark.parametrize(
    ("probabilities", "greedy", "expected"),
    [
        (
            [
                [0.06390443, 0.21124858, 0.27323887, 0.06870235, 0.0361254, 0.18184413, 0.16493624],
                [0.03309247, 0.22866108, 0.24390638, 0.09699597, 0.31895462, 0.0094893, 0.06890021],
                [0.218104, 0.19992557, 0.18245131, 0.08503348, 0.14903535, 0.08424043, 0.08120984],
                [0.12094152, 0.19162472, 0.01473646, 0.28045061, 0.24246305, 0.05206269, 0.09772094],
                [0.1333387, 0.00550838, 0.00301669, 0.21745861, 0.20803985, 0.41317442, 0.01946335],
                [0.16468227, 0.1980699, 0.1906545, 0.18963251, 0.19860937, 0.04377724, 0.01457421],
            ],
            "ac'bdc",
            "acdc",
        ),
        (
            [
                [0.08034842, 0.22671944, 0.05799633, 0.36814645, 0.11307441, 0.04468023, 0.10903471],
                [0.09742457, 0.12959763, 0.09435383, 0.21889204, 0.15113123, 0.10219457, 0.20640612],
                [0.45033529, 0.09091417, 0.15333208, 0.07939558, 0.08649316, 0.12298585, 0.01654384],
                [0.02512238, 0.22079203, 0.19664364, 0.11906379, 0.07816055, 0.22538587, 0.13483174],
                [0.17928453, 0.06065261, 0.41153005, 0.1172041, 0.11880313, 0.07113197, 0.04139363],
                [0.15882358, 0.1235788, 0.23376776, 0.20510435, 0.00279306, 0.05294827, 0.22298418],
            ],
            "b'da",
            "b'a",
        ),
    ],
)
def test_ctcdecodes_and_paddlepaddles_beam_search(probabilities, greedy, expected):
    """parlance/ctcdecode, tests/test_decode.py, from PaddlePaddle's DeepSpeech: a beam of 20."""
    log_probs = np.log(np.array(probabilities))
    vocabulary = "' abcd_"
    assert "".join(vocabulary[run.token] for run in greedy_decode(log_probs[None], blank=6)[0]) == greedy
    assert "".join(vocabulary[token] for token in beam_search(log_probs, blank=6, beam_width=20)[0].tokens) == expected


# pyctcdecode/tests/sample_data/kenLM.arpa
BUGS_BUNNY = """\
\\data\\
ngram 1=5
ngram 2=5

\\1-grams:
-10\t<unk>\t0
0\t<s>\t0
0\t</s>\t0
0\tbugs\t0
0\tbunny\t0

\\2-grams:
0\tbunny </s>
-10\tbugs </s>
0\t<s> bugs
-10\t<s> bunny
0\tbugs bunny

\\end\\
"""


@pytest.fixture
def bugs_bunny(tmp_path):
    """The sample of pyctcdecode/tests/test_decoder.py: a model, log-probabilities between "bugs" and "bunny", then " bunny"."""
    (tmp_path / "bugs.arpa").write_text(BUGS_BUNNY)
    vocabulary = (" ", "b", "g", "n", "s", "u", "y", "")

    def spell(text):
        return np.eye(8)[[vocabulary.index({"_": ""}.get(c, c)) for c in text]]

    probabilities = np.concatenate([0.49 * spell("bugs__") + 0.51 * spell("bun_ny"), spell(" "), spell("bun_ny")])
    log_probs = np.log(np.clip(probabilities, 1e-15, 1))

    def decode(n_best=1, **options):
        found = BeamSearch(**options).decode(log_probs, blank=7, spelling=Spelling(vocabulary, delimiter=0), n_best=n_best)
        return [("".join(vocabulary[token] for token in text.tokens), text) for text in found]

    return LanguageModel.read(tmp_path / "bugs.arpa"), decode


def test_pyctcdecodes_scores(bugs_bunny):
    """test_decode_beams_batch: text, words with frames, log-probability, and score with the language model."""
    model, decode = bugs_bunny
    ((text, best),) = decode(language_model=model)
    assert text == "bugs bunny"
    assert best.log_probability == pytest.approx(-2.853399551509947, rel=1e-12)
    assert best.score == pytest.approx(0.14660044849005294, rel=1e-11)
    assert (best.spans[0].start, best.spans[3].end) == (0, 4)
    assert (best.spans[5].start, best.spans[-1].end) == (7, 13)


def test_pyctcdecodes_texts(bugs_bunny):
    """test_decoder, test_beam_results, test_pruning."""
    model, decode = bugs_bunny
    assert decode()[0][0] == "bunny bunny"
    assert decode(language_model=model, alpha=0.0)[0][0] == "bunny bunny"
    assert decode(language_model=model, alpha=1.0)[0][0] == "bugs bunny"
    without = decode(n_best=100)
    assert len(without) == 16
    assert (without[0][0], without[-1][0]) == ("bunny bunny", "bugs bunny")
    lenient = decode(n_best=100, language_model=model, unknown_offset=0.0, beam_threshold=20.0)
    assert [text for text, _ in lenient[:2]] == ["bugs bunny", "bunny bunny"]
    assert len(lenient) == 16
    assert decode(language_model=model, min_token_log_prob=0.0)[0][0] == "bunny bunny"


def test_pyctcdecodes_unigrams(bugs_bunny):
    """test_decoder: a list of words beside the model, which only says what is unknown."""
    model, decode = bugs_bunny
    listed = {"language_model": model, "alpha": 1.0, "words": ["bunny"], "unknown_margin": 0.0}
    assert decode(**listed, unknown_offset=0.0)[0][0] == "bugs bunny"
    assert decode(**listed, unknown_offset=-10.0)[0][0] == "bunny bunny"


def test_pyctcdecodes_hotwords(bugs_bunny):
    """test_hotwords."""
    model, decode = bugs_bunny
    assert decode(language_model=model, hotwords=["bunny"], hotword_weight=20)[0][0] == "bunny bunny"
    assert decode(language_model=model, hotwords=["bugs", "bunny"], hotword_weight=20)[0][0] == "bugs bunny"
    assert decode(language_model=model, hotwords=["bugs bunny"], hotword_weight=20)[0][0] == "bugs bunny"
    assert decode(hotwords=["bugs"])[0][0] == "bugs bunny"


def test_pyctcdecodes_bigram_makes_the_difference(bugs_bunny):
    """test_stateful: "bugs" and then, by little, "bugs" again; in the model "bunny" follows it."""
    model, _ = bugs_bunny
    vocabulary = (" ", "b", "g", "n", "s", "u", "y", "")
    bugs, bunny = (np.eye(8)[[vocabulary.index(c.replace("_", "")) for c in text]] for text in ("bugs__", "bun_ny"))
    log_probs = np.log(np.clip(np.concatenate([bugs[:4], np.eye(8)[:1], 0.51 * bugs + 0.49 * bunny]), 1e-15, 1))
    for options, expected in (({}, "bugs bugs"), ({"language_model": model}, "bugs bunny")):
        best = BeamSearch(**options).decode(log_probs, blank=7, spelling=Spelling(vocabulary, delimiter=0))[0]
        assert "".join(vocabulary[token] for token in best.tokens) == expected


@pytest.mark.parametrize(
    ("spelling", "path", "expected"),
    [
        (Spelling((" ", "b", "g", "n", "s", "u", "y", ""), delimiter=0), [0, 7, 1, 5, 3, 7, 3, 3, 6, 7, 0, 0], {"bunny": (2, 9)}),
        (Spelling(("bugs", "bun", "ny", ""), None, frozenset({0, 1})), [3, 0, 1, 2, 2, 3], {"bugs": (1, 2), "bunny": (2, 5)}),
    ],
)
def test_pyctcdecodes_frames(spelling, path, expected):
    """test_frame_annotation: a word that is drawn out, and word pieces."""
    size = len(spelling.tokens)
    log_probs = np.log(np.clip(np.eye(size)[path], 1e-15, 1))
    best = BeamSearch().decode(log_probs, blank=size - 1, spelling=spelling)[0]
    spans = iter(span for span in best.spans if span.token != spelling.delimiter)
    words = [[next(spans) for _ in piece] for piece in spelling.split(best.tokens) if piece]
    assert {spelling.text(tuple(s.token for s in word)): (word[0].start, word[-1].end) for word in words} == expected


def test_torchaudios_tokens_and_times():
    """test_get_tokens_and_idxs and test_get_timesteps of pytorch/audio's ctc_decoder_test.py; - | f o b a r, the blank first."""
    log_probs = np.log(np.clip(np.eye(7)[[2, 2, 0, 3, 3, 3, 0, 3]], 1e-15, 1))
    best = BeamSearch(words=["foo"]).decode(log_probs, blank=0, spelling=Spelling(tuple("-|fobar"), delimiter=1))[0]
    assert best.tokens == (2, 3, 3)
    assert [span.start for span in best.spans] == [0, 3, 7]


# --- hypotheses -------------------------------------------------------------------------------------------------------------------


def test_the_n_best_are_the_searchs(words):
    log_probs = log_softmax(np.random.default_rng(3).normal(size=(20, 4)))
    search = BeamSearch(12, -INF, INF, words)
    language = fusion(words, alpha=0.5, beta=1.5, unknown_offset=-10.0)
    texts = beam_search(log_probs, blank=0, beam_width=12, fusion=language, spelling=LETTERS)
    found = search.decode(log_probs, blank=0, spelling=LETTERS, n_best=5)
    assert [(text.tokens, text.score, text.log_probability) for text in found] == texts[:5]
    assert len(search.decode(log_probs, blank=0, spelling=LETTERS, n_best=1000)) == len(texts) <= 12
    assert len({text.tokens for text in found}) == 5
    for text in found:
        assert all(0 < probability <= 1 for probability in text.probabilities)
        assert all(a.end <= b.start for a, b in zip(text.spans, text.spans[1:], strict=False))


@few
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 12))
def test_frames_are_those_of_the_likeliest_path(seed, frames):
    """All paths are followed where nothing is dropped, and then they are those of forced alignment."""
    rng = np.random.default_rng(seed)
    log_probs = distributions(rng, frames, 3, ties=False)
    for text in BeamSearch(400, -INF, INF).decode(log_probs, blank=1, n_best=4):
        assert text.spans == forced_align(log_probs, text.tokens, blank=1).spans


@few
@given(seed=st.integers(0, 10**6), frames=st.integers(2, 12), width=st.integers(1, 6))
def test_frames_spell_the_text_whatever_is_dropped(seed, frames, width):
    rng = np.random.default_rng(seed)
    log_probs = distributions(rng, frames, 3, ties=seed % 3 == 0)
    for text in BeamSearch(width, -2.0, 3.0).decode(log_probs, blank=1, n_best=width):
        path = np.full(frames, 1)
        for token, start, end in text.spans:
            path[start:end] = token
        assert tuple(collapse(path, blank=1)) == text.tokens
        assert float(log_probs[np.arange(frames), path].sum()) > -INF


def test_two_equal_tokens_have_frames_of_their_own():
    log_probs = np.log(np.array([[0.1, 0.9], [0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.9, 0.1]]))
    (best,) = BeamSearch().decode(log_probs, blank=0)
    assert best.spans == (Run(1, 0, 2), Run(1, 3, 4))
    assert best.probabilities == pytest.approx((0.9, 0.7), rel=1e-12)


def test_hypotheses_are_values():
    log_probs = np.log(np.array([[0.1, 0.9], [0.8, 0.2]]))
    first, second = (BeamSearch().decode(log_probs, blank=0)[0] for _ in range(2))
    assert {first, second} == {first}
    assert isinstance(first, Hypothesis)
    assert {type(part) for part in (first.score, first.log_probability, *first.probabilities)} == {float}
    assert {type(part) for part in (*first.tokens, *first.spans[0])} == {int}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_everything_is_computed_in_float64(dtype):
    log_probs = log_softmax(np.random.default_rng(0).normal(size=(20, 5))).astype(dtype)
    before = log_probs.copy()
    log_probs.flags.writeable = False
    found = BeamSearch().decode(log_probs, blank=2, n_best=3)
    assert found == BeamSearch().decode(log_probs.astype(np.float64), blank=2, n_best=3)
    np.testing.assert_array_equal(log_probs, before)


def test_nothing_decodes_to_nothing(words):
    assert BeamSearch().decode(np.zeros((0, 3)), blank=0) == [Hypothesis(0.0, 0.0, (), ())]
    assert BeamSearch().decode(np.zeros((4, 1)), blank=0) == [Hypothesis(0.0, 0.0, (), ())]
    silent = BeamSearch(language_model=words).decode(np.zeros((0, 4)), blank=0, spelling=LETTERS)
    assert silent[0].score == pytest.approx(0.5 * math.log(10) * (-0.3 - 1), rel=1e-14)  # <s> </s>


# --- the language model's part ----------------------------------------------------------------------------------------------------


def test_the_bonus_of_prefixes_and_texts(words):
    """Word by word; nothing for empty words; the offset as soon as no known word begins so; the end at the end."""
    ln = 0.7 * math.log(10)
    bonus = fusion(words).bonus
    blank, bar, a, b = range(4)
    known = ln * -0.1 + 0.4
    assert bonus((), False) == 0.0
    assert bonus((a,), False) == bonus((a, b), False) == 0.0
    assert bonus((b, b), False) == bonus((a, b, a), False) == pytest.approx(ln * -2.0, rel=1e-14)
    assert bonus((a, b, bar), False) == bonus((bar, a, b, bar, bar), False) == pytest.approx(known, rel=1e-14)
    assert bonus((a, b, bar, b, b), False) == pytest.approx(known + ln * -2.0, rel=1e-14)
    assert bonus((a, b), True) == pytest.approx(known + ln * (-0.1 - 0.2 - 1), rel=1e-14)
    assert bonus((a, b, bar), True) == bonus((a, b), True)
    assert bonus((a, b, bar, a, a), True) == pytest.approx(known + ln * -0.05 + 0.4 + ln * -0.2, rel=1e-14)
    assert bonus((b, b), True) == pytest.approx(ln * (-0.3 - 2 - 2) + 0.4 + ln * -1, rel=1e-14)
    assert bonus((a,), True) == bonus((b, b), True)
    assert blank == 0


def test_a_weight_of_zero_is_no_language_model(words):
    log_probs = log_softmax(np.random.default_rng(1).normal(size=(15, 4)))
    with_it = BeamSearch(language_model=words, alpha=0.0, beta=0.0).decode(log_probs, blank=0, spelling=LETTERS, n_best=9)
    assert with_it == BeamSearch().decode(log_probs, blank=0, spelling=LETTERS, n_best=9)


# --- what is refused --------------------------------------------------------------------------------------------------------------

LOG_PROBS = np.log(np.full((2, 4), 0.25))


def with_value(value):
    log_probs = LOG_PROBS.copy()
    log_probs[1, 2] = value
    return log_probs


@pytest.mark.parametrize(
    ("log_probs", "arguments", "message"),
    [
        (LOG_PROBS[None], {}, r"log_probs: expected shape \(\*, \*\), found \(1, 2, 4\)"),
        (LOG_PROBS.astype(int), {}, "log_probs: expected a floating dtype, found int64"),
        (with_value(np.nan), {}, "log_probs: expected a finite maximum in every frame"),
        (with_value(np.inf), {}, "log_probs: expected a finite maximum in every frame"),
        (np.full((2, 4), -np.inf), {}, "log_probs: expected a finite maximum in every frame"),
        (np.zeros((0, 0)), {}, "blank: expected 0 <= blank < 0, found 0"),
        (LOG_PROBS, {"blank": 4}, "blank: expected 0 <= blank < 4, found 4"),
        (LOG_PROBS, {"blank": -1}, "blank: expected 0 <= blank < 4, found -1"),
        (LOG_PROBS, {"n_best": 0}, "n_best: expected a whole number of 1 or more, found 0"),
    ],
)
def test_what_does_not_fit_is_refused(log_probs, arguments, message):
    with pytest.raises(InputError, match=message):
        BeamSearch().decode(log_probs, **({"blank": 0} | arguments))


@pytest.mark.parametrize("search", [prefix_search, beam_search])
def test_a_beam_of_no_width(search):
    with pytest.raises(InputError, match="beam_width: expected a whole number of 1 or more, found 0"):
        search(LOG_PROBS, blank=0, beam_width=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_width": 0}, "beam_width: expected a whole number of 1 or more, found 0"),
        ({"beam_width": 2.5}, "beam_width: expected a whole number of 1 or more, found 2.5"),
        ({"beam_width": "9"}, "beam_width: expected a whole number of 1 or more, found '9'"),
        ({"min_token_log_prob": 0.1}, "min_token_log_prob: expected a log-probability of at most 0, found 0.1"),
        ({"min_token_log_prob": math.nan}, "min_token_log_prob: expected a log-probability of at most 0, found nan"),
        ({"beam_threshold": -1.0}, "beam_threshold: expected at least 0, found -1.0"),
        ({"beam_threshold": math.nan}, "beam_threshold: expected at least 0, found nan"),
        ({"beam_threshold": None}, "beam_threshold: expected at least 0, found None"),
        ({"beam_threshold": "10"}, "beam_threshold: expected at least 0, found '10'"),
        ({"beam_threshold": 10**400}, "beam_threshold: expected at least 0, found 1000"),
        ({"min_token_log_prob": None}, "min_token_log_prob: expected a log-probability of at most 0, found None"),
        ({"min_token_log_prob": False}, "min_token_log_prob: expected a log-probability of at most 0, found False"),
        ({"beam_width": True}, "beam_width: expected a whole number of 1 or more, found True"),
        ({"beam_width": None}, "beam_width: expected a whole number of 1 or more, found None"),
        ({"alpha": math.nan}, "alpha: expected a number from 0 to 1,000,000, found nan"),
        ({"alpha": -0.5}, "alpha: expected a number from 0 to 1,000,000, found -0.5"),
        ({"alpha": 1e308}, "alpha: expected a number from 0 to 1,000,000, found 1e.308"),
        ({"alpha": 0.5j}, "alpha: expected a number from 0 to 1,000,000, found 0.5j"),
        ({"beta": math.inf}, "beta: expected a number from -1,000,000 to 1,000,000, found inf"),
        ({"beta": 1e308}, "beta: expected a number from -1,000,000 to 1,000,000, found 1e.308"),
        ({"beta": -1e308}, "beta: expected a number from -1,000,000 to 1,000,000, found -1e.308"),
        ({"beta": "1"}, "beta: expected a number from -1,000,000 to 1,000,000, found '1'"),
        ({"unknown_offset": -math.inf}, "unknown_offset: expected a number from -1,000,000 to 1,000,000, found -inf"),
        ({"language_model": "x.arpa"}, "language_model: expected what LanguageModel.read makes of a file, found 'x.arpa'"),
    ],
)
def test_a_search_that_means_nothing(options, message):
    with pytest.raises(InputError, match=message):
        BeamSearch(**options)


def test_a_language_model_and_a_vocabulary_that_do_not_fit(words):
    search = BeamSearch(language_model=words)
    with pytest.raises(InputError, match="spelling: a language model needs the text of each token, found none"):
        search.decode(LOG_PROBS, blank=0)
    with pytest.raises(InputError, match="spelling: expected the texts of all 4 tokens, found 2"):
        search.decode(LOG_PROBS, blank=0, spelling=Spelling(("A", "|"), delimiter=1))
    for without in (lambda s: search.decode(LOG_PROBS, blank=0, spelling=s), search.check_spelling):
        with pytest.raises(
            InputError, match="a language model of words needs a word delimiter token, which this vocabulary does not"
        ):
            without(Spelling(LETTERS.tokens, delimiter=None))
        with pytest.raises(LanguageModelError, match=r"words.arpa: expected words spelled with .* letters '_ab', found 'AA'"):
            without(Spelling(("_", "|", "a", "b"), delimiter=1))
    BeamSearch().check_spelling(Spelling((), delimiter=None))  # nobody asks


def test_numpys_warnings_are_nobodys_business():
    """What is too small to count is nothing, also for somebody who has asked NumPy to raise at that."""
    rng = np.random.default_rng(0)
    log_probs = log_softmax(rng.normal(size=(50, 4)) * np.where(np.arange(50) % 9 == 7, 3000, 1)[:, None])
    with np.errstate(all="raise"):
        prefix_search(log_probs, blank=0, beam_width=9, spelling=LETTERS)
        BeamSearch(50, -INF, INF).decode(log_probs, blank=0, spelling=LETTERS, n_best=50)
        path = forced_align(log_probs, [2, 1, 3], blank=0)
        probabilities_inside(log_probs, [2, 1, 3], path.states, np.zeros((1, 50, 2), int), blank=0)
        problem = log_probs[None], [[2, 1, 3]], [50], [3]
        posteriors(ctc_alpha(*problem, blank=0), ctc_beta(*problem, blank=0))
        ctc_loss_vjp(*problem, blank=0)[1](np.ones(()))
