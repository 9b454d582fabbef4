"""Equality and drift between two graphs, the references that pruned networks must equal, and validity."""

from pruneir.verify.drift import Drift, Kept, compare
from pruneir.verify.feeds import odd_feeds, random_feeds
from pruneir.verify.reference import Held, held, kept_positions, masked
from pruneir.verify.valid import check_model
from pruneir.verify.verification import Kind, Verification, verify

__all__ = [
    "Drift",
    "Held",
    "Kept",
    "Kind",
    "Verification",
    "check_model",
    "compare",
    "held",
    "kept_positions",
    "masked",
    "odd_feeds",
    "random_feeds",
    "verify",
]
