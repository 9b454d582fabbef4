"""A folder of images as a source of samples: found below it, decoded when they are asked for.

The first images of all its sub-folders come first, then the second ones, and so on, each time in sorted order: a few
samples are of all classes.

An image is resized to the input's height and width: stretched, or cropped, which scales it until it covers them and
cuts off what juts out, on both sides alike. It becomes grey or RGB as the input has one channel or three, 8 bits each;
channels are axis 1, or the last, whichever has one or three. Where all images lie in sub-folders of the folder, as many
as the network has classes, these are the labels: 0, 1, … in sorted order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pruneir.data.fitting import Input
from pruneir.data.scaling import Scaling
from pruneir.data.source import Samples, Store
from pruneir.errors import PruneirError

if TYPE_CHECKING:
    from PIL.Image import Image

Array = np.ndarray[Any, Any]
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"})


class Images(Store):
    """The images below a folder, for the only input.

    classes  that the network tells apart, if it is a classifier
    """

    def __init__(self, folder: Path, inputs: Mapping[str, Input], classes: int | None, scaling: Scaling):
        if len(inputs) != 1:
            raise PruneirError(f"{folder}: images are one input, but the network has {', '.join(inputs)}; give an .npz")
        _require_pillow(folder)
        self.name = str(folder)
        ((self.input, wanted),) = inputs.items()
        self.frame = _frame(wanted, self.name)
        self.scaling = scaling
        self.paths = _in_turn(folder, _found(folder))
        self.count = len(self.paths)
        if not self.count:
            raise PruneirError(f"{folder}: holds no image ({', '.join(sorted(ENDINGS))}), nor does a folder in it")
        self.labels, self.warnings = _labels(folder, self.paths, classes)

    def rows(self, indices: Array) -> Samples:
        """As promised."""
        images = np.stack([self._decoded(self.paths[row]) for row in indices.tolist()])
        return Samples({self.input: images}, None if self.labels is None else self.labels[indices])

    def _decoded(self, path: Path) -> Array:
        """An image as the input takes it, uint8."""
        from PIL import Image  # noqa: PLC0415 - Pillow is an extra

        frame = self.frame
        try:
            with Image.open(path) as opened:
                image = _eight_bits(opened).convert("L" if frame.channels == 1 else "RGB")
                box = frame.crop(*image.size) if self.scaling.resize == "crop" else None
                image = image.resize((frame.width, frame.height), Image.Resampling.BILINEAR, box)
        except Exception as error:  # decoders raise what they like
            reason = "not an image" if isinstance(error, Image.UnidentifiedImageError) else str(error) or "damaged"
            raise PruneirError(f"{path}: cannot be read ({reason.splitlines()[0]}); mend or remove it") from error
        array = np.asarray(image).reshape(frame.height, frame.width, frame.channels)
        if self.scaling.order == "bgr":
            array = array[..., ::-1]
        return array if frame.axis == 3 else array.transpose(2, 0, 1)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every image becomes: its sizes, and the axis of the input that channels are."""

    channels: int
    height: int
    width: int
    axis: Literal[1, 3]

    def crop(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The largest part in the middle of an image that has the frame's proportions: left, top, right, bottom."""
        scale = max(self.width / width, self.height / height)
        across, down = self.width / scale, self.height / scale
        return (width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2


def _frame(wanted: Input, source: str) -> Frame:
    shape = wanted.shape or ()
    if len(shape) == 4:
        axis: Literal[1, 3] | None = 1 if shape[1] in (1, 3) else 3 if shape[3] in (1, 3) else None
        if axis is not None:
            height, width = shape[2:] if axis == 1 else shape[1:3]
            if isinstance(height, int) and isinstance(width, int):
                return Frame(int(str(shape[axis])), height, width, axis)
    example = "1,3,224,224" if len(shape) != 4 or shape[3] not in (1, 3) else f"1,224,224,{shape[3]}"
    raise PruneirError(
        f"{source}: images need an input of 4 axes with 1 or 3 channels and a fixed height and width, "
        f"but {wanted}; give its sizes, such as --input-shape {wanted.name}:{example}"
    )


def _found(folder: Path) -> list[Path]:
    """All images below a folder, links followed, what is hidden left out."""
    found = []
    for root, folders, files in os.walk(folder, followlinks=True):
        above = Path(root).resolve()
        folders[:] = [f for f in folders if not _is_hidden(f) and not above.is_relative_to(Path(root, f).resolve())]
        found += [Path(root, f) for f in files if not _is_hidden(f) and Path(f).suffix.lower() in ENDINGS]
    return sorted(found)


def _in_turn(folder: Path, paths: list[Path]) -> list[Path]:
    """The paths, one of every sub-folder after the other."""
    ranks: Counter[str] = Counter()
    order = []
    for path in paths:
        first, *below = path.relative_to(folder).parts
        group = first if below else ""
        order.append((ranks[group], path))
        ranks[group] += 1
    return [path for _, path in sorted(order)]


def _labels(folder: Path, paths: list[Path], classes: int | None) -> tuple[Array | None, tuple[str, ...]]:
    """The labels that sub-folders are; none, and a warning, where they are not as many as classes."""
    names = sorted(each.name for each in folder.iterdir() if each.is_dir() and not _is_hidden(each.name))
    parts = [path.relative_to(folder).parts for path in paths]
    if len(names) < 2 or any(len(each) < 2 for each in parts):
        return None, ()
    if classes is not None and classes != len(names):
        told = (
            f"{folder}: {len(names)} sub-folders are no labels of a network with {classes} classes; for labels, "
            f"give one folder per class, in sorted order, empty ones too"
        )
        return None, (told,)
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[each[0]] for each in parts], np.int64), ()


def _eight_bits(image: Image) -> Image:
    """The image with 8 bits a channel, of 16 the upper ones."""
    from PIL import Image as pillow  # noqa: N813, PLC0415

    if image.mode == "F":
        raise ValueError("its pixels are floats, of unknown range")
    if image.mode == "I" or image.mode.startswith("I;"):
        return pillow.fromarray((np.asarray(image, np.int32).clip(0, 0xFFFF) >> 8).astype(np.uint8))
    return image


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__"))


def _require_pillow(folder: Path) -> None:
    try:
        import PIL.Image  # noqa: F401, PLC0415
    except ImportError:
        raise PruneirError(
            f"{folder}: a folder of images needs Pillow, which is not installed; pip install 'pruneir[images]'"
        ) from None
