"""What tests and benchmarks of sparse kernels share: networks with random zeros, and from which share on they pay."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.graph import parse
from support.zeros import break_even, thinned

TEXT = """x[1,8,6,6] -> y {
    a = Conv(x, w1[16,8,3,3]); b = Conv(a, w2[16,1,3,3], group=16); f = Flatten(b); y = Gemm(f, w3[64,12])
}"""


@pytest.mark.parametrize("width", [1, 8])
def test_groups_of_outputs_are_zero_together(width: int) -> None:
    graph = thinned(parse(TEXT), 0.25, width, of={"w3": 0.5})
    kept = {name: np.mean(array != 0) for name, array in graph.initializers.items()}
    assert kept["w1"] == 0.25
    assert kept["w2"] == (0.25 if width == 1 else 1)  # depthwise filters have no such groups
    assert kept["w3"] == pytest.approx(0.5, abs=0 if width == 1 else 0.1)  # 12 outputs, in groups of 8 and 4
    filters = np.abs(graph.initializers["w1"]).reshape(16 // width, width, -1) > 0
    assert (filters.any(axis=1) == filters.all(axis=1)).all()


@pytest.mark.parametrize(
    ("points", "wanted"),
    [
        ([(0.5, 0.5), (0.7, 1.5)], "60%"),
        ([(0.5, 2.0), (0.7, 3.0)], "below 50%"),
        ([(0.5, 0.2), (0.7, 0.3)], "above 70%"),
        ([(0.1, 2.0), (0.2, 0.0)], "15%"),
        ([(0.1, 3.0), (0.2, 2.0)], "above 20%"),
        ([(0.1, 0.3), (0.2, 0.2)], "below 10%"),
    ],
)
def test_a_ratio_that_rises_or_falls_breaks_even_once(points: list[tuple[float, float]], wanted: str) -> None:
    assert break_even(points) == wanted
