"""The validity check finds every way in which a graph can be broken by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from pruneir.graph import Graph, Operator, check, parse
from pruneir.graph.check import InvalidGraph

SOURCE = "x[N,4] -> y { a = Relu(x); b = Add(a, w[4]); y = Mul(b, b) }"


def network(graph: Graph) -> Any:
    return graph.network


def first(graph: Graph) -> Operator:
    return graph.operators[0]


def foreign() -> Operator:
    return Operator("Neg", ("x",), ("n",), name="n")


def close_cycle(graph: Graph) -> None:
    """Let the first operator read the second's output, in the order kept from before."""
    graph.replace(first(graph), Operator("Relu", ("b",), ("a",), name="a"))


def stale_order(graph: Graph) -> None:
    graph._ordered = graph.operators[::-1]


BROKEN: dict[str, tuple[Callable[[Graph], object], list[str]]] = {
    "input twice": (lambda g: g.inputs.append("x"), ["input 'x' is listed 2 times"]),
    "input and output of an operator": (
        lambda g: g.inputs.append("a"),
        ["'a' is an input and an operator's output"],
    ),
    "initializer and output of an operator": (
        lambda g: g.set_initializer("a", np.zeros(4)),
        ["'a' is an initializer and an operator's output"],
    ),
    "undefined output": (
        lambda g: g.outputs.append("z"),
        ["output 'z' is not defined", "'z' is not in the network"],
    ),
    "undefined read": (lambda g: g.drop_initializer("w"), ["<Add 'b'> reads 'w', which nothing defines"]),
    "removed operator": (lambda g: g.remove(first(g)), ["<Add 'b'> reads 'a', which nothing defines"]),
    "no array": (
        lambda g: g.initializers.update(w=[1.0]),  # type: ignore[call-overload]
        ["initializer 'w' is a list, not a numpy array"],
    ),
    "initializer beside the network": (
        lambda g: g.initializers.update(v=np.zeros(4)),
        ["'v' is not in the network"],
    ),
    "edge lost before": (
        lambda g: network(g).remove_edge("x", first(g)),
        ["<Relu 'a'> reads 'x', in the network nothing"],
    ),
    "edge lost behind": (
        lambda g: network(g).remove_edge(first(g), "a"),
        ["<Relu 'a'> defines 'a', in the network nothing"],
    ),
    "edge too many": (
        lambda g: network(g).add_edge("w", first(g)),
        ["<Relu 'a'> reads 'x', in the network 'w', 'x'"],
    ),
    "stray value": (lambda g: network(g).add_node("s"), ["'s' is a stray value"]),
    "stray node": (lambda g: network(g).add_node(3), ["3 in the network is no value and no operator"]),
    "stray operator": (
        lambda g: network(g).add_edges_from([("x", op := foreign()), (op, "n")]),
        ["<Neg 'n'> is in the network, but not listed"],
    ),
    "defined twice": (
        lambda g: network(g).add_edges_from([("x", op := foreign().with_(outputs=("a",))), (op, "a")]),
        ["'a' is defined by 2 operators", "<Neg 'n'> is in the network, but not listed"],
    ),
    "cycle": (close_cycle, ["the graph has a cycle through <Add 'b'>, <Relu 'a'>"]),
    "stale order": (
        stale_order,
        [
            "<Mul 'y'> is listed before the operator that defines 'b'",
            "<Mul 'y'> is listed before the operator that defines 'b'",
            "<Add 'b'> is listed before the operator that defines 'a'",
        ],
    ),
}


@pytest.mark.parametrize(("damage", "problems"), BROKEN.values(), ids=BROKEN)
def test_broken(damage: Callable[[Graph], object], problems: list[str]) -> None:
    graph = parse(SOURCE)
    check(graph)
    damage(graph)
    with pytest.raises(InvalidGraph) as raised:
        check(graph)
    assert raised.value.problems == problems
    assert str(raised.value).splitlines() == raised.value.problems


def test_operator_lost_from_the_network() -> None:
    graph = parse(SOURCE)
    network(graph).remove_node(first(graph))
    with pytest.raises(InvalidGraph, match="reads 'a', which nothing defines"):
        check(graph)


GOOD = {
    "empty": "-> {}",
    "unread input": "x, z -> x {}",
    "unread tensor": "x -> x { w[4] }",
    "tensor as output": "-> w { w[4] }",
    "default of an input": "w[4] -> y { y = Relu(w[4]) }",
    "one value in two slots": "x -> y { y = Op(x, _, x) }",
    "absent outputs": "x -> y { _, y = Op(x); _, _ = Op(x) }",
}


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD)
def test_good(source: str) -> None:
    check(parse(source))


def test_sparse_initializers_are_defined() -> None:
    graph = parse(SOURCE)
    graph.drop_initializer("w")
    values = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    indices = onnx.helper.make_tensor("", onnx.TensorProto.INT64, [1], [0])
    graph.extras.sparse_initializer.append(onnx.helper.make_sparse_tensor(values, indices, [4]))
    check(graph)


def test_a_type_without_a_value_is_no_problem() -> None:
    graph = parse(SOURCE)
    graph.declare("gone", onnx.TensorProto.FLOAT, None)
    check(graph)


def test_captured_values_must_be_defined() -> None:
    graph = parse(SOURCE)
    body = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["outer"], ["o"])], "body", [], [])
    graph.add(Operator("If", ("x",), ("c",), {"then_branch": onnx.helper.make_attribute("then_branch", body)}))
    with pytest.raises(InvalidGraph, match="<If 'c'> reads 'outer', which nothing defines"):
        check(graph)
