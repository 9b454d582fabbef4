"""Which operators have a kernel of ours: the rules of these modules, by operator type."""

from __future__ import annotations

from pruneir.backends.x86 import convolutions, images, matrices, normalizations, winners
from pruneir.backends.x86.work import Setting, Work, found_by_rule
from pruneir.graph import Operator

RULES = (convolutions, matrices, images, normalizations, winners)


def work(operator: Operator, setting: Setting) -> Work | None:
    """The kernels for an operator; None if there are none."""
    return found_by_rule(operator, setting)
