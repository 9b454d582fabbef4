"""What a network is: interface, operators, costs, and what of it can be pruned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from onnx import TensorProto
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pruneir import numbers
from pruneir.cost import Cost, cost, macs_by_operator, prunable_share
from pruneir.coupling import Group
from pruneir.errors import Refusal
from pruneir.explain import locks
from pruneir.graph import Graph, Operator
from pruneir.pipeline.passes import GroupRow
from pruneir.pipeline.prepare import opened, prepared
from pruneir.report import sparsity
from pruneir.report.counted import Counted, counted_at, is_open, sentence
from pruneir.report.document import SCHEMA, refusal
from pruneir.report.explanation import group_document
from pruneir.report.stored import is_sparse, size_document
from pruneir.report.table import groups as group_table
from pruneir.report.table import members as group_members
from pruneir.report.table import refusals
from pruneir.sparsity import Size, sizes, weights

Sizes = Mapping[str, tuple[int | str, ...]]
_SHOWN = 6


@dataclass(frozen=True)
class Inspection:
    """The figures.

    graph    the file as it is; costs and groups are those after the lossless clean-up
    share    of the MACs whose operators have an axis that can lose channels
    macs     by operator
    counted  input shapes that the costs were counted at
    """

    source: str
    graph: Graph
    cost: Cost
    share: float
    groups: tuple[Group, ...]
    locks: tuple[Refusal, ...]
    macs: Mapping[Operator, int]
    counted: Counted

    @cached_property
    def stored(self) -> list[Size]:
        """The bytes of matrices and kernels, of a network that has zeros among them; else none."""
        found = weights(self.graph)
        return sizes(found) if is_sparse(found) else []

    @property
    def operators(self) -> dict[str, int]:
        """Operators by type, the commonest first."""
        named = (f"{op.domain}::{op.type}" if op.domain else op.type for op in self.graph.operators)
        return dict(Counter(named).most_common())

    def document(self) -> dict[str, Any]:
        """The same as JSON."""
        header = self.graph.header
        return {
            "schema": SCHEMA,
            "input": self.source,
            "ir_version": header.ir_version,
            "opsets": {opset.domain or "ai.onnx": opset.version for opset in header.opset_import},
            "producer": " ".join(filter(None, (header.producer_name, header.producer_version))),
            "inputs": [self._value(name) for name in self.graph.data_inputs],
            "outputs": [self._value(name) for name in self.graph.outputs],
            "operators": self.operators,
            **asdict(self.cost),
            "counted_at": {name: list(shape) for name, shape in self.counted.items()},
            "prunable_share": self.share,
            "groups": [{**group_document(group), "macs": self._macs(group)} for group in self.groups],
            "locks": [refusal(lock) for lock in self.locks],
            "weights": [size_document(size) for size in self.stored],
        }

    def table(self, verbose: bool = False, width: int = 80) -> Lines:
        """The same to read."""
        rows = [
            GroupRow(g.name, tuple(op.label for op in g.operators), len(g), len(g), self._macs(g), self._macs(g))
            for g in self.groups
        ]
        parts: list[RenderableType] = [self._facts(), self._costs()]
        if rows:
            parts.append(group_table(rows, width=width))
            parts += [group_members(rows)] if verbose else []
        if self.stored:
            names = {weight.name: weight.layer for weight in weights(self.graph)}
            parts.append(sparsity.of_weights(self.stored, names, width=width))
        if self.locks:
            parts.append(refusals(self.locks, None if verbose else _SHOWN))
        return Lines(Text(f"\n{Path(self.source).name}\n", style="bold"), *[Padding(p, (0, 0, 1, 1)) for p in parts])

    def _facts(self) -> Table:
        header = self.graph.header
        opsets = ", ".join(f"{o.domain} {o.version}".strip() for o in header.opset_import)
        shown = _grid()
        made = " ".join(filter(None, (header.producer_name, header.producer_version)))
        shown.add_row("opset", f"{opsets}, IR {header.ir_version}" + (f", made by {made}" if made else ""))
        shown.add_row("inputs", ", ".join(map(self._shown, self.graph.data_inputs)))
        shown.add_row("outputs", ", ".join(map(self._shown, self.graph.outputs)))
        counted = ", ".join(f"{count} {kind}" for kind, count in self.operators.items())
        shown.add_row("operators", f"{sum(self.operators.values())}: {counted}")
        return shown

    def _costs(self) -> Table:
        shown = _grid()
        shown.add_row("MACs", f"{numbers.count(self.cost.macs)}, {numbers.percent(self.share)} touch a prunable axis")
        shown.add_row("parameters", f"{numbers.count(self.cost.params)}, {numbers.size(self.cost.bytes)}")
        shown.add_row("activation peak", numbers.size(self.cost.activation_peak))
        if is_open(self.graph):
            shown.add_row("", Text(sentence(self.counted), style="dim", overflow="fold"))
        return shown

    def _macs(self, group: Group) -> int:
        return sum(self.macs.get(operator, 0) for operator in group.operators)

    def _value(self, name: str) -> dict[str, Any]:
        kind = self.graph.type_of(name)
        shape = None if kind is None or kind.shape is None else list(kind.shape)
        return {
            "name": name,
            "type": TensorProto.DataType.Name(kind.elem_type).lower() if kind else None,
            "shape": shape,
        }

    def _shown(self, name: str) -> str:
        value = self._value(name)
        shape = "" if value["shape"] is None else f"[{','.join(str(dim or '?') for dim in value['shape'])}]"
        return f"{name}{shape} {value['type'] or ''}".strip()


def inspection(source: str | Path, shapes: Sizes, *, fold: bool = True) -> Inspection:
    """The figures of a network file."""
    graph = opened(source, shapes)
    coupling = prepared(graph, fold=fold)
    return Inspection(
        source=str(source),
        graph=graph,
        cost=cost(coupling),
        share=prunable_share(coupling),
        groups=tuple(coupling.groups),
        locks=tuple(locks(coupling)),
        macs=macs_by_operator(coupling),
        counted=counted_at(coupling.graph, coupling.traced.shapes.inputs),
    )


def _grid() -> Table:
    shown = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column(style="dim", no_wrap=True)
    shown.add_column(overflow="fold")
    return shown
