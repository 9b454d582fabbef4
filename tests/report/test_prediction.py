"""Predicted times in the table and the document of a run."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import pruneir
from pruneir import backend
from pruneir.cli import main
from pruneir.cost import cost
from pruneir.coupling import couple
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.onnx_io import save
from pruneir.report.table import table
from pruneir.targets import Target
from support.toy import Toy, entries

NET = "x[N,3,8,W] -> y { a = Conv(x, wa[16,3,3,3]); r = Relu(a); y = Conv(r, wy[4,16,1,1]) }"


class Clocked(Toy):
    """A µs a multiply-accumulate."""

    name = "clocked"
    targets = ("x86-avx2", "x86-avx512")
    static = False
    clocked = "one bead a µs"

    def predict_ms(self, graph: Graph, target: Target) -> float | None:
        if target.name == "x86-avx512":
            return None
        known = graph.type_of("x")
        if known is not None and known.shape is not None and known.shape[3] == "W":
            raise PruneirError("input 'x': axis 3 is symbolic; give --input-shape")
        return 1e-3 * cost(couple(graph)).macs


@pytest.fixture(autouse=True)
def _backends(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = entries(toy=Toy, clocked=Clocked)
    monkeypatch.setattr(backend, "_entries", lambda: installed)


def shown(made: pruneir.Optimized) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(table(made.outcome))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_and_after() -> None:
    made = pruneir.optimize(parse(NET), ["filter{ratio=0.5}"], target="x86-avx2", input_shapes={"x": (1, 3, 8, 8)})
    before, after = (1e-3 * figure.macs for figure in (made.outcome.before, made.outcome.after))
    assert made.report["predicted_ms"] == {"before": before, "after": after}
    (line,) = [line for line in shown(made).splitlines() if "predicted time" in line]
    told = f"predicted time {before:.1f} ms → {after:.2f} ms 2.00× (x86-avx2, one bead a µs)"
    assert line.split() == told.split()


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("x86-avx2", "no time predicted: input 'x': axis 3 is symbolic; give --input-shape"),
        ("cuda", "no time predicted: no installed backend compiles for 'cuda'"),
        ("x86-avx512", ""),
        ("cortex-m4", ""),
        ("any", ""),
    ],
)
def test_without_a_prediction_the_rest_stays(target: str, why: str) -> None:
    made = pruneir.optimize(parse(NET), ["filter{ratio=0.5}"], target=target)
    assert made.report["predicted_ms"] is None
    text = shown(made)
    assert "MACs" in text
    assert "predicted time" not in text
    assert ("no time predicted" in text) == bool(why)
    assert why in " ".join(text.split())


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(parse(NET.replace("W", "8")), tmp_path / "net.onnx")
    call = ["optimize", str(tmp_path / "net.onnx"), "--pass", "filter{ratio=0.5}", "--target", "x86-avx2", "--dry-run"]
    assert main(call) == 0
    assert "(x86-avx2, one bead a µs)" in capsys.readouterr().err
    assert main([*call, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["predicted_ms"]
    assert 0 < found["after"] < found["before"]


@pytest.mark.parametrize(
    ("target", "kept"),
    [("any", 50), ("cortex-m4", 52), ("x86", 56), ("x86-avx2", 56), ("x86-avx512", 64), ("cuda", 56)],
)
@pytest.mark.parametrize("chain", ["filter{ratio=0.5}", "slim{ratio=0.5}"])
def test_kept_channels_are_rounded_up_to_what_the_target_likes(chain: str, target: str, kept: int) -> None:
    text = "x[1,3,8,8] -> y { a = Conv(x, wa[100,3,3,3]); n = BatchNormalization(a, g[100], b[100], m[100], v[100]); "
    text += "r = Relu(n); y = Conv(r, wy[4,100,1,1]) }"
    (row,) = pruneir.optimize(parse(text), [chain], target=target, verify=False).outcome.rows
    assert (row.channels_before, row.channels_after) == (100, kept)
