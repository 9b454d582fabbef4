"""Crops of photographs, to distil detectors from and to compare them on: see README.md.

A crop has a random place, size and shape, is mirrored or not, and has another brightness and contrast. Crops to learn
from may also be turned, tinted, grey, blurred, grainy, or put together from four. The sets share no photograph. `x` is
uint8 [n,3,side,side] RGB, or [n,side,side,3] with --last.

    python models/photographs/crops.py --set training --count 2000 --side 128 --last --out crops.npz
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

FOLDER = Path(__file__).parent
SETS = {
    "training": ("astronaut", "rocket", "hubble", "retina", "brick", "gravel"),
    "validation": ("coffee", "grass"),
    "test": ("hopper", "camera", "chelsea"),
}
SMALLEST = 96
"""Least length of a crop's sides, in pixels of the photograph."""
TURNED, TINTED, GREY, BLURRED, GRAINY, TOGETHER = 0.3, 0.5, 0.2, 0.2, 0.3, 0.3
"""Shares of the crops to learn from that are changed so."""


def crops(name: str, count: int, side: int, *, seed: int = 0, last: bool = False) -> np.ndarray:
    """`count` crops of a set, with as many of each photograph."""
    photographs = [Image.open(FOLDER / f"{each}.jpg").convert("RGB") for each in SETS[name]]
    made = np.empty((count, side, side, 3), np.uint8)
    for number in range(count):
        random = np.random.default_rng([seed, number, *name.encode()])
        if name == "training":
            made[number] = _varied(photographs, number, side, random)
        else:
            made[number] = _crop(photographs[number % len(photographs)], side, random)
    return made if last else np.ascontiguousarray(made.transpose(0, 3, 1, 2))


def _crop(photograph: Image.Image, side: int, random: np.random.Generator, turned: bool = False) -> np.ndarray:
    """uint8 [side,side,3]."""
    if turned:
        photograph = photograph.rotate(random.uniform(-30, 30), Image.Resampling.BILINEAR, fillcolor=(90, 90, 90))
    short = min(photograph.size)
    length, shape = np.exp(random.uniform(np.log(SMALLEST), np.log(short))), np.exp(random.uniform(-0.2, 0.2))
    size = np.minimum(photograph.size, (length * shape, length / shape))
    corner = random.uniform(0, np.array(photograph.size) - size)
    crop = photograph.resize((side, side), Image.Resampling.BILINEAR, (*corner, *(corner + size)))
    pixels = np.asarray(crop)[:, :: random.choice((1, -1))]
    light, contrast = random.uniform(-30, 30), random.uniform(0.7, 1.3)
    return _bytes((pixels - 128.0) * contrast + 128 + light)


def _varied(photographs: list[Image.Image], number: int, side: int, random: np.random.Generator) -> np.ndarray:
    """A crop to learn from, uint8 [side,side,3]."""
    turned = random.random() < TURNED
    pixels = _crop(photographs[number % len(photographs)], side, random, turned)
    if random.random() < TOGETHER:
        across, down = random.integers(side // 4, 3 * side // 4, 2)
        for place in ((slice(down), slice(across, None)), (slice(down, None),), (slice(down, None), slice(across))):
            other = _crop(photographs[random.integers(len(photographs))], side, random)
            pixels[place] = other[place]
    if random.random() < BLURRED:
        blur = ImageFilter.GaussianBlur(random.uniform(0.5, 2))
        pixels = np.asarray(Image.fromarray(pixels).filter(blur))
    values = pixels.astype(np.float64)
    if random.random() < GREY:
        values[:] = values.mean(axis=2, keepdims=True)
    if random.random() < TINTED:
        values *= random.uniform(0.7, 1.3, 3)
    if random.random() < GRAINY:
        values += random.normal(0, random.uniform(2, 15), values.shape)
    return _bytes(values)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def main() -> None:
    """The command line: cut a set into a file."""
    parser = argparse.ArgumentParser(description="Cut photographs into crops.")
    parser.add_argument("--set", choices=SETS, default="test")
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--side", type=int, default=128, help="pixels")
    parser.add_argument("--last", action="store_true", help="channels come last: [n,side,side,3]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    np.savez_compressed(args.out, x=crops(args.set, args.count, args.side, seed=args.seed, last=args.last))
    print(f"{args.out}: {args.count} crops of the {args.set} photographs")


if __name__ == "__main__":
    main()
