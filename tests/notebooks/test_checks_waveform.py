"""The checks of notebook 01 accept what is right and name what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from checks.waveform import check_alias, check_mix, check_normalise


def normalise(x: Any) -> Any:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-7)


def alias(frequency: int, rate: int) -> int:
    return min(frequency % rate, -frequency % rate)


def mix(speech: Any, noise: Any, decibels: float) -> Any:
    return speech + noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (decibels / 10))


def normalise_in_place(x: Any) -> Any:
    x -= x.mean()
    return x / np.sqrt(x.var() + 1e-7)


@pytest.mark.parametrize(("check", "solution"), [(check_normalise, normalise), (check_alias, alias), (check_mix, mix)])
def test_solutions_pass(check: Callable, solution: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    check(solution)
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: None, "is a return missing"),
        (normalise_in_place, "changed the samples"),
        (lambda x: x - x.mean(), "nothing is divided yet"),
        (lambda x: (x - x.mean()) / (x.var() + 1e-7), "you divide by the variance"),
        (lambda x: x / np.sqrt(x.var() + 1e-7), "the mean is still in it"),
        (lambda x: (x - x.mean()) / np.sqrt(x.var(ddof=1) + 1e-7), "ddof=1"),
        (lambda x: (x - x.mean()) / np.abs(x - x.mean()).max(), "largest sample"),
        (lambda x: (x - x.mean()) / max(x.std(), 1e-300), "the 1e-7 under the root is missing"),
        (lambda x: (x - x.mean()) / (x.std() + 1e-7), "not to its root"),
        (lambda x: (x - x.mean()) / np.sqrt(x.var() + 1e-5), "add 1e-7 to the variance|expected 0 and 1"),
        (lambda x: normalise(x)[None], r"shape \(1, 5\), expected \(5,\)"),
    ],
)
def test_wrong_normalisations_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_normalise(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda f, r: f, "above 4,000 Hz, half the sampling rate"),
        (lambda f, r: f % r, "you took off whole turns|above 4,000 Hz"),
        (lambda f, r: f % (r / 2), "they turn back"),
        (lambda f, r: r - f if f > r / 2 else f, "negative"),
        (lambda f, r: 0, "expected 1,000 Hz, found 0 Hz"),
    ],
)
def test_wrong_aliases_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_alias(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s, n, d: s + n * 10 ** (-d / 20), "as they came in is ignored"),
        (lambda s, n, d: mix(s, n, -d), "upside down"),
        (lambda s, n, d: mix(s, n, 2 * d), "square root"),
        (lambda s, n, d: mix(s, n, d / 2), "not 20"),
        (lambda s, n, d: mix(s, n, d) * 0.5, "the speech should stay as it is"),
        (lambda s, n, d: s.copy(), "no noise"),
    ],
)
def test_wrong_mixtures_are_named(wrong: Callable, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_mix(wrong)
