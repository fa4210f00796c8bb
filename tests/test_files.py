"""Files are read where they are regular and bounded, and written whole or not at all; every error names them."""

import os
import stat
from pathlib import Path

import pytest

from sewnp.errors import CheckpointError, InputError, TraceError
from sewnp.files import (
    LONGEST_LINE,
    naming,
    open_regular,
    parse_json,
    path_name,
    read_bytes,
    read_json,
    read_lines,
    read_text,
    whole_file,
    whole_folder,
    write_text,
)

READERS = [
    lambda path: read_bytes(path, 10, TraceError),
    lambda path: read_text(path, error=TraceError),
    lambda path: list(read_lines(path, TraceError)),
    lambda path: read_json(path, TraceError),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, read):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        "gone": "no such file",
        "dangling": "no such file",
        "folder": "expected a regular file, found a folder",
        "pipe": "expected a regular file, found a pipe or device",
        "device": "expected a regular file, found a pipe or device",
        "loop": "cannot be read: Too many levels of symbolic links",
    }.items():
        with pytest.raises(TraceError) as caught:
            read(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {message}"
    with pytest.raises(TraceError, match=r"'a\\x00b': cannot be read: .*embedded null"):
        read("a\0b")


def test_reading_is_bounded(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    assert read_bytes(path, 10) == b"0123456789"
    with pytest.raises(InputError, match=r"x: expected at most 9 bytes"):
        read_bytes(path, 9)
    path.write_bytes(b"short\n" + b"x" * LONGEST_LINE + b"\n")
    lines = read_lines(path)
    assert next(lines) == (f"{path}:1", "short")
    with pytest.raises(InputError, match=r"x:2: expected at most 1,048,576 bytes in a line"):
        next(lines)


def test_what_breaks_while_it_is_read_names_the_file(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    with pytest.raises(TraceError, match=r"x: cannot be read: Input/output error"), open_regular(path, TraceError):
        raise OSError(5, os.strerror(5))
    with pytest.raises(ZeroDivisionError), open_regular(path, TraceError):
        raise ZeroDivisionError  # a bug is no bad file


def test_text_and_its_lines(tmp_path):
    path = tmp_path / "x"
    path.write_bytes("\ufeffé\r\n\u2028\x85\n\n\ufefflast".encode())
    assert read_text(path) == "é\r\n\u2028\x85\n\n\ufefflast"
    assert list(read_lines(path)) == [
        (f"{path}:{number}", text) for number, text in enumerate(["é", "\u2028\x85", "", "\ufefflast"], 1)
    ]
    path.write_bytes(b"ok\ncaf\xe9\n")
    with pytest.raises(InputError, match=r"x: expected UTF-8, found b'\\xe9' at byte 6"):
        read_text(path)
    with pytest.raises(InputError, match=r"x:2: expected UTF-8, found b'\\xe9' at byte 3"):
        list(read_lines(path))


def test_json_is_strict_and_of_the_kind_that_is_wanted(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("[1]")
    assert read_json(path, kind=list) == [1]
    with pytest.raises(CheckpointError, match=r"x\.json: expected a JSON object, found list"):
        read_json(path)
    path.write_text("{}")
    with pytest.raises(TraceError, match=r"x\.json: expected a JSON list, found dict"):
        read_json(path, TraceError, kind=list)
    for text in ('{"a": 1, "a": 1}', '"\\ud800"', "[" * 100_000, "9" * 5000, ""):
        with pytest.raises(ValueError):
            parse_json(text)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "x"
    path.write_text("old")

    def write_half():
        with whole_file(path) as scratch:
            scratch.write_text("half")
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("x", "old")]
    write_text(path, "né\nw")
    assert path.read_bytes() == "né\nw".encode()
    os.umask(umask := os.umask(0))
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    with pytest.raises(TraceError, match=r"gone/x: could not be written: No such file or directory"):
        write_text(tmp_path / "gone" / "x", "", TraceError)


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_names_can_be(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with whole_folder(tmp_path / "in" / name) as folder:
        (folder / name).write_text("text")
    assert (tmp_path / "in" / name / name).read_text() == "text"
    assert len(list((tmp_path / "in").iterdir())) == 1


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "folder"
    with whole_folder(folder) as new:
        (new / "a").write_text("1")
        (new / "sub").mkdir()
        (new / "sub" / "b").write_text("1")

    def write_half():
        with whole_folder(folder) as new:
            (new / "a").write_text("2")
            raise OSError(28, os.strerror(28))

    with pytest.raises(CheckpointError, match="folder: could not be written: No space left"):
        write_half()
    assert (folder / "a").read_text() == "1"
    with whole_folder(folder) as new:  # a folder in it is replaced as a whole, and other files stay
        (new / "sub").mkdir()
        (new / "sub" / "c").write_text("2")
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["a", "sub", "sub/c"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_names_in_messages():
    assert path_name(Path("a b/é.wav")) == "a b/é.wav"
    assert path_name(b"a.wav") == "a.wav"
    assert path_name("a\x1b[2J\nb") == r"'a\x1b[2J\nb'"
    assert path_name(os.fsdecode(b"\xff.wav")) == r"'\udcff.wav'"
    assert path_name("") == "''"
    assert len(path_name("x" * 3_000_000)) < 5000
    with pytest.raises(TraceError, match=r"^'a\\nb': no such file$"), naming("a\nb", TraceError):
        raise FileNotFoundError
    with pytest.raises(InputError, match=r"^mine$"), naming("a", TraceError, problems=(ValueError,)):
        raise InputError("mine")
