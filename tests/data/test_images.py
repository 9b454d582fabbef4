from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pruneir.data import Scaling, load_data
from pruneir.errors import PruneirError
from pruneir.graph import Graph, parse

Image = pytest.importorskip("PIL.Image")

NCHW = parse("x[N,3,4,6] -> y { y = Relu(x) }")
NHWC = parse("x[N,4,6,3] -> y { y = Relu(x) }")
GREY = parse("x[N,1,4,6] -> y { y = Relu(x) }")
GREY_LAST = parse("x[N,4,6,1] -> y { y = Relu(x) }")
BYTES = parse("x[N,3,4,6]:u8 -> y:u8 { y = Identity(x) }")
CLASSES = "x[N,3,4,6] -> y[N,{}] {{ p = GlobalAveragePool(x); f = Flatten(p); y = Gemm(f, w[3,{}]) }}"

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LUMA = 76
"""Of red: ITU-R 601, 0.299 · 255."""


def plain(path: Path, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (6, 4), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).convert(mode).save(path)


def one(folder: Path, graph: Graph, scaling: Scaling | None = None) -> np.ndarray:
    (array,) = load_data(folder, graph, scaling=scaling).feeds().values()
    assert len(array) == 1
    return array[0]  # type: ignore[no-any-return]


LAYOUTS: dict[str, tuple[Graph, Scaling, tuple[int, ...], list[float]]] = {
    "channels first": (NCHW, Scaling(), (3, 4, 6), [255, 0, 0]),
    "channels last": (NHWC, Scaling(), (4, 6, 3), [255, 0, 0]),
    "bytes": (BYTES, Scaling(1 / 255), (3, 4, 6), [255, 0, 0]),
    "blue first": (NCHW, Scaling(order="bgr"), (3, 4, 6), [0, 0, 255]),
    "blue last": (NHWC, Scaling(order="bgr"), (4, 6, 3), [0, 0, 255]),
    "grey": (GREY, Scaling(), (1, 4, 6), [LUMA]),
    "grey, channels last": (GREY_LAST, Scaling(), (4, 6, 1), [LUMA]),
    "scaled": (NCHW, Scaling(1 / 255, (0.5, 0.5, 0.25), (0.5, 1, 1)), (3, 4, 6), [1, -0.5, -0.25]),
    "scaled, channels last": (NHWC, Scaling(1 / 255, (0.5, 0.5, 0.25), (0.5, 1, 1)), (4, 6, 3), [1, -0.5, -0.25]),
    "scaled as the order says": (NCHW, Scaling(1 / 255, (1, 0, 0), order="bgr"), (3, 4, 6), [-1, 0, 1]),
}


@pytest.mark.parametrize(("graph", "scaling", "shape", "values"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(graph: Graph, scaling: Scaling, shape: tuple[int, ...], values: list[float], tmp_path: Path) -> None:
    plain(tmp_path / "red.png", size=(9, 9))
    array = one(tmp_path, graph, scaling)
    assert array.shape == shape
    channels = array if shape[0] in (1, 3) else np.moveaxis(array, -1, 0)
    np.testing.assert_allclose(channels, np.array(values)[:, None, None] + np.zeros((4, 6)), atol=1e-5)


@pytest.mark.parametrize("ending", ["png", "jpg", "JPEG", "bmp", "webp", "tif", "tiff"])
def test_formats(ending: str, tmp_path: Path) -> None:
    plain(tmp_path / f"red.{ending}")
    np.testing.assert_allclose(one(tmp_path, NCHW).mean(axis=(1, 2)), RED, atol=3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "CMYK", "L", "LA", "1"])
def test_kinds_of_pixels(mode: str, tmp_path: Path) -> None:
    plain(tmp_path / f"white.{'tif' if mode == 'CMYK' else 'png'}", (255, 255, 255), mode=mode)
    assert (one(tmp_path, NCHW) == 255).all()
    assert (one(tmp_path, GREY) == 255).all()


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_sixteen_bits_become_eight(ending: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 6), 0x8123, np.uint16)).save(tmp_path / f"deep.{ending}")
    assert (one(tmp_path, GREY) == 0x81).all()


def striped(path: Path, width: int, height: int) -> None:
    """A third of the width red, a third green, a third blue."""
    array = np.zeros((height, width, 3), np.uint8)
    for index in range(3):
        array[:, index * width // 3 : (index + 1) * width // 3, index] = 255
    Image.fromarray(array).save(path)


def test_stretched_it_is_all_there_and_cropped_only_the_middle(tmp_path: Path) -> None:
    graph = parse("x[N,3,30,30] -> y { y = Relu(x) }")
    striped(tmp_path / "wide.png", 90, 30)
    stretched, cropped = one(tmp_path, graph), one(tmp_path, graph, Scaling(resize="crop"))
    np.testing.assert_allclose(stretched.mean(axis=(1, 2)), 85, atol=1)
    np.testing.assert_array_equal(cropped, np.array(GREEN)[:, None, None] + np.zeros((30, 30)))


def test_a_crop_covers_an_input_that_is_not_square(tmp_path: Path) -> None:
    graph = parse("x[N,3,30,10] -> y { y = Relu(x) }")
    striped(tmp_path / "wide.png", 30, 30)
    cropped = one(tmp_path, graph, Scaling(resize="crop"))
    np.testing.assert_array_equal(cropped, np.array(GREEN)[:, None, None] + np.zeros((30, 10)))


def test_they_are_found_everywhere_below_and_come_in_turn(tmp_path: Path) -> None:
    for index, name in enumerate(
        ["b.png", "a/z.png", "a/deep/er.jpg", "c.PNG", ".hidden.png", "__MACOSX/c.png", "d/1.png"]
    ):
        plain(tmp_path / name, (20 * index, 0, 0))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "a" / "back").symlink_to(tmp_path)
    data = load_data(tmp_path, NCHW)
    assert not data.has_labels
    assert len(data) == 5
    np.testing.assert_allclose(data.feeds()["x"][:, 0, 0, 0], [40, 0, 120, 20, 60], atol=1)


@pytest.mark.parametrize(("classes", "labelled"), [(3, True), (2, False), (10, False)])
def test_folders_are_labels_where_they_are_as_many_as_classes(classes: int, labelled: bool, tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.png", "dog/3.png", "cat/old/4.png"):
        plain(tmp_path / name)
    (tmp_path / "bird").mkdir()
    data = load_data(tmp_path, parse(CLASSES.format(classes, classes)), scaling=Scaling(1 / 255))
    assert data.has_labels is labelled
    found = [batch.labels.tolist() for batch in data.batches(3) if batch.labels is not None]
    assert found == ([[1, 2, 1], [2]] if labelled else [])
    assert [f"3 sub-folders are no labels of a network with {classes} classes" in w for w in data.warnings] == (
        [] if labelled else [True]
    )


@pytest.mark.parametrize("names", [("a.png", "b/1.png", "c/1.png"), ("b/1.png", "b/2.png")], ids=["some", "one folder"])
def test_other_folders_are_no_labels(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        plain(tmp_path / name)
    data = load_data(tmp_path, parse(CLASSES.format(2, 2)), scaling=Scaling(1 / 255))
    assert (data.has_labels, data.warnings) == (False, ())


def test_only_what_is_asked_for_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(20):
        plain(tmp_path / f"{index:02}.png", (index, 0, 0))
    opened, real = [], Image.open

    def spy(path: Path) -> object:
        opened.append(path.name)
        return real(path)

    monkeypatch.setattr(Image, "open", spy)
    data = load_data(tmp_path, NCHW)
    assert (len(data), opened) == (20, ["00.png"])
    opened.clear()
    batches = data.batches(4, limit=6)
    assert next(batches).count == 4
    assert opened == ["00.png", "01.png", "02.png", "03.png"]
    assert next(batches).feeds["x"][:, 0, 0, 0].tolist() == [4, 5]
    shuffled = np.concatenate([b.feeds["x"][:, 0, 0, 0] for b in data.batches(7, shuffle=np.random.default_rng(0))])
    assert sorted(shuffled) == list(range(20))
    assert list(shuffled) != list(range(20))


def test_integers_without_scaling_are_worth_a_warning(tmp_path: Path) -> None:
    plain(tmp_path / "a.png")
    (warning,) = load_data(tmp_path, NCHW).warnings
    assert "--scale" in warning
    assert load_data(tmp_path, NCHW, scaling=Scaling(1 / 255)).warnings == ()
    assert load_data(tmp_path, BYTES).warnings == ()


INPUTS: dict[str, tuple[str, str]] = {
    "dynamic sizes": ("x[N,3,H,W] -> y { y = Relu(x) }", r"takes \[samples,3,H,W\].*--input-shape x:1,3,224,224"),
    "a dynamic size, channels last": ("x[N,H,4,1] -> y { y = Relu(x) }", "--input-shape x:1,224,224,1"),
    "two channels": ("x[N,2,4,4] -> y { y = Relu(x) }", "4 axes with 1 or 3 channels"),
    "no shape": ("x -> y { y = Relu(x) }", "but input 'x' says nothing of its shape; .*--input-shape x:1,3,224,224"),
    "rows": ("x[N,4] -> y { y = Relu(x) }", r"but input 'x' takes \[samples,4\]"),
    "two inputs": (
        "a[N,3,4,4], b[N,3,4,4] -> y { y = Add(a, b) }",
        "one input, but the network has a, b; give an .npz",
    ),
}


@pytest.mark.parametrize(("text", "message"), INPUTS.values(), ids=INPUTS)
def test_inputs_that_no_image_fits(text: str, message: str, tmp_path: Path) -> None:
    plain(tmp_path / "a.png")
    with pytest.raises(PruneirError, match=message) as caught:
        load_data(tmp_path, parse(text))
    assert "\n" not in str(caught.value)


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "text": lambda content: b"hello",
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "webp", "tif"])
def test_a_broken_image_is_named(ending: str, damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    plain(tmp_path / "a.png")
    path = tmp_path / f"sub/b.{ending}"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    before = path.read_bytes()
    path.write_bytes(damage(before))
    data = load_data(tmp_path, NCHW)
    with pytest.raises(PruneirError, match=rf"sub/b\.{ending}: cannot be read \(.+\); mend or remove it") as caught:
        list(data.batches())
    assert "\n" not in str(caught.value)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(PruneirError, match=r"holds no image \(\.bmp, .*\), nor does a folder in it"):
        load_data(tmp_path, NCHW)
    plain(tmp_path / "a.png")
    with pytest.raises(PruneirError, match="--labels names an array of an .npz or of a batch.*are its sub-folders"):
        load_data(tmp_path, NCHW, labels="y")


def test_without_pillow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    with pytest.raises(PruneirError, match=r"needs Pillow, which is not installed; pip install 'pruneir\[images\]'"):
        load_data(tmp_path, NCHW)
