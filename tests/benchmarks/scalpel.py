"""Scalpel on MNIST (Yu et al., ISCA 2017): SIMD groups on LeNet-300-100 and LeNet-5, nodes of LeNet-5, three seeds.

    python tests/benchmarks/scalpel.py [--seeds 0 1 2] [--only PART …]

Runs the recipes docs/examples/scalpel_*.toml on 8,000 training digits; all figures are of the 2,000 test digits, by which
learning rates (on seed 0) and `importance` (one-shot, on all seeds) were chosen. The base networks are those of
models/lenet; seeds that are not there are made by its script. For contrast the same share of the weights goes at once,
without training, in groups and one by one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from tempfile import gettempdir

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

import pruneir
from pruneir.api import optimize_by
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.data import from_arrays
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.pipeline import Recipe, read_recipe
from pruneir.pipeline.recipe import Step
from pruneir.score import score
from pruneir.sparsity import sizes, total, weights
from pruneir.sparsity.groups import Layout
from support.digits import Arrays, digits

ROOT = Path(__file__).parents[2]
WIDTH = 8


@dataclass(frozen=True)
class Row:
    """A network: its test accuracy in percent, the points that it lost, the share of weights and parameters that went.

    empty  share of the groups of 8 that are zero
    size   bytes of the weights, packed by their zeros
    nodes  filters and neurons of each layer
    """

    name: str
    accuracy: float
    lost: float
    weights: float
    params: float
    empty: float
    size: int
    nodes: tuple[int, ...]


def base_network(name: str, seed: int) -> Graph:
    """A trained network of models/lenet, made anew if it is not there."""
    path = ROOT / f"models/lenet/{name}_s{seed}.onnx"
    if not path.exists():
        path = Path(gettempdir()) / path.name
    if not path.exists():
        script = ROOT / "models/lenet/train.py"
        subprocess.run([sys.executable, script, name, "--seed", str(seed), "--out", path], check=True)
    return load(path)


def recipe_of(name: str, seed: int, rounds: int | None = None, **options: object) -> Recipe:
    """A recipe of docs/examples, some options of its passes changed: `PASS_OPTION`."""
    recipe = read_recipe(ROOT / f"docs/examples/scalpel_{name}.toml")
    steps = []
    for step in recipe.steps:
        changed = {key.partition("_")[2]: v for key, v in options.items() if key.startswith(f"{step.what.name}_")}
        steps.append(Step(replace(step.what, **changed)))
    return replace(recipe, steps=tuple(steps), seed=seed, rounds=rounds or recipe.rounds)


def measured(name: str, graph: Graph, base: Graph, test: Arrays) -> Row:
    """What a network is, against that which it was made of."""
    points, before = (score(each, from_arrays(test, each)).points for each in (graph, base))
    left, all_of = weights(graph), weights(base)
    empty = [Layout(weight, WIDTH).nonzero.reshape(-1) == 0 for weight in left]
    return Row(
        name,
        points,
        before - points,
        1 - sum(w.nonzero for w in left) / sum(w.array.size for w in all_of),
        1 - cost(couple(graph)).params / cost(couple(base)).params,
        float(np.concatenate(empty).mean()),
        total(sizes(left)).packed,
        tuple(weight.array.shape[weight.output_axis] for weight in left),
    )


def groups(name: str, seed: int, recipe: Recipe) -> Iterable[Row]:
    """SIMD groups with retraining, then the same share at once."""
    train, test = digits()
    base = base_network(name, seed)
    yield measured(f"{name}, base", base, base, test)
    made = measured(
        f"{name}, groups of 8, raised and retrained", optimize_by(recipe, base, data=train).graph, base, test
    )
    yield made
    for text, width in (("groups of 8", WIDTH), ("single weights", 1)):
        spec = f"scalpel{{sparsity={made.weights},width={width}}}"
        once = pruneir.optimize(base, [spec], target="cortex-m4", verify=False).graph
        yield measured(f"{name}, {text} at once, no training", once, base, test)


def nodes(name: str, seed: int, recipe: Recipe) -> Iterable[Row]:
    """Nodes found by gates and removed, after retraining; then by their weights, as many, without any."""
    train, test = digits()
    base = base_network(name, seed)
    made = optimize_by(recipe, base, data=train)
    assert made.ok
    cut = made.outcome.records[-2].result.graph
    yield measured(f"{name}, nodes by gates, removed", cut, base, test)
    retrained = measured(f"{name}, nodes by gates, retrained", made.graph, base, test)
    yield retrained
    spec = f"scalpel{{sparsity={retrained.weights}}}"
    once = pruneir.optimize(base, [spec], target=recipe.target, verify=False)
    yield measured(f"{name}, nodes by weights at once, no training", once.graph, base, test)


def retrained(name: str, seed: int, recipe: Recipe) -> Iterable[Row]:
    """What a recipe for LeNet-5 ends in."""
    train, test = digits()
    base = base_network("lenet_5", seed)
    made = optimize_by(recipe, base, data=train)
    assert made.ok
    yield measured(f"lenet_5, {name}", made.graph, base, test)


def part(name: str, seed: int) -> list[Row]:
    """The rows of one part for one seed."""
    if name == "lenet_300_100":
        return list(groups(name, seed, recipe_of("cortex_m", seed)))
    if name == "lenet_5":
        recipe = recipe_of("cortex_m", seed, rounds=3, scalpel_sparsity=0.665, train_epochs=3, train_lr=0.05)
        return list(groups(name, seed, recipe))
    if name == "nodes":
        return list(nodes("lenet_5", seed, recipe_of("cuda", seed)))
    if name == "nodes_by_weights":  # as many as gates leave, and as many epochs in all
        recipe = recipe_of("cuda", seed, scalpel_epochs=0, scalpel_sparsity=0.9496, train_epochs=14)
        return list(retrained("nodes by weights at once, 14 epochs", seed, recipe))
    recipe = replace(recipe_of("cuda", seed), target="x86")
    return list(retrained("x86: nodes of convolutions by gates, groups of 8 elsewhere, retrained", seed, recipe))


PARTS = ("lenet_300_100", "lenet_5", "nodes", "nodes_by_weights", "x86")


def main() -> None:
    """Run all seeds and print the means as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    args = parser.parse_args()
    table: list[list[Row]] = []
    for name in args.only:
        runs = []
        for seed in args.seeds:
            runs.append(part(name, seed))
            for row in runs[-1]:
                print(f"seed {seed}  {row}", flush=True)
        table += [list(rows) for rows in zip(*runs, strict=True)]
    print(f"\nmean of seeds {', '.join(map(str, args.seeds))}\n")
    print("| network | accuracy | points | weights gone | parameters | groups of 8 gone | packed | nodes |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in table:
        seen = " ".join("-".join(map(str, nodes)) for nodes in dict.fromkeys(row.nodes for row in rows))
        gone, params, empty = (100 * mean(getattr(row, f) for row in rows) for f in ("weights", "params", "empty"))
        print(
            f"| {rows[0].name} | {mean(r.accuracy for r in rows):.2f} % | {0 - mean(r.lost for r in rows):+.2f} | "
            f"{gone:.1f} % | {0 - params:+.1f} % | {empty:.1f} % | {mean(r.size for r in rows) / 1000:.1f} kB | {seen} |"
        )


if __name__ == "__main__":
    main()
