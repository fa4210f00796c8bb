"""The judge of notebook 15 takes the notebook's own solution, and says where a spoilt one goes wrong first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checks.one_page import CASES, check_port

NOTEBOOK = (Path(__file__).parents[2] / "notebooks" / "15_sew_on_one_page.py").read_text("utf-8")


def solution(line: str = "", wrong: str = "") -> Callable[..., Any]:
    """The solution that the notebook shows, with a line of it spoilt."""
    code = "def solved_sew" + NOTEBOOK.partition("def solved_sew")[2].partition("\n\n\ncheck_port(")[0]
    assert line in code
    names: dict[str, Any] = {}
    exec("from math import erf\nimport numpy as np\n" + code.replace(line, wrong), names)
    return names["solved_sew"]


def test_the_solution_passes(capsys: pytest.CaptureFixture[str]) -> None:
    check_port(solution())
    said = capsys.readouterr().out
    assert all(case in said for case in CASES)
    assert said.splitlines()[-1].startswith("✓ ")


def test_a_slip_is_placed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="where each case goes wrong first"):
        check_port(solution("np.abs(relative) <= middle", "np.abs(relative) < 0"))
    assert "encoder.encoder.relative_positions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("port", "message"),
    [
        (lambda *_: None, "is a return missing"),
        (lambda *_: [1.0], "expected a dict of stages by name, found list"),
        (lambda i, w, c: {"logits": w["nothing"]}, "stops with KeyError"),
    ],
)
def test_what_is_no_answer_is_said(port: Callable[..., Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_port(port)
