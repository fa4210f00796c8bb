"""``sewnp explain``: the page is there or it is not, and errors name what is wrong."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from sewnp.cli import main


def document(path: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    read: dict[str, Any] = json.loads(found[1])
    return read


def test_the_page_holds_what_was_asked_for(clip: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "page.html"
    words = ["explain", clip, "-o", str(path), "--model", "digits-d", "--layers", "5,0", "--text", "THREE TWO", "--beam", "4"]
    assert main(words) == 0
    assert capsys.readouterr() == ("", "")
    found = document(path)
    assert [each["layer"] for each in found["attention"]["layers"]] == [0, 5]
    assert found["text"]["given"] == "THREE TWO"
    assert found["model"] == {"name": "digits-d", "family": "sew-d"}
    assert found["clip"]["name"] == "second.wav"
    assert found["beams"][0]["text"] == found["text"]["heard"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers", "7"], "layers: expected a whole number from 0 to 5, found 7"),
        (["--text", "%"], "text: the vocabulary cannot spell '%'"),
        (["--model", "digit-words"], "digit-words: explaining needs a CTC head"),
    ],
)
def test_a_mistake_is_named_and_an_earlier_page_stays(clip: str, tmp_path: Path, capsys: Any, words: list[str], said: str) -> None:
    path = tmp_path / "page.html"
    path.write_text("an earlier one", encoding="utf-8")
    assert main(["explain", clip, "-o", str(path), *words]) == 1
    assert capsys.readouterr().err.startswith(f"sewnp: error: {said}")
    assert path.read_text(encoding="utf-8") == "an earlier one"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--layers", "0,x"], "argument --layers: expected whole numbers with commas between them, found '0,x'"),
        (["--layers", "0,,1"], "argument --layers: expected whole numbers with commas between them, found '0,,1'"),
        (["--alpha", "1"], "argument --alpha: expected with --lm"),
        (["-o", "CLIP"], "is the recording, and would be overwritten"),
    ],
)
def test_wrong_usage(clip: str, tmp_path: Path, capsys: Any, words: list[str], said: str) -> None:
    before = Path(clip).read_bytes()
    with pytest.raises(SystemExit) as left:
        main(["explain", clip, "-o", str(tmp_path / "page.html"), *(word.replace("CLIP", clip) for word in words)])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
    assert Path(clip).read_bytes() == before


def test_a_clip_that_is_missing(tmp_path: Path, capsys: Any) -> None:
    assert main(["explain", str(tmp_path / "gone.wav"), "-o", str(tmp_path / "page.html")]) == 1
    assert "gone.wav: no such file" in capsys.readouterr().err.lower()
    assert list(tmp_path.iterdir()) == []
