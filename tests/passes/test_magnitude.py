"""`magnitude`: which weights go, how many, what stays, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pruneir.api import Optimized, optimize, optimize_by
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.pipeline import parse_pass, read_recipe

NETWORK = "x[N,3,8,8] -> y { a = Conv(x, w1[16,3,3,3], b1[16]); r = Relu(a); f = Flatten(r); y = Gemm(f, w2[576,10], b2[10]) }"
COUNTS = {"w1": 432, "w2": 5760}


def network() -> Graph:
    return parse(NETWORK)


def left(made: Optimized) -> dict[str, int]:
    return {name: int(np.count_nonzero(made.graph.initializers[name])) for name in COUNTS}


def pruned(text: str, graph: Graph | None = None, **options: object) -> Optimized:
    made = optimize(graph or network(), [text], **options)  # type: ignore[arg-type]
    assert made.ok
    return made


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.99])
def test_one_threshold_for_all_layers_leaves_the_share_that_is_asked(sparsity: float) -> None:
    made = pruned(f"magnitude{{sparsity={sparsity}}}")
    total = sum(COUNTS.values())
    assert sum(left(made).values()) == total - int(total * sparsity + 1e-9)
    for name in COUNTS:  # the same q everywhere: |w| / σ splits where it does in the other layer
        whole, now = network().initializers[name], made.graph.initializers[name]
        scaled = np.abs(whole) / whole.astype(np.float64).std()
        if sparsity:
            gone, stay = scaled[now == 0], scaled[now != 0]
            assert gone.max() <= stay.min()
        assert np.array_equal(now[now != 0], whole[now != 0])


@pytest.mark.parametrize("sparsity", [0.3, 0.9])
def test_local_takes_the_same_share_of_each(sparsity: float) -> None:
    found = left(pruned(f"magnitude{{sparsity={sparsity},scope=local}}"))
    assert found == {name: count - int(count * sparsity + 1e-9) for name, count in COUNTS.items()}


@pytest.mark.parametrize("quality", [0.0, 0.5, 1.5])
def test_quality_is_in_deviations_of_the_layer(quality: float) -> None:
    made = pruned(f"magnitude{{quality={quality}}}")
    for name in COUNTS:
        whole = network().initializers[name]
        expected = np.where(np.abs(whole) >= quality * whole.astype(np.float64).std(), whole, 0)
        assert np.array_equal(made.graph.initializers[name], expected)


def test_deviation_is_of_the_weights_that_are_left() -> None:
    graph = network()
    w = graph.initializers["w2"].copy()
    w[::2] = 0
    graph.initializers["w2"] = w
    made = pruned("magnitude{quality=1}", graph)
    spread = w[w != 0].astype(np.float64).std()
    assert left(made)["w2"] == (np.abs(w) >= spread).sum()


def test_qualities_and_ratios_by_glob() -> None:
    made = pruned('magnitude{quality=0,qualities=["a=1"]}')
    assert left(made)["w2"] == 5760
    assert 0.2 < left(made)["w1"] / 432 < 0.45
    made = pruned("magnitude{sparsity=0}", ratio={"w2": 0.75})
    assert left(made) == {"w1": 432, "w2": 1440}
    made = pruned('magnitude{sparsity=0.9,qualities=["w1=0"]}')  # the total is reached all the same
    assert left(made) == {"w1": 432, "w2": sum(COUNTS.values()) - int(0.9 * sum(COUNTS.values())) - 432}


def test_left_goes_on_from_what_is_there() -> None:
    made = optimize(network(), ["magnitude{sparsity=0.5,of=left,scope=local}"] * 3)
    assert made.ok
    assert left(made) == {"w1": 54, "w2": 720}
    made = optimize(network(), ["magnitude{sparsity=0.5,of=left}"], rounds=2, validation=_data())
    assert sum(left(made).values()) == pytest.approx(sum(COUNTS.values()) / 4, abs=2)


@pytest.mark.parametrize(
    ("text", "shape", "axis", "of", "few"),
    [
        ("x[N,16] -> y { y = Gemm(x, w[16,6]) }", (16, 6), 0, 4, 2),
        ("x[N,18] -> y { y = Gemm(x, w[6,18], transB=1) }", (6, 18), 1, 4, 1),
        ("x[N,8,4,4] -> y { y = Conv(x, w[5,8,3,3]) }", (5, 8, 3, 3), 1, 8, 3),
    ],
)
def test_patterns_keep_the_largest_of_each_group(
    text: str, shape: tuple[int, ...], axis: int, of: int, few: int
) -> None:
    whole = parse(text).initializers["w"]
    now = optimize(parse(text), [f'magnitude{{pattern="{few}:{of}"}}']).graph.initializers["w"]
    rows, kept = np.moveaxis(np.abs(whole), axis, -1), np.moveaxis(now != 0, axis, -1)
    for start in range(0, shape[axis], of):
        part, there = rows[..., start : start + of], kept[..., start : start + of]
        assert (there.sum(axis=-1) == min(few, part.shape[-1])).all()
        assert (np.where(there, part, np.inf).min(axis=-1) >= np.where(there, -np.inf, part).max(axis=-1)).all()


@pytest.mark.parametrize(
    ("options", "untouched", "note"),
    [({"keep": ["a"]}, "w1", "kept by --keep"), ({"only": ["w1"]}, "w2", "left out by --only")],
)
def test_globs_hold(options: dict[str, Any], untouched: str, note: str) -> None:
    made = pruned("magnitude{sparsity=0.5}", **options)
    assert left(made)[untouched] == COUNTS[untouched]
    assert [row.note for row in made.outcome.layers if row.name == untouched] == [note]
    assert made.plan.changed == set(COUNTS) - {untouched}


def test_the_largest_weight_of_a_layer_stays() -> None:
    assert left(pruned("magnitude{quality=1000}")) == {"w1": 1, "w2": 1}
    assert left(pruned("magnitude", ratio={"*": 1.0})) == {"w1": 1, "w2": 1}


def test_report_and_recipe(tmp_path: Path) -> None:
    made = optimize(network(), ["magnitude{sparsity=0.9}"], ratio={"w1": 0.5})
    report = made.report
    assert [(row["layer"], row["nonzero"]["after"]) for row in report["layers"]] == [
        ("a", 216),
        ("y", left(made)["w2"]),
    ]
    assert report["stored"]["after"]["packed"] < report["stored"]["before"]["packed"] == 4 * sum(COUNTS.values())
    assert report["macs_without_zeros"] == 36 * 216 + left(made)["w2"]
    made.save(tmp_path / "a.onnx", recipe=tmp_path / "r.toml")
    optimize_by(read_recipe(tmp_path / "r.toml"), network()).save(tmp_path / "b.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_zeros_stay_while_training() -> None:
    pytest.importorskip("torch")
    made = optimize(network(), ["magnitude{sparsity=0.8}", "train{epochs=1,threads=1}"], data=_data())
    zero = optimize(network(), ["magnitude{sparsity=0.8}"]).graph.initializers
    for name in COUNTS:
        trained = made.graph.initializers[name]
        assert ((trained == 0) == (zero[name] == 0)).all()
        assert not np.signbit(trained[trained == 0]).any()  # −0 takes bits where files are compressed
        assert not np.array_equal(made.graph.initializers[name], zero[name])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("magnitude{sparsity=1}", "sparsity=1 is not a share from 0 to less than 1"),
        ("magnitude{quality=-1}", "quality=-1 is not a number from 0 up"),
        ("magnitude{quality=1,sparsity=0.9}", "quality is instead of sparsity"),
        ('magnitude{quality=1,pattern="2:4"}', "pattern is instead of quality"),
        ('magnitude{pattern="4:2"}', "is not N:M"),
        (
            'magnitude{pattern="2:99999999999999999999"}',
            "is not N:M with N of M weights to keep, such as 2:4, M at most",
        ),
        ("magnitude{qualities=[w1]}", "takes GLOB=Q"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(PruneirError, match=says):
        parse_pass(text)


def test_a_quality_for_nothing_is_said() -> None:
    with pytest.raises(PruneirError, match="no weight is called 'w9'"):
        optimize(network(), ['magnitude{qualities=["w9=1"]}'])


def _data() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(32, 3, 8, 8)).astype(np.float32), "y": rng.integers(0, 10, 32)}
