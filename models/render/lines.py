"""Render lines of text, upright or turned by 180°, for ppocr_mobile_v2_cls.onnx.

A line is drawn on paper of its own size, turned or not, worn, scaled to a height of 48 pixels, and filled up at the
right with grey to 192 (a longer one is squeezed), as PaddleOCR prepares its crops.  `x` is uint8 [n,3,48,192] in the
order blue, green, red; the network takes (x / 255 − 0.5) / 0.5.  `y` is 0 for upright, 1 for turned.

    python models/render/lines.py --count 2000 --seed 0 --out lines_train.npz
    python models/render/lines.py --count 500 --seed 1 --out lines_test.npz
    pruneir optimize models/ppocr_mobile_v2_cls.onnx --data lines_test.npz --scale 0.00392156862745098 \
        --mean 0.5 --std 0.5 --pass 'filter{ratio=0.3}'

In Python, `batches(2000, seed=0)` yields what the network takes, and `training` and `test` the sets above.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from render.sets import Rendering, main
from render.text import colours, find_fonts, font, sentence, worn

HEIGHT, WIDTH = 48, 192
PADDING = 128


def line(rng: np.random.Generator, fonts: tuple[Path, ...], turned: int) -> np.ndarray:
    """One line, uint8 [3,48,192]."""
    face = font(fonts[rng.integers(len(fonts))], int(rng.integers(20, 41)))
    text = sentence(rng, int(rng.integers(1, 4)))
    left, top, right, bottom = face.getbbox(text)
    margins = rng.integers(1, 9, 4)
    size = (right - left + int(margins[:2].sum()), bottom - top + int(margins[2:].sum()))
    ink, paper = colours(rng)
    image = Image.new("RGB", tuple(int(side) for side in size), paper)
    ImageDraw.Draw(image).text((int(margins[0]) - left, int(margins[2]) - top), text, ink, face)
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_180)
    width = min(WIDTH, max(1, round(image.width * HEIGHT / image.height)))
    image = worn(image.resize((width, HEIGHT), Image.Resampling.BICUBIC), rng)
    canvas = np.full((HEIGHT, WIDTH, 3), PADDING, np.uint8)
    canvas[:, :width] = np.asarray(image)[:, :, ::-1]
    return canvas.transpose(2, 0, 1)


LINES = Rendering(line, classes=2, shape=(3, HEIGHT, WIDTH), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def batches(count: int, seed: int = 0, size: int = 64) -> Iterator[dict[str, np.ndarray]]:
    """`count` lines as the network takes them: `x` float32 [≤ size,3,48,192], `y` int64."""
    return LINES.batches(count, seed, find_fonts(), size)


def training() -> Iterator[dict[str, np.ndarray]]:
    """2,000 lines to distil from."""
    return batches(2000, seed=0)


def test() -> Iterator[dict[str, np.ndarray]]:
    """500 other lines."""
    return batches(500, seed=1)


if __name__ == "__main__":
    main("Render lines of text, upright or turned by 180°.", LINES)
