"""The layers and the parts of the networks once more, with torch's own functions: what autograd goes back through.

Names, arguments and order of stages are ours, so that a judge can call either; ``see`` takes and returns tensors.
"""

import torch
from torch.nn import functional as F
from transformers.activations import ACT2FN

from sewnp.layers import ACTIVATIONS, relative_positions, within

torch.set_num_threads(1)  # its pool costs such tiny tensors more than it gives them

THEIRS = {function: ACT2FN[name] if name in ACT2FN else getattr(F, name) for name, function in ACTIVATIONS.items()}


def linear(x, weight, bias=None):
    return F.linear(x, weight, bias)


def activate(x, activation):
    return THEIRS[activation](x)


def conv1d(x, weight, bias=None, *, stride=1):
    return F.conv1d(x.mT, weight, bias, stride=stride).mT


def grouped_conv1d(x, weight, bias=None, *, groups, stride=1, padding=0):
    return F.conv1d(x.mT, weight, bias, groups=groups, stride=stride, padding=padding).mT


def weight_norm(weight_g, weight_v):
    return torch._weight_norm(weight_v, weight_g, 2)


def group_norm(x, weight, bias, *, groups, eps):
    return F.group_norm(x.mT, groups, weight, bias, eps).mT


def layer_norm(x, weight, bias, *, eps):
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def softmax(x):
    return torch.softmax(x, -1)


def log_softmax(x):
    return torch.log_softmax(x, -1)


def masked_softmax(scores, mask):
    if mask is None:
        return torch.softmax(scores, -1)
    mask = mask.expand(scores.shape)
    nobody = ~mask.any(-1, keepdim=True)  # NaN, were it asked for a softmax over nothing
    return torch.softmax(scores.masked_fill(~mask & ~nobody, -torch.inf), -1) * ~nobody


def weighted_layers(hidden_states, layer_weights):
    return (torch.stack(hidden_states) * torch.softmax(layer_weights, -1)[:, None, None, None]).sum(0)


def masked_mean(x, mask=None):
    if mask is None:
        return x.mean(1)
    return x.masked_fill(~mask[:, :, None], 0).sum(1) / mask.sum(1, keepdim=True)


def mask_frames(x, time_mask, masked_spec_embed):
    return torch.where(time_mask[:, :, None], masked_spec_embed, x)


def squeeze(x, factor):
    return F.avg_pool1d(x.mT, factor).mT


def heads_of(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def project(x, p, *, heads, see):
    return see("k", heads_of(linear(x, **p["k_proj"]), heads))


def position_embedding(x, p, *, groups, stride, activation, see):
    conv = p["conv"]
    weight = see("conv.weight", weight_norm(conv["weight_g"], conv["weight_v"]))
    kernel = weight.shape[2]
    y = see("conv", grouped_conv1d(x, weight, conv["bias"], groups=groups, stride=stride, padding=kernel // 2))
    return see("activation", activate(y[:, : y.shape[1] - (kernel % 2 == 0)], activation))


def upsample(x, p, *, factor, frames, activation, see):
    y = see("activation", activate(see("projection", linear(x, **p["projection"])), activation))
    y = y.reshape(len(y), -1, y.shape[2] // factor)
    return F.pad(y, (0, 0, 0, frames - y.shape[1]))


def feed_forward(x, p, *, activation, see):
    hidden = see("activation", activate(see("intermediate_dense", linear(x, **p["intermediate_dense"])), activation))
    return see("output_dense", linear(hidden, **p["output_dense"]))


def multi_head_attention(x, p, *, heads, mask=None, see):
    q, k, v = (see(name, heads_of(linear(x, **p[f"{name}_proj"]), heads)) for name in "qkv")
    scores = see("scores", torch.einsum("bhid,bhjd->bhij", q, k) / q.shape[-1] ** 0.5)
    probabilities = see("probabilities", masked_softmax(scores, mask))
    context = see("context", torch.einsum("bhij,bhjd->bihd", probabilities, v).flatten(2))
    return see("output", linear(context, **p["out_proj"]))


def content_to_position(q, position_keys, relative):
    rows = (relative + position_keys.shape[2] // 2).clamp(0, position_keys.shape[2] - 1)
    return torch.einsum("bhid,hijd->bhij", q, position_keys[0][:, rows])


def position_to_content(k, position_queries, relative):
    rows = (-relative.T + position_queries.shape[2] // 2).clamp(0, position_queries.shape[2] - 1)
    return torch.einsum("bhjd,hijd->bhij", k, position_queries[0][:, rows])


def disentangled_attention(x, p, *, heads, pos_att_type, share_att_key, table, relative, mask=None, see):
    q, k, v = (see(name[0], heads_of(linear(x, **p[f"{name}_proj"]), heads)) for name in ("query", "key", "value"))
    scale = float(torch.tensor(q.shape[-1] * (1 + len(pos_att_type)), dtype=torch.float32).sqrt())
    scores = see("content", torch.einsum("bhid,bhjd->bhij", q, k) / scale)
    own = "" if share_att_key else "pos_"
    if table is not None and relative is not None:
        table = see("table", table)
        if "c2p" in pos_att_type:
            keys = see("pos_k", heads_of(linear(table[None], **p[f"{own}key_proj"]), heads))
            scores = scores + see("c2p", content_to_position(q, keys, relative) / scale)
        if "p2c" in pos_att_type:
            queries = see("pos_q", heads_of(linear(table[None], **p[f"{own}query_proj"]), heads))
            scores = scores + see("p2c", position_to_content(k, queries, relative) / scale)
    probabilities = see("probabilities", masked_softmax(see("scores", scores), mask))
    return see("context", torch.einsum("bhij,bhjd->bihd", probabilities, v).flatten(2))


# the parts of the networks


def conv_layer(x, p, *, stride, norm, activation, see):
    y = see("conv", conv1d(x, **p["conv"], stride=stride))
    if "layer_norm" in p and norm == "group":
        y = see("layer_norm", group_norm(y, **p["layer_norm"], groups=y.shape[2], eps=1e-5))
    elif "layer_norm" in p:
        y = see("layer_norm", layer_norm(y, **p["layer_norm"], eps=1e-5))
    return see("activation", activate(y, activation))


def feature_extractor(waveform, p, config, *, see):
    x = waveform[:, :, None]
    for i, (layer, stride) in enumerate(zip(p["conv_layers"], config.conv_stride, strict=True)):
        act, inside = ACTIVATIONS[config.feat_extract_activation], within(see, f"conv_layers.{i}")
        x = conv_layer(x, layer, stride=stride, norm=config.feat_extract_norm, activation=act, see=inside)
    return x


def projected(x, p, config, *, time_mask, see):
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.frames_eps))
    if "feature_projection" in p:
        x = see("feature_projection", linear(x, **p["feature_projection"]))
    if time_mask is not None and config.apply_spec_augment:
        x = see("masked_spec_embed", mask_frames(x, time_mask, p["masked_spec_embed"]))
    return x


def squeezed(x, p, config, *, mask, see):
    if mask is not None:
        x = see("masked_frames", x * mask[:, :, None])
    position = position_embedding(
        x,
        p["pos_conv_embed"],
        groups=config.num_conv_pos_embedding_groups,
        stride=config.squeeze_factor,
        activation=ACTIVATIONS[config.feat_extract_activation],
        see=within(see, "pos_conv_embed"),
    )
    pool = see("pool", squeeze(x, config.squeeze_factor))
    return see("squeezed", pool + position[:, : pool.shape[1]])


def unsqueezed(x, p, config, *, frames, see):
    act, inside = ACTIVATIONS[config.feat_extract_activation], within(see, "upsample")
    y = upsample(x, p["upsample"], factor=config.squeeze_factor, frames=frames, activation=act, see=inside)
    return see("last_hidden_state", y)


def sew_layer(x, p, *, heads, eps, activation, mask=None, see):
    x = x + multi_head_attention(x, p["attention"], heads=heads, mask=mask, see=within(see, "attention"))
    x = see("layer_norm", layer_norm(see("residual", x), **p["layer_norm"], eps=eps))
    x = x + feed_forward(x, p["feed_forward"], activation=activation, see=within(see, "feed_forward"))
    return see("final_layer_norm", layer_norm(see("final_residual", x), **p["final_layer_norm"], eps=eps))


def sew_transformer(x, p, config, *, mask, skip_layers, see):
    x = see("layer_norm", layer_norm(x, **p["layer_norm"], eps=config.layer_norm_eps))
    options = {"heads": config.num_attention_heads, "eps": config.layer_norm_eps, "activation": ACTIVATIONS[config.hidden_act]}
    for i, layer in enumerate(p.get("layers", [])):
        if i not in skip_layers:
            x = sew_layer(x, layer, **options, mask=mask, see=within(see, f"layers.{i}"))
    return x


def add_and_norm(x, residual, p, *, eps, see):
    x = see("residual", see("dense", linear(x, **p["dense"])) + residual)
    return see("LayerNorm", layer_norm(x, **p["LayerNorm"], eps=eps))


def sew_d_layer(x, p, config, *, table, relative, activation, mask=None, see):
    names = ("pos_att_type", "share_att_key")
    options = {name: getattr(config, name) for name in names} | {"table": table, "relative": relative, "mask": mask}
    inside = within(see, "attention.self")
    context = disentangled_attention(x, p["attention"]["self"], heads=config.num_attention_heads, **options, see=inside)
    y = add_and_norm(context, x, p["attention"]["output"], eps=config.layer_norm_eps, see=within(see, "attention.output"))
    hidden = see("intermediate.dense", linear(y, **p["intermediate"]["dense"]))
    hidden = see("intermediate.activation", activate(hidden, activation))
    return add_and_norm(hidden, y, p["output"], eps=config.layer_norm_eps, see=within(see, "output"))


def position_table(p, config, *, see):
    table = see("rel_embeddings", p["rel_embeddings"]["weight"])
    if config.normalizes_positions:
        table = see("LayerNorm", layer_norm(table, **p["LayerNorm"], eps=config.layer_norm_eps))
    return table


def sew_d_transformer(x, p, config, *, mask, skip_layers, see):
    p, see, table, relative = p.get("encoder", {}), within(see, "encoder"), None, None
    if config.relative_attention:
        table = position_table(p, config, see=see)
        # ours: buckets are no matter of gradients
        relative = relative_positions(x.shape[1], buckets=config.position_buckets, max_distance=config.max_distance)
        relative = see("relative_positions", torch.tensor(relative))
    for i, layer in enumerate(p.get("layer", [])):
        if i not in skip_layers:
            options = {"table": table, "relative": relative, "activation": ACTIVATIONS[config.hidden_act], "mask": mask}
            x = sew_d_layer(x, layer, config, **options, see=within(see, f"layer.{i}"))
    return x


def ctc_logits(x, p):
    return linear(x, **p["lm_head"])


def classification_logits(x, p, *, mask, see):
    pooled = see("pooled", masked_mean(see("projector", linear(x, **p["projector"])), mask))
    return linear(pooled, **p["classifier"])


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels.reshape(-1).long())
