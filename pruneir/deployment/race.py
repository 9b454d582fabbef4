"""Times of several runners, taken in turns: what else the machine does, and how warm it gets, falls on all alike.

A turn is a pause, a run that is not counted, and then a few that are; the median of these is the turn's time. The pause
lets threads of the others, which go on spinning for a while after their run, fall asleep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, sleep

FEWEST, MOST = 20, 60
"""Rounds; within these, as many as go into `SECONDS`."""
SECONDS = 8.0
LONGEST, AT_LEAST = 240.0, 5
"""Seconds that a race takes at most, unless fewer rounds than so many would be left."""
PAUSE = 0.06
"""Seconds; ONNX Runtime's threads spin for about 0.035."""
STEADY = 0.25
"""Share of the median by which the quartiles lie apart at most, where nothing else keeps the machine busy."""
TURN = 0.02
"""Seconds of runs that are counted in a turn, where a run is shorter; ten runs at most."""

Runner = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Times:
    """The ms of one runner, round by round."""

    ms: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.ms)

    @property
    def least(self) -> float:
        """The shortest one."""
        return min(self.ms)

    @property
    def quartiles(self) -> tuple[float, float]:
        """What a quarter of the rounds stays below, and what a quarter goes beyond."""
        low, _, high = quantiles(self.ms, n=4, method="inclusive") if len(self.ms) > 1 else (self.ms * 3)
        return low, high

    @property
    def steady(self) -> bool:
        """Whether the rounds took about as long."""
        low, high = self.quartiles
        return high - low <= STEADY * self.median


@dataclass(frozen=True, slots=True)
class Contest:
    """One network, ours against another runtime.

    settings  of the other runtime, in words
    """

    ours: Times
    theirs: Times
    settings: str

    @property
    def ratio(self) -> float:
        """Median of ours by median of theirs; below 1, ours is faster."""
        return self.ours.median / self.theirs.median

    @property
    def steady(self) -> bool:
        """Whether the times of both tell something."""
        return self.ours.steady and self.theirs.steady

    def document(self) -> dict[str, object]:
        """The same as JSON."""
        return {
            "ratio": self.ratio,
            "ours_ms": self.ours.median,
            "theirs_ms": self.theirs.median,
            "ours_quartiles_ms": list(self.ours.quartiles),
            "theirs_quartiles_ms": list(self.theirs.quartiles),
            "ours_least_ms": self.ours.least,
            "theirs_least_ms": self.theirs.least,
            "rounds": len(self.ours.ms),
            "steady": self.steady,
            "against": self.settings,
        }


def race(runners: Sequence[Runner], *, pause: bool, told: Callable[[float], None] = lambda share: None) -> list[Times]:
    """The times of each.

    pause  before every turn, for the threads of the others to fall asleep
    told   the share of the work that is done
    """
    rest = PAUSE if pause else 0.0
    lengths = [_length(runner) for runner in runners]
    counts = [max(1, min(10, int(TURN / length))) for length in lengths]
    turns = sum(rest + (1 + count) * length for count, length in zip(counts, lengths, strict=True))
    rounds = max(FEWEST, min(MOST, int(SECONDS / turns)))
    rounds = min(rounds, max(AT_LEAST, int(LONGEST / turns)))
    found: list[list[float]] = [[] for _ in runners]
    for number in range(rounds):
        told(number / rounds)
        order = list(range(len(runners)))
        for index in order if number % 2 == 0 else reversed(order):
            sleep(rest)
            runners[index]()
            found[index].append(1e3 * median(_timed(runners[index]) for _ in range(counts[index])))
    return [Times(tuple(times)) for times in found]


def _length(runner: Runner) -> float:
    runner()
    return min(_timed(runner) for _ in range(2))


def _timed(runner: Runner) -> float:
    start = perf_counter()
    runner()
    return perf_counter() - start
