"""The zip archive that ``torch.save`` writes: which record lies where in the file.  Nothing is ever extracted.

A reader of its own and not ``zipfile``, because here a file that is unusual is refused instead of understood: records are stored, not
compressed, so that none is larger than its file; they neither repeat nor overlap; and what the directory at the end says of a record is
what stands before the record itself, so that no two readers see two different files.
"""

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sewnp.checkpoints.stored import substitute
from sewnp.checkpoints.unpickler import Malformed
from sewnp.errors import printable

_LARGEST_DIRECTORY = 2**20
"""Bytes.  A SEW has some 230 records of some 60 bytes each in the directory, with its optimiser's state three times as many."""

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")

_ENCRYPTED = 0x0001 | 0x0040 | 0x2000
_SIZES_FOLLOW = 0x0008
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
"""In place of a number that stands elsewhere because it is too large."""

_LEGACY = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The number that pickles of torch before 1.6 begin with."""


class Record(NamedTuple):
    """Where a record's bytes lie in the file."""

    start: int
    size: int


@dataclass(frozen=True)
class Archive:
    """What lies where, by names without the folder that torch puts around them all: ``data.pkl``, ``data/0`` ..."""

    path: Path
    records: Mapping[str, Record]

    def read(self, name: str, first: int = 0, count: int | None = None) -> bytes:
        """Bytes of a record: all, or ``count`` from ``first``.  Raises Malformed when the file no longer has them."""
        record = self.records[name]
        count = record.size - first if count is None else count
        with self.path.open("rb") as file:
            file.seek(record.start + first)
            return _read(file, count)


def open_archive(path: Path) -> Archive:
    """Read the directory of a file that ``torch.save`` wrote.  Raises Malformed, OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        _check_format(path, file.read(512), size)
        first, count, end = _directory(file, size)
        records: dict[str, Record] = {}
        taken: list[tuple[int, int]] = []
        file.seek(first)
        directory, at = _read(file, end - first), 0
        for _ in range(count):
            at, name, header, length = _entry(directory, at)
            if name in records:
                raise Malformed(f"the record {printable(name)} is there twice")
            records[name] = _record(file, name, header, length, end=first)
            taken.append((header, records[name].start + length))
        if at != len(directory):
            raise Malformed("its directory is not of the size it claims")
    taken.sort()
    if any(end > start for (_, end), (start, _) in pairwise(taken)):
        raise Malformed("its records overlap")
    return Archive(path, _without_root(records))


def _read(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise Malformed("is shorter than it was a moment ago")
    return data


def _check_format(path: Path, begin: bytes, size: int) -> None:
    if begin.startswith(b"PK\x03\x04"):
        return
    if size == 0:
        raise Malformed("is empty")
    if (instead := substitute(begin)) is not None:
        raise Malformed(instead)
    if begin[2:].startswith(_LEGACY) or begin[257:262] == b"ustar":
        name = path.name if re.fullmatch(r"[\w.-]+", path.name) else "FILE"  # it goes into a command that somebody copies
        raise Malformed(
            "is in the format of torch before 1.6, which is not read; where torch is installed, this rewrites it:\n"
            f"""  python -c "import torch; torch.save(torch.load('{name}', map_location='cpu', weights_only=True), '{name}')\"\n"""
            "(where torch refuses too: with weights_only=False, which runs what the file asks for, if you trust where it comes from)"
        )
    raise Malformed("is not a file that torch wrote")


def _directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Begin of the directory, number of its entries, and its end."""
    tail = min(size, _END64.size + _LOCATOR.size + _END.size)
    file.seek(size - tail)
    data = _read(file, tail)
    if len(data) < _END.size or not data[-_END.size :].startswith(b"PK\x05\x06"):
        raise Malformed("is truncated, or something follows its end: expected the end of a zip archive at its end")
    _, disk, first_disk, here, count, length, first, comment = _END.unpack(data[-_END.size :])
    end = size - _END.size
    if data[-_END.size - _LOCATOR.size :].startswith(b"PK\x06\x07") and tail == _END64.size + _LOCATOR.size + _END.size:
        end -= _LOCATOR.size + _END64.size
        signature, _, _, _, _, _, here64, count64, length64, first64 = _END64.unpack(data[: _END64.size])
        pairs = ((count, _FULL16, count64), (length, _FULL32, length64), (first, _FULL32, first64))
        located = _LOCATOR.unpack(data[_END64.size : -_END.size])[2] == end and signature == b"PK\x06\x06"
        if not located or any(short not in (full, wide) for short, full, wide in pairs):
            raise Malformed("the two ends of its directory contradict each other")
        here, count, length, first = here64, count64, length64, first64
    if disk or first_disk or here != count or comment or first + length != end:
        raise Malformed("its directory is not where it claims to be")
    if length > _LARGEST_DIRECTORY or count * _CENTRAL.size > length:
        raise Malformed(
            f"its directory claims {count:,} records in {length:,} bytes; expected at most {_LARGEST_DIRECTORY:,} bytes"
        )
    return first, count, end


def _entry(directory: bytes, at: int) -> tuple[int, str, int, int]:
    """An entry of the directory: where the next one begins, the record's name, where its header lies, and its size."""
    if not directory.startswith(b"PK\x01\x02", at) or at + _CENTRAL.size > len(directory):
        raise Malformed("its directory is damaged")
    (_, _, _, flags, method, _, _, _, packed, size, named, extra, comment, _, _, _, header) = _CENTRAL.unpack_from(directory, at)
    at += _CENTRAL.size
    name = _name(directory[at : at + named])
    if at + named + extra + comment > len(directory):
        raise Malformed("its directory is damaged")
    numbers = _wide(directory[at + named : at + named + extra], {"size": size, "packed": packed, "header": header})
    _check_stored(name, flags, method)
    if numbers["packed"] != numbers["size"]:
        raise Malformed(f"the record {printable(name)} has two sizes, {numbers['packed']} and {numbers['size']}")
    return at + named + extra + comment, name, numbers["header"], numbers["size"]


def _wide(extra: bytes, numbers: dict[str, int]) -> dict[str, int]:
    """The numbers of an entry, those too large for 32 bits from its extra field, in the order given."""
    missing = [key for key, value in numbers.items() if value == _FULL32]
    while missing and len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length >= 8 * len(missing) and len(extra) >= 4 + length:
            return numbers | dict(zip(missing, struct.unpack_from(f"<{len(missing)}Q", extra, 4), strict=True))
        extra = extra[4 + length :]
    return numbers


def _record(file: BinaryIO, name: str, header: int, size: int, *, end: int) -> Record:
    """Where a record's bytes are, its own header having been compared with the directory.  end: where the directory begins."""
    if header + _LOCAL.size > end:
        raise Malformed(f"the record {printable(name)} is said to begin behind the file's last record")
    file.seek(header)
    signature, _, flags, method, _, _, _, packed, unpacked, named, extra = _LOCAL.unpack(_read(file, _LOCAL.size))
    if signature != b"PK\x03\x04" or _name(_read(file, named)) != name:
        raise Malformed(f"the record {printable(name)} is not where the directory says")
    _check_stored(name, flags, method)
    later = bool(flags & _SIZES_FOLLOW)
    for found in (packed, unpacked):
        if found not in (size, _FULL32) and not (later and found == 0):
            raise Malformed(f"the record {printable(name)} has two sizes, {found} and {size}")
    start = header + _LOCAL.size + named + extra
    if start + size > end:
        raise Malformed(f"the record {printable(name)} claims {size:,} bytes, more than the file has")
    return Record(start, size)


def _check_stored(name: str, flags: int, method: int) -> None:
    if flags & _ENCRYPTED:
        raise Malformed(f"the record {printable(name)} is encrypted; torch encrypts nothing")
    if method != 0:
        raise Malformed(f"the record {printable(name)} is compressed; torch compresses nothing")


def _name(data: bytes) -> str:
    try:
        name = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed(f"a record's name is not UTF-8: {printable(repr(data))}") from None
    if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\0" in name:
        raise Malformed(f"the record {printable(name)} points out of the archive")
    return name


def _without_root(records: dict[str, Record]) -> dict[str, Record]:
    roots = [name.split("/")[0] for name in records if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise Malformed(f"is a zip archive, but not one that torch wrote: expected one data.pkl, found {len(roots)}")
    inner = {name.removeprefix(f"{roots[0]}/"): record for name, record in records.items() if name.startswith(f"{roots[0]}/")}
    if "constants.pkl" in inner:
        raise Malformed("is a TorchScript archive, which holds a program and not only weights")
    return inner
