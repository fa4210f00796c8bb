"""The judge of the capstone in 15_sew_on_one_page: three cases of the conformance suite, and ``sewnp check``."""

import atexit
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from checks import passed
from sewnp.suite import cases, layout
from sewnp.suite.case_files import write_case

CASES = ("sew-squeeze-2-rest-1-even-kernel", "sew-d-odd-buckets", "sew-weighted")
"""A padded batch with layer norms, an even kernel and an odd tail; distances in buckets; classes from mixed layers."""


def check_port(port: Callable[[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]], Any]) -> None:
    """port(inputs, weights, config): a case's inputs and weights by name, and its config.json -> its stages by name, logits among them."""
    suite = _suite()
    with TemporaryDirectory() as results:
        for case in CASES:
            there = suite / "cases" / case
            inputs, weights = load_file(there / "inputs.safetensors"), load_file(there / "model.safetensors")
            config = json.loads((there / "config.json").read_text(encoding="utf-8"))
            save_file(_answers(case, _called(case, port, inputs, weights, config)), Path(results) / f"{case}.safetensors")
        judge = [sys.executable, "-m", "sewnp", "check", str(suite), results, "--cases", *CASES]
        judged = subprocess.run(judge, capture_output=True, encoding="utf-8", check=False)
    if judged.returncode == 2:
        raise AssertionError(judged.stderr.strip())
    print(judged.stdout.strip())
    assert judged.returncode == 0, "sewnp check says where each case goes wrong first: look at the lines above"
    passed("a SEW and a SEW-D of your own")


@cache
def _suite() -> Path:
    """As much of the suite as is needed, written once, in a folder that goes with this program."""
    there, chosen = Path(mkdtemp()), [case for case in cases.CASES if case.name in CASES]
    atexit.register(shutil.rmtree, there, ignore_errors=True)
    entries = [write_case(case, there / layout.CASES_FOLDER / case.name, 0) for case in chosen]
    head = {"format": layout.FORMAT, "version": layout.FORMAT_VERSION}
    layout.write_lines(there / layout.MANIFEST, head | {"cases": entries})
    return there


def _called(case: str, port: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return port(*arguments)
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise AssertionError(f"with {case} it stops with {type(error).__name__}: {error}") from error


def _answers(case: str, found: Any) -> dict[str, np.ndarray]:
    assert found is not None, f"with {case} the result is None: is a return missing?"
    assert isinstance(found, Mapping), f"with {case}: expected a dict of stages by name, found {type(found).__name__}"
    try:
        return {str(name): np.ascontiguousarray(value) for name, value in found.items()}
    except ValueError as error:
        raise AssertionError(f"with {case}: {error}") from error
