from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pruneir.data import Data, load_data, source
from pruneir.errors import PruneirError
from pruneir.graph import parse

ROW = parse("x[N,2] -> y { y = Relu(x) }")
FIXED = parse("x[4,2] -> y { y = Relu(x) }")
CLASSES = parse("x[N,2] -> y[N,3] { y = Gemm(x, w[2,3]) }")
TWO = parse("a[N,2], b[N,1] -> y { y = Concat(a, b, axis=1) }")
ANY = parse("x[N,L] -> y { y = Relu(x) }")

Function = Callable[[], Any]


def x(count: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + count, dtype=np.float32)[:, None] + np.array([0, 0.5], np.float32)


def counting(*sizes: int) -> Function:
    """Batches of these sizes, whose samples are labelled 0, 1, …"""

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        first = 0
        for size in sizes:
            yield x(size, first), np.arange(first, first + size)
            first += size

    return batches


def together(data: Data, *arguments: Any, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    batches = list(data.batches(*arguments, **options))
    labels = [batch.labels[: batch.count] for batch in batches if batch.labels is not None]
    return np.concatenate([b.feeds["x"][: b.count] for b in batches]), np.concatenate(labels or [np.zeros(0)])


FORMS: dict[str, Function] = {
    "arrays": lambda: [x(3), x(2, 3)],
    "lists of numbers": lambda: [x(3).tolist(), x(2, 3).tolist()],
    "dicts": lambda: [{"x": x(3)}, {"x": x(2, 3)}],
    "one in a list, as data loaders give it": lambda: [[x(3)], [x(2, 3)]],
    "with labels": counting(3, 2),
    "with labels, as lists": lambda: [[x(3), np.arange(3)], [x(2, 3), np.arange(3, 5)]],
    "with labels, in a dict": lambda: [{"x": x(3), "y": [0, 1, 2]}, {"x": x(2, 3), "y": [3, 4]}],
    "a dict with labels behind": lambda: [({"x": x(3)}, [0, 1, 2]), ({"x": x(2, 3)}, [3, 4])],
    "with no labels": lambda: [(x(3), None), (x(2, 3), None)],
    "one after the other": counting(1, 1, 1, 1, 1),
    "all at once": counting(5),
    "with empty batches between": counting(0, 3, 0, 2, 0),
}


@pytest.mark.parametrize("function", FORMS.values(), ids=FORMS)
def test_batches_of_every_form(function: Function) -> None:
    data = load_data(function, ROW)
    found, labels = together(data, 2)
    np.testing.assert_array_equal(found, x(5))
    assert labels.tolist() == ([0, 1, 2, 3, 4] if data.has_labels else [])
    assert [batch.count for batch in data.batches(2)] == [2, 2, 1]
    assert data.feeds(3)["x"].dtype == np.float32


def test_torch_tensors() -> None:
    torch = pytest.importorskip("torch")
    found, labels = together(load_data(lambda: [(torch.tensor(x(3)), torch.arange(3))], ROW))
    np.testing.assert_array_equal(found, x(3))
    assert labels.tolist() == [0, 1, 2]
    with pytest.raises(PruneirError, match=r"batch 1: 'x' cannot be made an array \(RuntimeError: Can't call numpy"):
        load_data(lambda: [torch.ones(2, 2, requires_grad=True)], ROW)


def test_several_inputs() -> None:
    data = load_data(lambda: [{"a": x(3), "b": x(3)[:, :1]}] * 2, TWO)
    assert [{name: array.shape for name, array in b.feeds.items()} for b in data.batches(4)] == [
        {"a": (4, 2), "b": (4, 1)},
        {"a": (2, 2), "b": (2, 1)},
    ]


def test_labels_have_the_name_that_is_asked_for() -> None:
    _, labels = together(load_data(lambda: [{"x": x(2), "y": [0, 0], "z": [1, 2]}], ROW, labels="z"))
    assert labels.tolist() == [1, 2]
    with pytest.raises(PruneirError, match="--labels: .*batch 1 has no array 'z'; it has x, y"):
        load_data(lambda: [{"x": x(2), "y": [0, 0]}], ROW, labels="z")


def test_a_batch_of_fixed_size_is_filled_up() -> None:
    batches = list(load_data(counting(3, 3), FIXED).batches(64))
    assert [batch.count for batch in batches] == [4, 2]
    np.testing.assert_array_equal(batches[1].feeds["x"], x(6)[[4, 5, 5, 5]])


@pytest.mark.parametrize("limit", [0, 1, 4, 5, 99])
def test_a_limit_asks_for_no_more_batches_than_it_takes(limit: int) -> None:
    made = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(3):
            made.append(number)
            yield x(2, 2 * number)

    data = load_data(batches, ROW)
    made.clear()
    assert sum(batch.count for batch in data.batches(2, limit)) == min(limit, 6)
    assert len(made) == min((limit + 1) // 2, 3)


def test_the_count_is_known_once_a_pass_is_over() -> None:
    calls = []

    def batches() -> Iterator[np.ndarray]:
        calls.append(1)
        yield from [x(3), x(4)]

    data = load_data(batches, ROW)
    assert (data.count, bool(data), len(calls)) == (None, True, 1)
    list(data.batches(2, limit=5))
    assert data.count is None
    assert len(data) == 7
    assert [data.count, len(data), len(calls)] == [7, 7, 3]
    other = load_data(batches, ROW)
    list(other.batches())
    assert other.count == 7


def test_a_buffer_may_be_written_again() -> None:
    def batches() -> Iterator[np.ndarray]:
        buffer = np.empty((3, 2), np.float32)
        for number in range(4):
            buffer[:] = x(3, 3 * number)
            yield buffer

    data = load_data(batches, ROW)
    for size in (2, 3, 5, 64):
        np.testing.assert_array_equal(together(data, size)[0], x(12))
        found, _ = together(data, size, shuffle=np.random.default_rng(0))
        np.testing.assert_array_equal(found[np.argsort(found[:, 0])], x(12))


def test_samples_of_other_shapes_begin_another_batch() -> None:
    shapes = [(2, 5), (3, 5), (1, 7), (3, 5)]
    data = load_data(lambda: [np.ones(shape, np.float32) for shape in shapes], ANY)
    assert [batch.feeds["x"].shape for batch in data.batches(4)] == [(4, 5), (1, 5), (1, 7), (3, 5)]
    assert sum(b.count for b in data.batches(4, shuffle=np.random.default_rng(0))) == 9


@pytest.mark.parametrize("sizes", [(1,) * 500, (7,) * 71 + (3,), (500,), (250, 1, 249)])
def test_shuffled_they_are_all_there_and_far_from_where_they_were(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "POOL_SAMPLES", 100)
    data = load_data(counting(*sizes), ROW)
    found, labels = together(data, 32, shuffle=np.random.default_rng(0))
    np.testing.assert_array_equal(found, x(500)[labels])
    assert sorted(labels.tolist()) == list(range(500))
    assert np.abs(labels - np.arange(500)).mean() > 20
    again = together(data, 32, shuffle=np.random.default_rng(0))[1]
    assert again.tolist() == labels.tolist()
    assert len(together(data, 32, 40, shuffle=np.random.default_rng(0))[1]) == 40


def test_large_samples_make_a_small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "POOL_BYTES", 10 * x(1).nbytes)
    made = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(50):
            made.append(number)
            yield x(1, number)

    data = load_data(batches, ROW)
    made.clear()
    next(data.batches(2, shuffle=np.random.default_rng(0)))
    assert len(made) == 10


def no_batches() -> list[Any]:
    return []


def broken() -> Iterator[np.ndarray]:
    yield x(1)
    raise KeyError("image_7")


wants_an_argument: Any = lambda path: []  # noqa: E731
ONCE = iter([x(1), x(1)])

FAULTS: dict[str, tuple[Function, str]] = {
    "no batch": (no_batches, "no_batches: gives no sample; at least one is needed"),
    "no sample": (lambda: [x(0)], "gives no sample"),
    "nothing": (lambda: None, "returns a NoneType, not an iterable of batches"),
    "an array": (lambda: x(3), "returns a ndarray, not an iterable of batches; yield one after the other"),
    "a pair": (lambda: (x(3), x(3)), "returns a tuple, not"),
    "a dict": (lambda: {"x": x(3)}, "returns a dict, not"),
    "an iterator that is used up": (lambda: ONCE, "returns the same list_iterator again, which is used up; make a new"),
    "arguments": (wants_an_argument, r"fails \(TypeError: .*missing 1 required positional argument"),
    "an error": (broken, r"broken: fails at batch 2 \(KeyError: 'image_7'\)"),
    "another shape": (
        lambda: [x(2), np.ones((2, 3))],
        r", batch 2: input 'x' takes \[samples,2\], but the array has shape \[2,3\]",
    ),
    "one sample as a batch": (lambda: [x(1)[0]], r", batch 1: input 'x' takes \[samples,2\], .* has shape \[2\]"),
    "a number": (lambda: [3.0], "batch 1: 'x' is a single number"),
    "texts": (lambda: [["a"]], "batch 1: 'x' holds <U1, not numbers"),
    "objects": (lambda: [object()], "batch 1: 'x' holds object, not numbers"),
    "another name": (lambda: [{"z": x(1)}], "batch 1: no array 'x' or 'x'|batch 1: no array 'x'"),
    "three in a tuple": (lambda: [(x(1), x(1), x(1))], r"batch 1: is a tuple of 3; yield x, \(x, labels\), or a dict"),
    "NaN": (lambda: [x(5), x(1), x(4) * np.nan], "batch 3: array 'x' holds NaN in sample 6, at"),
    "labels of another length": (lambda: [(x(3), [1, 2])], "batch 1: has 2 labels for 3 samples"),
    "labels of no class": (lambda: [(x(3), [0, 1, 2]), (x(2), [2, 3])], "batch 2: label 3 .* at sample 4, is no class"),
    "labels at times": (lambda: [(x(1), [0]), x(1)], "some batches have labels, number 2 is the first to differ"),
}


@pytest.mark.parametrize(("function", "message"), FAULTS.values(), ids=FAULTS)
def test_what_is_wrong_is_told_in_one_line(function: Function, message: str) -> None:
    with pytest.raises(PruneirError, match=message) as caught:
        list(load_data(function, CLASSES).batches())
    assert "\n" not in str(caught.value)


def test_a_bare_array_is_not_enough_for_two_inputs() -> None:
    with pytest.raises(PruneirError, match="batch 1: the network has inputs a, b; yield a dict by input"):
        load_data(lambda: [x(3)], TWO)


MODULE = """
import numpy as np

def batches():
    for start in range(0, 6, 2):
        yield np.full((2, 2), start, np.float32), np.arange(start, start + 2)

nothing = None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in the current directory, and none of it left behind."""
    (tmp_path / "some_loader.py").write_text(MODULE)
    (tmp_path / "broken_loader.py").write_text("import no_such_package\n")
    (tmp_path / "raising_loader.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "some_loader"
    for name in ("some_loader", "broken_loader", "raising_loader"):
        sys.modules.pop(name, None)


def test_an_entry_is_found_in_the_current_directory(module: str) -> None:
    data = load_data(f"{module}:batches", ROW)
    assert (len(data), data.has_labels) == (6, True)
    assert together(data)[1].tolist() == list(range(6))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("nowhere:batches", "nowhere:batches: no module 'nowhere' in .*, and none is installed; check the name"),
        ("some_loader.py:batches", "give some_loader:batches"),
        ("some_loader:batch", "module 'some_loader' has no function 'batch'"),
        ("some_loader:nothing", "module 'some_loader' has no function 'nothing'"),
        ("broken_loader:batches", r"cannot be imported \(ModuleNotFoundError: No module named 'no_such_package'\)"),
        ("raising_loader:batches", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
    ],
)
@pytest.mark.usefixtures("module")
def test_entries_that_are_none(entry: str, message: str) -> None:
    with pytest.raises(PruneirError, match=message) as caught:
        load_data(entry, ROW)
    assert "\n" not in str(caught.value)
