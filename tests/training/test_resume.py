"""A training that was stopped goes on to the same result, bit for bit; other folders are told apart."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from pruneir.cli import main  # noqa: E402
from pruneir.data import from_arrays, load_data  # noqa: E402
from pruneir.detection.anchors import load_anchors  # noqa: E402
from pruneir.errors import PruneirError  # noqa: E402
from pruneir.onnx_io import save  # noqa: E402
from pruneir.training.fit import fit  # noqa: E402
from pruneir.training.history import Fitted  # noqa: E402
from pruneir.training.options import Training  # noqa: E402
from support.detector import ANCHORS, detector, scenes  # noqa: E402
from support.training import arrays, network, samples  # noqa: E402

OPTIONS: dict[str, Any] = {"epochs": 6, "batch": 16, "lr": 0.05, "threads": 1, "dropout": 0.2, "l1_gamma": 0.01}


class Stopped(Exception):
    pass


def train(folder: Path | None, *, stop: int = 0, resume: bool = False, seed: int = 0, **options: Any) -> Fitted:
    def progress(told: str, share: float) -> None:
        if stop and told.startswith(f"epoch {stop} ") and share > (stop - 0.5) / options.get("epochs", 6):
            raise Stopped

    training = Training(**{**OPTIONS, **options})
    return fit(
        network(), training, samples(), samples(40, 1), seed=seed, progress=progress, checkpoints=folder, resume=resume
    )


def state(fitted: Fitted) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in fitted.graph.initializers.items()}


def story(fitted: Fitted) -> list[Any]:
    return [(e.number, e.loss, e.rate, e.judged, e.sparsity) for e in fitted.history]


@pytest.mark.parametrize("stop", [1, 2, 6])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "adamw"}, {"momentum": 0.0}, {"choose": "best", "l1_gamma": 0.0}, {"patience": 1, "lr": 0.5}],
    ids=str,
)
def test_it_goes_on_to_the_same_result(tmp_path: Path, options: dict[str, Any], stop: int) -> None:
    whole = train(None, **options)
    if stop <= len(whole.history):
        with pytest.raises(Stopped):
            train(tmp_path, stop=stop, **options)
    again = train(tmp_path, resume=True, **options)
    assert state(again) == state(whole)
    assert story(again) == story(whole)
    assert (again.chosen, again.before, again.after, again.stopped) == (
        whole.chosen,
        whole.before,
        whole.after,
        whole.stopped,
    )
    finished = train(tmp_path, resume=True, **options)
    assert state(finished) == state(whole)
    assert not [path for path in tmp_path.iterdir() if path.name != "training.safetensors"]


def test_a_killed_command_goes_on_to_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data, folder = tmp_path / "net.onnx", tmp_path / "data.npz", tmp_path / "checkpoints"
    save(network(), model)
    np.savez(data, **arrays(256))  # type: ignore[arg-type]

    def command(output: Path, *more: object) -> list[str]:
        options = ["--epochs", 8, "--batch", 8, "--lr", 0.05, "--threads", 1, "--dropout", 0.1, "--val", data]
        return list(map(str, ["train", model, "--data", data, "-o", output, *options, *more]))

    whole, killed = tmp_path / "whole.onnx", tmp_path / "killed.onnx"
    assert main(command(whole)) == 0
    running = subprocess.Popen([sys.executable, "-m", "pruneir.cli", *command(killed, "--checkpoints", folder)])
    limit = time.monotonic() + 120
    while not (folder / "training.safetensors").exists() and running.poll() is None and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not killed.exists()
    capsys.readouterr()
    assert main(command(killed, "--checkpoints", folder, "--resume")) == 0
    assert "went on after epoch" in capsys.readouterr().err
    assert killed.read_bytes() == whole.read_bytes()


def test_a_folder_is_of_one_training(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    with pytest.raises(PruneirError, match="exists; pass --resume to go on, or give a new folder"):
        train(tmp_path, epochs=1)
    with pytest.raises(PruneirError, match=r"is of another training: lr was 0.05, is 0.1; give a new folder"):
        train(tmp_path, resume=True, epochs=1, lr=0.1)
    with pytest.raises(PruneirError, match=r"another training: seed was 0, is 1"):
        train(tmp_path, resume=True, epochs=1, seed=1)
    training = Training(**{**OPTIONS, "epochs": 1})
    with pytest.raises(PruneirError, match=r"another training: network was"):
        fit(network(2), training, samples(), samples(40, 1), checkpoints=tmp_path, resume=True)
    with pytest.raises(PruneirError, match=r"another training: data was"):
        fit(network(), training, samples(95), samples(40, 1), checkpoints=tmp_path, resume=True)


def test_a_file_that_an_option_names_is_part_of_the_training(tmp_path: Path) -> None:
    graph, file = detector(anchors=False), tmp_path / "anchors.npy"
    training = Training(epochs=1, loss="multibox", anchors=str(file), batch=8, lr=0.01, threads=1)
    for anchors in (ANCHORS, ANCHORS, ANCHORS / 2):
        np.save(file, anchors)
        told = pytest.raises(PruneirError, match="another training: the file of anchors was")
        with nullcontext() if anchors is ANCHORS else told:
            data, kept = from_arrays(scenes(8), graph), tmp_path / "kept"
            fit(graph, training, data, anchors=load_anchors(file), checkpoints=kept, resume=True)


MODULE = """import numpy as np
def loss(outputs, labels, taught):
    return outputs["y"].square().mean()
def batches():
    yield np.ones((8, 1, 6, 6), np.float32)
"""
NAMED = {"loss": "the file of loss was", "data": "data was"}


@pytest.mark.parametrize(("what", "told"), NAMED.items(), ids=NAMED)
def test_a_module_that_is_named_is_part_of_the_training(
    what: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    name, data = f"own_{what}", samples(16)
    training = Training(epochs=1, threads=1, **({"loss": f"{name}:loss"} if what == "loss" else {"l2_weights": 0.1}))
    for text in (MODULE, MODULE, f"{MODULE}# another"):
        Path(f"{name}.py").write_text(text)
        if what == "data":
            data = load_data(f"{name}:batches", network())
        with nullcontext() if text is MODULE else pytest.raises(PruneirError, match=f"another training: {told}"):
            fit(network(), training, data, teacher=network(), checkpoints=tmp_path / "kept", resume=True)


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    train(tmp_path, epochs=1)
    file = tmp_path / "training.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(PruneirError, match="is damaged .*; remove it to start again"):
        train(tmp_path, resume=True, epochs=1)


Held = dict[str, Any]
ANOTHER: dict[str, tuple[Callable[[Held, Held], object], str]] = {
    "a tensor less": (lambda tensors, told: tensors.pop("state/wa"), "its tensors are not those of the network"),
    "a tensor of another shape": (
        lambda tensors, told: tensors.update({"state/wa": torch.zeros(1)}),
        "its tensors are not those of the network",
    ),
    "a buffer of another shape": (
        lambda tensors, told: tensors.update({"optimizer/0/momentum_buffer": torch.zeros(7)}),
        "its buffers are not those of the optimizer",
    ),
    "a buffer too many": (
        lambda tensors, told: tensors.update({"optimizer/99/momentum_buffer": torch.zeros(())}),
        "its buffers are not those of the optimizer",
    ),
    "an epoch that is none": (lambda tensors, told: told.update(chosen=9), "its epochs are not in order"),
    "an epoch twice": (lambda tensors, told: told.update(history=told["history"] * 2), "its epochs are not in order"),
    "another schema": (lambda tensors, told: told.update(schema=2), "schema 2, not 1"),
}


@pytest.mark.parametrize(("change", "told"), ANOTHER.values(), ids=ANOTHER)
def test_a_checkpoint_of_another_form_is_told(
    change: Callable[[Held, Held], object], told: str, tmp_path: Path
) -> None:
    train(tmp_path, epochs=1)
    file = tmp_path / "training.safetensors"
    tensors = load_file(file)
    with safe_open(file, "pt") as archive:
        held = json.loads(archive.metadata()["pruneir"])
    change(tensors, held)
    save_file(tensors, file, metadata={"pruneir": json.dumps(held)})
    with pytest.raises(PruneirError, match=f"training.safetensors is damaged .{told}.; remove it to start again"):
        train(tmp_path, resume=True, epochs=1)


def test_what_a_killed_run_left_half_written_goes(tmp_path: Path) -> None:
    draft = tmp_path / ".training.safetensors.0123abcd"
    draft.write_bytes(b"half")
    train(tmp_path, resume=True, epochs=1)
    assert [path.name for path in tmp_path.iterdir()] == ["training.safetensors"]


def test_nothing_to_go_on_with_is_a_beginning(tmp_path: Path) -> None:
    assert state(train(tmp_path / "new" / "folder", resume=True)) == state(train(None))


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PruneirError, match="no such folder can be made"):
        train(tmp_path / "file" / "folder")
