"""Scores: what each kind counts, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from pruneir.errors import PruneirError
from pruneir.score import Tally

THREE = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
FLIPPED = THREE[:, ::-1]


def test_accuracy_counts_labels_hit() -> None:
    tally = Tally()
    tally.add([THREE[:2]], np.array([1, 1]))
    tally.add([THREE[2:, :, None, None]], np.array([1]))
    assert (tally.score.kind, tally.score.samples) == ("accuracy", 3)
    assert tally.score.points == pytest.approx(200 / 3)


def test_agreement_without_labels() -> None:
    tally = Tally()
    tally.add([THREE], None, [np.where([[True], [False], [True]], THREE, FLIPPED)])
    assert tally.score.kind == "agreement"
    assert tally.score.points == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("made", "points"),
    [(lambda y: y, 100), (lambda y: np.full_like(y, y.mean()), 0), (lambda y: y + 2 * (y - y.mean()), -300)],
)
def test_fidelity_is_the_share_of_variance_explained(made, points: float) -> None:  # type: ignore[no-untyped-def]
    y = np.random.default_rng(0).normal(5, 2, (6, 3, 4))
    tally = Tally()
    for part in (slice(0, 2), slice(2, 6)):
        tally.add([made(y)[part]], None, [y[part]])
    assert tally.score.kind == "fidelity"
    assert tally.score.points == pytest.approx(points, abs=1e-6)


def test_what_cannot_be_scored_is_said() -> None:
    with pytest.raises(PruneirError, match="no samples"):
        _ = Tally().score
    with pytest.raises(PruneirError, match="compares with another"):
        Tally().add([THREE])
    half = Tally()
    half.add([THREE], np.array([1, 0, 1]))
    with pytest.raises(PruneirError, match="label all or none"):
        half.add([THREE], None, [THREE])
