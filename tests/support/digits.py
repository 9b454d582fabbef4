"""The MNIST digits of models/data, split as the networks in models/ were trained on them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

DIGITS = Path(__file__).parents[2] / "models/data/mnist_10k.npz"
SPLIT_SEED, TEST_IMAGES = 20170822, 2000
"""As in models/mnist_resnet/train.py."""
Arrays = Mapping[str, np.ndarray]


def digits() -> tuple[Arrays, Arrays]:
    """8,000 digits to train on and 2,000 to test on: `x` float32 [N,1,28,28] in 0..1, `y` int64."""
    with np.load(DIGITS) as archive:
        x = archive["x"].reshape(-1, 1, 28, 28).astype(np.float32) / np.float32(255)
        y = archive["y"].astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    test, train = order[:TEST_IMAGES], order[TEST_IMAGES:]
    return {"x": x[train], "y": y[train]}, {"x": x[test], "y": y[test]}
