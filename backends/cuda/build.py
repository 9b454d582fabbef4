"""The build, in a process of its own: `python -m pruneir.backends.cuda.build NETWORK FOLDER TARGET FAST_MATH`.

TVM builds for CUDA only where it finds a driver, once, when it is imported. The process gets one that only loads, and
the caller's own TVM never sees it. It writes `model.so` and `build.json`; for a network that cannot be compiled it says
why in one line and ends with 2.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm import relax

from pruneir.backends.cuda import fatbin, toolchain
from pruneir.backends.cuda.archs import ARCHS, Archs
from pruneir.backends.cuda.lower import lowered, target_of
from pruneir.errors import PruneirError
from pruneir.onnx_io import load

LIBRARY, REPORT = "model.so", "build.json"


def main(network: Path, folder: Path, archs: Archs, *, fast_math: bool) -> None:
    """Write the library of a network, and what is known of it."""
    if tvm_ffi.get_global_func("ffi.Module.create.cuda", allow_missing=True) is None:
        raise PruneirError(
            "CUDA: TVM's CUDA part does not load: libcudart.so.13 is missing; install CUDA 13, or"
            " pip install 'nvidia-cuda-runtime==13.*'"
        )
    target = target_of(archs.least)
    made = lowered(load(network), target)
    told: list[str] = []
    tvm_ffi.register_global_func("tvm_callback_cuda_compile", _compiler(archs, told, fast_math), override=True)
    try:
        with target:
            built = tvm.compile(made.module, target, relax_pipeline=pipeline())
    except PruneirError:
        raise
    except Exception as error:  # the compiler raises many kinds
        raise PruneirError(f"CUDA: TVM cannot compile the network: {str(error).strip().splitlines()[0]}") from None
    built.export_library(str(folder / LIBRARY))
    images = fatbin.require_machine_code((folder / LIBRARY).read_bytes(), archs.machine)
    main_function = made.module["main"]
    report = {
        "steps": [asdict(step) for step in made.steps],
        "inputs": [_port(each.ty) for each in main_function.params],
        "outputs": [_port(each) for each in _tensors(main_function.ret_ty)],
        "kernels": toolchain.resources("\n".join(told)),
        "code": {("compute_" if each.ptx else "sm_") + str(each.arch): len(each.data) for each in images},
        "nvcc": toolchain.version(),
    }
    (folder / REPORT).write_text(json.dumps(report), encoding="utf-8")


def _compiler(archs: Archs, told: list[str], fast_math: bool) -> Callable[[str], bytes]:
    """What TVM calls with CUDA source."""

    def compile(source: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="pruneir-") as folder:
            binary, said = toolchain.compiled(source, archs.flags, Path(folder), fast_math=fast_math)
        told.append(said)
        return binary

    return compile


def pipeline() -> Any:
    """From calls of scheduled functions to a program of the virtual machine, its memory planned."""
    steps = relax.transform
    return tvm.transform.Sequential(
        [
            steps.RewriteDataflowReshape(),
            steps.ToNonDataflow(),
            steps.RemovePurityChecking(),
            steps.CallTIRRewrite(),
            steps.StaticPlanBlockMemory(),
            steps.LowerAllocTensor(),
            steps.KillAfterLastUse(),
            steps.LowerRuntimeBuiltin(),
            steps.ComputePrimValue(),
            steps.VMShapeLower(),
            steps.AttachGlobalSymbol(),
        ]
    )


def _tensors(kind: Any) -> list[Any]:
    return list(kind.fields) if hasattr(kind, "fields") else [kind]


def _port(kind: Any) -> dict[str, Any]:
    return {"dtype": str(kind.dtype), "shape": [int(size) for size in kind.shape]}


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), ARCHS[sys.argv[3]], fast_math=sys.argv[4] == "1")
    except PruneirError as error:
        print(error)
        sys.exit(2)
