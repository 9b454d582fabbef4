"""Graphs in ONNX Runtime, local functions inlined, and skeletons for tools: the numbers stay the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruneir.errors import PruneirError
from pruneir.graph.check import check
from pruneir.onnx_io import inline_functions, load, save, session, skeleton, to_model

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def reference(model: ModelProto) -> list[np.ndarray]:
    return ort.InferenceSession(model.SerializeToString()).run(None, {"x": X})  # type: ignore[no-any-return]


@pytest.fixture
def large(model: ModelProto) -> ModelProto:
    """The model with tensors large enough to be kept outside of what a tool sees, one in a Constant node."""
    rng = np.random.default_rng(1)
    for name, dtype in {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}.items():
        array = rng.normal(size=(4, 1000)).astype(dtype)
        tensor = numpy_helper.from_array(array, name)
        if name == "f16":
            model.graph.node.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            model.graph.initializer.append(tensor)
        model.graph.node.append(helper.make_node("Cast", [name], [f"{name}_cast"], to=TensorProto.FLOAT))
        model.graph.node.append(helper.make_node("MatMul", ["h", f"{name}_cast"], [f"{name}_out"]))
        model.graph.output.append(helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, ["N", 1000]))
    return model


@pytest.mark.parametrize("ir", [3, 8])
@pytest.mark.parametrize("optimize", ["none", "basic", "extended", "all"])
def test_session_computes_the_same(optimize: str, ir: int, large: ModelProto) -> None:
    large.ir_version = ir
    if ir == 3:
        large.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
        large.graph.input.append(helper.make_tensor_value_info("f32", TensorProto.FLOAT, [4, 1000]))
        large.graph.input.append(helper.make_tensor_value_info("bf16", TensorProto.BFLOAT16, [4, 1000]))
    found = session(load(large), optimize=optimize, threads=1).run(None, {"x": X})  # type: ignore[arg-type]
    for a, b in zip(found, reference(large), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("said", "threads", "made"), [("1", 0, 1), ("3,2", 0, 3), ("1", 2, 2), ("", 0, 0), ("many", 0, 0), (None, 0, 0)]
)
def test_threads_are_as_many_as_the_environment_says(
    said: str | None, threads: int, made: int, model: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if said is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert session(load(model), threads=threads).get_session_options().intra_op_num_threads == made


def test_session_holds_what_it_reads(large: ModelProto) -> None:
    """The arrays of a graph that is gone are still there for the session."""
    expected = session(load(large)).run(None, {"x": X})
    running = session(load(large), optimize="none")
    noise = [np.full((4, 1000), np.nan, np.float32) for _ in range(20)]
    for a, b in zip(running.run(None, {"x": X}), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert noise


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "i8", "f2", "f8"])
def test_any_layout_and_type(dtype: str, model: ModelProto, tmp_path: Path) -> None:
    """A transposed view, as surgery may leave it, is read as the numbers that it shows."""
    graph = load(model)
    array = (np.arange(3000).reshape(60, 50) % 100).astype(dtype).T[::2]
    graph.set_initializer("view", array)
    graph.outputs.append("view")
    save(graph, tmp_path / "m.onnx")
    for running in (session(graph), ort.InferenceSession(tmp_path / "m.onnx"), session(load(to_model(graph)))):
        found = running.run(["view"], {"x": X})[0]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_session_returns_inner_values(model: ModelProto) -> None:
    running = session(load(model), ["h", "y", "h", "x", "w"])
    assert [value.name for value in running.get_outputs()] == ["y", "h", "x", "w"]
    y, h, x, w = running.run(None, {"x": X})
    np.testing.assert_array_equal(y, np.maximum(h, 0))
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(w, numpy_helper.to_array(model.graph.initializer[0]))


def test_session_errors_are_one_line(model: ModelProto) -> None:
    with pytest.raises(PruneirError, match="has no value 'nowhere'"):
        session(load(model), ["nowhere"])
    model.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(PruneirError, match=r"ONNX Runtime refuses the graph: .*NoSuchOperator") as caught:
        session(load(model))
    assert "\n" not in str(caught.value)


def test_skeleton_has_types_but_no_data(large: ModelProto) -> None:
    bones = skeleton(load(large))
    assert bones.ByteSize() < 3000
    assert [tensor.dims for tensor in bones.graph.initializer] == [t.dims for t in large.graph.initializer]
    inferred = onnx.shape_inference.infer_shapes(bones, strict_mode=True, data_prop=True)
    full = onnx.shape_inference.infer_shapes(large, strict_mode=True, data_prop=True)
    assert inferred.graph.value_info == full.graph.value_info


def square(opset: int) -> onnx.FunctionProto:
    """b = a·a + 1, with a nested call, a constant that is large, and a default attribute."""
    nodes = [
        helper.make_node("Mul", ["a", "a"], ["aa"]),
        helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.ones((1000, 4), np.float32))),
        helper.make_node("ReduceMean", ["one"], ["mean"], axes=[0], keepdims=0),
        helper.make_node("Add", ["aa", "mean"], ["b"]),
    ]
    return helper.make_function("local", "Square", ["a"], ["b"], nodes, [helper.make_opsetid("", opset)])


@pytest.fixture
def with_functions(large: ModelProto) -> ModelProto:
    nested = [helper.make_node("Square", ["a"], ["s"], domain="local")]
    nested.append(helper.make_node("Square", ["s"], ["b"], domain="local"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    large.functions.extend([square(17), helper.make_function("local", "Twice", ["a"], ["b"], nested, opsets)])
    large.opset_import.add(domain="local", version=1)
    large.graph.node.append(helper.make_node("Twice", ["h"], ["t"], domain="local", name="call"))
    large.graph.output.append(helper.make_tensor_value_info("t", TensorProto.FLOAT, ["N", 4]))
    return large


def test_functions_inlined(with_functions: ModelProto, assert_lossless: Callable[[ModelProto], None]) -> None:
    assert_lossless(with_functions)
    graph = load(with_functions)
    inlined = inline_functions(graph)
    check(inlined)
    assert not inlined.header.functions
    assert {operator.domain for operator in inlined.operators} == {""}
    assert len(inlined.operators) == len(graph.operators) - 1 + 8
    assert all(inlined.initializers[name] is array for name, array in graph.initializers.items() if array.size > 1000)
    assert inlined.constant("f16") is graph.constant("f16")
    for a, b in zip(session(inlined).run(None, {"x": X}), reference(with_functions), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert [op.type for op in graph.operators][-1] == "Twice"
    onnx.checker.check_model(to_model(inlined), full_check=True)


def test_functions_of_another_opset_inlined(model: ModelProto) -> None:
    model.functions.append(square(16))
    model.opset_import.add(domain="local", version=1)
    model.graph.node[1].op_type, model.graph.node[1].domain = "Square", "local"
    inlined = inline_functions(load(model))
    assert not inlined.header.functions
    h = X @ numpy_helper.to_array(model.graph.initializer[0])
    np.testing.assert_allclose(session(inlined).run(None, {"x": X})[0], h * h + 1, rtol=1e-5)


def test_without_functions_nothing_is_inlined(model: ModelProto) -> None:
    graph = load(model)
    assert inline_functions(graph) is graph
