"""Training of a real network on real digits: what a cut cost is learned back without labels, and γ become zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pruneir.api import optimize, train  # noqa: E402
from pruneir.data import Scaling, load_data  # noqa: E402
from pruneir.onnx_io import load  # noqa: E402
from pruneir.score import score  # noqa: E402
from pruneir.training.options import Training  # noqa: E402

MODELS = Path(__file__).parents[2] / "models"
PLAIN = MODELS / "mnist_resnet" / "mnist_resnet_plain.onnx"
TEST = 2000
"""Digits of the test split; see models/mnist_resnet/train.py."""


def digits(first: int, last: int, *, labels: bool) -> dict[str, np.ndarray]:
    with np.load(MODELS / "data" / "mnist_10k.npz") as archive:
        rows = np.random.default_rng(20170822).permutation(len(archive["x"]))[first:last]
        found = {"x": archive["x"][rows], "y": archive["y"][rows].astype(np.int64)}
    return found if labels else {"x": found["x"]}


def test_what_a_cut_cost_is_learned_back_without_labels() -> None:
    graph = load(PLAIN)
    cut = optimize(graph, ["filter{ratio=0.5}"], verify=False).graph
    data = digits(TEST, TEST + 1024, labels=False)
    tuned = train(cut, Training(epochs=1, threads=1), data=data, teacher=graph, scale=1 / 255)
    test = load_data(digits(0, TEST, labels=True), graph, scaling=Scaling(1 / 255))
    base, naive, after = (score(each, test).points for each in (graph, cut, tuned.graph))
    assert naive < 30
    assert after > 85
    assert base - after < 0.2 * (base - naive)


def test_a_penalty_makes_scales_zero_and_leaves_the_accuracy() -> None:
    data, held = digits(TEST, TEST + 1024, labels=True), digits(TEST + 1024, TEST + 1536, labels=True)
    made = train(
        PLAIN,
        Training(epochs=3, lr=0.02, l1_gamma=0.03, batch=16, threads=1),
        data=data,
        validation=held,
        scale=1 / 255,
    )
    graph = made.graph
    scales = np.concatenate(
        [graph.initializers[op.inputs[1]] for op in graph.operators if op.is_a("BatchNormalization")]
    )
    reached = made.fitted.history[-1].sparsity
    assert reached.zero_gammas == pytest.approx((scales == 0).mean())
    assert (scales == 0).mean() > 0.1
    assert made.fitted.after.points > 95
