"""Sets of renderings: as batches that a network takes, and as an .npz file."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from render.text import find_fonts, generators

Draw = Callable[[np.random.Generator, tuple[Path, ...], int], np.ndarray]
"""A sample, uint8 [C,H,W], from its generator, the fonts and its class."""


@dataclass(frozen=True)
class Rendering:
    """What is drawn, and what its network takes: (x / 255 − mean) / std per channel, classes in equal shares."""

    draw: Draw
    classes: int
    shape: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def samples(self, count: int, seed: int, fonts: tuple[Path, ...]) -> Iterator[tuple[np.ndarray, int]]:
        """Images and classes, the classes in turn."""
        for number, rng in enumerate(generators(seed, count)):
            yield self.draw(rng, fonts, number % self.classes), number % self.classes

    def images(self, count: int, seed: int, fonts: tuple[Path, ...]) -> dict[str, np.ndarray]:
        """`x` uint8 [count,C,H,W] and `y` int64."""
        x, y = np.empty((count, *self.shape), np.uint8), np.empty(count, np.int64)
        for number, (image, label) in enumerate(self.samples(count, seed, fonts)):
            x[number], y[number] = image, label
        return {"x": x, "y": y}

    def batches(self, count: int, seed: int, fonts: tuple[Path, ...], size: int) -> Iterator[dict[str, np.ndarray]]:
        """The same as the network takes it, drawn as it is asked for."""
        samples = self.samples(count, seed, fonts)
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.mean, self.std))
        for start in range(0, count, size):
            images, labels = zip(*(next(samples) for _ in range(min(size, count - start))), strict=True)
            yield {"x": (np.stack(images) / np.float32(255) - mean) / std, "y": np.array(labels, np.int64)}


def main(description: str, rendering: Rendering) -> None:
    """The command line: render a set into a file."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0, help="sets of different seeds share no image")
    parser.add_argument("--fonts", type=Path, help="a folder of .ttf files; default: the DejaVu faces that are found")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    try:
        np.savez_compressed(args.out, **rendering.images(args.count, args.seed, find_fonts(args.fonts)))
    except OSError as error:
        parser.error(str(error))
    mean, std = (",".join(map(str, each)) for each in (rendering.mean, rendering.std))
    print(f"{args.out}: {args.count} images; give them with --scale {1 / 255} --mean {mean} --std {std}")
