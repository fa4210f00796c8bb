"""The benchmark: what it computes from times, what it refuses, and that each peer computes the same before it is timed.  No speed is asserted."""

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sewnp
from sewnp.benchmark import ON_ONE_THREAD, PEERS, Timing, benchmark, measure, throughput
from sewnp.cli import main
from sewnp.errors import DependencyError, InputError

CONFIG = sewnp.SEWConfig(
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=24,
    conv_dim=(8, 12),
    conv_kernel=(10, 3),
    conv_stride=(5, 2),
    num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2,
)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE", 0.0)
    monkeypatch.setattr(measure, "PEAK_SIZE", 64)


def test_what_a_row_says() -> None:
    row = Timing("x", 10.0, (0.4, 0.5, 0.6, 0.5, 0.5), multiply_adds=10**9, peak=4e9, ratio=0.8, difference=1e-6)
    assert row.median == 0.5
    assert row.real_time == 20.0
    assert row.share_of_peak == 0.5
    assert row.spread == 0.0  # the middle half of the runs took the same
    assert Timing("x", 1.0, (1.0, 2.0, 3.0, 4.0, 5.0), 1, 1.0, 1.0, 0.0).spread == pytest.approx(1 / 3)
    assert row.to_dict()["share_of_peak"] == 0.5


@pytest.mark.parametrize("head", [None, "ctc", "classification"])
def test_beside_torch_and_the_textbook(head: Any) -> None:
    model = sewnp.from_config(CONFIG, head=head, threads=2)
    said: list[str] = []
    found = benchmark(model, seconds=[0.05, 0.2], against=["textbook", "torch"], runs=3, progress=said.append)
    assert [(row.audio, row.name) for row in found.rows] == [
        (s, n) for s in (0.05, 0.2) for n in ("sewnp", ON_ONE_THREAD, "textbook", "torch")
    ]
    assert (found.engine, found.threads) == ("fast", 2)
    assert found.products.split(" (")[0] in ("blocks", "plain")
    for row in found.rows:
        assert len(row.times) == 3
        assert min(row.times) > 0
        own = next(other for other in found.rows if other.audio == row.audio)
        assert row.ratio == own.median / row.median
        assert (row.difference == 0.0) == (row.name in ("sewnp", ON_ONE_THREAD))  # so short a clip has one thread anyway
    work = [sum(stage.multiply_adds for stage in sewnp.costs.stages(CONFIG, n, head)) for n in (800, 3200)]
    assert [row.multiply_adds for row in found.rows[::4]] == work
    assert said == ["0.05 s: preparing", "0.05 s: measuring", "0.2 s: preparing", "0.2 s: measuring"]
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_peer_that_computes_something_else_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sewnp.from_config(CONFIG)
    wrong = {"off": lambda y: y + 0.1, "cut": lambda y: y[:, :-1], "nan": lambda y: y * np.nan}
    for name, change in wrong.items():

        def make(model: Any, threads: int, samples: int, change: Any = change) -> Any:
            run = PEERS["textbook"](model, threads, samples)
            return lambda x: change(run(x))

        monkeypatch.setitem(PEERS, name, make)
        with pytest.raises(InputError, match=f"{name}: does not compute the same on 0.1 s"):
            benchmark(model, seconds=[0.1], against=[name])


def test_many_clips_in_every_way() -> None:
    model = sewnp.from_config(CONFIG, threads=2)
    said: list[str] = []
    mine, *others = throughput(model, count=5, against=["textbook", "torch"], runs=2, progress=said.append)
    ways = ["one by one", "2 at a time", "equal lengths as a batch"]
    assert (mine.name, mine.way, mine.audio) == ("sewnp", "sharing products", 11.0)
    assert [(row.name, row.way) for row in others] == [(name, way) for name in ("textbook", "torch") for way in ways]
    assert len(mine.times) == 2 * len(others)
    for row in others:
        assert len(row.times) == 2
        assert 0 < row.difference < 1e-4
        assert row.real_time == 11.0 / statistics.median(row.times)
    assert said == [f"5 clips: {name}, {way}" for name in ("textbook", "torch") for way in ways]
    (alone,) = throughput(sewnp.from_config(CONFIG, engine="textbook"), count=2, runs=2)
    assert (alone.way, alone.audio) == ("one by one", 3.0)
    with pytest.raises(InputError, match="against: expected some of textbook, torch, onnx, found 'tensorflow'"):
        throughput(model, against=["tensorflow"])


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = sewnp.from_config(CONFIG)
    with pytest.raises(InputError, match="against: expected some of textbook, torch, onnx, found 'tensorflow'"):
        benchmark(model, against=["torch", "tensorflow"])
    with pytest.raises(InputError, match=r"seconds: expected at least 0\.\d+ and at most 3600, found 0.0001"):
        benchmark(model, seconds=[0.0001])
    with pytest.raises(InputError, match="runs: expected a whole number of 2 or more, found 1"):
        benchmark(model, runs=1)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"sewnp\[onnx\]"):
        benchmark(model, seconds=[0.1], against=["onnx"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "growth.png"
    line = ["benchmark", "--seconds", "0.5,1", "--against", "textbook", "--runs", "3", "--threads", "1"]
    assert main([*line, "--plot", str(picture)]) == 0
    out, err = capsys.readouterr()
    assert "digits, fast engine, 1 thread;" in out
    assert [text.split()[2] for text in out.splitlines()[2:-2]] == ["sewnp", "textbook"] * 2
    assert "products: " in out
    assert err.splitlines() == [f"sewnp: {s} s: {what}" for s in ("0.5", "1") for what in ("preparing", "measuring")]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main([*line, "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in found["rows"]] == ["sewnp", "textbook"] * 2
    for row in found["rows"]:
        assert row["median"] == statistics.median(row["times"])
    assert found["clips"] == []
    assert main(["benchmark", "--seconds", "0.5", "--runs", "2", "--clips", "2", "--against", "textbook", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 clips of 1 to 4 s, seconds of sound a second" in out
    assert [text.split()[0] for text in out.splitlines()[-4:]] == ["sewnp", "textbook", "textbook", "textbook"]
    with pytest.raises(SystemExit, match="2"):
        main(["benchmark", "--seconds", "two"])
    assert "--seconds: expected numbers with commas between them, found 'two'" in capsys.readouterr().err
