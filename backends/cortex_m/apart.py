"""Layers that are one function get functions of their own where zeros in weights or inputs may make them differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import tvm
from tvm import relax

from pruneir.backends.lowering.walk import content, is_constant

Special = Callable[[np.ndarray], bool]


def apart(module: tvm.IRModule, special: Special) -> tvm.IRModule:
    """The module in which each call with weights that are special is of a function that nobody else calls."""
    bindings = [binding.value for block in module["main"].body.blocks for binding in block.bindings]
    calls = [each for each in bindings if _is_tir(each)]
    times = Counter(call.args[0].name_hint for call in calls)
    if not any(times[call.args[0].name_hint] > 1 and _is_special(call, special) for call in calls):
        return module
    mutator = _Apart(module, times, special)
    main = mutator.visit_expr(module["main"])
    mutator.builder_.update_func(module.get_global_var("main"), main)
    return mutator.builder_.get()


@relax.expr_functor.mutator
class _Apart(relax.PyExprMutator):
    def __init__(self, module: tvm.IRModule, times: Counter[str], special: Special):
        super().__init__(module)
        self.module, self.times, self.special = module, times, special

    def visit_call_(self, call: Any) -> Any:
        """The call, of a copy if need be."""
        made = super().visit_call_(call)
        if not _is_tir(made) or self.times[made.args[0].name_hint] == 1 or not _is_special(made, self.special):
            return made
        name = made.args[0].name_hint
        self.times[name] -= 1
        own = self.builder_.add_func(self.module[name].with_attr("apart", self.times[name]), name)
        return relax.Call(made.op, [own, *made.args[1:]], made.attrs, made.ty_args, made.span)


def _is_tir(value: Any) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", "") == "relax.call_tir"


def _is_special(call: Any, special: Special) -> bool:
    arrays = [content(each) for each in call.args[1].fields if is_constant(each)]
    return any(each.ndim > 1 and special(each) for each in arrays)
