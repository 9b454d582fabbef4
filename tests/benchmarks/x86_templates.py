"""Depthwise convolutions, pools, means and resizes of the x86 backend against ONNX Runtime, one thread, AVX2.

    python tests/benchmarks/x86_templates.py [--only depthwise …] [--repeats 200]

A depthwise convolution has bias and Relu, the rest is alone. ONNX Runtime and ours take turns; of each the least time
counts. ONNX Runtime computes twice: `session` is all that it does for the layer, with the reordering of channels that a
network needs only at its ends; `node` is the layer's own node in its profile, whole microseconds.

    µs       ours
    GFLOP/s  of ours, two for each product, those with padding counted too
    ratios   our time by that of ONNX Runtime
    error    largest difference, by the largest output
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime as ort

sys.path.insert(0, str(Path(__file__).parents[1]))
from pruneir.backends.x86.depthwise import Depthwise
from pruneir.graph import parse
from pruneir.onnx_io.model import model_of
from pruneir.onnx_io.tensors import embed
from support.x86_tasks import Task, library, task

LANES = 8
FINISH = """
INLINE vf {name}_finish(vf sum, void *const *p, long point, long filter, int lanes) {{
    (void)point, (void)lanes;
    return vf_max(sum + vf_load((const float *)p[3] + filter), vf_set(0));
}}
"""


@dataclass(frozen=True)
class Layer:
    """A layer.

    operator  in the text form of graphs
    behind    what follows it, for ONNX Runtime; ours has it as epilogue
    """

    name: str
    x: str
    operator: str
    behind: str = ""

    @property
    def alone(self) -> str:
        """The graph of the operator."""
        return f"{self.x} -> y {{ y = {self.operator} }}"

    @property
    def whole(self) -> str:
        """The graph of all."""
        return f"{self.x} -> y {{ a = {self.operator}; {self.behind} }}" if self.behind else self.alone


def depthwise(channels: int, size: int, k: int = 3, stride: int = 1) -> Layer:
    """A convolution with `k // 2` padding."""
    window = f"group={channels}, pads={[k // 2] * 4}, strides={[stride] * 2}"
    conv = f"Conv(x, w[{channels},1,{k},{k}], {window})"
    name = f"depthwise {k}×{k}{f'/{stride}' if stride > 1 else ''} {channels} {size}²"
    return Layer(name, f"x[1,{channels},{size},{size}]", conv, f"s = Add(a, b[{channels},1,1]); y = Relu(s)")


def pool(kind: str, channels: int, size: int, k: int, stride: int, pad: int) -> Layer:
    """A pool."""
    window = f"kernel_shape={[k] * 2}, strides={[stride] * 2}, pads={[pad] * 4}"
    return Layer(
        f"{kind} {k}×{k}/{stride} {channels} {size}²", f"x[1,{channels},{size},{size}]", f"{kind}(x, {window})"
    )


def resize(channels: int, size: int, mode: str) -> Layer:
    """A doubling."""
    more = ', coordinate_transformation_mode="asymmetric", nearest_mode="floor"' if mode == "nearest" else ""
    operator = f'Resize(x, _, {{1.0,1.0,2.0,2.0}}, mode="{mode}"{more})'
    return Layer(f"{mode} ×2 {channels} {size}²", f"x[1,{channels},{size},{size}]", operator)


LAYERS = [
    depthwise(32, 112), depthwise(96, 112, stride=2), depthwise(144, 56), depthwise(144, 56, stride=2),
    depthwise(192, 28), depthwise(384, 14), depthwise(576, 14, stride=2), depthwise(960, 7),
    depthwise(120, 28, 5), depthwise(672, 14, 5), depthwise(96, 56, 7),
    depthwise(37, 56), depthwise(91, 28), depthwise(37, 56, stride=2), depthwise(7, 112),
    pool("MaxPool", 64, 112, 3, 2, 1), pool("MaxPool", 64, 224, 2, 2, 0), pool("MaxPool", 256, 20, 5, 1, 2),
    pool("MaxPool", 37, 56, 3, 2, 1), pool("AveragePool", 128, 28, 3, 1, 1), pool("AveragePool", 64, 56, 2, 2, 0),
    *(Layer(f"mean {c} {s}²", f"x[1,{c},{s},{s}]", "GlobalAveragePool(x)") for c, s in ((2048, 7), (1280, 7), (96, 56))),
    resize(64, 40, "nearest"), resize(24, 80, "nearest"), resize(64, 40, "linear"), resize(21, 65, "linear"),
]  # fmt: skip


def aligned(values: np.ndarray) -> np.ndarray:
    """A copy at a multiple of 64 bytes."""
    room = np.empty(values.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + values.nbytes].view(values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


class Ours:
    """The kernel of a layer on its arrays."""

    def __init__(self, layer: Layer, made: Task, code: ctypes.CDLL, name: str) -> None:
        bias = parse(layer.whole).constant("b") if layer.behind else None
        padded = [] if bias is None else [np.pad(bias.ravel(), (0, -bias.size % LANES))]
        self.y = aligned(np.full(made.wanted.shape, np.nan, np.float32))
        self.arrays = [*[aligned(value) for value in made.inputs], self.y, *[aligned(value) for value in padded]]
        self.pointers = (ctypes.c_void_p * len(self.arrays))(*[array.ctypes.data for array in self.arrays])
        self.kernel, self.begin, self.end = code[name], ctypes.c_long(0), ctypes.c_long(made.kernel.items)

    def run(self) -> None:
        self.kernel(self.pointers, None, self.begin, self.end)


class Theirs:
    """The layer in ONNX Runtime; with a profile where there is a folder for it."""

    def __init__(self, layer: Layer, x: np.ndarray, folder: Path | None = None) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        if folder is not None:
            options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
        model = model_of(parse(layer.whole), initializers=embed, constants=embed).SerializeToString()
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.y = self.session.run(None, {"x": x})[0]
        self.binding = self.session.io_binding()
        self.binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x))
        self.binding.bind_ortvalue_output("y", ort.OrtValue.ortvalue_from_numpy(self.y))

    def run(self) -> None:
        self.session.run_with_iobinding(self.binding)

    def node(self) -> float:
        """Seconds of the layer's own nodes, the least."""
        events = json.loads(Path(self.session.end_profiling()).read_text())
        least: dict[str, float] = {}
        for event in events:
            if event["name"].endswith("kernel_time") and not event["args"]["op_name"].startswith("Reorder"):
                least[event["name"]] = min(least.get(event["name"], math.inf), 1e-6 * event["dur"])
        return sum(least.values())


def warm(run: Callable[[], None]) -> float:
    """Seconds of a run right behind another: its input is in the cache, as far as it fits, as in a network."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measured(layer: Layer, made: Task, ours: Ours, repeats: int) -> tuple[float, float, float, float]:
    """Our seconds, those of a session and of its node, and the error."""
    x = np.ascontiguousarray(np.moveaxis(made.inputs[0], -1, 1))
    with TemporaryDirectory() as folder:
        theirs, profiled = Theirs(layer, x), Theirs(layer, x, Path(folder))
        times: list[tuple[float, float]] = []
        for _ in range(repeats):
            times.append((warm(ours.run), warm(theirs.run)))
            profiled.run()
        node = profiled.node()
    wanted = np.moveaxis(theirs.y, 1, -1)
    error = float(np.abs(ours.y - wanted).max() / np.abs(wanted).max())
    return min(time for time, _ in times), min(time for _, time in times), node, error


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[""], help="parts of the names of layers")
    parser.add_argument("--repeats", type=int, default=200)
    options = parser.parse_args()
    layers = [layer for layer in LAYERS if any(part in layer.name for part in options.only)]
    tasks = [task(layer.alone, LANES) for layer in layers]
    texts = [
        made.kernel.source(f"k{i}", FINISH.format(name=f"k{i}") if layer.behind else "")
        for i, (layer, made) in enumerate(zip(layers, tasks, strict=True))
    ]
    code = library('#include "simd.h"\n' + "\n".join(texts), LANES, "-O3")
    print(f"{'layer':32}{'µs':>9}{'GFLOP/s':>9}{'/session':>10}{'/node':>8}{'error':>9}")
    ratios = []
    for i, (layer, made) in enumerate(zip(layers, tasks, strict=True)):
        ours, session, node, error = measured(layer, made, Ours(layer, made, code, f"k{i}"), options.repeats)
        rate = f"{2e-9 * made.kernel.macs / ours:9.1f}" if isinstance(made.kernel, Depthwise) else f"{'':9}"
        ratios.append((ours / session, ours / node))
        print(f"{layer.name:32}{1e6 * ours:9.1f}{rate}{ours / session:10.2f}{ours / node:8.2f}{error:9.0e}", flush=True)
    means = np.exp(np.mean(np.log(ratios), axis=0))
    print(f"{'geometric mean':50}{means[0]:10.2f}{means[1]:8.2f}")


if __name__ == "__main__":
    main()
