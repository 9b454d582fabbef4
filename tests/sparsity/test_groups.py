"""SIMD groups: how weights fall into them, what they are worth, which go."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.graph import parse
from pruneir.sparsity import weights
from pruneir.sparsity.groups import Importance, Layout, lowest, scores, unfit
from pruneir.targets import Order

OPERATORS = {
    "Conv": "x[N,3,8,8] -> y { y = Conv(x, w[10,3,3,3]) }",
    "Conv, 2 blocks": "x[N,6,8,8] -> y { y = Conv(x, w[10,3,3,3], group=2) }",
    "ConvTranspose, 2 blocks": "x[N,6,8,8] -> y { y = ConvTranspose(x, w[6,5,3,3], group=2) }",
    "Gemm": "x[N,6] -> y { y = Gemm(x, w[6,11]) }",
    "Gemm transB": "x[N,6] -> y { y = Gemm(x, w[11,6], transB=1) }",
    "MatMul": "x[N,4,6] -> y { y = MatMul(x, w[6,11]) }",
    "MatMul of a stack": "x[N,2,4,6] -> y { y = MatMul(x, w[2,6,11]) }",
    "MatMul from the left": "x[N,6,5] -> y { y = MatMul(w[11,6], x) }",
}


def layout(text: str, width: int = 4, order: Order = "outputs") -> Layout:
    (weight,) = weights(parse(text))
    return Layout(weight, width, order)


@pytest.mark.parametrize("text", OPERATORS.values(), ids=OPERATORS)
def test_every_weight_is_in_one_group_and_the_last_of_a_row_is_short(text: str) -> None:
    found = layout(text)
    seen = np.zeros(found.weight.array.shape, int)
    for index in np.ndindex(found.rms.shape):
        kept = np.ones(found.rms.shape, bool)
        kept[index] = False
        gone = ~found.mask(kept)
        assert gone.sum() == found.sizes[index[-1]]
        assert found.rms[index] == pytest.approx(np.sqrt(np.square(found.weight.array[gone]).mean()))
        seen += gone
    assert (seen == 1).all()
    assert found.sizes[:-1].tolist() == [4] * (len(found.sizes) - 1)
    assert found.sizes[-1] < 4


@pytest.mark.parametrize("text", OPERATORS.values(), ids=OPERATORS)
def test_a_group_is_consecutive_outputs_of_one_block_at_one_input(text: str) -> None:
    found, graph = layout(text), parse(text)
    axis = found.weight.output_axis
    kept = np.ones(found.rms.shape, bool)
    kept.reshape(-1)[-2] = False
    gone = np.argwhere(~found.mask(kept))
    assert (np.diff(gone[:, axis]) == 1).all()
    assert all(len(set(column)) == 1 for place, column in enumerate(gone.T) if place != axis)
    blocks = graph.operators[0].attribute("group", 1)
    if graph.operators[0].is_a("Conv"):
        assert len(set(gone[:, 0] // (10 // blocks))) == 1


def test_in_the_order_of_inputs_a_group_is_a_part_of_one_filter() -> None:
    found = layout(OPERATORS["Conv"], 8, "inputs")
    kept = np.ones(found.rms.shape, bool)
    kept[3, 1] = False
    assert np.flatnonzero(~found.mask(kept)).tolist() == list(range(3 * 27 + 8, 3 * 27 + 16))
    assert found.sizes.tolist() == [8, 8, 8, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x[N,6,8,8] -> y { y = Conv(x, w[6,1,3,3], group=6) }", "depthwise"),
        ("x[N,6] -> y { a = Gemm(x, w[6,6]); y = Gemm(a, w, transB=1) }", "different axes"),
        ("x[N,6] -> y { a = Gemm(x, w[6,6]); y = Gemm(a, w) }", ""),
        (OPERATORS["Conv, 2 blocks"], ""),
    ],
)
def test_what_has_no_groups(text: str, says: str) -> None:
    reason = unfit(weights(parse(text))[0], 8, "outputs")
    assert says in reason
    assert bool(reason) == bool(says)


@pytest.mark.parametrize("importance", ["std", "lamp", "rms"])
def test_just_enough_of_the_lowest_go(importance: Importance) -> None:
    text = "x[N,3,8,8] -> y { a = Conv(x, w[20,3,3,3]); f = Flatten(a); y = Gemm(f, v[720,33]) }"
    layouts = [Layout(weight, 8) for weight in weights(parse(text))]
    total = sum(each.weight.array.size for each in layouts)
    kept = lowest(layouts, importance, 0.3 * total)
    left = sum(each.mask(keep).sum() for each, keep in zip(layouts, kept, strict=True))
    assert 0.3 * total - 8 < left <= 0.3 * total
    scored = [scores(each, importance) for each in layouts]
    gone = max(s[~keep].max() for s, keep in zip(scored, kept, strict=True) if not keep.all())
    assert gone <= min(s[keep].min() for s, keep in zip(scored, kept, strict=True))


def test_what_is_zero_already_counts_and_the_best_group_of_a_layer_stays() -> None:
    found = layout(OPERATORS["Gemm"])
    half = found.mask(np.arange(found.rms.size).reshape(found.rms.shape) % 2 == 0)
    now = Layout(weights(parse(OPERATORS["Gemm"]))[0], 4)
    now.weight.array[~half] = 0
    (kept,) = lowest([now], "std", half.sum())
    assert now.mask(kept)[half].all()
    (last,) = lowest([now], "std", 0)
    assert last.sum() == 1
    assert last.reshape(-1)[now.rms.argmax()]


def test_lamp_is_what_is_lost_of_what_would_be_left() -> None:
    found = layout("x[N,1] -> y { y = Gemm(x, w[1,3]) }", 1)
    found.weight.array[:] = [[3.0, 1.0, 2.0]]
    assert scores(found, "lamp")[0] == pytest.approx([9 / 9, 1 / 14, 4 / 13])
