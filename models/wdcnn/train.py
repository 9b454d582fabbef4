"""Train WDCNN on simulated bearings (generate.py), without a penalty.

Zhang et al., "A New Deep Learning Model for Fault Diagnosis with Good Anti-Noise and Domain Adaptation Ability on Raw
Vibration Signals", Sensors 2017, 17(2):425: five convolutions over the raw signal, the first one wide and strided, each
followed by a BatchNorm, a ReLU and a max pool of two.  Paddings are the paper's, which give its feature lengths; its
hidden layer of 100 before the classes is left out, and convolutions have no bias, since their BatchNorms have one.

    python models/wdcnn/train.py --seed 0 --out models/wdcnn/wdcnn_s0.onnx

The same seed gives the same file on the same machine with the same torch.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from wdcnn.generate import CLASSES, SAMPLES, TRAINING, VALIDATION, windows

LAYERS = (  # channels, kernel, stride, padding
    (16, 64, 16, 24),
    (32, 3, 1, 1),
    (64, 3, 1, 1),
    (64, 3, 1, 1),
    (64, 3, 1, 0),
)
MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


class Wdcnn(nn.Module):
    """Convolutions of `LAYERS`, halved each time, and a Gemm."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels, length = 1, SAMPLES
        for i, (width, kernel, stride, padding) in enumerate(LAYERS, 1):
            self.features.add_module(f"conv{i}", nn.Conv1d(channels, width, kernel, stride, padding, bias=False))
            self.features.add_module(f"bn{i}", norm := nn.BatchNorm1d(width))
            self.features.add_module(f"relu{i}", nn.ReLU())
            self.features.add_module(f"pool{i}", nn.MaxPool1d(2))
            nn.init.constant_(norm.weight, 0.5)
            nn.init.normal_(norm.bias, std=0.01)  # equal β would be exported as one
            channels, length = width, ((length + 2 * padding - kernel) // stride + 1) // 2
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels * length, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.flatten(self.features(x)))
        return logits


def sample(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Windows [count,1,SAMPLES] and classes [count]."""
    x, y = windows(count, seed)
    return torch.from_numpy(x), torch.from_numpy(y)


def train(model: Wdcnn, x: Tensor, y: Tensor, *, epochs: int, rate: float, batch: int, seed: int) -> None:
    """SGD on the cross-entropy, the rate falling as a cosine."""
    optimiser = torch.optim.SGD(model.parameters(), rate, MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)
    generator = torch.Generator().manual_seed(seed)
    steps = len(y) // batch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * step / (steps * epochs)))
    )
    model.train()
    for epoch in range(epochs):
        start, total = time.perf_counter(), 0.0
        order = torch.randperm(len(y), generator=generator)[: steps * batch]
        for picked in order.split(batch):
            loss = functional.cross_entropy(model(x[picked]), y[picked])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item()
        print(f"epoch {epoch + 1:2}  loss {total / steps:.4f}  {time.perf_counter() - start:.0f} s", flush=True)


@torch.no_grad()
def confusion(model: Wdcnn, x: Tensor, y: Tensor) -> np.ndarray:
    """How many windows of a class, by row, are taken for another, by column."""
    model.eval()
    taken = torch.cat([model(part).argmax(1) for part in x.split(500)])
    return np.bincount(CLASSES * y.numpy() + taken.numpy(), minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def export(model: Wdcnn, path: Path) -> None:
    """Write the ONNX file with its BatchNormalization nodes alive, in inference mode."""
    torch.onnx.export(
        model.eval(),
        (torch.zeros(1, 1, SAMPLES),),
        str(path),
        dynamo=False,
        do_constant_folding=False,
        training=torch.onnx.TrainingMode.PRESERVE,
        opset_version=17,
        input_names=["x"],
        output_names=["logits"],
        dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train WDCNN on simulated bearings.")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the windows")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--count", type=int, default=16000, help="windows to train on")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--rate", type=float, default=0.05, help="the highest learning rate")
    parser.add_argument("--batch", type=int, default=64)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    model = Wdcnn()
    x, y = sample(args.count, TRAINING)
    train(model, x, y, epochs=args.epochs, rate=args.rate, batch=args.batch, seed=args.seed)
    table = confusion(model, *sample(2000, VALIDATION))
    parameters = sum(p.numel() for p in model.parameters())
    print(f"validation accuracy {table.trace() / table.sum():.2%}, {parameters:,} parameters\n{table}")
    export(model, args.out)


if __name__ == "__main__":
    main()
