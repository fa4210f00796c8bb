"""The fast backward pass against the plain pullbacks, over the table that pairs every option with every other."""

from typing import Any

import numpy as np
import pytest
from fast.test_clip_gradients import assert_agrees, fast, plain
from networks.test_parity import TABLE, arguments, described, name_of, undefined

from originals import original, twin


@pytest.mark.parametrize(("number", "family", "row"), [(i, *entry) for i, entry in enumerate(TABLE)], ids=name_of)
def test_pairwise(number: int, family: str, row: dict[str, Any]) -> None:
    labels, head = "plain" if row["labels"] == "none" else row["labels"], row["head"] or "ctc"
    row = row | {"head": head, "labels": labels, "batch": 1, "mask": "none"}
    if undefined(family, row):
        row = row | {"num_hidden_layers": 1}
    head, values = described(family, row)
    theirs = original(family, head, seed=number, **values)
    wide, ours = twin(theirs), twin(theirs, dtype=np.float32)
    rng = np.random.default_rng(number)
    given = arguments(row, ours, rng)
    options = {
        "time_mask": given.pop("mask_time_indices", None),
        "feature_mask": rng.random((1, 16)) < 0.2 if number % 2 else None,
        "skip_layers": {1} if ours.config.num_hidden_layers > 1 and row["head"] != "weighted" else set(),
    }
    assert_agrees(fast(ours, given, **options), plain(ours, given, **options), plain(wide, given, **options))
