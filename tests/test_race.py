"""Times taken in turns."""

from __future__ import annotations

import pytest

from pruneir.deployment import race as room
from pruneir.deployment.race import Contest, Times, race


@pytest.mark.parametrize(
    ("ms", "median", "least", "quartiles"),
    [((3.0,), 3, 3, (3, 3)), ((4.0, 1.0, 2.0, 3.0, 5.0), 3, 1, (2, 4)), ((1.0, 2.0), 1.5, 1, (1.25, 1.75))],
)
def test_times(ms: tuple[float, ...], median: float, least: float, quartiles: tuple[float, float]) -> None:
    times = Times(ms)
    assert (times.median, times.least, times.quartiles) == (median, least, quartiles)


@pytest.mark.parametrize(("ms", "steady"), [((10.0,), True), ((9.0, 10.0, 11.0), True), ((5.0, 10.0, 15.0), False)])
def test_what_is_steady(ms: tuple[float, ...], steady: bool) -> None:
    assert Times(ms).steady == steady
    assert Contest(Times((1.0,)), Times(ms), "").steady == steady


def test_a_ratio_is_of_medians() -> None:
    contest = Contest(Times((1.0, 2.0, 9.0)), Times((4.0, 4.0, 1.0)), "there, 1 thread")
    assert contest.ratio == 0.5
    found = contest.document()
    assert (found["ours_ms"], found["theirs_ms"], found["rounds"], found["against"]) == (2, 4, 3, "there, 1 thread")


class Clock:
    """Time that passes only in runs and pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ran: list[str] = []

    def runner(self, name: str, seconds: float) -> room.Runner:
        def run() -> None:
            self.ran.append(name)
            self.now += seconds

        return run

    def sleep(self, seconds: float) -> None:
        self.ran.append("pause")
        self.now += seconds


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [(0.0001, room.MOST), (0.1, room.FEWEST), (1.0, room.FEWEST), (4.0, 15), (100.0, room.AT_LEAST)],
)
def test_how_many_rounds(seconds: float, rounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(room, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(room, "sleep", clock.sleep)
    ours, theirs = race([clock.runner("a", seconds), clock.runner("b", seconds)], pause=False)
    assert len(ours.ms) == len(theirs.ms) == rounds
    assert ours.median == pytest.approx(1e3 * seconds)


def test_turns_alternate_and_begin_with_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(room, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(room, "sleep", clock.sleep)
    race([clock.runner("a", 0.1), clock.runner("b", 0.05)], pause=True)
    start = clock.ran.index("pause")
    turns = " ".join(clock.ran[start:]).split("pause ")[1:5]
    assert [turn.split() for turn in turns] == [["a", "a"], ["b", "b"], ["b", "b"], ["a", "a"]]
    assert clock.now > 2 * room.FEWEST * room.PAUSE
