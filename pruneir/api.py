"""The Python interface: networks as paths, models or graphs, and what `pruneir optimize` does as one function."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import onnx

from pruneir import __version__, files
from pruneir.coupling import Coupling, couple
from pruneir.data import Given, Scaling, load_data
from pruneir.deployment.budget import Budget, bytes_of
from pruneir.deployment.compiling import Compiled, Compiler
from pruneir.deployment.folder import require_place
from pruneir.detection.anchors import given_anchors
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import load as load_graph
from pruneir.onnx_io import save as save_graph
from pruneir.onnx_io import to_model
from pruneir.pipeline.outcome import Outcome
from pruneir.pipeline.passes import Pass
from pruneir.pipeline.plan import Plan
from pruneir.pipeline.recipe import Recipe, Shape, Step
from pruneir.pipeline.registry import parse_pass
from pruneir.pipeline.run import run
from pruneir.progress import Progress, silent
from pruneir.report.accuracy import Accuracy, accuracy
from pruneir.report.document import document
from pruneir.shapes import with_input_shapes
from pruneir.sparsity.sensitivity import By, Sensitivity
from pruneir.sparsity.sensitivity import sensitivity as scan
from pruneir.training.extra import require_torch
from pruneir.training.options import Training
from pruneir.training.trained import Trained

Network = str | os.PathLike[str] | onnx.ModelProto | Graph
"""A path, a model in memory, or a graph."""


def load(source: Network) -> Graph:
    """The graph of a network. PruneirError for a file that is missing, broken or no ONNX model."""
    return source if isinstance(source, Graph) else load_graph(source)


def save(network: Network | Optimized, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a network to a file, whole or not at all; an optimized one with its plan beside it."""
    if isinstance(network, Optimized):
        network.save(path, force=force)
    else:
        files.require_writable(Path(path), force=force)
        save_graph(load(network), path, force=force)


def trace(network: Network, **options: bool) -> Coupling:
    """The groups of channels of a network, and what is locked and why (`.groups`, `.traced`).

    options  `cut_norms=True` opens normalisations over channels, which is locked by default
    PruneirError for a network that `load` refuses. What is not understood is locked, with a reason.
    """
    return couple(load(network), None, **options)


@dataclass(frozen=True)
class Optimized:
    """What came of `optimize`.

    outcome   records of every pass, costs, verification
    source    path of the input, if it has one
    accuracy  before and after, where the data have labels; of a detector's boxes it is mAP
    """

    outcome: Outcome
    source: str | None = None
    accuracy: Accuracy | None = None

    @cached_property
    def graph(self) -> Graph:
        """The optimized network, with the version and the resolved recipe in its metadata."""
        graph = self.outcome.graph.copy()
        metadata = {entry.key: entry.value for entry in graph.header.metadata_props}
        metadata |= {"pruneir.version": __version__, "pruneir.recipe": self.recipe.to_toml()}
        onnx.helper.set_model_props(graph.header, metadata)
        return graph

    @property
    def model(self) -> onnx.ModelProto:
        """The same as an ONNX model."""
        return to_model(self.graph)

    @property
    def plan(self) -> Plan:
        """Everything that was cut, in the input's names and indices."""
        return self.outcome.plan

    @property
    def recipe(self) -> Recipe:
        """What to give `--recipe` to get the same again."""
        return self.outcome.resolved

    @property
    def ok(self) -> bool:
        """Whether no verification failed."""
        return self.outcome.ok

    @property
    def report(self) -> dict[str, Any]:
        """The table as a JSON document."""
        return self.document()

    def document(self, output: str | None = None) -> dict[str, Any]:
        """The report, naming the file that was written."""
        return document(self.outcome, source=self.source, output=output, accuracy=self.accuracy)

    def save(
        self, path: str | os.PathLike[str], *, force: bool = False, recipe: str | os.PathLike[str] | None = None
    ) -> None:
        """Write `OUT.onnx` and `OUT.plan.json` (and the resolved recipe, if asked), all or none."""
        texts = {files.plan_of(Path(path)): json.dumps(self.plan.to_json()) + "\n"}
        if recipe is not None:
            texts[Path(recipe)] = self.recipe.to_toml()
        files.require_apart(Path(path), source=self.source, recipe=recipe)
        files.require_writable(Path(path), *texts, force=force)
        with files.written(texts):
            save_graph(self.graph, path, force=force)


def optimize(
    network: Network,
    passes: Sequence[str | Pass] = (),
    *,
    data: Given | None = None,
    labels: str | None = None,
    scale: float | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    target: str = "any",
    keep: Sequence[str] = (),
    keep_inputs: Sequence[str] = (),
    only: Sequence[str] = (),
    ratio: Mapping[str, float] | None = None,
    input_shapes: Mapping[str, Shape] | None = None,
    fold: bool = True,
    verify: bool = True,
    seed: int = 0,
    rounds: int = 1,
    max_drop: float | None = None,
    validation: Given | None = None,
    anchors: str | os.PathLike[str] | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Optimized:
    """Run passes over a network, which is not changed.

    passes       in order, as `"slim{ratio=0.5}"` or pass objects
    data         to calibrate, verify and measure on: an `.npz` or `.npy` file, a folder of images, `module:function`;
                 or one array per input, a function that returns batches, or `Data`, which keeps its labels and scaling
    labels       array of the data that holds them; default `y`
    scale, mean, std   what makes the data's integers the network's input: (x · scale − mean) / std
    target       machine that channel counts should suit
    keep, keep_inputs, only   globs of node, tensor and group names: freeze, restrict
    ratio        share to cut by glob, instead of a pass's own
    input_shapes   sizes and symbols of graph inputs, by name
    fold         run the lossless clean-up first
    verify       check every pass, and measure the drift of the outputs; `.ok` says whether a check failed
    seed         of random inputs, and of everything else random
    rounds       how often the passes run, one round after the other
    max_drop     points of the score that the network may lose; a round that loses more is not taken
    validation   like data: to score on, instead of the data
    anchors      .npy file of a detector's anchors, where the graph does not hold them
    checkpoints  a folder to write every round down in; with `resume` a stopped run goes on from there
    progress     told what begins, and the share of the run that is done

    PruneirError, one line, for a network that `load` refuses, a pass or option that there is not, a glob that matches
    nothing, data that do not fit the network, and a budget that is out of reach.
    """
    if isinstance(passes, (str, Pass)):
        raise PruneirError(f"passes takes a list, such as passes=['{passes}'], not one pass alone")
    require_data(data, labels=labels, scale=scale, mean=mean, std=std)
    recipe = Recipe(
        steps=tuple(Step(parse_pass(each) if isinstance(each, str) else each) for each in passes),
        fold=fold,
        target=target,
        keep=_globs(keep),
        keep_inputs=_globs(keep_inputs),
        only=_globs(only),
        ratios=dict(ratio or {}),
        input_shapes=dict(input_shapes or {}),
        scaling=Scaling(scale, tuple(mean), tuple(std)),
        seed=seed,
        rounds=rounds,
        max_drop=max_drop,
        anchors=os.fspath(anchors) if anchors is not None else None,
    )
    return optimize_by(
        recipe,
        network,
        data=data,
        labels=labels,
        validation=validation,
        verify=verify,
        checkpoints=checkpoints,
        resume=resume,
        progress=progress,
    )


def optimize_by(
    recipe: Recipe,
    network: Network,
    *,
    data: Given | None = None,
    labels: str | None = None,
    validation: Given | None = None,
    verify: bool = True,
    checkpoints: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Optimized:
    """The same, with everything that a recipe holds from one."""
    require_data(data, labels=labels)
    graph = with_input_shapes(load(network), recipe.input_shapes)
    given = None if data is None else load_data(data, graph, labels=labels, scaling=recipe.scaling)
    scored = given if validation is None else load_data(validation, graph, labels=labels, scaling=recipe.scaling)
    outcome = run(
        graph,
        recipe,
        data=given,
        validation=scored if validation is not None else None,
        verify=verify,
        progress=progress,
        checkpoints=Path(checkpoints) if checkpoints is not None else None,
        resume=resume,
    )
    source = os.fspath(network) if isinstance(network, (str, os.PathLike)) else None
    scores = accuracy(graph, outcome.graph, scored, outcome.anchors) if scored else None
    return Optimized(outcome, source, scores)


def train(
    network: Network,
    training: Training | None = None,
    *,
    data: Given,
    validation: Given | None = None,
    labels: str | None = None,
    scale: float | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    teacher: Network | None = None,
    checkpoints: str | os.PathLike[str] | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Train a network, which is not changed. Needs the extra `train`.

    training     the options; default: ten epochs, by the labels if there are any
    data         like that of `optimize`: to train on
    validation   likewise: to judge every epoch on
    teacher      the network to learn from, before it was cut; default: the network itself, where there is no plan
    checkpoints  a folder for the state after each epoch; with `resume` a stopped training goes on from there
    seed         of the order of samples, and of dropout
    """
    require_torch()
    from pruneir.training.run import trained  # noqa: PLC0415 - torch is an extra

    graph = with_input_shapes(load(network), input_shapes)
    scaling = Scaling(scale, tuple(mean), tuple(std))
    return trained(
        graph,
        training or Training(),
        load_data(data, graph, labels=labels, scaling=scaling),
        None if validation is None else load_data(validation, graph, labels=labels, scaling=scaling),
        None if teacher is None else load(teacher),
        scaling=scaling,
        source=os.fspath(network) if isinstance(network, (str, os.PathLike)) else None,
        taught_by=os.fspath(teacher) if isinstance(teacher, (str, os.PathLike)) else None,
        checkpoints=Path(checkpoints) if checkpoints is not None else None,
        resume=resume,
        seed=seed,
        progress=progress or silent,
    )


def sensitivity(
    network: Network,
    *,
    data: Given,
    by: By = "quality",
    values: Sequence[float] = (),
    samples: int = 2000,
    only: Sequence[str] = (),
    anchors: str | os.PathLike[str] | None = None,
    labels: str | None = None,
    scale: float | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    input_shapes: Mapping[str, Shape] | None = None,
    progress: Progress | None = None,
) -> Sensitivity:
    """Prune each layer's weights alone, to several values, and score the network, which is not changed.

    data     like that of `optimize`: to score on
    by       what the values are: `quality`, q of |w| < q·σ, or `sparsity`, the share of zeros
    values   a few from mild to severe if not given
    samples  of the data, at most, chosen by chance
    only     globs of tensors and nodes
    anchors  .npy file of a detector's anchors, where the graph does not hold them
    """
    graph = with_input_shapes(load(network), input_shapes)
    given = load_data(data, graph, labels=labels, scaling=Scaling(scale, tuple(mean), tuple(std))).some(samples)
    told = progress or silent
    return scan(graph, given, by, values, only=_globs(only), anchors=given_anchors(anchors), progress=told)


def compile(
    network: Network,
    target: str,
    output: str | os.PathLike[str],
    *,
    input_shapes: Mapping[str, Shape] | None = None,
    fold: bool = True,
    flash: int | str | None = None,
    ram: int | str | None = None,
    options: Mapping[str, Any] | None = None,
    force: bool = False,
    warn: Callable[[str], None] | None = None,
    progress: Progress | None = None,
) -> Compiled:
    """Compile a network, which is not changed, into a folder: `.artifact` runs it, `.ok` says whether it fits.

    target   the machine, such as `cortex-m4`
    output   a new folder; with `force` also an artifact, which is replaced
    fold     clean up and fold BatchNorms first
    flash, ram   bytes that there are, also as `"256K"`; a missed budget keeps the folder and is in `.missed`
    options  the backend's own
    warn     told of a budget that by prediction will not suffice, before the work begins
    """
    compiler = Compiler.of(target, options)
    budget = Budget(bytes_of("--flash", flash), bytes_of("--ram", ram))
    source = os.fspath(network) if isinstance(network, (str, os.PathLike)) else None
    require_place(Path(output), source=source, force=force)
    return compiler.compile(
        with_input_shapes(load(network), input_shapes),
        Path(output),
        budget=budget,
        fold=fold,
        force=force,
        source=source,
        warn=warn or (lambda text: None),
        progress=progress or silent,
    )


def require_data(data: object, **given: object) -> None:
    """PruneirError for what says how to read the data, where there are none."""
    if data is None:
        for name, value in given.items():
            if value not in (None, "", (), []):
                raise PruneirError(f"--{name} says how to read the data; give --data too, or leave it out")


def _globs(given: Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
