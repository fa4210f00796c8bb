"""The builder of the notebooks notices what changed: a source, an output, a picture, an error, a warning."""

import base64
import importlib.util
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "notebooks" / "build.py"

SOURCE = """\
# %% [markdown]
# # Nine

# %%
nine = 3 * 3
print(nine)

# %% tags=["timing"]
import time
print(time.perf_counter())

# %%
from IPython.display import Image
Image(data=open("dot.png", "rb").read())
"""


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("notebook_build", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


build = _script()


def png(shade: int, width: int = 8) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, width, 3), shade, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Source and notebook text of a tiny notebook, built once."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "01_nine.py").write_text(SOURCE)
    (folder / "dot.png").write_bytes(png(200))
    assert build.main([], folder) == 0
    return SOURCE, (folder / "01_nine.ipynb").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, built: tuple[str, str]) -> Path:
    (tmp_path / "01_nine.py").write_text(built[0])
    (tmp_path / "01_nine.ipynb").write_text(built[1], encoding="utf-8")
    (tmp_path / "dot.png").write_bytes(png(200))
    return tmp_path


def notebook(folder: Path) -> Any:
    return nbformat.read(folder / "01_nine.ipynb", as_version=4)


def test_a_built_notebook_is_tidy(built: tuple[str, str]) -> None:
    found = json.loads(built[1])
    assert [cell["id"] for cell in found["cells"]] == ["cell-00", "cell-01", "cell-02", "cell-03"]
    assert [cell.get("execution_count") for cell in found["cells"]] == [None] * 4
    assert [cell["metadata"] for cell in found["cells"]] == [{}, {}, {"tags": ["timing"]}, {}]
    assert found["cells"][1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["9\n"]}]
    assert found["cells"][2]["outputs"] == []  # timings are not kept
    assert set(found["metadata"]) == {"kernelspec", "language_info"}
    assert found["metadata"]["language_info"] == {"name": "python"}


def test_an_unchanged_notebook_passes_and_is_rebuilt_to_the_byte(folder: Path, built: tuple[str, str]) -> None:
    assert build.main(["--check"], folder) == 0
    assert build.main(["01"], folder) == 0
    assert (folder / "01_nine.ipynb").read_text(encoding="utf-8") == built[1]


def test_check_notices_a_changed_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "01_nine.py").write_text(SOURCE.replace("3 * 3", "1 + 8"))
    before = (folder / "01_nine.ipynb").read_bytes()
    assert build.main(["--check"], folder) == 1
    said = capsys.readouterr().err
    assert "01_nine.ipynb: cell 1: the source differs" in said
    assert "-nine = 3 * 3" in said
    assert "+nine = 1 + 8" in said
    assert (folder / "01_nine.ipynb").read_bytes() == before  # checking writes nothing


def test_check_notices_a_changed_output(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    committed = notebook(folder)
    committed.cells[1].outputs[0].text = "8\n"
    nbformat.write(committed, folder / "01_nine.ipynb")
    assert build.main(["--check"], folder) == 1
    said = capsys.readouterr().err
    assert "01_nine.ipynb: cell 1: the output differs" in said
    assert "-8" in said
    assert "+9" in said


def test_faults_without_a_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # what a kernel would give is put in its place, so that these cases cost nothing
    given = notebook(folder)
    monkeypatch.setattr(build, "execute", lambda book, _: book.update(cells=[cell.copy() for cell in given.cells]))
    assert build.main(["--check"], folder) == 0
    (folder / "02_lonely.ipynb").write_text("{}")
    assert build.main(["--check"], folder) == 1
    assert "02_lonely.ipynb: has no source 02_lonely.py" in capsys.readouterr().err
    (folder / "02_lonely.ipynb").unlink()
    (folder / "01_nine.ipynb").unlink()
    assert build.main(["--check"], folder) == 1
    assert "01_nine.ipynb: missing" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        build.main(["07"], folder)
    assert "no notebook of that name; there are 01_nine" in capsys.readouterr().err


def test_an_error_and_a_warning_are_faults_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "01_bad.py").write_text(
        "# %%\nimport warnings\nwarnings.warn('beware')\nobject()\n\n# %%\nimport os\nos.getcwd(), 1 / 0\n"
    )
    (tmp_path / "02_worse.py").write_text("# %%\nimport warnings\nwarnings.warn('beware')\nobject()\n")
    assert build.main([], tmp_path) == 1
    said = capsys.readouterr().err
    assert "01_bad.py: " in said
    assert "ZeroDivisionError" in said
    assert "02_worse.py: cell 0 writes to stderr: " in said
    assert "02_worse.py: cell 0 shows an address of this run: at 0x" in said
    assert not list(tmp_path.glob("*.ipynb"))


def test_pictures_are_compared_by_size_and_mean() -> None:
    def coded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    assert build.picture_difference(coded(png(200)), coded(png(200))) == 0
    assert build.picture_difference(coded(png(200)), coded(png(203))) == 3
    assert build.picture_difference(coded(png(200)), coded(png(200, width=9))) == float("inf")
    assert build.picture_difference(coded(png(200)), None) == float("inf")


def test_a_shrunk_picture_keeps_every_colour() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)  # 1600 colours: too many for a palette
    few = np.repeat(pixels[:5], 8, axis=0) // 64 * 64
    for picture in (pixels, few):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG", compress_level=0)
        small = base64.b64decode(build.shrunk(base64.b64encode(file.getvalue()).decode()))
        shown = np.asarray(Image.open(io.BytesIO(small)).convert("RGB"), dtype=int)
        assert np.abs(shown - picture).max() <= 2
        assert len(small) < len(file.getvalue())


def test_results_of_drawing_are_dropped_and_other_results_kept() -> None:
    texts = ["<Axes: title={'left': 'x'}>", "Text(0.5, 1.0, 'title')", "[<matplotlib.lines.Line2D at 0x7f0123456789>]", "42"]
    outputs = [nbformat.v4.new_output("execute_result", data={"text/plain": text}, execution_count=3) for text in texts]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x", outputs=outputs)])
    build.tidy(book)
    assert [output.data["text/plain"] for output in book.cells[0].outputs] == ["42"]


def test_check_notices_a_changed_picture(folder: Path) -> None:
    old, new = notebook(folder), notebook(folder)
    new.cells[3].outputs[0].data["image/png"] = base64.b64encode(png(205)).decode()
    assert list(build.differences(old, new)) == ["cell 3: the picture differs by 5.00 of 255 on average"]
    del new.cells[3].outputs[0]["data"]["image/png"]
    assert list(build.differences(old, new)) == ["cell 3: the picture differs by inf of 255 on average"]


def test_a_picture_that_looks_the_same_keeps_its_bytes(folder: Path) -> None:
    old, new = notebook(folder), notebook(folder)
    other = io.BytesIO()
    Image.open(io.BytesIO(png(200))).save(other, "PNG", compress_level=0)
    new.cells[3].outputs[0].data["image/png"] = base64.b64encode(other.getvalue()).decode()
    assert old != new
    build.keep_pictures(old, new)
    assert old == new


def test_paths_of_this_machine_are_blemishes() -> None:
    cell = nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("stream", text=f"{sys.prefix}/lib\n")])
    assert list(build.blemishes(nbformat.v4.new_notebook(cells=[cell]))) == [f"cell 0 shows a path of this machine: {sys.prefix}"]


def test_set_up_is_folded(tmp_path: Path) -> None:
    (tmp_path / "01_folded.py").write_text('# %% tags=["setup"]\nimport math\n\n# %%\nmath.pi\n')
    first, second = build.read_source(tmp_path / "01_folded.py").cells
    assert first.metadata == {"tags": ["setup"], "jupyter": {"source_hidden": True}}
    assert second.metadata == {}


@pytest.mark.parametrize("page", ["README.md", "docs/course.md"])
def test_the_course_lists_every_notebook_in_one_order(page: str) -> None:
    project = SCRIPT.parents[1]
    linked = re.findall(r"notebooks/(\d\d_\w+)\.ipynb", (project / "docs" / "course.md").read_text("utf-8"))
    order = list(dict.fromkeys(linked))
    assert sorted(order) == sorted(path.stem for path in SCRIPT.parent.glob("[0-9][0-9]_*.py"))
    assert list(dict.fromkeys(re.findall(r"notebooks/(\d\d_\w+)\.ipynb", (project / page).read_text("utf-8")))) == order


def test_sounds_are_not_compared(folder: Path) -> None:
    def sounding(name: str, coded: str) -> Any:
        data = {"text/html": f'<audio src="data:audio/mpeg;base64,{coded}"></audio>{name}'}
        return nbformat.v4.new_notebook(
            cells=[nbformat.v4.new_code_cell("x", outputs=[nbformat.v4.new_output("display_data", data=data)])]
        )

    old, other, renamed = sounding("a", "AAAA"), sounding("a", "BBBB"), sounding("b", "AAAA")
    for book in (old, other, renamed):
        book.cells[0].id = "cell-00"
    assert list(build.differences(old, other)) == []
    assert len(list(build.differences(old, renamed))) == 1
    build.keep_pictures(old, other)
    assert other == old


def test_a_log_becomes_curves(tmp_path: Path) -> None:
    steps: list[dict[str, Any]] = [{"step": n, "loss": float(n), "lr": 0.1, "norm": 1.0, "steps": 6} for n in range(1, 7)]
    steps[4] |= {"loss": None, "skipped": ["clip"]}
    lines = [*steps, {"step": 6, "wer": 0.5, "cer": 0.25, "words": 4}]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert build.main(["--curves", str(log)], tmp_path) == 0
    build.write_curves(log, tmp_path / "thin.json", points=2)
    assert [line.get("loss") for line in json.loads((tmp_path / "curves.json").read_text())] == [1, 2, 3, 4, 6, None]
    first, second, last = json.loads((tmp_path / "thin.json").read_text())
    assert first == {"step": 3, "loss": 2.0, "lr": 0.1, "steps": 6}
    assert (second["step"], second["loss"]) == (6, 5.0)
    assert last == {"step": 6, "wer": 0.5, "cer": 0.25}
