"""Schedules from a recipe file: rounds of training, cutting and repair that end where they should, kill or no kill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import pruneir
from pruneir.cli import main
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.graph import parse
from pruneir.onnx_io import load, save
from pruneir.training.options import Training
from support.training import arrays

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs/examples"
MODELS = ROOT / "models"
PLAIN = MODELS / "mnist_resnet/mnist_resnet_plain.onnx"
TEST = MODELS / "data/mnist_test_2k.npz"
SOURCE = """
x[N,1,6,6] -> y[N,3] {
  a = Conv(x, wa[16,1,3,3], pads=[1,1,1,1])
  n = BatchNormalization(a, g[16], b[16], m[16], v[16])
  r = Relu(n)
  c = Conv(r, wc[16,16,3,3])
  o = BatchNormalization(c, h[16], d[16], k[16], u[16])
  q = Relu(o)
  p = GlobalAveragePool(q)
  f = Flatten(p)
  y = Gemm(f, wy[16,3], by[3])
}
"""
RECIPE = """
[schedule]
rounds = 2

[[pass]]
name = "train"
epochs = {epochs}
batch = 8
lr = 0.05
l1_gamma = 0.02
threads = 1

[[pass]]
name = "slim"
ratio = {ratio}

[[pass]]
name = "repair"

[[pass]]
name = "train"
epochs = {epochs}
batch = 8
lr = 0.02
threads = 1
"""
ROUNDS, PASSES = 2, ("train", "slim", "repair", "train")
WRITTEN = ("{}.onnx", "{}.plan.json", "{}.toml")


@dataclass(frozen=True)
class Ran:
    """A run in a folder of its own."""

    folder: Path
    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        return dict(json.loads(self.out))


Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network that can do its task, samples to train on, and others to judge on."""
    folder = tmp_path_factory.mktemp("inputs")
    np.savez(folder / "train.npz", **arrays(96))  # type: ignore[arg-type]
    np.savez(folder / "val.npz", **arrays(60, 1))  # type: ignore[arg-type]
    done = pruneir.train(parse(SOURCE), Training(epochs=6, batch=16, lr=0.1, threads=1), data=arrays(96))
    save(done.graph, folder / "net.onnx")
    return folder


def command(inputs: Path, folder: Path, *given: object, ratio: float = 0.25, epochs: int = 3) -> list[str]:
    """`pruneir optimize` by the recipe, with all that it writes in a folder."""
    (folder / "schedule.toml").write_text(RECIPE.format(ratio=ratio, epochs=epochs))
    data = ("--data", inputs / "train.npz", "--val", inputs / "val.npz")
    out = ("-o", folder / "out.onnx", "--write-recipe", folder / "out.toml", "--format", "json")
    return list(map(str, ("optimize", inputs / "net.onnx", "--recipe", folder / "schedule.toml", *data, *out, *given)))


@pytest.fixture
def run(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in the test's folder."""

    def ran(*given: object, **recipe: Any) -> Ran:
        capsys.readouterr()
        code = main(command(inputs, tmp_path, *given, **recipe))
        captured = capsys.readouterr()
        return Ran(tmp_path, code, captured.out, captured.err)

    return ran


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run of the recipe that nothing disturbed, in a process of its own."""
    folder = tmp_path_factory.mktemp("whole")
    arguments = command(inputs, folder, "--checkpoints", folder / "kept")
    done = subprocess.run(
        [sys.executable, "-m", "pruneir.cli", *arguments], check=False, capture_output=True, text=True
    )
    return Ran(folder, done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "step"), [(1, 1), (2, 1), (2, 4)], ids=["first", "sparsity", "fine-tuning"])
def test_a_run_that_is_killed_while_it_trains_goes_on_to_the_same_file(
    run: Run, whole: Ran, inputs: Path, tmp_path: Path, number: int, step: int
) -> None:
    kept = tmp_path / "kept"
    arguments = command(inputs, tmp_path, "--checkpoints", kept)
    _kill_when(
        kept / f"round-{number}/pass-{step}/training.safetensors", [sys.executable, "-m", "pruneir.cli", *arguments]
    )
    assert not (tmp_path / "out.onnx").exists()
    assert not (kept / f"round-{number}.json").exists()
    refused = run("--checkpoints", kept)
    assert (refused.code, "pass --resume to go on" in refused.err) == (2, True)
    resumed = run("--checkpoints", kept, "--resume")
    assert resumed.code == 0
    assert "went on after epoch" in resumed.out
    for name in WRITTEN:
        assert (tmp_path / name.format("out")).read_bytes() == (whole.folder / name.format("out")).read_bytes(), name
    assert resumed.report["schedule"] == whole.report["schedule"]


def _kill_when(file: Path, arguments: list[str]) -> None:
    """Run something, and kill it as soon as it has written a file."""
    running = subprocess.Popen(arguments)
    limit = time.monotonic() + 300
    while not file.exists() and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL


def test_every_step_is_in_the_log(whole: Ran) -> None:
    assert whole.code == 0
    lines = [line.split("  ", 1)[1] for line in (whole.folder / "kept/log.txt").read_text().splitlines()]
    assert lines.pop(0).startswith("fold")
    expected = [f"round {number}{told}" for number in (1, 2) for told in (*(f", {name}" for name in PASSES), ": ")]
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))
    assert [" channels" in line for line in lines] == ["slim{" in line for line in lines]


def test_the_table_tells_the_rounds_apart(run: Run, whole: Ran, tmp_path: Path) -> None:
    shutil.copytree(whole.folder / "kept", tmp_path / "kept")
    told = " ".join(run("--checkpoints", tmp_path / "kept", "--resume", "--format", "table").err.split())
    assert "fold, 2 rounds of train{" in told
    before, *rounds = re.split(r"round \d (?=train\{)", told)
    assert " taken " in before
    assert len(rounds) == ROUNDS
    assert all(f"{name}{{" in each or f"{name} " in each for name in PASSES for each in rounds)


def test_the_recipe_that_is_written_gives_the_same_file(run: Run, whole: Ran, tmp_path: Path) -> None:
    again = run("--recipe", whole.folder / "out.toml")
    assert (again.code, len(again.report["passes"])) == (0, 1 + ROUNDS * len(PASSES))
    assert "schedule" not in again.report, "rounds are written out"
    for name in WRITTEN:
        assert (tmp_path / name.format("out")).read_bytes() == (whole.folder / name.format("out")).read_bytes(), name


def test_the_score_is_of_the_validation_samples(whole: Ran) -> None:
    schedule, accuracy = whole.report["schedule"], whole.report["accuracy"]
    assert accuracy["samples"] == schedule["base"]["samples"] == 60
    assert [each["score"]["samples"] for each in schedule["rounds"]] == [60] * ROUNDS
    assert 100 * accuracy["after"] == pytest.approx(schedule["rounds"][-1]["score"]["points"])
    trainings = [each["notes"][0] for each in whole.report["passes"] if each["name"] == "train"]
    assert len(trainings) == 2 * ROUNDS
    assert all("on 60 validation samples" in note for note in trainings)


def test_a_round_that_loses_too_much_is_dropped_and_the_one_before_it_written(run: Run) -> None:
    tries = {"ratio": 0.6, "epochs": 1}
    free = run("--rounds", 4, **tries).report["schedule"]
    lost = [free["base"]["points"] - each["score"]["points"] for each in free["rounds"]]
    bad = next((index for index, points in enumerate(lost) if points > max(lost[0], 0)), None)
    assert bad, f"some later round loses more than the first: {lost}"
    stopped = run("--rounds", 4, "--max-drop", max(lost[0], 0), "--force", **tries)
    schedule = stopped.report["schedule"]
    assert (stopped.code, schedule["taken"], len(schedule["rounds"]), schedule["missed"]) == (0, bad, bad + 1, None)
    assert cost(couple(load(stopped.folder / "out.onnx"))).macs == free["rounds"][bad - 1]["macs"]


def test_a_first_round_that_loses_too_much_is_written_and_exits_with_1(run: Run) -> None:
    missed = run("--max-drop", 0, ratio=0.9, epochs=1)
    assert (missed.code, missed.report["schedule"]["taken"]) == (1, 1)
    assert "accuracy fell by" in missed.report["schedule"]["missed"]
    assert "missed: accuracy fell by" in missed.err
    assert len(load(missed.folder / "out.onnx").initializers["wa"]) < 16


@pytest.mark.parametrize(
    ("recipe", "model", "shape", "options"),
    [
        ("slimming_schedule", PLAIN, (64, 1, 28, 28), ("--rounds", 1, "--max-drop", 100)),
        ("distillation", MODELS / "ppocr_mobile_v2_cls.onnx", (8, 3, 48, 192), ()),
    ],
)
@pytest.mark.slow
def test_an_example_runs(
    tmp_path: Path, recipe: str, model: Path, shape: tuple[int, ...], options: tuple[object, ...]
) -> None:
    """A recipe of the docs, on few samples, which are noise: it is the running that is tested."""
    random = np.random.default_rng(0)
    few, out = tmp_path / "few.npz", tmp_path / "out.onnx"
    np.savez(few, x=random.normal(0, 1, shape).astype(np.float32), y=np.arange(shape[0]) % 2)
    given = ("--recipe", EXAMPLES / f"{recipe}.toml", "--data", few, "--val", few, "-o", out, *options)
    assert main(list(map(str, ("optimize", model, *given)))) == 0
    assert cost(couple(load(out))).params < cost(couple(load(model))).params


def test_the_digits_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import digits  # type: ignore[import-not-found]

    found = [np.concatenate([batch["x"] for batch in part()]) for part in (digits.training, digits.validation)]
    found.append(np.concatenate([batch["x"] for batch in digits.test()]))
    seen = [image.tobytes() for x in found for image in x]
    assert [len(x) for x in found] == [8000, 1000, 1000]
    assert len(set(seen)) == 10000
    with np.load(TEST) as unseen:
        assert {image.tobytes() for image in unseen["x"]} == set(seen[8000:])
