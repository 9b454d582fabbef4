"""Linear layers whose inputs are mostly zero: the reduction of a function becomes a call that skips these.

    for outputs: for terms: sum += x · w; epilogue      becomes     scatter(sums, x, columns); for outputs: epilogue

What the reduction is, input by input, is read off its indices, and so dense layers, rows of them and convolutions of
any rank, stride and dilation are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tvm import tirx
from tvm.sym import detect_linear_equation
from tvm.tirx import stmt as st

from pruneir.backends.cortex_m.columns import Way
from pruneir.backends.cortex_m.inputs import Axis, Layer
from pruneir.backends.cortex_m.schedule import MARK, Reduction, epilogue_of, separated, terms_of
from pruneir.backends.lowering import bare
from pruneir.backends.lowering.default import REDUCE, opened
from pruneir.backends.lowering.visit import reads, stores


def layer_of(function: tirx.PrimFunc, reduction: Reduction) -> Layer | None:
    """The layer that a reduction is, input by input; None where it is none whose inputs can be skipped."""
    if reduction.weights is None:
        return None
    schedule, blocks = opened(function)
    block = schedule.get(blocks[reduction.index])
    loads = terms_of(block) or []
    weights = function.params[reduction.weights].name
    (x,), (w,) = ([load for load in loads if (load.source.name == weights) is same] for same in (False, True))
    read = _read(function, [schedule.get(each) for each in blocks[: reduction.index]], x.source)
    if read is None:
        return None
    shape, before = read
    variables = [iv.var for iv in block.iter_vars]
    lengths = [int(iv.dom.extent) for iv in block.iter_vars]
    reduced = [int(iv.iter_type) == REDUCE for iv in block.iter_vars]
    in_w = _moved(w, variables)
    axes, used = [], []
    for index, length, zeros in zip(x.indices, shape, before, strict=True):
        *coefficients, start = _linear(index, variables)
        moving = [i for i, by in enumerate(coefficients) if by and lengths[i] > 1]
        points = [i for i in moving if not reduced[i]]
        taps = [i for i in moving if reduced[i]]
        used += moving
        if start or len(points) > 1 or len(taps) > 1 or any(in_w[i] for i in points):
            return None
        tap = (lengths[taps[0]], coefficients[taps[0]], in_w[taps[0]]) if taps else (1, 1, 0)
        point = (lengths[points[0]], coefficients[points[0]]) if points else (0, 1)
        if min(tap[1], point[1]) < 1:
            return None
        axes.append(Axis(length, *tap, zeros, *point))
    places = [i for i in used if not reduced[i]]
    filters = [i for i, by in enumerate(in_w) if by and not reduced[i] and lengths[i] > 1]
    rest = {i for i, length in enumerate(lengths) if length > 1} - {*used, *filters}
    if rest or len(used) != len({*used}) or places != sorted(places) or len(filters) != 1:
        return None
    layer = Layer(tuple(axes), (lengths[filters[0]], in_w[filters[0]]))
    return layer if all(axis.inside for axis in axes) else None


def _read(function: tirx.PrimFunc, before: list[Any], source: Any) -> tuple[list[int], list[int]] | None:
    """The shape of the parameter that a reduction reads, as it is or padded with zeros, and how many in front."""
    parameters = {buffer.name: buffer for buffer in function.params}
    zeros = [0] * len(source.shape)
    if before:
        if len(before) > 1 or not before[0].body.buffer.same_as(source):
            return None
        value = before[0].body.value
        if type(value).__name__ == "Call" and value.op.name.endswith("if_then_else"):
            _, value, other = value.args
            if getattr(other, "value", None) != 0:
                return None
        if not hasattr(value, "indices") or len(value.indices) != len(zeros):
            return None
        variables = [iv.var for iv in before[0].iter_vars]
        found = [_linear(index, variables) for index in value.indices]
        if any(by[:-1] != [int(i == j) for j in range(len(variables))] for i, by in enumerate(found)):
            return None
        zeros, source = [-by[-1] for by in found], value.source
    if source.name not in parameters:
        return None
    return [int(size) for size in source.shape], zeros


def _linear(index: Any, variables: list[Any]) -> list[int]:
    """The coefficients of the variables, and what is left. ValueError where an index is not linear."""
    found = list(detect_linear_equation(index, variables))
    if len(found) != len(variables) + 1 or not hasattr(found[-1], "value"):
        raise ValueError(f"{index} is not linear")
    return [int(each) for each in found]


def _moved(load: Any, variables: list[Any]) -> list[int]:
    """How far each variable moves a load, in elements."""
    found, apart = [0] * len(variables), 1
    for index, size in zip(reversed(list(load.indices)), reversed(list(load.source.shape)), strict=True):
        for i, by in enumerate(_linear(index, variables)[:-1]):
            found[i] += by * apart
        apart *= int(size)
    return found


def skipping(flat: tirx.PrimFunc, reduction: Reduction, way: Way, name: str) -> Any:
    """The body of a marked function with calls of the micro-kernel `name` in the place of its reduction."""
    assert reduction.weights is not None
    return _Called(way, name, flat.params[reduction.weights].name).within(flat.body)


def marked(function: tirx.PrimFunc, reduction: Reduction, way: Way, target: Any) -> tirx.PrimFunc:
    """The function as plain loops, its reduction marked and the sums as they are scattered, the epilogue of a block
    of filters behind those of the block.

    ValueError where more than sums are allocated: TVM, which does not see how long sums are read, might lay it there.
    """
    schedule, blocks = separated(function, reduction)
    block, behind = blocks[reduction.index], blocks[reduction.index + 1 :]
    for each in blocks[: reduction.index]:
        schedule.compute_inline(each)
    order = [i for i in range(len(reduction.loops)) if i != reduction.filters] + [reduction.filters]
    schedule.transform_layout(block, ("write", 0), lambda *index: [index[i] for i in order])
    strides = (apart for apart in way.part.strides(way.scatter.width) if apart)
    long = (place for place, i in enumerate(order[:-1]) if reduction.loops[i] > 1)
    for place, apart in zip(long, strides, strict=True):
        schedule.storage_align(block, 0, place, apart, 0)
    out = epilogue_of(schedule, reduction, behind)
    depth = 0
    if way.blocks > 1:
        loops = schedule.get_loops(out)
        outer, inner = schedule.split(loops[reduction.filters], [way.blocks, None])
        rest = loops[: reduction.filters], loops[reduction.filters + 1 :]
        schedule.reorder(outer, *rest[0], inner, *rest[1])
        schedule.compute_at(block, outer, preserve_unit_loops=True)
        depth = 1
    schedule.annotate(schedule.get_loops(block)[depth], MARK, 1)
    flat = bare.lowered(schedule.mod["main"].without_attr("global_symbol"), target)
    if _allocations(flat.body) > 1:
        raise ValueError("more than sums are allocated")
    return flat


@dataclass(slots=True)
class _Called:
    """Puts calls of a micro-kernel into statements.

    weights  what the parameter is called
    """

    way: Way
    name: str
    weights: str

    def within(self, s: Any, block: Any = 0) -> Any:
        """The statement, which computes a block of filters, with its marked nest called, and room for all its sums."""
        if isinstance(s, st.For):
            body = self.within(s.body, s.loop_var)
            return st.For(s.loop_var, s.min, s.extent, s.kind, body, s.thread_binding, s.annotations, s.step, s.span)
        if not isinstance(s, st.SeqStmt):
            return s
        found = list(s.seq)
        at = next((i for i, each in enumerate(found) if isinstance(each, st.For) and MARK in each.annotations), None)
        if at is None:
            return st.SeqStmt([self.within(each, block) for each in found])
        nest = found[at]
        sums = next(stores(nest)).buffer
        room = tirx.decl_buffer((self.way.scatter.room,), sums.dtype, f"{sums.name}_room")
        found[at] = self._call(nest, sums, room, block)
        (at,) = (i for i, s in enumerate(found) if isinstance(s, st.AllocBuffer) and s.buffer.same_as(sums))
        found[at] = self._held(sums, room)
        return st.SeqStmt(found)

    def _held(self, sums: Any, room: Any) -> Any:
        first = tirx.Var(f"{sums.name}_first", tirx.buffer_data_pointer_type(sums))
        inside = tirx.BufferLoad(room, [self.way.part.shift(self.way.scatter.width)])
        bound = st.Bind(first, tirx.address_of(inside))
        return st.SeqStmt([st.AllocBuffer(room), bound, st.DeclBuffer(sums, data=first)])

    def _call(self, nest: Any, sums: Any, room: Any, block: Any) -> Any:
        sources = {read.source.name: read.source for _, read in reads(nest) if not read.source.same_as(sums)}
        (w,) = (each for name, each in sources.items() if self.weights in (name, name.rpartition("_")[0]))
        (x,) = (each for each in sources.values() if not each.same_as(w))
        arguments = [tirx.address_of(tirx.BufferLoad(buffer, [0])) for buffer in (room, x, w)]
        return tirx.Evaluate(tirx.call_extern("int32", self.name, *arguments, block))


def _allocations(s: Any) -> int:
    """How many buffers a statement allocates."""
    if isinstance(s, st.SeqStmt):
        return sum(map(_allocations, s.seq))
    if isinstance(s, st.IfThenElse):
        return _allocations(s.then_case) + (_allocations(s.else_case) if s.else_case is not None else 0)
    if isinstance(s, (st.For, st.AttrStmt)):
        return _allocations(s.body)
    return int(isinstance(s, st.AllocBuffer))
