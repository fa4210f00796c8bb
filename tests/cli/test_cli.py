"""The command line as a user types it: what is printed where, and the exit status."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import sewnp
from sewnp.cli import main


def test_one_clip_prints_its_text(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(clips / "three_one_four.wav")]) == 0
    assert capsys.readouterr() == ("THREE ONE FOUR ONE FIVE NINE\n", "")


def test_several_clips_print_a_line_each_in_the_order_given(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(clips / name) for name in ("two_seven_one.mp3", "three_one_four.wav")]
    assert main(["transcribe", *names, "--model", "digits-d"]) == 0
    out, err = capsys.readouterr()
    assert out == f"{names[0]}\tTWO SEVEN ONE EIGHT TWO EIGHT\n{names[1]}\tTHREE ONE FOUR ONE FIVE NINE\n"
    assert err == ""


def test_json_has_whispers_shape(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = str(clips / "three_one_four.wav")
    assert main(["transcribe", name, "-f", "json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert list(result) == ["audio", "text", "segments", "model", "decoder", "duration"]
    assert (result["audio"], result["model"], result["duration"]) == (name, "digits", 2.975)
    (segment,) = result["segments"]
    assert list(segment) == ["id", "start", "end", "text", "avg_logprob", "words"]
    assert segment["text"] == result["text"] == "THREE ONE FOUR ONE FIVE NINE"
    assert [word["word"] for word in segment["words"]] == [f" {word}" for word in segment["text"].split()]
    assert list(segment["words"][0]) == ["word", "start", "end", "probability"]
    assert (segment["start"], segment["end"]) == (segment["words"][0]["start"], segment["words"][-1]["end"])


def test_a_bad_clip_does_not_stop_the_others(clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.wav").write_text("not audio")
    good, bad, gone = str(clips / "three_one_four.wav"), str(tmp_path / "bad.wav"), str(tmp_path / "gone.wav")
    assert main(["transcribe", bad, good, gone]) == 1
    out, err = capsys.readouterr()
    assert out == f"{good}\tTHREE ONE FOUR ONE FIVE NINE\n"
    lines = err.splitlines()
    assert lines[0].startswith(f"sewnp: error: {bad}: not audio")
    assert lines[1:] == [f"sewnp: error: {gone}: no such file", "sewnp: 2 of 3 clips failed"]


def test_one_bad_clip(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(tmp_path / "gone.wav")]) == 1
    assert capsys.readouterr() == ("", f"sewnp: error: {tmp_path / 'gone.wav'}: no such file\n")


def test_standard_input(clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((clips / "counting.ogg").read_bytes())))
    assert main(["transcribe", "-"]) == 0
    assert capsys.readouterr().out == "ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE\n"


def test_classify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "silence.wav")
    soundfile.write(path, np.zeros(16000), 16000)
    assert main(["classify", path]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    best = sewnp.load("digit-words").classify(path)
    assert rows == [[label, f"{score:.4f}"] for label, score in best[:5]]
    assert main(["classify", path, path]) == 0
    assert capsys.readouterr().out == f"{path}\t{best[0][0]}\t{best[0][1]:.4f}\n" * 2


def test_inspect_tells_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "digits"]) == 0
    out = capsys.readouterr().out
    assert "digits: SEW (squeezed wav2vec 2.0), ctc head" in out
    assert "320 samples (20 ms): 50 frames a second, 25 in the transformer (squeeze factor 2)" in out
    assert "receptive field  400 samples (25 ms)" in out
    model = sewnp.load("digits")
    parameters = sum(weight.size for weight in model.flat_weights().values())
    assert f"parameters       {parameters:,}" in out
    rows = [line for line in out.splitlines() if " x " in line and not line.startswith("stage")]
    assert len(rows) == 13 + 5
    assert sum(int(row.split()[-3].replace(",", "")) for row in rows) == parameters


def test_inspect_knows_every_kind_of_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("digits-d", "digit-words"):
        assert main(["inspect", name]) == 0
    sewnp.load("digits", head=None).save(tmp_path / "base")
    assert main(["inspect", str(tmp_path / "base")]) == 0
    out = capsys.readouterr().out
    assert "SEW-D (SEW with disentangled attention), ctc head" in out
    assert "classification head" in out
    assert "base: SEW (squeezed wav2vec 2.0), base model, no head" in out


def test_a_model_that_is_not_there(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["transcribe", str(clips / "counting.ogg"), "--model", "whisper"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sewnp: error: whisper: no embedded model of that name")


@pytest.mark.parametrize("arguments", [[], ["transcribe"], ["transcribe", "a.wav", "-f", "xml"], ["transmogrify"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert "usage: sewnp" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["transcribe", "classify", "inspect"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main([command, "--help"])
    assert exit.value.code == 0
    assert "examples:" in capsys.readouterr().out


def test_interrupting_exits_130(clips: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sewnp.sharing, "transcription", interrupt)
    assert main(["transcribe", str(clips / "counting.ogg")]) == 130
    assert capsys.readouterr() == ("", "sewnp: interrupted\n")


def test_module_and_closed_pipe(clips: Path) -> None:
    names = [str(clips / "three_one_four.wav")] * 100  # which come in groups
    process = subprocess.Popen(
        [sys.executable, "-m", "sewnp", "transcribe", *names], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()  # as `| head -1` does
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 1
    assert err == b""


def run_shell(command: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["bash", "-c", command.replace("sewnp", f"{sys.executable} -m sewnp")], capture_output=True, check=False)


def test_a_full_disk_behind_the_output(clips: Path) -> None:
    for command in ("transcribe", "inspect"):
        done = run_shell(f"sewnp {command} {'digits' if command == 'inspect' else clips / 'three_one_four.wav'} > /dev/full")
        assert done.returncode == 1
        assert done.stderr.decode().startswith("sewnp: error: standard output: No space left on device")


def test_a_name_that_is_not_utf8(clips: Path, tmp_path: Path) -> None:
    clip = clips / "three_one_four.wav"
    done = run_shell(f"cp {clip} {tmp_path}/$'\\xff.wav' && PYTHONIOENCODING=utf-8 sewnp transcribe {tmp_path}/*.wav {clip}")
    assert done.returncode == 0, done.stderr
    assert [line.split(b"\t")[1] for line in done.stdout.splitlines()] == [b"THREE ONE FOUR ONE FIVE NINE"] * 2


def test_output_closed_before_we_began(clips: Path) -> None:
    done = run_shell(f"sewnp transcribe {clips / 'three_one_four.wav'} >&-")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
