from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pruneir
from pruneir.cli import main

Cli = Callable[..., Any]


def test_inspect(cli: Cli, model: Path) -> None:
    text = cli("inspect", model).err
    for part in (
        "x[N,1,8,8] float",
        "2 Conv",
        "touch a prunable axis",
        "opset",
        "counted at x[1,1,8,8]; --input-shape",
    ):
        assert part in text
    found = json.loads(cli("inspect", model, "--format", "json").out)
    assert found["operators"]["Conv"] == 2
    assert found["inputs"] == [{"name": "x", "type": "float", "shape": ["N", 1, 8, 8]}]
    assert found["prunable_share"] == 1
    assert found["counted_at"] == {"x": [1, 1, 8, 8]}
    assert found["macs"] == 8 * 9 * 64 + 6 * 8 * 9 * 36 + 6 * 5
    assert [group["channels"] for group in found["groups"]] == [8, 6]


def test_explain_all(cli: Cli, model: Path) -> None:
    found = json.loads(cli("explain", model, "--format", "json").out)
    assert [group["name"] for group in found["groups"]] == ["a", "c"]
    member = {"node": "n", "operator": "BatchNormalization", "tensor": "g", "axis": 0, "role": "scale"}
    assert any(member.items() <= each.items() for each in found["groups"][0]["members"])
    assert "3 of 3 layers can lose channels" in cli("explain", model).err


@pytest.mark.parametrize(
    ("name", "groups", "locked"), [("c", ["a", "c"], True), ("wc", ["c", "a"], False), ("x", [], True)]
)
def test_explain_one(cli: Cli, model: Path, name: str, groups: list[str], locked: bool) -> None:
    found = json.loads(cli("explain", model, name, "--format", "json").out)
    assert sorted(group["name"] for group in found["groups"]) == sorted(groups)
    assert bool(found["locks"]) == locked
    assert ("stays: " in cli("explain", model, name).err) == locked


def test_verify(cli: Cli, model: Path, data: Path) -> None:
    same, other = cli("verify", model, model), model.with_name("b.onnx")
    assert same.code == 0
    assert "equal" in same.err
    cli("optimize", model, "--pass", "filter{absorb=false}", "-o", other)
    assert cli("verify", model, other).code == 1
    assert cli("verify", model, other, "--drift", "--data", data).code == 0
    masked = cli("verify", model, other, "--plan", model.with_name("b.plan.json"), "--format", "json")
    assert masked.code == 0
    assert json.loads(masked.out)["verify"]["kind"] == "masked"


def test_verify_by_a_plan_that_absorbs_is_drift(cli: Cli, model: Path) -> None:
    other = model.with_name("b.onnx")
    cli("optimize", model, "--pass", "filter", "-o", other)
    ran = cli("verify", model, other, "--plan", model.with_name("b.plan.json"), "--format", "json")
    assert ran.code == 0
    assert json.loads(ran.out)["verify"]["kind"] == "drift"
    said = cli("verify", model, other, "--plan", model.with_name("b.plan.json"))
    assert said.code == 0
    line = said.err.splitlines()[0]
    assert line.startswith("not checked against the mask: the plan's passes absorb")
    assert line.endswith("; drift only")
    path = model.with_name("b.plan.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"changed": ["b", "wy"]}))
    said = cli("verify", model, other, "--plan", path)
    assert "the plan's passes absorbed constants into b, wy; drift only" in said.err


def test_verify_wants_the_plan_of_these_networks(cli: Cli, model: Path) -> None:
    other, path = model.with_name("b.onnx"), model.with_name("b.plan.json")
    cli("optimize", model, "--pass", "filter{absorb=false}", "-o", other)
    whole = cli("verify", model, model, "--plan", path)
    assert whole.code == 2
    assert "net.onnx is not what" in whole.err
    assert len(whole.err.splitlines()) == 1
    plan = json.loads(path.read_text())
    (_, first), *_ = plan["initializers"].items()
    for wrong, message in (
        ({"nowhere": first}, "net.onnx: that has no 'nowhere'"),
        ({"wy": {"0": {"size": 7, "kept": [0]}}}, "'wy' is [6, 5], the plan has 7 on axis 0"),
    ):
        path.write_text(json.dumps(plan | {"initializers": wrong}))
        ran = cli("verify", model, other, "--plan", path)
        assert ran.code == 2
        assert message in ran.err
        assert len(ran.err.splitlines()) == 1


def test_passes(cli: Cli) -> None:
    listed = cli("passes").out
    assert all(name in listed for name in ("fold", "fold-bn", "slim", "filter", "lossless", "lossy"))
    page = cli("passes", "slim").out
    assert "Liu et al., ICCV 2017" in page
    assert "ratio          a number (default 0.5)" in page
    described = json.loads(cli("passes", "--format", "json").out)["passes"]
    assert {each["name"]: each["lossy"] for each in described}["fold"] is False
    assert json.loads(cli("passes", "--schema").out)["title"] == "RecipeFile"


def test_targets(cli: Cli) -> None:
    assert "cortex-m4" in cli("targets").out
    described = json.loads(cli("targets", "--format", "json").out)["targets"]
    found = next(each for each in described if each["name"] == "cuda")
    assert found == {
        "name": "cuda",
        "channel_multiple": 8,
        "simd_width": 32,
        "weight_order": "outputs",
        "parallelism": "high",
        "flash": None,
        "ram": None,
    }


def test_doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    ran = cli("doctor")
    assert ran.code == 0
    assert "apt-get install qemu-system-arm" in ran.out
    assert "for drawings of explain --svg; apt-get install graphviz" in ran.out
    findings = {each["name"]: each for each in json.loads(cli("doctor", "--format", "json").out)["findings"]}
    assert findings["onnx"]["ok"]
    assert findings["onnx"]["version"]


@pytest.mark.parametrize("verb", ["inspect", "explain", "optimize", "verify", "passes", "targets", "doctor"])
def test_every_verb_has_help(cli: Cli, verb: str) -> None:
    ran = cli(verb, "--help")
    assert ran.code == 0
    assert f"pruneir {verb}" in ran.out


def test_version_and_bare_command(cli: Cli) -> None:
    assert cli("--version").out.strip() == pruneir.__version__
    assert main([]) == 0


def _milliseconds(*arguments: str) -> float:
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, *arguments], check=True, capture_output=True, env={**os.environ, "COLUMNS": "80"}
        )
        best = min(best, time.perf_counter() - start)
    return 1000 * best


def test_help_is_quick() -> None:
    """The bar is 250 ms over a bare interpreter; a busy machine gets twice that."""
    bare = _milliseconds("-c", "pass")
    helped = _milliseconds("-c", "from pruneir.cli import main; main(['--help'])")
    assert helped - bare < 500


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import pruneir", {"numpy", "onnx", "typer", "networkx"}),
        ("from pruneir.cli import main; main(['--help'])", {"numpy", "onnx", "rich", "networkx", "pydantic"}),
        ("import pruneir; pruneir.optimize", {"torch", "tvm", "onnx_graphsurgeon", "pydantic", "rich"}),
    ],
)
def test_nothing_is_imported_that_is_not_needed(code: str, absent: set[str]) -> None:
    check = f"{code}\nimport sys\nsys.exit(','.join(sorted({absent!r} & set(sys.modules))) or 0)"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
