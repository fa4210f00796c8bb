"""A model: configuration, weights, tokenizer and features tied together, ready to be called."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import Checkpoint, flatten, nest, read_checkpoint, write_checkpoint
from sewnp.checkpoints.hub import fetch, split_id
from sewnp.config import Config, SEWConfig, SEWDConfig
from sewnp.costs import attention_bytes
from sewnp.errors import AudioError, CheckpointError, ConfigError, InputError, TokenizerError
from sewnp.initialization import initial_weights
from sewnp.layers.masking import MASKINGS, Masking
from sewnp.layers.observe import unseen
from sewnp.layers.softmax import softmax
from sewnp.networks import Output, run, textbook_trunk
from sewnp.parameters import HEADS, Head, parameter_count
from sewnp.speech.audio import Source, as_waveform, check_rate, read_audio, resample, source_name
from sewnp.speech.features import Clip, FeatureExtractor, Features
from sewnp.speech.tokenizer import CTCTokenizer
from sewnp.speech.transcript import Transcript, transcript_from_logits
from sewnp.types import Array, See, Weights

EMBEDDED = ("digits", "digits-d", "digit-words")
"""The models that come with the package."""

_PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True, eq=False)
class Model:
    """SEW or SEW-D with its weights.  Made by ``sewnp.load`` and ``sewnp.from_config``."""

    config: Config
    weights: Weights
    """Nested dict of arrays with the checkpoint's own names: ``weights["lm_head"]["bias"]``."""
    head: Head | None
    masking: Masking = "any"
    feature_extractor: FeatureExtractor = field(default_factory=FeatureExtractor)
    tokenizer: CTCTokenizer | None = None
    name: str = "model"
    """What the model was loaded as."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: what the model computes in."""
        first: Array = self.weights[self.config.prefix]["layer_norm"]["weight"]
        return first.dtype

    def __call__(
        self,
        input_values: Array,
        attention_mask: npt.ArrayLike | None = None,
        labels: npt.ArrayLike | None = None,
        mask_time_indices: npt.ArrayLike | None = None,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        *,
        see: See = unseen,
    ) -> Output:
        """Run the network.  input_values: (B, n) floats, normalised as ``features`` does it, computed in the model's dtype.

        attention_mask: (B, n) of 1 for samples and 0 for padding.  labels: (B, S) token ids for CTC, -100 for padding; (B,) classes for
        classification.  mask_time_indices: (B, T) bool, frames to hide behind ``masked_spec_embed``.  see: shown every stage by name.

        Raises InputError for arrays of the wrong shape or dtype, NaN and infinities, clips shorter than ``config.minimum_samples``,
        and clips so long that attention would not fit into this machine's memory.
        """
        x = self._checked_input(_array("input_values", input_values))
        batch, samples = x.shape
        mask = None if attention_mask is None else _array("attention_mask", attention_mask)
        if mask is not None and mask.shape != x.shape:
            raise InputError(f"attention_mask: expected shape {x.shape}, found {mask.shape}")
        hidden = None if mask_time_indices is None else _array("mask_time_indices", mask_time_indices)
        if hidden is not None and hidden.shape != (batch, self.config.frames(samples)):
            raise InputError(f"mask_time_indices: expected shape {(batch, self.config.frames(samples))}, found {hidden.shape}")
        if hidden is not None and self.config.apply_spec_augment and "masked_spec_embed" not in self.weights[self.config.prefix]:
            raise InputError("mask_time_indices: this model has no masked_spec_embed (mask_time_prob and mask_feature_prob are 0)")
        trunk = textbook_trunk(self.config, self.weights[self.config.prefix], masking=self.masking)
        return run(
            trunk,
            self.weights,
            self.config,
            x,
            head=self.head,
            masking=self.masking,
            attention_mask=mask,
            labels=None if labels is None else _array("labels", labels),
            time_mask=None if hidden is None else hidden.astype(bool),
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            see=see,
        )

    def features(
        self, audio: Clip | Sequence[Clip], *, sampling_rate: int | None = None, attention_mask: bool | None = None
    ) -> Features:
        """Normalised, padded ``input_values`` and, where the model wants one, an ``attention_mask``.  See FeatureExtractor."""
        return self.feature_extractor(audio, sampling_rate=sampling_rate, attention_mask=attention_mask)

    def transcribe(self, audio: Source | Clip, *, sampling_rate: int | None = None) -> Transcript:
        """The words in a clip: greedy CTC decoding.  audio: a path, an open file, "-" for standard input, or samples (n,).

        sampling_rate: of samples given as an array, in Hz; by default the model's own.  A clip shorter than one squeezed frame has an
        empty text.  Raises AudioError for audio that cannot be used, naming it, and InputError for a model without a CTC head.
        """
        if self.head != "ctc":
            raise InputError(f"{self.name}: transcribing needs a CTC head, found {self.head or 'none'}")
        if self.tokenizer is None:
            raise TokenizerError(f"{self.name}: transcribing needs a vocab.json, which the checkpoint folder does not hold")
        waveform = self._waveform(audio, sampling_rate)
        rate = self.feature_extractor.sampling_rate
        logits = np.zeros((0, self.config.vocab_size), self.dtype)
        if len(waveform) >= self.config.minimum_samples:
            logits = self._logits(waveform, audio)[0]
        return transcript_from_logits(
            logits, self.tokenizer, seconds_per_frame=Fraction(self.config.hop, rate), duration=len(waveform) / rate
        )

    def classify(self, audio: Source | Clip, *, sampling_rate: int | None = None) -> list[tuple[str, float]]:
        """Labels with their probabilities, best first.  Arguments as ``transcribe``.

        Raises AudioError for audio that cannot be used or is too short, and InputError for a model without a classification head.
        """
        if self.head != "classification":
            raise InputError(f"{self.name}: classifying needs a classification head, found {self.head or 'none'}")
        waveform = self._waveform(audio, sampling_rate)
        if len(waveform) < self.config.minimum_samples:
            raise AudioError(
                f"{source_name(audio)}: expected at least {self.config.minimum_samples} samples, found {len(waveform)}"
            )
        scores = softmax(self._logits(waveform, audio))[0]
        return [(self.config.id2label[i], float(scores[i])) for i in np.argsort(-scores, kind="stable")]

    def flat_weights(self) -> dict[str, Array]:
        """The weights by the keys that transformers 5 writes: ``{"sew.encoder.layer_norm.weight": array, ...}``."""
        return flatten(self.weights)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder that transformers loads, in the model's dtype.  Raises CheckpointError when it cannot be written."""
        tokenizer = self.tokenizer
        checkpoint = Checkpoint(
            config=self.config,
            head=self.head,
            weights=self.flat_weights(),
            preprocessor=self.feature_extractor.to_dict(),
            vocab=None if tokenizer is None else tokenizer.vocab,
            tokenizer=None if tokenizer is None else tokenizer.config,
        )
        write_checkpoint(Path(folder), checkpoint)

    def _waveform(self, audio: Source | Clip, sampling_rate: int | None) -> Array:
        rate = self.feature_extractor.sampling_rate
        if isinstance(audio, str | os.PathLike) or hasattr(audio, "read"):
            if sampling_rate is not None:
                raise InputError("sampling_rate: expected only with samples; a file says its own rate")
            return read_audio(cast(Source, audio), sampling_rate=rate)
        return resample(as_waveform(audio), rate if sampling_rate is None else check_rate("sampling_rate", sampling_rate), rate)

    def _logits(self, waveform: Array, audio: object) -> Array:
        """Logits of one clip, run alone and without a mask; errors name the clip."""
        try:
            logits = self(self.features(waveform, attention_mask=False).input_values).logits
        except InputError as error:
            raise AudioError(f"{source_name(audio)}: {error}") from error
        assert logits is not None  # the caller has checked the head
        return logits

    def _checked_input(self, x: Array) -> Array:
        if x.ndim != 2 or x.dtype.kind != "f":
            raise InputError(f"input_values: expected floats of shape (batch, samples), found {x.dtype} of shape {x.shape}")
        batch, samples = x.shape
        if batch < 1 or samples < self.config.minimum_samples:
            raise InputError(
                f"input_values: expected at least 1 clip and {self.config.minimum_samples} samples, found shape {x.shape}"
            )
        needed = attention_bytes(self.config, samples, batch=batch, itemsize=self.dtype.itemsize)
        if needed > _memory():
            raise InputError(
                f"input_values: attention over {samples} samples at once needs about {needed / 2**30:.0f} GiB of memory, more than the"
                f" {_memory() / 2**30:.0f} GiB of this machine; split the clip"
            )
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and that is said below
            x = x.astype(self.dtype, copy=False)
        bad = np.count_nonzero(~np.isfinite(x))
        if bad:
            raise InputError(f"input_values: expected finite samples, found {bad} NaN or infinite ones in {self.dtype}")
        return x


def load(
    model: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    masking: Masking = "any",
    head: Head | Literal["auto"] | None = "auto",
    fresh_head_seed: int | None = None,
) -> Model:
    """Load an embedded model by name ("digits", "digits-d", "digit-words"), a checkpoint folder as transformers writes it, or a model of
    the Hugging Face hub by its id ("asapp/sew-tiny-100k-ft-ls100h"; extra ``hub``), whose files are kept in the hub's usual cache.

    What exists as a folder is one: "a/b" is asked of the hub only where there is no folder a/b.  A folder wins over an embedded name when it
    is spelled with a separator or holds config.json.  revision: a branch, tag or commit of a hub model, also written "name/name@revision".
    dtype: "float32" or "float64".  masking: the set of mask rules, "any" (transformers since 5.13) or "floor" (before).  head: "ctc",
    "classification", None for the base model; by default whatever the checkpoint holds.  fresh_head_seed: give the model a head, which
    ``head`` has to name, with fresh weights drawn from this seed.

    Raises CheckpointError and ConfigError naming file and key, ConfigError for unknown options, DependencyError without the extra.
    """
    _check_options(masking, head)
    if fresh_head_seed is not None and head not in HEADS:
        raise ConfigError(f"fresh_head_seed: expected together with head='ctc' or head='classification', found head={head!r}")
    kind = _float(dtype)
    folder, name = _folder(model, revision)  # the last of the checks: it may download
    checkpoint = read_checkpoint(folder, head=head, fresh_head_seed=fresh_head_seed, dtype=kind)
    return Model(
        config=checkpoint.config,
        weights=nest(checkpoint.weights),
        head=checkpoint.head,
        masking=masking,
        feature_extractor=_feature_extractor(folder, checkpoint),
        tokenizer=_tokenizer(folder, checkpoint),
        name=name,
    )


def from_config(
    config: Config,
    *,
    head: Head | None = "ctc",
    seed: int = 0,
    dtype: str | np.dtype[Any] | type[Any] = "float32",
    masking: Masking = "any",
) -> Model:
    """A model with fresh weights drawn from ``seed``, without a tokenizer.

    Raises ConfigError for unknown options, and for a configuration whose weights would not fit into this machine's memory.
    """
    _check_options(masking, head)
    if head not in (*HEADS, None) or not isinstance(config, (SEWConfig, SEWDConfig)):
        raise ConfigError(
            f"expected a SEWConfig or SEWDConfig and a head by name or None, found {type(config).__name__} and {head!r}"
        )
    _check_seed("seed", seed)
    count = parameter_count(config, head)
    if count * _float(dtype).itemsize > _memory():
        raise ConfigError(
            f"the configuration describes {count:,} parameters, more than fit into {_memory() / 2**30:.0f} GiB of memory"
        )
    return Model(
        config=config, weights=nest(initial_weights(config, head, seed=seed, dtype=_float(dtype))), head=head, masking=masking
    )


def transcribe(
    audio: Source | Clip, *, model: str | os.PathLike[str] | Model = "digits", sampling_rate: int | None = None
) -> Transcript:
    """The words in a clip, in one call.  To transcribe several, load the model once and use ``model.transcribe``."""
    ready = model if isinstance(model, Model) else load(model)
    return ready.transcribe(audio, sampling_rate=sampling_rate)


def _folder(model: str | os.PathLike[str], revision: str | None) -> tuple[Path, str]:
    """Where a model lies, and what to call it.  A model of the hub is downloaded first."""
    # a hub id has a separator like a path, and like a path that exists it is none
    found = split_id(model) if isinstance(model, str) and not os.path.exists(model) else None
    if found is not None:
        name, own = found
        if revision is not None and own is not None:
            raise ConfigError(f"revision: expected once, found {revision!r} beside {model!r}")
        return fetch(name, revision if own is None else own), name
    if revision is not None:
        raise ConfigError(f"revision: expected only with a hub id (name/name), found model={os.fspath(model)!r}")
    path = Path(os.path.expanduser(model))
    separators = {os.sep, os.altsep or os.sep}
    if not isinstance(model, str) or separators & set(model) or os.path.isfile(path / "config.json"):
        return path, path.resolve().name
    if model in EMBEDDED:
        return _PRETRAINED / model, model
    raise CheckpointError(
        f"{model}: no embedded model of that name ({', '.join(EMBEDDED)}), no folder with a config.json, and no hub id (name/name)"
    )


def _check_options(masking: str, head: str | None) -> None:
    if masking not in MASKINGS:
        raise ConfigError(f"masking: expected one of {MASKINGS}, found {masking!r}")
    if head not in (*HEADS, "auto", None):
        raise ConfigError(f"head: expected one of {HEADS} or None, found {head!r}")


def _check_seed(name: str, seed: object) -> None:
    if not isinstance(seed, int | np.integer) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(f"{name}: expected a whole number of 0 or more, found {seed!r}")


def _float(dtype: str | np.dtype[Any] | type[Any]) -> np.dtype[Any]:
    try:
        chosen = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except TypeError:
        chosen = None
    if chosen not in (np.float32, np.float64):
        raise ConfigError(f"dtype: expected 'float32' or 'float64', found {dtype!r}")
    return chosen


def _tokenizer(folder: Path, checkpoint: Checkpoint) -> CTCTokenizer | None:
    if checkpoint.vocab is None:
        return None
    try:
        files = (checkpoint.vocab, checkpoint.tokenizer, checkpoint.special_tokens, checkpoint.added_tokens)
        tokenizer = CTCTokenizer.from_files(*files)
    except TokenizerError as error:
        raise TokenizerError(f"{folder}: {error}") from error
    blank = checkpoint.config.pad_token_id
    if checkpoint.head == "ctc" and tokenizer.pad_token_id != blank:
        # the loss would learn one blank and the text be read with another
        said = f"the blank is pad_token_id {blank}, the tokenizer's pad token is {tokenizer.special['pad_token']!r:.80}"
        raise TokenizerError(f"{folder}: config.json says that {said} with id {tokenizer.pad_token_id}")
    return tokenizer


def _feature_extractor(folder: Path, checkpoint: Checkpoint) -> FeatureExtractor:
    try:
        return FeatureExtractor.from_dict({} if checkpoint.preprocessor is None else checkpoint.preprocessor)
    except ConfigError as error:
        raise ConfigError(f"{folder}: feature extractor: {error}") from error


def _array(name: str, x: npt.ArrayLike) -> Array:
    try:
        return np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: a tensor that wants its gradient
        raise InputError(f"{name}: expected an array, found {type(x).__name__} ({error})") from error


def _memory() -> int:
    """Bytes of memory in this machine; where the system does not say, more than any."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**63
