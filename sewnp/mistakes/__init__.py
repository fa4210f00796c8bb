"""Known mistakes: what a stage becomes when it is computed wrongly in a particular way, so that a port's error can be called by its name."""

from sewnp.mistakes.table import name_causes

__all__ = ["name_causes"]
