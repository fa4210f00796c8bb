"""One forward pass: base model, head, loss, and what was asked to be seen on the way.

Whoever looks gets the textbook: the plain layers run wherever stages are shown or replaced.  The fast twin comes in by a narrow seam,
:class:`Fast`, gets masks, heads, losses and outputs from here, and never repeats them.
"""

from collections.abc import Callable, Collection
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from sewnp.config import Config
from sewnp.ctc.loss import clean_labels, ctc_loss, ctc_loss_vjp
from sewnp.errors import InputError
from sewnp.layers.masking import Masking, Masks, clip_masks, frame_lengths, frame_mask
from sewnp.layers.observe import unseen, unseen_vjp, values_only, within
from sewnp.layers.pooling import weighted_layers, weighted_layers_vjp
from sewnp.layers.softmax import log_softmax, log_softmax_vjp
from sewnp.networks.base import FAMILIES, base_model, base_model_vjp
from sewnp.networks.heads import (
    classification_logits,
    classification_logits_vjp,
    cross_entropy,
    cross_entropy_vjp,
    ctc_logits,
    ctc_logits_vjp,
)
from sewnp.networks.outputs import Output
from sewnp.parameters import Head
from sewnp.types import Array, See, SeeVjp, Weights

Frozen: TypeAlias = Literal["feature_encoder", "base"] | None
"""A part that is not trained."""


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
    targets = checked_targets(labels, config, head, batch=len(waveform))
    family, frames = FAMILIES[config.model_type], config.frames(waveform.shape[1])
    lengths, masks = _padding(attention_mask, config, frames, masking, see)
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
            log_probs = see("log_probs", log_softmax(logits))
            loss = see(
                "loss", ctc_loss(log_probs, *ctc_problem(targets, lengths, frames), **_ctc_options(config), see=within(see, "ctc"))
            )
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


def run_vjp(
    p: Weights,
    config: Config,
    waveform: Array,
    *,
    head: Head | None,
    masking: Masking = "any",
    attention_mask: Array | None = None,
    labels: Array,
    time_mask: Array | None = None,
    skip_layers: Collection[int] = (),
    see: SeeVjp = unseen_vjp,
    frozen: Frozen = None,
) -> tuple[Output, Callable[[Array], tuple[Array | None, Weights]]]:
    """:func:`run` to the loss, and dloss -> dwaveform (B, n), gradients nested as p; what took no part has none.

    skip_layers: numbers of transformer layers to leave out.  frozen: "feature_encoder", the convolutions, or "base", the base model, run
    plainly, keep nothing and cost no backward work; dwaveform is then None.  Raises InputError as ``run``, without a head, and for layers
    left out of a head that mixes them all.
    """
    if head is None:
        raise InputError("labels: a base model has no loss; load with head='ctc' or head='classification'")
    targets = checked_targets(labels, config, head, batch=len(waveform))
    check_skipped(skip_layers, config, head)
    family, frames = FAMILIES[config.model_type], config.frames(waveform.shape[1])
    lengths, masks = _padding(attention_mask, config, frames, masking, values_only(see))
    waveform, waveform_back = see("input_values", waveform)

    weighted = head == "classification" and config.use_weighted_layer_sum
    state_names = family.hidden_states(config) if weighted else []
    states: dict[str, Array] = {}
    dstates: dict[str, Array] = {}  # what the head gives back to them

    def keep(name: str, x: Array, /) -> tuple[Array, Callable[[Array], Array]]:
        x, seen_back = see(name, x)
        if name not in state_names:
            return x, seen_back
        states[name] = x
        return x, lambda dx: seen_back(dx + dstates[name])

    options: dict[str, Any] = {"masks": masks, "time_mask": time_mask, "skip_layers": skip_layers}
    base_back = None
    if frozen == "base":
        last = base_model(waveform, p[config.prefix], config, **options, see=values_only(keep))
    else:
        last, base_back = base_model_vjp(
            waveform, p[config.prefix], config, **options, see=keep, features_frozen=frozen == "feature_encoder"
        )
    if targets is not None:
        problem = ctc_problem(targets, lengths, frames)
        logits, loss, head_back = ctc_head_vjp(last, p, problem, config, see=see)
    else:
        x, mix_back, seen_back = last, None, None
        if weighted:
            x, mix_back = weighted_layers_vjp([states[name] for name in state_names], p["layer_weights"])
            x, seen_back = see("weighted_layers", x)
        counted = None if lengths is None else frame_mask(lengths, x.shape[1], masking=masking)
        logits, loss, head_back = classification_head_vjp(x, p, labels, counted, see=see)

    def pullback(dloss: Array) -> tuple[Array | None, Weights]:
        dhead, grads = head_back(dloss)
        dlast: Array | None = dhead
        if targets is None and mix_back is not None and seen_back is not None:
            each, grads["layer_weights"] = mix_back(seen_back(dhead))
            dstates.update(zip(state_names, each, strict=True))
            dlast = None
        if base_back is None:
            return None, grads
        dwaveform, grads[config.prefix] = base_back(dlast)
        return None if dwaveform is None else waveform_back(dwaveform), grads

    return Output(last_hidden_state=last, logits=logits, loss=loss), pullback


def ctc_head_vjp(
    last: Array, p: Weights, problem: tuple[Array, Array, Array], config: Config, *, see: SeeVjp = unseen_vjp
) -> tuple[Array, Array, Callable[[Array], tuple[Array, Weights]]]:
    """last (B, T, H), problem as :func:`ctc_problem` poses it -> logits, loss, and dloss -> dlast, gradients."""
    logits, linear_back = ctc_logits_vjp(last, p)
    logits, logits_back = see("logits", logits)
    log_probs, softmax_back = log_softmax_vjp(logits)
    log_probs, log_probs_back = see("log_probs", log_probs)
    loss, ctc_back = ctc_loss_vjp(log_probs, *problem, **_ctc_options(config), see=within(see, "ctc"))
    loss, loss_back = see("loss", loss)

    def pullback(dloss: Array) -> tuple[Array, Weights]:
        dx: tuple[Array, Weights] = linear_back(logits_back(softmax_back(log_probs_back(ctc_back(loss_back(dloss))))))
        return dx

    return logits, loss, pullback


def classification_head_vjp(
    x: Array, p: Weights, labels: Array, counted: Array | None = None, *, see: SeeVjp = unseen_vjp
) -> tuple[Array, Array, Callable[[Array], tuple[Array, Weights]]]:
    """x (B, T, H), labels (B,), counted (B, T) bool -> logits, loss, and dloss -> dx, gradients."""
    logits, classify_back = classification_logits_vjp(x, p, mask=counted, see=see)
    logits, logits_back = see("logits", logits)
    loss, entropy_back = cross_entropy_vjp(logits, labels)
    loss, loss_back = see("loss", loss)

    def pullback(dloss: Array) -> tuple[Array, Weights]:
        dx: tuple[Array, Weights] = classify_back(logits_back(entropy_back(loss_back(dloss))))
        return dx

    return logits, loss, pullback


def _padding(
    attention_mask: Array | None, config: Config, frames: int, masking: Masking, see: See
) -> tuple[Array | None, Masks | None]:
    """Real frames of each clip (B,), and what the network has to know of padding; None without a mask."""
    if attention_mask is None:
        return None, None
    lengths = frame_lengths(attention_mask, kernels=config.conv_kernel, strides=config.conv_stride)
    mask = see("frame_mask", frame_mask(lengths, frames, masking=masking))
    disentangled = FAMILIES[config.model_type].disentangled
    masks = clip_masks(mask, factor=config.squeeze_factor, masking=masking, disentangled=disentangled, see=within(see, "encoder"))
    return lengths, masks


def checked_targets(labels: Array | None, config: Config, head: Head | None, *, batch: int) -> tuple[Array, Array] | None:
    """What a CTC head is asked for: tokens (B, S) and their counts (B,), checked before anything is computed.  None for any other head.

    Raises InputError for labels without a head, and for those that do not fit.
    """
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


def check_skipped(skip_layers: Collection[int], config: Config, head: Head | None) -> None:
    """Raise InputError for a number that no layer has, and for layers left out of a head that mixes them all."""
    for number in skip_layers:
        if number not in range(config.num_hidden_layers):
            raise InputError(f"skip_layers: expected numbers from 0 to {config.num_hidden_layers - 1}, found {number!r}")
    if skip_layers and head == "classification" and config.use_weighted_layer_sum:
        raise InputError("skip_layers: expected none, because the head mixes the hidden states of all layers")


def ctc_problem(targets: tuple[Array, Array], lengths: Array | None, frames: int) -> tuple[Array, Array, Array]:
    """What the CTC loss is asked about: targets (B, S), frames (B,), lengths of the targets (B,)."""
    return targets[0], np.full(len(targets[0]), frames) if lengths is None else lengths, targets[1]


def _ctc_options(config: Config) -> dict[str, Any]:
    return {
        "blank": config.pad_token_id,
        "reduction": config.ctc_loss_reduction,
        "zero_infinity": config.ctc_zero_infinity,
    }


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
