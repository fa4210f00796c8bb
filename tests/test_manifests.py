"""Lists of clips in each of the forms that are read, and each way in which one can be wrong."""

import json
import os

import pytest

from sewnp.errors import ManifestError
from sewnp.files import LONGEST_LINE
from sewnp.manifests import read_manifest


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def told(path):
    return [(str(entry.audio.relative_to(path.parent)), dict(entry.columns)) for entry in read_manifest(path)]


ANN, BOB = ("a.wav", {"speaker": "ann", "text": "ONE"}), ("sub/c.wav", {"speaker": "bob", "text": "TWO WORDS"})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.tsv", "speaker\tpath\ttext\r\nann\ta.wav\tONE\r\n\r\nbob\tsub/c.wav\tTWO WORDS\r\n"),
        ("m.csv", "speaker,path,text\r\nann,a.wav,ONE\r\n\r\nbob,sub/c.wav,TWO WORDS\r\n"),
        ("m.CSV", '\ufeffspeaker,file,text\n"ann","a.wav",ONE\nbob,sub/c.wav,"TWO WORDS"'),
        (
            "m.jsonl",
            '{"speaker": "ann", "audio": "a.wav", "text": "ONE"}\n\n{"speaker": "bob", "audio": "sub/c.wav", "text": "TWO WORDS"}',
        ),
        (
            "m.json",
            '{"audio_filepath": "a.wav", "speaker": "ann", "text": "ONE"}\n'
            '{"speaker": "bob", "path": "sub/c.wav", "text": "TWO WORDS", "tags": ["x"], "none": null}\n',
        ),
    ],
)
def test_one_list_in_many_forms(tmp_path, name, content):
    assert told(write(tmp_path, name, content)) == [ANN, BOB]
    first, second = read_manifest(tmp_path / name)
    assert first.place == f"{tmp_path / name}:{2 if name.lower().endswith(('tsv', 'csv')) else 1}"
    assert second.given == "sub/c.wav"


def test_a_table_without_columns(tmp_path):
    assert told(write(tmp_path, "m.tsv", "\ufeffa.wav\tONE\nb.flac\t\n")) == [("a.wav", {"text": "ONE"}), ("b.flac", {"text": ""})]
    assert told(write(tmp_path, "m.tsv", "a.wav\nb.flac\n")) == [("a.wav", {}), ("b.flac", {})]
    assert told(write(tmp_path, "m.csv", "a.wav,ann,ONE\n")) == [("a.wav", {"2": "ann", "3": "ONE"})]  # which is the text?


def test_a_path_a_line(tmp_path):
    for name in ("m.txt", "m", "m.lst"):
        assert told(write(tmp_path, name, "a, or so.wav\n\n  b.flac \r\n")) == [("a, or so.wav", {}), ("b.flac", {})]


def test_nothing_is_quoted_in_tsv(tmp_path):
    assert told(write(tmp_path, "m.tsv", 'path\tsentence\na.wav\t"ONE" he said\nb.wav\t"TWO\n')) == [
        ("a.wav", {"sentence": '"ONE" he said'}),
        ("b.wav", {"sentence": '"TWO'}),
    ]


def test_quotes_in_csv_hold_commas_quotes_and_lines(tmp_path):
    path = write(tmp_path, "m.csv", 'path,text\na.wav,"ONE, ""TWO""\nTHREE"\nb.wav,FOUR\n')
    assert told(path) == [("a.wav", {"text": 'ONE, "TWO"\nTHREE'}), ("b.wav", {"text": "FOUR"})]
    assert [entry.place for entry in read_manifest(path)] == [f"{path}:2", f"{path}:4"]


@pytest.mark.parametrize("end", ["\u2028", "\x85", "\x0b", "\x0c", "\x1c"])
def test_lines_end_where_lines_end(tmp_path, end):
    text = f"ONE{end}TWO"
    for name, content in [
        ("m.tsv", f"path\ttext\na.wav\t{text}\n"),
        ("m.csv", f"path,text\na.wav,{text}\n"),
        ("m.jsonl", json.dumps({"path": "a.wav", "text": text}, ensure_ascii=False)),
    ]:
        assert told(write(tmp_path, name, content)) == [("a.wav", {"text": text})]
    assert told(write(tmp_path, "m.txt", f"a{end}b.wav\n")) == [(f"a{end}b.wav", {})]


def test_it_is_read_as_far_as_needed(tmp_path):
    path = write(tmp_path, "m.jsonl", '{"audio": "a.wav"}\nnot JSON\n')
    assert next(read_manifest(path)).audio == tmp_path / "a.wav"


def test_an_absolute_path_stays_one(tmp_path):
    (entry,) = read_manifest(write(tmp_path, "m.txt", "/clips/a.wav"))
    assert str(entry.audio) == "/clips/a.wav"


@pytest.fixture
def librispeech(tmp_path):
    root = tmp_path / "LibriSpeech"
    for subset, speaker, chapter, lines in [("test-clean", "1089", "134686", 2), ("test-other", "367", "13", 1)]:
        place = root / subset / speaker / chapter
        place.mkdir(parents=True)
        names = [f"{speaker}-{chapter}-{i:04d}" for i in range(lines)]
        (place / f"{speaker}-{chapter}.trans.txt").write_text("".join(f"{name} HE SAID {i}\n" for i, name in enumerate(names)))
    return root


def test_librispeech_at_any_depth(librispeech):
    everything = list(read_manifest(librispeech))
    assert [entry.columns["id"] for entry in everything] == ["1089-134686-0000", "1089-134686-0001", "367-13-0000"]
    assert [entry.columns["text"] for entry in everything] == ["HE SAID 0", "HE SAID 1", "HE SAID 0"]
    assert everything[0].audio == librispeech / "test-clean" / "1089" / "134686" / "1089-134686-0000.flac"
    assert {name: everything[0].columns[name] for name in ("speaker", "chapter", "subset")} == {
        "speaker": "1089",
        "chapter": "134686",
        "subset": "test-clean",
    }
    (inside,) = read_manifest(librispeech / "test-other" / "367" / "13")
    assert (inside.columns["id"], inside.columns["subset"]) == ("367-13-0000", "test-other")


def test_a_folder_may_hold_a_manifest(tmp_path):
    write(tmp_path, "manifest.csv", "path\nb.wav\n")
    assert [entry.given for entry in read_manifest(tmp_path)] == ["b.wav"]
    write(tmp_path, "manifest.tsv", "path\na.wav\n")
    assert [entry.given for entry in read_manifest(tmp_path)] == ["a.wav"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.tsv", "speaker\ttext\nann\tONE\n", r"m\.tsv:2: expected a path in a column audio, audio_filepath, path or file, found 'speaker'"),
        ("m.tsv", "path\ttext\n\tONE\n", r"m\.tsv:2: expected a path in a column audio"),
        ("m.tsv", "path\ttext\na.wav\tONE\tx\n", r"m\.tsv:2: expected 2 columns \('path', 'text'\), separated by tabs, found 3"),
        ("m.csv", "path,text\na.wav\n", r"m\.csv:2: expected 2 columns \('path', 'text'\), separated by commas, found 1"),
        ("m.tsv", "path\ttext\ttext\na.wav\tA\tB\n", r"m\.tsv:1: expected columns of different names"),
        ("m.tsv", b"path\ttext\na.wav\tCAF\xc9\n", r"m\.tsv:2: expected UTF-8, found b'\\xc9' at byte 9"),
        ("m.csv", b"path,text\na.wav,CAF\xc9\n", r"m\.csv:2: expected UTF-8"),
        ("m.csv", 'path,text\na.wav,"ONE\nb.wav,TWO\n', r"m\.csv:2: not a readable table: unexpected end of data"),
        ("m.csv", 'path,text\n\na.wav,"ONE"x\n', r"m\.csv:3: not a readable table: "),
        ("m.csv", 'path,text\na.wav,"' + "x\n" * 10**5, r"m\.csv:2: not a readable table: field larger"),
        ("m.tsv", "path\ttext\ra.wav\tONE\r", r"m\.tsv:1: not a readable table: new-line"),  # as computers of 1990 wrote
        ("m.tsv", "", r"m\.tsv: names no clips"),
        ("m.tsv", "path\ttext\n\n \t\n", r"m\.tsv: names no clips"),
        ("m.txt", "x" * (LONGEST_LINE + 1), r"m\.txt:1: expected at most 1,048,576 bytes in a line"),
        ("m.jsonl", '{"audio": "a.wav", "text": "ONE"}\n{"audio": \n', r"m\.jsonl:2: expected a JSON object, found '{\"audio\": '"),
        ("m.jsonl", '{"audio": "a.wav", "audio": "b.wav"}', r"m\.jsonl:1: expected a JSON object, .*'audio' is there twice"),
        ("m.json", "[1]\n", r"m\.json:1: expected a JSON object, found \[1\]"),
        ("m.ndjson", "[" * 100_000, r"m\.ndjson:1: expected a JSON object"),
        ("m.jsonl", '{"audio": "a.wav", "text": 3}\n', r"m\.jsonl:1: text: expected a string, found 3"),
        ("m.jsonl", '{"audio": {"path": "a.wav"}, "text": "A"}\n', r"m\.jsonl:1: audio: expected a string, found {'path'"),
        ("m.jsonl", '{"audio": "a.wav", "text": "A", "id": null}\n', r"m\.jsonl:1: id: expected a string, found None"),
        ("m.json", '{"audio_filepath": "a.wav", "offset": 1.5}\n', r"m\.json:1: offset: expected clips that are whole files, found 1\.5"),
    ],
)  # fmt: skip
def test_one_clear_error_each(tmp_path, name, content, message):
    with pytest.raises(ManifestError, match=message) as raised:
        list(read_manifest(write(tmp_path, name, content)))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


def test_what_is_not_there(tmp_path):
    for name in ("gone.tsv", "gone"):
        with pytest.raises(ManifestError, match=f"{name}: no such file"):
            list(read_manifest(tmp_path / name))
    with pytest.raises(ManifestError, match=r"expected files \*\.trans\.txt as in LibriSpeech, or a manifest\.tsv, manifest\.csv"):
        list(read_manifest(tmp_path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_keeps_nobody_waiting(tmp_path):
    for name in ("m.tsv", "m.jsonl", "m"):
        os.mkfifo(tmp_path / name)
        with pytest.raises(ManifestError, match=f"{name}: expected a regular file, found a pipe or device"):
            list(read_manifest(tmp_path / name))
