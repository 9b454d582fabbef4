"""Validity: what holds for every graph between any two rewrites. Linear in the size of the graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import networkx as nx
import numpy as np

from pruneir.graph.graph import Graph
from pruneir.graph.operator import Operator


class InvalidGraph(ValueError):
    """A graph that breaks a rule of the representation; `problems` lists every breach."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


def check(graph: Graph) -> None:
    """Raise `InvalidGraph` unless names, constants, network and order of the graph agree."""
    problems = [*_names(graph), *_tensors(graph), *_network(graph), *_order(graph)]
    if problems:
        raise InvalidGraph(problems)


def _constants(graph: Graph) -> set[str]:
    return {*graph.initializers, *(sparse.values.name for sparse in graph.extras.sparse_initializer)}


def _operators(graph: Graph) -> list[Operator]:
    """The operators in the network, which may be other than those in the order."""
    return [node for node in graph.network if isinstance(node, Operator)]


def _shown(names: Iterable[str]) -> str:
    return ", ".join(map(repr, sorted(filter(None, names)))) or "nothing"


def _names(graph: Graph) -> Iterator[str]:
    """Every value is defined once, and every value that is read or put out is defined."""
    constants, inputs, operators = _constants(graph), set(graph.inputs), _operators(graph)
    yield from (f"input {name!r} is listed {n} times" for name, n in Counter(graph.inputs).items() if n > 1)
    for name, count in Counter(name for operator in operators for name in operator.outputs if name).items():
        if count > 1:
            yield f"{name!r} is defined by {count} operators"
        if name in constants:
            yield f"{name!r} is an initializer and an operator's output"
        elif name in inputs:
            yield f"{name!r} is an input and an operator's output"
    defined = constants.union(inputs, *(operator.outputs for operator in operators))
    for operator in operators:
        for name in dict.fromkeys((*operator.inputs, *operator.captures)):
            if name and name not in defined:
                yield f"{operator} reads {name!r}, which nothing defines"
    yield from (f"output {name!r} is not defined" for name in graph.outputs if name not in defined)


def _tensors(graph: Graph) -> Iterator[str]:
    """Initializers are numpy arrays."""
    for name, array in graph.initializers.items():
        if not isinstance(array, np.ndarray):
            yield f"initializer {name!r} is a {type(array).__name__}, not a numpy array"


def _network(graph: Graph) -> Iterator[str]:
    """The network says what the operators say, and nothing else."""
    interface = {*graph.inputs, *graph.outputs, *graph.initializers}
    yield from (f"{name!r} is not in the network" for name in sorted(interface.difference(graph.network)))
    for node in graph.network:
        before, after = set(graph.network.pred[node]), set(graph.network.succ[node])
        if isinstance(node, Operator):
            if before != {*node.inputs, *node.captures} - {""}:
                yield f"{node} reads {_shown(node.inputs)}, in the network {_shown(before)}"
            if after != {*node.outputs} - {""}:
                yield f"{node} defines {_shown(node.outputs)}, in the network {_shown(after)}"
        elif not isinstance(node, str) or not node:
            yield f"{node!r} in the network is no value and no operator"
        elif not before and not after and node not in interface and node not in graph.declared:
            yield f"{node!r} is a stray value"


def _order(graph: Graph) -> Iterator[str]:
    """The operators have an order in which none reads a value before it is defined."""
    if not nx.is_directed_acyclic_graph(graph.network):
        around = [str(start) for start, _ in nx.find_cycle(graph.network) if isinstance(start, Operator)]
        yield f"the graph has a cycle through {', '.join(around)}"
        return
    try:
        ordered = graph.operators
    except (KeyError, ValueError) as error:
        yield f"the operators have no order: {error}"
        return
    known, listed = _operators(graph), set(ordered)
    yield from (f"{operator} is in the network, but not listed" for operator in known if operator not in listed)
    yield from (f"{operator} is listed, but not in the network" for operator in listed.difference(known))
    waiting = Counter(name for operator in ordered for name in operator.outputs)
    for operator in ordered:
        for name in (*operator.inputs, *operator.captures):
            if name and waiting.get(name):
                yield f"{operator} is listed before the operator that defines {name!r}"
        for name in operator.outputs:
            waiting[name] -= 1
