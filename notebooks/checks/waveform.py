"""Checks for the exercises of 01_from_pressure_to_numbers."""

from collections.abc import Callable

import numpy as np

from checks import array_of_shape, close, passed


def check_normalise(normalise: Callable) -> None:
    """Zero mean, unit variance, 1e-7 under the root."""
    samples = np.array([0.5, -0.25, 0.125, 0.75, -0.5])
    before = samples.copy()
    found = array_of_shape(normalise(samples), samples.shape)
    assert np.array_equal(samples, before), "your function changed the samples that it was given: make a new array instead"
    centred = samples - samples.mean()
    slips = {
        "the mean is subtracted, but nothing is divided yet": centred,
        "you divide by the variance; the standard deviation is its square root": centred / (samples.var() + 1e-7),
        "the mean is still in it: subtract it first": samples / np.sqrt(samples.var() + 1e-7),
        "you divide by n - 1 (ddof=1); the variance meant here divides by n": centred / np.sqrt(samples.var(ddof=1) + 1e-7),
        "you scale the largest sample to 1; divide by the standard deviation instead": centred / np.abs(centred).max(),
    }
    expected = centred / np.sqrt(samples.var() + 1e-7)
    for message, slip in slips.items():
        assert not close(found, slip, tolerance=1e-7) or close(slip, expected, tolerance=1e-7), message
    assert close(found, expected), f"mean {found.mean():.4f} and variance {found.var():.4f}, expected 0 and 1"

    quiet = samples * 1e-4  # variance 2e-9: here the 1e-7 counts
    found = array_of_shape(normalise(quiet), quiet.shape)
    centred = quiet - quiet.mean()
    assert not close(found, centred / quiet.std()), "right for loud clips; for a very quiet one the 1e-7 under the root is missing"
    assert not close(found, centred / (quiet.std() + 1e-7)), "1e-7 belongs to the variance, under the root, not to its root"
    assert close(found, centred / np.sqrt(quiet.var() + 1e-7)), (
        "right for loud clips, but not for a very quiet one: add 1e-7 to the variance"
    )
    array_of_shape(normalise(np.zeros(4)), (4,), what="what silence becomes")
    passed("zero mean, unit variance, and silence stays silence")


def check_alias(alias: Callable) -> None:
    """Frequencies fold at half the sampling rate."""
    cases = [(1000, 8000), (7000, 8000), (9000, 8000), (15000, 8000), (4000, 8000), (8000, 8000), (30000, 16000), (10000, 16000)]
    for frequency, rate in cases:
        turn = frequency % rate
        expected = min(turn, rate - turn)
        found = alias(frequency, rate)
        assert found is not None, "the result is None: is a return missing?"
        asked = f"{frequency:,} Hz at {rate:,} samples a second"
        if found == expected:
            continue
        assert found != frequency, (
            f"{asked}: {found:,} Hz is above {rate // 2:,} Hz, half the sampling rate, which no samples can show"
        )
        assert found != -expected, (
            f"{asked}: {found:,} Hz is negative; a wave that turns backwards looks like one that turns forwards"
        )
        assert found != turn, (
            f"{asked}: you took off whole turns, found {found:,} Hz, but that is still above half the sampling rate"
        )
        assert found != frequency % (rate / 2), (
            f"{asked}: found {found:,} Hz; at half the sampling rate frequencies do not start again at 0, they turn back"
        )
        raise AssertionError(f"{asked}: expected {expected:,} Hz, found {found:,} Hz")
    passed("frequencies fold at half the sampling rate, again and again")


def check_mix(mix: Callable) -> None:
    """The ratio of the powers is what was asked for."""
    rng = np.random.default_rng(0)
    speech, noise = 0.3 * rng.standard_normal(4000), 2.0 * rng.standard_normal(4000)
    power = np.mean(speech**2)
    for decibels in (20, 0, -7):
        before = speech.copy(), noise.copy()
        found = array_of_shape(mix(speech, noise, decibels), speech.shape)
        assert np.array_equal(speech, before[0]) and np.array_equal(noise, before[1]), (  # noqa: PT018
            "your function changed what it was given: make a new array instead"
        )
        added = found - speech
        scale = added @ noise / (noise @ noise)
        assert np.allclose(added, scale * noise, atol=1e-6), (
            "what is left after subtracting the speech is not the noise times a number: the speech should stay as it is"
        )
        assert abs(scale) > 1e-12, "there is no noise in the sum"
        ratio = 10 * np.log10(power / np.mean(added**2))
        if abs(ratio - decibels) < 1e-3:
            continue
        asked = f"asked for {decibels} dB, found {ratio:.1f} dB"
        assert not np.isclose(scale, 10 ** (-decibels / 20)), (
            f"{asked}: the strength of speech and noise as they came in is ignored"
        )
        assert not np.isclose(ratio, -decibels, atol=1e-3), f"{asked}: the ratio is upside down"
        assert not np.isclose(ratio, 2 * decibels, atol=1e-3), (
            f"{asked}: samples are scaled by the square root of what the power is to be scaled by"
        )
        assert not np.isclose(ratio, decibels / 2, atol=1e-3), f"{asked}: a factor of ten in power is 10 dB, not 20"
        raise AssertionError(f"{asked}")
    passed("the noise is as strong as asked for")
