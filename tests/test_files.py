"""Files are read where they are regular and bounded, and written whole or not at all; every error names them."""

import json
import os
import stat
import threading
import tty
from pathlib import Path

import pytest

from sewnp.errors import CheckpointError, InputError, TraceError
from sewnp.files import (
    LONGEST_LINE,
    ascii_json,
    files_in,
    is_there,
    json_text,
    naming,
    open_regular,
    overwritten,
    parse_json,
    path_name,
    read_bytes,
    read_json,
    read_lines,
    read_text,
    whole_file,
    whole_folder,
    write_json,
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
    with pytest.raises(TraceError, match=r"\$'a\\x00b': cannot be read: .*embedded null"):
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


# --- what is there already --------------------------------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    """A device that anybody may write to: its name, and what comes out of it."""
    leader, follower = os.openpty()
    tty.setraw(follower)
    yield os.ttyname(follower), lambda: os.read(leader, 1000)
    os.close(leader)
    os.close(follower)


@pytest.mark.parametrize("through", ["itself", "link", "link to link"])
def test_a_device_is_written_and_stays_one(tmp_path, terminal, through):
    name, output = terminal
    path = Path(name)
    for link in ["a", "b"][: ["itself", "link", "link to link"].index(through)]:
        (tmp_path / link).symlink_to(path)
        path = tmp_path / link
    write_text(path, "né\n")
    assert output() == "né\n".encode()
    assert stat.S_ISCHR(os.stat(name).st_mode)
    assert path.is_symlink() == (through != "itself")
    assert all(each.is_symlink() for each in tmp_path.iterdir())


def test_a_pipe_reaches_its_reader(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_text(pipe, "text" * 50_000)
    reader.join(10)
    assert heard == [b"text" * 50_000]
    assert [stat.S_ISFIFO(each.stat().st_mode) for each in tmp_path.iterdir()] == [True]


def test_what_would_be_written_over(tmp_path, terminal):
    for name in ("a", "b"):
        (tmp_path / name).write_text("")
    os.link(tmp_path / "a", tmp_path / "hard")
    (tmp_path / "soft").symlink_to("a")
    (tmp_path / "sub").mkdir()
    for name in ("a", "hard", "soft", "sub/../a"):
        assert overwritten([tmp_path / "gone", tmp_path / name], [tmp_path / "b", tmp_path / "a"]) == (
            tmp_path / name,
            tmp_path / "a",
        )
    assert overwritten([tmp_path / "a"], [tmp_path / "b", tmp_path / "gone", "\0", tmp_path]) is None
    assert overwritten([terminal[0], tmp_path], [terminal[0], tmp_path]) is None
    assert overwritten([], []) is None


def test_an_open_file_is_written_where_it_stands(tmp_path):
    (tmp_path / "log").write_text("before\n")
    with (tmp_path / "log").open("a") as log:
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{log.fileno()}")
        for path in (Path(f"/dev/fd/{log.fileno()}"), Path(f"/proc/thread-self/fd/{log.fileno()}"), tmp_path / "link"):
            write_text(path, "text\n")
    assert (tmp_path / "log").read_text() == "before\ntext\ntext\ntext\n"
    read, write = os.pipe()
    os.close(read)
    with pytest.raises(InputError, match=f"^/dev/fd/{write}: could not be written: Broken pipe$"):
        write_text(Path(f"/dev/fd/{write}"), "x")
    os.close(write)
    with pytest.raises(
        InputError, match=f"^/dev/fd/{write}: could not be written: (Bad file descriptor|No such file or directory)$"
    ):
        write_text(Path(f"/dev/fd/{write}"), "x")


def test_links_are_followed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "link").symlink_to("../b/target")
    for text in ("new", "over it"):  # at first it leads nowhere
        write_text(tmp_path / "a" / "link", text)
        assert (tmp_path / "a" / "link").is_symlink()
        assert (tmp_path / "b" / "target").read_text() == text
    (tmp_path / "a" / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="loop: could not be written: Too many levels of symbolic links"):
        write_text(tmp_path / "a" / "loop", "")
    with pytest.raises(InputError, match="a: could not be written: Is a directory"):
        write_text(tmp_path / "a", "")
    with pytest.raises(InputError, match=r"could not be written: .*null"):
        write_text(tmp_path / "a\0b", "")
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a", "b", "link", "loop", "target"]


def test_who_may_read_and_write_a_file_stays(tmp_path, monkeypatch):
    path = tmp_path / "private"
    path.write_text("old")
    path.chmod(0o600)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with whole_folder(tmp_path) as folder:
        (folder / "private").write_text("newer")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    monkeypatch.setattr(os, "access", lambda *_: False)  # which nobody is to root
    with pytest.raises(InputError, match="private: could not be written: Permission denied"):
        write_text(path, "newest")
    assert path.read_text() == "newer"


def folder_of(path, **files):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def texts(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("failing", range(1, 9))
@pytest.mark.parametrize("problem", [OSError(1, "Operation not permitted"), KeyboardInterrupt()])
def test_when_one_step_fails_all_are_undone(tmp_path, monkeypatch, failing, problem):
    before = {"a": "1", "c": "1", "stale": "1", "other": "1"}
    folder = folder_of(tmp_path / "folder", **before)
    rename, steps = Path.rename, []

    def stubborn(self, target):
        steps.append(self)
        if len(steps) == failing:
            raise problem
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stubborn)
    raised: BaseException | None = None
    try:
        with whole_folder(folder, gone=["stale", "none"]) as new:
            for name in "abcd":
                (new / name).write_text("2")
    except (CheckpointError, KeyboardInterrupt) as caught:
        raised = caught
    assert (raised is None) == (failing == 8)
    assert texts(folder) == (before if raised else dict.fromkeys("abcd", "2") | {"other": "1"})
    assert str(raised or "") in ("", f"{folder}: could not be written: Operation not permitted")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_cannot_go_back_is_kept(tmp_path, monkeypatch):
    folder = folder_of(tmp_path / "folder", a="1")
    monkeypatch.setattr(Path, "rename", lambda self, target: os.rename(self, target) if self.parent == folder else self.gone())
    with pytest.raises(AttributeError), whole_folder(folder) as new:
        (new / "a").write_text("2")
    assert [path.read_text() for path in tmp_path.rglob("a")] == ["1"]


def test_files_replace_files_and_folders_folders(tmp_path):
    folder = folder_of(tmp_path / "folder", b="1")
    (folder / "a").mkdir()
    (folder / "a" / "precious").write_text("1")
    os.mkfifo(folder / "pipe")
    for make, message in [
        (lambda new: (new / "a").write_text("2"), "a: could not be written: expected a file, found a folder"),
        (lambda new: (new / "b").mkdir(), "b: could not be written: expected a folder, found a file"),
        (lambda new: (new / "pipe").write_text("2"), "pipe: could not be written: expected a regular file, found a pipe or device"),
    ]:
        with pytest.raises(CheckpointError, match=message), whole_folder(folder) as new:
            make(new)
    with pytest.raises(CheckpointError, match="a: could not be written: expected a file"), whole_folder(folder, gone=["a"]):
        pass
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
        "folder", "folder/a", "folder/a/precious", "folder/b", "folder/pipe"
    ]  # fmt: skip


def test_a_folder_behind_links(tmp_path):
    real = folder_of(tmp_path / "real", a="1")
    (tmp_path / "target").write_text("1")
    (real / "b").symlink_to("../target")
    (tmp_path / "link").symlink_to("real")
    with whole_folder(tmp_path / "link", gone=["c"]) as new:
        for name in "ab":
            (new / name).write_text("2")
    assert (tmp_path / "link").is_symlink()
    assert (real / "b").is_symlink()
    assert [path.read_text() for path in (real / "a", tmp_path / "target")] == ["2", "2"]


def test_folders_that_were_made_are_gone_when_it_fails(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "a" / "b"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


# --- what else --------------------------------------------------------------------------------------------------------------------


def test_what_is_there(tmp_path):
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_text("")
    assert [is_there(tmp_path / name) for name in ("dangling", "loop", "file", "gone", "file/in")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    with pytest.raises(TraceError, match=r"\$'a\\x00b': cannot be read: "):
        is_there("a\0b", TraceError)


def test_files_in_folders(tmp_path):
    for name in ("b", ".hidden/in", "a/c", "a/.d", "a/e/f"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "dangling").symlink_to("gone")
    assert files_in(tmp_path) == [str(tmp_path / name) for name in ("a/c", "a/e/f", "b", "dangling")]
    with pytest.raises(TraceError, match="gone: no such file"):
        files_in(tmp_path / "gone", TraceError)


def test_a_file_that_becomes_a_pipe_keeps_nobody_waiting(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("sewnp.files.reading.check_regular", lambda *_: None)
    with pytest.raises(InputError, match="pipe: expected a regular file, found a pipe or device"), open_regular(tmp_path / "pipe"):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "is a Git LFS pointer; the file that it stands for has not been downloaded",
        ),
        (b"<!DOCTYPE html>", "is a web page; what it should lead to has not been downloaded"),
        ("\ufeff\r\n <HTML>".encode(), "is a web page"),
        (b"", "is empty"),
        (b"{", "Expecting"),
    ],
)
def test_what_was_not_downloaded_is_said_to_be_what_it_is(tmp_path, content, message):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=f"x.json: not a readable JSON file: {message}"):
        read_json(tmp_path / "x.json")


def test_json_for_people_and_terminals():
    values = {"é": "a\x1b\x7f\x9b\u2028\u202e\udcff\xa0", "x": [1, "日本", "\U0001f600"]}
    for text in (json_text(values), json_text(values, indent=2), ascii_json(json_text(values))):
        assert json.loads(text) == values
        assert text.replace("\n", "").isprintable()
    assert json_text(values).startswith('{"é": "a\\u001b')
    assert "日本" in json_text(values)
    assert ascii_json('{"日": "\U0001f600"}') == r'{"\u65e5": "\ud83d\ude00"}'
    assert json_text([1, 2], indent=2) == "[\n  1,\n  2\n]"


@pytest.mark.parametrize("values", [{"a": object()}, {"a": "\ud800"}, {1: 2, "a": 3}])
def test_what_json_cannot_hold_is_not_written(tmp_path, values):
    with pytest.raises(CheckpointError, match=r"^x.json: cannot be written as JSON: "):
        write_json(tmp_path / "x.json", values)
    assert list(tmp_path.iterdir()) == []


def test_names_in_messages():
    assert path_name(Path("a b/é.wav")) == "a b/é.wav"
    assert path_name(b"a.wav") == "a.wav"
    assert path_name("a\x1b[2J\nb") == r"$'a\x1b[2J\nb'"
    assert path_name(os.fsdecode(b"\xff.wav")) == r"$'\xff.wav'"
    assert path_name("") == "''"
    assert len(path_name("x" * 3_000_000)) < 5000
    with pytest.raises(TraceError, match=r"^\$'a\\nb': no such file$"), naming("a\nb", TraceError):
        raise FileNotFoundError
    with pytest.raises(InputError, match=r"^mine$"), naming("a", TraceError, problems=(ValueError,)):
        raise InputError("mine")
