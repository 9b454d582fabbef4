"""Write LeNet-300-100 and LeNet-5, the networks of Han et al. (NIPS 2015), and train them with pruneir.

LeNet-300-100 (LeCun et al., Proc. IEEE 1998) is fully connected, 784-300-100-10 with ReLUs.  LeNet-5 is that of Caffe:
20 and 50 filters of 5×5 without padding, a 2×2 max pool behind each, 500 neurons with a ReLU, 10.  Weights start
uniform in ±√(3 / fan-in), biases in ±1 / √fan-in.

    python models/lenet/train.py lenet_5 --seed 0 --out models/lenet/lenet_5_s0.onnx

The same seed gives the same file on the same machine with the same torch.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import pruneir
from pruneir import Training
from pruneir.data import from_arrays
from pruneir.onnx_io import load
from pruneir.score import score

DIGITS = Path(__file__).resolve().parent.parent / "data/mnist_10k.npz"
SPLIT_SEED, TEST_IMAGES = 20170822, 2000
"""As in mnist_resnet/train.py."""
OPSET, IR_VERSION = 17, 8
Arrays = Mapping[str, np.ndarray]

HEAD = {"lenet_300_100": ("fc[23]*",), "lenet_5": ("fc2*",)}
"""The layers whose inputs are dropped while training, half of them."""
TRAININGS = {
    "lenet_300_100": Training(epochs=40, lr=0.05, warmup=1, weight_decay=5e-4, threads=1),
    "lenet_5": Training(epochs=20, lr=0.02, warmup=1, weight_decay=5e-4, threads=1),
}


def lenet_300_100(seed: int = 0) -> onnx.ModelProto:
    """Untrained: `x` float32 [N,1,28,28] to `logits` [N,10]."""
    network = _Network(seed)
    value = network.add("Flatten", "flatten", "x", axis=1)
    value = network.add("Relu", "relu1", network.layer("fc1", value, 784, 300))
    value = network.add("Relu", "relu2", network.layer("fc2", value, 300, 100))
    return network.model("lenet_300_100", network.layer("fc3", value, 100, 10))


def lenet_5(seed: int = 0) -> onnx.ModelProto:
    """Untrained: `x` float32 [N,1,28,28] to `logits` [N,10]."""
    network = _Network(seed)
    value = network.layer("conv1", "x", 1, 20, 5)
    value = network.add("MaxPool", "pool1", value, kernel_shape=[2, 2], strides=[2, 2])
    value = network.layer("conv2", value, 20, 50, 5)
    value = network.add("MaxPool", "pool2", value, kernel_shape=[2, 2], strides=[2, 2])
    value = network.add("Flatten", "flatten", value, axis=1)
    value = network.add("Relu", "relu1", network.layer("fc1", value, 800, 500))
    return network.model("lenet_5", network.layer("fc2", value, 500, 10))


NETWORKS = {"lenet_300_100": lenet_300_100, "lenet_5": lenet_5}


class _Network:
    def __init__(self, seed: int):
        self.generator = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, operator: str, label: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"{label}.out"], label, **attributes))
        return f"{label}.out"

    def layer(self, label: str, source: str, inputs: int, outputs: int, kernel: int = 0) -> str:
        """A convolution with square kernels, or without any a Gemm."""
        taps = (kernel, kernel) if kernel else ()
        fan_in = inputs * int(np.prod(taps))
        names = [f"{label}.weight", f"{label}.bias"]
        shapes = [(outputs, inputs, *taps), (outputs,)]
        for name, shape, reach in zip(names, shapes, (np.sqrt(3 / fan_in), 1 / np.sqrt(fan_in)), strict=True):
            self.tensors[name] = self.generator.uniform(-reach, reach, shape).astype(np.float32)
        if kernel:
            return self.add("Conv", label, source, *names, kernel_shape=list(taps))
        return self.add("Gemm", label, source, *names, transB=1)

    def model(self, name: str, last: str) -> onnx.ModelProto:
        self.nodes[-1].output[0] = "logits"
        graph = helper.make_graph(
            self.nodes,
            name,
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 28, 28])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
            [numpy_helper.from_array(array, key) for key, array in self.tensors.items()],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lenet/train.py")


def digits() -> tuple[Arrays, Arrays]:
    """8,000 digits to train on, 2,000 to test on."""
    with np.load(DIGITS) as archive:
        x = archive["x"].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
        y = archive["y"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return {"x": x[train], "y": y[train]}, {"x": x[test], "y": y[test]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train LeNet-300-100 or LeNet-5 on 8,000 MNIST digits.")
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--seed", type=int, default=0, help="of the initial weights and the order of the digits")
    parser.add_argument("--out", type=Path, required=True, help="the ONNX file to write")
    args = parser.parse_args()
    train, test = digits()
    training = replace(TRAININGS[args.network], dropout=0.5, dropout_at=HEAD[args.network])
    made = pruneir.train(NETWORKS[args.network](args.seed), training, data=train, seed=args.seed)
    pruneir.save(made.graph, args.out, force=True)
    graph = load(args.out)
    print(f"{args.out}: {score(graph, from_arrays(test, graph)).points:.2f} % of the {len(test['y']):,} test digits")


if __name__ == "__main__":
    main()
