"""Simulate the vibration of a ball bearing, sound or with a spall, for WDCNN.  Synthetic: no machine was measured.

Kinematics.  For n balls of diameter d on the pitch diameter D and the contact angle α, in turns of the shaft,

    cage      FTF  = ½ (1 − d/D · cos α)
    outer     BPFO = n · FTF
    inner     BPFI = n · (1 − FTF)
    ball      BSF  = D/2d · (1 − (d/D · cos α)²), of which each turn strikes both races

(Randall and Antoni, "Rolling element bearing diagnostics—a tutorial", MSSP 2011).  Here: 6205, n = 9, d = 7.94 mm,
D = 39.04 mm, α = 0.

A spall is crossed in width / (π · d · BSF · shaft speed), the same on races and balls, since balls roll.  At the entry
the ball drops softly, which rings the low resonance; at the exit it hits the edge, which rings the high one (Sawalhi
and Randall, MSSP 2011).  A resonance of frequency ω and damping ζ answers a hit at τ with

    exp(−ζ ω (t − τ)) · sin(ω √(1 − ζ²) (t − τ)),    t ≥ τ.

Hits are as strong as the load on the ball: at the angle ψ from the direction of the load (Stribeck, in Harris,
"Rolling Bearing Analysis")

    q(ψ) = max(0, 1 − (1 − cos ψ) / 2ε)^1.5.

A spall on the outer race stays where it is, one on the inner race turns with the shaft, one on a ball with the cage.
The shaft's speed wavers, the balls slip (the time between hits is random by a percent), the rolling makes noise of its
own through the same resonances, the shaft adds three harmonics, and the sensor white noise.  A window of 2,048
samples at 12 kHz, about five turns, is scaled to mean 0 and variance 1 and rounded to sixteenths, as by a converter.

Classes: 0 sound; 1, 2, 3 outer race; 4, 5, 6 inner race; 7, 8, 9 ball; each with a spall of 0.18, 0.36, 0.53 mm.

    python models/wdcnn/generate.py --count 320 --seed 1 --out models/wdcnn/test_320.npz
    pruneir optimize models/wdcnn/wdcnn_s0.onnx --pass 'filter{ratio=0.5}' --pass repair \
        --data models.wdcnn.generate:calibration --val models/wdcnn/test_320.npz

The file has `x` float16 [n,1,2048], in which sixteenths are exact, and `y` int64 [n].  In Python,
`batches(320, seed=1)` yields the windows; a window is its seed and its number, whatever the others are.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, pi, sqrt
from pathlib import Path

import numpy as np

RATE = 12_000  # Hz
SAMPLES = 2048
RING = 192  # samples after which a hit is no longer heard
STEP = 1 / 16  # of the converter, in standard deviations
PLACES = ("outer", "inner", "ball")
WIDTHS = (0.18, 0.36, 0.53)  # mm
CLASSES = 1 + len(PLACES) * len(WIDTHS)
SPEED = (1725.0, 1800.0)  # turns a minute
SNR = (-4.0, 10.0)  # dB, of everything else to the sensor's noise: the range of the paper's tests
TRAINING, TEST, CALIBRATION, VALIDATION = range(4)  # seeds


@dataclass(frozen=True)
class Bearing:
    """Geometry in mm and radians, and the orders that follow: events in a turn of the shaft."""

    balls: int
    ball: float
    pitch: float
    angle: float = 0.0

    @property
    def cage(self) -> float:
        return (1 - self.ball / self.pitch * cos(self.angle)) / 2

    @property
    def spin(self) -> float:
        return self.pitch / self.ball / 2 * (1 - (self.ball / self.pitch * cos(self.angle)) ** 2)

    @property
    def strikes(self) -> dict[str, float]:
        """Hits in a turn of the shaft, by where the spall is."""
        return {"outer": self.balls * self.cage, "inner": self.balls * (1 - self.cage), "ball": 2 * self.spin}

    @property
    def turns(self) -> dict[str, float]:
        """Turns of the spall through the load zone in a turn of the shaft."""
        return {"outer": 0.0, "inner": 1.0, "ball": self.cage}


DEEP_GROOVE_6205 = Bearing(balls=9, ball=7.94, pitch=39.04)


@dataclass(frozen=True)
class Resonance:
    """A mode of the housing: its frequency in Hz, its damping, and how strongly an entry and an exit ring it."""

    frequency: float
    damping: float
    entry: float
    exit: float

    def answer(self, t: np.ndarray) -> np.ndarray:
        """To a hit of size one at t = 0, in seconds."""
        omega = 2 * pi * self.frequency
        swing = np.sin(omega * sqrt(1 - self.damping**2) * t)
        return np.where(t < 0, 0.0, np.exp(-self.damping * omega * np.maximum(t, 0)) * swing)


MODES = (Resonance(1450, 0.05, entry=-0.5, exit=0.4), Resonance(3300, 0.03, entry=-0.2, exit=1.0))


def load(psi: np.ndarray, extent: float) -> np.ndarray:
    """Share of the largest load at the angle ψ; `extent` is ε."""
    return np.asarray(np.maximum(0, 1 - (1 - np.cos(psi)) / (2 * extent)) ** 1.5)


def turned(rng: np.random.Generator, t: np.ndarray) -> np.ndarray:
    """Turns of the shaft since time 0, its speed drawn from `SPEED` and wavering by half a percent."""
    speed, waver, phase = rng.uniform(*SPEED) / 60, rng.uniform(0.5, 3.0), rng.uniform(0, 2 * pi)
    swing = 0.005 / (2 * pi * waver)
    return np.asarray(speed * (t - swing * (np.cos(2 * pi * waver * t + phase) - cos(phase))))


def hits(
    rng: np.random.Generator, bearing: Bearing, place: str, turns: np.ndarray, t: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Times in seconds and sizes of the hits of a spall, from a ring before the window to its end."""
    order = bearing.strikes[place]
    count = int(order * (turns[-1] - turns[0])) + 4
    number = np.arange(count) - 1 + rng.uniform() + np.cumsum(rng.normal(0, 0.01, count))
    at = turns[0] + number / order
    start = rng.uniform(-pi / 9, pi / 9) if place == "outer" else rng.uniform(0, 2 * pi)
    sizes = load(start + 2 * pi * bearing.turns[place] * at, rng.uniform(0.4, 0.6)) * rng.lognormal(0, 0.1, count)
    if place == "ball":
        sizes[rng.integers(2) :: 2] *= 0.7  # the inner race is farther from the sensor
    inside = (at > turns[0]) & (at < turns[-1])
    return np.interp(at[inside], turns, t), sizes[inside]


def ringing(mode: Resonance, times: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The mode's answer to hits, over the window."""
    sample = np.ceil(times * RATE).astype(int)[:, None] + np.arange(RING)
    heard = (sample >= 0) & (sample < SAMPLES)
    answer = sizes[:, None] * mode.answer(sample / RATE - times[:, None])
    return np.bincount(sample[heard], answer[heard], SAMPLES)


def window(rng: np.random.Generator, label: int, bearing: Bearing = DEEP_GROOVE_6205) -> np.ndarray:
    """A window of the class `label`: float32 [SAMPLES], of mean 0 and variance 1, in steps of `STEP`."""
    t = np.arange(-RING, SAMPLES) / RATE
    turns = turned(rng, t)
    shaft = [rng.uniform(0.05, 0.2) * np.sin(2 * pi * (k * turns[RING:] + rng.uniform())) for k in (1, 2, 3)]
    x = np.sum(shaft, axis=0)
    modes = [
        Resonance(each.frequency * rng.uniform(0.97, 1.03), each.damping * rng.uniform(0.8, 1.2), each.entry, each.exit)
        for each in MODES
    ]
    for mode in modes:
        rolling = rng.normal(0, 0.05, SAMPLES + RING - 1)
        x = x + np.convolve(rolling, mode.answer(np.arange(RING) / RATE), "valid")
    if label:
        place, width = PLACES[(label - 1) // len(WIDTHS)], WIDTHS[(label - 1) % len(WIDTHS)]
        times, sizes = hits(rng, bearing, place, turns, t)
        sizes = sizes * (width / WIDTHS[0]) ** 0.7
        crossing = width / (pi * bearing.ball * bearing.spin * (turns[-1] - turns[0]) / (t[-1] - t[0]))
        for mode in modes:
            x = x + ringing(mode, times, mode.entry * sizes) + ringing(mode, times + crossing, mode.exit * sizes)
    x = x + rng.normal(0, x.std() * 10 ** (-rng.uniform(*SNR) / 20), SAMPLES)
    return np.asarray(np.round((x - x.mean()) / x.std() / STEP) * STEP, np.float32)


def batches(count: int, seed: int, size: int = 100) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`count` windows, float32 [n,1,SAMPLES], and their classes, int64 [n], the classes in turn."""
    for start in range(0, count, size):
        numbers = range(start, min(start + size, count))
        y = np.array([number % CLASSES for number in numbers])
        x = [window(np.random.default_rng((seed, number)), number % CLASSES) for number in numbers]
        yield np.stack(x)[:, None], y


def windows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same at once: float32 [count,1,SAMPLES] and int64 [count]."""
    x, y = zip(*batches(count, seed), strict=True)
    return np.concatenate(x), np.concatenate(y)


def calibration() -> Iterator[np.ndarray]:
    """256 windows without labels, which are in no other set: for `--data`."""
    for x, _ in batches(256, CALIBRATION):
        yield x


def training() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The first 2,000 of the windows that train.py trained on: for `--data`."""
    return batches(2000, TRAINING)


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the vibration of a 6205 ball bearing.")
    parser.add_argument("--count", type=int, default=320)
    parser.add_argument("--seed", type=int, default=TEST, help="sets of different seeds share no window")
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    args = parser.parse_args()
    x, y = windows(args.count, args.seed)
    np.savez_compressed(args.out, x=x.astype(np.float16), y=y)
    print(f"{args.out}: {args.count} windows, {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
