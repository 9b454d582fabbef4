"""Tiny passes, registered beside the installed ones, so that the chain is tested without real ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from pruneir.errors import PruneirError, Refusal
from pruneir.graph import Graph
from pruneir.pipeline import Context, GroupRow, Pass, Result, registry


@dataclass(frozen=True)
class Tidy(Pass):
    """Does nothing, without loss. A second sentence.

    Pages have more paragraphs.
    """

    name = "fold"
    lossy = False

    def run(self, graph: Graph, context: Context) -> Result:
        return Result(graph)


@dataclass(frozen=True)
class Shave(Pass):
    """Scales the last weight."""

    name = "shave"
    lossy = True
    structured = True
    ratio: float = 0.5
    mode: Literal["soft", "hard"] = "soft"
    count: int = 3
    cap: float | None = None
    deep: bool = False
    names: tuple[str, ...] = ()
    honest: bool = True

    def __post_init__(self) -> None:
        if self.ratio > 1:
            raise PruneirError(f"pass shave: ratio={self.ratio:g} is more than 1")

    def run(self, graph: Graph, context: Context) -> Result:
        if not self.ratio:
            row = GroupRow("a", ("a",), 4, 4, 100, 100, "kept by --keep")
            return Result(graph, rows=(row,), refusals=(Refusal("PIR001", "y", "it is a graph output"),))
        new = graph.copy()
        new.set_initializer("w", graph.initializers["w"] * np.float32(self.ratio))
        share = context.ratios.get("a", 0.5)
        row = GroupRow("a", ("a",), 4, 4 - int(4 * share + 1e-9), 100, 50)
        expected = new if self.honest else graph
        return Result(new, rows=(row,), changed=frozenset({"w"}), notes=("shaved",), reference=lambda: expected)


@dataclass(frozen=True)
class Spoil(Shave):
    """Says that it is lossless, and is not."""

    name = "spoil"
    lossy = False


class Entry:
    def __init__(self, kind: type[Pass] | Exception):
        self.kind, self.value = kind, "tests:Kind"

    def load(self) -> type[Pass]:
        if isinstance(self.kind, Exception):
            raise self.kind
        return self.kind


@pytest.fixture
def tiny_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: dict[str, type[Pass] | Exception] = {
        "fold": Tidy,
        "shave": Shave,
        "spoil": Spoil,
        "broken": ImportError("no module named 'nowhere'"),
    }
    monkeypatch.setattr(registry, "_entries", lambda: {name: Entry(kind) for name, kind in entries.items()})
