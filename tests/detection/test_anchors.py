"""SSD's default boxes by hand; anchors as graphs and files hold them."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

from pruneir.detection.anchors import anchors_from, anchors_of, default_boxes, load_anchors
from pruneir.detection.boxes import centred
from pruneir.detection.detect import loc_and_conf
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse

BOXES = default_boxes([(2, 3), (1, 1)], [0.2, 0.4, 0.9], [(2.0,), (0.5, 2.0)])
MIDDLES = centred(BOXES.astype(np.float64))
SPREAD = np.broadcast_to(np.array([0.1, 0.1, 0.2, 0.2]), BOXES.shape)


def test_default_boxes_by_hand() -> None:
    assert BOXES.shape == (2 * 3 * 3 + 1 * 4, 4)
    root, other = np.sqrt(0.2 * 0.4), np.sqrt(0.4 * 0.9)
    wide = (0.2 * np.sqrt(2), 0.2 / np.sqrt(2))
    np.testing.assert_allclose(MIDDLES[0], [1 / 6, 1 / 4, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(MIDDLES[1], [1 / 6, 1 / 4, root, root], rtol=1e-6)
    np.testing.assert_allclose(MIDDLES[2], [1 / 6, 1 / 4, *wide], rtol=1e-6)
    np.testing.assert_allclose(MIDDLES[3], [3 / 6, 1 / 4, 0.2, 0.2], rtol=1e-6)  # the next column
    np.testing.assert_allclose(MIDDLES[9], [1 / 6, 3 / 4, 0.2, 0.2], rtol=1e-6)  # the next row
    np.testing.assert_allclose(MIDDLES[18:20, 2:], [[0.4, 0.4], [other, other]], rtol=1e-6)
    np.testing.assert_allclose(MIDDLES[20, 2:], [0.4 / np.sqrt(2), 0.4 * np.sqrt(2)], rtol=1e-6)


FORMS: dict[str, Any] = {
    "[A, 4], corners": BOXES,
    "[A, 4], centres": MIDDLES.astype(np.float32),
    "[1, A, 4]": BOXES[None],
    "[2, A, 4]": np.stack([BOXES, SPREAD]),
    "[1, 2, A, 4]": np.stack([BOXES, SPREAD])[None],
    "[1, 2, 4·A], as Caffe has it": np.stack([BOXES, SPREAD]).reshape(1, 2, -1),
}


@pytest.mark.parametrize("array", FORMS.values(), ids=FORMS)
def test_forms(array: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "anchors.npy", array)
    for found in (anchors_from(array, "anchors"), load_anchors(tmp_path / "anchors.npy")):
        np.testing.assert_allclose(found.boxes, BOXES, atol=1e-6)
        np.testing.assert_allclose(np.broadcast_to(found.variances, BOXES.shape), SPREAD)


def test_the_documented_snippet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/detection.md").read_text()
    (snippet,) = re.findall(r"## Scoring\n\n((?:    .*\n|\n)+)", page)
    monkeypatch.chdir(root)
    exec(compile(dedent(snippet), "docs/detection.md", "exec"), {})
    points, by_class = capsys.readouterr().out.split(maxsplit=1)
    assert float(points) > 90
    assert len(ast.literal_eval(by_class)) == 10


def test_files_are_named_by_text_too(tmp_path: Path) -> None:
    np.save(tmp_path / "anchors.npy", BOXES)
    assert load_anchors(str(tmp_path / "anchors.npy")).boxes.tolist() == BOXES.tolist()
    with pytest.raises(PruneirError, match="no such file"):
        load_anchors(str(tmp_path / "none.npy"))
    with pytest.raises(TypeError):
        load_anchors(None)  # type: ignore[arg-type]


def holding(**arrays: Any) -> Graph:
    graph = parse("x[N,8] -> y { y = Gemm(x, w[8,4]) }")
    for name, array in arrays.items():
        graph.set_initializer(name, np.asarray(array, np.float32))
    return graph


@pytest.mark.parametrize("array", FORMS.values(), ids=FORMS)
def test_a_graph_that_holds_them(array: Any) -> None:
    np.testing.assert_allclose(anchors_of(holding(priors=array), len(BOXES)).boxes, BOXES, atol=1e-6)


REFUSED = {
    "none": ({}, "are no constant [A, 4]"),
    "another number": ({"priors": BOXES[:-1]}, "are no constant [A, 4]"),
    "two": ({"priors": BOXES, "others": BOXES + 1}, "could be any of the constants priors, others"),
    "not boxes": ({"priors": -np.abs(BOXES)}, "are no constant [A, 4]"),
}


@pytest.mark.parametrize(("arrays", "told"), REFUSED.values(), ids=REFUSED)
def test_graphs_that_are_refused(arrays: dict[str, Any], told: str) -> None:
    with pytest.raises(PruneirError) as caught:
        anchors_of(holding(**arrays), len(BOXES))
    assert told in str(caught.value)
    assert "anchors=FILE.npy" in str(caught.value)


@pytest.mark.parametrize("array", [np.zeros((3, 5)), np.ones(4), np.zeros((3, 4)), np.ones((3, 4), int)])
def test_arrays_that_are_none(array: Any) -> None:
    with pytest.raises(PruneirError, match="anchors: "):
        anchors_from(array, "anchors")


HEADS = {
    "by shape": ({"a": (2, 9, 21), "b": (2, 9, 4)}, ("b", "a")),
    "by name, with four classes": ({"conf": (2, 9, 4), "loc": (2, 9, 4)}, ("loc", "conf")),
    "beside others": ({"conf": (2, 9, 3), "features": (2, 8, 4, 4), "boxes": (2, 9, 4)}, ("boxes", "conf")),
}


@pytest.mark.parametrize(("shapes", "expected"), HEADS.values(), ids=HEADS)
def test_heads(shapes: dict[str, tuple[int, ...]], expected: tuple[str, str]) -> None:
    assert loc_and_conf(shapes) == expected


@pytest.mark.parametrize("shapes", [{"y": (2, 10)}, {"a": (2, 9, 4), "b": (2, 8, 3)}, {"a": (2, 9, 4), "b": (2, 9, 4)}])
def test_outputs_that_are_no_heads(shapes: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(PruneirError, match="end the exported graph at its heads"):
        loc_and_conf(shapes)
