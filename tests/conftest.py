"""What the whole suite shares."""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sewnp

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks the hub for anything


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of the shipped clips."""
    return Path(__file__).parent / "clips"


@pytest.fixture(scope="session")
def digits() -> sewnp.Model:
    """The embedded SEW model."""
    return sewnp.load("digits")


ORIGINALS = {"torch", "transformers"}
"""What this is judged by.  Where they are not installed the rest runs, and the summary says what was left out."""


def left_out(error: BaseException | None, path: Path) -> tuple[str, None, str] | None:
    """Why a test that imports an original could not run.  (What ``sewnp`` itself imports is never an excuse.)"""
    if not isinstance(error, ModuleNotFoundError) or error.name not in ORIGINALS:
        return None
    *_, innermost = traceback.extract_tb(error.__traceback__)
    if Path(__file__).parent not in Path(innermost.filename).parents:
        return None
    return str(path), None, f"needs {error.name}, which is not installed"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """A file of tests that imports an original at its top."""
    report = yield
    excinfo = report.call.excinfo
    reason = None if excinfo is None else left_out(excinfo.value.__cause__, collector.path)
    if reason is not None:
        report.outcome, report.longrepr = "skipped", reason
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """In CI a skipped test is a failed one: a parity test that does not run claims nothing."""
    report = yield
    reason = None if call.excinfo is None else left_out(call.excinfo.value, item.path)
    if reason is not None:
        report.outcome, report.longrepr = "skipped", reason
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
