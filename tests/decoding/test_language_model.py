"""Language models from ARPA files against a naive recursion and kenlm's answers; their errors."""

import bz2
import gzip
import lzma
import math
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sewnp.decoding import BeamSearch, LanguageModel, Spelling
from sewnp.errors import LanguageModelError

few = settings(max_examples=60, deadline=None, derandomize=True)

# An order 3 model whose n-grams meet every case: with and without back-off weights, a trigram, an n-gram after an unknown word.
SMALL = """\
\\data\\
ngram 1=7
ngram 2=7
ngram 3=3

\\1-grams:
-99\t<s>\t-0.30103
-0.80\t</s>
-1.60\t<unk>\t-0.15
-0.61\tONE\t-0.25
-0.72\tTWO\t-0.1
-0.95\tTHREE
-1.21\tDÉJÀ\t0.05

\\2-grams:
-0.41\t<s> ONE\t-0.2
-0.52\tONE TWO\t-0.35
-0.33\tTWO THREE\t-0.05
-0.27\tTHREE </s>
-0.62\tTWO </s>
-0.44\t<unk> ONE
-0.71\tONE ONE\t-0.4

\\3-grams:
-0.12\t<s> ONE TWO
-0.23\tONE TWO THREE
-0.34\tONE ONE TWO

\\end\\
"""

# kenlm 0.3.0 (https://pypi.org/project/kenlm): f"{kenlm.Model("small.arpa").score(text):.9f}" with SMALL in small.arpa; it puts <s>
# before the text and </s> behind it, and computes in float32
KENLM = {
    "": -1.101029992,
    "ONE": -1.659999967,
    "ONE TWO": -1.5,
    "ONE TWO THREE": -1.080000043,
    "ONE ONE TWO THREE": -2.210000038,
    "TWO TWO": -2.461030006,
    "FOUR ONE": -3.391030073,
    "ONE FOUR FIVE": -5.159999847,
    "THREE DÉJÀ TWO ONE": -4.891030312,
    "TWO THREE ONE TWO": -3.501030207,
}


@pytest.fixture
def arpa(tmp_path):
    def write(text, name="model.arpa"):
        path = tmp_path / name
        content = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


# --- scores -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", KENLM)
def test_scores_are_kenlms(arpa, text):
    # kenlm adds up to ten float32 numbers of about 1, each rounded at 6e-8
    assert LanguageModel.read(arpa(SMALL)).score_text(text.split()) == pytest.approx(KENLM[text], rel=1e-6)


WITH_ANOTHER = SMALL.replace("ngram 1=7", "ngram 1=8").replace("-0.95\tTHREE", "-0.95\tTHREE\n-1.5\t<UNK>")

# files that kenlm 0.3.0 reads although they break the rules, and what it says of "FOO ONE", "ONE FOO", "ONE ONE TWO THREE" and "TWO TWO"
LENIENT = {
    "<UNK>": (SMALL.replace("<unk>", "<UNK>"), [-3.39103, -3.41, -2.21, -2.46103]),
    "<UNK> behind <unk>": (WITH_ANOTHER, [-3.29103, -3.16, -2.21, -2.46103]),
    "<UNK> with a weight of its own": (
        WITH_ANOTHER.replace("<UNK>", "<UNK>\t-0.4").replace("<unk> ONE", "<UNK> ONE"),
        [-3.29103, -3.56, -2.21, -2.46103],
    ),
    "<unk> twice": (WITH_ANOTHER.replace("<UNK>", "<unk>"), [-3.29103, -3.16, -2.21, -2.46103]),
    "a word twice": (WITH_ANOTHER.replace("-1.5\t<UNK>", "-0.2\tONE\t-0.9"), [-3.39103, -3.41, -2.21, -2.46103]),
    "<s> and </s> twice": (
        WITH_ANOTHER.replace("1=8", "1=9").replace("-1.5\t<UNK>", "-0.2\t<s>\t-0.9\n-0.1\t</s>"),
        [-3.39103, -3.41, -2.21, -2.46103],
    ),
    "a bigram twice": (SMALL.replace("-0.44\t<unk> ONE", "-0.44\tONE TWO\t-0.01"), [-3.71103, -3.41, -2.21, -2.46103]),
    "a trigram twice": (SMALL.replace("-0.23\tONE TWO THREE", "-0.23\t<s> ONE TWO"), [-3.39103, -3.41, -2.66, -2.46103]),
    "an impossible word": (SMALL.replace("-0.72\tTWO", "-inf\tTWO"), [-3.39103, -3.41, -2.21, -math.inf]),
    "a number too large": (SMALL.replace("-0.72\tTWO", "-1e400\tTWO"), [-3.39103, -3.41, -2.21, -math.inf]),
    "form feeds in a word": (SMALL.replace("DÉJÀ", "TH\x0cRE\x0bE"), [-3.39103, -3.41, -2.21, -2.46103]),
    "no break in a word": (SMALL.replace("DÉJÀ", "A\u00a0B"), [-3.39103, -3.41, -2.21, -2.46103]),
    "a word of 100,000 letters": (SMALL.replace("DÉJÀ", "O" * 100_000), [-3.39103, -3.41, -2.21, -2.46103]),
}


@pytest.mark.parametrize("case", LENIENT)
def test_what_kenlm_reads_is_read(arpa, case):
    text, scores = LENIENT[case]
    model = LanguageModel.read(arpa(text))
    found = [model.score_text(said.split()) for said in ("FOO ONE", "ONE FOO", "ONE ONE TWO THREE", "TWO TWO")]
    assert found == pytest.approx(scores, rel=1e-6)  # float32's


def test_an_impossible_word_is_said_only_where_nothing_else_can_be(arpa):
    model = LanguageModel.read(arpa(SMALL.replace("-0.72\tTWO", "-inf\tTWO").replace("-0.80\t</s>", "-inf\t</s>")))
    spelling = Spelling(("_", "|", "TWO", "THREE"), delimiter=1)
    log_probs = np.log([[0.05, 0.05, 0.85, 0.05]])
    for alpha, best in ((0.0, (2,)), (0.5, (3,))):
        for found in BeamSearch(language_model=model, alpha=alpha).decode(log_probs, blank=0, spelling=spelling, n_best=9):
            assert math.isfinite(found.score)
        found = BeamSearch(language_model=model, alpha=alpha).decode(log_probs, blank=0, spelling=spelling)
        assert found[0].tokens == best


def random_model(rng):
    """n-grams of up to four words, {words: (log10, backoff)}; each one's first words are there too, but its last ones may not be."""
    words = ["<s>", "</s>", "A", "B", "C"] + ["<unk>"] * rng.randint(0, 1)
    order = rng.randint(1, 4)
    orders = [{(word,): (round(-rng.random() * 3, 4), round(rng.uniform(-1, 0.3), 4)) for word in words}]
    for n in range(2, order + 1):
        contexts = [ngram for ngram in orders[-1] if "</s>" not in ngram]
        chosen = {(*rng.choice(contexts), rng.choice(words[1:])) for _ in range(rng.randint(0, 12))} if contexts else set()
        highest = n == order
        orders.append(
            {gram: (round(-rng.random() * 2, 4), 0.0 if highest else round(rng.uniform(-1, 0.3), 4)) for gram in sorted(chosen)}
        )
    return orders


def as_arpa(orders, rng):
    """The model as a file: fields parted by tabs or spaces, back-off weights of 0 left out or not, sections in any order of lines."""
    lines = ["some words before the data", "\\data\\", *(f"ngram {n}={len(grams)}" for n, grams in enumerate(orders, start=1))]
    for n, grams in enumerate(orders, start=1):
        lines += ["", f"\\{n}-grams:"]
        for gram in rng.sample(sorted(grams), len(grams)):
            log10, backoff = grams[gram]
            shown = f"\t{backoff}" if backoff or rng.random() < 0.5 else ""
            lines.append(f"{log10}{rng.choice(['	', ' '])}{' '.join(gram)}{shown if n < len(orders) else ''}")
    return "\n".join([*lines, "", "\\end\\", ""])


def backed_off(orders, history, word):
    """Katz's definition, word for word, with all of the history."""
    history = history[-(len(orders) - 1) :] if len(orders) > 1 else ()
    gram = (*history, word)
    if gram in orders[len(gram) - 1]:
        return orders[len(gram) - 1][gram][0]
    if not history:
        return -100.0  # of <unk>, where the file has none
    backoff = orders[len(history) - 1].get(history, (0.0, 0.0))[1]
    return backoff + backed_off(orders, history[1:], word)


@few
@given(seed=st.integers(0, 10**6), text=st.lists(st.sampled_from(["A", "B", "C", "D", "</s>"]), max_size=7))
def test_scores_equal_a_naive_recursion(tmp_path_factory, seed, text):
    rng = random.Random(seed)
    orders = random_model(rng)
    path = tmp_path_factory.mktemp("arpa") / "random.arpa"
    path.write_text(as_arpa(orders, rng))
    model = LanguageModel.read(path)
    assert model.order == len(orders)
    known = [word if word in "ABC" else "<unk>" for word in text]  # a text's word that looks like a marker is no marker
    history, total = ("<s>",), 0.0
    for word in [*known, "</s>"]:
        total += backed_off(orders, history, word)
        history += (word,)
    # sums of at most 40 numbers of 4 decimals, some of them 100: exact up to rounding
    assert model.score_text(text) == pytest.approx(total, rel=1e-13)


def test_a_context_is_no_longer_than_what_matters(arpa):
    model = LanguageModel.read(arpa(SMALL))
    one, two, three = map(model.index, ["ONE", "TWO", "THREE"])
    assert model.start == (model.words["<s>"],)
    assert model.score(model.start, one) == (-0.41, (model.words["<s>"], one))
    assert model.score((model.words["<s>"], one), two) == (-0.12, (one, two))
    assert model.score((one, two), one) == (pytest.approx(-0.35 - 0.1 - 0.61, rel=1e-14), (one,))
    assert model.score((), three) == (-0.95, (three,))


def test_words_and_markers(arpa):
    model = LanguageModel.read(arpa(SMALL))
    assert model.order == 3
    assert model.spellings == ["DÉJÀ", "ONE", "THREE", "TWO"]
    assert model.index("<s>") == model.index("</s>") == model.index("one") == model.index("<unk>") == model.unknown
    assert model.score((), model.unknown)[0] == -1.6


def test_without_an_unknown_word_it_is_kenlms(arpa):
    model = LanguageModel.read(
        arpa(SMALL.replace("ngram 1=7", "ngram 1=6").replace("-1.60\t<unk>\t-0.15\n", "").replace("<unk>", "TWO"))
    )
    assert model.score((), model.index("FOUR"))[0] == -100.0


def test_unigrams_have_no_context(arpa):
    model = LanguageModel.read(arpa("\\data\\\nngram 1=3\n\\1-grams:\n-1 <s>\n-0.5 </s>\n-0.25 A\n\\end\\\n"))
    assert model.order == 1
    assert model.start == ()
    assert model.score_text(["A", "A"]) == -1.0


def test_text_or_packed_whatever_it_is_called(arpa):
    plain, packed = LanguageModel.read(arpa(SMALL)), LanguageModel.read(arpa(SMALL, "model.arpa.gz"))
    renamed, *more = (
        LanguageModel.read(arpa(pack.compress(SMALL.encode()), f"{pack.__name__}.arpa")) for pack in (gzip, bz2, lzma)
    )
    other = LanguageModel.read(arpa(SMALL.replace("\n", "\r\n"), "windows.arpa"))
    scores = {model.score_text(["ONE", "TWO"]) for model in (plain, packed, renamed, *more, other)}
    assert scores == {-1.5}


# --- what is refused --------------------------------------------------------------------------------------------------------------


def changed(old, new, count=1):
    assert SMALL.count(old) >= 1
    return SMALL.replace(old, new, count)


MALFORMED = {
    "empty": ("", r"no line \\data\\: not an ARPA file, or cut short"),
    "another format": ("RIFF....WAVE", r"no line \\data\\"),
    "no data line": (changed("\\data\\\n", ""), r"no line \\data\\"),
    "no counts": ("\\data\\\n\\1-grams:\n\\end\\\n", r"line 2: expected ngram 1=COUNT, found '\\\\1-grams:'"),
    "cut in the counts": ("\\data\\\nngram 1=7\n", r"line 2: the file ends in the counts, without \\end\\"),
    "count is no number": (changed("ngram 2=7", "ngram 2=many"), "line 3: expected ngram 2=COUNT, found 'ngram 2=many'"),
    "negative count": (changed("ngram 2=7", "ngram 2=-7"), "line 3: expected ngram 2=COUNT, found 'ngram 2=-7'"),
    "absurd count": (changed("ngram 2=7", "ngram 2=" + "9" * 5000), "line 3: expected ngram 2=COUNT, found 'ngram 2=999"),
    "order left out": (changed("ngram 2=7\n", ""), "line 3: expected ngram 2=COUNT, found 'ngram 3=3'"),
    "order twice": (changed("ngram 2=7", "ngram 1=7"), "line 3: expected ngram 2=COUNT, found 'ngram 1=7'"),
    "count too high": (changed("ngram 1=7", "ngram 1=8"), "line 15: expected 8 1-grams as promised in the header, found 7"),
    "promise of memory": (
        changed("ngram 1=7", "ngram 1=999999999999999"),
        "line 15: expected 999,999,999,999,999 1-grams as promised in the header, found 7",
    ),
    "count too low": (changed("ngram 2=7", "ngram 2=6"), "line 22: expected 6 2-grams as promised in the header, found more"),
    "a section left out": (changed("\\2-grams:", "\\3-grams:"), r"line 15: expected \\2-grams:, found '\\\\3-grams:'"),
    "a section too many": (changed("\\end\\", "\\4-grams:\n\\end\\"), r"line 29: expected \\end\\, found '\\\\4-grams:'"),
    "an unknown section": (changed("\\1-grams:", "\\words:"), r"line 6: expected \\1-grams:, found '\\\\words:'"),
    "no number": (changed("-0.61", "minus"), "line 10: expected a log-probability of at most 0, found 'minus'"),
    "a hexadecimal number": (changed("-0.61", "-0x1p-1"), "line 10: expected a log-probability of at most 0, found '-0x1p-1'"),
    "a number for programmers": (changed("-0.61", "-0_1"), "line 10: expected a log-probability of at most 0, found '-0_1'"),
    "not a number": (changed("-0.61", "nan"), "line 10: expected a log-probability of at most 0, found 'nan'"),
    "infinite": (changed("-0.61", "inf"), "line 10: expected a log-probability of at most 0, found 'inf'"),
    "a positive log-probability": (changed("-0.61", "0.61"), "line 10: expected a log-probability of at most 0, found '0.61'"),
    "a back-off weight that is none": (changed("-0.25", "oops"), "line 10: expected a finite number, found 'oops'"),
    "an infinite back-off weight": (changed("-0.25", "inf"), "line 10: expected a finite number, found 'inf'"),
    "a word too few": (changed("ONE TWO\t-0.35", "TWO"), "line 17: expected a number, 2 words and at most one number more"),
    "words too many": (
        changed("ONE TWO\t-0.35", "ONE TWO THREE ONE"),
        "line 17: expected a number, 2 words and at most one number more, found '-0.52",
    ),
    "a word alone": (
        changed("-0.95\tTHREE", "THREE"),
        "line 12: expected a number, 1 word and at most one number more, found 'THREE'",
    ),
    "an unknown word": (changed("ONE TWO\t", "ONE EIGHT\t"), "line 17: expected words of the 1-grams, found 'EIGHT'"),
    "a back-off weight at the top": (
        changed("<s> ONE TWO", "<s> ONE TWO\t-0.1"),
        "line 25: expected no back-off weight in the highest order, found '-0.1'",
    ),
    "an n-gram without its context": (
        changed("ONE ONE TWO", "TWO TWO ONE"),
        "line 27: 'TWO TWO ONE': expected its first words among the 2-grams",
    ),
    "no end": (changed("\\end\\\n", ""), r"line 28: the file ends in the 3-grams, without \\end\\"),
    "cut in a line": (SMALL[:200], r"the file ends in the 2-grams, without \\end\\"),
    "not UTF-8": (SMALL.encode("latin-1"), r"line 13: expected UTF-8, found 'D\\\\xc9J\\\\xc0'"),
    "UTF-16": (SMALL.encode("utf-16"), "UTF-16; expected UTF-8"),
    "an endless order": (
        "\\data\\\n" + "".join(f"ngram {n}=1\n" for n in range(1, 4001)),
        "line 34: expected n-grams of at most 32 words",
    ),
    "kenlm's binary": (
        b"mmap lm http://kheafield.com/code format version 5\n\0" + bytes(200),
        r"kenlm's; expected the ARPA file that it was built from \(build_binary NAME.arpa NAME.bin\)\. kenlm has no command for the way back"
        r" but dump_trie, in its branch bounded-noquant, for tries alone; lmplz -o 3 < TEXT > NAME.arpa makes a new one of the texts$",
    ),
    "SRILM's binary": (b"SRILM_BINARY_NGRAM_001\n" + bytes(99), "a binary language model of SRILM's; expected an ARPA file"),
    "IRSTLM's binary": (b"blmt 3 10 20 30\nNumOov= 0", "a binary language model of IRSTLM's; expected an ARPA file"),
    "IRSTLM's text": ("iARPA\n\n" + SMALL, "IRSTLM's iARPA; expected an ARPA file"),
    "a pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer; expected the file"),
    "a web page": ("<!doctype html>\n<html></html>\n", "a web page; expected an ARPA file"),
    "a zip file": (b"PK\x03\x04" + bytes(2**21), "a zip file; expected text, gzip, bzip2 or xz"),
    "no sentence start": (changed("-99\t<s>", "-99\t<S>").replace("<s> ONE", "<S> ONE"), "the 1-grams lack <s>"),
    "no sentence end": (SMALL.replace("</s>", "END"), "the 1-grams lack </s>"),
    "an endless line": (changed("-0.61\tONE", "-0.61\t" + "O" * 2**20), "line 10: expected at most 1,048,576 bytes in a line"),
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("name", ["model.arpa", "model.arpa.gz"])
def test_malformed_files_say_where(arpa, case, name):
    text, message = MALFORMED[case]
    with pytest.raises(LanguageModelError, match=message) as error:
        LanguageModel.read(arpa(text, name))
    assert name in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(("pack", "name"), [(gzip, "gzip"), (bz2, "bzip2"), (lzma, "xz")])
def test_a_cut_packed_file(arpa, pack, name):
    packed = pack.compress(SMALL.encode())
    for length in (6, 15, 60, len(packed) - 1):
        with pytest.raises(LanguageModelError, match=rf"cut.arpa: after line \d+: a damaged or cut {name} file"):
            LanguageModel.read(arpa(packed[:length], "cut.arpa"))


@pytest.mark.parametrize(("pack", "name"), [(gzip, "gzip"), (bz2, "bzip2"), (lzma, "xz")])
def test_a_damaged_packed_file(arpa, pack, name):
    for place in (20, 30, 45):
        packed = bytearray(pack.compress(SMALL.encode()))
        packed[place] ^= 0xFF
        with pytest.raises(LanguageModelError, match=rf"bad.arpa: after line \d+: a damaged or cut {name} file"):
            LanguageModel.read(arpa(bytes(packed), "bad.arpa"))


@pytest.mark.parametrize("pack", [gzip, bz2, lzma])
@pytest.mark.parametrize("content", [b"\n", b"x\n", SMALL.encode() + b"\n"], ids=["blank", "before the data", "after the end"])
def test_a_packed_file_that_unfolds_without_end(arpa, monkeypatch, pack, content):
    monkeypatch.setattr("sewnp.decoding.arpa.LARGEST_UNFOLDED", 2**16)
    bomb = pack.compress(content + content[-2:] * 2**21)
    expected = "a file that unfolds to at most" if content == b"x\n" else "(at most|a file that unfolds to at most)"
    with pytest.raises(LanguageModelError, match=rf"bomb.arpa: line \d+: expected {expected}"):
        LanguageModel.read(arpa(bomb, "bomb.arpa"))
    assert LanguageModel.read(arpa(SMALL, "fine.gz")).order == 3


def test_a_packed_file_of_blank_lines_is_refused_at_once(arpa):
    bomb = gzip.compress(b"\n" * 2**26)  # 65 kB
    before = time.perf_counter()
    with pytest.raises(LanguageModelError, match="line 65537: expected at most 65,536 blank lines"):
        LanguageModel.read(arpa(bomb, "bomb.arpa"))
    assert time.perf_counter() - before < 10  # 0.1 s on a quiet machine


def test_files_that_are_none(tmp_path):
    with pytest.raises(LanguageModelError, match=r"missing.arpa: no such file"):
        LanguageModel.read(tmp_path / "missing.arpa")
    with pytest.raises(LanguageModelError, match="expected a regular file"):
        LanguageModel.read(tmp_path)
    with pytest.raises(LanguageModelError, match="cannot be read: embedded null byte"):
        LanguageModel.read("a\0b")


@few
@given(data=st.data())
def test_damage_raises_nothing_else(tmp_path_factory, data):
    """Any byte changed, any piece cut out: a model or a LanguageModelError."""
    content = bytearray(SMALL.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=4))
    path = tmp_path_factory.mktemp("arpa") / "damaged"
    path.write_bytes(content)
    try:
        score = LanguageModel.read(path).score_text(["ONE", "TWO"])
    except LanguageModelError as error:
        said = str(error)
    else:
        said = str(path) if math.isfinite(score) else "not a number"
    assert str(path) in said


def test_a_files_name_steers_no_terminal(arpa):
    for text in ("none", SMALL.replace("</s>", "END"), SMALL.replace("ONE ONE TWO", "TWO TWO ONE")):
        with pytest.raises(LanguageModelError, match="not printed") as error:
            LanguageModel.read(arpa(text, "\x1b[2J not printed"))
        assert str(error.value).isprintable()
    model = LanguageModel.read(arpa(SMALL, "\x1b[2J"))
    with pytest.raises(LanguageModelError, match="expected words spelled with") as error:
        BeamSearch(language_model=model).check_spelling(Spelling(("_", "|", "x"), delimiter=1))
    assert str(error.value).isprintable()
