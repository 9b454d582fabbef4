"""From a pruned ONNX file back into torch: the new widths, the weights, and on with the training."""

from io import BytesIO

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

import pruneir


class Net(nn.Module):
    """A stem, a residual block, and two linear layers over the pixels; its widths are arguments."""

    def __init__(self, stem: int = 16, inner: int = 32, hidden: int = 16) -> None:
        super().__init__()
        self.stem, self.bn1 = nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
        self.inner, self.bn2 = nn.Conv2d(stem, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner)
        self.outer, self.bn3 = nn.Conv2d(inner, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem)
        self.hidden, self.head = nn.Linear(stem, hidden), nn.Linear(hidden, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N,10] of images [N,3,H,W]."""
        x = self.bn1(self.stem(x)).relu()
        x = (x + self.bn3(self.outer(self.bn2(self.inner(x)).relu()))).relu()
        x = self.hidden(x.flatten(2).transpose(1, 2)).relu()
        return self.head(x.mean(1))


def exported(net: nn.Module, x: Tensor) -> onnx.ModelProto:
    """The network with BatchNorm alive; docs/export.md has the default exporter too."""
    names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "N"}}}
    torch.onnx.export(net, (x,), file := BytesIO(), dynamo=False, do_constant_folding=False, **names)
    return onnx.load_from_string(file.getvalue())


def widths(weights: dict[str, Tensor]) -> dict[str, int]:
    """The arguments of `Net`, read off the weights' shapes."""
    return {name: weights[f"{name}.weight"].shape[0] for name in ("stem", "inner", "hidden")}


torch.manual_seed(0)
net, x = Net().eval(), torch.randn(4, 3, 32, 32)
for bn in (net.bn1, net.bn2, net.bn3):
    for vector in (bn.weight.data, bn.bias.data, bn.running_mean, bn.running_var):
        vector.uniform_(0.1, 1.0)  # as various as training leaves them

small = pruneir.optimize(exported(net, x), passes=["filter{ratio=0.5}"])
small.save("net.pruned.onnx", force=True)

# A linear layer over more than two axes is exported as MatMul of the transposed weight.
names = {"hidden.weight": ("/hidden/Transpose_output_0", "transposed")}
weights = pruneir.export_weights("net.pruned.plan.json", "net.pruned.onnx", net.state_dict(), names=names)
pruneir.write_safetensors("net.pruned.safetensors", weights, force=True)

pruned = Net(**widths(weights)).eval()
pruned.load_state_dict(weights, strict=True)
(y,) = onnxruntime.InferenceSession("net.pruned.onnx").run(None, {"x": x.numpy()})
np.testing.assert_allclose(pruned(x).detach(), y, rtol=1e-5, atol=1e-5)

with torch.no_grad():
    wanted = net(x)
optimizer = torch.optim.SGD(pruned.train().parameters(), lr=0.01)
for step in range(5):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(pruned(x), wanted)
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.4f}")
print(widths(net.state_dict()), "→", widths(weights))
