"""The run that halts: every value it hands out is that of the whole network, and what changed ahead of it counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pruneir.data import from_arrays
from pruneir.graph import parse
from pruneir.onnx_io import evaluate
from pruneir.repair.frontier import Frontier
from pruneir.repair.store import Store

NET = """
x[N,3,6,6] -> y {
  k = Constant(value_ints=[0,3,6,6])
  a = Conv(x, w1[4,3,1,1])
  s1, s2 = Split(a, {1,3}, axis=1)
  b = Relu(s2)
  z = Reshape(b, k)
  c = Conv(z, w2[4,3,3,3], pads=[1,1,1,1])
  d = Add(c, a)
  y = Conv(d, w3[2,4,1,1])
}
"""


@pytest.mark.parametrize("limit", [0, 2**30], ids=["in files", "in memory"])
def test_values_are_those_of_the_whole_network(limit: int) -> None:
    graph = parse(NET)
    data = from_arrays({"x": np.random.default_rng(0).standard_normal((10, 3, 6, 6)).astype(np.float32)}, graph)
    wanted = ["x", "a", "b", "z", "d", "y"]
    with Store(limit) as store:
        frontier = Frontier(graph, data, 4, [[name] for name in wanted], store)
        assert frontier.counts == [4, 4, 2]
        for stop, name in enumerate(wanted):
            if name == "d":
                ahead = [values["y"] for values in frontier.peek(["y"])]
                graph.set_initializer("w2", graph.initializers["w2"] * 2)
                graph.set_initializer("w1", graph.initializers["w1"] * 0)  # has run: does not count any more
            whole = parse(NET)
            if stop >= wanted.index("d"):
                assert not np.array_equal(ahead[0], next(evaluate(graph, ["y"], [data.feeds(4)]))["y"])
                whole.set_initializer("w2", graph.initializers["w2"])
            expected = evaluate(whole, [name], (batch.feeds for batch in data.batches(4)))
            for got, value in zip(frontier.advance(stop), expected, strict=True):
                np.testing.assert_allclose(got[name], value[name], atol=1e-5)
        assert not any(name in store for name in wanted), "what nothing reads any more is dropped"


def test_a_store_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Store(limit=100) as store:
        for batch in range(3):
            store.put("a", batch, np.full(20, batch, np.float32))
        assert [store.get("a", batch)[0] for batch in range(3)] == [0, 1, 2]
        assert len(list(tmp_path.glob("*/*.npy"))) == 2
        store.drop("a")
        assert not list(tmp_path.glob("*/*.npy"))
        store.put("b", 0, np.zeros(1000))
    assert not list(tmp_path.iterdir())
