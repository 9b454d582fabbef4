"""`cortex-m` from a graph to an artifact: what it predicts, what it builds, and what its firmware is made of."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from pruneir import backend
from pruneir.artifact import Artifact, Footprint, read_manifest
from pruneir.backends.cortex_m import toolchain
from pruneir.backends.cortex_m.backend import CortexM
from pruneir.backends.cortex_m.cpus import CPUS
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import load
from pruneir.onnx_io.evaluate import evaluate
from pruneir.targets import TARGETS
from pruneir.verify.feeds import random_feeds
from support.firmware import LIKE, built, dense, without_programs
from support.quick import only_quick

pytestmark = [pytest.mark.qemu, pytest.mark.tvm]

MODELS = Path(__file__).parents[2] / "models"
GRAPHS = {
    "convolutions": "x[1,3,12,12] -> y { a = Conv(x, w1[8,3,3,3]); r = Relu(a); b = Conv(r, w2[8,8,3,3]);"
    " p = GlobalAveragePool(b); f = Flatten(p); y = Gemm(f, w3[8,5]) }",
    "two inputs, two outputs": "a[1,8], b[1,8] -> s, p { s = Add(a, b); p = Mul(a, b) }",
    "exponentials": "x[1,16] -> y { h = Gemm(x, w1[16,12]); s = Sigmoid(h); e = Gemm(s, w2[12,6]); y = Softmax(e) }",
    "an output that is reshaped": "x[1,4,3,3] -> y { r = Relu(x); y = Flatten(r) }",
}


def compiled(graph: Graph, cpu: str, folder: Path) -> Artifact:
    folder.mkdir()
    found: Artifact = CortexM().compile(graph, TARGETS[cpu], folder, progress=lambda text, share: None)
    return found


def assert_equal(outputs: Mapping[str, np.ndarray], graph: Graph, feeds: Mapping[str, np.ndarray]) -> None:
    wanted = next(evaluate(graph, graph.outputs, [feeds]))
    assert [*outputs] == graph.outputs
    for name, array in wanted.items():
        assert np.abs(array).max() > 0
        np.testing.assert_allclose(outputs[name], array, atol=1e-5, rtol=1e-5)


def test_it_is_found_by_its_targets() -> None:
    for name in CPUS:
        kind, target = backend.backend_for(name)
        assert kind is CortexM
        assert target is TARGETS[name]


@pytest.mark.parametrize("text", GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("cpu", LIKE)
def test_firmware_computes_what_onnx_runtime_does(text: str, cpu: str, tmp_path: Path) -> None:
    graph = parse(text)
    artifact = compiled(graph, cpu, tmp_path / "out")
    feeds = [random_feeds(graph, batch=1, seed=seed) for seed in range(3)]
    for given, outputs in zip(feeds, artifact.run_all(feeds), strict=True):
        assert_equal(outputs, graph, given)
    assert_equal(artifact.run(feeds[0]), graph, feeds[0])


@pytest.mark.parametrize("cpu", only_quick(CPUS, "cortex-m0plus", "cortex-m4", "cortex-m55"))
def test_firmware_holds_nothing_of_a_runtime(cpu: str, tmp_path: Path) -> None:
    compiled(parse(GRAPHS["exponentials"]), cpu, tmp_path / "out")
    for name in ("model", "profile"):
        found = toolchain.symbols(tmp_path / "out" / "build" / f"{name}.elf")
        assert {"model_run", "model_arena", "reset"} <= {*found}
        assert toolchain.forbidden(found) == []


def test_what_is_forbidden_would_be_seen(tmp_path: Path) -> None:
    firmware = built(dense(), "cortex-m4", tmp_path)
    main = tmp_path / "main.c"
    wasteful = '#include <stdio.h>\n#include <stdlib.h>\nint main(void)\n{ printf("%p", malloc(9));'
    main.write_text(main.read_text().replace("int main(void)\n{", wasteful))
    with (tmp_path / "errno.c").open("a") as file:
        file.write("void *_sbrk(int n);\nvoid *_sbrk(int n) { return (void *)(long)n; }\n")
    with pytest.raises(PruneirError, match="undefined reference to `_"):
        toolchain.build(tmp_path)
    subprocess.run(
        [
            "make",
            "LDFLAGS=-nostartfiles -T link.ld --specs=nosys.specs -mcpu=cortex-m4 -mthumb"
            " -mfpu=fpv4-sp-d16 -mfloat-abi=hard",
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    assert {"malloc", "printf", "_sbrk"} <= {*toolchain.forbidden(toolchain.symbols(firmware.elf))}
    names = [
        "io_inputs",
        "k_freeze",
        "model_run",
        "TVMFuncCall",
        "__tvm_main__",
        "_malloc_r",
        "siprintf",
        "puts",
        "_sbrk",
    ]
    assert toolchain.forbidden(names) == sorted(names[3:])


NETWORKS = {
    "resnet": "mnist_resnet/mnist_resnet_s0.onnx",
    "vgg": "mnist_vgg/mnist_vgg_s0.onnx",
    "depthwise": "mnist_mobilenet_se/mnist_mobilenet_se_s0.onnx",
    "1-D": "wdcnn/wdcnn_s0.onnx",
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NETWORKS.values(), ids=NETWORKS)
def test_sizes_are_predicted(path: str, tmp_path: Path) -> None:
    """RAM to the byte but for the stack, which is measured; flash within 15 %."""
    from pruneir.deployment.compiling import Compiler

    graph = Compiler.of("cortex-m4").prepared(load(MODELS / path))
    predicted = CortexM().predict(graph, TARGETS["cortex-m4"])
    artifact = compiled(graph, "cortex-m4", tmp_path / "out")
    sizes = artifact.manifest.sizes
    sections = toolchain.sections(tmp_path / "out" / "build" / "model.elf")
    assert predicted.flash
    assert predicted.ram
    assert sizes.flash
    assert sizes.ram
    assert predicted.flash.total == pytest.approx(sizes.flash.total, rel=0.15)
    assert predicted.flash.rodata == pytest.approx(sizes.flash.rodata, abs=512)
    assert (predicted.ram.arena, predicted.ram.io) == (sizes.ram.arena, sizes.ram.io)
    assert sections.arena == sizes.ram.arena
    assert 0 <= sections.io - sizes.ram.io < 16 * len((*artifact.manifest.inputs, *artifact.manifest.outputs))
    assert sizes.ram.static == sections.variables <= 32
    assert sizes.flash == sections.flash


def test_sizes_add_up_to_the_file(tmp_path: Path) -> None:
    compiled(parse(GRAPHS["convolutions"]), "cortex-m4", tmp_path / "out")
    elf = tmp_path / "out" / "build" / "model.elf"
    sections = toolchain.sections(elf)
    text, data, _ = (
        int(each)
        for each in subprocess.run(["arm-none-eabi-size", str(elf)], capture_output=True, text=True, check=True)
        .stdout.split("\n")[1]
        .split()[:3]
    )
    assert sections.flash.total + sections.harness == text + data


def test_a_profile_has_every_step(tmp_path: Path) -> None:
    graph = parse(GRAPHS["convolutions"])
    artifact = compiled(graph, "cortex-m4", tmp_path / "out")
    profile = artifact.profile(random_feeds(graph, batch=1))
    assert profile.instructions is not None
    assert profile.ram is not None
    assert profile.macs == 8 * 3 * 9 * 100 + 8 * 8 * 9 * 64 + 8 * 5
    assert sum(layer.instructions or 0 for layer in profile.layers) == pytest.approx(profile.instructions, rel=0.01)
    assert all(layer.instructions for layer in profile.layers)
    assert profile.ram.stack
    assert profile.arena_lower_bound
    assert profile.ram.arena >= profile.arena_lower_bound
    assert profile.machine == "QEMU mps2-an386"
    assert profile.ms is None
    again = artifact.profile(random_feeds(graph, batch=1))
    assert again == profile, "counts repeat exactly"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m55", "cortex-m0plus"])
def test_the_same_network_gives_the_same_bytes(cpu: str, tmp_path: Path) -> None:
    found = []
    for name in ("one", "another"):
        compiled(parse(GRAPHS["convolutions"]), cpu, tmp_path / name)
        found.append(contents(tmp_path / name))
    assert found[0] == found[1]
    assert {"manifest.json", "build/model.elf", "model.h", "weights.bin"} <= found[0].keys()
    assert not [name for name, raw in found[0].items() if str(tmp_path).encode() in raw]


def test_the_folder_is_all_that_make_needs(tmp_path: Path) -> None:
    """Moved, cleaned, and with no more than a compiler, make and QEMU on the path."""
    graph = parse(GRAPHS["convolutions"])
    compiled(graph, "cortex-m4", tmp_path / "out")
    folder = tmp_path / "elsewhere"
    shutil.move(tmp_path / "out", folder)
    before = contents(folder)
    tools = {
        "PATH": os.pathsep.join({str(Path(shutil.which(name) or "").parent) for name in (*toolchain.INSTALL, "sh")})
    }
    for rule in ("clean", "all", "run", "profile"):
        done = subprocess.run(["make", rule], cwd=folder, env=tools, capture_output=True, text=True, check=True)
        assert "warning" not in done.stderr
    assert "step " in done.stdout + done.stderr
    outputs = np.frombuffer((folder / "outputs.bin").read_bytes(), np.float32)
    assert_equal({"y": outputs.reshape(1, 5)}, graph, random_feeds(graph, batch=1))
    (folder / "outputs.bin").unlink()
    assert contents(folder) == before
    assert_equal(backend.load_artifact(folder).run(random_feeds(graph, batch=1)), graph, random_feeds(graph, batch=1))


def test_the_manifest_tells_what_is_inside(tmp_path: Path) -> None:
    compiled(parse(GRAPHS["convolutions"]), "cortex-m4", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out")
    assert (manifest.backend, manifest.target) == ("cortex-m", "cortex-m4")
    assert [str(port) for port in (*manifest.inputs, *manifest.outputs)] == ["x[1,3,12,12] float32", "y[1,5] float32"]
    assert manifest.versions.keys() == {"pruneir", "tvm", "gcc"}
    for name, digest in manifest.details["files"].items():
        assert hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest() == digest
    arena = manifest.details["arena"]
    assert all(0 <= each["offset"] <= each["offset"] + each["bytes"] <= arena["size"] for each in arena["values"])
    assert arena["lower_bound"] <= arena["size"]
    assert sum(layer["macs"] for layer in manifest.details["layers"]) > 0


def test_a_network_that_was_changed_is_planned_again() -> None:
    graph = parse("x[1,4,8,8] -> y { y = Conv(x, w[4,4,3,3]) }")
    before = CortexM().predict(graph, TARGETS["cortex-m4"])
    assert CortexM().predict(graph, TARGETS["cortex-m4"]) == before
    graph.set_initializer("w", np.ones((64, 4, 3, 3), np.float32))
    graph.declare("y", 1, (1, 64, 6, 6))
    after = CortexM().predict(graph, TARGETS["cortex-m4"])
    assert after.flash
    assert before.flash
    assert after.flash.rodata > 10 * before.flash.rodata
    assert CortexM().predict(graph, TARGETS["cortex-m0plus"]) != after


CLEAR = {
    "quantized": ("x[1,4] -> y { q = QuantizeLinear(x, s[], z[]); y = DequantizeLinear(q, s, z) }", "give the float32"),
    "symbolic": ("x[N,4] -> y { y = Relu(x) }", "give --input-shape x:1,…"),
}


@pytest.mark.parametrize(("text", "said"), CLEAR.values(), ids=CLEAR)
def test_what_cannot_be_compiled_is_one_clear_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(PruneirError, match=said) as caught:
        compiled(parse(text), "cortex-m4", tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_missing_compiler_is_named_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_programs(monkeypatch, tmp_path)
    with pytest.raises(PruneirError, match=r"make is not installed; apt-get install make"):
        compiled(parse(GRAPHS["convolutions"]), "cortex-m4", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_missing_tvm_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['tvm'] = None\n"
        "from pruneir.backends.cortex_m.backend import CortexM\nfrom pruneir.graph import parse\n"
        "from pruneir.targets import TARGETS\n"
        "CortexM().predict(parse('x[1,4] -> y { y = Relu(x) }'), TARGETS['cortex-m4'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("Cortex-M: TVM is not installed; pip install 'pruneir[tvm]'")


def test_a_processor_without_a_board_is_not_run_by_make(tmp_path: Path) -> None:
    artifact = compiled(parse(GRAPHS["convolutions"]), "cortex-m0plus", tmp_path / "out")
    done = subprocess.run(["make", "run"], cwd=artifact.folder, capture_output=True, text=True, check=False)
    assert done.returncode
    assert "QEMU has no board of cortex-m0plus" in done.stdout
    with pytest.raises(PruneirError, match="QEMU has no board of it; compile for cortex-m4"):
        artifact.run(random_feeds(parse(GRAPHS["convolutions"]), batch=1))


def test_a_footprint_is_known_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_programs(monkeypatch, tmp_path)
    footprint: Footprint = CortexM().predict(parse(GRAPHS["convolutions"]), TARGETS["cortex-m4"])
    assert footprint.ram
    assert footprint.ram.io == (3 * 12 * 12 + 5) * 4
