"""Whatever is wrong with the input: one line that says so, exit code 2, and no file more than before."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
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
    "ratio and macs": (
        ("optimize", "net.onnx", "--pass", "slim{ratio=0.5,macs=0.5}"),
        "pass slim: macs is instead of ratio; give only one of them",
    ),
    "macs out of reach": (("optimize", "net.onnx", "--pass", "slim{macs=0.01}"), "max_per_group, or free more"),
    "macs out of reach for options": (
        ("optimize", "net.onnx", "--pass", "filter{macs=0.01}", "--keep", "a", "--ratio", "c=0.1", "--target", "x86"),
        "raise macs or max_per_group, loosen --keep and --ratio and --target, or free more",
    ),
    "a seed below 0": (
        ("optimize", "net.onnx", "--pass", "filter{criterion=random,seed=-1}"),
        "seed=-1 is less than 0",
    ),
    "an axis without end": (
        ("optimize", "net.onnx", *SLIM, "--input-shape", "x:99999999999999999999,3,8,8"),
        "has an axis longer than 2,147,483,647",
    ),
    "a shape twice": (
        ("optimize", "net.onnx", *SLIM, "--input-shape", "x:1,3,8,8", "--input-shape", "x:2,3,8,8"),
        "--input-shape: input 'x' is given twice",
    ),
    "no number of points": (("optimize", "net.onnx", *SLIM, "--max-drop", "nan"), "max_drop=nan is not a number"),
    "a scale that is no number": (
        ("optimize", "net.onnx", *SLIM, "--data", "ok.npz", "--scale", "nan"),
        "--scale: nan is not finite",
    ),
    "unclosed pass": (("optimize", "net.onnx", "--pass", "slim{ratio=0.5"), "expected `,` or `}`"),
    "unknown flag": (("optimize", "net.onnx", "--frce"), "--force"),
    "unknown verb": (("optimise", "net.onnx"), "optimize"),
    "no model": (("optimize",), "MODEL"),
    "bad format": (("optimize", "net.onnx", "--format", "yaml"), "yaml"),
    "glob without match": (("optimize", "net.onnx", *SLIM, "--keep", "conv*"), "--keep: nothing is called 'conv*'"),
    "ratio without match": (("optimize", "net.onnx", *SLIM, "--ratio", "q=0.5"), "--ratio: nothing is called 'q'"),
    "ratio without value": (("optimize", "net.onnx", *SLIM, "--ratio", "a"), "--ratio: 'a' is not GLOB=SHARE"),
    "ratio out of range": (("optimize", "net.onnx", *SLIM, "--ratio", "a=1.5"), "--ratio: 'a=1.5' is not GLOB=SHARE"),
    "a ratio twice": (
        ("optimize", "net.onnx", *SLIM, "--ratio", "a=0.5", "--ratio", "a=0.2"),
        "--ratio: 'a' is given twice; give it one share",
    ),
    "a setting and its flag": (
        ("compile", "net.onnx", "--target", "x86", "--threads", "2", "--set", "threads=1"),
        "--set threads=1: --threads says that too; give only one of them",
    ),
    "an output without a name": (("optimize", "net.onnx", *SLIM, "-o", ""), "what stands behind '-o' is empty"),
    "a model without a name": (("inspect", ""), "what stands behind 'inspect' is empty"),
    "nothing": (("",), "what stands behind 'pruneir' is empty"),
    "a dry run's recipe in no folder": (
        ("optimize", "net.onnx", *SLIM, "--dry-run", "--write-recipe", "no/r.toml"),
        "no/r.toml cannot be written: folder no does not exist",
    ),
    "a dry run's output in no folder": (
        ("optimize", "net.onnx", *SLIM, "--dry-run", "-o", "no/out.onnx"),
        "no/out.onnx cannot be written: folder no does not exist",
    ),
    "output below a file": (("optimize", "net.onnx", *SLIM, "-o", "net.onnx/out.onnx"), "net.onnx is not a folder"),
    "output in no folder": (("optimize", "net.onnx", *SLIM, "-o", "no/out.onnx"), "folder no does not exist"),
    "output is a folder": (("optimize", "net.onnx", *SLIM, "-o", "folder"), "folder is a folder"),
    "output exists": (("optimize", "net.onnx", *SLIM, "-o", "text.onnx"), "text.onnx exists; pass --force"),
    "output is the input": (("optimize", "net.onnx", *SLIM, "-o", "net.onnx"), "net.onnx is the input, which the plan"),
    "output is the input, forced": (
        ("optimize", "net.onnx", *SLIM, "-o", "folder/../net.onnx", "--force"),
        "net.onnx is the input, which the plan refers to; write elsewhere",
    ),
    "output is a dot": (("optimize", "net.onnx", *SLIM, "-o", "."), ".: is a folder; give the .onnx file in it"),
    "input is a dot": (("optimize", ".", *SLIM), ".: is a folder; give the .onnx file in it"),
    "input is the folder above": (("optimize", "..", *SLIM), "..: is a folder; give the .onnx file in it"),
    "plan exists": (("optimize", "net.onnx", *SLIM, "-o", "old.onnx"), "old.plan.json exists"),
    "recipe exists": (("optimize", "net.onnx", *SLIM, "--write-recipe", "bad.toml"), "bad.toml exists"),
    "recipe in the input's place": (
        ("optimize", "net.onnx", *SLIM, "--write-recipe", "net.onnx", "--force"),
        "--write-recipe: net.onnx is the input; give the recipe a file of its own",
    ),
    "recipe in the input's data's place": (
        ("optimize", "net.onnx", *SLIM, "--write-recipe", "net.onnx.data", "--force"),
        "net.onnx.data is the input's data",
    ),
    "recipe in the output's place": (
        ("optimize", "net.onnx", *SLIM, "-o", "out.onnx", "--write-recipe", "folder/../out.onnx", "--force"),
        "out.onnx is the output;",
    ),
    "recipe in the plan's place": (
        ("optimize", "net.onnx", *SLIM, "-o", "out.onnx", "--write-recipe", "out.plan.json", "--force"),
        "out.plan.json is the output's plan",
    ),
    "recipe in the output's data's place": (
        ("optimize", "net.onnx", *SLIM, "-o", "out.onnx", "--write-recipe", "out.onnx.data", "--force"),
        "out.onnx.data is the output's data",
    ),
    "shape without sizes": (("optimize", "net.onnx", *SLIM, "--input-shape", "x"), "--input-shape: 'x' is not"),
    "shape with a zero": (("optimize", "net.onnx", *SLIM, "--input-shape", "x:0,1,8,8"), "is not NAME:SIZES"),
    "shape of no input": (("optimize", "net.onnx", *SLIM, "--input-shape", "z:1,1,8,8"), "no input 'z'"),
    "shape of another rank": (("optimize", "net.onnx", *SLIM, "--input-shape", "x:1,8,8"), "has 4 axes, not 3"),
    "unknown target": (("optimize", "net.onnx", *SLIM, "--target", "cortex-m5"), "did you mean cortex-m55"),
    "missing recipe": (("optimize", "net.onnx", "--recipe", "no.toml"), "no.toml: no such recipe"),
    "bad recipe": (("optimize", "net.onnx", "--recipe", "bad.toml"), "bad.toml: unknown key 'tagret'"),
    "missing data": (("optimize", "net.onnx", *SLIM, "--data", "no.npz"), "no.npz: no such file"),
    "data that are none": (("optimize", "net.onnx", *SLIM, "--data", "text.onnx"), "not an .npz file"),
    "data of no image": (("optimize", "net.onnx", *SLIM, "--data", "folder"), "folder: holds no image"),
    "data of no module": (("optimize", "net.onnx", *SLIM, "--data", "nowhere:batches"), "no module 'nowhere' in"),
    "verify on no data": (("verify", "net.onnx", "net.onnx", "--data", "no.npy"), "no.npy: no such file"),
    "labels without data": (("optimize", "net.onnx", *SLIM, "--labels", "y"), "give --data too"),
    "scale without data": (("optimize", "net.onnx", *SLIM, "--scale", "2"), "--scale says how to read the data"),
    "mean without data": (("optimize", "net.onnx", *SLIM, "--mean", "0.5"), "--mean says how to read the data"),
    "std without data": (("optimize", "net.onnx", *SLIM, "--std", "0.5"), "--std says how to read the data"),
    "data with NaN": (
        ("optimize", "net.onnx", *SLIM, "--data", "nan.npz"),
        "nan.npz: array 'x' holds NaN in sample 2, at [2,3,4]; mend the sample or leave it out",
    ),
    "labels of no class": (
        ("optimize", "net.onnx", *SLIM, "--data", "labels.npz"),
        "labels.npz: label 5 in 'y', at sample 1, is no class of the network, which has 5; give labels from 0 to 4",
    ),
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
    images = np.zeros((3, 8, 8), np.float32)
    np.savez(root / "labels.npz", x=images, y=np.array([0, 5, 1]))
    images[2, 3, 4] = np.nan
    np.savez(root / "nan.npz", x=images)
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


def test_a_recipe_is_checked_before_any_work(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pruneir.api.load_graph", None)
    assert "is the input;" in cli("optimize", "net.onnx", *SLIM, "--write-recipe", "net.onnx", "--force").err
    assert "bad.toml exists" in cli("optimize", "net.onnx", *SLIM, "--write-recipe", "bad.toml").err


BENCHED = {
    "no network": (("nowhere.onnx",), "nowhere.onnx: no such file"),
    "no data": (("net.onnx", "--data", "no.npz"), "no.npz: no such file"),
    "data of another network": (("other.onnx", "--data", "labels.npz"), "labels.npz: "),
}


@pytest.mark.parametrize(("given", "told"), BENCHED.values(), ids=BENCHED)
def test_all_of_a_bench_is_checked_before_the_first_is_compiled(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, given: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr("pruneir.deployment.compiling.Compiler.compile", None)
    ran = cli("bench", "net.onnx", *given, "--target", "x86")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert told in ran.err


def test_what_is_a_link_to_the_input_is_the_input(cli: Cli, folder: Path) -> None:
    os.link(folder / "net.onnx", folder / "link.onnx")
    ran = cli("optimize", "net.onnx", *SLIM, "-o", "link.onnx", "--force")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "link.onnx is the input" in ran.err


def test_an_existing_recipe_is_replaced_by_force(cli: Cli, folder: Path) -> None:
    assert cli("optimize", "net.onnx", *SLIM, "--write-recipe", "bad.toml", "--force").code == 0
    assert "[[pass]]" in (folder / "bad.toml").read_text()


def test_a_written_budget_in_macs_can_be_replayed(cli: Cli, folder: Path) -> None:
    ran = cli("optimize", "net.onnx", "--pass", "filter{macs=0.7}", "--write-recipe", "new.toml", "-o", "one.onnx")
    assert ran.code == 0
    assert "macs = 0.7" in (folder / "new.toml").read_text()
    assert cli("optimize", "net.onnx", "--recipe", "new.toml", "-o", "two.onnx").code == 0


def test_the_warning_names_what_stopped_the_cut(cli: Cli) -> None:
    ran = cli("optimize", "net.onnx", "--pass", "slim{max_per_group=0}", "--dry-run")
    assert "slim: nothing to prune: max_per_group=0" in " ".join(ran.err.split())
    ran = cli("optimize", "net.onnx", "--pass", "slim{ratio=0}", "--dry-run")
    assert "slim: nothing to prune: the budget asks for no channel" in " ".join(ran.err.split())


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


FAILURES = {
    "a full disk": (OSError(errno.ENOSPC, "No space left on device", "log.txt"), "log.txt cannot be written (No space"),
    "no memory": (MemoryError(), "there is not enough memory; give fewer samples"),
}


@pytest.mark.parametrize(("error", "told"), FAILURES.values(), ids=FAILURES)
def test_what_the_machine_lacks_is_no_bug(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("pruneir.api.run", fail)
    ran = cli("optimize", "net.onnx", *SLIM)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert told in ran.err


def test_a_drawing_that_cannot_be_written_leaves_the_old_one(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = pytest.importorskip("matplotlib.figure")

    def full(self: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(figure.Figure, "savefig", full)
    (folder / "old.png").write_bytes(b"old")
    np.savez(folder / "some.npz", x=np.random.default_rng(0).random((4, 8, 8), np.float32))
    before = contents(folder)
    ran = cli("sensitivity", "net.onnx", "--data", "some.npz", "--plot", "old.png", "--force", "-q")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "old.png cannot be written (No space left on device)" in ran.err
    assert contents(folder) == before


def test_an_interrupt_is_130(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pruneir.api.run", interrupt)
    before = contents(folder)
    assert cli("optimize", "net.onnx", *SLIM).code == 130
    assert contents(folder) == before
