"""Layers that are one function get functions of their own where zeros in weights or inputs may make them differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax

from pruneir.backends.cortex_m.schedule import reduction_of
from pruneir.backends.lowering.walk import content, is_constant

Special = Callable[[np.ndarray], bool]


def apart(module: tvm.IRModule, special: Special) -> tvm.IRModule:
    """The module in which calls with different weights, some of which are special, are of different functions."""
    values = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    calls: dict[str, list[Any]] = {}
    for value in values:
        if _is_tir(value):
            calls.setdefault(value.args[0].name_hint, []).append(value)
    own = {name: _weights(module[name], found, special) for name, found in calls.items() if len(found) > 1}
    if all(len({*weights}) < 2 for weights in own.values()):
        return module
    mutator = _Apart(module, own)
    main = mutator.visit_expr(module["main"])
    mutator.builder_.update_func(module.get_global_var("main"), main)
    return mutator.builder_.get()


@relax.expr_functor.mutator
class _Apart(relax.PyExprMutator):
    """weights  of each function: those of its calls in turn, for which it is copied"""

    def __init__(self, module: tvm.IRModule, weights: dict[str, list[bytes]]):
        super().__init__(module)
        self.module, self.weights = module, {name: iter(each) for name, each in weights.items()}
        self.functions = {(name, each[0]): module.get_global_var(name) for name, each in weights.items()}

    def visit_call_(self, call: Any) -> Any:
        """The call, of a copy if need be."""
        made = super().visit_call_(call)
        if not _is_tir(made) or made.args[0].name_hint not in self.weights:
            return made
        name = made.args[0].name_hint
        key = name, next(self.weights[name])
        if key not in self.functions:
            copy = self.module[name].with_attr("apart", len(self.functions))
            self.functions[key] = self.builder_.add_func(copy, name)
        return relax.Call(made.op, [self.functions[key], *made.args[1:]], made.attrs, made.ty_args, made.span)


def _is_tir(value: Any) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_tir"


def _weights(function: Any, calls: Sequence[Any], special: Special) -> list[bytes]:
    """What the calls of a function are told apart by: their weights, where these are special; else nothing."""
    arguments = [list(call.args[1].fields) for call in calls]
    constants = [i for i, given in enumerate(zip(*arguments, strict=True)) if all(map(is_constant, given))]
    reduction = reduction_of(function, constants)
    if reduction is None or reduction.weights is None:
        return [b""] * len(calls)
    arrays = [content(given[reduction.weights]) for given in arguments]
    return [each.tobytes() if special(each) else b"" for each in arrays]
