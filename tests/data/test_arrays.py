from __future__ import annotations

import numpy as np
import pytest

from pruneir.data import Data, Scaling, from_arrays, load_data
from pruneir.errors import PruneirError
from pruneir.graph import parse
from pruneir.onnx_io import evaluate

FREE = "x[N,1,4,4] -> y { y = Relu(x) }"
FIXED = "x[2,1,4,4] -> y { y = Relu(x) }"
LAST = "x[N,4,4,1] -> y { y = Relu(x) }"
TWO = "a[N,3], b[N,5] -> y { y = Concat(a, b, axis=1) }"
TOKENS = "x[N,7]:i64 -> y:i64 { y = Identity(x) }"
CLASSES = "x[N,4] -> y[N,3] { y = Gemm(x, w[4,3]) }"
HALF = "x[N,4]:f16 -> y:f16 { y = Relu(x) }"


def ones(*shape: int, dtype: object = np.float32) -> np.ndarray:
    return np.ones(shape, dtype)  # type: ignore[call-overload,no-any-return]


def holding(value: float) -> np.ndarray:
    array = ones(310, 1, 4, 4)
    array[300, 0, 1, 2] = value
    return array


FITS = {
    "named": (FREE, {"x": ones(5, 1, 4, 4)}, (5, 1, 4, 4)),
    "channel axis missing": (FREE, {"x": ones(5, 4, 4)}, (5, 1, 4, 4)),
    "channel axis missing, last": (LAST, {"x": ones(5, 4, 4)}, (5, 4, 4, 1)),
    "x stands for the only input": ("img[N,4] -> y { y = Relu(img) }", {"x": ones(5, 4)}, (5, 4)),
    "doubles": (FREE, {"x": ones(5, 1, 4, 4, dtype=np.float64)}, (5, 1, 4, 4)),
    "integers for an integer input": (TOKENS, {"x": ones(5, 7, dtype=np.int32)}, (5, 7)),
    "half precision": (HALF, {"x": ones(5, 4)}, (5, 4)),
}

MISFITS = {
    "wrong size": (
        FREE,
        {"x": ones(5, 1, 4, 5)},
        r"input 'x' takes \[samples,1,4,4\], but the array has shape \[5,1,4,5\]",
    ),
    "wrong rank": (FREE, {"x": ones(5)}, r"takes \[samples,1,4,4\], but the array has shape \[5\]"),
    "no array": (FREE, {"z": ones(1)}, "no array 'x' or 'x'|no array 'x'"),
    "one of two missing": (TWO, {"a": ones(5, 3)}, "no array 'b' for that input; it has a"),
    "x is not enough for two": (TWO, {"x": ones(5, 3)}, "no array 'a'"),
    "counts differ": (TWO, {"a": ones(5, 3), "b": ones(4, 5)}, "same number of samples.*'a' 5, 'b' 4"),
    "empty": (FREE, {"x": ones(0, 1, 4, 4)}, "at least one"),
    "floats for integers": (TOKENS, {"x": ones(5, 7)}, "holds float32, but the input takes int64"),
    "texts": (FREE, {"x": np.array(["a"])}, "not numbers"),
    "NaN": (FREE, {"x": holding(np.nan)}, r"data: array 'x' holds NaN in sample 300, at \[300,0,1,2\]"),
    "infinity": (FREE, {"x": holding(-np.inf)}, r"array 'x' holds infinity in sample 300, at \[300,0,1,2\]"),
    "label above": (CLASSES, {"x": ones(3, 4), "y": np.array([0, 3, 2])}, "label 3 in 'y', at sample 1.*from 0 to 2"),
    "label below": (CLASSES, {"x": ones(3, 4), "y": np.array([0, 1, -1])}, "label -1 in 'y', at sample 2.*has 3"),
    "a number that the type cannot hold": (
        "x[N,2]:i8 -> y:i8 { y = Identity(x) }",
        {"x": np.array([[1, 2], [3, 200]])},
        "'x' holds 200, but the input takes int8",
    ),
    "a single number": (FREE, {"x": np.float32(1)}, "'x' is a single number; samples run along axis 0"),
    "lists of several lengths": (FREE, {"x": [[1], [1, 2]]}, "data: 'x' cannot be made an array"),
    "labels of another length": (FREE, {"x": ones(5, 4, 4), "y": ones(4)}, "4 labels for 5 samples"),
}


@pytest.mark.parametrize(("text", "arrays", "shape"), FITS.values(), ids=FITS)
def test_arrays_that_fit(text: str, arrays: dict[str, np.ndarray], shape: tuple[int, ...]) -> None:
    graph = parse(text)
    (array,) = from_arrays(arrays, graph).feeds().values()
    kind = graph.type_of(graph.inputs[0])
    assert kind is not None
    assert array.shape == shape
    assert array.dtype == {1: np.float32, 7: np.int64, 10: np.float16}[kind.elem_type]


@pytest.mark.parametrize(("text", "arrays", "message"), MISFITS.values(), ids=MISFITS)
def test_arrays_that_do_not(text: str, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(PruneirError, match=message) as caught:
        list(from_arrays(arrays, parse(text)).batches())
    assert "\n" not in str(caught.value)


def labels_of(data: Data) -> np.ndarray:
    return np.concatenate([batch.labels for batch in data.batches(2) if batch.labels is not None])


def images(count: int = 5) -> dict[str, np.ndarray]:
    return {"x": np.arange(count * 16, dtype=np.uint8).reshape(count, 4, 4), "y": np.arange(count)}


def test_integers_are_cast_and_then_scaled() -> None:
    data = from_arrays(images(), parse(FREE), scaling=Scaling(1 / 255, (0.5,), (0.25,)))
    expected = (images()["x"][:, None].astype(np.float32) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(data.feeds()["x"], expected, rtol=1e-6)
    assert data.warnings == ()


def test_integers_into_floats_without_scaling_are_worth_a_warning() -> None:
    (warning,) = from_arrays(images(), parse(FREE)).warnings
    assert "--scale" in warning


@pytest.mark.parametrize(
    ("text", "axis"), [("x[N,3,2,2] -> y { y = Relu(x) }", 1), ("x[N,2,2,3] -> y { y = Relu(x) }", 3)]
)
def test_mean_and_std_run_along_the_channels(text: str, axis: int) -> None:
    shape = [2, 2, 2, 2]
    shape[axis] = 3
    data = from_arrays({"x": np.zeros(shape, np.uint8)}, parse(text), scaling=Scaling(None, (1, 2, 3)))
    np.testing.assert_array_equal(np.moveaxis(data.feeds()["x"], axis, 0)[:, 0, 0, 0], [-1, -2, -3])


@pytest.mark.parametrize(
    ("scaling", "message"), [({"mean": (1.0, 2.0)}, "--mean: 2 values"), ({"std": (1.0, 2.0)}, "--std: 2 values")]
)
def test_means_for_channels_that_are_not_there(scaling: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(PruneirError, match=message):
        from_arrays(images(), parse(FREE), scaling=Scaling(**scaling))  # type: ignore[arg-type]


def test_batches_stream_all_samples_in_order() -> None:
    batches = list(from_arrays(images(), parse(FREE)).batches(2))
    assert [batch.count for batch in batches] == [2, 2, 1]
    assert [list(b.labels) for b in batches if b.labels is not None] == [[0, 1], [2, 3], [4]]
    together = np.concatenate([batch.feeds["x"] for batch in batches])
    np.testing.assert_array_equal(together, images()["x"][:, None].astype(np.float32))


def test_a_batch_of_fixed_size_is_filled_up() -> None:
    batches = list(from_arrays(images(), parse(FIXED)).batches(64))
    assert [batch.count for batch in batches] == [2, 2, 1]
    assert all(batch.feeds["x"].shape == (2, 1, 4, 4) for batch in batches)
    np.testing.assert_array_equal(batches[-1].feeds["x"][0], batches[-1].feeds["x"][1])


def test_a_limit() -> None:
    assert sum(b.count for b in from_arrays(images(), parse(FREE)).batches(2, limit=3)) == 3
    assert len(from_arrays(images(), parse(FREE)).feeds(3)["x"]) == 3


def test_labels_go_by_y_unless_that_is_an_input() -> None:
    graph = parse("x[N,3], y[N,3] -> z { z = Add(x, y) }")
    data = from_arrays({"x": ones(2, 3), "y": ones(2, 3)}, graph)
    assert not data.has_labels
    assert next(data.batches()).labels is None
    arrays = images() | {"other": np.arange(5) * 2}
    assert list(labels_of(from_arrays(arrays, parse(FREE), labels="other"))) == [0, 2, 4, 6, 8]
    with pytest.raises(PruneirError, match="no array 'none'; it has x, y"):
        from_arrays(images(), parse(FREE), labels="none")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (CLASSES, np.array([0, 2])),
        (CLASSES, np.array([0.5, 7.5])),
        ("x[N,4] -> y[N,1] { y = Gemm(x, w[4,1]) }", np.array([0, 1])),
        (FREE, np.array([0, 99])),
        ("x[N,4] -> y[N,6] { y = Gemm(x, w[4,6]) }", np.eye(6)[:2]),
    ],
    ids=["classes", "no classes but numbers", "one score", "no scores", "six scores"],
)
def test_labels_that_a_network_may_have(text: str, labels: np.ndarray) -> None:
    shape = (2, 1, 4, 4) if text == FREE else (2, 4)
    np.testing.assert_array_equal(labels_of(from_arrays({"x": ones(*shape), "y": labels}, parse(text))), labels)


@pytest.mark.parametrize("text", [FREE, FIXED])
def test_boxes_come_with_the_samples_that_they_are_of(text: str) -> None:
    boxes = np.zeros((6, 6))
    boxes[:, 0] = [4, 0, 3, 0, 9, 3]
    boxes[:, 1] = range(6)
    batches = list(from_arrays({"x": images()["x"], "y": boxes}, parse(text)).batches(2))
    found = [[tuple(map(int, box[:2])) for box in batch.labels] for batch in batches if batch.labels is not None]
    assert found == [[(0, 1), (0, 3)], [(1, 2), (1, 5)], [(0, 0)]]


@pytest.mark.parametrize("text", [FREE, FIXED])
@pytest.mark.parametrize("limit", [1, 4, 5])
@pytest.mark.parametrize("shuffled", [False, True])
def test_some_samples_keep_their_boxes(text: str, limit: int, shuffled: bool) -> None:
    """Sample i, filled with i, has i boxes of class i."""
    x = np.broadcast_to(np.arange(5, dtype=np.float32)[:, None, None, None], (5, 1, 4, 4))
    boxes = np.zeros((10, 6))
    boxes[:, :2] = np.repeat(np.arange(5), np.arange(5))[::-1, None]
    some = from_arrays({"x": x, "y": boxes}, parse(text)).some(limit, seed=3)
    seen = []
    for batch in some.batches(2, shuffle=np.random.default_rng(1) if shuffled else None):
        images = batch.feeds["x"][: batch.count, 0, 0, 0].astype(int)
        assert batch.labels is not None
        found = {(int(box[0]), int(box[1])) for box in batch.labels}
        assert found == {(place, image) for place, image in enumerate(images) if image}
        assert len(batch.labels) == images.sum()
        seen += images.tolist()
    assert len(set(seen)) == len(seen) == limit


def test_one_array_is_the_only_input() -> None:
    assert len(from_arrays(images()["x"], parse(FREE))) == 5
    with pytest.raises(PruneirError, match="data: is one array, but the network has inputs a, b; give one for each"):
        from_arrays(ones(5, 3), parse(TWO))


def test_data_know_their_inputs_and_their_count() -> None:
    data = from_arrays({"b": ones(4, 5), "a": ones(4, 3)}, parse(TWO))
    assert data.input_names == ("a", "b")
    assert (data.count, len(data), bool(data)) == (4, 4, True)
    assert load_data(data, parse(TWO)) is data
    with pytest.raises(PruneirError, match="is for the inputs a, b, but the network has x"):
        load_data(data, parse(FREE))


def test_what_a_batch_holds_is_a_copy() -> None:
    array = ones(2, 1, 4, 4)
    next(from_arrays({"x": array}, parse(FREE)).batches()).feeds["x"][:] = 7
    assert (array == 1).all()


@pytest.mark.parametrize("size", [1, 3, 64])
def test_shuffled_they_are_all_there_in_another_order(size: int) -> None:
    arrays = {"x": np.arange(100.0)[:, None], "y": np.arange(100)}
    data = from_arrays(arrays, parse("x[N,1] -> z { z = Relu(x) }"))
    seen = []
    for batch in data.batches(size, shuffle=np.random.default_rng(0)):
        assert batch.labels is not None
        np.testing.assert_array_equal(batch.feeds["x"][:, 0], batch.labels)
        seen += batch.labels.tolist()
    assert sorted(seen) == list(range(100))
    assert seen != list(range(100))
    again = np.concatenate([batch.labels for batch in data.batches(size, shuffle=np.random.default_rng(0))])  # type: ignore[misc]
    assert again.tolist() == seen
    some = [batch.labels for batch in data.batches(size, 10, shuffle=np.random.default_rng(0))]
    assert np.concatenate(some).tolist() == seen[:10]  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [3, 40, 99])
def test_some_samples_are_the_same_ones_whenever_they_are_read(limit: int) -> None:
    graph = parse("x[N,2] -> y { y = Relu(x) }")
    x = np.arange(80, dtype=np.float32).reshape(40, 2)
    some = from_arrays({"x": x}, graph).some(limit, seed=1)
    read = [np.concatenate([b.feeds["x"] for b in some.batches(size)]) for size in (1, 7)]
    np.testing.assert_array_equal(read[0], read[1])
    assert len(some) == len(read[0]) == min(limit, 40)
    assert {tuple(row) for row in read[0]} <= {tuple(row) for row in x}
    assert limit >= 40 or not np.array_equal(read[0], x[:limit])


def test_a_network_that_reads_texts() -> None:
    graph = parse("x[N] -> y[N] { y = Identity(x) }")
    for name in ("x", "y"):
        graph.declare(name, 8, ["N"])
    with pytest.raises(PruneirError, match="'x' holds float32, but the input takes texts"):
        from_arrays({"x": ones(3)}, graph)
    texts = np.array(["a", "bc"], object)
    (found,) = evaluate(graph, ["y"], [from_arrays({"x": texts}, graph).feeds()])
    assert found["y"].tolist() == texts.tolist()
