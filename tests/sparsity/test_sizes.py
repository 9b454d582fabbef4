"""Packed tensors unpack to themselves, and take the bytes that their form says."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruneir.graph import parse
from pruneir.sparsity import masked, packed, sizes, total, unpacked, weights
from pruneir.sparsity.sizes import FORMS, Form


@given(
    st.lists(st.integers(1, 24), min_size=1, max_size=3),
    st.floats(0, 1),
    st.sampled_from(FORMS),
    st.sampled_from([np.float32, np.float16, np.float64]),
    st.integers(0, 2**16),
)
def test_a_packed_tensor_unpacks_to_itself(
    shape: list[int], share: float, form: Form, dtype: type[np.floating], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    array = np.where(rng.random(shape) < share, rng.normal(size=shape), 0).astype(dtype)
    assert np.array_equal(unpacked(packed(array, form)), array)


@pytest.mark.parametrize(
    ("places", "form", "nbytes"),
    [
        ([], "bits", 125),
        ([0, 1, 2, 999], "bits", 125 + 16),
        ([0, 1, 2], "gaps4", 12 + 2),
        ([15], "gaps4", 4 + 1),
        ([16], "gaps4", 8 + 1),  # one zero in between
        ([255], "gaps8", 4 + 1),
        ([256, 999], "gaps8", (1 + 1 + 2 + 1) * 5),
        (list(range(1000)), "dense", 4000),
    ],
)
def test_bytes(places: list[int], form: Form, nbytes: int) -> None:
    array = np.zeros(1000, np.float32)
    array[places] = 1.5
    found = packed(array, form)
    assert found.nbytes == nbytes
    assert np.array_equal(unpacked(found), array)


@pytest.mark.parametrize(("share", "form"), [(1.0, "dense"), (0.4, "bits"), (0.18, "gaps4"), (0.01, "gaps8")])
def test_the_smallest_form_is_taken(share: float, form: Form) -> None:
    rng = np.random.default_rng(0)
    array = np.where(rng.random(20000) < share, np.float16(1), np.float16(0))
    assert packed(array).form == form
    assert packed(array).nbytes == min(packed(array, each).nbytes for each in FORMS)


def test_sizes_of_a_network() -> None:
    graph = parse("x[N,64] -> y { h = Gemm(x, w[64,32], b[32]); y = Gemm(h, v[32,8]) }")
    mask = np.random.default_rng(0).random((64, 32)) < 0.1
    first, second = found = sizes(weights(masked(graph, {"w": mask})))
    assert (first.entries, first.nonzero, first.raw) == (2048, mask.sum(), 8192)
    assert first.packed < first.gzip < first.raw
    assert (second.packed, second.form, second.kept) == (1024, "dense", 1.0)
    values = np.ascontiguousarray(np.where(mask, graph.initializers["w"], 0).astype(np.float32))
    assert len(gzip.decompress(gzip.compress(values.tobytes()))) == first.raw
    assert total(found).packed == first.packed + second.packed
