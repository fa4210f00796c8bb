"""The page is one file, and what comes from outside stays text in it."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import sewnp
from sewnp.explain import Page, render
from sewnp.explain.page import SCRIPTS
from sewnp.networks import stage_of

ASSETS = Path(sewnp.__file__).parent / "explain" / "assets"
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


class Elements(HTMLParser):
    """What elements there are, with their attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), []))

    def handle_data(self, data: str) -> None:
        if self.found and self.lasttag == self.found[-1][0] and self.cdata_elem:
            self.found[-1][2].append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attributes, "".join(text)) for name, attributes, text in self.found if name == tag]


def digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_nothing_is_fetched_and_only_our_own_script_and_style_run(page: Page) -> None:
    elements = Elements(page.html())
    assert [name for name, attributes, _ in elements.found for key in attributes if key in ("src", "href", "style", "action")] == []
    (policy,) = [attributes["content"] for attributes, _ in elements.all("meta") if "http-equiv" in attributes]
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    (data, document), (script, code) = elements.all("script")
    ((_, style),) = elements.all("style")
    assert (data.get("type"), script.get("type")) == ("application/json", None)
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == digest(code)
    assert rules["style-src"] == digest(style)
    assert set(rules) == {"default-src", "script-src", "style-src", "img-src", "media-src", "base-uri", "form-action"}
    assert json.loads(document) == page.document


def test_no_script_makes_markup_of_text() -> None:
    code = "".join((ASSETS / f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    assert {path.stem for path in ASSETS.glob("*.js")} == set(SCRIPTS)
    for name in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "XMLHttp",
        "http:",
        "https:",
        "//cdn",
    ):
        assert name not in code, name


HOSTILE = "</script><script>document.title='bad'</script><!-- <img src=x onerror=alert(1)> \u2028 {{data}} \u202e"


def test_hostile_words_end_no_element() -> None:
    elements = Elements(render({"model": {"name": HOSTILE}}))
    assert len(elements.all("script")) == 2
    assert elements.all("img") == []
    document = elements.all("script")[0][1]
    assert document.endswith("}"), "ended early"
    assert json.loads(document)["model"]["name"] == HOSTILE


def test_notebooks_are_named_and_linked_where_an_address_is_known(page: Page) -> None:
    named = re.findall(r'class="notebook" href="(\w+)"', (ASSETS / "page.html").read_text(encoding="utf-8"))
    assert len(named) >= 8
    assert [name for name in named if not (NOTEBOOKS / f"{name}.ipynb").is_file()] == []
    assert 'href="' not in page.html().partition("<main>")[2].partition("</main>")[0]
    linked = page.html(course="../notebooks/")
    assert re.findall(r'<a href="\.\./notebooks/(\w+)/"', linked) == named


def test_every_panel_names_its_stage_and_says_two_sentences(page: Page) -> None:
    sections = re.findall(r"<section id=\"(\w+)\".*?</section>", page.html(), re.DOTALL)
    assert sections == ["sound", "funnel", "squeeze", "attention", "letters", "lattice", "words", "gradients"]
    for body in re.findall(r"<section id=.*?</section>", page.html(), re.DOTALL):
        said = html.unescape(re.search(r"<p>(.*?)</p>", body, re.DOTALL)[1])  # type: ignore[index]
        assert len(re.findall(r"[.?](?:\s|$)", said)) == 2, said
        for stage in re.findall(r"<code>(.*?)</code>", body):
            assert stage_of(stage.removeprefix("gradient.").replace("{i}", "0"))


def test_a_notebook_gets_a_frame_that_reaches_nothing(page: Page) -> None:
    ((attributes, _),) = Elements(page._repr_html_()).all("iframe")
    assert attributes["sandbox"] == "allow-scripts"
    assert attributes["srcdoc"] == page.html()


def test_a_page_is_written_whole_or_not_at_all(page: Page, tmp_path: Path) -> None:
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html()
    with pytest.raises(sewnp.InputError, match=r"gone/page\.html: could not be written: No such file"):
        page.save(tmp_path / "gone" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_the_same_clip_gives_the_same_bytes(digits: sewnp.Model, second: Any, page: Page) -> None:
    assert replace(page).html() == page.html() == digits.explain(second).html()
