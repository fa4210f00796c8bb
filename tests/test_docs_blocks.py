"""Every code block of docs/ is run, and prints what stands there: here, by the test of its page, or it says why not.

A page's blocks run one after the other in one folder, which holds what a checkout has.  In what a command prints, ``...`` stands for
anything.  Before a block that is not run here stands a comment: ``<!-- not run: why -->`` or ``<!-- run by tests/... -->``.
"""

import contextlib
import doctest
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sewnp.cli import COMMANDS, main

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))

# pages that a test of their own runs from the first block to the last
OWN_TEST = {
    "decoding.md": "tests/cli/test_cli_decoding.py",
    "sound-files.md": "tests/cli/test_cli_transcribe.py",
    "transcribing.md": "tests/cli/test_cli_transcribe.py",
}

# how many blocks of a page say that they are not run; a new one is a decision, not an accident
NOT_RUN = {
    "check-your-port.md": 8,
    "evaluation.md": 2,
    "explain.md": 2,
    "index.md": 1,
    "install.md": 2,
    "many-machines.md": 2,
    "performance.md": 2,
    "quickstart-transcriber.md": 1,
}

FENCE = re.compile(r"^(?:<!-- (?P<mark>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


class Block(NamedTuple):
    language: str
    body: str
    mark: str | None
    """The comment above it."""


def blocks(page: Path) -> list[Block]:
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["body"], match["mark"]) for match in found]


def named(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if named(page) not in OWN_TEST and blocks(page)], ids=named)
def test_the_blocks_do_what_the_page_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "tests" / "clips", "tests/clips")
    names: dict[str, Any] = {"__name__": "a_page"}
    todo = [*blocks(page), Block("end", "", None)]
    for block, following in pairwise(todo):
        if block.mark is not None:
            continue
        if block.language == "console":
            for command, expected in COMMAND.findall(block.body):
                assert_prints(command, expected)
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block.body, names)
            assert out.getvalue() == (following.body if following.language == "text" else "")


def assert_prints(command: str, expected: str) -> None:
    status, printed = run(command)
    alike = doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS)
    assert alike, f"$ {command}\n--- the page says\n{expected}--- printed\n{printed}"
    assert status == 0 or "error" in expected, f"$ {command}: exit status {status}"


def run(command: str) -> tuple[int, str]:
    """Exit status and both outputs, as a terminal shows them; our own command in this process, which is quicker."""
    if re.fullmatch(r"sewnp [^|<>&;*$]*", command):
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            try:
                return main(shlex.split(command)[1:]), out.getvalue()
            except SystemExit as left:  # --help and --version
                return int(left.code or 0), out.getvalue()
    here = shlex.quote(sys.executable)
    shell = f'python() {{ {here} "$@"; }}\nsewnp() {{ python -m sewnp "$@"; }}\n{command}'
    done = subprocess.run(
        ["bash", "-c", shell],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_not_run_is_marked_and_counted() -> None:
    counted = Counter({named(page): sum((block.mark or "").startswith("not run: ") for block in blocks(page)) for page in PAGES})
    assert +counted == NOT_RUN


def test_marks_are_of_the_two_kinds_and_name_tests_that_know_the_page() -> None:
    for page in PAGES:
        for mark in [block.mark for block in blocks(page) if block.mark is not None]:
            kind = re.fullmatch(r"not run: .{8,}|run by (tests/\S+\.py)", mark)
            assert kind, f"{named(page)}: {mark}"
            if kind[1]:
                assert page.name in (ROOT / kind[1]).read_text(encoding="utf-8")
    for name, test in OWN_TEST.items():
        assert name in (ROOT / test).read_text(encoding="utf-8")


def test_no_fence_is_of_a_kind_that_is_overlooked() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert 2 * len(blocks(page)) == len(re.findall(r"^\s*(?:```|~~~)", text, re.MULTILINE)), named(page)
        kinds = {block.language for block in blocks(page) if block.mark is None}
        assert kinds <= {"python", "console", "text", "diff"}, named(page)


def test_every_command_has_its_section_with_its_help() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert re.findall(r"^## sewnp (\w+)$", text, re.MULTILINE) == list(COMMANDS)
    assert re.findall(r"^<!-- sewnp (\w+) --help -->$", text, re.MULTILINE) == list(COMMANDS)
