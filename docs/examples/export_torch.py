"""From torch to a pruned ONNX file: two exporters, both with BatchNorm kept alive."""

from io import BytesIO

import numpy as np
import onnx
import onnxruntime
import torch
from onnxscript import optimizer
from torch import Tensor, nn

import pruneir


class Net(nn.Module):
    """A stem and one residual block, with γ, β, μ and σ² as various as training leaves them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = (nn.Conv2d(i, o, 3, padding=1) for i, o in [(3, 16), (16, 32), (32, 16)])
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(n) for n in (16, 32, 16))
        self.head = nn.Linear(16, 10)
        for bn in (self.bn1, self.bn2, self.bn3):
            for vector in (bn.weight.data, bn.bias.data, bn.running_mean, bn.running_var):
                vector.uniform_(0.1, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N,10] of images [N,3,H,W]."""
        x = self.bn1(self.stem(x)).relu()
        x = (x + self.bn3(self.outer(self.bn2(self.inner(x)).relu()))).relu()
        return self.head(x.mean((2, 3)))


def by_tracing(net: nn.Module, x: Tensor) -> onnx.ModelProto:
    """The TorchScript exporter: without constant folding, BatchNorm is not folded either."""
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "N"}}}
    torch.onnx.export(net, (x,), file := BytesIO(), dynamo=False, do_constant_folding=False, **names)
    return onnx.load_from_string(file.getvalue())


def by_dynamo(net: nn.Module, x: Tensor) -> onnx.ModelProto:
    """The default exporter: leave its optimiser out, then run the two of its passes that spare BatchNorm."""
    names = {"output_names": ["y"], "dynamic_shapes": [{0: torch.export.Dim("N")}]}
    program = torch.onnx.export(net, (x,), optimize=False, verbose=False, **names)
    optimizer.fold_constants(program.model)
    optimizer.remove_unused_nodes(program.model)
    return program.model_proto


torch.manual_seed(0)
net, x = Net().eval(), torch.randn(4, 3, 32, 32)
for export in (by_tracing, by_dynamo):
    model = export(net, x)
    assert [node.op_type for node in model.graph.node].count("BatchNormalization") == 3
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.numpy()})
    np.testing.assert_allclose(y, net(x).detach(), rtol=0, atol=1e-5)
    small = pruneir.optimize(model, passes=["slim{ratio=0.5}"])
    small.save(f"net.{export.__name__}.onnx", force=True)
    print(export.__name__, small.report["macs"], small.report["params"])
