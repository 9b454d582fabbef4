from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest
from pydantic import BaseModel, ConfigDict, Field

import pruneir
from pruneir.pipeline import Plan, read_recipe

Cli = Callable[..., Any]
FILTER = ("--pass", "filter{ratio=0.5}")


class Change(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    before: int
    after: int


class GroupRow(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    name: str
    members: list[str]
    channels: Change
    macs: Change
    note: str


class RefusalRow(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    code: str
    node: str
    reason: str
    remedy: str
    channels: int
    holds: list[str]


class Accuracy(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    before: float
    after: float
    samples: int
    kind: Literal["accuracy", "mAP"]


class Document(BaseModel):
    """Schema 1 of `optimize --format json`."""

    model_config = ConfigDict(strict=True)
    version: int = Field(alias="schema")
    input: str
    output: str | None
    macs: Change
    params: Change
    bytes: Change
    activation_peak: Change
    counted_at: dict[str, list[int]]
    groups: list[GroupRow]
    refusals: list[RefusalRow]
    verify: dict[str, Any]
    passes: list[dict[str, Any]]
    warnings: list[str]
    accuracy: Accuracy | None = None


def test_a_file_becomes_smaller_with_its_plan_beside_it(cli: Cli, model: Path) -> None:
    ran = cli("optimize", model, *FILTER)
    out, plan = model.with_name("net.pruned.onnx"), model.with_name("net.pruned.plan.json")
    assert ran.code == 0
    assert ran.out == ""
    assert "8 → 4" in ran.err
    assert str(out.name) in "".join(ran.err.split())
    made = onnx.load(out)
    onnx.checker.check_model(made, full_check=True)
    shapes = {tensor.name: list(tensor.dims) for tensor in made.graph.initializer}
    assert shapes["wc"] == [3, 4, 3, 3]
    kept = Plan.from_json(json.loads(plan.read_text())).kept
    assert {axis: (size, len(positions)) for axis, (size, positions) in kept["wc"].items()} == {0: (6, 3), 1: (8, 4)}


def test_the_output_says_how_it_was_made(cli: Cli, model: Path) -> None:
    cli("optimize", model, *FILTER)
    props = {p.key: p.value for p in onnx.load(model.with_name("net.pruned.onnx")).metadata_props}
    assert props["pruneir.version"] == pruneir.__version__
    assert 'name = "filter"' in props["pruneir.recipe"]


def test_json_stands_alone_on_stdout_and_keeps_its_schema(cli: Cli, model: Path, data: Path) -> None:
    ran = cli("optimize", model, *FILTER, "--format", "json", "--data", data)
    found = Document.model_validate_json(ran.out)
    assert ran.err == ""
    assert found.version == 1
    assert found.macs.after < found.macs.before
    assert found.params.after < found.params.before
    assert found.counted_at == {"x": [1, 1, 8, 8]}
    assert found.output == str(model.with_name("net.pruned.onnx"))
    assert found.verify["ok"] is True
    assert found.verify["on"] == "40 samples"
    assert [p["pass"] for p in found.passes] == ["fold", "filter"]
    assert found.accuracy is not None
    assert found.accuracy.samples == 40
    assert [(g.channels.before, g.channels.after) for g in found.groups] == [(8, 4), (6, 3)]


def test_accuracy_is_what_onnxruntime_says(cli: Cli, model: Path, data: Path) -> None:
    import onnxruntime as ort

    found = json.loads(cli("optimize", model, *FILTER, "--format", "json", "--data", data).out)["accuracy"]
    arrays = np.load(data)
    for key, path in (("before", model), ("after", model.with_name("net.pruned.onnx"))):
        (scores,) = ort.InferenceSession(path).run(None, {"x": arrays["x"][:, None]})
        assert found[key] == pytest.approx((np.asarray(scores).argmax(1) == arrays["y"]).mean())


def test_a_dry_run_writes_nothing(cli: Cli, model: Path) -> None:
    before = sorted(model.parent.iterdir())
    ran = cli("optimize", model, *FILTER, "--dry-run", "--write-recipe", model.with_name("r.toml"))
    assert ran.code == 0
    assert "nothing was written" in ran.err
    assert sorted(model.parent.iterdir()) == before


def test_force_overwrites(cli: Cli, model: Path) -> None:
    assert cli("optimize", model, *FILTER).code == 0
    assert cli("optimize", model, *FILTER).code == 2
    assert cli("optimize", model, *FILTER, "--force").code == 0


def test_a_written_recipe_gives_the_same_again(cli: Cli, model: Path) -> None:
    first, again, recipe = (model.with_name(name) for name in ("a.onnx", "b.onnx", "r.toml"))
    chain = (
        "--pass",
        "filter{ratio=0.3}",
        "--pass",
        "slim{ratio=0.5}",
        "--ratio",
        "c=0.5",
        "--target",
        "cortex-m0plus",
    )
    assert cli("optimize", model, *chain, "-o", first, "--write-recipe", recipe).code == 0
    assert cli("optimize", model, "--recipe", recipe, "-o", again).code == 0
    assert first.read_bytes() == again.read_bytes()
    assert first.with_suffix(".plan.json").read_text() == again.with_suffix(".plan.json").read_text()
    assert read_recipe(recipe).target == "cortex-m0plus"


def test_flags_go_before_the_recipe(cli: Cli, model: Path) -> None:
    recipe = model.with_name("r.toml")
    recipe.write_text('target = "x86"\nfold = true\n[[pass]]\nname = "slim"\n')
    ran = cli("optimize", model, "--recipe", recipe, "--no-fold", "--pass", "filter", "--format", "json")
    assert [p["name"] for p in json.loads(ran.out)["passes"]] == ["filter"]


@pytest.mark.parametrize("given", ["x:4,1,8,8", "x:4x1x8x8"])
def test_an_input_shape_is_set(cli: Cli, model: Path, given: str) -> None:
    assert cli("optimize", model, *FILTER, "--input-shape", given).code == 0
    (info,) = onnx.load(model.with_name("net.pruned.onnx")).graph.input
    assert [dim.dim_value for dim in info.type.tensor_type.shape.dim] == [4, 1, 8, 8]


def test_nothing_to_prune_is_a_warning(cli: Cli, model: Path) -> None:
    ran = cli("optimize", model, "--pass", "filter{ratio=0.5}", "--keep", "*")
    assert ran.code == 0
    assert "warning: filter: nothing to prune: kept by --keep" in " ".join(ran.err.split())
    assert model.with_name("net.pruned.onnx").exists()


def test_a_failed_verification_keeps_the_files_and_exits_with_1(
    cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pruneir.verify

    verify = pruneir.verify.verify
    monkeypatch.setattr(pruneir.verify, "verify", lambda a, b, *rest: verify(_doubled(a), b, *rest))
    ran = cli("optimize", model, *FILTER)
    assert ran.code == 1
    assert "DIFFERS" in ran.err
    assert "verification failed" in ran.err
    assert model.with_name("net.pruned.onnx").exists()
    assert model.with_name("net.pruned.plan.json").exists()


def _doubled(graph: Any) -> Any:
    copy = graph.copy()
    copy.set_initializer("wy", graph.initializers["wy"] * 2)
    return copy


def test_integers_without_scaling_are_worth_a_warning(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "ints.npz"
    np.savez(path, x=np.ones((4, 8, 8), np.uint8))
    assert "integers go into the float input" in " ".join(cli("optimize", model, *FILTER, "--data", path).err.split())
    again = ("--force", "--scale", "0.1", "--mean", "0.5", "--std", "0.25")
    assert "warning: " not in cli("optimize", model, *FILTER, "--data", path, *again).err


def test_quiet_prints_nothing(cli: Cli, model: Path) -> None:
    ran = cli("optimize", model, *FILTER, "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_verbose_names_the_members(cli: Cli, model: Path) -> None:
    assert "a, n, c" in cli("optimize", model, *FILTER, "-v", "--dry-run").err


@pytest.mark.parametrize("variable", ["NO_COLOR", ""])
def test_no_colour_where_it_is_unwanted(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    if variable:
        monkeypatch.setenv(variable, "1")
        monkeypatch.setenv("FORCE_COLOR", "1")
        assert "\x1b[3" not in cli("optimize", model, *FILTER, "--dry-run").err
    else:
        assert "\x1b" not in cli("optimize", model, *FILTER, "--dry-run").err


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_fits(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    err = cli("optimize", model, *FILTER, "--dry-run", "--target", "cortex-m4").err
    assert max(map(len, err.splitlines())) <= columns
    assert "8 → 4" in err
