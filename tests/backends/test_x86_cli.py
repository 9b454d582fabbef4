"""The x86 backend on the command line: a network compiled, run, and held against ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.cli import main
from pruneir.deployment import race
from pruneir.graph import parse
from pruneir.onnx_io import save
from pruneir.onnx_io.evaluate import evaluate
from support import needs

NET = """
x[N,1,8,8] -> y[N,5] {
  a = Conv(x, wa[8,1,3,3], pads=[1,1,1,1])
  r = Relu(a)
  c = Conv(r, wc[6,8,3,3])
  f = Flatten(c)
  y = Gemm(f, wy[216,5])
}
"""
pytestmark = needs.cc


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("net")
    save(parse(NET), folder / "net.onnx")
    assert (
        main(
            ["compile", str(folder / "net.onnx"), "--target", "x86", "--threads", "2", "-o", str(folder / "dir"), "-q"]
        )
        == 0
    )
    return folder


def test_a_symbolic_batch(net: Path) -> None:
    artifact = pruneir.load_artifact(net / "dir")
    assert [port.shape for port in (*artifact.manifest.inputs, *artifact.manifest.outputs)] == [
        (None, 1, 8, 8),
        (None, 5),
    ]
    x = np.random.default_rng(3).standard_normal((5, 1, 8, 8)).astype(np.float32)
    y = artifact(x)["y"]
    expected = next(iter(evaluate(parse(NET), ["y"], [{"x": x}])))["y"]
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    one, two = (artifact.with_threads(threads)(x[:3])["y"] for threads in (1, 2))  # type: ignore[attr-defined]
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, y[:3])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rounds, and no pause."""
    for name, value in {"FEWEST": 3, "MOST": 3, "PAUSE": 0.0, "TURN": 0.0}.items():
        monkeypatch.setattr(race, name, value)


def _bench(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    capsys.readouterr()
    assert main(["bench", *map(str, arguments), "--format", "json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("quick")
def test_bench_against_onnxruntime(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _bench(capsys, net / "dir", "--reference", net / "net.onnx", "--threads", 2)
    assert found["unit"] == "ms"
    assert found["threads"] == 2
    assert found["rounds"] == 3
    assert found["steady"] in (True, False)
    assert found["ratio"] == found["ours_ms"] / found["theirs_ms"]  # type: ignore[operator]
    assert found["max_abs_error"] < 1e-4  # type: ignore[operator]
    assert "intra_op_num_threads=2, ORT_SEQUENTIAL, ORT_ENABLE_ALL" in str(found["against"])
    assert found["peak_gflops"] > found["gflops"] > 0  # type: ignore[operator]
    for layer in found["layers"]:  # type: ignore[attr-defined]
        assert {"name", "kernel", "macs", "ms", "gflops", "schedule", "share"} <= layer.keys()
        assert (layer["gflops"] is None) == (layer["macs"] == 0)


@pytest.mark.usefixtures("quick")
def test_bench_before_and_after(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPT", "-O0")
    small = tmp_path / "small.onnx"
    assert main(["optimize", str(net / "net.onnx"), "--pass", "filter{ratio=0.5}", "-o", str(small), "-q"]) == 0
    found = _bench(capsys, net / "net.onnx", small, "--target", "x86-avx2", "--threads", 1)
    assert found["less"]["macs"] > 1.5  # type: ignore[index]
    first, original = found["before"], found["against_original"]
    assert original["ours_ms"] == found["ours_ms"]  # type: ignore[index]
    assert original["theirs_ms"] == first["theirs_ms"]  # type: ignore[index]
    assert original["speedup"] == pytest.approx(first["theirs_ms"] / found["ours_ms"])  # type: ignore[index,operator]


@pytest.mark.usefixtures("quick")
def test_bench_as_a_table(net: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["bench", str(net / "dir"), "--reference", str(net / "net.onnx")]) == 0
    text = " ".join(capsys.readouterr().err.split())
    for part in ("GFLOP/s", "of peak", "equals ONNX Runtime", "(ratio ", "ORT_SEQUENTIAL", "medians of 3 rounds"):
        assert part in text
    assert main(["bench", str(net / "dir"), "--against", "none"]) == 0
    text = capsys.readouterr().err
    assert "outputs not compared" in text
    assert "ratio" not in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["compile", "net.onnx", "--target", "x86", "--set", "threads=-1"], "-1 threads; give 1 or more"),
        (["compile", "net.onnx", "--target", "x86", "--host", "s390x-none"], "s390x-none-gcc is not installed"),
        (["compile", "net.onnx", "--target", "cortex-m4", "--threads", "2"], "backend cortex-m: no option 'threads'"),
        (["run", "dir", "--inputs", "wide.npy"], "takes"),
        (["bench", "dir", "--reference", "net.onnx", "--threads", "9999"], "9999 are too many to be timed here"),
        (["compile", "net.onnx", "--target", "x86", "-o", "/proc/out"], "/proc/out cannot be written"),
    ],
)
def test_what_the_command_line_refuses(
    net: Path, arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(net)
    np.save("wide.npy", np.zeros((1, 1, 9, 9), np.float32))
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1


def test_threads_of_the_manifest(net: Path) -> None:
    artifact = pruneir.load_artifact(net / "dir")
    assert artifact.threads == 2  # type: ignore[attr-defined]
    assert artifact.with_threads(1).threads == 1  # type: ignore[attr-defined]
    assert artifact.manifest.details["cpu"]["name"] in ("x86-avx2", "x86-avx512")
