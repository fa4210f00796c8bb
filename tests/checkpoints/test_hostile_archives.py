"""Tensors that leave their storage, and archives that contradict themselves: one error of ours."""

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkpoints.pickled import BIN, name, number, refused, state, tensor, text, write

from sewnp.checkpoints.pickles import open_pickle
from sewnp.errors import CheckpointError

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
    "of some order": ([("data/0", b"\0" * 24), ("byteorder", b"\x1b" * 10**6)], r"byteorder: expected little, found \$'\\x1b"),
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
    import torch

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
    import torch

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
    import torch

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
