"""Test sets out of manifests: which column is the reference, and which sets are none."""

import pytest

from sewnp.errors import EvaluationError
from sewnp.evaluation import read_test_set


def write(folder, name, content):
    path = folder / name
    path.write_text(content)
    return path


def told(utterances, folder):
    return [(u.id, str(u.audio.relative_to(folder)), u.reference, dict(u.columns)) for u in utterances]


def test_columns_and_ids(tmp_path):
    path = write(tmp_path, "m.tsv", "speaker\tpath\ttext\nann\ta.wav\tONE\nbob\tsub/c.wav\t\n")
    assert told(read_test_set(path), tmp_path) == [
        ("a.wav", "a.wav", "ONE", {"speaker": "ann"}),
        ("sub/c.wav", "sub/c.wav", "", {"speaker": "bob"}),
    ]
    path = write(tmp_path, "m.jsonl", '{"audio": "a.wav", "label": "one", "id": 7, "snr": 20}\n')
    assert told(read_test_set(path, task="classification"), tmp_path) == [("7", "a.wav", "one", {"snr": "20"})]


def test_the_task_chooses_between_text_and_label(tmp_path):
    path = write(tmp_path, "m.csv", "path,label,sentence\na.wav,one,ONE\n")
    (ctc,), (classification,) = read_test_set(path), read_test_set(path, task="classification")
    assert (ctc.reference, ctc.columns) == ("ONE", {"label": "one"})
    assert (classification.reference, classification.columns) == ("one", {"sentence": "ONE"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "m.tsv",
            "path\tspeaker\na.wav\tann\n",
            r"m\.tsv:2: expected a column text, sentence, transcript or label, found 'speaker'",
        ),
        ("m.tsv", "a.wav ONE\n", r"m\.tsv:1: expected a column text, .* found none beside the path"),
        ("m.txt", "a.wav\n", r"m\.txt:1: expected a column text, .* found none beside the path"),
        ("m.tsv", "a.wav\tann\tONE\n", r"m\.tsv:1: expected a column text, .* found '2', '3'"),
        ("m.tsv", "path\ttext\na.wav\tONE\na.wav\tTWO\n", r"m\.tsv:3: the id 'a\.wav' is there twice, first in .*m\.tsv:2"),
        ("m.tsv", "id\tpath\ttext\n1\ta.wav\tONE\n1\tb.flac\tTWO\n", r"m\.tsv:3: the id '1' is there twice"),
    ],
)
def test_what_is_no_test_set(tmp_path, name, content, message):
    with pytest.raises(EvaluationError, match=message):
        read_test_set(write(tmp_path, name, content))
