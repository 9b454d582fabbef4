"""`cut_norms`: what is normalised over channels is cut, equals its reference, and a note counts the operators."""

from __future__ import annotations

import pytest

import pruneir
from pruneir.graph import parse

# what a normalisation is over → graph, operators that the note names
CASES = {
    "an activation": (
        "x[N,5,6] -> y { e = MatMul(x, w[6,8]); n = LayerNormalization(e, s[8], b[8]); y = MatMul(n, v[8,3]) }",
        "(n)",
    ),
    "weights, tied to others": (
        "x[N,3,8,8] -> y, z { a = Conv(x, k[8,3,1,1]); m = ReduceMean(w[6,8,1,1], axes=[1,2,3]); u = Sub(w, m)"
        "; b = Conv(a, u); c = Conv(a, w); y = Conv(b, v[4,6,1,1]); z = Conv(c, t[4,6,1,1]) }",
        "(m)",
    ),
}


@pytest.mark.parametrize("absorb", ["true", "false"])
@pytest.mark.parametrize(("source", "named"), CASES.values(), ids=CASES)
def test_cut_norms(source: str, named: str, absorb: str) -> None:
    made = pruneir.optimize(parse(source), passes=[f"filter{{ratio=0.5,cut_norms=true,absorb={absorb}}}"])
    assert made.ok
    assert made.report["macs"]["after"] < 0.6 * made.report["macs"]["before"]
    (note,) = made.report["passes"][-1]["notes"]
    assert note.endswith(named)
