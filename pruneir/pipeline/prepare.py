"""From a file to what passes see: input shapes set, cleaned up, coupled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.pipeline import registry
from pruneir.pipeline.passes import Context
from pruneir.shapes import with_input_shapes

Sizes = Mapping[str, tuple[int | str, ...]]


def opened(source: str | Path, shapes: Sizes) -> Graph:
    """The graph of a file, with the shapes of some inputs set."""
    return with_input_shapes(load(source), shapes)


def folded(graph: Graph) -> Graph:
    """What the lossless clean-up makes of a graph."""
    return registry.get("fold")().run(graph, Context(graph)).graph


def prepared(graph: Graph, *, fold: bool = True, **options: bool) -> Coupling:
    """The coupling that the first pass of a chain would see; `options` as for `couple`."""
    return couple(folded(graph) if fold else graph, None, **options)
