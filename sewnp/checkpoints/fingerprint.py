"""Which model is it?"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from sewnp.config import Config
from sewnp.parameters import Head
from sewnp.types import Array


def fingerprint(config: Config, head: Head | None, weights: Mapping[str, Array]) -> str:
    """A hash of what a model computes: family, head, configuration and weights, by their keys.  The same in float32 and float64."""
    digest = hashlib.sha256()
    digest.update(json.dumps([replace(config, extra={}).to_dict(), head], sort_keys=True).encode())
    for name, weight in sorted(weights.items()):
        digest.update(f"{name} {weight.shape} ".encode())
        digest.update(np.ascontiguousarray(weight, dtype=np.float32).tobytes())
    return digest.hexdigest()
