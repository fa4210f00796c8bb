"""docs/stages.md is generated, and is what it would be if it were generated now."""

import runpy
from pathlib import Path

from sewnp.networks import STAGES

DOCS = Path(__file__).parent.parent / "docs"
GENERATOR = runpy.run_path(str(DOCS / "site" / "stage_page.py"))


def test_the_page_is_the_list() -> None:
    page = (DOCS / "stages.md").read_text(encoding="utf-8")
    assert page == GENERATOR["stage_page"](), "docs/stages.md is not what the stage list says: python docs/site/stage_page.py"


def test_every_stage_stands_on_the_page_once() -> None:
    named = [line.split("`")[1] for line in GENERATOR["stage_page"]().splitlines() if line.startswith("| `")]
    assert sorted(named) == sorted(stage.name for stage in STAGES)
