"""What a subgraph or a local function reads: captured values stay whole, functions are inlined first."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser

import pruneir
from pruneir.coupling import couple
from pruneir.pipeline.passes import Context
from pruneir.pipeline.registry import parse_pass
from support.properties import assert_pruned_equals_masked

CAPTURE = """
<ir_version: 8, opset_import: ["" : 17]>
net (float[N,3,6,6] x, bool choice) => (float[N,4,6,6] y, float[N,5,6,6] z)
<float[8,3,1,1] w1, float[8,8,1,1] w2, float[4,8,1,1] w3, float[6,3,1,1] v1, float[5,6,1,1] v2>
{
  a = Conv(x, w1)
  b = If (choice) <
    then_branch = then_part () => (float[N,8,6,6] t) { t = Relu(a) },
    else_branch = else_part () => (float[N,8,6,6] e) { e = Conv(a, w2) }
  >
  y = Conv(b, w3)
  c = Conv(x, v1)
  z = Conv(c, v2)
}
"""

FUNCTION = """
<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
net (float[N,3,6,6] x) => (float[N,4,6,6] y)
<float[8,3,1,1] w1, float[8] b1, float[4,8,1,1] w2>
{
  a = local.block(x, w1, b1)
  y = Conv(a, w2)
}
<domain: "local", opset_import: ["" : 17]>
block (x, w, b) => (y)
{
  c = Conv(x, w, b)
  y = Relu(c)
}
"""


def model(source: str) -> onnx.ModelProto:
    parsed = onnx.parser.parse_model(source)
    random = np.random.default_rng(0)
    for value in list(parsed.graph.value_info):
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        array = random.standard_normal(shape).astype(np.float32)
        parsed.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del parsed.graph.value_info[:]
    present = {tensor.name: tensor for tensor in parsed.graph.initializer if tensor.dims}
    for tensor in [tensor for tensor in parsed.graph.initializer if tensor.name not in present]:
        parsed.graph.initializer.remove(tensor)
    return parsed


def test_what_a_branch_reads_stays_and_the_rest_goes() -> None:
    coupling = couple(pruneir.load(model(CAPTURE)))
    assert [(group.name, len(group)) for group in coupling.groups] == [("c", 6)]
    codes = {coupling.generators.reasons[index].code for _, index in coupling.generators.locks}
    assert "PIR006" in codes


def test_local_functions_are_inlined() -> None:
    graph = pruneir.load(model(FUNCTION))
    assert not couple(graph).groups, "a call of a function has no rule"
    folded = parse_pass("fold").run(graph, Context(graph)).graph
    assert [len(group) for group in assert_pruned_equals_masked(folded).groups] == [8]
    small = pruneir.optimize(model(FUNCTION), passes=["filter{ratio=0.5}"])
    assert small.ok
    assert small.report["macs"]["after"] * 2 == small.report["macs"]["before"]
