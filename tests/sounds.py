"""Sounds to test with, and files of them."""

import io
from typing import Any

import numpy as np
import soundfile


def noise(*shape: int, seed: int = 0) -> Any:
    """White noise at a tenth of full scale, never clipped, in float32."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).clip(-1, 0.99).astype(np.float32)


def encoded(x: Any, rate: int = 16000, **kind: str) -> bytes:
    """A file of the sound.  kind: ``format`` and ``subtype`` as soundfile takes them."""
    file = io.BytesIO()
    soundfile.write(file, x, rate, **kind)
    return file.getvalue()
