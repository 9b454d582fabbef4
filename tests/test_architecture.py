"""The house's directions, held by its imports: see docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [path for room in ("pruneir", "passes", "backends") for path in sorted((ROOT / room).rglob("*.py"))]

FLOORS = (
    "__version__ errors graph memory numbers progress storage",
    "artifact conflicts data files names onnx_io tolerance",
    "detection shapes targets weight_files",
    "calibrate coupling folding score",
    "constants cost explain surgery",
    "pipeline.fields pipeline.notation pipeline.passes pipeline.plan",
    "selection sparsity training",
    "repair verify",
    "backend pipeline",
    "deployment training.run training.trained",
    "report",
    "api",
    "__init__ cli weights",
)
"""The rooms of pruneir, the lowest first; a module that is named is on another floor than the rest of its room."""
LEVELS = {f"pruneir.{room}": level for level, floor in enumerate(FLOORS) for room in floor.split()}


def level_of(name: str) -> int:
    """The floor of a module, or of what a module defines."""
    return max((len(room), level) for room, level in LEVELS.items() if f"{name}.".startswith(f"{room}."))[1]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_who_may_know_whom(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        if room == "pruneir":
            assert not name.startswith(("pruneir.passes", "pruneir.backends", "passes", "backends"))
        if room == "passes":
            assert not name.startswith(("pruneir.passes", "pruneir.backends"))
        assert name.split(".")[0] not in {"torch"} or "training" in path.parts
        assert name.split(".")[0] not in {"tvm"} or room == "backends"
        assert name.split(".")[0] not in {"matplotlib"} or "report" in path.parts


def test_a_room_knows_no_higher_one() -> None:
    above = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in FILES
        if (module := ".".join(path.relative_to(ROOT).with_suffix("").parts)).startswith("pruneir.")
        for name in imported(path)
        if name.startswith("pruneir.") and level_of(name) > level_of(module)
    ]
    assert not above


def test_importing_pruneir_is_light() -> None:
    heavy = "{'onnx', 'onnxruntime', 'networkx', 'pydantic', 'rich', 'typer', 'torch', 'tvm'}"
    code = f"import sys, pruneir; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
