"""A Program as tables in C: network.c with steps and places, model.h's story, weights.S.

Every step is a row: a kernel, its pointers, its items. A pointer is a *place*: a base, which may be the arena, the
weights, or the array of an input or output, and an offset from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pruneir.backends.lowering.arena import Arena
from pruneir.backends.lowering.program import Buffer, Call, Kernel, Program
from pruneir.backends.x86.cpu import X86Cpu

ALIGNMENT = 64
"""Of values in the arena and of constants, in bytes."""


@dataclass(frozen=True)
class Network:
    """The C of network.c, and what templates are filled with."""

    program: Program
    arena: Arena
    cpu: X86Cpu

    @cached_property
    def offsets(self) -> Mapping[str, int]:
        """Byte in weights.bin at which each constant starts."""
        found, end = {}, 0
        for constant in self.program.constants:
            found[constant.name] = end
            end += aligned(constant.nbytes)
        return found

    @property
    def scratch(self) -> int:
        """Bytes that each thread needs."""
        return max((call.scratch for call in self.program.calls), default=0)

    def source(self) -> str:
        """network.c."""
        program = self.program
        called = {call.kernel for call in program.calls}
        kernels = [kernel for kernel in program.kernels if kernel.name in called]
        divided = {kernel.name for kernel in kernels if kernel.divided}
        ports = [*program.inputs, *program.outputs]
        return "\n".join(
            [
                "/* The steps of the network, and where their pointers point. */",
                "#include <stdint.h>",
                "",
                '#include "network.h"',
                "",
                *(_prototype(kernel) for kernel in kernels),
                "",
                *(_wrapper(kernel) for kernel in kernels if not kernel.divided),
                "static const struct place places[] = {",
                *self._places(),
                "    {0, 0},",
                "};",
                "",
                "static const struct step steps[] = {",
                *self._steps(divided),
                "    {0, 0, 0},",
                "};",
                "",
                f"static const size_t sizes[] = {{{', '.join(str(each.nbytes) for each in ports) or '0'}}};",
                "",
                "const struct network network = {",
                "    .steps = steps,",
                "    .places = places,",
                "    .sizes = sizes,",
                f"    .step_count = {len(program.calls)},",
                f"    .place_count = {sum(len(call.arguments) for call in program.calls)},",
                f"    .input_count = {len(program.inputs)},",
                f"    .output_count = {len(program.outputs)},",
                f"    .arena = {self.arena.size},",
                f"    .scratch = {self.scratch},",
                "};",
                "",
                *self._features(),
                "",
            ]
        )

    def weights(self) -> str:
        """weights.S."""
        return "\n".join(
            [
                "/* The constants, in the order in which kernels read them. */",
                '    .section .rodata.weights, "a"',
                "    .balign 4096",
                "    .globl network_weights",
                "    .hidden network_weights",
                "network_weights:",
                '    .incbin "weights.bin"',
                '    .section .note.GNU-stack, "", %progbits',
                "",
            ]
        )

    def story(self) -> str:
        """What the arrays of `model_run` are, in order, as lines of a comment."""
        sides = [("input", self.program.inputs), ("output", self.program.outputs)]
        return "\n".join(
            f" *   {side}s[{index}]  {_plain(buffer.name)}: {buffer.dtype.name}[{','.join(map(str, buffer.shape))}]"
            for side, buffers in sides
            for index, buffer in enumerate(buffers)
        )

    def _features(self) -> Iterator[str]:
        yield "const char *network_lacks(void) {"
        if self.cpu.features:
            yield "    __builtin_cpu_init();"
        for feature in self.cpu.features:
            yield f'    if (!__builtin_cpu_supports("{feature}"))'
            yield f'        return "{feature}";'
        yield "    return NULL;"
        yield "}"

    def _places(self) -> Iterator[str]:
        for call in self.program.calls:
            yield f"    /* {_comment(call)} */"
            last = len(call.arguments) - 1
            places = [
                self._place(name, written=index == last and name in call.writes)
                for index, name in enumerate(call.arguments)
            ]
            yield "    " + " ".join(f"{{{base}, {offset}}}," for base, offset in places)

    def _place(self, name: str, *, written: bool) -> tuple[str, int]:
        """Where a value lies: a base, and the bytes behind it.

        written  of an input and an output of one name, the output is meant
        """
        owner = self.program.owner(name)
        inputs, outputs = self._arrays
        for arrays in (outputs, inputs) if written else (inputs, outputs):
            if owner in arrays:
                return f"ARRAYS + {arrays[owner]}", 0
        if owner in self.offsets:
            return "WEIGHTS", self.offsets[owner]
        return "ARENA", self.arena.offsets[owner]

    @cached_property
    def _arrays(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Places of inputs and of outputs among the arrays of a run, by name."""
        inputs = {each.name: index for index, each in enumerate(self.program.inputs)}
        return inputs, {each.name: len(inputs) + index for index, each in enumerate(self.program.outputs)}

    def _steps(self, divided: set[str]) -> Iterator[str]:
        first = 0
        for call in self.program.calls:
            name = call.kernel if call.kernel in divided else f"call_{call.kernel}"
            yield f"    {{{name}, {first}, {call.items if call.kernel in divided else 1}}},"
            first += len(call.arguments)


def _prototype(kernel: Kernel) -> str:
    if kernel.divided:
        return f"void {kernel.name}(void *const *p, void *scratch, long begin, long end);"
    return f"void {kernel.name}({', '.join(_pointers(kernel)) or 'void'});"


def _wrapper(kernel: Kernel) -> str:
    """A function with pointers of its own as one with pointers in an array."""
    given = ", ".join(f"p[{index}]" for index in range(len(kernel.parameters)))
    return f"""\
static void call_{kernel.name}(void *const *p, void *scratch, long begin, long end) {{
    (void)p, (void)scratch, (void)begin, (void)end;
    {kernel.name}({given});
}}
"""


def _pointers(kernel: Kernel) -> Sequence[str]:
    return [f"{'const ' * const}{ctype} *" for ctype, const in kernel.parameters]


def aligned(size: int) -> int:
    """Bytes with what the next value's alignment adds."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def elements(buffer: Buffer) -> int:
    """How many numbers a buffer holds."""
    return buffer.nbytes // buffer.dtype.itemsize


def _comment(call: Call) -> str:
    parts = [call.layer or call.kernel, *([f"{call.macs:,} MACs"] if call.macs else []), call.schedule]
    return _plain(", ".join(parts))


def _plain(name: str) -> str:
    """A name that can stand in a comment, or between quotes."""
    kept = "".join(char if char.isprintable() and char not in '\\"%' else "?" for char in name)
    return kept.replace("*/", "* /").replace("/*", "/ *")
