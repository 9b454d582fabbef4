"""The same operators in older opsets, where parameters were attributes: cut and compared."""

from __future__ import annotations

import pytest

from pruneir.graph import parse
from support.properties import assert_pruned_equals_masked

# name: (opset, what is between two convolutions: `a` has 8 channels of 8 × 8, `b` the next one reads; its channels; groups)
CASES = {
    "slice": (9, "b = Slice(a, axes=[1], starts=[1], ends=[6])", 5, [3, 5]),
    "slice from behind": (7, "b = Slice(a, axes=[1,2], starts=[-3,0], ends=[9223372036854775807,4])", 3, [5, 3]),
    "split": (11, "b, c = Split(a, axis=1, split=[5,3])", 5, [5, 3]),
    "split in halves": (11, "s, c = Split(a, axis=1); b = Mul(s, c)", 4, [4]),
    "pad": (10, "b = Pad(a, pads=[0,2,1,1,0,0,1,1], value=0.0)", 10, [8, 2]),
    "clip": (10, "b = Clip(a, min=-0.5, max=6.0)", 8, [8]),
    "upsample": (7, 'b = Upsample(a, scales=[1.0,1.0,2.0,2.0], mode="nearest")', 8, [8]),
    "upsample by input": (9, 'b = Upsample(a, {1.0,1.0,2.0,2.0}, mode="nearest")', 8, [8]),
    "resize": (10, 'b = Resize(a, {1.0,1.0,2.0,2.0}, mode="nearest")', 8, [8]),
    "dropout": (7, "b = Dropout(a, ratio=0.5)", 8, [8]),
    "sum of three": (7, "r = Relu(a); t = Tanh(a); b = Sum(a, r, t)", 8, [8]),
    "batch norm": (7, "b = BatchNormalization(a, g[8], h[8], m[8], v[8])", 8, [8]),
    "squeeze": (11, "p = GlobalAveragePool(a); q = Squeeze(p, axes=[2,3]); b = Unsqueeze(q, axes=[2,3])", 8, [8]),
    "mean": (11, "b = ReduceMean(a, axes=[2,3], keepdims=1)", 8, [8]),
    "flatten and back": (9, "f = Flatten(a); b = Reshape(f, {0,8,8,8})", 8, [8]),
    "softmax over the rest": (11, "b = Softmax(a, axis=2)", 8, [8]),
    "softmax from channels on": (11, "b = Softmax(a, axis=1)", 8, []),
    "prelu": (7, "b = PRelu(a, s[8,1,1])", 8, [8]),
    "top k": (10, "t, i = TopK(a, {3}, axis=3); b = Pad(t, pads=[0,0,0,0,0,0,0,5])", 8, [8]),
    "cast and compare": (9, "c = Greater(a, 0.0); d = Cast(c, to=1); b = Mul(a, d)", 8, [8]),
    "new pads with axes": (18, "b = Pad(a, {1,1,1,1}, _, {2,3})", 8, [8]),
    "resize with axes": (18, 'b = Resize(a, _, _, {16,16}, axes=[2,3], mode="nearest")', 8, [8]),
    "mean with axes as input": (18, "b = ReduceMean(a, {2,3})", 8, [8]),
    "split in two by number": (18, "b, c = Split(a, axis=1, num_outputs=2)", 4, [4, 4]),
    "newest": (26, "b = Gelu(a)", 8, [8]),
}


@pytest.mark.parametrize(("opset", "body", "channels", "groups"), CASES.values(), ids=CASES)
def test_pruned_equals_masked(opset: int, body: str, channels: int, groups: list[int]) -> None:
    source = f"x[N,3,8,8] -> y {{ a = Conv(x, w[8,3,1,1]); {body}; y = Conv(b, u[4,{channels},1,1]) }}"
    coupling = assert_pruned_equals_masked(parse(source, opset=opset))
    assert [len(group) for group in coupling.groups] == groups
