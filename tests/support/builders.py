"""Larger networks, built without an exporter; random weights prove structure, never accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pruneir.graph import Graph, Operator


class Builder:
    """Adds layers to a graph; each method returns the name of the value that it makes."""

    def __init__(self, shape: Sequence[int | str], seed: int = 0):
        self.graph = Graph("network")
        self.graph.header.opset_import.add(domain="", version=17)
        self.graph.header.ir_version = 8
        self.random = np.random.default_rng(seed)
        self.graph.inputs.append("x")
        self.graph.declare("x", 1, shape)
        self.count = 0

    def weight(self, name: str, *shape: int) -> str:
        """A normal tensor that keeps activations near one."""
        scale = np.float32(np.prod(shape[1:]) ** -0.5)
        self.graph.set_initializer(name, self.random.standard_normal(shape, np.float32) * scale)
        return name

    def vector(self, name: str, size: int) -> str:
        """A tensor of positive numbers near one."""
        self.graph.set_initializer(name, self.random.uniform(0.5, 1.5, size).astype(np.float32))
        return name

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        """Any operator with one output."""
        self.count += 1
        name = f"{kind.lower()}{self.count}"
        self.graph.add(Operator(kind, inputs, (name,), attributes, name=name))
        return name

    def conv(self, x: str, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, group: int = 1) -> str:
        """A convolution without bias."""
        w = self.weight(f"w{self.count + 1}", c_out, c_in // group, kernel, kernel)
        pads = (kernel // 2,) * 4
        return self.op("Conv", x, w, kernel_shape=(kernel,) * 2, pads=pads, strides=(stride,) * 2, group=group)

    def norm(self, x: str, channels: int) -> str:
        """A BatchNormalization."""
        n = self.count + 1
        return self.op("BatchNormalization", x, *(self.vector(f"bn{n}.{part}", channels) for part in "gbmv"))

    def finish(self, *outputs: str) -> Graph:
        """The graph, with these outputs."""
        for name in outputs:
            self.graph.outputs.append(name)
            self.graph.declare(name, 1, None)
        return self.graph


def residual_chain(nodes: int, channels: int = 16, size: int = 8) -> Graph:
    """About `nodes` operators: residual blocks of two convolutions in stages of eight blocks."""
    b = Builder(["N", 3, size, size])
    x = b.op("Relu", b.norm(b.conv("x", 3, channels, 3), channels))
    block = 0
    while b.count < nodes - 10:
        short = x
        if block % 8 == 7:
            short = b.norm(b.conv(x, channels, channels), channels)
        y = b.op("Relu", b.norm(b.conv(x, channels, channels, 3), channels))
        x = b.op("Relu", b.op("Add", b.norm(b.conv(y, channels, channels, 3), channels), short))
        block += 1
    flat = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.finish(b.op("Gemm", flat, b.weight("fc", channels, 10), b.vector("fc.bias", 10)))


def resnet50(size: int = 224, batch: int | str = "N") -> Graph:
    """ResNet-50 (He et al., CVPR 2016): 25.6 M parameters, 4.1 G multiply-accumulates at 224 × 224."""
    b = Builder([batch, 3, size, size])
    x = b.op("Relu", b.norm(b.conv("x", 3, 64, 7, 2), 64))
    x = b.op("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 * 2**stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            y = b.op("Relu", b.norm(b.conv(x, width, inner), inner))
            y = b.op("Relu", b.norm(b.conv(y, inner, inner, 3, stride), inner))
            y = b.norm(b.conv(y, inner, 4 * inner), 4 * inner)
            short = x if block else b.norm(b.conv(x, width, 4 * inner, 1, stride), 4 * inner)
            x = b.op("Relu", b.op("Add", y, short))
            width = 4 * inner
    flat = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.finish(b.op("Gemm", flat, b.weight("fc", width, 1000), b.vector("fc.bias", 1000)))
