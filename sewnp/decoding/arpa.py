"""ARPA files: n-grams of words with their log-probabilities and back-off weights, as text.

::

    \\data\\
    ngram 1=4
    ngram 2=2

    \\1-grams:
    -99     <s>   -0.3          log10 probability, words, log10 back-off weight (none is 0)
    -0.5    ONE   -0.2
    -0.7    </s>
    -2.0    <unk>

    \\2-grams:
    -0.1    <s> ONE
    -0.2    ONE </s>

    \\end\\

The format is that of SRILM (https://www.speech.sri.com/projects/srilm/manpages/ngram-format.5.html).  What kenlm reads is read, and means
what it means there: of equal n-grams the first counts; ``<UNK>`` is ``<unk>``, of which the last counts.  Only words that are not UTF-8 are
refused.
"""

import bz2
import gzip
import io
import lzma
import math
import os
import re
import zlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import numpy as np

from sewnp.errors import LanguageModelError, brief
from sewnp.files import LONGEST_LINE, open_regular, path_name
from sewnp.types import Array

UNKNOWN = "<unk>"

LARGEST_ORDER = 32
"""Words in an n-gram.  Models have 3 to 6; each order is held against all shorter ones."""

MOST_BLANK = 2**16
"""Lines that hold nothing: of these a small compressed file may have millions.  Files have one a section."""

LARGEST_UNFOLDED = 2**24
"""Bytes that any compressed file may unfold to; a larger one to 32 times its size.  Text of n-grams unfolds to 3 to 10 times."""

_PACKED: dict[bytes, tuple[str, Callable[[BinaryIO], Any]]] = {
    b"\x1f\x8b": ("gzip", gzip.open),
    b"BZh": ("bzip2", bz2.open),
    b"\xfd7zXZ\0": ("xz", lzma.open),
}
"""How compressed files begin, and how each is opened."""

_OTHERS = {
    b"mmap lm http://kheafield.com/code": "a binary language model of kenlm's; expected the ARPA file that it was built from (build_binary"
    " NAME.arpa NAME.bin). kenlm has no command for the way back but dump_trie, in its branch bounded-noquant, for tries alone; lmplz -o 3"
    " < TEXT > NAME.arpa makes a new one of the texts",
    b"SRILM_BINARY": "a binary language model of SRILM's; expected an ARPA file, which ngram -write-lm writes",
    b"blmt": "a binary language model of IRSTLM's; expected an ARPA file, which compile-lm --text=yes writes",
    b"Qblmt": "a binary language model of IRSTLM's; expected an ARPA file, which compile-lm --text=yes writes",
    b"iARPA": "IRSTLM's iARPA; expected an ARPA file, which compile-lm --text=yes writes",
    b"version https://git-lfs": "a Git LFS pointer; expected the file that it stands for, which git lfs pull fetches",
    b"<!DOCTYPE": "a web page; expected an ARPA file",
    b"<html": "a web page; expected an ARPA file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file; expected text, gzip, bzip2 or xz",
    b"PK\x03\x04": "a zip file; expected text, gzip, bzip2 or xz",
    b"\xff\xfe": "UTF-16; expected UTF-8",
    b"\xfe\xff": "UTF-16; expected UTF-8",
}
"""What else is taken for an ARPA file, by how it begins."""


@dataclass(frozen=True, eq=False)
class NGrams:
    """The n-grams of one order, in the file's order."""

    words: Array
    """(count, n) int64, indices of unigrams."""
    log10: Array
    """(count,) float64."""
    backoff: Array
    """(count,) float64, log10."""
    lines: Array
    """(count,) int64, where each stands in the file, from 1."""


def read_arpa(path: str | os.PathLike[str]) -> tuple[list[str], list[NGrams]]:
    """The words of an ARPA file, and its n-grams of order 1, 2, ...  Text, gzip, bzip2 or xz, whatever the file is called.

    The unknown word is ``<unk>``, however the file writes it.  Raises LanguageModelError, naming file and line, for a file that is missing,
    damaged or cut short, of another format, that is not UTF-8, in which counts and n-grams disagree, of an order above LARGEST_ORDER, with
    a log-probability that is not a number of at most 0 (it may be -inf), or a back-off weight that is not finite.
    """
    with open_regular(path, LanguageModelError) as stream:
        return _Reader(path_name(path), stream).read()


class _Reader:
    """One pass through a file, line by line."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        self.name = name
        self.number = 0
        self.ids: dict[bytes, int] = {}
        beginning = stream.read(6)
        stream.seek(0)
        self.stream, self.packed, self.most_bytes = stream, "", math.inf
        for magic, (packing, unpacked) in _PACKED.items():
            if beginning.startswith(magic):
                self.stream, self.packed = io.BufferedReader(unpacked(stream)), packing  # whose lines come three times as fast
                self.most_bytes = max(LARGEST_UNFOLDED, 32 * os.fstat(stream.fileno()).st_size)

    def read(self) -> tuple[list[str], list[NGrams]]:
        lines = self._lines()
        for line in lines:
            if line == b"\\data\\":
                break
        else:
            raise LanguageModelError(f"{self.name}: no line \\data\\: not an ARPA file, or cut short")
        counts, heading = self._counts(lines)
        sections = []
        for n, count in enumerate(counts, start=1):
            self._expect(heading, f"\\{n}-grams:")
            section, heading = self._section(lines, n, count, highest=n == len(counts))
            sections.append(section)
        self._expect(heading, "\\end\\")
        for _ in lines:  # what follows has no meaning, but a compressed file says at its very end whether it was whole
            pass
        return [word.decode("utf-8") for word in self.ids], sections

    def _lines(self) -> Iterator[bytes]:
        """The lines that hold something, without the white space around them."""
        read = blank = 0
        while line := self._line():
            self.number += 1
            read += len(line)
            if self.number == 1:
                self._check_beginning(line)
            if len(line) > LONGEST_LINE:
                self._fail(f"expected at most {LONGEST_LINE:,} bytes in a line")
            if read > self.most_bytes:
                self._fail(f"expected a file that unfolds to at most {self.most_bytes:,} bytes")
            if line := line.strip(b" \t\r\n"):
                yield line
                continue
            blank += 1
            if blank > MOST_BLANK:
                self._fail(f"expected at most {MOST_BLANK:,} blank lines")

    def _line(self) -> bytes:
        try:
            return self.stream.readline(LONGEST_LINE + 1)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, MemoryError) as error:  # xz may ask for any memory
            if not self.packed:
                raise
            raise LanguageModelError(
                f"{self.name}: after line {self.number}: a damaged or cut {self.packed} file: {error}"
            ) from error

    def _check_beginning(self, line: bytes) -> None:
        for beginning, found in _OTHERS.items():
            if line.lower().startswith(beginning.lower()):
                raise LanguageModelError(f"{self.name}: {found}")

    def _counts(self, lines: Iterator[bytes]) -> tuple[list[int], bytes]:
        """How many n-grams the header promises of each order, and the line behind it."""
        counts: list[int] = []
        for line in lines:
            if line.startswith(b"\\"):
                if not counts:
                    self._fail(f"expected ngram 1=COUNT, found {_shown(line)}")
                return counts, line
            name, _, count = line.partition(b"=")
            count = count.strip()
            if name.split() != [b"ngram", str(len(counts) + 1).encode()] or not count.isdigit() or len(count) > 15:
                self._fail(f"expected ngram {len(counts) + 1}=COUNT, found {_shown(line)}")
            counts.append(int(count))
            if len(counts) > LARGEST_ORDER:
                self._fail(f"expected n-grams of at most {LARGEST_ORDER} words")
        self._cut("in the counts")

    def _section(self, lines: Iterator[bytes], n: int, count: int, *, highest: bool) -> tuple[NGrams, bytes]:
        """The n-grams of order n, and the line behind them."""
        words, log10, backoff, numbers = array("q"), array("d"), array("d"), array("q")
        for line in lines:
            if line.startswith(b"\\"):
                if len(log10) != count:
                    self._fail(f"expected {count:,} {n}-grams as promised in the header, found {len(log10):,}")
                section = NGrams(np.array(words).reshape(-1, n), np.array(log10), np.array(backoff), np.array(numbers))
                return section, line
            fields = _fields(line)
            if len(fields) not in (n + 1, n + 2):
                self._fail(f"expected a number, {n} word{'s' * (n > 1)} and at most one number more, found {_shown(line)}")
            if len(log10) == count:
                self._fail(f"expected {count:,} {n}-grams as promised in the header, found more")
            log10.append(self._log10(fields[0]))
            backoff.append(self._backoff(fields[n + 1]) if len(fields) == n + 2 else 0.0)
            if highest and backoff[-1] != 0:
                self._fail(f"expected no back-off weight in the highest order, found {_shown(fields[n + 1])}")
            if n == 1:
                self._check_text(fields[1])
                words.append(self.ids.setdefault(_folded(fields[1]), len(self.ids)))
            else:
                words.extend([self._known(word) for word in fields[1 : n + 1]])
            numbers.append(self.number)
        self._cut(f"in the {n}-grams")

    def _log10(self, field: bytes) -> float:
        value = _number(field)
        if not value <= 0:
            self._fail(f"expected a log-probability of at most 0, found {_shown(field)}")
        return value

    def _backoff(self, field: bytes) -> float:
        value = _number(field)
        if not math.isfinite(value):
            self._fail(f"expected a finite number, found {_shown(field)}")
        return value

    def _check_text(self, word: bytes) -> None:
        try:
            word.decode("utf-8")
        except UnicodeDecodeError:
            self._fail(f"expected UTF-8, found {_shown(word)}")

    def _known(self, word: bytes) -> int:
        word = _folded(word)
        if word not in self.ids:
            self._fail(f"expected words of the 1-grams, found {_shown(word)}")
        return self.ids[word]

    def _expect(self, line: bytes, heading: str) -> None:
        if line != heading.encode():
            self._fail(f"expected {heading}, found {_shown(line)}")

    def _cut(self, where: str) -> NoReturn:
        raise LanguageModelError(f"{self.name}: line {self.number}: the file ends {where}, without \\end\\")

    def _fail(self, problem: str) -> NoReturn:
        raise LanguageModelError(f"{self.name}: line {self.number}: {problem}")


def _fields(line: bytes) -> list[bytes]:
    """What stands between spaces and tabs.  Python also parts at vertical tabs and form feeds, which kenlm has in words."""
    return re.findall(rb"[^ \t\r]+", line) if b"\v" in line or b"\f" in line else line.split()


def _number(field: bytes) -> float:
    """NaN for what is no number.  (Python reads 1_0 as ten.)"""
    try:
        return math.nan if b"_" in field else float(field)
    except ValueError:
        return math.nan


def _folded(word: bytes) -> bytes:
    return UNKNOWN.encode() if word == b"<UNK>" else word


def _shown(line: bytes) -> str:
    """A file's own bytes in a message: short, with what is not UTF-8 escaped."""
    return brief(line[:200].decode("utf-8", errors="backslashreplace"))
