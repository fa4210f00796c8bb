"""A pickle machine that builds plain data and calls nothing that a file names.

A pickle is a program for a stack machine.  Python's own interpreter of it imports whatever the program names and calls it, which is how
a downloaded checkpoint runs code.  Restricting it through ``find_class`` leaves the rest of it in the hands of the file: a memo slot
number that takes gigabytes, attributes set on the few functions that are let through, tuples so deep that hashing them ends the process,
a registry that bypasses ``find_class``.  So this is an interpreter of its own, of the few operations that ``torch.save`` writes.  Names
are words here, never looked up anywhere but in the dict the caller gives; memory grows with the bytes read, time with their number.
"""

import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from sewnp.errors import printable

MOST_OPERATIONS = 200_000
"""A SEW takes some 10,000 operations, with the state of its optimiser some 40,000; so many take a third of a second."""

_HIGHEST_PROTOCOL = 5
_UNDERFLOW = "its pickle takes more from its stack than it has put there"
_LONGEST_NAME = 200
_SAFE_INTEGER = 2**61 - 1
"""Integers below hash to themselves; larger ones can be chosen to collide, which makes a dict quadratic."""


class Malformed(Exception):
    """What is wrong with a file, without its name; whoever opened it raises CheckpointError with both."""


Builder: TypeAlias = Callable[[tuple[Any, ...]], Any]
"""What stands for a function or class: a function of ours, from its arguments to plain data."""


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A name in a pickle: two words.  Nothing is imported."""

    module: str
    name: str
    build: Builder | None = None
    """None for a name that may stand there and not be called."""
    foreign: bool = False
    """Not one of the caller's: what it is called with is kept as a Placeholder."""

    def __str__(self) -> str:
        # cut before they are joined: a file may use one name of megabytes any number of times
        return printable(f"{self.module[: _LONGEST_NAME + 1]}.{self.name[: _LONGEST_NAME + 1]}")


@dataclass(eq=False, repr=False, slots=True)
class Placeholder:
    """What a foreign class or function would have made: what it was to be called with, and the attributes it was to have."""

    name: str
    arguments: tuple[Any, ...]
    state: Any = None


class Ordered(dict[Any, Any]):
    """A ``collections.OrderedDict``.  torch gives it an attribute, ``_metadata``, which is dropped."""


def ordered(arguments: tuple[Any, ...]) -> Ordered:
    """The builder of ``collections.OrderedDict``, which is always made empty and filled afterwards."""
    if arguments:
        raise Malformed("asks for collections.OrderedDict with arguments: refused; nothing was executed")
    return Ordered()


def unpickle(
    data: bytes, known: Mapping[tuple[str, str], Name], persistent: Callable[[Any], Any], *, placeholders: bool = False
) -> Any:
    """The plain data that a pickle describes.

    known: what stands for each (module, name) that may occur.  persistent: what stands for a persistent id.  placeholders: whether other
    names are kept as Placeholders; without, they are refused.  Raises Malformed.
    """
    return _Machine(data, known, persistent, placeholders).run()


class _Machine:
    def __init__(
        self, data: bytes, known: Mapping[tuple[str, str], Name], persistent: Callable[[Any], Any], placeholders: bool
    ) -> None:
        self.data, self.size, self.at = data, len(data), 0
        self.known, self.persistent, self.placeholders = known, persistent, placeholders
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        """The stacks that marks have put aside."""
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_OPERATIONS):
            code = self.take(1)
            if code == pickle.STOP:
                return self.finish()
            if code not in _STEPS:
                raise Malformed(
                    f"holds the pickle operation {_spelled(code)}, which torch does not write: refused; nothing was executed"
                )
            _STEPS[code](self)
        raise Malformed(f"its pickle has more than {MOST_OPERATIONS:,} operations, far more than weights need")

    def finish(self) -> Any:
        if len(self.stack) != 1 or self.below or self.at != self.size:
            raise Malformed("its pickle does not end where it should")
        return self.stack[0]

    def take(self, count: int) -> bytes:
        """The next bytes; a length that the file does not have costs nothing."""
        begin = self.at
        self.at = begin + count
        if self.at > self.size:
            raise Malformed("its pickle is truncated, or claims a length that it does not have")
        return self.data[begin : self.at]

    def sized(self, width: int) -> bytes:
        return self.take(self.number(width))

    def number(self, width: int, *, signed: bool = False) -> int:
        return int.from_bytes(self.take(width), "little", signed=signed)

    def text(self, width: int) -> str:
        try:
            return self.sized(width).decode("utf-8")
        except UnicodeDecodeError:
            raise Malformed("its pickle holds text that is not UTF-8") from None

    def line(self) -> str:
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Malformed("its pickle is truncated, or claims a length that it does not have")
        try:
            return (self.take(end - self.at) + self.take(1)).decode("utf-8").rstrip("\n")
        except UnicodeDecodeError:
            raise Malformed("its pickle holds text that is not UTF-8") from None

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack:
            raise Malformed(_UNDERFLOW)
        return self.stack.pop()

    def top(self) -> Any:
        value = self.pop()
        self.push(value)
        return value

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def since_mark(self) -> list[Any]:
        if not self.below:
            raise Malformed(_UNDERFLOW)
        values, self.stack = self.stack, self.below.pop()
        return values

    def discard(self) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.since_mark()

    def discard_to_mark(self) -> None:
        self.since_mark()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise Malformed(_UNDERFLOW)
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def keep(self, index: int) -> None:
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise Malformed(f"its pickle recalls value {index}, which it has not kept")
        self.push(self.memo[index])

    def append(self, values: list[Any]) -> None:
        whole = self.top()
        if type(whole) is list:
            whole.extend(values)
        elif not isinstance(whole, Placeholder):  # whose items nobody needs
            raise Malformed(f"its pickle appends to a {kind_of(whole)}")

    def set_items(self, values: list[Any]) -> None:
        whole = self.top()
        if len(values) % 2:
            raise Malformed("its pickle gives a key without a value")
        if isinstance(whole, Placeholder):
            return
        if not isinstance(whole, dict):
            raise Malformed(f"its pickle sets items of a {kind_of(whole)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not _fit_key(key):
                raise Malformed(f"its pickle has a {kind_of(key)} as a key")
            if key in whole:
                raise Malformed(f"its pickle has the key {printable(key) if isinstance(key, str) else kind_of(key)} twice")
            whole[key] = value

    def find(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise Malformed("its pickle names something by a value that is no text")
        found = self.known.get((module, name)) or Name(module, name, foreign=True)
        if found.foreign and not self.placeholders:
            raise Malformed(f"asks to call {found}: refused; nothing was executed")
        return found

    def call(self, function: Any, arguments: Any) -> Any:
        if isinstance(function, Placeholder) and type(arguments) is tuple:
            return Placeholder(function.name, arguments)
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise Malformed(f"asks to call a {kind_of(function)} with a {kind_of(arguments)}: refused; nothing was executed")
        if function.foreign:
            return Placeholder(str(function), arguments)
        if function.build is None:
            raise Malformed(f"asks to call {function}: refused; nothing was executed")
        return function.build(arguments)

    def reduce(self) -> None:
        arguments = self.pop()
        self.push(self.call(self.pop(), arguments))

    def new_with_keywords(self) -> None:
        keywords, arguments = self.pop(), self.pop()
        function = self.pop()
        if not isinstance(function, Name) or not function.foreign:
            raise Malformed(f"asks to call a {kind_of(function)} with keywords: refused; nothing was executed")
        self.push(self.call(function, (arguments, keywords)))

    def build(self) -> None:
        state, value = self.pop(), self.top()
        if isinstance(value, Placeholder):
            value.state = state
        elif not isinstance(value, Ordered):
            raise Malformed(f"sets attributes of a {kind_of(value)}: refused; nothing was executed")

    def old_instance(self) -> None:
        name = self.find(self.line(), self.line())
        raise Malformed(f"asks to call {name}: refused; nothing was executed")

    def extension(self, width: int) -> None:
        raise Malformed(f"asks for number {self.number(width)} of the extension registry: refused; nothing was executed")

    def stack_global(self) -> None:
        name = self.pop()
        self.push(self.find(self.pop(), name))

    def protocol(self) -> None:
        found = self.number(1)
        if found > _HIGHEST_PROTOCOL:
            raise Malformed(f"its pickle is of protocol {found}; expected at most {_HIGHEST_PROTOCOL}")

    def frame(self) -> None:
        self.take(8)  # a hint for readers of streams


def _fit_key(key: Any) -> bool:
    """Whether a key's hash takes no time and is not for the file to choose."""
    if type(key) is int:
        return abs(key) < _SAFE_INTEGER
    return key is None or type(key) in (str, bytes, bool, float) or isinstance(key, (Name, Placeholder))


def kind_of(value: Any) -> str:
    """What a value is, for a message; never the value itself, which may be of any size."""
    if isinstance(value, Name):
        return str(value)
    name = value.name if isinstance(value, Placeholder) else type(value).__name__
    return {"View": "tensor", "Ordered": "dict", "NoneType": "None"}.get(name, name)


def _spelled(code: bytes) -> str:
    names = [name for name, value in vars(pickle).items() if value == code and name.isupper()]
    return names[0] if names else repr(code)


_STEPS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.PROTO: _Machine.protocol,
    pickle.FRAME: _Machine.frame,
    pickle.MARK: _Machine.mark,
    pickle.POP: _Machine.discard,
    pickle.POP_MARK: _Machine.discard_to_mark,
    pickle.NONE: lambda m: m.push(None),
    pickle.NEWTRUE: lambda m: m.push(True),
    pickle.NEWFALSE: lambda m: m.push(False),
    pickle.BININT: lambda m: m.push(m.number(4, signed=True)),
    pickle.BININT1: lambda m: m.push(m.number(1)),
    pickle.BININT2: lambda m: m.push(m.number(2)),
    pickle.LONG1: lambda m: m.push(m.number(m.number(1), signed=True)),
    pickle.BINFLOAT: lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    pickle.SHORT_BINUNICODE: lambda m: m.push(m.text(1)),
    pickle.BINUNICODE: lambda m: m.push(m.text(4)),
    pickle.BINUNICODE8: lambda m: m.push(m.text(8)),
    pickle.SHORT_BINBYTES: lambda m: m.push(m.sized(1)),
    pickle.BINBYTES: lambda m: m.push(m.sized(4)),
    pickle.BINBYTES8: lambda m: m.push(m.sized(8)),
    pickle.EMPTY_TUPLE: lambda m: m.push(()),
    pickle.TUPLE1: lambda m: m.tuple_of(1),
    pickle.TUPLE2: lambda m: m.tuple_of(2),
    pickle.TUPLE3: lambda m: m.tuple_of(3),
    pickle.TUPLE: lambda m: m.push(tuple(m.since_mark())),
    pickle.EMPTY_LIST: lambda m: m.push([]),
    pickle.APPEND: lambda m: m.append([m.pop()]),
    pickle.APPENDS: lambda m: m.append(m.since_mark()),
    pickle.EMPTY_DICT: lambda m: m.push({}),
    pickle.SETITEM: lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    pickle.SETITEMS: lambda m: m.set_items(m.since_mark()),
    # sets become lists: nothing here needs one, and it would have to hash what the file puts into it
    pickle.EMPTY_SET: lambda m: m.push([]),
    pickle.ADDITEMS: lambda m: m.append(m.since_mark()),
    pickle.FROZENSET: lambda m: m.push(m.since_mark()),
    pickle.BINPUT: lambda m: m.keep(m.number(1)),
    pickle.LONG_BINPUT: lambda m: m.keep(m.number(4)),
    pickle.MEMOIZE: lambda m: m.keep(len(m.memo)),
    pickle.BINGET: lambda m: m.recall(m.number(1)),
    pickle.LONG_BINGET: lambda m: m.recall(m.number(4)),
    pickle.GLOBAL: lambda m: m.push(m.find(m.line(), m.line())),
    pickle.STACK_GLOBAL: _Machine.stack_global,
    pickle.REDUCE: _Machine.reduce,
    pickle.NEWOBJ: _Machine.reduce,  # to make an instance of a class is to call it
    pickle.NEWOBJ_EX: _Machine.new_with_keywords,
    pickle.BUILD: _Machine.build,
    pickle.BINPERSID: lambda m: m.push(m.persistent(m.pop())),
    # written by nobody for ages, and worth naming what they ask for
    pickle.INST: _Machine.old_instance,
    pickle.EXT1: lambda m: m.extension(1),
    pickle.EXT2: lambda m: m.extension(2),
    pickle.EXT4: lambda m: m.extension(4),
}
