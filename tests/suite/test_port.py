"""A worked port passes the suite through its public files alone; broken in any of many ways it fails, and the break is located."""

import ast
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from suite.port import port

from sewnp.cli import main
from sewnp.cli.check import table
from sewnp.suite import check_vectors
from sewnp.suite.check import CaseReport

torch.set_num_threads(1)  # its pool costs such tiny tensors more than it gives them

RIGHT = {name: value for name, value in vars(port).items() if callable(value)}
"""The port's functions before any was replaced."""


def test_the_port_knows_nothing_of_sewnp() -> None:
    modules = set()
    for node in ast.walk(ast.parse(Path(port.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add((node.module or "").split(".")[0])
    assert modules == {"collections", "json", "math", "pathlib", "safetensors", "torch", "typing"}


def test_the_port_passes(suite: Path, ported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(suite), str(ported)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("pass") for line in lines[:-2])
    assert lines[-1] == f"all {len(lines) - 2} cases pass"
    report = check_vectors(suite, ported)
    assert not any(case.not_given for case in report.cases), "the port gives every stage"


def test_budgets_leave_room_for_other_hands(suite: Path, ported: Path) -> None:
    """torch sums in other orders than NumPy; over twelve seeds it has used 0.53 of a budget at most.  At 1 the next seed might fail."""
    rows = [row for case in check_vectors(suite, ported).cases for row in case.comparison.rows]
    assert max(row.measure.max_error / row.budget for row in rows if row.measure and row.budget) < 0.75


# -- named mutants: mistakes that ports make -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutant:
    """One function of the port replaced by a wrong one."""

    step: str
    wrong: Callable[..., Any]
    stage: str
    """What the first divergence of every failing case has to match."""
    fails: Callable[[dict[str, str]], bool] | None = None
    """Which cases have to fail, by what they cover; None where that is not so easily said."""
    among: tuple[str, ...] = ()
    """Cases that have to fail."""
    cause: str = ""
    """What the oracle says of each, where it knows."""


def tail_repeated(x: Any, factor: int, frames: int) -> Any:
    y = x.reshape(len(x), -1, x.shape[2] // factor)
    return torch.cat([y, y[:, -1:].expand(-1, frames - y.shape[1], -1)], 1)


def buckets(order: Callable[[Any, Any, Any], Any], dtype: torch.dtype) -> Callable[[int, dict[str, Any]], Any]:
    """Relative positions by the formula in another order.  order: given distance, middle and farthest, of the dtype."""

    def wrong(n: int, c: dict[str, Any]) -> Any:
        distance = torch.arange(n)[:, None] - torch.arange(n)
        if c["position_buckets"] <= 0:
            return distance
        middle, size = c["position_buckets"] // 2, distance.abs()
        r, a, far = (
            size.clamp(min=middle).to(dtype),
            torch.tensor(middle, dtype=dtype),
            torch.tensor(RIGHT["far"](c) - 1, dtype=dtype),
        )
        return torch.where(size <= middle, distance, distance.sign() * (order(r, a, far).ceil().long() + middle))

    return wrong


def quotient_first(r: Any, a: Any, far: Any) -> Any:
    return (r / a).log() / (far / a).log() * (a - 1)


def product_first(r: Any, a: Any, far: Any) -> Any:
    return (r / a).log() * (a - 1) / (far / a).log()


def constants_first(r: Any, a: Any, far: Any) -> Any:
    return (r / a).log() * ((a - 1) / (far / a).log())


def logarithms_subtracted(r: Any, a: Any, far: Any) -> Any:
    return (r.log() - a.log()) / (far.log() - a.log()) * (a - 1)


def blanks_dropped_first(tokens: list[str], c: dict[str, Any], group: bool) -> Any:
    kept = [(token, i) for i, token in enumerate(tokens) if token != c["pad_token"]]
    found: list[tuple[str, int, int]] = []
    for token, i in kept:
        if group and found and found[-1][0] == token:
            found[-1] = (token, found[-1][1], i + 1)
        else:
            found.append((token, i, i + 1))
    return found


def hidden_anyway(x: Any, c: dict[str, Any], w: Any, given: Any, see: Any) -> Any:
    shown = see if c["apply_spec_augment"] else lambda name, y: y
    return RIGHT["spec_augmented"](x, c | {"apply_spec_augment": True}, w, given, shown)


def network(covers: dict[str, str]) -> bool:
    return "family" in covers


def wrong_buckets(order: Callable[[Any, Any, Any], Any], dtype: torch.dtype, *sizes: str, cause: str) -> Mutant:
    """Found in the cases of these sizes alone."""
    among = lambda c: c.get("bucket_sizes") in sizes  # noqa: E731
    return Mutant("relative_positions", buckets(order, dtype), r"encoder\.encoder\.relative_positions", among, cause=cause)


MUTANTS: dict[str, Mutant] = {
    "tanh GELU": Mutant(
        "gelu",
        port.gelu_tanh,
        r"activation",
        lambda c: any(
            c.get(f"{n}_act", c.get(n)) in ("gelu", "gelu_python", "gelu_10") for n in ("hidden", "feat_extract_activation")
        ),
    ),
    "epsilon fixed at 1e-5": Mutant(
        "layer_norm",
        lambda x, w, name, eps: RIGHT["layer_norm"](x, w, name, 1e-5),
        r"layer_norm",
        lambda c: network(c) and c["feature_norm_eps"] != "1e-05",
    ),
    "p2c not transposed": Mutant(
        "position_to_content",
        lambda k, pos_q, relative: RIGHT["position_to_content"](k, pos_q, relative).mT,
        r"\.p2c",
        lambda c: "p2c" in c.get("pos_att_type", "") and c["relative_attention"] == "true" and c["layers"] != "0",
    ),
    "squeezed mask by floor": Mutant(
        "squeezed_mask",
        lambda mask, factor, masking: RIGHT["squeezed_mask"](mask, factor, "floor"),
        r"encoder\.squeezed_mask",
        among=("sew-d-p2c-shared-keys", "loss-sew"),
    ),
    "position convolution without bias": Mutant(
        "position_convolution",
        lambda x, kernel, bias, c: RIGHT["position_convolution"](x, kernel, None, c),
        r"encoder\.pos_conv_embed\.conv",
        network,
    ),
    "blank assumed 0": Mutant("blank_of", lambda c: 0, r"ctc\.alpha", lambda c: c.get("blank", "0") != "0"),
    "odd tail repeats the last frame": Mutant(
        "unfolded", tail_repeated, r"encoder\.last_hidden_state", lambda c: network(c) and not c["remainder"].startswith("0/")
    ),
    "weight norm over dimension 0": Mutant(
        "folded", lambda g, v: g * v / v.pow(2).sum((1, 2), keepdim=True).sqrt(), r"encoder\.pos_conv_embed\.conv\.weight", network
    ),
    "heads interleaved": Mutant(
        "heads",
        lambda x, count: x.unflatten(2, (-1, count)).permute(0, 3, 1, 2),
        r"\.q",
        lambda c: network(c) and c["layers"] != "0",
    ),
    "pooled by the largest": Mutant(
        "pooled_frames", lambda x, factor: F.max_pool1d(x, factor), r"encoder\.pool", lambda c: network(c) and c["squeeze"] != "1"
    ),
    "buckets in float64": wrong_buckets(
        quotient_first, torch.float64, "32/129", "18/65", "50/37", cause="buckets computed in float64"
    ),
    "buckets in float64, divided last": wrong_buckets(
        product_first, torch.float64, "8/20", "18/65", "50/37", cause="buckets computed in float64"
    ),
    "buckets in float32, divided last": wrong_buckets(
        product_first, torch.float32, "50/37", cause="product taken before the quotient of the logarithms"
    ),
    "buckets in float32, constants first": wrong_buckets(
        constants_first, torch.float32, "18/65", cause="constants divided before the product"
    ),
    "buckets in float32, logarithms subtracted": wrong_buckets(
        logarithms_subtracted, torch.float32, "18/65", "50/37", cause="logarithms subtracted instead of distances divided"
    ),
    "frames hidden although nothing is": Mutant(
        "spec_augmented",
        hidden_anyway,
        r"(encoder\.pos_conv_embed\.conv|encoder\.masked_frames)",
        lambda c: c.get("mask_time_indices") == "ignored",
        among=("sew-spec-augment-off", "sew-d-spec-augment-off-padded"),
        cause="frames of mask_time_indices hidden although apply_spec_augment is false",
    ),
    "frames that were not masked": Mutant(
        "masked_frames",
        lambda x, mask, see: (see("encoder.masked_frames", RIGHT["zeroed"](x, mask)), x)[1],
        r"encoder\.pos_conv_embed\.conv",
        among=("sew-squeeze-2-rest-1-even-kernel", "sew-d-p2c-shared-keys"),
        cause="computed from unmasked frames",
    ),
    "frames hidden although nothing is, and shown": Mutant(
        "spec_augmented",
        lambda x, c, w, given, see: RIGHT["spec_augmented"](x, c | {"apply_spec_augment": True}, w, given, see),
        r"masked_spec_embed",
        lambda c: c.get("mask_time_indices") == "ignored",
    ),
    "padding attended evenly": Mutant(
        "attended",
        lambda scores, mask: scores.masked_fill(~mask, -1e9).softmax(-1) if mask is not None else scores.softmax(-1),
        r"\.probabilities",
        among=("sew-all-padding-any", "sew-d-all-padding-any", "sew-all-padding-floor", "sew-d-all-padding-floor"),
    ),
    "frames that are hidden also zeroed": Mutant(
        "hide",
        lambda x, hidden, embedding: x.masked_fill(hidden[:, :, None], 0.0),
        r"masked_spec_embed",
        lambda c: c.get("mask_time_indices") == "used" or "spec_augment" in c,
    ),
    "mean over the padding too": Mutant("mean_over", lambda z, mask: z.mean(1), r"pooled", among=("sew-d-classes-padded",)),
    "variance without bias": Mutant(
        "normalised",
        lambda x: (x - x.mean()) / (x.var() + 1e-7).sqrt(),
        r"input_values",
        among=("features-one-clip", "features-padded", "features-masked"),
        cause="variance over n - 1 instead of n",
    ),
    "a leap between equal tokens": Mutant(
        "may_leap",
        lambda token, before, blank: token != blank,
        r"ctc\.alpha",
        among=("ctc-repeats",),
        cause="leap between equal tokens allowed",
    ),
    "blanks kept in the labels": Mutant(
        "targets_of",
        lambda labels, blank: [[int(t) for t in row if t != -100] for row in labels],
        r"ctc\.alpha",
        among=("ctc-ignored-labels",),
        cause="blanks in the labels kept",
    ),
    "clean-up of the punctuation alone": Mutant(
        "cleaned_up",
        lambda text: text.replace(" ?", "?"),
        r"text",
        among=("tokenizer-clean-up",),
        cause="clean-up of punctuation alone, contractions left",
    ),
    "blanks dropped before repeats are merged": Mutant(
        "runs",
        blanks_dropped_first,
        r"(text|char_offsets)",
        among=("tokenizer-plain",),
        cause="blanks dropped before repeats are merged",
    ),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught_and_located(name: str, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mistakes on the way forward, in the cases that do not go back: those are for the mistakes there."""
    mutant = MUTANTS[name]
    monkeypatch.setattr(port, mutant.step, mutant.wrong)
    port.run(suite, tmp_path / "results", list(covered(suite)))
    report = check_vectors(suite, tmp_path / "results", ["[!g]*"])
    failed = {case.name: case for case in report.cases if not case.passes}
    assert failed, "not caught"
    assert sum(report.origins.values()) == len(failed)
    for case in failed.values():
        assert case.first is not None
        assert re.search(f"{mutant.stage}$", case.first.name), f"{case.name}: located at {case.first.name}"
        assert mutant.cause in case.first.cause, f"{case.name}: {case.verdict}"
    if mutant.fails is not None:
        assert set(failed) == {case for case, covers in covered(suite).items() if mutant.fails(covers)}
    assert set(mutant.among) <= set(failed)


def covered(suite: Path, *, gradients: bool = False) -> dict[str, dict[str, str]]:
    """Case -> what it covers, by name; of the cases that go back, or of the others."""
    entries = json.loads((suite / "manifest.json").read_text(encoding="utf-8"))["cases"]
    found = {entry["name"]: dict(said.split(":", 1) for said in entry["covers"]) for entry in entries}
    assert all(name.startswith("gradients-") == ("gradients" in covers) for name, covers in found.items())
    return {name: covers for name, covers in found.items() if gradients == ("gradients" in covers)}


# -- mutants drawn at random: one value of one stage of one case, and everything behind it follows -----------------------------------------


def drawn(suite: Path, seed: int) -> tuple[str, dict[str, Any]]:
    """A case and one of its stages."""
    rng = random.Random(seed)
    names = sorted(path.parent.name for path in suite.glob("cases/*/expected.safetensors"))
    case = rng.choice(names)
    return case, rng.choice(json.loads((suite / "cases" / case / "stages.json").read_text(encoding="utf-8")))


def nudged(x: torch.Tensor, rng: random.Random, scale: float) -> torch.Tensor:
    """One element moved: by 0.0001 to 0.1 of the scale, by one, or to its opposite."""
    flat = x.clone().flatten()
    i = rng.choice(torch.isfinite(flat).nonzero().flatten().tolist())
    if flat.dtype == torch.bool:
        flat[i] = ~flat[i]
    elif flat.is_floating_point():
        scale = scale or float(flat[torch.isfinite(flat)].detach().abs().max()) or 1.0
        flat[i] += rng.choice((-1, 1)) * scale * 10 ** rng.uniform(-4, -1)
    else:
        flat[i] += 1
    return flat.reshape(x.shape)


@pytest.mark.parametrize("seed", range(40))
def test_a_random_mutant_is_caught_and_located(seed: int, suite: Path, tmp_path: Path) -> None:
    case, row = drawn(suite, seed)
    stage = row["name"]

    def change(_: str, name: str, x: torch.Tensor) -> torch.Tensor:
        return nudged(x, random.Random(seed), row.get("scale", 0.0)) if name == stage else x

    port.run(suite, tmp_path / "results", [case], change)
    (judged,) = check_vectors(suite, tmp_path / "results", [case]).cases
    assert not judged.passes
    assert located(judged) == stage


def located(case: CaseReport) -> str:
    assert case.first is not None
    return case.first.name


def test_the_page_shows_what_happens(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/check-your-port.md spoils a line and pastes what ``sewnp check`` says of it."""
    page = (Path(__file__).parents[2] / "docs" / "check-your-port.md").read_text(encoding="utf-8")
    spoilt, right = (re.search(rf"^\{sign} +return (.*)$", page, re.M)[1] for sign in "+-")  # type: ignore[index]
    source = Path(port.__file__).read_text(encoding="utf-8")
    assert source.count(right + "\n") == 1
    assert right == spoilt + ".mT"
    mutant = MUTANTS["p2c not transposed"]
    monkeypatch.setattr(port, mutant.step, mutant.wrong)
    port.run(suite, tmp_path / "results")
    said = table(check_vectors(suite, tmp_path / "results")).splitlines()
    begin = page.index("$ sewnp check conformance results\n")
    shown = page[begin : page.index("$ echo", begin)].splitlines()[1:]
    gap = shown.index("...")
    assert shown[:gap] == said[:gap]
    assert shown[gap + 1 :] == said[-len(shown[gap + 1 :]) :]
    assert f"all {len(said) - 4} cases pass" in page
