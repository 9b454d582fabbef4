"""Rewrites that let Transposes meet and cancel. T is Transpose, f an elementwise operator."""

from __future__ import annotations

from pruneir.folding.edit import bypass, is_captured, only_user
from pruneir.folding.sizes import Samples
from pruneir.graph import Graph, Operator

_UNARY = (
    *("Relu", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Mish", "HardSwish", "HardSigmoid", "ThresholdedRelu"),
    *("Sigmoid", "Tanh", "Softplus", "Softsign", "Erf", "Exp", "Log", "Sqrt", "Reciprocal", "Sin", "Cos", "Swish"),
    *("Neg", "Abs", "Sign", "Ceil", "Floor", "Round", "Not", "Cast", "Clip", "IsNaN", "IsInf"),
)
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu")


def merge_transposes(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """T(x, identity) -> x; T(T(x, p), q) -> T(x, p[q])."""
    perm = permutation(samples, operator)
    if perm is None:
        return ()
    if perm == tuple(range(len(perm))):
        return bypass(graph, operator, operator.inputs[0])
    before = graph.producer(operator.inputs[0])
    if before is None or not before.is_a("Transpose"):
        return ()
    first = permutation(samples, before)
    if first is None:
        return ()
    merged = tuple(first[axis] for axis in perm)
    if merged == tuple(range(len(merged))):
        return bypass(graph, operator, before.inputs[0])
    graph.replace(operator, operator.with_(inputs=before.inputs).with_attributes(perm=merged))
    return (operator.outputs[0],)


def lift_transpose(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """T(f(g(T(x, p))), q) -> f(g(T(x, p[q]))), for f and g that nothing else reads; a Gather of one axis may be one."""
    perm = permutation(samples, operator)
    chain: list[tuple[Operator, int]] = []
    value, reader = operator.inputs[0], operator
    while True:
        producer = graph.producer(value)
        if perm is None or producer is None:
            return ()
        if producer.is_a("Transpose") and permutation(samples, producer) is not None:
            break
        slot = _operand(graph, producer, len(perm))
        if slot is None or only_user(graph, value) is not reader:
            return ()
        chain.append((producer, slot))
        value, reader = producer.inputs[slot], producer
    if not chain:
        return ()
    return _push_through(graph, samples, operator, chain, perm)


def _push_through(
    graph: Graph, samples: Samples, operator: Operator, chain: list[tuple[Operator, int]], perm: tuple[int, ...]
) -> tuple[str, ...]:
    """T(f(x)) -> f(T(x)), along a chain that is listed from below."""
    result = operator.outputs[0]
    last, slot = chain[-1]
    current = samples.fresh_name(graph, f"{last.inputs[slot]}.transposed")
    lifted = [operator.with_(inputs=(last.inputs[slot],), outputs=(current,))]
    for index, (member, slot) in reversed(list(enumerate(chain))):
        name = samples.fresh_name(graph, f"{member.outputs[0]}.transposed") if index else result
        lifted.append(_facing(member, perm).with_input(slot, current).with_(outputs=(name,)))
        current = name
    graph.replace(operator, *lifted)
    for member, _ in chain:
        graph.remove(member)
    return (lifted[0].outputs[0], result)


def join_transposes(graph: Graph, samples: Samples, operator: Operator) -> tuple[str, ...]:
    """f(T(a, p), T(b, p), …) -> T(f(a, b, …), p), if one of the Transposes goes with it; Concat likewise."""
    before = [graph.producer(name) for name in operator.inputs]
    transposes = [each for each in before if each is not None and each.is_a("Transpose")]
    perms = {permutation(samples, each) for each in transposes}
    result = operator.outputs[0]
    if len(transposes) < max(2, len(before)) or len(perms) > 1 or is_captured(graph, result):
        return ()
    perm = perms.pop()
    if perm is None or not any(only_user(graph, each.outputs[0]) is operator for each in transposes):
        return ()
    inner = samples.fresh_name(graph, f"{result}.transposed")
    joined = operator.with_(inputs=tuple(each.inputs[0] for each in transposes), outputs=(inner,))
    if operator.is_a("Concat"):
        joined = joined.with_attributes(axis=perm[operator.attribute("axis")])
    graph.replace(operator, joined, Operator("Transpose", (inner,), (result,), {"perm": perm}))
    return (result, *(user.outputs[0] for user in graph.users(result)))


def permutation(samples: Samples, operator: Operator) -> tuple[int, ...] | None:
    """A Transpose's axes; without the attribute the reverse, if the rank is known."""
    perm = operator.attribute("perm")
    if perm is not None:
        return tuple(perm)
    rank = samples.rank(operator.inputs[0])
    return None if rank is None else tuple(reversed(range(rank)))


def _reorders(graph: Graph, operator: Operator) -> bool:
    """Whether an operator is a Gather that takes positions of one axis, and keeps the axis."""
    indices = graph.initializers.get(operator.inputs[1]) if operator.is_a("Gather") else None
    return indices is not None and indices.ndim == 1


def _facing(operator: Operator, perm: tuple[int, ...]) -> Operator:
    """What does the same to a transposed tensor."""
    if not operator.is_a("Gather"):
        return operator
    return operator.with_attributes(axis=perm.index(operator.attribute("axis", 0) % len(perm)))


def _operand(graph: Graph, operator: Operator, rank: int) -> int | None:
    """The slot of the tensor whose axes an operator keeps apart: its other operands are single numbers, or indices."""
    if operator.is_a(*_UNARY) or _reorders(graph, operator):
        return 0
    if not operator.is_a(*_BINARY) or len(operator.inputs) != 2:
        return None
    for slot, name in enumerate(operator.inputs):
        other = graph.initializers.get(name)
        if other is not None and other.size == 1 and other.ndim <= rank:
            return None if operator.is_a("PRelu") and slot == 0 else 1 - slot
    return None
