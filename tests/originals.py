"""The other side of every comparison: models of transformers with random weights, and ours with the very same ones."""

import json
from typing import Any

import numpy as np
import torch
import transformers

from sewnp.checkpoints import nest
from sewnp.config import config_from_dict
from sewnp.model import Model

torch.set_num_threads(1)  # its pool costs such tiny tensors more than it gives them

CLASSES = {
    ("sew", None): transformers.SEWModel,
    ("sew", "ctc"): transformers.SEWForCTC,
    ("sew", "classification"): transformers.SEWForSequenceClassification,
    ("sew-d", None): transformers.SEWDModel,
    ("sew-d", "ctc"): transformers.SEWDForCTC,
    ("sew-d", "classification"): transformers.SEWDForSequenceClassification,
}
CONFIGS = {"sew": transformers.SEWConfig, "sew-d": transformers.SEWDConfig}

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8, 12, 12],
    "conv_kernel": [10, 3, 2],
    "conv_stride": [5, 2, 1],
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 10,
    "vocab_size": 11,
    "num_labels": 3,
}
"""A whole model that costs milliseconds."""

TINY_D: dict[str, Any] = TINY | {"max_position_embeddings": 16, "position_buckets": 4}


def original(family: str = "sew", head: str | None = "ctc", *, seed: int = 0, dtype: Any = torch.float64, **values: Any) -> Any:
    """A tiny model of transformers, in evaluation mode.  values: configuration fields that differ from the tiny ones."""
    tiny = TINY if family == "sew" else TINY_D
    return shaken(CLASSES[family, head](CONFIGS[family](**(tiny | values))), seed=seed).to(dtype).eval()


def shaken(model: Any, *, seed: int) -> Any:
    """The model with weights so large that no part of it drowns in another: as initialised, scores and biases would hardly matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            if name.endswith("original0") or (p.ndim == 1 and name.endswith(".weight")):
                p.copy_(1.0 + 0.3 * noise)  # lengths of taps, gains of norms
            elif p.ndim == 1:
                p.copy_(0.3 * noise)
            elif "rel_embeddings" in name:
                p.copy_(noise)
            else:
                p.copy_(noise / np.sqrt(np.prod(p.shape[1:])))
    return model


def twin(model: Any, *, dtype: Any = None, masking: Any = "any") -> Model:
    """Ours with the weights and the configuration of theirs, the configuration by way of the JSON that transformers writes."""
    config = config_from_dict(json.loads(model.config.to_json_string()))
    head = next(head for (_, head), kind in CLASSES.items() if type(model) is kind)
    prefix = f"{config.prefix}." if head is None else ""
    arrays = {prefix + key: tensor.detach().numpy().copy() for key, tensor in model.state_dict().items()}
    if dtype is not None:
        arrays = {key: x.astype(dtype) for key, x in arrays.items()}
    return Model(config=config, weights=nest(arrays), head=head, masking=masking)


def run_original(model: Any, input_values: Any, **arguments: Any) -> dict[str, Any]:
    """Everything that transformers gives back, as arrays.  Arrays among the arguments become tensors, hidden states and attentions are shown.

    SEW runs twice: with sdpa, its default, which alone gives a clip without a real frame the zero context that we give it, and with
    eager attention, which alone shows attentions.
    """
    tensors = {name: torch.tensor(value) if isinstance(value, np.ndarray) else value for name, value in arguments.items()}
    x = torch.tensor(input_values)
    shown = {}
    hook = model.base_model.register_forward_hook(lambda _, __, out: shown.update(last=out.last_hidden_state))
    with torch.no_grad():
        out = model(x, output_hidden_states=True, **tensors)
        last = shown["last"]
        if model.config.model_type == "sew":
            model.set_attn_implementation("eager")
        attentions = model(x, output_attentions=True, **tensors).attentions
        if model.config.model_type == "sew":
            model.set_attn_implementation("sdpa")
    hook.remove()
    found = {name: out[name].numpy() for name in ("logits", "loss") if out.get(name) is not None}
    states = {"hidden_states": out.hidden_states, "attentions": attentions}
    return found | {"last_hidden_state": last.numpy()} | {name: tuple(x.numpy() for x in xs) for name, xs in states.items()}


def samples_for(model: Model, frames: int) -> int:
    """The fewest samples that give so many frames; fewer than one frame's for 0."""
    return model.config.samples_for(frames) if frames else model.config.samples_for(1) - 1


def clips(model: Model, *, batch: int = 3, frames: int = 9, seed: int = 0) -> Any:
    """Noise of a speech-like level.  (batch, n) in the model's dtype, giving so many frames."""
    return np.random.default_rng(seed).normal(size=(batch, samples_for(model, frames))).astype(model.dtype)


def mask_of(model: Model, lengths: list[int], samples: int) -> Any:
    """An attention mask (B, samples) whose rows hold so many frames each."""
    counts = np.array([samples_for(model, n) for n in lengths])
    return (np.arange(samples) < counts[:, None]).astype(np.int64)
