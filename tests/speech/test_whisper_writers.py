"""Subtitles by whisper's options are those that whisper's own writers make of our JSON.

What is expected here was written by ``whisper/utils.py`` of openai-whisper 20250625, given ``Transcript.to_dict`` and the same options.
"""

import pytest

from sewnp.speech import Layout, Transcript, Word, format_transcript
from sewnp.speech.words import Character

SPOKEN = [
    ("THE", 0.5, 0.9),
    ("QUICK", 1.0, 1.5),
    ("BROWN", 1.6, 2.1),
    ("FOX", 2.2, 3.1),
    ("JUMPS", 3.8, 4.3),
    ("OVER", 4.4, 4.9),
    ("THE", 8.0, 8.4),
    ("LAZY", 8.5, 9.0),
    ("DOG", 9.1, 9.6),
]
WORDS = tuple(Word(text, start, end, 0.5, (Character(text[0], start, end, 0.5),)) for text, start, end in SPOKEN)
TRANSCRIPT = Transcript(" ".join(text for text, _, _ in SPOKEN), WORDS, 9.6)  # so slow that no cue has to stay longer to be read


def shown(srt: str) -> list[str]:
    """Start, end and lines of each cue, in a line."""
    cues = []
    for number, block in enumerate(srt.split("\n\n")[:-1], 1):
        first, times, *lines = block.split("\n")
        assert first == str(number)
        start, end = (clock.removeprefix("00:00:").replace(",", ".") for clock in times.split(" --> "))
        cues.append(f"{start} {end} {'|'.join(lines)}")
    return cues


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"max_line_width": 10},
            [
                "00.500 03.100 THE QUICK|BROWN FOX",
                "03.800 04.900 JUMPS OVER",
                "08.000 09.600 THE LAZY|DOG",
            ],
        ),
        (
            {"max_line_count": 1},
            [
                "00.500 03.100 THE QUICK BROWN FOX",
                "03.800 04.900 JUMPS OVER",
                "08.000 09.600 THE LAZY DOG",
            ],
        ),
        (
            {"max_words_per_line": 2},
            [
                "00.500 01.500 THE QUICK",
                "01.600 03.100 BROWN FOX",
                "03.800 04.900 JUMPS OVER",
                "08.000 09.000 THE LAZY",
                "09.100 09.600 DOG",
            ],
        ),
        (
            {"max_line_width": 10, "max_line_count": 1},
            [
                "00.500 01.500 THE QUICK",
                "01.600 03.100 BROWN FOX",
                "03.800 04.900 JUMPS OVER",
                "08.000 09.000 THE LAZY",
                "09.100 09.600 DOG",
            ],
        ),
        (
            {"max_line_width": 16, "max_line_count": 2},
            [
                "00.500 04.900 THE QUICK BROWN|FOX JUMPS OVER",
                "08.000 09.600 THE LAZY DOG",
            ],
        ),
        (
            {"max_line_width": 16, "max_line_count": 2, "max_words_per_line": 1},
            [
                "00.500 04.900 THE QUICK BROWN|FOX JUMPS OVER",
                "08.000 09.600 THE LAZY DOG",
            ],
        ),
        (
            {"max_line_width": 10, "max_words_per_line": 3},
            [
                "00.500 02.100 THE QUICK|BROWN",
                "02.200 03.100 FOX",
                "03.800 04.900 JUMPS OVER",
                "08.000 09.600 THE LAZY|DOG",
            ],
        ),
        (
            {"highlight_words": True, "max_words_per_line": 3},
            [
                "00.500 00.900 <u>THE</u> QUICK BROWN",
                "00.900 01.000 THE QUICK BROWN",
                "01.000 01.500 THE <u>QUICK</u> BROWN",
                "01.500 01.600 THE QUICK BROWN",
                "01.600 02.100 THE QUICK <u>BROWN</u>",
                "02.200 03.100 <u>FOX</u>",
                "03.800 04.300 <u>JUMPS</u> OVER",
                "04.300 04.400 JUMPS OVER",
                "04.400 04.900 JUMPS <u>OVER</u>",
                "08.000 08.400 <u>THE</u> LAZY DOG",
                "08.400 08.500 THE LAZY DOG",
                "08.500 09.000 THE <u>LAZY</u> DOG",
                "09.000 09.100 THE LAZY DOG",
                "09.100 09.600 THE LAZY <u>DOG</u>",
            ],
        ),
        (
            {"max_line_width": 10, "max_line_count": 2, "highlight_words": True},
            [
                "00.500 00.900 <u>THE</u> QUICK|BROWN FOX",
                "00.900 01.000 THE QUICK|BROWN FOX",
                "01.000 01.500 THE <u>QUICK</u>|BROWN FOX",
                "01.500 01.600 THE QUICK|BROWN FOX",
                "01.600 02.100 THE QUICK|<u>BROWN</u> FOX",
                "02.100 02.200 THE QUICK|BROWN FOX",
                "02.200 03.100 THE QUICK|BROWN <u>FOX</u>",
                "03.800 04.300 <u>JUMPS</u> OVER",
                "04.300 04.400 JUMPS OVER",
                "04.400 04.900 JUMPS <u>OVER</u>",
                "08.000 08.400 <u>THE</u> LAZY|DOG",
                "08.400 08.500 THE LAZY|DOG",
                "08.500 09.000 THE <u>LAZY</u>|DOG",
                "09.000 09.100 THE LAZY|DOG",
                "09.100 09.600 THE LAZY|<u>DOG</u>",
            ],
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_srt_by_whispers_options(options, expected):
    assert shown(format_transcript(TRANSCRIPT, "srt", layout=Layout(**options))) == expected


def test_vtt_by_whispers_options():
    expected = (
        "WEBVTT\n"
        "\n"
        "00:00.500 --> 00:03.100\n"
        "THE QUICK\n"
        "BROWN FOX\n"
        "\n"
        "00:03.800 --> 00:04.900\n"
        "JUMPS OVER\n"
        "\n"
        "00:08.000 --> 00:09.600\n"
        "THE LAZY\n"
        "DOG\n"
        "\n"
    )
    assert format_transcript(TRANSCRIPT, "vtt", layout=Layout(max_line_width=10, max_words_per_line=4)) == expected


def test_the_json_holds_what_the_writers_read():
    """txt: a segment's text; tsv: its times too; srt: its words, joined as they are."""
    segments = TRANSCRIPT.to_dict()["segments"]
    assert "".join(f"{each['text'].strip()}\n" for each in segments) == "THE QUICK BROWN FOX\nJUMPS OVER\nTHE LAZY DOG\n"
    times = [(round(1000 * each["start"]), round(1000 * each["end"])) for each in segments]
    assert times == [(500, 3100), (3800, 4900), (8000, 9600)]
    assert ["".join(word["word"] for word in each["words"]).strip() for each in segments] == [each["text"] for each in segments]
