"""What the tests mean by "equal", and what they ask of every layer alike.

Nothing here imports torch before a test asks for it: a judge that is a loop over Python floats should not wait for it.
"""

import functools
import itertools
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from sewnp.layers import unseen, unseen_vjp

few = settings(max_examples=30, deadline=None, derandomize=True)
"""For properties: the same thirty examples in every run."""

randoms = st.randoms(use_true_random=False)
"""Of the standard library's kind, whose draws hypothesis can make smaller."""

EPS32 = float(np.finfo(np.float32).eps)


def scale_error(x: Any, truth: Any) -> float:
    """The largest difference as a fraction of the largest true value, shapes being equal.

    NaN and infinity have to stand where they stand in the truth: where they do not, the error is NaN or infinite, and no bound holds.
    """
    x, truth = np.asarray(x), np.asarray(truth)
    assert x.shape == truth.shape, f"shapes differ: {x.shape} and {truth.shape}"
    wild = ~np.isfinite(truth)
    np.testing.assert_array_equal(x[wild], truth[wild])
    calm = truth[~wild].astype(np.float64)
    if calm.size == 0:
        return 0.0
    difference, scale = float(np.abs(x[~wild].astype(np.float64) - calm).max()), float(np.abs(calm).max())
    if scale == 0.0:
        return 0.0 if difference == 0.0 else np.inf
    return difference / scale


def assert_close64(ours: Any, truth: Any, tolerance: float = 1e-12) -> None:
    """float64 against float64.

    1e-12 of the tensor's scale: both sides round every operation at 1.1e-16 and sum in orders of their own; a layer sums some tens or
    hundreds of terms, which leaves an error near 1e-15, and three digits of room for scores that an exponential amplifies.
    """
    assert ours.dtype == np.float64, f"expected float64, found {ours.dtype}"
    error = scale_error(ours, truth)
    assert error <= tolerance, f"differs by {error:.2g} of its scale, {tolerance:.2g} allowed"


def assert_float32_honest(ours32: Any, torch32: Any, truth64: Any, *, factor: float = 4) -> None:
    """float32 against what float32 arithmetic can do: ``err(ours) <= 4 * max(err(torch), 4 eps)``, errors as fractions of the scale.

    No fixed tolerance is honest here: how much rounding costs depends on the sizes.  torch's own error is the yardstick, a factor of 4
    is for another order of summation, and 4 eps is for where torch happens to be exact.  ``factor`` is for who sums in yet another order.
    """
    assert ours32.dtype == np.float32, f"expected float32, found {ours32.dtype}"
    ours_off, torch_off = scale_error(ours32, truth64), scale_error(torch32, truth64)
    bound = factor * max(torch_off, 4 * EPS32)
    assert ours_off <= bound, f"differs by {ours_off:.2g} of its scale, torch by {torch_off:.2g}; {bound:.2g} allowed"


def assert_equals_torch(ours: Callable[..., Any], theirs: Callable[..., Any], *arguments: Any) -> None:
    """Ours on float64 arrays and on the same in float32, theirs on tensors of both.  Arguments: arrays, or weights nested as ours are."""
    assert_close64(ours(*arguments), as_array(theirs(*as_tensors(arguments))))
    rounded = cast(arguments, np.float32)
    truth = as_array(theirs(*as_tensors(cast(rounded, np.float64))))
    assert_float32_honest(ours(*rounded), as_array(theirs(*as_tensors(rounded))), truth)


def assert_good_manners(layer: Callable[..., Any], *arguments: Any, stages: list[str] | None = None) -> None:
    """The layer keeps float32 and float64, leaves every byte of its arguments as it was, and shows the ``stages`` that it should.

    With ``stages``, the layer is called with ``see=``; each stage has the dtype too, and looking changes nothing.
    """
    for dtype in (np.float32, np.float64):
        given = cast(arguments, dtype)
        before = [x.tobytes() for x in leaves(given)]
        y = layer(*given)
        assert y.dtype == dtype, f"{np.dtype(dtype)} came out as {y.dtype}"
        if stages is not None:
            trace, see = recorder()
            np.testing.assert_array_equal(layer(*given, see=see), y)
            assert list(trace) == stages
            for name, x in trace.items():
                assert x.dtype == dtype, f"{name}: {np.dtype(dtype)} came out as {x.dtype}"
        assert [x.tobytes() for x in leaves(given)] == before, "an argument was changed"


def recorder() -> tuple[dict[str, Any], Callable[[str, Any], Any]]:
    """A trace, and the observer that fills it."""
    trace: dict[str, Any] = {}

    def see(name: str, x: Any) -> Any:
        assert name not in trace, f"stage {name} was shown twice"
        trace[name] = x
        return x

    return trace, see


def affine(rng: np.random.Generator, inputs: int, outputs: int) -> dict[str, Any]:
    """Random weights of a linear layer whose outputs are about as large as its inputs."""
    return {"weight": rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), "bias": rng.normal(size=outputs)}


def leaves(tree: Any) -> Iterator[Any]:
    """The arrays in nested dicts, lists and tuples, in order."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, list | tuple):
        for branch in tree:
            yield from leaves(branch)
    elif isinstance(tree, np.ndarray):
        yield tree


def mapped(change: Callable[[Any], Any], tree: Any) -> Any:
    """The tree with every array changed and everything else as it was."""
    if isinstance(tree, dict):
        return {name: mapped(change, branch) for name, branch in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(mapped(change, branch) for branch in tree)
    return change(tree) if isinstance(tree, np.ndarray) else tree


def cast(tree: Any, dtype: Any) -> Any:
    """A copy with the floating arrays in that dtype; masks and integers stay what they are."""
    return mapped(lambda x: x.astype(dtype) if np.issubdtype(x.dtype, np.floating) else x.copy(), tree)


def as_tensors(tree: Any) -> Any:
    """The tree with torch tensors for arrays; they own their memory."""
    import torch

    return mapped(lambda x: torch.tensor(x), tree)


def as_array(tensor: Any) -> Any:
    return tensor.detach().numpy()


def loaded(module: Any, p: dict[str, Any]) -> Any:
    """The torch module with the nested tensors ``p`` for weights, in their dtype, ready to evaluate.  No key may be missing or too many."""
    weights = flat(p)
    dtype = next(iter(weights.values())).dtype
    module.to(dtype).load_state_dict(weights, strict=True)
    return module.eval()


def flat(tree: Any, name: str = "") -> dict[str, Any]:
    """The leaves of nested dicts and lists by their dotted names, without those that are None."""
    if isinstance(tree, dict | list):
        branches = tree.items() if isinstance(tree, dict) else enumerate(tree)
        return {leaf: x for key, branch in branches for leaf, x in flat(branch, f"{name}.{key}" if name else str(key)).items()}
    return {} if tree is None else {name: tree}


# pullbacks


class Case(NamedTuple):
    """A function, the same with its pullback, and the name that it has in in_torch.py: three that can be called alike."""

    name: str
    ours: Callable[..., Any]
    vjp: Callable[..., Any]
    theirs: str
    draw: Callable[[Random], tuple[dict[str, Any], dict[str, Any]]]
    """A problem of random shape: the arrays and nested weights by argument, in the order of the pullback's answer; all other arguments."""
    sees: bool = False
    """Whether it takes an observer."""

    def call(self, function: Callable[..., Any], arguments: Any, options: Any, see: Any) -> Any:
        """One of the three, with the observer if it takes one."""
        return function(**arguments, **options, **({"see": see} if self.sees else {}))


Changes = Callable[[str, Any], tuple[str, Any]]
"""What an observer does to a stage: "keep", "multiply" or "replace", and by what."""


def noise(name: str, x: Any) -> Any:
    """The same in every run, and other for every stage."""
    return np.random.default_rng(zlib.crc32(name.encode())).normal(size=x.shape)


CHANGES: dict[str, Changes] = {
    "recording": lambda name, x: ("keep", None),
    "multiplying": lambda name, x: ("multiply", 2.0 * (noise(name, x) > -0.5)),  # as dropout does
    "replacing": lambda name, x: ("replace", noise(name, x)),
}


class Pulled(NamedTuple):
    """A result and what was seen on the way there and back, by name."""

    result: Any
    stages: dict[str, Any]
    gradients: dict[str, Any]
    """By the arguments ``x`` and ``p.conv.weight``, and by the stages ``gradient.scores``."""


def pulled_by_ours(case: Case, arguments: Any, options: Any, dy: Any, changes: Changes = CHANGES["recording"]) -> Pulled:
    stages: dict[str, Any] = {}
    gradients: dict[str, Any] = {}

    def see(name: str, x: Any) -> Any:
        assert name not in stages, f"{name} was shown twice"
        how, by = changes(name, x) if x.dtype.kind == "f" else ("keep", None)
        by = by if by is None else by.astype(x.dtype)
        stages[name] = by if how == "replace" else x * by if how == "multiply" else x

        def back(dx: Any) -> Any:
            assert x.dtype.kind == "f", f"{name}: {x.dtype} has no gradient"
            assert f"gradient.{name}" not in gradients, f"{name}: its pullback was called twice"
            assert dx.shape == x.shape, f"{name}: a gradient of shape {dx.shape} for {x.shape}"
            gradients[f"gradient.{name}"] = dx
            return dx * by if how == "multiply" else dx

        return stages[name], back

    result, pullback = case.call(case.vjp, arguments, options, see)
    answer = pullback(dy)
    parts = answer if isinstance(answer, tuple) else (answer,)
    if "weight" in arguments:  # of a leaf, which takes its weights one by one and answers with a dict
        first = next(iter(arguments))
        by_argument = {first: parts[0]} | parts[1]
        assert len(parts) == 2
    else:
        by_argument = dict(zip(arguments, parts, strict=True))
    return Pulled(result, stages, flat(by_argument) | gradients)


def pulled_by_torch(case: Case, arguments: Any, options: Any, dy: Any, changes: Changes = CHANGES["recording"]) -> Pulled:
    """The same by autograd, stages' gradients being those of what the function went on with."""
    import in_torch
    import torch

    stages: dict[str, Any] = {}

    def see(name: str, x: Any) -> Any:
        if not x.is_floating_point():
            stages[name] = x
            return x
        how, by = changes(name, x)
        y = x.view_as(x)
        if how == "multiply":
            y = x * torch.tensor(by, dtype=x.dtype)
        if how == "replace":
            y = torch.tensor(by, dtype=x.dtype) + (x - x.detach())
        y.retain_grad()
        stages[name] = y
        return y

    tensors = as_tensors(arguments)
    for x in flat(tensors).values():
        x.requires_grad_()
    result = case.call(getattr(in_torch, case.theirs), tensors, as_tensors(options), see)
    result.backward(torch.tensor(dy, dtype=result.dtype))
    gradients = {name: x.grad for name, x in flat(tensors).items()}
    gradients |= {f"gradient.{name}": x.grad for name, x in stages.items() if x.is_floating_point()}
    return Pulled(
        as_array(result),
        {name: as_array(x) for name, x in stages.items()},
        {name: as_array(grad) for name, grad in gradients.items() if grad is not None},
    )


def drawn(case: Case, random: Random) -> tuple[Any, Any, Any]:
    """Arguments, options and a gradient by the result."""
    arguments, options = case.draw(random)
    y = case.call(case.ours, arguments, options, unseen)
    return arguments, options, np.asarray(np.random.default_rng(random.getrandbits(32)).normal(size=y.shape))


def gradient_errors(ours: dict[str, Any], truth: dict[str, Any], *, floor: float = 1e-3) -> dict[str, float]:
    """Of each gradient the largest error as a fraction of its scale; NaN has to stand where it stands in the truth.

    The scale is the largest value, but at least ``floor`` times the largest of all gradients: one that is zero on paper (of the keys'
    biases, which shift all scores of a row alike) is rounding on both sides, a sum of terms that cancel, and has no scale of its own.
    """
    assert set(ours) == set(truth), f"{sorted(set(ours) ^ set(truth))} have a gradient on one side only"
    largest = {name: float(np.abs(grad[np.isfinite(grad)]).max(initial=0.0)) for name, grad in truth.items()}
    smallest = max(floor * max(largest.values(), default=0.0), 1e-300)
    errors = {}
    for name, own in largest.items():
        scale = max(own, smallest)
        assert ours[name].shape == truth[name].shape, f"{name}: shapes differ: {ours[name].shape} and {truth[name].shape}"
        calm = np.isfinite(truth[name])
        np.testing.assert_array_equal(ours[name][~calm], truth[name][~calm], err_msg=name)
        errors[name] = float(np.abs(ours[name][calm].astype(np.float64) - truth[name][calm]).max(initial=0.0)) / scale
    return errors


def assert_gradients_close(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float = 1e-10) -> None:
    """float64 against float64, by name, theirs without those that are None."""
    errors = gradient_errors(ours, {name: grad for name, grad in theirs.items() if grad is not None})
    for name, error in errors.items():
        assert error <= tolerance, f"{name}: {error:.2g} of its scale"


def assert_pulls_as_autograd(case: Case, random: Random) -> None:
    """float64: the result, every stage, and every gradient, whatever an observer does on the way."""
    arguments, options, dy = drawn(case, random)
    for changes in CHANGES.values() if case.sees else [CHANGES["recording"]]:
        ours, theirs = (pulled(case, arguments, options, dy, changes) for pulled in (pulled_by_ours, pulled_by_torch))
        assert list(ours.stages) == list(theirs.stages)
        np.testing.assert_allclose(ours.result, theirs.result, rtol=1e-11, atol=1e-11)
        for name, x in ours.stages.items():
            np.testing.assert_allclose(x, theirs.stages[name], rtol=1e-11, atol=1e-11, err_msg=name)
        assert_gradients_close(ours.gradients, theirs.gradients)


def assert_pulls_honestly(case: Case, problems: int = 30) -> None:
    """float32 by the rule of :func:`assert_float32_honest`, the yardstick being torch's worst gradient: on average over so many problems at
    most twice that.

    One alone is too small to be fair: a sum of few terms may happen to be exact, and where they cancel their rounding remains, for which a
    hundredth of the largest gradient is the least scale.
    """
    ratios: dict[str, list[float]] = {}
    for seed in range(problems):
        arguments, options, dy = drawn(case, Random(seed))
        arguments, dy = cast((arguments, dy), np.float32)
        ours, theirs = (pulled(case, arguments, options, dy).gradients for pulled in (pulled_by_ours, pulled_by_torch))
        truth = pulled_by_torch(case, *cast((arguments, options, dy), np.float64)).gradients
        yardstick = max(*gradient_errors(theirs, truth, floor=1e-2).values(), 4 * EPS32)
        for name, off in gradient_errors(ours, truth, floor=1e-2).items():
            assert ours[name].dtype == np.float32, f"{name}: float32 came back as {ours[name].dtype}"
            ratios.setdefault(name, []).append(off / yardstick)
    for name, found in ratios.items():
        assert np.mean(found) <= 2, f"{name}: {np.mean(found):.2g} times as far off as torch"


def assert_pulls_as_differences(case: Case, problems: int = 20) -> None:
    """float64: along a random direction in each argument or weight, the loss rises as its central differences of fourth order do.

    The step of 1e-4 leaves an error near 1e-12: its fourth power times the fifth derivative, and 1e-16 of the loss over the step.
    """
    for seed in range(problems):
        arguments, options, dy = drawn(case, Random(seed))
        gradients = pulled_by_ours(case, arguments, options, dy).gradients
        for name, x in flat(arguments).items():
            direction = noise(name, x)
            losses = []
            for step in (1e-4, -1e-4, 2e-4, -2e-4):
                moved = mapped(np.copy, arguments)
                flat(moved)[name][...] += step * direction
                losses.append(float((dy * case.call(case.ours, moved, options, unseen)).sum()))
            slope = (8 * (losses[0] - losses[1]) - (losses[2] - losses[3])) / 12e-4
            terms = gradients.get(name, np.zeros_like(x)) * direction
            scale = max(np.abs(terms).sum(), 1e-3 * np.abs(dy).sum())
            assert abs(slope - terms.sum()) <= 1e-8 * scale, f"{name}: {terms.sum():.8g}, by differences {slope:.8g}"


def assert_pullback_manners(case: Case, problems: int = 20) -> None:
    """With and without an observer the forward's own bits; no argument is changed, nor dy; dtypes and shapes are kept; twice is the same."""
    for seed, dtype in itertools.product(range(problems), (np.float32, np.float64)):
        arguments, options, dy = drawn(case, Random(seed))
        given, given_dy = cast((arguments, dy), dtype)
        for x in (*leaves((given, options)), given_dy):
            x.flags.writeable = False
        before = [x.tobytes() for x in (*leaves((given, options)), given_dy)]
        trace, see = recorder()
        expected = case.call(case.ours, given, options, see)
        seen = pulled_by_ours(case, given, options, given_dy)
        assert list(seen.stages) == list(trace)
        y, pullback = case.call(case.vjp, given, options, unseen_vjp)
        for mine, other in [(seen.result, expected), (y, expected), *((seen.stages[name], trace[name]) for name in trace)]:
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)
        once, twice = list(leaves(pullback(given_dy))), list(leaves(pullback(given_dy)))
        own = [grad for name, grad in seen.gradients.items() if not name.startswith("gradient.")]
        for grads in zip(once, twice, own, strict=True):
            for grad in grads:
                np.testing.assert_array_equal(grad, grads[0])
        weights = flat(given)
        for name, grad in seen.gradients.items():
            assert grad.dtype == dtype, f"{name}: {np.dtype(dtype)} came back as {grad.dtype}"
            if name in weights:
                assert grad.shape == weights[name].shape, f"{name}: {weights[name].shape} came back as {grad.shape}"
        assert set(seen.gradients) <= set(weights) | {f"gradient.{name}" for name in trace}
        assert [x.tobytes() for x in (*leaves((given, options)), given_dy)] == before, "an argument was changed"


def kept_by(pullback: Any) -> list[Any]:
    """The arrays that stay in memory as long as a pullback does."""
    if isinstance(pullback, np.ndarray):
        return [pullback]
    if isinstance(pullback, functools.partial):
        parts = [pullback.func, *pullback.args]
    elif isinstance(pullback, dict | list | tuple):
        parts = list(pullback.values() if isinstance(pullback, dict) else pullback)
    else:
        parts = [cell.cell_contents for cell in getattr(pullback, "__closure__", None) or ()]
    return [x for part in parts for x in kept_by(part)]


def assert_keeps_no_more(case: Case, needed: set[str], unneeded: set[str], problems: int = 10) -> None:
    """A pullback keeps arguments and stages, nothing of its own making, not its result, and none of the unneeded, by their last name.

    needed: what it keeps all the same, "result" or "more".
    """
    for seed in range(problems):
        arguments, options, _ = drawn(case, Random(seed))
        stages: dict[str, Any] = {}

        def see(name: str, x: Any, stages: dict[str, Any] = stages) -> Any:
            stages[name] = x
            return unseen_vjp(name, x)

        result, pullback = case.call(case.vjp, arguments, options, see)
        given = flat([arguments, {name: x for name, x in options.items() if isinstance(x, np.ndarray)}])
        known, kept = given | stages | {"result": result}, kept_by(pullback)
        assert "more" in needed or all(any(np.shares_memory(x, y) for y in known.values()) for x in kept)
        for name in known:
            if name.split(".")[-1] in unneeded | {"result"} - needed:
                others = [x for other, x in known.items() if other.split(".")[-1] not in unneeded | {"result"}]
                free = not any(np.shares_memory(known[name], x) for x in others)  # as an argument that is handed through is not
                assert not (free and any(np.shares_memory(known[name], x) for x in kept)), f"{name} is kept"
