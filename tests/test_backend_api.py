"""What backends and artifacts promise, on a backend that needs no machine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pruneir
from pruneir import backend
from pruneir.artifact import Flash, Footprint, Manifest, Port, Ram, read_manifest
from pruneir.deployment.budget import Budget, bytes_of
from pruneir.deployment.folder import filled, require_place
from pruneir.deployment.inputs import Inputs, interface
from pruneir.deployment.parity import TOLERANCE, parity
from pruneir.deployment.prepare import cleaned, known_shapes, with_fixed_sizes
from pruneir.deployment.running import outputs_of
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import save
from pruneir.onnx_io.evaluate import evaluate
from pruneir.storage import Format, Storage
from support.toy import TEXT, Toy, entries

NET = """
x[N,1,8,8] -> y[N,5] {
  a = Conv(x, wa[8,1,3,3], pads=[1,1,1,1])
  n = BatchNormalization(a, g[8], b[8], m[8], v[8])
  r = Relu(n)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = Gemm(f, wy[8,5])
}
"""


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = entries(toy=Toy, broken=ImportError("no module named 'nowhere'"), foreign=dict)
    monkeypatch.setattr(backend, "_entries", lambda: installed)


@pytest.fixture
def net() -> Graph:
    return parse(NET)


# Backends by target


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("cortex-m5", r"there is no target 'cortex-m5'; did you mean cortex-m4\?"),
        ("cuda", "no installed backend compiles for 'cuda'; installed backends compile for cortex-m4, toy-1"),
        ("any", "'any' is no machine; installed backends compile for"),
        ("cuda", "backend 'broken' cannot be loaded"),
        ("cuda", "backend 'foreign': tests:Kind is not a subclass of pruneir.backend.Backend"),
    ],
)
def test_targets_that_nothing_compiles_for(target: str, told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        backend.backend_for(target)


def test_backend_of_a_target() -> None:
    kind, known = backend.backend_for("cortex-m4")
    assert kind is Toy
    assert known.channel_multiple == 4
    assert backend.backend_for("toy-1")[1].name == "toy-1"  # a third party's own machine


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"eror": "1"}, r"backend toy: no option 'eror'; did you mean error\?"),
        ({"error": "much"}, "backend toy: error takes a number, not 'much'"),
        ({"unit": "cycles"}, "backend toy: unit takes one of instructions, ms, not 'cycles'"),
    ],
)
def test_options_are_checked(given: dict[str, Any], told: str) -> None:
    with pytest.raises(PruneirError, match=told):
        backend.configured(Toy, given)


# Manifests

MANIFEST = Manifest(
    "toy",
    "cortex-m4",
    (Port("x", "float32", (1, 3)), Port("k", "int64", (None, 2))),
    (Port("y", "float32", ()),),
    Footprint(Flash(1, 2, 3), Ram(4, 5, None, 6)),
    {"toy": "1"},
    {"deep": [1, {"a": None}]},
    (Storage("c", 100, 10, "cycles", (Format(0, 0, 400, 90), Format(1, 1, 60, 95), Format(8, 1, 52, 31)), 2),),
)


@pytest.mark.parametrize(
    "manifest", [MANIFEST, replace(MANIFEST, sizes=Footprint(), weights=())], ids=["all", "little"]
)
def test_manifest_comes_back(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    first = (tmp_path / "manifest.json").read_bytes()
    assert read_manifest(tmp_path) == manifest
    read_manifest(tmp_path).write(tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == first


def test_a_manifest_of_before_weights_were_told_of(tmp_path: Path) -> None:
    found = MANIFEST.to_json()
    del found["weights"]
    (tmp_path / "manifest.json").write_text(json.dumps(found))
    assert read_manifest(tmp_path) == replace(MANIFEST, weights=())


def test_totals() -> None:
    assert Flash(1, 2, 3).total == 6
    assert Ram(4, 5, None, 6).total == 15
    assert Ram(4, 5, 7, 6).total == 22


def _changed(**given: object) -> str:
    return json.dumps({**MANIFEST.to_json(), **given})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "7",
        _changed(schema=99),
        _changed(sizes=None),
        _changed(sizes={"flash": {"speed": 1}, "ram": None}),
        _changed(inputs=[{"name": "x"}]),
        _changed(inputs=[{"name": "x", "dtype": "float33", "shape": [1]}]),
        _changed(versions=3),
        _changed(weights=[{"layer": "c"}]),
        _changed(weights=[{**MANIFEST.weights[0].document(), "format": "BSR 2×2"}]),
        _changed(weights=[{**MANIFEST.weights[0].document(), "unit": "ms"}]),
    ],
)
def test_broken_manifests(text: str, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(PruneirError, match=r"is no manifest of this version .*; compile it again"):
        pruneir.load_artifact(tmp_path)


def test_what_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(PruneirError, match="has no manifest.json"):
        pruneir.load_artifact(tmp_path)
    with pytest.raises(PruneirError, match="nowhere: is no folder"):
        pruneir.load_artifact(tmp_path / "nowhere")
    replace(MANIFEST, backend="toys").write(tmp_path)
    with pytest.raises(PruneirError, match=r"unknown backend 'toys'; did you mean toy\?"):
        pruneir.load_artifact(tmp_path)


# Compiling, loading, running


def test_compile_and_load(net: Graph, tmp_path: Path) -> None:
    made = pruneir.compile(net, "cortex-m4", tmp_path / "net")
    assert made.ok
    x = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    expected = next(iter(evaluate(net, ["y"], [{"x": x}])))["y"]
    for found in (made.artifact(x), pruneir.load_artifact(tmp_path / "net")({"x": x.astype(np.float64)})):
        np.testing.assert_allclose(found["y"], expected, rtol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (np.zeros((1, 8, 8), np.float32), r"takes x\[1,1,8,8\] float32, but the array has shape \[1,8,8\]"),
        (np.zeros((2, 1, 8, 8), np.float32), r"has shape \[2,1,8,8\]"),
        (np.zeros((1, 1, 8, 8), np.complex64), "but the array holds complex64"),
        ({"z": np.zeros(1)}, "no array for input 'x'"),
        ({"x": np.zeros((1, 1, 8, 8)), "z": np.zeros(1)}, "there is no input 'z'"),
    ],
)
def test_inputs_that_do_not_fit(inputs: Any, told: str, net: Graph, tmp_path: Path) -> None:
    artifact = pruneir.compile(net, "cortex-m4", tmp_path / "net").artifact
    with pytest.raises(PruneirError, match=told):
        artifact(inputs)


def test_clean_up_folds_batchnorm_unless_told_not_to(net: Graph, tmp_path: Path) -> None:
    assert "BatchNormalization" not in {operator.type for operator in cleaned(net).operators}
    small = pruneir.compile(net, "cortex-m4", tmp_path / "a").artifact.manifest.sizes.flash
    large = pruneir.compile(net, "cortex-m4", tmp_path / "b", fold=False).artifact.manifest.sizes.flash
    assert small is not None
    assert large is not None
    assert small.rodata < large.rodata


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("x[N,3,8,8] -> y { y = Relu(x) }", (1, 3, 8, 8)),
        ("x[2,3,8,8] -> y { y = Relu(x) }", (2, 3, 8, 8)),
    ],
)
def test_batch_becomes_one(text: str, shape: tuple[int, ...]) -> None:
    known = with_fixed_sizes(parse(text), "cortex-m4").type_of("x")
    assert known is not None
    assert known.shape == shape


@pytest.mark.parametrize("width", ["W", "?"])
def test_other_symbols_need_a_size(width: str) -> None:
    told = r"input 'x': axis 3 is symbolic .* and cortex-m4 needs fixed sizes; give --input-shape x:1,3,8,…"
    with pytest.raises(PruneirError, match=told):
        with_fixed_sizes(parse(f"x[N,3,8,{width}] -> y {{ y = Relu(x) }}"), "cortex-m4")


# The folder


def test_a_failed_compile_leaves_what_was_there(net: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    with pytest.raises(PruneirError, match="too much for toys"):
        pruneir.compile(net, "cortex-m4", folder, options={"fails": True})
    assert not any(tmp_path.iterdir())
    pruneir.compile(net, "cortex-m4", folder)
    before = (folder / "manifest.json").read_bytes()
    with pytest.raises(PruneirError, match="too much for toys"):
        pruneir.compile(net, "cortex-m4", folder, options={"fails": True}, force=True)
    assert (folder / "manifest.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    pruneir.compile(net, "toy-1", folder, force=True)
    assert read_manifest(folder).target == "toy-1"
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, other, file, empty = (tmp_path / name for name in ("artifact", "other", "file", "empty"))
    for folder in (artifact, other, empty):
        folder.mkdir()
    MANIFEST.write(artifact)
    (other / "diary.txt").write_text("dear")
    file.write_text("")
    require_place(tmp_path / "new")
    require_place(empty)
    require_place(artifact, force=True)
    for place, force, told in [
        (artifact, False, "exists; pass --force"),
        (other, True, "holds files that are no artifact"),
        (file, True, "is a file; give the name of a new folder"),
        (tmp_path / "no" / "where", True, "folder .* does not exist"),
        (file / "below", True, "is not a folder"),
    ]:
        with pytest.raises(PruneirError, match=told):
            require_place(place, force=force)
    with pytest.raises(PruneirError, match="holds the input"):
        require_place(artifact, source=artifact / "model.onnx", force=True)
    monkeypatch.chdir(artifact)
    with pytest.raises(PruneirError, match="is the folder that you are in"):
        require_place(Path("."), force=True)


def test_a_link_to_an_artifact_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    with filled(link) as draft:
        (draft / "new").write_text("")
    assert link.is_symlink()
    assert [path.name for path in real.iterdir()] == ["new"]


# Budgets


@pytest.mark.parametrize(
    ("text", "size"),
    [("256K", 262144), ("64k", 65536), ("1M", 1 << 20), ("1.5KiB", 1536), ("2KB", 2048), ("300", 300), (300, 300)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert bytes_of("--flash", text) == size


@pytest.mark.parametrize("text", ["", "K", "-1K", "lots", "1T"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(PruneirError, match="--flash: .* is no size, such as 256K"):
        bytes_of("--flash", text)


@pytest.mark.parametrize(
    ("budget", "sizes", "told"),
    [
        (Budget(), Footprint(Flash(9), Ram(9)), []),
        (Budget(6, 22), Footprint(Flash(1, 2, 3), Ram(4, 5, 7, 6)), []),
        (Budget(5, None), Footprint(Flash(1, 3, 2), Ram(99)), ["flash: 6 B, 1 B over the budget of 5 B; .*weights"]),
        (Budget(1024, None), Footprint(Flash(4096, 3)), ["flash: 4 KiB, 3 KiB over the budget of 1 KiB; .*code"]),
        (Budget(None, 10), Footprint(None, Ram(11)), ["ram: 11 B, 1 B over the budget of 10 B; .*between layers"]),
        (Budget(None, 10), Footprint(None, Ram(1, 11)), ["ram: 12 B, 2 B over .*--input-shape"]),
        (Budget(4, 4), Footprint(), ["flash: the backend does not say", "ram: the backend does not say"]),
    ],
)
def test_budgets(budget: Budget, sizes: Footprint, told: list[str]) -> None:
    found = [str(miss) for miss in budget.misses(sizes)]
    assert len(found) == len(told)
    for message, pattern in zip(found, told, strict=True):
        assert re.match(pattern, message), message


def test_a_missed_budget_is_predicted_and_keeps_the_files(net: Graph, tmp_path: Path) -> None:
    warned: list[str] = []
    made = pruneir.compile(net, "cortex-m4", tmp_path / "net", flash=TEXT, ram="64K", warn=warned.append)
    assert [miss.memory for miss in made.missed] == ["flash"]
    assert [text[:20] for text in warned] == ["by prediction flash:"]
    assert (tmp_path / "net" / "manifest.json").exists()


# Parity


@pytest.mark.parametrize(("error", "ok"), [(0.0, True), (1e-6, True), (1e-2, False)])
def test_parity(error: float, ok: bool, net: Graph, tmp_path: Path) -> None:
    artifact = pruneir.compile(net, "cortex-m4", tmp_path / "net", options={"error": error}).artifact
    found = parity(artifact, net, Inputs().of(net), "random")
    assert found.ok == ok
    assert found.samples == 4
    assert found.max_abs == pytest.approx(error, abs=2e-6)
    scale = found.outputs[0].scale
    assert found.relative == pytest.approx(found.max_abs / scale)
    assert ok == (found.max_abs <= TOLERANCE.relative * scale + TOLERANCE.absolute)


def test_an_output_of_zeros_says_nothing(tmp_path: Path) -> None:
    graph = parse("x[N,4] -> y[N,4] { z = Sub(x, x); y = Relu(z) }")
    artifact = pruneir.compile(graph, "cortex-m4", tmp_path / "net", fold=False).artifact
    assert not parity(artifact, graph, Inputs().of(graph), "random").ok


def test_parity_with_another_network(net: Graph, tmp_path: Path) -> None:
    artifact = pruneir.compile(net, "cortex-m4", tmp_path / "net").artifact
    with pytest.raises(PruneirError, match="computes x → y, but the network x → z: it was made from another"):
        parity(artifact, parse("x[N,4] -> z { z = Relu(x) }"), [], "none")


# Running data through

FIXED = "x[4,3] -> y[4,2], s[2] { y = MatMul(x, w[3,2]); s = ReduceMean(y, axes=[0], keepdims=0) }"


def test_samples_fill_batches_and_come_back_alone(tmp_path: Path) -> None:
    graph = parse(FIXED)
    artifact = pruneir.compile(graph, "cortex-m4", tmp_path / "net").artifact
    x = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    found = outputs_of(artifact, Inputs(x, count=None))
    np.testing.assert_allclose(found["y"], x @ graph.initializers["w"], rtol=1e-5)
    assert found["s"].shape == (2, 2)


def test_inputs_without_a_common_batch_run_once(tmp_path: Path) -> None:
    graph = parse("x[4,3], z[3] -> y[4,3] { y = Mul(x, z) }")
    artifact = pruneir.compile(graph, "cortex-m4", tmp_path / "net").artifact
    x, z = np.ones((4, 3), np.float32), np.arange(3, dtype=np.float32)
    np.savez(tmp_path / "in.npz", x=x, z=z)
    np.testing.assert_array_equal(outputs_of(artifact, Inputs(tmp_path / "in.npz", count=None))["y"], x * z)


def test_interface_of_a_manifest() -> None:
    graph = interface(MANIFEST)
    feeds = Inputs(count=2).of(graph)
    assert [feed["k"].dtype for feed in feeds] == [np.int64, np.int64]
    assert not np.array_equal(feeds[0]["x"], feeds[1]["x"])


def test_a_network_file_may_not_lie_in_the_folder(net: Graph, tmp_path: Path) -> None:
    pruneir.compile(net, "cortex-m4", tmp_path / "net")
    save(net, tmp_path / "net" / "model.onnx")
    with pytest.raises(PruneirError, match="holds the input"):
        pruneir.compile(tmp_path / "net" / "model.onnx", "cortex-m4", tmp_path / "net", force=True)


UNKNOWN = {
    "a shape that the data makes": ("x[4,4] -> y { y = NonZero(x) }", r"y \(NonZero\): the shape of 'y' depends on"),
    "text": ("x[3]:str -> y:str { y = Identity(x) }", "'x' holds text"),
}


@pytest.mark.parametrize(("text", "said"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_no_backend_compiles(text: str, said: str) -> None:
    with pytest.raises(PruneirError, match=said):
        known_shapes(parse(text))
