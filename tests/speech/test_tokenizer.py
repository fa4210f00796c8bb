"""The tokenizer against Wav2Vec2CTCTokenizer of transformers: random texts, random ids, files in both directions."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Wav2Vec2CTCTokenizer

from sewnp.errors import InputError, TokenizerError
from sewnp.speech import CTCTokenizer, Offsets, Span

DIGITS = Path(__file__).parents[2] / "sewnp" / "pretrained" / "digits"
PROPERTY = settings(derandomize=True, deadline=None, max_examples=150)


def ids_of(tokens):
    return {token: index for index, token in enumerate(tokens)}


LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDE'"]
PUNCTUATED = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abentmsvr.?!,'"]
OVERLAPPING = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABC", "AB", "ABC", "BCA", "CC", "B A", "<s>A"]
KINDS = {
    "standard": (LETTERS, {}),
    "lower": (LETTERS, {"do_lower_case": True}),
    "other delimiter": ([*LETTERS, "-"], {"word_delimiter_token": "-", "replace_word_delimiter_char": "_"}),
    "delimiter shown as a letter": (LETTERS, {"replace_word_delimiter_char": "A"}),
    "delimiter shown as nothing": (LETTERS, {"replace_word_delimiter_char": ""}),
    "specials appended": (list("|ABCDE'"), {}),
    "delimiter appended": (["<pad>", "<unk>", *"ABCDE"], {"bos_token": None}),
    "single characters": ([*"_#|ABCDE"], {"pad_token": "_", "unk_token": "#", "bos_token": None, "eos_token": None}),
    "lower-case specials": ([*"p#|ABCDEP"], {"pad_token": "p", "unk_token": "#", "do_lower_case": True}),
    "clean-up": (PUNCTUATED, {"clean_up_tokenization_spaces": True}),
    "clean-up after lower-casing": ([t.upper() for t in PUNCTUATED], {"clean_up_tokenization_spaces": True, "do_lower_case": True}),
    "several characters": (OVERLAPPING, {}),
    "several characters, lower": (OVERLAPPING, {"do_lower_case": True}),
    "more specials": (LETTERS, {"additional_special_tokens": ["B", "<x>"], "sep_token": "D", "mask_token": "<mask>"}),
    "all specials appended": (
        list("|AB"),
        {"sep_token": "<sep>", "cls_token": "<cls>", "mask_token": "<mask>", "pad_token": "[P]"},
    ),
    "named specials": (LETTERS, {"extra_special_tokens": {"image_token": "<img>", "audio_token": "C"}}),
    "not split": (LETTERS, {"split_special_tokens": True}),
}


@pytest.fixture(scope="module", params=KINDS)
def pair(request, tmp_path_factory):
    """transformers' tokenizer, and ours from the files that it saved."""
    return make_pair(request.param, tmp_path_factory)


def make_pair(kind, tmp_path_factory):
    tokens, options = KINDS[kind]
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "vocab.json").write_text(json.dumps(ids_of(tokens)))
    theirs = Wav2Vec2CTCTokenizer(folder / "vocab.json", **options)
    theirs.save_pretrained(folder / "saved")
    return theirs, read(folder / "saved")


def read(folder, **options):
    names = ("vocab.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    contents = [json.loads((folder / name).read_text()) if (folder / name).exists() else None for name in names]
    return CTCTokenizer.from_files(*contents, **options)


def write(folder, tokenizer):
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(tokenizer.vocab))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer.config))


def assert_same_decoding(theirs, ours, ids):
    found = theirs.decode(ids, output_char_offsets=True, output_word_offsets=True)
    offsets = ours.offsets(ids)
    assert offsets.text == found.text == ours.decode(ids)
    assert offsets.characters == [(c["char"], c["start_offset"], c["end_offset"]) for c in found.char_offsets]
    assert offsets.words == [(w["word"], w["start_offset"], w["end_offset"]) for w in found.word_offsets]


def assert_same_encoding(theirs, ours, text):
    # An appended <unk> has no id there; encode does the same as these two steps, and trips over None.
    expected = [ours.id_of("<unk>") if index is None else index for index in theirs.convert_tokens_to_ids(theirs.tokenize(text))]
    assert ours.encode(text) == expected


paths = st.lists(st.tuples(st.integers(-3, 24), st.integers(1, 3)), max_size=25).map(
    lambda held: [index for index, frames in held for _ in range(frames)]
)
PARTS = [*"ABCDEabent's.,?!|_-#pP", " ", "  ", "\t", "\n", "\u3000", "é", "ß"]
PARTS += ["<pad>", "<s>", "</s>", "<unk>", "<x>", "<mask>", "<img>", "AB", "ABC", "BCA", "CC", "B A"]
texts = st.lists(st.sampled_from(PARTS), max_size=25).map("".join)


# --- parity -----------------------------------------------------------------------------------------------------------------------


@PROPERTY
@given(ids=paths)
def test_decodes_as_transformers(pair, ids):
    assert_same_decoding(*pair, ids)


@PROPERTY
@given(
    ids=paths,
    skip_special_tokens=st.booleans(),
    group_tokens=st.booleans(),
    clean_up_tokenization_spaces=st.sampled_from([None, True, False]),
    spaces_between_special_tokens=st.booleans(),
)
def test_decoding_options_are_those_of_transformers(pair, ids, **options):
    theirs, ours = pair
    assert ours.decode(ids, **options) == theirs.decode(ids, **options)


def test_the_order_of_the_clean_up(tmp_path):
    """It matters, and random paths seldom show where: all of five tokens over six frames."""
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of(PUNCTUATED)))
    theirs, ours = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json"), read(tmp_path)
    for ids in itertools.product([PUNCTUATED.index(token) for token in "|'.sa"], repeat=6):
        options = {"clean_up_tokenization_spaces": True, "group_tokens": False}
        assert ours.decode(ids, **options) == theirs.decode(ids, **options)


@PROPERTY
@given(text=texts)
def test_encodes_as_transformers(pair, text):
    assert_same_encoding(*pair, text)


def test_vocabularies_agree(pair):
    theirs, ours = pair
    assert len(ours) == len(theirs)
    assert sorted(ours.special_tokens) == sorted(theirs.all_special_tokens)
    assert ours.pad_token_id == theirs.pad_token_id
    for token, index in theirs.get_vocab().items():
        assert ours.id_of(token) == index
        assert ours.token_of(index) == theirs.convert_ids_to_tokens(index)
    for index, token in theirs.added_tokens_decoder.items():
        assert ours.added[index]._asdict() == token.__getstate__()
    assert len(ours.added) == len(theirs.added_tokens_decoder)


@pytest.mark.parametrize("kind", KINDS)
def test_added_tokens_are_found_without_being_told(kind, tmp_path_factory):
    """From the vocabulary and the options alone, as in a checkpoint made by hand or by an old release."""
    theirs, _ = make_pair(kind, tmp_path_factory)
    tokens, options = KINDS[kind]
    ours = CTCTokenizer.from_files(ids_of(tokens), options)
    assert {index: token._asdict() for index, token in ours.added.items()} == {
        index: token.__getstate__() for index, token in theirs.added_tokens_decoder.items()
    }
    assert sorted(ours.special_tokens) == sorted(theirs.all_special_tokens)


@pytest.mark.parametrize(("index", "content"), [("5", "<x>"), ("11", "<s>"), ("11", "A")])
def test_an_added_token_that_contradicts_the_vocabulary(tmp_path, index, content):
    """The id of another token, or another id for a token: decoding trusts the vocabulary, encoding the added token."""
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of(LETTERS)))
    config = {"added_tokens_decoder": {index: {"content": content}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs, ours = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path), read(tmp_path)
    assert_same_encoding(theirs, ours, "A<s>B<x>")
    assert_same_decoding(theirs, ours, [5, 0, 11, 1, 1, 11])


def test_what_transformers_saved_comes_back_whole(pair, tmp_path):
    theirs, ours = pair
    theirs.save_pretrained(tmp_path)
    assert ours.vocab == json.loads((tmp_path / "vocab.json").read_text())
    assert ours.config == json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_transformers_reads_what_we_write(pair, tmp_path):
    theirs, ours = pair
    write(tmp_path / "ours", ours)
    back = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "ours")
    again = Wav2Vec2CTCTokenizer.from_pretrained(theirs.save_pretrained(tmp_path / "theirs") and tmp_path / "theirs")
    assert back.get_vocab() == again.get_vocab() == theirs.get_vocab()
    assert back.added_tokens_decoder == again.added_tokens_decoder
    for text in ("A B", "<s> A'E\tB", "ABCA CC"):
        assert back.encode(text) == again.encode(text)


def test_the_embedded_files_round_trip():
    vocab, config = (json.loads((DIGITS / name).read_text()) for name in ("vocab.json", "tokenizer_config.json"))
    tokenizer = CTCTokenizer.from_files(vocab, config)
    assert tokenizer.vocab == vocab
    assert tokenizer.config == config
    theirs = Wav2Vec2CTCTokenizer.from_pretrained(DIGITS)
    assert_same_encoding(theirs, tokenizer, "THREE ONE FOUR")
    assert_same_decoding(theirs, tokenizer, [0, 6, 6, 0, 11, 13, 5, 0, 5, 5, 4, 4, 0, 4, 8, 9, 5])


def test_unknown_keys_survive():
    config = {"processor_class": "Wav2Vec2Processor", "model_max_length": 512, "add_bos_token": False, "anything": {"at": ["all"]}}
    tokenizer = CTCTokenizer.from_files(ids_of(LETTERS), config)
    assert config.items() <= tokenizer.config.items()
    assert set(config) == {"processor_class", "model_max_length", "add_bos_token", "anything"}  # not changed in place


@pytest.mark.parametrize("flags", list(itertools.product([False, True], repeat=3)))
def test_the_flags_of_added_tokens(tmp_path, flags):
    """Of tokens outside the vocabulary; those of several characters inside it always swallow white space."""
    lstrip, rstrip, single_word = flags
    fields = {"lstrip": lstrip, "rstrip": rstrip, "single_word": single_word, "normalized": False, "special": False}
    decoder = {"11": {"content": "[x]"} | fields, "12": {"content": "Z"} | fields}
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of(LETTERS)))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder, "bos_token": "Z"}))
    theirs, ours = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path), read(tmp_path)
    for parts in itertools.product(["", "A", " ", "A ", " \tZ", "[x]"], ["[x]", "Z"], ["", "B", " ", "  B", "Z ", "[x]", "<s> "]):
        assert_same_encoding(theirs, ours, "".join(parts))


# --- files of transformers 4.x ----------------------------------------------------------------------------------------------------


def described(content, **flags):
    return {"content": content, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False} | flags


OLD = {
    "strings": (
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "do_lower_case": False},
        None,
        None,
    ),
    "objects": (
        {"bos_token": described("<s>", __type="AddedToken"), "pad_token": described("<pad>", __type="AddedToken")},
        None,
        None,
    ),
    "special tokens map": (
        {"word_delimiter_token": "|"},
        {"bos_token": described("<b>"), "eos_token": "E", "unk_token": "<unk>", "pad_token": described("<pad>")},
        None,
    ),
    "added tokens": ({}, {"bos_token": "<b>", "eos_token": "<e>"}, {"<b>": 11, "<e>": 12, "<other>": 13}),
    "both kinds": ({"added_tokens_decoder": {"11": described("<b>", special=True)}}, {"bos_token": "<b>"}, {"<b>": 40}),
    "no configuration": (None, None, None),
}


@pytest.mark.parametrize("kind", OLD)
def test_old_files(tmp_path, kind):
    names = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of(LETTERS)))
    for name, content in zip(names, OLD[kind], strict=True):
        if content is not None:
            (tmp_path / name).write_text(json.dumps(content))
    theirs, ours = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path), read(tmp_path)
    assert ours.special_tokens == tuple(theirs.all_special_tokens)
    for index, token in theirs.added_tokens_decoder.items():
        assert ours.added[index]._asdict() == token.__getstate__()
    for text in ("A <b> B", "A <s> B", "<e>C <other> D<pad>E"):
        assert_same_encoding(theirs, ours, text)
    for ids in ([5, 5, 0, 5, 11, 11, 4, 12, 13, 99], [0, 4, 6, 4]):
        assert_same_decoding(theirs, ours, ids)
        assert ours.decode(ids, skip_special_tokens=True) == theirs.decode(ids, skip_special_tokens=True)
    write(tmp_path / "ours", ours)  # one file, as 5.x writes
    back = Wav2Vec2CTCTokenizer.from_pretrained(tmp_path / "ours")
    assert back.get_vocab() == theirs.get_vocab()
    assert back.all_special_tokens == theirs.all_special_tokens


def test_additional_special_tokens_given_as_objects():
    """Common in fine-tuned XLSR checkpoints of 2021.  transformers 5.23 adds the text of the dict as a token."""
    extra = [described("<s>"), described("<y>")]
    tokenizer = CTCTokenizer.from_files(ids_of(LETTERS), {}, {"additional_special_tokens": extra})
    assert tokenizer.special_tokens == ("<s>", "</s>", "<unk>", "<pad>", "|", "<y>")
    assert tokenizer.id_of("<y>") == 11
    assert tokenizer.config["extra_special_tokens"] == ["<s>", "<y>"]
    assert "additional_special_tokens" not in tokenizer.config


# --- languages --------------------------------------------------------------------------------------------------------------------

NESTED = {"deu": ids_of([*LETTERS, "Ä"]), "eng": ids_of([*LETTERS, "<noise>"])}


@pytest.mark.parametrize("language", NESTED)
def test_nested_vocabularies(tmp_path, language):
    (tmp_path / "vocab.json").write_text(json.dumps(NESTED))
    theirs = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", target_lang=language)
    theirs.save_pretrained(tmp_path / "saved")
    ours = read(tmp_path / "saved")
    assert ours.vocab == NESTED
    assert ours.config == json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())
    for text in ("BÄ", "B <noise> Ä"):
        assert_same_encoding(theirs, ours, text)
    assert_same_decoding(theirs, ours, [11, 5, 11])


@pytest.mark.parametrize(("stored", "asked"), [("deu", "eng"), ("eng", "deu")])
def test_asking_for_another_language(tmp_path, stored, asked):
    (tmp_path / "vocab.json").write_text(json.dumps(NESTED))
    theirs = Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", target_lang=stored)
    theirs.save_pretrained(tmp_path / "saved")
    theirs.set_target_lang(asked)
    ours = read(tmp_path / "saved", target_lang=asked)
    assert ours.config["target_lang"] == asked
    for text in ("BÄ", "B <noise> Ä"):
        assert_same_encoding(theirs, ours, text)
    assert_same_decoding(theirs, ours, [11, 5, 11])


@pytest.mark.parametrize("language", [None, "fra"])
def test_a_nested_vocabulary_wants_a_language(language):
    with pytest.raises(TokenizerError, match=rf"vocab\.json: target_lang: expected one of 'deu', 'eng'; found {language!r}"):
        CTCTokenizer.from_files(NESTED, {"target_lang": language})


def test_a_flat_vocabulary_wants_none():
    with pytest.raises(TokenizerError, match=r"vocab\.json: target_lang: expected none, .* found 'eng'"):
        CTCTokenizer.from_files(ids_of(LETTERS), target_lang="eng")


# --- quirks kept ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tokenizer():
    return CTCTokenizer.from_files(ids_of(LETTERS))


def test_skipping_special_tokens_drops_blanks_before_merging(tokenizer):
    assert tokenizer.decode([5, 0, 5]) == "AA"
    assert tokenizer.decode([5, 0, 5], skip_special_tokens=True) == "A"
    assert tokenizer.decode([5, 4, 6], skip_special_tokens=True) == "A B"


def test_unknown_ids_are_one_token(tokenizer):
    assert tokenizer.decode([-100, 77, 5]) == "<unk>A"


def test_delimiters_around_a_blank_are_two_spaces(tokenizer):
    assert tokenizer.decode([5, 4, 0, 4, 6]) == "A  B"


def test_white_space_beside_a_special_token_is_swallowed(tokenizer):
    assert tokenizer.encode("A <s> B") == [5, 1, 6]
    assert tokenizer.encode(" A  B ") == [4, 5, 4, 4, 6, 4]


def test_lower_case_means_upper_when_encoding():
    tokenizer = CTCTokenizer.from_files(ids_of(LETTERS), {"do_lower_case": True})
    assert tokenizer.encode("a B") == [5, 4, 6]
    assert tokenizer.decode([5, 4, 6]) == "a b"
    assert tokenizer.offsets([5, 4, 6]).words == [Span("A", 0, 1), Span("B", 2, 3)]


# --- better on purpose ------------------------------------------------------------------------------------------------------------


def test_an_appended_unk_has_an_id(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of("AB")))
    assert Wav2Vec2CTCTokenizer(tmp_path / "vocab.json").encode("Aé") == [0, None]
    tokenizer = read(tmp_path)
    assert tokenizer.encode("Aé") == [0, tokenizer.id_of("<unk>")] == [0, 4]


def test_another_delimiter_survives_a_file(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of([*LETTERS, "-"])))
    Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", word_delimiter_token="-").save_pretrained(tmp_path)
    assert Wav2Vec2CTCTokenizer.from_pretrained(tmp_path).decode([5, 11, 6]) == "A-B"
    assert read(tmp_path).decode([5, 11, 6]) == "A B"


def test_a_delimiter_may_have_several_characters(tmp_path):
    """transformers spells it."""
    (tmp_path / "vocab.json").write_text(json.dumps(ids_of([*LETTERS, "<sp>"])))
    assert Wav2Vec2CTCTokenizer(tmp_path / "vocab.json", word_delimiter_token="<sp>").encode("A B") == [5, 3, 3, 3, 3, 6]
    tokenizer = read(tmp_path)
    tokenizer = CTCTokenizer.from_files(tokenizer.vocab, {"word_delimiter_token": "<sp>"})
    assert tokenizer.encode("A B") == [5, 11, 6]
    assert tokenizer.decode([5, 11, 6]) == "A B"


def test_without_delimiter_a_space_is_a_character_like_others():
    """transformers spells the word None."""
    tokenizer = CTCTokenizer.from_files(ids_of([*LETTERS, " "]), {"word_delimiter_token": None})
    assert tokenizer.encode("A B|") == [5, 11, 6, 4]
    assert tokenizer.offsets([5, 11, 6, 4]) == Offsets(
        "A B|", [("A", 0, 1), (" ", 1, 2), ("B", 2, 3), ("|", 3, 4)], [("A", 0, 1), ("B|", 2, 4)]
    )


def test_one_id_is_a_path_of_one(tokenizer):
    """transformers gives the letters of its token, "<pad>" for the blank."""
    assert tokenizer.decode(5) == "A"
    assert tokenizer.decode(0) == ""


def test_ids_of_any_integer_array(tokenizer):
    for dtype in (np.int8, np.uint64, ">i4"):
        assert tokenizer.decode(np.array([5, 5, 0, 6], dtype)) == "AB"
    assert tokenizer.decode([]) == ""
    assert tokenizer.offsets(np.zeros(0, np.int64)) == Offsets("", [], [])


# --- what is refused --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        ([[5, 6]], r"expected one path \(T,\), found shape \(1, 2\); decode a batch row by row"),
        ([5.0], "expected integers, found float64"),
        ([True], "expected integers, found bool"),
        ("AB", "expected integers, found <U2"),
        (None, "expected integers, found object"),
        ([[5], [5, 6]], "expected integers in one dimension, found list"),
    ],
)
def test_ids_that_are_none(tokenizer, ids, why):
    with pytest.raises(InputError, match=f"ids: {why}"):
        tokenizer.decode(ids)
    with pytest.raises(InputError, match=f"ids: {why}"):
        tokenizer.offsets(ids)


@pytest.mark.parametrize("text", [None, b"A", ["A"], 5])
def test_text_that_is_none(tokenizer, text):
    with pytest.raises(InputError, match=f"text: expected a str, found {type(text).__name__}"):
        tokenizer.encode(text)


def test_without_unknown_token_nothing_unknown_passes():
    tokenizer = CTCTokenizer.from_files(ids_of(["<pad>", "|", "A"]), {"unk_token": None})
    assert tokenizer.encode("A A") == [2, 1, 2]
    with pytest.raises(TokenizerError, match="unk_token: null, and the vocabulary has no 'é'"):
        tokenizer.encode("Aé")
    with pytest.raises(TokenizerError, match="unk_token: null, and no token has the id 77"):
        tokenizer.decode([2, 77])


@pytest.mark.parametrize(
    ("vocab", "why"),
    [
        (["A", "B"], r"vocab\.json: expected an object, found list"),
        ({}, r"vocab\.json: no tokens"),
        ({"A": "0"}, r"vocab\.json: 'A': expected a whole number of 0 or more, found '0'"),
        ({"A": 0.0}, r"vocab\.json: 'A': expected a whole number of 0 or more, found 0\.0"),
        ({"A": True}, r"vocab\.json: 'A': expected a whole number of 0 or more, found True"),
        ({"A": None}, r"vocab\.json: 'A': expected a whole number of 0 or more, found None"),
        ({"A": -1}, r"vocab\.json: 'A': expected a whole number of 0 or more, found -1"),
        ({"A": 0, "B": 1, "C": 1}, r"vocab\.json: 'C': the id 1 is taken by 'B'"),
        ({"A": 0, "B": 3}, r"vocab\.json: no token has the id 1, of 0 to 3"),
        ({"A": 0, "B": 10**15}, r"vocab\.json: no token has the id 1, of 0 to 1000000000000000"),
        ({0: 0}, r"vocab\.json: expected a token, found 0"),
        ({"A": 1}, r"vocab\.json: no token has the id 0, of 0 to 1"),
        ({"eng": {"A": 0, "B": 0}}, r"vocab\.json: eng: 'B': the id 0 is taken by 'A'"),
        ({"eng": {}}, r"vocab\.json: eng: no tokens"),
        ({"A": 0, "B" * 257: 1}, r"vocab\.json: expected tokens of at most 256 characters, found 'BBB.* of 257"),
        ({"A": 0, "B" * 10**5: 1}, r"vocab\.json: expected tokens of at most 256 characters, found 'BBB.* of 100,000"),
    ],
)
def test_vocabularies_that_are_none(vocab, why):
    with pytest.raises(TokenizerError, match=why):
        CTCTokenizer.from_files(vocab, target_lang="eng" if isinstance(vocab, dict) and "eng" in vocab else None)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ([], r"tokenizer_config\.json: expected an object, found list"),
        ({"pad_token": None}, r"pad_token: expected a token, CTC's blank, found null"),
        ({"pad_token": ""}, r"pad_token: expected a token, CTC's blank"),
        ({"bos_token": 1}, r"tokenizer_config\.json: bos_token: expected a token, found 1"),
        ({"do_lower_case": "no"}, r"tokenizer_config\.json: do_lower_case: expected a bool, found 'no'"),
        ({"replace_word_delimiter_char": None}, r"tokenizer_config\.json: replace_word_delimiter_char: expected a str, found None"),
        ({"extra_special_tokens": "<x>"}, r"tokenizer_config\.json: extra_special_tokens: expected a list, found '<x>'"),
        ({"added_tokens_decoder": None}, None),
        ({"bos_token": "<" * 10**5}, "bos_token: expected tokens of at most 256 characters"),
        ({"extra_special_tokens": ["<" * 10**5]}, "extra_special_tokens: expected tokens of at most 256 characters"),
        ({"replace_word_delimiter_char": "-" * 10**5}, "replace_word_delimiter_char: expected tokens of at most 256 characters"),
        ({"added_tokens_decoder": {"11": {"content": "x" * 10**5}}}, "added tokens: expected tokens of at most 256 characters"),
        ({"added_tokens_decoder": [1]}, r"added_tokens_decoder: expected an object, found list"),
        ({"added_tokens_decoder": {"x": {"content": "<x>"}}}, r"added_tokens_decoder: x: expected an id and its token"),
        ({"added_tokens_decoder": {"11": "<x>"}}, r"added_tokens_decoder: 11: expected an id and its token, found '<x>'"),
        ({"added_tokens_decoder": {"13": {"content": "<x>"}}}, r"no token has the id 11, of 0 to 13"),
    ],
)
def test_configurations_that_are_none(config, why):
    if why is None:
        assert len(CTCTokenizer.from_files(ids_of(LETTERS), config)) == len(LETTERS)
    else:
        with pytest.raises(TokenizerError, match=why):
            CTCTokenizer.from_files(ids_of(LETTERS), config)


def test_old_files_that_are_none():
    with pytest.raises(TokenizerError, match=r"added_tokens\.json: '<x>': expected a whole number of 0 or more, found '11'"):
        CTCTokenizer.from_files(ids_of(LETTERS), {}, {}, {"<x>": "11"})
    with pytest.raises(TokenizerError, match=r"added_tokens\.json: expected a token, found 5"):
        CTCTokenizer.from_files(ids_of(LETTERS), {}, {}, {5: 11})
    with pytest.raises(TokenizerError, match=r"added tokens: expected tokens of at most 256 characters"):
        CTCTokenizer.from_files(ids_of(LETTERS), {}, {}, {"x" * 257: 11})
    with pytest.raises(TokenizerError, match=r"special_tokens_map\.json: expected an object, found list"):
        CTCTokenizer.from_files(ids_of(LETTERS), {}, ["<s>"])
