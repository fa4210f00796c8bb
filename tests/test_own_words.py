"""Folders that list the words of their models: texts are searched for with them, unless somebody says otherwise."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main
from sewnp.decoding import BeamSearch, Spelling
from sewnp.errors import ConfigError, InputError
from sewnp.loading import embedded
from sewnp.speech import CTCTokenizer, FeatureExtractor, OwnKeys, read_audio, transcript_from_logits
from sewnp.training import recipe_from_dict, starting_model
from sounds import noise

LISTED = {"words": ["ONE", "THREE", "TWO"], "unknown_margin": 5}
SOUND = noise(16000)


def written(digits: sewnp.Model, folder: Path, own: Any) -> Path:
    """The digits model with other keys of ours."""
    digits.save(folder)
    path = folder / "preprocessor_config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"sewnp": own}))
    return folder


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is said, the network hears THRE, and THREE at half the probability: 0.7 nats less."""

    def logits(model: sewnp.Model) -> np.ndarray:
        probabilities = np.full((6, model.config.vocab_size), 1e-4)
        for frame, letter in enumerate(["T", "H", "R", "E", "<pad>"]):
            probabilities[frame, model.tokenizer.id_of(letter)] = 0.99
        probabilities[5, [model.tokenizer.pad_token_id, model.tokenizer.id_of("E")]] = 0.66, 0.33
        return np.log(probabilities / probabilities.sum(axis=1, keepdims=True)).astype(np.float32)

    monkeypatch.setattr(sewnp.Model, "__call__", lambda model, *_, **__: SimpleNamespace(logits=logits(model)[None]))
    monkeypatch.setattr(sewnp.Model, "_logits_together", lambda model, clips: [logits(model) for _ in clips])


def test_the_folder_says_what_is_searched_for(digits: sewnp.Model, tmp_path: Path, heard: None) -> None:
    model = sewnp.load(written(digits, tmp_path, LISTED))
    found, greedy = model.transcribe(SOUND), model.transcribe(SOUND, decoder="greedy")
    assert (found.text, found.decoder) == ("THREE", "beam search: beam_width 100, words 3, unknown_margin 5")
    assert (greedy.text, greedy.decoder) == ("THRE", "greedy")
    assert (found.to_dict()["decoder"], greedy.to_dict()["decoder"]) == (found.decoder, greedy.decoder)
    assert [each.text for each in model.transcribe([SOUND, SOUND], window=30)] == ["THREE"] * 2
    (one,) = sewnp.transcribe_many([SOUND], model=model)
    (other,) = sewnp.transcribe_many([SOUND], model=model, decoder="greedy")
    assert (one.transcript, other.transcript) == (found, greedy)
    assert model.transcribe(SOUND, compat="transformers").decoder == "greedy"
    assert model.transcribe(SOUND, compat="transformers", decoder=model.feature_extractor.decoder) == found
    with pytest.raises(InputError, match="decoder: expected a BeamSearch, 'greedy' or None, found 'beam'"):
        model.transcribe(SOUND, decoder="beam")  # type: ignore[arg-type]


def test_confidence_is_that_of_the_greedy_path() -> None:
    """The network hears AC, and B at the end almost as well."""
    tokenizer = CTCTokenizer.from_files({"<pad>": 0, "|": 1, "A": 2, "B": 3, "C": 4})
    logits = np.log([[0.9, 0.025, 0.025, 0.025, 0.025], [0.025, 0.025, 0.9, 0.025, 0.025], [0.02, 0.03, 0.05, 0.43, 0.47]])
    greedy, found, silent = (
        transcript_from_logits(x, tokenizer, seconds_per_frame=0.02, duration=0.06, decoder=decoder)
        for x, decoder in ((logits, "greedy"), (logits, BeamSearch(words=["AB"])), (logits[:1], None))
    )
    assert (greedy.text, found.text, silent.text) == ("AC", "AB", "")
    assert greedy.words[0].probability == greedy.confidence == found.confidence == pytest.approx((0.9 + 0.47) / 2)
    assert found.words[0].probability == pytest.approx((0.9 + 0.43) / 2)
    assert [each.confidence_count for each in (greedy, found, silent)] == [2, 2, 0]
    assert silent.confidence is None


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (LISTED | {"unknown_margin": 0.5}, "THRE"),
        ({"words": ["one", "two"], "unknown_margin": 2}, "THRE"),
        ({"words": ["three"]}, "THREE"),
        ({"unknown_margin": 5}, "THRE"),
        ({"words": None}, "THRE"),
        ({}, "THRE"),
    ],
)
def test_other_words_come_through_beyond_the_margin(
    digits: sewnp.Model, tmp_path: Path, own: dict[str, Any], text: str, heard: None
) -> None:
    folder = written(digits, tmp_path, own)
    (folder / "lexicon.txt").write_text("THREE T H R E E |\n")  # which nobody asks for
    assert sewnp.load(folder).transcribe(SOUND).text == text


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"words": "ONE"}, "sewnp.words: expected a list, found 'ONE'"),
        ({"words": {"ONE": 1}}, "sewnp.words: expected a list, found {'ONE': 1}"),
        ({"words": []}, "sewnp.words: expected at least one word, found ()"),
        ({"words": ["ONE", 2]}, "sewnp.words[1]: expected a string, found 2"),
        ({"words": ["ONE", "T WO"]}, "sewnp.words: expected words without spaces, found 'T WO'"),
        ({"words": ["ONE", ""]}, "sewnp.words: expected words without spaces, found ''"),
        ({"words": ["ONE", "ZWÖLF"]}, "sewnp.words: the vocabulary cannot spell 'ZWÖLF'"),
        ({"words": ["ONE"], "unknown_margin": -1}, "sewnp.unknown_margin: expected a number of 0 or more, found -1"),
        ({"words": ["ONE"], "unknown_margin": "5"}, "sewnp.unknown_margin: expected a number, found '5'"),
    ],
)
def test_keys_that_make_no_sense_are_refused(digits: sewnp.Model, tmp_path: Path, own: Any, message: str) -> None:
    folder = written(digits, tmp_path / "model", own)
    for read in (sewnp.load, lambda source: sewnp.convert(source, tmp_path / "converted")):
        with pytest.raises(ConfigError) as raised:
            read(folder)
        assert str(raised.value).startswith(f"{folder}: feature extractor: {message}")


def test_a_vocabulary_that_does_not_part_words_has_none() -> None:
    with pytest.raises(
        ConfigError, match=r"sewnp\.words: expected a vocabulary with a word delimiter token, or word pieces, found \['A'\]"
    ):
        OwnKeys(words=("A",)).check_vocabulary(Spelling(("", "A"), None))


def test_the_key_is_kept(digits: sewnp.Model, tmp_path: Path) -> None:
    own = LISTED | {"segment": True, "later": [1]}
    model = sewnp.load(written(digits, tmp_path / "a", own))
    model.save(tmp_path / "b")
    sewnp.convert(tmp_path / "b", tmp_path / "c")
    for folder in "bc":
        assert json.loads((tmp_path / folder / "preprocessor_config.json").read_text())["sewnp"] == own
    fine_tuned = starting_model(recipe_from_dict({"model": str(tmp_path / "c"), "sewnp": {"segment": False}}), {"ONE"})
    assert fine_tuned.feature_extractor.extra["sewnp"] == own | {"segment": False, "words": sorted(LISTED["words"])}
    respelled = starting_model(recipe_from_dict({"model": str(tmp_path / "c"), "new_vocabulary": True}), {"ÄB"})
    assert respelled.feature_extractor.extra["sewnp"] == {"segment": True, "later": [1]}


def test_recipes_ask_for_it() -> None:
    for name in ("digits", "digits-d"):
        own = FeatureExtractor.from_dict(json.loads((embedded(name) / "preprocessor_config.json").read_text())).extra["sewnp"]
        values = {"model": "sew-tiny", "config": {"num_hidden_layers": 1}, "sewnp": own}
        recipe = recipe_from_dict(values)
        assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
        assert starting_model(recipe, {"ZEROFIVSIXGHTWNU"}).feature_extractor.extra == {"sewnp": own}
    old = {key: value for key, value in recipe.to_dict().items() if key != "sewnp"}
    assert recipe_from_dict(old) == replace(recipe, sewnp=OwnKeys())  # of a run that was begun before there was such a key
    with pytest.raises(ConfigError, match=r"sewnp\.wrods: unknown"):
        recipe_from_dict(values | {"sewnp": {"wrods": ["ONE"]}})
    with pytest.raises(ConfigError, match=r"sewnp\.words: the vocabulary cannot spell 'ONE'"):
        starting_model(recipe_from_dict(values | {"sewnp": {"words": ["ONE"]}}), {"TWO"})


def test_the_command_line(digits: sewnp.Model, tmp_path: Path, heard: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(digits, tmp_path / "model", LISTED)
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, SOUND, 16000)
    (tmp_path / "set.tsv").write_text("path\ttext\nclip.wav\tTHREE\n")
    told = {"": "THREE", "--greedy": "THRE", "--beam=9": "THRE", "--compat=transformers": "THRE", "--hotwords=THREE": "THREE"}
    for option, text in told.items():
        assert main(["transcribe", str(clip), "--model", str(folder), *option.split()]) == 0
        assert capsys.readouterr().out == f"{text}\n"
    evaluate = ["evaluate", str(tmp_path / "set.tsv"), "--model", str(folder), "-f", "json", "-o", str(tmp_path / "out")]
    for option, decoder, errors in (("", "beam search: beam_width 100, ", 0), ("--greedy", "greedy", 1)):
        assert main([*evaluate[:-1], str(tmp_path / f"out{option}"), *option.split()]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["decoder"].startswith(decoder)
        assert report["words"]["errors"] == errors
    assert main([*evaluate, "--greedy", "--resume"]) == 1
    assert "made with another decoder: expected greedy, found 'beam search: " in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["transcribe", str(clip), "--greedy", "--beam", "4"])
    assert "argument --greedy: expected without --beam" in capsys.readouterr().err


def test_what_the_embedded_models_know(digits: sewnp.Model, clips: Path) -> None:
    for model in (digits, sewnp.load("digits-d")):
        search = model.feature_extractor.decoder
        assert search is not None
        assert search.words is not None
        assert set(search.words) >= {"ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"}
        assert search.unknown_margin == 5
        waveform = read_audio(clips / "three_one_four.wav")
        assert model.transcribe(waveform) == model.transcribe(waveform, decoder=search)
    assert sewnp.load("digit-words").feature_extractor.decoder is None
