"""What values look like over a data set: statistics of channels, second moments of what linear operators read."""

from pruneir.calibrate.linear import LINEAR, Matrix, Rows, matrix_of
from pruneir.calibrate.moments import SecondMoments, second_moments
from pruneir.calibrate.patches import patches
from pruneir.calibrate.statistics import Statistics, channel_statistics

__all__ = [
    "LINEAR",
    "Matrix",
    "Rows",
    "SecondMoments",
    "Statistics",
    "channel_statistics",
    "matrix_of",
    "patches",
    "second_moments",
]
