"""Train a small MobileNetV3 for MNIST, without a penalty.

Inverted residual blocks (Howard et al., "Searching for MobileNetV3", ICCV 2019): a 1×1 convolution widens, a
depthwise one looks around, a squeeze-and-excite gate weighs the channels by their means over the image, and a 1×1
convolution narrows; where input and output have one shape, they are added.  Every convolution outside the gates has
a BatchNorm.

    python models/mnist_mobilenet_se/train.py --seed 0 --out models/mnist_mobilenet_se/mnist_mobilenet_se_s0.onnx

The same seed gives the same file on the same machine with the same torch.
"""

import sys
from pathlib import Path

from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnist_plain import main

STEM, LAST, REDUCTION = 16, 160, 4
BLOCKS = (  # channels inside, channels after, stride, kernel, gate, activation
    (32, 16, 1, 3, True, nn.ReLU),
    (64, 24, 2, 3, False, nn.ReLU),
    (96, 24, 1, 3, True, nn.Hardswish),
    (96, 40, 2, 5, True, nn.Hardswish),
    (160, 40, 1, 5, True, nn.Hardswish),
)


class ConvBn(nn.Sequential):
    """A convolution with "same" padding, its BatchNorm and, if one is given, its activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module("bn", nn.BatchNorm2d(outputs))
        if activation is not None:
            self.add_module("act", activation())


class Gate(nn.Module):
    """x · hardsigmoid(W₂ · relu(W₁ · mean(x)))"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // REDUCTION, 1)
        self.relu = nn.ReLU()
        self.expand = nn.Conv2d(channels // REDUCTION, channels, 1)
        self.hardsigmoid = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.hardsigmoid(self.expand(self.relu(self.reduce(self.pool(x)))))
        return gated


class InvertedResidual(nn.Module):
    """project(gate(depthwise(expand(x)))), plus x where the shapes agree."""

    def __init__(
        self,
        inputs: int,
        inside: int,
        outputs: int,
        stride: int,
        kernel: int,
        gate: bool,
        activation: type[nn.Module],
    ) -> None:
        super().__init__()
        self.expand = ConvBn(inputs, inside, 1, activation=activation)
        self.depthwise = ConvBn(inside, inside, kernel, stride, inside, activation)
        self.gate = Gate(inside) if gate else nn.Identity()
        self.project = ConvBn(inside, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class MobileNetSe(nn.Module):
    """A strided stem, the `BLOCKS`, a 1×1 convolution, a global average pool and a Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBn(1, STEM, 3, 2, activation=nn.Hardswish)
        self.blocks = nn.Sequential()
        channels = STEM
        for i, (inside, outputs, stride, kernel, gate, activation) in enumerate(BLOCKS):
            block = InvertedResidual(channels, inside, outputs, stride, kernel, gate, activation)
            self.blocks.add_module(f"b{i + 1}", block)
            channels = outputs
        self.last = ConvBn(channels, LAST, 1, activation=nn.Hardswish)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(LAST, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.pool(self.last(self.blocks(self.stem(x))))))
        return logits


if __name__ == "__main__":
    main("Train the small MobileNetV3 with squeeze-and-excite gates, without a penalty.", MobileNetSe, epochs=16)
