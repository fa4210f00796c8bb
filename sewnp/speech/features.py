"""From a waveform to what the network takes: zero mean, unit variance, clips padded to one length.

The twin of ``Wav2Vec2FeatureExtractor`` of transformers 5.23, bit for bit on float32 and float64 at the model's own rate.  Better
on purpose: sound at another rate is resampled (there: an error), integers and float16 give float32 (there: float64 and float16),
and padding on the left is refused (there: with a mask, the statistics come from the wrong samples).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sewnp.decoding import BeamSearch
from sewnp.errors import ConfigError, InputError, brief, check_whole
from sewnp.speech.audio import HIGHEST_RATE, Samples, as_waveform, check_rate
from sewnp.speech.own_keys import own_keys
from sewnp.speech.resampling import resample
from sewnp.types import Array

VARIANCE_EPS = 1e-7
"""What is added to the variance of a waveform before it is divided by the root of it."""


class Features(NamedTuple):
    """What a model is called with."""

    input_values: Array
    """(B, n) float32, right-padded to the longest clip."""
    attention_mask: Array | None
    """(B, n) int32, ones for samples and zeros for padding; None unless asked for."""


@dataclass(frozen=True)
class FeatureExtractor:
    """preprocessor_config.json: how a model was fed when it was trained.  Raises ConfigError, naming field and value, for nonsense.

    Models that normalise their first convolution over groups (``feat_extract_norm="group"``) were trained without mask, on padding
    that the normalisation had shifted away from zero; those with layer norm want the mask.  ``return_attention_mask`` says which.
    """

    sampling_rate: int = 16000
    """Hz."""
    padding_value: float = 0.0
    padding_side: str = "right"
    return_attention_mask: bool = False
    do_normalize: bool = True
    feature_size: int = 1
    extra: Mapping[str, Any] = field(default_factory=dict)
    """The keys of the file that mean nothing here, kept for :meth:`to_dict`."""

    def __post_init__(self) -> None:
        value = self.padding_value.item() if isinstance(self.padding_value, np.integer | np.floating) else self.padding_value
        rate = check_whole("sampling_rate", self.sampling_rate, 1, HIGHEST_RATE, error=ConfigError)
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= _LARGEST:
            raise ConfigError(f"padding_value: expected a finite float32, found {brief(value)}")
        for name in ("return_attention_mask", "do_normalize"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name}: expected true or false, found {brief(getattr(self, name))}")
        if self.feature_size != 1:
            raise ConfigError(f"feature_size: expected 1, a waveform, found {brief(self.feature_size)}")
        if self.padding_side != "right":
            raise ConfigError(
                f"padding_side: expected 'right', found {brief(self.padding_side)}; padding on the left is not built, because in"
                " transformers it normalises with the padding and overwrites the clip's end"
            )
        own_keys(self.extra)
        held = {key: kept for key, kept in self.extra.items() if _KIND.get(key) != kept}
        for name, plain in {"sampling_rate": rate, "padding_value": value, "feature_size": 1, "extra": held}.items():
            object.__setattr__(self, name, plain)  # NumPy's numbers are none for JSON

    @property
    def segment(self) -> bool:
        """Whether recordings are cut at their pauses before they are transcribed: ``"sewnp": {"segment": true}`` in the file, a key of ours."""
        return bool(own_keys(self.extra).segment)

    @property
    def decoder(self) -> BeamSearch | None:
        """The search for the words that the file lists: ``"words": ["ZERO", ...], "unknown_margin": 5`` beside ``segment``."""
        own = own_keys(self.extra)
        if own.words is None:
            return None
        return BeamSearch(words=own.words, unknown_margin=math.inf if own.unknown_margin is None else own.unknown_margin)

    @classmethod
    def from_dict(cls, config: Mapping[str, Any]) -> "FeatureExtractor":
        """From the content of preprocessor_config.json, or of ``feature_extractor`` in processor_config.json."""
        if not isinstance(config, Mapping):
            raise ConfigError(f"preprocessor_config.json: expected an object, found {type(config).__name__}")
        known = {key: config[key] for key in _FIELDS if key in config}
        return cls(**known, extra={key: value for key, value in config.items() if key not in known})

    def to_dict(self) -> dict[str, Any]:
        """The content of preprocessor_config.json; what :meth:`from_dict` was given comes back whole."""
        return _KIND | dict(self.extra) | {key: getattr(self, key) for key in _FIELDS}

    def __call__(
        self, audio: Samples | Sequence[Samples], *, sampling_rate: int | None = None, attention_mask: bool | None = None
    ) -> Features:
        """One clip, (n,), or a list of B clips -> :class:`Features`.  Clips are what :func:`~sewnp.speech.audio.as_waveform` takes.

        ``sampling_rate`` is the clips' rate in Hz: other rates than the model's are resampled; None means the model's own.
        ``attention_mask`` asks for the mask or declines it; None leaves that to ``return_attention_mask``.

        Raises AudioError for clips that cannot be used, naming the clip, and InputError for other arguments.
        """
        if attention_mask is not None and not isinstance(attention_mask, bool):
            raise InputError(f"attention_mask: expected True, False or None, found {type(attention_mask).__name__}")
        rate = self.sampling_rate if sampling_rate is None else check_rate("sampling_rate", sampling_rate)
        clips: dict[str, Any] = {f"audio[{i}]": clip for i, clip in enumerate(audio)} if _is_batch(audio) else {"audio": audio}
        waveforms = [resample(as_waveform(clip, name=name), rate, self.sampling_rate) for name, clip in clips.items()]
        masked = self.return_attention_mask if attention_mask is None else attention_mask

        lengths = np.array([len(x) for x in waveforms])
        longest = int(lengths.max())
        padded = [np.pad(x, (0, longest - len(x)), constant_values=self.padding_value) for x in waveforms]
        if self.do_normalize:
            # Without a mask nobody can tell the padding from the clip, so it is normalised along and no longer is padding_value.
            known = lengths.tolist() if masked else [longest] * len(padded)
            padded = [self._normalize(x, length) for x, length in zip(padded, known, strict=True)]
        mask = (np.arange(longest) < lengths[:, None]).astype(np.int32) if masked else None
        return Features(np.stack(padded), mask)

    def _normalize(self, x: Array, length: int) -> Array:
        """Zero mean and unit variance over the first ``length`` samples, padding_value after them.  (n,) -> (n,) float32"""
        mean, variance = x[:length].mean(), x[:length].var()
        normal: Array = (x - mean) / np.sqrt(variance + VARIANCE_EPS)
        normal[length:] = self.padding_value
        return normal


_KIND = {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}
"""What transformers calls this."""
_LARGEST = float(np.finfo(np.float32).max)
_FIELDS = ("do_normalize", "feature_size", "padding_side", "padding_value", "return_attention_mask", "sampling_rate")


def _is_batch(audio: Any) -> bool:
    """A list or tuple of clips, as opposed to one clip, be it an array or a list of numbers."""
    return (
        isinstance(audio, list | tuple)
        and len(audio) > 0
        and (isinstance(audio[0], list | tuple) or getattr(audio[0], "ndim", 0) > 0)
    )
