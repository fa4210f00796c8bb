"""What a clip is taken for."""

from collections.abc import Iterable


class Labels(list[tuple[str, float]]):
    """Labels with their probabilities, best first."""

    def __init__(self, scores: Iterable[tuple[str, float]], duration: float) -> None:
        super().__init__(scores)
        self.duration = duration
        """Seconds of sound."""
