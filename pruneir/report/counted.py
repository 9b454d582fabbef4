"""The input shapes that costs are counted at, where a network leaves some of them open."""

from __future__ import annotations

from collections.abc import Mapping

from pruneir.graph import Graph
from pruneir.shapes import at_batch, infer, input_sizes

_NAMED = 4

Counted = Mapping[str, tuple[int, ...]]


def counted_at(graph: Graph, sizes: Counted | None = None) -> dict[str, tuple[int, ...]]:
    """Input shapes of one sample; `sizes` are those that the network was traced at, where that was done."""
    known = sizes or (infer(graph).inputs if is_open(graph) else input_sizes(graph))
    return at_batch(graph, known, 1)


def is_open(graph: Graph) -> bool:
    """Whether some input has a size that is not fixed."""
    types = filter(None, map(graph.type_of, graph.data_inputs))
    return any(not isinstance(size, int) or size < 0 for known in types for size in known.shape or ())


def sentence(counted: Counted) -> str:
    """What the table says of it."""
    shown = [f"{name}[{','.join(map(str, shape))}]" for name, shape in list(counted.items())[:_NAMED]]
    more = f" and {len(counted) - _NAMED} more" if len(counted) > _NAMED else ""
    return f"counted at {', '.join(shown)}{more}; --input-shape changes that"
