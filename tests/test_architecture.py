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


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


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


def test_importing_pruneir_is_light() -> None:
    heavy = "{'onnx', 'onnxruntime', 'networkx', 'pydantic', 'rich', 'typer', 'torch', 'tvm'}"
    code = f"import sys, pruneir; found = {heavy} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", code], check=True)
