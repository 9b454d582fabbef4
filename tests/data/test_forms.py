"""The same samples in every form that data may have: every verb says the same of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pruneir
from pruneir.cli import main
from pruneir.data import Scaling, load_data
from pruneir.graph import Graph, parse
from pruneir.onnx_io import save
from pruneir.pipeline import Recipe, parse_pass
from pruneir.pipeline.recipe import Step

NET = """
x[N,1,8,8] -> y[N,5] {
  c = Conv(x, wc[6,1,3,3]); r = Relu(c); f = Flatten(r); y = Gemm(f, wy[216,5])
}
"""
COUNT = 40
FILTER = ("--pass", "filter{ratio=0.4}", "--scale", "0.004", "--format", "json", "--dry-run", "-q")

MODULE = """
import numpy as np

def batches():
    found = np.load("d.npz")
    for start in range(0, 40, 7):
        yield found["x"][start : start + 7], found["y"][start : start + 7]
"""


@pytest.fixture
def graph() -> Graph:
    return parse(NET)


@pytest.fixture
def folder(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The samples as files, in the order that a folder of images has; in the current directory."""
    x, y = samples()
    save(graph, tmp_path / "net.onnx")
    np.savez(tmp_path / "d.npz", x=x, y=y)
    np.savez_compressed(tmp_path / "other_names.npz", x=x[:, None], target=y)
    np.save(tmp_path / "d.npy", x)
    np.save(tmp_path / "d.labels.npy", y)
    (tmp_path / "form_of_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("form_of_data", None)


def samples() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (COUNT, 8, 8), np.uint8), np.arange(COUNT) % 5


def as_images(folder: Path) -> Path:
    pillow = pytest.importorskip("PIL.Image")
    for index, (image, label) in enumerate(zip(*samples(), strict=True)):
        path = folder / f"images/class_{label}/{index:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(image).save(path)
    return folder / "images"


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    assert main(arguments) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return {"accuracy": found["accuracy"], "on": found["verify"]["on"], "drift": found["verify"]["drift"]}


FORMS: dict[str, Callable[[Path], list[str]]] = {
    "other names": lambda folder: ["other_names.npz", "--labels", "target"],
    "npy": lambda folder: ["d.npy"],
    "images": lambda folder: [str(as_images(folder))],
    "entry": lambda folder: ["form_of_data:batches"],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_the_command_line(form: Callable[[Path], list[str]], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = told(["optimize", "net.onnx", *FILTER, "--data", "d.npz"], capsys)
    assert expected["accuracy"]["samples"] == COUNT
    assert expected["on"] == f"{COUNT} samples"
    assert told(["optimize", "net.onnx", *FILTER, "--data", *form(folder)], capsys) == expected
    assert main(["verify", "net.onnx", "net.onnx", "--scale", "0.004", "--data", form(folder)[0]]) == 0


IN_MEMORY: dict[str, Callable[[Graph], Any]] = {
    "arrays": lambda graph: dict(zip("xy", samples(), strict=True)),
    "a function": lambda graph: lambda: iter([samples()]),
    "data": lambda graph: load_data("d.npz", graph, scaling=Scaling(0.004)),
}


@pytest.mark.parametrize("form", IN_MEMORY.values(), ids=IN_MEMORY)
@pytest.mark.usefixtures("folder")
def test_python(form: Callable[[Graph], Any], graph: Graph) -> None:
    expected = pruneir.optimize(graph, ["filter{ratio=0.4}"], data="d.npz", scale=0.004)
    found = pruneir.optimize(graph, ["filter{ratio=0.4}"], data=form(graph), scale=0.004)
    assert expected.accuracy is not None
    assert found.accuracy == expected.accuracy
    assert found.report["verify"] == expected.report["verify"]


def test_an_array_alone_has_no_labels(graph: Graph) -> None:
    found = pruneir.optimize(graph, ["filter"], data=samples()[0], scale=0.004)
    assert (found.accuracy, found.outcome.measured_on) == (None, f"{COUNT} samples")


def test_one_sample_is_one(graph: Graph) -> None:
    found = pruneir.optimize(graph, ["filter"], data=lambda: [(samples()[0][:1], [0])], scale=0.004)
    assert found.outcome.measured_on == "1 sample"
    assert str(found.accuracy).endswith("points on 1 sample")


def test_large_samples_are_compared_by_fewer(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((500, 1, 8, 8), np.float32)
    monkeypatch.setattr("pruneir.pipeline.checks._BYTES", 100 * x[0].nbytes)
    assert pruneir.optimize(graph, ["filter"], data=x).outcome.measured_on == "100 samples"
    assert pruneir.optimize(graph, ["filter"], data=lambda: [x]).outcome.measured_on == "100 samples"


@pytest.mark.usefixtures("folder")
def test_a_recipe_says_how_images_are_read(graph: Graph, folder: Path) -> None:
    images = as_images(folder)
    made = [
        pruneir.api.optimize_by(Recipe(steps=(Step(parse_pass("filter")),), scaling=scaling), graph, data=images)
        for scaling in (Scaling(0.004), Scaling(0.004, resize="crop", order="bgr"))
    ]
    assert made[0].accuracy == made[1].accuracy  # square, and grey
    assert 'resize = "crop"\norder = "bgr"\n' in made[1].recipe.to_toml()
    assert "resize" not in made[0].recipe.to_toml()
