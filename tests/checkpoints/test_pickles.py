"""Files of ``torch.save``, read without torch: equal to safetensors bit for bit where they are honest, refused where they are not."""

import copyreg
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

import sewnp
from originals import CLASSES, original
from sewnp.checkpoints import open_tensors
from sewnp.checkpoints.pickles import LARGEST_PICKLE, open_pickle
from sewnp.checkpoints.unpickler import MOST_OPERATIONS, unpickle
from sewnp.errors import CheckpointError

BIN = "pytorch_model.bin"
KINDS = list(CLASSES)
NEW, OLD = (".parametrizations.weight.original0", ".parametrizations.weight.original1"), (".weight_g", ".weight_v")


def old_names(state):
    """The state dict as torch before 2.0 named the position convolution's pair."""
    return OrderedDict((key.replace(NEW[0], OLD[0]).replace(NEW[1], OLD[1]), x) for key, x in state.items())


@pytest.fixture
def folder(tmp_path):
    """A checkpoint folder that lacks its tensors."""
    original("sew", "ctc", dtype=torch.float32).config.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# What torch writes


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


# Hostile pickles


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def number(value):
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


def storage(kind="FloatStorage", key="0", count=6):
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, **of):
    numbers = b"".join(b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides))
    rest = b"\x89" + name("collections", "OrderedDict") + b")R"
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage(**of) + number(offset) + numbers + rest + b"tR"


def state(**values):
    """A pickled dict of values that are pickled already."""
    return b"\x80\x02}(" + b"".join(text(key) + value for key, value in values.items()) + b"u."


def write(path, pickled, *, root="archive", records=None, method=zipfile.ZIP_STORED):
    """An archive as torch writes it, with any pickle in it."""
    records = {"data/0": np.arange(6, dtype=np.float32).tobytes()} if records is None else records
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", method) as file:
        warnings.simplefilter("ignore")  # of duplicate names
        file.writestr(f"{root}/data.pkl", pickled)
        for entry, data in records.items() if isinstance(records, dict) else records:
            file.writestr(entry if entry.startswith("/") else f"{root}/{entry}", data)
    return path


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


CANARY = "canary"
TOUCH = f"touch {CANARY}"
OPEN = f"open({CANARY!r}, 'w').close()"
SYSTEM = rf"asks to call {os.name if os.name == 'nt' else 'posix'}\.system: refused; nothing was executed"

EXECUTIONS = {
    "REDUCE, as pickle writes it": (pickle.dumps(Call(os.system, TOUCH), 2), SYSTEM),
    "STACK_GLOBAL": (pickle.dumps(Call(os.system, TOUCH), 4), SYSTEM),
    "protocol 0": (pickle.dumps(Call(os.system, TOUCH), 0), SYSTEM),
    "eval": (pickle.dumps(Call(eval, OPEN), 5), r"asks to call builtins\.eval: refused"),
    "exec of protocol 2": (pickle.dumps(Call(exec, OPEN), 2), r"asks to call __builtin__\.exec: refused"),
    "getattr": (pickle.dumps(Call(getattr, "x", "upper"), 4), r"builtins\.getattr"),
    "inside a state dict": (state(a=name("os", "system") + text(TOUCH) + b"\x85R"), r"asks to call os\.system: refused"),
    "behind good tensors": (state(a=tensor(), b=name("os", "system") + text(TOUCH) + b"\x85R"), r"os\.system"),
    "as a key": (b"\x80\x02}" + name("os", "system") + text(TOUCH) + b"\x85RNs.", r"os\.system"),
    "INST": (b"(" + text(TOUCH) + b"ios\nsystem\n.", r"asks to call os\.system: refused"),
    "OBJ": (b"(" + name("os", "system") + text(TOUCH) + b"o.", r"asks to call os\.system: refused"),
    "OBJ of a known name": (b"(" + name("collections", "OrderedDict") + b"o.", "the pickle operation OBJ, which torch does not write"),
    "NEWOBJ": (name("subprocess", "Popen") + text(TOUCH) + b"\x85\x81.", r"asks to call subprocess\.Popen: refused"),
    "NEWOBJ_EX": (name("subprocess", "Popen") + b")}\x92.", r"asks to call subprocess\.Popen: refused"),
    "NEWOBJ_EX of a known name": (name("collections", "OrderedDict") + b")}\x92.", "OrderedDict with keywords: refused"),
    "BUILD on a function": (
        name("torch._utils", "_rebuild_tensor_v2") + b"}" + text("__code__") + text("x") + b"sb.",
        r"sets attributes of a torch\._utils\._rebuild_tensor_v2: refused",
    ),
    "BUILD with slots": (
        name("collections", "OrderedDict") + b"N}" + text("__defaults__") + b")s\x86b.",
        r"sets attributes of a collections\.OrderedDict: refused",
    ),
    "BUILD on a dict": (b"}}" + text("__setstate__") + b"Nsb.", "sets attributes of a dict: refused"),
    "BUILD on a tensor": (tensor() + b"}" + text("storage") + b"Nsb.", "sets attributes of a tensor: refused"),
    "EXT1": (b"\x82\x7b.", "asks for number 123 of the extension registry: refused"),
    "EXT2": (b"\x83\x7b\0.", "asks for number 123 of the extension registry: refused"),
    "EXT4": (b"\x84\x7b\0\0\0.", "asks for number 123 of the extension registry: refused"),
    "call of a value": (text("os.system") + text(TOUCH) + b"\x85R.", "asks to call a str with a tuple: refused"),
    "call without a tuple": (name("collections", "OrderedDict") + b"]R.", "OrderedDict with a list: refused"),
    "a storage, called": (name("torch", "FloatStorage") + b")R.", r"asks to call torch\.FloatStorage: refused"),
    "an OrderedDict of something": (name("collections", "OrderedDict") + b"]\x85R.", "OrderedDict with arguments: refused"),
    "torch.load": (name("torch", "load") + text("x") + b"\x85R.", r"asks to call torch\.load: refused"),
    "torch.hub.load": (name("torch.hub", "load") + text("x") + b"\x85R.", r"asks to call torch\.hub\.load: refused"),
    "torch's own loader of bytes": (
        name("torch.storage", "_load_from_bytes") + b"C\x01x\x85R.",
        r"asks to call torch\.storage\._load_from_bytes: refused",
    ),
    "numpy.load": (name("numpy", "load") + text("x") + b"\x85R.", r"asks to call numpy\.load: refused"),
    "a dotted name": (text("torch") + text("serialization.os.system") + b"\x93.", r"asks to call torch\.serialization\.os\.system"),
    "a dotted module": (text("torch._utils.sys") + text("modules") + b"\x93.", r"asks to call torch\._utils\.sys\.modules"),
    "a name's class": (text("collections") + text("OrderedDict.__class__") + b"\x93.", r"collections\.OrderedDict\.__class__"),
    "a name of numbers": (b"K\x01K\x02\x93.", "names something by a value that is no text"),
    "a name with escape codes": (text("os\x1b[2J\n") + text("é" * 1000) + b"\x93.", r"asks to call 'os\\x1b\[2J\\n\.é"),
    "a persistent id of a call": (
        b"(" + text("storage") + name("os", "system") + text("0") + text("cpu") + b"K\x06tQ.",
        r"asks to call os\.system: refused",
    ),
    "a persistent id of text": (b"P0\n.", "the pickle operation PERSID, which torch does not write"),
    "a buffer out of band": (b"\x80\x05\x97.", "the pickle operation NEXT_BUFFER, which torch does not write"),
    "a read-only buffer": (b"\x80\x05\x98.", "the pickle operation READONLY_BUFFER, which torch does not write"),
}  # fmt: skip


def refused(folder, message):
    """The one error that loading ends with; it names the file, and nothing that was asked for has happened."""
    before = time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        sewnp.load(folder)
    assert time.process_time() - before < 3.0  # of this process: how busy the machine is says nothing
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value)) < 4000
    assert not Path(CANARY).exists()


@pytest.fixture
def registered():
    """os.system in the extension registry, and in its cache, which Python's unpickler does not ask find_class about."""
    copyreg.add_extension("os", "system", 123)
    copyreg._extension_cache[123] = os.system
    yield
    copyreg.remove_extension("os", "system", 123)
    copyreg._extension_cache.pop(123, None)


@pytest.mark.parametrize("attack", EXECUTIONS)
def test_nothing_is_executed(folder, monkeypatch, registered, attack):
    monkeypatch.chdir(folder)
    pickled, message = EXECUTIONS[attack]
    write(folder / BIN, pickled)
    refused(folder, message)


def test_the_attacks_are_attacks(tmp_path, monkeypatch, registered):
    """Python's own unpickler does what the files above ask for: the canary is a canary."""
    monkeypatch.chdir(tmp_path)
    worked = set()
    for attack, (pickled, _) in EXECUTIONS.items():
        if TOUCH.encode() in pickled or OPEN.encode() in pickled or attack.startswith("EXT"):
            Path(CANARY).unlink(missing_ok=True)
            if attack.startswith("EXT"):
                pickled = pickled[:-1] + text(TOUCH) + b"\x85R."
            try:
                pickle.loads(pickled)
            except (TypeError, pickle.UnpicklingError, OSError):
                continue
            if Path(CANARY).exists():
                worked.add(attack)
    assert len(worked) >= 12


def test_our_functions_are_as_they_were_after_all_that(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / BIN)
    np.testing.assert_array_equal(open_pickle(tmp_path / BIN).read("a"), [1, 1])


GREEDY = {
    "a memo slot of four billion": (b"}r\xff\xff\xff\xff.", "tensors do not fit"),
    "a memo slot of four billion, as text": (b"}p4294967295\n.", "the pickle operation PUT"),
    "tuples in tuples, as a key": (b"}" + b")" + b"\x85" * 190_000 + b"Ns.", "has a tuple as a key"),
    "tuples in tuples": (state(a=b")" + b"\x85" * 190_000), "a: expected a tensor, found tuple"),
    "lists in lists": (b"]" * 99_000 + b"a" * 98_999 + b".", "expected a dict of tensors, found list"),
    "dicts in dicts": (b"}" + b"N}" * 66_000 + b"s" * 66_000 + b".", "None: expected a tensor, found dict"),
    "marks in marks": (b"(" * 190_000 + b".", "does not end where it should"),
    "a billion laughs": (
        b"]q\0" + b"".join(b"](" + b"h" + bytes([i]) + (b"h" + bytes([i])) * 9 + b"eq" + bytes([i + 1]) for i in range(60)) + b".",
        "does not end where it should",
    ),
    "a billion laughs in a state dict": (
        state(a=b"]q\0" + b"".join(b"0](" + (b"h" + bytes([i])) * 10 + b"eq" + bytes([i + 1]) for i in range(60))),
        "a: expected a tensor, found list",
    ),
    "a billion laughs, hashed": (
        b"}"
        + b")q\0"
        + b"".join(b"0h" + bytes([i]) * 1 + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
        + b"Ns.",
        "has a tuple as a key",
    ),
    "a list in itself": (state(a=b"]q\0h\0a"), "a: expected a tensor, found list"),
    "numbers that collide": (
        b"}(" + b"".join(number(i * (2**61 - 1)) + b"N" for i in range(1, 9000)) + b"u.",
        "has a int as a key",
    ),
    "text of 2**62 bytes": (b"\x8d" + struct.pack("<Q", 2**62) + b"x.", "truncated, or claims a length that it does not have"),
    "bytes of 2**63 bytes": (b"\x8e" + struct.pack("<Q", 2**63) + b"x.", "claims a length"),
    "text of 2**32 bytes": (b"X\xff\xff\xff\xffx.", "claims a length"),
    "a bytearray of 2**40 bytes": (b"\x96" + struct.pack("<Q", 2**40) + b"x.", "the pickle operation BYTEARRAY8"),
    "a number of 2**31 bytes": (b"\x8b\xff\xff\xff\x7fx.", "the pickle operation LONG4"),
    "a frame of 2**63 bytes": (b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "expected a dict of tensors, found None"),
    "decimal digits": (b"I" + b"9" * 100_000 + b"\n.", "the pickle operation INT"),
    "a frame cut short": (b"\x80\x04\x95\0\0", "truncated"),
    "more operations than any": (b"}" + b"N0" * 3_000_000 + b".", f"more than {MOST_OPERATIONS:,} operations"),
    "as many dicts as there can be": (b"(" + b"}" * (MOST_OPERATIONS - 3) + b"t.", "expected a dict of tensors, found tuple"),
    "as much kept as there can be": (
        b"".join(b"}r" + struct.pack("<I", i * 10_007) for i in range(MOST_OPERATIONS // 2 - 1)) + b".",
        "does not end where it should",
    ),
    "a key of megabytes, used thousands of times": (
        b"("
        + text("x" * 5_000_000)
        + b"q\0"
        + name("torch", "FloatStorage")
        + b"q\1"
        + text("storage")
        + b"q\2"
        + b"(h\2h\1h\0h\2K\6tQ" * 20_000
        + b"t.",
        "a persistent id that is not that of a storage",
    ),
    "a shape of thousands, used thousands of times": (
        b"("
        + b"("
        + b"K\1" * 90_000
        + b"tq\0"
        + storage()
        + b"q\1"
        + name("torch._utils", "_rebuild_tensor_v2")
        + b"q\2"
        + b"h\2(h\1K\0h\0h\0tR" * 10_000
        + b"t.",
        "holds a tensor of 90000 dimensions",
    ),
    "a pickle of 9 MB": (b"\x80\x02X" + struct.pack("<I", 9 * 10**6) + b"x" * (9 * 10**6) + b".", f"at most {LARGEST_PICKLE:,}"),
}


@pytest.mark.parametrize("attack", GREEDY)
def test_nothing_is_taken_for_what_is_only_claimed(folder, attack):
    pickled, message = GREEDY[attack]
    write(folder / BIN, pickled)
    refused(folder, message)


def test_memory_stays_small(tmp_path, folder):
    """All the greedy ones one after the other, in a process that may take no more than 100 MB beyond what it begins with."""
    for index, (pickled, _) in enumerate(GREEDY.values()):
        write(folder / f"{index}.bin", pickled)
    code = """
import re, resource, sys
from pathlib import Path
import numpy as np
from sewnp.checkpoints.pickles import open_pickle
from sewnp.errors import CheckpointError
def peak():  # of this process alone: ru_maxrss begins with that of the process which started it
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (pages + 200 * 2**20,) * 2)
before = peak()
for path in sorted(Path(sys.argv[1]).glob("*.bin")):
    try:
        open_pickle(path)
    except CheckpointError:
        pass
    assert peak() - before < 100, (path, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_foreign_objects_may_be_nested_deeply_and_named_at_length():
    """What convert keeps as placeholders: neither their end nor a message about them recurses or copies."""
    none: dict = {}
    deep = name("a", "b") + b"q\0)R" + b"q\1h\0h\1\x85R" * 30_000
    held = unpickle(b"(" + deep + b"t.", none, none.get, placeholders=True)
    assert len(held) == 30_001
    long = b"(" + name("a" * 2_000_000, "b" * 2_000_000) + b"q\0" + b"h\0)R" * 40_000 + b"t."
    before = time.process_time()
    held = unpickle(long, none, none.get, placeholders=True)
    assert time.process_time() - before < 3.0
    assert held[1].name == "a" * 200 + "..."


DAMAGED = {
    "underflow of REDUCE": b"R.",
    "underflow of TUPLE2": b"N\x86.",
    "underflow of SETITEM": b"}Ns.",
    "no mark": b"t.",
    "APPENDS without mark": b"]e.",
    "POP of nothing": b"0.",
    "STOP of nothing": b".",
    "two values": b"}}.",
    "a mark left": b"(}.",
    "something after the end": b"}.}",
    "never kept": b"h\x05.",
    "append to a dict": b"}Na.",
    "items of a list": b"](NNu.",
    "a key without a value": b"}(Nu.",
    "keep of nothing": b"q\0.",
    "build of nothing": b"}b.",
    "text that is not UTF-8": b"X\x02\0\0\0\xff\xfe.",
    "a name that is not UTF-8": b"c\xff\n\xff\n.",
    "a name without end": b"cos",
    "protocol 6": b"\x80\x06}.",
    "not a pickle": b"\xde\xad\xbe\xef",
    "empty": b"",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_pickles(folder, damage):
    write(folder / BIN, DAMAGED[damage])
    refused(folder, r"pytorch_model\.bin: ")


def test_pickles_cut_anywhere_or_with_any_byte_changed(tmp_path):
    """Nothing but CheckpointError comes out, whatever the byte."""
    pickled = state(a=tensor(), b=tensor((6,), (1,)))
    outcomes = set()
    rng = np.random.default_rng(0)
    variants = [pickled[:end] for end in range(len(pickled))]
    for place in range(len(pickled)):
        variants += [pickled[:place] + bytes([byte]) + pickled[place + 1 :] for byte in rng.integers(0, 256, 3).tolist()]
    variants += [bytes([byte]) + rest for byte in range(256) for rest in (b".", b"\0\0\0\0\0\0\0\0.", b"}.")]
    for variant in variants:
        write(tmp_path / BIN, variant)
        try:
            open_pickle(tmp_path / BIN)
            outcomes.add("read")
        except CheckpointError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}  # some changes only rename a tensor


# Hostile tensors


TENSORS = {
    "two of one name": (state(a=tensor())[:-2] + text("a") + tensor(offset=0) + b"u.", "its pickle has the key a twice"),
    "a persistent id that is no tuple": (b"\x80\x02" + text("storage") + b"Q.", "a persistent id that is not that of a storage"),
    "a short persistent id": (b"\x80\x02" + text("storage") + b"\x85Q.", "a persistent id that is not that of a storage"),
    "a persistent id of another kind": (
        b"\x80\x02(" + text("module") + name("torch", "FloatStorage") + text("0") + text("cpu") + b"K\x06tQ.",
        "a persistent id that is not that of a storage",
    ),
    "a storage of a dtype": (state(a=tensor(kind="float32")), "a persistent id that is not that of a storage"),
    "a storage of a negative size": (state(a=tensor(count=-6)), "a persistent id that is not that of a storage"),
    "a storage that is not there": (state(a=tensor(key="7")), "a: its numbers, data/7, are not in the file"),
    "a storage elsewhere": (state(a=tensor(key="../../../etc/passwd")), "a: its numbers, .*passwd, are not in the file"),
    "a storage larger than its record": (state(a=tensor(count=7)), "a: its storage is said to hold 7 F32, and has 24 bytes"),
    "a storage smaller than its record": (state(a=tensor(count=5)), "a: its storage is said to hold 5 F32, and has 24 bytes"),
    "a storage of 2**2000": (state(a=tensor(count=2**2000)), "said to hold a number of 2001 bits F32"),
    "a storage of two dtypes": (state(a=tensor(), b=tensor((1,), (1,), kind="DoubleStorage", count=3)), "said to be F32 elsewhere"),
    "a negative offset": (state(a=tensor(offset=-1)), "a: its offset is not of numbers from 0"),
    "a negative stride": (state(a=tensor(strides=(-3, 1), offset=3)), "a: its strides is not of numbers from 0"),
    "a negative size": (state(a=tensor(shape=(-2, 3))), "a: its shape is not of numbers from 0"),
    "beyond the end by its offset": (state(a=tensor(offset=1)), "a: reaches from 1 to 7 in a storage of 6 numbers"),
    "beyond the end by its shape": (state(a=tensor(shape=(3, 3))), "a: reaches from 0 to 9 in a storage of 6"),
    "beyond the end by its strides": (state(a=tensor(strides=(4, 1))), "a: reaches from 0 to 7 in a storage of 6"),
    "beyond the end and around": (state(a=tensor(shape=(2,), strides=(2**63 - 1,))), "a: reaches from 0 to 9,223"),
    "an empty one beyond the end": (state(a=tensor(shape=(0,), strides=(1,), offset=7)), "a: reaches from 7 to 7"),
    "an offset of 2**64": (state(a=tensor(offset=2**64)), "a: its offset is not of numbers .* a number of 65 bits"),
    "a shape of 2**100": (state(a=tensor(shape=(2**100, 0), strides=(0, 0))), "a: its shape is not of numbers"),
    "more strides than dimensions": (state(a=tensor(strides=(3, 1, 1))), "holds a tensor of 2 dimensions and 3 strides"),
    "40 dimensions": (state(a=tensor(shape=(1,) * 40, strides=(0,) * 40)), "holds a tensor of 40 dimensions"),
    "expanded beyond all memory": (state(a=tensor(shape=(2**40,), strides=(0,))), "a: with it, tensors take 4,398,046,511,104 bytes"),
    "expanded by every dimension": (state(a=tensor(shape=(2**62,) * 32, strides=(0,) * 32)), "a: with it, tensors take"),
    "empty, of all memory": (state(a=tensor(shape=(0, 2**62), strides=(0, 0))), "a: with it, tensors take"),
    "shared beyond all memory": (
        state(**{f"k{i}": tensor(shape=(2**22,), strides=(0,)) for i in range(9)}),
        "k4: with it, tensors take 83,886,080 bytes",
    ),
    "True as an offset": (state(a=tensor().replace(number(0) + b"(", b"\x88(", 1)), "holds a tensor of an unknown form"),
    "a shape of text": (state(a=tensor().replace(number(2), text("2"), 1)), "holds a tensor of an unknown form"),
    "a tensor without arguments": (name("torch._utils", "_rebuild_tensor_v2") + b")R.", "holds a tensor of an unknown form"),
    "a tensor of nothing": (
        name("torch._utils", "_rebuild_tensor_v2") + b"(NK\0))\x89NtR.",
        "holds a tensor of an unknown form",
    ),
    "a parameter of nothing": (
        name("torch._utils", "_rebuild_parameter") + b"N\x88N\x87R.",
        "holds a parameter of an unknown form",
    ),
    "a size of nothing": (name("torch", "Size") + b"N\x85R.", r"holds a torch\.Size of an unknown form"),
}  # fmt: skip


@pytest.mark.parametrize("attack", TENSORS)
def test_tensors_stay_within_their_storage(folder, attack):
    pickled, message = TENSORS[attack]
    write(folder / BIN, pickled)
    tracemalloc.start()
    refused(folder, message)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


def test_what_these_tests_write_by_hand_is_otherwise_right(tmp_path):
    never_taken = tensor((1, 2), (2**62, 1))  # a step that NumPy could not even count in bytes
    write(tmp_path / BIN, state(a=tensor(), b=tensor((3, 2), (1, 3)), c=tensor((4,), (1,), 2), d=never_taken))
    file = open_pickle(tmp_path / BIN)
    np.testing.assert_array_equal(file.read("a"), [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(file.read("b"), [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(file.read("c"), [2, 3, 4, 5])
    np.testing.assert_array_equal(file.read("d"), [[0, 1]])


# Hostile archives


GOOD = state(a=tensor())


def honest():
    """An archive's bytes, to be damaged."""
    held = io.BytesIO()
    write(held, GOOD)
    return held.getvalue()


def patched(signature, which, place, layout, value):
    """The archive with one number of one of its headers changed."""
    data = bytearray(honest())
    start = -1
    for _ in range(which + 1):
        start = data.index(signature, start + 1)
    struct.pack_into(layout, data, start + place, value)
    return bytes(data)


LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
ARCHIVES = {
    "encrypted": (patched(CENTRAL, 1, 8, "<H", 1), "the record archive/data/0 is encrypted"),
    "encrypted by its own header": (patched(LOCAL, 1, 6, "<H", 1), "the record archive/data/0 is encrypted"),
    "compressed": (patched(CENTRAL, 1, 10, "<H", 8), "the record archive/data/0 is compressed"),
    "compressed by its own header": (patched(LOCAL, 1, 8, "<H", 8), "the record archive/data/0 is compressed"),
    "two sizes": (patched(CENTRAL, 1, 24, "<I", 10**9), "the record archive/data/0 has two sizes, 24 and 1000000000"),
    "another size in its own header": (patched(LOCAL, 1, 22, "<I", 25), "the record archive/data/0 has two sizes, 25 and 24"),
    "of 4 GB and more without saying": (patched(CENTRAL, 1, 24, "<I", 2**32 - 1), "has two sizes"),
    "elsewhere": (patched(CENTRAL, 1, 42, "<I", 3), "the record archive/data/0 is not where the directory says"),
    "behind the end": (patched(CENTRAL, 1, 42, "<I", 10**6), "archive/data/0 is said to begin behind"),
    "at another's place": (patched(CENTRAL, 1, 42, "<I", 0), "the record archive/data/0 is not where the directory says"),
    "a longer name": (patched(CENTRAL, 1, 28, "<H", 60_000), "its directory is damaged"),
    "a longer local name": (patched(LOCAL, 1, 26, "<H", 60_000), "not where the directory says|shorter|not UTF-8"),
    "a longer extra field": (patched(LOCAL, 1, 28, "<H", 60_000), "archive/data/0 claims 24 bytes, more than the file has"),
    "more records": (patched(END, 0, 10, "<H", 9), "its directory is not where it claims"),
    "as many records as can be": (
        patched(END, 0, 8, "<I", 0xFFFE_FFFE),
        r"claims 65,534 records in 1\d\d bytes",
    ),
    "a directory elsewhere": (patched(END, 0, 16, "<I", 5), "its directory is not where it claims"),
    "a larger directory": (patched(END, 0, 12, "<I", 10**9), "its directory is not where it claims"),
    "on another disk": (patched(END, 0, 4, "<H", 1), "its directory is not where it claims"),
    "a comment": (honest()[:-2] + b"\x05\0hello", "is truncated, or something follows its end"),
    "followed by more": (honest() + b"more", "is truncated, or something follows its end"),
    "behind something": (LOCAL + honest(), "its directory is not where it claims"),
    "cut by one byte": (honest()[:-1], "is truncated"),
    "cut in half": (honest()[: len(honest()) // 2], "is truncated"),
    "twice": (honest() + honest(), "its directory is not where it claims"),
}


@pytest.mark.parametrize("attack", ARCHIVES)
def test_archives_that_contradict_themselves(folder, attack):
    content, message = ARCHIVES[attack]
    (folder / BIN).write_bytes(content)
    refused(folder, rf"pytorch_model\.bin: .*({message})")


RECORDS = {
    "twice": ([("data/0", b"\0" * 24), ("data/0", b"\1" * 24)], "the record archive/data/0 is there twice"),
    "up and away": ([("data/0", b"\0" * 24), ("../../evil", b"x")], r"archive/\.\./\.\./evil points out of the archive"),
    "absolute": ([("data/0", b"\0" * 24), ("/tmp/evil", b"x")], "/tmp/evil points out of the archive"),
    "up and away in Windows": ([("data/0", b"\0" * 24), ("..\\evil", b"x")], "points out of the archive"),
    "big-endian": ([("data/0", b"\0" * 24), ("byteorder", b"big")], "byteorder: expected little, found big"),
    "of some order": ([("data/0", b"\0" * 24), ("byteorder", b"\x1b" * 10**6)], r"byteorder: expected little, found '\\x1b"),
    "a program": ([("data/0", b"\0" * 24), ("constants.pkl", b"")], "is a TorchScript archive"),
    "longer than said": ([("data/0", b"\0" * 28)], "a: its storage is said to hold 6 F32, and has 28 bytes"),
    "none": ([], "a: its numbers, data/0, are not in the file"),
}


@pytest.mark.parametrize("attack", RECORDS)
def test_records_that_torch_does_not_write(folder, attack):
    records, message = RECORDS[attack]
    write(folder / BIN, GOOD, records=records)
    refused(folder, message)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", BIN]
    assert not Path("/tmp/evil").exists()


def test_a_zip_bomb_is_not_opened(folder):
    write(folder / BIN, GOOD, records={"data/0": b"\0" * 5 * 10**7}, method=zipfile.ZIP_DEFLATED)
    assert (folder / BIN).stat().st_size < 10**5
    tracemalloc.start()
    refused(folder, "the record archive/data.pkl is compressed")
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_overlapping_records_are_refused(folder):
    """One record inside the other: many of them would be a bomb without any compression."""
    inner = io.BytesIO()
    write(inner, GOOD)
    local = inner.getvalue()[inner.getvalue().index(LOCAL, 1) : inner.getvalue().index(CENTRAL)]  # data/0 and its header
    outer = io.BytesIO()
    write(outer, GOOD, records=[("data/0", local)])
    data = bytearray(outer.getvalue())
    directory = data.index(CENTRAL)
    entry = bytearray(data[data.index(CENTRAL, directory + 1) : data.index(END)])
    place = data.index(LOCAL, data.index(LOCAL, 1) + 1)  # the header inside the record
    name_at = data.index(b"archive/data/0", place)
    data[name_at : name_at + 14] = b"archive/data/1"
    entry[46:60] = b"archive/data/1"
    struct.pack_into("<II", entry, 20, 24, 24)
    struct.pack_into("<I", entry, 42, place)
    end = bytearray(data[data.index(END) :])
    data[data.index(END) :] = entry
    struct.pack_into("<HHI", end, 8, 3, 3, len(data) - directory)
    (folder / BIN).write_bytes(data + end)
    refused(folder, "its records overlap")


def test_the_far_end_of_large_archives_is_checked(folder):
    """What torch writes has a second end of its directory, for archives beyond 4 GB; it has to agree with the first."""
    torch.save({"a": torch.ones(6)}, folder / BIN)
    data = (folder / BIN).read_bytes()
    end64 = data.index(b"PK\x06\x06")
    assert open_pickle(folder / BIN).shapes == {"a": (6,)}
    for place, layout in ((24, "<Q"), (32, "<Q"), (40, "<Q"), (48, "<Q"), (56 + 8, "<Q"), (0, "<I")):
        changed = bytearray(data)
        struct.pack_into(layout, changed, end64 + place, 1)
        (folder / BIN).write_bytes(changed)
        refused(folder, "contradict each other|not where it claims")


def test_sizes_are_compared_where_they_follow_the_record(folder):
    """torch leaves them out of the record's own header."""
    torch.save({"a": torch.ones(6)}, folder / BIN)
    data = bytearray((folder / BIN).read_bytes())
    entry = data.rindex(CENTRAL, 0, data.rindex(b"/data/0"))
    struct.pack_into("<I", data, entry + 20, 23)
    (folder / BIN).write_bytes(data)
    refused(folder, "/data/0 has two sizes, 23 and 24")


def test_two_archives_in_one_are_refused(folder):
    with zipfile.ZipFile(folder / BIN, "w") as file:
        file.writestr("a/data.pkl", GOOD)
        file.writestr("b/data.pkl", GOOD)
    refused(folder, "expected one data.pkl, found 2")
    with zipfile.ZipFile(folder / BIN, "w") as file:
        file.writestr("document.xml", "<a/>")
    refused(folder, "expected one data.pkl, found 0")


def test_archives_cut_anywhere_or_with_any_byte_changed(tmp_path):
    torch.save({"a": torch.arange(6.0), "b": torch.ones(2, 2).half().T}, tmp_path / BIN)
    data = (tmp_path / BIN).read_bytes()
    rng = np.random.default_rng(0)
    variants = [data[:end] for end in range(0, len(data), 7)]
    for place in range(len(data)):
        variants.append(data[:place] + bytes([int(rng.integers(0, 256))]) + data[place + 1 :])
    for variant in variants:
        (tmp_path / BIN).write_bytes(variant)
        try:
            file = open_pickle(tmp_path / BIN)
            for key in file.shapes:
                file.read(key)
        except CheckpointError:
            pass


def test_a_configuration_of_many_parameters_is_not_filled_from_one(folder):
    """Expanded tensors may not vouch for a configuration that would fill the machine."""
    config = json.loads((folder / "config.json").read_text()) | {"vocab_size": 2**40}
    (folder / "config.json").write_text(json.dumps(config))
    write(folder / BIN, state(**{"lm_head.bias": tensor(shape=(2**40,), strides=(0,))}))
    refused(folder, r"lm_head\.bias: with it, tensors take")
