"""What foreign words and values look like in messages, and the check of whole numbers."""

import os
import pickle
import subprocess

import numpy as np
import pytest

from sewnp.errors import ConfigError, DependencyError, InputError, SewError, brief, check_whole, few, harmless, printable


def test_values_are_short_and_quoted():
    assert brief("a\nb") == r"'a\nb'"
    assert brief(3) == "3"
    assert len(brief("x" * 10**6)) < 250
    assert len(brief([list(range(10**5))] * 1000)) < 2500
    assert brief(10**5000) == "an integer of thousands of digits"


@pytest.mark.parametrize("word", ["encoder.layers.0", "a b", "é", "x" * 200])
def test_harmless_words_stand_as_they_are(word):
    assert printable(word) == word


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", "''"),
        ("a\x1b[2J", r"$'a\x1b[2J'"),
        ("it's\n\\", r"$'it\'s\n\\'"),
        ("a\u2028b", r"$'a\u2028b'"),
        ("a\u202eb", r"$'a\u202eb'"),  # written from right to left
        ("\x9b", r"$'\u009b'"),
        ("\udcff\udc9b", r"$'\xff\x9b'"),  # bytes of a path
        ("\ud800", r"$'\ud800'"),
        ("$'a'", r"$'$\'a\''"),  # not to be taken for a
        ("''", r"$'\'\''"),
        ("x" * 201, "x" * 200 + "..."),
    ],
)
def test_other_words_are_quoted_or_cut(word, expected):
    assert printable(word) == expected
    assert len(printable(word * 10**5)) < 1500


@pytest.mark.skipif(os.name != "posix", reason="asks a shell")
@pytest.mark.parametrize("name", [b"a\nb", b"it's \\ \x1b[2J", "é\x9b\u202e".encode(), b"\xff\xfea0", b"$'a'", b"\x7f"])
def test_a_shell_reads_a_quoted_word_as_the_word(name):
    shown = printable(os.fsdecode(name))
    assert shown.isprintable()
    assert (
        subprocess.run(["bash", "-c", f"printf %s {shown}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}).stdout
        == name
    )


def test_texts_for_a_terminal():
    assert harmless("a\tb\nç \u200c") == "a\tb\nç \u200c"  # Persian needs the last
    assert harmless("\x1b[2J\r\x9b\u202e\ud800\x7f") == r"\x1b[2J\r\u009b\u202e\ud800\x7f"


def test_no_error_steers_a_terminal_or_forges_a_line():
    for error in SewError.__subclasses__():
        said = str(error("a\nsewnp: error: b\x1b[2J\n  its own"))
        assert said == "a\\nsewnp: error: b\\x1b[2J\n  its own"
        assert str(pickle.loads(pickle.dumps(error(said)))) == said
    assert len(str(SewError("x" * 3_000_000))) <= 20_000
    assert DependencyError("a", name="b").name == "b"


def test_the_first_few():
    assert few([]) == ""
    assert few({"a": 1, "b": 2}) == "'a', 'b'"
    assert few(range(15)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 3 more"
    assert few("abc", 2) == "'a', 'b' and 1 more"


def test_whole_numbers():
    for value in (3, np.int16(3), np.array(3), np.uint64(3)):
        found = check_whole("n", value, 1, 3)
        assert (found, type(found)) == (3, int)
    assert check_whole("n", 0) == 0
    for value, found in [
        (True, "True"),
        (3.0, r"3\.0"),
        ("3", "'3'"),
        (None, "None"),
        (np.bool_(True), ".*True"),
        (0, "0"),
        (4, "4"),
    ]:
        with pytest.raises(InputError, match=f"^n: expected a whole number from 1 to 3, found {found}"):
            check_whole("n", value, 1, 3)
    with pytest.raises(ConfigError, match=r"^n: expected a whole number of 0 or more, found -1$"):
        check_whole("n", np.int8(-1), error=ConfigError)
    with pytest.raises(InputError, match="found an integer of thousands of digits"):
        check_whole("n", 10**5000, 0, 9)
