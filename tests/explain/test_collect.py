"""The document holds what the network computes, under the names that the documentation gives."""

import base64
import io
import json
import re
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.ctc import ctc_alpha, ctc_beta, forced_align, greedy_path
from sewnp.decoding import BeamSearch
from sewnp.errors import AudioError, InputError, TokenizerError
from sewnp.explain import Page, collect, network, reading, unpack
from sewnp.layers.disentangled import relative_positions
from sewnp.layers.softmax import log_softmax
from sewnp.networks import stage_of
from sewnp.speech import Word, text_tokens
from sewnp.types import Array

DOCS = Path(__file__).parents[2] / "docs" / "explain.md"
PACKED = {"dtype", "shape", "offset", "scale", "power", "data"}
IMAGE = {"stage", "frames", "step", "shown", "values"}


def stages(model: sewnp.Model, x: Array) -> dict[str, Array]:
    seen: dict[str, Array] = {}
    model(model.features(x, attention_mask=False).input_values, see=lambda name, value: seen.setdefault(name, value))
    return seen


@pytest.fixture(scope="module")
def seen(digits: sewnp.Model, second: Array) -> dict[str, Array]:
    return stages(digits, second)


@pytest.fixture(scope="module")
def seen_d(digits_d: sewnp.Model, second: Array) -> dict[str, Array]:
    return stages(digits_d, second)


def keys(value: Any, path: str = "") -> set[str]:
    """The paths of a document's values; arrays and images are values."""
    if isinstance(value, dict) and set(value) not in (PACKED, IMAGE) and not path.endswith("terms"):
        return {each for key, inner in value.items() for each in keys(inner, f"{path}.{key}" if path else key)}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {each for inner in value for each in keys(inner, f"{path}[]")}
    return {path}


def test_the_documentation_names_every_key_and_no_other(digits: sewnp.Model, second: Array, page_d: Page) -> None:
    table = DOCS.read_text(encoding="utf-8").partition("| key | what |")[2]
    told = {name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line.split("|")[1])}
    with_beam = collect(digits, second, layers=[0], decoder=BeamSearch(beam_width=4))
    nothing = {"lattice", "gradients"}  # null where nothing was heard
    assert keys(with_beam) | nothing == told
    assert keys(page_d.document) - {"beams"} | nothing == {name for name in told if not name.startswith("beams[]")}
    json.dumps(page_d.document, allow_nan=False)


def test_images_are_the_stages(page: Page, seen: dict[str, Array]) -> None:
    funnel, squeeze = page.document["funnel"], page.document["squeeze"]
    images = [each["image"] for each in funnel["convolutions"]] + [funnel["before_norm"], funnel["after_norm"]]
    for image in [*images, *squeeze["images"].values()]:
        x = seen[image["stage"]][0].T
        assert stage_of(image["stage"])
        assert image["frames"] == x.shape[1] or "pos_conv" in image["stage"]
        values, step = unpack(image["values"]), image["step"]
        for column in (0, values.shape[1] // 2, values.shape[1] - 2):
            stretch = x[:, column * step : (column + 1) * step]
            farthest = np.take_along_axis(stretch, np.abs(stretch).argmax(axis=1)[:, None], axis=1)[:, 0]
            np.testing.assert_allclose(np.abs(values[:, column]), np.abs(farthest), atol=image["values"]["scale"])
    assert (squeeze["factor"], squeeze["frames"], squeeze["squeezed"]) == (2, 59, 29)
    assert np.abs(unpack(squeeze["images"]["restored"]["values"])[:, -1]).max() == 0  # what the squeeze dropped


def test_filters_and_their_responses(page: Page, digits: sewnp.Model) -> None:
    layers = digits.weights["sew"]["feature_extractor"]["conv_layers"]
    funnel = page.document["funnel"]
    for layer, told in zip(layers, funnel["convolutions"], strict=True):
        weight = layer["conv"]["weight"]
        np.testing.assert_allclose(unpack(told["filters"]), weight, atol=np.abs(weight).max() / 250)
    assert [each["hop"] for each in funnel["convolutions"]][-1] == digits.config.hop
    assert [each["field"] for each in funnel["convolutions"]][-1] == digits.config.receptive_field
    response = unpack(funnel["response"])
    kernel = layers[0]["conv"]["weight"][7, 0]
    gain = [abs(sum(w * np.exp(-1j * np.pi * k * f / 128) for k, w in enumerate(kernel))) for f in range(129)]
    expected = np.maximum(20 * np.log10(np.array(gain) / max(gain)), -40)
    np.testing.assert_allclose(response[7], expected, atol=0.1)


def test_attention_and_its_terms(page_d: Page, seen_d: dict[str, Array], page: Page) -> None:
    told = page_d.document["attention"]
    assert [each["layer"] for each in told["layers"]] == [0, 5]
    for each in told["layers"]:
        scope = each["stage"].removesuffix(".probabilities")
        np.testing.assert_allclose(unpack(each["probabilities"]), seen_d[each["stage"]][0], atol=4.5e-3)
        assert set(each["terms"]) == {"content", "c2p", "p2c"}
        for name, term in each["terms"].items():
            np.testing.assert_allclose(unpack(term), seen_d[f"{scope}.{name}"][0], atol=term["scale"])
    relative = seen_d["encoder.encoder.relative_positions"]
    buckets = unpack(told["buckets"])
    n = told["squeezed"]
    for query, key in ((0, n - 1), (n - 1, 0), (5, 9)):
        assert buckets[query - key + n - 1] == relative[query, key]
    assert told["span"] == 32
    sew = page.document["attention"]
    assert [each["layer"] for each in sew["layers"]] == list(range(6))
    assert (sew["buckets"], sew["span"], sew["layers"][0]["terms"]) == (None, None, {})


def test_letters_and_lattice(page: Page, digits: sewnp.Model, seen: dict[str, Array]) -> None:
    log_probs = log_softmax(seen["logits"][0].astype(np.float64))
    letters, lattice, tokenizer = page.document["letters"], page.document["lattice"], digits.tokenizer
    assert tokenizer is not None
    assert page.document["text"] == {"heard": "THREE ONE FOUR", "given": None}
    assert letters["ids"][0] == tokenizer.pad_token_id
    assert letters["tokens"] == [tokenizer.token_of(i) for i in letters["ids"]]
    np.testing.assert_allclose(unpack(letters["log_probs"]), log_probs[:, letters["ids"]], rtol=1e-6)
    assert [letters["ids"][row] for row in letters["path"]] == greedy_path(log_probs).tolist()
    targets = text_tokens("THREE ONE FOUR", tokenizer)
    assert [letters["ids"][row] for row in lattice["states"]][1::2] == targets
    problem = log_probs[None], [targets], [len(log_probs)], [len(targets)]
    for name, sweep in (("alpha", ctc_alpha(*problem, blank=0)[0]), ("beta", ctc_beta(*problem, blank=0)[0])):
        best, below = unpack(lattice[name]["best"])[:, None], unpack(lattice[name]["below"])
        assert ((below == 25.5) == (sweep == -np.inf)).all()
        near = best - sweep < 24.9
        np.testing.assert_allclose((best - below)[near], sweep[near], atol=0.06)
        assert (below[~near] > 24.8).all()
    best_path = forced_align(log_probs, targets, blank=0)
    assert lattice["path"] == best_path.states.tolist()
    assert lattice["path_log_probability"] == best_path.log_probability
    both = ctc_alpha(*problem, blank=0)[0] + ctc_beta(*problem, blank=0)[0]
    np.testing.assert_allclose(unpack(lattice["posteriors"]), np.exp(both - lattice["log_likelihood"]), atol=4e-3)


def test_words_are_those_of_transcribe_and_align(
    page: Page, page_d: Page, digits: sewnp.Model, digits_d: sewnp.Model, second: Array
) -> None:
    heard = digits.transcribe(second, decoder="greedy")
    assert [each["word"] for each in page.document["words"]] == [word.text for word in heard.words]
    assert [each["start"] for each in page.document["words"]] == [word.start for word in heard.words]
    given = digits_d.align(second, "three one four")
    assert page_d.document["text"]["given"] == "three one four"
    assert [(each["word"], each["start"], each["end"]) for each in page_d.document["words"]] == [
        (w.text, w.start, w.end) for w in given.words
    ]
    np.testing.assert_allclose(
        [each["probability"] for each in page_d.document["words"]], [w.probability for w in given.words], atol=1e-3
    )


@pytest.mark.parametrize("options", [{}, {"words": ["ONE", "TWO", "THREE", "FOUR"], "unknown_margin": 5.0}, {"hotwords": ["FOUR"]}])
def test_a_decoder_finds_the_text_and_its_rivals(digits: sewnp.Model, second: Array, options: Any) -> None:
    search = BeamSearch(beam_width=8, **options)
    document = collect(digits, second, layers=[], decoder=search)
    found = [each["text"] for each in document["beams"]]
    assert found[0] == document["text"]["heard"] == "THREE ONE FOUR"
    assert len(found) == len(set(found)) > 1
    assert document["attention"]["layers"] == []


def test_the_bucket_of_every_distance() -> None:
    config = sewnp.SEWDConfig(position_buckets=8, max_position_embeddings=64, num_hidden_layers=0)
    relative = relative_positions(20, buckets=8, max_distance=64)
    buckets = unpack(network.attention({"encoder.encoder.relative_positions": relative}, config, [])["buckets"])
    assert len(buckets) == 39
    for query, key in ((0, 19), (19, 0), (3, 4), (4, 3), (7, 7), (15, 2)):
        assert buckets[query - key + 19] == relative[query, key]


def test_gradients_are_slopes() -> None:
    # in float64, held against differences: how the log-probability of a word's tokens changes with single samples
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 6}
    convolutions = {"conv_dim": (8, 16), "conv_kernel": (10, 4), "conv_stride": (5, 4)}
    positions = {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    model = sewnp.from_config(sewnp.SEWConfig(**sizes, **convolutions, **positions), head="ctc", dtype="float64", seed=0)
    x = np.random.default_rng(0).normal(size=(1, 3000))
    tokens = np.random.default_rng(1).integers(0, 6, size=model.config.frames(3000))
    words = [Word("A", 0.1, 0.3, 0.9), Word("B", 0.5, 0.8, 0.2)]  # frames 10 to 30, 50 to 80
    found = reading.gradients(model, x, [1, 2], tokens, words, 0.01)
    assert found["words"] == [0, 1]
    values = unpack(found["values"])

    def score(samples: Array, start: int, end: int) -> float:
        logits = model(samples).logits
        assert logits is not None
        return float(log_softmax(logits[0])[np.arange(start, end), tokens[start:end]].sum())

    edges = [*np.linspace(0, 3000, reading.COLUMNS, endpoint=False).astype(int).tolist(), 3000]
    for word, (start, end) in enumerate([(10, 30), (50, 80)]):
        for column in (int(values[word].argmax()), 400, 1100):
            slopes = []
            for sample in range(edges[column], edges[column + 1]):
                step = np.zeros_like(x)
                step[0, sample] = 1e-5
                slopes.append(abs(score(x + step, start, end) - score(x - step, start, end)) / 2e-5)
            steepest = found["steepest"][word]
            assert abs(max(slopes) - steepest * values[word, column]) < steepest / 100


def test_a_long_clip_is_pooled_and_three_layers_are_shown(long_page: Page) -> None:
    told = long_page.document["attention"]
    assert (told["squeezed"], told["step"], told["depth"]) == (743, 3, 6)
    assert [each["layer"] for each in told["layers"]] == [0, 3, 5]
    shares = unpack(told["layers"][1]["probabilities"])
    assert shares.shape == (4, 248, 248)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=0.1)
    assert len(long_page.document["gradients"]["words"]) == 1


def test_which_layers_a_short_clip_shows(digits: sewnp.Model) -> None:
    assert network.chosen_layers(digits.config, 250) == [0, 1, 2, 3, 4, 5]
    assert network.chosen_layers(digits.config, 251) == [0, 3, 5]
    many = replace(digits.config, num_hidden_layers=48)
    assert network.chosen_layers(many, 250) == [0, 24, 47]  # a page of a few megabytes has no room for all


def test_silence_has_no_lattice_and_no_gradients(digits: sewnp.Model) -> None:
    document = collect(digits, np.zeros(16000, np.float32), layers=[0])
    assert document["text"]["heard"] == ""
    assert (document["words"], document["lattice"], document["gradients"]) == ([], None, None)


def test_the_sound_is_kept_and_the_folder_is_not(digits: sewnp.Model, clips: Path, second: Array) -> None:
    clip = collect(digits, clips / "three_one_four.wav", layers=[])["clip"]
    assert clip["name"] == "three_one_four.wav"
    with wave.open(io.BytesIO(base64.b64decode(clip["wav"]))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16000, 1, 47600)
        samples = np.frombuffer(file.readframes(19200), "<i2")
    np.testing.assert_array_equal(samples, np.rint(second * 32768))
    assert collect(digits, 3 * second, layers=[])["clip"]["name"] == "audio"  # louder than full scale: clipped, not wrapped


@pytest.mark.parametrize(
    ("audio", "options", "error", "said"),
    [
        (np.zeros(700), {}, AudioError, "audio: expected at least 720 samples, found 700"),
        (np.zeros(960_001), {}, AudioError, "audio: expected at most 60 seconds"),
        (np.zeros(16000), {"layers": [6]}, InputError, "layers: expected a whole number from 0 to 5, found 6"),
        (np.zeros(16000), {"text": "ONE%"}, TokenizerError, "text: the vocabulary cannot spell '%'"),
        (np.zeros(16000), {"text": " "}, InputError, "text: expected at least one word"),
        (np.zeros(1600), {"text": "THREE ONE FOUR"}, InputError, "text: does not fit into the clip"),
    ],
)
def test_what_cannot_be_explained(
    digits: sewnp.Model, audio: Array, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        digits.explain(audio, **options)


def test_a_model_that_answers_nan_is_told_with_the_clip(digits: sewnp.Model, clips: Path) -> None:
    head = {"weight": digits.weights["lm_head"]["weight"], "bias": np.full(digits.config.vocab_size, np.nan, np.float32)}
    weights = digits.weights | {"lm_head": head}
    with pytest.raises(InputError, match=r"three_one_four\.wav: logits: expected a finite maximum in every frame, found NaN"):
        replace(digits, weights=weights).explain(clips / "three_one_four.wav", layers=[0])


def test_models_without_letters_are_refused() -> None:
    with pytest.raises(InputError, match="digit-words: explaining needs a CTC head"):
        sewnp.load("digit-words").explain(np.zeros(16000))
