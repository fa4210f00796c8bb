"""Write what an installed transformers computes to a file of goldens: PYTHON write_goldens.py OUT.safetensors

Needs transformers, torch, numpy and safetensors, and not sewnp; runs under transformers 4.57.1 and 5.23.0, which differ in how a mask over
samples becomes one over frames.  Each case is a tiny float64 model with its configuration, weights, inputs and outputs under
``case/...``; ``about`` in the metadata holds the configurations and the versions that wrote the file.
"""

import json
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

TINY = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "conv_dim": (4, 6, 6),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 1),
    "num_conv_pos_embeddings": 5,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 5,
    "vocab_size": 7,
    "ctc_zero_infinity": True,  # the clip without frames can spell nothing
    "num_labels": 3,
}
TINY_D = TINY | {"max_position_embeddings": 16, "position_buckets": 4}
CASES = {
    "sew": (transformers.SEWModel, TINY | {"squeeze_factor": 3, "conv_dim": (4, 6, 8)}),
    "sew-ctc": (transformers.SEWForCTC, TINY | {"num_hidden_layers": 2, "num_conv_pos_embeddings": 4}),
    "sew-classification": (transformers.SEWForSequenceClassification, TINY | {"feat_extract_norm": "layer"}),
    "sew-weighted": (transformers.SEWForSequenceClassification, TINY | {"use_weighted_layer_sum": True}),
    "sew-d": (transformers.SEWDModel, TINY_D | {"squeeze_factor": 3, "share_att_key": False}),
    "sew-d-ctc": (transformers.SEWDForCTC, TINY_D | {"num_hidden_layers": 2}),
    "sew-d-classification": (transformers.SEWDForSequenceClassification, TINY_D | {"feat_extract_norm": "layer"}),
    "sew-d-weighted": (transformers.SEWDForSequenceClassification, TINY_D | {"use_weighted_layer_sum": True}),
}
FRAMES = 13
LENGTHS = {
    None: (13, 8, 7, 1, 0, -2),
    "ctc": (13, 8, 7, 4, 1, 0),
    "classification": (13, 8, 7, 4, 1, 0),
    "weighted": (6, 5, 4, 3, 1, 0),
}
"""Real frames of each clip by head.  -2 is what the recursion makes of no samples; with labels it would be an error.  Weighted layers stand
at 6 squeezed frames, and with more real frames than that, 4.57.1 raises an IndexError."""


def main(out: str) -> None:
    samples = samples_for(CASES["sew"][0].config_class(**TINY), FRAMES) + 3
    arrays = {"input_values": np.random.default_rng(0).normal(size=(6, samples))}
    about = {module.__name__: module.__version__ for module in (transformers, torch, np)}
    for case, (kind, values) in CASES.items():
        model = shaken(kind(kind.config_class(**values)))
        about[case] = json.loads(model.config.to_json_string())
        found = goldens(model, arrays["input_values"])
        arrays |= {f"{case}/{name}": np.ascontiguousarray(x) for name, x in found.items()}
    save_file(arrays, out, {"about": json.dumps(about)})  # one entry: several would stand in another order in every run


def shaken(model):
    """Float64 weights large enough that every part of the network matters."""
    generator = torch.Generator().manual_seed(0)
    model = model.double().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            gain = name.endswith("original0") or (p.ndim == 1 and name.endswith(".weight"))
            p.copy_(1 + 0.3 * noise if gain else 0.3 * noise if p.ndim == 1 else noise / np.sqrt(np.prod(p.shape[1:])))
    return model


def goldens(model, input_values: np.ndarray) -> dict[str, np.ndarray]:
    """Weights, masks, labels and outputs of one model."""
    config = model.config
    head = "ctc" if hasattr(model, "lm_head") else "classification" if hasattr(model, "classifier") else None
    counts = np.array([samples_for(config, n) for n in LENGTHS["weighted" if config.use_weighted_layer_sum else head]])
    found = {f"weights/{key}": x.numpy() for key, x in model.state_dict().items()}
    found["attention_mask"] = (np.arange(input_values.shape[1]) < counts[:, None]).astype(np.uint8)
    arguments = {"input_values": torch.tensor(input_values), "attention_mask": torch.tensor(found["attention_mask"]).long()}
    if head == "ctc":
        found["labels"] = np.random.default_rng(1).integers(1, config.vocab_size, size=(len(counts), 3))
        arguments["labels"] = torch.tensor(found["labels"])
    with torch.no_grad():
        out = model(**arguments, output_hidden_states=True)
        if config.model_type == "sew":
            model.set_attn_implementation("eager")  # sdpa, its default, shows no attentions
        attentions = model(**arguments, output_attentions=True).attentions
    found |= {name: out[name].numpy() for name in ("last_hidden_state", "logits", "loss") if out.get(name) is not None}
    for name, states in (("hidden_states", out.hidden_states), ("attentions", attentions)):
        found |= {f"{name}/{i}": x.numpy() for i, x in enumerate(states)}
    return found


def samples_for(config, frames: int) -> int:
    """The fewest samples that give so many frames; one too few for the first where it is 0, none where it is less."""
    samples = max(frames, 1)
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride)):  # noqa: B905
        samples = (samples - 1) * stride + kernel
    return samples if frames > 0 else samples - 1 if frames == 0 else 0


if __name__ == "__main__":
    main(*sys.argv[1:])
