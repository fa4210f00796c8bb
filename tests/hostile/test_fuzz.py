"""The fuzzer for a second at each reader; ``pytest -m fuzz`` for as many inputs as SEWNP_FUZZ_INPUTS says."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
BLOCK = 20_000
"""Inputs of one process, so that what leaks is seen and what crashes is soon named."""

TARGETS = {
    "wav": 2000, "flac": 500, "ogg": 1500, "mp3": 400, "other audio": 1500, "safetensors": 3000, "bin": 1500, "fairseq": 1000, "index": 2000,
    "config": 1500, "vocabulary": 4000, "tokenizer": 2000, "added tokens": 3000, "preprocessor": 3000, "folder": 200,
}  # fmt: skip
"""Each reader, and how many inputs it gets where time is short."""

MOST_MEMORY = 700
"""MiB that the process may grow by: the 256 MiB that a small recording may unfold to, twice and a half."""


def fuzz(target: str, inputs: int, first: int, folder: Path) -> dict[str, object]:
    """Run the fuzzer in a process of its own -> its report.  A process that ends is a finding, with the number of the input."""
    progress = folder / "progress"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), *(part for part in sys.path if part)])
    with (folder / "printed").open("w+b") as printed:
        done = subprocess.run(
            [sys.executable, "-m", "hostile.fuzz", target, str(inputs), "--first", str(first), "--progress", str(progress)],
            stdout=subprocess.PIPE,
            stderr=printed,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": path},
            timeout=60 + inputs / 20,
            check=False,
        )
    if done.returncode:
        number = int.from_bytes(progress.read_bytes(), "little") if progress.exists() else None
        said = (folder / "printed").read_text(errors="replace")[-2000:]
        pytest.fail(f"{target}: the process ended with {done.returncode} at input {number}: {said}")
    return json.loads(done.stdout)


def check(report: dict) -> None:
    assert report["findings"] == {}, "to have one again: cd tests; python -m hostile.fuzz TARGET 1 --first NUMBER"
    assert report["mebibytes"] < MOST_MEMORY
    # the judge is judged: damage that is never noticed, or valid files that are refused, would test nothing
    assert 0.2 < report["refused"] / report["inputs"] < 0.999


@pytest.mark.parametrize("target", TARGETS)
def test_only_sew_errors_escape(target, tmp_path):
    check(fuzz(target, TARGETS[target], 0, tmp_path))


@pytest.mark.fuzz
@pytest.mark.parametrize("target", TARGETS)
def test_only_sew_errors_escape_for_long(target, tmp_path):
    inputs = int(os.environ.get("SEWNP_FUZZ_INPUTS", "100000"))
    counted = 0
    for first in range(0, inputs, BLOCK):
        report = fuzz(target, min(BLOCK, inputs - first), first, tmp_path)
        check(report)
        counted += report["inputs"]
    assert counted == inputs


def test_every_reader_is_fuzzed():
    """The table above is that of the fuzzer."""
    from hostile import fuzz

    assert list(fuzz.TARGETS) == list(TARGETS)


def test_the_same_number_makes_the_same_input():
    from hostile import fuzz

    seeds = [b'{"a": 1, "b": [1, 2, 3]}', b'{"c": {"d": "e"}}']
    first = [fuzz.make_input("config", number, seeds) for number in range(200)]
    random.seed(1)
    assert [fuzz.make_input("config", number, seeds) for number in range(200)] == first
    assert len(set(first)) > 150
    assert first[:2] == seeds


def test_the_fuzzer_finds_what_is_there(tmp_path):
    """A reader with four mistakes in it: another error, a long message, an escape sequence, and nothing wrong at all."""
    from hostile import fuzz

    from sewnp.errors import SewError

    class Raw(SewError):
        """One that says what it was told, which others take care not to."""

        def __init__(self, message):
            self.message = message

        def __str__(self):
            return self.message

    def read(data, _):
        if data == b"error":
            raise KeyError(data)
        if data != b"valid":
            raise Raw({b"long": "x" * 30_000, b"escape": "\x1b[2J", b"refused": "x: no"}[data])

    verdicts = {data: fuzz.verdict(read, data, tmp_path) for data in (b"valid", b"refused", b"error", b"long", b"escape")}
    assert verdicts.pop(b"valid") == (False, None)
    assert verdicts.pop(b"refused") == (True, None)
    assert [problem.split(":")[0].split(",")[0] for _, problem in verdicts.values()] == [
        "KeyError from read in test_fuzz.py",
        "a message of 30000 characters",
        "a message with characters that steer a terminal",
    ]
