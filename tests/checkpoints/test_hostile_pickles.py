"""Pickles that ask for calls, for memory and for time, and damaged ones: one error of ours, and nothing has happened."""

import copyreg
import os
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from checkpoints.pickled import BIN, CANARY, Call, name, number, refused, state, storage, tensor, text, write

from sewnp.checkpoints.pickles import LARGEST_PICKLE, open_pickle
from sewnp.checkpoints.unpickler import MOST_OPERATIONS, unpickle
from sewnp.errors import CheckpointError

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
    "a name with escape codes": (text("os\x1b[2J\n") + text("é" * 1000) + b"\x93.", r"asks to call \$'os\\x1b\[2J\\n\.é"),
    "a persistent id of a call": (
        b"(" + text("storage") + name("os", "system") + text("0") + text("cpu") + b"K\x06tQ.",
        r"asks to call os\.system: refused",
    ),
    "a persistent id of text": (b"P0\n.", "the pickle operation PERSID, which torch does not write"),
    "a buffer out of band": (b"\x80\x05\x97.", "the pickle operation NEXT_BUFFER, which torch does not write"),
    "a read-only buffer": (b"\x80\x05\x98.", "the pickle operation READONLY_BUFFER, which torch does not write"),
}  # fmt: skip


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
    import torch

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
