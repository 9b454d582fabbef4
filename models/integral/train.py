"""Train the baselines for `integral`: a three-layer perceptron and a network of three convolutions and two Gemms.

The perceptron is LeNet-300-100's 784-300-100-10 (LeCun et al., 1998). The other has 5×5 convolutions of 16 and 32
filters and a 3×3 one of 64, padded, each with a ReLU and a 2×2 max pool, then 576-64-10. No BatchNorm, so that what the
layers read is what was rectified.

    python models/integral/train.py mlp --seed 0 --out models/integral/mlp3_s0.onnx
    python models/integral/train.py conv --seed 0 --out models/integral/convnet5_s0.onnx

The digits, as they are, and their split are those of mnist_resnet/train.py. The same seed gives the same file on the
same machine with the same torch.
"""

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mnist_resnet.train import DATA, MOMENTUM, WEIGHT_DECAY, Digits, accuracy, export, split_digits

DROPOUT = 0.2
"""While training, before each Gemm but the perceptron's first; the files have no operator for it."""


def mlp() -> nn.Sequential:
    """784-300-100-10."""
    model = nn.Sequential()
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc1", nn.Linear(784, 300))
    for number, (inputs, outputs) in enumerate(((300, 100), (100, 10)), 2):
        model.add_module(f"relu{number - 1}", nn.ReLU())
        model.add_module(f"dropout{number - 1}", nn.Dropout(DROPOUT))
        model.add_module(f"fc{number}", nn.Linear(inputs, outputs))
    return model


def conv() -> nn.Sequential:
    """Three convolutions, each with a pool, and two Gemms."""
    model = nn.Sequential()
    for number, (inputs, outputs, kernel) in enumerate(((1, 16, 5), (16, 32, 5), (32, 64, 3)), 1):
        model.add_module(f"conv{number}", nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
        model.add_module(f"relu{number}", nn.ReLU())
        model.add_module(f"pool{number}", nn.MaxPool2d(2))
    model.add_module("flatten", nn.Flatten())
    model.add_module("dropout3", nn.Dropout(DROPOUT))
    model.add_module("fc1", nn.Linear(576, 64))
    model.add_module("relu4", nn.ReLU())
    model.add_module("dropout4", nn.Dropout(DROPOUT))
    model.add_module("fc2", nn.Linear(64, 10))
    return model


def train(model: nn.Module, digits: Digits, *, epochs: int, rate: float, batch: int, seed: int) -> None:
    """SGD with Nesterov's momentum on the cross-entropy, the rate rising for an epoch and then falling as a cosine."""
    optimiser = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    generator = torch.Generator().manual_seed(seed)
    warm = math.ceil(len(digits.y) / batch)
    step = 0
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for picked in torch.split(torch.randperm(len(digits.y), generator=generator), batch):
            now = rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / (warm * epochs)))
            for group in optimiser.param_groups:
                group["lr"] = now
            loss = functional.cross_entropy(model(digits.x[picked]), digits.y[picked])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            total += loss.item() * len(picked)
            step += 1
        print(f"epoch {epoch + 1:2}  loss {total / len(digits.y):.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a baseline for integral pruning.")
    parser.add_argument("network", choices=("mlp", "conv"))
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights, the order of the images, dropout")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--rate", type=float, default=0.05, help="the highest learning rate")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    training, test = split_digits(DATA)
    model = {"mlp": mlp, "conv": conv}[args.network]()
    train(model, training, epochs=args.epochs, rate=args.rate, batch=args.batch, seed=args.seed)
    print(f"test accuracy {accuracy(model, test):.2%}, {sum(p.numel() for p in model.parameters()):,} parameters")
    export(model, args.out, alive=False)


if __name__ == "__main__":
    main()
