"""Transcripts as files: parsed back by a reader of each format, and equal to what went in."""

import json
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sewnp.errors import InputError
from sewnp.speech import cues
from sewnp.speech.cues import Layout
from sewnp.speech.formats import FORMATS, format_transcript, one_line, subtitles, to_json, to_srt, to_tsv, to_txt, to_vtt
from sewnp.speech.transcript import Transcript
from sewnp.speech.words import Character, Word

# letters, and all that could break a file: arrows, markup, separators of lines and columns, digits that look like a cue's number
TEXTS = st.text(alphabet="AB7->&<\t\u2028\u3000", min_size=1, max_size=9) | st.sampled_from(
    ["-->", "--->", "00:01", "WEBVTT", "A" * 60]
)


@st.composite
def transcripts(draw: st.DrawFn, frame: float = 0.02) -> Transcript:
    """Words as CTC gives them: in order, of whole frames, with gaps of any length."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), TEXTS), max_size=40))
    words, now = [], 0
    for gap, length, text in lengths:
        words.append(Word(text, (now + gap) * frame, (now + gap + length) * frame, 0.5))
        now += gap + length
    characters = tuple(Character(word.text[0], word.start, word.end, 0.5) for word in words)
    duration = (now + draw(st.integers(0, 100))) * frame
    return Transcript(" ".join(word.text for word in words), tuple(words), duration, characters)


def seconds(clock: str, point: str) -> float:
    match = re.fullmatch(rf"(?:(\d\d+):)?([0-5]\d):([0-5]\d){re.escape(point)}(\d\d\d)", clock)
    assert match, clock
    hours, minutes, whole, thousandths = (int(part or 0) for part in match.groups())
    return 3600 * hours + 60 * minutes + whole + thousandths / 1000


def read_cues(blocks: Sequence[str], point: str) -> list[tuple[float, float, str]]:
    """What a player makes of blocks of a times line and lines of text."""
    found = []
    for block in blocks:
        times, *lines = block.split("\n")
        start, end = times.split(" --> ")
        found.append((seconds(start, point), seconds(end, point), "\n".join(lines)))
    return found


def read_srt(text: str) -> list[tuple[float, float, str]]:
    blocks = text.split("\n\n")[:-1]
    numbers = [block.split("\n")[0] for block in blocks]
    assert numbers == [str(i) for i in range(1, len(blocks) + 1)]
    assert all(len(block.split("\n")[1].split(":")[0]) >= 2 for block in blocks)  # the hours
    return read_cues([block.partition("\n")[2] for block in blocks], ",")


def read_vtt(text: str) -> list[tuple[float, float, str]]:
    header, *blocks, last = text.split("\n\n")
    assert (header, last) == ("WEBVTT", "")
    found = read_cues(blocks, ".")
    assert not any(set("<>") & set(said) or re.search(r"&(?!amp;|lt;|gt;)", said) for _, _, said in found)
    return [(start, end, said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")) for start, end, said in found]


def read_tsv(text: str) -> list[tuple[float, float, str]]:
    header, *rows = text.removesuffix("\n").split("\n")
    assert header == "start\tend\ttext"
    cells = [row.split("\t") for row in rows]
    assert all(len(row) == 3 for row in cells)
    return [(int(start) / 1000, int(end) / 1000, said) for start, end, said in cells]


def shown(text: str) -> str:
    """What of a word can be seen: the test's own idea of it, character by character."""
    text = " ".join(text.split())
    while "-->" in text:
        text = text.replace("-->", "->")
    return text


@given(transcripts(), st.sampled_from(["segment", "word", "char"]))
def test_every_format_says_all_words_in_order_and_nothing_overlaps(transcript: Transcript, timestamps: str) -> None:
    units = transcript.characters if timestamps == "char" else transcript.words
    said = " ".join(filter(None, (shown(unit.text) for unit in units)))
    for read, write in ((read_srt, to_srt), (read_vtt, to_vtt), (read_tsv, to_tsv)):
        text = write(transcript, timestamps)
        found = read(text)
        assert " ".join(line.replace("\n", " ") for _, _, line in found) == said
        for start, end, _ in found:
            assert 0 <= start < end <= transcript.duration + 0.0005
        for (_, end, _), (start, _, _) in pairwise(found):
            assert end <= start
        assert text.count("-->") == (0 if write is to_tsv else len(found))


@given(transcripts())
def test_cues_keep_the_words_and_the_limits(transcript: Transcript) -> None:
    words = transcript.words
    found = cues.cut(words)
    assert [word for cue in found for word in cue] == list(words)
    for cue in found:
        assert cue
        if len(cue) > 1:  # a single word may be beyond any limit
            assert cue[-1].end - cue[0].start <= 7
            assert len(cues.lines(cue)) <= 2
        assert all(len(line) == 1 or len(" ".join(word.text for word in line)) <= 42 for line in cues.lines(cue))
        assert all(b.start - a.end < 0.5 for a, b in pairwise(cue))
    for a, b, c in zip(
        found, found[1:], found[2:], strict=False
    ):  # and none ends without need: three in a row are too much for one
        paused = any(y[0].start - x[-1].end >= 0.5 - 1e-9 for x, y in ((a, b), (b, c)))
        together = [*a, *b, *c]
        assert paused or together[-1].end - together[0].start > 7 or len(cues.lines(together)) > 2


def spoken(*words: tuple[str, float, float], duration: float = 100.0) -> Transcript:
    return Transcript(" ".join(word[0] for word in words), tuple(Word(*word, 0.5) for word in words), duration)


def test_a_pause_ends_a_cue() -> None:
    made = subtitles(spoken(("A", 0.0, 0.6), ("B", 1.08, 1.2), ("C", 1.7, 2.8)))
    assert [cue.lines for cue in made] == [
        ("A B",),
        ("C",),
    ]  # 0.48 s are none; 1.7 - 1.2 is 0.5 and in floats a little less or more


def test_a_full_cue_ends_at_the_longest_gap_of_its_second_half() -> None:
    words = [(letter * 9, 0.5 * i, 0.5 * i + 0.4) for i, letter in enumerate("ABCDEFGHIJ")]
    later = [0.35 * (i >= 2) + 0.3 * (i >= 6) for i in range(10)]  # the longest gap of all is in the first half
    words = [(text, start + shift, end + shift) for (text, start, end), shift in zip(words, later, strict=True)]
    made = subtitles(spoken(*words))
    assert [" ".join(cue.lines).split()[-1][0] for cue in made] == ["F", "J"]  # eight words would have fitted


def test_what_follows_the_break_fits_too() -> None:
    made = cues.cut(spoken(("A", 0.0, 0.1), ("B", 0.1, 0.2), ("C", 0.5, 0.6), ("D", 0.7, 0.8), ("LONG", 0.8, 7.6)).words)
    assert [[word.text for word in cue] for cue in made] == [["A", "B", "C"], ["D", "LONG"]]  # not from C on: that would last 7.1 s


def test_lines_are_full_before_they_break() -> None:
    (cue,) = subtitles(spoken(*(("A" * 10, 0.1 * i, 0.1 * i + 0.1) for i in range(6))))
    assert [len(line) for line in cue.lines] == [32, 32]
    (cue,) = subtitles(spoken(("A" * 41, 0.0, 0.1), ("B", 0.1, 0.2)))
    assert [len(line) for line in cue.lines] == [41, 1]  # with its space the word would make 43
    (cue,) = subtitles(spoken(("A" * 40, 0.0, 0.1), ("B", 0.1, 0.2)))
    assert [len(line) for line in cue.lines] == [42]


def test_a_short_cue_stays_until_the_next_or_the_end() -> None:
    made = subtitles(spoken(("A", 1.0, 1.1), ("B", 1.7, 1.8), ("C", 5.0, 5.1), duration=5.3))
    assert [(cue.start, cue.end) for cue in made] == [(1000, 1700), (1700, 2533), (5000, 5300)]
    made = subtitles(spoken(("A", 1.0, 1.1)), "word")
    assert [(cue.start, cue.end) for cue in made] == [(1000, 1100)]


def test_words_of_one_instant_follow_each_other() -> None:
    made = subtitles(spoken(("A", 1.0, 1.0), ("B", 1.0, 1.0), ("C", 1.0001, 3.0), ("D", 2.0, 3.0)), "word")
    assert [(cue.start, cue.end) for cue in made] == [(1000, 1001), (1001, 1002), (1002, 2000), (2000, 3000)]


LONG = spoken(("ONE", 0.32, 0.5), ("<unk>&", 3599.9996, 3601.0), duration=3602.0)


def test_srt_as_whisper_writes_it() -> None:
    assert to_srt(LONG) == "1\n00:00:00,320 --> 00:00:01,153\nONE\n\n2\n01:00:00,000 --> 01:00:01,000\n<unk>&\n\n"


def test_vtt_as_whisper_writes_it_and_escaped() -> None:
    assert to_vtt(LONG) == ("WEBVTT\n\n00:00.320 --> 00:01.153\nONE\n\n01:00:00.000 --> 01:00:01.000\n&lt;unk&gt;&amp;\n\n")


def test_tsv_as_whisper_writes_it() -> None:
    assert to_tsv(LONG) == "start\tend\ttext\n320\t1153\tONE\n3600000\t3601000\t<unk>&\n"


def test_txt_is_one_line() -> None:
    assert to_txt(Transcript("A\nB\r\nC\u2028D\tE", (), 1.0)) == "A B C D E\n"
    assert one_line("\n") == ""


def test_json_names_what_it_is_of_and_lists_characters_on_request() -> None:
    characters = (Character("A", 0.0, 0.1, 0.5), Character(" ", 0.1, 0.2, 0.5), Character("É", 0.9, 1.0, 0.5))
    transcript = Transcript("A É", (Word("A", 0.0, 0.1, 0.5), Word("É", 0.9, 1.0, 0.5)), 2.0, characters)
    text = to_json(transcript, "char", audio="a.wav", model="digits")
    assert text.endswith("}\n")
    assert "É" in text
    found = json.loads(text)
    assert list(found) == ["audio", "text", "segments", "model", "duration"]
    assert [segment["text"] for segment in found["segments"]] == ["A", "É"]
    assert [segment["id"] for segment in found["segments"]] == [0, 1]
    assert [segment["chars"] for segment in found["segments"]] == [
        [{"char": "A", "start": 0.0, "end": 0.1}],
        [{"char": "É", "start": 0.9, "end": 1.0}],
    ]
    assert "chars" not in json.loads(to_json(transcript))["segments"][0]


@given(transcripts())
def test_json_segments_are_the_cues(transcript: Transcript) -> None:
    segments = json.loads(to_json(transcript))["segments"]
    words = [word["word"].removeprefix(" ") for segment in segments for word in segment["words"]]
    assert words == [word.text for word in transcript.words]
    for segment in segments:
        assert (segment["start"], segment["end"]) == (segment["words"][0]["start"], segment["words"][-1]["end"])


def test_nothing_said_is_a_valid_file() -> None:
    nothing = Transcript("", (), 1.0)
    files = {form: format_transcript(nothing, form) for form in FORMATS}
    assert files == {
        "txt": "\n",
        "json": '{"text": "", "segments": [], "duration": 1.0}\n',
        "srt": "",
        "vtt": "WEBVTT\n\n",
        "tsv": "start\tend\ttext\n",
    }


def test_names_that_are_none() -> None:
    with pytest.raises(InputError, match=r"output_format: expected one of \('txt', .*found 'xml'"):
        format_transcript(LONG, "xml")
    with pytest.raises(InputError, match=r"timestamps: expected one of \('segment', 'word', 'char'\), found 'line'"):
        subtitles(LONG, "line")  # type: ignore[arg-type]


WORDS = ["ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX"]
LINED = Transcript(" ".join(WORDS), tuple(Word(word, 0.2 * i, 0.2 * i + 0.1, 0.5) for i, word in enumerate(WORDS)), 2.0)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (Layout(), [("ONE TWO THREE FOUR FIVE SIX",)]),
        (Layout(max_line_width=7), [("ONE TWO", "THREE", "FOUR", "FIVE", "SIX")]),
        (Layout(max_line_width=7, max_line_count=1), [("ONE TWO",), ("THREE",), ("FOUR",), ("FIVE",), ("SIX",)]),
        (Layout(max_line_width=7, max_line_count=9), [("ONE TWO", "THREE", "FOUR", "FIVE", "SIX")]),
        (Layout(max_words_per_line=1), [(word,) for word in WORDS]),
        (Layout(max_words_per_line=4), [("ONE TWO THREE FOUR",), ("FIVE SIX",)]),
        (Layout(max_line_width=1, max_line_count=1), [(word,) for word in WORDS]),
    ],
)
def test_what_fits_into_a_cue(layout: Layout, expected: list[tuple[str, ...]]) -> None:
    assert [cue.lines for cue in subtitles(LINED, "segment", layout)] == expected
    assert [tuple(text.split("\n")) for _, _, text in read_srt(to_srt(LINED, layout=layout))] == expected
    assert format_transcript(LINED, "vtt", layout=layout) == to_vtt(LINED, layout=layout)


LIMITS = st.none() | st.integers(1, 60)


@given(transcripts(), LIMITS, st.none() | st.integers(1, 4), st.none() | st.integers(1, 5))
def test_no_word_is_lost_in_any_layout(transcript: Transcript, width: int | None, count: int | None, most: int | None) -> None:
    made = cues.shown(transcript.words, Layout(width, count, most))
    assert [word for cue in made for line in cue for word in line] == list(transcript.words)
    for cue in made:
        assert all(len(line) == 1 or width is None or len(" ".join(word.text for word in line)) <= width for line in cue)
        assert width is None or count is None or len(cue) <= count
        assert most is None or (width and count) or sum(map(len, cue)) <= most


@given(transcripts())
def test_highlighted_cues_fill_their_cue(transcript: Transcript) -> None:
    plain = subtitles(transcript, layout=Layout(max_words_per_line=99))
    marked = subtitles(transcript, layout=Layout(max_words_per_line=99, highlight_words=True))
    assert {cue.lines for cue in marked} == {cue.lines for cue in plain}
    for cue in plain:
        parts = [part for part in marked if cue.start <= part.start and part.end <= cue.end]
        assert (parts[0].start, parts[-1].end) == (cue.start, cue.end)
        assert all(a.end == b.start for a, b in pairwise(parts))
        assert all(part.start < part.end for part in parts)
    text = to_srt(transcript, layout=Layout(max_words_per_line=99, highlight_words=True))
    assert text.count("<u>") == sum(cue.underlined is not None for cue in marked)


def test_a_word_is_underlined_while_it_is_said() -> None:
    two = Transcript("A <B", (Word("A", 0.0, 0.1, 0.5), Word("<B", 0.3, 0.4, 0.5)), 1.0)
    marked = to_vtt(two, layout=Layout(highlight_words=True))
    assert "<u>A</u> &lt;B" in marked
    shown = [(cue.start, cue.end, cue.underlined) for cue in subtitles(two, layout=Layout(highlight_words=True))]
    assert shown == [(0, 100, 0), (100, 300, None), (300, 400, 1), (400, 833, None)]
    assert "A <u>&lt;B</u>" in marked
    assert "<u>" not in to_vtt(two, "word", Layout(highlight_words=True))


@pytest.mark.parametrize("name", ["max_line_width", "max_line_count", "max_words_per_line"])
def test_layouts_that_are_none(name: str) -> None:
    with pytest.raises(InputError, match=f"{name}: expected a whole number of 1 or more, found 0"):
        Layout(**{name: 0})


def test_a_long_text_is_a_segment_a_line() -> None:
    words = (Word("A", 0.0, 0.1, 0.5), Word("B", 0.2, 0.3, 0.5), Word("C", 20.0, 20.1, 0.5))
    assert to_txt(Transcript("A B C", words, 30.0)) == "A B C\n"
    assert to_txt(Transcript("A B C", words, 30.1)) == "A B\nC\n"
    assert to_txt(Transcript("A B, C", words, 30.1)) == "A B, C\n"  # cleaned up: no longer its words
    assert to_txt(Transcript("", (), 60.0)) == "\n"


def whispers_lines(result: dict) -> list[str]:
    """What whisper's writers make of a segment's words (whisper/utils.py: joined as they stand, the first without its space)."""
    return ["".join(word["word"] for word in segment["words"]).strip() for segment in result["segments"]]


def test_whispers_writers_read_the_words() -> None:
    result = json.loads(to_json(LINED))
    assert whispers_lines(result) == [segment["text"].strip() for segment in result["segments"]] == [LINED.text]
