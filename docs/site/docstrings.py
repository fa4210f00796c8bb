"""Docstrings as Markdown: what they say for people who read the code (roles, ``::``, ``>>>``) in the site's own marks."""

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from griffe import Alias, AliasResolutionError, Class, Docstring, Extension, Module, Object

ROLE = re.compile(r":[a-z]+:`~?([\w.]+)`")
API = Path(__file__).parents[1] / "api"
ROOMS = ["sewnp", *(f"sewnp.{page.stem}" for page in sorted(API.glob("*.md")) if page.stem != "sewnp")]


class Docstrings(Extension):
    """Rewrites the docstrings of a package after it was read."""

    def __init__(self) -> None:
        self.paths = {name: f"{room}.{name}" for room in reversed(ROOMS) for name in importlib.import_module(room).__all__}

    def on_package(self, *, pkg: Module, **_: Any) -> None:
        for each in [pkg, *_walk(pkg)]:
            if isinstance(each, Alias):
                if each.target_path.startswith("sewnp."):
                    with contextlib.suppress(AliasResolutionError):  # of names that griffe does not know, and nobody exports
                        each.resolve_target()  # while files can still be found under their names
            elif each.docstring is not None:
                each.docstring.value = ROLE.sub(self._link, fenced(each.docstring.value))
        for room in (pkg[name.removeprefix("sewnp.")] for name in ROOMS[1:]):
            for name in room.exports or ():
                if room.members[name].is_module:  # a function that is called as its file: the reference is about the function
                    room.members[name] = Alias(name, room.members[name].members[name], parent=room)

    def _link(self, role: re.Match[str]) -> str:
        """A link where the name has a place in the reference, else the name."""
        if role[1] in ROOMS:
            return f"[`{role[1]}`]({role[1].rpartition('.')[2]}.md)"  # a room's page stands beside the others'
        name = role[1].rpartition(".")[2]
        return f"[`{name}`][{self.paths[name]}]" if name in self.paths else f"`{role[1]}`"


def _walk(parent: Module | Class) -> Iterator[Object | Alias]:
    """Every member of a module, of the modules and classes in it, and so on."""
    for member in list(parent.members.values()):
        yield member
        if isinstance(member, Class) and (check := member.members.pop("__post_init__", None)) and check.docstring:
            member.docstring = member.docstring or Docstring("", parent=member)
            member.docstring.value += f"\n\n{check.docstring.value}"  # what it raises, said where people look
        if isinstance(member, Module | Class):
            yield from _walk(member)


def fenced(text: str) -> str:
    """Fences around doctests, and a colon for a double one."""
    text = re.sub(r"(?m) ?::$", lambda match: ":" if match[0] == "::" else "", text)
    return re.sub(r"(?m)^>>> (?:.*\n?)+?(?=^\s*$|\Z)", lambda match: f"```pycon\n{match[0].rstrip()}\n```\n", text)
