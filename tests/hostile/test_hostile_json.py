"""JSON that somebody made to be trouble: sizes that nothing holds, types that are not the right ones, parsers led astray."""

import json
import time

import numpy as np
import pytest
from hostile.limits import check_refused, tried
from hypothesis import given, settings
from hypothesis import strategies as st

import sewnp
from sewnp.config import SEWConfig, SEWDConfig, config_from_dict
from sewnp.errors import CheckpointError, ConfigError, SewError, TokenizerError
from sewnp.files import LARGEST_JSON, read_json
from sewnp.speech import CTCTokenizer, FeatureExtractor

VOCAB = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6}


@pytest.fixture
def saved(tmp_path):
    """A folder with the embedded model, to damage."""
    sewnp.load("digits").save(tmp_path)
    return tmp_path


def edit(folder, name="config.json", **values):
    path = folder / name
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(old | values))


# --- the text itself --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b'{"a": {"b": 1, "b": 1}}', "the key 'b' is there twice"),
        (b'{"a": 1, "\\u0061": 1}', "the key 'a' is there twice"),
        (b'{"a": "\\ud800"}', "surrogates not allowed"),
        (b'{"\\uDFFF": 1}', "surrogates not allowed"),
        (b'{"a": "\xed\xa0\x80"}', "can't decode byte"),
        (b'{"a": "\xff"}', "can't decode byte"),
        (b'{"a": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"a":' * 100_000, "recursion"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "recursion"),
        ('{"a": 1}'.encode("utf-16"), "can't decode byte"),
        (b'\xef\xbb\xbf{"a": 1}', "BOM"),
        (b'{"a": 1}{"b": 2}', "Extra data"),
        (bytes(100), "Expecting value"),
    ],
    ids=lambda x: repr(x)[:20] if isinstance(x, bytes) else "",
)
def test_text_that_is_refused(tmp_path, text, cause):
    path = tmp_path / "config.json"
    path.write_bytes(text)
    with pytest.raises(CheckpointError) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: not a readable JSON file: ")
    assert cause in str(caught.value)
    assert len(str(caught.value)) < 500


def test_text_with_pairs_of_surrogates_is_read(tmp_path):
    (tmp_path / "x.json").write_bytes(b'{"\\ud83d\\ude00": "\\ud83d\\ude00\\\\ud800"}')
    assert read_json(tmp_path / "x.json") == {"\U0001f600": "\U0001f600\\ud800"}


def test_files_of_a_hundred_megabytes_and_files_that_grow(saved):
    """What fits into the limit may still be twenty times as large in memory; it has to be refused, or read, in little of both."""
    (saved / "large.json").write_bytes(b'{"a": "' + b"x" * 100_000_000 + b'"}')
    for name, piece in {"lists": b"[],", "objects": b"{},", "strings": b'"ab",'}.items():
        content = b"[" + piece * ((LARGEST_JSON - 20) // len(piece)) + b"0]"
        (saved / f"{name}.json").write_bytes(content)
    pairs = b",".join(b'"%06d":0' % i for i in range((LARGEST_JSON - 20) // 11))
    (saved / "keys.json").write_bytes(b'{"model_type":"sew",' + pairs + b"}")
    names = ("lists", "objects", "strings")
    calls = {name: (f"read_json(Path({str(saved / name)!r} + '.json'))", saved / name, "found list") for name in names}
    calls["large"] = (f"read_json(Path({str(saved / 'large.json')!r}))", "large.json", f"at most {LARGEST_JSON:,} bytes")
    # seven hundred thousand keys that mean nothing travel in ``extra``; as a vocabulary they are no vocabulary
    calls["keys"] = (
        f"CTCTokenizer.from_files(read_json(Path({str(saved / 'keys.json')!r})))",
        "vocab.json",
        "expected a whole number",
    )
    check_refused(calls)


def test_what_could_not_be_read_back_is_not_written(tmp_path, saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    config = SEWConfig(id2label={i: f"{i}" * 40 for i in range(30_000)}, hidden_size=16, num_attention_heads=2, num_hidden_layers=0)
    with pytest.raises(CheckpointError, match=r"config\.json: would have [\d,]+ bytes; expected at most 8,388,608"):
        sewnp.from_config(config).save(saved)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


# --- config.json ------------------------------------------------------------------------------------------------------------------

DEEP = json.loads("[" * 900 + "]" * 900)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer_norm_eps": 10**400}, r"layer_norm_eps: expected a finite number, found 1000"),
        ({"layer_norm_eps": float("inf")}, r"layer_norm_eps: expected a finite number, found inf"),
        ({"hidden_dropout": float("nan")}, r"hidden_dropout: expected a finite number, found nan"),
        ({"initializer_range": float("nan")}, r"initializer_range: expected a finite number, found nan"),
        ({"initializer_range": -0.02}, r"initializer_range: expected a number of 0 or more, found -0\.02"),
        ({"hidden_size": 2**63}, r"hidden_size: expected an integer of 64 bits, found 9223372036854775808"),
        ({"mask_time_length": -(10**4000)}, r"mask_time_length: expected an integer of 64 bits, found -1000.*\.\.\..*000$"),
        ({"conv_stride": [10**4000] * 13}, r"conv_stride\[0\]: expected an integer of 64 bits"),
        (
            {"conv_dim": [1] * 200, "conv_stride": [9] * 200, "conv_kernel": [1] * 200},
            "expected at most 100 convolutions, found 200",
        ),
        ({"hidden_act": "x" * 10**6}, r"hidden_act: expected the name of an activation, found 'xxx.*\.\.\.x*'$"),
        ({"hidden_act": "\x1b[2J"}, r"hidden_act: expected the name of an activation, found '\\x1b\[2J'$"),
        ({"hidden_size": DEEP}, r"hidden_size: expected an integer, found \[\[\[\[\[\[\[\.\.\.\]\]\]\]\]\]\]$"),
        ({"hidden_size": "x" * 10**6}, r"hidden_size: expected an integer, found 'xxx.*\.\.\.x*'$"),
        ({"pos_att_type": [["c2p"]]}, r"pos_att_type\[0\]: expected a string, found \['c2p'\]"),
        ({"id2label": {"0": "a", "00": "b"}}, r"id2label: expected each key once, found \['0', '00'\]"),
        ({"id2label": {str(i): "a" for i in range(1, 10**5)}}, r"id2label: expected the keys 0, 1, \.\.\. without gaps"),
        ({"id2label": {"9" * 5000: "a"}}, r"id2label: expected whole numbers as keys"),
        ({"id2label": {"0": DEEP}}, r"id2label\[0\]: expected a string"),
        ({"num_labels": 10**6}, "num_labels: expected a whole number from 1 to 100000, found 1000000"),
        ({"model_type": "sew" * 10**6}, r"model_type: expected 'sew' or 'sew-d', found 'sewsew"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
def test_absurd_fields_are_refused_in_few_words(values, message):
    start = time.process_time()
    with pytest.raises(ConfigError, match=message) as caught:
        config_from_dict({"model_type": "sew-d"} | values)
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()
    assert time.process_time() - start < 1


def test_the_longest_hop_that_is_let_through_can_be_spelled(saved):
    """Strides have no tensors: any are loaded.  Then no recording is long enough."""
    edit(saved, conv_stride=[2**63 - 1] * len(sewnp.load("digits").config.conv_stride))
    model = sewnp.load(saved)
    assert model.transcribe(np.zeros(16000, np.float32)).text == ""
    most = SEWConfig(conv_dim=[1] * 100, conv_stride=[2**63 - 1] * 100, conv_kernel=[2**63 - 1] * 100)
    assert len(f"{most.hop} {most.minimum_samples} {most.receptive_field}") > 3000
    with pytest.raises(ConfigError, match="parameters, more than fit into"):
        sewnp.from_config(most)


# --- the tokenizer's files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "cause"),
    [
        ({"added_tokens_decoder": {"9" * 5000: {"content": "<x>"}}}, "expected an id and its token"),
        ({"added_tokens_decoder": {"-1": {"content": "<x>"}}}, "added_tokens_decoder: -1: expected an id and its token"),
        ({"added_tokens_decoder": {"7": {"content": ["<x>"]}}}, "added_tokens_decoder: 7: expected an id and its token"),
        ({"added_tokens_decoder": {"7": DEEP}}, "added_tokens_decoder: 7: expected an id and its token"),
        ({"added_tokens_decoder": {str(10**18): {"content": "<x>"}}}, "no token has the id 7, of 0 to 1000000000000000000"),
        ({"pad_token": DEEP}, "pad_token: expected a token, found [[["),
        ({"x_token": {"content": 5}}, "x_token: expected a token, found {'content': 5}"),
        ({"\x1b[2J_token": {"content": 5}}, r"'\x1b[2J_token': expected a token"),
        ({"extra_special_tokens": [["<x>"]]}, "extra_special_tokens: expected a token, found ['<x>']"),
        ({"target_lang": DEEP}, "target_lang: expected none"),
        ({"do_lower_case": "x" * 10**6}, "do_lower_case: expected a bool, found 'xxx"),
    ],
)
def test_absurd_tokenizer_configurations(config, cause):
    with pytest.raises(TokenizerError) as caught:
        CTCTokenizer.from_files(VOCAB, config)
    assert cause in str(caught.value)
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("index", [[], {}, [1], {"a": 1}, True, "8", -1, 8.0, None, DEEP])
def test_added_tokens_of_any_type(index):
    with pytest.raises(TokenizerError, match=r"added_tokens\.json: '<x>': expected a whole number of 0 or more, found"):
        CTCTokenizer.from_files(VOCAB, {}, {}, {"<x>": index})


@pytest.mark.parametrize(
    ("vocab", "cause"),
    [
        ({"x" * 256: "y" * 10**6}, "expected a whole number of 0 or more, found 'yyy"),
        ({"x" * 256: 0, "y" * 256: 0}, "is taken by 'xxx"),
        ({"x" * 10**6: 0}, "expected tokens of at most 256 characters, found 'xxx"),
        ({str(i) * 1000: {"A": 0} for i in range(1000)}, "target_lang: expected one of '0000"),
        ({"\x1b[2J": {"A": "0"}}, "target_lang"),
        ({"A": DEEP}, "expected a whole number of 0 or more, found [[["),
        ({"A": 0, "B": 10**4000}, "no token has the id 1, of 0 to 1000"),
    ],
    ids=["long", "long twice", "too long", "languages", "escape", "deep", "huge"],
)
def test_absurd_vocabularies_are_refused_in_few_words(vocab, cause):
    with pytest.raises(TokenizerError) as caught:
        CTCTokenizer.from_files(vocab)
    assert cause in str(caught.value)
    assert len(str(caught.value)) < 6000
    assert str(caught.value).isprintable()


def test_a_vocabulary_without_a_blank_is_refused(saved):
    """transformers appends a pad token that the vocabulary lacks; then the network has no output for it, and another is its blank."""
    vocab = json.loads((saved / "vocab.json").read_text())
    blank = vocab.pop("<pad>")
    (saved / "vocab.json").write_text(json.dumps({token: index - (index > blank) for token, index in vocab.items()}))
    (saved / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    with pytest.raises(SewError, match="the tokenizer's pad token is '<pad>' with id") as caught:
        sewnp.load(saved)
    assert str(saved) in str(caught.value)


def test_tokens_by_the_hundred_thousand_take_no_square_of_time(saved):
    """Each of these was a search through a list, once for every token."""
    count = 100_000
    extras = [f"<{i}>" for i in range(count)]
    files = {
        "extras.json": {"extra_special_tokens": extras},
        "decoder.json": {
            "added_tokens_decoder": {str(i): {"content": f"<a{i}>"} for i in range(7, count)},
            "extra_special_tokens": extras,
        },
        "added.json": {token: 7 + i for i, token in enumerate(extras)},
    }
    for name, values in files.items():
        (saved / name).write_text(json.dumps(values))
    vocab = f"{VOCAB!r}"
    read = {name: f"read_json(Path({str(saved / name)!r}))" for name in files}
    few = {"extra_special_tokens": extras[:20]}
    tokenizers = {
        "extras": f"CTCTokenizer.from_files({vocab}, {read['extras.json']})",
        "decoder": f"CTCTokenizer.from_files({vocab}, {read['decoder.json']})",
        "added": f"CTCTokenizer.from_files({vocab}, {few!r}, {{}}, {read['added.json']})",
    }
    # each is a tokenizer; the error at the end is the test's own
    check_refused({name: (f"{made}.encode(5)", "", "text: expected a str, found int") for name, made in tokenizers.items()})


# --- the feature extractor's ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"sampling_rate": 10**4000},
        {"sampling_rate": 2**31},
        {"sampling_rate": DEEP},
        {"padding_value": 10**400},
        {"padding_value": "x" * 10**6},
        {"do_normalize": DEEP},
        {"padding_side": "\x1b[2J"},
        {"feature_size": DEEP},
    ],
    ids=lambda values: next(iter(values)),
)
def test_absurd_feature_extractors(values):
    name = next(iter(values))
    with pytest.raises(ConfigError, match=f"^{name}: expected ") as caught:
        FeatureExtractor.from_dict(values)
    assert len(str(caught.value)) < 700
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("value", [0, "", [], 5, "Wav2Vec2FeatureExtractor", [{}], True, False])
def test_a_processor_whose_feature_extractor_is_no_object(saved, value):
    edit(saved, "processor_config.json", feature_extractor=value)
    with pytest.raises(
        CheckpointError, match=rf"processor_config\.json: feature_extractor: expected an object, found {type(value).__name__}"
    ):
        sewnp.load(saved)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "vocab.json", "tokenizer_config.json", "special_tokens_map.json",
                                  "added_tokens.json", "processor_config.json"])  # fmt: skip
@pytest.mark.parametrize("text", ["[]", "null", "5", '"text"', "[{}]"])
def test_files_beside_the_model_that_are_no_objects(saved, name, text):
    (saved / name).write_text(text)
    with pytest.raises(CheckpointError, match=f"{name}: expected a JSON object, found"):
        sewnp.load(saved)


# --- anything at all --------------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-3, 30), st.floats(), st.text(max_size=6), st.just("<pad>")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
    max_leaves=6,
)
fields = st.sampled_from(
    [*SEWDConfig().to_dict(), "num_labels", "id2label", "label2id", "extra", "layerdrop", "attention_head_size"]
)
EVERYTHING = settings(derandomize=True, deadline=None, max_examples=300)


@EVERYTHING
@given(st.sampled_from(["sew", "sew-d"]), st.dictionaries(fields, values, max_size=2))
def test_any_configuration_is_made_or_refused(family, changed):
    config, message = tried(lambda: config_from_dict({"model_type": family} | changed))
    if config is None:
        related = {"position_buckets", "num_attention_heads", "conv_dim", "model_type"}  # fields that others have to fit
        assert any(name in message for name in {*changed, *related})
    else:
        again = json.loads(json.dumps(config.to_dict()))
        assert json.dumps(config_from_dict(again).to_dict(), sort_keys=True) == json.dumps(config.to_dict(), sort_keys=True)


@EVERYTHING
@given(st.dictionaries(st.text(max_size=3), st.one_of(st.integers(0, 5), values), max_size=5), st.booleans())
def test_any_vocabulary_is_a_tokenizer_or_refused(tokens, complete):
    vocab = (VOCAB if complete else {}) | tokens
    tokenizer, message = tried(lambda: CTCTokenizer.from_files(vocab))
    if tokenizer is None:
        assert "vocab.json" in message
    else:
        path = [i for i in range(len(tokenizer)) for _ in range(2)]
        assert tokenizer.offsets(path).text == tokenizer.decode(path)
        again = CTCTokenizer.from_files(tokenizer.vocab, tokenizer.config)
        assert again.decode(path) == tokenizer.decode(path)


@EVERYTHING
@given(st.dictionaries(st.sampled_from([*FeatureExtractor().to_dict(), "x"]), values, max_size=3))
def test_any_feature_extractor_works_or_is_refused(changed):
    extractor, message = tried(lambda: FeatureExtractor.from_dict(changed))
    if extractor is None:
        assert any(name in message for name in changed)
    else:
        assert np.isfinite(extractor([[0.0, 1.0], [0.5]]).input_values).all()
