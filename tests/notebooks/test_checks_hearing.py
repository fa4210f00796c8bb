"""The clip that is misheard for certain."""

from types import SimpleNamespace

import numpy as np
import pytest
from checks.hearing import until_misheard

CLIP = np.sin(np.arange(16_000))


def listener(most):
    """A model that hears ONE TWO, and ONE TOO where the noise is louder than ``most`` of the clip."""

    def transcribe(waveform, *, decoder):
        assert decoder == "greedy"
        return SimpleNamespace(text="ONE TOO" if np.std(waveform - CLIP) > most * np.std(CLIP) else "ONE TWO")

    return SimpleNamespace(transcribe=transcribe)


@pytest.mark.parametrize(("most", "decibels"), [(0.0, 30), (0.1, 18), (0.9, 0)])
def test_the_first_noise_that_is_loud_enough(most, decibels):
    noisy, found = until_misheard(listener(most), CLIP)
    assert found == decibels
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(np.std(noisy - CLIP) / np.std(CLIP), 10 ** (-decibels / 20), rtol=0.05)
    assert np.array_equal(noisy, until_misheard(listener(most), CLIP)[0])


def test_who_never_mishears_is_told():
    with pytest.raises(ValueError, match="numbers only"):
        until_misheard(listener(np.inf), CLIP)
