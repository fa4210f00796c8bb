"""Notebooks as Markdown: the prose as it stands, code as blocks (set-up folded), outputs below it, pictures as files of their own."""

import base64
import json
import textwrap
from pathlib import Path
from typing import Any


def page(path: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook and its pictures by file name.  The outputs are those that are stored in it."""
    pieces: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            pieces.append(source)
            continue
        code = f"````python\n{source}\n````"
        folded = "setup" in cell["metadata"].get("tags", [])
        pieces.append(f'??? note "Set-up"\n\n{textwrap.indent(code, "    ")}' if folded else code)
        captions = [*cell["outputs"][1:], {}]
        for place, (output, caption) in enumerate(zip(cell["outputs"], captions, strict=False)):
            name = f"{path.stem}-{number}-{place}.png"
            pieces.append(_shown(output, name, pictures, "".join(caption.get("data", {}).get("text/markdown", "")).strip("*")))
    heading, *rest = pieces
    told = f"*What `notebooks/{path.name}` printed and drew when it was built. In a checkout it runs, and its exercises say what is wrong.*"
    return "\n\n".join([heading, told, *rest]) + "\n", pictures


def _shown(output: dict[str, Any], name: str, pictures: dict[str, bytes], caption: str) -> str:
    """One output as Markdown; a picture is added to ``pictures`` under the name, and its caption says what it shows to those who do not see."""
    if output["output_type"] == "stream":
        return _printed("".join(output["text"]))
    data = output["data"]
    if "image/png" in data:
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![{caption}]({name})"
    if "text/html" in data:
        return "".join(data["text/html"])
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    return _printed("".join(data["text/plain"]))


def _printed(text: str) -> str:
    return f"````{{.text .output}}\n{text.rstrip()}\n````"
