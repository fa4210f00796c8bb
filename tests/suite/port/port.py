"""A port of SEW and SEW-D as somebody else would write it: plain torch functions, made from the description of the behaviour.

It knows the package under test as little as a port in C++ would: it reads a suite's public files and writes results, nothing else.  Everything
is float32, channels stand where torch likes them inside and last in what is shown, and each step is a function of this module, so that a test
can put a wrong one in its place.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

Tensor = torch.Tensor
See = Callable[[str, Tensor], Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **dict.fromkeys(("gelu", "gelu_python"), lambda x: gelu(x)),
    **dict.fromkeys(("gelu_new", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"), lambda x: gelu_tanh(x)),
    "gelu_fast": lambda x: 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * x**3))),
    "gelu_10": lambda x: gelu(x).clamp(-10, 10),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": F.relu,
    "relu2": lambda x: F.relu(x) ** 2,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "swish": F.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "mish": F.mish,
    "hardswish": F.hardswish,
    "linear": lambda x: x,
    "laplace": lambda x: 0.5 * (1.0 + torch.erf((x - 0.707107) / (0.282095 * math.sqrt(2.0)))),
    "sqrtsoftplus": lambda x: F.softplus(x).sqrt(),
    "selu": F.selu,
}


# -- steps -----------------------------------------------------------------------------------------------------------------------------


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def layer_norm(x: Tensor, w: dict[str, Tensor], name: str, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps)


def convolution(x: Tensor, w: dict[str, Tensor], name: str, stride: int) -> Tensor:
    return F.conv1d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), stride)


def conv_norm(x: Tensor, w: dict[str, Tensor], name: str, kind: str) -> Tensor:
    """(B, C, T) -> (B, C, T); the epsilon is fixed."""
    if kind == "group":
        return F.group_norm(x, x.shape[1], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)
    return layer_norm(x.transpose(1, 2), w, name, 1e-5).transpose(1, 2)


def folded(g: Tensor, v: Tensor) -> Tensor:
    return g * v / v.pow(2).sum((0, 1), keepdim=True).sqrt()


def frame_length(samples: int, c: dict[str, Any]) -> int:
    for kernel, stride in zip(c["conv_kernel"], c["conv_stride"], strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def frame_mask(lengths: list[int], frames: int, masking: str) -> Tensor:
    if masking == "floor":
        lengths = [frames + n if n <= 0 else n for n in lengths]
    return torch.arange(frames) < torch.tensor(lengths)[:, None]


def squeezed_mask(mask: Tensor, factor: int, masking: str) -> Tensor:
    n = mask.shape[1] // factor
    if masking == "floor":
        return torch.arange(n) < (mask.sum(1) // factor)[:, None]
    return mask[:, : n * factor].reshape(len(mask), n, factor).any(2)


def position_convolution(x: Tensor, kernel: Tensor, bias: Tensor, c: dict[str, Any]) -> Tensor:
    return F.conv1d(x, kernel, bias, c["squeeze_factor"], kernel.shape[2] // 2, groups=c["num_conv_pos_embedding_groups"])


def pooled_frames(x: Tensor, factor: int) -> Tensor:
    return F.avg_pool1d(x, factor)


def unfolded(x: Tensor, factor: int, frames: int) -> Tensor:
    """(B, N, s H) -> (B, T, H), zeros behind the last whole group."""
    y = x.reshape(len(x), -1, x.shape[2] // factor)
    return F.pad(y, (0, 0, 0, frames - y.shape[1]))


def heads(x: Tensor, count: int) -> Tensor:
    return x.unflatten(2, (count, -1)).transpose(1, 2)


def merged(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def softmax(x: Tensor) -> Tensor:
    return x.softmax(-1)


def attended(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax over the keys; where a query may look nowhere, zeros."""
    if mask is None:
        return softmax(scores)
    nowhere = ~mask.any(-1, keepdim=True)
    return softmax(scores.masked_fill(~(mask | nowhere), -math.inf)).masked_fill(nowhere, 0.0)


def added(x: Tensor, y: Tensor) -> Tensor:
    """A residual."""
    return x + y


def relative_positions(n: int, c: dict[str, Any]) -> Tensor:
    distance = torch.arange(n)[:, None] - torch.arange(n)
    buckets = c["position_buckets"]
    if buckets <= 0:
        return distance
    middle, farthest = buckets // 2, far(c)
    size = distance.abs()
    log = torch.log(size.clamp(min=middle).float() / middle) / torch.log(torch.tensor((farthest - 1) / middle)) * (middle - 1)
    return torch.where(size <= middle, distance, distance.sign() * (log.ceil().long() + middle))


def far(c: dict[str, Any]) -> int:
    return c["max_relative_positions"] if c.get("max_relative_positions", -1) >= 1 else c["max_position_embeddings"]


def score_scale(size: int, terms: int) -> float:
    return float(torch.tensor(float(size * terms), dtype=torch.float32).sqrt())


def table_index(relative: Tensor, rows: int) -> Tensor:
    return (relative + rows // 2).clamp(0, rows - 1)


def content_to_position(q: Tensor, pos_k: Tensor, relative: Tensor) -> Tensor:
    products = q @ pos_k.mT  # (B, h, N, R)
    return products.gather(3, table_index(relative, pos_k.shape[2]).expand(*products.shape[:2], -1, -1))


def position_to_content(k: Tensor, pos_q: Tensor, relative: Tensor) -> Tensor:
    products = k @ pos_q.mT
    return products.gather(3, table_index(-relative, pos_q.shape[2]).expand(*products.shape[:2], -1, -1)).mT


def mean_over(z: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return z.mean(1)
    return (z * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def log_softmax(x: Tensor) -> Tensor:
    return x.log_softmax(2)


def zeroed(x: Tensor, mask: Tensor) -> Tensor:
    return x.masked_fill(~mask[:, :, None], 0.0)


def drop(x: Tensor, factors: Tensor) -> Tensor:
    return x * factors


def hide(x: Tensor, hidden: Tensor, embedding: Tensor) -> Tensor:
    return torch.where(hidden[:, :, None], embedding, x)


# -- networks --------------------------------------------------------------------------------------------------------------------------


def network(c: dict[str, Any], w: dict[str, Tensor], given: dict[str, Tensor], masking: str, head: str | None, see: See) -> None:
    """A forward pass; everything that it computes goes through ``see``."""
    prefix = {"sew": "sew.", "sew-d": "sew_d."}[c["model_type"]]
    w = {name.removeprefix(prefix): value for name, value in w.items()}
    x, frames = given["input_values"], frame_length(given["input_values"].shape[1], c)
    lengths = mask = None
    if "attention_mask" in given:
        lengths = [frame_length(int(n), c) for n in given["attention_mask"].sum(1)]
        mask = see("frame_mask", frame_mask(lengths, frames, masking))
    x = features(see("input_values", x), c, w, given, see)
    if mask is not None:
        x = masked_frames(x, mask, see)
        mask = see("encoder.squeezed_mask", squeezed_mask(mask, c["squeeze_factor"], masking))
    y = positions_and_pool(x, c, w, see)
    layers = sew_layers if c["model_type"] == "sew" else sew_d_layers
    numbers = [i for i in range(c["num_hidden_layers"]) if i not in given.get("skip_layers", torch.empty(0)).tolist()]
    states = layers(y, c, w, mask, masking, numbers, see)
    y = see("encoder.upsample.projection", linear(states[-1], w, "encoder.upsample.projection"))
    y = see("encoder.upsample.activation", ACTIVATIONS[c["feat_extract_activation"]](y))
    last = see("encoder.last_hidden_state", unfolded(y, c["squeeze_factor"], frames))
    if head == "ctc":
        logits = see("logits", linear(last, w, "lm_head"))
        if "labels" in given:
            log_probs = see("log_probs", log_softmax(logits))
            ctc(log_probs, given["labels"], lengths or [frames] * len(last), c, see)
    if head == "classification":
        classify(last, states, c, w, lengths, masking, given.get("labels"), see)


def features(x: Tensor, c: dict[str, Any], w: dict[str, Tensor], given: dict[str, Tensor], see: See) -> Tensor:
    x, norm = x[:, None], c["feat_extract_norm"]
    turned = lambda name, y: see(name, y.mT).mT  # noqa: E731 (shown with channels last)
    for i, stride in enumerate(c["conv_stride"]):
        name = f"feature_extractor.conv_layers.{i}"
        x = turned(f"{name}.conv", convolution(x, w, f"{name}.conv", stride))
        if norm == "layer" or i == 0:
            x = turned(f"{name}.layer_norm", conv_norm(x, w, f"{name}.layer_norm", norm))
        x = turned(f"{name}.activation", ACTIVATIONS[c["feat_extract_activation"]](x))
    eps = c["layer_norm_eps"] if c["model_type"] == "sew" else c["feature_layer_norm_eps"]
    x = see("layer_norm", layer_norm(x.mT, w, "layer_norm", eps))
    if "feature_projection.weight" in w:
        x = see("feature_projection", linear(x, w, "feature_projection"))
    return spec_augmented(x, c, w, given, see)


def spec_augmented(x: Tensor, c: dict[str, Any], w: dict[str, Tensor], given: dict[str, Tensor], see: See) -> Tensor:
    if "mask_time_indices" in given and c["apply_spec_augment"]:
        x = see("masked_spec_embed", hide(x, given["mask_time_indices"], w["masked_spec_embed"]))
    return x


def masked_frames(x: Tensor, mask: Tensor, see: See) -> Tensor:
    return see("encoder.masked_frames", zeroed(x, mask))


def positions_and_pool(x: Tensor, c: dict[str, Any], w: dict[str, Tensor], see: See) -> Tensor:
    name = "encoder.pos_conv_embed"
    pair = (w[f"{name}.conv.parametrizations.weight.original{i}"] for i in (0, 1))
    kernel = see(f"{name}.conv.weight", folded(*pair))
    p = see(f"{name}.conv", position_convolution(x.mT, kernel, w[f"{name}.conv.bias"], c).mT)
    p = p[:, :-1] if kernel.shape[2] % 2 == 0 else p
    p = see(f"{name}.activation", ACTIVATIONS[c["feat_extract_activation"]](p))
    pool = see("encoder.pool", pooled_frames(x.mT, c["squeeze_factor"]).mT)
    return see("encoder.squeezed", pool + p[:, : pool.shape[1]])


def sew_layers(
    x: Tensor, c: dict[str, Any], w: dict[str, Tensor], mask: Tensor | None, masking: str, numbers: list[int], see: See
) -> list[Tensor]:
    """The layers' input and each layer's output."""
    eps, count = c["layer_norm_eps"], c["num_attention_heads"]
    x = see("encoder.layer_norm", layer_norm(x, w, "encoder.layer_norm", eps))
    states = [x]
    for i in numbers:
        name = f"encoder.layers.{i}"
        a = f"{name}.attention"
        q, k, v = (see(f"{a}.{n}", heads(linear(x, w, f"{a}.{n}_proj"), count)) for n in "qkv")
        scores = see(f"{a}.scores", q @ k.mT / math.sqrt(q.shape[3]))
        probabilities = see(f"{a}.probabilities", attended(scores, None if mask is None else mask[:, None, None]))
        context = see(f"{a}.context", merged(probabilities @ v))
        output = see(f"{a}.output", linear(context, w, f"{a}.out_proj"))
        y = see(f"{name}.layer_norm", layer_norm(see(f"{name}.residual", added(x, output)), w, f"{name}.layer_norm", eps))
        f = f"{name}.feed_forward"
        wide = see(f"{f}.intermediate_dense", linear(y, w, f"{f}.intermediate_dense"))
        wide = see(f"{f}.activation", ACTIVATIONS[c["hidden_act"]](wide))
        output = see(f"{f}.output_dense", linear(wide, w, f"{f}.output_dense"))
        x = see(f"{name}.final_residual", added(y, output))
        x = see(f"{name}.final_layer_norm", layer_norm(x, w, f"{name}.final_layer_norm", eps))
        states.append(x)
    return states


def sew_d_layers(
    x: Tensor, c: dict[str, Any], w: dict[str, Tensor], mask: Tensor | None, masking: str, numbers: list[int], see: See
) -> list[Tensor]:
    eps, states, e = c["layer_norm_eps"], [x], "encoder.encoder"
    table = relative = None
    if c["relative_attention"]:
        table = see(f"{e}.rel_embeddings", w[f"{e}.rel_embeddings.weight"])
        if "layer_norm" in [part.strip() for part in c["norm_rel_ebd"].lower().split("|")]:
            table = see(f"{e}.LayerNorm", layer_norm(table, w, f"{e}.LayerNorm", eps))
        relative = see(f"{e}.relative_positions", relative_positions(x.shape[1], c))
    if mask is not None:
        mask = mask[:, None, None] & mask[:, None, :, None] if masking == "floor" else mask[:, None, None]
    for i in numbers:
        name = f"{e}.layer.{i}"
        context = disentangled(x, c, w, table, relative, mask, f"{name}.attention.self", see)
        y = see(f"{name}.attention.output.dense", linear(context, w, f"{name}.attention.output.dense"))
        y = see(f"{name}.attention.output.residual", added(x, y))
        y = see(f"{name}.attention.output.LayerNorm", layer_norm(y, w, f"{name}.attention.output.LayerNorm", eps))
        wide = see(f"{name}.intermediate.dense", linear(y, w, f"{name}.intermediate.dense"))
        wide = see(f"{name}.intermediate.activation", ACTIVATIONS[c["hidden_act"]](wide))
        z = see(f"{name}.output.dense", linear(wide, w, f"{name}.output.dense"))
        z = see(f"{name}.output.residual", added(y, z))
        x = see(f"{name}.output.LayerNorm", layer_norm(z, w, f"{name}.output.LayerNorm", eps))
        states.append(x)
    return states


def disentangled(
    x: Tensor,
    c: dict[str, Any],
    w: dict[str, Tensor],
    table: Tensor | None,
    relative: Tensor | None,
    mask: Tensor | None,
    a: str,
    see: See,
) -> Tensor:
    count, terms, shared = c["num_attention_heads"], c["pos_att_type"], c["share_att_key"]
    q, k, v = (see(f"{a}.{n[0]}", heads(linear(x, w, f"{a}.{n}_proj"), count)) for n in ("query", "key", "value"))
    scale = score_scale(q.shape[3], 1 + ("c2p" in terms) + ("p2c" in terms))
    scores = see(f"{a}.content", q @ (k / scale).mT)
    if table is not None and relative is not None:
        table = see(f"{a}.table", table)
        if "c2p" in terms:
            pos_k = heads(linear(table[None], w, f"{a}.key_proj" if shared else f"{a}.pos_key_proj"), count)
            scores = scores + see(f"{a}.c2p", content_to_position(q, see(f"{a}.pos_k", pos_k), relative) / scale)
        if "p2c" in terms:
            pos_q = heads(linear(table[None], w, f"{a}.query_proj" if shared else f"{a}.pos_query_proj"), count)
            scores = scores + see(f"{a}.p2c", position_to_content(k, see(f"{a}.pos_q", pos_q), relative) / scale)
    probabilities = see(f"{a}.probabilities", attended(see(f"{a}.scores", scores), mask))
    return see(f"{a}.context", merged(probabilities @ v))


def classify(
    x: Tensor,
    states: list[Tensor],
    c: dict[str, Any],
    w: dict[str, Tensor],
    lengths: list[int] | None,
    masking: str,
    labels: Tensor | None,
    see: See,
) -> None:
    if c["use_weighted_layer_sum"]:
        x = see("weighted_layers", (w["layer_weights"].softmax(0)[:, None, None, None] * torch.stack(states)).sum(0))
    z = see("projector", linear(x, w, "projector"))
    pooled = see("pooled", mean_over(z, None if lengths is None else frame_mask(lengths, z.shape[1], masking)))
    logits = see("logits", linear(pooled, w, "classifier"))
    if labels is not None:
        see("loss", F.cross_entropy(logits, labels.reshape(-1)))


# -- CTC -------------------------------------------------------------------------------------------------------------------------------


def blank_of(c: dict[str, Any]) -> int:
    return int(c["pad_token_id"])


def targets_of(labels: Tensor, blank: int) -> list[list[int]]:
    return [[int(t) for t in row if t not in (-100, blank)] for row in labels]


def may_leap(token: int, before: int, blank: int) -> bool:
    return token not in (blank, before)


def ctc(log_probs: Tensor, labels: Tensor, lengths: list[int], c: dict[str, Any], see: See) -> None:
    blank, frames = blank_of(c), log_probs.shape[1]
    targets = targets_of(labels, blank)
    states = 2 * max(map(len, targets)) + 1
    alpha = torch.stack([lattice(p, t, n, blank, states) for p, t, n in zip(log_probs, targets, lengths, strict=True)])
    alpha = see("ctc.alpha", alpha) if frames else alpha
    losses = torch.stack([ending(a, len(t), n) for a, t, n in zip(alpha, targets, lengths, strict=True)])
    if c["ctc_zero_infinity"]:
        losses = losses.masked_fill(losses.isinf(), 0.0)
    losses = see("ctc.losses", losses)
    reduced = {
        "mean": lambda: (losses / torch.tensor([max(len(t), 1) for t in targets])).mean(),
        "sum": losses.sum,
        "none": lambda: losses,
    }
    see("loss", reduced[c["ctc_loss_reduction"]]())


def lattice(log_probs: Tensor, target: list[int], frames: int, blank: int, states: int) -> Tensor:
    """(T, V) -> (T, states), by the book: stay, come from the state before, or leap over a blank between unequal tokens."""
    tokens = [blank]
    for token in target:
        tokens += [token, blank]
    alpha = torch.full((len(log_probs), states), -math.inf)
    for t in range(frames):
        for s, token in enumerate(tokens):
            if t == 0:
                ways = [torch.tensor(0.0 if s < 2 else -math.inf)]
            else:
                leap = s >= 2 and may_leap(token, tokens[s - 2], blank)
                ways = [alpha[t - 1, s - k] for k in range(3 if leap else 2) if s >= k]
            ways = [way for way in ways if way.isfinite()]  # what no path reaches has no gradient, and torch's would be NaN
            if ways:
                alpha[t, s] = torch.logsumexp(torch.stack(ways), 0) + log_probs[t, token]
    return alpha


def ending(alpha: Tensor, tokens: int, frames: int) -> Tensor:
    if frames == 0:
        return torch.tensor(0.0 if tokens == 0 else math.inf)
    ends = alpha[frames - 1, max(2 * tokens - 1, 0) : 2 * tokens + 1]
    ends = ends[ends.isfinite()]
    return -torch.logsumexp(ends, 0) if len(ends) else torch.tensor(math.inf)


# -- before and behind the network -----------------------------------------------------------------------------------------------------


def normalised(x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + 1e-7).sqrt()


def prepared(c: dict[str, Any], clips: list[Tensor], see: See) -> None:
    longest = max(map(len, clips))
    rows = []
    for clip in clips:
        padding = torch.full((longest - len(clip),), c["padding_value"])
        if c["return_attention_mask"]:
            row = torch.cat([normalised(clip) if c["do_normalize"] else clip, padding])
        else:
            row = torch.cat([clip, padding])
            row = normalised(row) if c["do_normalize"] else row
        rows.append(row)
    see("input_values", torch.stack(rows))
    if c["return_attention_mask"]:
        see("attention_mask", (torch.arange(longest) < torch.tensor([len(clip) for clip in clips])[:, None]).long())


def decoded(vocab: dict[str, int], c: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Text and offsets of each path."""
    names = {int(i): token["content"] for i, token in c["added_tokens_decoder"].items()} | {i: token for token, i in vocab.items()}
    special = {c.get(f"{n}_token") for n in ("bos", "eos", "unk", "pad")}
    space = c.get("replace_word_delimiter_char", " ")
    result: dict[str, Any] = {"text": [], "char_offsets": [], "word_offsets": []}
    for path in given["paths"]:
        tokens = [names.get(i, c["unk_token"]) for i in path]
        shown = [t for t in tokens if not (given["skip_special_tokens"] and t in special)]
        text = "".join(space if t == c["word_delimiter_token"] else t for t, _, _ in runs(shown, c, given["group_tokens"])).strip()
        text = text.lower() if c.get("do_lower_case") else text
        text = cleaned_up(text) if c.get("clean_up_tokenization_spaces") else text
        characters = [(space if t == c["word_delimiter_token"] else t, s, e) for t, s, e in runs(tokens, c, True)]
        result["text"].append(text)
        result["char_offsets"].append([{"char": t, "start_offset": s, "end_offset": e} for t, s, e in characters])
        result["word_offsets"].append(words(characters, space))
    return result


def cleaned_up(text: str) -> str:
    for before in (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"):
        text = text.replace(before, before.strip())
    return text


def runs(tokens: list[str], c: dict[str, Any], group: bool) -> list[tuple[str, int, int]]:
    """Token, first frame, frame behind the last; blanks left out."""
    found: list[tuple[str, int, int]] = []
    for i, token in enumerate(tokens):
        if group and found and found[-1][0] == token:
            found[-1] = (token, found[-1][1], i + 1)
        else:
            found.append((token, i, i + 1))
    return [run for run in found if run[0] != c["pad_token"]]


def words(characters: list[tuple[str, int, int]], space: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    inside = False
    for text, start, end in characters:
        if text == space:
            inside = False
        elif inside:
            found[-1] |= {"word": found[-1]["word"] + text, "end_offset": end}
        else:
            found.append({"word": text, "start_offset": start, "end_offset": end})
            inside = True
    return found


# -- the suite -------------------------------------------------------------------------------------------------------------------------


def run(
    suite: Path,
    results: Path,
    cases: list[str] | None = None,
    change: Callable[[str, str, Tensor], Tensor] = lambda case, name, x: x,
) -> None:
    """Compute the cases of a suite, all by default.  change: given case, stage and value, what to go on with instead."""
    results.mkdir(exist_ok=True)
    for entry in json.loads((suite / "manifest.json").read_text())["cases"]:
        if cases is None or entry["name"] in cases:
            goes_back = any(said.startswith("gradients:") for said in entry["covers"])
            with torch.set_grad_enabled(goes_back):
                run_case(suite / "cases" / entry["name"], entry, results, change, goes_back)


def run_case(
    folder: Path, entry: dict[str, Any], results: Path, change: Callable[[str, str, Tensor], Tensor], goes_back: bool
) -> None:
    read = lambda name: json.loads((folder / name).read_text(encoding="utf-8"))  # noqa: E731
    name, kind = entry["name"], entry["kind"]
    if kind == "tokenizer":
        found = decoded(read("vocab.json"), read("tokenizer_config.json"), read("inputs.json"))
        (results / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")
        return
    stages: dict[str, Tensor] = {}
    back: dict[str, Tensor] = {}
    given = load_file(folder / "inputs.safetensors")
    c = read("config.json") if kind in ("network", "ctc") else {}

    def see(stage: str, x: Tensor) -> Tensor:
        if f"dropout.{stage}" in given:
            x = drop(x, given[f"dropout.{stage}"])
        if "mask_feature_indices" in given and stage == last_before_encoder(c, given):
            x = x.masked_fill(given["mask_feature_indices"][:, None], 0.0)
        if x.requires_grad:
            x = x.clone()  # a value of its own, so that what comes back here is not mixed with what its like receives elsewhere
            x.register_hook(lambda dx: back.setdefault(f"gradient.{stage}", change(name, f"gradient.{stage}", dx)))
        stages[stage] = change(name, stage, x)
        return stages[stage]

    if kind == "network":
        weights = load_file(folder / "model.safetensors")
        if goes_back:
            for x in (*weights.values(), given["input_values"]):
                x.requires_grad_()
        network(c, weights, given, entry["masking"], entry["head"], see)
    elif kind == "ctc":
        log_probs = given["log_probs"].requires_grad_(goes_back)
        ctc(log_probs, given["labels"], given["input_lengths"].tolist(), c, see)
    elif kind == "features":
        prepared(read("preprocessor_config.json"), [given[f"audio.{i}"] for i in range(len(given))], see)
    elif kind == "spec_augment":
        see("masked_spec_embed", hide(given["hidden_states"], given["mask_time_indices"], given["masked_spec_embed"]))
    if goes_back:
        leaves = {**weights, "input_values": given["input_values"]} if kind == "network" else {"log_probs": log_probs}
        found = torch.autograd.grad(stages["loss"].sum(), list(leaves.values()), allow_unused=True)
        for key, dx in zip(leaves, found, strict=True):
            if dx is not None and key != "input_values":  # a stage, seen already
                stages[f"gradient.{key}"] = change(name, f"gradient.{key}", dx)
        stages |= {key: dx for key, dx in back.items() if key != "gradient.ctc.alpha"}  # the lattice has none in the suite
    save_file({stage: x.detach().clone().contiguous() for stage, x in stages.items()}, results / f"{name}.safetensors")


def last_before_encoder(c: dict[str, Any], given: dict[str, Tensor]) -> str:
    """Where channels are masked."""
    if "mask_time_indices" in given:
        return "masked_spec_embed"
    return "layer_norm" if c["conv_dim"][-1] == c["hidden_size"] else "feature_projection"
