"""The worked port with mistakes on its way back: each is caught in the suite, located, and named."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from suite.port import port
from suite.test_port import covered

from sewnp.cli import main
from sewnp.loading import load
from sewnp.numerics import open_stages
from sewnp.ports import judge
from sewnp.suite import check_vectors

RIGHT = {name: value for name, value in vars(port).items() if callable(value)}
"""The port's functions before any was replaced."""

Tensor = torch.Tensor


def backwards(step: str, back: Callable[..., tuple[Tensor | None, ...]]) -> Callable[..., Tensor]:
    """A step of the port that goes forward rightly and back in a way of its own: given dy and the step's arguments, what each receives."""

    def run(*arguments: Any) -> Tensor:
        class Step(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *given: Any) -> Tensor:
                ctx.given = given
                y: Tensor = RIGHT[step](*given)
                return y.clone()

            @staticmethod
            def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
                found = back(dy, *ctx.given)
                return (*found, *[None] * (len(ctx.given) - len(found)))

        y: Tensor = Step.apply(*arguments)
        return y

    return run


def right(step: str, dy: Tensor, *arguments: Any) -> tuple[Tensor | None, ...]:
    """What a step's tensors should receive."""
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in arguments]
        wanted = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        found = iter(torch.autograd.grad(RIGHT[step](*leaves), wanted, dy))
        return tuple(next(found) if isinstance(x, Tensor) and x.requires_grad else None for x in leaves)


def layer_norm(x: Tensor, w: dict[str, Tensor], name: str, eps: float, *, mean_known: bool, spread_known: bool) -> Tensor:
    """By hand, some statistics taken for constants."""
    mean = x.mean(-1, keepdim=True)
    mean = mean.detach() if mean_known else mean
    variance = (x - mean).square().mean(-1, keepdim=True)
    spread = ((variance.detach() if spread_known else variance) + eps).sqrt()
    return (x - mean) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def unflipped(x: Tensor, w: dict[str, Tensor], name: str, stride: int) -> Tensor:
    """The kernel's gradient is right; what the samples receive came by the kernel as it is, not mirrored."""
    kernel = w[f"{name}.weight"]
    y = F.conv1d(x.detach(), kernel, w.get(f"{name}.bias"), stride)
    mirrored = F.conv1d(x, kernel.detach().flip(2), None, stride)
    return y + mirrored - mirrored.detach()


def linear_averaged(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    """The bias receives the mean over the frames."""
    bias = w[f"{name}.bias"]
    shown = bias / (x.shape[1] if x.ndim == 3 else 1)
    return F.linear(x, w[f"{name}.weight"]) + shown + (bias - shown).detach()


def overwritten(dy: Tensor, q: Tensor, pos_k: Tensor, relative: Tensor) -> tuple[Tensor, Tensor]:
    """Where several pairs read one row of the table, the last of them alone counts."""
    places = port.table_index(relative, pos_k.shape[2])
    products = torch.zeros(*dy.shape[:-1], pos_k.shape[2])
    for key in range(dy.shape[-1]):
        index = places[:, key, None].expand(*dy.shape[:2], -1, -1)
        products.scatter_(3, index, dy[..., key, None])
    return products @ pos_k, (products.mT @ q).sum(0, keepdim=True)


def ctc_of_torch(log_probs: Tensor, labels: Tensor, lengths: list[int], c: dict[str, Any], see: port.See) -> None:
    """torch's own loss, which gives back the gradient at the logits already."""
    targets = [[int(t) for t in row if t not in (-100, port.blank_of(c))] for row in labels]
    flat = torch.tensor([t for row in targets for t in row], dtype=torch.int64)
    sizes, frames = torch.tensor([len(row) for row in targets]), torch.tensor(lengths)
    options = {"blank": port.blank_of(c), "reduction": "none", "zero_infinity": c["ctc_zero_infinity"]}
    losses = see("ctc.losses", F.ctc_loss(log_probs.transpose(0, 1), flat, frames, sizes, **options))
    reduced = {"mean": lambda: (losses / sizes.clamp(min=1)).mean(), "sum": losses.sum, "none": lambda: losses}
    see("loss", reduced[c["ctc_loss_reduction"]]())


@dataclass(frozen=True)
class Mutant:
    step: str
    wrong: Callable[..., Any]
    stage: str
    """What the first divergence of every failing case has to match."""
    cause: str
    """How the oracle names it."""
    case: str = "gradients-sew-padded"
    """Where it is named."""
    fails: Callable[[dict[str, str]], bool] | None = None
    """Which cases have to fail, by what they cover; None where that is not so easily said."""


def padded(c: dict[str, str]) -> bool:
    return c.get("mask", "none") != "none"


def network(c: dict[str, str]) -> bool:
    return "family" in c


MUTANTS: dict[str, Mutant] = {
    "layer norm's mean term missing": Mutant(
        "layer_norm", lambda *a: layer_norm(*a, mean_known=True, spread_known=False), r"gradient\.", "mean term missing"
    ),
    "layer norm's statistics taken for constants": Mutant(
        "layer_norm",
        lambda *a: layer_norm(*a, mean_known=True, spread_known=True),
        r"gradient\.",
        "mean and spread taken for constants",
    ),
    "softmax without the row sum": Mutant(
        "softmax",
        backwards("softmax", lambda dy, x: (dy * x.softmax(-1),)),
        r"gradient\..*\.scores",
        "row sum missing",
        case="gradients-sew-d-padded",
    ),
    "weight norm's length taken for a constant": Mutant(
        "folded",
        lambda g, v: g * v / v.pow(2).sum((0, 1), keepdim=True).sqrt().detach(),
        r"gradient\..*weight\.original1",
        "weight_v's length taken for a constant: g / |v| times what comes back",
        fails=network,
    ),
    "weight norm's g only": Mutant(
        "folded",
        lambda g, v: RIGHT["folded"](g, v.detach()) + 0 * v,
        r"gradient\..*weight\.original1",
        "nothing comes back",
    ),
    "kernel not flipped": Mutant(
        "convolution", unflipped, r"gradient\.(feature_extractor.*\.activation|input_values)", "kernel not flipped", fails=network
    ),
    "residual counted twice": Mutant(
        "added",
        backwards("added", lambda dy, x, y: (2 * dy, dy)),
        r"gradient\.encoder\.",
        "what comes past the block counted twice",
    ),
    "gradient at the log-probabilities in place of the logits'": Mutant(
        "log_softmax",
        backwards("log_softmax", lambda dy, x: (dy,)),
        r"gradient\.logits",
        "sum over the tokens missing",
        fails=lambda c: c.get("head") == "ctc",
    ),
    "the loss's gradient is that by the logits already": Mutant(
        "ctc",
        ctc_of_torch,
        r"gradient\.log_probs",
        "softmax minus posteriors: the gradient at the logits",
        fails=lambda c: c.get("head") == "ctc" or c["gradients"] == "ctc",
    ),
    "mean over padded frames": Mutant(
        "mean_over",
        backwards("mean_over", lambda dy, z, mask: (dy[:, None].expand(z.shape) / z.shape[1],)),
        r"gradient\.projector",
        "mean over padding too",
        case="gradients-sew-classes-padded",
        fails=lambda c: c.get("head") == "classification" and padded(c),
    ),
    "padded frames receive": Mutant(
        "zeroed",
        backwards("zeroed", lambda dy, x, mask: (dy, None)),
        r"gradient\.(feature_projection|masked_spec_embed)",
        "padded frames receive although they were set to zero",
        fails=padded,
    ),
    "dropout forgotten on the way back": Mutant(
        "drop",
        lambda x, factors: x + (x.detach() * factors - x.detach()),
        r"gradient\.",
        "dropout not applied on the way back",
        case="gradients-sew-trained",
        fails=lambda c: c["gradients"] == "trained",
    ),
    "pool not divided": Mutant(
        "pooled_frames",
        backwards("pooled_frames", lambda dy, x, factor: (factor * right("pooled_frames", dy, x, factor)[0], None)),
        r"gradient\.(encoder\.masked_frames|masked_spec_embed|feature_projection|layer_norm)",
        "not divided by the squeeze factor",
        fails=lambda c: network(c) and c["squeeze"] != "1",
    ),
    "biases averaged": Mutant(
        "linear", linear_averaged, r"gradient\..*\.bias", "averaged over the frames instead of summed", fails=network
    ),
    "rows of the table overwritten": Mutant(
        "content_to_position",
        backwards("content_to_position", lambda dy, q, pos_k, relative: (*overwritten(dy, q, pos_k, relative), None)),
        r"gradient\..*\.(pos_k|q)",
        "where several read one row, only the last counts",
        case="gradients-sew-d-beyond-the-span",
    ),
    "hidden frames receive": Mutant(
        "hide",
        backwards("hide", lambda dy, x, hidden, embedding: (dy, None, right("hide", dy, x, hidden, embedding)[2])),
        r"gradient\.feature_projection",
        "frames receive although they are hidden",
        fails=lambda c: c.get("mask_time_indices") == "used",
    ),
    "heads not swapped back": Mutant(
        "merged",
        backwards("merged", lambda dy, x: (dy.reshape(x.shape),)),
        r"gradient\..*\.(probabilities|v)",
        "heads split without swapping the axes",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mistake_on_the_way_back_is_caught_located_and_named(
    name: str, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant, cases = MUTANTS[name], covered(suite, gradients=True)
    monkeypatch.setattr(port, mutant.step, mutant.wrong)
    port.run(suite, tmp_path, list(cases))
    report = check_vectors(suite, tmp_path, ["gradients-*"])
    failed = {case.name: case for case in report.cases if not case.passes}
    assert mutant.case in failed, "not caught"
    for case in failed.values():
        assert case.first is not None
        assert re.search(f"{mutant.stage}$" if mutant.stage[-1] != "." else mutant.stage, case.first.name), (
            case.name,
            case.first.name,
        )
        assert case.first.name.startswith("gradient.")
    if mutant.fails is not None:
        expected = {case for case, covers in cases.items() if mutant.fails(covers)}
        assert failed.keys() <= expected
        assert len(failed) > 0.8 * len(expected), expected - failed.keys()

    folder = suite / "cases" / mutant.case
    files = open_stages(folder / "expected.safetensors"), open_stages(tmp_path / f"{mutant.case}.safetensors")
    result = judge(*files, model=load(folder, dtype="float64", masking=files[0].metadata["masking"]))  # type: ignore[arg-type]
    causes = {row.name: row.cause for row in result.rows if row.origin}
    first = failed[mutant.case].first
    assert first is not None
    assert first.name in causes
    assert all(cause and set(mutant.cause.split()) <= set(cause.split()) for cause in causes.values()), causes


def test_all_stages_on_the_way_back_are_given_and_agree(suite: Path, ported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By both commands, down to every weight."""
    assert main(["check", str(suite), str(ported), "--cases", "gradients-*"]) == 0
    assert f"all {len(covered(suite, gradients=True))} cases pass" in capsys.readouterr().out
    for case in ("gradients-sew-trained", "gradients-sew-d-trained"):
        folder = suite / "cases" / case
        files = str(folder / "expected.safetensors"), str(ported / f"{case}.safetensors")
        assert main(["compare", *files, "--model", str(folder)]) == 0
        assert re.search(r"all \d+ stages agree", capsys.readouterr().out)
