"""Others that compute the same: each is a function from a clip to logits (or hidden states, for a model without a head)."""

import io
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from sewnp.errors import InputError, few
from sewnp.extras import need
from sewnp.model import Model
from sewnp.types import Array

Runner: TypeAlias = Callable[[Array], Array]
"""(1, n) float32 -> (1, T, V) or (1, T, H)"""


def ours(model: Model, threads: int, sample_count: int) -> Runner:
    """The model with its own engine."""
    return _of(replace(model, threads=threads))


def textbook(model: Model, threads: int, sample_count: int) -> Runner:
    """The plain layers."""
    return _of(replace(model, engine="textbook"))


def torch(model: Model, threads: int, sample_count: int) -> Runner:
    """transformers and PyTorch: eager, scaled dot product attention, inference mode."""
    torch = need("torch", "torch")
    twin = _transformers_model(model)

    def run(x: Array) -> Array:
        torch.set_num_threads(threads)  # of the thread that calls
        with torch.inference_mode():
            return twin(torch.from_numpy(x))[0].numpy()

    return run


def onnx(model: Model, threads: int, sample_count: int) -> Runner:
    """onnxruntime, on a graph exported from torch for this very length, with all its optimisations."""
    torch, runtime = need("torch", "torch"), need("onnxruntime", "onnx")
    need("onnx", "onnx")
    twin = _transformers_model(model)
    graph = io.BytesIO()
    with warnings.catch_warnings():  # torch warns of each Python number that it writes into the graph, which is what is meant here
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _first_output(torch, twin),
            (torch.zeros(1, sample_count),),
            graph,
            input_names=["x"],
            output_names=["y"],
            opset_version=17,
            dynamo=False,
        )
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = runtime.InferenceSession(graph.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


PEERS: dict[str, Callable[[Model, int, int], Runner]] = {"textbook": textbook, "torch": torch, "onnx": onnx}
"""Makes a runner of a model, for so many threads and samples of sound, by name."""


TAKE_ANY = ("textbook", "torch")
"""Peers whose runner takes any length, and batches."""


def check_peers(names: Sequence[str]) -> None:
    """Raise InputError for a peer that is none."""
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise InputError(f"against: expected some of {', '.join(PEERS)}, found {few(unknown)}")


def _of(model: Model) -> Runner:
    def run(x: Array) -> Array:
        out = model(x)
        return out.last_hidden_state if out.logits is None else out.logits

    return run


def _transformers_model(model: Model) -> Any:
    """The same weights in transformers, by way of a folder that both read."""
    transformers = need("transformers", "torch")
    family = "SEW" if model.config.model_type == "sew" else "SEWD"
    kind = {None: "Model", "ctc": "ForCTC", "classification": "ForSequenceClassification"}[model.head]
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder)
        return getattr(transformers, family + kind).from_pretrained(folder, local_files_only=True).eval()


def _first_output(torch: Any, twin: Any) -> Any:
    """A module that gives the first of the twin's outputs, as exporting wants it."""

    class First(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.twin = twin

        def forward(self, x: Any) -> Any:
            return self.twin(x)[0]

    return First().eval()
