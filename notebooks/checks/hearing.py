"""A clip that is misheard for certain, whatever the weights: some notebooks need a mistake to look into."""

import numpy as np

from sewnp.model import Model
from sewnp.training import mix
from sewnp.types import Array

NUMBERS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")


def until_misheard(model: Model, waveform: Array) -> tuple[Array, int]:
    """The clip under ever louder noise, until greedy reading spells what is no number, and by how many dB the noise is softer than the clip."""
    noise = np.random.default_rng(0).standard_normal(len(waveform))
    for decibels in range(30, -31, -3):
        noisy = mix(waveform, noise, decibels).astype(np.float32)
        if not set(model.transcribe(noisy, decoder="greedy").text.split()) <= set(NUMBERS):
            return noisy, decibels
    raise ValueError("the model spells numbers only, however loud the noise is")
