"""What the x86 backend and its artifacts refuse, in one clear line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.artifact import Artifact
from pruneir.backends.x86 import backend
from pruneir.backends.x86.batch import of_one_sample
from pruneir.backends.x86.cpu import AVX512, cpu, features
from pruneir.backends.x86.toolchain import Toolchain
from pruneir.errors import PruneirError
from pruneir.graph import parse
from support import needs
from support.firmware import DENSE, dense, program
from support.x86 import ITEMS, compiled, scaled

pytestmark = needs.cc


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compiled(scaled(), tmp_path_factory.mktemp("scaled"), free=True)


@pytest.fixture
def copy(built: Artifact, tmp_path: Path) -> Path:
    shutil.copytree(built.folder, tmp_path / "copy")
    return tmp_path / "copy"


def _resigned(folder: Path) -> None:
    """Make the manifest vouch for the library as it is."""
    found = json.loads((folder / "manifest.json").read_text())
    found["details"]["files"]["libmodel.so"] = backend._sha256(folder / "libmodel.so")
    (folder / "manifest.json").write_text(json.dumps(found))


def _flipped(folder: Path) -> None:
    raw = bytearray((folder / "libmodel.so").read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / "libmodel.so").write_bytes(raw)


def _truncated(folder: Path) -> None:
    os.truncate(folder / "libmodel.so", 5000)


def _missing(folder: Path) -> None:
    (folder / "libmodel.so").unlink()


def _foreign(folder: Path) -> None:
    (folder / "libmodel.so").write_bytes(b"\x7fELF and nothing more")
    _resigned(folder)


def _other(folder: Path) -> None:
    (folder / "other.c").write_text("int model_create(void) { return 0; }\n")
    (folder / "libmodel.so").unlink()
    subprocess.run(["cc", "-shared", "-fPIC", "other.c", "-o", "libmodel.so"], cwd=folder, check=True)
    _resigned(folder)


def _rehosted(folder: Path) -> None:
    found = json.loads((folder / "manifest.json").read_text())
    found["details"]["host"] = "aarch64-linux-gnu"
    (folder / "manifest.json").write_text(json.dumps(found))


def _older(folder: Path) -> None:
    found = json.loads((folder / "manifest.json").read_text())
    del found["details"]["layers"]
    (folder / "manifest.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_flipped, "is not as it was compiled"),
        (_truncated, "is not as it was compiled"),
        (_missing, "libmodel.so: is missing; compile the network again"),
        (_foreign, "cannot be loaded .* compile it again on this machine"),
        (_other, "cannot be loaded .*model_destroy"),
        (_rehosted, "is an archive for aarch64-linux-gnu"),
        (_older, "is of no x86 artifact that this version knows"),
    ],
)
def test_broken_artifacts(spoil: Callable[[Path], None], told: str, copy: Path) -> None:
    spoil(copy)
    with pytest.raises(PruneirError, match=told) as raised:
        pruneir.load_artifact(copy)(np.zeros((1, ITEMS), np.float32))
    assert len(str(raised.value).splitlines()) == 1


def test_inputs_that_do_not_fit(built: Artifact) -> None:
    with pytest.raises(PruneirError, match=r"takes x\[any,37\] float32, but the array has shape \[1,36\]"):
        built(np.zeros((1, ITEMS - 1), np.float32))
    with pytest.raises(PruneirError, match="but the array holds complex128"):
        built(np.zeros((1, ITEMS), np.complex128))


def test_batches_that_do_not_fit(tmp_path: Path) -> None:
    two = "void k_add(const float *a, const float *b, float *y) { y[0] = a[0] + b[0]; }"
    artifact = compiled(program("k_add(a, b, y)", two, inputs="a[1] b[1]"), tmp_path, free=True)
    one, several = np.ones(1, np.float32), np.ones(3, np.float32)
    assert artifact({"a": several, "b": several})["y"].tolist() == [2, 2, 2]
    with pytest.raises(PruneirError, match="there are 3 of 'a', 1 of 'b'"):
        artifact({"a": several, "b": one})


def test_avx512_is_built_and_refused_where_it_is_missing(tmp_path: Path) -> None:
    artifact = compiled(scaled(), tmp_path, target="x86-avx512")
    x = np.ones((1, ITEMS), np.float32)
    if {*AVX512.features} <= features():
        assert artifact(x)["y"].tolist() == (3 * x).tolist()
    else:
        with pytest.raises(
            PruneirError, match=r"the code needs \w+, which this processor lacks; compile it for this one$"
        ):
            artifact(x)


MEETING = {
    "a mean over samples": "x[N,4] -> y { m = ReduceMean(x, axes=[0], keepdims=1); y = Sub(x, m) }",
    "a softmax over samples": "x[N,4] -> y { y = Softmax(x, axis=0) }",
    "an output without samples": "x[N,4] -> y { y = ReduceSum(x, keepdims=0) }",
    "samples behind": "x[N,4] -> y { y = Transpose(x, perm=[1,0]) }",
}


@pytest.mark.parametrize("text", MEETING.values(), ids=MEETING)
def test_samples_that_meet(text: str) -> None:
    with pytest.raises(
        PruneirError, match="runs a symbolic batch sample by sample, but .* fix the sizes: --input-shape x:1,4$"
    ):
        of_one_sample(parse(text), "x86")


WHATEVER_THE_BATCH = {
    "of ONNX Runtime": (
        "x[N,4] -> y { s = com.microsoft::Inverse(x); y = Relu(s) }",
        r"s \(Inverse\): is not compiled: an operator of ONNX Runtime's optimizer; give the network as it was before",
    ),
    "of classical models": (
        "x[N,4] -> y { y = ai.onnx.ml::TreeEnsembleRegressor(x) }",
        "an operator of classical models",
    ),
    "quantized": (
        "x[N,4] -> y { q = QuantizeLinear(x, 0.1, 0:u8); y = DequantizeLinear(q, 0.1, 0:u8) }",
        r"q \(QuantizeLinear\): quantized networks are not compiled; give the float32 network",
    ),
}


@pytest.mark.parametrize(("text", "said"), WHATEVER_THE_BATCH.values(), ids=WHATEVER_THE_BATCH)
def test_what_no_batch_helps(text: str, said: str) -> None:
    with pytest.raises(PruneirError, match=said):
        of_one_sample(parse(text), "x86")


def test_samples_that_do_not_meet() -> None:
    text = "x[N,4] -> y { m = ReduceMean(x, axes=[1], keepdims=1); y = Sub(x, m) }"
    graph, free = of_one_sample(parse(text), "x86")
    assert free
    assert graph.type_of("x").shape == (1, 4)  # type: ignore[union-attr]
    fixed = parse(text.replace("[N,", "[2,"))
    assert of_one_sample(fixed, "x86") == (fixed, False)


# The tools


@pytest.mark.parametrize(
    ("tools", "path", "cc", "told"),
    [
        (Toolchain(), "", "", "x86: make is not installed; apt-get install make gcc libc6-dev$"),
        (
            Toolchain(),
            None,
            "no-such-cc -m64",
            "no-such-cc, which .CC names, is not installed; .* or set CC to a C compiler",
        ),
        (Toolchain("s390x-none"), None, "", "s390x-none-gcc is not installed; apt-get install make gcc-s390x-none$"),
    ],
)
def test_missing_tools(tools: Toolchain, path: str | None, cc: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if path is not None:
        monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("CC", cc)
    with pytest.raises(PruneirError, match=told):
        tools.require()


def test_what_the_compiler_complains_of_is_told(tmp_path: Path) -> None:
    with pytest.raises(PruneirError, match=r"^x86: the library does not build: kernels.c:1:\d+: error: "):
        compiled(replace(dense(), sources={"kernels.c": "#error nonsense\n" + DENSE}), tmp_path)


@pytest.mark.parametrize(
    ("target", "host", "name", "lanes"),
    [
        ("x86-avx2", "", "x86-avx2", 8),
        ("x86-avx512", "", "x86-avx512", 16),
        ("x86-avx512", "x86_64-linux-gnu", "x86-avx512", 16),
        ("x86", "x86_64-linux-gnu", "x86-avx2", 8),
        ("x86", "aarch64-linux-gnu", "aarch64 (portable vectors)", 4),
    ],
)
def test_processors(target: str, host: str, name: str, lanes: int) -> None:
    found = cpu(target, host)
    assert (found.name, found.lanes) == (name, lanes)
