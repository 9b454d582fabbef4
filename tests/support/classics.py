"""The networks that papers compare on, with random weights: they prove structure and speed, never accuracy."""

from __future__ import annotations

import numpy as np

from pruneir.graph import Graph
from support.builders import Builder, resnet50

__all__ = ["mobilenet_v2", "resnet18", "resnet50", "ssd300_heads", "vgg16_bn"]


def resnet18(size: int = 224, batch: int | str = 1) -> Graph:
    """ResNet-18 (He et al., CVPR 2016): 11.7 M parameters, 1.8 G multiply-accumulates at 224 × 224."""
    b = Builder([batch, 3, size, size])
    x = b.op("Relu", b.norm(b.conv("x", 3, 64, 7, 2), 64))
    x = b.op("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    width = 64
    for stage in range(4):
        wide = 64 * 2**stage
        for block in range(2):
            stride = 2 if stage and not block else 1
            y = b.op("Relu", b.norm(b.conv(x, width, wide, 3, stride), wide))
            y = b.norm(b.conv(y, wide, wide, 3), wide)
            short = x if width == wide else b.norm(b.conv(x, width, wide, 1, stride), wide)
            x = b.op("Relu", b.op("Add", y, short))
            width = wide
    return _classified(b, x, width)


def mobilenet_v2(size: int = 224, batch: int | str = 1) -> Graph:
    """MobileNetV2 (Sandler et al., CVPR 2018): 3.5 M parameters, 0.3 G multiply-accumulates at 224 × 224."""
    b = Builder([batch, 3, size, size])
    b.graph.set_initializer("zero", np.array(0, np.float32))
    b.graph.set_initializer("six", np.array(6, np.float32))

    def layer(x: str, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, group: int = 1) -> str:
        return b.op("Clip", b.norm(b.conv(x, c_in, c_out, kernel, stride, group), c_out), "zero", "six")

    x, width = layer("x", 3, 32, 3, 2), 32
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, wide, blocks, first in stages:
        for block in range(blocks):
            inner, stride = width * expansion, 1 if block else first
            y = x if expansion == 1 else layer(x, width, inner)
            y = layer(y, inner, inner, 3, stride, inner)
            y = b.norm(b.conv(y, inner, wide), wide)
            x = b.op("Add", x, y) if stride == 1 and width == wide else y
            width = wide
    return _classified(b, layer(x, width, 1280), 1280)


def vgg16_bn(size: int = 224, batch: int | str = 1) -> Graph:
    """VGG-16 with BatchNorm (Simonyan and Zisserman, ICLR 2015): 138 M parameters, 15.5 G multiply-accumulates."""
    b = Builder([batch, 3, size, size])
    x, width = "x", 3
    for stage, layers in enumerate((2, 2, 3, 3, 3)):
        wide = min(512, 64 * 2**stage)
        for _ in range(layers):
            x = b.op("Relu", b.norm(b.conv(x, width, wide, 3), wide))
            width = wide
        x = b.op("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
    x = b.op("Flatten", x)
    sizes = [width * (size // 32) ** 2, 4096, 4096, 1000]
    for place in range(3):
        weight = b.weight(f"fc{place}", sizes[place + 1], sizes[place])
        x = b.op("Gemm", x, weight, b.vector(f"fc{place}.bias", sizes[place + 1]), transB=1)
        x = b.op("Relu", x) if place < 2 else x
    return b.finish(x)


def ssd300_heads(classes: int = 21, batch: int | str = 1) -> Graph:
    """What SSD300 (Liu et al., ECCV 2016) has behind VGG: extra layers, boxes [8732, 4] and scores [8732, classes].

    Inputs are the maps of conv4_3, `x` [512, 38, 38], and of fc7, `fc7` [1024, 19, 19].
    """
    b = Builder([batch, 512, 38, 38])
    b.graph.inputs.append("fc7")
    b.graph.declare("fc7", 1, [batch, 1024, 19, 19])

    def extra(x: str, c_in: int, inner: int, c_out: int, stride: int) -> str:
        y = b.op("Relu", b.conv(x, c_in, inner))
        pads = (stride - 1,) * 4
        w = b.weight(f"w{b.count + 1}", c_out, inner, 3, 3)
        return b.op("Relu", b.op("Conv", y, w, kernel_shape=(3, 3), strides=(stride,) * 2, pads=pads))

    conv8 = extra("fc7", 1024, 256, 512, 2)
    conv9 = extra(conv8, 512, 128, 256, 2)
    conv10 = extra(conv9, 256, 128, 256, 1)
    conv11 = extra(conv10, 256, 128, 256, 1)
    maps = [("x", 512, 4), ("fc7", 1024, 6), (conv8, 512, 6), (conv9, 256, 6), (conv10, 256, 4), (conv11, 256, 4)]

    def head(width: int) -> str:
        """One 3 × 3 convolution a map, whose channels become rows of `width` numbers, one an anchor."""
        b.graph.set_initializer(f"rows{width}", np.array([0, -1, width], np.int64))
        found = []
        for x, channels, anchors in maps:
            y = b.op("Transpose", b.conv(x, channels, anchors * width, 3), perm=(0, 2, 3, 1))
            found.append(b.op("Reshape", y, f"rows{width}"))
        return b.op("Concat", *found, axis=1)

    return b.finish(head(4), b.op("Softmax", head(classes), axis=-1))


def _classified(b: Builder, x: str, width: int) -> Graph:
    """The graph with a classifier of 1000 classes."""
    flat = b.op("Flatten", b.op("GlobalAveragePool", x))
    return b.finish(b.op("Gemm", flat, b.weight("fc", width, 1000), b.vector("fc.bias", 1000)))
