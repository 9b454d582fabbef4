"""What depends on constants alone, computed now: however large it is, a library holds it anyway."""

from __future__ import annotations

from pruneir.graph import Graph, Operator
from pruneir.onnx_io.evaluate import evaluate

_RANDOM = ("Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike")


def with_known_values(graph: Graph) -> Graph:
    """The graph, or a copy in which constants stand for operators that read nothing else."""
    found: list[Operator] = []
    made: set[str] = set()
    for operator in graph.operators:
        inputs = [name for name in operator.inputs if name]
        plain = inputs and not operator.captures and not operator.is_a("Constant", *_RANDOM)
        if plain and all(name in made or graph.constant(name) is not None for name in inputs):
            found.append(operator)
            made.update(filter(None, operator.outputs))
    if not found:
        return graph
    part, whole, inside = Graph("known", graph.header), graph.copy(), {*found}
    for operator in found:
        for name in filter(None, operator.inputs):
            constant = graph.constant(name)
            if constant is not None:
                part.set_initializer(name, constant)
        part.add(operator)
        whole.remove(operator)
    wanted = [name for name in sorted(made) if name in graph.outputs or not inside.issuperset(graph.users(name))]
    part.outputs += wanted
    for name, array in next(evaluate(part, wanted, [{}])).items():
        if name in wanted:
            whole.set_initializer(name, array)
    return whole
