"""What was made of a graph last, so that what is predicted and then compiled is lowered once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pruneir.graph import Graph

T = TypeVar("T")


@dataclass(slots=True)
class Last(Generic[T]):
    """One thing, and the graph and the key that it was made for."""

    graph: Graph | None = None
    key: object = None
    made: T | None = None

    def of(self, graph: Graph, key: object, make: Callable[[], T]) -> T:
        """The thing, made now unless it was made last."""
        if self.made is None or self.graph is None or self.key != key or not _same(self.graph, graph):
            self.forget()
            made = make()
            self.graph, self.key, self.made = graph.copy(), key, made
            return made
        return self.made

    def forget(self) -> None:
        """Let its memory go."""
        self.graph = self.key = self.made = None


def _same(one: Graph, other: Graph) -> bool:
    """Whether two graphs hold the same operators and arrays. Neither is ever written, so identity tells."""
    return (
        (one.inputs, one.outputs, one.declared) == (other.inputs, other.outputs, other.declared)
        and list(map(id, one.operators)) == list(map(id, other.operators))
        and {name: id(array) for name, array in one.initializers.items()}
        == {name: id(array) for name, array in other.initializers.items()}
    )
