"""The structures of known detectors at reduced width, random weights, written as exporters write them.

Each ends where NonMaxSuppression begins, in boxes `[N, A, 4]` and scores `[N, classes, A]`, or, with `nms`, behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pruneir.graph import Graph, Operator
from pruneir.shapes import infer
from support.builders import Builder

CLASSES = 4
Map = tuple[str, int]
"""A value and its channels."""


@dataclass
class Detector:
    """A network that is being built; `heads` are the convolutions whose channels are numbers of boxes and classes."""

    side: int
    b: Builder = field(init=False)
    heads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.b = Builder(["N", 3, self.side, self.side])

    def hold(self, name: str, array: object) -> str:
        """A constant, of int64 or float32."""
        found = np.asarray(array)
        self.b.graph.set_initializer(name, found.astype(np.int64 if found.dtype.kind == "i" else np.float32))
        return name

    def size(self, value: str) -> tuple[int, ...]:
        """The shape of a value so far."""
        shape = infer(self.b.graph).shape(value)
        assert shape is not None
        return shape

    def layer(self, x: str, c_in: int, c_out: int, kernel: int = 1, stride: int = 1, group: int = 1) -> str:
        """A convolution and a BatchNorm."""
        return self.b.norm(self.b.conv(x, c_in, c_out, kernel, stride, group), c_out)

    def biased(self, name: str, x: str, c_in: int, c_out: int, kernel: int = 3, **attributes: object) -> str:
        """A convolution with bias; those of one name share the two."""
        if name not in self.b.graph.initializers:
            self.b.weight(name, c_out, c_in, kernel, kernel)
            self.b.vector(f"{name}.bias", c_out)
        attributes = {"kernel_shape": (kernel,) * 2, "pads": (kernel // 2,) * 4, **attributes}
        return self.b.op("Conv", x, name, f"{name}.bias", **attributes)

    def head(self, name: str, x: Map, channels: int, kernel: int = 3) -> str:
        """A convolution whose channels nothing may take."""
        self.heads.append(self.biased(name, x[0], x[1], channels, kernel))
        return self.heads[-1]

    def rows(self, maps: Sequence[str], width: int) -> str:
        """`[N, A, width]` of all maps, whose channels are anchors × width, as torchvision reorders them."""
        found = []
        for y in maps:
            _, channels, *image = self.size(y)
            parts = self.b.op("Reshape", y, self.hold(f"{y}.parts", [0, channels // width, width, *image]))
            last = self.b.op("Transpose", parts, perm=(0, 3, 4, 1, 2))
            found.append(self.b.op("Reshape", last, self.hold(f"{y}.rows", [0, -1, width])))
        return self.b.op("Concat", *found, axis=1)

    def decoded(self, loc: str) -> str:
        """Boxes of offsets from anchors `[A, 4]`, corners."""
        b, count = self.b, self.size(loc)[1]
        parts = [self.columns(loc, first) for first in (0, 2)]
        anchors = [self.hold(f"anchors.{part}", b.random.uniform(0.1, 0.9, (count, 2))) for part in ("centre", "size")]
        size = b.op("Mul", b.op("Exp", b.op("Mul", parts[1], self.hold("fifth", 0.2))), anchors[1])
        centre = b.op("Add", b.op("Mul", b.op("Mul", parts[0], self.hold("tenth", 0.1)), anchors[1]), anchors[0])
        half = b.op("Mul", size, self.hold("half", 0.5))
        return b.op("Concat", b.op("Sub", centre, half), b.op("Add", centre, half), axis=2)

    def classes(self, chances: str) -> str:
        """Scores `[N, classes, A]` of probabilities `[N, A, 1 + classes]` that begin with the background."""
        bounds = [self.hold(f"classes.{name}", [n]) for name, n in (("from", 1), ("to", 1 << 30), ("axis", 2))]
        return self.b.op("Transpose", self.b.op("Slice", chances, *bounds), perm=(0, 2, 1))

    def finish(self, boxes: str, scores: str, *, nms: bool) -> tuple[Graph, list[str]]:
        """The graph and its heads."""
        if not nms:
            return self.b.finish(boxes, scores), self.heads
        limits = [self.hold(f"nms.{name}", [n]) for name, n in (("most", 20), ("overlap", 0.45), ("threshold", 0.01))]
        graph = self.b.finish(self.b.op("NonMaxSuppression", boxes, scores, *limits))
        graph.declare(graph.outputs[0], 7, None)
        return graph, self.heads

    def columns(self, value: str, first: int) -> str:
        """Columns `first` and the next of `[N, A, 4]`."""
        bounds = [self.hold(f"columns.{n}", [n]) for n in (first, first + 2)]
        return self.b.op("Slice", value, *bounds, self.hold("columns.axis", [2]))


def ssd300(*, nms: bool = False) -> tuple[Graph, list[str]]:
    """SSD300 with VGG-16 at 1/32 of its widths: six maps, L2Norm on the first, dilated fc6, a pool that rounds up."""
    d = Detector(300)
    b = d.b

    def layer(x: str, c_in: int, c_out: int, kernel: int = 3, **attributes: object) -> str:
        return b.op("Relu", d.biased(f"w{b.count + 1}", x, c_in, c_out, kernel, **attributes))

    x, wide, maps = "x", 3, list[Map]()
    for stage, layers in enumerate((2, 2, 3, 3, 3)):
        for _ in range(layers):
            x, wide = layer(x, wide, (4, 4, 8, 16, 16)[stage]), (4, 4, 8, 16, 16)[stage]
        if stage == 3:
            norm = b.op("Clip", b.op("ReduceL2", x, axes=(1,), keepdims=1), d.hold("least", 1e-12))
            unit = b.op("Div", x, b.op("Expand", norm, b.op("Shape", x)))
            maps.append((b.op("Mul", d.hold("scale", np.full((1, wide, 1, 1), 20.0)), unit), wide))
        window = (
            {"kernel_shape": (3, 3), "pads": (1,) * 4} if stage == 4 else {"kernel_shape": (2, 2), "strides": (2, 2)}
        )
        x = b.op("MaxPool", x, ceil_mode=int(stage == 2), **window)
    x, wide = layer(layer(x, wide, 32, pads=(6,) * 4, dilations=(6, 6)), 32, 32, 1), 32
    maps.append((x, wide))
    for inner, out, stride in ((8, 16, 2), (4, 8, 2), (4, 8, 1), (4, 8, 1)):
        x = layer(layer(x, wide, inner, 1), inner, out, strides=(stride,) * 2, pads=(stride - 1,) * 4)
        wide = out
        maps.append((x, wide))
    anchors = (4, 6, 6, 6, 4, 4)

    def heads(name: str, width: int) -> str:
        found = [d.head(f"{name}{i}", maps[i], anchors[i] * width) for i in range(6)]
        return d.rows(found, width)

    loc, conf = heads("loc", 4), heads("conf", CLASSES + 1)
    return d.finish(d.decoded(loc), d.classes(b.op("Softmax", conf, axis=-1)), nms=nms)


def ssdlite320(*, nms: bool = False) -> tuple[Graph, list[str]]:
    """SSDlite with MobileNetV3: squeeze-and-excite, HardSwish, depthwise extras and heads, five maps."""
    d = Detector(160)
    b = d.b
    bounds = (d.hold("zero", 0.0), d.hold("six", 6.0))

    def depthwise(x: str, channels: int, kernel: int = 3, stride: int = 1) -> str:
        return d.layer(x, channels, channels, kernel, stride, channels)

    def excited(x: str, channels: int) -> str:
        y = b.op("Relu", d.biased(f"w{b.count + 1}", b.op("GlobalAveragePool", x), channels, 4, 1))
        return b.op("Mul", b.op("HardSigmoid", d.biased(f"w{b.count + 1}", y, 4, channels, 1), alpha=1 / 6), x)

    x, wide = b.op("HardSwish", d.layer("x", 3, 8, 3, 2)), 8
    for kernel, inner, out, stride, excites, act in (
        (3, 16, 8, 2, False, "Relu"),
        (5, 24, 12, 2, True, "Relu"),
        (5, 24, 12, 1, True, "HardSwish"),
        (3, 32, 16, 2, False, "HardSwish"),
        (3, 40, 16, 1, True, "HardSwish"),
    ):
        y = b.op(act, depthwise(b.op(act, d.layer(x, wide, inner)), inner, kernel, stride))
        y = d.layer(excited(y, inner) if excites else y, inner, out)
        x, wide = (b.op("Add", y, x) if stride == 1 else y), out
    maps = [(b.op("HardSwish", d.layer(x, wide, 24)), 24)]
    for out in (24, 16, 16, 8):
        x, wide = maps[-1]
        y = b.op("Clip", d.layer(x, wide, out // 2), *bounds)
        y = b.op("Clip", depthwise(y, out // 2, stride=2), *bounds)
        maps.append((b.op("Clip", d.layer(y, out // 2, out), *bounds), out))

    def heads(name: str, width: int) -> str:
        between = [(b.op("Clip", depthwise(x, c), *bounds), c) for x, c in maps]
        return d.rows([d.head(f"{name}{i}", x, 6 * width, 1) for i, x in enumerate(between)], width)

    loc, conf = heads("loc", 4), heads("conf", CLASSES + 1)
    return d.finish(d.decoded(loc), d.classes(b.op("Softmax", conf, axis=-1)), nms=nms)


def retinanet(*, nms: bool = False) -> tuple[Graph, list[str]]:
    """RetinaNet (Lin et al., ICCV 2017): a pyramid by Resize and Add, and one pair of heads for all of its maps."""
    d = Detector(64)
    b = d.b
    x, wide, stages = b.op("Relu", d.layer("x", 3, 8, 3, 2)), 8, list[Map]()
    for out in (12, 16, 20):
        y = d.layer(b.op("Relu", d.layer(x, wide, 8, 3, 2)), 8, out)
        x, wide = b.op("Relu", b.op("Add", y, d.layer(x, wide, out, 1, 2))), out
        stages.append((x, wide))
    top, pyramid = "", list[str]()
    for number, (x, wide) in enumerate(reversed(stages)):
        lateral = d.biased(f"lateral{number}", x, wide, 16, 1)
        twice = top and b.op("Resize", top, "", d.hold("twice", [1.0, 1.0, 2.0, 2.0]), mode="nearest")
        top = b.op("Add", lateral, twice) if twice else lateral
        pyramid.append(d.biased(f"smooth{number}", top, 16, 16))

    def tower(name: str, width: int) -> str:
        found = []
        for x in pyramid:
            y = x
            for depth in range(2):
                y = b.op("Relu", d.biased(f"{name}.{depth}", y, 16, 16))
            found.append(d.head(f"{name}.last", (y, 16), 9 * width))
        return d.rows(found, width)

    boxes = d.decoded(tower("boxes", 4))
    scores = b.op("Transpose", b.op("Sigmoid", tower("classes", CLASSES)), perm=(0, 2, 1))
    return d.finish(boxes, scores, nms=nms)


def picodet(*, nms: bool = False) -> tuple[Graph, list[str]]:
    """PicoDet (Yu et al., 2021): Concats up and down, 5 × 5 depthwise layers, distances as expected values."""
    d = Detector(64)
    b = d.b
    bins = 8

    def separable(x: str, c_in: int, c_out: int, stride: int = 1) -> str:
        y = b.op("HardSwish", d.layer(x, c_in, c_in, 5, stride, c_in))
        return b.op("HardSwish", d.layer(y, c_in, c_out))

    stem = b.op("HardSwish", d.layer("x", 3, 8, 3, 2))
    fine = separable(separable(stem, 8, 12, 2), 12, 16, 2)
    coarse = separable(fine, 16, 24, 2)
    fine, coarse = b.op("HardSwish", d.layer(fine, 16, 16)), b.op("HardSwish", d.layer(coarse, 24, 16))
    up = b.op("Resize", coarse, "", d.hold("twice", [1.0, 1.0, 2.0, 2.0]), mode="nearest")
    fine = separable(b.op("Concat", up, fine, axis=1), 32, 16)
    coarse = separable(b.op("Concat", separable(fine, 16, 16, 2), coarse, axis=1), 32, 16)
    chances, distances = [], []
    for number, x in enumerate((fine, coarse)):
        both = d.head(f"head{number}", (separable(x, 16, 16), 16), CLASSES + 4 * bins, 1)
        chance, parts = f"chance{number}", f"parts{number}"
        sizes = d.hold("sizes", [CLASSES, 4 * bins])
        b.graph.add(Operator("Split", (both, sizes), (chance, parts), {"axis": 1}, name=f"split{number}"))
        cells = int(np.prod(d.size(both)[2:]))
        chances.append(b.op("Reshape", b.op("Sigmoid", chance), d.hold(f"cells{number}", [0, CLASSES, cells])))
        bars = b.op("Reshape", b.op("Transpose", parts, perm=(0, 2, 3, 1)), d.hold("bars", [-1, bins]))
        mean = b.op("MatMul", b.op("Softmax", bars, axis=1), d.hold("bins", np.arange(float(bins))))
        distances.append(b.op("Reshape", mean, d.hold(f"sides{number}", [-1, cells, 4])))
    scores, sides = b.op("Concat", *chances, axis=2), b.op("Concat", *distances, axis=1)
    middle = d.hold("middle", b.random.uniform(0, 64, (d.size(sides)[1], 2)))
    low, high = b.op("Sub", middle, d.columns(sides, 0)), b.op("Add", middle, d.columns(sides, 2))
    return d.finish(b.op("Concat", low, high, axis=2), scores, nms=nms)


DETECTORS = {"ssd300_vgg16": ssd300, "ssdlite320": ssdlite320, "retinanet": retinanet, "picodet": picodet}
