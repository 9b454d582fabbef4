from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pruneir.data import from_arrays, load_data
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse
from pruneir.scaling import Scaling

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
        from_arrays(arrays, parse(text))
    assert "\n" not in str(caught.value)


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
    assert from_arrays({"x": ones(2, 3), "y": ones(2, 3)}, graph).labels is None
    arrays = images() | {"other": np.arange(5) * 2}
    labels = from_arrays(arrays, parse(FREE), labels="other").labels
    assert labels is not None
    assert labels[1] == 2
    with pytest.raises(PruneirError, match="no array 'none'; it has x, y"):
        from_arrays(images(), parse(FREE), labels="none")


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        (CLASSES, np.array([0, 2])),
        (CLASSES, np.array([0.5, 7.5])),
        ("x[N,4] -> y[N,1] { y = Gemm(x, w[4,1]) }", np.array([0, 1])),
        (FREE, np.array([0, 99])),
    ],
    ids=["classes", "no classes but numbers", "one score", "no scores"],
)
def test_labels_that_a_network_may_have(text: str, labels: np.ndarray) -> None:
    shape = (2, 1, 4, 4) if text == FREE else (2, 4)
    assert from_arrays({"x": ones(*shape), "y": labels}, parse(text)).labels is not None


def test_boxes_are_labels_of_any_number() -> None:
    arrays = {"x": images()["x"], "y": np.zeros((17, 6))}
    assert from_arrays(arrays, parse(FREE)).labels is not None


def test_files(tmp_path: Path) -> None:
    graph: Graph = parse(FREE)
    path = tmp_path / "d.npz"
    np.savez_compressed(path, **images())  # type: ignore[arg-type]
    assert len(load_data(path, graph)) == 5
    bad = {"text.npz": b"hello", "empty.npz": b"", "cut.npz": path.read_bytes()[:100]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PruneirError, match="not an .npz file"):
            load_data(tmp_path / name, graph)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    with pytest.raises(PruneirError, match="not an .npz file"):
        load_data(tmp_path / "objects.npz", graph)
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(PruneirError, match="not an .npz file"):
        load_data(tmp_path / "array.npy", graph)
    with pytest.raises(PruneirError, match="no such file"):
        load_data(tmp_path / "nowhere.npz", graph)
    with pytest.raises(PruneirError, match="is a folder"):
        load_data(tmp_path, graph)
