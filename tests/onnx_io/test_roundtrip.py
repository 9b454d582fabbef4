"""Load and save lose nothing: every feature of the format, each put into one small model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from pruneir.onnx_io import load, to_model

Change = Callable[[ModelProto], object]


def entry(message: object, key: str = "key", value: str = "value") -> None:
    message.metadata_props.add(key=key, value=value)  # type: ignore[attr-defined]


def model_fields(m: ModelProto) -> None:
    m.producer_name, m.producer_version, m.domain, m.model_version = "maker", "1.2", "org.example", 7
    m.doc_string = "about\nthe model"
    m.opset_import.add(domain="com.example", version=3)
    entry(m)
    m.configuration.add(name="two", num_devices=2)


def graph_fields(m: ModelProto) -> None:
    m.graph.doc_string = "about the graph"
    entry(m.graph)
    note = m.graph.quantization_annotation.add(tensor_name="h")
    note.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")


def node_fields(m: ModelProto) -> None:
    m.graph.node[0].doc_string = "a node"
    m.graph.node[0].overload = "fast"
    entry(m.graph.node[1])
    m.graph.node[1].device_configurations.add(configuration_id="two", pipeline_stage=1)


def tensor_fields(m: ModelProto) -> None:
    m.graph.initializer[0].doc_string = "a weight"
    entry(m.graph.initializer[0])


def types(m: ModelProto) -> None:
    x = m.graph.input[0]
    x.doc_string = "an input"
    entry(x)
    x.type.denotation = "IMAGE"
    x.type.tensor_type.shape.dim[0].denotation = "DATA_BATCH"
    m.graph.output[0].type.tensor_type.shape.dim[1].ClearField("value")
    m.graph.value_info.add(name="h").type.tensor_type.elem_type = TensorProto.FLOAT
    m.graph.value_info.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))
    m.graph.value_info.append(helper.make_tensor_value_info("unheard of", TensorProto.INT8, []))
    m.graph.value_info.add(name="untyped")
    m.graph.value_info.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["M", 4]))


def inputs_of_ir_3(m: ModelProto) -> None:
    m.ir_version = 3
    m.graph.input.insert(0, helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))


def other_kinds_of_values(m: ModelProto) -> None:
    m.graph.input.append(helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None))
    m.graph.node.append(helper.make_node("Identity", ["s"], ["t"]))
    m.graph.output.append(helper.make_tensor_sequence_value_info("t", TensorProto.FLOAT, ["a", None]))


def direct_outputs(m: ModelProto) -> None:
    m.graph.output.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, ["M", 4]))
    m.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 4]))


def absent_inputs_and_outputs(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Clip", ["h", "", "six"], ["c"]))
    m.graph.node.append(helper.make_node("Dropout", ["h", "", ""], ["d", ""]))
    m.graph.initializer.append(numpy_helper.from_array(np.array(6, np.float32), "six"))


def constant_nodes(m: ModelProto) -> None:
    tensor = numpy_helper.from_array(np.ones((2, 3), np.float32), "its own name")
    tensor.doc_string = "and doc string"
    entry(tensor)
    sparse = onnx.SparseTensorProto(values=numpy_helper.from_array(np.ones(1, np.float32)), dims=[3])
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2])))
    forms: dict[str, Any] = {
        "value": tensor,
        "value_float": 0.1,
        "value_floats": [1.0, 2.0],
        "value_int": 3,
        "value_ints": [4, 5],
    }
    forms |= {"value_string": "s", "value_strings": ["s", b"\xff"], "sparse_value": sparse}
    for number, (key, value) in enumerate(forms.items()):
        m.graph.node.append(helper.make_node("Constant", [], [f"c{number}"], **{key: value}))
    m.graph.node.append(helper.make_node("Constant", [], ["empty"]))
    m.graph.node[-1].attribute.add(name="value_floats", type=AttributeProto.FLOATS)


def constant_of_shape(m: ModelProto) -> None:
    m.graph.node.insert(0, helper.make_node("Constant", [], ["shape"], value_ints=[4, 4]))
    value = numpy_helper.from_array(np.array([0.5], np.float32))
    m.graph.node.insert(1, helper.make_node("ConstantOfShape", ["shape"], ["w"], value=value))
    del m.graph.initializer[:]


def odd_attributes(m: ModelProto) -> None:
    node = m.graph.node.add(op_type="Odd", domain="com.example", output=["o"])
    kinds = AttributeProto.AttributeType.items()
    node.attribute.extend(AttributeProto(name=f"empty {name}", type=kind) for name, kind in kinds)
    node.attribute.add(name="bytes", type=AttributeProto.STRING, s=b"\xff\x00", doc_string="about it")
    node.attribute.add(name="nan", type=AttributeProto.FLOATS, floats=[float("nan"), -0.0])
    node.attribute.add(name="reference", type=AttributeProto.INT, ref_attr_name="axis", doc_string="about it")
    node.attribute.add(name="type", type=AttributeProto.TYPE_PROTO, tp=m.graph.input[0].type)
    node.attribute.add(name="tensors", type=AttributeProto.TENSORS, tensors=[m.graph.initializer[0]])
    del node.attribute[kinds.index(("TENSOR", AttributeProto.TENSOR))]


def subgraphs(m: ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["h", "local"], ["sum"], doc_string="inside")],
        "inner",
        [],
        [helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(4, np.float32), "local")],
    )
    m.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    m.graph.node.append(helper.make_node("If", ["yes"], ["i"], then_branch=inner, else_branch=inner))


def sparse_initializers(m: ModelProto) -> None:
    sparse = m.graph.sparse_initializer.add(dims=[4])
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(1, np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2])))
    m.graph.node.append(helper.make_node("Add", ["h", "sparse"], ["densified"]))


def training_info(m: ModelProto) -> None:
    info = m.training_info.add()
    info.algorithm.CopyFrom(GraphProto(name="step", node=[m.graph.node[0]]))
    info.update_binding.add(key="w", value="h")


def functions(m: ModelProto) -> None:
    body = [helper.make_node("Mul", ["a", "a"], ["b"])]
    opset = [helper.make_opsetid("", 17)]
    m.functions.append(helper.make_function("local", "Square", ["a"], ["b"], body, opset, ["alpha"]))
    m.opset_import.add(domain="local", version=1)
    m.graph.node.append(helper.make_node("Square", ["h"], ["q"], domain="local", alpha=1))


def names(m: ModelProto) -> None:
    m.graph.name = ""
    m.graph.node[1].name = ""
    m.graph.node[0].domain = "ai.onnx"
    m.graph.initializer[0].name = m.graph.node[0].input[1] = "w/ü weird:0"


CHANGES: list[Change] = [
    *(model_fields, graph_fields, node_fields, tensor_fields, types, inputs_of_ir_3, other_kinds_of_values, names),
    *(direct_outputs, absent_inputs_and_outputs, constant_nodes, constant_of_shape, odd_attributes, subgraphs),
    *(sparse_initializers, training_info, functions),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_feature(change: Change, model: ModelProto, assert_lossless: Callable[[ModelProto], None]) -> None:
    change(model)
    assert_lossless(model)


def test_all_features_at_once(model: ModelProto, assert_lossless: Callable[[ModelProto], None]) -> None:
    for change in CHANGES:
        if change not in (names, constant_of_shape):
            change(model)
    assert_lossless(model)


LIGHT = sorted(Path(onnx.__file__).parent.glob("backend/test/data/light/*.onnx"))
OURS = sorted(Path(__file__).parents[2].glob("models/*.onnx"))


@pytest.mark.parametrize("path", LIGHT + OURS, ids=lambda path: path.stem)
def test_real_model(path: Path, assert_lossless: Callable[[ModelProto], None]) -> None:
    assert_lossless(onnx.load(path))


def test_there_are_real_models() -> None:
    assert len(LIGHT) >= 9
    assert OURS


ELEMENT_TYPES = sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED, TensorProto.STRING})


@pytest.mark.parametrize("kind", ELEMENT_TYPES, ids=TensorProto.DataType.Name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 1, 3)], ids=str)
@pytest.mark.parametrize("storage", ["raw", "typed"])
def test_element_type(
    kind: int, shape: tuple[int, ...], storage: str, model: ModelProto, assert_lossless: Callable[[ModelProto], None]
) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    array = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    tensor = numpy_helper.from_array(array, "t")
    if storage == "typed":
        values = array.astype(np.float32) if dtype.kind == "V" or dtype.name in vars(ml_dtypes) else array
        tensor = helper.make_tensor("t", kind, shape, values.reshape(-1).tolist())
    model.graph.initializer.append(tensor)
    assert_lossless(model)
    loaded = load(model).initializers["t"]
    assert (loaded.dtype, loaded.shape) == (dtype, shape)
    assert loaded.tobytes() == array.tobytes()


@given(arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=4, min_side=0)))
def test_any_float_tensor(array: np.ndarray) -> None:
    tensor = numpy_helper.from_array(array, "t")
    empty = helper.make_model(helper.make_graph([], "g", [], [], [tensor]), ir_version=8)
    empty.opset_import[0].version = 17
    assert to_model(load(empty)).graph.initializer[0] == tensor


@given(st.lists(st.binary()))
def test_any_string_tensor(strings: list[bytes]) -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.STRING, dims=[len(strings)], string_data=strings)
    empty = helper.make_model(helper.make_graph([], "g", [], [], [tensor]), ir_version=8)
    empty.opset_import[0].version = 17
    assert to_model(load(empty)).graph.initializer[0] == tensor


def test_attributes_in_python(model: ModelProto) -> None:
    kinds = {"i": 1, "f": 0.5, "s": "text", "is": [1, 2], "fs": [0.5], "ss": ["a", "b"]}
    model.graph.node.append(helper.make_node("Odd", [], ["o"], **kinds))  # type: ignore[arg-type]
    attributes = load(model).operators[-1].attributes
    assert attributes == {"f": 0.5, "fs": (0.5,), "i": 1, "is": (1, 2), "s": "text", "ss": ("a", "b")}
    assert [type(x) for x in attributes.values()] == [float, tuple, int, tuple, str, tuple]


def test_constants_are_arrays(model: ModelProto) -> None:
    constant_nodes(model)
    graph = load(model)
    expected = {"c0": np.ones((2, 3)), "c1": np.float32(0.1), "c2": [1, 2], "c3": 3, "c4": [4, 5]}
    for name, value in expected.items():
        np.testing.assert_array_equal(graph.constant(name), value)
    assert [graph.constant(name) for name in ("c5", "c6", "c7")] == [None] * 3


def test_unsorted_nodes_are_sorted(model: ModelProto) -> None:
    model.graph.node.reverse()
    assert [operator.type for operator in load(model).operators] == ["MatMul", "Relu"]
