"""The README says what is so: its commands and its Python print what stands below them."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from sewnp.cli import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_commands_print_what_the_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    shown = re.findall(r"^\$ sewnp (.*)\n((?:(?!\$|```).*\n)+)", README, flags=re.MULTILINE)
    assert len(shown) >= 1
    for command, printed in shown:
        assert main(shlex.split(command)) == 0
        assert capsys.readouterr().out == printed


def test_python_blocks_print_what_the_readme_says() -> None:
    blocks = re.findall(r"```python\n(.*?)```\s*```text\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) == README.count("```python") >= 2
    names: dict[str, Any] = {}
    for code, printed in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(code, names)
        assert out.getvalue() == printed


def test_what_the_readme_points_at_exists() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), target


def test_ci_runs_the_readmes_test_command() -> None:
    command = "python -m pip install -e '.[test]' && pytest"
    assert f"$ {command}\n" in README
    assert f"\n{command} " in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
