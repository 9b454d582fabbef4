"""From PaddlePaddle to a pruned ONNX file: paddle2onnx keeps BatchNorm alive by itself."""

import numpy as np
import onnx
import onnxruntime
import paddle
from paddle import Tensor, nn
from paddle.nn.functional import relu
from paddle.static import InputSpec

import pruneir


class Net(nn.Layer):
    """A stem and one residual block, with γ, β, μ and σ² as various as training leaves them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner, self.outer = (
            nn.Conv2D(i, o, 3, padding=1, bias_attr=False) for i, o in [(3, 16), (16, 32), (32, 16)]
        )
        self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2D(n) for n in (16, 32, 16))
        self.pool, self.flatten, self.head = nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(16, 10)
        for bn in (self.bn1, self.bn2, self.bn3):
            for vector in (bn.weight, bn.bias, bn._mean, bn._variance):
                vector.set_value(paddle.uniform(vector.shape, min=0.1, max=1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Scores [N,10] of images [N,3,H,W]."""
        x = relu(self.bn1(self.stem(x)))
        x = relu(x + self.bn3(self.outer(relu(self.bn2(self.inner(x))))))
        return self.head(self.flatten(self.pool(x)))


paddle.seed(0)
net, x = Net(), paddle.randn([4, 3, 32, 32])
net.eval()
paddle.onnx.export(net, "net", input_spec=[InputSpec([None, 3, 32, 32], "float32", "x")], opset_version=17)

nodes = onnx.load("net.onnx").graph.node
assert [node.op_type for node in nodes].count("BatchNormalization") == 3
(y,) = onnxruntime.InferenceSession("net.onnx").run(None, {"x": x.numpy()})
np.testing.assert_allclose(y, net(x).numpy(), rtol=0, atol=1e-5)

small = pruneir.optimize("net.onnx", passes=["slim{ratio=0.5}"])
small.save("net.pruned.onnx", force=True)
print(small.report["macs"], small.report["params"])
