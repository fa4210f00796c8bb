"""The list of stages as a page to read."""

from collections.abc import Callable

from sewnp.numerics.stages import KINDS, STAGE_LIST_VERSION, StageKind

LAYERS = ("encoder.layers.", "encoder.layer_norm", "encoder.encoder.")
HEAD = ("weighted_layers", "projector", "pooled", "logits", "log_probs", "ctc.alpha", "ctc.losses", "loss")

GROUPS: tuple[tuple[str, str, Callable[[str], bool]], ...] = (
    (
        "From samples to frames",
        "Both families. `masked_spec_embed` is there where `mask_time_indices` were given, `frame_mask` where an attention mask was.",
        lambda name: not name.startswith("encoder.") and name not in HEAD,
    ),
    (
        "The squeeze, and position",
        "Both families.",
        lambda name: name.startswith("encoder.") and not name.startswith((*LAYERS, "encoder.upsample", "encoder.last")),
    ),
    (
        "Layers of SEW",
        "SEW alone normalises the squeezed frames before its first layer.",
        lambda name: name.startswith(LAYERS[:2]),
    ),
    (
        "Positions and layers of SEW-D",
        "`pos_k` and `c2p` are there where `pos_att_type` names c2p, `pos_q` and `p2c` where it names p2c, and no position at all without"
        " `relative_attention`.",
        lambda name: name.startswith(LAYERS[2]),
    ),
    ("Back to the full rate", "Both families.", lambda name: name.startswith(("encoder.upsample", "encoder.last"))),
    (
        "Heads and losses",
        "A CTC head has `logits`, and with labels `log_probs` and what follows. A classification head has `projector`, `pooled`, `logits`"
        " and with labels the loss.",
        lambda name: name in HEAD,
    ),
)
"""Title, a word on when the stages are there, and which patterns of names belong: each to one group."""


INTRODUCTION = f"""\
# Stages

The intermediate values of SEW and SEW-D under their public names, stage list {STAGE_LIST_VERSION}. Names follow the checkpoint's scopes;
`{{i}}` is a layer's number. They are what `sewnp trace` writes, what `sewnp compare` and `sewnp check` judge, and what the observer of
`model(..., see=...)` is shown, in the order of computation.

Axes are always (batch, time, channels), whatever the framework at hand likes: B clips, n samples, T frames (in the convolution stack, of
the convolution at hand), N = T // s squeezed frames (N* where the position convolution has one more), s squeeze factor, C channels of a
convolution, H hidden size, h heads, d = H / h, I width of the feed-forward, K taps and G groups of the position convolution, R rows of the
position table, V tokens, S states of the CTC lattice (two for each token of the longest target, and one), P projection of the
classification head, L labels.

This page is generated from `sewnp/numerics/stages.py`; a test keeps the two together.
"""


def stage_page() -> str:
    """The whole list in Markdown, a table a group."""
    parts = [INTRODUCTION]
    for title, when, belongs in GROUPS:
        rows = "\n".join(_row(kind) for kind in KINDS if belongs(kind.pattern))
        parts.append(f"## {title}\n\n{when}\n\n| stage | axes | what it is |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _row(kind: StageKind) -> str:
    axes = " or ".join(f"({', '.join(part.split())})" for part in kind.axes.split("|"))
    exact = f" ({kind.kind}: has to be equal)" if kind.kind != "float" else ""
    return f"| `{kind.pattern}` | {axes} | {kind.meaning}{exact} |"
