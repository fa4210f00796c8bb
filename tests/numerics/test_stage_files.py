"""Files of stages: whole, in order, read when asked for; and what is damaged is said to be so."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numerics.cases import CASES, case, truth
from safetensors.numpy import save_file

from sewnp.errors import TraceError
from sewnp.numerics import Inputs, Trace, open_stages, run_in, write_trace


@pytest.mark.parametrize("name", CASES)
def test_a_trace_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    recorded = truth(name)
    write_trace(tmp_path / "t.safetensors", recorded)
    back = open_stages(tmp_path / "t.safetensors")
    assert list(back) == list(recorded)
    assert len(back) == len(recorded)
    for stage, x in recorded.items():
        assert (back[stage].dtype, back[stage].shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(back[stage], x)
    assert {key: back.metadata[key] for key in recorded.metadata} == dict(recorded.metadata)
    assert recorded.inputs is not None
    given = {key: value for key, value in recorded.inputs.arguments().items() if value is not None}
    arguments = back.arguments()
    assert arguments.keys() == given.keys()
    for key, value in given.items():
        np.testing.assert_array_equal(arguments[key], value)
    assert Inputs(**arguments).digest() == back.metadata["inputs"]


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    for i in range(4):
        write_trace(tmp_path / f"{i}.safetensors", Trace({"loss": np.array(1.0)}, dict.fromkeys("fedcba", 'ünïcode \n\t"\\\x01')))
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1
    assert open_stages(tmp_path / "0.safetensors").metadata["a"] == 'ünïcode \n\t"\\\x01'


def test_a_loss_without_axes_and_stages_of_every_dtype(tmp_path: Path) -> None:
    stages = {
        "loss": np.array(1.5, dtype=np.float32),
        "frame_mask": np.array([[True, False]]),
        "encoder.encoder.relative_positions": np.array([[0, -1], [1, 0]]),
        "logits": np.zeros((2, 3), dtype=np.float16),
        "pooled": np.arange(6.0).reshape(2, 3).T,  # not contiguous
    }
    write_trace(tmp_path / "t.safetensors", Trace(stages))
    back = open_stages(tmp_path / "t.safetensors")
    assert list(back) == list(stages)
    for name, x in stages.items():
        assert (back[name].dtype, back[name].shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(back[name], x)
    assert back.arguments() == {}


def test_bfloat16_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    x = torch.tensor([1.0, -2.5, 3.14]).to(torch.bfloat16)
    save_tensors({"logits": x}, tmp_path / "t.safetensors")
    np.testing.assert_array_equal(open_stages(tmp_path / "t.safetensors")["logits"], x.float().numpy())


def test_npz_and_folders_of_npy(tmp_path: Path) -> None:
    stages = run_in(*case("sew"), "float32")
    np.savez(tmp_path / "t.npz", **stages)  # type: ignore[arg-type]
    np.savez_compressed(tmp_path / "small.npz", **stages)  # type: ignore[arg-type]
    (tmp_path / "folder").mkdir()
    for name, x in stages.items():
        np.save(tmp_path / "folder" / f"{name}.npy", x)
    (tmp_path / "folder" / "notes.txt").write_text("not an array")
    for path in ("t.npz", "small.npz", "folder"):
        back = open_stages(tmp_path / path)
        assert set(back) == set(stages)
        assert back.metadata == {}
        assert back.arguments() == {}
        for name, x in stages.items():
            np.testing.assert_array_equal(back[name], x)
            assert name in back
        assert "nonsense" not in back
        assert back.get("nonsense") is None


def test_stages_are_read_when_they_are_asked_for(tmp_path: Path) -> None:
    """One damaged stage does not keep the others from being read, and asking whether it is there does not read it."""
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "logits.npy", np.zeros(3))
    (tmp_path / "folder" / "loss.npy").write_bytes(b"nothing")
    back = open_stages(tmp_path / "folder")
    assert "loss" in back
    np.testing.assert_array_equal(back["logits"], np.zeros(3))
    with pytest.raises(TraceError, match=r"folder: loss: cannot be read: "):
        back["loss"]


def test_whole_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.safetensors"
    write_trace(path, Trace({"loss": np.array(1.0)}))
    before = path.read_bytes()

    def breaks_off(tensors: object, scratch: Path, **_: object) -> None:
        scratch.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("safetensors.numpy.save_file", breaks_off)
    with pytest.raises(TraceError, match=r"t\.safetensors: could not be written: No space left on device"):
        write_trace(path, Trace({"loss": np.array(2.0)}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="could not be written"):
        write_trace(tmp_path / "gone" / "t.safetensors", Trace({"loss": np.array(1.0)}))


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.pt").write_bytes(b"PK")
    (tmp_path / "plain").write_bytes(b"")
    for name, said in {
        "gone.npz": "no such file",
        "empty": r"expected \.npy files in this folder, found none",
        "t.pt": r"expected \.safetensors, \.npz or a folder of \.npy, found \.pt",
        "plain": "found no suffix",
    }.items():
        with pytest.raises(TraceError, match=said) as error:
            open_stages(tmp_path / name)
        assert str(tmp_path / name) in str(error.value)


@pytest.mark.parametrize("length", [0, 4, 8, 60, -1, -1000])
def test_a_truncated_safetensors_file(length: int, tmp_path: Path) -> None:
    write_trace(tmp_path / "t.safetensors", truth("sew"))
    whole = (tmp_path / "t.safetensors").read_bytes()
    (tmp_path / "t.safetensors").write_bytes(whole[:length])
    with pytest.raises(TraceError, match=r"t\.safetensors: not a readable safetensors file"):
        open_stages(tmp_path / "t.safetensors")


@pytest.mark.parametrize("content", [b"RIFF and so on, not a header", b"\xff" * 64, b"{}" * 40])
@pytest.mark.parametrize("name", ["t.safetensors", "t.npz"])
def test_what_is_not_what_its_name_says(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TraceError, match="not a readable"):
        open_stages(tmp_path / name)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_npz(share: float, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", logits=np.zeros(1000))
    whole = (tmp_path / "t.npz").read_bytes()
    (tmp_path / "t.npz").write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(TraceError, match=r"t\.npz: not a readable \.npz file"):
        open_stages(tmp_path / "t.npz")


def test_an_npz_with_a_damaged_member(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "t.npz", logits=np.random.default_rng(0).normal(size=1000), loss=np.array(1.0))
    whole = bytearray((tmp_path / "t.npz").read_bytes())
    whole[1000:1100] = bytes(100)
    (tmp_path / "t.npz").write_bytes(whole)
    back = open_stages(tmp_path / "t.npz")
    assert back["loss"] == 1
    with pytest.raises(TraceError, match=r"t\.npz: logits: cannot be read"):
        back["logits"]


def test_pickles_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", logits=np.array([{"a": 1}], dtype=object))
    with pytest.raises(TraceError, match=r"t\.npz: logits: cannot be read: Object arrays cannot be loaded"):
        open_stages(tmp_path / "t.npz")["logits"]
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "logits.npy", np.array([None], dtype=object))
    with pytest.raises(TraceError, match="logits: cannot be read"):
        open_stages(tmp_path / "folder")["logits"]


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([1j]), np.array(["2020"], dtype="datetime64")])
def test_what_is_no_number_is_refused(array: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", logits=array)
    with pytest.raises(
        TraceError,
        match=f"logits: expected floats, integers or booleans, found {array.dtype}".replace("[", r"\[").replace("]", r"\]"),
    ):
        open_stages(tmp_path / "t.npz")["logits"]


def test_a_zip_of_other_things(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("logits.npy", b"not an array")
    with pytest.raises(TraceError, match="logits"):
        open_stages(tmp_path / "t.npz")["logits"]


@pytest.mark.parametrize("order", ["not json", "3", '["logits"]', '["loss", "logits", "more"]', '{"loss": 1}'])
def test_an_order_that_is_none(order: str, tmp_path: Path) -> None:
    save_file({"loss": np.zeros(1), "logits": np.zeros(1)}, tmp_path / "t.safetensors", metadata={"order": order})
    with pytest.raises(TraceError, match="metadata: order: "):
        open_stages(tmp_path / "t.safetensors")


def test_the_order_of_the_file_wins_over_that_of_the_alphabet(tmp_path: Path) -> None:
    save_file({"a": np.zeros(1), "b": np.zeros(1)}, tmp_path / "t.safetensors", metadata={"order": json.dumps(["b", "a"])})
    assert list(open_stages(tmp_path / "t.safetensors")) == ["b", "a"]
    save_file({"a": np.zeros(1), "b": np.zeros(1)}, tmp_path / "t.safetensors")
    assert sorted(open_stages(tmp_path / "t.safetensors")) == ["a", "b"]
