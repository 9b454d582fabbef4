"""Weights without their zeros: whatever the shapes, widths and zeros, the matrix comes back, in the bytes that count."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruneir.graph import parse
from pruneir.sparsity.formats import Panels, expanded, matrices, narrow, panels
from pruneir.sparsity.groups import Layout
from pruneir.sparsity.weights import weights

Index = Literal["places", "steps"]
INDICES: tuple[Index, ...] = ("places", "steps")


def drawn(outputs: int, positions: int, kept: float, seed: int) -> np.ndarray:
    """Some zeros; a row of zeros, and one without any, where there are rows enough."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((outputs, positions)).astype(np.float32)
    found[random.random(found.shape) >= kept] = 0
    if outputs > 3:
        found[outputs // 2], found[outputs // 3] = 0, 1
    return found


@settings(deadline=None, max_examples=200)
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 90)),
    width=st.integers(1, 17),
    block=st.integers(1, 5),
    kept=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    index=st.sampled_from(INDICES),
    apart=st.sampled_from([1, 2, 60, 700]),
    seed=st.integers(0, 9),
)
def test_the_matrix_comes_back(
    shape: tuple[int, int], width: int, block: int, kept: float, index: Index, apart: int, seed: int
) -> None:
    matrix = drawn(*shape, kept, seed)
    offsets = np.cumsum(np.random.default_rng(seed).integers(1, apart + 1, shape[1])) - 1
    found = panels(matrix, width, block, index, offsets)
    assert np.array_equal(expanded(found), matrix)
    assert found.panels == -(-shape[0] // width)
    assert found.starts[-1] == found.groups == len(found.values)
    assert set(found.places) <= set(offsets[::block])
    assert found.nbytes == found.starts.nbytes + found.indices.nbytes + found.groups * width * block * 4


def stored(matrix: np.ndarray, width: int, block: int = 1, index: Index = "places") -> Panels:
    return panels(matrix, width, block, index)


def test_panels_store_what_one_of_their_outputs_has() -> None:
    matrix = np.array([[0, 1, 0, 0], [2, 0, 0, 3], [0, 0, 0, 0], [0, 0, 0, 4]], np.float32)
    single, pairs = stored(matrix, 1), stored(matrix, 2)
    assert (single.starts.tolist(), single.indices.tolist()) == ([0, 1, 3, 3, 4], [1, 0, 3, 3])
    assert (pairs.starts.tolist(), pairs.indices.tolist()) == ([0, 3, 4], [0, 1, 3, 3])
    assert pairs.values[:, 0].tolist() == [[0, 2], [1, 0], [0, 3], [0, 4]]
    assert stored(matrix, 2, index="steps").indices.tolist() == [0, 1, 2, 3]
    blocks = stored(matrix, 4, 2)
    assert (blocks.starts.tolist(), blocks.indices.tolist(), blocks.values.shape) == ([0, 2], [0, 2], (2, 2, 4))


@pytest.mark.parametrize(
    ("positions", "at", "index", "wanted"),
    [
        (256, [255], "places", (np.uint8, [255])),
        (257, [256], "places", (np.uint16, [256])),
        (70_000, [69_999], "places", (np.uint32, [69_999])),
        (257, [256], "steps", (np.uint16, [256])),
        (2000, [*range(0, 1000, 10), 1300], "steps", (np.uint8, [0, *[10] * 99, 255, 55])),
    ],
)
def test_indices_are_narrow(
    positions: int, at: list[int], index: Index, wanted: tuple[type[np.unsignedinteger], list[int]]
) -> None:
    matrix = np.zeros((1, positions), np.float32)
    matrix[0, at] = 1
    found = stored(matrix, 1, index=index)
    assert (found.indices.dtype.type, found.indices.tolist()) == wanted
    assert np.array_equal(expanded(found), matrix)


def test_steps_go_by_places_that_there_are() -> None:
    matrix = np.ones((1, 4), np.float32)
    found = panels(matrix, 1, index="steps", offsets=[0, 300, 301, 900])
    assert (found.indices.dtype.type, found.indices.tolist()) == (np.uint16, [0, 300, 1, 599])


def test_narrow() -> None:
    assert [narrow(np.array([n])).dtype.itemsize for n in (0, 255, 256, 65_535, 65_536)] == [1, 1, 2, 2, 4]


WEIGHTS = {
    "Gemm": ("x[1,12] -> y { y = Gemm(x, w[12,20], b[20]) }", (1, 20, 12)),
    "Gemm, transposed": ("x[1,12] -> y { y = Gemm(x, w[20,12], transB=1) }", (1, 20, 12)),
    "MatMul": ("x[1,5,12] -> y { y = MatMul(x, w[12,20]) }", (1, 20, 12)),
    "MatMul of matrices": ("x[3,5,12] -> y { y = MatMul(x, w[3,12,20]) }", (3, 20, 12)),
    "Conv": ("x[1,4,9,9] -> y { y = Conv(x, w[20,4,3,2]) }", (1, 20, 24)),
    "grouped": ("x[1,6,9,9] -> y { y = Conv(x, w[20,3,3,3], group=2) }", (2, 10, 27)),
    "depthwise": ("x[1,6,9,9] -> y { y = Conv(x, w[6,1,3,3], group=6) }", (6, 1, 9)),
    "transposed": ("x[1,6,9,9] -> y { y = ConvTranspose(x, w[6,5,3,3]) }", (1, 5, 54)),
}


@pytest.mark.parametrize(("text", "shape"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_as_matrices(text: str, shape: tuple[int, int, int]) -> None:
    (weight,) = weights(parse(text))
    by_channels, by_taps = matrices(weight), matrices(weight, "taps")
    assert by_channels.shape == by_taps.shape == shape
    channels = weight.array.shape[weight.input_axis] if weight.is_kernel else shape[2]
    turned = by_channels.reshape(*shape[:2], channels, -1).swapaxes(2, 3).reshape(shape)
    assert np.array_equal(turned, by_taps)


@pytest.mark.parametrize("width", [1, 4, 8])
@pytest.mark.parametrize("case", ["Gemm", "Gemm, transposed", "Conv", "grouped"])
def test_groups_that_are_pruned_are_groups_that_are_stored(case: str, width: int) -> None:
    (weight,) = weights(parse(WEIGHTS[case][0]))
    layout = Layout(weight, width)
    kept = np.random.default_rng(0).random(layout.nonzero.shape) < 0.3
    thin = type(weight)(weight.name, weight.array * layout.mask(kept), weight.uses)
    found = [panels(matrix, width) for matrix in matrices(thin)]
    assert sum(each.groups for each in found) == kept.sum()
