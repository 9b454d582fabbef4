"""Changing a graph: what follows by itself, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from pruneir.graph import Graph, Operator, check, parse, text
from pruneir.graph.operator import free_names

CHAIN = "x -> y { a = Relu(x); b = Add(a, w[4]); y = Mul(b, b) }"


def op(graph: Graph, label: str) -> Operator:
    return next(operator for operator in graph.operators if operator.label == label)


def branch(graph: Graph, *captured: str) -> Operator:
    """An If over the first input whose branches read outer values."""
    nodes = [onnx.helper.make_node("Relu", [name], [f"in_{name}"]) for name in captured]
    nodes.append(onnx.helper.make_node("Neg", ["in_" + captured[0]], ["out"]))
    body = onnx.helper.make_graph(nodes, "body", [], [onnx.helper.make_tensor_value_info("out", 1, None)])
    attributes = {key: onnx.helper.make_attribute(key, body) for key in ("then_branch", "else_branch")}
    return Operator("If", (graph.inputs[0],), ("chosen",), attributes, "chosen")


def cut_out(graph: Graph) -> None:
    graph.redirect("b", "a")
    graph.remove(op(graph, "b"))
    graph.drop_initializer("w")


def redirect_captured(graph: Graph) -> None:
    graph.add(branch(graph, "a"))
    graph.redirect("a", "x")


CHANGES: dict[str, tuple[str, Callable[[Graph], object], str]] = {
    "add goes last": (
        CHAIN,
        lambda g: g.add(Operator("Neg", ("b",), ("c",), name="c")),
        "x -> y { a = Relu(x); b = Add(a, w[4]); y = Mul(b, b); c = Neg(b) }",
    ),
    "add near an operator": (
        CHAIN,
        lambda g: g.add(Operator("Neg", ("a",), ("c",), name="c"), near=op(g, "a")),
        "x -> y { a = Relu(x); c = Neg(a); b = Add(a, w[4]); y = Mul(b, b) }",
    ),
    "remove": (
        CHAIN,
        cut_out,
        "x -> y { a = Relu(x); y = Mul(a, a) }",
    ),
    "replace by two": (
        CHAIN,
        lambda g: g.replace(
            op(g, "b"),
            Operator("Neg", ("a",), ("n",), name="n"),
            Operator("Sub", ("n", "w"), ("b",), name="b"),
        ),
        "x -> y { a = Relu(x); n = Neg(a); b = Sub(n, w[4]); y = Mul(b, b) }",
    ),
    "replace by two in the wrong order": (
        CHAIN,
        lambda g: g.replace(
            op(g, "b"),
            Operator("Sub", ("n", "w"), ("b",), name="b"),
            Operator("Neg", ("a",), ("n",), name="n"),
        ),
        "x -> y { a = Relu(x); n = Neg(a); b = Sub(n, w[4]); y = Mul(b, b) }",
    ),
    "define what an operator made": (
        CHAIN,
        lambda g: g.define("a", np.zeros(4, np.float32)),
        "x -> y { b = Add(a[4], w[4]); y = Mul(b, b) }",
    ),
    "define what one operator reads": (
        CHAIN,
        lambda g: g.define_for(op(g, "b"), 1, np.zeros(2, np.float32)),
        "x -> y { a = Relu(x); b = Add(a, w[2]); y = Mul(b, b) }",
    ),
    "define what one of two operators reads": (
        "x -> y { a = Add(x, w[4]); y = Mul(a, w) }",
        lambda g: g.define_for(op(g, "a"), 1, np.zeros(2, np.float32)),
        "x -> y { a = Add(x, 'w@a'[2]); y = Mul(a, w[4]) }",
    ),
    "redirect every slot": (
        CHAIN,
        lambda g: g.redirect("b", "x"),
        "x -> y { a = Relu(x); b = Add(a, w[4]); y = Mul(x, x) }",
    ),
    "a reader added before the operator that defines": (
        "x -> y { y = Relu(x) }",
        lambda g: (
            g.add(Operator("Neg", ("p",), ("q",), name="q")),
            g.add(Operator("Abs", ("x",), ("p",), name="p")),
        ),
        "x -> y { y = Relu(x); p = Abs(x); q = Neg(p) }",
    ),
    "order of the file": (
        "x -> y { d = Relu(x); a = Relu(x); c = Relu(d); b = Relu(a); y = Add(c, b) }",
        lambda g: g.replace(op(g, "a"), Operator("Neg", ("x",), ("a",), name="a")),
        "x -> y { d = Relu(x); a = Neg(x); c = Relu(d); b = Relu(a); y = Add(c, b) }",
    ),
}


@pytest.mark.parametrize(("before", "change", "after"), CHANGES.values(), ids=CHANGES)
def test_change(before: str, change: Callable[[Graph], object], after: str) -> None:
    graph = parse(before)
    untouched = graph.copy()
    change(graph)
    check(graph)
    assert text(graph) == text(parse(after))
    check(untouched)
    assert text(untouched) == text(parse(before))


def test_a_copy_shares_nothing_that_can_change() -> None:
    graph = parse("x[N,4] -> y { y = Add(x, w[4]) }")
    twin, printed = graph.copy(), text(graph)
    twin.replace(op(twin, "y"), Operator("Neg", ("x",), ("y",)))
    twin.drop_initializer("w")
    twin.inputs.append("z")
    twin.outputs.clear()
    twin.declare("x", onnx.TensorProto.INT64, None)
    twin.header.opset_import[0].version = 9
    twin.extras.doc_string = "changed"
    check(graph)
    assert text(graph) == printed
    assert not graph.extras.doc_string


def test_operators_may_be_added_while_going_through_them() -> None:
    graph = parse(CHAIN)
    for operator in graph.operators:
        graph.add(Operator("Identity", operator.outputs[:1], (graph.fresh_name("copy"),)))
    check(graph)
    assert len(graph.operators) == 6


def test_a_definition_is_valid_in_old_files() -> None:
    graph = parse("x[N,4], w[4] -> y { a = Relu(x); y = Add(a, w) }")
    graph.header.ir_version = 3
    graph.define("w", np.zeros(2, np.float32))
    known = graph.type_of("w")
    assert known is not None
    assert (known.shape, graph.header.ir_version) == ((2,), 3)  # a default, whose input follows
    graph.define("a", np.zeros(4, np.float32))
    assert graph.header.ir_version == 4  # from which on an initializer need not be an input


def test_fresh_name() -> None:
    graph = parse("x -> y { y = Add(x, w[4]); w_2 = Relu(y) }")
    assert [graph.fresh_name(name) for name in ("v", "x", "w")] == ["v", "x_2", "w_3"]


def test_users_and_uses() -> None:
    graph = parse("x -> y { y = Add(x, x); z = Clip(x, _, x) }")
    add, clip = graph.operators
    assert graph.users("x") == [add, clip]
    assert graph.uses("x") == [(add, 0), (add, 1), (clip, 0), (clip, 2)]
    assert graph.users("y") == graph.users("nothing") == []
    assert graph.producer("y") is add
    assert graph.producer("x") is graph.producer("nothing") is None


def test_captures_are_uses() -> None:
    graph = parse("x, z -> { a = Relu(x); b = Relu(z) }")
    added = graph.add(branch(graph, "a", "x"))
    check(graph)
    assert added.captures == ("a", "x")
    assert graph.uses("a") == [(added, -1)]
    assert graph.uses("x") == [(op(graph, "a"), 0), (added, 0), (added, -1)]
    graph.replace(op(graph, "a"), Operator("Neg", ("b",), ("a",), name="a"))
    assert [operator.label for operator in graph.operators] == ["b", "a", "chosen"]


def test_free_names_of_nested_subgraphs() -> None:
    graph = parse("x, z -> { }")
    inner = branch(graph, "z", "local")
    nodes = [
        onnx.helper.make_node("Relu", ["x"], ["local"]),
        onnx.helper.make_node("If", ["flag"], ["chosen"]),
    ]
    nodes[1].attribute.extend(inner.attributes.values())
    assert free_names(onnx.helper.make_graph(nodes, "outer", [], [])) == {"x", "flag", "z"}


REFUSED: dict[str, Callable[[Graph], object]] = {
    "'a' is already defined": lambda g: g.add(Operator("Neg", ("x",), ("a",))),
    "'y' is a graph output": lambda g: g.redirect("y", "b"),
    "'a' is read inside a subgraph": redirect_captured,
}


@pytest.mark.parametrize(("message", "change"), REFUSED.items(), ids=REFUSED)
def test_refused(message: str, change: Callable[[Graph], object]) -> None:
    graph = parse(CHAIN)
    with pytest.raises(ValueError, match=message):
        change(graph)
    check(graph)
    assert text(graph).replace("  chosen = If(x, then_branch=<graph>, else_branch=<graph>)\n", "") == text(parse(CHAIN))


def test_constants() -> None:
    graph = parse("-> a { a = Add(i{1,2}, c); c = Constant(value={3}); f = Constant(value_floats=[0.5]); n = Relu(a) }")
    found = {name: graph.constant(name) for name in ("i", "c", "f", "n")}
    assert {name: None if array is None else array.tolist() for name, array in found.items()} == {
        "i": [1, 2],
        "c": [3],
        "f": [0.5],
        "n": None,
    }
    assert found["f"] is not None
    assert found["f"].dtype == np.float32


def test_dropping_a_default_drops_the_input() -> None:
    graph = parse("x[4], w[4] -> y { w[4]; y = Relu(x) }")
    assert graph.data_inputs == ["x"]
    graph.drop_initializer("w")
    check(graph)
    assert graph.inputs == ["x"]


def test_forget_inner_types() -> None:
    graph = parse("x[4] -> y { a = Relu(x); y = Relu(a) }")
    graph.declare("a", onnx.TensorProto.FLOAT, (4,))
    graph.forget_inner_types()
    assert list(graph.declared) == ["x", "y"]


OPERATOR = Operator("Clip", ("x",), ("", "y"), {"min": 0.0, "max": 6.0})


def test_operator_changes_are_copies() -> None:
    assert OPERATOR.label == "y"
    assert OPERATOR.with_input(2, "hi").inputs == ("x", "", "hi")
    assert OPERATOR.with_input(2, "hi").with_input(2, "").inputs == ("x",)
    assert OPERATOR.with_attributes(min=None, max=1.0).attributes == {"max": 1.0}
    assert OPERATOR.with_(domain="com.foo").is_a("Clip") is False
    assert OPERATOR.attribute("min") == 0.0
    assert OPERATOR.attribute("axis", 1) == 1
    assert OPERATOR.is_a("Relu", "Clip")
