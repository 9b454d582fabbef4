"""Time of a training step: a graph in the interpreter against the same network as a native torch module.

    OMP_NUM_THREADS=1 python tests/benchmarks/training_step.py [--batch 64] [--rounds 15]

The network: nine 3×3 convolutions with BatchNorm, eight of them in four residual blocks, [N, 1, 28, 28] → 10 classes. Both take turns, step
by step, in one process; figures are the medians of a step's forward and backward pass, and of the forward pass alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor, nn

from pruneir.graph import Graph, Operator
from pruneir.training.network import Network

WIDTHS = ((16, 1), (16, 1), (32, 2), (64, 2))
"""Channels and stride of each block."""


class Block(nn.Module):  # type: ignore[misc]
    """Two convolutions and what is added to them."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.short = nn.Conv2d(before, width, 1, stride, bias=False) if before != width else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        return torch.relu(y + (x if self.short is None else self.short(x)))


class Residual(nn.Module):  # type: ignore[misc]
    """The network as one writes it in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        widths = [16, *(width for width, _ in WIDTHS)]
        self.blocks = nn.ModuleList(
            Block(before, width, stride) for before, (width, stride) in zip(widths, WIDTHS, strict=False)
        )
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class _Writer:
    """The same network as a graph, with the module's values."""

    def __init__(self, module: Residual) -> None:
        self.graph = Graph("residual")
        self.graph.header.opset_import.add(domain="", version=17)
        self.graph.inputs.append("x")
        self.graph.declare("x", 1, ["N", 1, 28, 28])
        self.values = {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}
        self.count = 0

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        for name in inputs:
            if name in self.values:
                self.graph.set_initializer(name, self.values[name])
        self.count += 1
        self.graph.add(Operator(kind, inputs, (f"v{self.count}",), attributes))
        return f"v{self.count}"

    def conv(self, x: str, name: str, stride: int, pad: int = 1) -> str:
        return self.op("Conv", x, f"{name}.weight", strides=(stride,) * 2, pads=(pad,) * 4)

    def norm(self, x: str, name: str) -> str:
        parts = (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
        return self.op("BatchNormalization", x, *parts)


def as_graph(module: Residual) -> Graph:
    """The module's graph."""
    w = _Writer(module)
    x, before = w.op("Relu", w.norm(w.conv("x", "conv", 1), "norm")), 16
    for index, (width, stride) in enumerate(WIDTHS):
        name = f"blocks.{index}"
        y = w.op("Relu", w.norm(w.conv(x, f"{name}.conv1", stride), f"{name}.norm1"))
        y = w.norm(w.conv(y, f"{name}.conv2", 1), f"{name}.norm2")
        short = x if width == before else w.conv(x, f"{name}.short", stride, 0)
        x, before = w.op("Relu", w.op("Add", y, short)), width
    flat = w.op("Flatten", w.op("GlobalAveragePool", x))
    w.graph.outputs.append(w.op("Gemm", flat, "head.weight", "head.bias", transB=1))
    w.graph.declare(w.graph.outputs[0], 1, ["N", 10])
    return w.graph


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser()
    options.add_argument("--batch", type=int, default=64)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    torch.manual_seed(0)
    module = Residual()
    network = Network(as_graph(module))
    x, label = torch.randn(given.batch, 1, 28, 28), torch.randint(0, 10, (given.batch,))
    (output,) = network.graph.outputs
    runs: dict[str, Callable[[], Tensor]] = {
        "interpreter": lambda: network({"x": x})[output],
        "torch module": lambda: module(x),
    }

    def step(run: Callable[[], Tensor]) -> None:
        nn.functional.cross_entropy(run(), label).backward()

    def forward(run: Callable[[], Tensor]) -> None:
        with torch.no_grad():
            run()

    for mode, one in (("train", step), ("eval", step), ("eval", forward)):
        network.train(mode == "train")
        module.train(mode == "train")
        with torch.no_grad():
            apart = float((runs["interpreter"]() - runs["torch module"]()).abs().max())
        times: dict[str, list[float]] = {name: [] for name in runs}
        for index in range(given.rounds + 2):
            for name, run in runs.items():
                network.zero_grad()
                module.zero_grad()
                start = time.perf_counter()
                one(run)
                if index >= 2:
                    times[name].append(1e3 * (time.perf_counter() - start))
        ours, theirs = (median(times[name]) for name in runs)
        what = "forward" if one is forward else "forward and backward"
        print(
            f"{mode:5} {what:20} interpreter {ours:7.2f} ms, torch module {theirs:7.2f} ms, "
            f"ratio {ours / theirs:.3f}; outputs apart by {apart:.1e}"
        )


if __name__ == "__main__":
    main()
