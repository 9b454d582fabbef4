"""Write an untrained VGG-style network as ONNX, for `pruneir train` to train from the first step.

Convolutions 3×3 without bias, a BatchNorm and a ReLU behind each, 2×2 max pools, and a Gemm over the flattened rest:
the network that train.py trains, or one of other widths.  Weights are drawn as in He et al., "Delving Deep into
Rectifiers", ICCV 2015, normal with σ² = 2 / fan-in (the Gemm's 1 / fan-in); γ = 0.5 and β = 0 as in Network Slimming,
μ = 0, σ² = 1.  Every vector is a tensor of its own, even where several start equal.

    python models/mnist_vgg/init.py --seed 0 --out vgg.onnx
    python models/mnist_vgg/init.py --seed 0 --out wide.onnx --widths 64,64,M,128,128,M,256,256,M

The same seed and widths give the same file.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTHS: tuple[int | str, ...] = (32, 32, "M", 64, 64, "M", 128, 128, "M")
"""Channels of the convolutions in order, M a max pool."""
SIDE, CLASSES, GAMMA = 28, 10, 0.5
OPSET, IR_VERSION = 17, 8


def vgg(widths: Sequence[int | str] = WIDTHS, *, seed: int = 0) -> onnx.ModelProto:
    """The network: `x` float32 [N,1,28,28] to `logits` [N,10]."""
    generator = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    tensors: dict[str, np.ndarray] = {}

    def add(operator: str, label: str, *inputs: str, **attributes: object) -> str:
        output = f"/{label}/{operator}_output_0"
        nodes.append(helper.make_node(operator, inputs, [output], f"/{label}/{operator}", **attributes))
        return output

    value, channels, side, convs = "x", 1, SIDE, 0
    for width in widths:
        if isinstance(width, int):
            convs += 1
            conv, bn = f"features.conv{convs}", f"features.bn{convs}"
            drawn = generator.normal(0, np.sqrt(2 / (9 * channels)), (width, channels, 3, 3))
            start = {"weight": GAMMA, "bias": 0, "running_mean": 0, "running_var": 1}
            tensors[f"{conv}.weight"] = drawn.astype(np.float32)
            tensors |= {f"{bn}.{name}": np.full(width, number, np.float32) for name, number in start.items()}
            weight, statistics = f"{conv}.weight", [f"{bn}.{name}" for name in start]
            value = add("Conv", f"features/conv{convs}", value, weight, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            value = add("BatchNormalization", f"features/bn{convs}", value, *statistics, epsilon=1e-5)
            value = add("Relu", f"features/relu{convs}", value)
            channels = width
        else:
            value = add("MaxPool", f"features/pool{convs}", value, kernel_shape=[2, 2], strides=[2, 2])
            side //= 2
    value = add("Flatten", "flatten", value, axis=1)
    inputs = channels * side * side
    tensors["head.weight"] = generator.normal(0, np.sqrt(1 / inputs), (CLASSES, inputs)).astype(np.float32)
    tensors["head.bias"] = np.zeros(CLASSES, np.float32)
    nodes.append(helper.make_node("Gemm", [value, "head.weight", "head.bias"], ["logits"], "/head/Gemm", transB=1))
    graph = helper.make_graph(
        nodes,
        "vgg",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mnist_vgg/init.py")


def parse_widths(text: str) -> tuple[int | str, ...]:
    """`32,32,M,64` as numbers and pools."""
    return tuple("M" if word.strip().upper() == "M" else int(word) for word in text.split(","))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write an untrained VGG-style MNIST network as ONNX.")
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    parser.add_argument("--widths", type=parse_widths, default=WIDTHS, help="channels in order, M a max pool")
    args = parser.parse_args()
    model = vgg(args.widths, seed=args.seed)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, args.out)
    parameters = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    print(f"{args.out}: {parameters:,} parameters, running statistics among them")


if __name__ == "__main__":
    main()
