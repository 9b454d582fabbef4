"""What no kernel of ours serves: runs of operators that TVM compiles, as plain C on tensors in ONNX's order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tvm
from tvm import tirx

from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import inlined, macs
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.program import Program
from pruneir.backends.lowering.walk import Lowered, Lowering
from pruneir.graph import Graph, Operator
from pruneir.shapes import Shapes

HEAD = "#include <math.h>\n#include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n"


@dataclass(slots=True)
class _Plain(Lowering):
    """Every function by TVM's default schedule."""

    def function(self, name: str, function: tirx.PrimFunc, constants: list[int], exact: bool) -> Lowered:
        """The function with its elementwise steps inlined."""
        del exact
        self.require_types(name, function)
        made: Lowered = self.plain(name, bare.lowered(inlined(function), self.target), constants, macs=macs(function))
        return made

    def sources(self) -> dict[str, str]:
        """Its C."""
        return {f"{self.prefix}tvm.c": HEAD + bare.with_extremes(self.text())}


def island(graph: Graph, shapes: Shapes, operators: Sequence[Operator], prefix: str) -> Program:
    """The program of some operators of a graph, in order. PruneirError, one line, for what TVM does not compile.

    prefix  of the names of its functions
    """
    part = _part(graph, shapes, operators)
    target = tvm.target.Target({"kind": "c"})
    target = target.with_host(target)
    program: Program = _Plain(part, target, fused(part, target), prefix=prefix).program()
    return program


def _part(graph: Graph, shapes: Shapes, operators: Sequence[Operator]) -> Graph:
    """A graph of these operators alone; what others read of them is its outputs."""
    part = Graph("part", graph.header)
    made = {output for operator in operators for output in operator.outputs if output}
    inside = set(operators)
    for operator in operators:
        for name in (*filter(None, operator.inputs), *operator.captures):
            constant = graph.constant(name)
            if constant is not None:
                if name not in part.initializers:
                    part.set_initializer(name, constant)
            elif name not in made and name not in part.inputs:
                part.inputs.append(name)
                _declare(part, shapes, name)
    for operator in operators:
        part.add(operator)
    for operator in operators:
        for output in filter(None, operator.outputs):
            if output in graph.outputs or any(user not in inside for user in graph.users(output)):
                part.outputs.append(output)
                _declare(part, shapes, output)
    return part


def _declare(part: Graph, shapes: Shapes, name: str) -> None:
    part.declare(name, shapes.elem_type(name), shapes.shape(name))
