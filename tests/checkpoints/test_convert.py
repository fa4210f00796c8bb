"""Original checkpoints of fairseq, and whatever else can be read, become folders that transformers loads with the very same outputs."""

import argparse
import contextlib
import enum
import json
import logging
import os
import re
import shutil
import sys
import time
import types
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import sewnp
from originals import CLASSES, original
from sewnp.checkpoints import read_any, write_checkpoint
from sewnp.checkpoints.fairseq_arguments import conv_layers
from sewnp.errors import CheckpointError, ConfigError, SewError

CONV = "[(8, 10, 5)] + [(12, 3, 2)] + [(12, 2, 1)]"
LETTERS = "|ETAONI"
VOCAB = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", "<unk>", *LETTERS])}
families = pytest.mark.parametrize("family", ["sew", "sew-d"])
tunings = pytest.mark.parametrize("head", [None, "ctc"], ids=["pretrained", "finetuned"])


@pytest.fixture
def complaints(caplog):
    """What transformers logs at WARNING or above; its loggers do not propagate by themselves."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.enable_propagation()
    transformers.utils.logging.disable_progress_bar()
    with caplog.at_level(logging.WARNING):
        yield caplog.records
    transformers.utils.logging.disable_propagation()
    transformers.utils.logging.set_verbosity(before)


def model_of(family, head, **values):
    """A tiny model of transformers as an original one would be: heads for the vocabulary, DeBERTa with torch's own GELU."""
    values = {"hidden_act": "gelu", "vocab_size": len(VOCAB), "mask_time_prob": 0.65, "dtype": torch.float32} | values
    return original(family, head, **values)


# The way back to the original's names, written down independently of the way there

BACK = [
    (r"^(sew|sew_d)\.", ""),
    (r"^lm_head\.", "PROJ."),
    (r"^feature_projection\.", "post_extract_proj."),
    (r"^masked_spec_embed$", "mask_emb"),
    (r"^feature_extractor\.conv_layers\.(\d+)\.conv\.", r"feature_extractor.conv_layers.\1.0."),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original0$", "encoder.pos_conv.0.weight_g"),
    (r"^encoder\.pos_conv_embed\.conv\.parametrizations\.weight\.original1$", "encoder.pos_conv.0.weight_v"),
    (r"^encoder\.pos_conv_embed\.conv\.bias$", "encoder.pos_conv.0.bias"),
    (r"^encoder\.upsample\.projection\.", "encoder.upsample.0."),
    (r"^encoder\.layers\.(\d+)\.attention\.", r"encoder.layers.\1.self_attn."),
    (r"^encoder\.layers\.(\d+)\.layer_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
    (r"^encoder\.layers\.(\d+)\.feed_forward\.intermediate_dense\.", r"encoder.layers.\1.fc1."),
    (r"^encoder\.layers\.(\d+)\.feed_forward\.output_dense\.", r"encoder.layers.\1.fc2."),
]


def original_state(model, head):
    """The state dict under the original's names."""
    state = OrderedDict()
    inner = r".2.1." if model.config.feat_extract_norm == "layer" else ".2."
    for key, value in model.state_dict().items():
        for pattern, replacement in BACK:
            key = re.sub(pattern, replacement, key)
        key = re.sub(r"^(feature_extractor\.conv_layers\.\d+)\.layer_norm\.", rf"\1{inner}", key)
        if key.startswith("PROJ."):
            key = f"w2v_encoder.proj.{key[5:]}"
        elif head:
            key = f"w2v_encoder.w2v_model.{key}"
        state[key] = value
    if not head:  # what pre-training adds, counters among it
        state["quantizer.vars"] = torch.ones(1, 4, 3)
        state["project_q.net.0.weight"] = torch.ones(3, 3)
        state["final_proj.net.1.num_batches_tracked"] = torch.tensor(7)
        state["target_glu.0.bias"] = torch.ones(2)
    return state


def original_arguments(model, head):
    """The model's arguments, and its task's, as dicts."""
    c = model.config
    encoder = {
        "_name": "squeeze_wav2vec2_deberta" if c.model_type == "sew-d" else "squeeze_wav2vec2",
        "extractor_mode": "layer_norm" if c.feat_extract_norm == "layer" else "default",
        "encoder_layers": c.num_hidden_layers,
        "encoder_embed_dim": c.hidden_size,
        "encoder_ffn_embed_dim": c.intermediate_size,
        "encoder_attention_heads": c.num_attention_heads,
        "activation_fn": c.hidden_act,
        "dropout": 0.1,
        "attention_dropout": 0.2,
        "activation_dropout": 0.0,
        "encoder_layerdrop": 0.05,
        "dropout_input": 0.1,
        "conv_feature_layers": CONV,
        "conv_bias": c.conv_bias,
        "conv_pos": c.num_conv_pos_embeddings,
        "conv_pos_groups": c.num_conv_pos_embedding_groups,
        "squeeze_factor": c.squeeze_factor,
        "mask_prob": c.mask_time_prob,
        "mask_channel_prob": 0,
        "quantize_targets": True,
    }
    if c.model_type == "sew-d":
        encoder |= {
            "max_position_embeddings": 16,
            "position_buckets": 4,
            "pos_att_type": "p2c|c2p",
            "share_att_key": c.share_att_key,
        }
    task = {"_name": "audio_pretraining", "data": "/data", "sample_rate": 16000, "normalize": False}
    if not head:
        return encoder, task
    tuned = {
        "_name": "wav2vec_ctc",
        "w2v_path": "/checkpoints/best.pt",
        "layerdrop": 0.3,
        "final_dropout": 0.4,
        "mask_prob": c.mask_time_prob,
        "mask_channel_prob": 0.5,
        "mask_channel_length": 64,
        "w2v_args": {"model": encoder, "task": task},
    }
    return tuned, task | {"labels": "ltr"}


# The shapes that arguments have had


class ContainerMetadata:
    """Stand-ins for omegaconf 2.0 and for an enumeration of fairseq, pickled under the originals' names."""

    def __init__(self, key=None):
        self.ref_type, self.object_type, self.optional, self.key, self.flags = object, dict, True, key, {"struct": True}


class AnyNode:
    def __init__(self, value, parent):
        self._metadata, self._parent, self._val = ContainerMetadata(), parent, value


class DictConfig:
    def __init__(self, content, parent=None):
        self._metadata, self._parent = ContainerMetadata(), parent
        self._content = {
            key: DictConfig(value, self) if isinstance(value, dict) else AnyNode(value, self) for key, value in content.items()
        }


class Choices(enum.Enum):
    gelu = "gelu"
    relu = "relu"


HOMES = {
    ContainerMetadata: "omegaconf.base",
    AnyNode: "omegaconf.nodes",
    DictConfig: "omegaconf.dictconfig",
    Choices: "fairseq.dataclass.constants",
}


@contextlib.contextmanager
def fairseq_installed():
    """Modules that exist while a file is written, and not when it is read."""
    with pytest.MonkeyPatch.context() as patch:
        for kind, home in HOMES.items():
            parts = home.split(".")
            for end in range(1, len(parts) + 1):
                name = ".".join(parts[:end])
                patch.setitem(sys.modules, name, sys.modules.get(name, types.ModuleType(name)))
            patch.setattr(sys.modules[home], kind.__name__, kind, raising=False)
            patch.setattr(kind, "__module__", home)
        yield


def as_omegaconf(model, task):
    return {"args": None, "cfg": DictConfig({"common": {"seed": 1}, "model": with_choices(model), "task": task})}


def with_choices(arguments):
    """The activation as a member of an enumeration, wherever it stands."""
    found = {key: with_choices(value) if isinstance(value, dict) else value for key, value in arguments.items()}
    return found | ({"activation_fn": Choices(found["activation_fn"])} if "activation_fn" in found else {})


def as_dicts(model, task):
    return {"args": None, "cfg": {"common": {"seed": 1}, "model": with_choices(model), "task": task}}


def as_namespace(model, task):
    flat = argparse.Namespace(arch=model["_name"], **(model | task))
    if "w2v_args" in model:
        flat.w2v_args = argparse.Namespace(**(model["w2v_args"]["model"] | model["w2v_args"]["task"]))
    return {"args": flat}


STYLES = {"omegaconf": as_omegaconf, "dicts": as_dicts, "namespace": as_namespace}


def save(path, model, head, style="dicts", *, change=None, arguments=None):
    """Write an original checkpoint, with all that lies around in one."""
    state = original_state(model, head)
    described = original_arguments(model, head)
    if arguments is not None:
        arguments(*described)
    content = STYLES[style](*described) | {
        "model": state,
        "optimizer_history": [{"num_updates": 100_000, "criterion_name": "Wav2vecCriterion", "best_loss": np.float64(1.5)}],
        "extra_state": {
            "train_iterator": {"epoch": 3},
            "metrics": {"a": [(0, "n", "Sum", {1: np.arange(3)})]},
            "paths": {Path("x")},
        },
        "last_optimizer_state": {"state": {0: {"step": 1, "exp_avg": torch.ones(3)}}, "loss": torch.tensor(3)},
        "task_state": {},
    }
    if change is not None:
        change(content)
    with fairseq_installed():
        torch.save(content, path)
    (path.parent / "dict.ltr.txt").write_text("".join(f"{letter} {100 - i}\n" for i, letter in enumerate(LETTERS)))
    return path


def outputs(model, frames=9):
    """What a model of transformers makes of noise."""
    x = torch.tensor(np.random.default_rng(0).normal(size=(2, 400)), dtype=model.dtype)
    with torch.no_grad():
        out = model(x)
    return (out.logits if "logits" in out else out.last_hidden_state).float().numpy()


def converted(source, target, **options):
    write_checkpoint(target, read_any(source, **options))
    return target


def load_there(folder, family, head):
    """The folder as a model of transformers; it finds nothing missing and nothing too many."""
    model, found = CLASSES[family, head].from_pretrained(folder, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not found.get(what), (what, found[what])
    return model.eval()


@families
@tunings
@pytest.mark.parametrize("style", STYLES)
def test_originals_compute_the_same_in_transformers(tmp_path, complaints, family, head, style):
    theirs = model_of(family, head)
    save(tmp_path / "a.pt", theirs, head, style)
    folder = converted(tmp_path / "a.pt", tmp_path / "out")
    again = load_there(folder, family, head)
    np.testing.assert_array_equal(outputs(again), outputs(theirs))
    assert [record.getMessage() for record in complaints] == []
    ours = sewnp.load(folder)
    assert ours.head == head
    assert again.state_dict().keys() == theirs.state_dict().keys()
    for key, x in again.state_dict().items():
        np.testing.assert_array_equal(x.numpy(), theirs.state_dict()[key].numpy())
    found = json.loads((folder / "config.json").read_text())
    expected = {
        "conv_dim": [8, 12, 12],
        "conv_stride": [5, 2, 1],
        "conv_kernel": [10, 3, 2],
        "attention_dropout": 0.2 if head is None else 0.0,
        "final_dropout": 0.0 if head is None else 0.4,
        "mask_feature_prob": 0.0 if head is None else 0.5,
        "mask_feature_length": 10 if head is None else 64,
        "apply_spec_augment": True,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5 if family == "sew" else 1e-7,
    } | ({"layerdrop": 0.05 if head is None else 0.3} if family == "sew" else {})
    assert {key: found[key] for key in expected} == expected
    assert (folder / "vocab.json").exists() == (head == "ctc")


@families
def test_layer_norm_in_front_and_biases(tmp_path, family):
    theirs = model_of(family, "ctc", feat_extract_norm="layer", conv_bias=True)
    save(tmp_path / "a.pt", theirs, "ctc", arguments=lambda _, task: task.update(normalize=True))
    folder = converted(tmp_path / "a.pt", tmp_path / "out")
    np.testing.assert_array_equal(outputs(load_there(folder, family, "ctc")), outputs(theirs))
    extractor = sewnp.load(folder).feature_extractor
    assert (extractor.return_attention_mask, extractor.do_normalize) == (True, True)
    save(tmp_path / "a.pt", theirs, "ctc")
    assert read_any(tmp_path / "a.pt").preprocessor["do_normalize"] is False


def test_group_norm_is_normalised_as_transformers_does(tmp_path):
    """It undoes loudness and offset itself, whatever the task said."""
    save(tmp_path / "a.pt", model_of("sew", None), None)
    found = read_any(tmp_path / "a.pt").preprocessor
    assert (found["do_normalize"], found["return_attention_mask"], found["sampling_rate"]) == (True, False, 16000)


@pytest.mark.parametrize("share", [True, False])
def test_deberta_options(tmp_path, share):
    theirs = model_of("sew-d", "ctc", share_att_key=share)
    save(tmp_path / "a.pt", theirs, "ctc")
    np.testing.assert_array_equal(
        outputs(load_there(converted(tmp_path / "a.pt", tmp_path / "out"), "sew-d", "ctc")), outputs(theirs)
    )


@pytest.mark.parametrize("name", ["gelu", "relu", "gelu_accurate", "gelu_fast", "tanh", "linear"])
def test_activations_of_fairseq(tmp_path, name):
    """Its gelu_fast is its gelu_accurate."""
    meant = "gelu_accurate" if name == "gelu_fast" else name
    theirs = model_of("sew", None, hidden_act=meant)
    save(tmp_path / "a.pt", theirs, None, arguments=lambda encoder, _: encoder.update(activation_fn=name), style="namespace")
    np.testing.assert_array_equal(outputs(load_there(converted(tmp_path / "a.pt", tmp_path / "out"), "sew", None)), outputs(theirs))


def test_without_masking_there_is_no_mask_embedding(tmp_path):
    theirs = model_of("sew", None, mask_time_prob=0.0)

    def with_embedding(content):
        content["model"]["mask_emb"] = torch.ones(16)

    save(tmp_path / "a.pt", theirs, None, change=with_embedding)
    folder = converted(tmp_path / "a.pt", tmp_path / "out")
    assert not json.loads((folder / "config.json").read_text())["apply_spec_augment"]
    np.testing.assert_array_equal(outputs(load_there(folder, "sew", None)), outputs(theirs))


def test_what_hydra_did_not_save_has_the_originals_default(tmp_path):
    theirs = transformers.SEWModel(
        transformers.SEWConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24, conv_dim=[512] * 7,
            conv_kernel=[10, 3, 3, 3, 3, 2, 2], conv_stride=[5, 2, 2, 2, 2, 2, 2], num_conv_pos_embeddings=128, mask_time_prob=0.65,
        )
    ).eval()  # fmt: skip
    kept = {"encoder_embed_dim": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_embed_dim": 24}

    def only(encoder, _):
        encoder.clear()
        encoder.update(kept)

    save(tmp_path / "a.pt", theirs, None, arguments=only)
    again = load_there(converted(tmp_path / "a.pt", tmp_path / "out"), "sew", None)
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 4000)), dtype=torch.float32)
    with torch.no_grad():
        np.testing.assert_array_equal(again(x).last_hidden_state.numpy(), theirs(x).last_hidden_state.numpy())


def test_the_vocabulary_changes_places_with_the_blank(tmp_path):
    save(tmp_path / "a.pt", model_of("sew", "ctc"), "ctc")
    folder = converted(tmp_path / "a.pt", tmp_path / "out")
    assert json.loads((folder / "vocab.json").read_text()) == VOCAB
    config = json.loads((folder / "config.json").read_text())
    assert (config["pad_token_id"], config["bos_token_id"], config["eos_token_id"], config["vocab_size"]) == (0, 1, 2, 11)
    ours = sewnp.load(folder)
    assert ours.tokenizer.pad_token_id == 0
    assert ours.tokenizer.decode([7, 7, 0, 6, 4, 5]) == "AT E"


def test_a_dictionary_with_the_line_ends_and_the_symbols_of_others(tmp_path):
    save(tmp_path / "a.pt", model_of("sew", "ctc"), "ctc")
    tokens = ["|", "'", "\u2028", "Ω", "a b", "\x85", "#"]
    (tmp_path / "dict.ltr.txt").write_bytes("".join(f"{token} 1\r\n" for token in tokens).encode())
    assert list(read_any(tmp_path / "a.pt").vocab)[4:] == tokens


def test_a_dictionary_by_another_name(tmp_path):
    save(tmp_path / "a.pt", model_of("sew", "ctc"), "ctc")
    (tmp_path / "dict.ltr.txt").rename(tmp_path / "letters")
    with pytest.raises(CheckpointError, match=r"dict\.ltr\.txt: no such file; a fine-tuned model needs its dictionary, .* --dict"):
        read_any(tmp_path / "a.pt")
    assert read_any(tmp_path / "a.pt", dictionary=tmp_path / "letters").vocab == VOCAB


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("| 1\nE\n", "line 2: expected a symbol and its count, found E"),
        ("| 1\nE many\n", "line 2: expected a symbol and its count"),
        ("| 1\n 5\n", "line 2: expected a symbol and its count"),
        ("| 1\nE 5\nE 5\n", "the symbol E is there twice"),
        ("| 1\nE 5\nE 5 #fairseq:overwrite\n", "the symbol E is there twice"),
        ("| 1\n<s> 5\n", "the symbol <s> is there twice"),
        (
            "| 1\nE 5\n",
            r"a\.pt: w2v_encoder\.proj\.bias: expected shape \(6,\), for the dictionary has 2 symbols .*; found \(11,\)",
        ),
        (b"\xff\xfe", r"dict\.ltr\.txt: expected UTF-8, found b'\\xff'"),
        ("x" * 2**21, r"dict\.ltr\.txt: expected at most 1,048,576 bytes"),
        ("", r"line 1: expected a symbol and its count"),
    ],
)
def test_dictionaries_that_are_none(tmp_path, lines, message):
    save(tmp_path / "a.pt", model_of("sew", "ctc"), "ctc")
    (tmp_path / "dict.ltr.txt").write_bytes(lines if isinstance(lines, bytes) else lines.encode())
    with pytest.raises(CheckpointError, match=message):
        read_any(tmp_path / "a.pt")


def test_without_arguments_a_configuration_is_needed(tmp_path):
    theirs = model_of("sew-d", "ctc")
    save(tmp_path / "a.pt", theirs, "ctc", arguments=lambda tuned, _: tuned.update(w2v_args=None))
    with pytest.raises(CheckpointError, match=r"a\.pt: w2v_args: missing, .* give a config\.json with --config"):
        read_any(tmp_path / "a.pt")
    theirs.config.save_pretrained(tmp_path / "config")
    folder = converted(tmp_path / "a.pt", tmp_path / "out", config=tmp_path / "config" / "config.json")
    np.testing.assert_array_equal(outputs(load_there(folder, "sew-d", "ctc")), outputs(theirs))
    save(tmp_path / "b.pt", model_of("sew", None), None, change=lambda content: content.pop("cfg"))
    with pytest.raises(CheckpointError, match=r"b\.pt: cfg or args: missing"):
        read_any(tmp_path / "b.pt")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"config\.json: model_type: expected 'sew' or 'sew-d', found 'bert'"):
        read_any(tmp_path / "b.pt", config=tmp_path / "config.json")


def test_half_precision_stays(tmp_path):
    theirs = model_of("sew", "ctc", dtype=torch.float16)
    save(tmp_path / "a.pt", theirs, "ctc")
    folder = converted(tmp_path / "a.pt", tmp_path / "out")
    again = load_there(folder, "sew", "ctc")
    assert again.dtype == torch.float16
    np.testing.assert_array_equal(outputs(again), outputs(theirs))


# What does not fit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layer_norm_first": True}, "layer_norm_first: expected False, found True: neither transformers nor sewnp builds it"),
        ({"squeeze_method": "multi-layer"}, "squeeze_method: expected 'default', found 'multi-layer'"),
        ({"extractor_mode": "conv2d"}, "extractor_mode: expected 'default' or 'layer_norm', found 'conv2d'"),
        ({"encoder_layers": "12"}, "encoder_layers: expected a value like 12, found '12'"),
        ({"encoder_layers": True}, "encoder_layers: expected a value like 12, found True"),
        ({"encoder_layers": [2]}, "encoder_layers: expected a value like 12, found list"),
        ({"encoder_layers": np.int64(2)}, r"encoder_layers: expected a value like 12, found numpy\.\S*scalar"),
        ({"activation_fn": "softmax"}, "its arguments: hidden_act: unknown activation 'softmax'"),
        ({"encoder_embed_dim": 17}, "its arguments: num_conv_pos_embedding_groups: expected a divisor of hidden_size=17"),
        ({"encoder_embed_dim": 32}, r"encoder\.layer_norm\.weight: expected shape \(32,\), found \(16,\)"),
        ({"encoder_layers": 3}, r"encoder\.layers\.2\.self_attn\.q_proj\.weight: missing"),
        ({"encoder_layers": 1}, r"encoder\.layers\.1\.self_attn\.q_proj\.weight: unexpected"),
        ({"encoder_layers": 10**12}, r"its arguments describe [\d,]+ parameters, it holds"),
        ({"encoder_embed_dim": 2**200}, r"its arguments( describe [\d,]+ parameters, it holds|: hidden_size: expected)"),
        ({"conv_pos": 10**15}, r"its arguments describe [\d,]+ parameters, it holds"),
        ({"dropout": float("nan")}, "its arguments: hidden_dropout: expected a"),
        ({"conv_feature_layers": "x" * 20_000}, "conv_feature_layers: expected a value like"),
    ],
    ids=str,
)
def test_arguments_that_do_not_fit(tmp_path, arguments, message):
    save(tmp_path / "a.pt", model_of("sew", None), None, arguments=lambda encoder, _: encoder.update(arguments), style="namespace")
    with pytest.raises(SewError, match=message) as caught:
        read_any(tmp_path / "a.pt")
    assert str(caught.value).startswith(f"{tmp_path / 'a.pt'}: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.pop("layer_norm.bias"), r"\n  layer_norm\.bias: missing"),
        (lambda model: model.update({"input_proj.weight": torch.ones(2)}), r"\n  input_proj\.weight: unexpected"),
        (
            lambda model: model.update({"layer_norm.bias": torch.ones(5)}),
            r"\n  layer_norm\.bias: expected shape \(12,\), found \(5,\)",
        ),
        (
            lambda model: model.update({"layer_norm.bias": torch.ones(12, dtype=torch.int64)}),
            r"\n  layer_norm\.bias: expected a dtype of F64, F32, F16, BF16, found I64",
        ),
        (lambda model: model.update({"extra": "text"}), r"extra: expected a tensor, found str"),
        (lambda model: model.update({"extra": np.ones(3)}), r"extra: expected a tensor, found numpy\.\S+_reconstruct"),
    ],
    ids=["missing", "too many", "shape", "dtype", "text", "numpy"],
)
def test_tensors_that_do_not_fit(tmp_path, change, message):
    save(tmp_path / "a.pt", model_of("sew", None), None, change=lambda content: change(content["model"]))
    with pytest.raises(CheckpointError, match=message):
        read_any(tmp_path / "a.pt")


@pytest.mark.parametrize("content", [{"state_dict": {}}, {"model": None}, [], None, {"model": torch.ones(2)}], ids=str)
def test_files_that_are_no_checkpoints_of_fairseq(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt: expected a checkpoint of fairseq, a dict with its tensors under 'model'"):
        read_any(tmp_path / "a.pt")


def test_a_bin_without_its_folder(tmp_path):
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"for a pytorch_model\.bin, give its folder"):
        read_any(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="nowhere: no such file or folder, and no hub id"):
        read_any(tmp_path / "nowhere")


# Nothing is executed


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class WithState:
    """Its state is set by a function of its own, which would run."""

    def __setstate__(self, state):
        os.system(state)

    def __getstate__(self):
        return "touch canary"


@pytest.mark.parametrize(
    "evil",
    [
        Evil(os.system, "touch canary"),
        Evil(eval, "open('canary', 'w')"),
        WithState(),
        [Evil(exec, "1/0")],
        {"a": {"b": Evil(exit)}},
    ],
    ids=["system", "eval", "setstate", "exec", "exit"],
)
def test_whatever_lies_around_is_never_called(tmp_path, monkeypatch, evil):
    monkeypatch.chdir(tmp_path)
    theirs = model_of("sew", "ctc")

    def plant(content):
        content["extra_state"]["evil"] = evil
        content["cfg"]["common"]["evil"] = evil
        content["cfg"]["model"]["no_such_argument"] = evil

    save(tmp_path / "a.pt", theirs, "ctc", change=plant)
    np.testing.assert_array_equal(
        outputs(load_there(converted(tmp_path / "a.pt", tmp_path / "out"), "sew", "ctc")), outputs(theirs)
    )

    def plant_where_it_is_read(content):
        content["cfg"]["model"]["final_dropout"] = evil

    save(tmp_path / "a.pt", theirs, "ctc", change=plant_where_it_is_read)
    with pytest.raises(CheckpointError, match=r"a\.pt: final_dropout: expected a value like 0\.0, found"):
        read_any(tmp_path / "a.pt")
    assert not (tmp_path / "canary").exists()


def test_load_refuses_what_convert_understands(tmp_path):
    theirs = model_of("sew", "ctc")
    theirs.config.save_pretrained(tmp_path)
    for style, named in (("namespace", r"argparse\.Namespace"), ("omegaconf", r"omegaconf\.dictconfig\.DictConfig")):
        save(tmp_path / "pytorch_model.bin", theirs, "ctc", style)
        with pytest.raises(CheckpointError, match=rf"pytorch_model\.bin: asks to call {named}: refused; nothing was executed"):
            sewnp.load(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch canary')",
        "[(8, 10, 5)] + __import__('os').system('touch canary')",
        "[(8, 10, 5)] * 9999999999",
        "[(8, 10, 5)] * 9999",
        "[(8, 10, 5)] * 1000 + [(8, 10, 5)] * 1000",
        "[(8, 10)]",
        "[(8, 10, 5.0)]",
        "[]",
        "",
        "[(8, 10, -5)]",
        "[(8, 10, 99999999)]",
        "(" * 5000,
        "[(1,1,1),]" + "*9" * 4000,
        "[" + "(1,1,1)" * 1100 + "!",
        "[ ( 1 , 1 , 1 ) , " + " " * 9000,
        "[(१, 2, 3)]",
    ],
    ids=lambda text: text[:30],
)
def test_convolutions_are_not_evaluated(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    before = time.process_time()
    with pytest.raises(CheckpointError, match=r"a\.pt: conv_feature_layers: expected"):
        conv_layers(Path("a.pt"), text)
    assert time.process_time() - before < 0.2
    assert not (tmp_path / "canary").exists()


def test_convolutions_as_the_training_scripts_spell_them():
    c = 64
    text = f"""[({c}, 10, 5), ({2 * c}, 3, 2)] + [({2 * c}, 1, 1)] * 1 + [({2 * c}, 3, 2)] + [({4 * c},2,2)]*2+[({8 * c}, 1, 1),]"""
    assert conv_layers(Path("a.pt"), text) == eval(text)
    assert conv_layers(Path("a.pt"), "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]")[-1] == (512, 2, 2)


# Folders


@pytest.mark.parametrize(("family", "head"), CLASSES)
def test_folders_with_a_pickle_become_folders_without(tmp_path, complaints, family, head):
    theirs = original(family, head, dtype=torch.float32, num_labels=4)
    theirs.config.save_pretrained(tmp_path / "in")
    torch.save(theirs.state_dict(), tmp_path / "in" / "pytorch_model.bin")
    folder = converted(tmp_path / "in", tmp_path / "out")
    assert not (folder / "pytorch_model.bin").exists()
    np.testing.assert_array_equal(outputs(load_there(folder, family, head)), outputs(theirs))
    assert [record.getMessage() for record in complaints] == []
    here = converted(tmp_path / "in", tmp_path / "in")  # in place: what is new comes first from then on
    (here / "pytorch_model.bin").write_text("not even a pickle any more")
    np.testing.assert_array_equal(outputs(load_there(here, family, head)), outputs(theirs))


@pytest.mark.parametrize(
    ("stored", "expected"),
    [("float16", "float16"), ("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64"), ("mixed", "float32")],
)
def test_precision_is_kept(tmp_path, stored, expected):
    theirs = original("sew", "ctc", dtype=torch.float16 if stored == "mixed" else getattr(torch, stored))
    theirs.config.save_pretrained(tmp_path / "in")
    state = theirs.state_dict()
    if stored == "mixed":
        state["lm_head.bias"] = state["lm_head.bias"].bfloat16()
    torch.save(state, tmp_path / "in" / "pytorch_model.bin")
    again = load_there(converted(tmp_path / "in", tmp_path / "out"), "sew", "ctc")
    assert str(again.dtype) == f"torch.{expected}"
    for key, x in again.state_dict().items():
        assert torch.equal(x, state[key].to(x.dtype)), key
        assert torch.equal(x.to(state[key].dtype), state[key]), key


def test_a_model_of_the_hub(tmp_path, monkeypatch):
    sewnp.load("digits").save(tmp_path / "cached")
    asked = []
    monkeypatch.setattr("sewnp.checkpoints.any.fetch", lambda *of: asked.append(of) or tmp_path / "cached")
    assert read_any(Path("somebody/model@v1")).config.hidden_size == 160
    assert asked == [("somebody/model", "v1")]


def test_a_folder_takes_no_options(tmp_path):
    sewnp.load("digits").save(tmp_path)
    with pytest.raises(CheckpointError, match="a folder has its own vocabulary and configuration"):
        read_any(tmp_path, dictionary=tmp_path / "vocab.json")


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path):
    save(tmp_path / "a.pt", model_of("sew", "ctc"), "ctc")
    shutil.copy(tmp_path / "a.pt", tmp_path / "b.pt")
    data = (tmp_path / "b.pt").read_bytes()
    (tmp_path / "b.pt").write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"b\.pt: is truncated"):
        converted(tmp_path / "b.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
