"""Zeros on both sides of a channel, counted plainly; the threshold that a network bears."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.coupling import couple
from pruneir.graph import Graph, parse
from pruneir.sparsity.filters import below, largest_threshold, layers_of, zeros

# A trunk of which two heads and the next layer read one map; a depthwise convolution and a dense layer behind a flatten.
GRAPHS = {
    "heads": "x[N,3,8,8] -> l, k, y { a = Conv(x, wa[6,3,3,3]); r = Relu(a); l = Conv(r, wl[4,6,3,3]); "
    "k = Conv(r, wk[5,6,1,1]); y = Conv(r, wy[2,6,3,3]) }",
    "residual": "x[N,3,8,8] -> y { a = Conv(x, wa[6,3,1,1]); b = Conv(x, wb[6,3,3,3], pads=[1,1,1,1]); s = Add(a, b); "
    "y = Conv(s, wy[4,6,1,1]) }",
    "depthwise": "x[N,3,8,8] -> y { a = Conv(x, wa[6,3,1,1]); d = Conv(a, wd[6,1,3,3], group=6); "
    "y = Conv(d, wy[4,6,1,1]) }",
    "flattened": "x[N,1,4,4] -> y { a = Conv(x, wa[6,1,1,1]); f = Flatten(a); y = Gemm(f, wy[96,3]) }",
    "concatenated": "x[N,3,8,8] -> y { a = Conv(x, wa[6,3,1,1]); b = Conv(x, wb[2,3,1,1]); c = Concat(b, a, axis=1); "
    "y = Conv(c, wy[4,8,1,1]) }",
}
# The entries of a channel c of the group '/a' or 'a': of the tensors that make it, and of those that read it.
SIDES = {
    "heads": (["wa[c]"], ["wl[:, c]", "wk[:, c]", "wy[:, c]"]),
    "residual": (["wa[c]", "wb[c]"], ["wy[:, c]"]),
    "depthwise": (["wa[c]", "wd[c]"], ["wy[:, c]"]),
    "flattened": (["wa[c]"], ["wy[16 * c : 16 * c + 16]"]),
    "concatenated": (["wa[c]"], ["wy[:, c + 2]"]),
}
THRESHOLD = 0.5


def entries(graph: Graph, texts: list[str], channel: int) -> np.ndarray:
    return np.concatenate([np.ravel(eval(text, {**graph.initializers, "c": channel})) for text in texts])


@pytest.mark.parametrize("name", GRAPHS)
def test_zeros_are_those_of_all_that_makes_and_reads_a_channel(name: str) -> None:
    graph = parse(GRAPHS[name])
    graph.initializers["wa"][2] = 0
    coupling = couple(graph)
    (group,) = (group for group in coupling.groups if any(member.use.name == "wa" for member in group.members))
    found = zeros(coupling, group, layers_of(coupling, [group]), THRESHOLD)
    for side, texts in zip((found.own, found.next), SIDES[name], strict=True):
        plain = [float((np.abs(entries(graph, texts, channel)) < THRESHOLD).mean()) for channel in range(6)]
        np.testing.assert_allclose(side, plain, rtol=1e-12)
    np.testing.assert_array_equal(found.either, np.maximum(found.own, found.next))
    assert layers_of(coupling, [group])[0].name == "wa"


def test_exact_zeros_count_without_a_threshold() -> None:
    graph = parse(GRAPHS["heads"])
    graph.initializers["wa"][1] = 0
    coupling = couple(graph)
    (group,) = coupling.groups
    assert zeros(coupling, group, layers_of(coupling, [group]), 0.0).own.tolist() == [0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("borne", [0.0, 0.1, 0.37, 0.9, 1.0])
def test_the_threshold_is_the_largest_borne(borne: float) -> None:
    graph = parse(GRAPHS["heads"])
    layers = layers_of(couple(graph), couple(graph).groups)
    total = sum(layer.array.size for layer in layers)
    asked = []

    def share(threshold: float) -> float:
        return sum(int((np.abs(layer.array) < threshold).sum()) for layer in layers) / total

    def bears(threshold: float) -> bool:
        asked.append(threshold)
        return share(threshold) <= borne

    found = largest_threshold(layers, bears, 8)
    assert len(asked) <= 8
    assert borne - 2**-7 - 1 / total <= share(found) <= borne
    masked = below(graph, layers, found)
    assert sum(int((masked.initializers[layer.name] == 0).sum()) for layer in layers) == round(share(found) * total)
