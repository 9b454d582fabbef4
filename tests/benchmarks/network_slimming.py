"""Network Slimming end to end on MNIST (Liu et al., ICCV 2017): sparsity training, a cut of 70 % of the channels,
fine-tuning; then the paper's multi-pass schedule. 8,000 training and 2,000 test digits.

    python tests/benchmarks/network_slimming.py [--seeds 0 1 2] [--jobs 2] [--passes 3]

Every seed starts from an untrained VGG-style network with BatchNorm, models/mnist_vgg/init.py. The base is trained
without a penalty, for as many epochs as sparsity training and fine-tuning take together. All figures are of the test
digits; nothing is chosen on them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import pruneir
from pruneir import Training
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.data import from_arrays
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.score import score
from support.digits import digits

MODELS = Path(__file__).parents[2] / "models"

SPARSE = Training(epochs=6, lr=0.05, warmup=1, l1_gamma=0.01, threads=1)
TUNE = Training(epochs=3, lr=0.02, threads=1)
BASE = Training(epochs=SPARSE.epochs + TUNE.epochs, lr=0.05, warmup=1, threads=1)
AGAIN = Training(epochs=3, lr=0.02, l1_gamma=0.02, threads=1)
RATIO, AGAIN_RATIO = 0.7, 0.4


@dataclass(frozen=True)
class Stage:
    """A network on the way: what it is, its test accuracy in percent, its costs."""

    name: str
    accuracy: float
    macs: int
    params: int


def untrained(seed: int) -> Graph:
    """The network that all of a seed's start from."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "vgg.onnx"
        subprocess.run([sys.executable, MODELS / "mnist_vgg/init.py", "--seed", str(seed), "--out", path], check=True)
        return load(path)


def stages(seed: int, passes: int) -> list[Stage]:
    """The networks of one seed."""
    train, test = digits()
    calibration = {name: array[:1024] for name, array in train.items()}
    found: list[Stage] = []

    def measured(name: str, graph: Graph) -> Graph:
        costs, points = cost(couple(graph)), score(graph, from_arrays(test, graph)).points
        found.append(Stage(name, points, costs.macs, costs.params))
        print(
            f"seed {seed}  {name:32} {points:6.2f} %  {costs.macs:>12,} MACs  {costs.params:>9,} parameters", flush=True
        )
        return graph

    def trained(name: str, graph: Graph, training: Training) -> Graph:
        return measured(name, pruneir.train(graph, training, data=train, seed=seed).graph)

    def cut(name: str, graph: Graph, ratio: float) -> Graph:
        done = pruneir.optimize(graph, [f"slim{{ratio={ratio}}}", "repair"], data=calibration, verify=False, seed=seed)
        measured(
            f"{name}, before any repair",
            pruneir.optimize(graph, [f"slim{{ratio={ratio},absorb=false}}"], verify=False).graph,
        )
        return measured(name, done.graph)

    start = untrained(seed)
    trained("base", start, BASE)
    graph = trained("pass 1: sparsity training", start, SPARSE)
    graph = trained("pass 1: fine-tuned", cut("pass 1: cut", graph, RATIO), TUNE)
    for number in range(2, passes + 1):
        graph = trained(f"pass {number}: sparsity training", graph, AGAIN)
        graph = trained(f"pass {number}: fine-tuned", cut(f"pass {number}: cut", graph, AGAIN_RATIO), TUNE)
    return found


def main() -> None:
    """Run all seeds and print the means as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="seeds at a time, a thread each")
    parser.add_argument("--passes", type=int, default=3)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(stages, args.seeds, [args.passes] * len(args.seeds)))
    print(f"\nmean of seeds {', '.join(map(str, args.seeds))}\n")
    print("| network | accuracy | parameters | MACs |\n|---|---|---|---|")
    for rows in zip(*runs, strict=True):
        base = [run[0] for run in runs]
        params = mean(1 - row.params / first.params for row, first in zip(rows, base, strict=True))
        macs = mean(1 - row.macs / first.macs for row, first in zip(rows, base, strict=True))
        print(
            f"| {rows[0].name} | {mean(r.accuracy for r in rows):.2f} % | {-100 * params:+.1f} % | {-100 * macs:+.1f} % |"
        )


if __name__ == "__main__":
    main()
