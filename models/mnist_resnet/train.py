"""Train the small MNIST residual network whose BatchNorm scales are sparse (Network Slimming).

Every convolution is followed by a BatchNorm

    z = γ · (x − μ) / √(σ² + ε) + β,

so |γ| says how much a channel can say.  Training minimises (Liu et al., ICCV 2017)

    loss(W, γ, β) + λ · Σ |γ|

with γ starting at 0.5.  The smooth part takes a step of SGD with Nesterov momentum m; the L1 term then
takes its proximal step, the soft threshold

    γ ← sign(γ) · max(|γ| − λ · η / (1 − m), 0),

which, unlike a subgradient step, leaves exact zeros.  η / (1 − m) is the length that a constant gradient
travels per step under momentum, so λ here weighs as much as it does in the formula.  A channel whose γ is
zero is the constant f(β): it can be cut from the graph once its readers have absorbed that constant.

The network reads 1×28×28 images in 0..1.  A strided 3×3 stem is followed by three stages of two residual
blocks, and by a global average pool and one Gemm.  Channels of a stage's stem or shortcut and of its
blocks' outputs are added to one another, so they can be cut only together; those inside a block alone.

The exported file keeps its BatchNormalization nodes in inference mode, unfolded.

    python models/mnist_resnet/train.py --seed 0 --out models/mnist_resnet/mnist_resnet_s0.onnx

The same seed gives the same file on the same machine with the same torch.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

DATA = Path(__file__).resolve().parent.parent / "data"
SPLIT_SEED = 20170822
TEST_IMAGES = 2000
CALIBRATION_IMAGES = 256
WIDTHS = (16, 32, 64)
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class Digits:
    """Images [N,1,28,28] in 0..1 and their labels [N]."""

    x: Tensor
    y: Tensor


def split_digits(folder: Path) -> tuple[Digits, Digits]:
    """Split the 10,000 digits into 8,000 for training and 2,000 for test, and write what the examples read.

    Writes, where they are missing, `mnist_test_2k.npz` (x, y) and `mnist_calib_256.npz` (x: the first of the
    training images).
    """
    with np.load(folder / "mnist_10k.npz") as archive:
        images = archive["x"].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
        labels = archive["y"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    if not (path := folder / "mnist_test_2k.npz").exists():
        np.savez_compressed(path, x=images[test], y=labels[test])
    if not (path := folder / "mnist_calib_256.npz").exists():
        np.savez_compressed(path, x=images[train[:CALIBRATION_IMAGES]])
    return (
        Digits(torch.from_numpy(images[train]), torch.from_numpy(labels[train])),
        Digits(torch.from_numpy(images[test]), torch.from_numpy(labels[test])),
    )


class Block(nn.Module):
    """relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x))))))"""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.add_module("conv", nn.Conv2d(inputs, outputs, 1, stride, bias=False))
            self.shortcut.add_module("bn", nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(inner)) + self.shortcut(x))


class ResNet(nn.Module):
    """A strided stem, three stages of two blocks, a global average pool and a Gemm."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.stem = nn.Sequential()
        self.stem.add_module("conv", nn.Conv2d(1, first, 3, 2, 1, bias=False))
        self.stem.add_module("bn", nn.BatchNorm2d(first))
        self.stem.add_module("relu", nn.ReLU())
        self.stage1 = nn.Sequential(Block(first, first, 1), Block(first, first, 1))
        self.stage2 = nn.Sequential(Block(first, second, 2), Block(second, second, 1))
        self.stage3 = nn.Sequential(Block(second, third, 2), Block(third, third, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(third, 10)
        for bn in batchnorms(self).values():
            nn.init.constant_(bn.weight, 0.5)
            nn.init.normal_(bn.bias, std=0.01)  # two β that are added would stay equal, and be exported as one

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        logits: Tensor = self.head(self.flatten(self.pool(x)))
        return logits


def batchnorms(model: nn.Module) -> dict[str, nn.BatchNorm2d]:
    """The network's BatchNorms by name, in the order of the forward pass."""
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}


def shifted_batches(digits: Digits, size: int, generator: torch.Generator) -> Iterator[Digits]:
    """One epoch of shuffled full batches, each image moved by up to two pixels each way."""
    padded = functional.pad(digits.x[:, 0], (2, 2, 2, 2))
    line = torch.arange(28)
    for picked in torch.split(torch.randperm(len(digits.y), generator=generator), size):
        if len(picked) == size:
            dy, dx = torch.randint(0, 5, (2, size, 1), generator=generator)
            x = padded[picked[:, None, None], (line + dy)[:, :, None], (line + dx)[:, None, :]]
            yield Digits(x[:, None], digits.y[picked])


@torch.no_grad()
def soft_threshold(bns: dict[str, nn.BatchNorm2d], amount: float) -> None:
    """The proximal step of `amount`·Σ|γ|."""
    for bn in bns.values():
        bn.weight.copy_(functional.softshrink(bn.weight, amount))


def train(model: ResNet, digits: Digits, *, l1: float, epochs: int, rate: float, batch: int, seed: int) -> None:
    """SGD on the cross-entropy, the rate rising for one epoch and then falling as a cosine; γ shrinks each step."""
    bns = batchnorms(model)
    scales = [bn.weight for bn in bns.values()]
    others = [p for p in model.parameters() if all(p is not s for s in scales)]
    parameters: list[dict[str, Any]] = [{"params": others, "weight_decay": WEIGHT_DECAY}, {"params": scales}]
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    warm = len(digits.y) // batch
    last = warm * epochs
    step = 0
    model.train()
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        for images in shifted_batches(digits, batch, generator):
            now = rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / last))
            for group in optimiser.param_groups:
                group["lr"] = now
            loss = functional.cross_entropy(model(images.x), images.y)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            soft_threshold(bns, l1 * now / (1 - MOMENTUM))
            total += loss.item()
            step += 1
        seconds = time.perf_counter() - start
        print(f"epoch {epoch + 1:2}  loss {total / warm:.4f}  γ at zero {zero_share(model):.1%}  {seconds:.0f} s")


def zero_share(model: nn.Module, below: float = 1e-3) -> float:
    """The share of BatchNorm scales smaller than `below`."""
    scales = torch.cat([bn.weight.detach().abs() for bn in batchnorms(model).values()])
    return (scales < below).float().mean().item()


@torch.no_grad()
def accuracy(model: nn.Module, digits: Digits) -> float:
    model.eval()
    batches = zip(torch.split(digits.x, 500), torch.split(digits.y, 500), strict=True)
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in batches) / len(digits.y)


def export(model: nn.Module, path: Path, *, alive: bool = True) -> None:
    """Write the ONNX file in inference mode, its batch axis free; BatchNormalization nodes stay `alive`, or not."""
    mode = torch.onnx.TrainingMode
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 1, 28, 28),),
        str(path),
        dynamo=False,
        do_constant_folding=not alive,
        training=mode.PRESERVE if alive else mode.EVAL,
        opset_version=17,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the MNIST residual network with an L1 penalty on γ.")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the images")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--l1", type=float, default=4e-3, help="λ, the weight of Σ|γ|; 0 trains the plain network")
    parser.add_argument("--epochs", type=int, default=36)
    parser.add_argument("--rate", type=float, default=0.05, help="the highest learning rate")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training, test = split_digits(DATA)
    model = ResNet()
    train(model, training, l1=args.l1, epochs=args.epochs, rate=args.rate, batch=args.batch, seed=args.seed)
    print(f"test accuracy {accuracy(model, test):.2%}, γ below 1e-3: {zero_share(model):.1%}")
    export(model, args.out)


if __name__ == "__main__":
    main()
