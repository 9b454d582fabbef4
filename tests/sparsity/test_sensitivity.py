"""The sensitivity scan: one layer at a time, from Python and from the command line, as numbers and as a drawing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import pruneir
from pruneir.cli import main
from pruneir.data import from_arrays
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.score import score
from pruneir.sparsity import masked, weights
from pruneir.sparsity.sensitivity import QUALITIES, Curve, Point, Sensitivity
from pruneir.sparsity.thresholds import largest

SEEN = 64


def network() -> Graph:
    return parse("x[N,12] -> y { h = Gemm(x, w[12,16], b[16]); r = Relu(h); y = Gemm(r, v[16,5], c[5]) }")


def samples() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=(SEEN, 12)).astype(np.float32)}


def test_each_point_is_the_score_with_that_layer_alone_pruned() -> None:
    graph = network()
    found = pruneir.sensitivity(graph, data=samples(), by="sparsity", values=(0.0, 0.5, 0.9))
    assert [(curve.name, curve.layer, curve.weights) for curve in found.curves] == [("w", "h", 192), ("v", "y", 80)]
    data = from_arrays(samples(), graph)
    for curve, weight in zip(found.curves, weights(graph), strict=True):
        assert curve.points[0] == Point(0.0, 1.0, 100.0)
        for point in curve.points:
            alone = masked(graph, {weight.name: largest(weight, point.value)})
            assert point.points == score(alone, data, graph).points
            assert point.kept == np.count_nonzero(alone.initializers[weight.name]) / weight.array.size
    assert found.whole.kind == "agreement"


def test_labels_are_scored_where_there_are_some() -> None:
    labelled = {**samples(), "labels": np.arange(SEEN) % 5}
    found = pruneir.sensitivity(network(), data=labelled, labels="labels", only=["v"])
    assert found.whole.kind == "accuracy"
    (curve,) = found.curves
    assert [point.value for point in curve.points] == list(QUALITIES)
    assert all(a.kept >= b.kept for a, b in zip(curve.points, curve.points[1:], strict=False))


@pytest.mark.parametrize(("drop", "allowed"), [(0.5, 0.0), (1.0, 0.5), (3.0, 0.7), (100.0, 0.9)])
def test_within_a_drop(drop: float, allowed: float) -> None:
    points = tuple(Point(value, 1 - value, score) for value, score in ((0.9, 60.0), (0.5, 98.0), (0.7, 96.0)))
    whole = score(network(), from_arrays(samples(), network()), network())
    scan = Sensitivity("sparsity", type(whole)(99.0, "accuracy", 10), (Curve("w", "h", 8, points),))
    assert scan.within(drop) == {"w": allowed}


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruneir.save(network(), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", **samples())  # type: ignore[arg-type]
    given = ["sensitivity", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "data.npz"), "--values", "0.5,1"]
    assert main([*given, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [layer["layer"] for layer in found["layers"]] == ["h", "y"]
    assert found["layers"][0]["points"][1]["value"] == 1
    assert main(given) == 0
    table = capsys.readouterr().err
    assert "q 0.5" in table
    assert "agreement 100.00 on 64 samples" in table


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_drawing(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("matplotlib")
    from pruneir.report.sensitivity import draw

    draw(pruneir.sensitivity(network(), data=samples()), tmp_path / f"curves.{ending}")
    start = (tmp_path / f"curves.{ending}").read_bytes()[:64]
    assert start.startswith(b"\x89PNG") if ending == "png" else b"<?xml" in start


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"only": ["z*"]}, "no weight is called z"),
        ({"by": "sparsity", "values": (1.0,)}, "shares below 1"),
        ({"values": (-1.0,)}, "from 0 up"),
    ],
)
def test_what_is_wrong_is_said(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(PruneirError, match=says):
        pruneir.sensitivity(network(), data=samples(), **arguments)  # type: ignore[arg-type]


def test_bad_drawings_are_refused_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pruneir.save(network(), tmp_path / "net.onnx")
    np.savez(tmp_path / "data.npz", **samples())  # type: ignore[arg-type]
    given = ["sensitivity", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "data.npz")]
    assert main([*given, "--plot", str(tmp_path / "curves.txt")]) == 2
    assert "is a .png, .svg or .pdf file" in capsys.readouterr().err
    assert main(given[:2]) == 2
    assert "give --data" in capsys.readouterr().err
