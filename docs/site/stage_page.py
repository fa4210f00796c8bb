"""Writes docs/stages.md, the list of stages as a page to read, from ``sewnp.networks.STAGES``:  python docs/site/stage_page.py"""

from pathlib import Path

from sewnp.networks import STAGE_LIST_VERSION, STAGES, Stage
from sewnp.networks.stages import GROUPS

PAGE = Path(__file__).parents[1] / "stages.md"

INTRODUCTION = f"""\
# Stages

![The stages of SEW, with shapes and frame rates](architecture.png)

The intermediate values of SEW and SEW-D under their public names, stage list {STAGE_LIST_VERSION}. Names follow the checkpoint's scopes;
`{{i}}` is a layer's number. They are what `sewnp trace` writes, what `sewnp compare` and `sewnp check` judge, and what the observer of
`model(..., see=...)` is shown, in the order of computation.

Axes are always (batch, time, channels), whatever the framework at hand likes: B clips, n samples, T frames (in the convolution stack, of
the convolution at hand), N = T // s squeezed frames (N* where the position convolution has one more), s squeeze factor, C channels of a
convolution, H hidden size, h heads, d = H / h, I width of the feed-forward, K taps and G groups of the position convolution, R rows of the
position table, V tokens, S states of the CTC lattice (two for each token of the longest target, and one), P projection of the
classification head, L labels.

Where the loss is taken back (`sewnp trace --gradients`, `model.gradients(..., see=...)`), each stage of floats but `ctc.alpha` has a
gradient too, `gradient.` before its name, and so has each weight, `gradient.` before its key in the checkpoint. They stand behind the
stages, in the order of the way back, then the weights. A gradient has the shape of its stage and is the derivative by the value that the
network went on with: behind dropout.

This page is generated from `sewnp/networks/stages.py`; a test keeps the two together.
"""


def stage_page() -> str:
    """The whole list in Markdown, a table a group."""
    parts = [INTRODUCTION]
    for group, (title, when) in GROUPS.items():
        rows = "\n".join(_row(stage) for stage in STAGES if stage.group == group)
        parts.append(f"## {title}\n\n{when}\n\n| stage | axes | what it is |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(stage: Stage) -> str:
    axes = " or ".join(f"({', '.join(part.split())})" for part in stage.axes.split("|"))
    exact = f" ({stage.kind}: has to be equal)" if stage.kind != "float" else ""
    return f"| `{stage.name}` | {axes} | {stage.meaning}{exact} |"


if __name__ == "__main__":
    PAGE.write_text(stage_page(), encoding="utf-8")
