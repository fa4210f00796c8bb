"""Files of ``torch.save``, read without torch: equal to safetensors bit for bit, or refused for what weights are not."""

import json
import pickle
import re
import subprocess
import sys
import tracemalloc
from collections import OrderedDict

import numpy as np
import pytest
import torch
from checkpoints.pickled import BIN

import sewnp
from originals import CLASSES, original
from sewnp.checkpoints import open_tensors
from sewnp.checkpoints.pickles import open_pickle
from sewnp.errors import CheckpointError

KINDS = list(CLASSES)
NEW, OLD = (".parametrizations.weight.original0", ".parametrizations.weight.original1"), (".weight_g", ".weight_v")


def old_names(state):
    """The state dict as torch before 2.0 named the position convolution's pair."""
    return OrderedDict((key.replace(NEW[0], OLD[0]).replace(NEW[1], OLD[1]), x) for key, x in state.items())


def test_every_kind_of_model_equals_its_safetensors_twin_without_torch(tmp_path):
    """Weights bit for bit and so logits, in a process in which torch cannot be imported and Python's own unpickler is gone."""
    for number, (family, head) in enumerate(KINDS):
        for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
            theirs = original(family, head, seed=number, dtype=dtype)
            name = f"{family}-{head}-{dtype}".replace("torch.", "")
            theirs.save_pretrained(tmp_path / "safe" / name)
            theirs.config.save_pretrained(tmp_path / "new" / name)
            theirs.config.save_pretrained(tmp_path / "old" / name)
            torch.save(theirs.state_dict(), tmp_path / "new" / name / BIN)
            torch.save(dict(old_names(theirs.state_dict())), tmp_path / "old" / name / BIN)
    code = """
import pickle, sys
from pathlib import Path
for name in ("torch", "transformers"):
    sys.modules[name] = None
for name in ("Unpickler", "_Unpickler", "load", "loads", "_load", "_loads"):
    delattr(pickle, name)
import numpy as np
import sewnp
count = 0
for folder in sorted(Path("safe").iterdir()):
    dtype = "float64" if folder.name.endswith("float64") else "float32"
    truth = sewnp.load(folder, dtype=dtype)
    x = np.random.default_rng(0).normal(size=(2, 400)).astype(dtype)
    for spelling in ("new", "old"):
        assert {path.suffix for path in (Path(spelling) / folder.name).iterdir()} == {".json", ".bin"}
        ours = sewnp.load(Path(spelling) / folder.name, dtype=dtype)
        assert ours.head == truth.head
        there = truth.flat_weights()
        assert ours.flat_weights().keys() == there.keys()
        for key, value in ours.flat_weights().items():
            assert value.dtype == there[key].dtype and value.tobytes() == there[key].tobytes(), key
        a, b = ours(x), truth(x)
        np.testing.assert_array_equal(a.last_hidden_state, b.last_hidden_state)
        if truth.head:
            np.testing.assert_array_equal(a.logits, b.logits)
        count += 1
print(count)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{2 * 4 * len(KINDS)}\n", "")


def unusual():
    """Tensors that are not simply their storage."""
    base = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5).sqrt()
    row = torch.tensor([[1.5, -2.5]])
    layer = torch.randn(7, generator=torch.Generator().manual_seed(0))
    return {
        "whole": base,
        "shared": base,
        "transposed": base.transpose(0, 2),
        "permuted": base.permute(1, 2, 0),
        "row": base[1],
        "column": base[:, 2, 1:4],
        "steps": base[::2, 1::2],
        "flat view": base.view(-1)[7:30],
        "scalar": base[2, 3, 4],
        "empty": torch.zeros(0, 3),
        "none of it": base[:, 4:],
        "expanded": row.expand(6, 2),
        "all the same": torch.tensor(3.25).expand(2, 3),
        "overlapping": torch.as_strided(layer, (3, 3), (1, 1), 1),
        "parameter": torch.nn.Parameter(base[0].T),
        "frozen": torch.nn.Parameter(row, requires_grad=False),
        "tied": layer,
        "half": base.half().T if base.ndim == 2 else base.half().transpose(0, 1),
        "bfloat16": base.bfloat16().transpose(1, 2),
        "bfloat16 expanded": base.bfloat16()[:1].expand(4, 4, 5),
        "double": base.double() * torch.pi,
        "odd stride": torch.as_strided(row, (1, 2), (2**60, 1)),
        "nan": torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        "": torch.ones(2),
        "naïve ☃": torch.ones(1),
        "long": torch.arange(3),
        "bytes": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
    }


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("ordered", [False, True], ids=["dict", "OrderedDict"])
def test_every_layout_is_read_as_torch_shows_it(tmp_path, protocol, ordered):
    tensors = unusual()
    state = OrderedDict(tensors) if ordered else tensors
    if ordered:
        state._metadata = OrderedDict({"": {"version": 1}})  # as in every state dict of a module
    torch.save(state, tmp_path / BIN, pickle_protocol=protocol)
    file = open_pickle(tmp_path / BIN)
    assert list(file.shapes) == list(tensors)
    for key, tensor in tensors.items():
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        found = file.read(key)
        assert file.shapes[key] == found.shape == expected.shape, key
        assert found.dtype == expected.dtype, key
        assert found.flags.c_contiguous, key
        assert found.flags.writeable, key
        assert found.tobytes() == expected.tobytes(), key  # NaN and the signs of zeros included


def test_random_windows_are_read_as_torch_shows_them(tmp_path):
    rng = np.random.default_rng(0)
    storage = torch.tensor(rng.normal(size=100))
    state = {}
    for number in range(200):
        shape = rng.integers(0, 5, size=rng.integers(0, 4)).tolist()
        strides = rng.integers(0, 7, size=len(shape)).tolist()
        reach = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if 0 not in shape else 0
        state[str(number)] = torch.as_strided(storage, shape, strides, int(rng.integers(0, 100 - reach)))
    torch.save(state, tmp_path / BIN)
    file = open_pickle(tmp_path / BIN)
    for key, tensor in state.items():
        np.testing.assert_array_equal(file.read(key), tensor.numpy(), strict=True)


def test_every_bfloat16_widens_exactly(tmp_path):
    patterns = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(torch.bfloat16)
    torch.save({"all": patterns}, tmp_path / BIN)
    found = open_pickle(tmp_path / BIN).read("all")
    np.testing.assert_array_equal(found.view(np.uint32), patterns.view(torch.int16).numpy().view(np.uint16).astype(np.uint32) << 16)


def test_only_the_tensor_asked_for_is_read(tmp_path):
    torch.save({"large": torch.zeros(2**22), "slice": torch.zeros(2**22)[5:9]}, tmp_path / BIN)
    tracemalloc.start()
    file = open_pickle(tmp_path / BIN)
    assert file.read("slice").shape == (4,)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_shards_with_an_index(folder, tmp_path):
    theirs = original("sew", "ctc", dtype=torch.float32)
    keys = list(theirs.state_dict())
    weight_map = {}
    for number in range(3):
        name = f"pytorch_model-{number + 1:05d}-of-00003.bin"
        part = {key: theirs.state_dict()[key] for key in keys[number::3]}
        torch.save(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    for key, x in sewnp.load(folder).flat_weights().items():
        np.testing.assert_array_equal(x, theirs.state_dict()[key].numpy())
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model-00003-of-00003\.bin: no such file"):
        sewnp.load(folder)


@pytest.mark.parametrize("name", ["../other.bin", "/etc/passwd", "..", "", "a\0b", "a/b.bin"])
def test_shards_stay_in_their_folder(folder, name):
    torch.save({"x": torch.ones(1)}, folder.parent / "other.bin")
    (folder / f"{BIN}.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(CheckpointError) as caught:
        sewnp.load(folder)
    assert "other.bin: x" not in str(caught.value)
    if name not in ("..", ""):  # these are the folder and its parent: no files
        assert "expected plain file names in this folder" in str(caught.value)


def test_safetensors_come_first(folder):
    original("sew", "ctc", dtype=torch.float32).save_pretrained(folder)
    (folder / BIN).write_text("whatever")
    assert sewnp.load(folder).head == "ctc"


def test_tensors_that_are_no_floats_are_named(folder):
    torch.save({"count": torch.tensor(1)}, folder / BIN)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: count: expected a dtype of F64, F32, F16, BF16, found I64"):
        open_tensors(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.ones(1)}}, "state_dict: expected a tensor, found dict"),
        ({"a": torch.ones(1), "shape": torch.Size([2])}, "shape: expected a tensor, found tuple"),
        ({"a": torch.float32}, r"a: expected a tensor, found torch\.float32"),
        ({1: torch.ones(1)}, "int: expected a tensor, found tensor"),
        (torch.ones(1), "expected a dict of tensors, found tensor"),
        ([torch.ones(1)], "expected a dict of tensors, found list"),
        (None, "expected a dict of tensors, found None"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, r"asks to call torch\.ComplexFloatStorage: refused"),
        ({"a": torch.ones(2).to_sparse()}, r"asks to call torch\._utils\._rebuild_sparse_tensor: refused"),
        ({"a": torch.ones(2, dtype=torch.float8_e4m3fn)}, r"asks to call torch\.\S+: refused"),
        ({"a": torch._neg_view(torch.ones(2))}, "holds a tensor of an unknown form"),
        ({"a": np.ones(2)}, r"asks to call numpy\.\S+\._reconstruct: refused"),
    ],
    ids=str,
)
def test_what_torch_can_write_and_weights_are_not(folder, content, message):
    torch.save(content, folder / BIN)
    with pytest.raises(CheckpointError, match=message) as caught:
        sewnp.load(folder)
    assert str(caught.value).startswith(f"{folder / BIN}: ")


def test_the_format_before_1_6_is_refused_with_the_way_out(folder, monkeypatch):
    theirs = original("sew", "ctc", dtype=torch.float32)
    torch.save(theirs.state_dict(), folder / BIN, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: is in the format of torch before 1\.6") as caught:
        sewnp.load(folder)
    command = re.search(r'python -c "(.*)"', str(caught.value))
    monkeypatch.chdir(folder)
    exec(command[1])
    np.testing.assert_array_equal(sewnp.load(folder).weights["lm_head"]["bias"], theirs.lm_head.bias.detach().numpy())


def test_a_name_that_would_run_in_the_shell_is_not_in_the_command(folder):
    shard = "a'; rm -rf $HOME #.bin"
    torch.save({}, folder / shard, _use_new_zipfile_serialization=False)
    (folder / f"{BIN}.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(CheckpointError) as caught:
        sewnp.load(folder)
    assert "rm" not in str(caught.value).partition("python -c")[2]
    assert "torch.load('FILE'" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "is not a file that torch wrote"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"\0" * 257 + b"ustar" + b"\0" * 500, r"is in the format of torch before 1\.6"),
        (b"PK\x03\x04", "is truncated"),
        (b"PK\x03\x04" + b"\0" * 1000, "is truncated"),
        (pickle.dumps({"a": 1}), "is not a file that torch wrote"),
    ],
    ids=str,
)
def test_other_files(folder, content, message):
    (folder / BIN).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        sewnp.load(folder)


def test_a_folder_without_any(folder):
    with pytest.raises(CheckpointError, match=r"expected model\.safetensors, .* or pytorch_model\.bin\.index\.json$"):
        sewnp.load(folder)
    (folder / "checkpoint_best.pt").write_text("")
    with pytest.raises(CheckpointError, match=r"found checkpoint_best\.pt, .* see sewnp convert"):
        sewnp.load(folder)


def test_a_file_that_vanishes_or_shrinks_after_it_was_opened(tmp_path):
    path = tmp_path / BIN
    torch.save({"a": torch.ones(100)}, path)
    file = open_pickle(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: a: is shorter than it was"):
        file.read("a")
    path.unlink()
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: a: .*No such file"):
        file.read("a")
