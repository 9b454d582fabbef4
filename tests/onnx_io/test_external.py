"""Data in files beside the model: mapped, kept apart, laid out in pages, and never read from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruneir.errors import PruneirError
from pruneir.onnx_io import load, save, to_model
from pruneir.onnx_io.external import DataFile

Same = Callable[[ModelProto, ModelProto], None]


def save_external(model: ModelProto, path: Path, **options: object) -> None:
    twin = ModelProto()
    twin.CopyFrom(model)
    onnx.save(twin, path, save_as_external_data=True, size_threshold=0, **options)  # type: ignore[arg-type]


@pytest.fixture
def several(model: ModelProto) -> ModelProto:
    """The model with more tensors, of sizes and types that are awkward in a file."""
    arrays: dict[str, np.ndarray] = {
        "large": np.arange(300_000, dtype=np.float32),
        "scalar": np.array(3, np.int64),
        "none": np.zeros((0, 2), np.float32),
        "bytes": np.arange(3, dtype=np.uint8),
        "bf16": np.ones(5, ml_dtypes.bfloat16),
        "int4": np.array([1, -2, 3], ml_dtypes.int4),
    }
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    return model


@pytest.mark.parametrize("all_tensors_to_one_file", [True, False])
def test_external_stays_external(
    all_tensors_to_one_file: bool, several: ModelProto, tmp_path: Path, same: Same
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    options = {"location": "weights"} if all_tensors_to_one_file else {}
    save_external(several, tmp_path / "in/m.onnx", all_tensors_to_one_file=all_tensors_to_one_file, **options)
    graph = load(tmp_path / "in/m.onnx")
    same(several, to_model(graph))
    save(graph, tmp_path / "out/m.onnx")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.onnx", "m.onnx.data"]
    same(several, onnx.load(tmp_path / "out/m.onnx"))
    for tensor in onnx.load(tmp_path / "out/m.onnx", load_external_data=False).graph.initializer:
        place = {entry.key: entry.value for entry in tensor.external_data}
        assert place["location"] == "m.onnx.data"
        assert int(place["offset"]) % (65536 if tensor.name == "large" else 4096) == 0
    ort.InferenceSession(tmp_path / "out/m.onnx")


def test_external_and_inside_stay_so(several: ModelProto, tmp_path: Path) -> None:
    onnx.save(several, tmp_path / "in.onnx", save_as_external_data=True, size_threshold=1000, location="in.data")
    save(load(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    saved = onnx.load(tmp_path / "out.onnx", load_external_data=False)
    assert [t.name for t in saved.graph.initializer if t.data_location == TensorProto.EXTERNAL] == ["large"]


def test_mapped_not_read(several: ModelProto, tmp_path: Path) -> None:
    save_external(several, tmp_path / "m.onnx", location="weights")
    array = load(tmp_path / "m.onnx").initializers["large"]
    while isinstance(array.base, np.ndarray):
        array = array.base
    assert isinstance(array, np.memmap)
    assert not array.flags.writeable


def test_saved_over_itself(several: ModelProto, tmp_path: Path, same: Same) -> None:
    save_external(several, tmp_path / "m.onnx", location="m.onnx.data")
    save(load(tmp_path / "m.onnx"), tmp_path / "m.onnx", force=True)
    same(several, onnx.load(tmp_path / "m.onnx"))


def test_unaligned_offset(model: ModelProto, tmp_path: Path) -> None:
    tensor = model.graph.initializer[0]
    (tmp_path / "odd").write_bytes(b"." + tensor.raw_data)
    expected = numpy_helper.to_array(tensor)
    point_to(tensor, "odd", offset=1)
    onnx.save(model, tmp_path / "m.onnx")
    array = load(tmp_path / "m.onnx").initializers["w"]
    np.testing.assert_array_equal(array, expected)
    assert array.flags.aligned


def test_inside_of_attributes_and_subgraphs(model: ModelProto, tmp_path: Path) -> None:
    """Data that a Constant or a subgraph has in a file come inside: ONNX Runtime reads initializers only from files."""
    tensor = TensorProto(name="t", dims=[4], data_type=TensorProto.FLOAT)
    point_to(tensor, "data")
    (tmp_path / "data").write_bytes(np.ones(4, np.float32).tobytes())
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [4])
    body = helper.make_graph([helper.make_node("Identity", ["t"], ["o"])], "body", [], [out], [tensor])
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    model.graph.node.append(helper.make_node("If", ["yes"], ["i"], then_branch=body, else_branch=body))
    onnx.save(model, tmp_path / "m.onnx")
    moved = tmp_path / "moved"
    moved.mkdir()
    save(load(tmp_path / "m.onnx"), moved / "m.onnx")
    assert [path.name for path in moved.iterdir()] == ["m.onnx"]
    ort.InferenceSession(moved / "m.onnx")


def point_to(tensor: TensorProto, location: str, **numbers: object) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **numbers}.items():
        tensor.external_data.add(key=key, value=str(value))


BAD = {
    "missing": ("nowhere", {}, "the data file .*nowhere of tensor 'w' is missing"),
    "too short": ("data", {"offset": 0, "length": 640}, "bytes 0 to 640 are wanted, but .*data has 64"),
    "beyond": ("data", {"offset": 128}, "cannot be read: bytes 128"),
    "negative": ("data", {"offset": -4}, "cannot be read: bytes -4"),
    "wrong length": ("data", {"length": 60}, "tensor 'w' .4x4. cannot be read: "),
    "no number": ("data", {"length": "many"}, "is not a number"),
    "parent": ("../data", {}, "outside of the model's folder; refused"),
    "absolute": ("/etc/hostname", {}, "outside of the model's folder; refused"),
    "other system's absolute": ("C:\\data", {}, "outside of the model's folder; refused"),
    "link": ("link", {}, "outside of the model's folder; refused"),
    "empty location": ("", {}, "outside of the model's folder; refused"),
    "folder": (".", {}, "is missing"),
}


@pytest.mark.parametrize(("location", "numbers", "message"), BAD.values(), ids=BAD)
def test_bad_location(
    location: str, numbers: dict[str, object], message: str, model: ModelProto, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for path in (tmp_path / "data", folder / "data"):
        path.write_bytes(bytes(64))
    (folder / "link").symlink_to(tmp_path / "data")
    point_to(model.graph.initializer[0], location, **numbers)
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PruneirError, match=message) as caught:
        load(folder / "m.onnx")
    assert str(caught.value).startswith(f"{folder / 'm.onnx'}: ")
    assert "\n" not in str(caught.value)


def test_external_data_need_a_path(model: ModelProto) -> None:
    point_to(model.graph.initializer[0], "data")
    with pytest.raises(PruneirError, match="load the model by its path"):
        load(model)


def test_too_large_for_one_file(
    several: ModelProto, tmp_path: Path, same: Same, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done beyond 2 GB, tried at 100 kB; also for what Constant nodes hold."""
    for module in ("pruneir.onnx_io.save", "pruneir.onnx_io.model"):
        monkeypatch.setattr(import_module(module), "LARGEST", 100_000)
    constant = numpy_helper.from_array(np.ones(50_000, np.float32))
    several.graph.node.append(helper.make_node("Constant", [], ["c"], value=constant))
    graph = load(several)
    save(graph, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").stat().st_size < 10_000
    same(several, _inside(tmp_path / "m.onnx"))
    with pytest.raises(PruneirError, match="save it by path"):
        to_model(graph)


def _inside(path: Path) -> ModelProto:
    model = onnx.load(path)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.t.external_data:
                onnx.external_data_helper.load_external_data_for_tensor(attribute.t, str(path.parent))
    return model


def test_layout() -> None:
    data = DataFile("d")
    sizes = [1, 4096, 5000, 1 << 20, 10]
    for size in sizes:
        data.store(TensorProto(), np.zeros(size, np.uint8))
    assert [offset for offset, _ in data.arrays] == [0, 4096, 8192, 65536, 65536 + (1 << 20)]
