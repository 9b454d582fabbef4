from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pruneir.data import archive, load_data
from pruneir.errors import PruneirError
from pruneir.graph import parse

ROW = "x[N,1024] -> y { y = Relu(x) }"
CLASSES = "x[N,4] -> y[N,3] { y = Gemm(x, w[4,3]) }"
TWO = "a[N,3], b[N,5] -> y { y = Concat(a, b, axis=1) }"
MB = 1 << 20


@contextmanager
def taking_at_most(nbytes: int) -> Iterator[None]:
    """What is allocated meanwhile; a mapped file is not."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < nbytes
    finally:
        tracemalloc.stop()


def rows(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)[:, None] + np.zeros(1024, np.float32)


def npy(path: Path, x: np.ndarray) -> None:
    np.save(path, x)


WRITERS: dict[str, Callable[..., object]] = {
    "npy": npy,
    "npy, Fortran order": lambda path, x: np.save(path, np.asfortranarray(x)),
    "npy by another name": lambda path, x: np.save(path.open("wb"), x),
    "npz": np.savez,
    "npz, several": lambda path, x: np.savez(path, other=np.zeros(7), x=x, y=np.arange(len(x))),
    "npz, Fortran order": lambda path, x: np.savez(path, x=np.asfortranarray(x)),
    "npz, compressed": np.savez_compressed,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("in_memory", [0, MB], ids=["to a temporary file", "in memory"])
def test_a_file_holds_what_was_written(
    write: Callable[..., object], in_memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "IN_MEMORY", in_memory)
    write(tmp_path / "d", x=rows(10))
    (path,) = tmp_path.iterdir()
    data = load_data(path, parse(ROW))
    np.testing.assert_array_equal(np.concatenate([batch.feeds["x"] for batch in data.batches(3)]), rows(10))


def test_a_file_is_not_read_whole(tmp_path: Path) -> None:
    """4 GiB, of which the disk has none: what is read would have to be somewhere."""
    np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, (1 << 20, 1024)).flush()
    with taking_at_most(4 * MB):
        data = load_data(tmp_path / "large.npy", parse(ROW))
        assert len(data) == 1 << 20
        assert sum(batch.count for batch in data.batches(64, limit=640)) == 640


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_pass_holds_one_batch(save: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "IN_MEMORY", MB)
    save(tmp_path / "d.npz", x=rows(16 * 1024))
    with taking_at_most(8 * MB):  # of 64
        data = load_data(tmp_path / "d.npz", parse(ROW))
        assert sum(batch.count for batch in data.batches(64)) == 16 * 1024
        assert sum(batch.count for batch in data.batches(64, shuffle=np.random.default_rng(0))) == 16 * 1024


def test_arrays_that_nobody_asks_for_are_not_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=rows(2), names=np.array([{}], object))
    assert len(load_data(tmp_path / "d.npz", parse(ROW))) == 2


def test_labels_lie_beside_an_array(tmp_path: Path) -> None:
    graph = parse(CLASSES)
    np.save(tmp_path / "d.npy", np.zeros((3, 4), np.float32))
    assert not load_data(tmp_path / "d.npy", graph).has_labels
    np.save(tmp_path / "d.labels.npy", np.array([2, 0, 1]))
    labels = next(load_data(tmp_path / "d.npy", graph).batches()).labels
    assert labels is not None
    assert labels.tolist() == [2, 0, 1]
    np.save(tmp_path / "d.labels.npy", np.array([0, 1]))
    with pytest.raises(PruneirError, match=r"d\.npy: 'd\.labels\.npy' has 2 labels for 3 samples"):
        load_data(tmp_path / "d.npy", graph)
    with pytest.raises(PruneirError, match=r"--labels names an array of an \.npz.*are in d\.labels\.npy, beside it"):
        load_data(tmp_path / "d.npy", graph, labels="y")


def test_files_that_are_none(tmp_path: Path) -> None:
    graph = parse(ROW)
    np.savez_compressed(tmp_path / "good.npz", x=rows(5))
    np.save(tmp_path / "good.npy", rows(5))
    whole, array = (tmp_path / "good.npz").read_bytes(), (tmp_path / "good.npy").read_bytes()
    bad = {"text": b"hello", "empty": b"", "cut": whole[:100], "array": array[:-100], "header": array[:20]}
    bad["version"] = array[:6] + b"\x03" + array[7:]
    bad["flipped"] = whole[:80] + bytes(255 - byte for byte in whole[80:110]) + whole[110:]
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PruneirError, match=r"not an \.npz file of plain arrays, nor an \.npy file; write one"):
            load_data(tmp_path / name, graph)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object))
    np.save(tmp_path / "objects.npy", np.array([{}], object))
    for name in ("objects.npz", "objects.npy"):
        with pytest.raises(PruneirError, match="not an .npz file"):
            load_data(tmp_path / name, graph)
    np.save(tmp_path / "shape.npy", np.zeros(3))
    with pytest.raises(PruneirError, match=r"input 'x' takes \[samples,1024\], but the array has shape \[3\]"):
        load_data(tmp_path / "shape.npy", graph)
    with pytest.raises(PruneirError, match=r"good\.npy: is one array, but the network has inputs a, b"):
        load_data(tmp_path / "good.npy", parse(TWO))
    with pytest.raises(PruneirError, match="no such file"):
        load_data(tmp_path / "nowhere.npz", graph)


def test_no_room_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    np.savez_compressed(tmp_path / "d.npz", x=rows(5))
    monkeypatch.setattr(archive, "IN_MEMORY", 0)
    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(PruneirError, match="'x' cannot be unpacked to .*No space left on device.*set TMPDIR"):
        load_data(tmp_path / "d.npz", parse(ROW))
