"""Model-local functions, replaced by their bodies."""

from __future__ import annotations

import onnx.inliner

from pruneir.errors import PruneirError
from pruneir.graph.graph import Graph
from pruneir.onnx_io.external import Shelf
from pruneir.onnx_io.load import graph_of
from pruneir.onnx_io.model import model_of


def inline_functions(graph: Graph) -> Graph:
    """The graph with every call of a local function replaced by the function's body, to any depth.

    A graph without functions is returned as it is. Bodies written for another opset than the model's are converted to
    it. Tensors are not copied. PruneirError if the functions cannot be inlined.
    """
    if not graph.header.functions:
        return graph
    shelf = Shelf()
    model = model_of(graph, initializers=shelf.store, constants=shelf.store)
    try:
        model = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # the C++ inliner throws various types, none of them documented
        reason = str(error).splitlines()[0]
        raise PruneirError(f"the local functions cannot be inlined: {reason}; export the model without them") from None
    inlined = graph_of(model, shelf.fetch)
    inlined.notes = dict(graph.notes)
    return inlined
