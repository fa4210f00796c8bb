"""Names that no stage of a run has: what they are nearest to, and what they have in common."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from sewnp.errors import InputError, printable
from sewnp.networks.stages import GRADIENT, stage_of
from sewnp.numerics.stage_files import Unread
from sewnp.types import Array

_LOOKED_AT, _LONGEST = 20, 200
"""So many names are looked up, of at most so many characters: likeness costs time, and a file may hold thousands of names."""


def described_strangers(strangers: Collection[str], known: Collection[str]) -> dict[str, str]:
    """What there is to say of each name that no stage has."""
    said = {}
    for number, name in enumerate(strangers):
        said[name] = "no stage of this run has this name"
        if _of_stage_list(name):
            said[name] = "the stage list has this stage, but this run does not come by it"
        elif number < _LOOKED_AT and len(name) <= _LONGEST:
            likely = [each for each in known if name.endswith(f".{each}")] or get_close_matches(name, known, n=1, cutoff=0.5)
            said[name] += f"; the nearest is {max(likely, key=len)}" if likely else ""
    return said


def shared_prefix(strangers: Collection[str], known: Collection[str]) -> str:
    """What all the names begin with, and would be names of stages without; "" where there is no such prefix."""
    first, stages = next(iter(strangers), ""), frozenset(known)
    for cut in range(1, min(len(first), _LONGEST)):
        if first[cut:] in stages and all(name.startswith(first[:cut]) and name[cut:] in stages for name in strangers):
            return first[:cut]
    return ""


def in_common(strangers: Collection[str], known: Collection[str]) -> str:
    """The same in words; "" where there is none, and of a single name."""
    prefix = shared_prefix(strangers, known) if len(strangers) > 1 else ""
    if not prefix:
        return ""
    shown = printable(prefix)
    return f'the {len(strangers)} unknown names all begin with "{shown}", which --strip-prefix {shown} takes off'


@dataclass(frozen=True, eq=False)
class Stripped(Unread):
    """Their stages with a prefix taken off, each read when it is asked for.  Made by :func:`strip_prefix`."""

    theirs: Mapping[str, Array]
    source: Mapping[str, str]
    """Name without the prefix -> their name."""

    def __getitem__(self, name: str) -> Array:
        return self.theirs[self.source[name]]

    @property
    def known(self) -> Collection[str]:
        """Their names."""
        return self.source


def strip_prefix(theirs: Mapping[str, Array], prefix: str, known: Collection[str]) -> Stripped:
    """Their stages without the prefix, where they begin with it, or with it behind ``gradient.``, and are not names of ours as they stand.

    Raises InputError where two become the same.
    """
    source: dict[str, str] = {}
    for name in theirs:
        kept, rest = (GRADIENT, name.removeprefix(GRADIENT)) if name.startswith(GRADIENT + prefix) else ("", name)
        short = name if name in known else kept + rest.removeprefix(prefix)
        if short in source:
            raise InputError(
                f"--strip-prefix {printable(prefix)}: {printable(source[short])} and {printable(name)} become the same"
            )
        source[short] = name
    return Stripped(theirs, source)


def _of_stage_list(name: str) -> bool:
    try:
        return bool(stage_of(name))
    except InputError:
        return False
