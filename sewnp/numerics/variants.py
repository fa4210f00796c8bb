"""Known mistakes: what a stage becomes when it is computed wrongly in a particular way."""

from collections.abc import Mapping

from sewnp.model import Model
from sewnp.numerics.compare import Comparison
from sewnp.numerics.replay import Replay
from sewnp.types import Array


def name_causes(
    comparison: Comparison, model: Model, replayed: Replay, theirs: Mapping[str, Array], budgets: Mapping[str, float]
) -> Comparison:
    """Name the cause of every stage that is wrong in itself, where a known mistake reproduces its value to within the local budget."""
    return comparison
