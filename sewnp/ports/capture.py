"""Every stage of a model of transformers, caught while it runs, forwards and back (extra: torch)."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from sewnp.checkpoints import nest
from sewnp.checkpoints.names import modern
from sewnp.config import config_from_dict
from sewnp.errors import InputError
from sewnp.extras import need
from sewnp.model import Model
from sewnp.networks.stages import GRADIENT
from sewnp.numerics.trace import Inputs, Trace, metadata
from sewnp.parameters import Head
from sewnp.ports.names import CHANNELS_LAST, Target, renamed, transformers_names
from sewnp.types import Array

NOT_MATERIALISED = ("ctc.alpha", "ctc.losses")
"""Stages that torch computes where nobody can look: inside its CTC loss.  (Losses without reduction show as ``loss``.)"""

NO_TRUE_GRADIENT = "gradient.log_probs"
"""What torch's CTC loss gives back to its log-probabilities is already softmax minus posteriors, the gradient by the logits: by them it is
right, and in between it is nobody's derivative."""

ONLY_EAGER = ("encoder.layers.{i}.attention.scores", "encoder.layers.{i}.attention.probabilities")
"""Stages of SEW that exist only with eager attention: torch's fused attention, the default, never makes them.  SEW-D is always eager."""

CLASSES: dict[str, Head | None] = {
    "SEWModel": None,
    "SEWForCTC": "ctc",
    "SEWForSequenceClassification": "classification",
    "SEWDModel": None,
    "SEWDForCTC": "ctc",
    "SEWDForSequenceClassification": "classification",
}


def from_torch(
    hf_model: Any,
    input_values: npt.ArrayLike,
    attention_mask: npt.ArrayLike | None = None,
    labels: npt.ArrayLike | None = None,
    mask_time_indices: npt.ArrayLike | None = None,
    *,
    gradients: bool = False,
) -> Trace:
    """Run a SEW or SEW-D model of transformers and record its stages under our names and in our axes.

    hf_model: an SEWModel, SEWForCTC, SEWForSequenceClassification or the same of SEW-D, in evaluation mode.  It runs as it is, in its own
    dtype and attention, and what is recorded is what it has really computed.  Arguments as the model's, arrays or tensors.  Then ::

        compare(trace(ours, x), theirs := from_torch(hf_model, x), budgets, names=theirs)

    holds it against ours.  What is not there: :data:`NOT_MATERIALISED` always, :data:`ONLY_EAGER` unless
    ``hf_model.set_attn_implementation("eager")`` was called before, and ``encoder.encoder.relative_positions`` where no layer uses them.
    With eager attention SEW lets a clip that is all padding attend uniformly; fused, and in our layers, such a clip attends to nothing.

    gradients: record those of the model's own loss too, by every stage and by every parameter that takes part and is not frozen, as autograd
    has them, but for :data:`NO_TRUE_GRADIENT`.  The parameters' own ``.grad`` stays what it was.  transformers takes the CTC loss in float32
    whatever the model is, so a float64 model's gradients are right to float32's precision.

    Raises InputError for another kind of model, for one in training mode, whose dropout nobody could repeat, and for gradients without labels.
    """
    torch = need("torch", "torch")
    head = _head(hf_model)
    if gradients and (labels is None or head is None):
        raise InputError("labels: gradients are those of a loss, which takes a head and labels")
    if hf_model.training:
        raise InputError("hf_model: expected a model in evaluation mode; call its eval() first")
    mask, given, hidden = (None if x is None else _array(x) for x in (attention_mask, labels, mask_time_indices))
    inputs = Inputs(_array(input_values), mask, given, hidden, gradients)
    twin = _twin(hf_model, head)
    names = transformers_names(twin.config)
    base = "" if head is None else f"{twin.config.prefix}."
    if getattr(hf_model.config, "_attn_implementation", "eager") != "eager":
        names = {path: target for path, target in names.items() if not path.endswith("/mul")}
    if inputs.attention_mask is not None:
        names[f"{base}encoder.pos_conv_embed.input"] = Target("encoder.masked_frames", CHANNELS_LAST)
    if inputs.mask_time_indices is not None and twin.config.apply_spec_augment:
        names[f"{base}encoder.input"] = Target("masked_spec_embed")

    watch = _Watch({path for path, target in names.items() if target.stage is not None}, gradients=gradients)
    parameter = next(hf_model.parameters())
    tensors = {name: torch.tensor(x, device=parameter.device) for name, x in inputs.given().items()}
    tensors["input_values"] = tensors["input_values"].to(parameter.dtype)
    x = tensors["input_values"].requires_grad_(gradients)
    watch.keep("input_values", x)
    with torch.set_grad_enabled(gradients), watch.over(hf_model, torch):
        out = hf_model(**tensors)
    table = getattr(getattr(hf_model.base_model.encoder, "encoder", None), "rel_embeddings", None)
    if table is not None:  # its weight is used without a call that could be watched
        watch.values[f"{base}encoder.encoder.rel_embeddings.weight"] = _array(table.weight)
    if getattr(out, "loss", None) is not None:
        watch.keep("loss", out.loss)
    weights = _gradients(torch, hf_model, out.loss, x) if gradients else {}
    about = metadata(twin, inputs) | {"dtype": str(parameter.dtype).removeprefix("torch.")}
    if about["dtype"] not in ("float32", "float64"):
        del about["fingerprint"]  # of weights that have been rounded
    stages = dict(renamed(watch.values | watch.gradients, names))
    if table is not None and (key := f"{GRADIENT}{base}encoder.encoder.rel_embeddings.weight") in weights:
        stages[f"{GRADIENT}encoder.encoder.rel_embeddings"] = weights[key]
    stages.pop(NO_TRUE_GRADIENT, None)
    return Trace(stages | weights, about, inputs)


def _gradients(torch: Any, hf_model: Any, loss: Any, x: Any) -> dict[str, Array]:
    """What autograd says of every parameter, under the keys of our weights; the hooks that the watch has set are called on the way."""
    trained = {modern(name): p for name, p in hf_model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss.sum(), [x, *trained.values()], allow_unused=True)[1:]
    return {GRADIENT + key: _array(dp) for key, dp in zip(trained, found, strict=True) if dp is not None}


class _Watch:
    """Keeps what passes by under the wanted paths, see ``transformers_names``, each as it is at that moment: later steps write over it."""

    def __init__(self, wanted: set[str], *, gradients: bool = False) -> None:
        self.values: dict[str, Array] = {}
        self.gradients: dict[str, Array] = {}
        self._wanted, self._goes_back = wanted, gradients
        self._calls: Counter[str] = Counter()
        self._running = [""]

    @contextmanager
    def over(self, model: Any, torch: Any) -> Iterator[None]:
        """Watch the model's modules, and the functions that they call themselves, while inside."""
        with ExitStack() as hooks:
            for path, module in model.named_modules():
                hooks.enter_context(module.register_forward_pre_hook(self._before(path), with_kwargs=True))
                hooks.enter_context(module.register_forward_hook(self._after(path)))
            hooks.enter_context(_functions(self, torch))
            yield

    def function(self, name: str, arguments: tuple[Any, ...], result: Any) -> None:
        """A torch function was called."""
        path = f"{self._running[-1]}/{name}"
        if arguments:
            self.keep(f"{path}.input", arguments[0])
        self.keep(path, result)

    def _before(self, path: str) -> Any:
        def entered(module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            self._running.append(path)
            for name, value in [("input", argument) for argument in arguments[:1]] + list(named.items()):
                self.keep(f"{path}.{name}", value)

        return entered

    def _after(self, path: str) -> Any:
        def left(module: Any, arguments: tuple[Any, ...], result: Any) -> Any:
            self._running.pop()
            if self._goes_back and path in self._wanted and hasattr(result, "clone"):
                # a copy receives alone what comes back here: dropout that drops nothing hands on what others have too, and a view that is
                # written over, as what linear maps of batches return is, forgets what made it
                result = result.clone()
            several = result.to_tuple() if hasattr(result, "to_tuple") else result
            for i, value in enumerate(several if isinstance(several, tuple) else (several,)):
                self.keep(f"{path}[{i}]" if i else path, value)
            return result

        return left

    def keep(self, path: str, value: Any) -> None:
        """A value passes by; when its gradient comes back, it is kept too."""
        self._calls[path] += 1
        if self._calls[path] > 1:
            path = f"{path}@{self._calls[path]}"
        if path in self._wanted and hasattr(value, "detach"):
            self.values[path] = _array(value)
            if (
                value.grad_fn is not None
            ):  # what made it, which stays where it is when the value is written over; a tensor's own hooks do not
                number = value.output_nr
                value.grad_fn.register_prehook(lambda dys: self.gradients.update({GRADIENT + path: _array(dys[number])}))
            elif value.requires_grad:
                value.register_hook(lambda dy: self.gradients.update({GRADIENT + path: _array(dy)}))


def _functions(watch: _Watch, torch: Any) -> Any:
    """A context in which every torch function that Python code calls is reported to ``watch``."""

    class Functions(torch.overrides.TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            watch.function(getattr(function, "__name__", ""), args, result)
            return result

    return Functions()


def _head(hf_model: Any) -> Head | None:
    for kind in type(hf_model).__mro__:
        if kind.__name__ in CLASSES:
            return CLASSES[kind.__name__]
    raise InputError(f"hf_model: expected one of {', '.join(CLASSES)}, found {type(hf_model).__name__}")


def _twin(hf_model: Any, head: Head | None) -> Model:
    """Our model with the same configuration and weights."""
    config = config_from_dict(json.loads(hf_model.config.to_json_string()))
    prefix = f"{config.prefix}." if head is None else ""
    weights = nest({prefix + key: _array(tensor) for key, tensor in hf_model.state_dict().items()})
    release = need("transformers", "torch").__version__.split(".")
    recent = (int(release[0]), int(release[1])) >= (5, 13)
    return Model(config, weights, head, masking="any" if recent else "floor", name=type(hf_model).__name__)


def _array(x: Any) -> Array:
    """A copy of a tensor or array; bfloat16, which NumPy lacks, as float32."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.float() if str(x.dtype) == "torch.bfloat16" else x).numpy()
    return np.array(x)
