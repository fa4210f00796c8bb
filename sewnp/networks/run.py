"""One forward pass: base model, head, loss, and what was asked to be seen on the way.

Whoever looks gets the textbook: the plain layers run wherever stages are shown or replaced.  The fast twin comes in by a narrow seam,
:class:`Fast`, gets masks, heads, losses and outputs from here, and never repeats them.
"""

from typing import Protocol

import numpy as np

from sewnp.config import Config
from sewnp.ctc.loss import clean_labels, ctc_loss
from sewnp.errors import InputError
from sewnp.layers.masking import Masking, Masks, clip_masks, frame_lengths, frame_mask
from sewnp.layers.observe import unseen, within
from sewnp.layers.pooling import weighted_layers
from sewnp.layers.softmax import log_softmax
from sewnp.networks.base import FAMILIES, base_model
from sewnp.networks.heads import classification_logits, cross_entropy, ctc_logits
from sewnp.networks.outputs import Output
from sewnp.parameters import Head
from sewnp.types import Array, See, Weights


class Fast(Protocol):
    """A base model that computes and shows nothing.  waveform (B, n), time_mask (B, T) bool or None -> (B, T, H), and on request the
    hidden states, (B, N, H) each."""

    def __call__(
        self, waveform: Array, *, masks: Masks | None, time_mask: Array | None, hidden_states: bool
    ) -> tuple[Array, list[Array]]: ...


def run(
    p: Weights,
    config: Config,
    waveform: Array,
    *,
    head: Head | None,
    fast: Fast | None = None,
    masking: Masking = "any",
    attention_mask: Array | None = None,
    labels: Array | None = None,
    time_mask: Array | None = None,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
    see: See = unseen,
) -> Output:
    """Run base model and head.  waveform (B, n); p: all weights; attention_mask (B, n) of 0 and 1; labels as the head takes them.

    fast: what runs the base model where nobody looks; the plain layers otherwise.  Raises InputError for labels without a head, labels out
    of range, and masks that do not fit.
    """
    targets = _targets(labels, config, head, batch=len(waveform))
    family, frames = FAMILIES[config.model_type], config.frames(waveform.shape[1])
    lengths = masks = None
    if attention_mask is not None:
        lengths = frame_lengths(attention_mask, kernels=config.conv_kernel, strides=config.conv_stride)
        mask = see("frame_mask", frame_mask(lengths, frames, masking=masking))
        masks = clip_masks(
            mask, factor=config.squeeze_factor, masking=masking, disentangled=family.disentangled, see=within(see, "encoder")
        )
    waveform = see("input_values", waveform)

    weighted = head == "classification" and config.use_weighted_layer_sum
    states: list[Array] = []
    attentions: list[Array] = []
    if fast is not None and see is unseen and not output_attentions:
        last, states = fast(waveform, masks=masks, time_mask=time_mask, hidden_states=output_hidden_states or weighted)
    else:
        kept: dict[str, Array] = {}
        state_names = family.hidden_states(config) if output_hidden_states or weighted else []
        attention_names = family.attentions(config) if output_attentions else []
        keep = _keeping(kept, state_names + attention_names, see)
        last = base_model(waveform, p[config.prefix], config, masks=masks, time_mask=time_mask, see=keep)
        states, attentions = [kept[name] for name in state_names], [kept[name] for name in attention_names]

    logits = loss = None
    if head == "ctc":
        logits = see("logits", ctc_logits(last, p))
        if targets is not None:
            input_lengths = np.full(len(waveform), frames) if lengths is None else lengths
            loss = _ctc_loss(logits, targets, input_lengths, config, see=see)
    elif head == "classification":
        x = last
        if weighted:
            x = see("weighted_layers", weighted_layers(states, p["layer_weights"]))
        # the mixed layers stand at the squeezed rate while the lengths count full frames: a quirk of the original, kept
        counted = None if lengths is None else frame_mask(lengths, x.shape[1], masking=masking)
        logits = see("logits", classification_logits(x, p, mask=counted, see=see))
        if labels is not None:
            loss = see("loss", cross_entropy(logits, labels))
    return Output(
        last_hidden_state=last,
        logits=logits,
        loss=loss,
        hidden_states=tuple(states if config.num_hidden_layers else ()) if output_hidden_states else None,
        attentions=tuple(attentions) if output_attentions else None,
    )


def _targets(labels: Array | None, config: Config, head: Head | None, *, batch: int) -> tuple[Array, Array] | None:
    """Labels are checked before anything is computed."""
    if labels is None:
        return None
    if head is None:
        raise InputError("labels: a base model has no loss; load with head='ctc' or head='classification'")
    if head == "classification":
        return None
    if config.pad_token_id is None or not 0 <= config.pad_token_id < config.vocab_size:
        raise InputError(f"pad_token_id: the loss needs a blank from 0 to {config.vocab_size - 1}, found {config.pad_token_id}")
    targets, lengths = clean_labels(labels, blank=config.pad_token_id, vocab_size=config.vocab_size)
    if len(targets) != batch:
        raise InputError(f"labels: expected {batch} rows, one a clip, found {len(targets)}")
    return targets, lengths


def _ctc_loss(logits: Array, targets: tuple[Array, Array], input_lengths: Array, config: Config, *, see: See) -> Array:
    log_probs = see("log_probs", log_softmax(logits))
    assert config.pad_token_id is not None  # _targets has seen to it
    loss = ctc_loss(
        log_probs,
        targets[0],
        input_lengths,
        targets[1],
        blank=config.pad_token_id,
        reduction=config.ctc_loss_reduction,  # type: ignore[arg-type]
        zero_infinity=config.ctc_zero_infinity,
        see=within(see, "ctc"),
    )
    return see("loss", loss)


def _keeping(kept: dict[str, Array], names: list[str], see: See) -> See:
    """The observer ``see``, which also keeps the stages of those names."""
    if not names:
        return see
    wanted = frozenset(names)

    def keep(name: str, x: Array, /) -> Array:
        x = see(name, x)
        if name in wanted:
            kept[name] = x
        return x

    return keep
