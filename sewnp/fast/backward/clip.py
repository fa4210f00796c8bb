"""The loss of one clip and its gradients, in float32 and in few long calls, so that threads with a clip each do not wait for one another.

``Model.gradients`` is the specification: the same numbers to rounding, the same random numbers drawn in the same order.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import flatten
from sewnp.config import Config
from sewnp.errors import InputError
from sewnp.fast.backward.convolutions import convolutions_vjp
from sewnp.fast.backward.frontend import features, projected_vjp
from sewnp.fast.backward.heads import HeadBack, head_vjp
from sewnp.fast.backward.one_pass import Grads, Pass
from sewnp.fast.backward.positions import PositionsThereAndBack, squeeze_with_positions_vjp, upsample_vjp
from sewnp.fast.backward.transformer import pack_layers, transformer_vjp
from sewnp.fast.convolutions import check_group_norm, pack_convolution
from sewnp.fast.crew import Stop, limited
from sewnp.fast.workspace import Shelf, Workspace
from sewnp.gradients import frozen_keys, idle_part
from sewnp.inputs import as_array, check_arguments
from sewnp.networks.dropout import drawn_factors, dropout_rates
from sewnp.networks.run import check_skipped, checked_targets
from sewnp.parameters import Head
from sewnp.types import Array, Weights

HeadPass: TypeAlias = Callable[[Array, list[Array]], tuple[float, HeadBack]]


class ClipGradients:
    """A model of float32 weights, packed once, that says of one clip after another its loss and its gradients.

    Several threads may call it at once, each with a clip of its own: a call computes on one thread, and BLAS on no other.  weights: all of
    them, nested.  freeze: as for ``Model.gradients``; a frozen feature encoder or base model keeps nothing and costs no backward work.
    reuse: an earlier one, with the weights of the step before, whose memory is gone on with.
    Raises InputError for a model without a head, weights that are not float32, and names in ``freeze`` that nothing has.
    """

    def __init__(
        self,
        config: Config,
        weights: Weights,
        head: Head | None,
        freeze: str | Iterable[str] = (),
        *,
        reuse: "ClipGradients | None" = None,
    ) -> None:
        if head is None:
            raise InputError("labels: a base model has no loss; load with head='ctc' or head='classification'")
        keys = flatten(weights)
        for key, weight in keys.items():
            if weight.dtype != np.float32:
                raise InputError(f"{key}: expected float32, which the fast engine computes in, found {weight.dtype}")
        self._config, self._weights, self._head, self._keys = config, weights, head, list(keys)
        self._is_frozen = frozen_keys(freeze, self._keys, config)
        self._idle = idle_part(self._is_frozen, self._keys, config)
        p = weights[config.prefix]
        self._convolutions = list(map(pack_convolution, p["feature_extractor"]["conv_layers"], config.conv_stride))
        self._positions = PositionsThereAndBack.from_weights(p["encoder"]["pos_conv_embed"], config)
        self._layers = pack_layers(p["encoder"], config)
        self._spare: deque[tuple[Shelf, Workspace]] = deque() if reuse is None else reuse._spare

    def __call__(
        self,
        input_values: Array,
        labels: npt.ArrayLike,
        *,
        time_mask: npt.ArrayLike | None = None,
        feature_mask: npt.ArrayLike | None = None,
        skip_layers: Collection[int] = (),
        dropout: np.random.Generator | None = None,
    ) -> tuple[float, Grads]:
        """One clip (1, n), its labels as ``Model.gradients`` takes them -> the loss, and gradients by the keys that transformers 5 writes.

        time_mask (1, T) and feature_mask (1, H), bool: SpecAugment's ``mask_time_indices`` and ``mask_feature_indices``.  skip_layers:
        LayerDrop.  dropout: what to draw from.  Raises InputError as ``Model.gradients``, and for more clips than one.
        """
        config = self._config
        x, _, _ = check_arguments(config, input_values, None, None, dtype=np.dtype(np.float32), can_hide=True, all_scores=True)
        if len(x) != 1:
            raise InputError(f"input_values: expected one clip, found {len(x)}")
        hidden = _row("time_mask", time_mask, config.frames(x.shape[1]))
        silent = _row("feature_mask", feature_mask, config.hidden_size)
        if not config.apply_spec_augment:
            hidden = silent = None
        if hidden is not None and "masked_spec_embed" not in self._weights[config.prefix]:
            raise InputError(
                "time_mask: this model has no masked_spec_embed: its checkpoint does not hold it, or its mask_time_prob and"
                " mask_feature_prob are 0"
            )
        asked = as_array("labels", labels)
        targets = checked_targets(asked, config, self._head, batch=1)
        check_skipped(skip_layers, config, self._head)
        check_group_norm(config, x)
        factors = (lambda name, x: None) if dropout is None else drawn_factors(dropout_rates(config, self._head), dropout)
        masks = {"time_mask": hidden, "feature_mask": silent}

        def compute(_: Stop) -> tuple[float, Grads]:
            try:
                shelf, scratch = self._spare.pop()
            except IndexError:
                shelf, scratch = Shelf(), Workspace()
            with np.errstate(all="ignore"):  # what is not finite shows in the loss
                run = Pass(config, factors, shelf, scratch)
                head = partial(head_vjp, p=self._weights, labels=asked, targets=targets, run=run)
                found = self._run(x[0], run, head, frozenset(skip_layers), masks)
            shelf.clear()
            self._spare.append((shelf, scratch))  # after an error nobody uses them again
            return found

        return limited(compute)

    def _run(
        self, samples: Array, run: Pass, head: HeadPass, skip_layers: frozenset[int], masks: dict[str, Array | None]
    ) -> tuple[float, Grads]:
        """samples (n,); head: given the last hidden state (T, H) and each layer's (N, H)."""
        config, p, keep = self._config, self._weights[self._config.prefix], self._idle != "base"
        shelf, scratch, conv_layers = run.shelf, run.scratch, p["feature_extractor"]["conv_layers"]
        convolutions_back = None
        if self._idle is None:
            x, convolutions_back = convolutions_vjp(samples, self._convolutions, conv_layers[0], run)
        else:
            x = features(samples, self._convolutions, conv_layers[0], run)
        frames, project_back = projected_vjp(x, p, run, **masks)
        hidden, squeeze_back = squeeze_with_positions_vjp(frames, self._positions, shelf=shelf, scratch=scratch)
        states, transformer_back = transformer_vjp(hidden, p["encoder"], self._layers, run, skip_layers=skip_layers, keep=keep)
        last = shelf.take(*frames.shape)
        restore_back = upsample_vjp(
            states[-1], p["encoder"]["upsample"]["projection"], last, factor=config.squeeze_factor,
            activation=config.feat_extract_activation, shelf=shelf, scratch=scratch,
        )  # fmt: skip
        loss, head_back = head(last, states)
        dlast, dstates, own = head_back()
        if not keep:
            return loss, self._wanted(own)
        dhidden, restored = (np.zeros_like(hidden), {}) if dlast is None else restore_back(dlast)
        dhidden, grads = transformer_back(dhidden, dstates)
        dframes, embedded = squeeze_back(dhidden)
        dx, projected = project_back(dframes)
        nested: Weights = {"encoder": {"pos_conv_embed": embedded, "upsample": {"projection": restored}}}
        if convolutions_back is not None:
            nested["feature_extractor"] = {"conv_layers": convolutions_back(dx)}
        grads |= projected | flatten(nested)
        return loss, self._wanted(own | {f"{config.prefix}.{name}": gradient for name, gradient in grads.items()})

    def _wanted(self, grads: Grads) -> Grads:
        """In the order of the weights, without those that are frozen."""
        return {key: grads[key] for key in self._keys if key in grads and not self._is_frozen(key)}


def _row(name: str, mask: npt.ArrayLike | None, width: int) -> Array | None:
    """A mask of one clip.  (1, width) -> (width,) bool"""
    if mask is None:
        return None
    given = as_array(name, mask)
    if given.shape != (1, width):
        raise InputError(f"{name}: expected shape {(1, width)}, found {given.shape}")
    return given[0].astype(bool)
