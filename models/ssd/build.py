"""The SSD for digits as an ONNX graph with weights drawn by chance, for `pruneir train` to train from the first step.

A VGG-style trunk of 3×3 convolutions without bias, a BatchNorm and a ReLU behind each, halved by stride or pool; two
pairs of 1×1 and strided 3×3 convolutions behind it; heads on four maps of 24, 12, 6 and 3 cells a side, the first one
behind an L2Norm (Liu et al., SSD, ECCV 2016; Liu et al., ParseNet, 2015). Outputs: `loc` [N,3060,4], offsets from the
anchors, and `conf` [N,3060,11], scores before a softmax, class 0 the background.

    python models/ssd/build.py --seed 0 --out ssd.onnx      # and ssd.anchors.npy
    python models/ssd/build.py --decode ssd.onnx --out ssd_nms.onnx

The second writes a trained, or pruned, network with decoding and NonMaxSuppression inside.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from pruneir.detection.anchors import default_boxes
from pruneir.detection.boxes import VARIANCES, centred
from pruneir.detection.detect import Detector

SIDE, CLASSES = 96, 10
TRUNK = (  # name, channels, kernel, stride, whether a 2×2 max pool follows, whether heads read it
    ("conv1_1", 16, 3, 2, False, False),
    ("conv1_2", 32, 3, 1, True, False),
    ("conv2_1", 64, 3, 1, False, False),
    ("conv2_2", 64, 3, 1, True, True),
    ("conv3_1", 128, 3, 1, False, False),
    ("conv3_2", 128, 3, 1, False, True),
    ("conv4_1", 64, 1, 1, False, False),
    ("conv4_2", 128, 3, 2, False, True),
    ("conv5_1", 64, 1, 1, False, False),
    ("conv5_2", 128, 3, 2, False, True),
)
MAPS = ((24, 24), (12, 12), (6, 6), (3, 3))
SCALES = tuple(pixels / SIDE for pixels in (11, 18, 27, 38, 48))
RATIOS = ((0.6, 0.3),) * len(MAPS)
BOXES = 4
"""Of a cell: two squares and one for each ratio."""
L2_SCALE = 8.0
GAMMA = 0.5
OPSET, IR_VERSION = 17, 8


def anchors() -> np.ndarray:
    """The anchors, float32 [3060,4], corners in shares of the image."""
    return default_boxes(MAPS, SCALES, RATIOS)


class _Writer:
    """Nodes and tensors, as they come."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, operator: str, label: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [label], f"/{label}", **attributes))
        return label

    def hold(self, name: str, array: np.ndarray) -> str:
        self.tensors[name] = array
        return name

    def drawn(self, name: str, *shape: int, deviation: float) -> str:
        return self.hold(name, self.random.normal(0, deviation, shape).astype(np.float32))

    def layer(self, name: str, value: str, before: int, channels: int, kernel: int, stride: int) -> str:
        """A convolution as He et al. (ICCV 2015) start it, a BatchNorm and a ReLU."""
        deviation = (2 / (kernel**2 * before)) ** 0.5
        weight = self.drawn(f"{name}.weight", channels, before, kernel, kernel, deviation=deviation)
        pads = [kernel // 2] * 4
        found = self.add("Conv", name, value, weight, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
        start = {"gamma": GAMMA, "beta": 0.0, "mean": 0.0, "var": 1.0}
        rest = [self.hold(f"{name}.bn.{key}", np.full(channels, number, np.float32)) for key, number in start.items()]
        found = self.add("BatchNormalization", f"{name}.bn", found, *rest, epsilon=1e-5)
        return self.add("Relu", f"{name}.relu", found)

    def l2norm(self, name: str, value: str, channels: int) -> str:
        """s·x / ‖x‖, the norm that over channels."""
        norm = self.add("ReduceL2", f"{name}.norm", value, axes=[1], keepdims=1)
        least = self.hold(f"{name}.least", np.array(1e-6, np.float32))
        found = self.add("Div", f"{name}.unit", value, self.add("Max", f"{name}.positive", norm, least))
        return self.add(
            "Mul", name, found, self.hold(f"{name}.scale", np.full((1, channels, 1, 1), L2_SCALE, np.float32))
        )

    def head(self, name: str, value: str, before: int, columns: int) -> str:
        """A 3×3 convolution whose channels become rows of anchors, `columns` each."""
        weight = self.drawn(f"{name}.weight", BOXES * columns, before, 3, 3, deviation=(1 / (9 * before)) ** 0.5)
        bias = self.drawn(f"{name}.bias", BOXES * columns, deviation=0.01)
        found = self.add("Conv", name, value, weight, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        found = self.add("Transpose", f"{name}.last", found, perm=[0, 2, 3, 1])
        return self.add("Reshape", f"{name}.rows", found, self.hold(f"{name}.shape", np.array([0, -1, columns])))


def ssd(seed: int = 0) -> onnx.ModelProto:
    """The network: `x` float32 [N,1,96,96], 0..1, to `loc` and `conf`."""
    writer = _Writer(seed)
    value, channels = "x", 1
    sources: list[tuple[str, str, int]] = []
    for name, width, kernel, stride, pooled, read in TRUNK:
        value, channels = writer.layer(name, value, channels, width, kernel, stride), width
        if read:
            source = writer.l2norm(f"{name}.l2norm", value, channels) if not sources else value
            sources.append((name, source, channels))
        if pooled:
            value = writer.add("MaxPool", f"{name}.pool", value, kernel_shape=[2, 2], strides=[2, 2])
    for output, columns in (("loc", 4), ("conf", CLASSES + 1)):
        rows = [writer.head(f"{name}.{output}", source, width, columns) for name, source, width in sources]
        writer.add("Concat", output, *rows, axis=1)
    count = len(anchors())
    graph = helper.make_graph(
        writer.nodes,
        "ssd",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [
            helper.make_tensor_value_info("loc", TensorProto.FLOAT, ["N", count, 4]),
            helper.make_tensor_value_info("conf", TensorProto.FLOAT, ["N", count, CLASSES + 1]),
        ],
        [numpy_helper.from_array(array, name) for name, array in writer.tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="ssd/build.py")


def decoding(model: onnx.ModelProto, boxes: np.ndarray) -> onnx.ModelProto:
    """The network with decoding and NonMaxSuppression inside; `most` of SSD is by class here, not by image.

    boxes  its anchors [A,4], corners
    Outputs: `image` and `class` int64 [K], `score` [K], `box` [K,4], corners; by image, class and score.
    """
    writer, rule = _Writer(0), Detector()
    middle = centred(boxes)
    for name, array in {
        "anchors.centre": middle[None, :, :2],
        "anchors.size": middle[None, :, 2:],
        "variance.centre": np.array(VARIANCES[:2]),
        "variance.size": np.array(VARIANCES[2:]),
        "half": np.array(0.5),
        "nms.overlap": np.array([rule.overlap]),
        "nms.threshold": np.array([rule.threshold]),
    }.items():
        writer.hold(name, array.astype(np.float32))
    whole = {"nms.most": [rule.most], "two": [2, 2], "from_one": [1], "to_end": [1 << 30], "last": [2]}
    columns = {"column.image": 0, "column.class": 1, "column.row": 2}
    for name, numbers in {**whole, **columns}.items():
        writer.hold(name, np.array(numbers, np.int64))

    add = writer.add
    writer.nodes.append(helper.make_node("Split", ["loc", "two"], ["loc.centre", "loc.size"], "/loc.split", axis=2))
    shift = add("Mul", "centre.shift", add("Mul", "centre.share", "loc.centre", "variance.centre"), "anchors.size")
    centre = add("Add", "centre", shift, "anchors.centre")
    size = add(
        "Mul", "size", add("Exp", "size.factor", add("Mul", "size.log", "loc.size", "variance.size")), "anchors.size"
    )
    half = add("Mul", "size.half", size, "half")
    found = add("Concat", "boxes", add("Sub", "low", centre, half), add("Add", "high", centre, half), axis=2)
    chances = add("Slice", "chances", add("Softmax", "softmax", "conf", axis=2), "from_one", "to_end", "last")
    scores = add("Transpose", "scores", chances, perm=[0, 2, 1])
    picked = add("NonMaxSuppression", "picked", found, scores, "nms.most", "nms.overlap", "nms.threshold")
    add("Gather", "image", picked, "column.image", axis=1)
    add("Gather", "class", picked, "column.class", axis=1)
    add("Gather", "row", picked, "column.row", axis=1)
    add("GatherND", "score", scores, picked)
    for name in ("image", "row"):
        add("Unsqueeze", f"{name}.column", name, "from_one")
    add("GatherND", "box", found, add("Concat", "place", "image.column", "row.column", axis=1))

    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.node.extend(writer.nodes)
    result.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in writer.tensors.items())
    del result.graph.output[:]
    for name, kind, shape in (
        ("image", TensorProto.INT64, ["K"]),
        ("class", TensorProto.INT64, ["K"]),
        ("score", TensorProto.FLOAT, ["K"]),
        ("box", TensorProto.FLOAT, ["K", 4]),
    ):
        result.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Write an untrained SSD for digits, or decoding into a trained one.")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--decode", type=Path, help="a trained network to add decoding and NonMaxSuppression to")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    args = parser.parse_args()
    model = decoding(onnx.load(args.decode), anchors()) if args.decode else ssd(args.seed)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, args.out)
    if not args.decode:
        np.save(args.out.with_suffix(".anchors.npy"), anchors())
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{args.out}: {parameters:,} numbers, running statistics and shapes among them")


if __name__ == "__main__":
    main()
