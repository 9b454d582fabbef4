"""The recipes of Han et al. fit the networks that they are for, and leave a twelfth of their weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pruneir.api import optimize_by
from pruneir.onnx_io import load
from pruneir.pipeline import read_recipe
from pruneir.sparsity import weights

ROOT = Path(__file__).parents[2]
NETWORKS = {"lenet_300_100": (266_200, 266_610), "lenet_5": (430_500, 431_080)}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    graph = load(ROOT / f"models/lenet/{name}_s0.onnx")
    entries, parameters = NETWORKS[name]
    assert sum(weight.array.size for weight in weights(graph)) == entries
    assert sum(array.size for array in graph.initializers.values()) == parameters
    assert all(weight.nonzero == weight.array.size for weight in weights(graph))


@pytest.mark.parametrize("name", NETWORKS)
def test_recipe_without_its_training(name: str) -> None:
    recipe = read_recipe(ROOT / f"docs/examples/han_{name}.toml")
    assert [step.what.name for step in recipe.steps][-2:] == ["train", "dead-neurons"]
    dry = replace(recipe, steps=tuple(step for step in recipe.steps if step.what.name != "train"))
    made = optimize_by(dry, load(ROOT / f"models/lenet/{name}_s0.onnx"))
    assert made.ok
    shares: dict[str, list[float]] = {}
    for step in dry.steps:
        for glob, share in step.ratios.items():
            shares.setdefault(glob, []).append(share)
    assert set(shares) == {weight.name for weight in weights(made.outcome.original)}
    assert all(given == sorted(given) for given in shares.values())
    assert sum(np.count_nonzero(w.array) for w in weights(made.graph)) <= 0.083 * NETWORKS[name][0]
