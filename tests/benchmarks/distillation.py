"""Label-free distillation of PaddleOCR's text-direction network at half of its MACs, on rendered lines.

    python tests/benchmarks/distillation.py [--seeds 0 1 2] [--jobs 1]

The network is cut to at most half of its MACs, repaired from 256 renderings, and trained to answer as the original
does, on 1,600 of the 2,000 training renderings of models/render; the other 400 choose the epoch, and chose what is set
here. No label is read. The score is agreement: the share of the 500 test renderings for which the network decides as
the original does. A seed is that of what the criterion and the repair draw, and of the order of the training samples.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "models"))
from render.lines import LINES  # type: ignore[import-not-found]
from render.text import find_fonts  # type: ignore[import-not-found]

import pruneir
from pruneir import Training
from pruneir.data import Data, Scaling, from_arrays
from pruneir.graph import Graph
from pruneir.score import score
from pruneir.shapes import with_input_shapes

MODELS = Path(__file__).parents[2] / "models"
TRAINING, HELD_OUT, TEST, CALIBRATION = 1600, 400, 500, 256
TRAINING_SEED, TEST_SEED = 0, 1
"""As `training` and `test` in models/render/lines.py."""
CUT = "macs=0.5,criterion=optimal-brain,scope=global"
TUNE = Training(epochs=8, lr=0.01, threads=1)


@dataclass(frozen=True)
class Row:
    """A network on the way: agreement in percent, and its MACs."""

    stage: str
    agreement: float
    macs: int


def rows(seed: int) -> list[Row]:
    """What becomes of the network with one seed."""
    network = with_input_shapes(pruneir.load(MODELS / "ppocr_mobile_v2_cls.onnx"), {"x": ("N", *LINES.shape)})
    known = LINES.images(TRAINING + HELD_OUT, TRAINING_SEED, find_fonts())["x"]
    calibration, train, held_out = (
        _data(images, network) for images in (known[:CALIBRATION], known[:TRAINING], known[TRAINING:])
    )
    test = _data(LINES.images(TEST, TEST_SEED, find_fonts())["x"], network)
    found: list[Row] = []

    def done(stage: str, graph: Graph, macs: int, start: float) -> None:
        found.append(Row(stage, score(graph, test, network).points, macs))
        seconds = time.perf_counter() - start
        print(f"seed {seed}: {stage}, {found[-1].agreement:.1f} %, {macs:,} MACs, {seconds:.0f} s", flush=True)

    cut = f"{CUT},seed={seed}"
    for stage, passes in {
        "naive cut": [f"filter{{{cut},absorb=false}}"],
        "constants absorbed": [f"filter{{{cut}}}"],
        "repaired": [f"filter{{{cut}}}", "repair"],
    }.items():
        start = time.perf_counter()
        made = pruneir.optimize(network, passes, data=calibration, verify=False, seed=seed)
        if not found:
            found.append(Row("original", 100.0, made.report["macs"]["before"]))
        done(stage, made.graph, made.report["macs"]["after"], start)
    start = time.perf_counter()
    trained = pruneir.train(made.graph, TUNE, data=train, validation=held_out, teacher=network, seed=seed)
    done("distilled", trained.graph, found[-1].macs, start)
    return found


def _data(images: np.ndarray, graph: Graph) -> Data:
    """Images, and no labels, as the network takes them."""
    return from_arrays({"x": images}, graph, scaling=Scaling(1 / 255, LINES.mean, LINES.std))


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        runs = list(pool.map(rows, args.seeds))
    print("\n| stage | × fewer MACs | agreement, mean | least |\n|---|---|---|---|")
    for each in zip(*runs, strict=True):
        points = [row.agreement for row in each]
        times = mean(run[0].macs / row.macs for run, row in zip(runs, each, strict=True))
        print(f"| {each[0].stage} | {times:.2f} | {mean(points):.2f} % | {min(points):.2f} % |")


if __name__ == "__main__":
    main()
