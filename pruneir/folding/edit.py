"""Edits that keep a graph's interface: names of inputs and outputs, and what subgraphs capture."""

from __future__ import annotations

from pruneir.graph import Graph, Operator


def is_captured(graph: Graph, name: str) -> bool:
    """Whether a subgraph of If, Loop or Scan reads the value."""
    return any(name in user.captures for user in graph.users(name))


def only_user(graph: Graph, name: str) -> Operator | None:
    """The one operator that reads a value, in one slot; None if there are more readers, or it is a graph output."""
    uses = graph.uses(name)
    if len(uses) != 1 or uses[0][1] < 0 or name in graph.outputs:
        return None
    return uses[0][0]


def first_output(operator: Operator) -> str:
    """The first value that an operator defines."""
    return next(filter(None, operator.outputs), "")


def bypass(graph: Graph, operator: Operator, source: str) -> tuple[str, ...]:
    """Take out an operator whose first output equals `source`: its users read `source` instead.

    A graph output keeps its name: the operator that makes `source` defines it instead. Where that is impossible (an
    input or constant put out, a value read inside a subgraph) nothing happens. Gives the outputs of what was rewired.
    """
    value = operator.outputs[0]
    if is_captured(graph, value):
        return ()
    if value in graph.outputs:
        return _rename(graph, operator, source)
    rewired = tuple(map(first_output, graph.users(value)))
    graph.redirect(value, source)
    graph.remove(operator)
    return (*rewired, source)


def _rename(graph: Graph, operator: Operator, source: str) -> tuple[str, ...]:
    producer, value = graph.producer(source), operator.outputs[0]
    if producer is None or source in graph.outputs or is_captured(graph, source):
        return ()
    graph.remove(operator)
    renamed = tuple(value if name == source else name for name in producer.outputs)
    graph.replace(producer, producer.with_(outputs=renamed))
    rewired = tuple(map(first_output, graph.users(source)))
    graph.redirect(source, value)
    graph.declared.pop(source, None)
    return (*rewired, value)


def remove_dead(graph: Graph) -> int:
    """Take out the operators that no output depends on, and the constants that nothing reads; the number of both."""
    outputs, removed = set(graph.outputs), 0
    waiting = graph.operators
    while waiting:
        operator = waiting.pop()
        if operator not in graph.network or any(_is_read(graph, name, outputs) for name in operator.outputs if name):
            continue
        sources = [graph.producer(name) for name in (*operator.inputs, *operator.captures) if name]
        graph.remove(operator)
        removed += 1
        waiting += [source for source in sources if source is not None]
    for name in [name for name in graph.initializers if not _is_read(graph, name, outputs)]:
        graph.drop_initializer(name)
    return removed


def _is_read(graph: Graph, name: str, outputs: set[str]) -> bool:
    return name in outputs or (name in graph.network and bool(graph.network.succ[name]))
