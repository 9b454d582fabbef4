"""Multi-layer pruning of an SSD in phases (Singh et al., WACV 2019), on scenes of digits, three seeds.

    python tests/benchmarks/ssd.py [--seeds 0 1 2] [--rounds 2] [--contrasts 1] [--keep FOLDER]

Runs the recipe docs/examples/ssd.toml on 5,000 training scenes, two rounds, and the first phase once more where that leaves
more than a twentieth of the parameters; and for contrast, down to the parameters of the first round and with as many scenes
to learn from: a single phase, and the channels with the smallest filters at once (`filter`).
Every choice is by models.ssd.scenes:validation; the 300 test scenes are only scored. The base networks are those of
models/ssd; seeds that are not there are made by its script.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import mean
from tempfile import gettempdir
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "models/ssd"))

import pruneir  # noqa: E402
from pruneir.api import optimize_by  # noqa: E402
from pruneir.cost import cost  # noqa: E402
from pruneir.coupling import couple  # noqa: E402
from pruneir.data import from_arrays  # noqa: E402
from pruneir.detection.anchors import load_anchors  # noqa: E402
from pruneir.graph import Graph  # noqa: E402
from pruneir.onnx_io import load  # noqa: E402
from pruneir.pipeline import Recipe, read_recipe  # noqa: E402
from pruneir.pipeline.recipe import Step  # noqa: E402
from pruneir.pipeline.registry import make  # noqa: E402
from pruneir.score import score  # noqa: E402
from pruneir.sparsity import weights  # noqa: E402

SSD = ROOT / "models/ssd"
RECIPE = ROOT / "docs/examples/ssd.toml"
SCENES = 5000
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Row:
    """A network: mAP on validation and test scenes, parameters, multiply-accumulates."""

    name: str
    validation: float
    test: float
    params: int
    macs: int


class Bench:
    """The networks of one seed."""

    def __init__(self, seed: int, keep: Path | None):
        self.seed, self.keep = seed, keep
        self.train, self.validation = (_arrays(*each) for each in (("training", SCENES, 0), ("validation", 300, 2)))
        with np.load(SSD / "test_300.npz") as test:
            self.test = dict(test)
        self.anchors = load_anchors(SSD / "anchors.npy")
        self.recipe = replace(read_recipe(RECIPE), seed=seed, input_shapes={})

    def base(self) -> Graph:
        """The trained network, made anew if it is not there."""
        found = SSD / f"ssd_s{self.seed}.onnx"
        if not found.exists():
            found = Path(gettempdir()) / found.name
            subprocess.run([sys.executable, SSD / "train.py", "--seed", str(self.seed), "--out", found], check=True)
        return load(found)

    def network(self, name: str, made: Callable[[], Graph]) -> tuple[Graph, Row]:
        """A network, made unless it is kept already, and what it is."""
        place = self.keep / f"{name.replace(' ', '_')}_s{self.seed}.onnx" if self.keep is not None else None
        graph = load(place) if place is not None and place.exists() else made()
        if place is not None and not place.exists():
            pruneir.save(graph, place)
        costs = cost(couple(graph))
        validation, test = (
            score(graph, from_arrays(each, graph), anchors=self.anchors).points for each in (self.validation, self.test)
        )
        row = Row(name, validation, test, costs.params, costs.macs)
        print(f"seed {self.seed}  {row}", flush=True)
        return graph, row

    def run(self, recipe: Recipe, graph: Graph) -> Graph:
        """What a recipe makes of a network; its phases are printed."""
        made = optimize_by(recipe, graph, data=self.train, validation=self.validation)
        assert made.ok
        for phase in made.outcome.phases:
            print(f"seed {self.seed}  {phase}", flush=True)
        return made.graph

    def single(self, base: Graph, params: int) -> Graph:
        """One phase, down to as many parameters, with the epochs of all phases."""
        prune, tune = self.passes
        count = len(prune.phases)
        share = _share_of_weights(base, params)
        budget = {"params": share, "cut_tolerance": type(prune).cut_tolerance, "max_per_group": 0.95}
        epochs = {"induction": count * prune.induction, "epochs": count * prune.epochs}
        return self.run(self._with(replace(prune, phases=1, **budget, **epochs), tune), base)

    def twenty(self, graph: Graph, params: int) -> Graph:
        """At most as many parameters: if there are more, the first phase again, whose cut may cost 40 points."""
        if cost(couple(graph)).params <= params:
            return graph
        prune, tune = self.passes
        return self.run(self._with(replace(prune, phases=prune.phases[:1], cut_tolerance=40), tune), graph)

    def at_once(self, base: Graph, params: int) -> Graph:
        """The channels with the smallest filters, the same share of each group, and then as many scenes to learn from."""
        low, high = 0.0, 1.0
        for _ in range(10):
            middle = (low + high) / 2
            made = pruneir.optimize(base, [f"filter{{ratio={middle},max_per_group=1}}"], verify=False)
            low, high = (low, middle) if made.outcome.after.params <= params else (middle, high)
        prune, tune = self.passes
        seen = len(prune.phases) * (prune.induction + prune.epochs) * prune.trained_on
        tune = replace(tune, epochs=tune.epochs + round(seen / SCENES))
        return self.run(self._with(make("filter", {"ratio": high, "max_per_group": 1.0}), tune), base)

    @property
    def passes(self) -> tuple[Any, Any]:
        """The passes `ssd` and `train` of the recipe."""
        prune, tune = (step.what for step in self.recipe.steps)
        return prune, tune

    def _with(self, *passes: Any) -> Recipe:
        return replace(self.recipe, steps=tuple(map(Step, passes)))


def _arrays(name: str, count: int, seed: int) -> dict[str, np.ndarray]:
    x, y = import_module("scenes").scenes(name, count, seed)
    return {"x": x, "y": y}


def _share_of_weights(base: Graph, params: int) -> float:
    """The share of matrices and kernels that leaves about as many parameters; what else there is shrinks by the root."""
    every = sum(weight.array.size for weight in weights(base))
    rest = cost(couple(base)).params - every
    return float((params - rest * (params / every) ** 0.5) / every)


def seed_of(seed: int, rounds: int, contrasts: int, keep: Path | None) -> list[Row]:
    """The rows of one seed, each printed as it comes."""
    bench = Bench(seed, keep)
    base, first = bench.network("base", bench.base)
    rows, graph = [first], base
    for number in range(1, rounds + 1):
        graph, row = bench.network(f"in phases, round {number}", partial(bench.run, bench.recipe, graph))
        rows.append(row)
    if rounds > 1:
        rows.append(bench.network("20 times fewer", partial(bench.twenty, graph, first.params // 20))[1])
    for number in range(1, contrasts + 1):
        for name, other in (("one phase", bench.single), ("at once", bench.at_once)):
            rows.append(bench.network(f"{name}, as round {number}", partial(other, base, rows[number].params))[1])
    return rows


def main() -> None:
    """Run all seeds and print the means as a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rounds", type=int, default=2, help="of the recipe")
    parser.add_argument("--contrasts", type=int, default=1, help="rounds that contrasts are made for")
    parser.add_argument("--keep", type=Path, help="folder for all networks; those that are there are not made again")
    args = parser.parse_args()
    with chdir(ROOT):
        runs = [seed_of(seed, args.rounds, args.contrasts, args.keep) for seed in args.seeds]
    print("\n| network | parameters | times fewer | MACs | validation | test | test, by seed | points, by seed |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in zip(*runs, strict=True):
        bases = [run[0] for run in runs]
        less = [base.params / row.params for row, base in zip(rows, bases, strict=True)]
        lost = [row.test - base.test for row, base in zip(rows, bases, strict=True)]
        seeds = " ".join(f"{row.test:.2f}" for row in rows)
        print(
            f"| {rows[0].name} | {' '.join(f'{row.params / 1000:.1f}k' for row in rows)} | {min(less):.1f}–{max(less):.1f} "
            f"| {mean(row.macs for row in rows) / 1e6:.1f} M | {mean(row.validation for row in rows):.2f} "
            f"| {mean(row.test for row in rows):.2f} | {seeds} | {' '.join(f'{each:+.2f}' for each in lost)} |"
        )


if __name__ == "__main__":
    main()
