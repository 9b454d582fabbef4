"""Winograd's convolutions of the x86 backend against the sum over taps and ONNX Runtime, one thread.

    python tests/benchmarks/x86_winograd.py [--only 64→64 …] [--repeats 20] [--warm]

Each layer is a 3×3 convolution with bias and Relu. ONNX Runtime's time is that of the convolution alone, out of its
profile, without the change of layout around it. All take turns; of each the least time counts. Before each turn the
caches are filled with other data, as the rest of a network does, unless --warm.

    ms        of ONNX Runtime; of the sum over taps, F(2) and F(4)
    m         what `worthwhile` says; - for the sum over taps
    ratio     time of that by that of ONNX Runtime
    GFLOP/s   two for each product of the sum over taps, by the same time
    error     largest difference to the sum over taps in float64, by the largest output: ONNX Runtime, F(2), F(4)
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from x86_kernels import FINISH, FLAGS, HARNESS, RUNTIME, Layer, aligned  # type: ignore[import-not-found]

from pruneir.backends.x86.conv import conv_source
from pruneir.backends.x86.packing import packed
from pruneir.backends.x86.tiling import tiling
from pruneir.backends.x86.winograd import transformed, winograd, winograd_source, worthwhile

LAYERS = [
    *(Layer(ic, oc, size, 3) for ic, oc, size in ((64, 64, 224), (64, 128, 112), (128, 128, 112), (256, 256, 56))),
    *(Layer(ic, ic, size, 3) for ic, size in ((512, 28), (512, 14), (64, 56), (128, 28), (256, 14), (512, 7))),
    *(Layer(ic, oc, size, 3) for ic, oc, size in ((45, 83, 56), (37, 91, 28), (45, 72, 14), (203, 187, 14))),
    *(Layer(ic, oc, size, 3) for ic, oc, size in ((16, 16, 112), (8, 8, 112), (64, 24, 40), (32, 32, 14))),
]  # fmt: skip
LANES = 8
METHODS = (None, 2, 4)
LAST_LEVEL = 48 << 20
"""Bytes that fill the caches."""


class Kernels:
    """All layers by all methods, compiled into one library."""

    def __init__(self, layers: list[Layer], folder: Path):
        text = f"#define VL {LANES}\n" + '#include "tile.h"\n' + HARNESS
        for place, layer in enumerate(layers):
            for m in METHODS:
                name, g = f"layer_{place}_{m or 0}", layer.geometry
                finish = FINISH.format(name=name)
                if m:
                    text += winograd_source(name, g, winograd(g, LANES, m), finish)
                else:
                    text += conv_source(name, g, tiling(g, LANES), finish)
        (folder / "layers.c").write_text(text)
        subprocess.run(["cc", *FLAGS, "-I", str(RUNTIME), "layers.c", "-o", "layers.so"], cwd=folder, check=True)
        self.layers = layers
        self.so = ctypes.CDLL(str(folder / "layers.so"))
        self.so.seconds.restype = ctypes.c_double

    def bound(self, layer: Layer, m: int | None, x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> Bound:
        """A kernel with its arrays."""
        g = layer.geometry
        cut = winograd(g, LANES, m) if m else tiling(g, LANES)
        panels = transformed(weights, winograd(g, LANES, m)) if m else packed(weights, tiling(g, LANES).vectors, LANES)
        y = np.empty((1, g.oh, g.ow, g.oc), np.float32)
        arrays = [aligned(array) for array in (x, panels, y, np.pad(bias, (0, -g.oc % LANES)))]
        kernel = getattr(self.so, f"layer_{self.layers.index(layer)}_{m or 0}")
        return Bound(self.so, kernel, arrays, aligned(np.zeros(cut.scratch, np.uint8)), cut.items)


@dataclass(frozen=True)
class Bound:
    """A kernel of a library with its arrays: x, weights, y, bias."""

    so: ctypes.CDLL
    kernel: Any
    arrays: list[np.ndarray]
    scratch: np.ndarray
    items: int

    def seconds(self) -> float:
        """Of one call."""
        pointers = (ctypes.c_void_p * len(self.arrays))(*(array.ctypes.data for array in self.arrays))
        scratch = ctypes.c_void_p(self.scratch.ctypes.data)
        return float(self.so.seconds(self.kernel, pointers, scratch, ctypes.c_long(self.items)))


class Peer:
    """The layer in ONNX Runtime."""

    def __init__(self, layer: Layer, weights: np.ndarray, bias: np.ndarray, folder: Path):
        g = layer.geometry
        nodes = [
            helper.make_node("Conv", ["x", "w", "b"], ["s"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["s"], ["y"]),
        ]
        shapes = {"x": [1, g.ic, g.ih, g.iw], "y": [1, g.oc, g.oh, g.ow]}
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
        initializers = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")]
        graph = helper.make_graph(nodes, "one layer", [x], [y], initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def run(self, x: np.ndarray) -> np.ndarray:
        """The output, as NHWC."""
        return np.asarray(self.session.run(None, {"x": x.transpose(0, 3, 1, 2)})[0]).transpose(0, 2, 3, 1)

    def seconds(self) -> float:
        """The least of the convolution in all runs."""
        events = json.loads(Path(self.session.end_profiling()).read_text())
        kernels = [event for event in events if event["name"].endswith("kernel_time")]
        return min(1e-6 * float(k["dur"]) for k in kernels if k["args"]["op_name"] in {"Conv", "FusedConv"})


def rows(layers: list[Layer], repeats: int, warm: bool, folder: Path) -> Iterator[str]:
    """The table, line by line, and the mean of its ratios."""
    kernels = Kernels(layers, folder)
    other = np.zeros(0 if warm else LAST_LEVEL, np.uint8)
    ratios = []
    yield f"{'layer':20}{'ORT':>8}{'taps':>9}{'F(2)':>9}{'F(4)':>9}{'m':>3}{'ratio':>7}{'GFLOP/s':>9}   errors"
    for layer in layers:
        random, g = np.random.default_rng(0), layer.geometry
        x = np.maximum(random.standard_normal((1, g.ih, g.iw, g.ic)), 0).astype(np.float32)
        weights = random.standard_normal((g.oc, g.ic, 3, 3)).astype(np.float32) * np.float32(math.sqrt(2 / 9 / g.ic))
        bias = random.standard_normal(g.oc).astype(np.float32)
        peer = Peer(layer, weights, bias, folder)
        ours = {m: kernels.bound(layer, m, x, weights, bias) for m in METHODS}
        times: dict[int | None, list[float]] = {m: [] for m in METHODS}
        for _ in range(repeats):
            other.sum()
            peer.run(x)
            for m, kernel in ours.items():
                other.sum()
                times[m].append(kernel.seconds())
        m, exact = worthwhile(g, LANES), reference(x, weights, bias)
        outputs = [peer.run(x), ours[2].arrays[2], ours[4].arrays[2]]
        errors = [np.abs(y - exact).max() / exact.max() for y in outputs]
        theirs, least = peer.seconds(), {m: min(seconds) for m, seconds in times.items()}
        ratios.append(least[m] / theirs)
        columns = "".join(f"{1e3 * seconds:9.3f}" for seconds in (theirs, *least.values()))
        yield (
            f"{layer!s:19}{columns}{m or '-':>3}{ratios[-1]:7.2f}{2e-9 * g.macs / least[m]:9.0f}   "
            + " ".join(f"{error:.1e}" for error in errors)
        )
    yield f"geometric mean of {len(ratios)} ratios: {math.exp(float(np.log(ratios).mean())):.3f}"


def reference(x: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """The layer in float64."""
    height, width = x.shape[1:3]
    padded = np.pad(x.astype(np.float64), [(0, 0), (1, 1), (1, 1), (0, 0)])
    y: np.ndarray = np.zeros((1, height, width, len(bias))) + bias
    for i in range(3):
        for j in range(3):
            y += padded[:, i : i + height, j : j + width] @ weights[:, :, i, j].T.astype(np.float64)
    return np.asarray(np.maximum(y, 0))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of layers")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--warm", action="store_true", help="leave in the caches what the last turn left")
    options = parser.parse_args()
    layers = [layer for layer in LAYERS if any(part in str(layer) for part in options.only)]
    with TemporaryDirectory() as folder:
        for line in rows(layers, options.repeats, options.warm, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
