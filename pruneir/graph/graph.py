"""The graph: operators and values over a networkx digraph, with their types and constants.

The digraph is bipartite: a value is its name (str), an operator is its `Operator`; an edge runs from a value to each
operator that reads it, and from an operator to each value that it defines. The graph alone may be changed; what it
holds is immutable (operators, names) or replaced whole (initializers are never written in place).
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import onnx

from pruneir.graph.operator import Operator

_SEPARATE_IR = 4


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type (an `onnx.TensorProto` enum value) and shape: an int, a symbol or None per axis; None: any rank."""

    elem_type: int
    shape: tuple[int | str | None, ...] | None


class Graph:
    """A network: inputs, outputs, operators in topological order, initializers, and the model's own header."""

    def __init__(self, name: str = "", header: onnx.ModelProto | None = None):
        self.name = name
        self.header = header if header is not None else onnx.ModelProto(ir_version=10)
        """Everything of the model but its graph: opsets, producer, metadata, local functions."""
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.initializers: dict[str, np.ndarray] = {}
        self.declared: dict[str, onnx.ValueInfoProto] = {}
        """Types that the file states: for inputs, outputs, and whatever else it names."""
        self.extras = onnx.GraphProto()
        """Fields of the ONNX graph that no pass reads: doc, metadata, quantization annotation, sparse tensors."""
        self.notes: dict[str, onnx.TensorProto] = {}
        """Doc string and metadata of initializers that have some."""
        self.network: nx.DiGraph = nx.DiGraph()
        self._rank: dict[Operator, tuple[float, int]] = {}
        self._ordered: list[Operator] | None = []
        self._count = 0

    # Reading

    @property
    def operators(self) -> list[Operator]:
        """The operators in a topological order that stays as near as possible to the file's."""
        if self._ordered is None:
            self._ordered = self._sorted()
        return list(self._ordered)

    def producer(self, value: str) -> Operator | None:
        """The operator that defines a value; None for inputs and initializers."""
        if value not in self.network:
            return None
        return next(iter(self.network.pred[value]), None)

    def users(self, value: str) -> list[Operator]:
        """The operators that read a value, each once, in file order."""
        if value not in self.network:
            return []
        return sorted(self.network.succ[value], key=self._rank.__getitem__)

    def uses(self, value: str) -> list[tuple[Operator, int]]:
        """Every place that reads a value: operator and input slot (-1 for a capture by a subgraph)."""
        found = []
        for operator in self.users(value):
            slots = [slot for slot, name in enumerate(operator.inputs) if name == value]
            found += [(operator, slot) for slot in (*slots, *[-1] * (value in operator.captures))]
        return found

    def constant(self, value: str) -> np.ndarray | None:
        """The tensor of an initializer or a Constant operator; None for everything else."""
        if value in self.initializers:
            return self.initializers[value]
        operator = self.producer(value)
        if operator is not None and operator.is_a("Constant"):
            return constant_of(operator)
        return None

    def type_of(self, value: str) -> TensorType | None:
        """The declared type of a value, or that of an initializer; None where the file says nothing."""
        info = self.declared.get(value)
        if info is not None and info.type.HasField("tensor_type"):
            return tensor_type(info.type)
        if value in self.initializers:
            array = self.initializers[value]
            return TensorType(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        return None

    @property
    def data_inputs(self) -> list[str]:
        """The inputs that a caller must feed: those without a default among the initializers."""
        return [name for name in self.inputs if name not in self.initializers]

    @property
    def values(self) -> Iterator[str]:
        """Every name that the graph knows."""
        return (node for node in self.network if isinstance(node, str))

    def opset(self, domain: str = "") -> int:
        """The version of an operator set that the model imports; 0 if it does not."""
        names = ("", "ai.onnx") if domain in ("", "ai.onnx") else (domain,)
        return max((o.version for o in self.header.opset_import if o.domain in names), default=0)

    # Changing

    def add(self, operator: Operator, near: Operator | None = None) -> Operator:
        """Put an operator in, in file order beside `near` where the data flow allows, else last."""
        taken = [name for name in operator.outputs if name and self.producer(name) is not None]
        if taken:
            raise ValueError(f"value {taken[0]!r} is already defined by {self.producer(taken[0])}")
        rank = self._rank[near][0] if near is not None else float(self._count)
        self._count += 1
        self._rank[operator] = (rank, self._count)
        self.network.add_node(operator)
        self.network.add_edges_from((name, operator) for name in (*operator.inputs, *operator.captures) if name)
        self.network.add_edges_from((operator, name) for name in operator.outputs if name)
        read_before = any(self.network.succ[name] for name in operator.outputs if name)
        if self._ordered is not None and near is None and not read_before:
            self._ordered.append(operator)
        else:
            self._ordered = None
        return operator

    def remove(self, operator: Operator) -> None:
        """Take an operator out; its values stay known as long as something reads them."""
        around = [*self.network.pred[operator], *self.network.succ[operator]]
        self.network.remove_node(operator)
        del self._rank[operator]
        self._ordered = None
        for value in around:
            self._forget(value)

    def replace(self, operator: Operator, *new: Operator) -> None:
        """Put other operators in an operator's place."""
        rank = self._rank[operator]
        self.remove(operator)
        for each in new:
            self.add(each)
            self._rank[each] = (rank[0], self._count)
        self._ordered = None

    def redirect(self, old: str, new: str) -> None:
        """Let every operator that reads `old` read `new`. A graph output or a captured value cannot be redirected."""
        if old in self.outputs:
            raise ValueError(f"{old!r} is a graph output: its name is part of the interface")
        users = self.users(old)
        for operator in users:
            if old in operator.captures:
                raise ValueError(f"{old!r} is read inside a subgraph of {operator}")
        for operator in users:
            self.replace(operator, operator.with_(inputs=tuple(new if n == old else n for n in operator.inputs)))

    def set_initializer(self, name: str, array: np.ndarray) -> None:
        """Define or replace a constant tensor."""
        self.initializers[name] = array
        self.network.add_node(name)

    def define(self, name: str, array: np.ndarray) -> str:
        """Make a value a constant: what defined it goes, and the type of an input follows. Gives the name.

        Old IR versions are raised to 4, from which on an initializer need not be an input.
        """
        producer = self.producer(name)
        self.set_initializer(name, array)
        if producer is not None:
            self.remove(producer)
        known = self.type_of(name)
        if name not in self.inputs:
            self.header.ir_version = max(self.header.ir_version, _SEPARATE_IR)
        elif known is not None and known.shape != array.shape:
            self.declare(name, known.elem_type, array.shape)
        return name

    def define_for(self, operator: Operator, slot: int, array: np.ndarray) -> str:
        """Define the constant that an operator reads, as a copy `NAME@NODE` where others read it too. Gives the name.

        operator  of this graph, or what it was before it was rewritten with the same outputs
        """
        now = self.producer(next(filter(None, operator.outputs)))
        assert now is not None
        name = now.inputs[slot]
        if len(self.uses(name)) > 1 or name in self.outputs:
            name = self.fresh_name(f"{name}@{now.label}")
            self.replace(now, now.with_input(slot, name))
        return self.define(name, array)

    def drop_initializer(self, name: str) -> None:
        """Forget a constant tensor that nothing reads."""
        del self.initializers[name]
        self.notes.pop(name, None)
        if name in self.inputs and name not in self.outputs:
            self.inputs.remove(name)
        self._forget(name)

    def declare(self, name: str, elem_type: int, shape: Sequence[int | str | None] | None) -> None:
        """State a value's type."""
        self.declared[name] = onnx.helper.make_tensor_value_info(name, elem_type, shape)
        self.network.add_node(name)

    def fresh_name(self, wanted: str, also: Container[str] = ()) -> str:
        """`wanted`, with a number behind it if the graph, or what else is given, already has a value of that name."""
        name, count = wanted, 1
        while name in self.network or name in self.initializers or name in also:
            count += 1
            name = f"{wanted}_{count}"
        return name

    def forget_inner_types(self) -> None:
        """Drop every declared type but those of inputs and outputs: after surgery they are stale."""
        interface = {*self.inputs, *self.outputs}
        gone = [name for name in self.declared if name not in interface]
        self.declared = {name: info for name, info in self.declared.items() if name in interface}
        del self.extras.value_info[:]
        for name in gone:
            self._forget(name)

    def copy(self) -> Graph:
        """A graph of its own over the same operators and arrays."""
        twin = Graph(self.name, header=onnx.ModelProto())
        twin.header.CopyFrom(self.header)
        twin.extras.CopyFrom(self.extras)
        twin.inputs, twin.outputs = list(self.inputs), list(self.outputs)
        twin.initializers, twin.declared = dict(self.initializers), dict(self.declared)
        twin.notes = dict(self.notes)
        twin.network = self.network.copy()
        twin._rank, twin._count = dict(self._rank), self._count
        twin._ordered = list(self._ordered) if self._ordered is not None else None
        return twin

    # Inside

    def _forget(self, value: str) -> None:
        known = value in self.initializers or value in self.inputs or value in self.outputs
        if value in self.network and not known and not self.network.degree(value):
            self.network.remove_node(value)
            self.declared.pop(value, None)

    def _sorted(self) -> list[Operator]:
        """Kahn's algorithm with a heap on the file order: O(n log n), stable."""
        waiting = {op: self._waits_for(op) for op in self._rank}
        ready = [(rank, op) for op, rank in self._rank.items() if not waiting[op]]
        heapq.heapify(ready)
        ordered: list[Operator] = []
        while ready:
            _, operator = heapq.heappop(ready)
            ordered.append(operator)
            for value in self.network.succ[operator]:
                for user in self.network.succ[value]:
                    waiting[user] -= 1
                    if not waiting[user]:
                        heapq.heappush(ready, (self._rank[user], user))
        if len(ordered) < len(waiting):
            stuck = next(op for op, left in waiting.items() if left)
            raise ValueError(f"the graph has a cycle through {stuck}")
        return ordered

    def _waits_for(self, operator: Operator) -> int:
        return sum(len(self.network.pred[value]) for value in self.network.pred[operator])

    def __repr__(self) -> str:
        return f"<Graph {self.name!r}: {len(self._rank)} operators, {len(self.initializers)} initializers>"


def constant_of(operator: Operator) -> np.ndarray | None:
    """The tensor that a Constant operator holds, in any of the attribute forms; None for strings and sparse tensors."""
    kinds: dict[str, type[np.generic] | None] = {"value": None, "value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}
    for key, dtype in kinds.items():
        if key in operator.attributes and not isinstance(operator.attributes[key], onnx.AttributeProto):
            return np.asarray(operator.attributes[key], dtype)
    return None


def tensor_type(proto: onnx.TypeProto) -> TensorType:
    """The element type and shape of an ONNX tensor type."""
    tensor = proto.tensor_type
    if not tensor.HasField("shape"):
        return TensorType(tensor.elem_type, None)
    return TensorType(tensor.elem_type, tuple(map(_dimension, tensor.shape.dim)))


def _dimension(dim: onnx.TensorShapeProto.Dimension) -> int | str | None:
    if dim.HasField("dim_value"):
        return (
            int(dim.dim_value) if dim.dim_value >= 0 else None
        )  # some exporters write −1 for a dimension they leave open
    return dim.dim_param or None
