"""Execute the notebooks: each ``NN_name.py`` (jupytext's percent format) becomes ``NN_name.ipynb``, its outputs included.

    python notebooks/build.py                 build all
    python notebooks/build.py 02 05           build those whose names begin so
    python notebooks/build.py --check         execute all again, and fail where a committed notebook differs from what comes out
    python notebooks/build.py --architecture  draw docs/architecture.png
    python notebooks/build.py --curves LOG    thin the log.jsonl of a training run to notebooks/curves.json, which notebook 14 shows

A notebook is only accepted when it runs from a clean kernel without an error, writes nothing to stderr (warnings do), and shows no paths
and addresses of this machine.  Outputs of cells tagged "timing" are neither kept nor compared, and cells tagged "setup" are folded.
Building again without a change gives the same bytes: cell ids are positions, counters and metadata are fixed, and pictures that look as
before are kept as they were.
"""

import argparse
import base64
import difflib
import io
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jupytext
import matplotlib.font_manager  # noqa: F401  builds matplotlib's font cache here, where its message is no notebook's output
import nbclient
import nbformat
import numpy as np
from PIL import Image

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parent

SECONDS = 60
"""What one cell may take."""

PIXELS = 0.3
"""Mean difference of two pictures that count as the same, of 255.  Measured on a figure of two panels: values that differ by a part in
10,000, far more than rounding, give 0.004; a missing line in a panel of two lines gives 0.8, a curve 5 % lower 2.  No tolerance covers
another version of matplotlib's font renderer (10), so the version is to be fixed where this check runs."""

BYTES = 400_000
"""What one notebook may weigh."""

DRAWN = re.compile(r"<Axes|Text\(|\(?\[?<matplotlib\.")
"""What matplotlib's calls return: of no use beside the picture."""

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

SOUND = re.compile(r"(data:audio/mpeg;base64,)([A-Za-z0-9+/=]+)")
"""A sound in an output.  Its bytes may differ where the processor does, by less than anybody hears, and are not compared."""

Notebook = Any


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    parser = argparse.ArgumentParser(description="Execute the notebooks.")
    parser.add_argument("names", nargs="*", help="beginnings of names, such as 02; all notebooks by default")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a committed notebook is not what comes out")
    parser.add_argument("--architecture", action="store_true", help="draw docs/architecture.png instead")
    parser.add_argument("--curves", type=Path, metavar="LOG", help="write curves.json from a run's log.jsonl instead")
    options = parser.parse_args(arguments)
    if options.curves:
        write_curves(options.curves, folder / "curves.json")
        return 0
    if options.architecture:
        draw_architecture(PROJECT / "docs" / "architecture.png")
        return 0
    course = (PROJECT / "docs" / "course.md").read_text(encoding="utf-8")  # in reading order; what does not stand there comes first
    sources = sorted(folder.glob("[0-9][0-9]_*.py"), key=lambda path: (course.find(path.stem), path.name))
    chosen = [path for path in sources if not options.names or path.name.startswith(tuple(options.names))]
    if not chosen:
        parser.error(f"no notebook of that name; there are {', '.join(path.stem for path in sources) or 'none'}")
    faults = [fault for source in chosen for fault in build(source, check=options.check)]
    if options.check and not options.names:
        known = {source.with_suffix(".ipynb") for source in sources}
        faults += [f"{path.name}: has no source {path.stem}.py" for path in sorted(folder.glob("*.ipynb")) if path not in known]
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


def build(source: Path, *, check: bool = False) -> list[str]:
    """Execute one notebook and write it, or compare it with what is there.  Returns what is wrong with it."""
    start = time.perf_counter()
    target = source.with_suffix(".ipynb")
    notebook = read_source(source)
    try:
        execute(notebook, source.parent)
    except nbclient.exceptions.CellExecutionError as error:
        return [f"{source.name}: {_plain(str(error))}"]
    tidy(notebook)
    committed = nbformat.read(target, as_version=4) if target.exists() else None
    faults = [f"{source.name}: {blemish}" for blemish in blemishes(notebook)]
    if check:
        if committed is None:
            faults.append(f"{target.name}: missing")
        else:
            faults += [f"{target.name}: {difference}" for difference in differences(committed, notebook)]
    elif not faults:
        if committed is not None:
            keep_pictures(committed, notebook)
        nbformat.write(notebook, target)
        if (size := target.stat().st_size) > BYTES:
            faults.append(f"{target.name}: {size:,} bytes, expected at most {BYTES:,}")
    print(f"{source.stem}: {time.perf_counter() - start:.1f} s{', with faults' if faults else ''}", file=sys.stderr)
    return faults


def read_source(source: Path) -> Notebook:
    """The notebook that a source describes, without outputs."""
    notebook = jupytext.read(source)
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place:02}"
        tags = cell.metadata.get("tags", [])
        folded = {"jupyter": {"source_hidden": True}} if "setup" in tags else {}
        cell.metadata = nbformat.from_dict(({"tags": tags} if tags else {}) | folded)
    return notebook


def execute(notebook: Notebook, folder: Path) -> None:
    """Run every cell in a clean kernel whose working directory is the notebook's folder."""
    whole = "--InlineBackend.print_figure_kwargs={'bbox_inches': None}"  # cropped pictures would change size with a letter's edge
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment["OPENBLAS_CORETYPE"] = "Haswell"  # one order of summation on every x86 processor: notebook 10 draws rounding errors
    client = nbclient.NotebookClient(
        notebook,
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=[whole, "--log-level=ERROR"],
    )
    client.execute(env=environment)


def tidy(notebook: Notebook) -> None:
    """Drop what differs from run to run (counters, metadata, outputs of timing cells), join what was printed in pieces, shrink pictures."""
    notebook.metadata = nbformat.from_dict(METADATA)  # the kernel has added its version
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        cell.metadata.pop("execution", None)
        if "timing" in cell.metadata.get("tags", []):
            cell.outputs = []
        joined: list[Any] = []
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = None
                if DRAWN.match(_text(output)):
                    continue
            if (png := _picture(output)) is not None:
                output.data["image/png"] = shrunk(png)
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            if joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name:
                joined[-1].text += output.text
            else:
                joined.append(output)
        cell.outputs = joined


def blemishes(notebook: Notebook) -> Iterator[str]:
    """What no notebook may show."""
    for place, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            text = _text(output)
            if output.output_type == "stream" and output.name == "stderr":
                yield f"cell {place} writes to stderr: {text.strip()[:300]}"
            for found in re.findall(r" at 0x[0-9a-f]{6,}", text):
                yield f"cell {place} shows an address of this run: {found.strip()}"
            for path in {str(PROJECT), str(Path.home()), sys.prefix} - {"/"}:
                if path in text:
                    yield f"cell {place} shows a path of this machine: {path}"


def differences(committed: Notebook, built: Notebook) -> Iterator[str]:
    """Where a committed notebook is not what its source gives today."""
    if len(committed.cells) != len(built.cells):
        yield f"{len(committed.cells)} cells, and the source has {len(built.cells)}: build it again"
        return
    for place, (old, new) in enumerate(zip(committed.cells, built.cells, strict=True)):
        if (old.cell_type, old.source, old.metadata) != (new.cell_type, new.source, new.metadata):
            yield f"cell {place}: the source differs\n{_diff(old.source, new.source)}"
        before, after = old.get("outputs", []), new.get("outputs", [])
        if [output.output_type for output in before] != [output.output_type for output in after]:
            yield f"cell {place}: the outputs differ\n{_diff(_all_text(before), _all_text(after))}"
            continue
        for first, second in zip(before, after, strict=True):
            if _silent(_text(first)) != _silent(_text(second)):
                yield f"cell {place}: the output differs\n{_diff(_silent(_text(first)), _silent(_text(second)))}"
            pictures = _picture(first), _picture(second)
            if pictures != (None, None) and not (difference := picture_difference(*pictures)) <= PIXELS:
                yield f"cell {place}: the picture differs by {difference:.2f} of 255 on average"


def keep_pictures(committed: Notebook, built: Notebook) -> None:
    """Where a new picture looks as the committed one at the same place did, keep the committed bytes; and those of sounds of the same cell."""
    for old, new in zip(committed.cells, built.cells, strict=False):
        for first, second in zip(old.get("outputs", []), new.get("outputs", []), strict=False):
            if old.source == new.source and SOUND.search(_text(first)) and _silent(_text(first)) == _silent(_text(second)):
                second.data = first.data
            kept = _picture(first)
            if kept is not None and old.source == new.source and picture_difference(kept, _picture(second)) <= PIXELS / 10:
                second.data["image/png"] = kept


def shrunk(png: str) -> str:
    """The same picture in half the bytes, in base64: tones rounded to multiples of 5 of 255, and a palette where 256 colours are enough."""
    rounded = Image.fromarray((np.round(np.asarray(_pixels(png)) / 5.0) * 5).astype(np.uint8))  # white and black stay
    colours = rounded.getcolors(256)
    if colours is not None:
        rounded = rounded.quantize(len(colours), dither=Image.Dither.NONE)
    file = io.BytesIO()
    rounded.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def picture_difference(first: str | None, second: str | None) -> float:
    """Mean difference of two PNGs' pixels, from 0 to 255; infinite when one is missing or their sizes differ."""
    if first is None or second is None:
        return float("inf")
    before, after = (np.asarray(_pixels(png), dtype=float) for png in (first, second))
    return float(np.abs(before - after).mean()) if before.shape == after.shape else float("inf")


def draw_architecture(path: Path) -> None:
    """The picture in the README: the embedded SEW model, drawn by the package."""
    from matplotlib import pyplot

    import sewnp
    from sewnp import plots

    model = sewnp.load("digits")
    with pyplot.rc_context(plots.style()):
        figure, ax = pyplot.subplots(figsize=(7.5, 5.6), dpi=220)
        plots.plot_architecture(model.config, head=model.head, ax=ax)
        figure.savefig(path)
        pyplot.close(figure)
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)  # a third of the size; nobody sees the difference
    print(f"{path.relative_to(PROJECT)}: {path.stat().st_size / 1000:.0f} kB", file=sys.stderr)


def write_curves(log: Path, target: Path, points: int = 200) -> None:
    """A training run's log in some ten kilobytes: the steps' losses averaged in ``points`` groups, and every validation."""
    records = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    steps = [record for record in records if record.get("loss") is not None]
    thinned = [{key: record[key] for key in ("step", "wer", "cer")} for record in records if "wer" in record]
    for group in np.array_split(np.arange(len(steps)), min(points, len(steps))):
        loss, last = np.mean([steps[i]["loss"] for i in group]), steps[group[-1]]
        thinned.append({"step": last["step"], "loss": round(float(loss), 4), "lr": last["lr"], "steps": last["steps"]})
    thinned.sort(key=lambda record: (record["step"], "wer" in record))
    lines = ",\n".join(json.dumps({k: round(v, 7) for k, v in record.items()}) for record in thinned)
    target.write_text(f"[\n{lines}\n]\n", "utf-8")


def _pixels(png: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")


def _picture(output: Any) -> str | None:
    """The PNG of an output, in base64."""
    png = output.get("data", {}).get("image/png")
    return None if png is None else "".join(png)


def _text(output: Any) -> str:
    """All of an output that is text."""
    data = output.get("data", {})
    return "".join([output.get("text", ""), *(str(data[kind]) for kind in sorted(data) if not kind.startswith("image/png"))])


def _silent(text: str) -> str:
    """A text without the bytes of its sounds."""
    return SOUND.sub(r"\1", text)


def _all_text(outputs: Sequence[Any]) -> str:
    return "\n".join(f"({output.output_type}) {_text(output)}" for output in outputs)


def _diff(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), "committed", "built", lineterm="", n=1)
    return "\n".join(f"    {line}" for line in lines)


def _plain(text: str) -> str:
    """Without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    sys.exit(main())
