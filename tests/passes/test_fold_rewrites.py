"""`fold`: Expands, Resizes, channel shuffles and strided views, and that every number stays what it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.graph import parse
from support.folding import assert_equal, assert_left, fold, outputs

CASES = {
    # Broadcasts
    "expanded to divide": (
        "x[N,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); q = ReduceL2(a, axes=[1]); e = Clip(q, 0.001);"
        " n = Expand(e, {1,8,6,6}); d = Div(a, n); y = Relu(d) }",
        "Clip Conv Div ReduceL2 Relu",
    ),
    "expanded to the shape of a tensor": (
        "x[N,3,H,W] -> y { a = Relu(x); q = ReduceL2(a, axes=[1]); s = Shape(a); n = Expand(q, s); y = Div(a, n) }",
        "Div ReduceL2 Relu",
    ),
    "expanded, of lower rank": (
        "x[N,3,4] -> y, z { v = ReduceMean(x, axes=[0,1], keepdims=0); s = Shape(x); e = Expand(v, s); y = Add(e, x);"
        " c = Less(x, e); z = Where(c, e, x) }",
        "Add Less ReduceMean Where",
    ),
    "expanded by two": (
        "x[N,1], z[1,4] -> y { n = Shape(x, start=0, end=1); s = Concat(n, {4}, axis=0); e = Expand(x, s);"
        " f = Expand(z, s); y = Add(e, f) }",
        "Add Concat Expand Shape",
    ),
    "expanded to a larger shape": ("x[N,1] -> y { e = Expand(x, {1,4}); y = Mul(e, 2.0) }", "Expand Mul"),
    "expanded in two operands": ("x[N,1] -> y { e = Expand(x, {1,4}); y = Mul(e, e) }", "Expand Mul"),
    "expanded and joined": (
        "x[N,1], z[N,4] -> y, k { e = Expand(x, {1,4}); y = Add(z, e); k = Concat(z, e, axis=1) }",
        "Add Concat Expand",
    ),
    "expanded and put out": ("x[N,1], z[N,4] -> y, e { e = Expand(x, {1,4}); y = Add(z, e) }", "Add Expand"),
    "expanded to a slope": ("x[3,4], z[3,1] -> y { e = Expand(z, {3,4}); y = PRelu(x, e) }", "PRelu"),
    "expanded before a slope": ("x[3,1], z[3,4] -> y { e = Expand(x, {3,4}); y = PRelu(e, z) }", "Expand PRelu"),
    "resized to its own size": (
        'x[N,3,4,4] -> y { s = Shape(x); u = Resize(x, _, _, s, mode="linear"); y = Relu(u) }',
        "Relu",
    ),
    "resized to a size that varies": (
        'x[N,3,H,W], z[N,3,5,W] -> y { s = Shape(z); y = Resize(x, _, _, s, mode="linear") }',
        "Resize Shape",
    ),
    # Shuffles
    "shuffle": (
        "x[N,8,4,5] -> y { a = Reshape(x, {0,2,4,4,5}); b = Transpose(a, perm=[0,2,1,3,4]); y = Reshape(b, {0,8,4,5}) }",
        "Gather",
    ),
    "shuffle of a dynamic image": (
        "x[N,8,H,W] -> y { s = Shape(x); n = Gather(s, {0}); h = Gather(s, {2}); w = Gather(s, {3});"
        " t = Concat(n, {2,4}, h, w, axis=0); a = Reshape(x, t); b = Transpose(a, perm=[0,2,1,3,4]);"
        " u = Concat(n, {8}, h, w, axis=0); y = Reshape(b, u) }",
        "Gather",
    ),
    "shuffle with the image as one axis": (
        "x[N,9,4,5] -> y { a = Reshape(x, {0,3,3,-1}); b = Transpose(a, perm=[0,2,1,3]); y = Reshape(b, {0,9,4,5}) }",
        "Gather",
    ),
    "shuffle of the last axis": (
        "x[N,4,5,6] -> y { a = Reshape(x, {0,4,5,2,3}); b = Transpose(a, perm=[0,1,2,4,3]); y = Reshape(b, {0,4,5,6}) }",
        "Gather",
    ),
    "shuffle without a batch": (
        "x[8,3] -> y { a = Reshape(x, {2,4,3}); b = Transpose(a, perm=[1,0,2]); y = Reshape(b, {8,3}) }",
        "Gather",
    ),
    "shuffle of three factors": (
        "x[N,24] -> y { a = Reshape(x, {0,2,3,4}); b = Transpose(a, perm=[0,3,1,2]); y = Flatten(b) }",
        "Gather",
    ),
    "shuffle into halves": (
        "x[N,8,4] -> y, z { a = Reshape(x, {0,2,4,4}); b = Transpose(a, perm=[0,2,1,3]); c = Reshape(b, {0,8,4});"
        " y, z = Split(c, {4,4}, axis=1) }",
        "Gather Split",
    ),
    "shuffle of one group": (
        "x[N,8,4] -> y { a = Reshape(x, {0,1,8,4}); b = Transpose(a, perm=[0,2,1,3]); c = Reshape(b, {0,8,4});"
        " y = Relu(c) }",
        "Relu",
    ),
    "shuffle between Transposes": (
        "x[N,8,4,5] -> y { a = Transpose(x, perm=[0,2,3,1]); b = Reshape(a, {0,4,5,2,4});"
        " c = Transpose(b, perm=[0,1,2,4,3]); d = Reshape(c, {0,4,5,8}); e = Relu(d); y = Transpose(e, perm=[0,3,1,2]) }",
        "Gather Relu",
    ),
    "shuffle read before": (
        "x[N,4] -> y, z { a = Reshape(x, {0,2,2}); b = Transpose(a, perm=[0,2,1]); y = Reshape(b, {0,4}); z = Relu(b) }",
        "Relu Reshape Reshape Transpose",
    ),
    "two axes mixed": (
        "x[N,4,4] -> y { a = Reshape(x, {0,4,2,2}); b = Transpose(a, perm=[0,2,1,3]); y = Reshape(b, {0,4,4}) }",
        "Reshape Reshape Transpose",
    ),
    "two axes swapped, alike": (
        "x[N,4,4] -> y { a = Reshape(x, {0,4,4,1}); b = Transpose(a, perm=[0,2,1,3]); y = Reshape(b, {0,4,4}) }",
        "Reshape Reshape Transpose",
    ),
    "heads": (
        "x[N,6,8] -> y { a = Reshape(x, {0,6,2,4}); b = Transpose(a, perm=[0,2,1,3]); c = Reshape(b, {-1,6,4});"
        " y = Relu(c) }",
        "Relu Reshape Reshape Transpose",
    ),
    "batch and channels": (
        "x[N,4] -> y { a = Reshape(x, {4,-1}); b = Transpose(a); y = Reshape(b, {-1,4}) }",
        "Reshape Transpose",
    ),
    # Strided views
    "strided view": (
        "x[N,2,3] -> y { f = Reshape(x, {-1}); s = Shape(x); n = Gather(s, 0); r = Range(0, n, 1); m = Mul(r, 6);"
        " u = Unsqueeze(m, {1}); i = Add(u, c[6]{0,1,2,3,4,5}); y = Gather(f, i) }",
        "Reshape",
    ),
    "strided view, backwards": (
        "x[N,2,3] -> y { f = Reshape(x, {-1}); s = Shape(x); n = Gather(s, 0); r = Range(0, n, 1); m = Mul(r, 6);"
        " u = Unsqueeze(m, {1}); i = Add(u, c[6]{5,4,3,2,1,0}); y = Gather(f, i) }",
        "Add Gather Gather Mul Range Reshape Shape Unsqueeze",
    ),
    "strided view of a part": (
        "x[N,2,3] -> y { f = Reshape(x, {-1}); s = Shape(x); n = Gather(s, 0); r = Range(0, n, 1); m = Mul(r, 6);"
        " u = Unsqueeze(m, {1}); i = Add(u, c[3]{0,1,2}); y = Gather(f, i) }",
        "Add Gather Gather Mul Range Reshape Shape Unsqueeze",
    ),
    "strided view that clamps": (
        "x[N,6] -> y { f = Reshape(x, {-1}); s = Shape(f); n = Gather(s, 0); r = Range(0, n, 1); i = Min(r, 100);"
        " y = Gather(f, i) }",
        "Gather Gather Min Range Reshape Shape",
    ),
}


@pytest.mark.parametrize(("source", "left"), CASES.values(), ids=CASES)
def test_what_is_left(source: str, left: str) -> None:
    assert_left(source, left)


def test_another_symbol_may_be_longer() -> None:
    graph = parse("x[1,4], z[N,4], u[M,4] -> y { s = Shape(u); e = Expand(x, s); y = Add(z, e) }")
    assert_equal(graph, fold(graph).graph, {"N": 1, "M": 5})


MODES = ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners", "half_pixel_symmetric"]


@pytest.mark.parametrize("opset", [11, 13, 18, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("coordinates", MODES)
def test_sizes_of_resizes(opset: int, mode: str, coordinates: str) -> None:
    """Sizes with a symbolic batch become those of the other axes, or scales, and every number stays what it was."""
    if coordinates == "half_pixel_symmetric" and opset < 19:
        return
    for before, after in [((4, 4), (8, 8)), ((3, 5), (7, 5)), ((6, 8), (3, 2)), ((5, 7), (11, 13)), ((9, 6), (10, 1))]:
        scales = "{}:f32" if opset < 13 else "_"
        graph = parse(
            f"opset {opset}; x[N,3,{before[0]},{before[1]}] -> y {{ s = Shape(x); n = Slice(s, {{0}}, {{2}});"
            f" t = Concat(n, {{{after[0]},{after[1]}}}, axis=0);"
            f' y = Resize(x, {scales}, {scales}, t, mode="{mode}", coordinate_transformation_mode="{coordinates}") }}'
        )
        folded = fold(graph).graph
        (resize,) = (operator for operator in folded.operators if operator.is_a("Resize"))
        changed = [axis for axis in (2, 3) if before[axis - 2] != after[axis - 2]]
        if opset >= 18:
            assert resize.attribute("axes") == tuple(changed)
            assert folded.initializers[resize.inputs[3]].tolist() == [after[axis - 2] for axis in changed]
        if len(resize.inputs) == 3:
            assert folded.initializers[resize.inputs[2]].shape == (4,)
        for batch in (1, 3):
            feeds = {"N": batch}
            np.testing.assert_array_equal(outputs(graph, feeds), outputs(folded, feeds, like=graph))


def test_scales_of_resizes() -> None:
    """Scales are given where they lead back to the sizes, in single and in double precision."""
    for before, after in [(4, 8), (32, 100), (3, 7), (10, 9), (13, 12), (7, 3)]:
        source = f"""x[N,3,{before}] -> y {{ n = Shape(x, start=0, end=2); t = Concat(n, {{{after}}}, axis=0)
            y = Resize(x, _, _, t, mode="linear") }}"""
        (resize, *others) = reversed(fold(parse(source)).graph.operators)
        scale = np.float32(after) / np.float32(before)
        exact = np.floor(float(scale) * before) == np.floor(scale * np.float32(before)) == after
        assert (len(resize.inputs), bool(others)) == ((3, False) if exact else (4, True)), (before, after)


@pytest.mark.parametrize(
    "attributes", ['coordinate_transformation_mode="tf_crop_and_resize"', 'keep_aspect_ratio_policy="not_larger"']
)
def test_resizes_that_stay(attributes: str) -> None:
    graph = parse(f"""opset 18; x[N,1,4,6] -> y {{ n = Shape(x, start=0, end=2); t = Concat(n, {{8,8}}, axis=0)
        y = Resize(x, r[8]{{0.0,0.0,0.0,0.0,1.0,1.0,0.5,0.5}}, _, t, {attributes}) }}""")
    folded = fold(graph).graph
    assert [operator.type for operator in folded.operators] == ["Shape", "Concat", "Resize"]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_random_shuffles(data: st.DataObject) -> None:
    """A view, any Transpose and the view back compute what they did; they are a Gather if one axis is reordered."""
    factors = [data.draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3)) for _ in range(2)]
    shape, inner = [int(np.prod(each)) for each in factors], [*factors[0], *factors[1]]
    perm = [0, *(1 + axis for axis in data.draw(st.permutations(range(len(inner)))))]
    graph = parse(
        f"x[N,{shape[0]},{shape[1]}] -> y {{ a = Relu(x); b = Reshape(a, {_list(0, *inner)});"
        f" c = Transpose(b, perm={perm}); d = Reshape(c, {_list(0, *shape)}); y = Neg(d) }}"
    )
    folded = fold(graph).graph
    for batch in (1, 4):
        np.testing.assert_array_equal(outputs(graph, {"N": batch}), outputs(folded, {"N": batch}))
    sample = np.arange(np.prod(shape)).reshape(shape)
    result = sample.reshape(inner).transpose([axis - 1 for axis in perm[1:]]).reshape(shape)
    one = any(np.array_equal(np.take(sample, order, axis), result) for axis, order in _orders(sample, result))
    if len(inner) > len(shape):
        assert one == ("Transpose" not in {operator.type for operator in folded.operators})


def _orders(sample: np.ndarray, result: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """How the rows, and the columns, would have to be reordered to get the first column, or row, of the result."""
    return [(0, result[:, 0] // sample.shape[1]), (1, result[0] % sample.shape[1])]


def _list(*numbers: int) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"
