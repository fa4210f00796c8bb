"""The textbook is whole: a pullback below every function that has a derivative, and examples that run."""

import ast
import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import sewnp.ctc
import sewnp.ctc.loss
import sewnp.layers

FUNCTIONS = {name: getattr(sewnp.layers, name) for name in sewnp.layers.__all__} | vars(sewnp.ctc.loss)
FUNCTIONS = {
    name: function
    for name, function in FUNCTIONS.items()
    if inspect.isfunction(function)
    and not name.startswith("_")
    and function.__module__.startswith(("sewnp.layers.", "sewnp.ctc.loss"))
}
WITHOUT = {
    "counts, buckets and masks: integers and booleans": {
        "clean_labels",
        "clip_masks",
        "conv_length",
        "frame_count",
        "frame_lengths",
        "frame_mask",
        "key_mask",
        "log_buckets",
        "query_key_mask",
        "relative_positions",
        "squeeze_mask",
    },
    "drawn": {"draw_spans"},
    "a constant of the model": {"score_scale"},
    "a rearrangement: each is the other's pullback": {"split_heads", "merge_heads"},
    "a piece of the way back itself": {"merged", "summed"},
    "observers": {"values_only", "within"},
}
MODULES = [
    f"{package.__name__}.{module.name}"
    for package in (sewnp.layers, sewnp.ctc)
    for module in pkgutil.iter_modules(package.__path__)
]


def test_every_function_with_a_derivative_has_its_pullback():
    forwards = {name for name in FUNCTIONS if not name.endswith("_vjp")}
    assert {name for name in forwards if f"{name}_vjp" not in FUNCTIONS} == set().union(*WITHOUT.values())
    # a projection and its heads: written out where there is no way back
    assert {name for name in FUNCTIONS if name.endswith("_vjp")} - {f"{name}_vjp" for name in forwards} == {"project_vjp"}


# the function of that name looks an activation up, and its pullback applies one
@pytest.mark.parametrize("name", sorted(name for name in FUNCTIONS if f"{name}_vjp" in FUNCTIONS and name != "activation"))
def test_a_pullback_stands_below_its_forward_and_takes_its_arguments(name):
    forward, vjp = FUNCTIONS[name], FUNCTIONS[f"{name}_vjp"]
    module = importlib.import_module(forward.__module__)
    order = [node.name for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.FunctionDef)]
    assert order[order.index(name) + 1] == f"{name}_vjp"
    ours, theirs = (
        [(p.name, p.kind, p.name == "see" or p.default) for p in inspect.signature(function).parameters.values()]
        for function in (forward, vjp)
    )
    assert ours == theirs


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_has_an_example(name):
    assert doctest.DocTestParser().get_examples(FUNCTIONS[name].__doc__ or ""), f"{name}: no example"


@pytest.mark.parametrize("module", MODULES)
def test_examples_run(module):
    failed, _ = doctest.testmod(importlib.import_module(module), extraglobs={"np": np})
    assert not failed
