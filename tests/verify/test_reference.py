"""The references, written out by hand for small networks, and met by pruned ones."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from pruneir import surgery
from pruneir.coupling import Coupling, couple
from pruneir.graph import check, parse
from pruneir.onnx_io import session
from pruneir.shapes import infer
from pruneir.verify import check_model, held, kept_positions, masked, random_feeds, verify

BN = "BatchNormalization({0}, {1}.g[{2}], {1}.b[{2}], {1}.m[{2}], {1}.v[{2}])"


def bn(source: str, name: str, channels: int) -> str:
    return f"{name} = " + BN.format(source, name, channels)


CHAIN = f"x[N,3,8,8] -> y {{ a = Conv(x, w1[6,3,3,3], c1[6]); {bn('a', 'n', 6)}; r = Relu(n);"
CHAIN += " y = Conv(r, w2[4,6,3,3], c2[4], pads=[1,1,1,1]) }"
RESIDUAL = "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); b = Conv(a, w2[6,6,3,3], pads=[1,1,1,1]); s = Add(a, b);"
RESIDUAL += " y = Conv(s, w3[4,6,1,1]) }"
CONCAT = "x[N,3,8,8] -> y { a = Conv(x, w1[4,3,1,1]); b = Conv(x, w2[5,3,1,1]); c = Concat(a, b, axis=1);"
CONCAT += " y = Conv(c, w3[2,9,1,1]) }"
DEPTHWISE = "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); d = Conv(a, w2[6,1,3,3], c2[6], group=6, pads=[1,1,1,1]);"
DEPTHWISE += " y = Conv(d, w3[4,6,1,1]) }"
GROUPED = "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); d = Conv(a, w2[9,2,3,3], c2[9], group=3);"
GROUPED += " y = Conv(d, w3[4,9,1,1]) }"
SHARED = "x[N,3,8,8] -> y { k[6]; a = Conv(x, w1[6,3,1,1], k); b = Conv(a, w2[6,6,1,1], k); y = Conv(b, w3[4,6,1,1]) }"
DIVIDED = "x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); d = Div(a, q[6,1,1]); y = Conv(d, w3[4,6,1,1]) }"
HELD_CONSTANT = "x[N,8] -> y { w = Constant(value=tensor[8,6]); a = MatMul(x, w); r = Relu(a); y = MatMul(r, v[6,2]) }"
FLATTENED = "x[N,3,4,4] -> y { a = Conv(x, w1[6,3,1,1]); r = Relu(a); f = Flatten(r); y = Gemm(f, w2[96,5], c2[5]) }"
TRANSPOSED = "x[N,3,4,4] -> y { a = ConvTranspose(x, w1[3,6,2,2], c1[6], strides=[2,2]); s = Sigmoid(a);"
TRANSPOSED += " y = ConvTranspose(s, w2[6,2,3,3], pads=[1,1,1,1]) }"
SAME = "x[N,3,9,8] -> y { a = Conv(x, w1[6,3,1,1], c1[6]); s = Sigmoid(a);"
SAME += ' y = Conv(s, w2[4,6,3,2], strides=[2,1], auto_pad="SAME_UPPER") }'
RECURRENT = "opset 13; x[5,N,3] -> y { r = DequantizeLinear(q[1,18,6]:i8, 0.1, 0:i8); a, _ = GRU(x, w[1,18,3], r, hidden_size=6)"
RECURRENT += "; s = Squeeze(a, {1}); y = MatMul(s, v[6,4]) }"
POSITIONS = "x[N,3,8,8] -> y { p = Conv(k[1,5,8,8], w1[6,5,1,1]); a = Conv(x, w2[6,3,1,1]); s = Add(a, p)"
POSITIONS += "; y = Conv(s, w3[4,6,1,1]) }"
OLD = "opset 7; " + CHAIN

NETWORKS = {
    "chain": CHAIN,
    "residual": RESIDUAL,
    "concat": CONCAT,
    "depthwise": DEPTHWISE,
    "grouped": GROUPED,
    "shared vector": SHARED,
    "divisor": DIVIDED,
    "constant operator": HELD_CONSTANT,
    "flattened": FLATTENED,
    "transposed": TRANSPOSED,
    "auto_pad": SAME,
    "recurrent, weights computed": RECURRENT,
    "convolved constant": POSITIONS,
    "opset 7": OLD,
}


def cut_some(source: str, channels: tuple[int, ...] = (1, 2)) -> tuple[Coupling, np.ndarray]:
    """A coupling, and the removal of some channels of each group that is not the blocks of another."""
    graph = parse(source)
    graph.declare("y", TensorProto.FLOAT, [None] * len(infer(graph).shape("y") or ()))  # as the checker demands
    coupling = couple(graph)
    groups = [group for group in coupling.groups if not group.positions]
    assert groups
    removed = [(group, np.array([c for c in channels if c < len(group) - 1], np.int64)) for group in groups]
    return coupling, coupling.dead(removed)


@pytest.mark.parametrize("source", NETWORKS.values(), ids=NETWORKS)
def test_pruned_equals_masked(source: str) -> None:
    coupling, dead = cut_some(source)
    pruned, reference = surgery.apply(coupling, dead).graph, masked(coupling, dead)
    check(reference)
    check_model(reference)
    feeds = random_feeds(coupling.graph)
    verdict = verify(reference, pruned, feeds, "masked", kept_positions(coupling, dead))
    assert verdict.ok, verdict
    assert not verify(coupling.graph, reference, feeds).ok, "masking was to change the outputs"


@pytest.mark.parametrize("source", NETWORKS.values(), ids=NETWORKS)
def test_held_at_zero(source: str) -> None:
    """Held at nothing, a removed channel gives nothing to whoever reads it, as where it is masked."""
    coupling, dead = cut_some(source)
    reference = held(coupling, dead, {})
    check(reference)
    check_model(reference)
    feeds = random_feeds(coupling.graph)
    assert verify(surgery.apply(coupling, dead).graph, reference, feeds).ok


def test_masked_chain() -> None:
    coupling, dead = cut_some(CHAIN)
    before, after = coupling.graph.initializers, masked(coupling, dead).initializers
    gone, stays = [1, 2], [0, 3, 4, 5]
    for name in ("w1", "c1", "n.g", "n.b", "n.m"):
        assert not after[name][gone].any(), name
        np.testing.assert_array_equal(after[name][stays], before[name][stays])
    assert (after["n.v"][gone] == 1).all(), "a variance divides"
    assert not after["w2"][:, gone].any()
    np.testing.assert_array_equal(after["w2"][:, stays], before["w2"][:, stays])
    np.testing.assert_array_equal(after["c2"], before["c2"])


def test_masked_residual() -> None:
    coupling, dead = cut_some(RESIDUAL)
    after = masked(coupling, dead).initializers
    assert not after["w1"][[1, 2]].any()
    assert not after["w2"][[1, 2]].any()
    assert not after["w2"][:, [1, 2]].any()
    assert after["w2"][0, 0].all()
    assert not after["w3"][:, [1, 2]].any()


def test_masked_concat() -> None:
    coupling, dead = cut_some(CONCAT)
    after = masked(coupling, dead).initializers
    np.testing.assert_array_equal(np.flatnonzero(~after["w3"].any(axis=(0, 2, 3))), [1, 2, 5, 6])


def test_masked_depthwise() -> None:
    coupling, dead = cut_some(DEPTHWISE)
    after = masked(coupling, dead).initializers
    for name in ("w1", "w2", "c2"):
        np.testing.assert_array_equal(np.flatnonzero(~after[name].reshape(6, -1).any(axis=1)), [1, 2], name)


def test_a_divisor_is_one() -> None:
    coupling, dead = cut_some(DIVIDED)
    assert (masked(coupling, dead).initializers["q"][[1, 2]] == 1).all()


def test_uses_that_disagree_read_copies() -> None:
    coupling = couple(parse(SHARED))
    first, second = coupling.groups
    reference = masked(coupling, coupling.dead([(first, np.array([0])), (second, np.array([4, 5]))]))
    np.testing.assert_array_equal(np.flatnonzero(reference.initializers["k@a"] == 0), [0])
    np.testing.assert_array_equal(np.flatnonzero(reference.initializers["k"] == 0), [4, 5])


def test_integers_are_left() -> None:
    coupling, dead = cut_some("x[N,3,8,8] -> y { a = Conv(x, w1[6,3,1,1]); s = Gather(a, {5,4,3,2,1,0}, axis=1);"
                              " y = Conv(s, w2[4,6,1,1]) }")  # fmt: skip
    reference = masked(coupling, dead)
    np.testing.assert_array_equal(reference.initializers["s.1"], [5, 4, 3, 2, 1, 0])
    assert verify(reference, surgery.apply(coupling, dead).graph, random_feeds(coupling.graph), "masked").ok


@pytest.mark.parametrize("source", [CHAIN, SAME, OLD], ids=["pads", "auto_pad", "opset 7"])
def test_held_channels_and_their_padding_read_the_constant(source: str) -> None:
    """A convolution of a constant image whose padding reads the constant too adds the same to every pixel."""
    coupling, dead = cut_some(source)
    (operator,) = [op for op in coupling.graph.operators if op.outputs == ("y",)]
    held_at = np.array([9, 2.0, -3.0, 9, 9, 9])  # what stands where a channel stays is not looked at
    feeds = random_feeds(coupling.graph)
    nothing = held(coupling, dead, {})
    something = held(coupling, dead, {(operator, 0, 1): held_at})
    check(something)
    check_model(something)
    weights = coupling.graph.initializers["w2"].sum(axis=(2, 3))
    expected = weights[:, 1] * 2 - weights[:, 2] * 3
    difference = session(something).run(["y"], feeds)[0] - session(nothing).run(["y"], feeds)[0]
    np.testing.assert_allclose(difference, np.broadcast_to(expected[:, None, None], difference.shape), atol=1e-4)


def test_held_without_a_convolution() -> None:
    coupling, dead = cut_some(HELD_CONSTANT)
    (operator,) = [op for op in coupling.graph.operators if op.outputs == ("y",)]
    reference = held(coupling, dead, {(operator, 0, 1): np.full(6, 2.0)})
    feeds = random_feeds(coupling.graph)
    pruned = surgery.apply(coupling, dead).graph
    expected = session(pruned).run(["y"], feeds)[0] + 2 * coupling.graph.initializers["v"][[1, 2]].sum(axis=0)
    np.testing.assert_allclose(session(reference).run(["y"], feeds)[0], expected, rtol=1e-5)
