"""``sewnp trace`` and ``sewnp compare`` as a user types them: what is printed where, what is written, and the exit status."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numerics.cases import TINY, TINY_D

import sewnp
from sewnp.cli import main
from sewnp.config import SEWConfig, SEWDConfig
from sewnp.loading import from_config
from sewnp.numerics import Inputs, Trace, open_stages, run_in, trace, write_trace
from sewnp.numerics.precision import in_precision
from sewnp.speech import CTCTokenizer
from sewnp.types import Array


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a small model."""
    folder = tmp_path_factory.mktemp("model")
    from_config(SEWConfig(**TINY), seed=3).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def ours(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace of it, as the command writes it."""
    path = tmp_path_factory.mktemp("ours") / "ours.safetensors"
    (path.parent / "clip.wav").write_bytes(wav(seconds=0.01))
    assert main(["trace", str(path.parent / "clip.wav"), "--model", model, "-o", str(path)]) == 0
    return path


def wav(*, seconds: float) -> bytes:
    import io

    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.random.default_rng(0).normal(size=int(16000 * seconds)) * 0.1, 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def port(model: str, ours: Path, **options: Any) -> tuple[dict[str, Array], dict[str, str]]:
    """Stages and metadata of an honest port in float32."""
    stages = open_stages(ours)
    inputs = Inputs(**stages.arguments())
    loaded = sewnp.load(model, **options)
    return run_in(loaded, inputs, "float32"), dict(trace(loaded, **inputs.arguments()).metadata)


def saved(path: Path, values: dict[str, Array], metadata: dict[str, str] | None = None) -> str:
    write_trace(path, Trace(values, metadata or {}))
    return str(path)


def test_trace_writes_every_stage_with_its_budget(model: str, ours: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages = open_stages(ours)
    assert len(stages) > 40
    assert stages["logits"].dtype == np.float64
    assert json.loads(stages.metadata["budgets"]).keys() == set(stages)
    assert stages.metadata["stage_list"] == "2"
    assert stages.arguments()["input_values"].shape == (1, 160)
    again = ours.with_name("again.safetensors")
    assert main(["trace", str(ours.with_name("clip.wav")), "--model", model, "-o", str(again)]) == 0
    assert capsys.readouterr() == ("", f"sewnp: {len(stages)} stages in {again}\n")
    assert again.read_bytes() == ours.read_bytes()


def test_trace_of_some_stages_in_float32(model: str, ours: Path, tmp_path: Path) -> None:
    path, clip = str(tmp_path / "t.safetensors"), str(ours.with_name("clip.wav"))
    assert (
        main(["trace", clip, "--model", model, "-o", path, "--dtype", "float32", "--stages", "encoder.layers.0.*", "logits"]) == 0
    )
    stages = open_stages(path)
    assert all(name == "logits" or name.startswith("encoder.layers.0.") for name in stages)
    assert stages["logits"].dtype == np.float32
    assert "budgets" not in stages.metadata


TOKENS = ("<pad>", "|", "A", "B", "C")


def test_trace_of_a_loss_and_its_gradients(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Held against a run of a port that is right but for one gradient."""
    heard = replace(
        from_config(SEWConfig(**(TINY | {"vocab_size": 5})), seed=3),
        tokenizer=CTCTokenizer.from_files(dict(zip(TOKENS, range(5), strict=True))),
    )
    heard.save(tmp_path / "heard")
    clip, out, model = tmp_path / "clip.wav", str(tmp_path / "t.safetensors"), ["--model", str(tmp_path / "heard")]
    clip.write_bytes(wav(seconds=0.05))
    assert main(["trace", str(clip), *model, "-o", out, "--text", "a b", "--gradients"]) == 0
    stages = open_stages(out)
    assert stages.arguments()["labels"].tolist() == [[2, 1, 3]]
    assert json.loads(stages.metadata["budgets"]).keys() == set(stages)
    assert {"loss", "gradient.logits", "gradient.input_values", "gradient.lm_head.weight"} <= set(stages)
    capsys.readouterr()

    inputs = Inputs.of(stages.arguments(), gradients=True)
    theirs = dict(run_in(sewnp.load(tmp_path / "heard"), inputs, "float32"))
    right = saved(tmp_path / "right.safetensors", theirs)
    assert main(["compare", out, right, *model]) == 0
    assert main(["compare", out, right, "--stages", "gradient.*"]) == 0
    theirs["gradient.logits"] = theirs["gradient.log_probs"]
    wrong = saved(tmp_path / "wrong.safetensors", theirs)
    capsys.readouterr()
    assert main(["compare", out, wrong, *model, "--stages", "gradient.l*"]) == 1
    said = capsys.readouterr().out
    assert "WRONG IN ITSELF: sum over the tokens missing" in said
    assert said.count("WRONG IN ITSELF") == 1


def test_the_text_of_a_trace_fits_the_model(ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, out = str(ours.with_name("clip.wav")), str(tmp_path / "t.safetensors")
    classes = from_config(SEWConfig(**TINY), head="classification", seed=3)
    classes.save(tmp_path / "classes")
    assert main(["trace", clip, "--model", str(tmp_path / "classes"), "-o", out, "--text", "b"]) == 0
    stages = open_stages(out)
    assert stages.arguments()["labels"].tolist() == [1]
    assert "loss" in stages
    assert not any(name.startswith("gradient.") for name in stages)
    from_config(SEWConfig(**TINY), head=None, seed=3).save(tmp_path / "base")
    capsys.readouterr()
    for arguments, said in [
        (
            ["--model", str(tmp_path / "classes"), "--text", "d"],
            "--text: expected one of 'a', 'b', 'c'; found 'd'",
        ),
        (["--model", str(tmp_path / "base"), "--text", "d"], "--text: base has no head, and so no loss"),
        (["--model", "digits", "--text", "ONE ONE ONE"], "--text: needs 11 frames, found"),
        (["--model", "digits", "--text", "?"], "text: the vocabulary cannot spell '?'"),
        (["--model", "digits", "--gradients"], "--gradients: those of a loss, which needs --text"),
    ]:
        assert main(["trace", clip, "-o", str(tmp_path / "not.safetensors"), *arguments]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "not.safetensors").exists()


def test_trace_refuses_in_one_line(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, out = str(ours.with_name("clip.wav")), str(tmp_path / "t.safetensors")
    for arguments, said in [
        ([clip, "--stages", "encoder.layers.7.*"], "encoder.layers.7.*: no stage of this run has such a name"),
        ([str(tmp_path / "gone.wav")], "no such file"),
        ([clip, "--model", str(tmp_path / "gone")], "gone"),
    ]:
        assert main(["trace", "--model", model, "-o", out, *arguments]) == 1
        text, error = capsys.readouterr()
        assert text == ""
        assert error.startswith("sewnp: error: ")
        assert said in error
        assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_honest_port_agrees(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, metadata = port(model, ours)
    theirs = saved(tmp_path / "theirs.safetensors", values, metadata)
    for more in ([], ["--model", model], ["--stages", "encoder.*"], ["--model", model, "--precision", "bfloat16"]):
        assert main(["compare", str(ours), theirs, *more]) == 0
        text, error = capsys.readouterr()
        assert error == ""
        assert text.splitlines()[0].split() == ["stage", "largest", "budget", "mean", "cosine", "beyond", "verdict"]
        assert text.splitlines()[-1].endswith("stages agree")


def test_npz_and_npy_without_metadata(model: str, ours: Path, tmp_path: Path) -> None:
    values, _ = port(model, ours)
    np.savez(tmp_path / "theirs.npz", **values)  # type: ignore[arg-type]
    (tmp_path / "theirs").mkdir()
    for name, x in values.items():
        np.save(tmp_path / "theirs" / f"{name}.npy", x)
    assert main(["compare", str(ours), str(tmp_path / "theirs.npz")]) == 0
    assert main(["compare", str(ours), str(tmp_path / "theirs")]) == 0
    (tmp_path / "theirs" / "logits.npy").unlink()
    assert main(["compare", str(ours), str(tmp_path / "theirs")]) == 1


def test_a_mistake_is_found_and_with_the_model_it_is_named(
    model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bug = "encoder.layers.1.feed_forward.activation"

    def see(name: str, x: Array, /) -> Array:
        values[name] = np.maximum(x * 0 + values[f"{bug.rpartition('.')[0]}.intermediate_dense"], 0) if name == bug else x
        return values[name]

    values: dict[str, Array] = {}
    sewnp.load(model, engine="textbook")(**Inputs(**open_stages(ours).arguments()).arguments(), see=see)
    theirs = saved(tmp_path / "theirs.safetensors", values)
    assert main(["compare", str(ours), theirs]) == 1
    assert f"the first that does not agree is {bug}" in capsys.readouterr().out
    assert main(["compare", str(ours), theirs, "--model", model]) == 1
    text = capsys.readouterr().out
    (line,) = (line for line in text.splitlines() if "WRONG IN ITSELF" in line)
    assert line.startswith(bug)
    assert "WRONG IN ITSELF: relu or relu6 instead of erf GELU" in line
    assert "worst at [" in line
    assert f"wrong in itself: {bug} (relu or relu6 instead of erf GELU)" in text.splitlines()[-1]
    assert sum("; inherited" in line for line in text.splitlines()) > 3


def test_json(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, metadata = port(model, ours)
    values["logits"] = values["logits"] + np.float32(1)
    values["log"] = values.pop("encoder.pool")
    assert main(["compare", str(ours), saved(tmp_path / "t.safetensors", values, metadata), "--model", model, "--json"]) == 1
    text, error = capsys.readouterr()
    assert error == ""
    result = json.loads(text)
    assert list(result) == ["agrees", "verdict", "problems", "stages"]
    stages = {stage["name"]: stage for stage in result["stages"]}
    assert stages["logits"]["status"] == "diverges"
    assert stages["logits"]["origin"] is True
    assert len(stages["logits"]["measure"]["worst"]) == 3
    assert (stages["log"]["status"], stages["encoder.pool"]["status"]) == ("unknown", "missing")


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(suffix: str, model: str, ours: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    values, metadata = port(model, ours)
    del values["encoder.pool"]
    values["logits"] = values["logits"] * np.float32(np.nan)
    values["encoder.layer_norm"] = values["encoder.layer_norm"][:, 1:]
    path = tmp_path / f"depth.{suffix}"
    theirs = saved(tmp_path / "t.safetensors", values, metadata)
    assert main(["compare", str(ours), theirs, "--model", model, "--plot", str(path)]) == 1
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")
    assert path.stat().st_size > 5000


def test_a_plot_that_cannot_be_drawn(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib").use("Agg")
    theirs = saved(tmp_path / "t.safetensors", port(model, ours)[0])
    assert main(["compare", str(ours), theirs, "--plot", str(tmp_path / "depth.xyz")]) == 2
    assert "could not be drawn" in capsys.readouterr().err
    assert main(["compare", str(ours), theirs, "--plot", str(tmp_path / "gone" / "depth.png")]) == 2


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a comparison is refused, exit status 2."""
    assert main(["compare", *arguments]) == 2
    text, error = capsys.readouterr()
    assert text == ""
    assert error.startswith("sewnp: error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("key", ["fingerprint", "masking", "inputs", "stage_list"])
def test_runs_that_are_not_of_the_same_thing(
    key: str, model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, metadata = port(model, ours)
    theirs = saved(tmp_path / "t.safetensors", values, metadata | {key: "other"})
    for more in ([], ["--model", model]):
        assert main(["compare", str(ours), theirs, *more]) == 2
        text = capsys.readouterr().out
        assert f"not comparable: {key}: " in text
        assert "other there" in text
    assert main(["compare", str(ours), theirs, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["agrees"] is False


def test_another_model_given(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = saved(tmp_path / "t.safetensors", port(model, ours)[0])
    from_config(SEWConfig(**TINY), seed=4).save(tmp_path / "other")
    assert main(["compare", str(ours), theirs, "--model", str(tmp_path / "other")]) == 2
    assert "was not traced with other" in capsys.readouterr().out


def test_files_that_cannot_be_read(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, _ = port(model, ours)
    whole = Path(saved(tmp_path / "t.safetensors", values)).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    (tmp_path / "text.safetensors").write_text("not a header at all, nor anything like one")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "pickle.npz", **(values | {"logits": np.array([None])}))  # type: ignore[arg-type]
    np.savez(tmp_path / "words.npz", **(values | {"logits": np.array(["a"])}))  # type: ignore[arg-type]
    for name, said in {
        "cut.safetensors": "not a readable safetensors file",
        "text.safetensors": "not a readable safetensors file",
        "empty": "expected .npy files in this folder",
        "pickle.npz": "logits: cannot be read: Object arrays cannot be loaded",
        "words.npz": "logits: expected floats, integers or booleans, found <U1",
        "gone.npz": "no such file",
    }.items():
        error = refused(capsys, str(ours), str(tmp_path / name))
        assert str(tmp_path / name) in error
        assert said in error
        assert said in refused(capsys, str(ours), str(tmp_path / name), "--model", model)
    assert "no such file" in refused(capsys, str(tmp_path / "gone.safetensors"), str(ours))


def test_options_that_cannot_be_met(model: str, ours: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values, metadata = port(model, ours)
    theirs = saved(tmp_path / "t.safetensors", values, metadata)
    assert "carries no budgets" in refused(capsys, theirs, theirs)
    assert "keeps no inputs to replay" in refused(capsys, theirs, theirs, "--model", model)
    assert "--precision float16: the budgets" in refused(capsys, str(ours), theirs, "--precision", "float16")
    assert "nothing.*: no stage" in refused(capsys, str(ours), theirs, "--stages", "nothing.*")
    assert "gone.json: no such file" in refused(capsys, str(ours), theirs, "--map", str(tmp_path / "gone.json"))
    assert "gone" in refused(capsys, str(ours), theirs, "--model", str(tmp_path / "gone"))
    with pytest.raises(SystemExit) as stop:
        main(["compare", str(ours), theirs, "--precision", "float8"])
    assert stop.value.code == 2


def test_a_map(model: str, ours: Path, tmp_path: Path) -> None:
    values, _ = port(model, ours)
    layer = "encoder.layers"
    theirs = {name.replace(layer, "blocks"): x for name, x in values.items()}
    theirs["pool_out"] = theirs.pop("encoder.pool").transpose(0, 2, 1)
    for i in range(2):
        q = theirs.pop(f"blocks.{i}.attention.q")
        theirs[f"blocks.{i}.q"] = q.swapaxes(1, 2).reshape(1, q.shape[2], 16)
    theirs["noise"] = np.zeros(3)
    np.savez(tmp_path / "t.npz", **theirs)  # type: ignore[arg-type]
    tails = {name.split(".", 3)[3] for name in values if name.startswith(f"{layer}.0.") and not name.endswith(".q")}
    names: dict[str, Any] = {f"blocks.{{i}}.{tail}": f"{layer}.{{i}}.{tail}" for tail in tails}
    names["blocks.{i}.q"] = {"stage": f"{layer}.{{i}}.attention.q", "heads": 2}
    names["pool_out"] = {"stage": "encoder.pool", "transpose": [0, 2, 1]}
    names["noise"] = None
    (tmp_path / "names.json").write_text(json.dumps(names))
    assert main(["compare", str(ours), str(tmp_path / "t.npz"), "--map", str(tmp_path / "names.json")]) == 0
    assert main(["compare", str(ours), str(tmp_path / "t.npz"), "--map", str(tmp_path / "names.json"), "--model", model]) == 0
    assert main(["compare", str(ours), str(tmp_path / "t.npz")]) == 1


@pytest.mark.parametrize("config", [SEWConfig(**TINY), SEWDConfig(**TINY_D)], ids=["sew", "sew-d"])
def test_the_map_of_transformers(config: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stages under module paths, with torch's axes."""
    ready = in_precision(from_config(config, seed=1), "float64")
    x = np.random.default_rng(0).normal(size=(1, 200))
    recorded = trace(ready, x)
    budgets = json.dumps(dict.fromkeys(recorded, 1e-9))
    write_trace(tmp_path / "ours.safetensors", Trace(recorded.stages, {**recorded.metadata, "budgets": budgets}, recorded.inputs))
    base = config.prefix
    theirs = {
        f"{base}.feature_extractor.conv_layers.0.conv": recorded["feature_extractor.conv_layers.0.conv"].transpose(0, 2, 1),
        f"{base}.encoder.dropout": np.zeros(3),
        "lm_head": recorded["logits"],
    }
    np.savez(tmp_path / "t.npz", **theirs)
    some = ["--stages", "logits", "feature_extractor.conv_layers.0.conv"]
    assert main(["compare", str(tmp_path / "ours.safetensors"), str(tmp_path / "t.npz"), "--map", "transformers", *some]) == 0
    capsys.readouterr()
    write_trace(tmp_path / "bare.safetensors", Trace(recorded.stages, {"budgets": budgets}))
    assert "does not tell its configuration" in refused(
        capsys, str(tmp_path / "bare.safetensors"), str(tmp_path / "t.npz"), "--map", "transformers"
    )


def test_help_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["compare", "--help"])
    assert stop.value.code == 0
    assert "Exit status: 0 all agree, 1 not, 2 could not compare" in capsys.readouterr().out
