"""Halve every group of torchvision's networks, check the result, and measure it beside Torch-Pruning.

    python tests/benchmarks/zoo.py --cache FOLDER [--only 'resnet*' …] [--quick] [--alone] [--json zoo.json]

Not part of the tests. It needs an environment of its own, of several GB:

    pip install torch==2.14.1 torchvision==0.29.1 torch-pruning==1.6.1 onnxscript==0.7.2
    pip install --no-deps -e .     # and the packages that pyproject.toml names

Every network is exported with live BatchNorm by the TorchScript exporter, five also by the default one (dynamo); once
with random biases and statistics, once untrained, when equal tensors are shared. Each file is loaded, folded and cut
by `filter{criterion=l2,scope=local,ratio=0.5,absorb=false}`, with cut_norms=true where the table says so. Then

* valid: the ONNX checker with full shape inference accepts the result, ONNX Runtime loads and runs it;
* property: the figure max|a−b|/max|b| of the pruned network against the masked original, at most 1e-5
  (~: an output is constant or ranked, and values before it were compared);
* ×: times fewer MACs, ours, Torch-Pruning's (same share, all groups), and the bar: at least 0.98 of the latter;
* ms: couple, score, choose and cut (shape inference included, files not), against Torch-Pruning's trace and prune of
  the same network in the same run; the least of several runs.

Exit 1 if a result is invalid or not equal, a bar is missed, or the geometric mean of the times is above theirs.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import resource
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch_pruning as tp
from onnxscript import optimizer
from rich.console import Console
from rich.table import Table
from torch import nn
from zoo_models import DYNAMO, ZOO, Network

from pruneir.cost import macs_by_operator
from pruneir.coupling import Coupling, couple
from pruneir.graph import Graph
from pruneir.onnx_io import load
from pruneir.passes.filter import Filter
from pruneir.passes.fold import Fold
from pruneir.pipeline.passes import Context
from pruneir.selection import Budget, candidates, choose
from pruneir.surgery import apply
from pruneir.verify import check_model, compare, kept_positions, random_feeds

MARGIN = 0.98
"""Share of Torch-Pruning's figure that is enough: the two count a little differently."""
TIMEOUT, MEMORY = 180, 10 << 30
"""Seconds and bytes that Torch-Pruning may take for one network."""


@dataclass
class Row:
    """One exported network, cut.

    figure     max|a−b|/max|b| of the pruned network against the masked one, the worst output
    inside     outputs that say nothing, constant or ranked, so that values before them were compared
    ratio      times fewer MACs; `theirs` Torch-Pruning's, in this run
    seconds    couple, score, choose and cut; `their_seconds` Torch-Pruning's trace and prune
    """

    network: str
    exporter: str
    state: str
    problem: str = ""
    valid: bool = False
    equal: bool = False
    figure: float | None = None
    inside: int = 0
    ratio: float | None = None
    theirs: float | None = None
    bar: float | None = None
    seconds: float | None = None
    their_seconds: float | None = None

    @property
    def reached(self) -> bool:
        return self.bar is None or (self.ratio is not None and self.ratio >= MARGIN * self.bar)

    @property
    def passed(self) -> bool:
        return self.valid and self.equal and self.reached


@dataclass
class Theirs:
    """What Torch-Pruning made of a network; why not, where it fails."""

    ratio: float | None = None
    seconds: float | None = None
    problem: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, default=Path("zoo-exports"), help="folder for the exported files")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="GLOB", help="networks by name")
    parser.add_argument("--quick", action="store_true", help="TorchScript exporter, random state, timed once")
    parser.add_argument("--alone", action="store_true", help="without Torch-Pruning")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there too")
    parser.add_argument("--threads", type=int, default=1, help="that torch may use")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.backends.mha.set_fastpath_enabled(False)  # the fused kernel has no ONNX counterpart
    options.cache.mkdir(parents=True, exist_ok=True)
    repeats = 1 if options.quick else 3
    rows = []
    for name, network in ZOO.items():
        if not any(fnmatchcase(name, glob) for glob in options.only):
            continue
        theirs = Theirs() if options.alone else apart(name, network, repeats)
        if theirs.problem:
            print(f"{name}: Torch-Pruning: {theirs.problem}", flush=True)
        for exporter, state in _variants(name, options.quick):
            row = ours(name, network, exporter, state, options.cache, repeats)
            row.theirs, row.their_seconds = theirs.ratio, theirs.seconds
            rows.append(row)
            print(_line(row), flush=True)
            if options.json:
                options.json.write_text(json.dumps([asdict(each) for each in rows], indent=1))
    return report(rows)


def _variants(name: str, quick: bool) -> Iterator[tuple[str, str]]:
    for exporter in ("legacy", "dynamo") if name in DYNAMO and not quick else ("legacy",):
        for state in ("random",) if quick else ("random", "untrained"):
            yield exporter, state


# Ours


def ours(name: str, network: Network, exporter: str, state: str, cache: Path, repeats: int) -> Row:
    """Export, fold, cut, check, compare and time one network."""
    row = Row(name, exporter, state, bar=network.bar)
    try:
        file = cache / f"{name}.{exporter}.{state}.onnx"
        if not file.exists():
            export(network, exporter, state, file)
        graph = load(file)
        graph = Fold().run(graph, Context(original=graph)).graph
        prune = Filter(criterion="l2", scope="local", ratio=0.5, absorb=False, cut_norms=network.cut_norms)
        result = prune.run(graph, Context(original=graph))
        check_model(result.graph)
        feeds = random_feeds(graph, batch=2)
        assert result.reference is not None
        drifts = compare(result.graph, result.reference(), feeds, kept_positions(*halve(graph, prune)[:2]))
        row.valid = True
        row.figure = max(drift.largest for drift in drifts)
        row.inside = sum(drift.at != (drift.name,) for drift in drifts)
        row.equal = all(drift.equal for drift in drifts) and row.figure < 1e-3
        row.ratio = macs(graph) / macs(result.graph)
        row.seconds = least(lambda: halve(graph, prune), repeats)
    except Exception as error:  # a failing network is a row of the table
        row.problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        traceback.print_exc()
    return row


def halve(graph: Graph, prune: Filter) -> tuple[Coupling, np.ndarray, Graph]:
    """What `prune` does, without its report: the coupling, the classes that die, the graph that is left."""
    context = Context(original=graph)
    coupling = couple(graph, cut_norms=prune.cut_norms)
    groups, _ = candidates(coupling, context)
    scores = prune.scores(coupling, groups, context)
    removed = choose(scores, Budget(ratio=prune.ratio, scope=prune.scope))
    dead = coupling.dead(removed.items())
    return coupling, dead, apply(coupling, dead).graph


def macs(graph: Graph) -> int:
    """Multiply-accumulates for one sample."""
    return sum(macs_by_operator(couple(graph)).values())


def export(network: Network, exporter: str, state: str, file: Path) -> None:
    """Write the network as ONNX with BatchNorm as it is and the batch symbolic."""
    module, example = network.module(state), network.example()
    with torch.no_grad():
        made = module(*example)
    names = ["y"] if isinstance(made, torch.Tensor) else [f"y{i}" for i in range(len(made))]
    part = file.with_suffix(".part")
    with _quiet():
        if exporter == "legacy":
            dynamic = {key: {0: "N"} for key in ("x", *names)} if network.batched else None
            torch.onnx.export(
                module,
                example,
                str(part),
                dynamo=False,
                do_constant_folding=False,
                opset_version=17,
                input_names=["x"],
                output_names=names,
                dynamic_axes=dynamic,
            )
        else:
            shapes = [{0: torch.export.Dim("N")}]
            twice = (torch.cat([example[0], example[0]]),)  # a batch of one would be taken for a constant
            program = torch.onnx.export(
                module, twice, optimize=False, verbose=False, output_names=names, dynamic_shapes=shapes
            )
            optimizer.fold_constants(program.model)
            optimizer.remove_unused_nodes(program.model)
            onnx.save(program.model_proto, part)
    part.rename(file)


# Theirs


def apart(name: str, network: Network, repeats: int) -> Theirs:
    """What Torch-Pruning makes of a network, in a process of its own with limits: some never end, and take all memory."""
    if not network.batched:
        return Theirs(problem="takes a list of images")
    code = f"import zoo; zoo.limited({name!r}, {repeats}, {torch.get_num_threads()})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Theirs(problem=f"no end after {TIMEOUT} s")
    return Theirs(**json.loads(done.stdout.splitlines()[-1])) if done.stdout else Theirs(problem=done.stderr[-120:])


def limited(name: str, repeats: int, threads: int) -> None:
    """Print what `torch_pruning` returns."""
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    torch.set_num_threads(threads)
    torch.backends.mha.set_fastpath_enabled(False)
    print(json.dumps(asdict(torch_pruning(ZOO[name], repeats))))


def torch_pruning(network: Network, repeats: int) -> Theirs:
    """Trace and prune with Torch-Pruning: group L2 norm, half of every group, the layers that make the outputs kept."""
    try:
        module = network.module("random")
        example = network.example()[0]
        kept = last_layers(module, example)
        before, _ = tp.utils.count_ops_and_params(module, example)
        copies = [copy.deepcopy(module) for _ in range(repeats)]
        twins = iter([(each, [dict(each.named_modules())[name] for name in kept]) for each in copies])
        with _quiet():
            seconds = least(lambda: _prune(*next(twins), example), repeats)
        after, _ = tp.utils.count_ops_and_params(copies[0], example)
    except Exception as error:  # a network that it cannot prune is a row of the table
        return Theirs(problem=f"{type(error).__name__}: {' '.join(str(error).split())[:120]}")
    return Theirs(before / after, seconds)


def _prune(module: nn.Module, kept: list[nn.Module], example: object) -> None:
    importance = tp.importance.GroupMagnitudeImportance(p=2)
    pruner = tp.pruner.MetaPruner(module, example, importance=importance, pruning_ratio=0.5, ignored_layers=kept)
    pruner.step()


def last_layers(module: nn.Module, example: Any) -> list[str]:
    """The layers with no other between them and an output: whose weights the gradient reaches first."""
    owners = {id(p): name.rpartition(".")[0] for name, p in module.named_parameters()}
    found: set[str] = set()
    made = module(example)
    waiting = [y.grad_fn for y in ([made] if isinstance(made, torch.Tensor) else made)]
    seen = set(waiting)
    while waiting:
        step = waiting.pop()
        behind = [each for each, _ in step.next_functions if each is not None]
        inputs = [each.next_functions[0][0] if each.name() == "TBackward0" else each for each in behind]
        weights = [each.variable for each in inputs if hasattr(each, "variable") and each.variable.ndim > 1]
        found |= {owners[id(weight)] for weight in weights}
        fresh = [each for each in behind if each not in seen and not weights]
        seen |= set(fresh)
        waiting += fresh
    return sorted(found)


# Both


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


# The report


def _line(row: Row) -> str:
    cells = " ".join(_cells(row))
    return f"{cells}  {row.problem}".rstrip()


def _cells(row: Row) -> list[str]:
    verdict = "yes" if row.valid else "NO"
    figure = "-" if row.figure is None else f"{row.figure:.1e}{'~' * bool(row.inside)}{'' if row.equal else ' !'}"
    ratio = _number(row.ratio, 2) + ("" if row.reached else " !")
    times = [_number(None if t is None else 1e3 * t, 0) for t in (row.seconds, row.their_seconds)]
    variant = [row.network, row.exporter, row.state]
    return [*variant, verdict, figure, ratio, _number(row.theirs, 2), _number(row.bar, 2), *times]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def report(rows: list[Row]) -> int:
    """Print the table and the geometric means; 1 if anything failed."""
    table = Table(box=None)
    heads = ("network", "exporter", "state", "valid", "property", "×", "theirs", "bar", "ms", "theirs")
    for index, head in enumerate(heads):
        table.add_column(head, justify="left" if index < 3 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*_cells(row))
    Console(width=140).print(table)
    ratios = [row.ratio for row in rows if row.ratio]
    both = [(row.ratio, row.theirs) for row in rows if row.ratio and row.theirs]
    timed = [row.seconds / row.their_seconds for row in rows if row.seconds and row.their_seconds]
    mean, slower = geometric(ratios), geometric(timed)
    print(
        f"{len(rows)} files: {sum(not r.valid for r in rows)} invalid, {sum(r.valid and not r.equal for r in rows)} not equal, ",
        end="",
    )
    print(f"{sum(not r.reached for r in rows)} below the bar")
    print(f"MACs, geometric mean: ×{mean:.2f}; ", end="")
    print(
        f"where both cut: ×{geometric([a for a, _ in both]):.2f}, Torch-Pruning ×{geometric([b for _, b in both]):.2f}"
    )
    print(f"time against Torch-Pruning, geometric mean: {slower:.2f}")
    return 0 if rows and all(row.passed for row in rows) and not slower > 1 else 1


def geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values)))) if values else float("nan")


if __name__ == "__main__":
    sys.exit(main())
