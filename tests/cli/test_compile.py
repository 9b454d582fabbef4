"""`compile`, `run` and `bench`, with a backend that needs no machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from pruneir import backend
from pruneir.artifact import LayerProfile, Profile
from pruneir.onnx_io import load
from pruneir.onnx_io.evaluate import evaluate
from pruneir.report.profile import layers, side_by_side
from support.toy import Toy, entries

Cli = Callable[..., Any]
M4 = ("--target", "cortex-m4")


@pytest.fixture(autouse=True)
def _toys(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = entries(toy=Toy)
    monkeypatch.setattr(backend, "_entries", lambda: installed)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture
def pruned(cli: Cli, model: Path) -> Path:
    path = model.with_name("small.onnx")
    assert cli("optimize", model, "--pass", "filter{ratio=0.5}", "-o", path, "-q").code == 0
    return path


@pytest.fixture
def artifact(cli: Cli, model: Path) -> Path:
    assert cli("compile", model, *M4, "-o", model.parent / "dir").code == 0
    return model.parent / "dir"


# compile


def test_compile(cli: Cli, model: Path) -> None:
    ran = cli("compile", model, *M4)
    folder = model.with_name("net.cortex-m4")
    assert (ran.code, ran.out) == (0, "")
    assert (folder / "manifest.json").exists()
    for part in ("flash", "text 1000 B", "RAM", "arena 2 KiB", "predicted", "the stack is not in it", str(folder)):
        assert part in " ".join(ran.err.split())
    again = cli("compile", model, *M4)
    assert again.code == 2
    assert "exists; pass --force" in again.err
    assert cli("compile", model, *M4, "--force").code == 0


def test_compile_as_json(cli: Cli, model: Path, tmp_path: Path) -> None:
    ran = cli("compile", model, *M4, "-o", tmp_path / "dir", "--flash", "1K", "--format", "json", "-q")
    found = json.loads(ran.out)
    assert (ran.code, ran.err) == (1, "")
    assert found["schema"] == 1
    assert (found["backend"], found["target"], found["output"]) == ("toy", "cortex-m4", str(tmp_path / "dir"))
    assert found["flash"]["total"] == found["flash"]["text"] + found["flash"]["rodata"] + found["flash"]["data"]
    assert found["predicted"]["flash"] == found["flash"]
    assert found["ram"]["stack"] is None
    assert found["budget"] == {"flash": 1024, "ram": None}
    (miss,) = found["missed"]
    assert (miss["memory"], miss["allowed"], miss["needed"]) == ("flash", 1024, found["flash"]["total"])


@pytest.fixture
def sparse(cli: Cli, model: Path) -> Path:
    path = model.with_name("sparse.onnx")
    assert cli("optimize", model, "--pass", "magnitude{sparsity=0.5}", "-o", path, "-q").code == 0
    return path


def test_what_formats_of_weights_take(cli: Cli, model: Path, sparse: Path) -> None:
    for verb, options in (("compile", ("--force",)), ("compile", ("--force", "--run")), ("bench", ())):
        told = cli(verb, sparse, *M4, *options).err
        assert told.count("stored as") == told.count("in all; dense") == 1
        assert "CSR in 8s" in told
        assert "stored as" not in cli(verb, model, *M4, *options).err
    assert "stored as" in cli("bench", model, sparse, *M4).err
    assert "estimated instructions" in cli("bench", sparse, *M4, "-v").err


def test_what_formats_of_weights_take_as_json(cli: Cli, model: Path, sparse: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dir"
    made = json.loads(cli("compile", sparse, *M4, "-o", folder, "--format", "json", "-q").out)["weights"]
    assert made == json.loads((folder / "manifest.json").read_text())["weights"]
    assert made == json.loads(cli("bench", folder, "--format", "json", "-q").out)["weights"]
    assert [(each["layer"], each["format"]) for each in made] == [(name, "CSR in 8s") for name in ("a", "c", "y")]
    assert all(dense["bytes"] > taken["bytes"] for dense, taken in (each["formats"] for each in made))
    assert json.loads(cli("bench", model, *M4, "--format", "json", "-q").out)["weights"] == []


def test_a_missed_budget(cli: Cli, model: Path, tmp_path: Path) -> None:
    ran = cli("compile", model, *M4, "-o", tmp_path / "dir", "--flash", "1K", "--ram", "64K")
    assert ran.code == 1
    assert "warning: by prediction flash:" in ran.err
    assert "over the budget of 1 KiB; most of it are weights" in ran.err
    assert "missed: ram" not in ran.err
    assert (tmp_path / "dir" / "manifest.json").exists()


def test_a_run_tells_whether_the_stack_fits(cli: Cli, model: Path, tmp_path: Path) -> None:
    ram = ("--ram", str(2048 + 256 + 100))
    assert cli("compile", model, *M4, "-o", tmp_path / "a", *ram).code == 0
    ran = cli("compile", model, *M4, "-o", tmp_path / "b", *ram, "--run", "--format", "json")
    found = json.loads(ran.out)
    assert ran.code == 1
    assert [miss["memory"] for miss in found["missed"]] == ["ram"]
    assert found["run"]["parity"]["ok"]


@pytest.mark.parametrize(("error", "code"), [("0", 0), ("0.01", 1)])
def test_compile_and_run(cli: Cli, model: Path, data: Path, tmp_path: Path, error: str, code: int) -> None:
    settings = ("--set", f"error={error}", "--inputs", data, "--run")
    ran = cli("compile", model, *M4, "-o", tmp_path / "dir", *settings)
    assert ran.code == code
    assert ("equals ONNX Runtime" in ran.err) == (code == 0)
    assert ("DIFFERS from ONNX Runtime by more than 0.0001 relative" in ran.err) == (code == 1)
    assert "not time" in ran.err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "give --target, such as --target cortex-m4"),
        (("--target", "any"), "'any' is no machine"),
        (("--target", "cortex-m"), "there is no target 'cortex-m'; did you mean cortex-m4?"),
        (("--target", "cuda"), "no installed backend compiles for 'cuda'"),
        ((*M4, "--set", "error"), "'error' is not NAME=VALUE"),
        ((*M4, "--set", "fast=true"), "backend toy: no option 'fast'"),
        ((*M4, "--flash", "much"), "--flash: 'much' is no size"),
        ((*M4, "--inputs", "x.npz"), "--inputs says what to run it on; give --run too"),
        ((*M4, "-o", "nowhere/dir"), "does not exist"),
        ((*M4, "--input-shape", "z:1,2"), "has no input 'z'"),
        ((*M4, "--set", "fails=true"), "too much for toys"),
    ],
)
def test_what_cannot_be_compiled(cli: Cli, model: Path, flags: tuple[str, ...], told: str) -> None:
    ran = cli("compile", model, *flags)
    assert ran.code == 2
    assert told in ran.err
    assert len(ran.err.splitlines()) == 1
    assert [path.name for path in model.parent.iterdir()] == ["net.onnx"]


# run


def test_run(cli: Cli, model: Path, artifact: Path, data: Path, tmp_path: Path) -> None:
    ran = cli("run", artifact, "--inputs", data, "-o", tmp_path / "out.npz")
    assert (ran.code, ran.out) == (0, "")
    assert "[40,5]" in ran.err
    x = np.load(data)["x"][:, None]
    expected = next(iter(evaluate(load(model), ["y"], [{"x": x}])))["y"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], expected, rtol=1e-4, atol=1e-5)
    assert "exists; pass --force" in cli("run", artifact, "--inputs", data, "-o", tmp_path / "out.npz").err
    found = json.loads(cli("run", artifact, "--inputs", data, "--limit", 3, "--format", "json").out)
    assert found["outputs"]["y"]["shape"] == [3, 5]
    assert found["output"] is None


def test_integers_for_floats_are_told_of(cli: Cli, model: Path, artifact: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 1, 8, 8), np.uint8))
    told = "integers go into the float input 'x' as they are"
    assert told in cli("run", artifact, "--inputs", tmp_path / "x.npy").err
    assert told not in cli("run", artifact, "--inputs", tmp_path / "x.npy", "--scale", 0.1).err
    assert told in cli("bench", model, *M4, "--data", tmp_path / "x.npy").err
    ran = cli("bench", model, *M4, "--data", tmp_path / "x.npy", "--format", "json")
    assert told in json.loads(ran.out)["warnings"][0]


def test_run_on_an_array(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 8, 8), np.float32))
    assert "[2,5]" in cli("run", artifact, "--inputs", tmp_path / "x.npy").err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dir",), "give --inputs"),
        (("dir", "--inputs", "missing.npz"), "missing.npz: no such file"),
        (("net.onnx", "--inputs", "data.npz"), "net.onnx: is no folder; `pruneir compile"),
        (("dir", "--inputs", "other.npz"), "no array 'x'"),
        (("dir", "--inputs", "wide.npz"), r"input 'x' takes [samples,1,8,8], but the array has shape [2,1,9,9]"),
    ],
)
def test_what_cannot_be_run(
    cli: Cli, artifact: Path, data: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(artifact.parent)
    np.savez("other.npz", z=np.zeros((2, 1, 8, 8)))
    np.savez("wide.npz", x=np.zeros((2, 1, 9, 9)))
    ran = cli("run", *arguments)
    assert ran.code == 2
    assert told in ran.err


# bench

MACS = 8 * 9 * 64 + 6 * 8 * 9 * 36 + 6 * 5


def test_bench(cli: Cli, model: Path) -> None:
    ran = cli("bench", model, *M4)
    assert (ran.code, ran.out) == (0, "")
    for part in ("cortex-m4, abacus", "insn/MAC", "equals ONNX Runtime", "1 layer with 0.1 % of the instructions has"):
        assert part in ran.err
    assert f"{4 * MACS:,}" in ran.err
    assert "instructions executed in an emulator, not time" in ran.err
    assert [path.name for path in model.parent.iterdir()] == ["net.onnx"]


def test_bench_as_json(cli: Cli, model: Path) -> None:
    found = json.loads(cli("bench", model, *M4, "--format", "json").out)
    assert (found["schema"], found["unit"], found["machine"]) == (1, "instructions", "abacus")
    assert (found["macs"], found["instructions"], found["ms"], found["per_mac"]) == (MACS, 4 * MACS, None, 4)
    assert found["flash"]["total"] > found["flash"]["rodata"] > 0
    assert found["ram"] == {"arena": 2048, "io": 256, "stack": 512, "static": 8, "total": 2824}
    assert found["arena_lower_bound"] == 2000
    assert 0 <= found["max_abs_error"] < 1e-5
    assert [layer["instructions"] for layer in found["layers"]] == [4 * 8 * 9 * 64, 4 * 6 * 8 * 9 * 36, 4 * 30]
    assert [layer["schedule"] for layer in found["layers"]] == ["tile 2x2", "tile 2x2", "default"]
    assert found["parity"]["samples"] == 4
    assert "not time" in found["note"]


def test_bench_before_and_after(cli: Cli, model: Path, pruned: Path) -> None:
    ran = cli("bench", model, pruned, *M4, "--format", "json")
    found = json.loads(ran.out)
    assert ran.code == 0
    assert found["before"]["instructions"] == 4 * MACS
    assert found["instructions"] < 2 * MACS
    assert found["ratio"]["instructions"] == pytest.approx(4 * MACS / found["instructions"])
    assert found["ratio"]["flash"] > 1
    assert found["ratio"]["ram"] == 1
    assert found["ratio"]["ms"] is None
    text = cli("bench", model, pruned, *M4).err
    assert "net.onnx → small.onnx" in text
    assert f"{found['ratio']['instructions']:.2f}× less" in text


@pytest.mark.parametrize("flags", [(), ("--format", "json")], ids=["table", "json"])
def test_bench_fails_where_outputs_differ(cli: Cli, model: Path, flags: tuple[str, ...]) -> None:
    assert cli("bench", model, *M4, "--set", "error=0.01", *flags).code == 1
    assert cli("bench", model, *M4, "--set", "error=nan", *flags).code == 1
    assert cli("bench", model, *M4, "--set", "error=0.01", "--against", "none", *flags).code == 0


def test_bench_of_times(cli: Cli, model: Path) -> None:
    found = json.loads(cli("bench", model, *M4, "--set", "unit=ms", "--format", "json").out)
    assert (found["instructions"], found["ms"], found["note"]) == (None, pytest.approx(1e-5 * MACS), "")
    assert found["per_mac"] == pytest.approx(10)
    text = cli("bench", model, *M4, "--set", "unit=ms").err
    assert "ns/MAC" in text
    assert "not time" not in text


def test_bench_of_a_backend_that_says_little(cli: Cli, model: Path) -> None:
    found = json.loads(cli("bench", model, *M4, "--set", "silent=true", "--format", "json").out)
    assert found["flash"] is None
    assert found["ram"] is None
    assert cli("bench", model, *M4, "--set", "silent=true").code == 0


def test_bench_of_an_artifact(cli: Cli, model: Path, artifact: Path, data: Path) -> None:
    found = json.loads(cli("bench", artifact, "--format", "json").out)
    assert (found["instructions"], found["parity"], found["max_abs_error"]) == (4 * MACS, None, None)
    assert "outputs not compared" in cli("bench", artifact, "--data", data).err
    assert "equals ONNX Runtime" in cli("bench", artifact, "--reference", model, "--data", data, *M4).err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("net.onnx",), "is a network, to be compiled first; give --target"),
        (("dir", "--target", "toy-1"), "is compiled for cortex-m4, not for toy-1"),
        (("net.onnx", *M4, "--reference", "net.onnx"), "there is no artifact folder for it to be of"),
        (("dir", "--reference", "other.onnx"), "it was made from another"),
        (("dir", "--reference", "net.onnx", "--against", "none"), "give one of them"),
        (("gone.onnx", *M4), "gone.onnx"),
        (("net.onnx", *M4, "--mean", "1"), "give --data too"),
    ],
)
def test_what_cannot_be_benched(
    cli: Cli, artifact: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    from pruneir.graph import parse
    from pruneir.onnx_io import save

    monkeypatch.chdir(artifact.parent)
    save(parse("x[N,1,8,8] -> z { z = Relu(x) }"), "other.onnx")
    ran = cli("bench", *arguments)
    assert ran.code == 2
    assert told in ran.err


# Tables


def _profile(*layers: tuple[str, int]) -> Profile:
    steps = tuple(LayerProfile(name, "k", 10 * taken, "tile", taken) for name, taken in layers)
    return Profile(10 * sum(taken for _, taken in layers), steps, sum(taken for _, taken in layers))


def _printed(what: RenderableType, width: int = 80) -> list[str]:
    out = Console(width=width, file=StringIO())
    out.print(what)
    return [" ".join(line.split()) for line in out.file.getvalue().splitlines()]  # type: ignore[attr-defined]


def test_layers_are_paired_by_name() -> None:
    before, after = _profile(("a", 400), ("b", 100), ("a", 40)), _profile(("a", 200), ("c", 50), ("a", 40))
    assert _printed(side_by_side(before, after))[1:] == [
        "a 4.00 k → 2.00 k 400 → 200 0.100 2.00×",
        "b 1.00 k → 100 → gone",
        "a 400 40 0.100 1.00×",
        "c → 500 → 50 0.100 new",
    ]


@pytest.mark.parametrize("width", [70, 80, 120])
def test_long_names_lose_their_beginning_and_figures_stay(width: int) -> None:
    lines = _printed(layers(_profile(("/" + 200 * "x" + "/end", 1234)), width=width), width)
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("…")
    assert lines[1].endswith(("x/end k tile 12.3 k 1.23 k 0.100 100.0 %", "x/end tile 12.3 k 1.23 k 0.100 100.0 %"))


def test_kernels_are_beside_or_below() -> None:
    profile = _profile(("/stage/conv/Conv_with_a_long_name_of_its_own", 1234))
    wide, narrow = _printed(layers(profile, width=120), 120), _printed(layers(profile, width=70), 70)
    assert wide[0].split() == ["layer", "kernel", "schedule", "MACs", "instructions", "insn/MAC", "share"]
    assert "kernel" not in narrow[0]
    assert _printed(layers(profile, verbose=True, width=70), 70)[2] == "k"
