"""From a graph to scheduled kernels: Graph ──import, fuse──▶ Relax and TIR ──schedules──▶ blocks and threads."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
import tvm
from tvm import relax, tirx

from pruneir.backends.cuda.schedules.gemm import Packing
from pruneir.backends.cuda.schedules.rules import scheduled
from pruneir.backends.cuda.schedules.scheduled import Scheduled
from pruneir.backends.lowering.default import macs
from pruneir.backends.lowering.importing import fused
from pruneir.backends.lowering.recurrent import written_out
from pruneir.backends.lowering.standard import standard
from pruneir.backends.lowering.walk import layer_labels
from pruneir.errors import PruneirError
from pruneir.graph import Graph


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a kernel.

    name      the layer, as in the network
    kernel    the function that computes it, which may be several kernels on the device
    schedule  how its loops became threads
    """

    name: str
    kernel: str
    macs: int
    schedule: str


@dataclass(frozen=True, slots=True)
class Lowered:
    """A module of scheduled functions and the calls of them, in order.

    packing  by function, how its constants are laid out
    """

    module: tvm.IRModule
    steps: tuple[Step, ...]
    packing: dict[str, tuple[Packing, ...]]


def target_of(arch: int) -> tvm.target.Target:
    """TVM's target of an architecture, such as 80."""
    cuda = {
        "kind": "cuda",
        "arch": f"sm_{arch}",
        "max_threads_per_block": 1024,
        "max_shared_memory_per_block": 49152,
        "thread_warp_size": 32,
    }
    return tvm.target.Target(cuda, host={"kind": "llvm"})


def lowered(graph: Graph, target: tvm.target.Target) -> Lowered:
    """The kernels of a graph. PruneirError, one line, for what cannot be compiled."""
    ranking = next((operator for operator in graph.operators if operator.is_a("TopK")), None)
    if ranking is not None:
        raise PruneirError(
            f"{ranking.label} (TopK): no kernel for GPUs ranks; integral{{threshold=static}} masks without, and other"
            " graphs end in front of it"
        )
    graph = written_out(standard(graph))
    module = relax.transform.DeadCodeElimination()(fused(graph, target))
    calls = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    calls = [value for value in calls if isinstance(value, relax.Call) and value.op.same_as(_CALL_TIR)]
    fixed = _constants(calls)
    functions = {variable: f for variable, f in module.functions.items() if isinstance(f, tirx.PrimFunc)}
    done = {
        variable.name_hint: scheduled(variable.name_hint, function, target, fixed[variable.name_hint])
        for variable, function in functions.items()
    }
    work = {variable.name_hint: macs(function) for variable, function in functions.items()}
    labels = layer_labels(graph)
    steps = []
    for call in calls:
        kernel = str(call.args[0].name_hint)
        name = _layer(call, labels) or re.sub(r"^fused_", "", kernel)
        steps.append(Step(name, kernel, work[kernel], done[kernel].schedule))
    packing = {name: each.packing for name, each in done.items()}
    return Lowered(_Scheduled(module, done).updated(), tuple(steps), packing)


_CALL_TIR = tvm.ir.Op.get("relax.call_tir")


def _constants(calls: list[Any]) -> dict[str, set[int]]:
    """Places of each function's parameters that are constants in all of its calls."""
    found: dict[str, set[int]] = {}
    for call in calls:
        places = {place for place, each in enumerate(call.args[1].fields) if _is_constant(each)}
        name = str(call.args[0].name_hint)
        found[name] = found.get(name, places) & places
    return defaultdict(set, found)


def _is_constant(value: Any) -> bool:
    return hasattr(value, "value") and hasattr(value.value, "numpy")


def _layer(call: Any, labels: dict[bytes, list[str]]) -> str:
    """The operator whose weights a call gets; of several with equal ones, the next."""
    for value in filter(_is_constant, call.args[1].fields):
        named = labels.get(value.value.numpy().tobytes())
        if named:
            return named.pop(0) if len(named) > 1 else named[0]
    return ""


@relax.expr_functor.mutator
class _Scheduled(relax.PyExprMutator):
    """The module with scheduled functions, and with constants in the order in which these read them."""

    def __init__(self, module: tvm.IRModule, done: dict[str, Scheduled]):
        others = {variable: f for variable, f in module.functions.items() if variable.name_hint not in done}
        super().__init__(tvm.IRModule(others))
        self.done = done
        self.variables = {
            name: self.builder_.add_func(each.function.with_attr("tirx.is_scheduled", True), name)
            for name, each in done.items()
        }

    def updated(self) -> tvm.IRModule:
        """All of it."""
        for variable, function in self.builder_.get().functions.items():
            if isinstance(function, relax.Function):
                self.builder_.update_func(variable, self.visit_expr(function))
        return self.builder_.get()

    def visit_call_(self, call: Any) -> Any:
        call = self.visit_expr_post_order(call)
        if not call.op.same_as(_CALL_TIR):
            return call
        name, arguments = str(call.args[0].name_hint), list(call.args[1].fields)
        for each in self.done[name].packing:
            array = arguments[each.place].value.numpy().transpose(each.axes)
            arguments[each.place] = relax.const(np.ascontiguousarray(array))
        made = call.ty_args[0]
        return relax.call_tir(self.variables[name], arguments, list(made.fields) if hasattr(made, "fields") else made)
