"""Learning both weights and connections (Han et al., NIPS 2015) on LeNet-300-100 and LeNet-5; 8,000 training digits.

    python tests/benchmarks/han.py [--networks lenet_300_100 lenet_5] [--seeds 0 1 2] [--part recipes|penalties]

`recipes`: docs/examples/han_*.toml, beside one-shot pruning to the same share of weights in each layer.
`penalties`: L1 against L2, before and after retraining, over the share of weights that is left (the paper's figure 5).

All accuracies are of the 2,000 test digits. No epoch and no threshold is chosen on them; the learning rate of the recipe
for LeNet-300-100 was, by seed 0, of 0.005 to 0.05. Seed 0 of each network is in models/lenet; the
others are trained into a temporary folder first, or read from `--bases`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1]))

import pruneir
from pruneir import Training
from pruneir.api import Optimized, optimize_by
from pruneir.cost import macs_by_operator
from pruneir.coupling import couple
from pruneir.data import from_arrays
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.pipeline import Recipe, read_recipe
from pruneir.score import score
from pruneir.sparsity import macs_kept, sizes, total, weights
from support.digits import Arrays, digits

ROOT = Path(__file__).parents[2]
LENET = ROOT / "models/lenet"
KEPT = (0.25, 0.12, 0.083)
PENALTIES = {"L1": {"l1_weights": 2e-5}, "L2": {"l2_weights": 5e-4}}
TUNE = {
    "lenet_300_100": Training(epochs=6, lr=0.05, weight_decay=0.0, threads=1),
    "lenet_5": Training(epochs=3, lr=0.02, weight_decay=0.0, threads=1),
}
STEPS = (0.4, 0.7, 1.0)
"""Of iterative pruning: exponents of the share that is kept."""


@dataclass(frozen=True)
class Case:
    """One network of one seed, and the digits."""

    name: str
    seed: int
    graph: Graph
    train: Arrays
    test: Arrays

    def accuracy(self, graph: Graph) -> float:
        """Of the test digits, in percent."""
        return score(graph, from_arrays(self.test, graph)).points

    def run(self, recipe: Recipe) -> Optimized:
        """A recipe on the training digits, every pass checked."""
        made = optimize_by(replace(recipe, seed=self.seed), self.graph, data=self.train)
        assert made.ok, f"{self.name}, seed {self.seed}: a pass did not keep its word"
        return made


@dataclass(frozen=True)
class Row:
    """A way to prune one network: test accuracy in percent, shares kept, bytes."""

    way: str
    accuracy: float
    kept: float
    macs: float
    raw: int
    gzip: int
    packed: int


def main() -> None:
    """Run what was asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["lenet_300_100", "lenet_5"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--part", nargs="+", default=["recipes", "penalties"])
    parser.add_argument("--bases", type=Path, help="a folder that has, or gets, the networks of other seeds")
    args = parser.parse_args()
    train, test = digits()
    with TemporaryDirectory() as folder:
        for name in args.networks:
            graphs = [load(base(name, seed, args.bases or Path(folder))) for seed in args.seeds]
            cases = [Case(name, seed, graph, train, test) for seed, graph in zip(args.seeds, graphs, strict=True)]
            if "recipes" in args.part:
                print_recipes(cases)
            if "penalties" in args.part:
                print_penalties(cases)


def base(name: str, seed: int, folder: Path) -> Path:
    """The trained network of a seed."""
    path = LENET / f"{name}_s{seed}.onnx"
    if path.exists():
        return path
    path = folder / path.name
    if not path.exists():
        subprocess.run([sys.executable, LENET / "train.py", name, "--seed", str(seed), "--out", path], check=True)
    return path


def print_recipes(cases: Sequence[Case]) -> None:
    """One row a way, means over the seeds."""
    found = [recipe_rows(case) for case in cases]
    print(f"\n{cases[0].name}, mean of seeds {', '.join(str(case.seed) for case in cases)}\n")
    print("| | accuracy | weights kept | MACs kept | raw | gzip | packed |\n|---|---|---|---|---|---|---|")
    for rows in zip(*found, strict=True):
        accuracies = ", ".join(f"{row.accuracy:.2f}" for row in rows)
        cells = [
            f"{mean(row.accuracy for row in rows):.2f} % ({accuracies})",
            f"{100 * mean(row.kept for row in rows):.2f} %",
            f"{100 * mean(row.macs for row in rows):.2f} %",
            *(f"{mean(getattr(row, name) for row in rows) / 1000:.1f} kB" for name in ("raw", "gzip", "packed")),
        ]
        print(f"| {rows[0].way} | {' | '.join(cells)} |", flush=True)


def recipe_rows(case: Case) -> list[Row]:
    """The network as it is, pruned at once, pruned at once and retrained, by its recipe."""
    recipe = read_recipe(ROOT / f"docs/examples/han_{case.name}.toml")
    prunes = [step for step in recipe.steps if step.what.name == "magnitude"]
    trains = [step for step in recipe.steps if step.what.name == "train"]
    shares: dict[str, float] = {}
    for step in prunes:
        shares |= step.ratios
    once = replace(prunes[-1], ratios=shares)
    epochs = sum(step.what.epochs for step in trains)  # type: ignore[attr-defined]
    tuned = replace(trains[-1], what=replace(trains[-1].what, epochs=epochs))  # type: ignore[call-arg]
    ways = {
        "one shot, no retraining": replace(recipe, steps=(once,)),
        f"one shot, {epochs} epochs": replace(recipe, steps=(once, tuned)),
        f"recipe, {epochs} epochs": recipe,
    }
    return [row(case, "as trained", case.graph)] + [row(case, way, case.run(r).graph) for way, r in ways.items()]


def row(case: Case, way: str, graph: Graph) -> Row:
    """The figures of a network, its shares of the network as trained."""
    whole, left = weights(case.graph), weights(graph)
    stored = total(sizes(left))
    macs = macs_by_operator(couple(graph))
    return Row(
        way,
        case.accuracy(graph),
        stored.nonzero / sum(weight.array.size for weight in whole),
        sum(macs_kept(macs, left).values()) / sum(macs_by_operator(couple(case.graph)).values()),
        stored.raw,
        stored.gzip,
        stored.packed,
    )


def print_penalties(cases: Sequence[Case]) -> None:
    """One row a share kept, one column a way."""
    found = [penalties(case) for case in cases]
    print(f"\n{cases[0].name}: L1 and L2, mean accuracy of seeds {', '.join(str(case.seed) for case in cases)}\n")
    ways = list(found[0])
    print(f"| weights kept | {' | '.join(ways)} |\n|---|{'---|' * len(ways)}")
    for index, kept in enumerate(KEPT):
        means = (mean(each[way][index] for each in found) for way in ways)
        print(f"| {100 * kept:.1f} % | {' | '.join(f'{each:.2f}' for each in means)} |", flush=True)


def penalties(case: Case) -> dict[str, list[float]]:
    """Accuracies by way, one for each share kept.

    Each penalty trains the network on before it is pruned, the same share of every layer. Retraining is one training
    after the cut; iterative is the same number of epochs over three cuts.
    """
    tune, found = TUNE[case.name], dict[str, list[float]]()
    for label, penalty in PENALTIES.items():
        training = replace(tune, **penalty)  # type: ignore[arg-type]
        start = trained(case, case.graph, training)
        cuts = [cut(start, kept) for kept in KEPT]
        found[f"{label}, no retraining"] = [case.accuracy(each) for each in cuts]
        found[f"{label}, retrained"] = [case.accuracy(trained(case, each, training)) for each in cuts]
        if label == "L2":
            found["L2, iterative"] = [case.accuracy(iterated(case, start, training, kept)) for kept in KEPT]
    print(f"{case.name}, seed {case.seed}: {found}", file=sys.stderr, flush=True)
    return found


def iterated(case: Case, graph: Graph, training: Training, kept: float) -> Graph:
    """Cut and trained in steps."""
    for number, exponent in enumerate(STEPS, 1):
        share = training.epochs * number // len(STEPS) - training.epochs * (number - 1) // len(STEPS)
        graph = trained(case, cut(graph, kept**exponent), replace(training, epochs=max(share, 1)))
    return graph


def cut(graph: Graph, kept: float) -> Graph:
    """The same share of every layer set to zero, the smallest."""
    spec = f"magnitude{{sparsity={1 - kept:.6f},scope=local}}"
    return pruneir.optimize(graph, [spec], fold=False, verify=False).graph


def trained(case: Case, graph: Graph, training: Training) -> Graph:
    """On the training digits."""
    return pruneir.train(graph, training, data=case.train, seed=case.seed).graph


if __name__ == "__main__":
    main()
