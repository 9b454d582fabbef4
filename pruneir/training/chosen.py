"""Which tensors are trained: all parameters, less what globs freeze."""

from __future__ import annotations

from collections.abc import Iterable

from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.names import is_called, require_matches


def chosen(graph: Graph, weights: Iterable[str], freeze: tuple[str, ...], only: tuple[str, ...]) -> list[str]:
    """The weights to train, by name, in the order given.

    freeze  globs of weights, or of nodes whose weights stay as they are
    only    globs of weights, or of nodes whose weights alone are trained
    PruneirError, with near matches, for a glob that matches nothing, and where nothing is left to train.
    """
    called = {name: names_of(graph, name) for name in weights}
    known = {name for names in called.values() for name in names}
    if not known:
        raise PruneirError("the network has no float weight to train; is it quantized?")
    for flag, globs in (("freeze", freeze), ("only", only)):
        require_matches(flag, globs, known)
    found = [
        name for name, names in called.items() if (not only or is_called(names, only)) and not is_called(names, freeze)
    ]
    if not found:
        raise PruneirError("freeze and only leave no weight to train; let one of them match less")
    return found


def names_of(graph: Graph, tensor: str) -> set[str]:
    """What a tensor can be called by: its name, and the labels of the operators that read it, through copies too."""
    names = {tensor}
    for operator in graph.users(tensor):
        names.add(operator.label)
        if operator.is_a("Identity", "Transpose", "Reshape", "Cast", "Unsqueeze", "Squeeze"):
            names |= names_of(graph, operator.outputs[0])
    return names
