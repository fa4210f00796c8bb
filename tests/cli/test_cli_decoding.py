"""The decoding options, from the words that a user types to what decodes."""

import argparse
import contextlib
import io
import math
import pickle
import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.cli import main
from sewnp.cli.decoding import add_decoder_options, decoder, decoder_name
from sewnp.decoding import BeamSearch, LanguageModel
from sewnp.errors import InputError, LanguageModelError
from sewnp.speech import vocabulary_spelling

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def arpa(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that docs/digits_language_model.py writes."""
    path = tmp_path_factory.mktemp("arpa") / "digits.arpa"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["digits_language_model.py", str(path)])
        runpy.run_path(str(ROOT / "docs" / "digits_language_model.py"))
    return path


HEARD, SAID = "EIGHT SIX SEVENFIVE THREE ZERO NINE", "EIGHT SIX SEVEN FIVE THREE ZERO NINE"


def chosen(model: sewnp.Model, *arguments: object) -> BeamSearch | None:
    parser = argparse.ArgumentParser()
    add_decoder_options(parser)
    search = decoder(parser.parse_args([str(argument) for argument in arguments]), model)
    return search if search != "greedy" else None


def test_the_models_own_unless_asked(digits: sewnp.Model) -> None:
    assert chosen(digits) is None
    parser = argparse.ArgumentParser()
    add_decoder_options(parser)
    assert decoder(parser.parse_args(["--greedy"]), digits) == "greedy"


def test_a_beam(digits: sewnp.Model) -> None:
    search = chosen(digits, "--beam", 7)
    assert search is not None
    assert (search.beam_width, search.language_model) == (7, None)


def test_a_language_model(digits: sewnp.Model, arpa: Path) -> None:
    search = chosen(digits, "--lm", arpa)
    assert search is not None
    assert search.language_model is not None
    assert (search.beam_width, search.alpha, search.beta) == (100, 0.5, 1.5)
    assert len(search.language_model.spellings) == 10
    search = chosen(digits, "--lm", arpa, "--beam", 9, "--alpha", 1.25, "--beta", -0.5)
    assert search is not None
    assert (search.beam_width, search.alpha, search.beta) == (9, 1.25, -0.5)


def test_words_and_hotwords(digits: sewnp.Model, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\n")
    search = chosen(digits, "--words", tmp_path / "words.txt")
    assert search is not None
    assert (search.beam_width, search.words, search.unknown_margin, search.hotwords) == (100, ("one", "two"), math.inf, ())
    search = chosen(digits, "--words", tmp_path / "words.txt", "--unknown-margin", 4, "--hotwords", "TWO,ONE TWO", "--beam", 9)
    assert search is not None
    assert (search.beam_width, search.unknown_margin, search.hotwords, search.hotword_weight) == (9, 4.0, ("ONE", "TWO"), 10.0)
    search = chosen(digits, "--hotwords", "TEN", "--hotword-weight", -2.5)
    assert search is not None
    assert (search.words, search.hotwords, search.hotword_weight) == (None, ("TEN",), -2.5)
    (tmp_path / "words.txt").write_text("ein\nzwölf\n")
    with pytest.raises(InputError, match="words: the vocabulary cannot spell 'zwölf'"):
        chosen(digits, "--words", tmp_path / "words.txt")


def test_words_mend_a_word(digits: sewnp.Model, clips: Path) -> None:
    listed = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    clip = clips / "eight_six_seven.flac"
    for search in (BeamSearch(words=listed), BeamSearch(words=listed, unknown_margin=10.0), BeamSearch(hotwords=["SEVEN"])):
        assert digits.transcribe(clip, decoder=search).text == SAID
    unlisted = BeamSearch(words=[word for word in listed if word != "seven"], unknown_margin=0.5)
    assert digits.transcribe(clip, decoder=unlisted) == digits.transcribe(clip, decoder="greedy")


def test_a_decoders_name_tells_it_from_others(digits: sewnp.Model, arpa: Path) -> None:
    searches = [
        BeamSearch(),
        BeamSearch(7),
        BeamSearch(words=[]),
        BeamSearch(words=["A"]),
        BeamSearch(words=["A"], unknown_margin=1),
    ]
    searches += [BeamSearch(hotwords=["A"]), BeamSearch(hotwords=["A"], hotword_weight=1), BeamSearch(words=["A"], hotwords=["A"])]
    searches.append(BeamSearch(language_model=LanguageModel.read(arpa)))
    names = [*map(decoder_name, ["greedy", *searches])]
    assert len(set(names)) == len(names)
    assert names[1] == "beam search: beam_width 100, min_token_log_prob -5.0, beam_threshold 10.0"
    assert decoder_name(BeamSearch(words=["B", "A", "B"])) == decoder_name(BeamSearch(words=("A", "B")))


def test_a_language_model_mends_a_word(digits: sewnp.Model, arpa: Path, clips: Path) -> None:
    clip = clips / "eight_six_seven.flac"
    greedy, plain, helped = (
        digits.transcribe(clip, decoder=decoder) for decoder in ("greedy", BeamSearch(100), chosen(digits, "--lm", arpa))
    )
    assert (greedy.text, helped.text) == (HEARD, SAID)
    assert plain == greedy
    assert [*helped.words[:2], *helped.words[4:]] == [*greedy.words[:2], *greedy.words[3:]]
    both = greedy.words[2]
    assert helped.words[2].start == pytest.approx(both.start, abs=0.04)
    assert helped.words[3].end == pytest.approx(both.end, abs=0.04)
    assert all(0 < word.probability <= 1 for word in helped.words[2:4])


def test_a_search_travels_to_other_processes(digits: sewnp.Model, arpa: Path) -> None:
    search = chosen(digits, "--lm", arpa)
    assert search is not None
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(32) / 10, size=40) + 1e-9)
    assert digits.tokenizer is not None
    told = {"blank": 0, "spelling": vocabulary_spelling(digits.tokenizer, 32)}
    assert pickle.loads(pickle.dumps(search)).decode(log_probs, **told) == search.decode(log_probs, **told)


def test_what_a_search_refuses(digits: sewnp.Model, arpa: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="beam_width: expected a whole number of 1 or more, found 0"):
        chosen(digits, "--beam", 0)
    with pytest.raises(InputError, match="alpha: expected a number from 0 to 1,000,000, found nan"):
        chosen(digits, "--lm", arpa, "--alpha", "nan")
    with pytest.raises(LanguageModelError, match=r"gone.arpa: no such file"):
        chosen(digits, "--lm", tmp_path / "gone.arpa")
    with contextlib.redirect_stderr(None), pytest.raises(SystemExit):
        chosen(digits, "--beam", "many")


def test_a_language_model_in_the_other_case(digits: sewnp.Model, arpa: Path, tmp_path: Path) -> None:
    """Said before the first clip is read."""
    text = arpa.read_text()
    for word in ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE"):
        text = text.replace(word, word.lower())
    (tmp_path / "lower.arpa").write_text(text)
    with pytest.raises(
        LanguageModelError, match=r"lower.arpa: expected words spelled with the vocabulary's letters .* found 'eight'"
    ):
        chosen(digits, "--lm", tmp_path / "lower.arpa")


def test_a_model_without_a_tokenizer_is_left_to_the_command(arpa: Path) -> None:
    assert chosen(sewnp.load("digit-words"), "--lm", arpa) is not None


# --- docs/decoding.md -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def beside_the_docs(arpa: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The page's text, in a folder where its commands work: with the clips, and digits.arpa and digits.txt that it makes first."""
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "digits.arpa").write_bytes(arpa.read_bytes())
    (tmp_path / "digits.txt").write_text("zero one two three four five six seven eight nine".replace(" ", "\n"))
    monkeypatch.chdir(tmp_path)
    return (ROOT / "docs" / "decoding.md").read_text(encoding="utf-8")


def test_the_pages_commands_print_what_it_says(beside_the_docs: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^\$ sewnp (.*)\n(.*)\n", beside_the_docs, flags=re.MULTILINE)
    assert len(shown) == 7
    for command, printed in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == f"{printed}\n"


def test_the_pages_python_prints_what_it_says(beside_the_docs: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```.*?```text\n(.*?)```", beside_the_docs, flags=re.DOTALL)
    assert len(blocks) == beside_the_docs.count("```python") == 2
    names: dict[str, Any] = {}
    for code, printed in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        assert out.getvalue() == printed
