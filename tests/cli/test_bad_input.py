"""Whatever is wrong with the input: one line that says so, exit code 2, and no file more than before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
SLIM = ("--pass", "slim")

CASES: dict[str, tuple[tuple[str, ...], str]] = {
    "missing file": (("optimize", "nowhere.onnx", *SLIM), "nowhere.onnx: no such file"),
    "directory": (("optimize", "folder", *SLIM), "folder: is a folder"),
    "truncated file": (("optimize", "cut.onnx", *SLIM), "cut.onnx: not an ONNX model, or a truncated one"),
    "not ONNX": (("optimize", "text.onnx", *SLIM), "text.onnx: not an ONNX model"),
    "empty file": (("optimize", "empty.onnx", *SLIM), "empty.onnx: the file is empty"),
    "unknown pass": (("optimize", "net.onnx", "--pass", "slimm"), "unknown pass 'slimm'; did you mean slim?"),
    "unknown option of a pass": (("optimize", "net.onnx", "--pass", "slim{ratoi=1}"), "did you mean ratio?"),
    "bad value": (("optimize", "net.onnx", "--pass", "slim{ratio=half}"), "ratio takes a number, not 'half'"),
    "value out of range": (("optimize", "net.onnx", "--pass", "slim{ratio=2}"), "ratio"),
    "unclosed pass": (("optimize", "net.onnx", "--pass", "slim{ratio=0.5"), "expected `,` or `}`"),
    "unknown flag": (("optimize", "net.onnx", "--frce"), "--force"),
    "unknown verb": (("optimise", "net.onnx"), "optimize"),
    "no model": (("optimize",), "MODEL"),
    "bad format": (("optimize", "net.onnx", "--format", "yaml"), "yaml"),
    "glob without match": (("optimize", "net.onnx", *SLIM, "--keep", "conv*"), "--keep: nothing is called 'conv*'"),
    "ratio without match": (("optimize", "net.onnx", *SLIM, "--ratio", "q=0.5"), "--ratio: nothing is called 'q'"),
    "ratio without value": (("optimize", "net.onnx", *SLIM, "--ratio", "a"), "--ratio: 'a' is not GLOB=SHARE"),
    "ratio out of range": (("optimize", "net.onnx", *SLIM, "--ratio", "a=1.5"), "--ratio: 'a=1.5' is not GLOB=SHARE"),
    "output below a file": (("optimize", "net.onnx", *SLIM, "-o", "net.onnx/out.onnx"), "net.onnx is not a folder"),
    "output in no folder": (("optimize", "net.onnx", *SLIM, "-o", "no/out.onnx"), "folder no does not exist"),
    "output is a folder": (("optimize", "net.onnx", *SLIM, "-o", "folder"), "folder is a folder"),
    "output exists": (("optimize", "net.onnx", *SLIM, "-o", "text.onnx"), "text.onnx exists; pass --force"),
    "output is the input": (("optimize", "net.onnx", *SLIM, "-o", "net.onnx"), "net.onnx exists"),
    "plan exists": (("optimize", "net.onnx", *SLIM, "-o", "old.onnx"), "old.plan.json exists"),
    "recipe exists": (("optimize", "net.onnx", *SLIM, "--write-recipe", "bad.toml"), "bad.toml exists"),
    "shape without sizes": (("optimize", "net.onnx", *SLIM, "--input-shape", "x"), "--input-shape: 'x' is not"),
    "shape with a zero": (("optimize", "net.onnx", *SLIM, "--input-shape", "x:0,1,8,8"), "is not NAME:SIZES"),
    "shape of no input": (("optimize", "net.onnx", *SLIM, "--input-shape", "z:1,1,8,8"), "no input 'z'"),
    "shape of another rank": (("optimize", "net.onnx", *SLIM, "--input-shape", "x:1,8,8"), "has 4 axes, not 3"),
    "unknown target": (("optimize", "net.onnx", *SLIM, "--target", "cortex-m5"), "did you mean cortex-m55"),
    "missing recipe": (("optimize", "net.onnx", "--recipe", "no.toml"), "no.toml: no such recipe"),
    "bad recipe": (("optimize", "net.onnx", "--recipe", "bad.toml"), "bad.toml: unknown key 'tagret'"),
    "missing data": (("optimize", "net.onnx", *SLIM, "--data", "no.npz"), "no.npz: no such file"),
    "data that are none": (("optimize", "net.onnx", *SLIM, "--data", "text.onnx"), "not an .npz file"),
    "labels without data": (("optimize", "net.onnx", *SLIM, "--labels", "y"), "give --data too"),
    "mean that is no number": (("optimize", "net.onnx", *SLIM, "--mean", "a,b"), "--mean: 'a,b'"),
    "inspect nothing": (("inspect", "nowhere.onnx"), "no such file"),
    "explain a stranger": (("explain", "net.onnx", "zz"), "no node, tensor or group 'zz'"),
    "verify nothing": (("verify", "net.onnx", "nowhere.onnx"), "no such file"),
    "verify another interface": (("verify", "net.onnx", "other.onnx"), "differ in their interface"),
    "verify without a plan": (("verify", "net.onnx", "net.onnx", "--plan", "no.json"), "no such plan"),
    "verify by no plan": (("verify", "net.onnx", "net.onnx", "--plan", "bad.toml"), "not a plan"),
    "page of no pass": (("passes", "slimm"), "did you mean slim?"),
}


@pytest.fixture(autouse=True)
def folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from pruneir.graph import parse
    from pruneir.onnx_io import save

    root = model.parent
    (root / "folder").mkdir()
    (root / "cut.onnx").write_bytes(model.read_bytes()[:-40])
    (root / "text.onnx").write_text("hello world\n" * 10)
    (root / "empty.onnx").touch()
    (root / "old.plan.json").write_text("{}")
    (root / "bad.toml").write_text('tagret = "x86"\n')
    save(parse("z[N,4] -> q { q = Relu(z) }"), root / "other.onnx")
    monkeypatch.chdir(root)
    return root


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "message"), CASES.values(), ids=CASES)
def test_one_line_exit_code_2_nothing_written(cli: Cli, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    before = contents(folder)
    ran = cli(*arguments)
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.startswith("pruneir: ")
    assert ran.err.count("\n") == 1
    assert "internal error" not in ran.err
    assert ran.out == ""
    assert contents(folder) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(cli: Cli, folder: Path) -> None:
    (folder / "folder").chmod(0o500)
    ran = cli("optimize", "net.onnx", *SLIM, "-o", "folder/out.onnx")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "read-only" in ran.err


def test_output_is_checked_before_any_work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruneir.api.load_graph", None)
    assert "exists" in cli("optimize", "net.onnx", *SLIM, "-o", "text.onnx").err


def test_a_bug_is_one_line_too(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr("pruneir.api.load_graph", fail)
    ran = cli("optimize", "net.onnx", *SLIM)
    assert ran.code == 2
    assert ran.err == (
        "pruneir: internal error, please report it (ZeroDivisionError: by zero); run again with -v for the traceback\n"
    )
    assert "Traceback" in cli("optimize", "net.onnx", *SLIM, "-v").err


def test_an_interrupt_is_130(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pruneir.api.run", interrupt)
    before = contents(folder)
    assert cli("optimize", "net.onnx", *SLIM).code == 130
    assert contents(folder) == before
