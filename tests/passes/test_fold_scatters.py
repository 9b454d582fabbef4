"""What is written into a part of a tensor becomes a Concat, and its channels can be cut."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.graph import Graph, parse
from support.folding import assert_equal, fold
from support.properties import assert_pruned_equals_masked

NET = "opset 16; x[2,3,6,6] -> y { a = Conv(x, w[8,3,1,1]); b = Conv(x, u[%d,3,1,1]); %s; y = Conv(s, v[4,8,1,1]) }"
TURNED = "t = Transpose(a, perm=[1,0,2,3]); p = Transpose(b, perm=[1,0,2,3]); q = ScatterND(t, at, p)"
TURNED += "; s = Transpose(q, perm=[1,0,2,3])"


def box(*runs: range) -> np.ndarray:
    """The places of a box, `[…, axes]`."""
    return np.stack(np.meshgrid(*runs, indexing="ij"), axis=-1).astype(np.int64)


# channels written, how, where → operators left but the convolutions, channels of each group, those of `a` that nothing reads too
CASES = {
    "channels in front": (3, TURNED, box(range(3)), "Concat Slice Transpose Transpose Transpose", [3, 5, 3]),
    "channels in between": (
        3,
        TURNED,
        box(range(2, 5)),
        "Concat Slice Slice Transpose Transpose Transpose",
        [2, 3, 3, 3],
    ),
    "all": (8, TURNED, box(range(8)), "", [8]),
    "channels, named with all other axes": (
        3,
        "s = ScatterND(a, at, b)",
        box(range(2), range(5, 8), range(6), range(6)),
        "Concat Slice",
        [5, 3, 3],
    ),
    "a part of the image": (
        8,
        "c = Slice(b, {0}, {2}, {3}); d = Slice(c, {0}, {4}, {2}); s = ScatterND(a, at, d)",
        box(range(2), range(8), range(1, 5), range(4, 6)),
        "Concat Concat Slice Slice Slice Slice Slice Slice",
        [8],
    ),
    "backwards": (3, TURNED, box(range(3))[::-1], "ScatterND Transpose Transpose Transpose", None),
    "from behind": (3, TURNED, box(range(-3, 0)), "ScatterND Transpose Transpose Transpose", None),
    "with gaps": (3, TURNED, box(range(0, 6, 2)), "ScatterND Transpose Transpose Transpose", None),
    "added to": (
        3,
        TURNED.replace("p)", 'p, reduction="add")'),
        box(range(3)),
        "ScatterND Transpose Transpose Transpose",
        None,
    ),
}


def network(written: int, how: str, where: np.ndarray) -> Graph:
    shape = ",".join(map(str, where.shape))
    graph = parse(NET % (written, how.replace(" at,", f" at[{shape}]:i64,")))
    graph.initializers["at"] = where
    return graph


@pytest.mark.parametrize(("written", "how", "where", "left", "channels"), CASES.values(), ids=CASES)
def test_writes(written: int, how: str, where: np.ndarray, left: str, channels: list[int] | None) -> None:
    graph = network(written, how, where)
    folded = fold(graph).graph
    assert_equal(graph, folded, {})
    assert sorted(op.type for op in folded.operators if not op.is_a("Conv")) == left.split()
    if channels is not None:
        assert [len(group) for group in assert_pruned_equals_masked(folded).groups] == channels
