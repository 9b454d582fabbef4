"""`pruneir train` and `pruneir optimize` of a detector: mAP in the table and in the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.cli import main  # noqa: E402
from pruneir.detection import anchors  # noqa: E402
from pruneir.detection.anchors import load_anchors  # noqa: E402
from pruneir.onnx_io import load, save  # noqa: E402
from pruneir.pipeline import read_recipe  # noqa: E402
from support.detector import ANCHORS, detector, scenes  # noqa: E402

LOSS = ("--loss", "multibox", "--anchors", "anchors.npy")
FAST = ("--epochs", "2", "--batch", "8", "--lr", "0.01", "--threads", "1")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(detector(anchors=False), "net.onnx")
    np.save("anchors.npy", ANCHORS)
    np.savez("data.npz", **scenes(16))  # type: ignore[arg-type]
    return tmp_path


def test_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    given = (
        "train",
        "net.onnx",
        "--data",
        "data.npz",
        "--val",
        "data.npz",
        *FAST,
        "--choose",
        "last",
        "-o",
        "out.onnx",
    )
    assert main([*given, *LOSS, "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [epoch["judged"]["kind"] for epoch in told["epochs"]] == ["mAP", "mAP"]
    assert 0 <= told["after"]["points"] <= 100
    assert told["epochs"][1]["loss"] < told["epochs"][0]["loss"]
    assert list(load("out.onnx").outputs) == ["loc", "conf"]


def test_behind_a_cut(capsys: pytest.CaptureFixture[str]) -> None:
    train = "train{loss=multibox,anchors=anchors.npy,epochs=1,batch=8,lr=0.01,threads=1}"
    given = ["optimize", "net.onnx", "--pass", "filter{ratio=0.3}", "--pass", train, "--data", "data.npz"]
    assert main([*given, "-o", "out.onnx"]) == 0
    assert "mAP" in capsys.readouterr().err


@pytest.mark.parametrize("anchors", [True, False])
def test_optimize_shows_map_where_anchors_are_known(capsys: pytest.CaptureFixture[str], anchors: bool) -> None:
    train = "train{loss=distill,epochs=1,batch=8,lr=0.01,threads=1}"
    train = train.replace("{", "{anchors=anchors.npy,") if anchors else train
    given = ["optimize", "net.onnx", "--pass", "filter{ratio=0.3}", "--pass", train, "--data", "data.npz"]
    assert main([*given, "--max-drop", "1000", "-o", "out.onnx", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [w for w in told["warnings"] if "give them as anchors=FILE.npy" in w] == [] if anchors else told["warnings"]
    assert told["schedule"]["base"]["kind"] == ("mAP" if anchors else "fidelity")
    assert ("accuracy" in told) == anchors
    if anchors:
        assert told["accuracy"]["kind"] == "mAP"
        assert 100 * told["accuracy"]["before"] == pytest.approx(told["schedule"]["base"]["points"])
        assert 100 * told["accuracy"]["after"] == pytest.approx(told["schedule"]["rounds"][0]["score"]["points"])
        assert main([*given, "-o", "again.onnx"]) == 0
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip().startswith("mAP")]
        assert len(lines) == 1
        assert "points on 16 samples" in lines[0]


def test_scans_are_map_by_the_anchors_that_the_chain_names(capsys: pytest.CaptureFixture[str]) -> None:
    integral = "integral{winners=auto,drop=50,samples=8,threshold=exact}"
    train = "train{loss=multibox,anchors=anchors.npy,epochs=1,batch=8,lr=0.01,threads=1}"
    given = ["optimize", "net.onnx", "--pass", integral, "--pass", train, "--data", "data.npz", "--no-verify"]
    assert main([*given, "-o", "out.onnx", "--format", "json"]) == 0
    assert "before fine-tuning: mAP" in capsys.readouterr().out


PASSES = {
    "train": "train{loss=multibox,epochs=1,batch=8,lr=0.01,threads=1}",
    "ssd": "ssd{loss=multibox,phases=1,batch=8,lr=0.01,threads=1,zeros=0.9}",
    "magnitude": "magnitude{sparsity=0.2}",
}


@pytest.mark.parametrize("step", PASSES.values(), ids=PASSES)
def test_anchors_of_the_run_are_those_of_every_pass(
    step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def opening(path: str) -> anchors.Anchors:
        opened.append(path)
        return load_anchors(path)

    monkeypatch.setattr(anchors, "load_anchors", opening)
    given = ["optimize", "net.onnx", "--pass", step, "--data", "data.npz", "--no-verify", "--anchors", "anchors.npy"]
    assert main([*given, "-o", "out.onnx", "--write-recipe", "done.toml", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["kind"] == "mAP"
    assert opened == ["anchors.npy"]
    assert read_recipe("done.toml").anchors == "anchors.npy"


def test_anchors_are_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    np.save("others.npy", ANCHORS)
    step = "train{anchors=others.npy}"
    given = ["optimize", "net.onnx", "--pass", step, "--data", "data.npz", "--anchors", "anchors.npy", "-o", "out.onnx"]
    assert main(given) == 2
    assert "anchors are named in anchors.npy, others.npy; give one file for all passes" in capsys.readouterr().err


@pytest.mark.parametrize("anchors", [True, False])
def test_the_verb_sensitivity(capsys: pytest.CaptureFixture[str], anchors: bool) -> None:
    given = ["sensitivity", "net.onnx", "--data", "data.npz", "--values", "0.5", "--only", "wa", "--format", "json"]
    assert main([*given, *(("--anchors", "anchors.npy") if anchors else ())]) == 0
    assert ("mAP" in capsys.readouterr().out) == anchors


ERRORS = {
    "no anchors": (("--loss", "multibox"), "give them as anchors=FILE.npy"),
    "no file": (("--loss", "multibox", "--anchors", "none.npy"), "none.npy: no such file"),
}


@pytest.mark.parametrize(("given", "told"), ERRORS.values(), ids=ERRORS)
def test_errors(capsys: pytest.CaptureFixture[str], given: tuple[str, ...], told: str) -> None:
    assert main(["train", "net.onnx", "--data", "data.npz", *given, *FAST, "-o", "out.onnx"]) == 2
    assert told in " ".join(capsys.readouterr().err.split())
    assert not Path("out.onnx").exists()
