"""Folders that transformers writes load here, folders that we write load there, and damaged ones are refused with a message that helps."""

import json
import logging
import shutil
import time

import numpy as np
import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_tensors

import sewnp
from judging import assert_close64, assert_float32_honest
from originals import CLASSES, clips, mask_of, original, run_original, twin
from sewnp.checkpoints import read_checkpoint
from sewnp.errors import CheckpointError, ConfigError, SewError
from sewnp.loading import EMBEDDED, embedded

KINDS = list(CLASSES)
kinds = pytest.mark.parametrize(("family", "head"), KINDS, ids=[f"{family}-{head}" for family, head in KINDS])
families = pytest.mark.parametrize("family", ["sew", "sew-d"])


@pytest.fixture(autouse=True)
def quiet():
    transformers.utils.logging.disable_progress_bar()


@pytest.fixture
def complaints(caplog):
    """What transformers logs at WARNING or above; its loggers do not propagate by themselves."""
    before = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_warning()
    transformers.utils.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield caplog.records
    transformers.utils.logging.disable_propagation()
    transformers.utils.logging.set_verbosity(before)


@pytest.fixture
def saved(tmp_path):
    """A folder with a small CTC checkpoint as transformers writes it."""
    theirs = original("sew", "ctc", dtype=torch.float32)
    theirs.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def same_weights(ours, theirs):
    """Bit for bit, under the keys of a head's checkpoint."""
    prefix = "" if ours.head else f"{ours.config.prefix}."
    there = {prefix + key: x for key, x in theirs.state_dict().items()}
    here = ours.flat_weights()
    assert here.keys() == there.keys()
    for key, x in here.items():
        np.testing.assert_array_equal(
            x, there[key].to(torch.float32 if x.dtype == np.float32 else torch.float64).numpy(), err_msg=key
        )


def rewrite(folder, change):
    """Replace the tensors of a folder by what ``change`` makes of them."""
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def edit(folder, **values):
    """Change fields of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


# From transformers


@kinds
@pytest.mark.parametrize("shards", [False, True], ids=["one file", "shards"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_folders_of_transformers_load(tmp_path, family, head, shards, dtype):
    theirs = original(family, head, dtype=dtype)
    theirs.save_pretrained(tmp_path, **({"max_shard_size": "8KB"} if shards else {}))
    assert (tmp_path / "model.safetensors.index.json").exists() == shards
    ours = sewnp.load(tmp_path, dtype="float64" if dtype == torch.float64 else "float32")
    assert ours.head == head
    assert ours.dtype == (np.float64 if dtype == torch.float64 else np.float32)
    same_weights(ours, theirs)
    x = clips(ours)
    mask = mask_of(ours, [9, 5, 3], x.shape[1])
    out = ours(x, mask)
    expected = run_original(theirs.to(torch.float64 if dtype == torch.float64 else torch.float32), x, attention_mask=mask)
    name = "logits" if head else "last_hidden_state"
    if dtype == torch.float64:
        assert_close64(getattr(out, name), expected[name])
    else:
        truth = sewnp.load(tmp_path, dtype="float64")(x, mask)
        assert_float32_honest(getattr(out, name), expected[name], getattr(truth, name))


@families
def test_the_old_spelling_of_weight_norm_loads(tmp_path, family):
    theirs = original(family, "ctc", dtype=torch.float32)
    theirs.save_pretrained(tmp_path)
    new, old = (".parametrizations.weight.original0", ".parametrizations.weight.original1"), (".weight_g", ".weight_v")
    rewrite(tmp_path, lambda tensors: {k.replace(new[0], old[0]).replace(new[1], old[1]): x for k, x in tensors.items()})
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert any(key.endswith("pos_conv_embed.conv.weight_v") for key in file.keys())  # noqa: SIM118
    same_weights(sewnp.load(tmp_path), theirs)


def test_narrowing_to_float32_rounds_and_widening_is_exact(tmp_path):
    theirs = original("sew", "ctc", dtype=torch.float64)
    theirs.save_pretrained(tmp_path)
    same_weights(sewnp.load(tmp_path), theirs)
    same_weights(sewnp.load(tmp_path, dtype="float64"), theirs)


def test_every_bfloat16_widens_exactly(saved):
    """Subnormals, the largest, zeros with sign."""
    values = np.array([1.0, -0.0, 3.3895314e38, 1e-40, -1.1754944e-38, np.pi, 2**-133], np.float32)
    tensors = {key: torch.tensor(x) for key, x in load_file(saved / "model.safetensors").items()}
    bias = tensors["lm_head.bias"].to(torch.bfloat16)
    bias[: len(values)] = torch.tensor(values).to(torch.bfloat16)
    tensors["lm_head.bias"] = bias
    save_tensors(tensors, saved / "model.safetensors", {"format": "pt"})
    loaded = sewnp.load(saved).weights["lm_head"]["bias"]
    np.testing.assert_array_equal(loaded.view(np.uint32), bias.to(torch.float32).numpy().view(np.uint32))


def test_mixed_dtypes_load_into_one(saved):
    rewrite(saved, lambda tensors: tensors | {"lm_head.bias": tensors["lm_head.bias"].astype(np.float64)})
    assert {x.dtype for x in sewnp.load(saved).flat_weights().values()} == {np.dtype("float32")}


def test_preprocessor_inside_processor_config(saved, tmp_path):
    """What a processor of transformers 5 writes."""
    extractor = transformers.Wav2Vec2FeatureExtractor(sampling_rate=8000, return_attention_mask=True, do_normalize=False)
    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "A": 5, "B": 6}
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    tokenizer = transformers.Wav2Vec2CTCTokenizer(tmp_path / "vocab.json")
    transformers.Wav2Vec2Processor(extractor, tokenizer).save_pretrained(saved)
    assert (saved / "processor_config.json").exists()
    ours = sewnp.load(saved)
    assert (ours.feature_extractor.sampling_rate, ours.feature_extractor.return_attention_mask) == (8000, True)
    assert ours.tokenizer.encode("AB A") == [5, 6, 4, 5]


# To transformers


def load_there(folder, family, head):
    """The folder as a model of transformers; it finds nothing missing and nothing too many."""
    model, found = CLASSES[family, head].from_pretrained(folder, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        assert not found.get(what), (what, found[what])
    return model.eval()


@kinds
def test_our_folders_load_in_transformers(tmp_path, complaints, family, head):
    ours = twin(original(family, head, dtype=torch.float32, num_labels=4))
    ours.save(tmp_path / "ours")
    theirs = load_there(tmp_path / "ours", family, head)
    assert [record.getMessage() for record in complaints] == []
    assert theirs.dtype == torch.float32
    same_weights(ours, theirs)
    assert set(load_file(tmp_path / "ours" / "model.safetensors")) == set(theirs.state_dict())  # a base model's without prefix
    x = clips(ours)
    mask = mask_of(ours, [9, 5, 3], x.shape[1])
    name = "logits" if head else "last_hidden_state"
    truth = twin(theirs, dtype=np.float64)(x, mask)
    assert_float32_honest(getattr(ours(x, mask), name), run_original(theirs, x, attention_mask=mask)[name], getattr(truth, name))


@families
def test_our_float64_folders_load_in_transformers(tmp_path, complaints, family):
    ours = twin(original(family, "ctc"))
    ours.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float64"
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [CLASSES[family, "ctc"].__name__]
    theirs = load_there(tmp_path, family, "ctc")
    assert theirs.dtype == torch.float64
    x = clips(ours)
    assert_close64(ours(x).logits, run_original(theirs, x)["logits"])
    assert not complaints


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_models_load_in_transformers_when_saved(tmp_path, complaints, name):
    ours = sewnp.load(name)
    ours.save(tmp_path)
    theirs = load_there(tmp_path, ours.config.model_type, ours.head)
    same_weights(ours, theirs)
    x = np.random.default_rng(0).normal(size=(1, 8000)).astype(np.float32)
    truth = sewnp.load(name, dtype="float64")(x).logits
    assert_float32_honest(ours(x).logits, run_original(theirs, x)["logits"], truth)
    assert transformers.AutoConfig.from_pretrained(tmp_path).id2label == ours.config.id2label
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    audio = np.random.default_rng(1).normal(size=2000).astype(np.float32)
    expected = extractor(audio, sampling_rate=16000, return_tensors="np").input_values
    np.testing.assert_array_equal(ours.features(audio, sampling_rate=16000).input_values, expected)
    assert [record.getMessage() for record in complaints] == []


@pytest.mark.parametrize("name", ["digits", "digits-d"])
@pytest.mark.parametrize("kind", [transformers.AutoProcessor, transformers.Wav2Vec2Processor])
def test_processors_of_our_folders_load_in_transformers(tmp_path, complaints, name, kind):
    ours = sewnp.load(name)
    ours.save(tmp_path)
    processor = kind.from_pretrained(tmp_path)
    assert type(processor) is transformers.Wav2Vec2Processor
    assert [record.getMessage() for record in complaints] == []
    text = "ONE TWO <unk>'S"
    ids = processor.tokenizer(text).input_ids
    assert ours.tokenizer.encode(text) == ids
    assert ours.tokenizer.decode(ids) == processor.decode(ids)
    theirs, expected = processor.feature_extractor.to_dict(), ours.feature_extractor.to_dict()
    expected.pop("processor_class", None)
    assert theirs | expected == theirs


# And back


@kinds
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_load_save_load_is_bit_equal(tmp_path, family, head, dtype):
    original(family, head, dtype=getattr(torch, dtype)).save_pretrained(tmp_path / "first")
    first = sewnp.load(tmp_path / "first", dtype=dtype)
    first.save(tmp_path / "second")
    second = sewnp.load(tmp_path / "second", dtype=dtype)
    second.save(tmp_path / "third")
    assert second.head == head
    assert second.config.to_dict() | {"dtype": None} == first.config.to_dict() | {"dtype": None}
    for key, x in first.flat_weights().items():
        np.testing.assert_array_equal(x, second.flat_weights()[key])
    for path in (tmp_path / "second").iterdir():
        assert path.read_bytes() == (tmp_path / "third" / path.name).read_bytes()


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_files_of_the_embedded_models_round_trip(tmp_path, name):
    sewnp.load(name).save(tmp_path)
    shipped = {path.name: json.loads(path.read_text()) for path in embedded(name).glob("*.json")}
    written = {path.name: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert written["config.json"]["dtype"] == "float32"  # shipped as float16, saved as the model is
    shipped["config.json"]["dtype"] = "float32"
    assert written == shipped


def test_the_saved_dtype_replaces_the_old_name(saved, tmp_path):
    edit(saved, torch_dtype="float16", dtype=None)
    for dtype in ("float32", "float64"):
        sewnp.load(saved, dtype=dtype).save(tmp_path / dtype)
        config = json.loads((tmp_path / dtype / "config.json").read_text())
        assert config["dtype"] == dtype
        assert "torch_dtype" not in config
        with safe_open(tmp_path / dtype / "model.safetensors", "numpy") as file:
            assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F32" if dtype == "float32" else "F64"}  # noqa: SIM118


def test_saving_over_shards_leaves_none_that_would_be_read(tmp_path):
    original("sew", "ctc", dtype=torch.float32).save_pretrained(tmp_path, max_shard_size="8KB")
    ours = twin(original("sew", "ctc", seed=5, dtype=torch.float32))
    ours.save(tmp_path)
    np.testing.assert_array_equal(sewnp.load(tmp_path).weights["lm_head"]["weight"], ours.weights["lm_head"]["weight"])
    assert not (tmp_path / "model.safetensors.index.json").exists()


def test_unknown_keys_of_config_json_survive(saved, tmp_path):
    edit(saved, gradient_checkpointing=False, my_own=[1, {"a": None}])
    sewnp.load(saved).save(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["my_own"] == [1, {"a": None}]
    assert config["gradient_checkpointing"] is False


# Base and heads into each other


@families
@pytest.mark.parametrize("head", ["ctc", "classification"])
def test_a_base_model_loads_from_a_head_checkpoint(tmp_path, family, head):
    theirs = original(family, head, dtype=torch.float32, use_weighted_layer_sum=True)
    theirs.save_pretrained(tmp_path)
    ours = sewnp.load(tmp_path, head=None)
    assert ours.head is None
    same_weights(ours, theirs.base_model)
    with pytest.raises(SewError, match="needs a CTC head, found none"):
        ours.transcribe(np.zeros(1000, np.float32))


@families
@pytest.mark.parametrize("held", [None, "ctc", "classification"])
@pytest.mark.parametrize("asked", ["ctc", "classification"])
def test_a_head_that_is_not_there_needs_a_seed(tmp_path, family, held, asked):
    theirs = original(family, held, dtype=torch.float32, use_weighted_layer_sum=True)
    theirs.save_pretrained(tmp_path)
    if held != asked:
        with pytest.raises(CheckpointError, match=r"fresh_head_seed=0 starts one with fresh weights") as caught:
            sewnp.load(tmp_path, head=asked)
        own = {
            "ctc": ["lm_head.weight", "lm_head.bias"],
            "classification": ["layer_weights", "projector.weight", "classifier.bias"],
        }
        assert all(f"{key}: missing" in str(caught.value) for key in own[asked])
    else:
        same_weights(sewnp.load(tmp_path, head=asked), theirs)
    first, again, other = (sewnp.load(tmp_path, head=asked, fresh_head_seed=seed) for seed in (0, 0, 1))
    same_weights(sewnp.load(tmp_path, head=None), theirs.base_model)
    name = "lm_head" if asked == "ctc" else "projector"
    np.testing.assert_array_equal(first.weights[name]["weight"], again.weights[name]["weight"])
    assert (first.weights[name]["weight"] != other.weights[name]["weight"]).any()
    assert not first.weights[name]["bias"].any()
    base = {key: x.numpy() for key, x in theirs.base_model.state_dict().items()}
    for key, x in first.flat_weights().items():
        if key.startswith(first.config.prefix + "."):
            np.testing.assert_array_equal(x, base[key.removeprefix(first.config.prefix + ".")])
    assert first(clips(first)).logits.shape == ((3, 9, 11) if asked == "ctc" else (3, 3))


def test_a_fresh_head_may_have_another_size(saved):
    edit(saved, vocab_size=40)
    with pytest.raises(
        CheckpointError, match=r"lm_head\.weight: expected shape \(40, 16\), found \(11, 16\) in model\.safetensors"
    ):
        sewnp.load(saved)
    assert sewnp.load(saved, head="ctc", fresh_head_seed=0).weights["lm_head"]["weight"].shape == (40, 16)


def test_a_fresh_head_saves_without_the_old_one(saved, tmp_path):
    sewnp.load(saved, head="classification", fresh_head_seed=0).save(tmp_path / "new")
    loaded = sewnp.load(tmp_path / "new")
    assert loaded.head == "classification"
    assert "lm_head" not in loaded.weights


# What does not fit


def test_one_error_lists_every_tensor_that_does_not_fit(saved):
    def damage(tensors):
        del tensors["sew.layer_norm.bias"], tensors["sew.encoder.layers.1.attention.q_proj.weight"]
        tensors["sew.encoder.pos_conv_embed.conv.weight_g"] = np.ones((1, 1, 7), np.float32)
        del tensors["sew.encoder.pos_conv_embed.conv.parametrizations.weight.original0"]
        tensors["lm_head.bias"] = tensors["lm_head.bias"][:-1]
        return tensors | {"sew.encoder.layers.7.extra": np.ones(3, np.float32), "quantizer.weight": np.ones(2, np.float32)}

    rewrite(saved, damage)
    with pytest.raises(CheckpointError) as caught:
        sewnp.load(saved)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{saved}: tensors do not fit config.json:"
    assert sorted(lines[1:]) == sorted(
        [
            "  sew.layer_norm.bias: missing",
            "  sew.encoder.layers.1.attention.q_proj.weight: missing",
            "  sew.encoder.pos_conv_embed.conv.weight_g: expected shape (1, 1, 5), found (1, 1, 7) in model.safetensors",
            "  lm_head.bias: expected shape (11,), found (10,) in model.safetensors",
            "  sew.encoder.layers.7.extra: unexpected, in model.safetensors",
            "  quantizer.weight: unexpected, in model.safetensors",
        ]
    )


def test_a_misfit_in_a_shard_names_the_shard(tmp_path):
    original("sew", "ctc", dtype=torch.float32).save_pretrained(tmp_path, max_shard_size="8KB")
    weight_map = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    edit(tmp_path, vocab_size=12)
    with pytest.raises(CheckpointError, match=f"found \\(11,\\) in {weight_map['lm_head.bias']}"):
        sewnp.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_hidden_layers": 10**9}, r"config\.json describes [\d,]+ parameters, the tensor files hold [\d,]+"),
        ({"num_hidden_layers": 10**5}, r"config\.json describes [\d,]+ parameters"),
        ({"hidden_size": 10**9}, r"config\.json describes [\d,]+ parameters"),
        ({"vocab_size": 10**12}, r"config\.json describes [\d,]+ parameters"),
        ({"intermediate_size": 10**15}, r"config\.json describes [\d,]+ parameters"),
        ({"num_conv_pos_embeddings": 10**10}, r"config\.json describes [\d,]+ parameters"),
        ({"conv_dim": [10**9, 10**9, 12]}, r"config\.json describes [\d,]+ parameters"),
        ({"num_labels": 10**9, "id2label": None, "label2id": None}, "num_labels: expected a whole number from 1 to 100000"),
    ],
    ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
)
@pytest.mark.parametrize("head", ["auto", "ctc"])
def test_absurd_sizes_are_refused_before_they_take_memory(saved, values, message, head):
    edit(saved, **values)
    start = time.perf_counter()
    with pytest.raises(SewError, match=message):
        sewnp.load(saved, head=head, fresh_head_seed=None if head == "auto" else 0)
    assert time.perf_counter() - start < 1


def test_integer_tensors_are_refused(saved):
    rewrite(saved, lambda tensors: tensors | {"lm_head.bias": np.zeros(11, np.int64)})
    with pytest.raises(
        CheckpointError, match=r"model\.safetensors: lm_head\.bias: expected a dtype of F64, F32, F16, BF16, found I64"
    ):
        sewnp.load(saved)


# What is not there or damaged


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: no such folder"):
        sewnp.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("hello")
    with pytest.raises(CheckpointError, match="file: no such folder"):
        sewnp.load(tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"no embedded model of that name \(digits, digits-d, digit-words\)"):
        sewnp.load("digitz")


def test_a_folder_without_config(tmp_path):
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        sewnp.load(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "not json", '{"a": 1', "\x00\xff", "[" * 100000])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors.index.json", "vocab.json", "preprocessor_config.json"])
def test_broken_json_names_its_file(saved, name, text):
    if name.startswith("model"):
        (saved / "model.safetensors").unlink()
    (saved / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=f"{name}: not a readable JSON file"):
        sewnp.load(saved)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"sew"'])
def test_json_that_is_no_object(saved, text):
    (saved / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json: expected a JSON object, found"):
        sewnp.load(saved)


def test_another_model_type(saved):
    edit(saved, model_type="wav2vec2")
    with pytest.raises(ConfigError, match=r"config\.json: model_type: expected 'sew' or 'sew-d', found 'wav2vec2'"):
        sewnp.load(saved)


def test_a_pickle_in_name_only(saved):
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: is not a file that torch wrote"):
        read_checkpoint(saved)


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1, "noise", "huge header"])
def test_damaged_tensor_files(saved, keep):
    path = saved / "model.safetensors"
    content = path.read_bytes()
    noise = np.random.default_rng(0).bytes(5000)
    path.write_bytes(noise if keep == "noise" else b"\xff" * 8 + content[8:] if keep == "huge header" else content[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a readable safetensors file"):
        sewnp.load(saved)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({"a": "gone.safetensors"}, r"gone\.safetensors: no such file"),
        ({"a": "../elsewhere.safetensors"}, r"expected plain file names in this folder, found '\.\./elsewhere\.safetensors'"),
        ({"a": "/etc/passwd"}, "expected plain file names in this folder, found '/etc/passwd'"),
        ({"a": ".."}, r"\.\."),
        ({"a": 5}, "expected a weight_map from tensor names to file names"),
        (["a"], "expected a weight_map from tensor names to file names"),
        (None, "expected a weight_map from tensor names to file names"),
        ({}, "do not fit config.json|describes"),
    ],
)
def test_an_index_that_lies(saved, weight_map, message):
    shutil.copy(saved / "model.safetensors", saved.parent / "elsewhere.safetensors")
    (saved / "model.safetensors").unlink()
    (saved / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        sewnp.load(saved)


def test_both_spellings_of_one_tensor_are_refused(saved):
    """Whichever were taken, the other would be wrong."""

    def doubled(tensors):
        g = tensors["sew.encoder.pos_conv_embed.conv.parametrizations.weight.original0"]
        return tensors | {"sew.encoder.pos_conv_embed.conv.weight_g": g + 1}

    rewrite(saved, doubled)
    with pytest.raises(CheckpointError, match=r"conv\.weight_g: unexpected beside its other spelling"):
        sewnp.load(saved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64', found 'float16'"),
        ({"dtype": "nonsense"}, "dtype: expected 'float32' or 'float64', found 'nonsense'"),
        ({"masking": "all"}, "masking: expected one of .*, found 'all'"),
        ({"head": "regression"}, "head: expected one of .*, found 'regression'"),
    ],
)
def test_unknown_options(saved, options, message):
    with pytest.raises(ConfigError, match=message):
        sewnp.load(saved, **options)


def test_a_name_and_a_path(saved, monkeypatch):
    """A path wins where it has a separator, or exists and holds config.json."""
    monkeypatch.chdir(saved.parent)
    assert sewnp.load("digits").config.hidden_size == 160
    (saved.parent / "digits").mkdir()
    assert sewnp.load("digits").config.hidden_size == 160
    shutil.copytree(saved, saved.parent / "digits", dirs_exist_ok=True)
    assert sewnp.load("digits").config.hidden_size == 16
    assert sewnp.load("./digits").config.hidden_size == 16
    assert sewnp.load(saved.name).name == saved.name
    with pytest.raises(CheckpointError, match="no such folder"):
        sewnp.load("digits-d/")


# Saving that fails


def test_saving_onto_a_file(tmp_path):
    (tmp_path / "file").write_text("hello")
    with pytest.raises(CheckpointError, match="file: expected a folder, found a file"):
        sewnp.load("digits").save(tmp_path / "file")
    with pytest.raises(CheckpointError, match="could not be written"):
        sewnp.load("digits").save(tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "hello"


@pytest.mark.parametrize("existing", [False, True])
def test_nothing_half_written_when_saving_fails(tmp_path, saved, monkeypatch, existing):
    target = saved if existing else tmp_path / "new"
    before = {path.name: path.read_bytes() for path in target.iterdir()} if existing else None

    def full(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(CheckpointError, match="could not be written: no space left on device"):
        twin(original("sew", "ctc", seed=9, dtype=torch.float32)).save(target)
    if existing:
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    else:
        assert not target.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"saved"}  # no scratch folder is left either


def test_safetensors_errors_while_saving_are_ours(tmp_path, monkeypatch):
    """What the library raises when the disk is full is no OSError."""
    from safetensors import SafetensorError

    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    with pytest.raises(CheckpointError, match="could not be written"):
        sewnp.load("digits").save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_saved_files_are_readable_by_others(tmp_path):
    """Like every other file the user writes: the permissions that the umask leaves."""
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("")
    sewnp.load("digits").save(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    modes = {path.stat().st_mode for path in (tmp_path / "new").iterdir()}
    assert modes == {(tmp_path / "plain" / "file").stat().st_mode}


def test_reading_takes_no_memory_before_everything_is_checked(saved, monkeypatch):
    from sewnp.checkpoints import TensorFile

    monkeypatch.setattr(TensorFile, "read", lambda *_: pytest.fail("a tensor was read"))
    edit(saved, vocab_size=12)
    with pytest.raises(CheckpointError, match="expected shape"):
        read_checkpoint(saved)


@pytest.mark.parametrize("head", ["auto", None])
def test_a_fresh_head_has_to_be_named(head):
    with pytest.raises(ConfigError, match="fresh_head_seed: expected together with head='ctc' or head='classification'"):
        sewnp.load("digits", head=head, fresh_head_seed=0)


def test_a_tensor_in_two_shards_is_refused(tmp_path):
    sewnp.load("digits").save(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    save_file({"lm_head.bias": np.zeros(32, np.float32)}, tmp_path / "b.safetensors")
    index = {"weight_map": {"lm_head.weight": "a.safetensors", "lm_head.bias": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"b\.safetensors: lm_head\.bias: also in a\.safetensors"):
        sewnp.load(tmp_path)


def test_the_processors_file_wins_over_the_old_one(tmp_path):
    """As in transformers, which reads preprocessor_config.json only where there is no processor_config.json."""
    model = sewnp.load("digits")
    model.save(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 8000, "do_normalize": False}))
    (tmp_path / "processor_config.json").write_text(json.dumps({"feature_extractor": model.feature_extractor.to_dict()}))
    assert transformers.AutoFeatureExtractor.from_pretrained(tmp_path).sampling_rate == 16000
    assert sewnp.load(tmp_path).feature_extractor.sampling_rate == 16000


def test_saving_over_another_checkpoint_leaves_nothing_of_it(tmp_path):
    sewnp.load("digits").save(tmp_path)
    for name in ("processor_config.json", "special_tokens_map.json", "added_tokens.json", "model.safetensors.index.json"):
        (tmp_path / name).write_text("{}")
    sewnp.load("digit-words").save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert sewnp.load(tmp_path).tokenizer is None


def test_two_different_blanks_are_refused(tmp_path):
    sewnp.load("digits").save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"pad_token_id": 5}))
    with pytest.raises(sewnp.TokenizerError, match="the blank is pad_token_id 5, the tokenizer's pad token is '<pad>' with id 0"):
        sewnp.load(tmp_path)
    assert sewnp.load(tmp_path, head=None).config.pad_token_id == 5  # without a CTC head there is no blank to mistake


def test_the_fresh_head_is_offered_only_where_it_helps(tmp_path):
    sewnp.load("digits").save(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({key: x for key, x in tensors.items() if not key.endswith("q_proj.bias")}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"q_proj\.bias: missing") as error:
        sewnp.load(tmp_path)
    assert "fresh_head_seed" not in str(error.value)
