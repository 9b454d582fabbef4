from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import pruneir
from pruneir.graph import Graph, parse
from pruneir.onnx_io import to_model
from pruneir.passes.filter import Filter

NET = "x[N,1,8,8] -> y { a = Conv(x, wa[8,1,3,3]); r = Relu(a); c = Conv(r, wc[6,8,3,3]); y = GlobalAveragePool(c) }"


@pytest.fixture
def model() -> onnx.ModelProto:
    return to_model(parse(NET))


def test_the_names_are_there() -> None:
    assert set(pruneir.__all__) <= set(dir(pruneir))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pruneir.nothing


def test_models_graphs_and_paths_are_all_the_same(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    pruneir.save(model, path)
    graph = pruneir.load(path)
    assert isinstance(graph, Graph)
    assert pruneir.load(graph) is graph
    reports = [pruneir.optimize(each, ["filter"], verify=False).report for each in (model, path, str(path), graph)]
    assert all(report["macs"] == reports[0]["macs"] for report in reports)
    assert [report["input"] for report in reports] == [None, str(path), str(path), None]


def test_optimize(model: onnx.ModelProto, tmp_path: Path) -> None:
    before = model.SerializeToString()
    data = {"x": np.random.default_rng(0).random((20, 8, 8), np.float32)}
    made = pruneir.optimize(model, ["fold-bn", "filter{ratio=0.5}"], data=data, keep="c", target="cortex-m4")
    assert made.ok
    assert model.SerializeToString() == before
    shapes = {tensor.name: list(tensor.dims) for tensor in made.model.graph.initializer}
    assert shapes == {"wa": [4, 1, 3, 3], "wc": [6, 4, 3, 3]} | {
        n: s for n, s in shapes.items() if n not in ("wa", "wc")
    }
    assert made.plan.passes == ("fold", "fold-bn", "filter")
    json.dumps(made.report, allow_nan=False)
    made.save(tmp_path / "out.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.onnx", "out.plan.json"]
    with pytest.raises(pruneir.PruneirError, match="exists"):
        pruneir.save(made, tmp_path / "out.onnx")
    made.save(tmp_path / "out.onnx", force=True)


def test_trace(model: onnx.ModelProto) -> None:
    assert [group.name for group in pruneir.trace(model).groups] == ["a"]


def test_saving_where_one_cannot_leaves_nothing(model: onnx.ModelProto, tmp_path: Path) -> None:
    made = pruneir.optimize(model, ["filter"], verify=False)
    with pytest.raises(pruneir.PruneirError, match="does not exist"):
        made.save(tmp_path / "no" / "out.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("passes", ["filter", Filter()])
def test_passes_are_a_list(model: onnx.ModelProto, passes: Any) -> None:
    with pytest.raises(pruneir.PruneirError, match=r"passes takes a list, such as passes=\['filter'\]"):
        pruneir.optimize(model, passes)


@pytest.mark.parametrize("given", [{"scale": 2.0}, {"mean": (1.0,)}, {"std": (1.0,)}, {"labels": "y"}])
def test_what_says_how_to_read_data_needs_data(model: onnx.ModelProto, given: dict[str, Any]) -> None:
    with pytest.raises(pruneir.PruneirError, match=f"--{next(iter(given))} says how to read the data; give --data"):
        pruneir.optimize(model, ["filter"], **given)


def test_macs_are_instead_of_a_ratio() -> None:
    with pytest.raises(pruneir.PruneirError, match="macs is instead of ratio"):
        Filter(ratio=0.3, macs=0.5)


def test_files_that_exist_need_force(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    pruneir.save(model, path)
    with pytest.raises(pruneir.PruneirError, match=r"exists; pass --force \(force=True in Python\)"):
        pruneir.save(model, path)
    pruneir.save(model, path, force=True)
    made = pruneir.optimize(path, ["filter"], verify=False)
    with pytest.raises(pruneir.PruneirError, match="is the input, which the plan refers to"):
        made.save(path, force=True)
    with pytest.raises(pruneir.PruneirError, match="is the output's plan"):
        made.save(tmp_path / "out.onnx", recipe=tmp_path / "out.plan.json", force=True)
    assert [each.name for each in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize(("count", "words"), [(1, "1 sample"), (2, "2 samples")])
def test_drift_counts_its_samples(model: onnx.ModelProto, count: int, words: str) -> None:
    data = {"x": np.ones((count, 8, 8), np.float32)}
    assert pruneir.optimize(model, ["filter"], data=data).outcome.measured_on == words
