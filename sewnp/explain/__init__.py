"""A clip's whole way through a network, on one interactive page: :func:`explain`, which is ``model.explain`` too.

:func:`collect` looks at every stage of a run and makes a plain document of it, whose arrays :func:`unpack` reads back; :class:`Page` is the
document as a self-contained HTML page.
"""

from sewnp.explain.arrays import Packed, pack, unpack
from sewnp.explain.collect import FORMAT, collect
from sewnp.explain.page import Page, explain, render
from sewnp.explain.subject import Subject

__all__ = ["FORMAT", "Packed", "Page", "Subject", "collect", "explain", "pack", "render", "unpack"]
