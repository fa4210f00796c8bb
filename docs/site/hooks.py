"""What makes the site more than docs/: pages of files that stand elsewhere, help texts, formulas, and the drawing of the code.

A link that leads out of docs/ leads to the page of that file: notebooks and Markdown are shown as they read, other files as their text.
So every page keeps links that also work in a checkout, and nothing is copied into docs/.
"""

import html
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import house
import latex2mathml.converter
import notebook_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

import sewnp

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs"
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
HELP = re.compile(r"<!-- (sewnp(?: [a-z]+)? --help) -->")
CELL = re.compile(r"<td[ >].*?</td>", re.DOTALL)
OPTION = re.compile(r"(?<!\S)--?\w+")
CODE = re.compile(r"(?<=<code>)[^<]+(?=</code>)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Navigation entries that are patterns leading out of docs/ become the pages of the files that match."""
    config.nav = [_expanded(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of all files outside docs/ that the navigation or a link on any page leads to, and the drawing of the code."""
    files.append(File.generated(config, "house.svg", content=house.drawing(PROJECT)))
    files.append(File.generated(config, "explain/three_one_four.html", content=_explained()))
    in_nav = set(_targets_of_nav(config.nav))
    waiting = [*in_nav, *(path for page in DOCS.rglob("*.md") for path in _links(page.read_text("utf-8"), page))]
    known: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in known:
            continue
        known.add(path)
        text, pictures = _page(path)
        inclusion = InclusionLevel.INCLUDED if path in in_nav else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, _uri(path), content=text, inclusion=inclusion))
        for name, picture in pictures.items():
            files.append(File.generated(config, f"{path.parent.relative_to(PROJECT)}/{name}", content=picture))
        waiting += _links(text, path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links that lead out of docs/ at pages, and put in help texts as the command line prints them."""
    source = _source(page.file.src_uri)
    here = os.path.dirname(page.file.src_uri)

    def pointed(match: re.Match[str]) -> str:
        path = _resolved(match[1], source)
        if path is None:
            return match[0]
        return f"]({os.path.relpath(_uri(path), here or '.')}{match[2] or ''})"

    return HELP.sub(_help, LINK.sub(pointed, markdown))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Formulas as MathML."""

    def formula(match: re.Match[str]) -> str:
        display = "block" if match[2] == "[" else "inline"
        return latex2mathml.converter.convert(html.unescape(match[3]).strip(), display=display)

    return FORMULA.sub(formula, content)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Names of stages in tables may break behind their dots and underscores, and nowhere else; options not behind their dashes.

    The search index has them whole.
    """

    def broken(cell: re.Match[str]) -> str:
        return CODE.sub(lambda code: re.sub(r"(?<=[\w}])([._])(?=[\w{])", r"\1<wbr>", code[0]), cell[0])

    return CODE.sub(lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), CELL.sub(broken, output))


@cache
def _explained() -> str:
    """The README's clip on a page of its own, which the home page shows."""
    return sewnp.load("digits").explain(PROJECT / "tests" / "clips" / "three_one_four.wav").html(course="../notebooks/")


def _expanded(entry: Any) -> Any:
    if isinstance(entry, dict):
        (title, value), *_ = entry.items()
        if isinstance(value, list):
            return {title: [_expanded(each) for each in value]}
        if value.startswith("../"):
            course = (DOCS / "course.md").read_text(encoding="utf-8")  # notebooks stand in reading order
            paths = sorted(PROJECT.glob(value.removeprefix("../")), key=lambda path: (course.find(path.stem), path.name))
            return {title: [_uri(path) for path in paths] if "*" in value else _uri(paths[0])}
    return entry


def _targets_of_nav(entry: Any) -> Iterator[Path]:
    """The files outside docs/ among the navigation's entries."""
    if isinstance(entry, str) and not (DOCS / entry).exists():
        yield _source(entry)
    elif isinstance(entry, dict | list):
        for each in entry.values() if isinstance(entry, dict) else entry:
            yield from _targets_of_nav(each)


def _uri(path: Path) -> str:
    """Where a file's page stands among the site's sources."""
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(PROJECT).as_posix()
    if name == "README.md":
        return "index.md"  # the home page says what the README says
    return name.removesuffix(".ipynb").removesuffix(".md") + ".md" if path.suffix in {".ipynb", ".md"} else f"{name}.md"


def _source(uri: str) -> Path:
    """The file that a page of the site was made from."""
    candidates = [DOCS / uri, PROJECT / uri, (PROJECT / uri).with_suffix(".ipynb"), PROJECT / uri.removesuffix(".md")]
    return next((path for path in candidates if path.is_file()), DOCS / uri)


def _resolved(target: str, source: Path) -> Path | None:
    """The file that a link on a page of the source means; None where there is no such file in the project."""
    path = Path(os.path.normpath(source.parent / target))
    return path if path.is_file() and path.is_relative_to(PROJECT) else None


def _links(text: str, source: Path) -> Iterator[Path]:
    """The files outside docs/ that a page leads to; the README is the home page."""
    for target, _ in LINK.findall(text):
        path = _resolved(target, source)
        if path is not None and not path.is_relative_to(DOCS) and path != PROJECT / "README.md":
            yield path


def _page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a file's page, and the pictures that it shows."""
    if path.suffix == ".ipynb":
        return notebook_pages.page(path)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text, {}
    name = path.relative_to(PROJECT).as_posix()
    return f"# {path.name}\n\n`{name}`\n\n````{path.suffix[1:] or 'text'}\n{text}````\n", {}


def _help(marker: re.Match[str]) -> str:
    """The list of commands as it is; a command's own help folded, since a page of all of them hides what they do."""
    text = f"```text\n{_printed(marker[1])}```"
    return text if marker[1] == "sewnp --help" else f'??? quote "`{marker[1]}`"\n\n{textwrap.indent(text, "    ")}'


def _printed(command: str) -> str:
    """What a command of ours prints, in lines of 88 characters."""
    run = [sys.executable, "-m", *command.split()]
    environment = os.environ | {"COLUMNS": "90", "PYTHONPATH": str(PROJECT)}
    return subprocess.run(run, check=True, capture_output=True, encoding="utf-8", env=environment).stdout
