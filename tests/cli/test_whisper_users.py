"""What whisper's users type: it works, or it is answered; and so is what was mistyped."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main
from sewnp.cli.whisper import ANSWERS, translated
from sewnp.fields import alike

TEXT = "THREE ONE FOUR ONE FIVE NINE\n"


@pytest.fixture
def clip(clips: Path) -> str:
    return str(clips / "three_one_four.wav")


def said(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command line that is wrong usage ends with."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"usage: sewnp {words[0]} ")
    return err.splitlines()[-1]


@pytest.mark.parametrize("option", ANSWERS)
def test_an_option_of_whispers_has_an_answer(option: str, clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    for spelled in (option, option.replace("_", "-")):
        for words in ([spelled, "x"], [f"{spelled}=x"]):
            assert said(["transcribe", clip, *words], capsys) == f"sewnp transcribe: error: argument {spelled}: {ANSWERS[option]}"


def test_the_options_that_answers_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["transcribe", "--help"])
    shown = capsys.readouterr().out
    named = {name for answer in ANSWERS.values() for name in re.findall(r"--\w+", answer)}
    assert named
    assert {name for name in named if f"{name} " not in shown} == set()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["transcribe", "--windwo", "5"], "--windwo (did you mean --window?)"),
        (["transcribe", "--alow_truncated"], "--alow_truncated (did you mean --allow-truncated?)"),
        (["transcribe", "--zzz"], "--zzz"),
        (["transcribe", "-z"], "-z"),
        (["classify", "--language"], "--language"),
        (["models", "--x\x1b[2J"], r"$'--x\x1b[2J'"),
    ],
)
def test_the_nearest_name(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(words, capsys) == f"sewnp {words[0]}: error: unrecognized arguments: {message}"


@pytest.mark.parametrize("name", ["Digits_D", "DIGITS-D", "digitsd", "digits-d"])
def test_case_and_hyphens_do_not_matter(name: str, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sewnp.load(name).name == "digits-d"
    assert main(["transcribe", clip, "--model", name, "--timestamps", "Word", "-f", "TSV"]) == 0
    assert capsys.readouterr().out.startswith("start\tend\ttext\n")
    assert main(["transcribe", clip, "-f", "ALL", "-o", str(tmp_path), "--compat", "Transformers", "--beam_size", "2"]) == 0
    assert (tmp_path / "three_one_four.txt").read_text() == TEXT
    assert "invalid choice: 'doc'" in said(["transcribe", clip, "-f", "doc"], capsys)


def test_alike() -> None:
    assert alike("Float-64", ("float32", "float64")) == "float64"
    assert alike("float", ("float32", "float64")) is None


def test_more_and_less_is_said(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["-v"], ["--verbose", "True"], ["--verbose=true"]):
        assert main(["transcribe", clip, *words]) == 0
        out, err = capsys.readouterr()
        assert out == TEXT
        assert re.fullmatch(rf"sewnp: {re.escape(clip)}: 2\.98 s of sound in \d+\.\d\d s\n", err)
    for words in (["-q"], ["--verbose", "False"]):
        assert main(["transcribe", clip, "-o", str(tmp_path), "--resume", *words]) == 0
        assert capsys.readouterr() == ("", "")
    assert main(["transcribe", clip, "-o", str(tmp_path), "--resume"]) == 0
    assert capsys.readouterr().err == "sewnp: 1 of 1 clips were complete\n"
    assert main(["transcribe", str(tmp_path / "gone.wav"), "-q"]) == 1
    assert capsys.readouterr().err == f"sewnp: error: {tmp_path}/gone.wav: no such file\n"
    assert "not allowed with" in said(["transcribe", clip, "-v", "-q"], capsys)


def test_what_is_translated() -> None:
    assert translated(["transcribe", "--verbose", "false", "a.wav", "--verbose"]) == ["transcribe", "-q", "a.wav", "--verbose"]
    assert translated([]) == []


def test_a_name_of_a_file_says_its_format(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form, options in {"srt": [], "VTT": ["-f", "vtt"], "txt": []}.items():
        target = tmp_path / "new" / f"said.{form}"
        assert main(["transcribe", clip, "-o", str(target), *options]) == 0
        assert main(["transcribe", clip, "-f", form.lower()]) == 0
        assert target.read_text() == capsys.readouterr().out
        assert main(["transcribe", clip, "-o", str(target), "--resume"]) == 0
        assert capsys.readouterr().err == "sewnp: 1 of 1 clips were complete\n"
    (tmp_path / "folder.srt").mkdir()
    for folder in ("folder.srt", "other.srt/", "name.of"):
        assert main(["transcribe", clip, "-o", f"{tmp_path}/{folder}"]) == 0
        assert (tmp_path / folder / "three_one_four.txt").read_text() == TEXT


def test_what_one_file_cannot_be(clip: str, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = str(tmp_path / "said.srt")
    assert said(["transcribe", clip, "-o", target, "-f", "vtt"], capsys).endswith("is a file of srt, and -f asks for vtt")
    assert said(["transcribe", str(clips), "-o", target], capsys).endswith("is one file, and there are 4 clips; name a folder")
    copy = tmp_path / "copy.txt"
    copy.write_bytes(Path(clip).read_bytes())
    assert said(["transcribe", str(copy), "-o", str(copy)], capsys).endswith("is a recording, and would be overwritten")
    assert copy.read_bytes() == Path(clip).read_bytes()


def test_what_fits_into_a_subtitle(clip: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", clip, "-f", "srt", "--max_line_width", "9", "--max-line-count", "1"]) == 0
    assert capsys.readouterr().out.split("\n")[2::4][:2] == ["THREE ONE", "FOUR ONE"]
    assert main(["transcribe", clip, "-f", "vtt", "--max_words_per_line", "1", "--highlight_words"]) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00.360 --> 00:00.480\n<u>THREE</u>\n\n")
    assert "expected a whole number from 1" in said(["transcribe", clip, "--max_line_count", "0"], capsys)


def test_a_low_confidence_is_said_once(
    clip: str, clips: Path, digits: sewnp.Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    transcript = digits.transcribe(clip)
    heard = [character.probability for word in transcript.words for character in word.characters]
    assert transcript.confidence == pytest.approx(np.mean(heard))
    assert digits.transcribe(np.zeros(16000)).confidence is None
    doubt = "low confidence ({:.2f}); the model digits may not know what is said there"
    assert main(["transcribe", clip, "--min-confidence", "1"]) == 0
    assert capsys.readouterr() == (TEXT, f"sewnp: warning: {clip}: {doubt.format(transcript.confidence)}\n")
    other = clips / "eight_six_seven.flac"
    confidences = {str(path): digits.transcribe(path).confidence for path in (clip, other)}
    least = min(confidences, key=lambda path: confidences[path] or 0.0)
    assert main(["transcribe", clip, str(other), "--min_confidence", "1", "--jobs", "2", "-o", str(tmp_path)]) == 0
    assert capsys.readouterr().err == f"sewnp: warning: {least} and 1 more of 2 clips: {doubt.format(confidences[least])}\n"
    for options in (["--min-confidence", "1", "-q"], ["--min-confidence", "0"], []):
        assert main(["transcribe", clip, *options]) == 0
        assert capsys.readouterr().err == ""
    for wrong in ("2", "-1", "nan", "x"):
        assert "expected a number from 0 to 1" in said(["transcribe", clip, f"--min-confidence={wrong}"], capsys)


def test_a_few_characters_are_no_reason_to_warn(clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    samples, rate = soundfile.read(clip, dtype="float32")
    soundfile.write(tmp_path / "one.wav", samples[: int(0.85 * rate)], rate)
    assert main(["transcribe", str(tmp_path / "one.wav"), "--min-confidence", "1"]) == 0
    out, err = capsys.readouterr()
    assert (0 < len(out.replace(" ", "").strip()) < 10, err) == (True, "")
