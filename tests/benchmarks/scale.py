"""How time and memory grow: residual networks of 1k, 4k and 16k operators, and ResNet-50 file to file.

    python tests/benchmarks/scale.py [--runs 5]

Prints the time of couple + plan + apply per size and the ratio between sizes; the time of coupling ResNet-50 (25.6 M
parameters) against `onnx.shape_inference.infer_shapes` on the same file in the same run; and time and peak memory of
`pruneir optimize` from file to file, without and with verification. Exit code 1 if a bar of docs/benchmarks.md is missed.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import onnx

sys.path.insert(0, str(Path(__file__).parents[1]))
from pruneir import onnx_io
from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph
from pruneir.selection import Budget, choose, weight_scores
from pruneir.surgery import apply
from support.builders import residual_chain, resnet50


def coupled(graph: Graph) -> Coupling:
    """Shapes, rules and groups."""
    coupling = couple(graph)
    assert coupling.groups
    return coupling


def cut(graph: Graph) -> None:
    """Couple, plan and apply: half of every group."""
    coupling = coupled(graph)
    removed = choose(weight_scores(coupling, coupling.groups), Budget(ratio=0.5, scope="local"))
    apply(coupling, coupling.dead(removed.items()))


def seconds(action: Callable[[], object], runs: int) -> float:
    """The least of several runs, which the rest of the machine disturbed least."""
    times = []
    for _ in range(runs):
        gc.collect()
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


_PEAK = """
import atexit
def peak():
    with open("/proc/self/status") as status:
        print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
atexit.register(peak)
"""


def command(code: str, *arguments: str) -> tuple[float, float]:
    """Wall time in seconds and peak memory in MB of a Python process."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _PEAK + code, *arguments], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, int(done.stdout.split()[-1]) / 1000


def growth(runs: int) -> bool:
    """4× the operators, at most 5× the time."""
    times = {nodes: seconds(lambda n=nodes: cut(GRAPHS[n]), runs) for nodes in GRAPHS}  # type: ignore[misc]
    for nodes, took in times.items():
        print(f"couple + plan + apply, {nodes:6,} operators   {took:7.3f} s")
    ratios = [times[4000] / times[1000], times[16000] / times[4000]]
    print(f"4× the operators take {ratios[0]:.2f}× and {ratios[1]:.2f}× the time   (bar: 5)")
    return max(ratios) <= 5


def against_inference(path: Path, runs: int) -> bool:
    """Coupling takes at most three times as long as ONNX takes to infer the shapes."""
    graph, model = onnx_io.load(path), onnx.load(path)
    pairs = [
        (seconds(lambda: coupled(graph), 1), seconds(lambda: onnx.shape_inference.infer_shapes(model), 1))
        for _ in range(runs)
    ]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"ResNet-50: coupling {ours:.3f} s, infer_shapes {theirs:.3f} s: {ratio:.2f}×   (bar: 3)")
    return ratio <= 3


def file_to_file(path: Path, runs: int) -> bool:
    """At most 1.5 s and three times the file in memory."""
    size = path.stat().st_size / 1e6
    imports = statistics.median(command("import pruneir.api, pruneir.verify")[1] for _ in range(runs))
    good = True
    for extra, label in ((["--no-verify"], "without verification"), ([], "with verification")):
        out = path.with_name("out.onnx")
        call = (
            "import sys, pruneir.cli; sys.exit(pruneir.cli.main())",
            "optimize",
            str(path),
            "--pass",
            "slim{ratio=0.5}",
            "-o",
            str(out),
            "--force",
            "-q",
        )
        measured = [command(*call, *extra) for _ in range(runs)]
        took = min(t for t, _ in measured)
        above = max(m for _, m in measured) - imports
        print(
            f"ResNet-50 file to file {label}: {took:.2f} s, {above:.0f} MB above the imports, {above / size:.2f}× the file"
        )
        if extra:
            good = took <= 1.5 and above <= 3 * size
    print("  (bars, without verification, idle machine: 1.5 s, 3×)")
    return good


GRAPHS: dict[int, Graph] = {}


def main() -> int:
    """Run all three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    GRAPHS.update({nodes: residual_chain(nodes) for nodes in (1000, 4000, 16000)})
    good = growth(runs)
    GRAPHS.clear()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet50.onnx"
        onnx_io.save(resnet50(), path)
        good &= against_inference(path, runs)
        good &= file_to_file(path, runs)
    print(f"load of this machine while measuring: {os.getloadavg()[0]:.1f}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
