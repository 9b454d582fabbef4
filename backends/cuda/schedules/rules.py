"""Which schedule a function gets: the first that takes it. The name of what it got is in every table."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from tvm import s_tir, tirx
from tvm.s_tir import dlight

from pruneir.backends.cuda.schedules import implicit_gemm, tensor_core, window
from pruneir.backends.cuda.schedules.accumulate import in_float32
from pruneir.backends.cuda.schedules.scheduled import Scheduled
from pruneir.backends.cuda.schedules.unit_sums import without_unit_sums
from pruneir.errors import PruneirError

FALLBACK = "fallback"

Rule = Callable[[tirx.PrimFunc, Any, Collection[int]], Scheduled | None]


def _of_dlight(rule: Any, label: str) -> Rule:
    """A rule of TVM's own."""

    def apply(function: tirx.PrimFunc, target: Any, constants: Collection[int]) -> Scheduled | None:
        del constants
        sch = rule.apply(function, target, False)
        return None if sch is None else Scheduled(sch.mod["main"], label)

    return apply


RULES: tuple[Rule, ...] = (
    lambda function, target, constants: tensor_core.scheduled(function, target),
    lambda function, target, constants: implicit_gemm.scheduled(function, constants),
    lambda function, target, constants: window.scheduled(function),
    _of_dlight(dlight.gpu.GEMV(), "dlight gemv"),
    _of_dlight(dlight.gpu.Reduction(), "dlight reduction"),
    lambda function, target, constants: implicit_gemm.scheduled(function, constants, few=True),
    _of_dlight(dlight.gpu.GeneralReduction(), "dlight general-reduction"),
    _of_dlight(dlight.gpu.Fallback(), FALLBACK),
)


def scheduled(name: str, function: tirx.PrimFunc, target: Any, constants: Collection[int]) -> Scheduled:
    """The function with its loops bound to blocks and threads.

    constants  places of parameters whose layout may be changed

    PruneirError if no schedule takes it.
    """
    function = in_float32(without_unit_sums(function))
    for rule in RULES:
        try:
            found = rule(function, target, constants)
        except (s_tir.ScheduleError, RuntimeError, ValueError, AssertionError):  # TVM refuses one of its steps
            continue
        if found is not None:
            return found
    raise PruneirError(f"{name}: no schedule binds its loops to threads; end the exported graph in front of it")
