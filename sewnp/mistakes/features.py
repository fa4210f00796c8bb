"""Known mistakes before the network: waveforms normalised and padded otherwise."""

from collections.abc import Sequence

import numpy as np

from sewnp.mistakes.stage_run import Mistakes
from sewnp.speech.features import VARIANCE_EPS, FeatureExtractor
from sewnp.types import Array


def features(clips: Sequence[Array], extractor: FeatureExtractor) -> Mistakes:
    """What ``input_values`` become.  clips: (n,) each."""
    lengths = [len(clip) for clip in clips]
    longest, value, masked = max(lengths), extractor.padding_value, extractor.return_attention_mask

    def rows(*, ddof: int = 0, eps: float = VARIANCE_EPS, outside: float = 0.0, mean: bool = True, masked: bool = masked) -> Array:
        made = []
        for clip in clips:
            row = np.pad(clip.astype(np.float64), (0, longest - len(clip)), constant_values=value)
            known = row[: len(clip)] if masked else row
            row = (row - (known.mean() if mean else 0.0)) / (np.sqrt(known.var(ddof=ddof) + eps) + outside)
            row[len(known) :] = value
            made.append(row)
        return np.stack(made)

    plain = np.stack([np.pad(clip.astype(np.float64), (0, longest - len(clip)), constant_values=value) for clip in clips])
    if not extractor.do_normalize:
        yield "normalised although do_normalize is false", rows()
        return
    yield "not normalised", plain
    if longest > 1:
        yield "variance over n - 1 instead of n", rows(ddof=1)
    yield "mean not subtracted", rows(mean=False)
    yield "no epsilon", rows(eps=0.0)
    yield f"epsilon outside the root: divided by the deviation plus {VARIANCE_EPS:g}", rows(eps=0.0, outside=VARIANCE_EPS)
    yield "epsilon 1e-5 instead of 1e-7", rows(eps=1e-5)
    if len(set(lengths)) > 1:
        said = "padding in the statistics" if masked else "padding left out of the statistics, which know no mask"
        yield said, rows(masked=not masked)
    joined = np.concatenate(clips).astype(np.float64)
    if len(clips) > 1:
        yield "statistics over the whole batch", (plain - joined.mean()) / np.sqrt(joined.var() + VARIANCE_EPS)
