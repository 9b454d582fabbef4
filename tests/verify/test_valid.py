"""Validity: only faults that the original does not have count."""

from __future__ import annotations

import pytest

from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.verify import check_model

GOOD = "x[N,3,8,8] -> y[N,16,8,8] { a = Conv(x, w1[16,3,1,1]); s = Sigmoid(a); y = Mul(a, s) }"
BAD = {
    "shapes": GOOD.replace("y[N,16,8,8]", "y[N,17,8,8]"),
    "weights": GOOD.replace("w1[16,3,1,1]", "w1[16,4,9,9]"),
    "an operator that is not": GOOD.replace("Sigmoid", "Sigmold"),
    "an attribute that is not": GOOD.replace("Sigmoid(a)", "Sigmoid(a, axis=1)"),
    "types": GOOD.replace("Sigmoid(a)", "Cast(a, to=7)"),
}


@pytest.mark.parametrize("source", [GOOD, "x[N,400] -> y[N,3] { w = Constant(value=tensor[400,3]); y = MatMul(x, w) }"])
def test_valid(source: str) -> None:
    check_model(parse(source))


@pytest.mark.parametrize("source", BAD.values(), ids=BAD)
def test_invalid_in_one_line(source: str) -> None:
    with pytest.raises(PruneirError, match="not a valid model") as caught:
        check_model(parse(source))
    assert "\n" not in str(caught.value)
    check_model(parse(source), original=parse(source))


def test_new_faults_count() -> None:
    """A graph of a domain that nothing knows may stay one, but not lose a tensor."""
    custom = parse("x[N,4] -> y { h = com.foo::X(x); y = MatMul(h, w[4,4]) }")
    check_model(custom, original=custom)
    with pytest.raises(PruneirError):
        check_model(parse(BAD["weights"]), original=parse(GOOD))
