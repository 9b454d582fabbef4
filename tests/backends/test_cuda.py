"""`cuda` from a graph to an artifact on a machine without a GPU: what the library holds, and what is said where it fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tvm", reason="pip install 'pruneir[tvm]'")

import tvm

from pruneir import backend
from pruneir.artifact import Artifact, read_manifest
from pruneir.backends.cuda import elf, fatbin, toolchain
from pruneir.backends.cuda.archs import ARCHS
from pruneir.backends.cuda.artifact import timed
from pruneir.backends.cuda.backend import Cuda
from pruneir.backends.cuda.machine import Machine
from pruneir.backends.lowering.importing import fused
from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io.evaluate import evaluate
from pruneir.targets import Target
from pruneir.verify.feeds import random_feeds
from support import classics

pytestmark = pytest.mark.tvm


def has_nvcc() -> bool:
    try:
        toolchain.nvcc()
    except PruneirError:
        return False
    return True


built = pytest.mark.skipif(not has_nvcc(), reason=f"no nvcc; {toolchain.NVCC}")
gpu = tvm.cuda(0).exist

SMALL = (
    "x[1,3,16,16], r[1,8,8,8] -> y, z { a = Conv(x, w1[8,3,3,3], b[8], pads=[1,1,1,1], strides=[2,2]); s = Add(a, r);"
    " z = Relu(s); d = Conv(z, w2[8,1,3,3], group=8); p = GlobalAveragePool(d); f = Flatten(p); h = Gemm(f, w3[8,5]);"
    " y = Softmax(h) }"
)


def compiled(graph: Graph, target: str, folder: Path, **options: bool) -> Artifact:
    folder.mkdir()
    found: Artifact = Cuda(**options).compile(graph, Target(target), folder, progress=lambda text, share: None)
    return found


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network for sm_80."""
    return compiled(parse(SMALL), "cuda-sm80", tmp_path_factory.mktemp("cuda") / "out")


def test_it_is_found_by_its_targets() -> None:
    for name in ARCHS:
        kind, target = backend.backend_for(name)
        assert kind is Cuda
        assert target.name == name


@built
def test_the_library_holds_machine_code_and_no_source(artifact: Artifact) -> None:
    content = (artifact.folder / "model.so").read_bytes()
    assert content.startswith(elf.MAGIC)
    assert not re.search(rb"__global__|__launch_bounds__|#include|\.visible \.entry", content)
    (image,) = fatbin.images(content)
    assert (image.arch, image.ptx) == (80, False)
    kernels = {kernel.name: kernel for kernel in fatbin.kernels(image.data)}
    assert all(kernel.text > 0 for kernel in kernels.values())
    assert {name.removesuffix("_kernel") for name in kernels} == {
        layer["kernel"] for layer in artifact.manifest.details["layers"]
    }


@built
def test_what_ptxas_says_is_what_the_library_holds(artifact: Artifact) -> None:
    (image,) = fatbin.images((artifact.folder / "model.so").read_bytes())
    said = {name: each["sm_80"] for name, each in artifact.manifest.details["kernels"].items()}
    held = {kernel.name: (kernel.registers, kernel.shared) for kernel in fatbin.kernels(image.data)}
    assert {name: (each["registers"], each["shared"]) for name, each in said.items()} == held
    assert all(8 <= registers <= 255 for registers, _ in held.values())
    assert any(shared for _, shared in held.values())
    assert not any(each["spilled"] for each in said.values())


@built
def test_the_manifest_tells_inputs_layers_and_schedules(artifact: Artifact) -> None:
    manifest = read_manifest(artifact.folder)
    assert [str(port) for port in manifest.inputs] == ["x[1,3,16,16] float32", "r[1,8,8,8] float32"]
    assert [str(port) for port in manifest.outputs] == ["y[1,5] float32", "z[1,8,8,8] float32"]
    layers = {layer["name"]: layer for layer in manifest.details["layers"]}
    assert layers["a"]["macs"] == 8 * 8 * 8 * 3 * 9
    assert layers["a"]["schedule"].startswith("implicit-gemm")
    assert layers["d"]["schedule"] == "window"
    assert manifest.sizes.flash is not None
    assert manifest.sizes.flash.total == (artifact.folder / "model.so").stat().st_size


@built
@pytest.mark.slow
def test_one_library_for_several_machines(tmp_path: Path) -> None:
    found = compiled(parse("x[1,3,8,8] -> y { y = Conv(x, w[4,3,3,3]) }"), "cuda", tmp_path / "out")
    images = fatbin.images((found.folder / "model.so").read_bytes())
    assert {(each.arch, each.ptx) for each in images} == {
        (80, False),
        (86, False),
        (89, False),
        (90, False),
        (90, True),
    }


@built
@pytest.mark.slow
def test_fast_math_is_only_used_where_asked_for(tmp_path: Path) -> None:
    graph = parse("x[1,64] -> y { e = Exp(x); y = Div(x, e) }")
    exact, fast = (compiled(graph, "cuda-sm80", tmp_path / str(f), fast_math=f) for f in (False, True))

    def code(found: Artifact) -> int:
        return int(found.manifest.details["code"]["sm_80"])

    assert code(fast) < code(exact)
    assert fast.manifest.details["fast_math"]


@built
def test_a_build_leaves_this_process_as_it_was(artifact: Artifact) -> None:
    assert artifact.manifest.details["layers"]
    assert tvm.cuda(0).exist == gpu
    assert "pruneir-" not in os.environ.get("LD_LIBRARY_PATH", "")
    assert not any(path.name.startswith("libcuda") for path in artifact.folder.iterdir())


@built
@pytest.mark.skipif(gpu, reason="there is a GPU")
def test_without_a_gpu_it_says_so(artifact: Artifact) -> None:
    feeds = random_feeds(parse(SMALL))
    for use in (artifact, artifact.profile):
        with pytest.raises(PruneirError, match="no CUDA device here; .*driver"):
            use(feeds)


@built
@pytest.mark.skipif(not gpu, reason="no GPU")
def test_on_a_gpu_it_computes_what_onnx_runtime_does(artifact: Artifact) -> None:
    graph = parse(SMALL)
    feeds = random_feeds(graph)
    for name, wanted in next(iter(evaluate(graph, graph.outputs, [feeds]))).items():
        np.testing.assert_allclose(artifact(feeds)[name], wanted, atol=1e-5)
    assert artifact.profile(feeds).ms


def truncated(folder: Path) -> None:
    path = folder / "model.so"
    path.write_bytes(path.read_bytes()[:-100])


def foreign(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "target": "cuda-sm20"}))


BROKEN: dict[str, tuple[Callable[[Path], None], str]] = {
    "library gone": (lambda folder: (folder / "model.so").unlink(), "model.so: is missing"),
    "library cut off": (truncated, "not what was compiled"),
    "another GPU": (foreign, "for no GPU that this version knows"),
}


@built
@pytest.mark.parametrize(("damage", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_artifact_is_refused(
    artifact: Artifact, damage: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(artifact.folder, tmp_path / "copy"))
    damage(folder)
    with pytest.raises(PruneirError, match=said):
        backend.load_artifact(folder)


def test_a_library_of_source_is_refused() -> None:
    with pytest.raises(PruneirError, match="holds source"):
        fatbin.require_machine_code(b'\0extern "C" __global__ void k(float *x) {}\0', (80,))
    with pytest.raises(PruneirError, match="no machine code for sm_80"):
        fatbin.require_machine_code(elf.MAGIC + bytes(4000), (80,))


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda *arguments, **options: None)
    with pytest.raises(PruneirError, match="nvcc is neither on PATH .*; install"):
        compiled(parse("x[1,4] -> y { y = Relu(x) }"), "cuda-sm80", tmp_path / "out")


@built
def test_a_network_that_cannot_be_compiled_is_told_in_one_line(tmp_path: Path) -> None:
    graph = parse("x[1,4] -> y { y = QuantizeLinear(x, 0.1, 0:u8) }")
    with pytest.raises(PruneirError, match="quantized networks are not compiled") as caught:
        compiled(graph, "cuda-sm80", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_build_that_breaks_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = "Traceback (most recent call last):\n  in lowered\nTypeError: of no type\n[01:02] Warning: blocks remain\n"
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(toolchain, "nvcc", lambda: "nvcc")
    monkeypatch.setattr(toolchain, "environment", lambda place: {})
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(PruneirError, match="^CUDA: the build failed: TypeError: of no type$"):
        compiled(parse("x[1,4] -> y { y = Relu(x) }"), "cuda-sm80", tmp_path / "out")


RUNS_ON = [
    ("cuda-sm80", 80, True),
    ("cuda-sm80", 86, True),
    ("cuda-sm80", 90, False),
    ("cuda-sm90", 80, False),
    ("cuda-sm86", 80, False),
    ("cuda", 75, False),
    ("cuda", 87, True),
    ("cuda", 120, True),
]


@pytest.mark.parametrize(("target", "capability", "wanted"), RUNS_ON)
def test_which_gpus_a_library_runs_on(target: str, capability: int, wanted: bool) -> None:
    assert ARCHS[target].runs_on(capability) is wanted


# What runs on a GPU, on the CPU's own library


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """The small network in a library for the CPU."""
    path = tmp_path_factory.mktemp("cpu") / "model.so"
    host = tvm.target.Target("llvm")
    tvm.compile(fused(parse(SMALL), host), host).export_library(str(path))
    return Machine(path, tvm.cpu())


def test_a_machine_runs_and_times(machine: Machine) -> None:
    graph = parse(SMALL)
    feeds = random_feeds(graph)
    inputs = [feeds[name] for name in graph.data_inputs]
    wanted = next(iter(evaluate(graph, graph.outputs, [feeds])))
    for array, name in zip(machine.run(inputs), graph.outputs, strict=True):
        np.testing.assert_allclose(array, wanted[name], atol=1e-5)
    assert machine.ms(inputs) > 0
    calls = machine.kernel_ms(inputs)
    kernels = [name for name, _ in calls if "conv2d" in name or "softmax" in name]
    assert len(kernels) == 3
    steps = [{"name": name, "kernel": name, "macs": 1, "schedule": "window"} for name in kernels]
    layers = list(timed(steps, calls))
    assert [layer.kernel for layer in layers] == kernels
    assert all(layer.ms is not None and layer.ms > 0 for layer in layers)


@built
@pytest.mark.skipif(shutil.which("g++") is None, reason="apt install g++")
def test_the_example_runs_without_python(artifact: Artifact, machine: Machine, tmp_path: Path) -> None:
    shutil.copy(artifact.folder / "example.cpp", tmp_path)
    shutil.copy(machine.library, tmp_path / "model.so")
    (command,) = re.findall(r"g\+\+ (?:.*\\\n)*.*", (artifact.folder / "README.md").read_text())
    for word in ("-Wl,--no-as-needed", "-ltvm_runtime_cuda", "-lcuda"):  # which need a driver
        assert word in command
        command = command.replace(word, "")
    wheels = Path(tvm.__file__).parents[1]
    environment = {**os.environ, "P": str(wheels)}
    subprocess.run(["bash", "-c", f"{command} -DDEVICE=kDLCPU"], cwd=tmp_path, env=environment, check=True)
    said = subprocess.run(["./example"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    graph = parse(SMALL)
    zeros = {name: np.zeros_like(array) for name, array in random_feeds(graph).items()}
    first = float(next(iter(evaluate(graph, ["y"], [zeros])))["y"].flat[0])
    count, number = re.fullmatch(r"(\d+) numbers, the first (\S+)\n", said).groups()  # type: ignore[union-attr]
    assert int(count) == 5
    assert float(number) == pytest.approx(first, rel=1e-4)


CLASSICS = [classics.resnet18, classics.mobilenet_v2, classics.ssd300_heads]


@built
@pytest.mark.slow
@pytest.mark.parametrize("target", ["cuda-sm80", "cuda-sm90"])
@pytest.mark.parametrize("network", CLASSICS, ids=lambda network: network.__name__)
def test_networks_become_machine_code(network: Callable[[], Graph], target: str, tmp_path: Path) -> None:
    made = Compiler.of(target).compile(network(), tmp_path / "out").artifact
    content = (made.folder / "model.so").read_bytes()
    (image,) = fatbin.images(content)
    assert (image.arch, image.ptx) == (ARCHS[target].least, False)
    assert b"__global__" not in content
    details = made.manifest.details
    assert {kernel.name for kernel in fatbin.kernels(image.data)} == {*details["kernels"]}
    assert not any(each["spilled"] for kernel in details["kernels"].values() for each in kernel.values())
    linear = [layer for layer in details["layers"] if layer["macs"] > 1_000_000]
    assert len(linear) > 10
    assert all(layer["schedule"].startswith(("implicit-gemm", "window", "dlight reduction")) for layer in linear)
