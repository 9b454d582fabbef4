"""`explain`: members, positions, constraints, every reason, and what would unlock it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from pruneir.coupling import couple
from pruneir.explain import Reader, constraints, layers, layout, locks
from pruneir.graph import Graph, Operator, parse
from pruneir.onnx_io import load, save
from pruneir.pipeline.passes import Context
from pruneir.pipeline.prepare import folded
from pruneir.pipeline.registry import parse_pass
from support.properties import differences

Cli = Callable[..., Any]
ROOT = Path(__file__).parents[2]
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

GROUPED = """x[N,3,8,8] -> y {
  a = Conv(x, w1[16,3,1,1])
  c = Conv(a, g[16,4,1,1], group=4)
  s = Add(a, c)
  y = Conv(s, w2[4,16,1,1])
}"""
STREAM = """x[N,5,6] -> y {
  e = MatMul(x, we[6,8])
  n1 = LayerNormalization(e, s1[8], b1[8])
  h = MatMul(n1, w1[8,12]); r = Relu(h); m = MatMul(r, w2[12,8])
  a = Add(e, m)
  n2 = LayerNormalization(a, s2[8], b2[8])
  y = MatMul(n2, wy[8,3])
}"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        path = tmp_path / "net.onnx"
        save(parse(text), path, force=True)
        return path

    return written


# Positions

LAYOUTS: dict[str, tuple[list[int], str]] = {
    "whole": ([0, 1, 2, 3], "all 4"),
    "run": ([-1, 0, 1, 2, -1], "1–3 of 5"),
    "one": ([-1, -1, 0, -1], "2 of 4"),
    "flattened": ([0, 0, 0, 1, 1, 1], "all 6, 3 each"),
    "in every block": ([0, 1, 0, 1, 0, 1], "0–1 of 6, and again every 2: 3 times"),
    "every other": ([0, -1, 1, -1, 2, -1], "0–4 of 6, every 2th"),
    "reversed": ([2, 1, 0], "all 3, backwards"),
    "scattered": ([0, 2, 1, -1], "3 of 4 positions, scattered"),
    "part of the channels": ([-1, 4, 5, 6], "1–3 of 4"),
    "flattened in every block": ([0, 0, 1, 1, 0, 0, 1, 1], "0–3 of 8, 2 each, and again every 4: 2 times"),
}


@pytest.mark.parametrize(("channel", "words"), LAYOUTS.values(), ids=LAYOUTS)
def test_positions_in_words(channel: list[int], words: str) -> None:
    assert str(layout(np.array(channel))) == words


@pytest.mark.parametrize("channel", [c for c, words in LAYOUTS.values() if "scattered" not in words])
def test_the_formula_gives_the_axis(channel: list[int]) -> None:
    found = layout(np.array(channel))
    made = [-1] * found.length
    for k in range(found.last - found.first + 1):
        for j in range(found.copies):
            for i in range(found.repeat):
                made[found.start + k * found.step + j * found.distance + i] = found.first + k
    assert made == channel


# One name


def test_a_group_of_blocks_and_positions(cli: Cli, write: Callable[[str], Path]) -> None:
    path = write(GROUPED)
    found = json.loads(cli("explain", path, "a", "--format", "json").out)
    blocks, positions = found["groups"]
    assert (blocks["channels"], positions["channels"]) == (4, 4)
    assert blocks["positions"] == [positions["name"]]
    at = {m["tensor"]: m["positions"] for m in blocks["members"] if m["role"] == "out"}
    assert at["w1"]["text"] == "all 16, 4 each"
    assert at["w1"] | {"start": 0, "step": 4, "repeat": 4, "copies": 1} == at["w1"]
    at = {m["tensor"]: m["positions"]["text"] for m in positions["members"] if m["role"] == "out"}
    assert at["w1"] == "0–3 of 16, and again every 4: 4 times"
    assert any("pairs=blocks" in sentence for sentence in blocks["constraints"])
    assert any(f"all 4 blocks of {blocks['name']}" in sentence for sentence in positions["constraints"])
    text = cli("explain", path, positions["name"]).err
    assert "at least 1 of its 4 channels stays" in text


def test_shared_weights_are_a_constraint() -> None:
    coupling = couple(
        parse(
            "x[N,3,8,8] -> y { a = Conv(x, w1[8,3,1,1]); b = Conv(a, w[8,8,1,1]); c = Conv(b, w); y = Conv(c, v[4,8,1,1]) }"
        )
    )
    assert "w is shared by b, c, which are cut alike" in constraints(coupling.groups[0])


def test_every_reason_of_a_locked_axis(cli: Cli, write: Callable[[str], Path]) -> None:
    """The residual stream is held by both norms, not only by the first that was met."""
    path = write(STREAM)
    found = json.loads(cli("explain", path, "we", "--format", "json").out)
    stream = next(axis for axis in found["axes"] if axis["axis"] == 1)
    assert {lock["node"]: lock["code"] for lock in stream["locks"]} == {"n1": "PIR010", "n2": "PIR010"}
    assert all("cut_norms=true" in lock["remedy"] and lock["channels"] == 8 for lock in stream["locks"])
    text = cli("explain", path, "we").err
    assert "stays: n1: " in text
    assert "stays: n2: " in text


def test_what_holds_a_factor_of_free_positions() -> None:
    """Whole blocks can go; what keeps the positions inside of them is told too."""
    coupling = couple(
        parse(
            "opset 21\nx[N,3,6,6] -> y { a = Conv(x, w1[8,3,3,3])"
            "; n = GroupNormalization(a, s[8], b[8], num_groups=4); y = Conv(n, w2[4,8,1,1]) }"
        )
    )
    axis = next(each for each in Reader(coupling).axes(["w1"]) if each.axis == 0)
    assert [group.name for group in axis.groups] == ["a"]
    assert not axis.locks
    assert [reason.code for reason in axis.partly] == ["PIR010"]


def test_globs_and_near_matches(cli: Cli, write: Callable[[str], Path]) -> None:
    path = write(STREAM)
    assert json.loads(cli("explain", path, "n?", "--format", "json").out)["names"] == ["n1", "n2"]
    ran = cli("explain", path, "hh")
    assert (ran.code, ran.out) == (2, "")
    assert "the network has no node, tensor or group 'hh'; " in ran.err


# Everything


def test_the_summary_says_what_each_reason_holds(cli: Cli, write: Callable[[str], Path]) -> None:
    path = write(STREAM)
    found = json.loads(cli("explain", path, "--format", "json").out)
    norms = [lock for lock in found["locks"] if lock["code"] == "PIR010"]
    assert [(lock["node"], lock["channels"], lock["holds"]) for lock in norms] == [
        ("n1", 8, ["e", "m"]),
        ("n2", 8, ["e", "m"]),
    ]
    assert [lock["code"] for lock in found["locks"]][-2:] == ["PIR001", "PIR001"]
    text = " ".join(cli("explain", path).err.split())
    assert "n1, n2 LayerNormalization takes statistics over axis 2" in text
    assert "so 8 channels of e, m stay. Pass cut_norms=true" in text
    assert "2 of 4 layers can lose channels; not: e PIR010 PIR001 y PIR001 PIR010" in text


def test_cut_norms_shows_what_opens(cli: Cli, write: Callable[[str], Path]) -> None:
    path = write(STREAM)
    found = json.loads(cli("explain", path, "--cut-norms", "--format", "json").out)
    assert found["cut_norms"] == {"groups": ["e"], "operators": ["n1", "n2"]}
    assert not [lock for lock in found["locks"] if lock["code"] == "PIR010"]
    assert "cut_norms=true opens 8 channels: e (8)" in cli("explain", path, "--cut-norms").err


def test_reasons_of_the_same_wording_are_one_line(cli: Cli, write: Callable[[str], Path]) -> None:
    """`optimize` names the first nodes, counts the others, and ends with the interface."""
    body, value = "", "e"
    for i in range(8):
        body += f"n{i} = LayerNormalization({value}, s{i}[8], b{i}[8]); m{i} = MatMul(n{i}, w{i}[8,8]); a{i} = Add({value}, m{i});"
        value = f"a{i}"
    path = write(f"x[N,5,6] -> y {{ e = MatMul(x, we[6,8]); {body} y = MatMul({value}, wy[8,3]) }}")
    text = " ".join(cli("optimize", path, "--pass", "filter", "--dry-run").err.split()).partition("warning:")[0]
    assert text.count("LayerNormalization takes statistics") == 1
    assert "n0, n1, n2, n3 and 4 more LayerNormalization" in text
    assert text.index("[PIR010]") < text.index("[PIR001]")


# Every operator that multiplies and accumulates

KINDS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
NETWORKS = [*sorted((ROOT / "models").rglob("*.onnx")), *sorted(LIGHT.glob("*.onnx"))]


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_every_layer_is_in_a_group_or_has_a_reason(path: Path) -> None:
    graph = folded(load(path))
    coupling = couple(graph)
    known = {layer.operator: layer for layer in layers(coupling)}
    for operator in graph.operators:
        if operator.is_a(*KINDS):
            for side in (known[operator].outputs, known[operator].inputs):
                assert side.groups or side.reasons, operator
                for reason in side.reasons:
                    assert reason.node, operator
                    assert len(reason.reason) > 20, operator
                assert (side.free > 0) == bool(side.groups)


# An operator that nobody knows

UNKNOWN = """x[N,3,8,8] -> y {
  a = Conv(x, w1[8,3,1,1]); b = Relu(a)
  c = Conv(b, w2[6,8,1,1])
  d = acme::Blur(c) @"blur"
  e = Conv(d, w3[10,6,1,1]); f = Relu(e)
  y = Conv(f, w4[4,10,1,1])
}"""


def with_unknown() -> Graph:
    graph = parse(UNKNOWN)
    graph.declare("d", onnx.TensorProto.FLOAT, ["N", 6, 8, 8])
    return graph


def understood(graph: Graph) -> Graph:
    """The same graph with an operator in the unknown one's place that can be run."""
    copy = graph.copy()
    [blur] = [operator for operator in copy.operators if operator.type == "Blur"]
    copy.replace(blur, Operator("Sigmoid", blur.inputs, blur.outputs, {}, blur.name))
    return copy


def test_around_an_unknown_operator_everything_is_pruned() -> None:
    graph = with_unknown()
    coupling = couple(graph)
    assert {group.name: len(group) for group in coupling.groups} == {"a": 8, "e": 10}
    [refusal] = [reason for reason in locks(coupling) if reason.code == "PIR002"]
    assert (refusal.node, refusal.channels, refusal.holds) == ("blur", 6, ("c",))
    assert refusal.reason == "Blur of domain 'acme' has no coupling rule"
    assert "register a rule" in refusal.remedy
    result = parse_pass("filter{ratio=0.5,absorb=false}").run(graph, Context(graph))
    assert {name: array.shape for name, array in result.graph.initializers.items()} == {
        "w1": (4, 3, 1, 1),
        "w2": (6, 4, 1, 1),
        "w3": (5, 6, 1, 1),
        "w4": (4, 5, 1, 1),
    }
    assert result.reference is not None
    worst = dict(differences(understood(result.graph), understood(result.reference()), 2))
    assert max(worst.values()) <= 1


def test_an_unknown_operator_on_the_command_line(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "blur.onnx"
    save(with_unknown(), path)
    ran = cli("optimize", path, "--pass", "filter", "--no-verify")
    assert ran.code == 0
    text = " ".join(ran.err.split())
    assert "blur Blur of domain 'acme' has no coupling rule, so 6 channels of c stay. Prune around it" in text
    assert "w1" in json.loads((tmp_path / "blur.pruned.plan.json").read_text())["initializers"]
    assert "PIR002" in cli("explain", path, "blur").err


# Drawings


def test_dot(cli: Cli, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "c.dot"
    assert cli("explain", model, "c", "--dot", out).code == 0
    drawn = out.read_text()
    assert drawn.startswith("digraph ")
    assert drawn.count("{") == drawn.count("}")
    assert 'label="c\\nConv\\nwc[0] out", style=filled' in drawn
    assert 'fillcolor="#d9d9d9"' in drawn
    assert "PIR001" in drawn
    again = cli("explain", model, "c", "--dot", out)
    assert again.code == 2
    assert "--force" in again.err
    assert cli("explain", model, "c", "--dot", out, "--force").code == 0


def test_drawings_need_a_name(cli: Cli, model: Path, tmp_path: Path) -> None:
    ran = cli("explain", model, "--dot", tmp_path / "all.dot")
    assert ran.code == 2
    assert "give a node, tensor or group" in ran.err


def test_svg_without_graphviz(cli: Cli, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    ran = cli("explain", model, "c", "--svg", tmp_path / "c.svg")
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "apt-get install graphviz" in ran.err
    assert not (tmp_path / "c.svg").exists()


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs graphviz")
def test_svg(cli: Cli, model: Path, tmp_path: Path) -> None:
    assert cli("explain", model, "c", "--svg", tmp_path / "c.svg").code == 0
    assert "<svg" in (tmp_path / "c.svg").read_text()
