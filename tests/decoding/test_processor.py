"""Folders of transformers' Wav2Vec2ProcessorWithLM, written as pyctcdecode 0.5 writes them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.cli import main
from sewnp.decoding import Spelling, read_processor
from sewnp.errors import LanguageModelError

ARPA = """\
\\data\\
ngram 1=6

\\1-grams:
-9\t<unk>
-9\t<s>
-1\t</s>
-1\tTHREE
-1\tFIVE
-1\tTHRE

\\end\\
"""
ATTRIBUTES = {"alpha": 0.75, "beta": 1.0, "unk_score_offset": -6.0, "score_boundary": True}


def written(folder: Path, *, attributes: Any = ATTRIBUTES, unigrams: str = "FIVE\nTHREE\nLOST\n<s>\n", **models: str) -> Path:
    inside = folder / "language_model"
    inside.mkdir(parents=True)
    (folder / "alphabet.json").write_text('{"labels": [" ", "A"], "is_bpe": false}')
    (inside / "attrs.json").write_text(json.dumps(attributes))
    (inside / "unigrams.txt").write_text(unigrams)
    for suffix, content in (models or {"arpa": ARPA}).items():
        (inside / f"3gram.{suffix}").write_text(content)
    return folder


def test_a_folder_is_a_search(tmp_path: Path) -> None:
    search = read_processor(written(tmp_path))
    assert search.language_model is not None
    assert search.language_model.spellings == ["FIVE", "THRE", "THREE"]
    assert (search.alpha, search.beta, search.unknown_offset) == (0.75, 1.0, -6.0)
    assert (search.words, search.unknown_margin, search.beam_width) == (("FIVE", "THREE"), 0.0, 100)


@pytest.mark.parametrize("unigrams", ["", "\n", "LOST\n"])
def test_a_list_without_words_is_no_list(tmp_path: Path, unigrams: str) -> None:
    assert read_processor(written(tmp_path, unigrams=unigrams)).words is None


def test_what_is_not_listed_has_the_models_score_and_the_offset(tmp_path: Path) -> None:
    """pyctcdecode: LanguageModel.score."""
    spelling = Spelling(("_", "|", *"THREFIV"), delimiter=1)
    search = read_processor(written(tmp_path))
    ids = [spelling.tokens.index(letter) for letter in "THRE_E"]
    for path, offset in ((ids, 0.0), (ids[:4], -6.0)):
        log_probs = np.log(np.full((len(path), 9), 1e-12))
        log_probs[np.arange(len(path)), path] = math.log1p(-8e-12)
        found = search.decode(log_probs, blank=0, spelling=spelling)[0]
        assert found.score - found.log_probability == pytest.approx(0.75 * math.log(10) * (-1 - 1 + offset) + 1.0, rel=1e-9)


def test_words_that_the_vocabulary_cannot_spell_are_left_out(tmp_path: Path) -> None:
    read_processor(written(tmp_path)).check_spelling(Spelling(("_", "|", *"THRE"), delimiter=1))


def test_the_model_that_can_be_read_is_taken(tmp_path: Path) -> None:
    search = read_processor(written(tmp_path, bin="mmap lm http://kheafield.com/code", arpa=ARPA))
    assert search.language_model is not None
    assert search.language_model.name.endswith("3gram.arpa")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"bin": "mmap lm http://kheafield.com/code format"},
            r"3gram.bin: .*kenlm's; expected the ARPA file that it was built from",
        ),
        ({"txt": ARPA}, r"language_model: expected one language model, NAME.arpa, found none"),
        ({"attributes": ATTRIBUTES | {"score_boundary": False}}, r"attrs.json: score_boundary: expected true, found False"),
        ({"attributes": ATTRIBUTES | {"alpha": "1"}}, r"attrs.json: alpha: expected a number from 0 to 1,000,000, found '1'"),
        ({"attributes": {"alpha": 1.0}}, r"attrs.json: expected alpha, beta, .*, found no beta"),
        ({"attributes": []}, r"attrs.json: expected a JSON object, found list"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LanguageModelError, match=message):
        read_processor(written(tmp_path, **options))


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="expected a folder language_model in it, as Wav2Vec2ProcessorWithLM writes it"):
        read_processor(tmp_path)
    (written(tmp_path / "a") / "language_model" / "unigrams.txt").unlink()
    with pytest.raises(LanguageModelError, match=r"unigrams.txt: no such file"):
        read_processor(tmp_path / "a")


def test_such_a_folder_loads_and_helps(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without being asked to it changes nothing; with --lm it mends a word."""
    folder = tmp_path / "with-lm"
    shutil.copytree(Path(sewnp.__file__).parent / "pretrained" / "digits", folder)
    preprocessor = json.loads((folder / "preprocessor_config.json").read_text())
    named = {"processor_class": "Wav2Vec2ProcessorWithLM"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor | named))
    digits = ["EIGHT", "SIX", "SEVEN", "FIVE", "THREE", "ZERO", "NINE"]
    lines = [f"-1\t{word}" for word in ["<unk>", "<s>", "</s>", *digits]]
    arpa = "\n".join(["\\data\\", f"ngram 1={len(lines)}", "", "\\1-grams:", *lines, "", "\\end\\", ""])
    written(folder, unigrams="\n".join(digits), arpa=arpa)
    command = ["transcribe", str(clips / "eight_six_seven.flac"), "--model", str(folder)]
    for more, gap in ((["--greedy"], ""), (["--lm", str(folder)], " "), (["--lm", str(folder), "--beam", "9"], " ")):
        assert main([*command, *more]) == 0
        assert capsys.readouterr().out == f"EIGHT SIX SEVEN{gap}FIVE THREE ZERO NINE\n"
