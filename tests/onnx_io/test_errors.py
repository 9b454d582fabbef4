"""What cannot be loaded or saved: one line that says what, where and what to do, and nothing written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pruneir.errors import PruneirError
from pruneir.onnx_io import load, save
from pruneir.onnx_io.versions import NEWEST_IR, NEWEST_OPSET

FILES = {
    "text": (b"hello, this is a text file\n" * 20, "not an ONNX model"),
    "LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX model"),
    "zip": (b"PK\x03\x04" + bytes(100), "not an ONNX model"),
    "empty": (b"", "the file is empty"),
    "zeros": (bytes(64), "not an ONNX model"),
    "header alone": (ModelProto(ir_version=8).SerializeToString(), "not an ONNX model"),
    "tensor": (numpy_helper.from_array(np.ones(3)).SerializeToString(), "not an ONNX model"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_bad_file(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    fails(path, rf"m\.onnx: {message}.*; ")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    fails(tmp_path / "m.onnx", r"m\.onnx: no such file; check the path")
    fails(tmp_path, "is a folder; give the .onnx file in it")
    (tmp_path / "file").touch()
    fails(tmp_path / "file/m.onnx", r"cannot be read \(Not a directory\)")


def test_truncated_file(model: ModelProto, tmp_path: Path) -> None:
    data = model.SerializeToString()
    for length in range(1, len(data)):
        (tmp_path / "m.onnx").write_bytes(data[:length])
        fails(tmp_path / "m.onnx", ": ")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_file(model: ModelProto, tmp_path: Path, data: st.DataObject) -> None:
    """Whatever the bytes are, they load or end in one line."""
    content = bytearray(model.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "m.onnx").write_bytes(content)
    message = ""
    try:
        load(tmp_path / "m.onnx")
    except PruneirError as error:
        message = str(error)
    assert "\n" not in message


def fails(source: Path | ModelProto, message: str) -> None:
    with pytest.raises(PruneirError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


def opset(version: int, domain: str = "") -> Callable[[ModelProto], None]:
    def change(m: ModelProto) -> None:
        m.opset_import[0].CopyFrom(helper.make_opsetid(domain, version))

    return change


def add_node(*arguments: object, **more: object) -> Callable[[ModelProto], None]:
    return lambda m: m.graph.node.append(helper.make_node(*arguments, **more))  # type: ignore[arg-type]


def cut_raw_data(m: ModelProto) -> None:
    m.graph.initializer[0].raw_data = b"123"


def cycle(m: ModelProto) -> None:
    m.graph.node[0].input[0] = "y"


def attribute_twice(m: ModelProto) -> None:
    for _ in range(2):
        m.graph.node[1].attribute.append(helper.make_attribute("a", 1))


def capture(m: ModelProto) -> None:
    out = helper.make_tensor_value_info("o", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Relu", ["nowhere"], ["o"])], "body", [], [out])
    m.graph.node.append(helper.make_node("If", ["x"], ["i"], then_branch=body, else_branch=body))


MODELS: dict[str, tuple[Callable[[ModelProto], object], str]] = {
    "no opset": (lambda m: m.ClearField("opset_import"), "imports no operator set"),
    "no standard opset": (opset(1, "com.example"), "node 'MatMul' is of the standard operator set, but"),
    "old opset": (opset(6), "opset 6 is older than 7; convert"),
    "new opset": (opset(99), f"opset 99 is newer than {NEWEST_OPSET}.*; export with opset {NEWEST_OPSET} or lower"),
    "new IR": (lambda m: setattr(m, "ir_version", 99), f"IR version 99 is newer than {NEWEST_IR}"),
    "no IR": (lambda m: m.ClearField("ir_version"), "not an ONNX model"),
    "undefined input": (add_node("Relu", ["nowhere"], ["z"]), r"node 'z' \(Relu\) reads 'nowhere', which nothing"),
    "undefined capture": (capture, r"node 'i' \(If\) reads 'nowhere', which nothing defines"),
    "undefined output": (lambda m: m.graph.node.pop(), "nothing defines the graph output 'y'"),
    "value twice": (add_node("Relu", ["x"], ["h"]), "'h' is defined twice, by node 'h' and by node 'h'"),
    "value twice in a node": (add_node("Split", ["x"], ["a", "a"]), "'a' is defined twice, by node 'a'"),
    "input again": (add_node("Relu", ["h"], ["x"]), "'x' is defined twice, by an input or initializer and by node"),
    "initializer again": (add_node("Relu", ["h"], ["w"]), "'w' is defined twice, by an input or initializer"),
    "initializer twice": (lambda m: m.graph.initializer.append(m.graph.initializer[0]), "'w' is defined twice"),
    "nameless initializer": (lambda m: m.graph.initializer[0].ClearField("name"), "an initializer has no name"),
    "input twice": (lambda m: m.graph.input.append(m.graph.input[0]), "input 'x' is stated twice"),
    "nameless output": (lambda m: m.graph.output.add(), "input or output has no name"),
    "name not UTF-8": (lambda m: m.graph.node[1].MergeFromString(b"\x1a\x01\xff"), "is not UTF-8 text"),
    "cycle": (cycle, "cycle through node"),
    "too few bytes": (cut_raw_data, r"tensor 'w' \(4x4\) cannot be read: .*; export the model again"),
    "no element type": (lambda m: m.graph.initializer[0].ClearField("data_type"), r"tensor 'w' \(4x4\) cannot be read"),
    "odd element type": (lambda m: setattr(m.graph.initializer[0], "data_type", 99), r"tensor 'w' \(4x4\) cannot be"),
    "no operator type": (lambda m: m.graph.node[1].ClearField("op_type"), "node 'last' has the operator type ''"),
    "odd operator type": (add_node("a\nb", ["x"], ["z"]), r"node 'z' has the operator type 'a\\nb', which is no name"),
    "attribute twice": (attribute_twice, "node 'last' states attribute 'a' twice"),
}


@pytest.mark.parametrize(("change", "message"), MODELS.values(), ids=MODELS)
def test_bad_model(change: Callable[[ModelProto], object], message: str, model: ModelProto) -> None:
    change(model)
    fails(model, message)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_existing_file_stays(model: ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("precious")
    with pytest.raises(PruneirError, match=r"m\.onnx exists; pass --force to overwrite it"):
        save(load(model), path)
    assert path.read_text() == "precious"
    save(load(model), path, force=True)
    onnx.checker.check_model(path)
    assert names(tmp_path) == ["m.onnx"]


def test_existing_data_file_stays(model: ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "in.onnx", save_as_external_data=True, size_threshold=0, location="out.onnx.data")
    with pytest.raises(PruneirError, match=r"out\.onnx\.data exists; pass --force"):
        save(load(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert names(tmp_path) == ["in.onnx", "out.onnx.data"]


@pytest.mark.parametrize("force", [False, True])
def test_nowhere_to_write(force: bool, model: ModelProto, tmp_path: Path) -> None:
    graph = load(model)
    (tmp_path / "file").touch()
    for path, message in {
        tmp_path / "missing/m.onnx": r"cannot be written \(No such file or directory\)",
        tmp_path / "file/m.onnx": r"cannot be written \(Not a directory\)",
        tmp_path: "is a folder; give the name of a file in it",
    }.items():
        with pytest.raises(PruneirError, match=message):
            save(graph, path, force=force)
    assert names(tmp_path) == ["file"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(model: ModelProto, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PruneirError, match=r"cannot be written \(Permission denied\)"):
            save(load(model), tmp_path / "m.onnx")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_nothing_is_left_behind(
    error: BaseException, model: ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model, tmp_path / "in.onnx", save_as_external_data=True, size_threshold=0, location="in.data")
    graph = load(tmp_path / "in.onnx")
    (tmp_path / "out.onnx").write_text("precious")
    before = names(tmp_path)

    def write(*_: object) -> None:
        raise error

    monkeypatch.setattr("pruneir.onnx_io.external.DataFile.write", write)
    with pytest.raises(PruneirError if isinstance(error, OSError) else KeyboardInterrupt):
        save(graph, tmp_path / "out.onnx", force=True)
    assert names(tmp_path) == before
    assert (tmp_path / "out.onnx").read_text() == "precious"


def test_saved_through_a_link(model: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder/m.onnx")
    save(load(model), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    onnx.checker.check_model(tmp_path / "folder/m.onnx")
