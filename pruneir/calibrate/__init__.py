"""What values look like over a data set: statistics of channels, second moments of what linear operators read."""

from pruneir.calibrate.moments import SecondMoments, second_moments
from pruneir.calibrate.patches import chosen, is_linear, matrix, patches
from pruneir.calibrate.statistics import Statistics, channel_statistics

__all__ = [
    "SecondMoments",
    "Statistics",
    "channel_statistics",
    "chosen",
    "is_linear",
    "matrix",
    "patches",
    "second_moments",
]
