"""The CUDA backend: machine code for NVIDIA GPUs, built where there is none."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pruneir.artifact import Artifact, Flash, Footprint, Manifest, Port, read_manifest
from pruneir.backend import Backend
from pruneir.backends.cuda import toolchain
from pruneir.backends.cuda.archs import ARCHS
from pruneir.backends.cuda.artifact import LIBRARY, CudaArtifact
from pruneir.errors import PruneirError
from pruneir.graph import Graph
from pruneir.onnx_io import save
from pruneir.progress import Progress
from pruneir.targets import Target

_CODES = {"f": "kDLFloat", "i": "kDLInt", "u": "kDLUInt", "b": "kDLBool"}


@dataclass(frozen=True)
class Cuda(Backend):
    """One shared library with kernels as machine code, run by TVM's virtual machine.

    fast_math  let nvcc replace divisions, roots and exponentials by approximate ones
    """

    name: ClassVar[str] = "cuda"
    targets: ClassVar[tuple[str, ...]] = tuple(ARCHS)

    fast_math: bool = False

    def compile(self, graph: Graph, target: Target, folder: Path, *, progress: Progress) -> Artifact:
        """Build the library in a process of its own, and read from it what it holds.

        PruneirError for an operator or type that has no kernel, a missing compiler, and a library without machine code.
        """
        if find_spec("tvm") is None:
            raise PruneirError("CUDA: TVM is not installed; pip install 'pruneir[tvm]'")
        toolchain.nvcc()
        progress("compile", 0.0)
        with tempfile.TemporaryDirectory(prefix="pruneir-") as name:
            place = Path(name)
            report = self._built(graph, target, place)
            progress("write", 0.9)
            (folder / LIBRARY).write_bytes((place / LIBRARY).read_bytes())
        (folder / LIBRARY).chmod(0o755)
        inputs, outputs = _ports(graph.data_inputs, report["inputs"]), _ports(graph.outputs, report["outputs"])
        versions = {"pruneir": version("pruneir"), "tvm": version("apache-tvm"), "nvcc": report["nvcc"]}
        manifest = Manifest(
            self.name,
            target.name,
            inputs,
            outputs,
            _sizes(report["code"], (folder / LIBRARY).stat().st_size),
            versions,
            {
                "layers": report["steps"],
                "kernels": report["kernels"],
                "code": report["code"],
                "fast_math": self.fast_math,
                "files": {LIBRARY: _digest(folder / LIBRARY)},
            },
        )
        _write_example(folder, manifest)
        manifest.write(folder)
        return self.open(folder)

    def open(self, folder: Path) -> Artifact:
        """An artifact of this backend. PruneirError for one that is incomplete or changed."""
        manifest = read_manifest(folder)
        if manifest.target not in ARCHS or not {"layers", "kernels", "files"} <= manifest.details.keys():
            raise PruneirError(f"{folder}/manifest.json: is for no GPU that this version knows; compile it again")
        library = folder / LIBRARY
        if not library.is_file() or _digest(library) != manifest.details["files"].get(LIBRARY):
            raise PruneirError(f"{library}: is missing or not what was compiled; compile it again")
        artifact: Artifact = CudaArtifact(folder, manifest)
        return artifact

    def _built(self, graph: Graph, target: Target, place: Path) -> dict[str, Any]:
        """The report of the build, whose library is then in `place`."""
        save(graph, place / "network.onnx")
        command = [sys.executable, "-m", "pruneir.backends.cuda.build", str(place / "network.onnx"), str(place)]
        command += [target.name, str(int(self.fast_math))]
        environment = toolchain.environment(place)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == 2 and done.stdout.strip():
            raise PruneirError(done.stdout.strip().splitlines()[-1])
        if done.returncode:
            lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
            named = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line)]  # TVM may go on and warn
            raise PruneirError(f"CUDA: the build failed: {[*lines, *named][-1]}")
        report: dict[str, Any] = json.loads((place / "build.json").read_text(encoding="utf-8"))
        return report


def _ports(names: list[str], found: list[dict[str, Any]]) -> tuple[Port, ...]:
    return tuple(Port(name, each["dtype"], tuple(each["shape"])) for name, each in zip(names, found, strict=True))


def _sizes(code: Mapping[str, int], library: int) -> Footprint:
    """Machine code of all architectures, and the rest of the library, which is the weights but for some KiB."""
    text = sum(code.values())
    return Footprint(Flash(text=text, rodata=library - text))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_example(folder: Path, manifest: Manifest) -> None:
    """The C++ program, and how to build it."""
    kinds = [np.dtype(port.dtype) for port in manifest.inputs]
    words = {
        "SHAPES": ", ".join("{" + ", ".join(map(str, port.shape)) + "}" for port in manifest.inputs),
        "TYPES": ", ".join(f"{{{_CODES[kind.kind]}, {8 * kind.itemsize}, 1}}" for kind in kinds),
        "FIRST": ", 0" if len(manifest.outputs) > 1 else "",
        "TARGET": manifest.target,
        "ARCHS": ", ".join(manifest.details["code"]),
        "VERSIONS": f"apache-tvm {manifest.versions['tvm']}",
    }
    for path in files("pruneir.backends.cuda").joinpath("runtime").iterdir():
        text = path.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (folder / path.name).write_text(text, encoding="utf-8")
