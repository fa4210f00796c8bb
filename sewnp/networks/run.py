"""One forward pass: trunk, head, loss, and what was asked to be seen on the way.

The seam is narrow: whatever is a ``Trunk`` gets masks, heads, losses and outputs from here and never repeats them.
"""

from functools import partial
from typing import Protocol

import numpy as np

from sewnp.config import Config, SEWConfig
from sewnp.ctc.loss import clean_labels, ctc_loss
from sewnp.errors import InputError
from sewnp.layers.masking import Masking, frame_lengths, frame_mask
from sewnp.layers.observe import unseen, within
from sewnp.layers.softmax import log_softmax
from sewnp.networks import sew as sew_network
from sewnp.networks import sew_d as sew_d_network
from sewnp.networks.heads import classification_logits, cross_entropy, ctc_logits, weighted_layers
from sewnp.networks.outputs import Output
from sewnp.parameters import Head
from sewnp.types import Array, See, Weights


class Trunk(Protocol):
    """A base model ready to run.  waveform (B, n), frame_mask and time_mask (B, T) bool or None -> (B, T, H)

    Shows at least the stages of ``hidden_states`` and ``attentions``.
    """

    def __call__(self, waveform: Array, *, frame_mask: Array | None, time_mask: Array | None, see: See) -> Array: ...


def textbook_trunk(config: Config, p: Weights, *, masking: Masking) -> Trunk:
    """The base model in plain layers; p holds the base model's weights, without the family's prefix."""
    if isinstance(config, SEWConfig):
        return partial(sew_network.sew_model, p=p, config=config, masking=masking)
    return partial(sew_d_network.sew_d_model, p=p, config=config, masking=masking)


def shown_stages(config: Config) -> tuple[list[str], list[str]]:
    """Names of the stages that every trunk shows: those that transformers calls hidden_states, layer input first, and attentions."""
    network = sew_network if isinstance(config, SEWConfig) else sew_d_network
    return network.hidden_state_stages(config), network.attention_stages(config)


def run(
    trunk: Trunk,
    p: Weights,
    config: Config,
    waveform: Array,
    *,
    head: Head | None,
    masking: Masking = "any",
    attention_mask: Array | None = None,
    labels: Array | None = None,
    time_mask: Array | None = None,
    output_hidden_states: bool = False,
    output_attentions: bool = False,
    see: See = unseen,
) -> Output:
    """Run trunk and head.  waveform (B, n); p: the head's weights; attention_mask (B, n) of 0 and 1; labels as the head takes them.

    Raises InputError for labels without a head, labels out of range, and masks that do not fit.
    """
    targets = _targets(labels, config, head, batch=len(waveform))
    frames = config.frames(waveform.shape[1])
    convolutions = {"kernels": config.conv_kernel, "strides": config.conv_stride}
    lengths = None if attention_mask is None else frame_lengths(attention_mask, **convolutions)
    mask = None if lengths is None else see("frame_mask", frame_mask(lengths, frames, masking=masking))

    state_names, attention_names = shown_stages(config)
    weighted = head == "classification" and config.use_weighted_layer_sum
    kept: dict[str, Array] = {}
    wanted = [*(state_names if output_hidden_states or weighted else []), *(attention_names if output_attentions else [])]
    last = trunk(see("input_values", waveform), frame_mask=mask, time_mask=time_mask, see=_keeping(kept, wanted, see))

    logits = loss = None
    if head == "ctc":
        logits = see("logits", ctc_logits(last, p))
        if targets is not None:
            input_lengths = np.full(len(waveform), frames) if lengths is None else lengths
            loss = _ctc_loss(logits, targets, input_lengths, config, see=see)
    elif head == "classification":
        x = last
        if weighted:
            x = see("weighted_layers", weighted_layers([kept[name] for name in state_names], p["layer_weights"]))
        # the mixed layers stand at the squeezed rate while the lengths count full frames: a quirk of the original, kept
        counted = None if lengths is None else frame_mask(lengths, x.shape[1], masking=masking)
        logits = see("logits", classification_logits(x, p, mask=counted, see=see))
        if labels is not None:
            loss = see("loss", cross_entropy(logits, labels))
    states = state_names if config.num_hidden_layers else []
    return Output(
        last_hidden_state=last,
        logits=logits,
        loss=loss,
        hidden_states=tuple(kept[name] for name in states) if output_hidden_states else None,
        attentions=tuple(kept[name] for name in attention_names) if output_attentions else None,
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
