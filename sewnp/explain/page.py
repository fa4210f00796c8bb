"""A document as one HTML page: its style and scripts inlined, and allowed by their hashes alone."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from sewnp.decoding import BeamSearch
from sewnp.explain.collect import collect
from sewnp.explain.subject import Subject
from sewnp.files import write_text
from sewnp.inputs import calmly
from sewnp.speech.audio import Audio

SCRIPTS = ("data", "time", "strips", "funnel", "squeeze", "attention", "letters", "lattice", "words", "main")
"""In the order in which they are run, as one script."""
_NOTEBOOK = re.compile(r'<a class="notebook" href="(\w+)">(.*?)</a>')


@dataclass(frozen=True, eq=False)
class Page:
    """A clip explained.  The last value of a notebook's cell, it is shown there."""

    document: dict[str, Any]
    """What the page shows: see :func:`sewnp.explain.collect`."""

    def html(self, *, course: str | None = None) -> str:
        """The page, self-contained.  course: an address, such as "../notebooks/", under which the notebooks' pages are; else they are named."""
        return render(self.document, course=course)

    def save(self, path: Path | str) -> None:
        """Write the page, whole or not at all.  Raises InputError where that cannot be."""
        write_text(Path(path), self.html())

    def _repr_html_(self) -> str:
        """In a frame of its own, which may run the page's script and reach nothing around it."""
        content = html.escape(self.html(), quote=True)
        return (
            f'<iframe title="sewnp explain" sandbox="allow-scripts" width="100%" height="720" style="border:0" srcdoc="{content}">'
            "</iframe>"
        )


@calmly
def explain(
    model: Subject,
    audio: Audio,
    *,
    sampling_rate: int | None = None,
    layers: Sequence[int] | None = None,
    text: str | None = None,
    decoder: BeamSearch | None = None,
    allow_truncated: bool = False,
) -> Page:
    """A clip's whole way through a network on one interactive page.  audio, sampling_rate, allow_truncated: as for ``Model.transcribe``.

    layers: whose attention to show, counted from 0; by default all, of clips of more than 250 squeezed frames the first, a middle one and
    the last.  text: what is said, if known: its lattice is drawn instead of that of the text heard.  decoder: how to find the latter.

    Raises AudioError for audio that cannot be used, too short ones and those of more than a minute; TokenizerError and InputError for a
    text as ``Model.align`` does; InputError for layers that there are not, and for a model without a CTC head.
    """
    return Page(
        collect(
            model, audio, sampling_rate=sampling_rate, layers=layers, text=text, decoder=decoder, allow_truncated=allow_truncated
        )
    )


def render(document: dict[str, Any], *, course: str | None = None) -> str:
    """The HTML of a document.  Words of it reach the page as text only: the script puts them there, and the policy allows no other."""
    style, script = _asset("style.css"), "\n".join(_asset(f"{name}.js") for name in SCRIPTS)
    script = f'"use strict";\n{{\n{script}}}\n'
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; media-src data: blob:;"
        " base-uri 'none'; form-action 'none'"
    )

    def notebook(match: re.Match[str]) -> str:
        name, title = match.groups()
        if course is None:
            return f"<span>{title}</span>"
        return f'<a href="{html.escape(course)}{name}/" target="_top">{title}</a>'

    page = _NOTEBOOK.sub(notebook, _asset("page.html"))
    # < in a string would end the element that holds it
    data = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"policy": policy, "style": style, "script": script, "data": data}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], page)


def _asset(name: str) -> str:
    return (files("sewnp.explain") / "assets" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    """How a content security policy names what is inline."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode('utf-8')).digest()).decode('ascii')}'"
