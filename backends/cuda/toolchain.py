"""What the build needs from outside: nvcc, CUDA's runtime, and in place of a missing driver one that only loads."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pruneir.backends.cuda import elf
from pruneir.errors import PruneirError

DRIVER = "libcuda.so.1"
NVCC = "install CUDA's compiler, such as `apt install nvidia-cuda-toolkit` or developer.nvidia.com/cuda-downloads"
_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for 'sm_(?P<arch>\d+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers"
    r"(?P<rest>[^\n]*)",
    re.DOTALL,
)


def nvcc() -> str:
    """The path of nvcc. PruneirError where there is none."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    places = [f"{home}/bin" for home in (*homes, "/usr/local/cuda") if home]
    found = shutil.which("nvcc") or shutil.which("nvcc", path=os.pathsep.join(places))
    if found is None:
        raise PruneirError(f"CUDA: nvcc is neither on PATH nor in /usr/local/cuda; {NVCC}")
    return found


def version() -> str:
    """Of nvcc, such as 13.0."""
    told = subprocess.run([nvcc(), "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"release (\S+?),", told)
    return found[1] if found else "unknown"


def compiled(source: str, flags: list[str], folder: Path, *, fast_math: bool) -> tuple[bytes, str]:
    """A fat binary of CUDA source, and what ptxas says of each kernel. PruneirError where nvcc refuses.

    Images are not compressed, so that they can be read again.
    """
    code, made = folder / "kernels.cu", folder / "kernels.fatbin"
    code.write_text(source, encoding="utf-8")
    math = ["--use_fast_math"] if fast_math else ["--fmad=true"]
    command = [nvcc(), "--fatbin", "-O3", "-std=c++17", *flags, *math, "--no-compress", "--threads", "0", "-w"]
    command += ["-Xptxas", "-v", "-o", str(made), str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line or "fatal" in line]
        raise PruneirError(f"CUDA: nvcc refuses the kernels: {(lines or ['no message'])[0].strip()}")
    return made.read_bytes(), done.stderr


def resources(told: str) -> dict[str, dict[str, dict[str, int]]]:
    """By kernel and `sm_NN`, from ptxas: registers of a thread, bytes of shared memory, bytes spilled."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for entry in _ENTRY.finditer(told):
        shared = re.search(r"(\d+) bytes smem", entry["rest"])
        found.setdefault(entry["name"], {})[f"sm_{entry['arch']}"] = {
            "registers": int(entry["registers"]),
            "shared": int(shared[1]) if shared else 0,
            "spilled": int(entry["stores"]) + int(entry["loads"]),
        }
    return found


def environment(folder: Path) -> dict[str, str]:
    """The environment of a process whose TVM can build for CUDA; `folder` takes the driver, where there is none."""
    added = [str(path) for path in _runtimes()]
    if not _loads(DRIVER):
        _write_driver(folder)
        added.append(str(folder))
    known = os.environ.get("LD_LIBRARY_PATH")
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join([*added, *([known] if known else [])])}


def _runtimes() -> Iterator[Path]:
    """Folders that may hold libcudart: those of the toolkit and of NVIDIA's wheels."""
    home = Path(nvcc()).resolve().parents[1]
    wheels = [Path(path) / "nvidia" for path in sys.path if (Path(path) / "nvidia").is_dir()]
    for place in (home / "lib64", home / "lib", *(each for path in wheels for each in sorted(path.glob("*/lib")))):
        if any(place.glob("libcudart.so.*")):
            yield place


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _write_driver(folder: Path) -> None:
    """A libcuda whose every function fails with 100, "no device"; TVM's CUDA part needs one to load, not to build."""
    spec = find_spec("tvm")
    if spec is None or spec.origin is None:
        raise PruneirError("CUDA: TVM is not installed; pip install 'pruneir[tvm]'")
    plugin = Path(spec.origin).parent / "lib" / "libtvm_runtime_cuda.so"
    if not plugin.is_file():
        raise PruneirError("CUDA: this TVM is built without CUDA; pip install 'pruneir[tvm]'")
    names = [name for name in elf.undefined(plugin.read_bytes()) if re.fullmatch(r"cu[A-Z]\w*", name)]
    source = folder / "driver.c"
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in names), encoding="utf-8")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise PruneirError("CUDA: there is no C compiler, which nvcc needs too; install one, such as `apt install gcc`")
    library = folder / DRIVER
    command = [compiler, "-shared", "-fPIC", f"-Wl,-soname,{DRIVER}", "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PruneirError(f"CUDA: {compiler} fails: {done.stderr.strip().splitlines()[-1]}")
