"""Known mistakes: what a stage becomes when it is computed wrongly in a particular way, so that a port's error can be called by its name.

:func:`name_mistakes` tries those of each stage that is wrong in itself, see :func:`sewnp.numerics.judge_replay`, and names what reproduces
the port's value.
"""

from sewnp.mistakes.naming import name_mistakes
from sewnp.mistakes.stage_run import StageRun
from sewnp.mistakes.table import mistakes_of

__all__ = ["StageRun", "mistakes_of", "name_mistakes"]
