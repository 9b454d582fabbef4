"""What reports say of zero weights: after a run, over several rounds, and of a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.api import optimize
from pruneir.cli import main
from pruneir.graph import Graph, parse

NETWORK = "x[N,12] -> y { h = Gemm(x, w[12,40], b[40]); r = Relu(h); y = Gemm(r, v[40,5], c[5]) }"


def network() -> Graph:
    return parse(NETWORK)


def test_layers_over_several_passes() -> None:
    made = optimize(network(), ["magnitude{sparsity=0.5,scope=local}", "magnitude{sparsity=0.9,scope=local}"])
    assert [(row.layer, row.weights, row.before, row.after) for row in made.outcome.layers] == [
        ("h", 480, 480, 48),
        ("y", 200, 200, 20),
    ]
    assert "layers" not in optimize(network(), ["filter{ratio=0.5}"]).report


def test_rounds_that_were_written_down_tell_the_same(tmp_path: Path) -> None:
    samples = {"x": np.random.default_rng(0).normal(size=(32, 12)).astype(np.float32)}

    def run(rounds: int, *, resume: bool) -> pruneir.Optimized:
        passes = ["magnitude{sparsity=0.4,of=left,scope=local}"]
        given = {"validation": samples, "checkpoints": tmp_path / f"{resume}", "resume": resume}
        return optimize(network(), passes, rounds=rounds, **given)  # type: ignore[arg-type]

    run(1, resume=True)
    assert run(3, resume=True).outcome.layers == run(3, resume=False).outcome.layers
    assert [row.after for row in run(3, resume=True).outcome.layers] == [104, 44]


def test_inspect_shows_zeros_where_there_are_some(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruneir.save(network(), tmp_path / "dense.onnx")
    optimize(network(), ["magnitude{sparsity=0.8,scope=local}"]).save(tmp_path / "sparse.onnx")
    for name, there in (("dense", False), ("sparse", True)):
        assert main(["inspect", str(tmp_path / f"{name}.onnx")]) == 0
        assert ("packed" in capsys.readouterr().err) is there
    assert main(["inspect", str(tmp_path / "sparse.onnx"), "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["weights"]
    assert [(each["name"], each["entries"], each["nonzero"], each["raw"]) for each in found] == [
        ("w", 480, 96, 1920),
        ("v", 200, 40, 800),
    ]


def test_optimize_prints_layers_and_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruneir.save(network(), tmp_path / "net.onnx")
    spec = ["--pass", "magnitude{sparsity=0.9,scope=local}", "--pass", "dead-neurons", "--keep", "y"]
    assert main(["optimize", str(tmp_path / "net.onnx"), *spec]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    for part in (
        "weights that are not zero",
        "480 → 48 10.0 %",
        "kept by --keep",
        "MACs without zeros",
        "weights packed",
    ):
        assert part in shown


def test_bytes_before_are_of_what_is_reshaped_first_too() -> None:
    graph = parse("x[N,12] -> y { h = Gemm(x, w[12,40]); v = Reshape(k[2,20,5], {40,5}); y = MatMul(h, v) }")
    stored = optimize(graph, ["magnitude{sparsity=0.5,scope=local}"]).report["stored"]
    assert (stored["before"]["raw"], stored["after"]["raw"]) == (2720, 2720)
    assert stored["after"]["packed"] < stored["before"]["packed"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats(dtype: type[np.floating]) -> None:
    kind = {np.float16: "f16", np.float64: "f64"}[dtype]
    graph = parse(f"x[N,12]:{kind} -> y:{kind} {{ y = MatMul(x, w[12,10]:{kind}) }}")
    made = optimize(graph, ["magnitude{sparsity=0.75}"])
    assert made.ok
    result = made.graph.initializers["w"]
    assert result.dtype == dtype
    assert np.count_nonzero(result) == pytest.approx(30, abs=2)
