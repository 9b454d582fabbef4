"""The text form: what it means, what it refuses, and that nothing is lost on the way through it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.graph import Graph, Operator, TensorType, check, parse, text
from pruneir.onnx_io import load, session

F32, F16, I64 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64

GRAPHS = {
    "residual": "x[N,3,8,8] -> y { a = Conv(x, w1[16,3,3,3]); b = Conv(a, w2[16,16,3,3], pads=[1,1,1,1]);"
    " s = Add(a, b); y = Conv(s, w3[4,16,1,1]) }",
    "every kind of thing": """
        opset 13
        opset com.foo 2
        x[N,3,?,8], 'in put'[]:f16, seq:? -> y, k[3]:i64 {   # a comment
            a, _ = Split(x, axis=1, num_outputs=2); r = Reshape(a, {0,-1})
            c = Clip(r, 0.0, 6.0)

            '1' = com.foo::X(c, _, -3, 1e-5:f16, [3,4]:i8, t[]{1}:bool, e=1e-5, s="a\\"b", b=b"x") @"n/m"
            y = Add(r, 'in put') @""; k = Shape(x,
                start=0)
            Print(y)
        }""",
    "literals": """-> y { y = Constant(value={0,-1}); a = Constant(value=tensor[9]:i32)
        b = Op(-inf, []{nan}, {}, {}:f16, {1.5}, {1.5,2.0}, l=[], m=[{1},tensor[2,2]], n=[1,2.5], s=["x"]) }""",
    "a default and a tensor put out": "x[3], d[3] -> y, w, x { d{0.5,1.0,2.0}; w[4]; y = Add(x, d) }",
    "shared tensor": "x[N,4] -> y { a = MatMul(x, w[4,4]); y = MatMul(a, w) }",
    "tensor of an input's name": "x[N,4], w[4,4] -> y { y = MatMul(x, w[4,4]) }",
    "out of order": "x -> y { y = Relu(a); a = Relu(x) }",
    "nothing": "->{}",
}


@pytest.mark.parametrize("source", GRAPHS.values(), ids=GRAPHS)
def test_round_trip(source: str) -> None:
    graph = parse(source)
    check(graph)
    again = parse(text(graph))
    check(again)
    assert text(again) == text(graph)
    assert structure(again) == structure(graph)


def structure(graph: Graph) -> Any:
    """All that the text form keeps, comparable."""
    return {
        "inputs": [(name, graph.type_of(name)) for name in graph.inputs],
        "outputs": [(name, graph.type_of(name)) for name in graph.outputs],
        "initializers": {name: comparable(array) for name, array in graph.initializers.items()},
        "opsets": {o.domain: o.version for o in graph.header.opset_import},
        "operators": [
            (op.domain, op.type, op.name, op.inputs, op.outputs, {k: comparable(v) for k, v in op.attributes.items()})
            for op in graph.operators
        ],
    }


def comparable(value: Any) -> Any:
    match value:
        case np.ndarray():
            shown = value.ndim < 2 and value.size < 9 and value.dtype.kind in "iub"
            return value.dtype, value.shape, value.tolist() if shown else None
        case tuple():
            return tuple(map(comparable, value))
    return type(value), repr(value)


def test_printed_form() -> None:
    source = """
        opset 13
        x[N,3,8,8], z[?,4]:f16 -> y, k:i64 {
          a = Conv(x, w1[16,3,3,3], pads=[1,1,1,1])
          b, _ = Split(a, axis=1) @"/stem/Split"
          r = Reshape(b, {0,-1})
          c = Clip(r, 0.0, high[]{6.0})
          y = com.foo::Custom(c, _, z, [9]:i8, mode="fast") @""
          k = Shape(y)
        }"""
    lines = [line.removeprefix("        ") for line in source.strip("\n").split("\n")]
    assert text(parse(source)) == "\n".join(lines)


MODELS = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("path", sorted(MODELS.rglob("*.onnx")), ids=lambda path: path.stem)
def test_real_networks_round_trip(path: Path) -> None:
    printed = text(load(path))
    assert text(parse(printed)) == printed


# Meaning of single forms


TENSORS = {
    "{0,-1}": (np.int64, (2,), [0, -1]),
    "{3}": (np.int64, (1,), [3]),
    "3": (np.int64, (), 3),
    "-3.0": (np.float32, (), -3.0),
    "3:i32": (np.int32, (), 3),
    "{}": (np.int64, (0,), []),
    "{}:f32": (np.float32, (0,), []),
    "{1,2.5}": (np.float32, (2,), [1.0, 2.5]),
    "{inf,-inf}:f64": (np.float64, (2,), [np.inf, -np.inf]),
    "[2,2]{1,2,3,4}:u8": (np.uint8, (2, 2), [[1, 2], [3, 4]]),
    "[]{1}:bool": (np.bool_, (), True),
    "named{0,1}": (np.int64, (2,), [0, 1]),
    "'odd name'[1]{7}:f16": (np.float16, (1,), [7.0]),
}


@pytest.mark.parametrize(("source", "expected"), TENSORS.items(), ids=TENSORS)
def test_tensor_literal(source: str, expected: tuple[type, tuple[int, ...], Any]) -> None:
    (array,) = parse(f"-> y {{ y = Op({source}) }}").initializers.values()
    assert (array.dtype.type, array.shape, array.tolist()) == expected


ATTRIBUTES = {
    "1": 1,
    "-1": -1,
    "1.": 1.0,
    "1e-5": float(np.float32(1e-5)),
    "inf": float("inf"),
    '"same"': "same",
    r'"a\"b\\\n"': 'a"b\\\n',
    'b"\\"x"': b'"x',
    "[]": (),
    "[1,2]": (1, 2),
    "[1,2.5]": (1.0, 2.5),
    '["a","b"]': ("a", "b"),
}


@pytest.mark.parametrize(("source", "expected"), ATTRIBUTES.items(), ids=ATTRIBUTES)
def test_attribute(source: str, expected: Any) -> None:
    value = parse(f"-> y {{ y = Op(k={source}) }}").operators[0].attribute("k")
    assert (value, type(value)) == (expected, type(expected))


TYPES = {
    "x": TensorType(F32, None),
    "x:i64": TensorType(I64, None),
    "x[]": TensorType(F32, ()),
    "x[N,3,?,'2*M']:f16": TensorType(F16, ("N", 3, None, "2*M")),
    "x:?": None,
}


@pytest.mark.parametrize(("source", "expected"), TYPES.items(), ids=TYPES)
def test_declared_type(source: str, expected: TensorType | None) -> None:
    assert parse(f"{source} -> x {{}}").type_of("x") == expected
    y = source.replace("x", "y")
    assert parse(f"-> {y} {{ y = Op() }}").type_of("y") == expected


NAMES = {
    "y = Op()": "y",
    '_, y = Op() @""': "",
    "_, y = Op()": "y",
    'y = Op() @"/a b"': "/a b",
    "Op()": "",
    "'a/b' = Op()": "a/b",
}


@pytest.mark.parametrize(("statement", "name"), NAMES.items(), ids=NAMES)
def test_node_name(statement: str, name: str) -> None:
    assert parse(f"-> {{ {statement} }}").operators[0].name == name


def test_opsets() -> None:
    graph = parse("opset 13\nopset com.foo 3; x -> y { y = com.foo::A(x); z = com.bar::B(x) }")
    assert (graph.opset(), graph.opset("com.foo"), graph.opset("com.bar")) == (13, 3, 1)
    assert text(graph).startswith("opset 13\nopset com.foo 3\nx -> y {")
    assert parse("x -> x {}", opset=11).opset() == 11
    assert graph.header.ir_version == 10


def test_nameless_tensors_take_the_operators_name() -> None:
    graph = parse("x -> y { y, _ = Op(x, {1}, _, [3,3]) }")
    assert graph.operators[0].inputs == ("x", "y.1", "", "y.3")


ERRORS = {
    "x[N,3 -> y {}": "line 1, column 7: expected `,` or `]`, found ->",
    "x[1.5] -> x {}": "line 1, column 3: expected an integer, found 1.5",
    "x:f31 -> x {}": "line 1, column 3: expected a dtype",
    "x, x -> y {}": "line 1, column 4: 'x' is listed twice",
    "x -> y {": "line 1, column 9: expected a statement or `}`, found the end",
    "x -> y {} y": "line 1, column 11: expected the end, found y",
    "x -> y { y = Relu(x) z }": "line 1, column 22: expected `;`, a new line or `}`, found z",
    "x -> y {\n  y = Relu(x, z)\n}": "line 2, column 15: 'z' is read, but no input, tensor or operator defines it",
    "x -> y { z = Relu(x) }": "line 1, column 6: 'y' is read, but",
    "x -> y { y = Relu(x); y = Relu(x) }": "line 1, column 23: 'y' is defined twice",
    "x -> y { x = Relu(x) }": "line 1, column 10: 'x' is defined twice",
    "x -> y { y = Op(w[2], w[2]) }": "line 1, column 23: 'w' is defined twice",
    "x -> y { y = }": "line 1, column 14: expected an operator type, found }",
    "x -> y { y = Op(x, a=1, a=2) }": "line 1, column 25: attribute 'a' is given twice",
    "x -> y { y = Op(x, a=b) }": "line 1, column 22: expected an int, a float, a string, a list or a tensor, found b",
    "x -> y { y = Op(x, :) }": "line 1, column 20: expected an input, an attribute or `)`, found :",
    "x -> y { y = If(x, then_branch=<graph>) }": "line 1, column 32: <graph> stands for an attribute that has no text",
    "x -> y { y = Op(x, {300}:u8) }": "line 1, column 20: not a tensor of u8",
    "x -> y { y = Op(x, [3]{1,2}) }": "line 1, column 20: not a tensor of i64",
    "x -> y { y = Op(x) @name }": 'line 1, column 21: expected a node name in "quotes", found name',
    "x -> y { y = Op(3x) }": "line 1, column 17: expected a name, a number or a symbol, found 3",
    "_ -> y {}": "line 1, column 1: expected an input or `->`, found _",
    "x -> y { y = Op(z); z = Op(y) }": "the graph has a cycle through",
}


@pytest.mark.parametrize(("source", "message"), ERRORS.items(), ids=ERRORS)
def test_error(source: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the message is compared below
        parse(source)
    assert str(raised.value).startswith(message)


# Random values


def test_random_values_depend_on_name_and_seed_alone() -> None:
    def draw(source: str, seed: int = 0) -> Any:
        return parse(source, seed=seed).initializers["w"].tolist()

    first = draw("-> y { y = Op(w[4,4]) }")
    assert first == draw("x -> z { a = Op(x); z = Other(a, w[4,4]) }")
    assert first != draw("-> y { y = Op(w[4,4]) }", seed=1)
    assert first != parse("-> y { y = Op(v[4,4]) }").initializers["v"].tolist()


@pytest.mark.parametrize(
    "dtype", ["f32", "f16", "bf16", "f64", "i8", "u8", "i32", "i64", "bool", "str", "f8e4m3fn", "i4", "c64"]
)
@pytest.mark.parametrize("shape", ["[]", "[5]", "[3,4]", "[0,2]"])
def test_every_dtype(dtype: str, shape: str) -> None:
    graph = parse(f"-> y {{ y = Op(w{shape}:{dtype}) }}")
    assert text(parse(text(graph))) == text(graph)
    assert graph.initializers["w"].shape == tuple(int(n) for n in shape[1:-1].split(",") if n)


def test_activations_of_deep_nets_stay_moderate() -> None:
    layers = "; ".join(
        f"c{i} = Conv(r{i}, w{i}[32,32,3,3], b{i}[32], pads=[1,1,1,1]);"
        f"n{i} = BatchNormalization(c{i}, s{i}[32], t{i}[32], m{i}[32], v{i}[32]); r{i + 1} = Relu(n{i})"
        for i in range(40)
    )
    graph = parse(f"r0[1,32,8,8] -> r40 {{ {layers} }}")
    (y,) = session(graph).run(None, {"r0": np.ones((1, 32, 8, 8), np.float32)})
    assert 0.01 < np.abs(y).mean() < 100


# Any graph


WORDS = ["inf", "nan", "tensor", "opset", "_", "?", "b", "a.b", "1", "->", "N", "'", '"', "\\", "\n", ""]
NAME = st.one_of(
    st.sampled_from([word for word in WORDS if word]), st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
)
TEXT = st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))
DTYPE = st.sampled_from([np.float32, np.float16, np.float64, np.int64, np.int8, np.uint8, np.bool_])
ARRAY = st.builds(
    lambda dtype, shape, fill: np.full(shape, fill, dtype),
    DTYPE,
    st.lists(st.integers(0, 3), max_size=3),
    st.one_of(st.integers(0, 100), st.floats(0, 100)),
)
SINGLE = st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(width=32), TEXT, st.binary(max_size=3))
ATTRIBUTE = st.one_of(
    SINGLE,
    ARRAY,
    st.lists(st.integers(), max_size=3).map(tuple),
    st.lists(st.floats(width=32), min_size=1, max_size=3).map(tuple),
    st.lists(TEXT, max_size=3).map(tuple),
)
SHAPE = st.none() | st.lists(st.one_of(st.none(), st.integers(0, 9), NAME), max_size=3)
ELEMENT = st.sampled_from([F32, F16, I64])


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """A valid graph of arbitrary operators, with odd names, absent inputs and constants shared or unread."""
    graph = Graph("graph")
    graph.header.opset_import.append(onnx.helper.make_opsetid("", draw(st.sampled_from([9, 17, 21]))))
    names = iter(draw(st.lists(NAME, min_size=24, max_size=24, unique=True)))
    readable: list[str] = []
    for _ in range(draw(st.integers(0, 2))):
        graph.inputs.append(next(names))
        graph.declare(graph.inputs[-1], draw(ELEMENT), draw(SHAPE))
    for _ in range(draw(st.integers(0, 3))):
        graph.set_initializer(draw(st.sampled_from([next(names), *graph.inputs])), draw(ARRAY))
    readable = list(dict.fromkeys([*graph.inputs, *graph.initializers]))
    for _ in range(draw(st.integers(0, 4))):
        inputs = draw(st.lists(st.sampled_from(["", *readable]), max_size=4))
        outputs = [draw(st.sampled_from([next(names), ""])) for _ in range(draw(st.integers(0, 3)))]
        attributes = draw(st.dictionaries(NAME, ATTRIBUTE, max_size=2))
        name, domain = (
            draw(st.sampled_from(["", "node", *outputs])),
            draw(st.sampled_from(["", "", "com.foo", "odd domain"])),
        )
        graph.add(Operator(draw(NAME), tuple(inputs), tuple(outputs), attributes, name, domain))
        readable += filter(None, outputs)
    if readable:
        graph.outputs = draw(st.lists(st.sampled_from(readable), max_size=2, unique=True))
    for name in graph.outputs:
        if name not in graph.inputs and draw(st.booleans()):
            graph.declare(name, draw(ELEMENT), draw(SHAPE))
    for domain in {op.domain for op in graph.operators} - {""}:
        graph.header.opset_import.append(onnx.helper.make_opsetid(domain, draw(st.integers(1, 2))))
    return graph


@settings(deadline=None, max_examples=300)
@given(graphs())
def test_any_graph_round_trips(graph: Graph) -> None:
    check(graph)
    printed = text(graph)
    again = parse(printed)
    check(again)
    assert text(again) == printed
    assert structure(again) == structure(graph)
