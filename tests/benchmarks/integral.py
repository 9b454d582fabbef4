"""Integral pruning on MNIST (Yang et al., 2019): weights are masked, the network retrained, winner rates found by a scan,
and the network tuned once more. 8,000 training and 2,000 test digits.

    python tests/benchmarks/integral.py [--networks mlp conv] [--seeds 0 1 2] [--folder FOLDER]

Baselines are those of models/integral/train.py, trained anew for seeds that are not in the folder. Rates are chosen on
1,024 training digits that are moved by a pixel, since as they are the networks know them by heart; all figures are of the
test digits, at which nothing else looked. Then the thresholds that are
found at run time are exchanged for sampled and for static ones, before and after the tuning.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pruneir
from pruneir import Training
from pruneir.data import from_arrays
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.passes.integral import Integral
from pruneir.pipeline.passes import Context
from pruneir.score import score
from pruneir.sparsity.operands import operand_macs
from pruneir.sparsity.sites import sites
from pruneir.sparsity.winners import winners
from support.digits import Arrays, digits

MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Setting:
    """How a network is pruned.

    weights  shares that each masking leaves
    drop     points that all winner rates may cost before the tuning, on the digits that they are chosen on
    """

    file: str
    weights: tuple[tuple[float | str, ...], ...]
    retrain: Training
    drop: float
    tune: Training


SETTINGS = {
    "mlp": Setting(
        "mlp3",
        ((0.4, "fc3.*=0.7"), (0.2, "fc3.*=0.6"), (0.09, "fc3.*=0.5")),
        Training(epochs=8, lr=0.03, dropout=0.2, threads=1),
        0.5,
        Training(epochs=8, lr=0.02, dropout=0.2, threads=1),
    ),
    "conv": Setting(
        "convnet5",
        ((0.3, "conv1.*=0.6"),),
        Training(epochs=4, lr=0.02, dropout=0.2, threads=1),
        0.1,
        Training(epochs=4, lr=0.02, dropout=0.2, threads=1),
    ),
}


@dataclass(frozen=True)
class Row:
    """A network on the way: test accuracy in percent, shares of MACs."""

    name: str
    accuracy: float
    by_weights: float
    both: float
    inputs: tuple[float, ...]


def moved(digits: Arrays, count: int = 1024) -> Arrays:
    """The first digits, each moved by a pixel: a quarter up, a quarter to the right, and so on."""
    x = digits["x"][:count].copy()
    for first, (axis, step) in enumerate(((2, -1), (3, 1), (2, 1), (3, -1))):
        x[first::4] = np.roll(x[first::4], step, axis)
    return {"x": x, "y": digits["y"][:count]}


def baseline(network: str, seed: int, folder: Path) -> Graph:
    """The trained network, from a folder or trained now."""
    path = folder / f"{SETTINGS[network].file}_s{seed}.onnx"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        script = MODELS / "integral/train.py"
        subprocess.run([sys.executable, script, network, "--seed", str(seed), "--out", path], check=True)
    return load(path)


def rates(graph: Graph) -> tuple[str, ...]:
    """The winner rates of a graph's masks, as the pass takes them."""
    sizes = {site.value: site.size for site in sites(graph, Context(graph))}
    return tuple(f"{mask.source}={(mask.kept or 0) / (sizes[mask.source] or 1):.6f}" for mask in winners(graph))


def rows(network: str, seed: int, folder: Path) -> list[Row]:
    """The networks of one seed."""
    setting, (train, test) = SETTINGS[network], digits()
    found: list[Row] = []

    def measured(name: str, graph: Graph) -> Graph:
        data = from_arrays(test, graph)
        counted = operand_macs(graph, (batch.feeds for batch in data.batches(50)))
        shares = tuple(layer.inputs for layer in counted.layers)
        row = Row(name, score(graph, data).points, 100 * counted.weights, 100 * counted.both, shares)
        found.append(row)
        told = " ".join(f"{100 * share:.1f}" for share in shares)
        print(
            f"{network} {seed}  {name:38} {row.accuracy:6.2f} %  by weights {row.by_weights:6.2f} %  "
            f"both {row.both:6.2f} %  inputs not zero {told}",
            flush=True,
        )
        return graph

    def passed(graph: Graph, what: Integral) -> Graph:
        done = pruneir.optimize(graph, [what], data=train, validation=moved(train), verify=False, fold=False, seed=seed)
        return done.graph

    def trained(graph: Graph, training: Training) -> Graph:
        return pruneir.train(graph, training, data=train, seed=seed).graph

    def exchanged(graph: Graph, when: str) -> None:
        given = rates(graph)
        measured(f"winners, sampled threshold{when}", passed(graph, Integral(winners=given, threshold="sampled")))
        measured(f"winners, static threshold{when}", passed(graph, Integral(winners=given, threshold="static")))

    graph = measured("baseline", baseline(network, seed, folder))
    for shares in setting.weights:
        graph = trained(passed(graph, Integral(weights=shares, winners=(1.0,))), setting.retrain)
    measured("weights masked and retrained", graph)
    graph = measured("winners, exact threshold", passed(graph, Integral(drop=setting.drop)))
    exchanged(graph, "")
    graph = measured("winners, exact threshold, tuned", trained(graph, setting.tune))
    exchanged(graph, " after tuning")
    return found


def table(runs: Sequence[Sequence[Row]]) -> None:
    """The means over seeds."""
    print("| network | accuracy | against the baseline | MACs by weights | MACs, both operands nonzero |")
    print("|---|---|---|---|---|")
    for same in zip(*runs, strict=True):
        accuracy = mean(row.accuracy for row in same)
        change = mean(row.accuracy - run[0].accuracy for row, run in zip(same, runs, strict=True))
        weights, both = mean(row.by_weights for row in same), mean(row.both for row in same)
        print(f"| {same[0].name} | {accuracy:.2f} % | {change:+.2f} | {weights:.2f} % | {both:.2f} % |")


def main() -> None:
    """Run all seeds and print the means as tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=MODELS / "integral", help="of the baselines")
    args = parser.parse_args()
    found = {network: [rows(network, seed, args.folder) for seed in args.seeds] for network in args.networks}
    for network, runs in found.items():
        print(f"\n{network}, mean of seeds {', '.join(map(str, args.seeds))}\n")
        table(runs)


if __name__ == "__main__":
    main()
