"""Cycles of an x86 kernel on a processor that need not be here: the larger of what two models of its core say.

compute  llvm-mca's, of windows of the trace: ports, latencies, registers. It takes each load as a hit in the first
         level of cache, each branch as predicted, and code as decoded
traffic  lines that a first-level cache of the processor's size does not hold, at the bytes a cycle that its second
         level is documented to give. The kernel has run once before; what the second level does not hold either, and
         what neighbouring accesses wait for, is not in it
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.x86_traces import Trace

from pruneir.backends.x86.cpu import AVX2, AVX512, X86Cpu

_LINE = 64
_CACHE = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Accesses that a least-recently-used cache misses, in the second of two runs. */
long misses(const uint64_t *address, long count, long sets, long ways) {
    uint64_t *lines = calloc((size_t)(sets * ways), sizeof *lines);
    long found = 0;
    for (long k = 0; k < 2 * count; k++) {
        const uint64_t line = address[k % count] / 64;
        uint64_t *set = lines + line % (uint64_t)sets * (uint64_t)ways;
        long way = 0;
        while (way < ways - 1 && set[way] != line)
            way++;
        found += k >= count && set[way] != line;
        memmove(set + 1, set, (size_t)way * sizeof *set);
        set[0] = line;
    }
    free(lines);
    return found;
}
"""


@dataclass(frozen=True)
class Processor:
    """A core.

    model  what llvm-mca calls it
    code   the code that it runs
    l1     bytes of its first level of cache, for data
    ways   places that a line may have in it
    l2     bytes a cycle that its second level gives
    """

    model: str
    code: X86Cpu
    l1: int
    ways: int
    l2: int

    def cycles(self, trace: Trace, mca: str) -> float:
        """Of a kernel; `mca` is the program. ValueError if that does not know the processor."""
        return max(self._computing(trace, mca), self.missed(trace) * _LINE / self.l2)

    def _computing(self, trace: Trace, mca: str) -> float:
        windows = trace.windows()
        text = "".join(
            "\n".join([f"# LLVM-MCA-BEGIN {number}", *filter(_modelled, lines), "# LLVM-MCA-END", ""])
            for number, lines in enumerate(windows)
        )
        views = ("-instruction-info=0", "-resource-pressure=0")
        command = [mca, "-mtriple=x86_64-linux-gnu", f"-mcpu={self.model}", "-iterations=1", *views]
        ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise ValueError(f"{mca}: {ran.stderr.partition(chr(10))[0]}")
        taken = [int(each) for each in re.findall(r"^Total Cycles:\s+(\d+)", ran.stdout, re.M)]
        assert len(taken) == len(windows)
        return sum(taken) * trace.instructions / sum(map(len, windows))

    def missed(self, trace: Trace) -> int:
        """Accesses to what its first level of cache does not hold, in a second run."""
        given = trace.addresses
        return int(_misses()(ctypes.c_void_p(given.ctypes.data), len(given), self.l1 // (_LINE * self.ways), self.ways))


# Bandwidths: Intel 64 and IA-32 Architectures Optimization Reference Manual, Skylake Server, "sustained"; AMD's of 32
# bytes a cycle.
PROCESSORS = {
    "Zen 3": Processor("znver3", AVX2, 32 << 10, 8, 32),
    "Skylake-SP": Processor("skylake-avx512", AVX512, 32 << 10, 8, 52),
    "Zen 4": Processor("znver4", AVX512, 32 << 10, 8, 32),
}


def _modelled(line: str) -> bool:
    """Whether llvm-mca knows what an instruction takes; a call of memset or a return it does not."""
    return not line.startswith(("call", "ret", "rep"))


@cache
def _misses() -> ctypes._CFuncPtr:  # type: ignore[name-defined]
    with TemporaryDirectory() as folder:
        Path(folder, "cache.c").write_text(_CACHE)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "cache.c", "-o", "cache.so"], cwd=folder, check=True)
        code = ctypes.CDLL(str(Path(folder, "cache.so")))
    code.misses.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_long, ctypes.c_long]
    code.misses.restype = ctypes.c_long
    return code.misses
