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

The format is that of SRILM (https://www.speech.sri.com/projects/srilm/manpages/ngram-format.5.html), read as strictly as kenlm does.
"""

import gzip
import io
import math
import os
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from sewnp.errors import LanguageModelError, brief
from sewnp.files import open_regular
from sewnp.types import Array

LONGEST_LINE = 2**16
"""Bytes: an n-gram of ten words of the longest German kind has 1,000."""

LARGEST_UNFOLDED = 2**28
"""Bytes that any compressed file may unfold to; a larger one to 64 times its size.  Text of n-grams unfolds to 3 to 10 times."""


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
    """The words of an ARPA file, and its n-grams of order 1, 2, ...  Text or gzip, whatever the file is called.

    Raises LanguageModelError, naming file and line, for a file that is missing, damaged or cut short, that is not UTF-8, in which
    counts and n-grams disagree, with a log-probability that is not a number of at most 0, or a back-off weight that is not finite.
    """
    with open_regular(path, LanguageModelError) as stream:
        return _Reader(Path(path), stream).read()


class _Reader:
    """One pass through a file, line by line."""

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.number = 0
        self.ids: dict[bytes, int] = {}
        compressed = stream.read(2) == b"\x1f\x8b"
        stream.seek(0)
        self.stream: io.BufferedIOBase | BinaryIO = gzip.GzipFile(fileobj=stream) if compressed else stream
        self.most_bytes = max(LARGEST_UNFOLDED, 64 * os.fstat(stream.fileno()).st_size) if compressed else None

    def read(self) -> tuple[list[str], list[NGrams]]:
        lines = self._lines()
        for line in lines:
            if line == b"\\data\\":
                break
        else:
            raise LanguageModelError(f"{self.path}: no line \\data\\: not an ARPA file, or cut short")
        counts, heading = self._counts(lines)
        sections = []
        for n, count in enumerate(counts, start=1):
            self._expect(heading, f"\\{n}-grams:")
            section, heading = self._section(lines, n, count, highest=n == len(counts))
            sections.append(section)
        self._expect(heading, "\\end\\")
        for _ in lines:  # what follows has no meaning, but a gzip file says at its very end whether it was whole
            pass
        return [word.decode("utf-8") for word in self.ids], sections

    def _lines(self) -> Iterator[bytes]:
        """The lines that hold something, without the white space around them."""
        read = 0
        while line := self._line():
            self.number += 1
            read += len(line)
            if len(line) > LONGEST_LINE:
                self._fail(f"expected at most {LONGEST_LINE:,} bytes in a line")
            if self.most_bytes is not None and read > self.most_bytes:
                self._fail(f"expected a file that unfolds to at most {self.most_bytes:,} bytes")
            if line := line.strip():
                yield line

    def _line(self) -> bytes:
        try:
            return self.stream.readline(LONGEST_LINE + 1)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise LanguageModelError(f"{self.path}: after line {self.number}: a damaged or cut gzip file: {error}") from error

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
        self._cut("in the counts")

    def _section(self, lines: Iterator[bytes], n: int, count: int, *, highest: bool) -> tuple[NGrams, bytes]:
        """The n-grams of order n, and the line behind them."""
        words, log10, backoff, numbers = array("q"), array("d"), array("d"), array("q")
        for line in lines:
            if line.startswith(b"\\"):
                if len(log10) != count:
                    self._fail(f"expected {count:,} {n}-grams as promised in the header, found {len(log10):,}")
                shape = (len(log10), n)
                return NGrams(np.array(words).reshape(shape), np.array(log10), np.array(backoff), np.array(numbers)), line
            fields = line.split()
            if len(fields) not in (n + 1, n + 2):
                self._fail(f"expected a number, {n} word{'s' * (n > 1)} and at most one number more, found {_shown(line)}")
            if len(log10) == count:
                self._fail(f"expected {count:,} {n}-grams as promised in the header, found more")
            log10.append(self._log10(fields[0]))
            backoff.append(self._number(fields[n + 1]) if len(fields) == n + 2 else 0.0)
            if highest and backoff[-1] != 0:
                self._fail(f"expected no back-off weight in the highest order, found {_shown(fields[n + 1])}")
            words.extend([self._new(fields[1])] if n == 1 else [self._known(word) for word in fields[1 : n + 1]])
            numbers.append(self.number)
        self._cut(f"in the {n}-grams")

    def _log10(self, field: bytes) -> float:
        value = self._number(field)
        if value > 0:
            self._fail(f"expected a log-probability of at most 0, found {_shown(field)}")
        return value

    def _number(self, field: bytes) -> float:
        try:
            value = float(field)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or b"_" in field:  # Python reads 1_0 as ten
            self._fail(f"expected a finite number, found {_shown(field)}")
        return value

    def _new(self, word: bytes) -> int:
        try:
            word.decode("utf-8")
        except UnicodeDecodeError:
            self._fail(f"expected UTF-8, found {_shown(word)}")
        if word in self.ids:
            self._fail(f"the word {_shown(word)} is there twice")
        return self.ids.setdefault(word, len(self.ids))

    def _known(self, word: bytes) -> int:
        if word not in self.ids:
            self._fail(f"expected words of the 1-grams, found {_shown(word)}")
        return self.ids[word]

    def _expect(self, line: bytes, heading: str) -> None:
        if line != heading.encode():
            self._fail(f"expected {heading}, found {_shown(line)}")

    def _cut(self, where: str) -> NoReturn:
        raise LanguageModelError(f"{self.path}: line {self.number}: the file ends {where}, without \\end\\")

    def _fail(self, problem: str) -> NoReturn:
        raise LanguageModelError(f"{self.path}: line {self.number}: {problem}")


def _shown(line: bytes) -> str:
    """A file's own bytes in a message: short, with what is not UTF-8 escaped."""
    return brief(line[:200].decode("utf-8", errors="backslashreplace"))
