"""Small damage to valid files: what a broken disk does, and what somebody does who has read the parser.

Every mutation draws from a ``random.Random``, so that an input is made again from its number alone.
"""

import copy
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

Mutate: TypeAlias = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
"""(source of chance, a valid file, the other valid files of its kind) -> a damaged one"""

NUMBERS = (0, 1, -1, 2, 3, 7, 8, 16, 64, 100, 255, 256, 1000, 2**15, 2**16 - 1, 2**16, 10**6, 2**24, 2**31 - 1, 2**31, 2**32 - 1,
           2**32, 2**53, 2**61 - 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, -(2**31), -(2**63))  # fmt: skip
"""Where counts, signs and sizes turn over."""

_VALUES: tuple[Any, ...] = (
    *NUMBERS, None, True, False, 0.0, -0.0, 0.5, 1e-30, 1e308, float("nan"), float("inf"), float("-inf"), 10**400, -(10**400), "",
    "0", "-1", "a", "<pad>", "|", " ", "\0", "\x1b[2J", "\ud800", "é", "nan", "gelu", "../x", "/etc/passwd", "x" * 5000, "9" * 5000,
    [], {}, [[]], [0], [None], ["<s>"], [2**63] * 3, {"": 0}, {"content": "<x>"}, {"content": 5}, {"0": "a", "1": "b"},
)  # fmt: skip
_KEYS = ("", "0", "00", "-1", "1", "a", "content", "__metadata__", "shape", "eng", "<pad>", "\x1b", "\ud800", "9" * 5000, "feature_extractor",
         "num_labels", "pad_token", "added_tokens_decoder", "extra_special_tokens", "target_lang", "id2label", "model_type")  # fmt: skip


_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "U16", "U32", "U64", "BOOL", "C64", "F8_E4M3", "F8_E5M2", "F4",
           "F6_E2M3", "X32", "f32", "")  # fmt: skip


def damage(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four of the things that happen to bytes."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        rng.choice(_BLOWS)(rng, result, others)
    return bytes(result)


def _place(rng: random.Random, data: bytearray) -> int:
    """Anywhere, but as often as not where the headers are."""
    return rng.randrange(min(len(data), rng.choice((16, 64, 256, len(data), len(data), len(data)))) or 1)


def _flip(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 1, 2, 8))):
        if data:
            data[_place(rng, data)] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    if data:
        data[_place(rng, data)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _number(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at, size = _place(rng, data), rng.choice((1, 2, 4, 4, 8))
    value = rng.choice(NUMBERS) + rng.choice((0, 0, -1, 1))
    data[at : at + size] = (value % 256**size).to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    del data[_place(rng, data) :]


def _remove(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    del data[at : at + rng.choice((1, 2, 4, 8, 16, 100, 1000))]


def _repeat(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    piece = bytes(data[at : at + rng.choice((1, 4, 8, 16, 64, 1000))])
    data[at:at] = piece * rng.choice((1, 1, 2, 10))


def _insert(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    at = _place(rng, data)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 4, 16, 100)))


def _splice(rng: random.Random, data: bytearray, others: Sequence[bytes]) -> None:
    other = rng.choice(others)
    start = rng.randrange(len(other) or 1)
    piece = other[start : start + rng.choice((4, 16, 64, 256, 4096))]
    at = _place(rng, data)
    data[at : at + rng.choice((0, len(piece)))] = piece


def _shuffle(rng: random.Random, data: bytearray, _: Sequence[bytes]) -> None:
    a, b, size = _place(rng, data), _place(rng, data), rng.choice((1, 4, 16, 64))
    data[a : a + size], data[b : b + size] = data[b : b + size], data[a : a + size]


_BLOWS = (_flip, _flip, _set, _number, _number, _cut, _remove, _repeat, _insert, _splice, _shuffle)


def damage_json(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mostly JSON that says something else; sometimes no JSON any more."""
    kind = rng.random()
    if kind < 0.15:
        return damage(rng, data, others)
    if kind < 0.2:
        return _twice(rng, data.decode()).encode("utf-8", "surrogatepass")
    values = changed(rng, json.loads(data))
    text = json.dumps(values, ensure_ascii=rng.random() < 0.9)
    if kind < 0.25:
        depth = rng.choice((10, 300, 900, 980, 990, 1000, 5000))
        opened, closed = rng.choice((("[", "]"), ('{"a":', "}")))
        text = text.replace(" 1", f" {opened * depth}0{closed * depth}", 1)
    return text.encode("utf-8", "surrogatepass")


def changed(rng: random.Random, values: Any) -> Any:
    """The parsed JSON with one to four of its parts changed."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        values = _change(rng, values)
    return values


def _change(rng: random.Random, values: Any) -> Any:
    """Walk down at random, and change what is there."""
    holder: Any = [values]
    path: Any = 0
    root = holder
    while isinstance(holder[path], (dict, list)) and holder[path] and rng.random() < 0.8:
        holder = holder[path]
        path = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    value, how = holder[path], rng.randrange(10)
    if how < 4:
        holder[path] = _value(rng)
    elif how == 4 and isinstance(value, (int, float)):
        holder[path] = _arithmetic(rng, value)
    elif how == 5 and isinstance(holder, dict):
        del holder[path]
    elif how == 6 and isinstance(holder, dict):  # what was said of one thing is now said of another
        holder[rng.choice(_KEYS) if rng.random() < 0.7 else rng.choice(list(holder))] = copy.deepcopy(value)
    elif how == 7 and isinstance(value, (list, str)):
        holder[path] = value * rng.choice((0, 2, 3, 50))
    elif how == 8:
        holder[path] = rng.choice(([value], {"a": value}, {rng.choice(_KEYS): value}, str(value)[:100]))
    elif isinstance(value, list):
        value.insert(rng.randrange(len(value) + 1), _value(rng))
    elif isinstance(value, dict):
        value[rng.choice(_KEYS)] = _value(rng)
    else:
        holder[path] = _value(rng)
    return root[0]


def _value(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(_VALUES))  # a later change may fill it


def _arithmetic(rng: random.Random, value: float) -> Any:
    small = isinstance(value, float) or value.bit_length() < 1000
    return rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, float(value), str(value))) if small else 0


def _twice(rng: random.Random, text: str) -> str:
    """A key that is there twice, with another value: JSON admits it, and readers disagree which of the two counts."""
    places = [i for i, c in enumerate(text) if c == "{"]
    at = rng.choice(places) + 1 if places else 0
    keys = [piece for i, piece in enumerate(text.split('"')) if i % 2]
    return f"{text[:at]}{json.dumps(rng.choice(keys or ['a']))}: {rng.choice(('0', '1', 'null', '[]', '{}', chr(34) * 2))}, {text[at:]}"


def damage_safetensors(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Mostly a header that says something else, with its length put right; then the bytes behind it."""
    kind = rng.random()
    if kind < 0.3:
        return damage(rng, data, others)
    size = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + size], data[8 + size :]
    if kind < 0.4:
        header = damage(rng, header, [header])
    elif kind < 0.6:
        header = damage_json(rng, header, [header])
    else:
        header = _tensor_changed(rng, header)
    if kind > 0.9:
        body = damage(rng, body, others)
    header += b" " * (-len(header) % 8) if rng.random() < 0.9 else b""
    return struct.pack("<Q", len(header)) + header + body


def _tensor_changed(rng: random.Random, header: bytes) -> bytes:
    """One tensor's entry, changed in a way that is still an entry."""
    values = json.loads(header)
    names = [name for name in values if name != "__metadata__"]
    name = rng.choice(names)
    entry = values[name]
    how = rng.randrange(8)
    if how == 0:
        entry["dtype"] = rng.choice(_DTYPES)
    elif how == 1:
        entry["shape"] = [rng.choice(NUMBERS) for _ in range(rng.choice((0, 1, 2, 3, 40, 70)))]
    elif how == 2 and entry["shape"]:  # the same number of elements, or none
        entry["shape"] = rng.choice(([*entry["shape"], 1], [1] * 40 + entry["shape"], [0, 2**62, 2**62], entry["shape"][::-1]))
    elif how == 3:
        entry["data_offsets"][rng.randrange(2)] = rng.choice(NUMBERS)
    elif how == 4:
        entry["data_offsets"] = list(values[rng.choice(names)]["data_offsets"])  # overlapping
    elif how == 5:
        values[rng.choice(names)] = values.pop(name)
    elif how == 6:
        values[rng.choice(_KEYS)] = {"dtype": "F32", "shape": [0, rng.choice(NUMBERS)], "data_offsets": [0, 0]}
    else:
        values["__metadata__"] = {rng.choice(_KEYS): _value(rng)}
    return json.dumps(values).encode()


def damage_bin(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """The archive's bytes, or its pickle's with everything around it put right."""
    if rng.random() < 0.4:
        return damage(rng, data, others)
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as given, zipfile.ZipFile(result, "w") as written:
        for name in given.namelist():
            record = given.read(name)
            if name.endswith("data.pkl"):
                record = damage(rng, record, [record])
            elif rng.random() < 0.02:
                record = damage(rng, record, others)
            written.writestr(zipfile.ZipInfo(name), record)
    return result.getvalue()
