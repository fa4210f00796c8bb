"""Pickles and archives written by hand, as torch writes them or nearly, and the one error that they end in."""

import pickle
import struct
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import sewnp
from sewnp.errors import CheckpointError

BIN = "pytorch_model.bin"
CANARY = "canary"
"""A file that code would write if any of it were executed."""


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


def refused(folder, message):
    """The one error that loading ends with; it names the file, and nothing that was asked for has happened."""
    before = time.process_time()
    with pytest.raises(CheckpointError, match=message) as caught:
        sewnp.load(folder)
    assert time.process_time() - before < 3.0  # of this process: how busy the machine is says nothing
    assert str(caught.value).startswith(str(folder))
    assert len(str(caught.value)) < 4000
    assert not Path(CANARY).exists()
