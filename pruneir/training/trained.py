"""A trained network on its way to a file: with its recipe, and the plan of the cuts that went before."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from pruneir import __version__, files
from pruneir.data import Scaling
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import save as save_graph
from pruneir.pipeline import registry
from pruneir.pipeline.passes import Pass
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Step
from pruneir.pipeline.recipe_file import parse_recipe
from pruneir.pipeline.replay import read_plan
from pruneir.training.history import Fitted
from pruneir.training.options import Training

_SCHEMA = 1


@dataclass(frozen=True)
class Trained:
    """What came of `pruneir train`.

    fitted    the network, the history and the scores
    training  the options
    source    path of the input, if it has one
    before    the plan of what was cut of the input before; None if there is none
    warnings  what the user should know although nothing failed
    """

    fitted: Fitted
    training: Training
    seed: int = 0
    scaling: Scaling = field(default_factory=Scaling)
    source: str | None = None
    teacher: str | None = None
    before: Plan | None = None
    warnings: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether no value stopped being finite."""
        return not self.fitted.failed

    @property
    def what(self) -> Pass:
        """The training as a pass."""
        return registry.make("train", self.training.options)

    @cached_property
    def graph(self) -> Graph:
        """The trained network, with the version and the recipe in its metadata."""
        graph = self.fitted.graph.copy()
        metadata = {entry.key: entry.value for entry in graph.header.metadata_props}
        recipe = self._recipe(metadata.get("pruneir.recipe", ""))
        metadata |= {"pruneir.version": __version__, "pruneir.recipe": recipe.to_toml()}
        onnx.helper.set_model_props(graph.header, metadata)
        return graph

    @property
    def plan(self) -> Plan | None:
        """The plan of what was cut before, with what training changed; in the names of the file that was cut."""
        if self.before is None:
            return None
        return self.before.then({}, {}, self.fitted.changed, str(self.what))

    def document(self, output: str | None = None) -> dict[str, Any]:
        """The run as a JSON document, naming the file that was written."""
        return {
            "schema": _SCHEMA,
            "input": self.source,
            "output": output,
            "teacher": self.teacher,
            "options": {key: list(v) if isinstance(v, tuple) else v for key, v in self.training.options.items()},
            "seed": self.seed,
            **self.fitted.to_json(),
            "warnings": list(self.warnings),
        }

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write `OUT.onnx`, and `OUT.plan.json` where the input has a plan; all or none."""
        plan = self.plan
        texts = {files.plan_of(Path(path)): json.dumps(plan.to_json()) + "\n"} if plan is not None else {}
        files.require_apart(Path(path), source=self.source)
        files.require_writable(Path(path), *texts, force=force)
        with files.written(texts):
            save_graph(self.graph, path, force=force)

    def _recipe(self, before: str) -> Recipe:
        """The recipe that the input was made by, if it says so, and this training behind it."""
        try:
            made = parse_recipe(before) if before else Recipe(fold=False)
        except PruneirError:
            made = Recipe(fold=False)
        scaling = made.scaling if self.scaling == Scaling() else self.scaling
        return replace(made, steps=(*made.steps, Step(self.what)), scaling=scaling, seed=self.seed)


def plan_beside(source: str | os.PathLike[str], graph: Graph) -> tuple[Plan | None, str]:
    """The plan of what was cut of a file before, if it lies beside it; or a warning that it is of another file."""
    path = files.plan_of(Path(source))
    if not path.exists():
        return None, ""
    plan = read_plan(path)
    for name, axes in plan.kept.items():
        array = graph.constant(name)
        for axis, (_, kept) in axes.items():
            if array is not None and (axis >= array.ndim or array.shape[axis] != len(kept)):
                return None, f"{path} is of another network ('{name}' has another size), so there is no plan of OUT"
    return plan, ""
