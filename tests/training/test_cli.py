"""`pruneir train`: files, plans, tables, JSON and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.cli import main  # noqa: E402
from pruneir.cli.train import _pages  # noqa: E402
from pruneir.onnx_io import load, save  # noqa: E402
from pruneir.pipeline import parse_recipe  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from support.training import arrays, network  # noqa: E402

Cli = Callable[..., tuple[int, str, str]]
FAST = ("--epochs", 2, "--batch", 16, "--lr", 0.05, "--threads", 1)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line in a folder with a network and samples."""
    monkeypatch.chdir(tmp_path)
    save(network(), "net.onnx")
    np.savez("data.npz", **arrays())  # type: ignore[arg-type]
    np.savez("plain.npz", **arrays(labels=False))  # type: ignore[arg-type]

    def run(*given: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(each) for each in given])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_it_writes_the_network_and_a_table(cli: Cli) -> None:
    code, out, err = cli("train", "net.onnx", "--data", "data.npz", "--val", "data.npz", "-o", "out.onnx", *FAST)
    assert (code, out) == (0, "")
    for part in (
        "net.onnx train epochs=2,lr=0.05",
        "epoch",
        "val loss",
        "accuracy",
        "on 96 validation",
        "wrote out.onnx",
    ):
        assert part in " ".join(err.split())
    before, after = load("net.onnx"), load("out.onnx")
    assert list(after.initializers) == list(before.initializers)
    assert not np.array_equal(after.initializers["wc"], before.initializers["wc"])
    metadata = {entry.key: entry.value for entry in after.header.metadata_props}
    recipe = parse_recipe(metadata["pruneir.recipe"])
    assert str(recipe.steps[-1].what) == "train{epochs=2,lr=0.05,batch=16,threads=1}"
    assert not Path("out.plan.json").exists()


@pytest.mark.parametrize(
    ("given", "told"), [((), True), (("--distill", 0.5), False), (("--loss", "distill", "--l2-weights", 1e-3), False)]
)
def test_a_teacher_that_no_loss_looks_at_is_told_of(given: tuple[object, ...], told: bool, cli: Cli) -> None:
    arguments = ("train", "net.onnx", "--data", "data.npz", "--teacher", "net.onnx", "-o", "out.onnx", *FAST, *given)
    code, _, err = cli(*arguments)
    assert code == 0
    assert ("--teacher is not looked at" in " ".join(err.split())) is told


def test_json_is_alone_on_stdout(cli: Cli) -> None:
    code, out, _ = cli("train", "net.onnx", "--data", "data.npz", "-o", "out.onnx", *FAST, "--format", "json")
    found = json.loads(out)
    assert code == 0
    assert found["schema"] == 1
    assert (found["input"], found["output"], found["chosen"], found["judged_on"]) == (
        "net.onnx",
        "out.onnx",
        2,
        "training",
    )
    assert [epoch["number"] for epoch in found["epochs"]] == [1, 2]
    assert set(found["epochs"][0]) == {"number", "loss", "rate", "judged", "sparsity", "seconds"}
    assert found["after"]["kind"] == "accuracy"
    assert found["options"]["epochs"] == 2
    assert found["failed"] is False
    assert "wc" in found["changed"]


def test_a_network_that_was_cut_keeps_its_plan(cli: Cli) -> None:
    assert cli("optimize", "net.onnx", "--pass", "filter{ratio=0.3}", "-o", "cut.onnx")[0] == 0
    code, _, err = cli("train", "cut.onnx", "--data", "plain.npz", "-o", "out.onnx", *FAST)
    assert code == 2
    assert "cut.plan.json says that cut.onnx was cut" in err
    assert "give that file as --teacher" in err
    given = ("train", "cut.onnx", "--data", "plain.npz", "--teacher", "net.onnx", "-o", "out.onnx", *FAST)
    code, _, err = cli(*given)
    assert (code, "by net.onnx" in err, "out.plan.json" in err) == (0, True, True)
    before, after = (json.loads(Path(f"{name}.plan.json").read_text()) for name in ("cut", "out"))
    assert after["initializers"] == before["initializers"]
    assert after["passes"] == [*before["passes"], "train{epochs=2,lr=0.05,batch=16,threads=1}"]
    assert {"wa", "wc", "m", "v", *before["changed"]} <= set(after["changed"])
    steps = parse_recipe({e.key: e.value for e in load("out.onnx").header.metadata_props}["pruneir.recipe"]).steps
    assert [step.what.name for step in steps] == ["filter", "train"]
    assert cli(*given)[0] == 2
    assert cli(*given, "--force")[0] == 0


def test_a_plan_of_another_network_is_left_out(cli: Cli) -> None:
    assert cli("optimize", "net.onnx", "--pass", "filter{ratio=0.3}", "-o", "cut.onnx")[0] == 0
    Path("cut.plan.json").rename("net.plan.json")
    code, _, err = cli("train", "net.onnx", "--data", "data.npz", "-o", "out.onnx", *FAST)
    assert code == 0
    assert "net.plan.json is of another network" in err
    assert not Path("out.plan.json").exists()


def test_sparsity_is_in_the_table(cli: Cli) -> None:
    _, _, err = cli("train", "net.onnx", "--data", "data.npz", "-o", "out.onnx", *FAST, "--l1-gamma", 1.0)
    assert "γ at 0" in err
    assert (load("out.onnx").initializers["g"] == 0).any()


def test_a_loss_that_is_not_finite_exits_with_1_and_leaves_the_last_good_epoch(cli: Cli) -> None:
    given = ("train", "net.onnx", "--data", "data.npz", "-o", "out.onnx", *FAST[:-4], "--lr", 1e30)
    code, _, err = cli(*given)
    assert code == 1
    told = " ".join(err.split())
    assert "stopped: the loss is" in told
    assert "lower lr, or clip the gradient" in told
    assert "the result is the network as it was given" in told
    assert np.array_equal(load("out.onnx").initializers["wc"], network().initializers["wc"])
    code, out, _ = cli(*given, "--force", "--format", "json", "-q")
    assert code == 1
    assert json.loads(out)["failed"] is True


WRONG = {
    "no data": (("-o", "out.onnx"), "give --data"),
    "no such data": (("-o", "out.onnx", "--data", "no.npz"), "no such"),
    "over the input": (("-o", "net.onnx", "--data", "data.npz"), "is the input"),
    "a folder that is not there": (("-o", "a/out.onnx", "--data", "data.npz"), "folder a does not exist"),
    "no checkpoints": (("-o", "out.onnx", "--data", "data.npz", "--resume"), "give that folder too"),
    "no such loss": (("-o", "out.onnx", "--data", "data.npz", "--loss", "hinge"), "loss 'hinge' is not one of"),
    "no labels": (("-o", "out.onnx", "--data", "plain.npz", "--loss", "mse"), "needs labels"),
    "nothing to learn": (("-o", "out.onnx", "--data", "plain.npz"), "nothing to learn"),
    "no such glob": (("-o", "out.onnx", "--data", "data.npz", "--freeze", "wq"), "nothing is called 'wq'"),
    "no number": (("-o", "out.onnx", "--data", "data.npz", "--lr", "fast"), "'fast' is not"),
    "no schedule": (("-o", "out.onnx", "--data", "data.npz", "--schedule", "slow"), "'slow' is not"),
}


@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_one_line(cli: Cli, given: tuple[str, ...], message: str) -> None:
    code, out, err = cli("train", "net.onnx", *given)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not Path("out.onnx").exists()


def test_every_option_has_a_page_and_a_flag(cli: Cli) -> None:
    assert set(_pages()) == set(Training().options)
    help_text = cli("train", "--help")[1]
    for name in Training().options:
        assert f"--{name.replace('_', '-')}" in help_text
    assert cli("passes", "train")[1].startswith("train (lossy)\n\nTrain the graph itself")


def test_help_imports_no_torch() -> None:
    code = "import sys; from pruneir.cli import main; main(['train', '--help']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
