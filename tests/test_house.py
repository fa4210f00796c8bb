"""The house plan, kept by reading the code: who may use whom, who may print, what may be imported when."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sewnp

PACKAGE = Path(sewnp.__file__).parent

# from the ground up; a room uses only rooms on floors below its own
FLOORS = [
    {"machine", "types", "version"},
    {"errors"},
    {"extras", "fields", "files", "layers"},
    {"config", "ctc", "manifests"},
    {"parameters", "presets", "decoding"},
    {"initialization", "costs"},
    {"networks", "checkpoints", "speech", "inputs"},
    {"gradients"},
    {"fast"},
    {"long", "explain"},
    {"streaming", "transcribing"},
    {"model"},
    {"loading"},
    {"jobs", "benchmark", "catalogue"},
    {"sharing"},
    {"batch"},
    {"plots"},
    {"numerics"},
    {"mistakes"},
    {"suite"},
    {"ports"},
    {"evaluation"},
    {"training"},
    {"__init__"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """``sewnp.layers.linear`` is in the room ``layers``; ``sewnp`` itself is the front door."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(("sewnp", *(part for part in parts if part != "__init__")))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Modules that a file imports, and whether at its top."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            known = [name for name in submodules if name.startswith("sewnp.") and room_of(name) in LEVEL and module == "sewnp"]
            yield from ((name, id(node) in top) for name in known or [module])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_uses_only_floors_below(path: Path) -> None:
    own = room_of(module_of(path)) if path != PACKAGE / "__init__.py" else "__init__"
    for module, _ in imports(path):
        if module.split(".")[0] == "sewnp" and room_of(module) != own:
            assert LEVEL[room_of(module)] < LEVEL[own], f"{path.name} in {own} imports {module}"


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(module_of(path)) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize(
    "path", [path for path in FILES if "cli" not in path.parts], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_only_the_command_line_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"), (
            f"{path}:{node.lineno}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_runtime_packages_alone(path: Path) -> None:
    # what is not here is imported where it is used, through sewnp.extras.need
    allowed = {"numpy", "scipy", "soundfile", "safetensors", "tqdm", "threadpoolctl", "sewnp", "__future__"} | set(
        sys.stdlib_module_names
    )
    for module, at_top in imports(path):
        assert module.split(".")[0] in allowed, f"{path}: {module}"
        # not needed by every use
        alone = module.split(".")[0] in {"numpy", "sewnp", "__future__"} | set(sys.stdlib_module_names)
        assert alone or not at_top, f"{path}: import {module} where it is used"


def test_import_needs_numpy_alone_until_a_file_is_read() -> None:
    code = """
import sys
packages = {"safetensors", "scipy", "soundfile", "threadpoolctl", "tqdm", "torch", "transformers", "matplotlib", "IPython"}
for name in packages:
    sys.modules[name] = None  # importing it raises ImportError
import sewnp
sewnp.ctc.collapse([0, 1, 1], blank=0)
del sys.modules["safetensors"]
assert sewnp.load("digits").config.hidden_size == 160
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_file_is_a_warehouse() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > 350} == {}
