"""Train a VGG-style chain for MNIST, without a penalty: six 3×3 convolutions, each with its BatchNorm and ReLU.

Two of 32 channels, two of 64, two of 128, with a 2×2 max pool after each pair, then one Gemm over the flattened
3×3 image.  Nothing is added to anything, so every layer's channels can be cut alone.

    python models/mnist_vgg/train.py --seed 0 --out models/mnist_vgg/mnist_vgg_s0.onnx

The same seed gives the same file on the same machine with the same torch.
"""

import sys
from pathlib import Path

from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnist_plain import main
from mnist_vgg.init import CLASSES, SIDE, WIDTHS


class Vgg(nn.Module):
    """Convolutions and pools of `WIDTHS`, and a Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels, side, convs = 1, SIDE, 0
        for width in WIDTHS:
            if isinstance(width, int):
                convs += 1
                self.features.add_module(f"conv{convs}", nn.Conv2d(channels, width, 3, 1, 1, bias=False))
                self.features.add_module(f"bn{convs}", nn.BatchNorm2d(width))
                self.features.add_module(f"relu{convs}", nn.ReLU())
                channels = width
            else:
                self.features.add_module(f"pool{convs}", nn.MaxPool2d(2))
                side //= 2
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels * side * side, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.features(x)))
        return logits


if __name__ == "__main__":
    main("Train the VGG-style MNIST chain, without a penalty.", Vgg, epochs=8)
