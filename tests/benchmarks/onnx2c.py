"""Networks as firmware, by onnx2c and by us: the same graph, compiler, flags, start-up code and counter.

    python tests/benchmarks/onnx2c.py ONNX2C [--targets cortex-m4 cortex-m7] [--networks FILE …]
        [--default-schedules]

ONNX2C is the program that https://github.com/kraiskil/onnx2c builds (`git clone --recursive`, protobuf's compiler and
headers, cmake); none of it is kept here. It gets the graph that our backend gets, at a batch of one with constants and
BatchNorms folded, and its C stands in the same project in place of our kernels. `--default-schedules` also compares with
ourselves without register tiles: TVM's schedules as they are, from C by gcc and by TVM's LLVM. Without ONNX2C only that
is compared.

Instructions are those of one inference in QEMU; no time. RAM is the arena and static variables; both leave inputs and
outputs to the caller, and the stack stands beside it. Exit code 1 where outputs differ from ONNX Runtime's, where onnx2c
takes less than 4 times our instructions, or less RAM, and where nothing could be compared.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import tvm

from pruneir.artifact import Port
from pruneir.backends.cortex_m import choose, lower, project, toolchain
from pruneir.backends.cortex_m.cpus import Cpu, cpu
from pruneir.backends.cortex_m.lower import lowered
from pruneir.backends.cortex_m.qemu import Firmware
from pruneir.backends.lowering.arena import place
from pruneir.backends.lowering.program import Buffer, Call, Kernel, Program
from pruneir.backends.lowering.walk import Lowering
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.deployment.compiling import Compiler
from pruneir.deployment.parity import TOLERANCE
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import load, save
from pruneir.onnx_io.evaluate import evaluate
from pruneir.shapes import infer, with_input_shapes
from pruneir.verify.feeds import random_feeds

MODELS = Path(__file__).parents[2] / "models"
NETWORKS = (
    "mnist_conv_cntk.onnx",
    "mnist_resnet/mnist_resnet_plain.onnx",
    "mnist_mobilenet_se/mnist_mobilenet_se_s0.onnx",
    "mnist_vgg/mnist_vgg_s0.onnx",
    "wdcnn/wdcnn_s0.onnx",
    "ppocr_mobile_v2_cls.onnx",
)
SHAPES = {"ppocr_mobile_v2_cls.onnx": {"x": (1, 3, 48, 192)}}
"""Of inputs whose file leaves them open."""
SAMPLES = 2
FEWER = 4.0
"""Times fewer instructions than onnx2c's: the bar."""

Writer = Callable[[Graph, Cpu], Program]


@dataclass(frozen=True)
class Onnx2c:
    """The C of onnx2c, as a program of one call."""

    binary: Path

    def __call__(self, graph: Graph, processor: Cpu) -> Program:
        """PruneirError for a network that it does not compile."""
        del processor
        with tempfile.TemporaryDirectory(prefix="pruneir-") as folder:
            path = Path(folder) / "network.onnx"
            save(graph, path)
            done = subprocess.run([self.binary, path], capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
            raise PruneirError(f"onnx2c: {said[-1]}")
        shapes = infer(graph)
        inputs, outputs = (
            tuple(Buffer(name, np.dtype(np.float32), shapes.shape(name) or ()) for name in names)
            for names in (graph.data_inputs, graph.outputs)
        )
        reads, writes = tuple(graph.data_inputs), tuple(graph.outputs)
        pointers = (*[("float", True)] * len(reads), *[("float", False)] * len(writes))
        return Program(
            inputs=inputs,
            outputs=outputs,
            constants=(),
            temporaries=(),
            calls=(Call("entry", (*reads, *writes), reads, writes),),
            kernels=(Kernel("entry", pointers),),
            sources={"onnx2c.c": done.stdout},
        )


def untiled(graph: Graph, processor: Cpu) -> Program:
    """Our program, every function on the schedule that TVM gives it."""
    with patch.object(choose, "best", return_value=None):
        return lowered(graph, processor)


def untiled_by_llvm(graph: Graph, processor: Cpu) -> Program:
    """The same as assembly of TVM's LLVM, without what only debuggers and unwinding read."""
    machine = "thumbv8.1m.main-none-eabihf" if processor.mve else "thumbv7em-none-eabihf"
    kind = {"kind": "llvm", "mtriple": machine, "mcpu": processor.name, "mfloat-abi": "hard", "opt-level": 3}
    target = tvm.target.Target(kind)

    def sources(lowering: Lowering) -> dict[str, str]:
        bodies = [lowering.functions[name].function for name in lowering.functions]
        module = tvm.IRModule({str(f.attrs["global_symbol"]): f.with_attr("target", target) for f in bodies})
        module = tvm.tirx.transform.LowerIntrin()(module)
        text = tvm.get_global_func("target.build.llvm")(module, target).inspect_source("asm")
        return {"kernels.s": _UNREAD.sub("", text.partition("\t.section\t.debug")[0])}

    with patch.object(lower._Lowering, "sources", sources):
        return untiled(graph, processor)


_UNREAD = re.compile(
    r"^\t\.(file|loc|cpu|cfi\w*|fnstart|fnend|save|setfp|pad|cantunwind|personality|handlerdata)\b.*\n", re.M
)


@dataclass(frozen=True)
class Figures:
    """What a firmware takes: instructions of one run, bytes; and how far its outputs are, by their largest."""

    instructions: int
    ram: int
    stack: int
    flash: int
    error: float
    right: bool


def measured(program: Program, network: Graph, processor: Cpu, feeds: Sequence[Mapping[str, np.ndarray]]) -> Figures:
    """Build a program with our runtime, run it, and compare it with the network that it was made of."""
    arena = place(program)
    with tempfile.TemporaryDirectory(prefix="pruneir-") as name:
        folder = Path(name)
        project.write(folder, program, arena, processor)
        toolchain.build(folder)
        elf = folder / toolchain.BUILT / "model.elf"
        sizes = toolchain.sections(elf)
        inputs, outputs = (
            tuple(Port(each.name, each.dtype.name, each.shape) for each in side)
            for side in (program.inputs, program.outputs)
        )
        run = Firmware(elf, processor, inputs, outputs).run(feeds)
    pairs = [
        (found[name], wanted[name])
        for found, wanted in zip(run.outputs, evaluate(network, network.outputs, feeds), strict=True)
        for name in network.outputs
    ]
    apart = [(float(np.abs(a - b).max()), float(np.abs(b).max())) for a, b in pairs]
    return Figures(
        instructions=run.instructions,
        ram=arena.size + sizes.variables,
        stack=run.stack,
        flash=sizes.flash.total,
        error=max(difference / scale for difference, scale in apart),
        right=all(TOLERANCE.allows(difference, scale) for difference, scale in apart),
    )


def row(model: str, target: str, macs: int, against: str, their: Figures, our: Figures) -> str:
    """One comparison, as a line of the table."""

    def work(figures: Figures) -> str:
        return f"{figures.instructions:,} ({figures.instructions / macs:.2f})"

    cells = [model, target, f"{macs:,}", against, work(their), work(our)]
    cells.append(f"{their.instructions / our.instructions:.2f}×")
    cells += [f"{each.ram:,} + {each.stack:,}" for each in (their, our)]
    cells += [f"{each.flash:,}" for each in (their, our)]
    cells.append(f"{their.error:.0e}, {our.error:.0e}")
    return f"| {' | '.join(cells)} |"


def missed(against: str, their: Figures, our: Figures) -> list[str]:
    """The bars that a comparison does not reach."""
    found = [f"{who} outputs are wrong" for who, each in ((against, their), ("our", our)) if not each.right]
    if against == "onnx2c":
        fewer = their.instructions / our.instructions
        found += [f"{fewer:.2f}× fewer instructions, not {FEWER:g}×"] if fewer < FEWER else []
        found += [f"RAM of {our.ram:,} bytes, not {their.ram:,}"] if our.ram > their.ram else []
    return found


def main() -> int:
    """Print the table, and what misses the bars."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("onnx2c", nargs="?", type=Path)
    parser.add_argument("--targets", nargs="+", default=["cortex-m4", "cortex-m7"])
    parser.add_argument("--networks", nargs="+", type=Path, default=[MODELS / name for name in NETWORKS])
    parser.add_argument("--default-schedules", action="store_true")
    options = parser.parse_args()
    if options.onnx2c and not options.onnx2c.is_file():
        parser.error(f"{options.onnx2c} is no program")
    peers: dict[str, Writer] = {"onnx2c": Onnx2c(options.onnx2c.resolve())} if options.onnx2c else {}
    if options.default_schedules or not peers:
        peers |= {"default schedules": untiled, "default schedules, LLVM": untiled_by_llvm}
    print("| network | processor | MACs | against | instructions (per MAC) | ours (per MAC) | fewer", end="")
    print(" | RAM + stack | ours | flash | ours | max error, ours |\n|---|---|--:|---|--:|--:|--:|--:|--:|--:|--:|---|")
    notes, compared = [], 0
    for path in options.networks:
        network = with_input_shapes(load(path), SHAPES.get(path.name, {}))
        for target in options.targets:
            graph, processor = Compiler.of(target).prepared(network), cpu(target)
            macs = cost(couple(graph)).macs
            feeds = [random_feeds(graph, batch=1, seed=seed) for seed in range(SAMPLES)]
            our = measured(lowered(graph, processor), network, processor, feeds)
            for against, write in peers.items():
                try:
                    their = measured(write(graph, processor), network, processor, feeds)
                except PruneirError as error:
                    notes.append(f"{path.stem}, {target}, {against}: not compared: {error}")
                    continue
                print(row(path.stem, target, macs, against, their, our), flush=True)
                compared += 1
                notes += [f"{path.stem}, {target}, {against}: missed: {why}" for why in missed(against, their, our)]
    print("", *notes, sep="\n")
    return int(not compared or any(": missed: " in note for note in notes))


if __name__ == "__main__":
    sys.exit(main())
