"""A model: configuration, weights, tokenizer and features tied together, ready to be called."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import Checkpoint, fingerprint, flatten, write_checkpoint
from sewnp.config import Config
from sewnp.decoding import BeamSearch
from sewnp.errors import AudioError, InputError, check_whole, printable
from sewnp.explain import explain
from sewnp.fast import ClipGradients, Engine, FastTrunk, HeldWeights, limited, number_count, packed
from sewnp.gradients import ClipGradient, Dropout, Gradients, compute_gradients, plain_clip_gradients
from sewnp.inputs import about, as_array, calmly, check_arguments, check_channels
from sewnp.layers.masking import Masking
from sewnp.layers.observe import unseen, unseen_vjp
from sewnp.long import Progress, alone, quietly
from sewnp.networks import Moments, Output, Parts, TextbookParts, ctc_logits, fold_statistics, run
from sewnp.parameters import Head
from sewnp.speech import CTCTokenizer, FeatureExtractor, Features, Labels, Recording, open_recording, spell
from sewnp.speech.alignment import Alignment, align_logits
from sewnp.speech.audio import Audio, Samples, audio_name
from sewnp.speech.given import each_with_its_text, one_or_several
from sewnp.speech.labels import labels_from_logits
from sewnp.speech.tokenizer import ctc_tokenizer
from sewnp.speech.transcript import Transcript
from sewnp.streaming import stream
from sewnp.transcribing import recording_steps, transcription
from sewnp.types import Array, See, SeeVjp, Weights


@dataclass(frozen=True, eq=False, repr=False)
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
    engine: Engine = "textbook"
    """"textbook": the plain layers, in float32 or float64.  "fast": their twin, in float32, where nobody looks.  At its first call it lays out the
    layers' weights in an order of its own and keeps no others; ``weights`` are then put together anew whenever they are asked for."""
    threads: int | None = None
    """How many the fast engine computes with; by default SEWNP_THREADS, or one a processor up to four."""

    def __getstate__(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self)}  # without the packed twin, which is made again

    def __repr__(self) -> str:
        family = "SEW-D" if self.config.model_type == "sew-d" else "SEW"
        size, head = number_count(self._held), f"{self.head} head" if self.head else "no head"
        return f"<sewnp.Model {printable(self.name)}: {family}, {head}, {size:,} parameters, {self.dtype}, {self.engine} engine>"

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64: what the model computes in."""
        first: Array = self._held[self.config.prefix]["layer_norm"]["weight"]
        return first.dtype

    @calmly
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
        classification.  mask_time_indices: (B, T) bool, frames to hide behind ``masked_spec_embed``.  see: shown every stage by name; what it
        returns is what the network goes on with.  Whoever looks gets the textbook: with ``see`` or ``output_attentions`` the plain layers run,
        whatever the engine.

        Raises InputError for arrays of the wrong shape or dtype, NaN and infinities, clips shorter than ``config.minimum_samples``,
        and clips so long that attention would not fit into this machine's memory.
        """
        looked_at = see is not unseen or output_attentions
        x, mask, hidden = self._checked(
            input_values, attention_mask, mask_time_indices, looked_at=looked_at, kept=int(output_attentions)
        )
        forward = partial(
            run,
            self.weights if looked_at else self._held,
            self.config,
            x,
            head=self.head,
            fast=None if self.engine == "textbook" or looked_at else self._fast,
            masking=self.masking,
            attention_mask=mask,
            labels=None if labels is None else as_array("labels", labels),
            time_mask=hidden,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            see=see,
        )
        return forward() if self.engine == "textbook" or looked_at else limited(lambda stop: forward())

    @calmly
    def gradients(
        self,
        input_values: Array,
        labels: npt.ArrayLike,
        attention_mask: npt.ArrayLike | None = None,
        mask_time_indices: npt.ArrayLike | None = None,
        *,
        mask_feature_indices: npt.ArrayLike | None = None,
        skip_layers: Collection[int] = (),
        dropout: Dropout = None,
        freeze: str | Iterable[str] = (),
        input_gradient: bool = False,
        see: SeeVjp = unseen_vjp,
    ) -> Gradients:
        """The loss and its gradients, by the plain layers.  Arrays as for calling the model.

        mask_feature_indices: (B, H) bool, channels set to 0 before the encoder (SpecAugment).  skip_layers: numbers of layers to leave out
        (LayerDrop).  dropout: a generator, to drop at the configuration's rates; or factors, such as 0 and 1 / (1 - p), by a stage's name or
        a pattern with * and ?.  freeze: what gets no gradients: "feature_encoder" (the convolutions), "base" (the base model; both cost no
        backward work), names as ``flat_weights`` spells them or their beginnings.  input_gradient: also that by ``input_values``.  see: returns
        what the network goes on with and the pullback of what it did; gradients are by the value that the network went on with.

        Raises InputError for a model without a head, ``skip_layers`` of a head that mixes all layers, and names that nothing has.
        """
        x, mask, hidden = self._checked(input_values, attention_mask, mask_time_indices, looked_at=True, kept=1)
        return compute_gradients(
            self.weights,
            self.config,
            x,
            as_array("labels", labels),
            head=self.head,
            masking=self.masking,
            attention_mask=mask,
            time_mask=hidden,
            feature_mask=check_channels(self.config, len(x), mask_feature_indices),
            skip_layers=skip_layers,
            dropout=dropout,
            freeze=freeze,
            input_gradient=input_gradient,
            see=see,
        )

    def clip_gradients(self, freeze: str | Iterable[str] = (), *, reuse: ClipGradient | None = None) -> ClipGradient:
        """What tells a clip's loss and flat gradients, for one clip after another and for threads with a clip each: a training step's work.

        To be called as :class:`sewnp.fast.ClipGradients` is, which it is for the fast engine; for the textbook, the same from ``gradients``.
        reuse: what the model of the step before gave.
        """
        if self.engine == "fast":
            earlier = reuse if isinstance(reuse, ClipGradients) else None
            return ClipGradients(self.config, self.weights, self.head, freeze, reuse=earlier)
        return plain_clip_gradients(self.gradients, freeze)

    @calmly
    def features(
        self, audio: Samples | Sequence[Samples], *, sampling_rate: int | None = None, attention_mask: bool | None = None
    ) -> Features:
        """Normalised, padded ``input_values`` and, where the model wants one, an ``attention_mask``.  See FeatureExtractor."""
        return self.feature_extractor(audio, sampling_rate=sampling_rate, attention_mask=attention_mask)

    @one_or_several
    @calmly
    def transcribe(
        self,
        audio: Audio,
        *,
        sampling_rate: int | None = None,
        window: float | None = None,
        overlap: float | tuple[float, float] | None = None,
        compat: Literal["transformers"] | None = None,
        decoder: BeamSearch | Literal["greedy"] | None = None,
        segment: bool | None = None,
        progress: Progress | None = None,
        allow_truncated: bool = False,
    ) -> Transcript:
        """The words in a clip of any length: by ``decoder``, a search or "greedy"; else by that for the folder's words, where it lists any.

        audio: a path, an open file, "-" for standard input, the bytes of a file, samples (n,), or a dict of samples ("array" or "raw") and
        their "sampling_rate".  A list of clips has a list of transcripts.
        sampling_rate: of an array, in Hz; by default the model's own.  A clip shorter than one squeezed frame has an empty text.  progress:
        called with the seconds done and in all, None while nobody knows.  allow_truncated: of a damaged file what is there, with an AudioWarning.

        segment: cut at pauses (:mod:`sewnp.speech.segmentation`), and run each piece as a clip of its own; by default where the model's
        folder asks for it.  Times stay those of the recording, and a clip that is one piece gives the same either way.

        window, overlap: a clip of more than ``window`` seconds (30) is read in blocks, normalised and convolved as the whole that it is;
        attention alone sees a window at a time, of which the ``overlap`` (3) seconds at inner edges are left to the neighbour.  Memory does
        not grow with the clip, the logits excepted.  compat="transformers": cut as transformers' speech recognition pipeline does, each
        chunk normalised by itself; window is its ``chunk_length_s`` (none: all in one piece) and overlap its ``stride_length_s`` (a sixth of
        the chunk; or (left, right)), and a clip or chunk that is too short is an error; greedily decoded.

        Raises AudioError for audio that cannot be used, naming it, and InputError for a model without a CTC head and other arguments.
        """
        steps = transcription(
            self, audio, sampling_rate=sampling_rate, window=window, overlap=overlap, compat=compat, decoder=decoder, segment=segment,
            progress=progress, allow_truncated=allow_truncated,
        )  # fmt: skip
        return alone(steps, partial(self._logits, audio))

    stream = stream
    """Transcripts of sound that is still arriving: see :func:`sewnp.streaming.stream`."""

    @calmly
    def recording_logits(
        self,
        recording: Recording,
        *,
        window: float | None = None,
        overlap: float | tuple[float, float] | None = None,
        segment: bool | None = False,
        progress: Progress = quietly,
    ) -> tuple[Array, int]:
        """Logits (T, V) of a recording of any length at the model's rate, and its samples.  Arguments as for ``transcribe``."""
        steps = recording_steps(self, recording, window=window, overlap=overlap, segment=segment, progress=progress)
        return alone(steps, partial(self._logits, recording.name))

    @each_with_its_text
    @calmly
    def align(self, audio: Audio, text: str, *, sampling_rate: int | None = None, allow_truncated: bool = False) -> Alignment:
        """When each word and character of a text was said: CTC forced alignment.  audio, sampling_rate, long clips: as for ``transcribe``;
        a list of clips with a list of texts.  A word "*" stands for whatever is said there, for as long as it takes.

        Raises AudioError for audio that cannot be used, naming it, TokenizerError for a text that the vocabulary cannot spell, saying
        which characters and where, InputError for a text that does not fit into the clip and for a model without a CTC head.
        """
        tokenizer, rate = ctc_tokenizer(self, "aligning"), self.feature_extractor.sampling_rate
        # what cannot be spelled is said before the network runs
        spell(text, tokenizer, vocab_size=self.config.vocab_size, wildcard=True)
        with open_recording(audio, target=rate, sampling_rate=sampling_rate, allow_truncated=allow_truncated) as recording:
            logits, samples = self.recording_logits(recording)
        frame, duration = Fraction(self.config.hop, rate), samples / rate
        with about(recording.name):
            return align_logits(logits, text, tokenizer, seconds_per_frame=frame, duration=duration)

    @one_or_several
    @calmly
    def classify(
        self, audio: Audio, *, top_k: int | None = None, sampling_rate: int | None = None, allow_truncated: bool = False
    ) -> Labels:
        """Labels with their probabilities, best first; the ``top_k`` best, or all.  Other arguments as ``transcribe``.

        Raises AudioError for audio that cannot be used or is too short, and InputError for a model without a classification head.
        """
        if self.head != "classification":
            raise InputError(f"{printable(self.name)}: classifying needs a classification head, found {self.head or 'none'}")
        rate = self.feature_extractor.sampling_rate
        with open_recording(audio, target=rate, sampling_rate=sampling_rate, allow_truncated=allow_truncated) as recording:
            waveform = recording.read()
        if top_k is not None:
            check_whole("top_k", top_k, 1)
        if len(waveform) < self.config.minimum_samples:
            raise AudioError(f"{audio_name(audio)}: expected at least {self.config.minimum_samples} samples, found {len(waveform)}")
        with about(audio_name(audio)):
            logits, duration = self._logits(audio, waveform), len(waveform) / rate
            return labels_from_logits(logits, self.config.id2label, duration=duration, top_k=top_k)

    explain = explain
    """A clip's whole way through the network on one interactive page: see :func:`sewnp.explain.explain`."""

    def flat_weights(self) -> dict[str, Array]:
        """The weights by the keys that transformers 5 writes: ``{"sew.encoder.layer_norm.weight": array, ...}``."""
        return flatten(self.weights)

    def fingerprint(self) -> str:
        """A hash of what the model computes: its family, head, configuration and weights.  The same in float32 and float64."""
        return fingerprint(self.config, self.head, self.flat_weights())

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write a checkpoint folder that transformers loads, in the model's dtype.  Raises CheckpointError when it cannot be written."""
        tokenizer = self.tokenizer
        held = {} if tokenizer is None else {"vocab": tokenizer.vocab, "tokenizer": tokenizer.config}
        checkpoint = Checkpoint(self.config, self.head, self.flat_weights(), self.feature_extractor.to_dict(), **held)
        write_checkpoint(Path(folder), checkpoint)

    def _checked(
        self, input_values: Any, attention_mask: Any, mask_time_indices: Any, *, looked_at: bool, kept: int
    ) -> tuple[Array, Array | None, Array | None]:
        return check_arguments(
            self.config,
            input_values,
            attention_mask,
            mask_time_indices,
            dtype=self.dtype,
            can_hide="masked_spec_embed" in self._held[self.config.prefix],
            kept=kept,
            all_scores=self.engine == "textbook" or looked_at,  # the fast engine never holds them all at once
        )

    def _logits(self, audio: object, waveform: Array) -> Array:
        """Logits of one clip, run alone, in one piece and without a mask; errors name it.  (n,) -> (T, V), or (L,) of a classifier"""
        with about(audio_name(audio), AudioError):
            logits = self(self.features(waveform, attention_mask=False).input_values).logits
        assert logits is not None  # the caller has checked the head
        return np.asarray(logits[0])

    def _prepared(self, audio: object, waveform: Array) -> Array:
        """What :meth:`_logits` gives to the network, checked; errors name the clip.  (n,) -> (1, n)"""
        with about(audio_name(audio), AudioError):
            return self._checked(self.features(waveform, attention_mask=False).input_values, None, None, looked_at=False, kept=0)[0]

    def _logits_together(self, prepared: Sequence[Array]) -> list[Array]:
        """Logits by the fast engine of clips that share their products.  (1, n) each -> (T, V) each"""
        states = self._fast.together([x[0] for x in prepared])
        return limited(lambda stop: [ctc_logits(state[None], self._held)[0] for state in states])

    @property
    def _fast(self) -> FastTrunk:
        return packed(vars(self), self.config, self.threads)

    @property
    def _held(self) -> Weights:
        """The weights, but for layers that the fast engine has taken over."""
        return cast(Weights, vars(self)["weights"])

    def _parts(self, moments: Moments | None) -> Parts:
        """What runs a long clip in parts.  moments: of its first convolution, where that is normalised over time"""
        if self.engine == "fast":
            return self._fast.with_statistics(moments)
        return TextbookParts(self.config, fold_statistics(self.weights[self.config.prefix], moments))


Model.weights = HeldWeights("weights")  # type: ignore[assignment]
