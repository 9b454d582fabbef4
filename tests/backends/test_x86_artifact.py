"""The x86 library: what is built, and what it computes on any number of threads and samples."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pruneir.artifact import Artifact
from pruneir.backends.lowering.program import Program
from pruneir.deployment.compiling import Compiler
from pruneir.errors import PruneirError
from pruneir.graph import parse
from support import needs
from support.firmware import WEIGHTS, dense, program
from support.x86 import ITEMS, compiled, scaled

pytestmark = needs.cc


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compiled(scaled(), tmp_path_factory.mktemp("scaled"), free=True)


# What is built


def test_the_folder_is_complete(built: Artifact) -> None:
    names = {path.name for path in built.folder.iterdir()}
    assert {"libmodel.so", "model.h", "example.cpp", "Makefile", "README.md", "weights.bin", "manifest.json"} <= names
    assert "build" not in names
    assert set(built.manifest.details["files"]) == names - {"manifest.json"}
    for name in ("model.h", "Makefile", "README.md", "example.cpp"):
        assert not re.search(r"@[A-Z_]+@", (built.folder / name).read_text()), f"{name} has an unfilled place"
    assert len((built.folder / "example.cpp").read_text().splitlines()) <= 30


def test_same_program_same_bytes(built: Artifact, tmp_path: Path) -> None:
    again = compiled(scaled(), tmp_path / "again", free=True)
    assert again.manifest.details["files"] == built.manifest.details["files"]


def test_only_the_interface_is_visible_and_only_libc_is_needed(built: Artifact) -> None:
    library = str(built.folder / "libmodel.so")
    shown = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in shown.splitlines()} == {
        f"model_{name}" for name in ("create", "destroy", "error", "run", "profile", "peak")
    }
    needed = subprocess.run(["readelf", "-d", library], capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"NEEDED.*\[([\w-]+)", needed)) <= {"libc", "libm", "libpthread", "ld-linux-x86-64"}


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_example_runs_without_python(tmp_path: Path) -> None:
    folder = compiled(dense(), tmp_path / "dense").folder
    subprocess.run(["make", "example"], cwd=folder, check=True, capture_output=True)
    ran = subprocess.run([folder / "example"], capture_output=True, text=True, check=True)
    assert ran.stdout == "output 0 begins with 1\n"  # exp(W · 0)


def test_weights_lie_aligned(built: Artifact) -> None:
    raw = (built.folder / "weights.bin").read_bytes()
    assert len(raw) == 128
    assert np.frombuffer(raw, np.float32)[[0, 1, 2, 3, 16, 17]].tolist() == [1, 1, 1, 0, 3, 0]


# What it computes


def test_a_hand_made_network(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((1, 40)).astype(np.float32)
    y = compiled(dense(), tmp_path)(x)["y"]
    np.testing.assert_allclose(y, np.exp(x @ WEIGHTS.T), rtol=1e-5)


@pytest.mark.parametrize("batch", [0, 1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(built: Artifact, batch: int) -> None:
    x = np.random.default_rng(2).standard_normal((batch, ITEMS)).astype(np.float32)
    for threads in (1, 2, 3, 64):
        y = built.with_threads(threads)(x)["y"]  # type: ignore[attr-defined]
        np.testing.assert_array_equal(y, (np.float32(3) * x)[:, ::-1])


COPY = "void k_copy(const float *x, float *y) { y[0] = x[0]; }"
OUTPUTS = {
    "a reshaped value": (program("k_copy(x, t)", COPY, temporaries="t[1]", aliases={"y": "t"}), {"y": [7]}),
    "an input": (program("", COPY, inputs="x[4]", outputs="y[4]", aliases={"y": "x"}), {"y": [7, 8, 9, 10]}),
    "an input of the same name": (program("k_copy(x, x)", COPY, inputs="x[1]", outputs="x[1]"), {"x": [7]}),
    "a constant": (
        program("", COPY, outputs="y[2]", constants={"c": np.array([2, 3], np.float32)}, aliases={"y": "c"}),
        {"y": [2, 3]},
    ),
    "another output": (program("k_copy(x, y)", COPY, outputs="y[1] z[1]", aliases={"z": "y"}), {"y": [7], "z": [7]}),
    "a hostile name": (program('k_copy(x, a*/"%s??)', COPY, outputs='a*/"%s??[1]'), {'a*/"%s??': [7]}),
}


@pytest.mark.parametrize(("what", "expected"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_lie_elsewhere(
    what: Program, expected: dict[str, list[float]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPT", "-O0")
    given = {each.name: np.arange(7, 7 + each.shape[0], dtype=np.float32) for each in what.inputs}
    found = compiled(what, tmp_path)(given)
    assert {name: array.tolist() for name, array in found.items()} == expected


@needs.avx2
def test_a_profile(built: Artifact) -> None:
    found = built.profile({"x": np.zeros((3, ITEMS), np.float32)})
    assert [(layer.name, layer.kernel, layer.macs) for layer in found.layers] == [
        ("scale", "scale", ITEMS),
        ("turn", "k_turn", 0),
    ]
    assert found.ms is not None
    assert found.least_ms is not None
    assert 0 < found.least_ms <= found.ms
    assert all(layer.ms is not None and 0 <= layer.ms < 10 * found.ms for layer in found.layers)
    assert found.peak_gflops is not None
    assert found.peak_gflops > 1


HOST = "aarch64-linux-gnu"
MAIN = """
#include "model.h"
#include <stdio.h>
int main(void) {
    float x[2 * 37], y[2 * 37];
    for (int i = 0; i < 2 * 37; i++)
        x[i] = (float)i;
    const void *inputs[] = {x};
    void *outputs[] = {y};
    model *network = model_create(2);
    if (!network || model_run(network, inputs, outputs, 2))
        return 1;
    printf("%g %g\\n", y[0], y[37]);
    model_destroy(network);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which(f"{HOST}-gcc") is None, reason=f"apt-get install gcc-{HOST} libc6-dev-arm64-cross")
def test_an_archive_for_another_machine(tmp_path: Path) -> None:
    artifact = compiled(scaled(), tmp_path, host=HOST)
    with pytest.raises(PruneirError, match=f"is an archive for {HOST}, to be linked and run there"):
        artifact(np.zeros((1, ITEMS), np.float32))
    (tmp_path / "main.c").write_text(MAIN)
    link = [f"{HOST}-gcc", "-static", "main.c", "libmodel.a", "-lm", "-lpthread", "-o", "t"]
    subprocess.run(link, cwd=tmp_path, check=True)
    if shutil.which("qemu-aarch64"):
        ran = subprocess.run(["qemu-aarch64", tmp_path / "t"], capture_output=True, text=True, check=True)
        assert ran.stdout == "108 219\n"


def test_what_is_compiled_again_into_a_folder_is_what_runs(tmp_path: Path) -> None:
    compiler, x = Compiler.of("x86-avx2"), np.ones((1, 4), np.float32)
    for factor in (2.0, 3.0):
        graph = parse(f"x[1,4] -> y {{ y = Mul(x, {factor}) }}")
        artifact = compiler.compile(graph, tmp_path / "x86", force=True).artifact
        assert artifact.run({"x": x})["y"].tolist() == [[factor] * 4]
