"""Samples for slimming_schedule.toml: the digits of models/data, split as the networks in models/ were trained on them.

`training` yields the 8,000 digits that they know; `validation` and `test` 1,000 each that none has seen.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

DIGITS = Path(__file__).parents[2] / "models/data/mnist_10k.npz"
SPLIT_SEED, UNSEEN, VALIDATION = 20170822, 2000, 1000
Batches = Iterator[dict[str, np.ndarray]]


def training() -> Batches:
    """To train on."""
    return _batches(slice(UNSEEN, None))


def validation() -> Batches:
    """To choose on: when to stop, and which epoch is best."""
    return _batches(slice(VALIDATION))


def test() -> Batches:
    """To look at in the end, once."""
    return _batches(slice(VALIDATION, UNSEEN))


def _batches(part: slice) -> Batches:
    """`x` float32 [≤ 500,1,28,28] in 0..1, `y` int64."""
    with np.load(DIGITS) as archive:
        x, y = archive["x"], archive["y"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))[part]
    for start in range(0, len(order), 500):
        batch = order[start : start + 500]
        yield {"x": x[batch][:, None].astype(np.float32) / np.float32(255), "y": y[batch]}
