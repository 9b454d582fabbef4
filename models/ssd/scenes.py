"""Scenes of digits to detect: several MNIST digits of 12 to 48 px in a cluttered grey image of 96×96.

Digits are real (models/data), their places are not: the ink of a digit is cut out, scaled so that its longer side is 12
to 48 px, all octaves alike, and laid bright over an uneven ground. Some digits overlap, by up to a quarter of the
smaller one's box. Lines, spots and crumbs of other digits, which are no digits any more, lie in between, and noise over
all.

Digits of three sets are never mixed: 7,000 for training, 1,000 for validation (all of them training digits of
mnist_resnet/train.py), and that script's 2,000 test digits.

    python models/ssd/scenes.py --set test --count 300 --seed 1 --out models/ssd/test_300.npz

writes `x` float16 [count,1,96,96], multiples of 1/32 in 0..1, and `y` float32 [count,6,5]: class, x0, y0, x1, y1 in
shares of the image, class −1 where a scene has fewer digits. The same set, count and seed give the same scenes.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parents[1] / "data" / "mnist_10k.npz"
SPLIT_SEED, TEST_DIGITS, VALIDATION_DIGITS = 20170822, 2000, 1000
"""The split of mnist_resnet/train.py, and of its training digits those for validation: the last."""
SIDE, MOST, LEVELS = 96, 6, 32
SMALLEST, LARGEST = 12, 48
OVERLAP = 0.25
_INK = 64


def digits(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Digits uint8 [n,28,28] and classes [n] of the set `training`, `validation` or `test`."""
    with np.load(DATA) as archive:
        x, y = archive["x"].reshape(-1, 28, 28), archive["y"]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    test, rest = order[:TEST_DIGITS], order[TEST_DIGITS:]
    chosen = {"test": test, "training": rest[:-VALIDATION_DIGITS], "validation": rest[-VALIDATION_DIGITS:]}[name]
    return x[chosen], y[chosen]


def scenes(name: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images float16 [count,1,SIDE,SIDE] and labels float32 [count,MOST,5] of scenes with digits of a set."""
    x, y = digits(name)
    crops = [_ink(image) for image in x]
    images = np.empty((count, 1, SIDE, SIDE), np.float16)
    labels = np.full((count, MOST, 5), -1, np.float32)
    for number, random in enumerate(np.random.default_rng(seed).spawn(count)):
        images[number, 0], boxes = _scene(crops, y, random)
        labels[number, : len(boxes)] = boxes
    return images, labels


def training(count: int = 1000) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scenes to train on, as batches that pruneir takes."""
    yield scenes("training", count, 0)


def validation(count: int = 300) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Scenes to choose by."""
    yield scenes("validation", count, 2)


def _scene(crops: list[np.ndarray], classes: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, list]:
    image = _ground(random)
    for _ in range(random.integers(2, 6)):
        _line(image, random)
    for _ in range(random.integers(0, 4)):
        _crumb(image, crops[random.integers(len(crops))], random)
    boxes: list[list[float]] = []
    for _ in range(random.integers(1, MOST + 1)):
        which = random.integers(len(crops))
        drawn = _scaled(crops[which], SMALLEST * (LARGEST / SMALLEST) ** random.random())
        height, width = drawn.shape
        for _ in range(20):
            top, left = random.integers(SIDE - height + 1), random.integers(SIDE - width + 1)
            box = [left / SIDE, top / SIDE, (left + width) / SIDE, (top + height) / SIDE]
            if all(_shared(box, other[1:]) <= OVERLAP for other in boxes):
                break
        else:
            continue
        part = image[top : top + height, left : left + width]
        part += (random.uniform(0.65, 1.0) - part) * drawn
        boxes.append([float(classes[which]), *box])
    image += random.normal(0, 0.02, image.shape)
    return np.rint(np.clip(image, 0, 1) * LEVELS) / LEVELS, boxes


def _ground(random: np.random.Generator) -> np.ndarray:
    """Uneven grey, 0 to 0.45."""
    image = sum(weight * _scaled_to(random.random((n, n)), SIDE, SIDE) for n, weight in ((2, 0.6), (5, 0.3), (12, 0.1)))
    image -= image.min()
    return image * (random.uniform(0.1, 0.35) / image.max()) + random.uniform(0, 0.1)


def _line(image: np.ndarray, random: np.random.Generator) -> None:
    """A thin line, or, where it is short, a spot."""
    start, angle, length = random.uniform(0, SIDE, 2), random.uniform(0, 2 * np.pi), random.uniform(0, 40)
    along = np.array([np.cos(angle), np.sin(angle)])
    offset = np.stack(np.mgrid[:SIDE, :SIDE], axis=-1) - start
    place = np.clip(offset @ along, 0, length)
    distance = np.linalg.norm(offset - place[..., None] * along, axis=-1)
    cover = np.clip(random.uniform(0.6, 1.6) - distance, 0, 1)
    image += (random.uniform(0.15, 0.55) - image) * cover


def _crumb(image: np.ndarray, crop: np.ndarray, random: np.random.Generator) -> None:
    """A quarter of a digit, at some size."""
    drawn = _scaled(crop, random.uniform(16, 40))
    height, width = (max(size // 2, 2) for size in drawn.shape)
    up, off = (random.integers(0, 2) * (size - half) for size, half in zip(drawn.shape, (height, width), strict=True))
    top, left = random.integers(SIDE - height), random.integers(SIDE - width)
    part = image[top : top + height, left : left + width]
    part += (random.uniform(0.3, 0.65) - part) * drawn[up : up + height, off : off + width]


def _ink(image: np.ndarray) -> np.ndarray:
    """What is drawn of a digit, without the empty rows and columns around, 0..1."""
    rows, columns = (np.flatnonzero((image > _INK).any(axis=axis)) for axis in (1, 0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] / 255


def _scaled(crop: np.ndarray, longer: float) -> np.ndarray:
    """The crop with a longer side of so many pixels."""
    factor = longer / max(crop.shape)
    height, width = (max(round(size * factor), 2) for size in crop.shape)
    return _scaled_to(crop, height, width)


def _scaled_to(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return _weights(image.shape[0], height) @ image @ _weights(image.shape[1], width).T


def _weights(before: int, after: int) -> np.ndarray:
    """The matrix [after, before] of linear interpolation between the middles of pixels."""
    place = np.clip((np.arange(after) + 0.5) * before / after - 0.5, 0, before - 1)
    return np.maximum(1 - np.abs(place[:, None] - np.arange(before)), 0)


def _shared(box: list[float], other: list[float]) -> float:
    """The share of the smaller box that lies in the other."""
    low, high = np.maximum(box[:2], other[:2]), np.minimum(box[2:], other[2:])
    areas = ((each[2] - each[0]) * (each[3] - each[1]) for each in (box, other))
    return float(np.prod(np.maximum(high - low, 0))) / min(areas)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write scenes of MNIST digits with their boxes.")
    parser.add_argument("--set", choices=("training", "validation", "test"), default="training", help="of digits")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    x, y = scenes(args.set, args.count, args.seed)
    np.savez_compressed(args.out, x=x, y=y)
    print(
        f"{args.out}: {len(x):,} scenes with {int((y[..., 0] >= 0).sum()):,} digits, {args.out.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
