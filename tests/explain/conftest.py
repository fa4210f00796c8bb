"""Clips explained once, and a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.explain import Page
from sewnp.speech import read_audio
from sewnp.types import Array


@pytest.fixture(scope="session")
def second(clips: Path) -> Array:
    """A second: THREE ONE FOUR.  An odd number of frames, 59."""
    return read_audio(clips / "three_one_four.wav")[:19200]


@pytest.fixture(scope="session")
def page(digits: sewnp.Model, second: Array) -> Page:
    return digits.explain(second)


@pytest.fixture(scope="session")
def digits_d() -> sewnp.Model:
    """The embedded SEW-D model."""
    return sewnp.load("digits-d")


@pytest.fixture(scope="session")
def page_d(digits_d: sewnp.Model, second: Array) -> Page:
    return digits_d.explain(second, layers=[0, 5], text="three one four")


@pytest.fixture(scope="session")
def long_page(digits_d: sewnp.Model, clips: Path) -> Page:
    """Half a minute, with one word's gradient: a pass back through so much sound takes its time."""
    from sewnp.explain import reading

    before = reading.SECONDS
    reading.SECONDS = 0.0
    try:
        return digits_d.explain(np.tile(read_audio(clips / "three_one_four.wav"), 10))
    finally:
        reading.SECONDS = before


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, as the system has it.  Where it is missing the tests say so and are skipped, which fails in CI."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api", reason="needs the extra test, for playwright")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])  # CI is root
        yield chromium
        chromium.close()
