"""The site builds strictly, without a network, and none of its links leads nowhere."""

import importlib
import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")

ROOT = Path(__file__).parent.parent
ROOMS = ["sewnp", *(f"sewnp.{page.stem}" for page in sorted((ROOT / "docs" / "api").glob("*.md")) if page.stem != "sewnp")]


class Page(HTMLParser):
    """What a page can be reached by, and what it reaches for."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        said = {name: value for name, value in attrs if value is not None}
        self.anchors |= {said[name] for name in ("id", "name") if name in said}
        if "href" in said:
            (self.fetched if tag == "link" and said.get("rel") != "canonical" else self.links).append(said["href"])
        if "src" in said:
            self.fetched.append(said["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")  # not --quiet, which drops the warnings that --strict counts
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "NO_MKDOCS_2_WARNING": "1",  # material's advertisement
        **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),  # nobody answers there
    }
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_links_and_anchors_lead_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    lost = []
    for path, page in pages.items():
        for link in page.links + page.fetched:
            target, anchor = urldefrag(link)
            if urlsplit(link).scheme:
                continue
            base = site if target.startswith("/") else path.parent
            reached = (base / unquote(target).lstrip("/")).resolve() if target else path
            reached = reached / "index.html" if reached.is_dir() else reached
            if not reached.is_file() or (anchor and reached in pages and unquote(anchor) not in pages[reached].anchors):
                lost.append(f"{path.relative_to(site)}: {link}")
    assert lost == []
    assert sum(len(page.links) for page in pages.values()) > 1000


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert [link for link in page.fetched if urlsplit(link).netloc] == [], path
    for path in (site / "stylesheets").glob("*.css"):
        assert "//" not in path.read_text(encoding="utf-8").replace("/*", "").replace("*/", ""), path


def test_every_notebook_card_and_room_has_its_page(site: Path, pages: dict[Path, Page]) -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        page = site / "notebooks" / notebook.stem / "index.html"
        pictures = sum("image/png" in output.get("data", {}) for cell in json.loads(notebook.read_text("utf-8"))["cells"]
                       for output in cell.get("outputs", []))  # fmt: skip
        assert pages[page].tags.count("img") == pictures, notebook.name
    for card in (ROOT / "sewnp" / "pretrained").glob("*/README.md"):
        assert card.parent.relative_to(ROOT) / "index.html" in {path.relative_to(site) for path in pages}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_stands_in_the_reference(room: str, site: Path, pages: dict[Path, Page]) -> None:
    module = importlib.import_module(room)
    names = {name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)} - {"__version__"}
    assert {
        name for name in names if f"{room}.{name}" not in pages[site / "api" / room.split(".")[-1] / "index.html"].anchors
    } == set()


def test_rooms_are_linked_where_docstrings_name_them(site: Path, pages: dict[Path, Page]) -> None:
    assert "../ctc/" in pages[site / "api" / "decoding" / "index.html"].links


def test_formulas_are_mathml(site: Path, pages: dict[Path, Page]) -> None:
    assert pages[site / "notebooks" / "02_strided_convolutions" / "index.html"].tags.count("math") >= 5
    for path in pages:
        assert 'class="arithmatex"' not in path.read_text(encoding="utf-8"), path


def test_search_knows_what_is_said(site: Path) -> None:
    found = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    text = {entry["location"]: entry["text"] for entry in found}
    assert any("position_to_content" in where for where in text)
    assert any("squeeze" in said and where.startswith("notebooks/04") for where, said in text.items())


def test_names_in_tables_break_behind_their_dots_and_are_found_whole(site: Path) -> None:
    assert "encoder.<wbr>squeezed_<wbr>mask" in (site / "stages" / "index.html").read_text(encoding="utf-8")
    docs = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))["docs"]
    assert any("encoder.squeezed_mask" in entry["text"] for entry in docs if entry["location"].startswith("stages/"))


def test_options_are_not_parted_from_their_dashes(site: Path) -> None:
    assert 'sewnp compare <span class="option">--model</span>' in (site / "check-your-port" / "index.html").read_text(
        encoding="utf-8"
    )


def test_no_marker_is_left_and_helps_are_whole(site: Path) -> None:
    text = (site / "cli" / "index.html").read_text(encoding="utf-8")
    assert "--help --&gt;" not in text
    assert "--help -->" not in text
    assert text.count("usage: sewnp") == 1 + text.count('<h2 id="sewnp-')
    assert text.count("<details") == text.count('<h2 id="sewnp-')


def test_the_home_page_opens_with_a_clip(site: Path, pages: dict[Path, Page]) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert home.index("<iframe") < home.index("<code")
    assert "explain/three_one_four.html" in pages[site / "index.html"].fetched
    clip = site / "explain" / "three_one_four.html"
    assert "THREE ONE FOUR ONE FIVE NINE" in clip.read_text(encoding="utf-8")
    assert [link for link in pages[clip].links if not link.startswith("../notebooks/")] == []
