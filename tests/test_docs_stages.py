"""docs/stages.md is generated, and is what it would be if it were generated now."""

from pathlib import Path

from sewnp.numerics.page import stage_page
from sewnp.numerics.stages import KINDS

PAGE = Path(__file__).parent.parent / "docs" / "stages.md"
HOW = (
    "docs/stages.md is not what the stage list says; write it anew from the project's folder with\n"
    "  python -c 'from pathlib import Path; from sewnp.numerics.page import stage_page;"
    ' Path("docs/stages.md").write_text(stage_page(), encoding="utf-8")\''
)


def test_the_page_is_the_list() -> None:
    assert PAGE.read_text(encoding="utf-8") == stage_page(), HOW


def test_every_stage_stands_on_the_page_once() -> None:
    named = [line.split("`")[1] for line in stage_page().splitlines() if line.startswith("| `")]
    assert sorted(named) == sorted(kind.pattern for kind in KINDS)
