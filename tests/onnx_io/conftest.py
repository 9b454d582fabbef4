"""What the tests of this folder share: the comparison of models, and a model to start from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from pruneir.graph.check import check
from pruneir.onnx_io import load, save, to_model

RoundTrip = Callable[[onnx.ModelProto], onnx.ModelProto]


def differences(a: Message, b: Message, where: str = "model") -> Iterator[str]:
    """Every field that a reader sees differently in two messages; of tensors the values count, not their storage."""
    tensor = isinstance(a, TensorProto)
    if tensor and values(a) != values(b):
        yield f"{where}: values"
    for field in a.DESCRIPTOR.fields:
        if tensor and (field.name.endswith("_data") or field.name == "data_location"):
            continue
        path, left, right = f"{where}.{field.name}", getattr(a, field.name), getattr(b, field.name)
        if hasattr(left, "append") or hasattr(left, "add"):
            if len(left) != len(right):
                yield f"{path}: {len(left)} and {len(right)} entries"
            if field.name == "value_info":  # a table by name
                left, right = (sorted(side, key=lambda info: str(info.name)) for side in (left, right))
            for index, (x, y) in enumerate(zip(left, right, strict=False)):
                yield from _pair(x, y, f"{path}[{index}]")
        elif field.message_type is not None and a.HasField(field.name) != b.HasField(field.name):
            yield f"{path}: only in one"
        elif field.message_type is None or a.HasField(field.name):
            yield from _pair(left, right, path)


def _pair(x: object, y: object, path: str) -> Iterator[str]:
    if isinstance(x, Message):
        yield from differences(x, y, path)
    elif repr(x) != repr(y):  # NaN equals itself here, and zero not minus zero
        yield f"{path}: {x!r} and {y!r}"


def values(tensor: TensorProto) -> object:
    if tensor.data_type == TensorProto.STRING:
        return list(tensor.string_data)
    return numpy_helper.to_array(tensor).tobytes() if tensor.data_type else None


def assert_same(a: onnx.ModelProto, b: onnx.ModelProto) -> None:
    assert list(differences(a, b)) == []


@pytest.fixture
def same() -> Callable[[onnx.ModelProto, onnx.ModelProto], None]:
    """Asserts that no reader can tell two models apart."""
    return assert_same


@pytest.fixture
def assert_lossless(tmp_path: Path) -> Callable[[onnx.ModelProto], None]:
    """Asserts that a model survives load and save, in memory and through files, and is itself left as it is."""

    def run(model: onnx.ModelProto) -> None:
        before = model.SerializeToString(deterministic=True)
        graph = load(model)
        check(graph)
        assert_same(model, to_model(graph))
        onnx.save(model, tmp_path / "in.onnx")
        save(load(tmp_path / "in.onnx"), tmp_path / "out.onnx")
        assert_same(model, onnx.load(tmp_path / "out.onnx"))
        save(load(tmp_path / "out.onnx"), tmp_path / "again.onnx")
        assert (tmp_path / "out.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()
        assert model.SerializeToString(deterministic=True) == before

    return run


@pytest.fixture
def model() -> onnx.ModelProto:
    """x[N,4] -> y[N,4] { h = MatMul(x, w[4,4]); y = Relu(h) }"""
    weight = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"], name="last")]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy")
    graph = helper.make_graph(nodes, "small", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
