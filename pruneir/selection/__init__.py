"""Which channels go: what may be cut, how channels are scored, and what a budget makes of the scores."""

from pruneir.selection.candidates import candidates
from pruneir.selection.choose import Budget, choose
from pruneir.selection.scores import Criterion, Scores, batchnorm_scale, weight_scores

__all__ = ["Budget", "Criterion", "Scores", "batchnorm_scale", "candidates", "choose", "weight_scores"]
