"""A Program as C: model.h with the interface, model.c with the calls in order, weights.S with the constants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from pruneir.backends.lowering.arena import Arena
from pruneir.backends.lowering.program import Buffer, Call, Program
from pruneir.errors import PruneirError

ALIGNMENT = 16
"""Of constants, inputs, outputs and the arena, in bytes."""

CTYPES = {
    "float32": "float",
    "float64": "double",
    "bool": "uint8_t",
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_RESERVED = frozenset(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register"
    " restrict return short signed sizeof static struct switch typedef union unsigned void volatile while"
    " int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t size_t uintptr_t"
    " arena at memcpy NULL INSTRUCTIONS TICKS model_arena model_run model_run_in model_step X"
    " asm typeof and and_eq bitand bitor bool catch class compl concept consteval constexpr constinit"
    " const_cast co_await co_return co_yield decltype delete dynamic_cast explicit export false friend mutable"
    " namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires"
    " static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t"
    " char8_t char16_t char32_t xor xor_eq alignas alignof".split()
)
"""Words of C and C++, for both of which model.h is, and of the code around."""


@dataclass(frozen=True, slots=True)
class Names:
    """C identifiers of inputs, outputs and constants, by name in the program."""

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, str]

    @classmethod
    def of(cls, program: Program) -> Names:
        """Identifiers close to the names, none twice."""
        taken = {*_RESERVED, *(kernel.name for kernel in program.kernels)}
        return cls(
            {each.name: _identifier(each.name, taken) for each in program.inputs},
            {each.name: _identifier(each.name, taken) for each in program.outputs},
            {each.name: _identifier(f"weights_{each.name}", taken) for each in program.constants},
        )


def _identifier(name: str, taken: set[str]) -> str:
    base = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
    base = base if base[:1].isalpha() else f"v{base}"
    found, count = base, 1
    while found in taken:
        count += 1
        found = f"{base}_{count}"
    taken.add(found)
    return found


def _ctype(name: str, dtype: np.dtype[np.generic]) -> str:
    if dtype.name not in CTYPES:
        raise PruneirError(f"'{name}' is of type {dtype.name}, which Cortex-M code has no word for; cast it to float32")
    return CTYPES[dtype.name]


@dataclass(frozen=True, slots=True)
class Model:
    """The C of model.h, model.c and weights.S."""

    program: Program
    arena: Arena
    names: Names

    def header(self) -> str:
        """model.h."""
        sides = (
            ("INPUTS", self.program.inputs, self.names.inputs),
            ("OUTPUTS", self.program.outputs, self.names.outputs),
        )
        lists = "\n".join(
            f"#define MODEL_{side}(X)"
            + "".join(f" X({names[b.name]}, {_ctype(b.name, b.dtype)}, {_count(b)})" for b in found)
            for side, found, names in sides
        )
        order = [*self.names.inputs.values(), *self.names.outputs.values()]
        story = "\n".join(
            f" *   {names[b.name]:<{max(map(len, order))}}  {b.dtype.name}[{','.join(map(str, b.shape))}]"
            f"  {side.lower()[:-1]} {_plain(b.name)!r}"
            for side, found, names in sides
            for b in found
        )
        return f"""\
/* The network as one function.
 *
{story}
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#define MODEL_ARENA_BYTES {max(self.arena.size, 1)}
#define MODEL_WEIGHT_BYTES {sum(each.nbytes for each in self.program.constants)}
#define MODEL_STEPS {len(self.program.calls)}

/* Computes the outputs in model_arena. 0: done. It needs no other memory than its arena and some stack. */
int model_run({self._parameters()});
extern uint8_t model_arena[MODEL_ARENA_BYTES];

/* The same in an arena that the caller gives, of MODEL_ARENA_BYTES aligned to {ALIGNMENT}; -1 if it is not. Where only
 * this one is called, the linker leaves model_arena out. */
int model_run_in(void *arena, {self._parameters()});

/* Name, type and number of elements of each parameter, and their names in order. */
{lists}
#define MODEL_ARGUMENTS(X) {", ".join(f"X({name})" for name in order)}

#ifdef __cplusplus
}}
#endif
#endif
"""

    def source(self) -> str:
        """model.c."""
        parameters = self._parameters()
        arguments = ", ".join([*self.names.inputs.values(), *self.names.outputs.values()])
        return "\n".join(
            [
                "/* The steps of the network, in order. Offsets into the arena are those of values that live there. */",
                '#include "model.h"',
                "",
                "#include <stddef.h>",
                "#include <string.h>",
                "",
                *self._prototypes(),
                "",
                *(
                    f"extern const {_ctype(c.name, c.values.dtype)} {self.names.constants[c.name]}[{c.values.size}];"
                    for c in self.program.constants
                ),
                "",
                "#ifdef MODEL_PROFILE",
                "void model_step(int step);",
                "#else",
                "#define model_step(step) ((void)0)",
                "#endif",
                "",
                f'uint8_t model_arena[MODEL_ARENA_BYTES] __attribute__((section(".arena"), aligned({ALIGNMENT})));',
                "",
                f"int model_run_in(void *arena, {parameters})",
                "{",
                "    uint8_t *const at = arena;",
                f"    if (at == NULL || (uintptr_t)at % {ALIGNMENT})",
                "        return -1;",
                *self._steps(),
                f"    model_step({len(self.program.calls)});",
                *self._copies(),
                "    return 0;",
                "}",
                "",
                f"int model_run({parameters})",
                "{",
                f"    return model_run_in(model_arena, {arguments});",
                "}",
                "",
            ]
        )

    def weights(self) -> str:
        """weights.S."""
        lines = ["/* The constants of model.c, as bytes of weights.bin. */", '    .section .weights, "a"']
        start = 0
        for constant in self.program.constants:
            name = self.names.constants[constant.name]
            lines += ["", f"    .balign {ALIGNMENT}", f"    .global {name}", f"{name}:"]
            if constant.nbytes:
                lines.append(f'    .incbin "weights.bin", {start}, {constant.nbytes}')
            lines.append(f"    .size {name}, {constant.nbytes}")
            start += constant.nbytes
        return "\n".join([*lines, ""])

    def _parameters(self) -> str:
        inputs = [
            f"const {_ctype(b.name, b.dtype)} {self.names.inputs[b.name]}[{_count(b)}]" for b in self.program.inputs
        ]
        outputs = [f"{_ctype(b.name, b.dtype)} {self.names.outputs[b.name]}[{_count(b)}]" for b in self.program.outputs]
        return ", ".join([*inputs, *outputs])

    def _prototypes(self) -> Iterator[str]:
        for kernel in self.program.kernels:
            yield f"void {kernel.name}({', '.join(_pointer(*each) for each in kernel.parameters)});"

    def _steps(self) -> Iterator[str]:
        kernels = {kernel.name: kernel for kernel in self.program.kernels}
        for number, call in enumerate(self.program.calls):
            casts = (_pointer(*each) for each in kernels[call.kernel].parameters)
            given = ", ".join(f"({cast}){self._place(name)}" for cast, name in zip(casts, call.arguments, strict=True))
            yield ""
            yield f"    /* {_comment(call)} */"
            yield f"    model_step({number});"
            yield f"    {call.kernel}({given});"

    def _copies(self) -> Iterator[str]:
        """Outputs that are another value's memory."""
        for output in self.program.outputs:
            here, there = self.names.outputs[output.name], self._place(output.name)
            if there != here:
                yield f"    memcpy({here}, {there}, {output.nbytes});"

    def _place(self, name: str) -> str:
        """Where a value lies, in C."""
        owner = self.program.owner(name)
        for names in (self.names.inputs, self.names.outputs, self.names.constants):
            if owner in names:
                return names[owner]
        return f"(at + {self.arena.offsets[owner]})"


def _pointer(ctype: str, const: bool) -> str:
    return f"const {ctype} *" if const else f"{ctype} *"


def _comment(call: Call) -> str:
    parts = [_plain(call.layer) or call.kernel, *([f"{call.macs:,} MACs"] if call.macs else []), call.schedule]
    return ", ".join(parts).replace("*/", "* /")


def _plain(name: str) -> str:
    """A name that can stand in a comment."""
    return "".join(char if char.isprintable() and char != "\\" else "?" for char in name).replace("*/", "* /")


def _count(buffer: Buffer) -> int:
    return prod(buffer.shape)
