"""The pass `train` in a chain, and in a recipe."""

from __future__ import annotations

import builtins
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.api import optimize, optimize_by  # noqa: E402
from pruneir.errors import PruneirError  # noqa: E402
from pruneir.pipeline import parse_pass, read_recipe  # noqa: E402
from support.training import arrays, network  # noqa: E402

FAST = "lr=0.02,batch=16,threads=1"


def test_after_a_cut_it_learns_from_the_original() -> None:
    base = optimize(network(), ["train{epochs=6,batch=16,lr=0.1,threads=1}"], data=arrays()).graph
    made = optimize(
        base,
        ["filter{ratio=0.3}", f"train{{epochs=8,{FAST}}}"],
        data=arrays(labels=False),
        validation=arrays(48, 1, labels=False),
    )
    (note, *_) = made.outcome.records[-1].result.notes
    assert note.startswith("agreement ")
    before, after = map(float, note.split("loss ")[1].split(" on ")[0].split(" → "))
    assert after < before
    assert made.ok
    assert {"wc", "wa", "m"} <= made.plan.changed
    assert made.plan.passes[-1] == str(made.recipe.steps[-1].what) == f"train{{epochs=8,{FAST}}}"
    assert made.plan.kept["wc"][0][0] == 6


def test_the_recipe_that_is_written_trains_to_the_same_file(tmp_path: Path) -> None:
    first = optimize(network(), [f"train{{epochs=2,freeze=[w*],loss=mse,{FAST}}}"], data=_regression())
    first.save(tmp_path / "a.onnx", recipe=tmp_path / "r.toml")
    again = optimize_by(read_recipe(tmp_path / "r.toml"), network(), data=_regression())
    again.save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert first.plan.changed == {"g", "b", "by", "m", "v"}


def test_nothing_to_learn_is_a_note_and_no_error() -> None:
    made = optimize(network(), [f"train{{{FAST}}}"], data=arrays(labels=False))
    assert "nothing to learn" in made.outcome.records[-1].result.notes[0]
    assert not made.plan.changed


def test_a_loss_that_is_not_finite_fails_the_chain() -> None:
    with pytest.raises(PruneirError, match=r"training stopped: the loss is .* lower lr, or clip .*\(clip=1\)\n"):
        optimize(network(), ["train{lr=1e30}"], data=arrays())


def test_a_chain_that_was_stopped_while_it_trained_goes_on_to_the_same_result(tmp_path: Path) -> None:
    passes = ["filter{ratio=0.3}", f"train{{epochs=4,{FAST}}}"]
    seen: list[str] = []

    def stop(told: str, share: float) -> None:
        seen.append(told)
        if "epoch 3 of 4" in told:
            raise KeyboardInterrupt

    whole = optimize(network(), passes, data=arrays())
    with pytest.raises(KeyboardInterrupt):
        optimize(network(), passes, data=arrays(), checkpoints=tmp_path, progress=stop)
    seen.clear()
    again = optimize(
        network(),
        passes,
        data=arrays(),
        checkpoints=tmp_path,
        resume=True,
        progress=lambda told, share: seen.append(told),
    )
    assert not [told for told in seen if "epoch 2 of 4" in told]
    assert [told for told in seen if "epoch 3 of 4" in told]
    for name, array in whole.graph.initializers.items():
        assert np.array_equal(array, again.graph.initializers[name])


def test_it_needs_samples() -> None:
    with pytest.raises(PruneirError, match="pass train needs samples"):
        optimize(network(), ["train"])


def test_a_line_that_installs_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = importlib.util.find_spec
    monkeypatch.setattr("pruneir.training.extra.find_spec", lambda name: None if name == "torch" else honest(name))
    with pytest.raises(PruneirError, match=r"training needs torch: pip install 'pruneir\[train\]'"):
        optimize(network(), ["train"], data=arrays())


def test_the_pass_and_its_options_need_no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "torch":
            raise ImportError(name)
        return honest(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    text = "train{epochs=3,optimizer=adamw,schedule=step,milestones=[0.5]}"
    assert str(parse_pass(text)) == text


def _regression() -> dict[str, np.ndarray]:
    found = arrays()
    return {"x": found["x"], "y": np.eye(3, dtype=np.float32)[found["y"]]}
