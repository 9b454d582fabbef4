"""The versions that `load` accepts are those that the installed ONNX Runtime runs."""

from __future__ import annotations

import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from pruneir.onnx_io.versions import NEWEST_IR, NEWEST_OPSET, OLDEST_OPSET


def run(opset: int, ir: int) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    assert ort.InferenceSession(model.SerializeToString()).run(None, {"x": [-1.0]}) == [0]


@pytest.mark.skipif(
    tuple(map(int, ort.__version__.split(".")[:2])) != (1, 31), reason="the limits are those of ONNX Runtime 1.31"
)
def test_limits_are_those_of_onnxruntime() -> None:
    run(OLDEST_OPSET, 3)
    run(NEWEST_OPSET, NEWEST_IR)
    if onnx.defs.onnx_opset_version() > NEWEST_OPSET:
        with pytest.raises(Exception, match="opset"):
            run(NEWEST_OPSET + 1, NEWEST_IR)
    if onnx.IR_VERSION > NEWEST_IR:
        with pytest.raises(Exception, match="IR version"):
            run(NEWEST_OPSET, NEWEST_IR + 1)
