"""Accuracy after a cut without training: nothing done, constants absorbed, each repair alone, and the default.

    python tests/benchmarks/repair.py [--ratio 0.5] [--models GLOB] [--memory]

Networks of models/ that were trained without sparsity, `filter{scope=local}` on every group, 256 unlabelled images;
accuracy on the 2,000 test images, in percent. "Recovered" is the share of what the naive cut lost. `--memory` instead
repairs ResNet-50 (random weights, 256 images of 224 × 224) and prints time and peak memory.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import pruneir
from pruneir.graph import Graph
from pruneir.onnx_io import session
from support.builders import resnet50

MODELS = Path(__file__).parents[2] / "models"
DATA = MODELS / "data/mnist_calib_256.npz"
TEST = MODELS / "data/mnist_test_2k.npz"
NETWORKS = ("mnist_resnet/mnist_resnet_plain.onnx", "mnist_vgg/*.onnx", "mnist_mobilenet_se/*.onnx")
REPAIRS = {
    "means": "repair{batchnorm=false,reconstruct=none}",
    "batchnorm": "repair{means=false,reconstruct=none}",
    "least squares": "repair{means=false,batchnorm=false}",
    "optimal brain": "repair{means=false,batchnorm=false,reconstruct=optimal-brain}",
    "default": "repair",
}


def accuracy(graph: Graph) -> float:
    """On the test images, in percent."""
    test = np.load(TEST)
    x = test["x"].astype(np.float32)
    x = x if x.ndim == 4 else x[:, None]
    return 100 * float((session(graph).run(None, {graph.data_inputs[0]: x})[0].argmax(axis=1) == test["y"]).mean())


def table(path: Path, ratio: float) -> None:
    """One row a way to cut and repair."""
    base = accuracy(pruneir.load(path))
    cut = f"filter{{ratio={ratio:g},scope=local}}"
    naive = f"filter{{ratio={ratio:g},scope=local,absorb=false}}"
    ways: dict[str, tuple[list[str], bool]] = {"naive": ([naive], False), "absorbed": ([cut], False)}
    ways["merged, no data"] = ([cut, "repair"], False)
    ways |= {name: ([cut, spec], True) for name, spec in REPAIRS.items()}
    lost = 0.0
    for name, (passes, data) in ways.items():
        start = time.perf_counter()
        made = pruneir.optimize(path, passes, data=DATA if data else None, verify=False)
        took, found = time.perf_counter() - start, accuracy(made.graph)
        if name == "naive":
            lost = base - found
            work = made.report["macs"]["before"] / made.report["macs"]["after"]
            print(f"\n{path.stem}: {base:.2f} uncut, {work:.2f}× fewer MACs\n\n| repair | accuracy | recovered | s |")
            print("|---|---|---|---|")
        back = f"{100 * (1 - (base - found) / lost):.1f} %" if lost else "—"
        print(f"| {name} | {found:.2f} | {back} | {took:.1f} |", flush=True)


def memory() -> None:
    """ResNet-50, calibrated and repaired."""
    x = np.random.default_rng(0).standard_normal((256, 3, 224, 224), dtype=np.float32)
    start = time.perf_counter()
    made = pruneir.optimize(resnet50(), ["filter{ratio=0.5}", "repair"], data={"x": x}, verify=False)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(*made.outcome.notes, sep="\n")
    print(f"ResNet-50, 256 images: {time.perf_counter() - start:.0f} s, peak memory {peak:.2f} GB   (bar: 6)")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratio", type=float, default=0.5)
    parser.add_argument("--models", nargs="*", default=NETWORKS)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.memory:
        memory()
        return
    for path in [path for glob in options.models for path in sorted(MODELS.glob(glob))]:
        table(path, options.ratio)


if __name__ == "__main__":
    main()
